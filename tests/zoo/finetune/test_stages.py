"""The same groups in flat and nested models, classifiers and segmenters, 2D and 3D."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest

from tests.zoo import tiny
from tests.zoo.finetune.models import HEAD, SPEC, build
from zoo.backbones import create_backbone
from zoo.errors import ZooError
from zoo.finetune import FineTunePolicy, layer_stages, rate_multipliers

BELOW = {
    "scale": 0,
    **dict.fromkeys(("conv1", "norm1", "act1"), 0),
    **dict.fromkeys(("conv2", "norm2", "act2"), 1),
    **dict.fromkeys(("mix", "conv3", "norm3", "act3"), 2),
}
KINDS = [(dims, task) for dims in (2, 3) for task in ("classify", "segment")]


def _by_name(stages: dict[str, int]) -> dict[str, int]:
    return {place.rsplit("/", 1)[-1]: stage for place, stage in stages.items()}


@pytest.mark.parametrize(("dims", "task"), KINDS)
@pytest.mark.parametrize("nested", [False, True])
def test_every_layer_finds_its_stage(dims: int, task: str, nested: bool) -> None:
    found = _by_name(layer_stages(build(dims=dims, task=task, nested=nested), SPEC))
    assert found.items() >= BELOW.items()
    assert found["image"] == 0
    head = {"pool", "logits"} if task == "classify" else {"up1", "join2", "decode1", "logits"}
    assert {found[name] for name in head} == {HEAD}


@pytest.mark.parametrize(("dims", "task", "nested"), [(2, "segment", True), (3, "classify", False)])
def test_a_saved_model_has_the_same_groups(
    dims: int, task: str, nested: bool, tmp_path: Path
) -> None:
    model = build(dims=dims, task=task, nested=nested)
    policy = FineTunePolicy(train=1, decay=0.5)
    report = policy.apply(model, SPEC)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert layer_stages(again, SPEC) == layer_stages(model, SPEC)
    assert policy.apply(again, SPEC) == report
    names = [weight.path for weight in model.trainable_weights]
    assert [weight.path for weight in again.trainable_weights] == names


def test_an_inflated_backbone_has_the_stages_of_its_plane_one() -> None:
    with tiny.registered() as spec:
        plane = create_backbone("tiny", input_shape=(32, 32, 1), weights=None)
        space = create_backbone("tiny", input_shape=(16, 32, 32, 1), weights=None, dims=3)
    wanted = layer_stages(plane, spec)
    found = layer_stages(space, spec)
    assert {found[name] for name in wanted if name in found} == {0, 1, 2, 3}
    assert {name: found[name] for name in wanted if name in found} == {
        name: stage for name, stage in wanted.items() if name in found
    }
    image = keras.Input((16, 32, 32, 1))
    nested = layer_stages(keras.Model(image, space(image)), spec)
    assert {
        f"{space.name}/{name}": stage for name, stage in found.items()
    }.items() <= nested.items()


def test_members_of_an_ensemble_are_found_in_it() -> None:
    image = keras.Input((8, 8, 1), name="image")
    branches = [build(seed=seed) for seed in (0, 1)]
    for index, branch in enumerate(branches):
        branch.name = f"member_{index}"
    model = keras.Model(image, keras.layers.Average(name="mean")([b(image) for b in branches]))
    stages = layer_stages(model, SPEC)
    assert stages["member_0/conv3"] == stages["member_1/mix"] == 2
    assert stages["member_1/logits"] == stages["mean"] == HEAD
    report = FineTunePolicy(train="head").apply(model, SPEC)
    assert report.trainable == 2 * (10 * 2 + 2)
    assert len(model.trainable_weights) == 4


def test_a_block_in_front_of_the_backbone_counts_with_the_stem() -> None:
    image = keras.Input((8, 8, 3), name="colour")
    grey = keras.layers.Conv2D(1, 1, name="to_grey")(image)
    inner = build(nested=True)
    inner.name = "classifier"
    stages = layer_stages(keras.Model(image, inner(grey)), SPEC)
    assert stages["to_grey"] == 0
    assert stages["classifier/body/conv2"] == 1


def test_a_switched_off_model_is_switched_on_again() -> None:
    model = build(nested=True)
    model.trainable = False
    report = FineTunePolicy(train="all", batch_norm="train").apply(model, SPEC)
    assert report.frozen == 0
    assert len(model.trainable_weights) == 4 + 2 * 3 + 3


def test_a_model_without_the_backbone_is_refused() -> None:
    image = keras.Input((4,))
    model = keras.Model(image, keras.layers.Dense(2, name="act9")(image), name="other")
    with pytest.raises(ZooError, match="model 'other' has no layer 'act1': not a 'three_stages'"):
        layer_stages(model, SPEC)


def test_two_variables_of_one_name_cannot_have_two_rates() -> None:
    image = keras.Input((8, 8, 1), name="image")
    inner = build(nested=False)
    inner.name = "inner"
    out = keras.layers.Dense(2, name="conv1")(inner(image))
    model = keras.Model(image, out)
    assert rate_multipliers(model, SPEC, decay=1.0)["conv1/kernel"] == 1.0
    with pytest.raises(ZooError, match="two variables are called 'conv1/kernel'"):
        rate_multipliers(model, SPEC, decay=0.5)
