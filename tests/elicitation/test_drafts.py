"""Drafts: forced words, going on, cutting, and what each costs, counted by hand."""

from dataclasses import replace

import made_asked
import numpy as np
import pytest
import servers

from keyturn.core.errors import InputError, UsageError
from keyturn.core.streams import Streams
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.choosing import majority
from keyturn.elicitation.confident_vote import confidence
from keyturn.elicitation.drafts import Drafts, Drawn
from keyturn.elicitation.exemplars import corrupt, parted
from keyturn.policies.client import ServerConfig, ServerPolicy
from keyturn.rollouts.completions import Stop


def one(tokens=6, lengths=(4,), draws=range(1), **more):
    return made_asked.made(tokens=tokens, lengths=lengths, draws=draws, **more)


def test_a_small_case_by_hand():
    drafts = Drafts(one())
    drafts.write(" w7 w8")
    drafts.grow(Drawn(room=3, label=("a",)))
    assert drafts.tokens[0][:2] == [7, 8]
    assert len(drafts.tokens[0]) == 5
    assert np.isnan(drafts.logprobs[0][:2]).all()
    assert np.isfinite(drafts.logprobs[0][2:]).all()
    drafts.grow(Drawn(label=("b",)))
    generated = len(drafts.tokens[0]) - 2
    assert generated <= 6, "the limit of an answer counts what the policy chose"
    costs = drafts.costs
    assert costs.generated.tolist() == [generated]
    assert costs.passes.tolist() == [generated]
    assert costs.read.tolist() == [(4 + 2) + (4 + 5)]


def test_going_on_is_what_drawing_from_a_longer_prompt_gives():
    asked = one(tokens=8)
    [problem] = asked.problems.problems
    longer = replace(problem, prompt=f"{problem.prompt} w7 w8")
    whole = asked.policy.draw([longer], range(1), Streams(0), asked.limits)
    drafts = Drafts(asked)
    drafts.write(" w7 w8")
    drafts.grow()
    assert drafts.tokens[0][2:] == whole.tokens.tolist()
    assert np.allclose(drafts.logprobs[0][2:], whole.logprobs)


def test_a_draft_is_cut_before_a_marker_and_goes_on():
    drafts = Drafts(one())
    drafts.write("w3 w4 w9 w5")
    assert not drafts.cut(0, "w11")
    assert drafts.cut(0, "w9")
    assert drafts.tokens[0] == [3, 4]
    assert drafts.texts[0].strip() == "w3 w4"
    assert len(drafts.logprobs[0]) == 2


def test_an_end_of_sequence_is_taken_out_where_an_answer_goes_on():
    drafts = Drafts(one())
    drafts.write("w3")
    for column, value in zip(drafts._columns, (1, 0.0, 0.0, True), strict=True):
        column[0].append(value)
    drafts.stop[0] = Stop.EOS
    drafts.write(" w9")
    assert drafts.tokens[0] == [3, 9]
    assert not drafts.ended[0]


def test_waiting_longer_drops_the_end_as_often_as_asked():
    asked = made_asked.made(tokens=40, draws=range(8))
    method = ELICITATIONS["budget-more"]
    config = replace(method.config, wait=" w9", end="w11", times=2)
    found = method.answer(asked, config, {})
    plain = ELICITATIONS["plain"].answer(asked, None, {})
    waited = found.facts["waits"]
    assert waited.max() == 2, "random texts of 40 tokens end or say w11 somewhere"
    for row in range(len(found.completions)):
        texts = found.completions.texts[row].split()
        if waited[row]:
            assert "w9" in texts
            assert "w11" not in texts[: texts.index("w9")]
        else:
            assert found.completions.texts[row] == plain.completions.texts[row]


def test_votes_ties_and_missing_answers():
    assert majority(["7", "3", "3.0", "7"]) == (0, 0.5)
    assert majority(["", "3", "7", "7"]) == (2, 2 / 3)
    assert majority(["", ""]) == (0, 0.0)
    assert majority(["a", "B", "b"], [1.0, 0.1, 0.2]) == (0, 1 / 1.3)


def test_confidence_is_the_least_sure_window():
    drawn = Drafts(one(draws=range(1)))
    drawn.write("w3 w4 w5 w6")
    drawn.logprobs[0] = [-1.0, -3.0, -2.0, 0.0]
    completions = drawn.completions()
    assert confidence(completions, 2).tolist() == [-2.5]
    assert confidence(completions, 99).tolist() == [-1.5]


def test_corrupted_exemplars_keep_form_and_answer():
    assert parted("one\ntwo\n#### 18", "18") == ("one\ntwo", "\n#### 18")
    assert parted("a b c ANS 7 EOS", "7") == ("a b c", "ANS 7 EOS")
    asked = one()
    for steps in ("swapped", "shuffled"):
        changed = corrupt(asked.exemplars, steps, Streams(1))
        for before, after in zip(asked.exemplars, changed, strict=True):
            assert after.problem is before.problem
            assert after.solution.split()[-2:] == before.solution.split()[-2:]
            assert after.solution != before.solution
            assert len(after.solution.split()) == len(before.solution.split())


WITHOUT_A_LOOK_INSIDE = [name for name, method in ELICITATIONS.items() if "model" not in method.needs]


@pytest.mark.parametrize("name", WITHOUT_A_LOOK_INSIDE)
def test_it_runs_on_a_policy_behind_a_server(name):
    served = servers.Served(says=lambda body, dice: f" w{dice.randrange(9)} w11 w{dice.randrange(9)}")
    method = ELICITATIONS[name]
    config = method.config
    if name == "forced-opener":
        config = replace(config, openers=(" w7", " w8"), trials=1)
    if name.startswith("gepa"):
        # Its search, which needs a second server, is tested in test_gepa.
        config = replace(config, apart=False, budget=0)
    with servers.running(served) as url:
        policy = ServerPolicy(ServerConfig(url=url, model="m"))
        asked = made_asked.asked_of(policy, draws=range(2), tokens=8, lengths=(4, 5))
        prepared = method.prepare(asked, config) if method.prepare is not None else {}
        found = method.answer(asked, config, prepared)
    assert len(found.completions) == 4
    assert all(text.strip() for text in found.completions.texts)
    assert (found.costs.generated > 0).all()
    assert np.isnan(found.costs.read).all(), "a server does not say how it splits prompts"
    if name == "forced-opener":
        assert all(text.startswith((" w7", " w8")) for text in found.completions.texts)
        assert any(str(body["prompt"]).endswith((" w7", " w8")) for body in served.bodies)
    if name == "low-temperature":
        assert {body["temperature"] for body in served.bodies} == {0.25}


def test_a_server_without_log_probabilities_is_told_apart():
    with servers.running(servers.Served(logprobs=False)) as url:
        policy = ServerPolicy(ServerConfig(url=url, model="m"))
        asked = made_asked.asked_of(policy, draws=range(1), lengths=(4,))
        method = ELICITATIONS["best-of-n"]
        with pytest.raises(InputError, match="no log-probabilities"):
            method.answer(asked, method.config, {})
        chat = ServerPolicy(ServerConfig(url=url, model="m", route="chat"))
        zero = ELICITATIONS["zero-shot"]
        with pytest.raises(UsageError, match="chat template"):
            zero.answer(replace(asked, policy=chat), zero.config, {})
