"""Answers while they are written: words are put in, the policy goes on, a text is cut, and all of it is
counted.

With a model in this process a draft is tokens, and going on reads exactly these. Behind a server it is text:
the prompt and what was written are sent again, so the server splits them into tokens anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError, UsageError
from keyturn.core.problem import Problem
from keyturn.elicitation.contract import Asked, Costs
from keyturn.policies.client import UNKNOWN_TOKEN, ServerPolicy
from keyturn.policies.continuing import go_on
from keyturn.policies.local import LocalPolicy, Sampling
from keyturn.policies.protocol import Policy
from keyturn.policies.stop_texts import cut_at
from keyturn.rollouts.completions import Completions, Prompts, Stop, ragged


def tempered(policy: Policy, temperature: float) -> Policy:
    """The same policy at another temperature.

    Raises:
        UsageError: it is of a kind that cannot be asked otherwise.
    """
    if isinstance(policy, LocalPolicy):
        if policy.sampling.temperature == temperature:
            return policy
        return policy.having(sampling=replace(policy.sampling, temperature=temperature))
    if isinstance(policy, ServerPolicy):
        return policy if policy.config.temperature == temperature else policy.at(temperature)
    raise UsageError(f"a {type(policy).__name__} has no temperature", fix="a model folder, or a server")


def plainly(policy: LocalPolicy) -> LocalPolicy:
    """The same model, decoded from its own distribution."""
    return policy.having(sampling=Sampling())


def costs_of(drawn: Completions) -> Costs:
    """What drawing these answers from their prompts cost."""
    none, prompts = Costs.nothing(len(drawn)), np.diff(drawn.prompts.offsets).astype(np.float64)
    read = np.where(prompts > 0, prompts, np.nan)[drawn.problem]
    generated = drawn.lengths.astype(np.float64)
    return replace(none, generated=generated, passes=generated.copy(), read=read)


def begun(problem: Problem, words: str, policy: Policy) -> Problem:
    """The problem with the first words of its answer, for a policy that is given text.

    Raises:
        UsageError: a server applies a chat template, in which it cannot be told that a turn goes on.
    """
    if not words:
        return problem
    if isinstance(policy, ServerPolicy) and policy.config.route == "chat":
        what = "the server applies a chat template, so an answer cannot be begun for it"
        raise UsageError(what, fix="--template plain")
    return replace(problem, prompt=problem.prompt + words, messages=(*problem.turns, ("assistant", words)))


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """How a stretch of text is drawn.

    Args:
        room: tokens that it may have; 0: all that an answer has left.
        label: of its random numbers; ``sample`` for the answer's own.
        policy: who draws it; the one that is asked by default.
        beyond: the room counts beyond the limit of an answer.
    """

    room: int = 0
    label: tuple[str | int, ...] = ("sample",)
    policy: Policy | None = None
    beyond: bool = False


class Drafts:
    """One draft for every problem and draw, problem-major, draw-minor.

    Args:
        asked: problems, draws, policy and streams.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.policy = asked.policy
        problems = asked.problems.problems
        count = len(asked.draws)
        self.problem = np.repeat(np.arange(len(problems), dtype=np.int32), count)
        self.draw = np.tile(np.asarray(asked.draws, dtype=np.int32), len(problems))
        rows = len(self.problem)
        self.tokens: list[list[int]] = [[] for _ in range(rows)]
        self.logprobs: list[list[float]] = [[] for _ in range(rows)]
        self.entropies: list[list[float]] = [[] for _ in range(rows)]
        self.own: list[list[bool]] = [[] for _ in range(rows)]
        self.texts = [""] * rows
        self.stop = np.full(rows, Stop.LENGTH, dtype=np.uint8)
        self.costs = Costs.nothing(rows)
        self._local = isinstance(self.policy, LocalPolicy)
        self.prompts = self._prompts(problems)

    def __len__(self) -> int:
        return len(self.problem)

    @property
    def _columns(self) -> tuple[list[list[Any]], ...]:
        return (self.tokens, self.logprobs, self.entropies, self.own)

    @property
    def left(self) -> NDArray[np.int64]:
        """Tokens that the policy may still choose for each answer; words that were put in do not count."""
        used = np.array([sum(row) for row in self.own], dtype=np.int64)
        return np.maximum(self.asked.limits.max_new_tokens - used, 0)

    @property
    def ended(self) -> NDArray[np.bool_]:
        """Whether the last thing in a draft is an end of sequence."""
        return self.stop == Stop.EOS

    def write(self, words: str | Sequence[str], rows: Sequence[int] | NDArray | None = None) -> None:
        """Put words behind some drafts, which then are not ended.

        Args:
            words: the same for all rows, or one each.
            rows: all by default.
        """
        chosen = range(len(self)) if rows is None else [int(row) for row in rows]
        given = [words] * len(chosen) if isinstance(words, str) else list(words)
        for row, text in zip(chosen, given, strict=True):
            if not text:
                continue
            self.unended(row)
            ids = self._ids(text)
            self.tokens[row] += ids
            self.logprobs[row] += [float("nan")] * len(ids)
            self.entropies[row] += [float("nan")] * len(ids)
            self.own[row] += [False] * len(ids)
            self.texts[row] += text
            self.stop[row] = Stop.LENGTH

    def unended(self, row: int) -> None:
        """Take the end of sequence from a draft."""
        if self._local and self.stop[row] == Stop.EOS and self.tokens[row]:
            policy = self.asked.model
            if self.tokens[row][-1] in policy.ends:
                for column in self._columns:
                    del column[row][-1]
        self.stop[row] = Stop.LENGTH

    def cut(self, row: int, marker: str) -> bool:
        """End a draft before the first ``marker`` in its text; False where there is none."""
        place = self.texts[row].find(marker)
        if place < 0:
            return False
        if self._local:
            low, high = 0, len(self.tokens[row])
            while low < high:  # the most tokens whose text ends before the marker
                middle = (low + high + 1) // 2
                low, high = (
                    (middle, high) if len(self._said(self.tokens[row][:middle])) <= place else (low, middle - 1)
                )
            for column in self._columns:
                column[row] = column[row][:low]
            self.texts[row] = self._said(self.tokens[row])
        else:
            share = place / max(len(self.texts[row]), 1)
            kept = round(len(self.tokens[row]) * share)
            for column in self._columns:
                column[row] = column[row][:kept]
            self.texts[row] = self.texts[row][:place]
        self.stop[row] = Stop.LENGTH
        return True

    def grow(self, how: Drawn = Drawn(), rows: Sequence[int] | NDArray | None = None) -> None:
        """Let the policy go on with some drafts (all by default)."""
        chosen = np.arange(len(self)) if rows is None else np.asarray(rows, dtype=np.int64)
        rooms = self.left[chosen] if not how.room else np.minimum(self.left[chosen], how.room)
        if how.beyond:
            rooms = np.full(len(chosen), how.room, dtype=np.int64)
        chosen, rooms = chosen[rooms > 0], rooms[rooms > 0]
        if not len(chosen):
            return
        policy = how.policy or self.policy
        untouched = not any(self.texts[row] or self.tokens[row] for row in chosen.tolist())
        if untouched and len(chosen) == len(self) and how.label == ("sample",) and len(set(rooms)) == 1:
            limits = replace(self.asked.limits, max_new_tokens=int(rooms[0]))
            drawn = policy.draw(self.asked.problems.problems, self.asked.draws, self.asked.streams, limits)
            self._add(chosen, drawn)
        elif isinstance(policy, LocalPolicy):
            self._go_on(policy, chosen, rooms, how.label)
        else:
            self._ask(policy, chosen, rooms, how.label)

    def completions(self) -> Completions:
        """The drafts as they are."""
        tokens, offsets = ragged(self.tokens)
        flat = [
            np.array([x for row in one for x in row], dtype=np.float32)
            for one in (self.logprobs, self.entropies)
        ]
        return Completions(
            policy=self.policy.fingerprint,
            prompts=self.prompts,
            problem=self.problem,
            draw=self.draw,
            tokens=tokens,
            offsets=offsets,
            logprobs=flat[0],
            entropies=flat[1],
            stop=self.stop.copy(),
            texts=tuple(self.texts),
        )

    def _prompts(self, problems: Sequence[Problem]) -> Prompts:
        if isinstance(self.policy, LocalPolicy):
            return self.policy.prompts(problems)
        return Prompts.build([p.id for p in problems], [p.prompt for p in problems], [[] for _ in problems])

    def _ids(self, text: str) -> list[int]:
        """Tokens of given words; behind a server as many unknown ones as there are words."""
        if not isinstance(self.policy, LocalPolicy):
            return [UNKNOWN_TOKEN] * len(text.split())
        ids = list(self.policy.tokenizer(text, add_special_tokens=False)["input_ids"])  # type: ignore[operator]
        if not ids:
            raise InputError(f"the tokenizer knows nothing of {text!r}", fix="other words")
        return ids

    def _said(self, tokens: list[int]) -> str:
        return str(self.asked.model.tokenizer.decode(tokens, skip_special_tokens=True))

    def _add(self, rows: NDArray[np.int64], drawn: Completions) -> None:
        """Put what was drawn behind the drafts ``rows``, in the order of ``drawn``."""
        logprobs, entropies = drawn.logprobs.tolist(), drawn.entropies.tolist()
        for place, row in enumerate(rows.tolist()):
            span = slice(int(drawn.offsets[place]), int(drawn.offsets[place + 1]))
            fresh = not self.tokens[row] and not self.texts[row]
            self.tokens[row] += drawn.tokens[span].tolist()
            self.logprobs[row] += logprobs[span]
            self.entropies[row] += entropies[span]
            self.own[row] += [True] * (span.stop - span.start)
            said = drawn.texts[place]
            if self._local and not fresh:
                said = self._said(self._shown(row))
                self.texts[row] = said
            else:
                self.texts[row] += said
            self.stop[row] = drawn.stop[place]
            self.costs.generated[row] += len(drawn.row(place))
            self.costs.passes[row] += len(drawn.row(place))
            asked = len(drawn.prompts.row(int(drawn.problem[place])))
            self.costs.read[row] += asked if asked else np.nan

    def _shown(self, row: int) -> list[int]:
        """Tokens without the one that ends the draft: it is no part of its text."""
        tokens = self.tokens[row]
        return tokens[:-1] if tokens and tokens[-1] in self.asked.model.ends else tokens

    def _go_on(
        self,
        policy: LocalPolicy,
        rows: NDArray[np.int64],
        rooms: NDArray[np.int64],
        label: tuple[str | int, ...],
    ) -> None:
        whole = [self.whole(row) for row in rows.tolist()]
        problems = self.asked.problems.problems
        names = [(*label, problems[self.problem[row]].id, int(self.draw[row])) for row in rows.tolist()]
        limit = self.asked.limits.batch_rows
        found = go_on(policy, whole, names, rooms.tolist(), self.asked.streams, batch_rows=limit)
        tokens, offsets = ragged([one.tolist() for one in found.tokens])
        ids = [f"{place}" for place in range(len(rows))]
        drawn = Completions(
            policy="",
            prompts=Prompts.build(ids, ids, [one.tolist() for one in whole]),
            problem=np.arange(len(rows), dtype=np.int32),
            draw=np.zeros(len(rows), dtype=np.int32),
            tokens=tokens,
            offsets=offsets,
            logprobs=np.concatenate(found.logprobs),
            entropies=np.concatenate(found.entropies),
            stop=found.stop,
            texts=tuple(self._said(one.tolist()) for one in found.tokens),
        )
        self._add(rows, cut_at(drawn, policy.tokenizer, policy.stop_texts) if policy.stop_texts else drawn)

    def whole(self, row: int) -> NDArray[np.int32]:
        """Prompt and draft of a row as tokens."""
        prompt = self.prompts.row(int(self.problem[row]))
        return np.concatenate([prompt, np.array(self.tokens[row], dtype=np.int32)])

    def _ask(
        self, policy: Policy, rows: NDArray[np.int64], rooms: NDArray[np.int64], label: tuple[str | int, ...]
    ) -> None:
        """Text behind the prompt, one problem a row: what a server is sent."""
        problems = self.asked.problems.problems
        streams = self.asked.streams.child(*label) if label != ("sample",) else self.asked.streams
        for room in sorted(set(rooms.tolist())):
            those = rows[rooms == room]
            named = [
                replace(
                    begun(problems[self.problem[row]], self.texts[row], policy),
                    id=f"{problems[self.problem[row]].id}#{self.draw[row]}",
                )
                for row in those.tolist()
            ]
            drawn = policy.draw(named, range(1), streams, replace(self.asked.limits, max_new_tokens=int(room)))
            self._add(those, drawn)
