"""Real terminals and pipes: narrow, dumb, colourless, or gone after the first line."""

import os
import re
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="terminals of POSIX"),
]

LISTINGS = [
    ["--help"],
    ["claim", "ls"],
    ["claim", "show", "rl-narrows"],
    ["train", "ls"],
    ["world", "show", "graph"],
    ["doctor"],
]
ESCAPE = re.compile(rb"\x1b[^\n]{0,12}")


def on_a_terminal(words, cwd, *, columns=80, **environment):
    """What a terminal of so many columns is sent, and the exit code."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "keyturn", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=cwd,
        env={**{k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}, **environment},
    )
    os.close(theirs)
    sent = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the last process has closed it
            break
        if not piece:
            break
        sent += piece
    os.close(ours)
    return sent, process.wait()


@pytest.mark.parametrize("words", LISTINGS, ids=" ".join)
def test_a_dumb_terminal_gets_no_sequences(tmp_path, words):
    sent, code = on_a_terminal(words, tmp_path, TERM="dumb")
    assert code in (0, 1 if words == ["doctor"] else 0)
    assert ESCAPE.findall(sent) == []
    assert b"Traceback" not in sent


@pytest.mark.parametrize("words", LISTINGS, ids=" ".join)
def test_no_colour_is_no_colour(tmp_path, words):
    sent, _ = on_a_terminal(words, tmp_path, TERM="xterm-256color", NO_COLOR="1")
    colours = [
        code for code in re.findall(rb"\x1b\[([0-9;]*)m", sent) if re.search(rb"\b(3|4|9|10)[0-9]\b", code)
    ]
    assert colours == []


@pytest.mark.parametrize("words", LISTINGS, ids=" ".join)
def test_forty_columns_are_enough_to_end(tmp_path, words):
    sent, code = on_a_terminal(words, tmp_path, columns=40, TERM="xterm")
    assert code in (0, 1 if words == ["doctor"] else 0)
    assert b"Traceback" not in sent


@pytest.mark.parametrize(
    "words", [*LISTINGS, ["claim", "ls", "--json"], ["train", "ls", "--json"]], ids=" ".join
)
def test_a_reader_that_takes_one_byte_and_goes_ends_it_quietly(tmp_path, words):
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "keyturn", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        bufsize=0,
    )
    process.stdout.read(1)
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() in (0, 1 if words == ["doctor"] else 0)
    assert b"Traceback" not in said
    assert b"Exception ignored" not in said
