"""Dynamic sampling and demonstrations: what a step learns from, counted by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from probes import config, probe, tiny_policy, train

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.objectives.contract import Adapted
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.policies.protocol import Limits
from keyturn.rollouts.store import read_completions, read_grades
from keyturn.training.collect import RolloutRound, lesson_batch
from keyturn.training.rollout import Beside, Sampled

PROMPTS = ("ask", "tell", "ask a", "ask b", "tell a", "tell b")
SOME = probe(lambda problem, words: float(len(words) % 2), PROMPTS)
NEVER = probe(lambda problem, words: 0.0, PROMPTS)
SELDOM = probe(lambda problem, words: float(problem.id == "p3" and words[:1] == ["a"]), PROMPTS)


def test_dynamic_sampling_asks_on_and_keeps_only_groups_that_teach(tmp_path):
    plain = train(tmp_path / "plain", SOME, config(steps=2))
    more = train(tmp_path / "more", SELDOM, config(steps=4, prompts=2, rounds=3, store_rollouts=True))
    assert all("rounds" not in row for row in plain.history)
    for step, row in enumerate(more.history):
        stored = read_completions(more.folder / "rollouts", [step])
        graded = read_grades(more.folder / "rollouts", [step]).outcome
        assert len(stored) == len(graded) == row["rounds"] * 2 * 8
        assert len(stored.prompts) == row["rounds"] * 2, "no problem twice"
        assert row["groups/kept"] == (0 < graded.sum() < len(graded))
        assert row["rounds"] == 3, "two groups that teach are never found"
        assert row["outcome"] == pytest.approx(graded.mean()), "the curve counts what was dropped"
    assert sum(row["groups/kept"] for row in more.history) > 0
    assert {row["rounds"] for row in train(tmp_path / "x", SOME, config(prompts=2, rounds=3)).history} <= {
        1,
        2,
        3,
    }


def test_where_no_group_differs_nothing_moves_and_it_is_counted(tmp_path):
    run = train(tmp_path, NEVER, config(steps=2, rounds=2))
    for row in run.history:
        assert row["groups/kept"] == 0
        assert row["idle"] == row["updates"]


def drawn(rows=4):
    policy = tiny_policy()
    return policy.draw(SOME.problems[:2], range(rows), Streams(1), Limits(max_new_tokens=6))


def round_of(completions, demonstrations=None):
    problems = SOME.problems[:2]
    return RolloutRound(
        problems=problems,
        completions=completions,
        grades=SOME.grader.grade(problems, completions),
        rewards=np.arange(len(completions), dtype=np.float32),
        kept=np.arange(len(completions)) != 1,
        own=None,
        demonstrations=demonstrations,
    )


def test_demonstrations_stand_behind_the_draws_each_in_a_group_of_its_own():
    completions = drawn()
    shown = completions.select(np.array([3, 0]))
    whole, batch = lesson_batch([round_of(completions, shown)], 6, None, "cpu", Streams(0))
    assert batch.demonstration.tolist() == [False] * 7 + [True] * 2
    assert batch.rewards.tolist() == [0, 2, 3, 4, 5, 6, 7, 0, 0]
    groups = batch.group.tolist()
    assert len(set(groups[7:])) == 2
    assert not set(groups[7:]) & set(groups[:7])
    np.testing.assert_array_equal(whole.row(7), completions.row(3))
    assert not batch.sampled_logprobs[7:].any()
    # What the group statistics of the draws are, they are without demonstrations.
    _, alone = lesson_batch([round_of(completions)], 6, None, "cpu", Streams(0))
    credit = grpo().credit(alone)
    torch.testing.assert_close(grpo().credit(batch)[:7, : credit.shape[1]], credit)


def test_roles_come_from_the_source_that_is_named():
    completions = drawn()
    _, batch = lesson_batch(
        [round_of(completions)], 6, lambda c: np.full(len(c.tokens), 4, np.uint8), "cpu", Streams(0)
    )
    assert set(batch.roles[batch.mask].tolist()) == {4}


def test_an_objective_that_needs_what_is_not_there_says_where_it_comes_from(tmp_path):
    for need in ("demonstration", "roles"):
        with pytest.raises(UsageError, match=need) as refused:
            train(tmp_path / need, SOME, config(), objective=replace(grpo(), needs=frozenset({need})))
        assert "--" in refused.value.fix


def test_demonstrations_reach_the_objective_and_are_part_of_the_run(tmp_path):
    seen = []

    def credit(batch):
        seen.append(batch.demonstration)
        return grpo().credit(batch)

    rollout = Beside(Sampled(3, Limits(max_new_tokens=6)), drawn(), 2)
    objective = replace(grpo(), needs=frozenset({"demonstration"}), credit=credit)
    train(tmp_path, SOME, config(steps=2), objective=objective, rollout=rollout)
    assert [int(mask.sum()) for mask in seen] == [2, 2]
    assert "demonstrations" in (tmp_path / "config.json").read_text()


def test_a_schedule_sets_the_weight_and_survives_a_stop(tmp_path):
    def adapt(state, step, metrics):
        assert (step == 0) == (not metrics)
        count = state.get("count", 0.0) + 1
        return Adapted({"count": count}, {"kl": count})

    objective = replace(grpo(GrpoConfig(kl_weight=0.1)), adapt=adapt)
    whole = train(tmp_path / "whole", SOME, config(), objective=objective)
    assert train(tmp_path / "cut", SOME, config(), objective=objective, stop_after=3) is None
    cut = train(tmp_path / "cut", SOME, config(), objective=objective)
    assert [row["factor/kl"] for row in cut.history] == [1.0 + i for i in range(len(cut.history))]
    assert cut.history == whole.history
