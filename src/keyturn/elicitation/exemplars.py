"""Few-shot chain of thought: solved problems stand before the question. And the same with their steps
destroyed.

The control keeps everything but the reasoning: questions, number of words, form and final answers stay, and the
steps of each solution are those of another exemplar (``swapped``) or its own words in random order
(``shuffled``). What both bring alike is no effect of valid steps.

Where a solution has several lines its last one states the answer; else its last mention of the answer, with the
word before it, does.

Source: Wei et al. 2022 (2201.11903); invalid steps: Schaeffer et al. 2023 (2307.10573).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Exemplar, Prepared
from keyturn.elicitation.drafts import costs_of
from keyturn.elicitation.format_prompt import last_of_user


@dataclass(frozen=True, kw_only=True)
class FewShotConfig:
    """Settings of few-shot chain of thought."""

    shots: int = 4
    """Solved problems before the question; as many as there are where there are fewer."""
    question: str = "Question: "
    """Stands before every question (not in a controlled world, which has words of its own)."""
    solution: str = "\nAnswer: "
    """Stands before every solution."""
    between: str = "\n\n"
    """Stands behind every solution."""


@dataclass(frozen=True, kw_only=True)
class CorruptConfig:
    """Settings of exemplars without valid steps."""

    few_shot: FewShotConfig = FewShotConfig()
    """Settings that both have in common."""
    steps: Literal["swapped", "shuffled"] = "swapped"
    """The steps of another exemplar, or the own ones with their words in random order."""


def answer(asked: Asked, config: FewShotConfig, prepared: Prepared) -> Elicitation:
    """Ask behind solved problems."""
    return _asked_behind(asked, config, asked.exemplars[: config.shots])


def corrupted(asked: Asked, config: CorruptConfig, prepared: Prepared) -> Elicitation:
    """Ask behind problems whose solutions have lost their steps."""
    shots = asked.exemplars[: config.few_shot.shots]
    if len(shots) == 1 and config.steps == "swapped":
        raise UsageError("one exemplar has no other one's steps to take", fix="--few-shot.shots 2, or more")
    return _asked_behind(asked, config.few_shot, corrupt(shots, config.steps, asked.streams.child("exemplars")))


def _asked_behind(asked: Asked, config: FewShotConfig, shots: tuple[Exemplar, ...]) -> Elicitation:
    if config.shots < 0:
        raise UsageError(f"--shots is {config.shots}", fix="0 or more")
    problems = asked.problems.problems
    given = behind(problems, shots, config, in_words=asked.in_words) if shots else problems
    drawn = asked.policy.draw(given, asked.draws, asked.streams, asked.limits)
    return Elicitation(completions=drawn, costs=costs_of(drawn))


def behind(
    problems: tuple[Problem, ...], shots: tuple[Exemplar, ...], config: FewShotConfig, *, in_words: bool
) -> tuple[Problem, ...]:
    """Problems whose prompts begin with solved ones.

    Args:
        problems: what is asked.
        shots: the solved ones.
        config: the words between them.
        in_words: prompts are text for people; else a world's words stand behind each other.
    """
    question, solution, between = (
        (config.question, config.solution, config.between) if in_words else ("", " ", " ")
    )
    before = "".join(
        f"{question}{one.problem.prompt}{solution}{one.solution.strip()}{between}" for one in shots
    )

    def whole(text: str) -> str:
        return f"{before}{question}{text}{solution.rstrip()}" if in_words else f"{before}{text}"

    return tuple(replace(p, prompt=whole(p.prompt), messages=last_of_user(p.messages, whole)) for p in problems)


def corrupt(shots: tuple[Exemplar, ...], steps: str, streams: Streams) -> tuple[Exemplar, ...]:
    """Exemplars that keep question, form and final answer, and lose their steps."""
    parts = [parted(one.solution, one.problem.answer) for one in shots]
    works = [work for work, _ in parts]
    if steps == "swapped":
        works = works[1:] + works[:1]
    else:
        works = [_shuffled(work, streams, one.problem.id) for work, one in zip(works, shots, strict=True)]
    return tuple(
        replace(one, solution=_joined(work, end))
        for one, work, (_, end) in zip(shots, works, parts, strict=True)
    )


def parted(solution: str, answer: str) -> tuple[str, str]:
    """A solution as its steps and the statement of its answer."""
    text = solution.strip()
    if "\n" in text:
        work, end = text.rsplit("\n", 1)
        return work, f"\n{end}"
    words = text.split(" ")
    wanted = answer.split()
    places = [i for i in range(len(words)) if wanted and words[i : i + len(wanted)] == wanted]
    place = max(places[-1] - 1, 0) if places else len(words) - 1
    return " ".join(words[:place]), " ".join(words[place:])


def _joined(work: str, end: str) -> str:
    return f"{work}{end}" if end.startswith("\n") else f"{work} {end}".strip()


def _shuffled(work: str, streams: Streams, name: str) -> str:
    words = work.split(" ")
    order = streams.generator(name).permutation(len(words))
    mixed = [words[i] for i in order]
    # By chance the order may be the old one, above all of two words.
    return " ".join(mixed[1:] + mixed[:1] if mixed == words else mixed)


def used(asked: Asked, config: FewShotConfig) -> int:
    """Problems whose worked solutions are shown."""
    return min(max(config.shots, 0), len(asked.exemplars))


def used_corrupted(asked: Asked, config: CorruptConfig) -> int:
    """Problems whose final answers are shown."""
    return used(asked, config.few_shot)


FEW_SHOT = ElicitationMethod(
    name="few-shot",
    summary="solved problems stand before the question",
    source="Wei et al. 2022, arXiv 2201.11903",
    cost="one answer behind a longer prompt; the solutions of 4 problems",
    control=("few-shot-corrupted", "zero-shot"),
    needs=frozenset({"exemplars"}),
    config=FewShotConfig(),
    neutral=FewShotConfig(shots=0),
    examples=used,
    answer=answer,
)

CORRUPTED = ElicitationMethod(
    name="few-shot-corrupted",
    summary="few-shot whose exemplars keep question, form and answer, and have no valid steps",
    source="Schaeffer et al. 2023, arXiv 2307.10573",
    cost="one answer behind a longer prompt; the answers of 4 problems",
    control=("few-shot",),
    controls=True,
    needs=frozenset({"exemplars"}),
    config=CorruptConfig(),
    neutral=CorruptConfig(few_shot=FewShotConfig(shots=0)),
    examples=used_corrupted,
    answer=corrupted,
)
