"""Interventions that do not change weights, one file each."""
