"""The process that math-verify runs in. A script of its own: it imports nothing of keyturn.

It reads one JSON line ``{"gold": …, "answer": …, "limit": seconds}`` and writes one,
``{"verdict": 1 | 0 | null}``, until its input ends. The parent kills it when an item takes too long;
should the parent be gone by then, a watchdog that needs no interpreter lock (``faulthandler``) does.

The answer is only ever read as LaTeX (math-verify's own grammar). The reader of plain expressions, which
ends in SymPy's ``parse_expr`` and so in ``eval``, is not used.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import sys
from typing import Any

MEMORY_BYTES = 2 << 30
"""Address space of the worker, where the system can limit it; a bomb meets this before the machine does."""


def compare(gold: str, answer: str, verify: Any, parse: Any, config: Any) -> int | None:
    """1 where math-verify finds the answer equal to the gold answer, 0 where not, None where it cannot say."""
    try:
        want = parse(rf"\boxed{{{gold}}}", config, parsing_timeout=None)
        if not want:
            return None
        got = parse(rf"\boxed{{{answer}}}", config, parsing_timeout=None)
        return int(bool(got) and verify(want, got, timeout_seconds=None))
    except (MemoryError, RecursionError):
        return None
    except Exception:  # whatever SymPy makes of nonsense: it was compared and is not equal
        return 0


def limit_resources() -> None:
    """Bound memory and files where the system offers it (not on Windows)."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def main() -> None:
    """Answer until the input ends."""
    # Only this descriptor speaks to the parent; whatever libraries print goes nowhere.
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    silent = open(os.devnull, "w")  # noqa: SIM115
    os.dup2(silent.fileno(), 1)
    os.dup2(silent.fileno(), 2)
    limit_resources()
    try:
        import logging  # noqa: PLC0415

        from math_verify import LatexExtractionConfig, parse, verify  # noqa: PLC0415

        logging.disable(logging.CRITICAL)
        config = [LatexExtractionConfig(boxed_match_priority=0)]
        for warm in ("\\frac{1}{2}", "(1, \\sqrt{2})", "x^2 + 1", "\\{1, 2\\}"):
            compare(warm, "2 + " + warm, verify, parse, config)
        ready = {"ready": True}
    except Exception as error:
        ready = {"ready": False, "why": f"{type(error).__name__}: {error}"}
    out.write(json.dumps(ready) + "\n")
    out.flush()
    if not ready["ready"]:
        return
    for line in sys.stdin:
        item = json.loads(line)
        faulthandler.dump_traceback_later(item["limit"], exit=True, file=silent)
        verdict = compare(item["gold"], item["answer"], verify, parse, config)
        faulthandler.cancel_dump_traceback_later()
        out.write(json.dumps({"verdict": verdict}) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
