"""Rounded weights: a master copy keeps what bf16 alone loses; shares of changed weights by hand."""

import numpy as np
import pytest
import torch
from made_task import shipped_task
from torch import nn

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.methods.precision import (
    METHOD,
    PrecisionConfig,
    Rounding,
    by_rl,
    by_sft,
    changed,
    start_of,
)

SMALL = 2.0**-10
"""An eighth of the spacing of bf16 at 1, 2^-7: one such update alone never shows."""


def stepped(regime, steps, update=SMALL):
    """A weight of 1 after some updates under a regime, and what answered in each."""
    weight = nn.Parameter(torch.ones(1))
    rounding, seen = Rounding(regime), []
    for _ in range(steps):
        rounding.begin({"w": weight})
        seen.append(float(weight.detach()))
        with torch.no_grad():
            weight += update
        rounding.end({"w": weight})
    return float(weight.detach()), seen


def test_bf16_alone_loses_small_updates_and_a_master_copy_does_not():
    assert stepped("fp32", 8) == (1 + 8 * SMALL, [1 + i * SMALL for i in range(8)])
    assert stepped("bf16", 8) == (1.0, [1.0] * 8)
    kept, seen = stepped("master", 8)
    assert kept == 1 + 8 * SMALL
    # Half a spacing is four updates, a tie that goes to even (1); from the fifth on the next value answers.
    assert seen == [1.0] * 5 + [1 + 2.0**-7] * 3


def test_what_is_kept_between_steps_is_the_master_copy():
    halfway, _ = stepped("master", 3)
    # The broken twin keeps the rounded weight, so a run that goes on from a checkpoint forgets.
    assert halfway == 1 + 3 * SMALL != float(torch.tensor(halfway).bfloat16())


def test_an_unknown_regime_is_answered():
    with pytest.raises(UsageError, match="fp64"):
        Rounding("fp64")


def test_shares_by_hand():
    before, after = nn.Linear(4, 1, bias=False), nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        before.weight.copy_(torch.tensor([[1.0, 1.0, 2.0**-12, 0.5]]))
        after.weight.copy_(before.weight + torch.tensor([[2.0**-10, 2.0**-7, 2.0**-19, 0.0]]))
    found = changed(before, after)
    assert found["exact"] == 3 / 4
    assert found["visible"] == 2 / 4
    assert found["tolerant"] == 1 / 4
    assert found["norm"] == pytest.approx(np.sqrt(2.0**-20 + 2.0**-14 + 2.0**-38))


@pytest.mark.parametrize("train", [by_rl, by_sft])
def test_weights_of_bf16_stay_on_the_grid_and_fp32_leaves_it(tmp_path, train):
    task, lab, config = shipped_task("chain"), Lab(tmp_path, Streams(0)), METHOD.brief(PrecisionConfig())
    grid = start_of(task).policy.model
    on_grid, off_grid = (
        train(Session(lab, task), config, regime, 1e-3, 2).policy.model for regime in ("bf16", "fp32")
    )
    assert all((p == p.bfloat16()).all() for p in on_grid.parameters())
    assert not all((p == p.bfloat16()).all() for p in off_grid.parameters())
    assert changed(grid, off_grid)["exact"] >= changed(grid, off_grid)["visible"] > 0
    assert changed(grid, on_grid)["exact"] == changed(grid, on_grid)["visible"] > 0
