"""The policy as data: round trips, schedules, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from zoo.errors import ZooError
from zoo.finetune import Adapters, FineTunePolicy

FULL = FineTunePolicy(
    train="head",
    schedule=((2, 1), (5, "all")),
    decay=0.7,
    batch_norm="statistics",
    learning_rate=3e-4,
    weight_decay=0.05,
    warmup=0.2,
    ema=0.99,
    adapters=Adapters(rank=4, alpha=8.0, layers="pointwise", seed=3),
)


@pytest.mark.parametrize("policy", [FineTunePolicy(), FULL])
def test_json_and_yaml_round_trip(policy: FineTunePolicy) -> None:
    assert FineTunePolicy.from_json(policy.to_json()) == policy
    assert FineTunePolicy.from_dict(yaml.safe_load(yaml.safe_dump(policy.to_dict()))) == policy
    assert hash(policy) == hash(FineTunePolicy.from_dict(policy.to_dict()))


def test_a_part_of_the_keys_is_enough() -> None:
    assert FineTunePolicy.from_dict({"train": 2}) == FineTunePolicy(train=2)


def test_what_trains_in_each_epoch() -> None:
    assert [FULL.at(epoch) for epoch in range(7)] == ["head", "head", 1, 1, 1, "all", "all"]
    assert [epoch for epoch in range(9) if FULL.changes_at(epoch)] == [2, 5]
    assert FULL.phases == ("head", 1, "all")


def test_gradual_unfreezing_adds_a_stage_at_a_time() -> None:
    policy = FineTunePolicy.gradual(stages=3, every=2, decay=0.5)
    assert [policy.at(epoch) for epoch in range(8)] == ["head", "head", 1, 1, 2, 2, 3, 3]
    assert policy.decay == 0.5
    with pytest.raises(ZooError, match="every is 0; give a whole number of at least 1"):
        FineTunePolicy.gradual(stages=3, every=0)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"train": "heads"}, "unknown train 'heads'; did you mean 'head'"),
        ({"train": -1}, "train is -1; give 'frozen', 'head', a number of stages"),
        ({"train": True}, "train is True"),
        ({"train": 1.5}, "train is 1.5"),
        ({"train": None}, "train is None"),
        ({"batch_norm": "stats"}, "unknown batch_norm 'stats'; did you mean 'statistics'"),
        ({"batch_norm": 3}, "unknown batch_norm 3; choose from 'frozen', 'train', 'statistics'"),
        ({"decay": 0}, r"decay is 0; give a number in \(0, 1\]"),
        ({"decay": 1.01}, "decay is 1.01"),
        ({"decay": float("nan")}, "decay is nan"),
        ({"decay": "0.7"}, "decay is '0.7'; give a number"),
        ({"learning_rate": 0}, "learning_rate is 0; give a number above 0"),
        ({"learning_rate": float("inf")}, "learning_rate is inf"),
        ({"weight_decay": -1e-3}, "weight_decay is -0.001; give a number of at least 0"),
        ({"warmup": 1.0}, r"warmup is 1.0; give a number in \[0, 1\)"),
        ({"ema": 1.0}, r"ema is 1.0; give a number in \(0, 1\), or None"),
        ({"ema": False}, "ema is False"),
        ({"schedule": "gradual"}, r"schedule is 'gradual'; give \(epoch, train\) pairs"),
        ({"schedule": [3]}, r"schedule has 3; give an \(epoch, train\) pair"),
        ({"schedule": [[-1, 2]]}, r"schedule has \[-1, 2\]"),
        ({"schedule": [[1, 2], [1, 3]]}, "schedule has epoch 1 behind 1; let epochs rise"),
        ({"schedule": [[1, "top"]]}, "unknown schedule at epoch 1 'top'"),
        ({"adapters": 8}, r"adapters is 8; give Adapters\(rank=8\) or None"),
        ({"adapters": {"rank": 0}}, "adapters.rank is 0; give a whole number of at least 1"),
        ({"adapters": {"alpha": -1}}, "adapters.alpha is -1; give a number above 0"),
        ({"adapters": {"layers": "point"}}, "did you mean 'pointwise'"),
        ({"adapters": {"ranks": 3}}, "unknown key 'adapters.ranks' .*did you mean 'adapters.rank'"),
        ({"adapters": {}, "train": "head"}, "adapters sit in the backbone's training stages"),
        ({"learning_rat": 1}, "unknown key 'learning_rat' .*did you mean 'learning_rate'"),
        ([1], "a fine-tuning policy is keys and values, not list"),
    ],
)
def test_refusals_name_the_value_and_the_way_out(values: Any, said: str) -> None:
    with pytest.raises(ZooError, match=said):
        FineTunePolicy.from_dict(values)


def test_text_that_is_no_json() -> None:
    with pytest.raises(ZooError, match="a fine-tuning policy is not JSON"):
        FineTunePolicy.from_json("{train: all}")
