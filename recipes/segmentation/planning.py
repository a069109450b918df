"""``radzoo segment plan``: the fingerprint and the plan, nothing trained or stored."""

from __future__ import annotations

from data_adapters.leakage import check_patients
from recipes.engine.devices import choose_devices
from recipes.progress import Reporter
from recipes.segmentation import cascade as cascades
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.data import choose_parts, open_data
from recipes.segmentation.fingerprint import Fingerprint, take_fingerprint
from recipes.segmentation.plan import Plan
from recipes.segmentation.rules import make_plan, this_machine


def planned(
    source: str, config: SegmentationConfig, reporter: Reporter, *, first: bool = False
) -> tuple[Plan, Fingerprint]:
    """Plan a run on its training part.

    Args:
        source: Anything ``data_adapters.open`` takes that has masks.
        config: What the plan is told.
        reporter: Progress.
        first: Plan the first stage of a cascade, not its second.

    Raises:
        RecipeError: The data have no masks, or the cascade does not fit them.
        data_adapters.errors.DataError: They cannot be read or cut.
    """
    adapter = open_data(source, config.data)
    splits = check_patients(
        adapter.index,
        choose_parts(adapter, config.data, seed=config.seed),
        policy=config.data.leakage,
        class_names=adapter.class_names,
    ).splits
    cascade = config.cascade
    amend = None
    if first:
        config = cascades.first_config(config, adapter.class_names)
        adapter = cascades.first_adapter(adapter, cascade)
    elif cascade.kind != "none":
        config = cascades.second_config(config)
        adapter = cascades.seen_adapter(adapter, cascade)
        amend = cascade
    rows = [i for i, part in enumerate(splits.parts) if part == "train"]
    devices = choose_devices(config.train.devices, config.train.precision)
    with reporter.task("looking at cases", len(rows)) as step:
        found, _ = take_fingerprint(adapter, rows, modality=config.data.modality, progress=step)
    plan = make_plan(found, config, this_machine(gpu=devices.kind == "GPU"))
    return plan if amend is None else cascades.second_plan(plan, amend), found
