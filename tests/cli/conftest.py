"""Every test of the command line has a home and a working directory of its own."""

import pytest

from keyturn.cli.main import main


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYTURN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def call(capfd):
    """Run the command line in this process: exit code, stdout, stderr."""

    def run(*words):
        code = main([str(word) for word in words])
        said = capfd.readouterr()
        return code, said.out, said.err

    return run
