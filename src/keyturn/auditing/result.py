"""What one audit found: the record from which the terminal table, the JSON document and the report are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from keyturn.auditing.elicited_problems import ElicitedProblems
from keyturn.core.measurement import Json, Measurement, json_number
from keyturn.measures.contract import Tables
from keyturn.measures.verdict import Caution, Verdict


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of the problems (domain, depth, context...) with its own verdict."""

    key: Mapping[str, str | int]
    verdict: Verdict

    @property
    def name(self) -> str:
        """The cell's name in a table: ``depth 3``, ``context C2, depth 3``..."""
        return ", ".join(f"{k} {v}" for k, v in self.key.items())

    def to_json(self) -> dict[str, Json]:
        """The fields of the key at the top level, with the name and the verdict."""
        return {"name": self.name, "key": dict(self.key), "verdict": self.verdict.to_json()}


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenSpan:
    """One completion for the token view, as parallel columns with one entry per token.

    Args:
        title: what the completion is, e.g. ``"tuned, draw 3: verified"``.
        problem: the id of its problem.
        prompt: the prompt as text (untrusted).
        text: each token as text (untrusted), ``[token]``.
        role: role names, ``"unknown"`` where the role is not known, ``[token]``.
        entropy: entropy in nats under the policy that drew the completion, ``[token]``.
        logprob: log-probability under the tuned policy, ``[token]``; NaN if unknown.
        base_logprob: log-probability under the base, ``[token]``; NaN if unknown.
        outcome: ``"verified"``, ``"right answer, invalid trace"``, ``"wrong"``, ``"ungraded"``.
        sibling: another draw of the same problem to show beside it, or None.
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
    """The complete result of one audit.

    Args:
        name: ``graph``, ``chain`` or the user's name for it.
        base, tuned: how the policies were named (paths, repository ids, file names).
        problems: how the problems were named, and how many there are.
        run: absolute path of the run directory.
        verdict: the pooled verdict.
        cells: one verdict per cell.
        measurements: all measurements.
        tables: the tables that the measurements were made on.
        spans: completions for the token view.
        seconds: stage -> wall seconds on this machine (shown as shares of the total).
        limits: what this audit cannot say, one sentence each.
        left_out: measure -> why it was not computed.
        settings: what a reader must know about the set-up, under ``base``, ``tuned`` and ``both``: temperature,
            prompt format, stop tokens, fingerprint, grader, seed...
        cautions: reasons to distrust the verdict. Those from the verdict itself come first.
        elicited: what elicitation solves beyond the base's draws; None where none was asked for.
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
    elicited: ElicitedProblems | None = None

    @property
    def sentence(self) -> str:
        """The verdict in one sentence, with its budget K."""
        return f"{self.name}: {self.verdict.label} at K = {self.verdict.k} ({self.verdict.why})"

    def to_json(self) -> dict[str, Json]:
        """One entry of ``audits`` in the JSON document."""
        elicited: dict[str, Json] = {} if self.elicited is None else {"elicitation": self.elicited.to_json()}
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
            **elicited,
        }
