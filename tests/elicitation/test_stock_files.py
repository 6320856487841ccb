"""A stock model on a file of problems: what a user with any Hugging Face model has, through the front door."""

import json
from dataclasses import is_dataclass

import pytest
from made_task import made_model, problem_file

import keyturn
from keyturn.elicitation import ELICITATIONS

GEPA = ("gepa", "gepa-answers", "gepa-coins")
QUICK = {
    "self-consistency": {"samples": 3},
    "forced-opener": {"openers": (" so", " wait"), "trials": 2},
    "few-shot": {"shots": 2, "question": " ", "solution": " ", "between": " "},
    "few-shot-corrupted": {"few_shot": {"shots": 2, "question": " ", "solution": " ", "between": " "}},
    "zero-shot": {"trigger": " so", "extract": " =", "extract_tokens": 2},
    **{name: {"instruction": "so what", "between": " ", "budget": 0} for name in GEPA},
    **{
        f"prefix-search{arm}": {"longest": 2, "likely": 2, "random": 2, "budget": 40}
        for arm in ("", "-answers", "-coins")
    },
    "no-thinking": {"thought": " wait so"},
    "budget-more": {"wait": " wait", "end": "", "times": 1},
    "budget-less": {"budget": 2, "close": " =", "end": "", "answer_tokens": 2},
    "answer-prompt": {"close": " ="},
    "revision": {"rounds": 1, "request": "so what"},
    "cot-decoding": {"k": 3},
    "cot-decoding-sum": {"k": 3, "span": "number"},
    "cot-branches-vote": {"k": 3},
    "power": {"alpha": 2.0, "block": 4, "steps": 1},
    "power-smc": {"alpha": 2.0, "particles": 3},
    "steering-pca": {"contrast": "trigger", "trigger": " so"},
    "steering-random": {"contrast": "trigger", "trigger": " so"},
    "hybrid-planning": {"words": ("wait",)},
    "steering-delimiter": {"delimiters": ("so", "="), "reflection": ("2",), "transition": ("3",)},
    **{name: {"words": ("wait",)} for name in ("tip", "tip-flipped", "tip-random")},
    **{
        name: {"trials": 4, "steps": 2, "epochs": 1, "grid": 2, "kinds": 2, "words": 1, "clustering": 3}
        for name in ELICITATIONS
        if name.startswith("hybrid-vectors")
    },
}


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stock")
    rows = problem_file(folder / "all.jsonl", 24).read_text().splitlines()
    for name, part in (("asked", rows[:8]), ("development", rows[8:])):
        (folder / f"{name}.jsonl").write_text("\n".join(part) + "\n")
    made_model(folder / "tuned", seed=1)
    return made_model(folder / "made"), folder / "asked.jsonl", folder / "development.jsonl"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ELICITATIONS if not name.startswith("nim-search")])
def test_a_method_on_a_stock_model_and_a_file(name, stock, tmp_path):
    model, asked, development = stock
    method = ELICITATIONS[name]
    found = keyturn.elicit(
        name,
        str(model),
        asked,
        development=development,
        teacher=str(model.with_name("tuned")) if "teacher" in method.needs else None,
        settings=QUICK.get(name) if is_dataclass(method.config) else None,
        draws=3,
        max_new_tokens=6,
        grader="numeric",
        out=tmp_path / "run",
    )
    rows = [json.loads(line) for line in found.samples.read_text().splitlines()]
    assert len(rows) == 8 * 3
    assert {row["prompt"] for row in rows} == {
        json.loads(line)["question"] for line in asked.read_text().splitlines()
    }
    assert 0 <= found.success.value <= 1
    assert (found.cost()["weights_changed"] > 0) == (method.weights is not None)


@pytest.mark.slow
def test_an_elicited_file_is_audited_against_plain_sampling(stock, tmp_path):
    model, asked, _ = stock
    files = [
        keyturn.elicit(
            name,
            str(model),
            asked,
            draws=8,
            max_new_tokens=6,
            grader="numeric",
            settings=settings,
            out=tmp_path / name,
        ).samples
        for name, settings in (("plain", None), ("best-of-n-verifier", {"samples": 8}))
    ]
    audit = keyturn.audit(*map(str, files), k=4)
    assert audit.verdict
