"""The probe ladder: problems so small that what RL must do, and must not, is known beforehand."""

import numpy as np
import pytest
import torch
from probes import WORDS, config, first_words, probe, starts_with_a, tiny_policy, train

from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.policies.protocol import Limits
from keyturn.rewards.outcome import OutcomeConfig, outcome
from keyturn.training.checkpoint import weights_of


def nudged(policy, word, logit, prompt="ask"):
    """Move the first-word logit of one word by training-free surgery on its embedding row's direction."""
    token = WORDS.index(word)
    ids = torch.tensor([policy.tokenizer(prompt)["input_ids"]])
    with torch.no_grad():
        hidden = policy.model.model(input_ids=ids).last_hidden_state[0, -1]
        weight = policy.model.lm_head.weight
        weight[token] += (logit - weight[token] @ hidden) * hidden / hidden.square().sum()
    return policy


def test_one_prompt_one_rewarded_token(tmp_path):
    # P1: the policy must come to give it nearly always.
    assert first_words(tiny_policy())["a"] < 0.2
    run = train(tmp_path, probe(starts_with_a), config(steps=60, draws=16))
    assert first_words(run.policy)["a"] > 0.95


def test_a_reward_of_the_wrong_sign_drives_it_away(tmp_path):
    # The twin of P1: with right and wrong exchanged the same loop must go the other way.
    run = train(
        tmp_path,
        probe(starts_with_a),
        config(steps=60, draws=16),
        reward=outcome(OutcomeConfig(right=0.0, wrong=1.0)),
    )
    assert first_words(run.policy).get("a", 0.0) < 0.02


@pytest.mark.slow
def test_what_is_right_depends_on_the_prompt(tmp_path):
    # P2: "ask" wants a, "tell" wants b; a policy that ignores its prompt stays at one half.
    def rule(problem, words):
        return float(words[:1] == [{"ask": "a", "tell": "b"}[problem.prompt]])

    run = train(
        tmp_path, probe(rule, ("ask", "tell")), config(steps=150, prompts=2, draws=16, max_new_tokens=1)
    )
    assert first_words(run.policy, "ask")["a"] > 0.9
    assert first_words(run.policy, "tell")["b"] > 0.9


def test_credit_reaches_a_token_that_is_not_the_last(tmp_path):
    # P3: only the second word counts, and it is followed by others.
    def rule(problem, words):
        return float(len(words) == 4 and words[1] == "c")

    run = train(tmp_path, probe(rule), config(steps=80, draws=24))
    drawn = run.policy.draw([Problem(id="x", prompt="ask")], range(100), Streams(4), Limits(max_new_tokens=4))
    second = [WORDS[drawn.row(row)[1]] for row in range(100) if drawn.lengths[row] > 1]
    assert np.mean(np.array(second) == "c") > 0.8
    assert len(second) > 90


def test_the_end_of_sequence_is_learnt_from_a_reward_on_length(tmp_path):
    # P4: shortest wins.
    run = train(tmp_path, probe(lambda problem, words: -float(len(words))), config(steps=40, draws=16))
    assert run.history[0]["length"] > 2.5
    assert run.history[-1]["length"] < 1.3


def test_groups_of_one_reward_move_nothing_not_even_momentum(tmp_path):
    # P5, with weight decay and moments from an earlier, real step: still not a byte may change.
    def rule(problem, words):
        return 1.0

    base = tiny_policy()
    run = train(tmp_path, probe(rule), config(steps=4, weight_decay=0.1), policy=base)
    before, after = weights_of(base.model), weights_of(run.policy.model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [row["groups/mixed"] for row in run.history] == [0, 0, 0, 0]


def test_moments_of_earlier_steps_do_not_carry_silent_steps(tmp_path):
    switch = {"live": True}

    def rule(problem, words):
        return starts_with_a(problem, words) if switch["live"] else 1.0

    settings = config(steps=8, draws=16, checkpoint_every=1)
    train(tmp_path, probe(rule), settings, stop_after=4)
    switch["live"] = False
    from keyturn.training.checkpoint import newest_checkpoint

    then = newest_checkpoint(tmp_path / "checkpoints").tensors["weights"]
    run = train(tmp_path, probe(rule), settings)
    now = weights_of(run.policy.model)
    assert all(torch.equal(then[name], now[name]) for name in now)


def test_a_latent_skill_is_amplified(tmp_path):
    # P6: the rewarded word has a share of about 2 % in the base: RL must find and raise it.
    policy = nudged(tiny_policy(), "e", -1.6)
    share = first_words(policy, draws=2000).get("e", 0.0)
    assert 0.005 < share < 0.05
    rule = probe(lambda problem, words: float(words[:1] == ["e"]))
    run = train(tmp_path, rule, config(steps=60, draws=64, max_new_tokens=1), policy=policy)
    assert first_words(run.policy)["e"] > 0.9


def test_an_absent_skill_is_not_created_and_for_the_right_reason(tmp_path):
    # P7: the rewarded word is never drawn, so there is never a reward, never a mixed group, never a move.
    policy = nudged(tiny_policy(), "e", -40.0)
    rule = probe(lambda problem, words: float(words[:1] == ["e"]))
    run = train(tmp_path, rule, config(steps=60, draws=64, max_new_tokens=1), policy=policy)
    assert first_words(run.policy).get("e", 0.0) == 0.0
    assert all(row["groups/wrong"] == 1.0 for row in run.history)
    before, after = weights_of(policy.model), weights_of(run.policy.model)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("objective", ["rloo", "reinforce"])
def test_every_objective_climbs_the_first_rung(tmp_path, objective):
    run = train(tmp_path, probe(starts_with_a), config(steps=60, draws=16), objective=objective)
    assert first_words(run.policy)["a"] > 0.9
