"""The front door: finds the verb, keeps results and talk apart, and turns what goes wrong into an exit code."""

import json
import os
import re
import subprocess
import sys
import types

import pytest

import keyturn
from keyturn.atlas import CLAIMS
from keyturn.cli import main as front
from keyturn.core.errors import BusyError, InputError, UsageError


@pytest.fixture
def verb(monkeypatch):
    """A further verb, ``probe``, that does what the test says."""

    def add(run, name="probe"):
        module = types.ModuleType(f"keyturn.cli.{name}", "A verb of the tests.")
        module.run = run
        monkeypatch.setitem(sys.modules, f"keyturn.cli.{name}", module)
        monkeypatch.setitem(front.VERBS, name, (name, "a verb of the tests"))

    return add


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_help_lists_every_verb_and_shows_commands_to_copy(call, words):
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    listed = {line[2:23].strip() for line in out.splitlines() if line.startswith("  ")}
    assert set(front.VERBS) <= listed
    assert "keyturn audit BASE TUNED --problems" in out


def test_the_version_is_the_package_s(call):
    assert call("--version") == (0, f"keyturn {keyturn.__version__}\n", "")


@pytest.mark.parametrize("name", front.VERBS)
def test_every_verb_has_a_file_with_help_that_names_its_options(call, name):
    code, out, err = call(*name.split(), "--help")
    assert (code, err) == (0, "")
    assert f"usage: keyturn {name}" in out
    assert "--json" in out


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["audits"], "audit"),
        (["clam"], "claim"),
        (["claim", "lss"], "ls"),
        (["world", "shows"], "show"),
        (["doctr", "--json"], "doctor"),
    ],
)
def test_an_unknown_verb_is_usage_with_the_near_match_and_nothing_on_stdout(call, words, near):
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert "unknown verb" in err
    assert re.search(rf"did you mean {near}( or \w+)?\?", err)
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [["claim"], ["world"]])
def test_a_half_verb_says_what_may_follow_on_stderr(call, words):
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert f"{words[0]} show" in err
    assert call(*words, "--help")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["doctor", "--jsn"], "--json"),
        (["world", "show", "--depht", "3"], "--depth"),
        (["world", "show", "--n", "three"], "three"),
        (["claim", "show"], "CLAIM"),
        (["claim", "show", "rl-narow"], "did you mean rl-narrows"),
        (["world", "show", "grapf"], "graph"),
        (["--json", "doctor"], "keyturn doctor --json"),
        (["--json"], "options come after the verb"),
        (["audit", "", ""], "the name of a model is empty"),
        (["audit", " ", "chain"], "the name of a model is empty"),
        (["train", "", "chain"], "the method's name is empty"),
        (["train", "grpo", " "], "the name of a model is empty"),
        (["audit", "one-model"], "give base and tuned"),
        (["audit", "a", "b", "--samples", "c", "d"], "exclude each other"),
        (["audit", "--worlds", "grap"], "did you mean graph"),
        (["trace", "--objective", "grop"], "did you mean grpo"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_said_on_stderr_only(call, words, said):
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_claim_ls_gives_one_document_with_every_claim(call):
    code, out, err = call("claim", "ls", "--json")
    document = json.loads(out)
    assert (code, err, document["schema"], document["command"]) == (0, "", 1, "claim ls")
    assert [claim["id"] for claim in document["claims"]] == list(CLAIMS)
    known = [claim for claim in document["claims"] if claim["records"]]
    assert len(known) >= 27
    assert all(claim["origins"] == {"shipped": len(claim["records"])} for claim in known)
    assert all(claim["verdict"]["state"] != "untested" for claim in known)
    assert all(
        record["origin"] == {"kind": "shipped", "whom": ""} for one in known for record in one["records"]
    )
    code, out, _ = call("claim", "ls")
    assert code == 0
    assert all(name in out for name in CLAIMS)


@pytest.mark.parametrize("name", CLAIMS)
def test_claim_show_tells_what_decides_and_what_would_refute(call, name):
    code, out, err = call("claim", "show", name)
    assert (code, err) == (0, "")
    flat = " ".join(out.split())
    assert " ".join(CLAIMS[name].refuted_if.split()[:3]) in flat
    assert "decides" in flat
    document = json.loads(call("claim", "show", name, "--json")[1])
    assert document["claim"]["hash"] == CLAIMS[name].hash


def test_a_claim_without_evidence_has_no_verdict_yet(call):
    code, out, _ = call("claim", "verdict", "rl-narrows", "--json")
    assert code == 0
    assert json.loads(out)["verdict"]["records"] == 0


def test_doctor_gives_one_document_and_fails_exactly_where_something_must_be_mended(call):
    code, out, err = call("doctor", "--json")
    document = json.loads(out)
    assert (err, document["command"], document["keyturn"]) == ("", "doctor", keyturn.__version__)
    checks = {check["name"]: check for check in document["checks"]}
    assert {"python", "torch", "cores", "disk for runs", "shipped bases", "native engine"} <= set(checks)
    assert all(check["fix"] for check in checks.values() if check["state"] != "ok")
    assert code == int(any(check["state"] == "mend" for check in checks.values()))
    assert call("doctor")[0] == code


def test_world_show_gives_one_document_of_verified_problems(call):
    code, out, err = call("world", "show", "chain", "--depth", "3", "--n", "2", "--json")
    document = json.loads(out)
    assert (code, err, len(document["problems"])) == (0, "", 2)
    assert all(problem["verified"] for problem in document["problems"])


def test_what_a_verb_returns_is_the_exit_code(call, verb):
    verb(lambda: 1)
    assert call("probe") == (1, "", "")
    verb(lambda: None)
    assert call("probe") == (0, "", "")


@pytest.mark.parametrize(
    ("error", "code"), [(InputError, 1), (BusyError, 1), (UsageError, 2)], ids=lambda value: str(value)
)
def test_an_expected_error_is_one_line_its_fix_and_its_exit_code(call, verb, error, code):
    def run():
        raise error("the file \x1b[2Jhas \u202eno rows", fix="give it some")

    verb(run)
    found, out, err = call("probe")
    assert (found, out) == (code, "")
    first, second = err.splitlines()
    assert first.startswith("keyturn: the file ")
    assert second == "    fix: give it some"
    assert "\x1b" not in err
    assert "\u202e" not in err


@pytest.mark.parametrize("name", ["OutOfMemoryError", "MemoryError"])
def test_memory_that_ran_out_is_no_bug_and_says_how_to_go_on(call, verb, name):
    error = MemoryError if name == "MemoryError" else type(name, (RuntimeError,), {})

    def run():
        raise error("CUDA out of memory. Tried to allocate 2 GiB.\nmore")

    verb(run)
    code, out, err = call("probe")
    assert (code, out) == (1, "")
    first, second, third = err.splitlines()
    assert first == "keyturn: out of memory: CUDA out of memory. Tried to allocate 2 GiB."
    assert "fix: " in second
    assert third == "    keyturn probe"


def test_an_unexpected_error_keeps_its_traceback_and_asks_for_a_report(call, verb):
    def run():
        raise ZeroDivisionError("by zero")

    verb(run)
    code, out, err = call("probe")
    assert (code, out) == (1, "")
    assert "Traceback" in err
    assert "ZeroDivisionError: by zero" in err
    assert "this is a bug" in err


@pytest.mark.parametrize(
    ("name", "words", "command"),
    [
        ("probe", ["--out", "my runs/a'b"], "keyturn probe --out 'my runs/a'\"'\"'b'"),
        ("probe", ["--out", "x" * 5000], "keyturn probe --out " + "x" * 5000),
        ("train", ["--out", "r"], "keyturn train --out r --resume"),
        ("train", ["--out", "r", "--resume"], "keyturn train --out r --resume"),
    ],
    ids=["quoted", "long", "train", "train again"],
)
def test_an_interrupt_prints_the_command_that_goes_on(call, verb, name, words, command):
    def run(out: str = "", resume: bool = False):
        raise KeyboardInterrupt

    verb(run, name)
    code, out, err = call(name, *words)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == f"    {command}"


def test_a_message_of_a_library_that_exits_is_told(call, verb):
    def run():
        raise SystemExit("no such device")

    verb(run)
    assert call("probe") == (1, "", "keyturn: no such device\n")


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path):
    """The buffer is flushed before the interpreter ends, where nobody would catch it."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "keyturn.cli.main", "--help"],
            stdout=gone,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_verb_that_writes_to_a_closed_pipe_ends_quietly(call, verb):
    def run():
        raise BrokenPipeError

    verb(run)
    assert call("probe") == (0, "", "")
