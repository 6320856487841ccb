"""What a run does when something is off: defined, counted, named; nothing lost."""

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from probes import Changes, config, probe, starts_with_a, tiny_policy, train
from safetensors import safe_open
from safetensors.torch import load_file

from keyturn.core.errors import InputError, NumericsError, StorageError, UsageError
from keyturn.core.jsonl import read_jsonl
from keyturn.core.problem import Problem
from keyturn.core.rundir import is_done, read_json
from keyturn.core.streams import Streams
from keyturn.objectives.contract import Objective
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.policies.local import LocalPolicy, Sampling
from keyturn.policies.protocol import Limits
from keyturn.rewards.contract import Reward
from keyturn.training.batches import microbatches, minibatches, narrowed, padded, rollout_batch
from keyturn.training.checkpoint import newest_checkpoint, weights_of
from keyturn.training.config import UpdateConfig
from keyturn.training.rollout import Rollout, Sampled, problems_at

ONE = probe(starts_with_a)


def varied(problem, words):
    """Hardly ever the same for all draws, so that every step has something to learn from."""
    return 0.1 * sum(map(ord, "".join(words))) + len(words)


VARIED = probe(varied)


def weights(policy: LocalPolicy) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in weights_of(policy.model).items()}


def test_a_rate_of_zero_leaves_every_byte(tmp_path):
    base = tiny_policy()
    run = train(tmp_path, ONE, config(lr=0.0), policy=base)
    assert weights(run.policy) == weights(base)
    assert load_file(run.model / "model.safetensors").keys()
    assert any(row["rows/used"] > 0 for row in run.history), "there was something to learn"


def test_the_policy_that_was_given_is_left_as_it_is(tmp_path):
    base = tiny_policy()
    before = weights(base)
    run = train(tmp_path, ONE, config(), policy=base)
    assert weights(base) == before
    assert weights(run.policy) != before


def poisoned(steps) -> Objective:
    """GRPO whose loss is not a number at some updates."""
    plain = grpo()
    count = {"update": -1}

    def loss(policy, batch):
        if torch.is_grad_enabled():
            count["update"] += 1
        terms = plain.loss(policy, batch)
        if torch.is_grad_enabled() and count["update"] in steps:
            return (terms[0]._replace(sum=terms[0].sum * torch.nan), *terms[1:])
        return terms

    return replace(plain, loss=loss)


def test_a_loss_that_is_not_a_number_is_skipped_and_its_batch_kept(tmp_path):
    run = train(tmp_path, VARIED, config(steps=5), objective=poisoned({1}))
    skipped = [row["skipped"] for row in run.history]
    assert skipped == [0, 1, 0, 0, 0]
    [dump] = (tmp_path / "bad").iterdir()
    assert dump.name == "step-000001.safetensors"
    with safe_open(dump, "pt") as stored:
        assert json.loads(stored.metadata()["keyturn"])["loss"] == "nan"
    assert {"tokens", "mask", "rewards", "sampled_logprobs", "credit"} <= load_file(dump).keys()
    assert all(torch.isfinite(tensor).all() for tensor in weights_of(run.policy.model).values())


def test_a_skipped_step_changes_neither_weights_nor_moments(tmp_path):
    train(
        tmp_path / "a", VARIED, config(steps=9, checkpoint_every=1, keep_checkpoints=9), objective=poisoned({2})
    )
    before, after = (
        load_file(tmp_path / "a" / "checkpoints" / f"step-{step:06d}" / "optimiser.safetensors")
        for step in (2, 3)
    )
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_three_in_a_row_stop_the_run(tmp_path):
    with pytest.raises(NumericsError, match="3 updates in a row"):
        train(tmp_path, VARIED, config(steps=9, checkpoint_every=1), objective=poisoned({2, 3, 4}))
    assert not is_done(tmp_path)
    assert len(list((tmp_path / "bad").iterdir())) == 3


def test_three_in_a_row_are_counted_across_an_interruption(tmp_path):
    # One skipped before the interruption and two after it.
    settings = config(steps=9, checkpoint_every=1)
    train(tmp_path, VARIED, settings, objective=poisoned({2}), stop_after=3)
    assert newest_checkpoint(tmp_path / "checkpoints").facts["bad_in_a_row"] == 1
    with pytest.raises(NumericsError, match="last: step 4"):
        train(tmp_path, VARIED, settings, objective=poisoned({0, 1}))


