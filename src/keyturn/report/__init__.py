"""Figures, the audit report, the token view."""
