"""Thought-switch penalty (TIP): words that switch the thought are made less likely for a while after the last
one.

Formula: with ``Psi`` the place of the last switch word (0 at the beginning) and ``V`` the switch words'
tokens::

    z'_v = z_v - penalty   if v in V and t < Psi + duration,   else z_v

``tip-flipped`` adds the penalty instead, and ``tip-random`` takes it from as many other tokens, drawn once.
Penalising one word moves mass to others that mean the same, so count switches by meaning.

Source: Wang et al. 2025 (2501.18585), with penalty 3 and duration 600.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError, UsageError
from keyturn.core.lazy import torch
from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import costs_of
from keyturn.policies.hooks import SoFar
from keyturn.policies.local import LocalPolicy
from keyturn.rollouts.completions import Completions


@dataclass(frozen=True, kw_only=True)
class TipConfig:
    """Settings of the thought-switch penalty."""

    penalty: float = 3.0
    """Taken from the logits of switch words."""
    duration: int = 600
    """Tokens after the last switch in which it is taken."""
    words: tuple[str, ...] = ("alternatively",)
    """Switch words; with a capital and a space before it each counts too, where it is one token."""


@dataclass(frozen=True, kw_only=True)
class SwitchPenalty:
    """A processor that makes some tokens less likely for a while after the last one of the switch tokens.

    What it remembers of a row it reads from the row's tokens, so rows may come and go.

    Args:
        switches: ids that begin a new thought.
        penalised: ids whose logits are lowered.
        penalty: how much; negative: raised.
        duration: tokens after the beginning of a thought.
    """

    switches: tuple[int, ...]
    penalised: tuple[int, ...]
    penalty: float
    duration: int

    @property
    def name(self) -> str:
        """What it is called."""
        return f"switch penalty {self.penalty} for {self.duration}"

    def __call__(self, so_far: SoFar, logits: torch.Tensor) -> torch.Tensor:
        """Lower the logits of rows whose thought is young."""
        written = so_far.tokens[:, so_far.start :]
        now = written.shape[1]
        last = torch.zeros(len(written), dtype=torch.long, device=written.device)
        if now:
            hit = torch.isin(written, torch.tensor(self.switches, device=written.device))
            place = torch.arange(now, device=written.device)
            last = torch.where(hit, place, torch.zeros_like(place)).amax(1)
        young = (now < last + self.duration).to(logits.device)
        lowered = logits.clone()
        lowered[:, list(self.penalised)] -= self.penalty
        return torch.where(young[:, None], lowered, logits)


def answer(asked: Asked, config: TipConfig, prepared: Prepared) -> Elicitation:
    """Draw under the penalty."""
    switches = switch_tokens(asked.model, config.words)
    return _drawn(asked, config, switches, config.penalty)


def flipped(asked: Asked, config: TipConfig, prepared: Prepared) -> Elicitation:
    """Draw with switches made likelier."""
    switches = switch_tokens(asked.model, config.words)
    return _drawn(asked, config, switches, -config.penalty)


def at_random(asked: Asked, config: TipConfig, prepared: Prepared) -> Elicitation:
    """Draw with as many other tokens penalised."""
    policy = asked.model
    switches = switch_tokens(policy, config.words)
    weight = policy.model.get_input_embeddings().weight  # type: ignore[union-attr]
    size = min(len(policy.tokenizer), int(weight.shape[0]))  # type: ignore[arg-type]
    others = np.setdiff1d(np.arange(size), [*switches, *policy.ends])
    dice = asked.streams.generator("elicit", "tip-random")
    chosen = sorted(int(one) for one in dice.choice(others, size=len(switches), replace=False))
    return _drawn(asked, config, tuple(chosen), config.penalty)


def _drawn(asked: Asked, config: TipConfig, penalised: tuple[int, ...], penalty: float) -> Elicitation:
    if config.duration < 0:
        raise UsageError(f"--duration is {config.duration}", fix="0 or more tokens")
    switches = switch_tokens(asked.model, config.words)
    processor = SwitchPenalty(switches=switches, penalised=penalised, penalty=penalty, duration=config.duration)
    policy = asked.model.having(processors=[processor])
    drawn = policy.draw(asked.problems.problems, asked.draws, asked.streams, asked.limits)
    steered = young_tokens(drawn, switches, config.duration) if penalty else np.zeros(len(drawn))
    said = np.array([np.isin(drawn.row(row), switches).sum() for row in range(len(drawn))], dtype=np.float64)
    return Elicitation(
        completions=drawn, costs=replace(costs_of(drawn), steered=steered), facts={"switches": said}
    )


def switch_tokens(policy: LocalPolicy, words: Sequence[str]) -> tuple[int, ...]:
    """Ids of switch words that are one token, in lower case and capitalised, with a space before and without.

    Raises:
        InputError: none of them is one token of this tokenizer.
    """
    found: set[int] = set()
    for word in words:
        for form in {word, word.capitalize(), f" {word}", f" {word.capitalize()}"}:
            ids = list(policy.tokenizer(form, add_special_tokens=False)["input_ids"])  # type: ignore[operator]
            if len(ids) == 1 and str(policy.tokenizer.decode(ids)).strip().casefold() == word.casefold():
                found.add(int(ids[0]))
    if not found:
        what = f"none of {', '.join(words) or 'no words'} is one token of this tokenizer"
        raise InputError(what, fix="--words WORD, of those that its vocabulary holds")
    return tuple(sorted(found))


def young_tokens(drawn: Completions, switches: Sequence[int], duration: int) -> NDArray[np.float64]:
    """How many tokens of each text were chosen while its thought was younger than ``duration``, ``[row]``."""
    count = np.zeros(len(drawn))
    for row in range(len(drawn)):
        last = 0
        for place, token in enumerate(drawn.row(row).tolist()):
            count[row] += place < last + duration
            last = place if token in switches else last
    return count


METHOD = ElicitationMethod(
    name="tip",
    summary="words that switch the thought are made less likely for a while after the last one",
    source="Wang et al. 2025, arXiv 2501.18585",
    cost="one answer",
    control=("tip-random", "tip-flipped"),
    needs=frozenset({"model"}),
    config=TipConfig(),
    neutral=TipConfig(penalty=0.0),
    answer=answer,
)

FLIPPED = replace(
    METHOD,
    name="tip-flipped",
    summary="words that switch the thought are made likelier: the penalty with its sign changed",
    control=("tip",),
    controls=True,
    answer=flipped,
)

RANDOM = replace(
    METHOD,
    name="tip-random",
    summary="the thought-switch penalty on as many random tokens",
    control=("tip",),
    controls=True,
    answer=at_random,
)
