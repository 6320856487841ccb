"""``keyturn``: finds the verb, runs it, and turns what goes wrong into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted, 143 ended by SIGTERM. Results go to stdout, talk to
stderr. What this module imports is imported before a signal is answered, so it is little.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

import keyturn
from keyturn.cli import stopping

VERBS: dict[str, tuple[str, str]] = {
    "audit": ("audit", "what did post-training change? two policies, or the embedded worlds"),
    "train": ("train", "post-train a policy: train METHOD MODEL, a method by name, or RL with an objective"),
    "train ls": ("train_ls", "list what trains: methods, objectives, rewards"),
    "train show": ("train_show", "one method, whole: source, cost, settings, claims"),
    "elicit": ("elicit", "answers under a method that changes no weight: elicit METHOD MODEL"),
    "elicit ls": ("elicit_ls", "list the elicitation methods and their controls"),
    "elicit show": ("elicit_show", "one elicitation method, whole: source, cost, control, settings"),
    "experiment run": ("experiment_run", "pretrain bases for a question, train them, report what came of it"),
    "experiment ls": ("experiment_ls", "list the experiments"),
    "experiment show": ("experiment_show", "one experiment, whole: source, cost, settings, claims"),
    "world show": ("world_show", "print problems of a controlled world with coloured roles"),
    "world pretrain": ("world_pretrain", "pretrain a base model on a controlled world"),
    "grams": ("grams", "mine strategic grams (planning phrases) from successful samples"),
    "claim ls": ("claim_ls", "list the claims and their verdicts"),
    "claim show": ("claim_show", "one claim, whole"),
    "claim run": ("claim_run", "run a claim's study and record the evidence"),
    "claim verdict": ("claim_verdict", "what the recorded evidence says of a claim"),
    "ask": ("ask", "a question in your own words, answered from the records of the atlas"),
    "question ls": ("question_ls", "list the questions of the atlas and what their answers begin with"),
    "question show": ("question_show", "one question, answered: what holds, what fails, what nobody measured"),
    "note ls": ("note_ls", "list the notes of the atlas with the states of their facts"),
    "note show": ("note_show", "one note, whole: facts, relations, questions"),
    "atlas lint": ("atlas_lint", "check the notes and questions, the shipped ones and your own"),
    "atlas new": ("atlas_new", "write a note, fact, reading or question to fill in: atlas new KIND ID"),
    "atlas next": ("atlas_next", "what to run next: facts and questions settled a minute"),
    "atlas diff": ("atlas_diff", "facts whose state moved between two homes, and because of which record"),
    "atlas build": ("atlas_build", "build the atlas as a folder of pages"),
    "atlas serve": ("atlas_serve", "serve the atlas to a browser on this machine"),
    "evidence ls": ("evidence_ls", "list records by where they come from"),
    "evidence export": ("evidence_export", "write your records into one file, for others"),
    "evidence import": ("evidence_import", "take over the records of a file"),
    "evidence verify": ("evidence_verify", "check such a file: hashes, records, numbers by their rows"),
    "evidence trust": ("evidence_trust", "let imported records count in verdicts here"),
    "evidence report": ("evidence_report", "write down a published number, beside what was measured"),
    "trace": ("trace", "follow one token's credit from problem to gradient"),
    "doctor": ("doctor", "check this machine and say what to mend"),
}

_EXAMPLES = """\
examples:
  keyturn audit                                       the two embedded worlds: RL, audit, report
  keyturn audit BASE TUNED --problems problems.jsonl  any two Hugging Face causal LMs
  keyturn audit --samples base.jsonl tuned.jsonl      two files of graded samples, no model
"""


def run() -> int:
    """The command line as a process of its own: signals are answered, and no character is one too many."""
    stopping.watch()
    try:
        _any_character()
        return main()
    except KeyboardInterrupt as stop:
        return _stopped(sys.argv[1:], getattr(stop, "number", 2))
    finally:
        stopping.closing()


def _any_character() -> None:
    """A terminal of ASCII or cp1252 shows an arrow as its code; a lone surrogate is nowhere a character.

    A stream that was closed before we came (``>&-``) takes everything and keeps nothing.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    from keyturn.core.errors import KeyturnError

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
    except KeyboardInterrupt as stop:
        return _stopped(words, getattr(stop, "number", 2))
    except BrokenPipeError:
        _give_up_stdout()
        return 0
    except OSError as error:
        return _refused(error)
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # rich leaves in this way
            _give_up_stdout()
            return 0
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        _say(f"keyturn: {stop.code}")
        return 1
    except Exception as error:
        # A library that was interrupted in the middle may turn that into an error of its own.
        if stopping.stopped():
            return _stopped(words, stopping.stopped())
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return _no_memory(words, error)
        _traceback()
        _say("keyturn: this is a bug; the traceback above and `keyturn doctor` belong in the report.")
        return 1


