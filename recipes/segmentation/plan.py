"""The plan of a run: everything that follows from the data, as a YAML the user may edit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator

from recipes.config import Section, build_config, load_config, to_yaml
from recipes.engine.checkpoint import write_atomic
from recipes.errors import ConfigError
from recipes.segmentation.config import Dims
from recipes.segmentation.fingerprint import Fingerprint
from zoo.home import from_home

PLAN_FILE = "plan.yaml"
Axis = Annotated[int, Field(ge=1)]


class Network(Section):
    """What is built.

    Attributes:
        kind: ``unet``, ``residual``, ``vnet``, ``backbone``, or ``patch``, a classifier of the
            centre voxel (`recipes.segmentation.patchwise`).
        widths: Channels of the levels, finest first; empty for ``backbone`` and ``vnet``.
        strides: Per level the stride along the axes from the level before.
        kernels: Per level the kernel along the axes.
        norm: ``batch`` or ``instance``.
        backbone: Name of the encoder, for ``backbone``; of a classifier's body, for ``patch``.
        level: Level of the pyramid at which a classifier's body is cut off.
        decoder: Name of the decoder, for ``backbone``.
        weights: Weights of the encoder or body.
        input_range: Values of the chain that the encoder sees as 0 and 255.
        deep_supervision: Losses at coarser levels too.
    """

    kind: Literal["unet", "residual", "vnet", "backbone", "patch"]
    widths: tuple[Axis, ...] = ()
    strides: tuple[tuple[Axis, ...], ...] = ()
    kernels: tuple[tuple[Axis, ...], ...] = ()
    norm: Literal["batch", "instance"] = "batch"
    backbone: str | None = None
    level: str = "P3"
    decoder: str | None = None
    weights: str | None = None
    input_range: tuple[float, float] = (0.0, 255.0)
    deep_supervision: bool = True

    @property
    def pretrained(self) -> bool:
        """Whether it starts from published weights."""
        return self.backbone is not None and self.weights not in (None, "none")


class Plan(Section):
    """Everything about a run that follows from the data; a YAML the user may edit.

    Attributes:
        dims: 2, 2.5 or 3.
        neighbours: Slices on either side shown as channels (2.5D), else 0.
        spacing: Voxel size in mm that cases are resampled to; None leaves them as they are.
        chain: Steps from a case to the network's values (`data_adapters.chain`).
        patch: Patch in voxels: two sides in 2D and 2.5D, three in 3D.
        batch: Patches in a step.
        channels: Input channels of the network.
        classes: Names of the logits; the first is the background.
        network: The network.
        reasons: One sentence per decision.
    """

    dims: Dims
    neighbours: Annotated[int, Field(ge=0, le=8)] = 0
    spacing: tuple[float, ...] | None = None
    chain: tuple[dict[str, Any], ...]
    patch: tuple[Axis, ...]
    batch: Axis
    channels: Axis
    classes: tuple[str, ...]
    network: Network
    reasons: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Plan:
        axes = 3 if self.dims == 3 else 2
        if len(self.patch) != axes:
            raise ValueError(f"patch {self.patch} must have {axes} sides for dims={self.dims}")
        if self.network.kind == "patch" and any(side % 2 == 0 for side in self.patch):
            raise ValueError(f"patch {self.patch} of a classifier of its centre wants odd sides")
        if (self.dims == 2.5) != (self.neighbours > 0):
            raise ValueError("neighbours above 0 and dims 2.5 go together")
        if len(self.classes) < 2:
            raise ValueError("classes must name the background and at least one class")
        return self

    @property
    def axes(self) -> int:
        """Spatial axes of the network."""
        return 3 if self.dims == 3 else 2


def read_plan(path: Path, found: Fingerprint) -> Plan:
    """Read a plan and check that it is one for these data.

    Raises:
        ConfigError: It cannot be read, does not fit its schema, or is for other data.
    """
    plan = load_config(Plan, file=path)
    if plan.classes != found.class_names:
        raise ConfigError(
            f"plan {path.name!r} has the classes {', '.join(plan.classes)}, the data have "
            f"{', '.join(found.class_names)}"
        )
    if plan.channels != found.channels * (2 * plan.neighbours + 1):
        raise ConfigError(
            f"plan {path.name!r} wants {plan.channels} channels, the data have {found.channels}"
            + (f" and {2 * plan.neighbours + 1} slices" if plan.neighbours else "")
        )
    if plan.axes > found.axes:
        raise ConfigError(f"plan {path.name!r} is for volumes, the data are pictures")
    return plan


def pretrained_inputs(plan: Plan) -> tuple[str, ...]:
    """A sentence where a plan's weights were pretrained on inputs prepared in another way.

    Args:
        plan: Its weights may be a file of ``radzoo pretrain`` on volumes, beside the plan of that.

    Raises:
        ConfigError: That plan is damaged.
    """
    network = plan.network
    if not network.pretrained or network.weights == "imagenet":
        return ()
    path = from_home(str(network.weights)).parent / PLAN_FILE
    if not from_home(str(network.weights)).is_file() or not path.is_file():
        return ()
    other = load_config(Plan, file=path)
    differing = [
        name
        for name, mine, theirs in (
            ("the voxel size", plan.spacing, other.spacing),
            ("steps before the network", _values(plan), _values(other)),
            ("the range", network.input_range, other.network.input_range),
        )
        if mine != theirs
    ]
    if not differing:
        return ()
    return (
        f"The weights were pretrained on inputs prepared otherwise: {', '.join(differing)} differ. "
        "They may serve less well so; pretrain with data.plan set to this run's plan.yaml.",
    )


def _values(plan: Plan) -> list[dict[str, Any]]:
    """The steps that change values."""
    return [step for step in plan.chain if step["step"] not in ("resample", "reorient")]


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan as YAML, its reasons as comments on top."""
    head = "".join(f"# {reason}\n" for reason in plan.reasons)
    write_atomic(path, (head + to_yaml(plan)).encode())


def plan_from_dict(content: dict[str, Any]) -> Plan:
    """A plan out of JSON or YAML content."""
    return build_config(Plan, content)


def plan_text(plan: Plan) -> str:
    """The plan as YAML without its reasons, which are printed apart."""
    content = plan.model_dump(mode="json", exclude={"reasons"})
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
