"""The methods by name: from a question to a map of what mattered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from data_adapters.errors import nearest
from recipes.explaining.cam import Kind, class_activation
from recipes.explaining.errors import ExplainError
from recipes.explaining.gradients import Rectify
from recipes.explaining.network import Array, Explained, Floats
from recipes.explaining.occlusion import occlusion
from recipes.explaining.saliency import input_gradients, integrated_gradients, smooth_gradients

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Options:
    """What the methods can be told.

    Attributes:
        layer: Feature map of Grad-CAM; None takes the nearest to the output.
        seed: Of the noise of SmoothGrad.
        steps: Gradients of integrated gradients at first.
        samples: Noisy copies of SmoothGrad.
        noise: Their noise, relative to the range of the image's values.
        cover: Side of the covers of occlusion, the same along every axis; None as of `occlusion`.
        local: Whether class activation maps are of a score at one place, as of `Question`.
    """

    layer: str | None = None
    seed: int = 0
    steps: int = 32
    samples: int = 32
    noise: float = 0.15
    cover: int | None = None
    local: bool = False


@dataclass(frozen=True, eq=False)
class Attribution:
    """What a method found.

    Attributes:
        heat: ``(*grid)`` float32, 0 or more: how much each place mattered.
        signed: ``(*grid)`` float32 where the method tells for from against; else None.
        facts: Figures of the method, such as the gap of integrated gradients.
    """

    heat: Floats
    signed: Floats | None = None
    facts: dict[str, float] = field(default_factory=dict)


Run = Callable[[Explained, Array, Array, Array, Options, Progress], Attribution]


@dataclass(frozen=True)
class Method:
    """A method.

    Attributes:
        name: On the command line.
        title: In reports.
        paper: Its source.
        what: What its map shows, as a sentence.
        run: Takes network, image ``(*grid, C)``, weights of the score, baseline, options, progress.
    """

    name: str
    title: str
    paper: str
    what: str
    run: Run


def _cam(kind: Kind) -> Run:
    def run(
        network: Explained, image: Array, weights: Array, base: Array, told: Options, _: Progress
    ) -> Attribution:
        layers = None if told.layer is None else network.program.find(told.layer)
        found = class_activation(
            network, image[None], weights[None], kind=kind, layers=layers, local=told.local
        )
        return Attribution(found[0])

    return run


def _gradient(rectify: Rectify | None) -> Run:
    def run(
        network: Explained, image: Array, weights: Array, base: Array, told: Options, _: Progress
    ) -> Attribution:
        found = input_gradients(network, image[None], weights[None], rectify=rectify)[0]
        return Attribution(_largest(found))

    return run


def _integrated(
    network: Explained, image: Array, weights: Array, base: Array, told: Options, _: Progress
) -> Attribution:
    found = integrated_gradients(network, image, weights, baseline=base, steps=told.steps)
    signed = found.values.sum(axis=-1)
    facts = {"difference": found.difference, "gap": found.gap, "steps": float(found.steps)}
    return Attribution(np.abs(signed), signed, facts)


def _smooth(
    network: Explained, image: Array, weights: Array, base: Array, told: Options, _: Progress
) -> Attribution:
    rng = np.random.default_rng(told.seed)
    found = smooth_gradients(
        network, image, weights, rng=rng, samples=told.samples, noise=told.noise
    )
    return Attribution(_largest(found))


def _occluded(
    network: Explained, image: Array, weights: Array, base: Array, told: Options, step: Progress
) -> Attribution:
    patch = None if told.cover is None else [min(told.cover, n) for n in image.shape[:-1]]
    signed = occlusion(network, image, weights, fill=base, patch=patch, progress=step)
    return Attribution(np.maximum(signed, 0), signed)


def _largest(gradient: Floats) -> Floats:
    """The largest absolute value over the channels."""
    return np.asarray(np.abs(gradient).max(axis=-1), np.float32)


METHODS = {
    method.name: method
    for method in (
        Method("gradcam", "Grad-CAM", "Selvaraju et al., ICCV 2017; Vinogradova et al., 2020",
               "parts of the last feature map that speak for the class", _cam("gradcam")),
        Method("gradcam++", "Grad-CAM++", "Chattopadhay et al., WACV 2018",
               "as Grad-CAM, with every place of a channel weighed", _cam("gradcam++")),
        Method("gradient", "Gradient", "Simonyan et al., 2013",
               "pixels whose change would change the score most", _gradient(None)),
        Method("integrated", "Integrated gradients", "Sundararajan et al., ICML 2017",
               "pixels that make the difference to an empty image, for or against", _integrated),
        Method("smoothgrad", "SmoothGrad", "Smilkov et al., 2017",
               "as Gradient, averaged over noise", _smooth),
        Method("guided", "Guided back-propagation", "Springenberg et al., 2014",
               "edges that excite what the network looks for; hardly depends on the class",
               _gradient("guided")),
        Method("deconvolution", "Deconvolution", "Zeiler and Fergus, ECCV 2014",
               "patterns that excite what the network looks for; hardly depends on the class",
               _gradient("deconvolution")),
        Method("occlusion", "Occlusion", "Zeiler and Fergus, ECCV 2014",
               "parts without which the score is lower", _occluded),
    )
}  # fmt: skip
"""Every method; being listed here is being a choice of ``--method``, and being tested."""


def chosen_methods(names: Sequence[str]) -> tuple[Method, ...]:
    """Methods by their names, each once.

    Raises:
        ExplainError: A name is unknown.
    """
    for name in names:
        if name not in METHODS:
            raise ExplainError(
                f"unknown method {name!r}{nearest(name, METHODS)}; methods: {', '.join(METHODS)}"
            )
    return tuple(METHODS[name] for name in dict.fromkeys(names))
