"""What pretraining looks at: accuracy by role and zones, against counts by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from keyturn.core.problem import Problem
from keyturn.core.roles import Role
from keyturn.pretraining.role_accuracy import role_accuracy
from keyturn.pretraining.zones import measure_zones, zone_of
from keyturn.problems.world.document import Document
from keyturn.rollouts.grades import Answers

DOCUMENTS = [
    Document(
        prompt=(1, 2),
        completion=(5, 6, 7, 5),
        roles=(Role.PLAN, Role.ARITHMETIC, Role.ARITHMETIC, Role.PLAN),
        choices={0: (5, 6), 3: (5,)},
        component="a",
    ),
    Document(
        prompt=(1, 2, 3), completion=(6, 9), roles=(Role.PLAN, Role.ANSWER), choices={0: (6,)}, component="b"
    ),
]


class Parrot(nn.Module):
    """Always finds one token most likely."""

    def __init__(self, token):
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))
        self.token = token

    def forward(self, input_ids, use_cache=False):
        logits = torch.zeros(*input_ids.shape, 12)
        logits[..., self.token] = 1
        return SimpleNamespace(logits=logits)


class Oracle(Parrot):
    """Knows the documents by heart, off by some positions if told to."""

    def __init__(self, shift=0):
        super().__init__(0)
        self.shift = shift

    def forward(self, input_ids, use_cache=False):
        logits = torch.zeros(*input_ids.shape, 12)
        for row, ids in enumerate(input_ids.tolist()):
            whole = next(d.ids for d in DOCUMENTS if d.ids[:3] == tuple(ids[:3]))
            for place in range(len(ids)):
                logits[row, place, whole[min(place + 1 + self.shift, len(whole) - 1)]] = 1
        return SimpleNamespace(logits=logits)


def test_accuracy_by_role_counts_what_stands_there():
    assert role_accuracy(Parrot(6), DOCUMENTS) == {
        "answer": 0.0,
        "arithmetic": 1 / 2,
        "plan": 1 / 3,
        "plan valid": 2 / 3,
    }


def test_a_model_that_knows_the_text_is_right_everywhere_and_one_that_lags_is_not():
    assert set(role_accuracy(Oracle(), DOCUMENTS).values()) == {1.0}
    assert role_accuracy(Oracle(shift=-1), DOCUMENTS)["arithmetic"] == 0


@pytest.mark.parametrize(
    ("one", "many", "zone"),
    [
        (0.9, 1.0, "mastered"),
        (0.89, 1.0, "between"),
        (0.39, 0.3, "edge"),
        (0.4, 0.9, "between"),
        (0.39, 0.29, "between"),
        (0.01, 0.049, "out of reach"),
        (0.01, 0.05, "between"),
        (0.95, math.nan, "mastered"),
        (0.2, math.nan, "between"),
    ],
)
def test_zones_by_their_thresholds(one, many, zone):
    assert zone_of(one, many) == zone


def graded(successes, draws):
    problems = tuple(
        Problem(id=f"{i}", prompt="", cell={"depth": i // 2, "x": "y"}) for i in range(len(successes))
    )
    flat = np.concatenate([[1.0] * c + [0.0] * (draws - c) for c in successes]).astype(np.float32)
    return Answers(
        policy="base",
        problems=problems,
        problem=np.repeat(np.arange(len(successes)), draws).astype(np.int32),
        draw=np.tile(np.arange(draws), len(successes)).astype(np.int32),
        outcome=np.ones(len(flat), dtype=np.float32),
        verified=flat,
        answer=("",) * len(flat),
        length=np.ones(len(flat), dtype=np.int32),
        truncated=np.zeros(len(flat), dtype=bool),
    )


def test_zones_of_cells():
    zones = measure_zones(graded([8, 7, 1, 0, 0, 0], 8), by=("depth",), k=4)
    assert [zone.cell for zone in zones] == [{"depth": 0}, {"depth": 1}, {"depth": 2}]
    assert [zone.zone for zone in zones] == ["mastered", "between", "out of reach"]
    assert zones[0].pass_at_1 == pytest.approx(15 / 16)
    # One success in eight: four draws hold it half the time.
    assert zones[1].pass_at_k == pytest.approx((1 - math.comb(7, 4) / math.comb(8, 4)) / 2)
    assert zones[1].answer_at_1 == 1.0
    assert zones[0].to_json()["cell"] == {"depth": 0}


def test_too_few_draws_give_no_pass_at_k():
    (zone,) = measure_zones(graded([1, 1], 4), by=("x",), k=64)
    assert math.isnan(zone.pass_at_k)
    assert zone.zone == "between"
    assert zone.to_json()["pass_at_k"] is None
