"""What a user calls a model, and where it lies: a folder, a run, an embedded world, a name on the Hub.

The same names do for every verb. A run directory stands for the policy that it saved, so that what one verb
leaves is what the next one takes.
"""

from __future__ import annotations

import difflib
import logging
from pathlib import Path

from keyturn.auditing.embedded import EMBEDDED, MODELS
from keyturn.core.errors import UsageError
from keyturn.policies.connect import is_server
from keyturn.policies.loading import is_repository
from keyturn.policies.model_folder import holds_weights, near_folders
from keyturn.training.record import MODEL

_log = logging.getLogger("keyturn")


def place_of(name: str) -> str:
    """The folder, the Hub name or the address of a model.

    Args:
        name: a model folder, a run directory with the folder ``model`` in it, an embedded world (``graph``,
            ``chain``), ``owner/name`` on the Hub, or ``http://host:port/v1#model`` behind a server.

    Raises:
        UsageError: none of these; the near matches are named.
    """
    if is_server(name):
        return name
    if not name.strip():
        raise UsageError("the name of a model is empty", fix="a folder, a run, or owner/name on the Hub")
    path = Path(name).expanduser()
    if (path / MODEL / "config.json").is_file() and not holds_weights(path):
        return str(path / MODEL)  # a run; its own config.json, where it has one, is no model's
    if (path / "config.json").is_file():
        if name in EMBEDDED:
            _log.warning("%s is a model folder here; the embedded world of that name is left alone", name)
        return name
    if name in EMBEDDED:
        return str(MODELS / name)
    if path.exists() or is_repository(name):
        return name
    near = [*difflib.get_close_matches(name, EMBEDDED, n=2, cutoff=0.5), *near_folders(path)]
    known = (
        f"a model folder, owner/name on the Hub, an embedded world ({', '.join(EMBEDDED)}), "
        "or http://host:port/v1#model behind a server"
    )
    raise UsageError(f"no model {name!r}", fix=f"did you mean {' or '.join(near)}?" if near else known)
