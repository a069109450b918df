"""A network that can be asked: its scores, their gradients at any layer, its feature maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from recipes.explaining.errors import ExplainError
from recipes.explaining.gradients import Rectify, compiled, value_and_gradients
from recipes.explaining.program import Program, plain, run_steps, write_out
from recipes.explaining.rectifying import rectifying

Floats = npt.NDArray[np.float32]
Array = npt.NDArray[Any]
MAIN = "P0"
"""Output of a network with deep supervision that has the resolution of the image."""
OFTEN = 8
"""Use of a function from which on it is compiled: that takes as long as dozens of passes."""

VOXELS = 2**21
"""Of all pictures of a pass together, so that whole pictures of a detector fit into memory too."""


class Explained:
    """A network whose answers are explained.

    What is explained is a *score*: a weighted sum of the output before any softmax. Weights of
    ``1`` at one class give its logit; ``1 / n`` at the n voxels of a region give a class's mean
    logit over it.

    Attributes:
        model: The network.
        program: Its steps.
    """

    def __init__(
        self, model: keras.Model, *, output: str | None = None, maps: Sequence[str] | None = None
    ) -> None:
        """Write the network out.

        Args:
            model: A functional model of one picture or volume, further models inside it or not.
            output: Which output, where it has several; None takes the only one, or ``"P0"``.
            maps: Layers of class activation maps; None looks for them, as of `last_maps`.

        Raises:
            ExplainError: The model is of another kind, or has no such output or layer.
        """
        self.model = model
        self.program: Program = write_out(model)
        self._output = _chosen(self.program, output)
        needed = self.program.needed(self._output)
        self._steps = [s for s in self.program.steps if needed & set(s.outputs)]
        self._maps = (
            None if maps is None else tuple(n for name in maps for n in self.program.find(name))
        )
        self._made: dict[Any, Callable[..., Any]] = {}
        self._used: Counter[Any] = Counter()
        self._compiled: dict[Any, Callable[..., Any]] = {}

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Shape of a picture, without the batch."""
        return self.program.shape[1:]

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Shape of the output of one picture."""
        return self.program.shape_of(self._output)[1:]

    def outputs(self, images: Array) -> Floats:
        """The output of a batch, ``(batch, *output_shape)``.

        Args:
            images: ``(batch, *input_shape)``.
        """
        return _numpy(self._function("outputs", self._forward)(_tensor(images)))

    def scores(self, images: Array, weights: Array) -> Floats:
        """Scores of a batch, ``(batch,)``.

        Args:
            images: ``(batch, *input_shape)``.
            weights: ``(batch, *output_shape)`` or one for all, ``(1, *output_shape)``.
        """
        found = self.outputs(images)
        axes = tuple(range(1, found.ndim))
        return np.asarray((found.astype(np.float64) * weights).sum(axis=axes), np.float32)

    def features(self, images: Array, layers: Sequence[int]) -> list[Floats]:
        """Feature maps, ``(batch, *grid, channels)`` each.

        Args:
            images: ``(batch, *input_shape)``.
            layers: Numbers of tensors of the program, as `Program.find` gives them.
        """
        points = tuple(layers)
        needed = set().union(*(self.program.needed(point) for point in points))
        steps = [s for s in self.program.steps if needed & set(s.outputs)]

        def run(x: Any) -> list[Any]:
            values = {self.program.image: x}
            run_steps(steps, values)
            return [values[point] for point in points]

        function = self._function(("features", points), run)
        return [_numpy(one) for one in function(_tensor(images))]

    def gradients(
        self,
        images: Array,
        weights: Array,
        *,
        layers: Sequence[int] | None = None,
        rectify: Rectify | None = None,
    ) -> tuple[Floats, list[Floats], list[Floats]]:
        """Scores, and their gradients at the image or at feature maps.

        Only what lies behind the feature maps is differentiated: for a late layer that costs
        hardly more than a forward pass.

        Args:
            images: ``(batch, *input_shape)``.
            weights: ``(batch, *output_shape)`` or ``(1, *output_shape)``.
            layers: Numbers of tensors of the program, as `last_maps` gives them; None: the image.
            rectify: Gradients of ReLUs other than their own.

        Returns:
            Scores ``(batch,)``, values at each point, and the gradient there of like shape.

        Raises:
            ExplainError: ``rectify`` does not fit the network, or the backend has no gradients.
        """
        points = (self.program.image,) if layers is None else tuple(layers)
        behind = self.program.behind(points)
        if self._output not in behind:
            names = ", ".join(self.name_of(point) for point in points)
            raise ExplainError(f"the output does not depend on {names}; name another layer")
        if len(points) > 1 and behind & set(points):
            parts = [
                self.gradients(images, weights, layers=[point], rectify=rectify) for point in points
            ]
            return parts[0][0], [p[1][0] for p in parts], [p[2][0] for p in parts]
        key = ("gradients", points, rectify)
        if key not in self._made:
            self._made[key] = self._differentiated(points, behind, rectify)
        function = self._function(key, self._made[key])
        shape = (len(images), *np.shape(weights)[1:])
        spread = np.broadcast_to(np.asarray(weights, np.float32), shape)
        scores, values, found = function(_tensor(images), _tensor(spread))
        return _numpy(scores), [_numpy(v) for v in values], [_numpy(g) for g in found]

    def last_maps(self) -> tuple[int, ...]:
        """The feature maps nearest to the output on every way to it, for class activation maps.

        For a classifier those before the pooling, in each member of an ensemble. For a network
        with an output for every voxel, where the nearest one is the output itself, the last of the
        coarsest maps, where the network has seen the most (Vinogradova et al., 2020). Those that
        were named when it was written out, where they were.

        Raises:
            ExplainError: The network has no feature map.
        """
        if self._maps is not None:
            return self._maps
        program = self.program
        if len(program.shape_of(self._output)) == program.dims + 2:
            return self._coarsest()
        found: list[int] = []
        seen: set[int] = set()
        waiting = [self._output]
        while waiting:
            number = waiting.pop()
            if number in seen or number == program.image:
                continue
            seen.add(number)
            if self._is_map(number):
                found.append(number)
                continue
            step = program.maker(number)
            waiting += [] if step is None else list(step.inputs)
        if not found:
            raise ExplainError(f"network {self.model.name!r} has no feature map over places")
        return tuple(sorted(n for n in found if not self._follows(n, found)))

    def name_of(self, number: int) -> str:
        """Name of the layer that makes a tensor."""
        step = self.program.maker(number)
        return "image" if step is None else step.name

    def _follows(self, number: int, others: Sequence[int]) -> bool:
        """Whether a map is made of another one place by place, whose gradient holds its own."""
        shape, before = self.program.shape_of(number), self.program.needed(number)
        return any(
            other != number and other in before and self.program.shape_of(other)[:-1] == shape[:-1]
            for other in others
        )

    def _coarsest(self) -> tuple[int, ...]:
        """Of each member the last map of the lowest resolution; pieces of a map are none."""
        best: dict[str, tuple[int, int]] = {}
        for step in self._steps:
            for number in step.outputs if len(step.outputs) == 1 else ():
                if not self._is_map(number) or number == self._output:
                    continue
                sides = self.program.shape_of(number)[1:-1]
                if None in sides:
                    raise ExplainError(
                        f"network {self.model.name!r} takes any size, so its coarsest map cannot "
                        "be told; name a layer"
                    )
                size = int(np.prod([n or 0 for n in sides]))
                member = step.name.rpartition("/")[0]
                if member not in best or size <= best[member][0]:
                    best[member] = (size, number)
        if len(best) > 1:  # steps of the outer model that only join members are none
            best.pop("", None)
        if not best:
            raise ExplainError(f"network {self.model.name!r} has no feature map over places")
        return tuple(number for _, number in best.values())

    def _is_map(self, number: int) -> bool:
        shape = self.program.shape_of(number)
        if len(shape) != self.program.dims + 2 or number == self.program.image:
            return False
        return any(n is None or n > 1 for n in shape[1:-1])

    def _forward(self, x: Any) -> Any:
        values = {self.program.image: x}
        run_steps(self._steps, values)
        return values[self._output]

    def _differentiated(
        self, points: tuple[int, ...], behind: set[int], rectify: Rectify | None
    ) -> Callable[..., Any]:
        call = plain if rectify is None else rectifying(self.program, rectify)
        before = [s for s in self._steps if not behind & set(s.outputs)]
        after = [s for s in self._steps if behind & set(s.outputs)]

        def run(x: Any, weights: Any) -> tuple[Any, list[Any], list[Any]]:
            values = {self.program.image: x}
            run_steps(before, values, call)

            def score(*given: Any) -> Any:
                inner = values | dict(zip(points, given, strict=True))
                run_steps(after, inner, call)
                found = keras.ops.cast(inner[self._output], "float32") * weights
                return keras.ops.sum(keras.ops.reshape(found, (keras.ops.shape(x)[0], -1)), axis=1)

            places = [values[point] for point in points]
            scores, gradients = value_and_gradients(score, places)
            return scores, places, gradients

        return run

    def _function(self, key: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, compiled once it was used often enough for that to pay."""
        made = self._made.setdefault(key, function)
        self._used[key] += 1
        if self._used[key] < OFTEN:
            return made
        if key not in self._compiled:
            self._compiled[key] = compiled(made)
        return self._compiled[key]


def at_once(grid: Sequence[int], most: int) -> int:
    """Pictures of a size in one pass: at most so many, fewer where they are large.

    Args:
        grid: Sides of a picture or volume.
        most: Limit for small ones.
    """
    return max(1, min(most, VOXELS // max(1, int(np.prod(grid)))))


def _chosen(program: Program, output: str | None) -> int:
    names = list(program.outputs)
    name = names[0] if output is None and len(names) == 1 else output or MAIN
    if name not in program.outputs:
        raise ExplainError(
            f"the network has no output {name!r}; it has {', '.join(n or 'one' for n in names)}"
        )
    return program.outputs[name]


def _tensor(values: Array) -> Any:
    return keras.ops.convert_to_tensor(np.asarray(values, np.float32))


def _numpy(tensor: Any) -> Floats:
    return np.asarray(keras.ops.convert_to_numpy(tensor), np.float32)
