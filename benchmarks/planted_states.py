"""How often a fact's state is false, where the truth is planted: simulated records of a made claim.

    python benchmarks/planted_states.py

A record is made as a study makes one: over seeds of training, each with its own deviation, two arms are
drawn, and the mean difference gets Student's interval. The fact asks for at least BOUND. A state is false
if it is *holds* and the truth lies below the bound, or *fails* and the truth reaches it; the truth is the
mean over bases, or that of the one base where all bases are equal. The hardest truths lie at the bound
itself: just below it every *holds* is false, on it every *fails*.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from keyturn.atlas.collection.objects import Place, Reading
from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.atlas.evidence import Evidence
from keyturn.atlas.known import Known
from keyturn.atlas.readings import reading_state
from keyturn.atlas.states import fact_state
from keyturn.core.measurement import Estimate
from keyturn.core.statistics.proportions import wilson
from keyturn.core.streams import Streams
from keyturn.experiments.contract import Outcome

RESULTS = Path(__file__).parents[1] / "docs" / "results"
BOUND = 0.05
RECORDS = 2000
ROOT = 20_261_201
RATE = 0.4
"""Success of the arm that is compared with."""
DRAWS = 1024
"""Draws of an arm, of one seed."""
SEED_SPREAD = 0.02
"""Standard deviation of success from seed to seed of training, of each arm."""


def study(lab: object, subject: object) -> Outcome:
    """Never run: its records are made here."""
    return Outcome(numbers={}, base="", base_name="", run="", n=0)


CLAIM = Claim(
    id="planted",
    version=1,
    question="?",
    statement="?",
    source="none; ours",
    threshold=Threshold(estimand="effect", says="a difference", direction=1, smallest=BOUND, why="made"),
    controls=(Gate(name="placebo", says="a placebo does nothing", maximum=BOUND),),
    study=study,
    study_says="simulated",
    refuted_if="",
)
READING = Reading(
    fact="planted/1",
    claim="planted",
    number="effect",
    counts=">=",
    bound=BOUND,
    how="tests",
    where="in a made world",
    says="it is so",
    otherwise="it is not so",
    place=Place(file="planted", line=1),
)


@dataclass(frozen=True, kw_only=True)
class Design:
    """What a fact's evidence consists of.

    Args:
        name: for the page.
        seeds: seeds of training behind a record.
        bases: records, each of another base.
        between: standard deviation of the effect between bases.
    """

    name: str
    seeds: int
    bases: int
    between: float = 0.0


DESIGNS = (
    Design(name="one base, three seeds", seeds=3, bases=1),
    Design(name="one base, eight seeds", seeds=8, bases=1),
    Design(name="three equal bases, three seeds each", seeds=3, bases=3),
    Design(name="three bases that differ (sd .05), three seeds each", seeds=3, bases=3, between=0.05),
    Design(name="one base of many that differ (sd .05), three seeds", seeds=3, bases=1, between=0.05),
)


def spread() -> float:
    """Standard deviation of one seed's difference of two arms."""
    return math.sqrt(2 * (SEED_SPREAD**2 + RATE * (1 - RATE) / DRAWS))


def visible(design: Design) -> float:
    """The smallest effect that a record shows with power .8, by the rule of the studies."""
    reach = float(stats.t.ppf(0.975, design.seeds - 1) + stats.t.ppf(0.8, design.seeds - 1))
    return reach * spread() / math.sqrt(design.seeds)


def truths(design: Design) -> dict[str, float]:
    """Name of a planted truth -> effect."""
    far = 2 * visible(design)
    return {
        "no effect": 0.0,
        "just below the bound": BOUND - 1e-6,
        "on the bound": BOUND,
        "far below": BOUND - far,
        "far above": BOUND + far,
    }


