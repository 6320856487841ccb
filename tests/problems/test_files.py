"""Problem files become problems with the grader that fits."""

import json

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from keyturn.core.errors import InputError, UsageError
from keyturn.core.problem import Problem
from keyturn.problems.files import ProblemColumns, choose_grader, grade_samples, problem_set, read_problems
from keyturn.problems.graders import GRADERS
from keyturn.rollouts.readers import read_samples

GSM8K = [{"question": f"q{i}", "answer": f"so <<1+{i}={1 + i}>>\n#### {1 + i}"} for i in range(3)]
MATH = [
    {
        "problem": "p0",
        "solution": "is $\\boxed{\\frac12}$",
        "answer": "\\frac12",
        "subject": "Algebra",
        "level": 2,
    },
    {"problem": "p1", "solution": "is $\\boxed{7}$", "answer": "7", "subject": "Geometry", "level": 5},
]


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_gsm8k(tmp_path):
    found = read_problems(jsonl(tmp_path / "gsm8k_test.jsonl", GSM8K))
    assert (found.name, found.grader, found.notes) == ("gsm8k_test", GRADERS["gsm8k"], ())
    assert [p.answer for p in found.problems] == ["1", "2", "3"]
    assert found.problems[0].facts["solution"] == GSM8K[0]["answer"]
    assert found.problems[0].prompt == "q0"


def test_math_with_and_without_an_answer(tmp_path):
    found = read_problems(
        jsonl(tmp_path / "math.jsonl", [{**row, "unique_id": row["problem"]} for row in MATH])
    )
    assert found.grader is GRADERS["math"]
    assert [p.id for p in found.problems] == ["p0", "p1"]
    assert found.problems[1].cell == {"subject": "Geometry", "level": 5}
    bare = problem_set([{k: v for k, v in row.items() if k != "answer"} for row in MATH], name="m")
    assert [p.answer for p in bare.problems] == ["\\frac12", "7"]
    assert bare.grader is GRADERS["math"]


def test_ids_come_from_content_and_do_not_depend_on_the_file():
    first = problem_set(GSM8K, name="a").problems
    second = problem_set([{"prompt": "q1", "gold": "2"}], name="b").problems
    assert second[0].id == first[1].id
    assert len({p.id for p in first}) == 3
    other = problem_set([{"prompt": "q1", "gold": "3"}], name="b").problems
    assert other[0].id != first[1].id


def test_repeated_problems_are_read_once_and_reported():
    found = problem_set([*GSM8K, GSM8K[1], GSM8K[1]], name="a")
    assert len(found.problems) == 3
    assert "2 problems occur more than once" in found.notes[0]
    with pytest.raises(InputError, match="record 2: the id '1' belongs to another"):
        problem_set(
            [{"id": 1, "prompt": "a", "answer": "x"}, {"id": 1, "prompt": "b", "answer": "x"}], name="a"
        )


@pytest.mark.parametrize(
    ("answers", "grader"),
    [
        (["1", "2.5"], "numeric"),
        (["1", "cat"], "exact"),
        (["1", "x^2"], "math"),
        (["\\pi"], "math"),
        ([""], "exact"),
        (["so\n#### 1", "so\nA: 2"], "gsm8k"),
        (["is \\boxed{3}"], "math"),
    ],
)
def test_the_grader_is_chosen_by_the_answers(answers, grader):
    problems = tuple(Problem(id=a, prompt="q", answer=a) for a in answers)
    assert choose_grader(problems) == grader


def test_a_grader_can_be_named_or_given():
    assert problem_set(GSM8K, name="a", grader="exact").grader is GRADERS["exact"]
    assert problem_set(GSM8K, name="a", grader=GRADERS["numeric"]).grader is GRADERS["numeric"]
    with pytest.raises(UsageError, match="unknown grader 'gsm9k'") as caught:
        problem_set(GSM8K, name="a", grader="gsm9k")
    assert "gsm8k" in caught.value.fix


def test_explicit_columns_and_kinds_of_values():
    rows = [{"nr": 5, "ask": [{"role": "user", "content": "q"}], "want": 3, "topic": "t", "depth": 2}]
    columns = ProblemColumns(prompt="ask", answer="want", id="nr", cells=("topic",))
    (problem,) = problem_set(rows, name="a", columns=columns).problems
    assert (problem.id, problem.prompt, problem.answer, problem.cell) == ("5", "q", "3", {"topic": "t"})


