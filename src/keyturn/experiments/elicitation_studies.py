"""Studies of claims about elicitation, all read off one table: methods by worlds by bases.

Each study asks only for the rows that it needs, and rows are stages, so studies that share a run folder share
their work (``keyturn claim run ID --out runs/elicitation``). Bases are the replicates: a number is one value
per base, with Student's interval; with fewer than eight bases it is a lead. Where all bases agree exactly, as
two methods do that write the same words, the interval is over problems: of each problem's mean over bases.

Version 2 asks five new bases in each world that decides and three in the others; why five bases, and four
random directions: ``benchmarks/present_and_absent_power.py``, run before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Json
from keyturn.core.statistics.bootstrap import bootstrap_mean
from keyturn.core.statistics.proportions import jeffreys
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.mode_worlds import ABSENT, PRESENT, RANDOM_FIRST
from keyturn.experiments.plan import Contrast, ShareDone, over_seeds
from keyturn.experiments.present_and_absent import (
    EXPERIMENT,
    Cell,
    PresentConfig,
    all_rows,
    task_of,
)
from keyturn.lab.lab import Lab

DOSES = tuple(PRESENT)
RARE, COMMON = "present 5 %", "present 20 %"
OTHER, CONTEXT, SCRAMBLED = ABSENT
OPENER, FIRST = "forced opener", "steering mean, first step"
KEPT = "steering mean, first step kept"
DECIDING = (RARE, OTHER, SCRAMBLED)
"""Worlds of the short profile that decide, with all rows."""
ORDER = (*DECIDING, COMMON, DOSES[0], CONTEXT)
"""Worlds of the short profile."""
NEW = (3, 4, 5, 6, 7)
"""Seeds of the bases that decide; 0 to 2 were seen by version 1."""
FEW = NEW[:3]
"""Seeds of the bases in worlds that only show a dose or a further twin."""
DOSED = (
    "plain",
    "trigger",
    OPENER,
    "budget, more",
    "temperature 1/4",
    "greedy",
    "self-consistency",
    "self-consistency, 64 draws",
    "best of n, verifier",
    "CoT-decoding",
    "CoT-decoding, sum",
    "CoT-decoding, majority",
    "power sampling",
    "Power-SMC",
    FIRST,
    KEPT,
    RANDOM_FIRST[0],
    "penalty on answering",
)
"""Rows there: those of the claims and of the picture, and what gained at 5 % in version 1."""
LEAKS = ("best of n, verifier",)
"""Rows that ask a verifier about the very problems that they answer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """The cells of a run, by world, row and base.

    Args:
        lines: of the record.
        cells: in any order.
    """

    lines: tuple[Mapping[str, Json], ...]
    cells: tuple[Cell, ...]

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], list[Cell]]:
        out: dict[tuple[str, str], list[Cell]] = {}
        for cell in sorted(self.cells, key=lambda cell: cell.base):
            out.setdefault((cell.world, cell.row), []).append(cell)
        return out

    @cached_property
    def worlds(self) -> frozenset[str]:
        """Those that were asked."""
        return frozenset(cell.world for cell in self.cells)

    def success(self, world: str, row: str) -> NDArray[np.float64]:
        """Mean success over problems, ``[base]``; NaN where the method could not work."""
        cells = self._by_name[world, row]
        return np.array([cell.success.mean() if len(cell.success) else np.nan for cell in cells])

    def problems(self, world: str, row: str) -> NDArray[np.float64]:
        """Success of every problem, ``[base, problem]``; the method worked with every base."""
        return np.array([cell.success for cell in self._by_name[world, row]])

    def gain(self, world: str, row: str) -> NDArray[np.float64]:
        """Success minus that of plain draws, ``[base]``."""
        return self.success(world, row) - self.success(world, "plain")

    def worked(self, world: str, row: str) -> NDArray[np.float64]:
        """Share of worked answers, ``[base]``."""
        return np.array([cell.worked for cell in self._by_name[world, row]])

    def random(self, world: str) -> NDArray[np.float64]:
        """Success under random directions at the first step, mean over directions, ``[base]``."""
        return np.mean([self.success(world, row) for row in RANDOM_FIRST], axis=0)

    def claiming(self, world: str) -> tuple[str, ...]:
        """Rows that claim something and ask no verifier."""
        own = [c for c in self.cells if c.world == world and not c.control and c.row not in LEAKS]
        return tuple(dict.fromkeys(cell.row for cell in own))


Numbers = Callable[[Table, Lab], Mapping[str, Contrast]]


