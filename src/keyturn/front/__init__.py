"""The front door in Python: what ``import keyturn`` offers; the command line calls the same functions."""
