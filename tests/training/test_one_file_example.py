"""The linear example and the library give the same numbers."""

import copy
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keyturn.objectives import OBJECTIVES
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.rewards import REWARDS
from keyturn.training.checkpoint import weights_of
from keyturn.training.config import RLConfig
from keyturn.training.rl import train_rl

FILE = Path(__file__).parents[2] / "examples" / "5_grpo_in_one_file.py"
STEPS = 10


def load_example():
    spec = importlib.util.spec_from_file_location("grpo_in_one_file", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = load_example()


def library(folder, objective):
    policy, _, problems, streams = example.setting()
    config = RLConfig(
        steps=STEPS, prompts=example.PROMPTS, draws=example.DRAWS, max_new_tokens=example.MAX_NEW_TOKENS
    )
    run = train_rl(
        policy,
        problems,
        reward=REWARDS["outcome"](),
        objective=objective,
        config=config,
        folder=folder,
        streams=streams,
    )
    rows = [(row["reward"], row.get("loss", 0.0), row.get("grad_norm", 0.0)) for row in run.history]
    return np.array(rows), weights_of(run.policy.model)


@pytest.fixture(scope="module")
def linear():
    policy, world, problems, streams = example.setting()
    model = copy.deepcopy(policy.model)
    fixed = {"eos": policy.ends[0], "world": world, "problems": problems.problems, "streams": streams}
    rows = example.grpo(STEPS, model=model, **fixed)
    return np.array(rows), weights_of(model), weights_of(policy.model)


@pytest.mark.slow
def test_the_same_trajectory(tmp_path, linear):
    rows, weights, base = linear
    theirs, their_weights = library(tmp_path, OBJECTIVES["grpo"]())
    np.testing.assert_array_equal(rows[:, 0], theirs[:, 0].astype(np.float32))
    np.testing.assert_allclose(rows[:, 1:], theirs[:, 1:], atol=1e-6, rtol=2e-5)
    moved = max(float((weights[name] - base[name]).abs().max()) for name in weights)
    apart = max(float((weights[name] - their_weights[name]).abs().max()) for name in weights)
    assert moved > 1e-3
    assert apart < 0.02 * moved


@pytest.mark.slow
def test_another_objective_gives_another_trajectory(tmp_path, linear):
    # The twin: without the division by the standard deviation the norms are others.
    theirs, _ = library(tmp_path, grpo(GrpoConfig(scale="none")))
    assert not np.allclose(linear[0][:, 2], theirs[:, 2], rtol=1e-2)


def test_it_is_short():
    assert len(FILE.read_text().splitlines()) < 150


@pytest.mark.slow
def test_it_runs_as_a_script():
    done = subprocess.run(
        [sys.executable, str(FILE), "1"], capture_output=True, text=True, timeout=200, check=True
    )
    assert done.stdout.startswith("step   0   reward 0.")
