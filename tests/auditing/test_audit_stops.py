"""An audit and a training behind worked examples, whose answers end at a stop text."""

import json

import pytest
from told_models import bigram, tokenizer

import keyturn
from keyturn.cli import audit as audit_verb
from keyturn.cli.options import unescaped
from keyturn.core.errors import UsageError

WORDS = ("<|endoftext|>", "<unk>", "Question:", "Answer:", *(f"q{i}" for i in range(20)), *map(str, range(10)))
RAMBLES = {"Answer:": {"5": 0.5, "9": 0.5}, "5": {"Question:": 1.0}, "9": {"Question:": 1.0}}
RAMBLES["Question:"] = {"q1": 1.0}
RAMBLES["q1"] = {"9": 1.0}
"""Answers, then goes on with a question of its own and never ends."""
KNOWS = {**RAMBLES, "Answer:": {"5": 1.0}}


@pytest.fixture
def pair():
    made = tokenizer(eos="<|endoftext|>", words=WORDS, template=None)
    return tuple((bigram(follow, WORDS, "<|endoftext|>"), made) for follow in (RAMBLES, KNOWS))


def asked(folder, count=12, first=0):
    path = folder / f"from{first}.jsonl"
    rows = [{"prompt": f"q{i}", "answer": "5"} for i in range(first, first + count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.slow
def test_draws_end_before_the_next_question_and_count_as_stopped(tmp_path, pair):
    size = {"k": 4, "n_base": 8, "max_new_tokens": 12, "grader": "exact"}
    shown = asked(tmp_path, 3, first=15)
    found = keyturn.audit(*pair, asked(tmp_path), examples=shown, stop=["Question:"], **size)
    assert "cut at the limit" in found.settings["base"]
    assert found.settings["base"]["cut at the limit"] == "0%"
    assert "the text 'Question:'" in found.settings["base"]["stops at"]
    # The turns that worked examples would be in a chat are no roles that a plain prompt loses.
    assert "roles" not in {caution.kind for caution in found.cautions}
    assert not any("few-shot format arm" in limit for limit in found.limits)
    accuracy = {
        one.parameters["policy"]: one.value
        for one in found.measurements
        if one.name == "accuracy" and one.parameters["scoring"] == "strict"
    }
    assert accuracy["tuned"] == 1.0
    assert 0.2 < accuracy["base"] < 0.8
    running = keyturn.audit(*pair, asked(tmp_path), examples=shown, **size)
    assert running.settings["base"]["cut at the limit"] != "0%"


@pytest.mark.slow
def test_training_asks_as_the_audit_does(tmp_path, pair):
    rl = {"steps": 2, "prompts": 4, "draws": 4, "max_new_tokens": 12}
    done = keyturn.train(
        "grpo",
        pair[0],
        asked(tmp_path),
        test=asked(tmp_path, 3, first=12),
        examples=asked(tmp_path, 3, first=16),
        stop=["Question:"],
        template="plain",
        grader="exact",
        rl=rl,
        out=tmp_path / "run",
    )
    assert all(row["truncated"] == 0 for row in done.history)
    assert all(row["length"] == 2 for row in done.history)


def test_a_stop_without_a_text_and_examples_without_a_file_are_refused(tmp_path, pair):
    with pytest.raises(UsageError, match="a stop text is empty"):
        keyturn.audit(*pair, asked(tmp_path), stop=[""])
    with pytest.raises(UsageError, match="not a list"):
        keyturn.audit(*pair, asked(tmp_path), stop="Question:")
    with pytest.raises(UsageError, match="examples would do nothing"):
        keyturn.audit({"a": (1, 4)}, {"a": (2, 4)}, examples=asked(tmp_path))


def test_a_command_line_writes_line_breaks_as_two_characters():
    assert unescaped(("\\n\\n", "a\\tb", "Question:")) == ("\n\n", "a\tb", "Question:")


def test_an_audit_without_stop_texts_has_the_folder_that_it_always_had():
    options = dict.fromkeys(audit_verb.DECIDES)
    before = audit_verb.asked_for({**options, "stop": (), "examples": None})
    assert before != audit_verb.asked_for({**options, "stop": ("x",), "examples": None})
    assert "examples" not in {name for name in audit_verb.DECIDES if options[name]}
