"""A Keras graph as a list of steps, models inside models included, that can be run in parts.

Every backbone, head and ensemble of the project is a functional graph. Written out as steps it can
be stopped at any layer, run on from there, and run with other activations, on every backend of
Keras and without a copy of the weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from data_adapters.errors import nearest
from recipes.explaining.errors import ExplainError

Values = dict[int, Any]
Call = Callable[["Step", tuple[Any, ...], dict[str, Any]], Any]


@dataclass(frozen=True, eq=False)
class Step:
    """One call of a layer or operation.

    Attributes:
        name: Name of the layer; inside another model ``model/layer``. Where a layer is called
            several times, as the head of a detector is for every level, ``layer:2`` and so on.
        layer: The same without the number of the call.
        operation: The layer or operation.
        node: Keras' record of the call.
        inputs: Numbers of the tensors it reads.
        outputs: Numbers of the tensors it makes.
        shapes: Shape of each of those, the batch first, None where open.
    """

    name: str
    layer: str
    operation: Any
    node: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    shapes: tuple[tuple[int | None, ...], ...]


@dataclass(frozen=True, eq=False)
class Program:
    """A model written out.

    Attributes:
        steps: Its calls in an order in which they can be run.
        image: Number of the image's tensor.
        shape: Shape of the image, the batch first.
        outputs: Number of each output: by its name, or ``""`` for the only one.
    """

    steps: tuple[Step, ...]
    image: int
    shape: tuple[int | None, ...]
    outputs: Mapping[str, int]

    @property
    def dims(self) -> int:
        """Spatial axes of the image."""
        return len(self.shape) - 2

    def maker(self, number: int) -> Step | None:
        """The step that makes a tensor; None for the image and for constants."""
        return next((step for step in self.steps if number in step.outputs), None)

    def shape_of(self, number: int) -> tuple[int | None, ...]:
        """Shape of a tensor, the batch first."""
        step = self.maker(number)
        return self.shape if step is None else step.shapes[step.outputs.index(number)]

    def find(self, name: str) -> tuple[int, ...]:
        """Output of the layers of a name; of an ensemble one in each member, of each call one.

        Args:
            name: A layer, ``conv5_block3_out``, one of a model inside,
                ``member_0/conv5_block3_out``, or one call of it, ``boxes_relu2:3``.

        Raises:
            ExplainError: There is none, or it gives no feature map.
        """
        last = {
            step.name: step.outputs[0]
            for step in self.steps
            if any(own == name or own.endswith(f"/{name}") for own in (step.name, step.layer))
        }
        if not last:
            known = {step.layer.split("/")[-1] for step in self.steps}
            raise ExplainError(f"the network has no layer {name!r}{nearest(name, sorted(known))}")
        for number in last.values():
            if len(self.shape_of(number)) != self.dims + 2:
                raise ExplainError(
                    f"layer {name!r} gives {self.shape_of(number)[1:]}, no feature map over "
                    "places; name a layer before the pooling"
                )
        return tuple(last.values())

    def behind(self, points: Iterable[int]) -> set[int]:
        """Numbers of the tensors that depend on any of some, those not included."""
        start = set(points)
        found: set[int] = set()
        for step in self.steps:
            if any(number in start or number in found for number in step.inputs):
                found |= set(step.outputs)
        return found

    def needed(self, output: int) -> set[int]:
        """Numbers of the tensors that an output depends on, itself included."""
        found = {output}
        for step in reversed(self.steps):
            if found & set(step.outputs):
                found |= set(step.inputs)
        return found


def write_out(model: keras.Model) -> Program:
    """Write a functional model with one image input out as steps.

    Args:
        model: The model; models inside it are written out too, however deep.

    Raises:
        ExplainError: It is not functional, or has not one input ``(batch, *spatial, channels)``.
    """
    graph = functional(model)
    if graph is None or len(graph.inputs) != 1 or len(graph.inputs[0].shape) not in (4, 5):
        raise ExplainError(
            f"model {getattr(model, 'name', type(model).__name__)!r} is no functional network of "
            "one picture or volume, and only such networks can be explained"
        )
    steps: list[Step] = []
    made = _write(graph, "", [0], steps, 1)[0]
    output = graph.output
    names = list(output) if isinstance(output, dict) else [""]
    if isinstance(output, dict):
        places = {id(x): number for x, number in zip(graph.outputs, made, strict=True)}
        outputs = {name: places[id(output[name])] for name in names}
    elif len(made) == 1:
        outputs = {"": made[0]}
    else:
        outputs = {str(k): number for k, number in enumerate(made)}
    return Program(tuple(steps), 0, tuple(graph.inputs[0].shape), outputs)


def functional(operation: Any) -> Any:
    """The graph of a functional or sequential model; None for everything else."""
    if isinstance(operation, keras.Sequential):
        operation = operation._functional
    return operation if hasattr(operation, "_nodes_by_depth") else None


def _write(
    graph: Any, prefix: str, given: Sequence[int], steps: list[Step], free: int
) -> tuple[list[int], int]:
    """Append the steps of a graph; give the numbers of its outputs and the next free one."""
    numbers = {id(x): number for x, number in zip(graph.inputs, given, strict=True)}
    calls: Counter[int] = Counter()
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if node.is_input:
                continue
            reads = [numbers[id(x)] for x in node.input_tensors]
            inner = functional(node.operation)
            if inner is not None:
                makes, free = _write(inner, f"{prefix}{node.operation.name}/", reads, steps, free)
            else:
                makes = list(range(free, free + len(node.outputs)))
                free += len(makes)
                shapes = tuple(tuple(x.shape) for x in node.outputs)
                calls[id(node.operation)] += 1
                count = calls[id(node.operation)]
                layer = prefix + node.operation.name
                steps.append(
                    Step(
                        name=layer if count == 1 else f"{layer}:{count}",
                        layer=layer,
                        operation=node.operation,
                        node=node,
                        inputs=tuple(reads),
                        outputs=tuple(makes),
                        shapes=shapes,
                    )
                )
            numbers |= {id(x): number for x, number in zip(node.outputs, makes, strict=True)}
    return [numbers[id(x)] for x in graph.outputs], free


def plain(step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a step as it is, in inference mode."""
    if "training" in getattr(step.operation, "_call_context_args", ()):
        kwargs = {**kwargs, "training": False}
    return step.operation(*args, **kwargs)


def run_steps(steps: Iterable[Step], values: Values, call: Call = plain) -> None:
    """Run steps one after the other.

    Args:
        steps: Which.
        values: Tensors by number; what the steps make is added.
        call: How a step is called.
    """
    for step in steps:
        known = {
            id(x): values[number]
            for x, number in zip(step.node.input_tensors, step.inputs, strict=True)
        }
        args, kwargs = step.node.arguments.fill_in(known)
        made = keras.tree.flatten(call(step, args, kwargs))
        values |= dict(zip(step.outputs, made, strict=True))
