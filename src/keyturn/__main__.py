"""``python -m keyturn``: the command line."""

import sys

from keyturn.cli.main import run

if __name__ == "__main__":
    sys.exit(run())
