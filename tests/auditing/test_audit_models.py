"""The whole audit on causal LMs that keyturn did not make: same command, same document, same report."""

import json

import pytest
from made_models import byte_tokenizer, gpt2, pair_on_disk, problem_file, qwen, word_tokenizer

from keyturn.cli.main import main


def audited(capsys, *words):
    code = main(["audit", *map(str, words), "--json"])
    out = capsys.readouterr()
    assert code == 0, out.err
    return json.loads(out.out)


KEYS = {"name", "base", "tuned", "problems", "run", "k", "n_base", "verdict", "cells", "measurements"}
SHARES = {"deployed", "created", "undecided", "routing", "execution"}


@pytest.mark.slow
@pytest.mark.parametrize(("make", "tokenizer"), [(gpt2, byte_tokenizer), (qwen, word_tokenizer)])
def test_any_two_causal_models_go_through_the_whole_audit(tmp_path, capsys, make, tokenizer):
    base, tuned = pair_on_disk(tmp_path, make, tokenizer())
    size = ("--k", 8, "--n-base", 64, "--max-new-tokens", 12, "--out", tmp_path / "run")
    document = audited(capsys, base, tuned, "--problems", problem_file(tmp_path), *size)
    assert document["schema"] == 1
    (found,) = document["audits"]
    assert set(found) >= KEYS
    assert set(found["verdict"]["shares"]) >= SHARES
    masses = found["verdict"]["masses"]
    parts = sum(masses[name]["value"] for name in ("deployed", "created", "undecided"))
    assert parts == pytest.approx(masses["gain"]["value"], abs=1e-9)
    # The base guesses one answer in ten in the right format; its child knows them.
    assert masses["gain"]["low"] > 0.1
    names = {m["name"] for m in found["measurements"]}
    assert {"pass_at_k", "crossing", "coverage", "accuracy", "token_kl", "update_zero", "length"} <= names
    scorings = {
        m["scoring"] for m in found["measurements"] if m["name"] == "accuracy" and m["policy"] == "base"
    }
    assert scorings == {"strict", "lenient", "few-shot format"}
    assert all(m["null"] is None or "kind" in m["null"] for m in found["measurements"])
    page = (tmp_path / "run" / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page

    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.parquet")}
    again = audited(capsys, base, tuned, "--problems", problem_file(tmp_path), *size)
    assert again["audits"][0]["measurements"] == found["measurements"]
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.parquet")}

    greedy = audited(
        capsys,
        base,
        tuned,
        "--problems",
        problem_file(tmp_path),
        *size[:-1],
        tmp_path / "greedy",
        "--temperature",
        0,
    )["audits"][0]
    assert greedy["verdict"]["label"] == "undecided"
    assert greedy["n_base"] == 1
