"""``keyturn.load``: loads a policy by its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keyturn.auditing.model_places import place_of
from keyturn.policies.by_name import Loading, open_policy
from keyturn.policies.connect import ServerOptions
from keyturn.policies.protocol import Policy
from keyturn.policies.stop_texts import checked


def load(
    name: str | Path,
    *,
    device: str = "auto",
    dtype: str = "float32",
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    temperature: float = 1.0,
    top_p: float = 1.0,
    template: str = "auto",
    stop: Sequence[str] = (),
    server: ServerOptions = ServerOptions(),  # noqa: B008
) -> Policy:
    """Load a policy in the same way as an audit or a training does.

    Args:
        name: an embedded base (``"graph"``, ``"chain"``), a model folder, a run of keyturn, ``owner/name`` on
            the Hub, or ``http://host:port/v1#model``.
        device, dtype, revision, trust_remote_code, allow_pickle: how it is loaded, see :func:`keyturn.audit`.
        temperature, top_p, template, stop: how it is asked.
        server: how a policy behind a server is asked.

    Returns:
        A :class:`~keyturn.policies.local.LocalPolicy` (with ``.model`` and ``.tokenizer``), or a
        :class:`~keyturn.policies.client.ServerPolicy`.

    Raises:
        KeyturnError: there is no such model, or it cannot be read safely.
    """
    loading = Loading(
        device=device,
        dtype=dtype,
        revision=revision,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        temperature=temperature,
        top_p=top_p,
        template=template,
        stop=checked(stop),
        server=server,
    )
    return open_policy(place_of(str(name)), loading)
