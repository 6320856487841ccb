"""The process that runs math-verify. It is a separate script, which imports nothing of keyturn.

It reads one JSON line ``{"gold": …, "answer": …, "limit": seconds}`` and writes one,
``{"verdict": 1 | 0 | null}``, until its input ends. The parent kills it when an item takes too long. If the
parent is gone by then, a watchdog that needs no interpreter lock (``faulthandler``) ends it.

The answer is only read as LaTeX (math-verify's own grammar). The reader of plain expressions, which calls
SymPy's ``parse_expr`` and so ``eval``, is not used.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import sys
from typing import Any

DIGITS = 40
"""Digits to which numbers are compared once math-verify takes them for equal."""
MEMORY_BYTES = 2 << 30
"""Address space of the worker, where the system can limit it; a bomb meets this before the machine does."""


def compare(gold: str, answer: str, verify: Any, parse: Any, config: Any) -> int | None:
    """1 if math-verify finds the answer equal to the gold answer, 0 if not, None if it cannot decide."""
    try:
        want = parse(rf"\boxed{{{gold}}}", config, parsing_timeout=None)
        if not want:
            return None
        got = parse(rf"\boxed{{{answer}}}", config, parsing_timeout=None)
        return int(bool(got) and verify(want, got, timeout_seconds=None) and exactly(want[0], got[0]))
    except (MemoryError, RecursionError):
        return None
    except Exception:  # SymPy may raise anything on nonsense, which then is not equal
        return 0


def exactly(gold: Any, answer: Any) -> bool:
    """Whether two answers that math-verify calls equal also agree beyond its six decimals.

    Numbers without a decimal point must agree to about 35 digits. Decimals are taken as written; a decimal for
    a number without finite expansion (``0.333333`` for a third) must be that number, rounded at its last digit.
    Expressions with the same variables are compared by their values at one point. In all other cases
    math-verify's verdict stands.
    """
    import sympy  # noqa: PLC0415

    if isinstance(gold, sympy.Eq) and isinstance(answer, sympy.Eq) and gold.lhs == answer.lhs:
        return exactly(gold.rhs, answer.rhs)
    gold, answer = (one.rhs if isinstance(one, sympy.Eq) else one for one in (gold, answer))
    if isinstance(gold, sympy.MatrixBase) and isinstance(answer, sympy.MatrixBase):
        return all(exactly(a, b) for a, b in zip(gold.flat(), answer.flat(), strict=False))
    if isinstance(gold, sympy.Interval) and isinstance(answer, sympy.Interval):
        return exactly(gold.start, answer.start) and exactly(gold.end, answer.end)
    parts = [_parts(one, sympy) for one in (gold, answer)]
    if all(parts) and len(parts[0]) == len(parts[1]):
        return all(exactly(a, b) for a, b in zip(*parts, strict=True))
    if not all(isinstance(one, sympy.Expr) for one in (gold, answer)):
        return True
    return _same_number(gold, answer, sympy)


def _parts(one: Any, sympy: Any) -> list[Any]:
    """The members of a tuple, or of a set in order of their values."""
    if isinstance(one, sympy.Tuple):
        return list(one)
    if isinstance(one, sympy.Interval):
        return [one.start, one.end]
    if isinstance(one, sympy.FiniteSet):
        return sorted(one, key=lambda part: complex(part.evalf()).real if part.is_number else 0.0)
    return []


def _same_number(gold: Any, answer: Any, sympy: Any) -> bool:
    hundredth = sympy.UnevaluatedExpr(sympy.Rational(1, 100))
    if any(one.has(hundredth) for one in (gold, answer)):
        # To math-verify 50 % equals both 50 and .5.
        return True
    floats = [list(one.atoms(sympy.Float)) for one in (gold, answer)]
    values = []
    for one, decimals in zip((gold, answer), floats, strict=True):
        one = one.xreplace({decimal: sympy.Rational(str(decimal)) for decimal in decimals})
        values.append(one.doit())
    a, b = values
    if a == b:
        return True
    if a.free_symbols != b.free_symbols:
        return True
    point = {
        symbol: sympy.Rational(137 + 31 * i, 100) for i, symbol in enumerate(sorted(a.free_symbols, key=str))
    }
    a, b = a.subs(point), b.subs(point)
    if not (a.is_number and b.is_number):
        return True
    size = max(abs(a.evalf(DIGITS)), abs(b.evalf(DIGITS)))
    gap = abs((a - b).evalf(DIGITS))
    if not (size.is_Float and (gap.is_Float or gap.is_zero)):
        return True
    if gap <= size * sympy.Float(10) ** (5 - DIGITS):
        return True
    if not any(floats) or point:
        return bool(any(floats) and gap <= size * 1e-6)
    return any(
        _rounded(decimals, value, other, gap, sympy)
        for decimals, value, other in zip(floats, values, values[::-1], strict=True)
        if decimals
    )


def _rounded(decimals: list[Any], value: Any, other: Any, gap: Any, sympy: Any) -> bool:
    """Whether a decimal is the other number rounded at its last digit, and the other has no finite
    expansion."""
    mantissas = [str(one).lstrip("-").partition("e") for one in decimals]
    digits = [len(text.replace(".", "").strip("0")) for text, _, _ in mantissas]
    if max(digits) >= 15 and gap <= abs(value.evalf(DIGITS)) * 1e-13:
        return True
    if other.is_Rational and not set(sympy.factorint(other.q, limit=100)) - {2, 5}:
        return False
    if len(decimals) > 1:
        return bool(gap <= abs(value.evalf(DIGITS)) * 1e-6)
    scale = abs(value / sympy.Rational(str(decimals[0])))
    mantissa, _, power = mantissas[0]
    places = len(mantissa.partition(".")[2].rstrip("0")) - int(power or 0)
    return bool(
        gap <= scale * sympy.Rational(1, 2) / sympy.Integer(10) ** places * (1 + sympy.Rational(1, 10**6))
    )


def limit_resources() -> None:
    """Limit memory and files if the system supports it (Windows does not)."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def main() -> None:
    """Answer until the input ends."""
    # Only this descriptor reaches the parent; output of libraries is discarded.
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    silent = open(os.devnull, "w")  # noqa: SIM115
    os.dup2(silent.fileno(), 1)
    os.dup2(silent.fileno(), 2)
    limit_resources()
    try:
        import logging  # noqa: PLC0415

        from math_verify import LatexExtractionConfig, parse, verify  # noqa: PLC0415

        logging.disable(logging.CRITICAL)
        # Only the box is read: otherwise math-verify would accept a lone fraction inside text that it cannot
        # read.
        config = [LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)]
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
