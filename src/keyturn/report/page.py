"""The report: one HTML file that opens from disk, loads nothing, and runs only its own script.

Text of models, prompts, names and paths passes :func:`keyturn.core.text.visible` and then the template's
escaping. The page's content security policy allows only its one style sheet and its one script, by their
hashes.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import importlib.metadata
import importlib.resources
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import keyturn
from keyturn.auditing.result import AuditResult
from keyturn.core import numbers
from keyturn.core.rundir import write_bytes
from keyturn.core.text import visible
from keyturn.report import reading, summary, tables, token_view
from keyturn.report.bearing import bearings, how_to_count
from keyturn.report.figure import Figure
from keyturn.report.figures.compare import Words, amounts
from keyturn.report.sections import sections_of
from keyturn.report.svg import clip

PACKAGES = ("torch", "transformers", "numpy", "scipy")
"""Packages whose versions the report names."""


def write_report(results: Sequence[AuditResult], path: Path, *, command: str, seconds: float) -> Path:
    """Write the report of one or several audits.

    Args:
        results: the audits, in the order shown.
        path: path of the HTML file; missing folders are made.
        command: the command that made it, to copy.
        seconds: wall time of the command.

    Returns:
        The absolute path of the file.

    Raises:
        StorageError: the file cannot be written.
    """
    path = Path(path).absolute()  # not resolved: a link of that name is replaced, not what it points to
    write_bytes(path, render(results, command=command, seconds=seconds).encode())
    return path


def render(results: Sequence[AuditResult], *, command: str, seconds: float, made: str = "") -> str:
    """The report as text; arguments as for :func:`write_report`, and ``made``, the time that it shows."""
    style, script = style_sheet(), program()
    budget = token_view.share_of(results)
    audits = [_audit(result, f"a{i + 1}", budget) for i, result in enumerate(results)]
    table, apart = summary.page_tables(results)
    return environment().get_template("report.html.jinja").render(
        policy=policy(style, script),
        style=Markup(style),
        script=Markup(script),
        audits=audits,
        table=table,
        apart=apart,
        looks=summary.SIGNS,
        markdown=tables.markdown(summary.table(results)),
        readings=reading.VERDICT,
        legends={
            "entropy": token_view.legend(token_view.ENTROPY_STEPS),
            "shift": token_view.legend(token_view.SHIFT_STEPS),
            "lines": token_view.LINES,
        },
        command=command,
        seconds=numbers.seconds(seconds),
        versions=versions(),
        made=made or datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )  # fmt: skip


def policy(style: str, script: str) -> str:
    """The content security policy: nothing is loaded, and only this style sheet and this script are used."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def asset(name: str, room: str = "report") -> str:
    """A file of the assets, with the line ends that a browser hashes."""
    folder = importlib.resources.files("keyturn.assets").joinpath(room)
    return folder.joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")


def style_sheet() -> str:
    """What all pages of keyturn share, then what only the report has."""
    return asset("shared.css", "style") + asset("report.css")


def program() -> str:
    """What all pages of keyturn share, then what only the report has."""
    return asset("shared.js", "style") + asset("report.js")


def versions() -> dict[str, str]:
    """Versions of the packages that made the report."""
    found = {"keyturn": keyturn.__version__, "Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _audit(result: AuditResult, prefix: str, budget: int) -> dict[str, Any]:
    """Everything that the template shows of one audit; ``budget`` is the number of tokens per completion."""
    return {
        "id": prefix,
        "result": result,
        "card": summary.card(result, prefix),
        "sections": sections_of(result, prefix),
        "spans": token_view.blocks(result.spans, prefix, budget),
        "no_spans": "No completion was examined token by token: that needs both models, not only samples.",
        "clock": _clock(result, prefix),
        "bearings": bearings(result.verdict),
        "counting": how_to_count(result.verdict, result.run),
    }


def _clock(result: AuditResult, prefix: str) -> Figure | None:
    """How long each stage took."""
    if not result.seconds:
        return None
    total = sum(result.seconds.values())
    words = Words(
        title=f"Where the seconds went: {clip(result.name, 40)}",
        axis="wall seconds",
        reading="Wall time of each stage when it ran, even if a later run found it finished.",
        says=f"{numbers.seconds(total)} in all.",
    )
    return amounts(f"{prefix}-clock", tuple(result.seconds.items()), words, numbers.seconds)


def environment(room: str = "report") -> jinja2.Environment:
    """Templates of one folder of the assets, whose every value is made inert before it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: asset(name, room)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_inert,
        trim_blocks=True,
        keep_trailing_newline=True,
        lstrip_blocks=True,
    )
    environment.globals["counted"] = numbers.counted
    environment.filters["parted"] = numbers.parted
    return environment


def _inert(value: object) -> object:
    """A value for a template: text from outside is made visible, our own markup stays."""
    return value if isinstance(value, Markup) else visible(str(value))


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode()
