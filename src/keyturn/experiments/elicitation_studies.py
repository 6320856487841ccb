"""Studies of claims about elicitation, all read off one table: methods by worlds by bases.

Each study asks only for the rows that it needs, and rows are stages, so studies that share a run folder share
their work (``keyturn claim run ID --out runs/elicitation``). Bases are the replicates: a number is one value
per base, with Student's interval; with three bases it is a lead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Json
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.mode_worlds import ABSENT, PRESENT
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
OTHER = ABSENT[0]
OPENER, FIRST, RANDOM = "forced opener", "steering mean, first step", "steering random, first step"
KEPT = "steering mean, first step kept"
LEAKS = ("best of n, verifier",)
"""Rows that ask a verifier about the very problems that they answer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """The cells of a run, by world, row and base.

    Args:
        lines: of the record.
        cells: in any order.
        bases: how many.
    """

    lines: tuple[Mapping[str, Json], ...]
    cells: tuple[Cell, ...]
    bases: int

    @cached_property
    def _by_name(self) -> dict[tuple[str, str, int], Cell]:
        return {(cell.world, cell.row, cell.base): cell for cell in self.cells}

    def success(self, world: str, row: str) -> NDArray[np.float64]:
        """Mean success over problems, ``[base]``; NaN where the method could not work."""
        cells = [self._by_name[world, row, base] for base in range(self.bases)]
        return np.array([cell.success.mean() if len(cell.success) else np.nan for cell in cells])

    def gain(self, world: str, row: str) -> NDArray[np.float64]:
        """Success minus that of plain draws, ``[base]``."""
        return self.success(world, row) - self.success(world, "plain")

    def worked(self, world: str, row: str) -> NDArray[np.float64]:
        """Share of worked answers, ``[base]``."""
        return np.array([self._by_name[world, row, base].worked for base in range(self.bases)])

    def claiming(self, world: str) -> tuple[str, ...]:
        """Rows that claim something and ask no verifier."""
        own = [c for c in self.cells if c.world == world and c.base == 0 and not c.control]
        return tuple(cell.row for cell in own if cell.row not in LEAKS)


Numbers = Callable[[Table], Mapping[str, Contrast]]


def difference(name: str, found: NDArray[np.float64]) -> Contrast:
    """A difference of shares, one value per base."""
    return over_seeds(name, found, (-1.0, 1.0))


def share(name: str, found: NDArray[np.float64]) -> Contrast:
    """A share, one value per base; it is compared with nothing."""
    return replace(over_seeds(name, found, (0.0, 1.0)), level=True)


def config_for(subject: Subject, worlds: Sequence[str], rows: Sequence[str]) -> PresentConfig:
    """The experiment's settings of a profile, with some of its worlds and rows; empty: all of the profile's."""
    config: PresentConfig = EXPERIMENT.profiles["study" if subject.profile == "long" else "demo"]
    chosen = tuple(dict.fromkeys(("plain", *rows))) if rows else ()
    return replace(config, worlds=tuple(worlds) or config.worlds, methods=chosen)


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
    config = config_for(subject, worlds, rows)
    lines, cells = all_rows(lab, config)
    if lab.share is not None:
        raise ShareDone
    table = Table(lines=lines, cells=cells, bases=config.bases)
    return outcome_from(lab, config, table, numbers(table))


def outcome_from(lab: Lab, config: PresentConfig, table: Table, found: Mapping[str, Contrast]) -> Outcome:
    """The outcome of a study whose replicates are bases."""
    task = task_of(lab, config, config.worlds[0], 0)
    longer = [f"{steps:,} at {name!r}" for name, steps in config.steps_at.items() if name in config.worlds]
    return Outcome(
        numbers={name: one.estimate for name, one in found.items()},
        base=task.base.fingerprint,
        base_name=config.worlds[0],
        run=str(lab.root),
        n=len(task.test.problems),
        rows=table.lines,
        contrasts=tuple({"key": name, **one.to_json()} for name, one in found.items()),
        setting=(
            f"MODES, {config.bases} bases in each of {len(config.worlds)} worlds "
            f"({config.steps:,} steps of {config.batch_rows} texts{''.join(f', {one}' for one in longer)}); "
            f"{config.draws} answer(s) to each of the same problems of two and three steps; methods that take "
            f"several draws take {config.samples}; RL of {config.rl.steps} steps of {config.rl.prompts} x "
            f"{config.rl.draws} draws and SFT of {config.fit.steps} steps of {config.fit.batch_rows} solutions "
            "as references"
        ),
    )


