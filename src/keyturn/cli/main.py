"""``keyturn``: finds the verb, runs it, and turns an error into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted, 143 ended by SIGTERM. Results go to stdout, everything
else to stderr. This module imports little, because signals are not handled until it is loaded.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

import keyturn
from keyturn.cli import stopping

VERBS: dict[str, tuple[str, str]] = {
    "audit": ("audit", "what did post-training change? audits two policies, or the embedded worlds"),
    "train": ("train", "post-train a model: train METHOD MODEL; an objective as METHOD means RL with it"),
    "train ls": ("train_ls", "list methods, objectives and rewards"),
    "train show": ("train_show", "show one method: source, cost, settings, claims"),
    "elicit": ("elicit", "answers under a method that changes no weight: elicit METHOD MODEL"),
    "elicit ls": ("elicit_ls", "list the elicitation methods and their controls"),
    "elicit show": ("elicit_show", "one elicitation method, whole: source, cost, control, settings"),
    "frontier": ("frontier", "what the same gain costs without training: every method on one chart"),
    "experiment run": ("experiment_run", "pretrain bases for a question, train them, report the result"),
    "experiment ls": ("experiment_ls", "list the experiments"),
    "experiment show": ("experiment_show", "show one experiment: source, cost, settings, claims"),
    "world show": ("world_show", "print problems of a controlled world with coloured roles"),
    "world pretrain": ("world_pretrain", "pretrain a base model on a controlled world"),
    "grams": ("grams", "mine strategic grams (planning phrases) from successful samples"),
    "claim ls": ("claim_ls", "list the claims and their verdicts"),
    "claim show": ("claim_show", "show one claim: statement, threshold, study"),
    "claim run": ("claim_run", "run a claim's study and record the evidence"),
    "claim verdict": ("claim_verdict", "judge a claim by its recorded evidence"),
    "ask": ("ask", "a question in your own words, answered from the records of the atlas"),
    "question ls": ("question_ls", "list the questions of the atlas and what their answers begin with"),
    "question show": ("question_show", "one question, answered: what holds, what fails, what nobody measured"),
    "note ls": ("note_ls", "list the notes of the atlas with the states of their facts"),
    "note show": ("note_show", "one note, whole: facts, relations, questions"),
    "atlas lint": ("atlas_lint", "check the notes and questions, the shipped ones and your own"),
    "atlas new": ("atlas_new", "write a note, fact, reading or question to fill in: atlas new KIND ID"),
    "atlas next": ("atlas_next", "what to run next: facts and questions settled a minute"),
    "atlas diff": ("atlas_diff", "facts whose state moved between two homes, and because of which record"),
    "atlas export": ("atlas_export", "write the atlas for other tools: bibtex, obsidian, sqlite, json"),
    "atlas build": ("atlas_build", "build the atlas as a folder of pages"),
    "atlas serve": ("atlas_serve", "serve the atlas to a browser on this machine"),
    "evidence ls": ("evidence_ls", "list records by where they come from"),
    "evidence export": ("evidence_export", "write your records into one file, for others"),
    "evidence import": ("evidence_import", "take over the records of a file"),
    "evidence verify": ("evidence_verify", "check such a file: hashes, records, numbers by their rows"),
    "evidence from-audit": (
        "evidence_from_audit",
        "your own audit as evidence on the claims about RL",
    ),
    "evidence trust": ("evidence_trust", "let imported records count in verdicts here"),
    "evidence report": ("evidence_report", "write down a published number, beside what was measured"),
    "model import": (
        "model_import",
        "make a model folder from a GGUF file, a package that carries one, or an adapter",
    ),
    "model show": ("model_show", "one model: size, context, template, stop tokens, memory"),
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
    """Run the command line as a process: handle signals, and print any character on any terminal."""
    stopping.watch()
    try:
        _any_character()
        return main()
    except KeyboardInterrupt as stop:
        return _stopped(sys.argv[1:], getattr(stop, "number", 2))
    finally:
        stopping.closing()


def _any_character() -> None:
    """Escape what a stream cannot encode: an arrow in ASCII or cp1252, a lone surrogate anywhere.

    A stream that was closed before the start (``>&-``) is replaced by the null device.
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
    if argv is None:
        # Importing torch and transformers makes a million objects that stay; looking at all of them again
        # and again for garbage takes a tenth of the time.
        gc.set_threshold(100_000, 20, 20)
    try:
        code = _dispatch(words)
        # Flush here: at exit nothing could catch the error of a closed pipe.
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
        if isinstance(stop.__context__, BrokenPipeError):  # rich exits in this way on a closed pipe
            _give_up_stdout()
            return 0
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        _say(f"keyturn: {stop.code}")
        return 1
    except Exception as error:
        # A library that was interrupted may raise an error of its own instead.
        if stopping.stopped():
            return _stopped(words, stopping.stopped())
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return _no_memory(words, error)
        _traceback()
        _say("keyturn: this is a bug; please report it with this traceback and what `keyturn doctor` prints.")
        return 1


def _stopped(words: list[str], number: int) -> int:
    import shlex

    how = "interrupted" if number == 2 else f"ended by signal {number}"
    _say(f"keyturn: {how}; finished work is kept. Resume with:")
    _say(f"    keyturn {shlex.join(_again(words))}", whole=True)
    return stopping.exit_code(number)


def _no_memory(words: list[str], error: Exception) -> int:
    """Report that memory ran out, here or on the GPU."""
    import shlex

    _say(f"keyturn: out of memory: {(str(error).splitlines() or [type(error).__name__])[0]}")
    _say("    fix: free memory, or run a smaller job in another --out; finished work is kept. Resume with:")
    _say(f"    keyturn {shlex.join(_again(words))}", whole=True)
    return 1


def _refused(error: OSError) -> int:
    """Report an error of the operating system. It is no bug, unless it has no error number."""
    from keyturn.core.errors import StorageError

    if error.filename is None and error.errno is None:
        _traceback()
    if error.filename is None:
        _give_up_stdout()  # else exit would try again to write the same
    _say(f"keyturn: {error.strerror or error}" + (f": {error.filename}" if error.filename else ""))
    _say("    fix: choose another path, or make this one readable and writable")
    return StorageError.exit_code


def _traceback() -> None:
    import traceback

    traceback.print_exc()


def _again(words: list[str]) -> list[str]:
    """The command that resumes: the same one, and with ``--resume`` if it trains."""
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

    # If a verb's settings depend on its first words, the module makes the function from them.
    run = module.runner(words) if hasattr(module, "runner") else module.run
    words = settled(words, switches(run))
    if {"-h", "--help"} & set(words):
        words = ["--help"]  # else the page would omit the options that were given
    return tyro.cli(run, args=words, prog=f"keyturn {name}", description=module.__doc__)


def _help() -> str:
    question = "Does post-training create reasoning, or only deploy what the base model already has?"
    verbs = _table(VERBS)
    title = f"keyturn {keyturn.__version__}: {question}"
    return f"{title}\n\n{_EXAMPLES}\n{verbs}\nkeyturn VERB --help explains a verb.\n"


def _table(verbs: Sequence[str] | dict[str, tuple[str, str]]) -> str:
    return "".join(f"  {verb:<21}{VERBS[verb][1]}\n" for verb in verbs)


def _say(line: str, *, whole: bool = False) -> None:
    from keyturn.core.text import visible

    sys.stderr.write((visible(line, max_line=0) if whole else visible(line)) + "\n")


def _give_up_stdout() -> None:
    """Discard the rest of stdout, also at exit, because the reader of the pipe (head) has gone."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(run())
