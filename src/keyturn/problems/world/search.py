"""SEARCH: attempts that are followed or given up, with a success probability per step that is known exactly.

``BOS CTL15 plum 3 ?`` asks for a residue from which the function *plum* comes to 3. An attempt begins at a
residue that is chosen at random and writes the function's value again and again: ``DO 5 ; 7 ; 2`` and then
goes on (``;``), gives up and begins again (``BK 8``), or has come to the target: ``DO 5 ; 7 ; 2 BK 8 ; 1 ; 3
OK ANS 8``. Texts of pretraining switch with the probability ``switch`` after every step that was no hit,
whatever the depth: at .6 they give up too early where hits come late. After ``tokens`` tokens a text gives up
for good, ``ANS ~``.

The law of hits is exact, since starts are uniform over the other residues (:func:`hits`). In *cycles* every
function is two cycles, of six and of five residues: an attempt in the target's cycle comes to it after one to
five steps, each as likely, and one in the other never. So it pays to stay for that long and no longer. In
*stars* an attempt comes to the target at its first step or never, and switching at once is right. What a rule
of switching is worth within a number of tokens is computed and not estimated (``search_value.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import ClassVar, Literal

from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem, Split
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world.contract import NO_MANNERS, Reader, ValidCompletions
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.document import Document, LossWeights
from keyturn.problems.world.split import problem_id, split_of
from keyturn.problems.world.verify_search import (
    FUNCTIONS,
    KINDS,
    MARK,
    MODULUS,
    NAMES,
    read_search_completion,
    read_search_prompt,
)
from keyturn.problems.world.vocabulary import (
    ANS,
    BACK,
    BOS,
    DO,
    END,
    EOS,
    FILLER,
    NOUN,
    OK,
    QUERY,
    VALUE,
    decode,
    encode,
)

FEWEST_TOKENS = 20


@dataclass(frozen=True, kw_only=True)
class SearchWorld:
    """A world of attempts; named worlds differ in when an attempt comes to its target."""

    name: str = "search"
    """Its name in reports."""
    kind: Literal["cycles", "stars"] = "cycles"
    """Whether hits come late (cycles) or at once (stars)."""
    switch: float = 0.6
    """Probability that a text of pretraining gives an attempt up after a step that was no hit."""
    tokens: int = 64
    """Length after which a text gives up for good."""
    loss: LossWeights = field(default_factory=lambda: LossWeights(plan=1.0, rest=1.0))
    """Weights of tokens in the pretraining loss. Going on and giving up weigh the same, or their shares would
    be learnt wrongly."""

    domain: ClassVar[str] = "search"
    level: ClassVar[str] = "starts"
    reads_traces: ClassVar[bool] = True
    manners: ClassVar[Mapping[str, tuple[str, ...]]] = NO_MANNERS
    columns: ClassVar[Mapping[str, Literal["text", "number"]]] = {"attempts": "number", "steps": "number"}

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"kind is {self.kind!r}", fix=" or ".join(KINDS))
        if not 0 <= self.switch < 1:
            raise UsageError(f"switch is {self.switch}", fix="a probability of 0 or more, below 1")
        if self.tokens < FEWEST_TOKENS:
            raise UsageError(f"texts of {self.tokens} tokens", fix=f"{FEWEST_TOKENS} or more")

    @property
    def mixture(self) -> Mapping[str, float]:
        """One kind of text."""
        return {"search": 1.0}

    @property
    def known_skills(self) -> frozenset[str]:
        """What pretraining shows."""
        return frozenset({"search"})

    @property
    def verifier_settings(self) -> str:
        """The kind of functions."""
        return f", {self.kind}"

    @property
    def max_prompt_tokens(self) -> int:
        """Every prompt has five tokens."""
        return 5

    @property
    def max_new_tokens(self) -> int:
        """Longest text: the last attempt may run on to a hit."""
        return self.tokens + 6

    def cells(self, split: Split) -> tuple[dict[str, str | int], ...]:
        """A cell for each number of residues from which a target is reached."""
        return tuple({"domain": "search", "starts": count} for count in sorted(self._by_starts()))

    def _by_starts(self) -> dict[int, list[tuple[int, int]]]:
        """Number of starts -> the problems, as function and target."""
        out: dict[int, list[tuple[int, int]]] = {}
        for name, target in product(range(NAMES), range(MODULUS)):
            count = len(reaching(FUNCTIONS[self.kind][name], target))
            if count:
                out.setdefault(count, []).append((name, target))
        return out

    def draw_problems(
        self, split: Split, cell: Mapping[str, str | int], count: int, streams: Streams
    ) -> list[Problem]:
        """Different problems of a cell and split; all there are if fewer."""
        every = self._by_starts().get(int(cell["starts"]), [])
        order = streams.generator("search", split, int(cell["starts"])).permutation(len(every))
        kept = [every[i] for i in order if split_for(self.kind, *every[i]) == split]
        return [self._problem(*one) for one in kept[:count]]

    def _problem(self, name: int, target: int) -> Problem:
        prompt = decode(_prompt(name, target))
        starts = reaching(FUNCTIONS[self.kind][name], target)
        share = len(starts) / (MODULUS - 1)
        return Problem(
            id=problem_id(f"search {self.kind}", prompt),
            prompt=prompt,
            answer=str(max(starts, key=lambda start: (starts[start], start))),
            cell={"domain": "search", "starts": len(starts)},
            split=split_for(self.kind, name, target),
            skills=frozenset({"search"}),
            facts={
                "seen": True,
                "atoms_seen": True,
                # One step has to be right by chance, from a start that leads somewhere.
                "floor": share / MODULUS,
                "guess_rate": share,
            },
        )

    def draw_document(self, component: str, dice: Dice) -> Document:
        """One text of pretraining; its problem is of the pretraining split."""
        while True:
            name, target = dice.below(NAMES), dice.below(MODULUS)
            if (
                reaching(FUNCTIONS[self.kind][name], target)
                and split_for(self.kind, name, target) == "pretrain"
            ):
                break
        return self._written(name, target, dice)

    def _written(self, name: int, target: int, dice: Dice) -> Document:
        table = FUNCTIONS[self.kind][name]
        ids, roles = [DO], [Role.SYNTAX]
        while True:
            start = own = (target + 1 + dice.below(MODULUS - 1)) % MODULUS
            ids.append(VALUE + start)
            roles.append(Role.ARBITRARY)
            while True:
                own = table[own]
                ids += (END, VALUE + own)
                roles += (Role.SYNTAX, Role.ARITHMETIC)
                if own == target or len(ids) >= self.tokens or dice.uniform() < self.switch:
                    break
            if own == target or len(ids) >= self.tokens:
                break
            ids.append(BACK)
            roles.append(Role.BACKTRACK)
        if own == target:
            return _ended(_prompt(name, target), ids, roles, start)
        ids += (ANS, FILLER, EOS)
        roles += (Role.SYNTAX, Role.ANSWER, Role.SYNTAX)
        return _document(_prompt(name, target), ids, roles)

    def reader(self, prompt: list[int]) -> Reader:
        """The verifier of a prompt."""
        return partial(read_search_completion, read_search_prompt(prompt, self.kind))

    def demonstrate(
        self, problem: Problem, streams: Streams, *, strategy: str | None = None, format: str | None = None
    ) -> Document:
        """The longest attempt that comes to the target, and no other."""
        name, target = _asked(problem)
        return self._attempt(name, target, int(problem.answer))

    def _attempt(self, name: int, target: int, start: int) -> Document:
        table, own = FUNCTIONS[self.kind][name], start
        ids, roles = [DO, VALUE + start], [Role.SYNTAX, Role.ARBITRARY]
        while own != target:
            own = table[own]
            ids += (END, VALUE + own)
            roles += (Role.SYNTAX, Role.ARITHMETIC)
        return _ended(_prompt(name, target), ids, roles, start)

    def valid_completions(self, problem: Problem, *, cap: int = 256) -> ValidCompletions:
        """The completions of one attempt; those of several attempts are too many."""
        name, target = _asked(problem)
        starts = reaching(FUNCTIONS[self.kind][name], target)
        found = [self._attempt(name, target, start).completion for start in starts]
        return ValidCompletions(ids=tuple(found[:cap]), complete=False, left_out="texts of several attempts")


def reaching(table: tuple[int, ...], target: int) -> dict[int, int]:
    """Start -> steps to the target, for starts other than the target that come to it."""
    out: dict[int, int] = {}
    for start in range(len(table)):
        own, steps = table[start], 1
        while own != target and steps < len(table):
            own, steps = table[own], steps + 1
        if own == target and start != target:
            out[start] = steps
    return out


def hits(world: SearchWorld, problem: Problem) -> dict[int, float]:
    """Steps -> probability that an attempt comes to the target after just so many; the rest never does."""
    name, target = _asked(problem)
    out: dict[int, float] = {}
    for steps in reaching(FUNCTIONS[world.kind][name], target).values():
        out[steps] = out.get(steps, 0.0) + 1 / (MODULUS - 1)
    return dict(sorted(out.items()))


def split_for(kind: str, name: int, target: int) -> Split:
    """The split of a problem."""
    return split_of(f"search {kind} {name} {target}")


def _asked(problem: Problem) -> tuple[int, int]:
    ids = encode(problem.prompt)
    return ids[2] - NOUN, ids[3] - VALUE


def _prompt(name: int, target: int) -> tuple[int, ...]:
    return (BOS, MARK, NOUN + name, VALUE + target, QUERY)


def _ended(prompt: tuple[int, ...], ids: list[int], roles: list[Role], start: int) -> Document:
    ids += (OK, ANS, VALUE + start, EOS)
    roles += (Role.VERIFY, Role.SYNTAX, Role.ANSWER, Role.SYNTAX)
    return _document(prompt, ids, roles)


def _document(prompt: tuple[int, ...], ids: list[int], roles: list[Role]) -> Document:
    return Document(prompt=prompt, completion=tuple(ids), roles=tuple(map(int, roles)), component="search")
