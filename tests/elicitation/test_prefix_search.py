"""The search for a prefix: it finds what is there, keeps its budget, and each arm sees what it may."""

from dataclasses import replace

import made_asked
import numpy as np
import pytest

from keyturn.core.errors import UsageError
from keyturn.elicitation import ELICITATIONS, prefix_search
from keyturn.elicitation.prefix_search import PrefixConfig
from keyturn.rollouts.grades import Grades

SMALL = PrefixConfig(longest=2, likely=3, random=3, trials=1, budget=60)


class Wants:
    """A grader that calls an answer right if it begins with given words."""

    name, reads_traces, form = "wants", False, ""

    def __init__(self, words):
        self.words = words

    def grade(self, problems, completions):
        right = np.array([float(text.split()[: len(self.words)] == self.words) for text in completions.texts])
        none = np.full(len(right), np.nan, dtype=np.float32)
        return Grades(outcome=right.astype(np.float32), verified=none, answer=completions.texts, columns={})


def wanting(words, **more):
    asked = made_asked.made("llama", tokens=4)
    development = replace(asked.development, grader=Wants(words))
    problems = replace(asked.problems, grader=Wants(words))
    return replace(asked, development=development, problems=problems, **more)


def likely_word(asked):
    """The likeliest first token, which the search will try."""
    problems = asked.development.problems
    return prefix_search.likeliest_first_tokens(asked.model, problems, 3)[2].split()


def test_the_search_finds_a_prefix_that_works_and_a_coin_does_not_find_it_by_rights():
    word = likely_word(wanting(["w1"]))
    asked = wanting(word)
    found = ELICITATIONS["prefix-search"].prepare(asked, SMALL)
    assert found["success"].max() == 1.0
    assert prefix_search.best(found, "prefixes").split() == word
    answered = ELICITATIONS["prefix-search"].answer(asked, SMALL, found)
    assert all(text.split()[:1] == word for text in answered.completions.texts)
    tossed = [
        ELICITATIONS["prefix-search-coins"].prepare(one, SMALL)["success"] for one in (asked, wanting(["w2"]))
    ]
    assert np.array_equal(*tossed), "a coin does not depend on what is right"


@pytest.mark.parametrize("budget", [4, 7, 23])
def test_the_budget_is_kept_and_counted(budget):
    found = ELICITATIONS["prefix-search"].prepare(wanting(["w1"]), replace(SMALL, budget=budget))
    assert found["answers_drawn"][0] == 2 * len(found["prefixes"]) <= budget
    assert len(set(found["prefixes"].tolist())) == len(found["prefixes"])


def test_only_the_arm_with_answers_tries_gold_answers():
    asked = wanting(["no", "such"])
    alone = replace(SMALL, likely=0, random=0)
    golds = {problem.answer for problem in asked.development.problems}
    for name, tries in (
        ("prefix-search", False),
        ("prefix-search-coins", False),
        ("prefix-search-answers", True),
    ):
        found = ELICITATIONS[name].prepare(asked, alone)["prefixes"].tolist()
        assert bool(golds & {text.strip() for text in found}) == tries


class Holds:
    """A grader that calls an answer right if the problem's own gold answer stands in it."""

    name, reads_traces, form = "holds", False, ""

    def grade(self, problems, completions):
        pairs = zip(completions.problem.tolist(), completions.texts, strict=True)
        right = np.array([float(problems[place].answer in text.split()) for place, text in pairs])
        none = np.full(len(right), np.nan, dtype=np.float32)
        return Grades(outcome=right.astype(np.float32), verified=none, answer=completions.texts, columns={})


def test_a_gold_answer_in_the_prefix_is_right_for_its_own_problem_and_no_other():
    """Facts that no development problem holds tell what leaked from what was brought out."""
    asked = made_asked.made("llama", tokens=1)
    told = tuple(replace(p, answer=f"w{20 + i}") for i, p in enumerate(asked.development.problems))
    others = tuple(replace(p, answer=f"w{25 + i}") for i, p in enumerate(asked.problems.problems))
    development = replace(asked.development, problems=told, grader=Holds())
    asked = replace(asked, development=development, problems=replace(asked.problems, grader=Holds()))
    config = replace(SMALL, likely=0, random=0, longest=1)
    gains = {}
    for arm in ("prefix-search", "prefix-search-answers"):
        method = ELICITATIONS[arm]
        found = method.prepare(asked, config)
        for name, problems in (("same", told), ("other", others)):
            answered = method.answer(asked.of(problems), config, found)
            gains[arm, name] = float(Holds().grade(problems, answered.completions).outcome.mean())
    assert gains["prefix-search", "same"] == gains["prefix-search", "other"] == 0.0
    assert gains["prefix-search-answers", "same"] == 0.5, "one token holds one of two answers"
    assert gains["prefix-search-answers", "other"] == 0.0


def test_before_the_question_it_is_read_and_not_written():
    asked = wanting(["w1"])
    config = replace(SMALL, place="question")
    given = {"prefixes": np.array(["w7 w8 "]), "success": np.array([1.0])}
    found = ELICITATIONS["prefix-search"].answer(asked, config, given)
    plain = ELICITATIONS["plain"].answer(asked, None, {})
    assert found.costs.read.sum() == plain.costs.read.sum() + 2 * len(found.completions)
    assert not any(text.startswith("w7 w8") for text in found.completions.texts)


@pytest.mark.parametrize("change", [{"budget": 3}, {"trials": 0}, {"place": "end"}, {"random": -1}])
def test_senseless_settings_are_refused(change):
    with pytest.raises(UsageError) as refused:
        ELICITATIONS["prefix-search"].prepare(wanting(["w1"]), replace(SMALL, **change))
    assert refused.value.fix
