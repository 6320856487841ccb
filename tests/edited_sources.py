"""Keyturn's sources with edits, as if that were the code that runs; nothing is written."""

from pathlib import Path

import keyturn
from keyturn.core import code_version as versions
from keyturn.core.sources import Sources

SRC = Path(keyturn.__file__).parent


class Edited(Sources):
    """The code that runs, but for one edit of its text."""

    def __init__(self, file, before, after):
        super().__init__()
        self.name = f"keyturn.{file.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}"
        self.before, self.after = before, after

    def text(self, name):
        found = super().text(name)
        return found if name != self.name else found.decode().replace(self.before, self.after).encode()


def edit(monkeypatch, file, before, after, times=1):
    """Edit a file of the code that is taken to run.

    Args:
        monkeypatch: pytest's; it ends the edit.
        file: below ``src/keyturn``.
        before, after: text.
        times: how often ``before`` must stand in the file; 0: at least once.
    """
    found = (SRC / file).read_text(encoding="utf-8").count(before)
    assert found == times or (not times and found), f"{before!r} stands {found} times in {file}"
    monkeypatch.setattr(versions, "REACH", versions.Reach(Edited(file, before, after)))
