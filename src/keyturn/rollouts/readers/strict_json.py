"""JSON of other tools, read so that nothing is lost silently."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from keyturn.core.errors import InputError


def decoder(where: str) -> json.JSONDecoder:
    """A decoder that refuses an object with one key twice and different values; others keep only the last
    value.

    Args:
        where: the file, and the line if it is known, for the message.
    """
    return json.JSONDecoder(object_pairs_hook=partial(_object, where))


def loads(where: str, text: str | bytes) -> Any:
    """One JSON document.

    Raises:
        ValueError, RecursionError: it is not JSON.
        InputError: an object has one key twice, with different values.
    """
    return json.loads(text, object_pairs_hook=partial(_object, where))


def _object(where: str, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        for key, value in pairs:
            last = found[key]
            if value != last and not (value != value and last != last):
                raise InputError(
                    f"{where}: the key {key[:40]!r} occurs twice in one object, with different values"
                    f" ({str(value)[:20]!r} and {str(last)[:20]!r})",
                    fix="write every key once; columns of different meanings need different names",
                )
    return found
