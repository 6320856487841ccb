"""Made draws for tests of copies: policies from flat to collapsed, and the ways in which copies come about."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keyturn.core.streams import Streams

POLICIES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "flat": lambda rng: np.full(1000, 1e-3),
    "zipf": lambda rng: _normed(1 / np.arange(1, 300) ** 1.2),
    "thirty answers": lambda rng: rng.dirichlet(np.full(30, 0.3)),
    "four letters": lambda rng: rng.dirichlet(np.full(4, 0.5)),
    "two equal": lambda rng: np.array([0.5, 0.5]),
    "peaked": lambda rng: _peaked(rng, rng.beta(20, 1)),
    "after RL": lambda rng: _peaked(rng, rng.beta(200, 1)),
}


def generator(name: str) -> np.random.Generator:
    return Streams(8).generator("copies", name)


class Texts:
    """Draws of one policy over some problems, as a table with one row a completion."""

    def __init__(self, rng: np.random.Generator, policy: str, problems: int) -> None:
        self.rng = rng
        self.chances = [POLICIES[policy](rng) for _ in range(problems)]

    def draw(self, problem: int, n: int) -> list[int]:
        chances = self.chances[problem]
        return self.rng.choice(len(chances), n, p=chances).tolist()

    def table(self, plan: Callable[[int], list[int]]) -> tuple[np.ndarray, list[str]]:
        rows = [(index, text) for index in range(len(self.chances)) for text in plan(index)]
        return np.array([index for index, _ in rows]), [f"problem {i}: text {t}" for i, t in rows]


def independent(texts: Texts, n: int, *, uneven: bool = False) -> tuple[np.ndarray, list[str]]:
    return texts.table(lambda i: texts.draw(i, int(texts.rng.integers(1, n + 1)) if uneven else n))


def two_stages(texts: Texts, first: int) -> tuple[np.ndarray, list[str]]:
    """More draws where the first text of the list came seldom: how the audit draws a base."""

    def plan(index: int) -> list[int]:
        drawn = texts.draw(index, first)
        return drawn if drawn.count(0) >= first // 4 else drawn + texts.draw(index, 2 * first)

    return texts.table(plan)


def one_seed(texts: Texts, n: int, workers: int, order: str) -> tuple[np.ndarray, list[str]]:
    """Every worker draws the same; the workers' draws come in blocks, in turn, or in any order."""

    def plan(index: int) -> list[int]:
        drawn = texts.draw(index, n // workers)
        if order == "in turn":
            return [text for text in drawn for _ in range(workers)]
        every = drawn * workers
        if order == "shuffled":
            texts.rng.shuffle(every)
        return every

    return texts.table(plan)


def appended(texts: Texts, n: int, share: float = 0.5) -> tuple[np.ndarray, list[str]]:
    """A job began anew and was stopped again after a share of the problems."""
    until = int(share * len(texts.chances))
    return texts.table(lambda i: (drawn := texts.draw(i, n)) + (drawn if i < until else []))


def resumed_behind(texts: Texts, n: int) -> tuple[np.ndarray, list[str]]:
    """Half of the draws were written; the job went on from a state saved after a quarter."""

    def plan(index: int) -> list[int]:
        drawn = texts.draw(index, n)
        return drawn[: n // 2] + drawn[n // 4 :]

    return texts.table(plan)


def greedy(texts: Texts, n: int) -> tuple[np.ndarray, list[str]]:
    return texts.table(lambda i: texts.draw(i, 1) * n)


def _normed(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum()


def _peaked(rng: np.random.Generator, mode: float) -> np.ndarray:
    return np.r_[mode, (1 - mode) * rng.dirichlet(np.ones(5))]
