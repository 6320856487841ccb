"""`keyturn grams`: successful draws in, a frozen file out."""

import json

import pytest

from keyturn.cli.grams import run
from keyturn.core.errors import InputError
from keyturn.roles.grams import read_grams
from keyturn.roles.strategic_grams import MiningConfig


def samples(path, success):
    rows = [
        {
            "problem": f"p{i // 2}",
            "completion": f"let me see now. w{i} ends",
            "success": success(i),
            "draw": i % 2,
        }
        for i in range(8)
    ]
    rows.append({"problem": "p9", "completion": "this one was wrong", "success": False, "draw": 0})
    rows.append({"problem": "p8", "completion": "this one was wrong", "success": False, "draw": 0})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_only_successes_are_mined_and_problems_are_counted(tmp_path, capsys):
    out = tmp_path / "grams.json"
    config = MiningConfig(kept_share=1.0)
    run(samples(tmp_path / "s.jsonl", lambda i: True), out=out, config=config, json=True)
    said = json.loads(capsys.readouterr().out)
    grams = read_grams(out)
    assert said["identity"] == grams.identity
    assert {g.text: g.documents for g in grams.entries} == {
        "let me see": 4,
        "me see now": 4,
        "let me see now": 4,
    }
    assert said["counts"]["texts"] == 8
    run(samples(tmp_path / "s.jsonl", lambda i: True), out=out, config=config)
    assert "let me see now" in capsys.readouterr().out


def test_a_file_without_a_success_is_refused(tmp_path):
    with pytest.raises(InputError, match="none of the 10 draws in"):
        run(samples(tmp_path / "s.jsonl", lambda i: False), out=tmp_path / "g.json")
