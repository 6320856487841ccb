"""Signals and consoles, with real processes: one message, an exit code, never a traceback."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from ready_for_signals import CHILD_S, wait_until_ready

from keyturn.cli.main import VERBS

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

SLOW_S = 120
"""How long the slow end of a probe lasts, which a second signal cuts short."""

# The verb `probe` waits; `slow` makes its end last, as a thread pool's may.
_PROBE = """
import sys, time, types
from keyturn.cli import main as front

def wait():
    try:
        print("ready", flush=True)
        while True:
            time.sleep(0.01)
    finally:
        if {slow}:
            print("ending", flush=True)
            time.sleep({slow})

module = types.ModuleType("keyturn.cli.probe", "A verb.")
module.run = wait
sys.modules["keyturn.cli.probe"] = module
front.VERBS["probe"] = ("probe", "a verb")
sys.exit(front.run())
"""


def probe(*, slow=0, before=None):
    process = subprocess.Popen(
        [sys.executable, "-c", _PROBE.format(slow=slow), "probe"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "ended by signal 15"),
        (signal.SIGHUP, 129, "ended by signal 1"),
    ],
)
def test_a_signal_is_one_message_with_the_command_that_goes_on(number, code, says):
    process = probe()
    process.send_signal(number)
    _, said = process.communicate(timeout=CHILD_S)
    assert process.returncode == code
    assert said == f"keyturn: {says}; finished work is kept. Resume with:\n    keyturn probe\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_does_not_wait_for_the_end_of_the_first(number):
    process = probe(slow=SLOW_S)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "ending\n"
    started = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=CHILD_S)
    assert time.monotonic() - started < SLOW_S, "it waited for the end of the first"
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    assert said.strip() == "keyturn: ended at once; finished work is kept, and the same command resumes."


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_is_ignored_stays_ignored(number):
    """``nohup``, and jobs in the background of a script."""
    process = probe(before=lambda: signal.signal(number, signal.SIG_IGN))
    process.send_signal(number)
    time.sleep(0.2)
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=CHILD_S)
    assert process.returncode == 143


@pytest.mark.slow
@pytest.mark.parametrize("words", [["doctor"], ["claim", "ls"], ["trace"]])
def test_ctrl_c_in_the_first_moments_is_no_traceback(words, tmp_path):
    codes = set()
    for step in range(25):
        process = subprocess.Popen(
            [sys.executable, "-m", "keyturn", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        time.sleep(0.02 * step)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=CHILD_S)
        # Python's own start, and the milliseconds in which our first module is found, answer as Python does.
        assert ("Traceback" in said and ", in run\n" in said) is False, said
        codes.add(process.returncode)
    assert 130 in codes


EVERY_VERB = {
    "audit": ["--k", "4", "--per-cell", "4"],
    "train": ["grpo", "chain"],
    "world show": ["graph", "--n", "400"],
    "grams": ["none.jsonl"],
    "claim show": ["rl-narrows"],
    "claim run": ["rl-narrows"],
    "claim verdict": ["rl-narrows"],
}


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.1, 2.0])
@pytest.mark.parametrize("verb", VERBS)
def test_ctrl_c_in_any_verb_is_130_or_its_own_end(verb, after, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "keyturn", *verb.split(), *EVERY_VERB.get(verb, [])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
        env={**os.environ, "KEYTURN_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"},
    )
    wait_until_ready(process)
    time.sleep(after)
    ended = process.poll()
    os.killpg(process.pid, signal.SIGINT) if ended is None else None
    _, said = process.communicate(timeout=CHILD_S)
    assert process.returncode in ((130, 0, 1, 2, -signal.SIGINT) if ended is None else (0, 1, 2))
    assert "Traceback" not in said, said
    if process.returncode == 130:
        assert f"keyturn {verb}" in said


IN_A_CALLBACK = """
import signal, time, weakref
from keyturn.cli import stopping
stopping.watch()
class Held: pass
held = Held()
watched = weakref.ref(held, lambda _: signal.raise_signal(signal.SIGINT))
try:
    del held
    time.sleep(100)
