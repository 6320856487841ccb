"""Exactly verified tasks for small pretrained models: sums by depth, and word problems of our own.

Sums of three one-digit numbers are asked in training; sums of four and five are held out and never trained on.
Word problems tell a sum or a difference of three one-digit numbers in a story. Every problem has a worked
solution in GSM8K's form, from which the examples of the prompt and the demonstrations of SFT are taken.

Why in words: behind ``What is 3+4+2?`` the base copies the whole sum before its guess and is right once in 50
draws, and a base that never succeeds leaves an audit nothing to decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keyturn.core.problem import Problem
from keyturn.core.streams import Streams

NAMES = ("Ana", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana", "Ivo", "June", "Kai", "Lena")
STORY, SUM = "story", "sum"
THINGS = ("apples", "books", "coins", "cards", "eggs", "keys", "pens", "shells", "stamps", "stones")


def sum_of(numbers: Sequence[int]) -> Problem:
    """``Add 3, 4 and 2.`` with its running sum as the solution."""
    question = f"Add {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}."
    return _problem(question, list(numbers), SUM)


def story_of(name: str, thing: str, numbers: Sequence[int], gives: bool) -> Problem:
    """A person has some things, gets more, and gets more again or gives some away."""
    first, second, third = numbers
    last = f"gives away {third}" if gives else f"buys {third} more"
    question = f"{name} has {first} {thing}, finds {second} more and {last}. How many {thing} are left?"
    return _problem(question, [first, second, -third if gives else third], STORY)


def _problem(question: str, terms: list[int], domain: str) -> Problem:
    total, steps = terms[0], []
    for term in terms[1:]:
        sign = "plus" if term >= 0 else "minus"
        steps.append(f"{total} {sign} {abs(term)} is {total + term}.")
        total += term
    return Problem(
        id=question,
        prompt=question,
        answer=str(total),
        cell={"domain": domain, "depth": len(terms)},
        facts={"solution": f"{' '.join(steps)} #### {total}", "layout": "gsm8k"},
    )


def sums(depth: int, count: int, streams: Streams) -> list[Problem]:
    """Different sums of ``depth`` one-digit numbers, without those that prompts show."""
    rng = streams.generator("sums", depth)
    return _different(count, lambda: sum_of(rng.integers(1, 10, depth).tolist()))


def stories(count: int, streams: Streams) -> list[Problem]:
    """Different word problems; nobody gives away more than there is."""
    rng = streams.generator("stories")

    def one() -> Problem:
        first, second, third = rng.integers(2, 10, 3).tolist()
        name, thing = NAMES[int(rng.integers(len(NAMES)))], THINGS[int(rng.integers(len(THINGS)))]
        return story_of(name, thing, (first, second, third), bool(rng.integers(2)) and third < first + second)

    return _different(count, one)


def _different(count: int, make: Callable[[], Problem]) -> list[Problem]:
    shown = {example.id for example in (*EXAMPLES, *STORIES)}
    found: dict[str, Problem] = {}
    while len(found) < count:
        problem = make()
        if problem.id not in shown:
            found.setdefault(problem.id, problem)
    return list(found.values())


EXAMPLES = (sum_of((3, 4, 2)), sum_of((5, 1, 7)), sum_of((8, 6, 3)), sum_of((2, 9, 6)))
"""The worked examples of every prompt of sums. They are never asked."""

STORIES = (
    story_of("Mia", "plums", (4, 3, 2), True),
    story_of("Tom", "caps", (6, 2, 5), False),
    story_of("Ada", "bells", (3, 8, 4), True),
    story_of("Sam", "cups", (7, 1, 6), False),
)
"""The worked examples of word problems; their names and things occur in no problem."""
