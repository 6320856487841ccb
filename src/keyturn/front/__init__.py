"""The Python interface: what ``import keyturn`` offers. The command line calls the same functions."""
