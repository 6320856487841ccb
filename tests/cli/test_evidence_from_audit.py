"""An audit of one's own models becomes a record of the claims about RL, where its user says that it was RL."""

import json

import pytest

from keyturn.atlas.store import behind, home, mine

PROBLEMS = 40


def samples(path, right, draws):
    """A sample file: so many draws a problem, of which ``right(problem)`` are right."""
    rows = [{"id": f"p{i}", "n": draws, "c": right(i)} for i in range(PROBLEMS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def audited(call, tmp_path):
    base = samples(tmp_path / "base.jsonl", lambda i: 32 + i % 20, 256)
    tuned = samples(tmp_path / "tuned.jsonl", lambda i: 40 + i % 9, 64)
    run = tmp_path / "run"
    assert call("audit", "--samples", base, tuned, "--k", "64", "--out", run)[0] == 0
    return run


def test_an_audit_leaves_its_numbers_and_they_become_two_records(call, audited, tmp_path):
    words = ("evidence", "from-audit", audited, "--trained-by", "GRPO on sums", "--base", "mine-7b")
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    assert "rl-deploys: a record of mine-7b, 40 problems" in out
    (deploys,), (narrows,) = mine("rl-deploys", home()), mine("rl-narrows", home())
    assert deploys.numbers == narrows.numbers
    assert deploys.numbers["gain"].low > 0.3
    assert deploys.numbers["deployed share"].value > 0.9
    assert deploys.environment["trained by"] == "GRPO on sums"
    assert (deploys.run, deploys.base_name, deploys.seed) == ("run", "mine-7b", 0)
    assert "GRPO on sums" in behind(deploys, home())["setting"]
    written = "".join(path.read_text() for path in home().rglob("*.json*"))
    assert str(tmp_path) not in written
    assert call(*words)[0] == 0
    assert json.loads(call("claim", "ls", "--json")[1])["claims"][1]["origins"]["mine"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--base", "b"), "an audit cannot see how a model was trained"),
        (("--trained-by", " ", "--base", "b"), "an audit cannot see how a model was trained"),
        (("--trained-by", "GRPO"), "do not say which base"),
    ],
)
def test_what_only_the_user_knows_is_asked(call, audited, words, said):
    code, out, err = call("evidence", "from-audit", audited, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert "fix:" in err
    assert not (home() / "evidence").exists()


def test_another_budget_another_folder_and_an_edit_are_refused(call, tmp_path, audited):
    words = ("--trained-by", "GRPO", "--base", "b")
    files = (tmp_path / "base.jsonl", tmp_path / "tuned.jsonl")
    assert call("audit", "--samples", *files, "--k", "16", "--out", tmp_path / "other")[0] == 0
    code, _, err = call("evidence", "from-audit", tmp_path / "other", *words)
    assert code == 2
    assert "the claims K = 64" in err
    code, _, err = call("evidence", "from-audit", tmp_path / "nowhere", *words)
    assert code == 1
    assert "claims.json" in err
    path = audited / "claims.json"
    document = json.loads(path.read_text())
    document["audits"][0]["n"] = 4000
    path.write_text(json.dumps(document))
    code, _, err = call("evidence", "from-audit", audited, *words)
    assert code == 1
    assert "was edited" in err
    # The advice works.
    assert call("audit", "--samples", *files, "--k", "64", "--out", audited)[0] == 0
    assert call("evidence", "from-audit", audited, *words)[0] == 0
