"""Rewritten rationales: selectors by hand, padding that is length alone, no gold answer anywhere."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_task import shipped_task

from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.lab.fit_rows import demonstration_completions, demonstrations, encoded
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.lab.task import subset
from keyturn.methods.self_improve import (
    METHOD,
    SelfImproveConfig,
    catalyst_rows,
    check,
    chosen,
    iterate,
    read,
)
from keyturn.methods.self_improve.expansion import (
    MARK,
    SELECTORS,
    context,
    leading,
    mean_logprobs,
    padded,
    prefers_new,
)
from keyturn.policies.protocol import TokenTable

OLD, NEW = ("2", "3")


@pytest.mark.parametrize(
    ("selector", "facts", "takes"),
    [
        ("new", {}, True),
        ("old", {}, False),
        ("length", {"lengths": (4, 5)}, True),
        ("length", {"lengths": (5, 5)}, False),
        ("likelihood", {"logprobs": (-1.0, -0.5)}, True),
        ("likelihood", {"logprobs": (-0.5, -1.0)}, False),
        ("likelihood", {"logprobs": (np.nan, -1.0)}, False),
        ("consistency", {"vote": NEW}, True),
        ("consistency", {"vote": OLD}, False),
        ("consistency", {"vote": "4"}, True),
        ("consistency", {"vote": ""}, False),
        ("consistency", {"vote": OLD, "answers": (OLD, OLD)}, True),
    ],
)
def test_selectors_by_hand(selector, facts, takes):
    assert prefers_new(selector, **{"lengths": (4, 6), "answers": (OLD, NEW), **facts}) is takes


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SELECTORS), st.integers(0, 9), st.integers(0, 9), st.sampled_from(["", "2", "3"]))
def test_a_rewriting_without_an_answer_is_never_taken(selector, a, b, vote):
    facts = {"lengths": (a, b), "answers": (OLD, ""), "logprobs": (float(-a), float(-b)), "vote": vote}
    assert not prefers_new(selector, **facts)


def test_votes_lead_alone_or_not_at_all():
    assert leading(["2", "2", "3", ""]) == "2"
    assert leading(["2", "3"]) == ""
    assert leading(["", ""]) == ""
    # The twin that counts silence elects it.
    assert max(["", "", "3"], key=["", "", "3"].count) != leading(["", "", "3"]) == "3"


def test_padding_is_as_long_as_asked_and_changes_nothing_else():
    problem = Problem(id="p", prompt="?")
    text = "FWD F1 DO fig ; ANS 2"
    made = padded(problem, text, 10, "~")
    assert len(made.split()) == 10
    assert [word for word in made.split() if word != "~"] == text.split()
    assert made.endswith("ANS 2")
    assert padded(problem, text, 3, "~") == text
    # The twin that pads behind the answer would spoil it.
    assert not f"{text} ~ ~".endswith("ANS 2")


def test_mean_log_probabilities_by_hand():
    task = shipped_task("chain")
    written = demonstration_completions(
        task.base, [(Problem(id="a", prompt="BOS CH f 3 ?"), "f 3"), (Problem(id="b", prompt="BOS ?"), "f")]
    )
    table = TokenTable(
        policy="",
        logprobs=np.array([-1, -2, -3, -4, -6], np.float32),
        entropies=np.zeros(5, np.float32),
        ranks=np.zeros(5, np.int32),
    )
    assert written.lengths.tolist() == [3, 2]
    assert mean_logprobs(table, written).tolist() == [-2, -5]


def test_what_the_catalyst_teaches_by_kind(tmp_path):
    task, lab = shipped_task("graph"), Lab(tmp_path, Streams(0))
    asked = task.train.problems[:3]
    own = read(task, asked, [f"DIR ANS {problem.answer}" for problem in asked])
    assert own.answers == tuple(problem.answer for problem in asked)

    def rows(kind):
        config = SelfImproveConfig(kind=kind, catalyst=2)
        return catalyst_rows(Session(lab, task), asked, own, config)

    mark = encoded(task.base, MARK)[0]
    expert, padding, plain = rows("expert"), rows("padding"), rows("demonstrations")
    assert rows("none") == []
    assert len(expert) == len(padding) == len(plain) == 2
    assert all(mark in row.tokens.tolist() for row in (*expert, *padding))
    assert not any(mark in row.tokens.tolist() for row in plain)
    for rich, empty in zip(expert, padding, strict=True):
        assert np.count_nonzero(rich.weights) == np.count_nonzero(empty.weights)
    prompt = context(asked[0], own.texts[0], world=True).prompt
    assert prompt.startswith(asked[0].prompt)
    assert own.texts[0] in prompt
    assert "Write it again" in context(asked[0], "r", world=False).prompt


def test_no_selector_looks_at_gold(tmp_path):
    task = shipped_task("chain")
    asked = subset(task.train, task.train.problems[-4:], "some")
    lied = replace(asked, problems=tuple(replace(problem, answer="0") for problem in asked.problems))
    gold = [text for _, text in demonstrations(task, asked.problems, Streams(0))]
    old, new = read(task, asked.problems, ["ANS 1"] * 4), read(task, asked.problems, gold)
    for selector in SELECTORS:
        config = SelfImproveConfig(selector=selector, votes=3)
        found = [
            chosen(Session(Lab(tmp_path, Streams(0)), task), one, old, new, config) for one in (asked, lied)
        ]
        assert found[0] == found[1]


@pytest.mark.parametrize("wrong", [{"kind": "magic"}, {"selector": "gold"}, {"catalyst": 0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError):
        check(SelfImproveConfig(**wrong))


@pytest.mark.slow
def test_with_a_catalyst_rationales_are_rewritten_and_without_one_not(tmp_path):
    task, lab = shipped_task("graph"), Lab(tmp_path, Streams(0))
    brief = METHOD.brief(SelfImproveConfig())
    made = {
        kind: iterate(Session(lab, task), replace(brief, kind=kind, selector="new"))
        for kind in ("expert", "none")
    }
    names = [line["name"] for line in made["expert"][1]]
    assert "round 1: share rewritten" in names
    assert len(made["none"][1]) == 1
    assert made["expert"][0].policy.fingerprint != made["none"][0].policy.fingerprint