def test_two_in_a_row_do_not(tmp_path):
    run = train(tmp_path, VARIED, config(steps=7), objective=poisoned({1, 2, 4, 5}))
    assert sum(row["skipped"] for row in run.history) == 4


def test_a_disk_that_fills_up_leaves_the_older_checkpoints_and_a_run_that_resumes(tmp_path, monkeypatch):
    settings = config(steps=8, checkpoint_every=2)
    straight = train(tmp_path / "straight", ONE, settings)
    real, calls = os.fsync, {"left": 14}

    def limited(handle):
        calls["left"] -= 1
        if calls["left"] < 0:
            raise OSError(errno.ENOSPC, "no space left on device")
        return real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", limited)
        with pytest.raises(StorageError, match="disk full"):
            train(tmp_path / "full", ONE, settings)
    found = newest_checkpoint(tmp_path / "full" / "checkpoints")
    assert found is not None
    assert 0 < found.step < 8
    resumed = train(tmp_path / "full", ONE, settings)
    assert weights(resumed.policy) == weights(straight.policy)
    assert resumed.history == straight.history


def never(*_):
    raise AssertionError("something was drawn")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_read_only_directory_is_refused_before_anything_is_drawn(tmp_path, monkeypatch, code):
    def refuse(*_, **__):
        raise OSError(code, "no")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match="not allowed"):
        train(tmp_path / "run", ONE, config(), rollout=never)


@pytest.mark.parametrize("name", ["file/run", "file", "x" * 300])
def test_a_directory_that_cannot_be_is_refused_by_name(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be a directory"):
        train(tmp_path / name, ONE, config())


@pytest.mark.parametrize("name", ["with space", "ünïcode-目录", "."])
def test_odd_names_of_directories_work(tmp_path, name):
    assert train(tmp_path / name, ONE, config(steps=1)).model.is_dir()


def test_rows_without_a_reward_leave_their_group_and_are_counted(tmp_path):
    def rule(problem, words):
        return float("nan") if words[:1] == ["b"] else starts_with_a(problem, words)

    run = train(tmp_path, probe(rule), config(steps=12, draws=24))
    shares = [row["ungraded"] for row in run.history]
    assert max(shares) > 0
    assert all(np.isfinite(value) for row in run.history for value in row.values())
    assert run.history[-1]["reward"] > run.history[0]["reward"]


def test_a_batch_without_any_reward_moves_nothing(tmp_path):
    base = tiny_policy()
    run = train(tmp_path, probe(lambda *_: float("nan")), config(steps=3), policy=base)
    assert weights(run.policy) == weights(base)
    assert [row["idle"] for row in run.history] == [1, 1, 1]
    assert [row["ungraded"] for row in run.history] == [1, 1, 1]


@pytest.mark.parametrize("given", [None, np.array([1.0]), np.array(["1"] * 8), np.full(8, np.inf)])
def test_a_reward_that_is_none_ends_the_run_by_name(tmp_path, given):
    broken = Reward(name="mine", summary="", source="", reward=lambda *_: given, config=[str(given)])
    with pytest.raises(InputError, match="'mine'"):
        train(tmp_path, ONE, config(), reward=broken)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prompts": 2}, "2 problems per step, but there are only 1"),
        ({"draws": 0}, "draws"),
        ({"steps": 0}, "steps"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"lr": float("nan")}, "lr"),
        ({"update": UpdateConfig(minibatches=2)}, "mini-batches"),
        ({"update": UpdateConfig(epochs=0)}, "epochs"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path, changes, says):
    with pytest.raises(UsageError, match=says):
        train(tmp_path, ONE, config(**changes))
    assert not tmp_path.joinpath("config.json").exists()


@pytest.mark.parametrize("sampling", [Sampling(temperature=0.0), Sampling(top_p=0.9), Sampling(top_k=3)])
def test_a_policy_that_does_not_draw_from_itself_is_refused(tmp_path, sampling):
    with pytest.raises(UsageError, match="its own distribution"):
        train(tmp_path, ONE, config(), policy=tiny_policy().having(sampling=sampling))