def difference(name: str, found: NDArray[np.float64]) -> Contrast:
    """A difference of shares, one value per base."""
    return over_seeds(name, found, (-1.0, 1.0))


def of_problems(one: Contrast, found: NDArray[np.float64], lab: Lab) -> Contrast:
    """A number over bases; where all agree, its interval is over the problems of ``found [base, problem]``."""
    if not one.seeds or one.low < one.high:
        return one
    generator = lab.streams.generator("present", "problems")
    pooled = bootstrap_mean(found.mean(axis=0), generator, bounds=(-1.0, 1.0))
    return replace(one, low=pooled.low, high=pooled.high, basis="problems")


def share_of_problems(one: Contrast, problems: int) -> Contrast:
    """A share whose interval is over problems where all bases agree on it."""
    if not one.seeds or one.low < one.high:
        return one
    low, high = jeffreys(one.value, problems)
    return replace(one, low=low, high=high, basis="problems")


def share(name: str, found: NDArray[np.float64]) -> Contrast:
    """A share, one value per base; it is compared with nothing."""
    return replace(over_seeds(name, found, (0.0, 1.0)), level=True)


def config_for(subject: Subject, worlds: Sequence[str], rows: Sequence[str]) -> PresentConfig:
    """The experiment's settings of a profile, with some of its worlds and rows; empty: all of the profile's."""
    config: PresentConfig = EXPERIMENT.profiles["study" if subject.profile == "long" else "demo"]
    chosen = tuple(dict.fromkeys(("plain", *rows))) if rows else ()
    return replace(config, worlds=tuple(worlds) or config.worlds, methods=chosen)


def second(subject: Subject, worlds: Sequence[str], rows: Sequence[str]) -> PresentConfig:
    """Settings of version 2: new bases, and in the short profile fewer rows where only a dose is shown."""
    config = config_for(subject, worlds, rows)
    if subject.profile == "long":
        return replace(config, bases_at={name: tuple(range(3, 3 + config.bases)) for name in config.worlds})
    chosen = tuple(worlds) or ORDER
    seeds = {name: NEW if name in DECIDING else FEW for name in chosen}
    fewer = {} if rows else {name: DOSED for name in chosen if name not in DECIDING}
    return replace(config, worlds=chosen, bases_at=seeds, rows_at=fewer)


def study_of(
    lab: Lab, subject: Subject, *, numbers: Numbers, worlds: Sequence[str] = (), rows: Sequence[str] = ()
) -> Outcome:
    """Ask the bases of some worlds under some rows, and read off a claim's numbers.

    Args:
        lab: the run directory; if it has a share, only that share of the bases is worked on.
        subject: whose profile decides how many bases there are.
        numbers: of the table.
        worlds: names in ``WORLDS_ASKED``; all of the profile's by default.
        rows: of the battery; all by default.

    Raises:
        ShareDone: this process was given a share and has done it.
    """
    config = second(subject, worlds, rows)
    lines, cells = all_rows(lab, config)
    if lab.share is not None:
        raise ShareDone
    table = Table(lines=lines, cells=cells)
    return outcome_from(lab, config, table, numbers(table, lab))


def outcome_from(lab: Lab, config: PresentConfig, table: Table, found: Mapping[str, Contrast]) -> Outcome:
    """The outcome of a study whose replicates are bases."""
    first = config.worlds[0]
    task = task_of(lab, config, first, config.seeds(first)[0])
    counts = {name: len(config.seeds(name)) for name in config.worlds}
    several = len(set(counts.values())) > 1
    bases = ", ".join(f"{count} at {name!r}" for name, count in counts.items())
    longer = [f"{steps:,} at {name!r}" for name, steps in config.steps_at.items() if name in config.worlds]
    return Outcome(
        numbers={name: one.estimate for name, one in found.items()},
        base=task.base.fingerprint,
        base_name=config.worlds[0],
        run=str(lab.root),
        n=len(task.test.problems),
        rows=table.lines,
        contrasts=tuple({"key": name, **one.to_json()} for name, one in found.items()),
        over_problems=frozenset(name for name, one in found.items() if one.basis == "problems"),
        setting=(
            f"MODES, bases: {bases} "
            if several
            else f"MODES, {counts[first]} bases in each of {len(config.worlds)} worlds "
        )
        + (
            f"({config.steps:,} steps of {config.batch_rows} texts{''.join(f', {one}' for one in longer)}); "
            f"{config.draws} answer(s) to each of the same problems of two and three steps; methods that take "
            f"several draws take {config.samples}; RL of {config.rl.steps} steps of {config.rl.prompts} x "
            f"{config.rl.draws} draws and SFT of {config.fit.steps} steps of {config.fit.batch_rows} solutions "
            "as references"
        ),
    )


