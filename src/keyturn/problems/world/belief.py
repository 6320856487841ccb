"""BELIEF: theory of mind. Objects are moved while some agents watch, and the question is what an agent
believes.

``BOS CTL7 apple saw ; pear file ; apple saw plane cod eel ~ ray ; ... ASK cod eel apple ?`` asks where the cod
thinks that the eel thinks the apple is (order 2; order 0 asks for the place itself). A move, here from saw to
plane, is seen openly by the two agents before ``~`` and in secret by the one after it; all see the start. No
place is used twice. The trace goes through the moves of the asked object and writes, after each, the belief of
every chain up to the asked one, ``FWD DO apple saw -> saw cod saw eel saw ; DO saw plane cod eel ~ ray ->
plane cod plane eel plane ; ... ; ANS plane EOS``; ``DIR ANS plane EOS`` answers without a trace. Stories are
balanced or natural. In balanced stories only reading who saw what beats guessing a random place of the asked
object (in order 0: one of the two places from which nothing was moved away); see
:mod:`keyturn.problems.world.belief_story`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import permutations
from typing import ClassVar, Literal, get_args

from keyturn.core.errors import UsageError, unknown
from keyturn.core.problem import Problem, Split
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world.belief_story import (
    AGENTS,
    BELIEF,
    HIDDEN,
    MOST_MOVES,
    OBJECTS,
    PEOPLE,
    PLACES,
    SEEN,
    Move,
    Surface,
    draw_story,
    ranks,
    sees,
)
from keyturn.problems.world.contract import Reader, ValidCompletions
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.document import Document, LossWeights
from keyturn.problems.world.split import problem_id, split_of
from keyturn.problems.world.verify_belief import BeliefTask, read_belief_completion, read_belief_prompt
from keyturn.problems.world.vocabulary import (
    ANS,
    ARROW,
    ASK,
    BOS,
    DO,
    END,
    EOS,
    ID,
    QUERY,
    WORDS,
    decode,
    encode,
)

_STRATEGY = {"trace": "FWD", "direct": "DIR"}


@dataclass(frozen=True, kw_only=True)
class BeliefWorld:
    """A world of stories; named worlds differ in the orders and surfaces of pretraining."""

    name: str = "belief"
    """Its name in reports."""
    orders: tuple[int, ...] = (0, 1, 2)
    """Orders of belief in pretraining; the base lacks every other order."""
    moves: tuple[int, ...] = (1, 2, 3)
    """Moves of each of the two objects in pretraining."""
    surface: Surface = "balanced"
    """Surface of the stories in pretraining and RL; natural ones have the shortcut that the true place is
    right."""
    direct: float = 0.15
    """Share of texts that answer without a trace, to which traces may collapse. Ours."""
    rl_orders: tuple[int, ...] = (1, 2)
    """Orders that RL asks for."""
    rl_moves: tuple[int, ...] = (2, 3)
    """Moves of each object in RL."""
    test_orders: tuple[int, ...] = (0, 1, 2, 3)
    """Orders of evaluation; 3 is out of distribution."""
    test_moves: tuple[int, ...] = (1, 2, 3, 4)
    """Moves of each object in evaluation."""
    test_surfaces: tuple[Surface, ...] = ("balanced",)
    """Surfaces of evaluation; their difference shows how much a shortcut brings."""
    loss: LossWeights = field(default_factory=lambda: LossWeights(copy=4.0, plan=4.0))
    """Weights of tokens in the pretraining loss. Copying limits learning here, as in GRAPH: with run F's
    weights and batches of 32, 31 % of copies were right after 9,600 texts; with these weights and batches of
    16, 88 % after 10,400 (two changes at once, one seed)."""

    domain: ClassVar[str] = "belief"
    level: ClassVar[str] = "moves"
    reads_traces: ClassVar[bool] = True
    manners: ClassVar[Mapping[str, tuple[str, ...]]] = {"strategy": ("FWD", "DIR")}
    columns: ClassVar[Mapping[str, Literal["text", "number"]]] = {"trace_f1": "number"}

    def __post_init__(self) -> None:
        if not 0 <= self.direct <= 1:
            raise UsageError(f"direct is {self.direct}; a share lies in [0, 1]", fix="direct between 0 and 1")
        for label in ("orders", "rl_orders", "test_orders"):
            if not getattr(self, label) or not set(getattr(self, label)) <= set(range(AGENTS)):
                raise UsageError(f"{label} is {getattr(self, label)}", fix=f"values from 0 to {AGENTS - 1}")
        for label in ("moves", "rl_moves", "test_moves"):
            if not getattr(self, label) or not set(getattr(self, label)) <= set(range(1, MOST_MOVES + 1)):
                raise UsageError(f"{label} is {getattr(self, label)}", fix=f"values from 1 to {MOST_MOVES}")
        if not self.test_surfaces or not {self.surface, *self.test_surfaces} <= set(get_args(Surface)):
            raise UsageError(f"no surface {self.surface!r}, {self.test_surfaces}", fix="balanced or natural")

    @property
    def mixture(self) -> Mapping[str, float]:
        """Shares of texts with a trace and of answers alone."""
        return {"trace": 1 - self.direct, "direct": self.direct}

    @property
    def known_skills(self) -> frozenset[str]:
        """The orders of belief that pretraining shows."""
        return frozenset(f"order {order}" for order in self.orders)

    @property
    def max_prompt_tokens(self) -> int:
        """Longest prompt: eight tokens per move."""
        return 11 + 16 * self._most("moves") + self._most("orders")

    @property
    def max_new_tokens(self) -> int:
        """Longest valid completion, ``EOS`` included."""
        moves, order = self._most("moves"), self._most("orders")
        return 4 + (moves + 1) * (6 + 2 * order) + 4 * moves

    def _most(self, what: str) -> int:
        return max(*getattr(self, what), *getattr(self, f"rl_{what}"), *getattr(self, f"test_{what}"))

    @property
    def verifier_settings(self) -> str:
        """Empty: the prompt says everything."""
        return ""

    def cells(self, split: Split) -> tuple[dict[str, str | int], ...]:
        """The cells of a split if none are named."""
        kind = {"pretrain": "", "rl": "rl_"}.get(split, "test_")
        surfaces: Sequence[str] = self.test_surfaces if kind == "test_" else (self.surface,)
        return tuple(
            {"domain": "belief", "order": order, "moves": moves, "surface": surface}
            for surface in surfaces
            for order in getattr(self, f"{kind}orders")
            for moves in getattr(self, f"{kind}moves")
        )

    def draw_problems(
        self, split: Split, cell: Mapping[str, str | int], count: int, streams: Streams
    ) -> list[Problem]:
        """Different problems of a cell and split; fewer if no more are found (few moves have few forms)."""
        order, moves = int(cell["order"]), int(cell["moves"])
        surface: Surface = "natural" if cell.get("surface", self.surface) == "natural" else "balanced"
        if order not in range(AGENTS) or moves not in range(1, MOST_MOVES + 1):
            raise UsageError(f"there is no order {order} with {moves} moves", fix=f"0 to 3, 1 to {MOST_MOVES}")
        dice = Dice(streams.generator("belief", split, order, moves, surface))
        found: dict[str, Problem] = {}
        misses = 0
        while len(found) < count and misses < _MISSES:
            story = draw_story(order, moves, surface, dice)
            if split_of(canonical(order, story)) == split:
                problem = _problem(self, order, story, surface, split, dice)
                misses = -1 if problem.id not in found else misses
                found[problem.id] = problem
            misses += 1
        return list(found.values())

    def draw_document(self, component: str, dice: Dice) -> Document:
        """One text of pretraining; its problem is of the pretraining split."""
        while True:
            order, moves = dice.pick(self.orders), dice.pick(self.moves)
            story = draw_story(order, moves, self.surface, dice)
            if split_of(canonical(order, story)) == "pretrain":
                break
        return _document(_tell(order, story, dice), _STRATEGY[component], component=component)

    def reader(self, prompt: list[int]) -> Reader:
        """The verifier of a prompt."""
        return partial(read_belief_completion, read_belief_prompt(prompt))

    def demonstrate(
        self, problem: Problem, streams: Streams, *, strategy: str | None = None, format: str | None = None
    ) -> Document:
        """The trace, or the answer alone (``DIR``)."""
        ids = encode(problem.prompt)
        told = _told_of(ids, read_belief_prompt(ids))
        return _document(told, strategy or "FWD", component=strategy or "FWD")

    def valid_completions(self, problem: Problem, *, cap: int = 256) -> ValidCompletions:
        """The one valid trace, so the list is complete."""
        ids = encode(problem.prompt)
        return ValidCompletions(ids=(write_trace(_told_of(ids, read_belief_prompt(ids)))[0],), complete=True)


def canonical(order: int, story: tuple[Move, ...]) -> str:
    """The form that decides the split: without names of objects and places, and with equal agents outside the
    chain.
    """
    forms = []
    for rest in permutations(range(order, AGENTS)):
        name = (*range(order), *rest)
        forms.append(
            " ".join(
                f"{'x' if move.asked else 'y'}{''.join(map(str, sorted(name[a] for a in move.watchers.open)))}"
                f"~{name[move.watchers.hidden]}"
                for move in story
            )
        )
    return f"belief {order} {min(forms)}"


_MISSES = 2000
"""Number of stories in a row without a new problem after which a cell counts as exhausted."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """A story in tokens."""

    prompt: tuple[int, ...]
    chain: tuple[int, ...]
    """The agents whose belief is asked for, token ids."""
    lines: tuple[tuple[int, ...], ...]
    """Of every state of the asked object, token ids: the object and its start, then the place before, the place
    and the watchers of each move."""
    beliefs: tuple[tuple[int, ...], ...]
    """Place that every chain up to the asked one believes in, after each line, token ids."""


def write_trace(told: Told) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The one completion that is verified, ``EOS`` included, and the roles of its tokens."""
    ids: list[int] = [ID["FWD"]]
    roles: list[int] = [Role.STRATEGY]
    for line, believed in zip(told.lines, told.beliefs, strict=True):
        ids += (DO, *line, ARROW, believed[0])
        roles += (Role.SYNTAX, Role.LOOKUP if len(line) > 2 else Role.COPY, Role.PLAN)
        roles += [Role.SYNTAX if word == HIDDEN else Role.COPY for word in line[2:]]
        roles += (Role.SYNTAX, Role.LOOKUP)
        for agent, place in zip(told.chain, believed[1:], strict=True):
            ids += (agent, place)
            roles += (Role.REPEAT, Role.ARITHMETIC)
        ids.append(END)
        roles.append(Role.SYNTAX)
    ids += (ANS, told.beliefs[-1][-1], EOS)
    roles += (Role.SYNTAX, Role.ANSWER, Role.SYNTAX)
    return tuple(ids), tuple(map(int, roles))


