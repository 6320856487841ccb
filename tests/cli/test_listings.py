"""Listings are one line an entry and fit the terminal; `show` says the rest; policies stand at one place."""

import json
import shlex

import pytest

from keyturn.atlas import CLAIMS
from keyturn.auditing.model_places import place_of
from keyturn.cli.train_ls import methods
from keyturn.core.errors import UsageError
from keyturn.policies.model_folder import same_folder


def entries(out):
    return [line.split()[0] for line in out.splitlines() if line.startswith("  ")]


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_one_line_an_entry_that_fits_the_terminal(call, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    _, out, _ = call("train", "ls")
    assert sorted(entries(out)) == sorted(row["name"] for row in methods())
    assert all(len(line) <= columns for line in out.splitlines() if line.startswith("  "))
    _, out, _ = call("claim", "ls")
    assert sorted(entries(out)) == sorted(CLAIMS)
    longest = max(map(len, CLAIMS))
    assert all(len(line) <= max(columns, longest + 32) for line in out.splitlines() if line.startswith("  "))


def test_without_a_terminal_a_listing_is_grouped_and_cuts_no_sentence(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    for words, most, loose in (("train ls", 70, 4), ("claim ls", 60, 5)):
        _, out, _ = call(*words.split())
        lines = out.splitlines()
        assert "…" not in out
        assert len(lines) <= most
        assert sum(bool(line) and not line.startswith(" ") for line in lines) == loose, (
            "three headings and what is next; of claims also what a question mark means"
        )
    assert all(claim.question in out for claim in CLAIMS.values())


def test_a_method_is_shown_whole(call):
    for row in methods():
        code, out, err = call("train", "show", row["name"])
        assert (code, err) == (0, "")
        flat = " ".join(out.split())
        assert " ".join(row["source"].split()) in flat
        assert "try it: keyturn train " in flat
    code, out, _ = call("train", "show", "sft", "--json")
    [shown] = json.loads(out)["methods"]
    assert shown["settings"]["--fit.steps"] == "200"
    assert shown["needs"] == ["expert"]
    assert "few-demos-need-competence" in shown["claims"]


def test_an_unknown_method_is_answered_with_the_near_one(call):
    code, out, err = call("train", "show", "ditsill")
    assert (code, out, "did you mean distill" in err) == (2, "", True)


def test_what_show_says_can_be_set_can_be_set(call):
    """Every option that `train show` names is one that the method's own help knows."""
    for name in ("sft", "grpo", "thinkless"):
        [shown] = json.loads(call("train", "show", name, "--json")[1])["methods"]
        known = call("train", name, "--help")[1]
        assert [option for option in shown["settings"] if option not in known] == []


def pasted(err, beginning="audit it: keyturn "):
    [line] = [line for line in err.splitlines() if line.startswith(beginning)]
    return shlex.split(line.removeprefix(beginning))


@pytest.mark.parametrize("method", ["sft", "rloo"])
def test_every_method_saves_its_policy_at_one_place_and_prints_it_in_the_next_command(call, tmp_path, method):
    out = tmp_path / "a run with spaces & signs"
    words = ("train", method, "chain", "--dry-run", "--per-cell", 8, "--out", out)
    code, said, err = call(*words)
    assert code == 0, err
    place = out / "dry-run" / "model"
    assert f"policy: {place}" in said
    assert pasted(err) == ["audit", "chain", str(place)]
    assert place_of(str(out / "dry-run")) == str(place)
    document = json.loads(call(*words, "--resume", "--json")[1])
    assert document["models"]["policy"] == str(place.resolve())


@pytest.mark.slow
def test_a_recipe_takes_the_teacher_that_it_can_use(call, tmp_path):
    words = ("train", "distill", "chain", "--teacher", "chain", "--dry-run", "--per-cell", 8)
    code, out, err = call(*words, "--out", tmp_path / "run", "--json")
    assert code == 0, err
    assert any("teacher" in json.dumps(row) for row in json.loads(out)["rows"])


@pytest.mark.slow
def test_the_printed_command_works_when_it_is_pasted(call, tmp_path):
    code, _, err = call("world", "pretrain", "chain", "--steps", 3, "--out", tmp_path / "a base")
    assert code == 0, err
    train = pasted(err, "train it: keyturn ")
    assert train == ["train", "grpo", str(tmp_path / "a base" / "model")]
    code, _, err = call(*train, "--dry-run", "--per-cell", 4, "--out", "tuned")
    assert code == 0, err
    code, out, err = call(*pasted(err), "--k", 4, "--per-cell", 2, "--json")
    assert code == 0, err
    [audited] = json.loads(out)["audits"]
    assert audited["tuned"] == "tuned/dry-run/model"
    code, out, err = call("audit", "a base", "tuned/dry-run", "--k", 4, "--per-cell", 2, "--json")
    assert code == 0, err
    assert json.loads(out)["audits"][0]["verdict"] == audited["verdict"], "a run stands for its policy"


def test_a_model_folder_is_no_run_directory(call, tmp_path):
    code, _, _ = call("train", "rloo", "chain", "--dry-run", "--per-cell", 8, "--out", "x")
    assert code == 0
    model = tmp_path / "x" / "dry-run" / "model"
    for words in (
        ("train", "rloo", "chain"),
        ("train", "sft", "chain"),
        ("world", "pretrain", "chain", "--overwrite"),
    ):
        code, _, err = call(*words, "--out", model)
        assert (code, "is a model folder" in err) == (2, True), err


def test_a_model_stands_at_two_places_and_is_replaced_whole(tmp_path):
    for name, body in (("one", "1"), ("two", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(body)
    place = tmp_path / "run" / "model"
    place.parent.mkdir()
    same_folder(tmp_path / "one", place)
    before = (place / "config.json").stat()
    same_folder(tmp_path / "one", place)
    assert (place / "config.json").stat().st_ino == before.st_ino, "what is there already is left alone"
    (place / "config.json").unlink()
    (place / "config.json").write_text("damaged")
    same_folder(tmp_path / "one", place)
    assert (place / "config.json").read_text() == "1"
    same_folder(tmp_path / "two", place)
    assert (place / "config.json").read_text() == "2"
    assert (tmp_path / "one" / "config.json").read_text() == "1"
    assert [path.name for path in place.parent.iterdir()] == ["model"]


def test_where_there_are_no_hard_links_files_are_copied(tmp_path, monkeypatch):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "config.json").write_text("1")

    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("keyturn.policies.model_folder.os.link", refuse)
    same_folder(tmp_path / "one", tmp_path / "model")
    assert (tmp_path / "model" / "config.json").read_text() == "1"


def test_place_of_refuses_an_empty_run(tmp_path):
    (tmp_path / "run").mkdir()
    assert place_of(str(tmp_path / "run")) == str(tmp_path / "run"), "the loader says what is missing in it"
    with pytest.raises(UsageError, match="no model"):
        place_of(str(tmp_path / "rn" / "model"))