def skill_numbers(table: Table, lab: Lab) -> Mapping[str, Contrast]:
    """Of the claim that elicitation needs the skill; every row is in the record beside them."""
    own, size = table.gain(RARE, OPENER), table.problems(RARE, "plain").shape[1]
    rare = share("worked answers of plain draws at 5 %", table.worked(RARE, "plain"))

    def solved(world: str, row: str) -> NDArray[np.float64]:
        return table.problems(world, row) - table.problems(world, "plain")

    def gain(name: str, world: str, row: str) -> Contrast:
        return of_problems(difference(name, table.gain(world, row)), solved(world, row), lab)

    return {
        "effect": of_problems(
            difference(
                f"{OPENER}: gain at 5 % - gain in the other-domain twin", own - table.gain(OTHER, OPENER)
            ),
            solved(RARE, OPENER) - solved(OTHER, OPENER),
            lab,
        ),
        "something to gain": gain("SFT - plain at 5 %", RARE, "SFT"),
        "the mode is rare": share_of_problems(rare, size),
        "RL gains nothing in the twin": gain("RL - plain, other domain", OTHER, "RL"),
        "scrambled steps give nothing": gain(f"{OPENER} - plain, steps in random order", SCRAMBLED, OPENER),
        "random directions give nothing": difference(
            f"{len(RANDOM_FIRST)} random directions at the first step - plain, at 5 %",
            table.random(RARE) - table.success(RARE, "plain"),
        ),
        "effect, scrambled": difference(
            f"{OPENER}: gain at 5 % - gain with scrambled steps", own - table.gain(SCRAMBLED, OPENER)
        ),
        "RL, scrambled": difference("RL - plain, steps in random order", table.gain(SCRAMBLED, "RL")),
        **{
            f"{OPENER}, {world}": difference(f"{OPENER} - plain, {world}", table.gain(world, OPENER))
            for world in (*DOSES, CONTEXT)
            if world in table.worlds
        },
        "SFT, absent": difference("SFT - plain, other domain", table.gain(OTHER, "SFT")),
    }


def vector_numbers(table: Table, lab: Lab) -> Mapping[str, Contrast]:
    """Of the claim that a random direction does as well as the vector's own."""
    own, other, plain = table.success(RARE, FIRST), table.random(RARE), table.success(RARE, "plain")
    return {
        "effect": difference("vector - random directions, at 5 %", own - other),
        "the vector works": difference("vector - plain, at 5 %", table.gain(RARE, FIRST)),
        "random directions": difference("random directions - plain, at 5 %", other - plain),
        "against the opener": difference("vector - forced opener, at 5 %", own - table.success(RARE, OPENER)),
        "kept in the cache": difference("vector kept - plain, at 5 %", table.gain(RARE, KEPT)),
        "absent": difference("vector - plain, other domain", table.gain(OTHER, FIRST)),
    }


def sharpening_numbers(table: Table, lab: Lab) -> Mapping[str, Contrast]:
    """Of the claim that sharpened sampling does what RL does."""
    out = {
        "effect": difference(
            "power sampling - RL, at 20 %",
            table.success(COMMON, "power sampling") - table.success(COMMON, "RL"),
        ),
        "RL learns": difference("RL - plain, at 20 %", table.gain(COMMON, "RL")),
        "against low temperature": difference(
            "power sampling - temperature 1/4, at 20 %",
            table.success(COMMON, "power sampling") - table.success(COMMON, "temperature 1/4"),
        ),
    }
    for world in DOSES:
        for row in ("power sampling", "Power-SMC", "temperature 1/4", "RL"):
            out[f"{world}: {row}"] = difference(f"{row} - plain, {world}", table.gain(world, row))
    return out


def first_token_numbers(table: Table, lab: Lab) -> Mapping[str, Contrast]:
    """Of the claim that methods do no more than the first token does."""
    rows = [row for row in table.claiming(RARE) if row != OPENER]
    tried = np.array([table.success(RARE, row) for row in rows])
    best, opener = np.nanmax(tried, axis=0), table.success(RARE, OPENER)
    chosen = [table.problems(RARE, rows[row])[base] for base, row in enumerate(np.nanargmax(tried, axis=0))]
    effect = difference(f"best of {len(rows)} other methods - forced opener, at 5 %", best - opener)
    return {
        "effect": of_problems(effect, np.array(chosen) - table.problems(RARE, OPENER), lab),
        "the opener works": difference("forced opener - plain, at 5 %", table.gain(RARE, OPENER)),
        "SFT beyond the opener": difference(
            "SFT - forced opener, at 5 %", table.success(RARE, "SFT") - table.success(RARE, OPENER)
        ),
    }


