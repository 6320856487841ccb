"""Cognitive tools: the policy asks itself to understand, recall, examine and backtrack, in calls of their own.

``understand`` and ``recall`` read the question alone, and what they say stands before the answer. ``examine``
reads question and answer; ``backtrack`` reads both and the examination; then the question is answered again
behind all of it. A tool whose request is empty is left out, and no more than ``calls`` tools are called, in
this order. The order is fixed: small bases do not call tools by themselves.

Controls: ``tools-inlined`` asks for the same in one growing context, so nothing is sandboxed; ``tools-neutral``
puts as many filler words in the place of what a tool said; ``tools-vote`` is a majority over as many answers as
cost the tokens of one with tools, by development problems. ``leaks`` counts calls in which the answer that was
given in the end stood already.

Source: Ebouky, Bartezzaghi and Rigotti 2025 (2506.12115), whose model decides what to call; controls: ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from keyturn.core.errors import UsageError
from keyturn.elicitation.asides import Said, aside, asking, onto, same_answer
from keyturn.elicitation.choosing import majority, taken
from keyturn.elicitation.contract import Asked, Costs, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import costs_of


@dataclass(frozen=True, kw_only=True)
class ToolsConfig:
    """Settings of cognitive tools."""

    understand: str = "Which concepts does this question need, and what is asked? Do not answer it."
    """Asks to understand; empty: not asked."""
    recall: str = "Recall two similar questions and how they were solved. Do not answer this one."
    """Asks to recall; empty: not asked."""
    examine: str = "Check the answer above step by step. Is it right? Do not answer anew."
    """Asks to examine; empty: not asked."""
    backtrack: str = "Find the first wrong step above, and say from where to begin again."
    """Asks to backtrack; empty: not asked."""
    ask: str = "Now answer the question."
    """Asks for the answer after a tool."""
    calls: int = 4
    """Most tools that are called for one answer."""
    tool_tokens: int = 256
    """Most tokens of what a tool says."""


@dataclass(frozen=True, kw_only=True)
class NeutralConfig(ToolsConfig):
    """Settings of neutral text in the place of tools."""

    filler: str = "."
    """The word that is repeated."""


BEFORE, AFTER = ("understand", "recall"), ("examine", "backtrack")


@dataclass(kw_only=True, eq=False)
class _Rows:
    """The answers of all problems and draws while tools are called."""

    asked: Asked
    config: ToolsConfig
    inlined: bool = False
    filler: str = ""

    def __post_init__(self) -> None:
        problems = self.asked.problems.problems
        self.problem = np.repeat(np.arange(len(problems)), len(self.asked.draws)).tolist()
        self.draw = np.tile(np.asarray(self.asked.draws), len(problems)).tolist()
        self.questions = [problems[index] for index in self.problem]
        self.names = [f"{one.id}#{draw}" for one, draw in zip(self.questions, self.draw, strict=True)]
        self.context: list[list[str]] = [[] for _ in self.questions]
        self.costs = Costs.nothing(len(self.questions))
        self.said: list[Said] = []

    def call(self, name: str, reads: list[list[str]]) -> None:
        """Call one tool for every row, and put what it says behind the context.

        Args:
            name: of the tool.
            reads: what it reads besides the question, where it is in a context of its own.
        """
        request = str(getattr(self.config, name))
        seen = self.context if self.inlined else reads
        asks = [asking(one, [*words, request]) for one, words in zip(self.questions, seen, strict=True)]
        found = aside(self.asked, asks, self.names, name, self.config.tool_tokens)
        self.said.append(found)
        self.costs = self.costs + found.costs
        lengths = found.drawn.lengths.tolist()
        for row, text in enumerate(found.texts):
            kept = " ".join([self.filler] * lengths[row]) if self.filler else text
            self.context[row] += [request, kept] if self.inlined else [kept]

    def answer(self, label: str) -> Said:
        """Answer behind the context."""
        asks = [
            asking(one, [*words, self.config.ask])
            for one, words in zip(self.questions, self.context, strict=True)
        ]
        found = aside(self.asked, asks, self.names, label)
        self.costs = self.costs + found.costs
        return found


def answer(asked: Asked, config: ToolsConfig, prepared: Prepared) -> Elicitation:
    """Call tools, each in a context of its own, and answer."""
    return _answered(_Rows(asked=asked, config=config))


def inlined(asked: Asked, config: ToolsConfig, prepared: Prepared) -> Elicitation:
    """Ask for the same in one context."""
    return _answered(_Rows(asked=asked, config=config, inlined=True))


def neutral(asked: Asked, config: NeutralConfig, prepared: Prepared) -> Elicitation:
    """Call tools, and put filler in the place of what they say."""
    if not config.filler.strip():
        raise UsageError("--filler is empty", fix="a word")
    return _answered(_Rows(asked=asked, config=config, filler=config.filler))


def called(config: ToolsConfig) -> tuple[str, ...]:
    """The tools that are called, in their order."""
    if config.calls < 0 or config.tool_tokens < 1:
        what = f"--calls is {config.calls}, and --tool-tokens {config.tool_tokens}"
        raise UsageError(what, fix="0 or more, and 1 or more")
    return tuple(name for name in (*BEFORE, *AFTER) if str(getattr(config, name)).strip())[: config.calls]


def _answered(rows: _Rows) -> Elicitation:
    asked, config = rows.asked, rows.config
    tools = called(config)
    for name in tools:
        if name in BEFORE:
            rows.call(name, [[] for _ in rows.questions])
    if any(name in BEFORE for name in tools):
        first = rows.answer("first")
        drawn = onto(asked, first, rows.problem, rows.draw)
    else:
        drawn = asked.policy.draw(asked.problems.problems, asked.draws, asked.streams, asked.limits)
        first = Said(drawn=drawn, costs=costs_of(drawn))
        rows.costs = rows.costs + first.costs
    after = [name for name in tools if name in AFTER]
    if after:
        read = [[text] for text in first.texts]
        for row, text in enumerate(first.texts):
            rows.context[row].append(text)
        for name in after:
            rows.call(name, read)
            read = [[*words, text] for words, text in zip(read, rows.said[-1].texts, strict=True)]
        drawn = onto(asked, rows.answer("last"), rows.problem, rows.draw)
    answers = asked.answers(drawn)
    leaks = np.zeros(len(drawn))
    for said in rows.said:
        leaks += same_answer(asked, onto(asked, said, rows.problem, rows.draw), answers)
    return Elicitation(completions=drawn, costs=rows.costs, facts={"leaks": leaks})


def vote(asked: Asked, config: ToolsConfig, prepared: Prepared) -> Elicitation:
    """A majority over as many answers as cost the same."""
    size = int(prepared["samples"][0])
    many = asked.many(size)
    drawn = many.policy.draw(many.problems.problems, many.draws, many.streams, many.limits)
    answers = asked.answers(drawn)
    votes = [majority(answers[start : start + size])[0] for start in range(0, len(drawn), size)]
    return taken(asked, drawn, np.array(votes, dtype=np.int64), costs_of(drawn).grouped(size))


def for_vote(asked: Asked, config: ToolsConfig) -> Prepared:
    """How many plain answers cost the tokens of one with tools, on development problems."""
    if asked.development is None:
        raise UsageError("an equal number of tokens needs development problems", fix="--development FILE")
    streams = asked.streams.child("elicit", "tools")
    trial = replace(asked, problems=asked.development, draws=range(1), streams=streams)
    with_tools = answer(trial, config, {}).costs.generated.mean()
    drawn = trial.policy.draw(trial.problems.problems, trial.draws, trial.streams, trial.limits)
    return {"samples": np.array([samples_of(with_tools, drawn.lengths.astype(np.float64).mean())])}


def samples_of(tokens: float, plain: float) -> int:
    """As many plain answers as have at least so many tokens on average: the control is not given less."""
    return max(1, int(np.ceil(tokens / max(plain, 1.0) - 1e-9)))


NONE = ToolsConfig(calls=0)

METHOD = ElicitationMethod(
    name="tools",
    summary="the policy asks itself to understand, recall, examine and backtrack, each in a call of its own",
    source="Ebouky, Bartezzaghi and Rigotti 2025, arXiv 2506.12115",
    cost="two answers and four calls",
    control=("tools-inlined", "tools-neutral", "tools-vote"),
    config=ToolsConfig(),
    neutral=NONE,
    answer=answer,
)
INLINED = replace(
    METHOD,
    name="tools-inlined",
    summary="the requests of cognitive tools in one growing context",
    source="ours",
    control=("tools", "tools-vote"),
    controls=True,
    answer=inlined,
)
NEUTRAL = replace(
    METHOD,
    name="tools-neutral",
    summary="cognitive tools whose words are replaced by as many filler words",
    source="ours",
    control=("tools",),
    controls=True,
    config=NeutralConfig(),
    neutral=NeutralConfig(calls=0),
    answer=neutral,
)
VOTE = replace(
    METHOD,
    name="tools-vote",
    summary="a majority over as many answers as cost the tokens of one with cognitive tools",
    source="ours",
    cost="about six answers",
    control=("tools", "plain"),
    controls=True,
    needs=frozenset({"development"}),
    prepare=for_vote,
    answer=vote,
)
