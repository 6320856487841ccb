"""Output that is piped: no sequences for a terminal, no traceback, and no secret of the environment."""

import json
import os
import subprocess
import sys

import pytest

SHOWN = (
    "--help",
    "doctor",
    "train ls",
    "train show sft",
    "claim ls",
    "claim show rl-narrows",
    "world show chain --n 1",
)
WRONG = ("audit one-model", "train grpo chain --rl.stepz 3", "train show")
PLAIN = {"TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "40"}
MANY = """
import json, sys
from keyturn.cli.main import main
codes = [main(line.split()) for line in sys.argv[1:]]
open("codes.json", "w").write(json.dumps(codes))
"""


def environment_of(cwd, **more):
    inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "FORCE_COLOR", "NO_COLOR")}
    return {**inherited, "KEYTURN_HOME": str(cwd), **more}


def run(words, cwd, **more):
    return subprocess.run(
        [sys.executable, "-m", "keyturn.cli.main", *words.split()],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment_of(cwd, **more),
    )


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{}, PLAIN, {"TERM": "dumb"}, {"PYTHONIOENCODING": "utf-8"}], ids=str)
def test_without_a_terminal_there_are_no_escapes_and_no_traceback(tmp_path, environment):
    done = subprocess.run(
        [sys.executable, "-c", MANY, *SHOWN, *WRONG],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environment_of(tmp_path, **environment),
    )
    assert json.loads((tmp_path / "codes.json").read_text()) == [0] * len(SHOWN) + [2] * len(WRONG)
    assert "\x1b" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "give base and tuned" in done.stderr


@pytest.mark.slow
def test_no_secret_of_the_environment_is_written_or_said(tmp_path):
    """Tokens of the Hub, of other services and our own: in no file of a run, in no output."""
    names = ("HF_TOKEN", "KEYTURN_SERVER_KEY", "OPENAI_API_KEY", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY")
    secrets = {name: f"s3cret-{name.lower()}" for name in names}
    words = "train rloo chain --dry-run --per-cell 4 --out run"
    done = run(words, tmp_path, **secrets)
    assert done.returncode == 0, done.stderr
    done = run("audit chain run/dry-run --k 4 --per-cell 2 --out audit --json", tmp_path, **secrets)
    assert done.returncode == 0, done.stderr
    doctor = run("doctor --json", tmp_path, **secrets)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    everything = (
        b"".join(path.read_bytes() for path in files) + (done.stdout + done.stderr + doctor.stdout).encode()
    )
    assert b"s3cret-" not in everything