def skill_numbers(table: Table) -> Mapping[str, Contrast]:
    """Of the claim that elicitation needs the skill; every row is in the record beside them."""
    return {
        "effect": difference(
            f"{OPENER}: gain at 5 % - gain in the other-domain twin",
            table.gain(RARE, OPENER) - table.gain(OTHER, OPENER),
        ),
        "something to gain": difference("SFT - plain at 5 %", table.gain(RARE, "SFT")),
        "the mode is rare": share("worked answers of plain draws at 5 %", table.worked(RARE, "plain")),
        "RL gains nothing in the twin": difference("RL - plain, other domain", table.gain(OTHER, "RL")),
        "a random vector gives nothing": difference(f"{RANDOM} at 5 %", table.gain(RARE, RANDOM)),
        **{
            f"{OPENER}, {dose}": difference(f"{OPENER} - plain, {dose}", table.gain(dose, OPENER))
            for dose in DOSES
        },
        "SFT, absent": difference("SFT - plain, other domain", table.gain(OTHER, "SFT")),
    }


def vector_numbers(table: Table) -> Mapping[str, Contrast]:
    """Of the claim that a random direction does as well as the vector's own."""
    own, other = table.success(RARE, FIRST), table.success(RARE, RANDOM)
    return {
        "effect": difference("vector - random direction, at 5 %", own - other),
        "the vector works": difference("vector - plain, at 5 %", table.gain(RARE, FIRST)),
        "random direction": difference("random direction - plain, at 5 %", table.gain(RARE, RANDOM)),
        "against the opener": difference("vector - forced opener, at 5 %", own - table.success(RARE, OPENER)),
        "kept in the cache": difference("vector kept - plain, at 5 %", table.gain(RARE, KEPT)),
        "absent": difference("vector - plain, other domain", table.gain(OTHER, FIRST)),
    }


def sharpening_numbers(table: Table) -> Mapping[str, Contrast]:
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


def first_token_numbers(table: Table) -> Mapping[str, Contrast]:
    """Of the claim that methods do no more than the first token does."""
    rows = [row for row in table.claiming(RARE) if row != OPENER]
    best = np.nanmax([table.success(RARE, row) for row in rows], axis=0)
    return {
        "effect": difference(
            f"best of {len(rows)} other methods - forced opener, at 5 %", best - table.success(RARE, OPENER)
        ),
        "the opener works": difference("forced opener - plain, at 5 %", table.gain(RARE, OPENER)),
        "SFT beyond the opener": difference(
            "SFT - forced opener, at 5 %", table.success(RARE, "SFT") - table.success(RARE, OPENER)
        ),
    }


def search_numbers(table: Table) -> Mapping[str, Contrast]:
    """Of the claim that a search over prompts adds no knowledge."""
    return {
        "effect": difference("best opener - plain, other domain", table.gain(OTHER, OPENER)),
        "the search finds what is there": difference("best opener - plain, at 5 %", table.gain(RARE, OPENER)),
        "there is room": difference("SFT - plain, other domain", table.gain(OTHER, "SFT")),
    }


def compute_numbers(table: Table) -> Mapping[str, Contrast]:
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
    """Every row in every world of the profile."""
    return study_of(lab, subject, numbers=skill_numbers)


def directions(lab: Lab, subject: Subject) -> Outcome:
    """A vector and a random direction at the first step."""
    rows = (FIRST, KEPT, RANDOM, OPENER)
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