def test_bad_problems(tmp_path):
    with pytest.raises(InputError, match="no column with prompts") as caught:
        problem_set([{"promt": "q"}], name="a")
    assert "promt" in caught.value.fix
    with pytest.raises(UsageError, match="no column 'gold' for the answer"):
        problem_set([{"prompt": "q"}], name="a", columns=ProblemColumns(answer="gold"))
    with pytest.raises(InputError, match="record 2: no text in 'prompt'"):
        problem_set([{"prompt": "q"}, {"prompt": " "}], name="a")
    with pytest.raises(InputError, match="the answer is dict"):
        problem_set([{"prompt": "q", "answer": {"a": "b"}}], name="a")
    with pytest.raises(InputError, match="holds no problems"):
        problem_set([], name="a")
    with pytest.raises(UsageError, match="does not exist"):
        read_problems(tmp_path / "absent.jsonl")
    with pytest.raises(UsageError, match="not a saved data set"):
        read_problems(tmp_path)
    with pytest.raises(UsageError, match="selects nothing"):
        read_problems(f"{jsonl(tmp_path / 'f.jsonl', GSM8K)}#test")


def test_a_data_set_in_memory_and_on_disk(tmp_path):
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_list(GSM8K)
    expected = problem_set(GSM8K, name="x").problems
    assert problem_set(data, name="x").problems == expected
    data.save_to_disk(tmp_path / "one")
    assert read_problems(tmp_path / "one").problems == expected
    datasets.DatasetDict({"test": data}).save_to_disk(tmp_path / "many")
    assert read_problems(f"{tmp_path / 'many'}#test").problems == expected
    with pytest.raises(UsageError, match="several splits") as caught:
        read_problems(tmp_path / "many")
    assert "test" in caught.value.fix
    with pytest.raises(UsageError, match="no split 'tset'"):
        read_problems(f"{tmp_path / 'many'}#tset")
    with pytest.raises(UsageError, match="has no splits"):
        read_problems(f"{tmp_path / 'one'}#test")


def test_samples_are_graded_against_their_own_gold_or_a_file_of_problems(tmp_path):
    own = [
        {"question": "q0", "ground_truth": "#### 1", "response": "#### 1", "is_correct": False},
        {"question": "q0", "ground_truth": "#### 1", "response": "it is 1", "is_correct": True},
    ]
    graded = grade_samples(read_samples(jsonl(tmp_path / "a.jsonl", own)), GRADERS["gsm8k"])
    assert graded.success.tolist() == [1, 0]
    assert graded.columns["lenient"].tolist() == [1, 1]
    assert graded.answer == ("1", "")
    bare = [{"question": f"q{i}", "response": "#### 1", "is_correct": False} for i in range(3)]
    samples = read_samples(jsonl(tmp_path / "b.jsonl", bare))
    with pytest.raises(InputError, match="3 of 3 problems have no gold answer"):
        grade_samples(samples, GRADERS["gsm8k"])
    problems = problem_set(GSM8K, name="a").problems
    np.testing.assert_array_equal(grade_samples(samples, GRADERS["gsm8k"], problems).success, [1, 0, 0])


ROLES = [("system", "be short"), ("user", "q0"), ("assistant", "5"), ("user", "q1")]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "data set"])
def test_roles_of_prompts_are_kept(tmp_path, kind):
    told = [{"role": role, "content": text} for role, text in ROLES]
    prompts = [ROLES, ROLES[1:], [("user", "q1")], "q1", json.dumps(told), '[{"x": 1}]']
    rows = [
        {"prompt": p if isinstance(p, str) else [{"role": r, "content": t} for r, t in p], "answer": str(i)}
        for i, p in enumerate(prompts)
    ]
    if kind == "jsonl":
        found = read_problems(jsonl(tmp_path / "p.jsonl", rows)).problems
    else:
        rows = rows[:3]  # one type a column
        if kind == "parquet":
            parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "p.parquet")
            found = read_problems(tmp_path / "p.parquet").problems
        else:
            found = problem_set(pytest.importorskip("datasets").Dataset.from_list(rows), name="p").problems
    assert [p.turns for p in found][:3] == [tuple(ROLES), tuple(ROLES[1:]), (("user", "q1"),)]
    assert found[2].messages == ()  # one message of a user's is the prompt itself
    assert found[0].prompt == "be short\nq0\n5\nq1"
    if kind == "jsonl":
        assert found[3].turns == found[2].turns
        assert found[4].turns == tuple(ROLES)  # a table's cell that holds messages as JSON
        assert found[5].turns == (("user", '[{"x": 1}]'),)


def test_prompts_that_differ_in_roles_alone_are_different_problems():
    def row(*roles):
        return {"prompt": [{"role": r, "content": t} for r, t in zip(roles, "ab", strict=True)], "answer": "1"}

    one, two = problem_set([row("system", "user"), row("user", "user")], name="p").problems
    assert one.prompt == two.prompt
    assert one.id != two.id
    named = [{**row("system", "user"), "id": "x"}, {**row("user", "user"), "id": "x"}]
    with pytest.raises(InputError, match="belongs to another problem"):
        problem_set(named, name="p")