def _stopped(words: list[str], number: int) -> int:
    import shlex

    how = "interrupted" if number == 2 else f"ended by signal {number}"
    _say(f"keyturn: {how}; what is finished is kept. Resume with:")
    _say(f"    keyturn {shlex.join(_again(words))}", whole=True)
    return stopping.exit_code(number)


def _no_memory(words: list[str], error: Exception) -> int:
    """Memory ran out, here or on the GPU: torch's error is known by its name, so that torch is not imported."""
    import shlex

    _say(f"keyturn: out of memory: {(str(error).splitlines() or [type(error).__name__])[0]}")
    _say("    fix: free some, or ask for less in another --out; what is finished is kept. Go on with:")
    _say(f"    keyturn {shlex.join(_again(words))}", whole=True)
    return 1


def _refused(error: OSError) -> int:
    """What the operating system refuses is no bug; only an error without its number is."""
    from keyturn.core.errors import StorageError

    if error.filename is None and error.errno is None:
        _traceback()
    if error.filename is None:
        _give_up_stdout()  # what could not be written would be tried again at exit
    _say(f"keyturn: {error.strerror or error}" + (f": {error.filename}" if error.filename else ""))
    _say("    fix: another path, or one that can be read and written")
    return StorageError.exit_code


def _traceback() -> None:
    import traceback

    traceback.print_exc()


def _again(words: list[str]) -> list[str]:
    """The command that goes on: the same one, and what trains wants it said that a run is there."""
    trains = words[:1] == ["train"] or words[:2] == ["experiment", "run"]
    return [*words, "--resume"] if trains and "--resume" not in words else words


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
            return int(_run(name, module, words[length:]) or 0)
    from keyturn.core.errors import UsageError, unknown

    group = [verb for verb in VERBS if verb.split()[0] == words[0]]
    if group and len(words) == 1:
        _say(f"keyturn: `{words[0]}` needs a second word:\n{_table(group)}".rstrip())
        return 2
    if group and words[1] in ("-h", "--help"):
        sys.stdout.write(_table(group))
        return 0
    if group:
        raise unknown(f"verb of `keyturn {words[0]}`", words[1], [verb.split()[1] for verb in group])
    if words[0].startswith("-"):
        later = next((word for word in words if not word.startswith("-")), "VERB")
        raise UsageError(f"options come after the verb: {words[0]}", fix=f"keyturn {later} {words[0]}")
    raise unknown("verb", words[0], {verb.split()[0] for verb in VERBS})


def _run(name: str, module: ModuleType, words: list[str]) -> int | None:
    import tyro

    from keyturn.cli.options import settled, switches

    # A verb whose settings depend on its first words makes its function from them.
    run = module.runner(words) if hasattr(module, "runner") else module.run
    words = settled(words, switches(run))
    if {"-h", "--help"} & set(words):
        words = ["--help"]  # else what was given already would be missing from the page
    return tyro.cli(run, args=words, prog=f"keyturn {name}", description=module.__doc__)


def _help() -> str:
    question = "Does post-training create reasoning, or only deploy what the base model already has?"
    verbs = _table(VERBS)
    return (
        f"keyturn {keyturn.__version__}: {question}\n\n{_EXAMPLES}\n{verbs}\nkeyturn VERB --help says more.\n"
    )


def _table(verbs: Sequence[str] | dict[str, tuple[str, str]]) -> str:
    return "".join(f"  {verb:<16}{VERBS[verb][1]}\n" for verb in verbs)


def _say(line: str, *, whole: bool = False) -> None:
    from keyturn.core.text import visible

    sys.stderr.write((visible(line, max_line=0) if whole else visible(line)) + "\n")


def _give_up_stdout() -> None:
    """The reader of a pipe (head) has gone: what is left in the buffer goes nowhere, at exit too."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(run())
