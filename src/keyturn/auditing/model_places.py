"""Resolves a model's name to its place: a folder, a run, an embedded world or a name on the Hub.

The same names work for every command. A run directory stands for the policy that it saved, so the output of one
command can be the input of the next.
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
from keyturn.policies.vllm_engine import PREFIX, is_vllm
from keyturn.training.record import MODEL

_log = logging.getLogger("keyturn")


def place_of(name: str) -> str:
    """The folder, Hub name or address of a model.

    Args:
        name: a model folder, a run directory that contains the folder ``model``, an embedded world (``graph``,
            ``chain``), ``owner/name`` on the Hub, or ``http://host:port/v1#model`` for a model behind a server.

    Raises:
        UsageError: the name is none of these. The message gives the closest matches.
    """
    if is_server(name):
        return name
    if is_vllm(name):
        return PREFIX + place_of(name.removeprefix(PREFIX))
    if not name.strip():
        raise UsageError("the name of a model is empty", fix="a folder, a run, or owner/name on the Hub")
    path = Path(name).expanduser()
    if (path / MODEL / "config.json").is_file() and not holds_weights(path):
        return str(path / MODEL)  # a run; if it has a config.json of its own, that is not a model's
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
