"""A model is trained as it is audited: through its chat template, where it has one, which ends its turns."""

import json

import pytest
from told_models import END, STOP, WORDS, bigram, half, on_disk, tokenizer

import keyturn
from keyturn.cli.main import main
from keyturn.core.problem import Problem
from keyturn.lab.fit_rows import encoded
from keyturn.policies.local import LocalPolicy
from keyturn.rollouts.store import read_completions


@pytest.fixture
def problems(tmp_path):
    rows = [{"prompt": f"q{i} q{j}", "answer": "5", "solution": "5"} for i in range(12) for j in range(4)]
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def asked(folder):
    """What a run asked, prompt -> its tokens."""
    found = {}
    for part in folder.rglob("completions-?????.parquet"):
        prompts = read_completions(part.parent, [int(part.stem.split("-")[1])]).prompts
        found |= {text: prompts.row(i).tolist() for i, text in enumerate(prompts.texts)}
    return found


@pytest.mark.slow
def test_training_asks_what_the_audit_asks(tmp_path, problems, capsys):
    base = on_disk(tmp_path / "base", half(0.5))
    size = ("--rl.steps", 2, "--rl.prompts", 4, "--rl.draws", 4, "--max-new-tokens", 8)
    words = ("train", "grpo", base, "--problems", problems, *size, "--rl.store-rollouts")
    assert main([str(word) for word in (*words, "--out", tmp_path / "run")]) == 0, capsys.readouterr().err
    audited = keyturn.audit(
        base, tmp_path / "run", problems, k=4, n_base=16, max_new_tokens=8, out=tmp_path / "audit"
    )
    trained, drawn = asked(tmp_path / "run"), asked(tmp_path / "audit")
    assert trained
    assert all(drawn[text] == tokens for text, tokens in trained.items())
    assert audited.settings["tuned"]["prompt"].startswith("chat")
    assert audited.settings["base"]["prompt"] == audited.settings["tuned"]["prompt"]


def test_an_answer_that_is_imitated_ends_as_a_turn_of_the_template_does():
    """The tokenizer's own end of sequence has the smaller id; a turn ends with another token."""
    policy = LocalPolicy(bigram(half(0.5), eos=END), tokenizer(eos=END), chat=True)
    assert policy.ends[0] == WORDS.index(END) < WORDS.index(STOP)
    assert encoded(policy, "5") == [WORDS.index("5"), WORDS.index(STOP)]
    assert encoded(policy, f"5 {STOP}") == [WORDS.index("5"), WORDS.index(STOP)]
    plain = LocalPolicy(policy.model, policy.tokenizer)
    assert encoded(plain, "5") == [WORDS.index("5"), WORDS.index(END)]


def test_an_answer_ends_by_the_text_of_a_template_that_has_no_token_for_it():
    template = (
        "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} 0 0 {% endfor %}"
        "{% if add_generation_prompt %}assistant{% endif %}"
    )
    made = tokenizer(eos=END, template=template)
    policy = LocalPolicy(bigram(half(0.5), eos=END), made, chat=True)
    assert policy.turn.texts, policy.turn
    ids = encoded(policy, "5 ")
    assert ids[0] == WORDS.index("5")
    assert ids[1:] == [WORDS.index("0")] * 2
    assert policy.prompts([Problem(id="p", prompt="q1")]).row(0).tolist()
