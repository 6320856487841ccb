"""Two ways to answer NIM: the policy at once, or a tree search that the policy leads; and what decides between
them (the dual process of DPDP).

The search is told the rules of the game: which moves are legal, what they leave, and that whoever takes the
last wins. It is not told which position is worth what, it reads no gold answer, and it asks no verifier. The
rules are help all the same: with enough simulations they alone solve any position. So ``nim-search-rules``
searches with the same simulations and without the policy, and only what is gained over it was brought out of
the policy::

    nim-search           every problem is searched
    nim-search-rules     the same without the policy: every move is as likely at first
    nim-search-unsure    searched where the margin of the two likeliest answers is small among past margins
    nim-search-random    a random share is searched
    nim-search-oracle    searched where further graded draws say that it helps: a ceiling

What is not searched is answered as plain sampling answers it. A searched answer is the move that was tried
most often, put behind the words ``lead`` for the policy to end; ``~`` (no move wins) where the mean result
behind that move is below ``resign``. It has no trace: count right answers, not verified ones. Games from the
tree to their end cost no token where chance chooses the moves, and a reading of the policy for every new
position where the policy does.

DPDP compares a margin with a percentile of those seen so far. An answer here must not depend on what else is
asked, so the past is the development problems, in their order, or the last ``window`` of them.

Source: He et al. 2024 (2406.05374), whose actions are acts of a dialogue and whose games a language model
plays; ``nim-search-rules`` and the other controls: ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.elicitation.choosing import positive, threshold_of
from keyturn.elicitation.contract import Asked, Costs, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import Drafts
from keyturn.elicitation.nim_laws import Law, laws
from keyturn.elicitation.nim_rules import positions_of, said
from keyturn.elicitation.tree_search import Found, Searching, TreeSearch
from keyturn.problems.world.nim_play import Position

_WHOSE = "this search"


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Settings of the search."""

    simulations: int = 20
    """Times that the search goes down the tree for one answer; 0: it does not search."""
    exploration: float = 1.0
    """How much the prior leads the search (c of PUCT)."""
    playouts: Literal["chance", "policy"] = "chance"
    """Who chooses the moves from the tree to the end of the game."""
    resign: float = 0.0
    """Mean result, from -1 to 1, below which the answer is that no move wins."""
    lead: str = "DIR ANS"
    """The words of the world before an answer without a trace."""


@dataclass(frozen=True, kw_only=True)
class GatedConfig(SearchConfig):
    """Settings of searching where the policy is unsure."""

    share: float = 0.5
    """Share of the development problems that would be searched."""
    window: int = 0
    """How many of the last development problems are the past; 0: all."""


@dataclass(frozen=True, kw_only=True)
class RandomConfig(SearchConfig):
    """Settings of searching a random share."""

    share: float = 0.5
    """Share of the problems that are searched."""


