"""The made-up models of the tests of policies are those of these tests too."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "policies"))
