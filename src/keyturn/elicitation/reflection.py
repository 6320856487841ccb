"""The model that rewrites an instruction, behind an OpenAI-compatible server; its replies are checked and kept.

The server's key is read from the environment and written nowhere. It has a variable of its own, so the key of
the server that answers the problems is never sent to this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keyturn.core.errors import InputError, UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.policies.client import ServerPolicy
from keyturn.policies.connect import ServerOptions, connect, is_server
from keyturn.policies.protocol import Limits

KEY = "KEYTURN_REFLECTION_KEY"
"""Environment variable of the reflection server's key."""
PATIENCE = 5
"""Unusable replies in a row after which the search ends with an error."""


class Reflection:
    """Asks for a rewritten instruction and counts what comes back.

    Args:
        address: ``http://host:port/v1#model``.
        streams: seeds of the requests.
        longest: characters of a usable instruction, at most.
        tokens: of a reply, at most.
        retries: further attempts of a request.
        folder: where replies are kept, so that a search that goes on asks for none again.

    Raises:
        UsageError: it is no address of a server.
        InputError: nothing answers there.
    """

    def __init__(
        self, address: str, streams: Streams, *, longest: int, tokens: int, retries: int, folder: Path | None
    ) -> None:
        if not is_server(address):
            what = f"{address!r:.80} is no address of a server"
            raise UsageError(what, fix="--reflection http://host:port/v1#model")
        options = ServerOptions(
            draws_a_request=1,
            concurrency=1,
            timeout_s=600.0,
            retries=retries,
            logprobs="off",
            key_variable=KEY,
        )
        self.policy: ServerPolicy = connect(address, options, template="chat", folder=folder)
        self.streams, self.longest, self.tokens = streams, longest, tokens
        self.asked = self.unusable = self.in_a_row = 0

    def reply(self, prompt: str) -> str:
        """What the model says to a prompt.

        Raises:
            InputError: the server gives no reply after all attempts.
        """
        self.asked += 1
        problem = Problem(id=f"reflection {self.asked}", prompt=prompt)
        drawn = self.policy.draw([problem], range(1), self.streams, Limits(max_new_tokens=self.tokens))
        return drawn.texts[0]

    def usable(self, text: str, now: str, known: Sequence[str] = ()) -> bool:
        """Whether a text can be tried as an instruction; others are counted.

        Args:
            text: found in the reply.
            now: the instruction that was to be rewritten.
            known: further instructions that were tried already.

        Raises:
            InputError: too many were unusable in a row.
        """
        why = ""
        if not text.strip():
            why = "an empty instruction"
        elif len(text) > self.longest:
            why = f"an instruction of {len(text):,} characters; --longest is {self.longest:,}"
        elif text in (now, *known):
            why = "an instruction that was tried already"
        self.unusable += bool(why)
        self.in_a_row = self.in_a_row + 1 if why else 0
        if self.in_a_row >= PATIENCE:
            what = f"the reflection model gave nothing usable {PATIENCE} times in a row, last {why}"
            raise InputError(what, fix="another model for --reflection")
        return not why
