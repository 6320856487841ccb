"""The time that is left, as plain lines tell it where there is no terminal."""

import pytest

from keyturn.core import progress as module


class Clock:
    """A clock that moves when it is told to."""

    now = 100.0

    def monotonic(self):
        return self.now


@pytest.mark.parametrize(("done", "left"), [(0, 180), (80, 20)])
def test_what_was_done_before_does_not_make_the_rest_look_quick(monkeypatch, capsys, done, left):
    """Ten steps in twenty seconds: two seconds each for those that are left."""
    monkeypatch.setattr(module, "time", clock := Clock())
    with module.progress("draw", 100, done=done) as advance:
        clock.now += 20
        advance(10)
    assert capsys.readouterr().err == f"draw: {done + 10}/100, about {left} s left\n"
