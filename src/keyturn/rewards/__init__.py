"""Graded group in, reward per completion out; one file each."""
