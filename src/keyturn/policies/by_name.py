"""The one loader: it turns a name, or a model in memory, into the policy that every verb works with.

Every caller prompts a model through its chat template where it has one, so a model is trained on the same form
of prompt as an audit uses afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from keyturn.core.errors import unknown
from keyturn.policies.connect import ServerOptions, connect, is_server
from keyturn.policies.loading import load_policy
from keyturn.policies.local import LocalPolicy, Sampling
from keyturn.policies.protocol import Policy
from keyturn.policies.vllm_engine import is_vllm, open_vllm

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


TEMPLATES = ("auto", "chat", "plain")
"""How prompts are given to a model, see :attr:`Loading.template`."""


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How models are loaded, asked and decoded."""

    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``, ``cuda:1``."""
    dtype: str = "float32"
    """``float32``, ``bfloat16``, ``float16`` or ``auto`` (as stored)."""
    revision: str | None = None
    """Revision of a Hub repository."""
    trust_remote_code: bool = False
    """Run model code that comes with the weights."""
    allow_pickle: bool = False
    """Read ``pytorch_model.bin`` where there are no safetensors."""
    temperature: float = 1.0
    """Sampling temperature; 0 is greedy."""
    top_p: float = 1.0
    """Nucleus sampling; 1 keeps every token."""
    template: str = "auto"
    """``chat``: apply the chat template; ``plain``: do not; ``auto``: where the tokenizer has one."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer where they are first complete."""
    server: ServerOptions = field(default_factory=ServerOptions)
    """How requests are sent to a server."""

    def __post_init__(self) -> None:
        if self.template not in TEMPLATES:
            raise unknown("template", self.template, TEMPLATES)

    @property
    def sampling(self) -> Sampling:
        """How a model in this process is decoded."""
        return Sampling(temperature=self.temperature, top_p=self.top_p)


def open_policy(place: str | Path, loading: Loading, kept: Path | None = None) -> Policy:
    """A policy by its place.

    Args:
        place: a model folder, a Hub name (``vllm:`` before either), or the address of a server.
        loading: how it is loaded, asked and decoded.
        kept: folder for a server's answers, so that a later run need not ask again.
    """
    if is_server(str(place)):
        return connect(
            str(place),
            loading.server,
            temperature=loading.temperature,
            top_p=loading.top_p,
            template=loading.template,
            stop=loading.stop,
            folder=kept,
        )
    if is_vllm(str(place)):
        return open_vllm(str(place), loading)
    return open_model(place, loading)


def open_model(place: str | Path, loading: Loading) -> LocalPolicy:
    """A policy in this process, from a folder or the Hub."""
    policy = load_policy(
        place,
        device=loading.device,
        dtype=loading.dtype,
        revision=loading.revision,
        trust_remote_code=loading.trust_remote_code,
        allow_pickle=loading.allow_pickle,
    )
    return with_template(policy.model, policy.tokenizer, loading)


def with_template(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, loading: Loading) -> LocalPolicy:
    """A policy of a loaded model, asked through its chat template where ``loading`` says so."""
    has_template = bool(getattr(tokenizer, "chat_template", None))
    chat = loading.template == "chat" or (loading.template == "auto" and has_template)
    return LocalPolicy(model, tokenizer, sampling=loading.sampling, chat=chat, stops=loading.stop)
