"""Run the native engine's tests on libraries with address and undefined-behaviour sanitizers. A program.

    LD_PRELOAD="libasan.so libstdc++.so.6" ASAN_OPTIONS=detect_leaks=0 python sanitised.py [options]

``test_native_sanitised.py`` calls it so. Exit code: pytest's, or that of a sanitizer that found something.
"""

import pathlib
import sys

import pytest

from keyturn.policies.native import build

HERE = pathlib.Path(__file__).parent
SANITISERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

if __name__ == "__main__":
    build.FLAGS = (*(flag for flag in build.FLAGS if flag != "-O3"), *SANITISERS)
    sys.exit(
        pytest.main(
            [
                str(HERE / "test_native.py"),
                str(HERE / "test_native_memory.py"),
                "-s",
                "-p",
                "no:cacheprovider",
                "--timeout=0",  # the test that calls this has one
                *sys.argv[1:],
            ]
        )
    )
