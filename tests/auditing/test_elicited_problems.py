"""What elicitation solves and plain draws do not: planted pairs in which it must be found, and in which it must
not."""

from dataclasses import replace

import numpy as np
import pytest
from planted_policy import Planted, problem_set

import keyturn
from keyturn.auditing.elicited_problems import elicited_problems
from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.elicitation import ELICITATIONS
from keyturn.lab.lab import Lab
from keyturn.measures.contract import Tables
from keyturn.measures.deployed_created import judge
from keyturn.measures.paired import Paired
from keyturn.policies.protocol import Limits
from keyturn.problems.contract import answers
from keyturn.report.sections.gain import gain

ZERO = "zero-shot:extract="
K, N_BASE = 16, 64


def drawn(name, policy, problems, draws):
    completions = policy.draw(problems.problems, range(draws), Streams(0), Limits())
    grades = problems.grader.grade(problems.problems, completions)
    return answers(name, problems.problems, completions, grades)


def found(folder, base, *ways, tuned=0.8, count=24, k=K):
    """What elicitation finds beside draws that are already there."""
    problems = problem_set(count)
    tables = Tables(
        streams=Streams(0),
        paired=Paired(
            base=drawn("base", base, problems, N_BASE),
            tuned=drawn("tuned", Planted("tuned", tuned), problems, K),
        ),
    )
    lab = Lab(folder, Streams(0))
    return elicited_problems(lab, base, problems, tables, ways, k=k, limits=Limits(), in_words=True)


@pytest.mark.slow
def test_an_audit_counts_what_a_prompt_brings_out_as_deployed():
    base = Planted("base", 0.0, behind=0.95)
    one = keyturn.audit(base, Planted("tuned", 0.8), problem_set(24), elicit=[ZERO], k=K, n_base=N_BASE)
    assert one.verdict.label == "deployed (elicited)"
    assert one.elicited.line in gain(one, "a1").says
    assert any("Created share before elicitation" in said for said in gain(one, "a1").says)
    assert one.to_json()["elicitation"]["problems_elicited"] == 24


@pytest.mark.parametrize(("behind", "label"), [(0.95, "deployed (elicited)"), (0.0, "created")])
def test_the_label_of_a_planted_pair(tmp_path, behind, label):
    problems, base = problem_set(24), Planted("base", 0.0, behind=behind)
    paired = Paired(
        base=drawn("base", base, problems, N_BASE),
        tuned=drawn("tuned", Planted("tuned", 0.8), problems, K),
        elicited=found(tmp_path, base, ZERO).reached,
    )
    verdict = judge(paired.counts(), streams=Streams(0), k=K, resamples=400)
    assert verdict.label == label
    before, after = verdict.shares["created_before_elicitation"], verdict.shares["created"]
    assert before.value > 0.99
    assert (after.value == 0.0) is (behind > 0)


def test_what_a_prompt_brings_out_is_found_and_its_share_is_named(tmp_path):
    one = found(tmp_path, Planted("base", 0.0, behind=0.6), ZERO)
    assert one.reached.mean() > 0.9
    assert (one.open, one.replicate) == (24, 0)
    assert one.best.share.value == pytest.approx(0.6 / 0.8, abs=0.12)
    assert "is recovered without changing a weight, by zero-shot" in one.line


def test_where_the_prompt_brings_nothing_nothing_is_found(tmp_path):
    one = found(tmp_path, Planted("base", 0.0, behind=0.0), ZERO)
    assert not one.reached.any()
    assert "no way is surely better" in one.line


@pytest.mark.slow
def test_many_ways_that_do_nothing_elicit_nothing(tmp_path):
    # Just below once in K draws: what most easily looks reached by chance.
    words = ("so", "well", "hm", "now", "then", "ok")
    one = found(tmp_path, Planted("base", 0.04), *(f"{ZERO},trigger= {word}" for word in words), count=40)
    assert one.open > 20
    assert one.reached.sum() <= 0.1 * one.open


def test_what_the_base_says_when_asked_again_is_no_elicitation(tmp_path):
    # Its draws reach little, K further ones often do: what a way then confirms, they show too.
    one = found(tmp_path, Planted("base", 0.1), ZERO, count=40)
    assert one.replicate > 0
    policy, problems = Planted("base", 0.1), problem_set(40)
    again = policy.draw(problems.problems, range(K), Streams(0).child("elicited"), Limits())
    table = answers("again", problems.problems, again, problems.grader.grade(problems.problems, again))
    _, c = table.counts()
    assert not (one.reached & (c >= 4)).any()


def test_an_answer_of_twice_the_tokens_must_succeed_twice_as_often(tmp_path):
    one = found(tmp_path, Planted("base", 0.0, behind=0.6), "zero-shot")
    [way] = one.ways.values()
    assert way.times == pytest.approx(2.0, abs=0.1)
    assert way.threshold == pytest.approx(2 / K, abs=0.01)


def costing(**times):
    """Plain sampling that says it cost so much more than it did."""
    plain = ELICITATIONS["plain"]

    def answer(asked, config, prepared):
        given = plain.answer(asked, config, prepared)
        told = {cost: given.costs.generated * more for cost, more in times.items()}
        return replace(given, costs=replace(given.costs, **told))

    return replace(plain, name="+".join(times), answer=answer)


def test_what_may_not_count_is_left_out_with_its_reason(tmp_path):
    base = Planted("base", 0.0, behind=0.6)
    ways = (costing(checks=1), costing(teacher_bits=1), costing(generated=16), "cot-decoding", "few-shot")
    one = found(tmp_path, base, *ways)
    why = one.left_out
    assert "asks the grader" in why["checks"]
    assert "a teacher tells it" in why["teacher_bits"]
    assert "takes 16 of K = 16" in why["generated"]
    assert "the model in this process" in why["cot-decoding"]
    assert "worked solutions" in why["few-shot"]
    assert not one.ways
    with pytest.raises(UsageError, match="changes weights"):
        found(tmp_path, base, "sft")
    with pytest.raises(UsageError, match="did you mean"):
        found(tmp_path, base, "zero-shott")


class Stubborn(Planted):
    """Says the same whenever it is asked."""

    def draw(self, problems, draws, streams, limits):
        """Copies of its first answer."""
        same = [replace(one, id=one.id.partition("#")[0]) for one in problems]
        first = super().draw(same, range(1), streams, limits)
        whole = super().draw(problems, draws, streams, limits)
        return replace(whole, texts=tuple(first.texts[row] for row in whole.problem))


def test_answers_that_are_all_the_same_confirm_nothing(tmp_path):
    one = found(tmp_path, Stubborn("base", 0.0, behind=1.0), ZERO)
    assert "all the same" in one.left_out[ZERO]
    assert not one.reached.any()


def test_too_few_draws_of_the_base_leave_everything_out(tmp_path):
    problems = problem_set(8)
    base = Planted("base", 0.0, behind=0.6)
    tables = Tables(
        streams=Streams(0),
        paired=Paired(base=drawn("base", base, problems, 2), tuned=drawn("tuned", base, problems, 2)),
    )
    lab = Lab(tmp_path, Streams(0))
    one = elicited_problems(lab, base, problems, tables, [ZERO], k=K, limits=Limits(), in_words=True)
    assert "too few" in one.left_out[ZERO]
    assert not np.any(one.reached)
    assert "was not measured" in one.line
