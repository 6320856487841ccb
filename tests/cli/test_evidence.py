"""The verbs of evidence: what is exported in one home is checked, imported and trusted in another."""

import dataclasses
import json

import pytest

from keyturn.atlas.bundle import Bundle, write_bundle
from keyturn.atlas.store import append, home, shipped_runs

NAME = "one-example-nearly-suffices"


@pytest.fixture
def other(tmp_path):
    """A bundle of a friend's: two runs of a claim, with their rows."""
    ((one, details),) = shipped_runs(NAME)
    records = [dataclasses.replace(one, seed=seed) for seed in (7, 8)]
    behind = {record.digest: details for record in records}
    return write_bundle(Bundle(whom="ada", records=tuple(records), behind=behind), tmp_path / "ada.zip")


def own(seed=5):
    ((one, details),) = shipped_runs(NAME)
    mine = dataclasses.replace(one, seed=seed)
    append(mine, home(), details)
    return mine


def test_there_and_back_again(call, tmp_path, monkeypatch):
    own()
    code, out, err = call("evidence", "export", "mine.zip", NAME, "--name", "ben", "--json")
    assert (code, err) == (0, "")
    first = (tmp_path / "mine.zip").read_bytes()
    assert len(json.loads(out)["records"]) == 1
    assert call("evidence", "export", "again.zip", "--name", "ben")[0] == 0
    assert (tmp_path / "again.zip").read_bytes() == first
    code, out, err = call("evidence", "verify", "mine.zip")
    assert (code, err) == (0, "")
    assert "12 number(s) follow from the rows" in out
    monkeypatch.setenv("KEYTURN_HOME", str(tmp_path / "another"))
    code, out, _ = call("evidence", "import", "mine.zip")
    assert (code, out) == (
        0,
        "from ben: 1 new record(s), 0 known before; they do not count in verdicts; --count would let them\n"
        "unsigned: anybody can have made it\n",
    )
    assert "1 shipped" in call("claim", "verdict", NAME)[1]
    assert "with everything imported it would read: supported" in call("claim", "verdict", NAME)[1]
    assert (
        "0 new record(s), 1 known before; they count in verdicts"
        in call("evidence", "import", "mine.zip", "--count")[1]
    )
    assert "1 shipped, 1 imported" in call("claim", "verdict", NAME)[1]
    code, out, _ = call("evidence", "trust", "ben", "--no", "--json")
    assert (code, json.loads(out)["counts"]) == (0, False)
    assert "1 imported" not in call("claim", "verdict", NAME)[1]


def test_the_list_says_from_whom_and_how_much_was_seen(call, other):
    own()
    assert call("evidence", "import", other, "--from", "a.friend")[0] == 0
    code, out, err = call("evidence", "ls")
    assert (code, err) == (0, "")
    assert "mine: 1 record(s) of 1 claim(s), which count in verdicts" in out
    assert "from a.friend: 2 record(s) of 1 claim(s), which do not count" in out
    assert "rows" in out
    records = json.loads(call("evidence", "ls", "--json")[1])["records"]
    assert {row["kind"] for row in records} == {"shipped", "mine", "imported"}
    assert [row["whom"] for row in records if row["kind"] == "imported"] == ["a.friend"] * 2


def test_a_forged_number_is_refused_on_import_and_listed_by_verify(call, tmp_path):
    ((one, details),) = shipped_runs(NAME)
    forged = dataclasses.replace(one, seed=3, numbers={**one.numbers, "effect": one.numbers["top - base"]})
    write_bundle(Bundle(whom="eve", records=(forged,), behind={forged.digest: details}), tmp_path / "eve.zip")
    code, out, err = call("evidence", "verify", "eve.zip")
    assert (code, err) == (1, "")
    assert "wrong: effect is 0.05208" in out
    code, out, err = call("evidence", "import", "eve.zip")
    assert (code, out) == (1, "")
    assert "effect is 0.05208" in err.splitlines()[0]
    assert not (home() / "evidence").exists()


def test_a_published_number_is_kept_beside_and_enters_nothing(call):
    before = call("claim", "verdict", NAME)
    words = ("evidence", "report", NAME, "effect", "--value", "-0.01", "--source", "arxiv:2504.20571")
    code, out, err = call(*words, "--locator", "table 1")
    assert (code, err) == (0, "")
    assert "enters no verdict" in out
    assert call(*words, "--locator", "table 1")[0] == 0
    told = json.loads(call("evidence", "ls", "--json")[1])["reported"]
    assert [(row["value"], row["locator"]) for row in told] == [(-0.01, "table 1")]
    assert call("claim", "verdict", NAME) == before
    assert "arxiv:2504.20571, table 1" in call("claim", "show", NAME)[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"number": "efect"}, "effect"),
        ({"value": "nan"}, "no finite value"),
        ({"value": "inf"}, "no finite value"),
        ({"low": "0.2"}, "half an interval"),
        ({"low": "0.2", "high": "0.1"}, "upside down"),
        ({"n": "-1"}, "--n is -1"),
        ({"source": "a paper"}, "is no source"),
        ({"claim": "one-example"}, NAME),
    ],
)
def test_a_published_number_that_cannot_be_is_refused_with_its_fix(call, change, said):
    options = {"value": "0.1", "source": "arxiv:2504.20571", **change}
    place = (options.pop("claim", NAME), options.pop("number", "effect"))
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    code, out, err = call("evidence", "report", *place, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert "fix:" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("export", "x.zip"), "no evidence in"),
        (("export", "x.zip", "rl-narrow"), "rl-narrows"),
        (("import", "gone.zip"), "is no file"),
        (("verify", "."), "is no file"),
        (("trust", "nobody"), "unknown source"),
    ],
)
def test_what_cannot_be_done_says_so_in_one_line_with_its_fix(call, words, said):
    code, out, err = call("evidence", *words)
    assert code in (1, 2)
    assert out == ""
    assert said in err.splitlines()[0] or said in err.splitlines()[1]
    assert len(err.splitlines()) == 2


def test_damaged_files_beside_the_records_are_one_line_with_their_fix(call, other):
    assert call("evidence", "import", other)[0] == 0
    about = home() / "evidence" / "imported" / "ada" / "about.json"
    about.write_text('{"signed": {"a": 1}}')
    for words in (("evidence", "ls"), ("evidence", "trust", "ada")):
        code, _, err = call(*words)
        assert code == 1
        assert "about.json does not say who signed the records" in err
        assert "import the bundles of ada again" in err
    mine = own()
    path = home() / "evidence" / "runs" / f"{mine.digest}.draws.json"
    path.write_text('{"schema": 1}')
    code, out, err = call("evidence", "export", "x.zip", "--draws")
    assert (code, err) == (0, "")
    assert f"{path.name} is damaged" in out
    assert f"keyturn claim run {NAME} --seed 5" in out
