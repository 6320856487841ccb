"""The sections of a report on one audit; a section with nothing to show says why."""

from __future__ import annotations

from keyturn.auditing.result import AuditResult
from keyturn.report.sections.before_after import answers, strategies, training
from keyturn.report.sections.contract import Section
from keyturn.report.sections.coverage import coverage
from keyturn.report.sections.everything import everything
from keyturn.report.sections.gain import gain
from keyturn.report.sections.tokens import tokens
from keyturn.report.sections.weights import weights

SECTIONS = (gain, coverage, strategies, answers, training, tokens, weights, everything)
"""Functions that make the sections, in the order of the page; each takes a result and the prefix of its ids."""


def sections_of(result: AuditResult, prefix: str) -> tuple[Section, ...]:
    """Every section of one audit.

    Args:
        result: result of the audit.
        prefix: prefix of all ids in the page, unique per audit; never text from outside.
    """
    return tuple(section(result, prefix) for section in SECTIONS)