def difference(generator: np.random.Generator, effect: float, seeds: int) -> Estimate:
    """Mean over seeds of the difference of two arms, with Student's interval."""
    rates = np.array([[RATE], [RATE + effect]]) + generator.normal(0, SEED_SPREAD, (2, seeds))
    drawn = generator.binomial(DRAWS, np.clip(rates, 0, 1)) / DRAWS
    found = drawn[1] - drawn[0]
    half = float(stats.t.ppf(0.975, seeds - 1)) * float(found.std(ddof=1)) / math.sqrt(seeds)
    mean = float(found.mean())
    return Estimate(mean, mean - half, mean + half)


def record(generator: np.random.Generator, effect: float, design: Design, base: int) -> Evidence:
    """One record of one base."""
    own = effect + float(generator.normal(0, design.between)) if design.between else effect
    placebo = Estimate(0.0, -0.01, 0.01)
    return Evidence(
        claim=CLAIM.id,
        version=1,
        claim_hash=HASH,
        base=f"base {base}",
        base_name=f"base {base}",
        seed=base,
        numbers={"effect": difference(generator, own, design.seeds), "placebo": placebo},
        n=DRAWS,
        run="planted",
        environment={},
        made="2026-01-01",
    )


HASH = CLAIM.hash


def states(generator: np.random.Generator, effect: float, design: Design, count: int) -> Counter[str]:
    """States of ``count`` facts, each with evidence of its own."""
    found: Counter[str] = Counter()
    for _ in range(count):
        records = [record(generator, effect, design, base) for base in range(design.bases)]
        state = reading_state(READING, CLAIM, Known(records={CLAIM.id: records}))
        found[fact_state([state])] += 1
    return found


def measure(count: int) -> dict:
    """Every design under every truth."""
    rows = []
    for design in DESIGNS:
        for name, effect in truths(design).items():
            generator = Streams(ROOT).generator("planted states", design.name, name)
            found = states(generator, effect, design, count)
            false = found["holds"] if effect < BOUND else found["fails"]
            right = found["fails"] if effect < BOUND else found["holds"]
            rows.append(
                {
                    "design": design.name,
                    "truth": name,
                    "effect": effect,
                    "records": count,
                    "false": false,
                    "right": right,
                    "states": dict(sorted(found.items())),
                }
            )
    return {"schema": 1, "root": ROOT, "bound": BOUND, "records": count, "rows": rows}


def page(state: dict) -> str:
    """The page."""
    lines = [
        "# How often a fact's state is false",
        "",
        f"{state['records']:,} simulated facts a row, with 95 % intervals. The fact asks for an effect of at",
        f"least {state['bound']:g}. A state is false if it is *holds* and the truth lies below that, or",
        "*fails* and the truth reaches it. `python benchmarks/planted_states.py` makes this page.",
        "",
        "| evidence | truth | effect | false | right | undecided |",
        "|---|---|---|---|---|---|",
    ]
    for row in state["rows"]:
        n = row["records"]
        undecided = n - row["false"] - row["right"]
        cells = " | ".join(_share(row[key], n) for key in ("false", "right"))
        lines.append(
            f"| {row['design']} | {row['truth']} | {row['effect']:.3f} | {cells} | {undecided / n:.3f} |"
        )
    return "\n".join([*lines, "", *_READ, ""])


_READ = (
    "Far is twice the smallest effect that one such record shows with power .8, by the rule of the studies. A",
    "record of one base speaks of that base. The last design asks it about many bases that differ: it is then",
    "false far more often than one time in twenty, which is why a settled state of one base is called a lead.",
)


def _share(hits: int, n: int) -> str:
    low, high = (float(end) for end in wilson(hits, n))
    return f"{hits / n:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--records", type=int, default=RECORDS, help="simulated facts a row")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "planted_states.json"
    state = measure(options.records)
    path.write_text(json.dumps(state, indent=1) + "\n")
    path.with_suffix(".md").write_text(page(state))
    print(path.with_suffix(".md"))


if __name__ == "__main__":
    main()