def test_narrow_weights_are_refused(tmp_path):
    policy = tiny_policy()
    policy.model.to(torch.bfloat16)
    with pytest.raises(UsageError, match="float32"):
        train(tmp_path, ONE, config(), policy=policy)


def test_at_another_temperature_sampler_and_trainer_still_agree(tmp_path):
    run = train(tmp_path, ONE, config(steps=4), policy=tiny_policy(temperature=0.7))
    assert max(row["gap/max"] for row in run.history if "gap/max" in row) < 1e-5
    # Twin: at temperature 1 the trainer would see other log-probabilities.
    drawn = tiny_policy(temperature=0.7).draw([Problem(id="x", prompt="ask")], range(8), Streams(1), Limits())
    scored = tiny_policy().score(drawn)
    assert np.abs(scored.logprobs - drawn.logprobs).max() > 1e-3


def test_more_updates_a_rollout_move_further_and_are_logged(tmp_path):
    one = train(tmp_path / "1", ONE, config(steps=2, draws=16))
    four = train(tmp_path / "4", ONE, config(steps=2, draws=16, update=UpdateConfig(epochs=4)))
    assert [row["updates"] for row in one.history] == [1, 1]
    assert [row["updates"] for row in four.history] == [4, 4]
    assert weights(one.policy) != weights(four.policy)


def test_clipping_shows_once_there_is_more_than_one_update(tmp_path):
    tight = grpo(GrpoConfig(clip_low=0.001, clip_high=0.001))
    one = train(tmp_path / "1", ONE, config(steps=3, draws=32), objective=tight)
    many = train(tmp_path / "4", ONE, config(steps=3, draws=32, update=UpdateConfig(epochs=4)), objective=tight)
    assert all(row["loss/clipped_high"] == 0 for row in one.history)
    assert any(row["loss/clipped_high"] > 0 for row in many.history)


def test_micro_batches_change_only_the_last_bits(tmp_path):
    whole = train(tmp_path / "a", ONE, config(steps=3, draws=16))
    cut = train(tmp_path / "b", ONE, config(steps=3, draws=16, update=UpdateConfig(micro_tokens=12)))
    for name, tensor in weights_of(whole.policy.model).items():
        torch.testing.assert_close(tensor, weights_of(cut.policy.model)[name], rtol=1e-3, atol=1e-5)


def all_tools(policies, problems, streams):
    drawn = Sampled(8, Limits(max_new_tokens=4))(policies, problems, streams)
    return Rollout(completions=drawn.completions, own=np.zeros(len(drawn.completions.tokens), dtype=bool))


def test_tokens_of_a_tool_are_not_learnt(tmp_path):
    base = tiny_policy()
    run = train(tmp_path, ONE, config(steps=3), rollout=all_tools, policy=base)
    assert weights(run.policy) == weights(base)


def test_a_hook_that_names_no_term_of_the_loss_is_refused(tmp_path):
    with pytest.raises(UsageError, match="'kl'"):
        train(tmp_path, ONE, config(), hooks=(Changes(fades="kl"),))


def test_a_run_ends_when_a_hook_says_so(tmp_path):
    class Stops(Changes):
        def after_step(self, loop, row):
            if loop.step == 2:
                loop.stop("two are enough")

    run = train(tmp_path, ONE, config(steps=50), hooks=(Stops(),))
    assert len(run.history) == 2
    assert is_done(tmp_path)
    assert "two are enough" in read_json(run.model / "card.json")["rl"]["stopped"]


def test_the_reference_follows_its_resets(tmp_path):
    objective = grpo(GrpoConfig(kl_weight=0.2))
    fixed = train(tmp_path / "a", ONE, config(steps=6), objective=objective)
    moved = train(tmp_path / "b", ONE, config(steps=6), objective=objective, hooks=(Changes(),))
    assert weights(fixed.policy) != weights(moved.policy)
    # Right after a reset policy and reference are the same, so the penalty is zero.
    assert moved.history[2]["loss/kl"] == pytest.approx(0.0, abs=1e-6)
    assert fixed.history[2]["loss/kl"] > 1e-6


