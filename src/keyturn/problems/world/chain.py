"""CHAIN: unary maps on the residues modulo 7, learnt one by one; the base may lack the skill to compose them.

``BOS CH f g h 3 ?`` asks for h(g(f(3))). The one valid trace has one step per map, ``f 3 r1 ; g r1 r2 ; h r2 r3
; ANS r3 EOS``. Pretraining contains single applications and *unlinked* lists, in which each later step starts
from a fresh residue (they teach format and length, but not composing). A setting adds *linked* lists, which
compose. A model that has seen only unlinked lists links a step by chance once in seven, so the floor of a
verified answer is ``7^-(depth - 1)``.

The maps are permutations, all different and none the identity. So the answer is uniform at every depth, and a
wrong operand can never lead to the right result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, product
from typing import ClassVar, Literal

from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem, Split
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world.contract import NO_COLUMNS, NO_MANNERS, Reader, ValidCompletions
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.document import Document, LossWeights
from keyturn.problems.world.maps import MODULUS, TABLES
from keyturn.problems.world.split import problem_id, split_of
from keyturn.problems.world.verify_chain import read_chain_completion, read_chain_prompt
from keyturn.problems.world.vocabulary import ANS, BOS, CHAIN, END, EOS, MAP, MAPS, QUERY, VALUE, decode, encode

_ENUMERATED = 40_000


@dataclass(frozen=True, kw_only=True)
class ChainWorld:
    """A world of map applications; named worlds differ in the content of pretraining."""

    name: str = "chain"
    """Its name in reports."""
    single: float = 0.2
    """Share of single applications in the corpus; the rest are lists. Ours."""
    linked: float = 0.0
    """Share of linked lists among the lists; at 0 the base cannot compose. A dose response uses 0, .1, .3,
    .5."""
    depths: tuple[int, int] = (2, 6)
    """Smallest and largest number of maps in a list."""
    fresh: Literal["uniform", "never_equal"] = "uniform"
    """Start of an unlinked step: any residue, or any but the previous result (so that no link occurs)."""
    absent_map: str = ""
    """A map that no text of pretraining shows; "" for none."""
    rl_depths: tuple[int, ...] = (2, 3)
    """Depths that RL asks for."""
    test_depths: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    """Depths of evaluation."""
    loss: LossWeights = field(default_factory=LossWeights)
    """Weights of tokens in the pretraining loss."""

    domain: ClassVar[str] = "chain"
    level: ClassVar[str] = "depth"
    reads_traces: ClassVar[bool] = True
    manners: ClassVar[Mapping[str, tuple[str, ...]]] = NO_MANNERS
    columns: ClassVar[Mapping[str, Literal["text", "number"]]] = NO_COLUMNS

    def __post_init__(self) -> None:
        for label, share in (("single", self.single), ("linked", self.linked)):
            if not 0 <= share <= 1:
                raise UsageError(f"{label} is {share}; a share lies in [0, 1]", fix=f"{label} between 0 and 1")
        if not 2 <= self.depths[0] <= self.depths[1]:
            raise UsageError(
                f"depths {self.depths} are not a range of list lengths", fix="two numbers, 2 <= low <= high"
            )
        if self.absent_map and self.absent_map not in MAPS:
            raise UsageError(f"there is no map {self.absent_map!r}", fix=f"one of {', '.join(MAPS)}")
        if self.fresh not in ("uniform", "never_equal"):
            raise UsageError(f"fresh is {self.fresh!r}", fix="uniform or never_equal")
        if min(*self.rl_depths, *self.test_depths) < 1:
            raise UsageError("a depth is below 1", fix="depths of at least one map")

    @property
    def mixture(self) -> Mapping[str, float]:
        """Shares of single applications, unlinked and linked lists."""
        lists = 1 - self.single
        return {"single": self.single, "unlinked": lists * (1 - self.linked), "linked": lists * self.linked}

    @property
    def known_skills(self) -> frozenset[str]:
        """Skills that pretraining shows: each map, and linking if there are linked lists."""
        maps = {f"map {name}" for name in MAPS if name != self.absent_map}
        linking = {"link"} if self.mixture["linked"] > 0 else set()
        return frozenset(maps | linking)

    @property
    def max_prompt_tokens(self) -> int:
        """Longest prompt."""
        return self._deepest + 4

    @property
    def max_new_tokens(self) -> int:
        """Longest valid completion, ``EOS`` included: four tokens per step and three for the answer."""
        return 4 * self._deepest + 3

    @property
    def _deepest(self) -> int:
        return max(*self.test_depths, *self.rl_depths, self.depths[1])

    def cells(self, split: Split) -> tuple[dict[str, str | int], ...]:
        """The cells of a split if none are named."""
        depths = {"pretrain": range(1, self.depths[1] + 1), "rl": self.rl_depths}.get(split, self.test_depths)
        parts = [{"atoms": "all"}, {"atoms": "one absent"}] if self.absent_map else [{}]
        return tuple({"domain": "chain", "depth": depth, **part} for depth in depths for part in parts)

    @property
    def verifier_settings(self) -> str:
        """Empty: the maps are the same in every CHAIN world."""
        return ""

    def draw_problems(
        self, split: Split, cell: Mapping[str, str | int], count: int, streams: Streams
    ) -> list[Problem]:
        """Different problems of a cell and split; all of them if fewer than ``count`` exist (depths 1 to 4).

        Raises:
            UsageError: ``count`` is more than a thirty-second of all problems of a depth above 4.
        """
        depth = int(cell["depth"])
        wanted = cell.get("atoms")
        absent = MAPS.index(self.absent_map) if self.absent_map else -1

        def fits(maps: tuple[int, ...], start: int) -> bool:
            if wanted is not None and (absent in maps) != (wanted == "one absent"):
                return False
            return split_of(canonical(maps, start)) == split

        generator = streams.generator("chain", split, *(f"{k}={v}" for k, v in cell.items()))
        size = len(MAPS) ** depth * MODULUS
        if size <= _ENUMERATED:
            every = [
                (maps, start) for maps in product(range(len(MAPS)), repeat=depth) for start in range(MODULUS)
            ]
            kept = (every[i] for i in generator.permutation(size) if fits(*every[i]))
            return [problem_of(self, maps, start) for maps, start in islice(kept, count)]
        if count > size / 32:
            raise UsageError(
                f"{count} problems of depth {depth} are too many to draw", fix=f"at most {size // 32}"
            )
        dice = Dice(generator)
        found: dict[tuple[tuple[int, ...], int], None] = {}
        while len(found) < count:
            maps = tuple(dice.below(len(MAPS)) for _ in range(depth))
            start = dice.below(MODULUS)
            if (maps, start) not in found and fits(maps, start):
                found[maps, start] = None
        return [problem_of(self, maps, start) for maps, start in found]

    def draw_document(self, component: str, dice: Dice) -> Document:
        """One text of pretraining; its problem is of the pretraining split."""
        low, high = self.depths
        allowed = [j for j, name in enumerate(MAPS) if name != self.absent_map]
        while True:
            depth = 1 if component == "single" else low + dice.below(high - low + 1)
            maps = tuple(dice.pick(allowed) for _ in range(depth))
            start = dice.below(MODULUS)
            if split_of(canonical(maps, start)) == "pretrain":
                break
        operands = [start]
        results = [TABLES[maps[0]][start]]
        for j in maps[1:]:
            operand = results[-1] if component == "linked" else _fresh(self, results[-1], dice)
            operands.append(operand)
            results.append(TABLES[j][operand])
        completion, roles = _trace(maps, operands, results, linked=component == "linked")
        return Document(prompt=prompt_ids(maps, start), completion=completion, roles=roles, component=component)

    def reader(self, prompt: list[int]) -> Reader:
        """The verifier of a prompt."""
        return partial(read_chain_completion, read_chain_prompt(prompt))

    def demonstrate(
        self, problem: Problem, streams: Streams, *, strategy: str | None = None, format: str | None = None
    ) -> Document:
        """The one valid trace."""
        ids = encode(problem.prompt)
        task = read_chain_prompt(ids)
        completion, roles = valid_trace(task.maps, task.start)
        return Document(prompt=tuple(ids), completion=completion, roles=roles, component="valid")

    def valid_completions(self, problem: Problem, *, cap: int = 256) -> ValidCompletions:
        """The one valid trace, so the list is complete."""
        task = read_chain_prompt(encode(problem.prompt))
        return ValidCompletions(ids=(valid_trace(task.maps, task.start)[0],), complete=True)


def canonical(maps: tuple[int, ...], start: int) -> str:
    """The form that decides the split. Nothing can be renamed in CHAIN, so it is the problem itself."""
    return "chain " + " ".join(map(str, maps)) + f" {start}"


def problem_of(world: ChainWorld, maps: tuple[int, ...], start: int) -> Problem:
    """The problem that asks for the maps in order, from ``start``."""
    prompt = decode(prompt_ids(maps, start))
    value = start
    for j in maps:
        value = TABLES[j][value]
    depth = len(maps)
    skills = frozenset({f"map {MAPS[j]}" for j in maps} | ({"link"} if depth > 1 else set()))
    atoms = world.absent_map not in {MAPS[j] for j in maps}
    part = {"atoms": "all" if atoms else "one absent"} if world.absent_map else {}
    return Problem(
        id=problem_id("chain", prompt),
        prompt=prompt,
        answer=str(value),
        cell={"domain": "chain", "depth": depth, **part},
        split=split_of(canonical(maps, start)),
        skills=skills,
        facts={
            "seen": skills <= world.known_skills,
            "atoms_seen": atoms,
            "floor": float(MODULUS) ** -(depth - 1),
            # A model that knows the maps and links at random; a single map can only be guessed.
            "chance": float(MODULUS) ** -max(depth - 1, 1),
            "guess_rate": 1 / MODULUS,
        },
    )


def prompt_ids(maps: tuple[int, ...], start: int) -> tuple[int, ...]:
    """``BOS CH f g h 3 ?``."""
    return (BOS, CHAIN, *(MAP + j for j in maps), VALUE + start, QUERY)


def valid_trace(maps: tuple[int, ...], start: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The one completion that is valid, ``EOS`` included, and the roles of its tokens."""
    operands, results = [], []
    value = start
    for j in maps:
        operands.append(value)
        value = TABLES[j][value]
        results.append(value)
    return _trace(maps, operands, results, linked=True)


def _fresh(world: ChainWorld, previous: int, dice: Dice) -> int:
    if world.fresh == "uniform":
        return dice.below(MODULUS)
    return (previous + 1 + dice.below(MODULUS - 1)) % MODULUS


def _trace(
    maps: tuple[int, ...], operands: list[int], results: list[int], *, linked: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    ids: list[int] = []
    roles: list[int] = []
    role = int(Role.COPY)
    for j, operand, result in zip(maps, operands, results, strict=True):
        ids += (MAP + j, VALUE + operand, VALUE + result, END)
        roles += (Role.COPY, role, Role.ARITHMETIC, Role.SYNTAX)
        role = int(Role.LOOKUP if linked else Role.ARBITRARY)
    ids += (ANS, VALUE + results[-1], EOS)
    roles += (Role.SYNTAX, Role.ANSWER, Role.SYNTAX)
    return tuple(ids), tuple(map(int, roles))
