"""``keyturn``: finds the verb, runs it, and turns what goes wrong into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted. Results go to stdout, talk to stderr.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
import sys
import traceback
from collections.abc import Sequence

import keyturn
from keyturn.core.errors import KeyturnError, StorageError, unknown
from keyturn.core.text import visible

VERBS: dict[str, tuple[str, str]] = {
    "audit": ("audit", "what did post-training change? two policies, or the embedded worlds"),
    "train": ("train", "post-train a policy: train METHOD MODEL, any recipe or objective"),
    "train ls": ("train_ls", "list the methods: recipes, objectives, rewards"),
    "world show": ("world_show", "print problems of a controlled world with coloured roles"),
    "world pretrain": ("world_pretrain", "pretrain a base model on a controlled world"),
    "grams": ("grams", "mine strategic grams (planning phrases) from successful samples"),
    "claim ls": ("claim_ls", "list the claims and their verdicts"),
    "claim show": ("claim_show", "one claim, whole"),
    "claim run": ("claim_run", "run a claim's study and record the evidence"),
    "claim verdict": ("claim_verdict", "what the recorded evidence says of a claim"),
    "trace": ("trace", "follow one token's credit from problem to gradient"),
    "doctor": ("doctor", "check this machine and say what to mend"),
}

_EXAMPLES = """\
examples:
  keyturn audit                                       the two embedded worlds: RL, audit, report
  keyturn audit BASE TUNED --problems problems.jsonl  any two Hugging Face causal LMs
  keyturn audit --samples base.jsonl tuned.jsonl      two files of graded samples, no model
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(words)
        # Here and not at exit, where a reader that has gone would be nobody's to catch.
        sys.stdout.flush()
        return code
    except KeyturnError as error:
        _say(f"keyturn: {error.what}")
        if error.fix:
            _say(f"    fix: {error.fix}")
        return error.exit_code
    except KeyboardInterrupt:
        _say("keyturn: interrupted; what is finished is kept. Resume with:")
        _say(f"    keyturn {shlex.join(_again(words))}", whole=True)
        return 130
    except BrokenPipeError:
        _give_up_stdout()
        return 0
    except OSError as error:
        if error.filename is None:
            traceback.print_exc()
        _say(f"keyturn: {error.strerror or error}" + (f": {error.filename}" if error.filename else ""))
        _say("    fix: another path, or one that can be read and written")
        return StorageError.exit_code
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        _say(f"keyturn: {stop.code}")
        return 1
    except Exception:
        traceback.print_exc()
        _say("keyturn: this is a bug; the traceback above and `keyturn doctor` belong in the report.")
        return 1


def _again(words: list[str]) -> list[str]:
    """The command that goes on: the same one, and ``train`` wants it said that a run is there."""
    return [*words, "--resume"] if words[:1] == ["train"] and "--resume" not in words else words


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        return 0
    if words[0] in ("--version", "-V"):
        sys.stdout.write(f"keyturn {keyturn.__version__}\n")
        return 0
    for length in (2, 1):
        name = " ".join(words[:length])
        if len(words) >= length and name in VERBS:
            module = importlib.import_module(f"keyturn.cli.{VERBS[name][0]}")
            import tyro

            # A verb whose settings depend on its first words makes its function from them.
            run = module.runner(words[length:]) if hasattr(module, "runner") else module.run
            code = tyro.cli(run, args=words[length:], prog=f"keyturn {name}", description=module.__doc__)
            return int(code or 0)
    group = [verb for verb in VERBS if verb.split()[0] == words[0]]
    if group and len(words) == 1:
        _say(f"keyturn: `{words[0]}` needs a second word:\n{_table(group)}".rstrip())
        return 2
    if group and words[1] in ("-h", "--help"):
        sys.stdout.write(_table(group))
        return 0
    if group:
        raise unknown(f"verb of `keyturn {words[0]}`", words[1], [verb.split()[1] for verb in group])
    raise unknown("verb", words[0], {verb.split()[0] for verb in VERBS})


def _help() -> str:
    question = "Does post-training create reasoning, or only deploy what the base model already has?"
    verbs = _table(VERBS)
    return (
        f"keyturn {keyturn.__version__}: {question}\n\n{_EXAMPLES}\n{verbs}\nkeyturn VERB --help says more.\n"
    )


def _table(verbs: Sequence[str] | dict[str, tuple[str, str]]) -> str:
    return "".join(f"  {verb:<16}{VERBS[verb][1]}\n" for verb in verbs)


def _say(line: str, *, whole: bool = False) -> None:
    sys.stderr.write((visible(line, max_line=0) if whole else visible(line)) + "\n")


def _give_up_stdout() -> None:
    """The reader of a pipe (head) has gone: what is left in the buffer goes nowhere, at exit too."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
