"""Problems without gold answers: what cannot be learnt from them is said before anything is drawn."""

import json
from dataclasses import replace

import pytest
from made_task import shipped_task

import keyturn
from keyturn.cli.main import main
from keyturn.core.errors import UsageError
from keyturn.front.missing_answers import missing_answers, unjudged
from keyturn.methods.sft import METHOD as SFT
from keyturn.policies.local import LocalPolicy
from keyturn.problems.contract import ProblemSet
from keyturn.problems.graders import GRADERS
from keyturn.rewards import REWARDS
from keyturn.rewards.by_name import reward_named

SMALL = {"steps": 1, "prompts": 2, "draws": 4}


@pytest.fixture(scope="module")
def world():
    return shipped_task()


def problem_file(path, world, answered):
    """Questions of a world as a file, of which the first ones have answers."""
    rows = [{"question": problem.prompt, "id": problem.id} for problem in world.train.problems]
    for row, problem in zip(rows[:answered], world.train.problems, strict=False):
        row["answer"] = problem.answer
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    return path


def without_answers(world, kept):
    """A task whose first problems have answers, in each split."""

    def some(problems):
        asked = [replace(p, answer=p.answer if i < kept else "") for i, p in enumerate(problems.problems)]
        return ProblemSet(name=problems.name, problems=tuple(asked), grader=GRADERS["exact"])

    return replace(world, train=some(world.train), validation=some(world.validation), test=some(world.test))


def draws_nothing(*given, **named):
    raise AssertionError("something was drawn")


def test_a_reward_of_verdicts_is_refused_before_anything_is_drawn(tmp_path, monkeypatch, capsys, world):
    monkeypatch.setattr(LocalPolicy, "draw", draws_nothing)
    file = problem_file(tmp_path / "problems.jsonl", world, answered=0)
    words = [
        "train",
        "rloo",
        "chain",
        "--problems",
        str(file),
        "--grader",
        "exact",
        "--out",
        str(tmp_path / "x"),
    ]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "training problems has a gold answer that the grader exact" in said
    assert "fix: a column 'answer'" in said
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_what_the_fix_names_works_and_the_notes_of_the_file_are_printed(tmp_path, capsys, world):
    file = problem_file(tmp_path / "problems.jsonl", world, answered=0)
    words = ["train", "rloo", "chain", "--problems", str(file), "--grader", "exact", "--max-new-tokens", "12"]
    sizes = [word for name, value in SMALL.items() for word in (f"--rl.{name}", str(value))]
    assert main([*words, *sizes, "--reward", "majority", "--out", str(tmp_path / "x")]) == 0
    said = capsys.readouterr().err
    assert "1 problems occur more than once" in said
    assert "training problems have no gold answer" in said
    assert "how often they are solved is not measured" in said


@pytest.mark.slow
def test_some_without_answers_are_counted_before_and_with_the_result(tmp_path, world, caplog):
    file = problem_file(tmp_path / "problems.jsonl", world, answered=18)
    found = keyturn.train(
        "rloo", "chain", str(file), rl=SMALL, grader="exact", max_new_tokens=12, out=tmp_path / "x"
    )
    (line,) = [note for note in found.notes if "training problems have no gold" in note]
    assert "not paid and teach nothing" in line
    assert line in [record.message for record in caplog.records]


def test_only_rewards_that_read_verdicts_need_them(world):
    task = without_answers(world, kept=0)
    for name in REWARDS:
        reward = reward_named(name)
        if reward.blind:
            assert "not measured" in missing_answers(task, reward)[0]
        else:
            with pytest.raises(UsageError, match=f"the reward {reward.name} is undefined"):
                missing_answers(task, reward)
    assert SFT.check(task) is None
    assert "leaves them out" in missing_answers(task, None)[0]


def test_worlds_and_problems_that_say_they_have_no_answer_lack_none(world):
    assert missing_answers(world, reward_named("outcome")) == ()
    open_ones = without_answers(world, kept=5)
    assert unjudged(open_ones.train) == len(world.train.problems) - 5
    said = [replace(p, facts={**p.facts, "answerable": False}) for p in open_ones.train.problems]
    assert unjudged(replace(open_ones.train, problems=tuple(said))) == 0
