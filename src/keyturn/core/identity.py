"""The identity of a piece of work, so that one result is never taken for another.

An identity has two parts. The **fields** are everything that was asked for, as plain data
(:mod:`keyturn.core.describe`). The **code** is the version of all our code that does the work
(:mod:`keyturn.core.code_version`). Work is the same if both are equal. If only the code differs, the changed
definitions can be named.

Only :func:`differences` decides whether two pieces of work are the same. The cache of stages, a resumed RL run
and ``keyturn train`` call it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keyturn.core.code_version import CodeVersion, code_version
from keyturn.core.describe import describe
from keyturn.core.errors import UsageError
from keyturn.core.measurement import Json

__uncounted__ = ("identity", "Identity", "differences")
"""What a result is called changes no result; another way to describe settings makes other names anyway."""

_SHOWN = 4
"""Maximum number of differences that a message names."""


def identity(plain: Mapping[str, Any], length: int = 12) -> str:
    """A short hash of plain data: equal data give equal identities on every machine.

    Raises:
        UsageError: something in it is not JSON; :func:`describe` converts most values.
    """
    try:
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"an identity is made of plain data only: {error}", fix="describe() it first"
        ) from error
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()[:length]


@dataclass(frozen=True)
class Identity:
    """The identity of a piece of work.

    Args:
        fields: what was asked for, as plain data.
        code: version of the code that does it.
    """

    fields: Mapping[str, Json]
    code: CodeVersion

    @classmethod
    def of(cls, fields: Mapping[str, object], *code: object) -> Identity:
        """The identity of work on these values.

        Args:
            fields: name -> any value that :func:`describe` takes; the code behind it counts too.
            code: functions or classes that do the work.

        Raises:
            UsageError: a field cannot be described; the message names it.
        """
        plain = {name: describe(value, name) for name, value in fields.items()}
        return cls(plain, code_version(*code, *(one for one in fields.values() if not isinstance(one, str))))

    @property
    def key(self) -> str:
        """Hash of the fields, which is equal for the same work by other code."""
        return identity(self.fields)

    @property
    def id(self) -> str:
        """Hash of the fields and of the code."""
        return f"{self.key}-{self.code.hash}"

    def document(self) -> dict[str, Any]:
        """The identity as JSON, which :func:`differences` reads later."""
        return {"fields": dict(self.fields), "code": dict(sorted(self.code.parts.items()))}


@dataclass(frozen=True)
class Differences:
    """The differences between two pieces of work.

    Args:
        settings: dotted name, value then, value now; absent values are None.
        code: definitions that changed.
        earlier: whether the earlier document lacks its code, because an earlier keyturn made it.
    """

    settings: tuple[tuple[str, Json, Json], ...]
    code: tuple[str, ...]
    earlier: bool = False

    @property
    def none(self) -> bool:
        """Whether they are the same."""
        return not (self.settings or self.code or self.earlier)

    @property
    def settings_in_words(self) -> str:
        """Which settings differ, the first few with their values."""
        return "; ".join(f"{name}: {then!r} then, {now!r} now" for name, then, now in self.settings[:_SHOWN])

    @property
    def code_in_words(self) -> str:
        """Which definitions changed, the first few."""
        more = len(self.code) - _SHOWN
        return ", ".join(self.code[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def differences(then: Mapping[str, Any], now: Identity) -> Differences:
    """The differences between recorded work and work that is to be done.

    Args:
        then: a document of :meth:`Identity.document`, read back.
        now: the identity of the work that is to be done.
    """
    noted, parts = then.get("fields"), then.get("code")
    if not isinstance(noted, Mapping) or not isinstance(parts, Mapping):
        return Differences((), (), earlier=True)
    before, after = _flat(noted), _flat(now.fields)
    names = sorted(before.keys() | after.keys())
    other = [name for name in names if _text(before.get(name, ...)) != _text(after.get(name, ...))]
    changed = [(name, before.get(name), after.get(name)) for name in other]
    return Differences(tuple(changed), CodeVersion(dict(parts)).changed(now.code))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    out: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            out |= _flat(value, f"{prefix}{name}.")
        else:
            out[prefix + name] = value
    return out


def _text(value: object) -> str:
    """A value as JSON, in which 1, 1.0 and true differ, and an absent value differs from null."""
    return "" if value is ... else json.dumps(value, sort_keys=True)