except KeyboardInterrupt:
    print("stopped by", stopping.stopped())
"""


def test_a_signal_that_python_drops_is_raised_again():
    words = [sys.executable, "-c", IN_A_CALLBACK]
    done = subprocess.run(words, capture_output=True, text=True, timeout=CHILD_S, check=True)
    assert done.stdout.split() == ["stopped", "by", "2"]
    assert done.stderr == ""


CONSOLES = ["ascii", "cp1252", "utf-16"]


def run(*words, encoding, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-m", "keyturn", *map(str, words)],
        capture_output=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", **environment},
    )


@pytest.mark.slow
@pytest.mark.parametrize("encoding", CONSOLES)
@pytest.mark.parametrize(
    "words",
    [["claim", "ls"], ["train", "ls"], ["claim", "show", "rl-narrows"], ["world", "show", "graph"], ["--help"]],
    ids=" ".join,
)
def test_every_console_can_show_it(tmp_path, words, encoding):
    done = run(*words, encoding=encoding, cwd=tmp_path)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert done.stdout.decode(encoding)


def hostile_samples(path, rate):
    """Ids, prompts and answers with what consoles and UTF-8 cannot hold."""
    marks = "\u0301" * 50
    rows = [
        {
            "problem_id": f"p{i}\ud800 → ü {marks}",
            "prompt": f"what is {i}? \x1b[2J\ud83d \u202e",
            "completion": f"{rate} {i} {draw}\udfff [bold]\x00",
            "success": (draw * 7 + i) % 10 < rate,
        }
        for i in range(30)
        for draw in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("encoding", CONSOLES)
@pytest.mark.parametrize("json_too", [False, True])
def test_an_audit_of_hostile_text_ends_on_every_console(tmp_path, encoding, json_too):
    base, tuned = hostile_samples(tmp_path / "bäse→.jsonl", 2), hostile_samples(tmp_path / "tuned.jsonl", 8)
    words = ["audit", "--samples", base, tuned, "--k", 4, "--out", tmp_path / "out", *(["--json"] * json_too)]
    done = run(*words, encoding=encoding, cwd=tmp_path)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr.decode(encoding)
    shown = done.stdout.decode(encoding)
    if json_too:
        assert json.loads(shown)["audits"]
    for name in ("report.html", "audit.json", "audit.md"):
        text = (tmp_path / "out" / name).read_bytes().decode("utf-8")
        assert text
        assert "\x1b[2J" not in text


@pytest.mark.slow
def test_a_name_that_is_no_utf_8_is_no_traceback(tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.mkdir(folder)
    for name, rate in ((b"base.jsonl", 2), (b"tuned.jsonl", 8)):
        made = hostile_samples(tmp_path / "made.jsonl", rate)
        os.rename(made, folder + b"/" + name)
    words = ["audit", "--samples", folder + b"/base.jsonl", folder + b"/tuned.jsonl", "--k", "4"]
    done = subprocess.run(
        [sys.executable, "-m", "keyturn", *words, "--out", folder + b"/out"], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert (os.listdir(folder + b"/out")) != []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("words", [["--help"], ["claim", "ls"], ["claim", "ls", "--json"]], ids=" ".join)
def test_a_full_disk_behind_stdout_is_one_message(words, tmp_path):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "keyturn", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=tmp_path,
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[0] == "keyturn: No space left on device"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", ["claim ls", "--version", "nonsense"])
def test_streams_that_are_closed_are_no_traceback(tmp_path, words, closed):
    command = f"{sys.executable} -m keyturn {words} {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == (2 if words == "nonsense" else 0)
    assert "Traceback" not in done.stderr


def test_in_a_process_of_somebody_else_the_signals_are_left_alone(capfd):
    from keyturn.cli.main import main

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert main(["--version"]) == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert isinstance(sys.stdout, io.TextIOBase)
