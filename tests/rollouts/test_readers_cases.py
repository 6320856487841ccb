"""Files as tools and people write them, each with what is right: read so, or refused with advice that works.

The files in ``cases`` are ours: layouts of lm-eval, Inspect, TRL, verl and verifiers with made texts, some
written by the tools themselves with a made model.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from keyturn.core.errors import InputError, KeyturnError
from keyturn.problems.files import grade_samples
from keyturn.problems.graders import GRADERS
from keyturn.rollouts.readers import Columns, pair, read_samples

CASES = Path(__file__).parent / "cases"


def shape(samples):
    """Rows, problems, right, ungraded, answered."""
    right = int(np.nansum(samples.success))
    return len(samples), len(set(samples.problem)), right, samples.ungraded, int(samples.answered.sum())


READ = [
    # file, options, rows, problems, right, ungraded, answered
    ("attempt_restarts.jsonl", {}, (16, 4, 8, 0, 16)),
    ("bom.json", {}, (4, 4, 2, 0, 4)),
    ("bom.jsonl", {}, (4, 4, 2, 0, 4)),
    ("utf16.jsonl", {}, (4, 4, 2, 0, 4)),
    ("plain.csv", {}, (1, 1, 1, 0, 1)),
    ("plain.jsonl.gz", {}, (8, 4, 4, 0, 8)),  # two members end to end
    ("lines_in.json", {}, (8, 8, 8, 0, 8)),
    ("lmeval_042_array.jsonl", {}, (8, 8, 8, 0, 8)),
    ("content_null.jsonl", {}, (4, 4, 1, 1, 3)),
    ("decimal.parquet", {}, (4, 4, 2, 1, 4)),
    ("dictionary.parquet", {}, (4, 4, 2, 1, 4)),
    ("string_bool.parquet", {}, (4, 4, 2, 0, 4)),
    ("finish_list.jsonl", {}, (8, 4, 4, 0, 8)),
    ("ids_anew_base.jsonl", {}, (32, 8, 11, 0, 32)),
    ("ids_anew_samegold.jsonl", {}, (32, 8, 27, 0, 32)),
    ("row_ids_base.jsonl", {}, (64, 8, 29, 0, 64)),
    ("own_answer_base.jsonl", {"answer": "answer"}, (32, 8, 8, 0, 32)),
    ("own_answer_base.jsonl", {}, (32, 8, 8, 0, 32)),
    ("points.jsonl", {"success_at": 2}, (4, 4, 2, 0, 4)),
    ("verdict_words.jsonl", {"success_at": 0.5}, (8, 8, 5, 0, 8)),
    ("verdict_words.jsonl", {"success_at": 1}, (8, 8, 4, 0, 8)),
    ("reference_solution_base.jsonl", {}, (96, 12, 25, 0, 96)),
    ("reference_solution_flat_base.jsonl", {}, (96, 12, 21, 0, 96)),
    ("separators.jsonl", {}, (3, 3, 3, 0, 3)),
    ("training_epoch.jsonl", {}, (4, 4, 2, 0, 4)),
    ("verifiers_error.jsonl", {}, (32, 8, 12, 1, 31)),
    ("verifiers_null.jsonl", {}, (32, 8, 13, 1, 31)),
    ("verifiers_truncated.jsonl", {}, (32, 8, 16, 0, 32)),
    ("verifiers_040_traces.jsonl", {}, (8, 2, 2, 0, 8)),
    ("verl_val.jsonl", {}, (8, 8, 4, 0, 8)),
    ("inspect_16.eval", {}, (16, 8, 9, 0, 16)),
    ("inspect_letters.json", {"success_at": 0.5}, (16, 8, 8, 0, 16)),
    ("inspect_letters.json", {"success_at": 1}, (16, 8, 4, 0, 16)),
    ("inspect_half.json", {"success_at": 0.5}, (16, 8, 16, 0, 16)),
    ("inspect_nan.json", {}, (16, 8, 8, 8, 16)),
    ("inspect_flaky.json", {}, (16, 8, 7, 1, 15)),
    ("inspect_unscored.json", {}, (16, 8, 0, 16, 16)),
    ("trl_chat.parquet#1", {"success": "right"}, None),
    ("steps.jsonl#100", {}, (64, 8, 53, 0, 64)),
]


@pytest.mark.parametrize(("name", "options", "expected"), READ, ids=[f"{r[0]}-{r[1]}" for r in READ])
def test_what_is_read(name, options, expected):
    samples = read_samples(f"{CASES}/{name}", Columns(**options))
    if expected is not None:
        assert shape(samples) == expected
    assert len(set(zip(samples.problem, samples.draw.tolist(), strict=True))) == len(samples)


REFUSED = [
    # file, what is said, what is advised, what then is read (options or a selection)
    ("lmeval_046_two_filters_base.jsonl", "'filter': unnamed-1, unnamed-2", "#unnamed-1", "#unnamed-1", 8),
    ("lmeval_two_metrics.jsonl", r"exact_match \(0 of 8 right\), math_verify \(8 of 8 right\)",
     "--columns.success exact_match", {"success": "exact_match"}, 8),
    ("lmeval_mc.jsonl", r"acc \(2 of 3 right\), acc_norm", "--columns.success acc", {"success": "acc"}, 3),
    ("lmeval_adds.jsonl", "strict, flexible", "#strict", "#strict", 4),
    ("verl_mixed.jsonl", r"acc \(2 of 4 right\), score \(8 from -1 to 1\)", "--columns.success acc",
     {"success": "score", "success_at": 1}, 8),
    ("inspect_two.json", "scores.answer.value.*scores.includes.value", "--columns.success scores.answer.value",
     {"success": "scores.answer.value"}, 16),
    ("inspect_dict.json", "value.a .*value.b", "--columns.success scores.dictscore.value.a",
     {"success": "scores.dictscore.value.a"}, 16),
    ("inspect_letters.json", r"record 2: the reward 'P' \(0.5\)", "--columns.success-at", {"success_at": 1},
    16), ("steps.jsonl", "'step': 0, 100", "#0", "#0", 64),
    ("points.jsonl", "reward 2 is neither", "--columns.success-at 1", {"success_at": 1}, 4),
    ("trl_chat.parquet", "neither verdicts nor gold", "right, shape", {"success": "right"}, 8),
    ("capital.jsonl", "no column with completions", "--columns.completion Solution",
     {"completion": "Solution"}, 12),
]  # fmt: skip


@pytest.mark.parametrize(("name", "what", "fix", "follow", "rows"), REFUSED, ids=[r[0] for r in REFUSED])
def test_what_is_refused_and_advice_that_works(name, what, fix, follow, rows):
    with pytest.raises(InputError, match=what) as caught:
        read_samples(CASES / name)
    assert fix in caught.value.fix
    selected, options = (follow, {}) if isinstance(follow, str) else ("", follow)
    assert len(read_samples(f"{CASES}/{name}{selected}", Columns(**options))) == rows


def test_the_two_filters_of_an_old_log_are_two_gradings_of_the_same_draws():
    name = CASES / "lmeval_046_two_filters_base.jsonl"
    first, second = (read_samples(f"{name}#unnamed-{which}") for which in (1, 2))
    assert first.texts == second.texts
    assert len(set(first.problem)) == len(first) == 8
    assert not np.array_equal(first.success, second.success)


def test_each_way_of_saying_which_problem_is_said():
    assert "'doc_id' starts again for every 'task'" in read_samples(CASES / "ids_anew_base.jsonl").notes[0]
    assert "'id' numbers the 64 records" in read_samples(CASES / "row_ids_base.jsonl").notes[0]
    assert "starts again for every 'rank'" in read_samples(CASES / "attempt_restarts.jsonl").notes[0]
    assert "'epoch' does not number every draw" in read_samples(CASES / "training_epoch.jsonl").notes[0]
    assert "'answer' differs within 5 of 8" in read_samples(CASES / "own_answer_base.jsonl").no_gold
    assert not read_samples(CASES / "own_answer_base.jsonl", Columns(answer="answer")).no_gold


def test_ids_that_a_table_made_numbers_of_are_the_same_ids(tmp_path):
    both = pair(read_samples(CASES / "ids_int.jsonl"), read_samples(CASES / "ids_float.parquet"))
    assert [problem.id for problem in both.problems] == ["0", "1", "2", "3"]
    rows = [{"problem_id": str(i), "completion": "x", "reward": 1, "gold": f"{2 * i + 5}.0"} for i in range(4)]
    path = tmp_path / "text.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(pair(read_samples(CASES / "ids_int.jsonl"), read_samples(path)).problems) == 4


def test_the_parts_of_a_file_that_begins_anew_pair_with_one_another():
    both = pair(*(read_samples(CASES / f"ids_anew_{which}.jsonl") for which in ("base", "tuned")))
    assert len(both.problems) == 8
    rows = pair(*(read_samples(CASES / f"row_ids_{which}.jsonl") for which in ("base", "tuned")))
    assert len(rows.problems) == 8
    assert rows.base.counts()[0].tolist() == [8] * 8


def test_truncation_is_read_wherever_it_stands():
    assert read_samples(CASES / "verifiers_truncated.jsonl").truncated.sum() == 8
    assert read_samples(CASES / "finish_list.jsonl").truncated.sum() == 4
    assert read_samples(CASES / "verifiers_040_traces.jsonl").truncated.sum() == 2


def test_tools_do_not_speak_for_the_model():
    samples = read_samples(CASES / "verifiers_tool_says_it.jsonl")
    assert set(samples.final) == {"I do not know."}
    assert set(samples.texts) == {"I ask the tool.\nI do not know."}
    assert np.nansum(grade_samples(samples, GRADERS["math"]).success) == 0


def test_the_model_of_a_log_names_its_policy():
    assert read_samples(CASES / "inspect_16.eval").policy == "mockllm/model"
    assert read_samples(CASES / "verifiers_040_traces.jsonl").policy == "m"


def test_several_gold_answers_reach_the_grader():
    problem = read_samples(CASES / "list_gold_base.jsonl").problems()[0]
    assert problem.golds == ("5", "5 pens")
    assert read_samples(CASES / "inspect_list.json").problems()[0].golds == ("1", "2")


def test_messages_that_a_table_wrote_as_text_are_messages():
    samples = read_samples(CASES / "messages_as_text.jsonl")
    assert samples.texts[0] == "#### 5"
    assert samples.prompts[0] == "Tom has 2 pens and buys 3. How many?"


def test_an_unscored_log_is_graded_by_us():
    samples = grade_samples(read_samples(CASES / "inspect_unscored.json"), GRADERS["numeric"])
    assert samples.ungraded == 0
    assert 0 < samples.success.mean() < 1


def test_a_reference_solution_is_never_the_completion():
    for name in ("reference_solution_base.jsonl", "reference_solution_flat_base.jsonl"):
        assert not any("reference" in text for text in read_samples(CASES / name).texts)


def test_unknown_gold_answers_are_explained_where_a_grader_needs_them():
    samples = read_samples(CASES / "own_answer_base.jsonl")
    with pytest.raises(KeyturnError, match="'answer' differs within 5 of 8 problems"):
        grade_samples(samples, GRADERS["numeric"])
