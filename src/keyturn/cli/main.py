"""``keyturn``: finds the verb, runs it, and turns what goes wrong into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted. Results go to stdout, talk to stderr.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

import keyturn
from keyturn.core.errors import KeyturnError, unknown
from keyturn.core.text import visible

VERBS: dict[str, tuple[str, str]] = {
    "audit": ("audit", "what did post-training change? two policies, or the embedded worlds"),
    "train": ("train", "post-train a policy by RL on a world's problems"),
    "world show": ("world_show", "print problems of a controlled world with coloured roles"),
    "world pretrain": ("world_pretrain", "pretrain a base model on a controlled world"),
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
        return _dispatch(words)
    except KeyturnError as error:
        _say(f"keyturn: {error.what}")
        if error.fix:
            _say(f"    fix: {error.fix}")
        return error.exit_code
    except KeyboardInterrupt:
        _say("keyturn: interrupted; finished stages are kept. Resume with the same command:")
        _say(f"    keyturn {' '.join(words)}")
        return 130
    except BrokenPipeError:
        # The reader of a pipe (head) has gone; silence the flush at exit too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 2
    except Exception:
        traceback.print_exc()
        _say("keyturn: this is a bug; the traceback above and `keyturn doctor` belong in the report.")
        return 1


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

            code = tyro.cli(module.run, args=words[length:], prog=f"keyturn {name}", description=module.__doc__)
            return int(code or 0)
    group = [verb for verb in VERBS if verb.split()[0] == words[0]]
    if group and (len(words) == 1 or words[1] in ("-h", "--help")):
        sys.stdout.write(_table(group))
        return 0 if len(words) > 1 else 2
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


def _say(line: str) -> None:
    sys.stderr.write(visible(line) + "\n")


if __name__ == "__main__":
    sys.exit(main())
