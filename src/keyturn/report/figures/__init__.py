"""Figures: pure functions from data to a drawing with its table; one file for each kind."""
