"""Nouns, random streams, statistics, errors and files. Imports nothing else of keyturn."""
