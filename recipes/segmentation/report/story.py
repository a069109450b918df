"""What was done in a segmentation run, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recipes.report.inputs import scrub
from recipes.report.wording import seconds, text_of
from recipes.segmentation.report.inputs import Finished

_LOSSES = {
    "dice_ce": "Dice and cross-entropy",
    "dice": "Dice",
    "tversky": "Tversky",
    "focal_tversky": "focal Tversky",
    "generalised_dice": "generalised Dice",
    "topk_ce": "cross-entropy of the worst voxels",
}
_KINDS = {
    "unet": "U-Net from scratch",
    "residual": "U-Net with a residual encoder, from scratch",
    "vnet": "network with long and short residual connections (V-Net), from scratch",
    "patch": "classifier of the centre voxel, made dense, from scratch",
}
_STEPS = {
    "largest_component": "only the largest connected piece is kept",
    "fill_holes": "holes are filled",
}
_AXES = ("first", "second", "third")


def sentences(run: Finished) -> list[str]:
    """The run in a few sentences."""
    lines = [_data(run), _split(run), _network(run), _training(run), _prediction(run)]
    if run.facts.get("cascade"):
        lines.insert(2, _first(run))
    return [scrub(line) for line in lines]


def _data(run: Finished) -> str:
    prepared, found = run.prepared, run.prepared.fingerprint
    kind = "volumes" if run.solid else "pictures"
    text = f"{_cases(run)} were read as {prepared.adapter.kind}"
    text += f" ({found.modality}): {kind}" if found.modality else f": {kind}"
    text += f" of {_by(found.shape)} {'voxels' if run.solid else 'pixels'} (median"
    boxed = run.config.cascade.kind == "region"
    text += ", inside the box around the true organ)" if boxed else ")"
    if found.spacing is not None:
        text += f", {' × '.join(f'{v:.3g}' for v in found.spacing)} mm each way"
    skipped = len(prepared.skipped)
    return text + (f"; {skipped} more were left out." if skipped else "; none was left out.")


def _cases(run: Finished) -> str:
    total = sum(len(run.prepared.rows(part)) for part in ("train", "val", "test"))
    return f"{total} cases"


def _split(run: Finished) -> str:
    counts = {part: len(run.prepared.rows(part)) for part in ("train", "val", "test")}
    splits, data = run.prepared.leakage.splits, run.config.data
    tested = f"{counts['test']} for the test" if counts["test"] else "none for a test"
    text = f"{counts['train']} for training, {counts['val']} for validation, {tested}"
    if data.splits is not None:
        origin = "a table of parts given by the user"
    elif data.fold is not None:
        origin = f"fold {data.fold} validates and all others train"
    elif splits.official:
        origin = "the parts came with the data"
    else:
        origin = "the parts were drawn here"
    unit = "cut by patient" if splits.unit == "patient" else "cut by case"
    known = "" if splits.unit == "patient" else ", since the patient is unknown"
    return f"{text}: {origin}, {unit}{known}."


def _first(run: Finished) -> str:
    """The stage before the network."""
    facts = run.facts["cascade"]
    dice = ", ".join(f"{name} {one['value']:.3f}" for name, one in facts["first"]["dice"].items())
    done = {
        "region": "found the organ on coarse voxels; what follows saw a box around it",
        "resolution": "segmented coarse voxels; what follows saw its classes as further channels",
    }[facts["kind"]]
    part = {"val": "validation", "test": "test"}[facts["first"]["part"]]
    return (
        f"A first network {done}. Its Dice on the {part} part: {dice}; its own report is "
        "first/report.html."
    )


def _network(run: Finished) -> str:
    plan, network = run.prepared.plan, run.prepared.plan.network
    weights = network.weights or "none"
    start = "from scratch" if weights == "none" else f"pretrained weights {_weights(weights)}"
    kind = _KINDS.get(network.kind)
    if kind is None:
        kind = f"{network.decoder} decoder on the encoder {network.backbone} ({start})"
    elif network.backbone is not None:
        kind = (
            f"classifier of the centre voxel, made dense, on {network.backbone} to "
            f"{network.level} without padding ({start})"
        )
    members = run.config.model.members
    text = f"The network is a {plan.dims:g}D {kind}"
    if network.widths:
        text += (
            f" with {len(network.widths)} levels of {', '.join(map(str, network.widths))} channels"
        )
    if run.facts.get("parameters"):
        text += f", {text_of(run.facts['parameters'])} parameters"
    if members > 1:
        text += f"; {members} of them are averaged"
    sides = f"patches of {_by(plan.patch)}, {plan.batch} in a step"
    more = f", each slice with {plan.neighbours} on either side" if plan.neighbours else ""
    return f"{text}. It saw {sides}{more}."


def _weights(name: str) -> str:
    """Weights of the zoo by name; a file of the user as a placeholder."""
    return name if name.isidentifier() else "from a local file"


def _training(run: Finished) -> str:
    train, schedule = run.config.train, run.facts.get("schedule") or {}
    patch = run.prepared.plan.network.kind == "patch"
    text = f"It trained on the loss {'cross-entropy' if patch else _LOSSES[train.loss]}"
    if schedule:
        text += (
            f" for {schedule['total']} steps, validated on whole cases {schedule['rounds']} times"
        )
    if run.seconds.get("training") is not None:
        text += f", in {seconds(float(run.seconds['training']))}"
    devices = run.facts.get("devices") or {}
    if devices.get("devices"):
        text += f" on {', '.join(map(str, devices['devices']))} ({devices['precision']})"
    stopped = run.facts.get("stopped") or {}
    if stopped:
        rounds = ", ".join(str(v) for v in stopped.values())
        text += f"; it stopped early, in round {rounds}"
    return text + "; the weights of the round with the best validation Dice were kept."


def _prediction(run: Finished) -> str:
    mirrors = run.facts.get("mirrors") or ()
    text = "Whole cases are predicted "
    text += {
        "auto": "at once or in exact tiles where the network allows it, else in blended windows",
        "tiles": "at once or in exact tiles",
        "blend": "in blended windows",
    }[run.config.evaluate.mode]
    if mirrors:
        named = " and ".join([", ".join(_AXES[a] for a in mirrors[:-1]), _AXES[mirrors[-1]]])
        text += f", averaged over views mirrored along the {named.removeprefix(' and ')} axis"
    return f"{text}; {postprocessing(run)}."


def postprocessing(run: Finished) -> str:
    """The postprocessing steps in words."""
    steps: Sequence[Mapping[str, Any]] = run.facts.get("postprocess") or ()
    if not steps:
        why = "none helped on validation" if run.config.evaluate.postprocess else "switched off"
        return f"no postprocessing ({why})"
    return "of the result " + "; ".join(_step(step, run.prepared.plan.classes) for step in steps)


def _step(step: Mapping[str, Any], names: Sequence[str]) -> str:
    """One step; its class by name."""
    return f"{_STEPS[step['step']]} ({names[step['label']]})"


def settings(run: Finished) -> list[tuple[str, str]]:
    """The training's settings as rows."""
    train, plan = run.config.train, run.prepared.plan
    network, schedule = plan.network, run.facts.get("schedule") or {}
    rows: list[tuple[str, Any]] = [
        ("Network", f"{plan.dims:g}D {network.kind}"),
        ("Parameters of one network", run.facts.get("parameters")),
        ("Networks in the ensemble", run.config.model.members),
        ("Levels (channels)", network.widths or None),
        ("Norm", network.norm),
        ("Deep supervision", network.deep_supervision),
        ("Patch", _by(plan.patch)),
        ("Patches in a step", plan.batch),
        ("Voxel size, mm", plan.spacing and _by(plan.spacing)),
        ("Encoder", network.backbone),
        ("Loss", _LOSSES[train.loss]),
        ("Steps", schedule.get("total")),
        ("Rounds", schedule.get("rounds")),
        ("Seconds of a step", schedule.get("step_seconds")),
        ("Learning rate", f"{train.learning_rate}, {train.schedule}"),
        ("Weight decay", train.weight_decay),
        ("Moving average of the weights", train.ema or "none"),
        ("Patches centred on foreground", f"{train.foreground:.0%}"),
        ("Postprocessing", postprocessing(run)),
    ]
    return [(name, scrub(text_of(value))) for name, value in rows if value is not None]


def _by(sides: Sequence[Any]) -> str:
    return " × ".join(f"{v:.4g}" for v in sides)
