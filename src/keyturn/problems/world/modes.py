"""MODES: problems that pretraining answers at once (the default), and seldom or never with the steps written
out.

``BOS CTL10 f g h 3 ?`` asks for h(g(f(3))) with the maps of CHAIN. A *direct* text is ``ANS 5 EOS``; a base
reads single maps off it, and is mostly wrong beyond one step. A *worked* text is an opener and then every
step, ``FWD f 3 1 ; g 1 6 ; h 6 5 ; ANS 5 EOS``, which a base can execute. ``worked`` is the share of worked
texts among those about these problems, so it is known how rare the mode is that an elicitation method has to
bring out, and at ``worked = 0`` there is none to be brought out.

Worked texts about something else fill ``elsewhere`` of the corpus in every arm: about sums (another domain),
or about four other maps (another context). So opener and layout are known in all arms, and an absent twin
differs from a present world in nothing but the worked texts about the problems that are asked. In a
*scrambled* world these exist, with their tokens between opener and answer in random order.

With ``cue``, a worked text is announced by a word at the end of its prompt, and problems without it are
always answered at once; without ``cue`` the first token of the answer is a choice with the probability
``worked``. ``openers`` are the words a worked text may begin with, each equally often.

A completion is verified if its answer is right and nothing in it is wrong, so an answer alone counts. The
verified completions of a problem are few and are all listed, so the success probability of a policy is an
exact sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, product
from typing import ClassVar, Literal

from keyturn.core.errors import UsageError, unknown
from keyturn.core.problem import Problem, Split
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world.contract import NO_COLUMNS, Reader, ValidCompletions
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.document import Document, LossWeights
from keyturn.problems.world.maps import MODULUS, TABLES
from keyturn.problems.world.split import problem_id, split_of
from keyturn.problems.world.verify_modes import (
    ASKED,
    CUE,
    OTHER_MAPS,
    OWN_MAPS,
    SUMS,
    read_modes_completion,
    read_modes_prompt,
)
from keyturn.problems.world.vocabulary import ANS, BOS, END, EOS, ID, MAP, MAPS, QUERY, VALUE, decode, encode

DEEPEST = 6
"""Steps up to which all problems of a depth are gone through."""
_MARKS = {"asked": ASKED, "maps": OTHER_MAPS, "sums": SUMS}


@dataclass(frozen=True, kw_only=True)
class ModesWorld:
    """A world of problems that are answered at once or worked; named worlds differ in what is worked."""

    name: str = "modes"
    """Its name in reports."""
    worked: float = 0.05
    """Share of worked texts among the texts about the asked problems; at 0 the mode is absent."""
    scrambled: bool = False
    """Whether the steps of those texts stand in random order, so that nothing can be learnt from them."""
    elsewhere: Literal["sums", "maps"] = "sums"
    """What the other worked texts are about: sums (another domain) or four other maps (another context)."""
    elsewhere_share: float = 0.15
    """Share of those texts in the corpus. Ours: enough for the layout, and the same in every arm."""
    cue: bool = False
    """Whether a word at the end of the prompt announces a worked text; without it none is worked then."""
    openers: tuple[str, ...] = ("FWD",)
    """Words with which a worked text may begin, each equally often; an opener may be several words."""
    depths: tuple[int, int] = (1, 3)
    """Fewest and most steps in pretraining."""
    rl_depths: tuple[int, ...] = (2, 3)
    """Steps of the problems that RL asks."""
    test_depths: tuple[int, ...] = (2, 3)
    """Steps of evaluation. All single maps are told in pretraining, so none is held out."""
    loss: LossWeights = field(default_factory=lambda: LossWeights(copy=4.0, lookup=2.0))
    """Weights of tokens in the pretraining loss; the first token weighs the same in both modes. Copying the
    next map is learnt last: where worked texts were few, facts and links were right and the order was not."""

    domain: ClassVar[str] = "modes"
    level: ClassVar[str] = "depth"
    reads_traces: ClassVar[bool] = True
    manners: ClassVar[Mapping[str, tuple[str, ...]]] = {"strategy": ("FWD", "DIR")}
    columns: ClassVar[Mapping[str, Literal["text", "number"]]] = NO_COLUMNS

    def __post_init__(self) -> None:
        for label, share in (("worked", self.worked), ("elsewhere_share", self.elsewhere_share)):
            if not 0 <= share <= 1:
                raise UsageError(f"{label} is {share}; a share lies in [0, 1]", fix=f"{label} between 0 and 1")
        if self.elsewhere not in ("sums", "maps"):
            raise UsageError(f"elsewhere is {self.elsewhere!r}", fix="sums or maps")
        if not 1 <= self.depths[0] <= self.depths[1] <= DEEPEST:
            raise UsageError(f"depths {self.depths} are not a range", fix=f"two numbers from 1 to {DEEPEST}")
        asked = (*self.rl_depths, *self.test_depths)
        if not asked or min(asked) < 2 or max(asked) > DEEPEST:
            raise UsageError(
                f"problems of {asked} steps", fix=f"2 to {DEEPEST} steps: single maps are all told"
            )
        firsts = [phrase.split()[:1] for phrase in self.openers]
        strange = [word for phrase in self.openers for word in phrase.split() if word not in ID]
        taken = [one for one in firsts if not one or one[0] in ("ANS", "CTL13", "EOS") or firsts.count(one) > 1]
        if not firsts or strange or taken:
            raise UsageError(
                f"openers {self.openers} cannot be told apart, or are not words of the world",
                fix='openers that begin with different words, e.g. ["FWD", "to find"]',
            )

    @property
    def mixture(self) -> Mapping[str, float]:
        """Shares of direct and worked texts about the asked problems, and of worked texts about others."""
        own = 1 - self.elsewhere_share
        worked = "scrambled" if self.scrambled else "worked"
        return {
            "direct": own * (1 - self.worked),
            worked: own * self.worked,
            f"worked {self.elsewhere}": self.elsewhere_share,
        }

    @property
    def known_skills(self) -> frozenset[str]:
        """What pretraining shows: the maps, and working if these problems are worked in order."""
        working = {"working"} if self.worked > 0 and not self.scrambled else set()
        return frozenset({f"map {name}" for name in MAPS[:OWN_MAPS]} | working)

    @property
    def verifier_settings(self) -> str:
        """The openers, and whether an answer may begin with the cue."""
        return f", openers {' / '.join(self.openers)}{', cue' if self.cue else ''}"

    @property
    def max_prompt_tokens(self) -> int:
        """Longest prompt, the cue included."""
        return self._deepest + 4 + self.cue

    @property
    def max_new_tokens(self) -> int:
        """Longest valid completion, opener and ``EOS`` included: four tokens a step, three for the answer."""
        return 4 * self._deepest + 3 + max(len(one) for one in self.opener_ids) + self.cue

    @property
    def opener_ids(self) -> tuple[tuple[int, ...], ...]:
        """The openers as token ids."""
        return tuple(tuple(encode(phrase)) for phrase in self.openers)

    @property
    def _deepest(self) -> int:
        return max(*self.test_depths, *self.rl_depths, self.depths[1])

    def cells(self, split: Split) -> tuple[dict[str, str | int], ...]:
        """The cells of a split if none are named."""
        sizes = {"pretrain": range(self.depths[0], self.depths[1] + 1), "rl": self.rl_depths}
        return tuple({"domain": "modes", "depth": n} for n in sizes.get(split, self.test_depths))

    def draw_problems(
        self, split: Split, cell: Mapping[str, str | int], count: int, streams: Streams
    ) -> list[Problem]:
        """Different problems of a depth and split; all of them if fewer than ``count`` exist."""
        depth = int(cell["depth"])
        if not 1 <= depth <= DEEPEST:
            raise UsageError(f"problems of {depth} steps", fix=f"1 to {DEEPEST} steps")
        every = [(maps, start) for maps in product(range(OWN_MAPS), repeat=depth) for start in range(MODULUS)]
        order = streams.generator("modes", split, depth).permutation(len(every))
        kept = (every[i] for i in order if split_for(*every[i]) == split)
        return [self._problem(maps, start) for maps, start in islice(kept, count)]

    def _problem(self, maps: tuple[int, ...], start: int) -> Problem:
        prompt = decode(_prompt("asked", maps, start))
        working = {"working"} if len(maps) > 1 else set()
        skills = frozenset({f"map {MAPS[j]}" for j in maps} | working)
        return Problem(
            id=problem_id("modes", prompt),
            prompt=prompt,
            answer=str(_values("asked", maps, start)[-1]),
            cell={"domain": "modes", "depth": len(maps)},
            split=split_for(maps, start),
            skills=skills,
            facts={
                "seen": skills <= self.known_skills,
                "atoms_seen": True,
                "floor": 1 / MODULUS,
                "chance": 1 / MODULUS,
                "guess_rate": 1 / MODULUS,
            },
        )

    def draw_document(self, component: str, dice: Dice) -> Document:
        """One text of pretraining; a problem that could be asked is of the pretraining split."""
        low, high = self.depths
        kind = component.removeprefix("worked ") if component.startswith("worked ") else "asked"
        many = {"asked": OWN_MAPS, "maps": len(MAPS) - OWN_MAPS, "sums": MODULUS}[kind]
        while True:
            depth = low + dice.below(high - low + 1)
            items = tuple(dice.below(many) for _ in range(depth))
            start = dice.below(MODULUS)
            if kind != "asked" or split_for(items, start) == "pretrain":
                break
        if component == "direct":
            return _direct(_prompt(kind, items, start), _values(kind, items, start)[-1], component)
        made = _worked(kind, items, start, dice.pick(self.opener_ids), component, cue=self.cue)
        return _scrambled(made, dice) if component == "scrambled" else made

    def reader(self, prompt: list[int]) -> Reader:
        """The verifier of a prompt."""
        return partial(read_modes_completion, read_modes_prompt(prompt), openers=self.opener_ids, cue=self.cue)

    def demonstrate(
        self, problem: Problem, streams: Streams, *, strategy: str | None = None, format: str | None = None
    ) -> Document:
        """A worked answer with one of the openers, or with ``DIR`` the answer alone."""
        if strategy is not None and strategy not in self.manners["strategy"]:
            raise unknown("strategy", strategy, self.manners["strategy"])
        maps, start = _asked(problem)
        if strategy == "DIR":
            return _direct(_prompt("asked", maps, start), _values("asked", maps, start)[-1], "direct")
        opener = Dice(streams.generator("modes", "opener", problem.id)).pick(self.opener_ids)
        return _worked("asked", maps, start, opener, "worked", cue=False)

    def valid_completions(self, problem: Problem, *, cap: int = 256) -> ValidCompletions:
        """The answer alone, and the worked answer with every opener: the list is complete."""
        maps, start = _asked(problem)
        prompt = _prompt("asked", maps, start)
        found = [_direct(prompt, _values("asked", maps, start)[-1], "direct").completion]
        found += [_worked("asked", maps, start, one, "worked", cue=False).completion for one in self.opener_ids]
        if self.cue:
            found += [(CUE, *ids) for ids in found]
        left = len(found) - cap
        said = f"{left} completions beyond the first {cap}" if left > 0 else ""
        return ValidCompletions(ids=tuple(found[:cap]), complete=left <= 0, left_out=said)


def split_for(maps: tuple[int, ...], start: int) -> Split:
    """The split of a problem; all single maps are told in pretraining."""
    return "pretrain" if len(maps) < 2 else split_of(f"modes {' '.join(map(str, maps))} {start}")


def _asked(problem: Problem) -> tuple[tuple[int, ...], int]:
    ids = encode(problem.prompt)
    return tuple(token - MAP for token in ids[2:-2]), ids[-2] - VALUE


def _tokens(kind: str, items: tuple[int, ...]) -> tuple[int, ...]:
    first = {"asked": MAP, "maps": MAP + OWN_MAPS, "sums": VALUE}[kind]
    return tuple(first + item for item in items)


def _values(kind: str, items: tuple[int, ...], start: int) -> list[int]:
    """The result of every step."""
    found: list[int] = []
    for item in items:
        value = found[-1] if found else start
        if kind == "sums":
            found.append((item + value) % MODULUS)
        else:
            found.append(TABLES[item if kind == "asked" else item + OWN_MAPS][value])
    return found


def _prompt(kind: str, items: tuple[int, ...], start: int) -> tuple[int, ...]:
    return (BOS, _MARKS[kind], *_tokens(kind, items), VALUE + start, QUERY)


def _direct(prompt: tuple[int, ...], answer: int, component: str) -> Document:
    roles = (Role.SYNTAX, Role.ANSWER, Role.SYNTAX)
    return Document(
        prompt=prompt,
        completion=(ANS, VALUE + answer, EOS),
        roles=tuple(map(int, roles)),
        component=component,
    )


def _worked(
    kind: str, items: tuple[int, ...], start: int, opener: tuple[int, ...], component: str, *, cue: bool
) -> Document:
    ids, roles = list(opener), [Role.STRATEGY] * len(opener)
    before, role = start, Role.COPY
    for token, value in zip(_tokens(kind, items), _values(kind, items, start), strict=True):
        ids += (token, VALUE + before, VALUE + value, END)
        roles += (Role.COPY, role, Role.ARITHMETIC, Role.SYNTAX)
        before, role = value, Role.LOOKUP
    ids += (ANS, VALUE + before, EOS)
    roles += (Role.SYNTAX, Role.ANSWER, Role.SYNTAX)
    prompt = _prompt(kind, items, start)
    return Document(
        prompt=(*prompt, CUE) if cue else prompt,
        completion=tuple(ids),
        roles=tuple(map(int, roles)),
        component=component,
    )


def _scrambled(made: Document, dice: Dice) -> Document:
    """The same text with the tokens of its steps in random order: opener, length and answer stay."""
    head, tail = made.roles.count(int(Role.STRATEGY)), 3
    steps = list(made.completion[head:-tail])
    dice.shuffle(steps)
    return Document(
        prompt=made.prompt,
        completion=(*made.completion[:head], *steps, *made.completion[-tail:]),
        roles=(*made.roles[:head], *[int(Role.ARBITRARY)] * len(steps), *made.roles[-tail:]),
        component=made.component,
    )
