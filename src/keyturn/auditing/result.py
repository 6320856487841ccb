"""What one audit found: the record behind the terminal table, the JSON document and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Json, Measurement, json_number
from keyturn.measures.contract import Tables
from keyturn.measures.verdict import Caution, Verdict


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of the problems (domain, depth, context...) and its own verdict."""

    key: Mapping[str, str | int]
    verdict: Verdict

    @property
    def name(self) -> str:
        """For a table: ``depth 3``, ``context C2, depth 3``..."""
        return ", ".join(f"{k} {v}" for k, v in self.key.items())

    def to_json(self) -> dict[str, Json]:
        """The key's fields flat, the name and the verdict."""
        return {"name": self.name, "key": dict(self.key), "verdict": self.verdict.to_json()}


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenSpan:
    """One completion for the token view: parallel columns, one entry a token.

    Args:
        title: what it is, e.g. ``"tuned, draw 3: verified"``.
        problem: its problem's id.
        prompt: the prompt as text (hostile).
        text: each token as text (hostile), ``[token]``.
        role: role names, ``"unknown"`` where nothing is known, ``[token]``.
        entropy: nats under the policy that drew it, ``[token]``.
        logprob: under the tuned policy, ``[token]``; NaN unknown.
        base_logprob: under the base, ``[token]``; NaN unknown.
        outcome: ``"verified"``, ``"right answer, invalid trace"``, ``"wrong"``, ``"ungraded"``.
        sibling: another draw of the same problem to set beside it, or None.
    """

    title: str
    problem: str
    prompt: str
    text: tuple[str, ...]
    role: tuple[str, ...]
    entropy: NDArray[np.float32]
    logprob: NDArray[np.float32]
    base_logprob: NDArray[np.float32]
    outcome: str
    sibling: TokenSpan | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class AuditResult:
    """One audit, whole.

    Args:
        name: ``graph``, ``chain`` or the user's.
        base, tuned: how the policies were named (paths, repository ids, file names).
        problems: how the problems were named, and how many there are.
        run: absolute path of the run directory.
        verdict: pooled.
        cells: one verdict a cell.
        measurements: everything measured.
        tables: what it was measured on.
        spans: completions for the token view.
        seconds: stage -> wall seconds on this machine (shown as shares of the whole).
        limits: what this audit cannot say, one sentence each.
        left_out: measure -> why it was not computed.
        settings: what a reader must know of the set-up, under ``base``, ``tuned`` and ``both``: temperature,
            prompt format, stop tokens, fingerprint, grader, seed...
        cautions: reasons to distrust the verdict, the verdict's own first.
    """

    name: str
    base: str
    tuned: str
    problems: str
    run: str
    verdict: Verdict
    cells: tuple[Cell, ...]
    measurements: tuple[Measurement, ...]
    tables: Tables
    spans: tuple[TokenSpan, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    cautions: tuple[Caution, ...] = ()

    @property
    def sentence(self) -> str:
        """The verdict in one sentence, with its K."""
        return f"{self.name}: {self.verdict.label} at K = {self.verdict.k} ({self.verdict.why})"

    def to_json(self) -> dict[str, Json]:
        """One entry of the document's ``audits``."""
        return {
            "name": self.name,
            "base": self.base,
            "tuned": self.tuned,
            "problems": self.problems,
            "run": self.run,
            "k": self.verdict.k,
            "n_base": self.verdict.n_base,
            "verdict": self.verdict.to_json(),
            "cells": [cell.to_json() for cell in self.cells],
            "measurements": [m.to_json() for m in self.measurements],
            "seconds": {k: json_number(v) for k, v in self.seconds.items()},
            "limits": list(self.limits),
            "left_out": dict(self.left_out),
            "settings": {who: dict(said) for who, said in self.settings.items()},
            "cautions": [caution.to_json() for caution in self.cautions],
        }