def write_direct(told: Told) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The right answer without a trace."""
    roles = (Role.STRATEGY, Role.SYNTAX, Role.ANSWER, Role.SYNTAX)
    return (ID["DIR"], ANS, told.beliefs[-1][-1], EOS), tuple(map(int, roles))


def _document(told: Told, strategy: str, *, component: str) -> Document:
    writers = {"FWD": write_trace, "DIR": write_direct}
    if strategy not in writers:
        raise unknown("strategy", strategy, writers)
    completion, roles = writers[strategy](told)
    choices = {at: (completion[at],) for at, role in enumerate(roles) if role == Role.PLAN}
    return Document(
        prompt=told.prompt, completion=completion, roles=roles, choices=choices, component=component
    )


def _told_of(prompt: Sequence[int], task: BeliefTask) -> Told:
    """The story that a prompt tells."""
    lines: list[tuple[int, ...]] = []
    before = prompt[-2]
    for place, *_ in task.states:
        watchers = task.watchers[place]
        lines.append((before, place, *((*watchers[:2], HIDDEN, watchers[2]) if watchers else ())))
        before = place
    beliefs = tuple(state[1:] for state in task.states)
    return Told(prompt=tuple(prompt), chain=task.chain, lines=tuple(lines), beliefs=beliefs)


def _tell(order: int, story: tuple[Move, ...], dice: Dice) -> Told:
    """Give names to all agents, objects and places, and work out the beliefs."""
    people, objects, places = list(PEOPLE), list(OBJECTS), list(PLACES)
    for names in (people, objects, places):
        dice.shuffle(names)
    asked, other = objects[:2]
    starts = ((asked, places.pop()), (other, places.pop()))
    prompt = [BOS, BELIEF]
    for name, place in starts if dice.below(2) else starts[::-1]:
        prompt += (name, place, END)
    believed = [starts[0][1]] * (order + 1)
    lines: list[tuple[int, ...]] = [starts[0]]
    at = dict(starts)
    beliefs = [tuple(believed)]
    for move in story:
        (one, two), hidden = move.watchers
        name = asked if move.asked else other
        line = (at[name], places.pop(), people[one], people[two], HIDDEN, people[hidden])
        prompt += (name, *line, END)
        at[name] = line[1]
        if move.asked:
            believed = [line[1] if sees(n, move.watchers) else old for n, old in enumerate(believed)]
            lines.append(line)
            beliefs.append(tuple(believed))
    chain = tuple(people[:order])
    prompt += (ASK, *chain, asked, QUERY)
    return Told(prompt=tuple(prompt), chain=chain, lines=tuple(lines), beliefs=tuple(beliefs))


def _problem(
    world: BeliefWorld, order: int, story: tuple[Move, ...], surface: Surface, split: Split, dice: Dice
) -> Problem:
    told = _tell(order, story, dice)
    prompt = decode(told.prompt)
    moves = len(told.lines) - 1
    believed = ranks(order, story)
    skills = frozenset(f"order {n}" for n in range(order + 1))
    # Order 0: the words show from which two places nothing was moved away.
    guess = (SEEN if surface == "natural" else 1 / (moves + 1)) if order else 0.5
    return Problem(
        id=problem_id("belief", prompt),
        prompt=prompt,
        answer=WORDS[told.beliefs[-1][-1]],
        cell={"domain": "belief", "order": order, "moves": moves, "surface": surface},
        split=split,
        skills=skills,
        facts={
            "seen": f"order {order}" in world.known_skills,
            "atoms_seen": all(f"order {n}" in world.known_skills for n in range(min(order, 2))),
            "floor": 2.0 ** -(order * moves) if order else guess,
            "guess_rate": guess,
            "rank": believed[-1],
            "false_belief": believed[-1] != believed[0],
        },
    )
