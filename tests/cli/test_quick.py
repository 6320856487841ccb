"""Verbs that run no model answer without importing torch: counted in a process of their own."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers")
CODE = """
import contextlib, io, json, sys
from keyturn.cli.main import main
found = []
for words in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(words)
    found.append([code, [name for name in ("torch", "transformers") if name in sys.modules], said.getvalue()])
print(json.dumps(found))
"""

LISTINGS = (
    "--help",
    "doctor",
    "train ls",
    "train ls --json",
    "elicit ls",
    "elicit ls --json",
    "elicit show few-shot",
    "elicit --help",
    "elicit self-consistency --help",
    "claim ls",
    "claim ls --json",
    "claim show rl-narrows",
    "claim verdict rl-narrows",
    "audit --help",
    "audit --plan --k 16 --tokens-per-second 100",
    "train --help",
    "train grpo --help",
    "train sft --help",
    "train sft-then-rl --profile real --help",
    "claim run --help",
    "world pretrain --help",
    "world show chain",
    "trace --help",
    "grams --help",
)
USAGE = (
    "audti",
    "audit one-model",
    "audit --temperatur 1",
    "audit a b --samples c d",
    "audit --k 1",
    "audit --worlds nowhere",
    "audit no-such-folder tuned --problems p.jsonl",
    "audit --samples no.jsonl such.jsonl",
    "train",
    "train grpoo chain",
    "train grpo",
    "train grpo chian",
    "train grpo chain --stepz 3",
    "train grpo chain --reward outcom",
    "train sft chain --fit.steps many",
    "train grpo chain --profile huge",
    "train grpo chain --grader math",
    "train grpo chain --max-new-tokens -3",
    "elicit",
    "elicit plian chain",
    "elicit plain",
    "elicit plain chian",
    "elicit plain chain --draws 0",
    "claim run no-such-claim",
    "claim shwo x",
    "world pretrain nowhere",
    "world pretrain chain --recipe dmeo",
    "trace --world nowhere",
    "trace --objective grop",
    "grams none.jsonl",
)


def asked(cwd, *lines):
    """For each command line: exit code, heavy packages imported so far, and what was written to stderr."""
    words = json.dumps([line.split() if isinstance(line, str) else [*map(str, line)] for line in lines])
    command = [sys.executable, "-c", CODE, words]
    environment = {**os.environ, "KEYTURN_HOME": str(cwd / "home")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def samples(path, successes):
    rows = [
        {
            "problem_id": f"p{problem}",
            "prompt": f"what is {problem}?",
            "completion": f"{path.stem}: {problem} {draw}",
            "success": draw < successes,
        }
        for problem in range(30)
        for draw in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.slow
def test_the_count_is_of_this_process(tmp_path):
    """Twin: what needs a model is seen to import torch, so that the test can fail."""
    [[code, imported, _]] = asked(tmp_path, "trace --group 2")
    assert (code, imported) == (0, [*HEAVY])


@pytest.mark.slow
def test_listings_and_help_import_no_torch(tmp_path):
    for line, (code, imported, said) in zip(LISTINGS, asked(tmp_path, *LISTINGS), strict=True):
        assert (line, code, imported) == (line, 0, []), said


@pytest.mark.slow
def test_usage_errors_import_no_torch(tmp_path):
    for line, (code, imported, said) in zip(USAGE, asked(tmp_path, *USAGE), strict=True):
        assert (line, code, imported) == (line, 2, []), said
        assert "Traceback" not in said


@pytest.mark.slow
def test_an_audit_of_sample_files_imports_no_torch(tmp_path):
    base, tuned = samples(tmp_path / "base.jsonl", 1), samples(tmp_path / "tuned.jsonl", 3)
    [[code, imported, said]] = asked(tmp_path, ["audit", "--samples", base, tuned, "--k", 4])
    assert (code, imported) == (0, []), said
    assert list(tmp_path.glob("runs/audit-*/report.html"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal is needed")
def test_on_a_terminal_the_wait_for_torch_is_said(tmp_path):
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "keyturn.cli.main", "trace", "--group", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, cwd=tmp_path)
    os.close(theirs)
    first = ""
    while "loading" not in first and (said := os.read(ours, 4096)):
        first += said.decode(errors="replace")
    process.kill()
    process.wait()
    os.close(ours)
    assert "loading" in first


@pytest.mark.slow
def test_nothing_of_the_wait_is_said_to_a_pipe(tmp_path):
    [[code, _, said]] = asked(tmp_path, "trace --group 2")
    assert (code, said) == (0, "")