def test_every_epoch_asks_every_problem_once_and_no_step_asks_twice():
    problems = [Problem(id=str(i), prompt="?") for i in range(7)]
    streams, position, asked = Streams(3), 0, []
    for _ in range(9):
        chosen, position = problems_at(position, 3, problems, streams)
        assert len({p.id for p in chosen}) == 3
        asked.append([p.id for p in chosen])
    for epoch in range(4):
        seen = asked[2 * epoch] + asked[2 * epoch + 1]
        assert len(set(seen)) == 6
    assert asked[:2] != asked[2:4]


def drawn_batch():
    drawn = tiny_policy().draw(
        [Problem(id=str(i), prompt="ask") for i in range(3)], range(4), Streams(2), Limits(max_new_tokens=6)
    )
    rewards = np.arange(12, dtype=np.float32)
    return drawn, rollout_batch(drawn, rewards, max_new_tokens=6)


def test_padding_puts_every_token_in_its_place():
    drawn, batch = drawn_batch()
    for row in range(len(drawn)):
        width = int(drawn.lengths[row])
        np.testing.assert_array_equal(batch.tokens[row, :width], drawn.row(row))
        assert batch.mask[row].tolist() == [True] * width + [False] * (batch.mask.shape[1] - width)
    assert padded(drawn, drawn.logprobs).sum() == pytest.approx(drawn.logprobs.sum(), rel=1e-5)


def test_micro_and_mini_batches_hold_every_row_once():
    drawn, batch = drawn_batch()
    for tokens in (1, 5, 12, 30, 1000):
        for rows in (np.arange(12), np.array([7, 1, 2, 11, 4])):
            parts = list(microbatches(drawn, rows, tokens))
            assert sorted(np.concatenate(parts).tolist()) == sorted(rows.tolist())
            for part in parts:
                read = len(np.unique(drawn.problem[part])) + len(part) * drawn.lengths[part].max()
                assert len(part) == 1 or read <= tokens
    assert len(list(microbatches(drawn, np.arange(12), 10_000))) == 1
    parts = list(minibatches(batch, 2, 3, Streams(1)))
    assert len(parts) == 6
    assert sorted(np.concatenate(parts[:3]).tolist()) == list(range(12))
    assert all(len(set(batch.group[torch.from_numpy(p)].tolist())) * 4 == len(p) for p in parts)


def test_narrowing_drops_only_padding():
    _, batch = drawn_batch()
    rows = np.array([5, 2])
    width = int(batch.mask[rows].sum(1).max())
    small = narrowed(batch, rows, width)
    assert small.tokens.shape == (2, width)
    assert small.mask.sum() == batch.mask[rows].sum()
    assert small.rewards.tolist() == [5.0, 2.0]


def test_rollouts_are_kept_where_asked(tmp_path):
    from keyturn.rollouts.store import completion_parts, read_completions, read_grades

    train(tmp_path, ONE, config(steps=3, store_rollouts=True))
    assert completion_parts(tmp_path / "rollouts") == (0, 1, 2)
    first = read_completions(tmp_path / "rollouts", [0])
    assert len(first) == 8
    outcome = read_grades(tmp_path / "rollouts", [0]).outcome
    assert outcome.mean() == pytest.approx(read_jsonl(tmp_path / "metrics.jsonl")[0]["outcome"])


def test_what_was_overridden_is_written_down(tmp_path):
    train(tmp_path, ONE, config(update=UpdateConfig(clip=0.5)))
    document = read_json(tmp_path / "config.json")
    assert document["overridden"]["update.clip"] == [1.0, 0.5]
    assert document["overridden"]["lr"] == [0.0003, 0.01]
    assert "betas" not in document["overridden"]
    assert str(tmp_path) not in json.dumps(document)


def test_a_grader_that_sees_an_empty_completion_goes_on(tmp_path):
    # EOS at once is a completion of one token and no words.
    def rule(problem, words):
        return float(words == ["<eos>"])

    run = train(tmp_path, probe(rule), config(steps=25, draws=16, lr=2e-2))
    assert run.history[-1]["length"] < 2