def search_numbers(table: Table, lab: Lab) -> Mapping[str, Contrast]:
    """Of the claim that a search over prompts adds no knowledge."""
    return {
        "effect": difference("best opener - plain, other domain", table.gain(OTHER, OPENER)),
        "the search finds what is there": difference("best opener - plain, at 5 %", table.gain(RARE, OPENER)),
        "there is room": difference("SFT - plain, other domain", table.gain(OTHER, "SFT")),
    }


def compute_numbers(table: Table, lab: Lab) -> Mapping[str, Contrast]:
    """Of the claim that more draws do not close the gap."""
    vote, one = "self-consistency, 64 draws", "best of n, verifier"
    return {
        "effect": difference(
            "SFT - majority of 64, at 5 %", table.success(RARE, "SFT") - table.success(RARE, vote)
        ),
        "there is a gap": difference("SFT - plain, at 5 %", table.gain(RARE, "SFT")),
        "majority of 64": difference("majority of 64 - plain, at 5 %", table.gain(RARE, vote)),
        "majority of 64, at 20 %": difference("majority of 64 - plain, at 20 %", table.gain(COMMON, vote)),
        "gap left, at 20 %": difference(
            "SFT - majority of 64, at 20 %", table.success(COMMON, "SFT") - table.success(COMMON, vote)
        ),
        "with a verifier": difference("best of n by verifier - plain, at 5 %", table.gain(RARE, one)),
    }


def skill(lab: Lab, subject: Subject) -> Outcome:
    """Every row in every world of the profile that decides, and some in the others."""
    return study_of(lab, subject, numbers=skill_numbers)


def directions(lab: Lab, subject: Subject) -> Outcome:
    """A vector and a random direction at the first step."""
    rows = (FIRST, KEPT, *RANDOM_FIRST, OPENER)
    return study_of(lab, subject, numbers=vector_numbers, worlds=(RARE, OTHER), rows=rows)


def sharpening(lab: Lab, subject: Subject) -> Outcome:
    """Power sampling and RL over the doses."""
    rows = ("power sampling", "Power-SMC", "temperature 1/4")
    return study_of(lab, subject, numbers=sharpening_numbers, worlds=DOSES, rows=rows)


def first_token(lab: Lab, subject: Subject) -> Outcome:
    """Every row against the best opener."""
    return study_of(lab, subject, numbers=first_token_numbers, worlds=(RARE,))


def prompt_search(lab: Lab, subject: Subject) -> Outcome:
    """The search for an opener, where there is something to be found and where there is not."""
    return study_of(lab, subject, numbers=search_numbers, worlds=(RARE, OTHER), rows=(OPENER,))


def more_draws(lab: Lab, subject: Subject) -> Outcome:
    """A vote over 64 draws against a tuned model."""
    rows = ("self-consistency, 64 draws", "best of n, verifier")
    return study_of(lab, subject, numbers=compute_numbers, worlds=(RARE, COMMON), rows=rows)


MARKS: Mapping[str, str] = {
    "elicits": "gains where the mode is, and less than that gain in every twin",
    "teaches or leaks": "gains in a twin too, at least half of what it gains where the mode is",
    "elicits and more": "gains where the mode is, and something in a twin too",
    "undecided": "gains where the mode is; the intervals in the twins do not exclude the same",
    "nothing seen": "its interval where the mode is does not lie above 0",
    "harms": "its interval where the mode is lies below 0",
    "could not work": "no number: the method could not work with these bases",
}
"""Mark of a method -> what it means."""


def mark(present: Contrast, absent: Sequence[Contrast]) -> str:
    """One of :data:`MARKS`, from a method's gain where the mode is and in the twins that lack it."""
    if not present.seeds:
        return "could not work"
    if present.high < 0:
        return "harms"
    if not present.low > 0:
        return "nothing seen"
    known = [one for one in absent if one.seeds]
    above = [one.value for one in known if one.low > 0]
    if above:
        return "teaches or leaks" if max(above) >= present.value / 2 else "elicits and more"
    return "elicits" if all(one.high < present.value for one in known) else "undecided"
