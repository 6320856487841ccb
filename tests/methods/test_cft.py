"""Cases, arms and equal tokens of critique fine-tuning; by hand, on a world and on a stock model."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from made_task import made_model, problem_file, shipped_task

from keyturn.core.errors import InputError, UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.lab.task import file_task
from keyturn.methods.cft import ARMS, CftConfig, material, schedule
from keyturn.methods.cft.critiques import HEADING, Case, contradicted, verdict_in, without_solution, writer_of
from keyturn.policies.loading import load_policy
from keyturn.problems.files import read_problems
from keyturn.problems.world.critique import MARKER
from keyturn.problems.world.verify import read_completion, read_prompt
from keyturn.problems.world.vocabulary import encode

CONFIG = CftConfig(train_problems=4, candidates=3)


@pytest.fixture(scope="module")
def chain():
    return shipped_task("chain")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Lab(tmp_path_factory.mktemp("cft"), Streams(0))


@pytest.fixture(scope="module")
def taught(chain, lab):
    return {arm: material(Session(lab, chain), replace(CONFIG, arm=arm)) for arm in ARMS}


def words(task, row):
    """What a row shows and what it teaches, as text."""
    given, learnt = row.tokens[row.weights == 0], row.tokens[row.weights > 0]
    return task.base.tokenizer.decode(given), task.base.tokenizer.decode(learnt)


def test_only_the_critique_is_learnt_and_it_follows_problem_and_answer(chain, taught):
    cases = taught["critique"].cases
    assert len(cases) == 12
    for case, row in zip(cases, taught["critique"].rows, strict=True):
        shown, learnt = words(chain, row)
        assert shown == f"{case.problem.prompt} {case.candidate} {MARKER}"
        assert learnt == f"{case.critique} EOS"
        # Weight stands on a suffix: nothing of problem or answer is predicted.
        assert (np.diff(row.weights) >= 0).all()


def test_the_verdict_of_a_critique_is_the_graders(chain, taught):
    for case in taught["critique"].cases:
        reader = read_prompt(chain.world, encode(case.problem.prompt))
        assert case.right == read_completion(reader, encode(case.candidate)).verified
        assert case.critique.split()[-1] == ("OK" if case.right else "BK")


def test_what_the_other_arms_learn(chain, taught):
    pairs = {arm: [words(chain, row) for row in one.rows] for arm, one in taught.items()}
    prompts = {problem.prompt: problem for problem in chain.train.problems}
    assert len(pairs["corrected"]) == 4
    for shown, learnt in pairs["corrected"]:
        assert read_completion(read_prompt(chain.world, encode(shown)), encode(learnt)).verified
    assert all(shown in prompts for shown, _ in pairs["format_only"])
    assert [shown for shown, _ in pairs["no_correction"]] == [shown for shown, _ in pairs["critique"]]
    shorter = zip(pairs["no_correction"], pairs["critique"], strict=True)
    assert all(len(a[1]) < len(b[1]) for a, b in shorter)
    assert [shown for shown, _ in pairs["shuffled"]] == [shown for shown, _ in pairs["critique"]]
    assert sorted(a for _, a in pairs["shuffled"]) == sorted(b for _, b in pairs["critique"])
    # The base's own next answer stands in for what it would say, under the grader's verdict.
    own = taught["self_critique"].cases
    assert own[0].critique.startswith(own[1].candidate)
    assert own[2].critique.startswith(own[0].candidate)
    assert all(case.critique.split()[-1] == ("OK" if case.right else "BK") for case in own)


def test_a_share_of_the_worlds_critiques_is_wrong_on_purpose(chain, lab):
    def contradicting(correctness):
        config = replace(CONFIG, train_problems=12, correctness=correctness)
        cases = material(Session(lab, chain), config).cases
        return float(np.mean([(case.critique.split()[-1] == "OK") != case.right for case in cases]))

    assert contradicting(1.0) == 0.0
    assert contradicting(0.0) == 1.0
    assert 0.1 < contradicting(0.6) < 0.7


def test_every_arm_learns_from_as_many_tokens(taught):
    for one in taught.values():
        fit = schedule(one.rows, replace(CONFIG, gradient_tokens=50_000))
        each = np.mean([np.count_nonzero(row.weights) for row in one.rows])
        assert fit.steps * fit.batch_rows * each == pytest.approx(50_000, rel=0.05)
    # The twin with equal steps is off by how much longer a critique is.
    lengths = {arm: np.mean([np.count_nonzero(row.weights) for row in one.rows]) for arm, one in taught.items()}
    assert lengths["critique"] > 1.1 * lengths["no_correction"]
    assert schedule(taught["critique"].rows, CONFIG) == CONFIG.fit


def test_every_arm_replays_the_same_own_answers_evenly_of_all_problems(chain, lab):
    def own(arm, replay=1.0, **settings):
        config = replace(CONFIG, arm=arm, replay=replay, **settings)
        rows = material(Session(lab, chain), config).rows
        count = round(len(rows) * replay / (1 + replay))
        return [words(chain, row) for row in rows[len(rows) - count :]], len(rows) - count

    prompts = {problem.prompt for problem in chain.train.problems[:4]}
    found = {arm: own(arm) for arm in ARMS}
    for again, beside in found.values():
        assert beside == len(again) == 12
        # Walked problem by problem, the four rows of `corrected` would replay two problems of the four.
        assert sorted(again) == sorted(found["critique"][0])
        assert {given for given, _ in again} == prompts
    # A part of them is even too: eight rows are two of each of the four problems.
    part, _ = own("corrected", replay=2 / 3)
    assert len(part) == 8
    assert Counter(given for given, _ in part) == dict.fromkeys(prompts, 2)
    # One problem: its one solution stands beside all of its answers, not beside one.
    alone, beside = own("corrected", train_problems=1, candidates=8)
    assert beside == 8
    assert sorted(alone) == sorted(own("critique", train_problems=1, candidates=8)[0])


def test_a_shuffled_critique_is_of_another_problem():
    def case(name, number):
        problem = Problem(id=name, prompt=name)
        said = f"{name} {number}"
        return Case(
            problem=problem,
            candidate="",
            right=True,
            formed=True,
            context=problem,
            critique=said,
            stripped=said,
        )

    found = [case(name, number) for name in "abc" for number in range(4)]
    moved = contradicted(found)
    assert all(one.critique[0] != one.problem.id for one in moved)
    assert sorted(one.critique for one in moved) == sorted(one.critique for one in found)
    alone = contradicted([case("a", 0), case("a", 1)])
    assert [one.critique for one in alone] == ["a 1", "a 0"]
    with pytest.raises(InputError, match="shuffling needs"):
        contradicted(found[:1])


def test_verdicts_and_solutions_in_plain_words():
    said = f"Step 1 holds.\n{HEADING}\n= 3\nVerdict: wrong"
    assert verdict_in(said) is False
    assert verdict_in("verdict: Right. Then verdict: WRONG") is False
    assert verdict_in("all fine") is None
    assert without_solution(said) == "Step 1 holds.\nVerdict: wrong"
    assert without_solution("no heading. Verdict: right") == "no heading. Verdict: right"


def test_who_writes(chain, tmp_path):
    assert writer_of(chain, "auto") == "world"
    assert writer_of(chain, "self") == "self"
    bare = replace(chain, world=None)
    assert writer_of(bare, "auto") == "self"
    assert writer_of(replace(bare, others={"critic": chain.base}), "auto") == "critic"
    for wanted in ("world", "file", "critic"):
        with pytest.raises(UsageError, match=wanted):
            writer_of(bare, wanted)
    with pytest.raises(UsageError, match="arm"):
        material(Session(Lab(tmp_path, Streams(0)), chain), replace(CONFIG, arm="other"))


@pytest.mark.slow
def test_critiques_of_a_file_and_of_another_policy_on_a_stock_model(tmp_path):
    model = made_model(tmp_path / "made")
    path = problem_file(tmp_path / "problems.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    said = [{**row, "candidate": "= 1", "critique": f"so wait {HEADING} = 2 verdict: wrong"} for row in rows]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in said))
    base = load_policy(model)
    task = file_task(base, str(model), read_problems(path, grader="numeric"), max_new_tokens=8)
    lab = Lab(tmp_path / "run", Streams(0))
    filed = material(Session(lab, task), CONFIG)
    assert filed.writer == "file"
    assert [case.right for case in filed.cases] == [False] * 4
    assert [case.stripped for case in filed.cases] == ["so wait\nverdict: wrong"] * 4
    # A made model never gives a verdict: as a critic nothing of it is consistent, as itself the grader speaks.
    with pytest.raises(InputError, match="critic"):
        material(
            Session(lab, replace(task, others={"critic": base})),
            replace(CONFIG, writer="critic", critique_tokens=8),
        )
    own = material(Session(lab, task), replace(CONFIG, writer="self", critique_tokens=8))
    assert len(own.cases) == 12
    assert {verdict_in(case.critique) for case in own.cases} == {case.right for case in own.cases}