@dataclass(frozen=True, kw_only=True)
class OracleConfig(SearchConfig):
    """Settings of the ceiling."""

    trials: int = 4
    """Further draws with and without the search per problem, which the grader judges."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """How much a problem wants to be searched.

    Args:
        score: one number a problem.
        costs: of finding it, one entry a problem.
        known: what the policy would answer, where it was read for the score, by place of the problem.
    """

    score: NDArray[np.float64]
    costs: Costs
    known: Mapping[int, Law] = field(default_factory=dict)


Score: TypeAlias = Callable[[Asked, Any], Scored]


def always(asked: Asked, config: SearchConfig) -> Scored:
    """Every problem."""
    count = len(asked.problems.problems)
    return Scored(score=np.ones(count), costs=Costs.nothing(count))


def by_margin(asked: Asked, config: SearchConfig) -> Scored:
    """How unsure the policy is among its answers."""
    found = laws(asked, positions_of(asked.problems.problems, _WHOSE), config.lead)
    costs = [one.cost for one in found]
    return Scored(
        score=1.0 - np.array([one.margin for one in found]),
        costs=_joined(costs),
        known=dict(enumerate(found)),
    )


def by_chance(asked: Asked, config: SearchConfig) -> Scored:
    """A random number."""
    ids = [problem.id for problem in asked.problems.problems]
    score = np.array([asked.streams.generator("search or not", one).random() for one in ids])
    return Scored(score=score, costs=Costs.nothing(len(ids)))


def by_oracle(asked: Asked, config: OracleConfig) -> Scored:
    """Success with the search minus success without, on further draws of the same problems."""
    positive(config.trials, "--trials")
    trial = replace(asked, draws=range(config.trials), streams=asked.streams.child("oracle"))
    count = len(asked.problems.problems)
    rates, total = [], Costs.nothing(count)
    for searches in (np.ones(count, dtype=bool), np.zeros(count, dtype=bool)):
        found = _answered(trial, config, searches, {})
        graded = asked.problems.grader.grade(asked.problems.problems, found.completions)
        rates.append(np.nan_to_num(graded.outcome).reshape(-1, config.trials).mean(axis=1))
        total = total + found.costs.grouped(config.trials)
    score = np.asarray(rates[0] - rates[1], dtype=np.float64)
    return Scored(score=score, costs=replace(total, checks=total.checks + 2.0 * config.trials))


def answer(
    score: Score, asked: Asked, config: Any, threshold: float = 0.0, *, by_rules: bool = False
) -> Elicitation:
    """Score every problem, search those above the threshold, and let the policy answer the others.

    Raises:
        InputError: a problem is not one of NIM, or the policy does not know its words.
    """
    for option in ("simulations", "exploration"):
        if getattr(config, option) < 0:
            raise UsageError(f"--{option} is {getattr(config, option)}", fix="0 or more")
    positions_of(asked.problems.problems, _WHOSE)
    scored = score(asked, config)
    found = _answered(asked, config, scored.score > threshold, scored.known, by_rules=by_rules)
    problem = found.completions.problem
    # A problem is scored once for all its draws.
    shared = {name: one[problem] / len(asked.draws) for name, one in scored.costs.columns().items()}
    facts = {**found.facts, "score": scored.score[problem]}
    return replace(found, costs=found.costs + Costs(**shared), facts=facts)


def _answered(
    asked: Asked,
    config: SearchConfig,
    searches: NDArray[np.bool_],
    known: Mapping[int, Law],
    *,
    by_rules: bool = False,
) -> Elicitation:
    """Answers of which those to some problems are searched."""
    drafts = Drafts(asked)
    rows = np.flatnonzero(searches[drafts.problem]) if config.simulations else np.zeros(0, dtype=np.int64)
    found, paid = _searched(asked, config, drafts, rows, known, by_rules=by_rules)
    words = [said(None if one.value < config.resign else one.move) for one in found]
    drafts.write([f"{config.lead} {one}".strip() for one in words], rows)
    drafts.grow()
    facts = {name: np.zeros(len(drafts)) for name in ("searched", "nodes", "plies", "positions read")}
    for row, one in zip(rows.tolist(), found, strict=True):
        values = (1.0, one.nodes, one.plies, one.asked)
        for column, value in zip(facts.values(), values, strict=True):
            column[row] = value
    return Elicitation(completions=drafts.completions(), costs=drafts.costs + paid, facts=facts)


def _searched(
    asked: Asked,
    config: SearchConfig,
    drafts: Drafts,
    rows: NDArray[np.int64],
    known: Mapping[int, Law],
    *,
    by_rules: bool,
) -> tuple[list[Found], Costs]:
    """The searches of some rows side by side: what they want to know of the policy is read together.

    Returns:
        What each found, and what every row of the drafts paid.
    """
    problems, places = asked.problems.problems, drafts.problem[rows].tolist()
    positions = positions_of(problems, _WHOSE)
    paid = Costs.nothing(len(drafts))
    roots = dict(known)
    if not by_rules:
        unread = sorted(set(places) - set(roots))
        for place, law in zip(
            unread, laws(asked, [positions[place] for place in unread], config.lead), strict=True
        ):
            roots[place] = law
            for row in np.flatnonzero(drafts.problem == place).tolist():
                _pay(paid, row, law.cost, 1.0 / len(asked.draws))  # read once for all draws of a problem
    going: dict[int, Searching] = {}
    for row, place in zip(rows.tolist(), places, strict=True):
        name = ("tree search", problems[place].id, int(drafts.draw[row]))
        going[row] = TreeSearch(
            positions[place],
            exploration=config.exploration,
            dice=asked.streams.generator(*name),
            asks=not by_rules,
            plays=config.playouts == "policy",
        ).run(config.simulations)
    done: dict[int, Found] = {}
    wants: dict[int, Position] = {}
    _step(going, dict.fromkeys(going), wants, done)
    # What a search wants first is the law of its own problem.
    _step(going, {row: roots[int(drafts.problem[row])].prior for row in wants}, wants, done)
    while wants:
        order = sorted(wants)
        read = laws(asked, [wants[row] for row in order], config.lead)
        for row, law in zip(order, read, strict=True):
            _pay(paid, row, law.cost, 1.0)
        _step(going, {row: law.prior for row, law in zip(order, read, strict=True)}, wants, done)
    return [done[row] for row in rows.tolist()], paid


def _step(
    going: Mapping[int, Searching],
    told: Mapping[int, NDArray[np.float64] | None],
    wants: dict[int, Position],
    done: dict[int, Found],
) -> None:
    """Let searches go on with what they are told, to what they want next or to their end."""
    for row, prior in told.items():
        wants.pop(row, None)
        try:
            wants[row] = next(going[row]) if prior is None else going[row].send(prior)
        except StopIteration as end:
            done[row] = end.value


def _pay(paid: Costs, row: int, cost: Costs, share: float) -> None:
    for name, column in paid.columns().items():
        column[row] += share * float(getattr(cost, name)[0])


def _joined(costs: list[Costs]) -> Costs:
    nothing = Costs.nothing(0)
    return Costs(
        **{
            name: np.concatenate([one, *(getattr(c, name) for c in costs)])
            for name, one in nothing.columns().items()
        }
    )


def for_margin(asked: Asked, config: GatedConfig) -> Prepared:
    """The margin below which a share of the past is."""
    if asked.development is None:
        raise UsageError("the past margins are those of development problems", fix="--development FILE")
    if config.window < 0:
        raise UsageError(f"--window is {config.window}", fix="a number of problems, or 0 for all")
    past = by_margin(replace(asked, problems=asked.development), config).score
    return {"threshold": threshold_of(past[-config.window :], config.share)}


def searched(asked: Asked, config: SearchConfig, prepared: Prepared) -> Elicitation:
    """Search everything."""
    return answer(always, asked, config)


def by_rules_alone(asked: Asked, config: SearchConfig, prepared: Prepared) -> Elicitation:
    """Search everything without the policy."""
    return answer(always, asked, config, by_rules=True)


def unsure(asked: Asked, config: GatedConfig, prepared: Prepared) -> Elicitation:
    """Search where the policy is unsure."""
    return answer(by_margin, asked, config, float(prepared["threshold"][0]))


def chance(asked: Asked, config: RandomConfig, prepared: Prepared) -> Elicitation:
    """Search at random."""
    if not 0 <= config.share <= 1:
        raise UsageError(f"--share is {config.share}", fix="a share from 0 to 1")
    return answer(by_chance, asked, config, 1.0 - config.share)


def oracle(asked: Asked, config: OracleConfig, prepared: Prepared) -> Elicitation:
    """Search where it helps."""
    return answer(by_oracle, asked, config)


_READS = "and a token for each position and each of its heaps that the policy is asked about"

METHOD = ElicitationMethod(
    name="nim-search",
    summary="a position of NIM is answered by a tree search that the policy leads",
    source="after He et al. 2024, arXiv 2406.05374",
    cost=f"the end of an answer, {_READS}",
    control=("nim-search-rules", "plain"),
    needs=frozenset({"model"}),
    example="runs/pretrain/nim-demo-0/model",
    config=SearchConfig(),
    neutral=SearchConfig(simulations=0),
    answer=searched,
)
RULES = replace(
    METHOD,
    name="nim-search-rules",
    summary="a position of NIM is answered by a tree search that knows the rules and not the policy",
    source="ours",
    cost="the end of an answer",
    control=("nim-search", "plain"),
    controls=True,
    answer=by_rules_alone,
)
UNSURE = replace(
    METHOD,
    name="nim-search-unsure",
    summary="a position of NIM is searched where the policy's margin is small among past margins",
    cost=f"one answer, or its end, {_READS}",
    control=("nim-search-random", "nim-search-oracle", "nim-search-rules"),
    needs=frozenset({"model", "development"}),
    config=GatedConfig(),
    neutral=GatedConfig(share=0.0),
    prepare=for_margin,
    answer=unsure,
)
RANDOM = replace(
    METHOD,
    name="nim-search-random",
    summary="a random share of the positions of NIM is searched",
    source="ours",
    cost=UNSURE.cost,
    control=("nim-search-unsure", "plain"),
    controls=True,
    config=RandomConfig(),
    neutral=RandomConfig(share=0.0),
    answer=chance,
)
ORACLE = replace(
    METHOD,
    name="nim-search-oracle",
    summary="a position of NIM is searched where further graded draws say that it helps: a ceiling",
    source="ours",
    cost="one answer, and 8 draws per problem about which the verifier is asked",
    control=("nim-search-unsure", "nim-search-random"),
    controls=True,
    unserved="it asks the grader, which knows the answer",
    config=OracleConfig(),
    neutral=OracleConfig(simulations=0),
    answer=oracle,
)
