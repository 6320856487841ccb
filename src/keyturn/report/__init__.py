"""The audit report: figures, tables, the token view."""

from __future__ import annotations

from keyturn.report.notebook import notebook_html, training_html
from keyturn.report.page import write_report
from keyturn.report.screen import markdown_table, renderable, terminal

__all__ = ["markdown_table", "notebook_html", "renderable", "terminal", "training_html", "write_report"]
