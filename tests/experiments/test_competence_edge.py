"""Edge of competence: mid-training and RL share one budget of passes over tokens."""

from dataclasses import replace

import pytest

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.experiments.competence_edge import RL_PASSES, SUPERVISED_PASSES, EdgeConfig, split_of, task_of
from keyturn.lab.lab import Lab

CONFIG = EdgeConfig()
CONFIG = replace(
    CONFIG, rl=replace(CONFIG.rl, steps=30, prompts=8, draws=8), fit=replace(CONFIG.fit, batch_rows=32)
)


@pytest.mark.parametrize("mid", [0.1, 0.33, 0.5, 1.0])
@pytest.mark.parametrize(("row", "group"), [(50.0, 20 + 8 * 30.0), (80.0, 40 + 8 * 60.0)])
def test_what_mid_training_takes_rl_gives(mid, row, group):
    fit_steps, rl_steps = split_of(replace(CONFIG, mid=mid), row, group)
    spent = fit_steps * 32 * row * SUPERVISED_PASSES + rl_steps * 8 * group * RL_PASSES
    whole = 30 * 8 * group * RL_PASSES
    assert spent == pytest.approx(whole, rel=0.01 + 32 * row * SUPERVISED_PASSES / whole)
    assert rl_steps == round((1 - mid) * 30)


def test_counting_rows_in_place_of_tokens_would_pay_too_much():
    row, group = 80.0, 40 + 8 * 30.0
    by_rows = round(10 * 8 * 8 * RL_PASSES / (32 * SUPERVISED_PASSES))
    assert split_of(replace(CONFIG, mid=1 / 3), row, group)[0] < 0.6 * by_rows


def test_shares_outside_0_to_1_are_refused(tmp_path):
    with pytest.raises(UsageError, match="shares"):
        task_of(Lab(tmp_path, Streams(0)), EdgeConfig(exposure=1.5))
