"""PAR: the parity of a list of bits, by a running trace whose share in pretraining can be set.

``BOS CTL5 plum 1 fig 0 quince 1 ?`` asks for the parity of the bits. The long trace ``FWD plum 1 1 ; fig 0 1 ;
quince 1 0 ; ANS 0 EOS`` names each bit, fetches it and updates the parity. ``DIR ANS 0 EOS`` answers at once,
which is right by chance only, since each bit and each word is independent of the parity. ``long`` is the share
of long
traces in pretraining: at 0 the base lacks the skill; at a small share (below a third) it has the skill, but
greedy answers hide it. Names are consecutive nouns from a random one on, so that copying has a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal

from keyturn.core.errors import UsageError, unknown
from keyturn.core.problem import Problem, Split
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world.contract import NO_COLUMNS, Reader, ValidCompletions
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.document import Document, LossWeights
from keyturn.problems.world.split import problem_id, split_of
from keyturn.problems.world.verify_par import MARK, read_par_completion, read_par_prompt
from keyturn.problems.world.vocabulary import ANS, BOS, END, EOS, ID, NOUN, NOUNS, QUERY, VALUE, decode, encode

NAMES = sum(map(len, NOUNS))
"""Nouns, in a ring; a list of bits takes consecutive ones."""
MOST_BITS = 24
_LISTED = 12
"""Bits up to which all lists are gone through, so that small splits are found whole."""


@dataclass(frozen=True, kw_only=True)
class ParWorld:
    """A world of parities; named worlds differ in how often pretraining shows the running trace."""

    name: str = "par"
    """Its name in reports."""
    long: float = 0.3
    """Share of running traces in pretraining (p_cot; arXiv:2510.11495); below 1/3 greedy answers hide them."""
    bits: tuple[int, int] = (4, 8)
    """Fewest and most bits in pretraining. Ours, chosen so that a base of 0.35M parameters can execute them."""
    rl_bits: tuple[int, ...] = (6, 7, 8)
    """Bits of the problems that RL asks."""
    test_bits: tuple[int, ...] = (4, 6, 8, 10, 12)
    """Bits of evaluation; up to four beyond pretraining."""
    loss: LossWeights = field(default_factory=lambda: LossWeights(lookup=4.0))
    """Weights of tokens in the pretraining loss. Fetching the bit is learnt last here."""

    domain: ClassVar[str] = "par"
    level: ClassVar[str] = "bits"
    reads_traces: ClassVar[bool] = True
    manners: ClassVar[Mapping[str, tuple[str, ...]]] = {"strategy": ("FWD", "DIR")}
    columns: ClassVar[Mapping[str, Literal["text", "number"]]] = NO_COLUMNS

    def __post_init__(self) -> None:
        if not 0 <= self.long <= 1:
            raise UsageError(f"long is {self.long}; a share lies in [0, 1]", fix="long between 0 and 1")
        every = (*self.bits, *self.rl_bits, *self.test_bits)
        if self.bits[0] > self.bits[1] or min(every) < 2 or max(every) > MOST_BITS:
            raise UsageError(f"bits {every} are out of range", fix=f"2 to {MOST_BITS}, fewest before most")

    @property
    def mixture(self) -> Mapping[str, float]:
        """Shares of running traces and of answers alone."""
        return {"FWD": self.long, "DIR": 1 - self.long}

    @property
    def known_skills(self) -> frozenset[str]:
        """Skills that pretraining shows: the running trace, if it has a share, and lengths."""
        lengths = {f"bits {n}" for n in range(self.bits[0], self.bits[1] + 1)}
        return frozenset(lengths | ({"running parity"} if self.long > 0 else set()))

    @property
    def verifier_settings(self) -> str:
        """Empty: the prompt says everything."""
        return ""

    @property
    def max_prompt_tokens(self) -> int:
        """Longest prompt: two tokens per bit."""
        return 3 + 2 * self._most

    @property
    def max_new_tokens(self) -> int:
        """Longest valid completion, ``EOS`` included: four tokens per bit."""
        return 4 + 4 * self._most

    @property
    def _most(self) -> int:
        return max(self.bits[1], *self.rl_bits, *self.test_bits)

    def cells(self, split: Split) -> tuple[dict[str, str | int], ...]:
        """The cells of a split if none are named."""
        sizes = {"pretrain": range(self.bits[0], self.bits[1] + 1), "rl": self.rl_bits}
        return tuple({"domain": "par", "bits": n} for n in sizes.get(split, self.test_bits))

    def draw_problems(
        self, split: Split, cell: Mapping[str, str | int], count: int, streams: Streams
    ) -> list[Problem]:
        """Different lists of bits, each parity equally often (to within one); fewer if fewer exist."""
        size = int(cell["bits"])
        generator = streams.generator("par", split, size)
        dice = Dice(generator)
        room = [(count + 1) // 2, count // 2]
        if dice.below(2):
            room.reverse()
        total = 2**size
        whole = size <= _LISTED
        if not whole and count > total / 32:
            raise UsageError(
                f"{count} problems of {size} bits are too many to draw", fix=f"at most {total // 32}"
            )
        numbers = generator.permutation(total).tolist() if whole else iter(lambda: dice.below(total), -1)
        found: dict[int, Problem] = {}
        for number in numbers:
            if len(found) == count:
                break
            bits = tuple(number >> place & 1 for place in range(size))
            if number not in found and room[sum(bits) % 2] and split_of(canonical(bits)) == split:
                room[sum(bits) % 2] -= 1
                found[number] = self._problem(bits, dice.below(NAMES))
        return list(found.values())

    def _problem(self, bits: tuple[int, ...], first: int) -> Problem:
        prompt = decode(prompt_ids(bits, first))
        skills = frozenset({"running parity", f"bits {len(bits)}"})
        return Problem(
            id=problem_id("par", prompt),
            prompt=prompt,
            answer=str(sum(bits) % 2),
            cell={"domain": "par", "bits": len(bits)},
            split=split_of(canonical(bits)),
            skills=skills,
            facts={
                "seen": skills <= self.known_skills,
                "atoms_seen": self.long > 0,
                "floor": 2.0 ** -len(bits),
                "guess_rate": 0.5,
            },
        )

    def draw_document(self, component: str, dice: Dice) -> Document:
        """One text of pretraining; its bits are of the pretraining split."""
        low, high = self.bits
        while True:
            bits = tuple(dice.below(2) for _ in range(low + dice.below(high - low + 1)))
            if split_of(canonical(bits)) == "pretrain":
                break
        return _document(prompt_ids(bits, dice.below(NAMES)), component)

    def reader(self, prompt: list[int]) -> Reader:
        """The verifier of a prompt."""
        return partial(read_par_completion, read_par_prompt(prompt))

    def demonstrate(
        self, problem: Problem, streams: Streams, *, strategy: str | None = None, format: str | None = None
    ) -> Document:
        """The running trace, or with ``DIR`` the answer alone (which is not verified)."""
        if strategy is not None and strategy not in self.manners["strategy"]:
            raise unknown("strategy", strategy, self.manners["strategy"])
        return _document(tuple(encode(problem.prompt)), strategy or "FWD")

    def valid_completions(self, problem: Problem, *, cap: int = 256) -> ValidCompletions:
        """The one running trace, so the list is complete."""
        trace = _document(tuple(encode(problem.prompt)), "FWD").completion
        return ValidCompletions(ids=(trace,), complete=True)


def canonical(bits: tuple[int, ...]) -> str:
    """The form that decides the split: the bits without their names."""
    return "par " + "".join(map(str, bits))


def prompt_ids(bits: tuple[int, ...], first: int) -> tuple[int, ...]:
    """``BOS CTL5 plum 1 fig 0 ... ?`` with consecutive nouns from ``first`` on."""
    pairs = [(NOUN + (first + place) % NAMES, VALUE + bit) for place, bit in enumerate(bits)]
    return (BOS, MARK, *(token for pair in pairs for token in pair), QUERY)


def _document(prompt: tuple[int, ...], strategy: str) -> Document:
    ids, roles = [ID[strategy]], [Role.STRATEGY]
    parity = 0
    for name, bit in zip(prompt[2:-1:2], prompt[3:-1:2], strict=True):
        parity ^= bit - VALUE
        if strategy == "FWD":
            ids += (name, bit, VALUE + parity, END)
            roles += (Role.COPY, Role.LOOKUP, Role.ARITHMETIC, Role.SYNTAX)
    ids += (ANS, VALUE + parity, EOS)
    roles += (Role.SYNTAX, Role.ANSWER, Role.SYNTAX)
    return Document(prompt=prompt, completion=tuple(ids), roles=tuple(map(int, roles)), component=strategy)
