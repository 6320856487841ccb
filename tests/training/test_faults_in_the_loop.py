"""Out of memory, and groups of one draw."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from probes import config, probe, starts_with_a, train

from keyturn.objectives import OBJECTIVES
from keyturn.policies.protocol import Limits
from keyturn.training.checkpoint import weights_of
from keyturn.training.rollout import Sampled

ONE = probe(starts_with_a)
VARIED = probe(lambda problem, words: 0.1 * sum(map(ord, "".join(words))) + len(words))
RELATIVE = {"grpo", "dr_grpo", "rloo", "dapo"}


@dataclass
class Failing:
    """The plain rollout, which fails once as a GPU does that has no memory left."""

    left: int = field(compare=False)
    draw: Sampled = field(default_factory=lambda: Sampled(8, Limits(max_new_tokens=4)))

    def __call__(self, policies, problems, streams):
        self.left -= 1
        if self.left == 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.draw(policies, problems, streams)


def weights(run):
    return {name: tensor.clone() for name, tensor in weights_of(run.policy.model).items()}


@pytest.mark.parametrize("at", [1, 4, 6])
def test_running_out_of_memory_leaves_the_last_checkpoint(tmp_path, at):
    settings = config(steps=6, checkpoint_every=2)
    failing = Failing(at)
    with pytest.raises(torch.OutOfMemoryError):
        train(tmp_path / "run", ONE, settings, rollout=failing)
    resumed = train(tmp_path / "run", ONE, settings, rollout=failing)
    straight = train(tmp_path / "straight", ONE, settings, rollout=Failing(0))
    ours, theirs = weights(resumed), weights(straight)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert len(resumed.history) == len(straight.history) == 6


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_a_group_of_one_draw_is_defined(tmp_path, objective):
    build = OBJECTIVES[objective]()
    if build.needs:
        pytest.skip(f"needs {', '.join(sorted(map(str, build.needs)))}")
    run = train(tmp_path, VARIED, config(draws=1, steps=3), objective=objective)
    assert all(np.isfinite(value) for row in run.history for value in row.values())
    if objective in RELATIVE:
        # There is nobody to be better than: no step is taken, and that is counted.
        assert [row["idle"] for row in run.history] == [1, 1, 1]
