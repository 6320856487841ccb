"""The made-up models of the tests of policies are those of these tests too."""

import pathlib
import sys

TESTS = pathlib.Path(__file__).parent.parent
sys.path[:0] = [str(TESTS / "policies"), str(TESTS)]
