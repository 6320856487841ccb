"""How often the audit's label is right, where the truth is known: simulated audits of mixture policies.

    python benchmarks/operating_characteristic.py            # all conditions, resumes where it stopped
    python benchmarks/operating_characteristic.py --audits 200 --out /tmp/oc

Each simulated audit draws problems with known base success p and tuned success q, draws the base in two
stages (32, then up to 256 where fewer than 8 succeeded) and the tuned policy 64 times, and judges the counts
exactly as an audit does (``judge_evidence``), with fewer bootstrap resamples (1,000 instead of 4,000). The
state is one JSON file, written aside and renamed after every batch; the Markdown page is made from it.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keyturn.core.statistics.proportions import wilson
from keyturn.core.streams import Streams
from keyturn.measures.deployed_created import judge_evidence
from keyturn.measures.draws import ENOUGH, FIRST_STAGE, Draws, plain_draws
from keyturn.measures.evidence import Evidence

SCHEMA = 1
ROOT = 20_260_801
K = 64
N = 4 * K
RESAMPLES = 1000
BATCH = 100
PROBLEMS = 96
"""Problems of an audit: four cells of 24, pooled."""
SIZES = (24, 48, 96, 144, 192)
SIZE_AUDITS = 400
LABELS = ("no change", "narrowed", "undecided", "mixed", "created", "deployed")

Generator = np.random.Generator
Array = np.ndarray


def thirds(generator: Generator, problems: int) -> tuple[Array, Array]:
    """A third of the problems easy for the base, a third at its edge, a third absent; (p, which third)."""
    third = np.arange(problems) % 3
    easy, edge = generator.uniform(0.3, 0.9, problems), generator.uniform(0.03, 0.3, problems)
    return np.select([third == 0, third == 1], [easy, edge], 0.0), third


def skewed(generator: Generator, problems: int) -> tuple[Array, Array]:
    """Beta(.15, .6): most problems hopeless, some sure, as on public benchmarks."""
    return generator.beta(0.15, 0.6, problems), np.zeros(problems, dtype=int)


def middling(generator: Generator, problems: int) -> tuple[Array, Array]:
    """Uniform p: most problems middling, where noise is largest and the base stops at 32 draws."""
    return generator.uniform(0, 1, problems), np.zeros(problems, dtype=int)


def drifted(generator: Generator, p: Array, third: Array) -> Array:
    """Every logit moves at random: nothing was learnt, single problems change."""
    inside = np.clip(p, 1e-12, 1 - 1e-12)
    logit = np.log(inside / (1 - inside)) + generator.normal(0, 0.4, len(p))
    return np.where(p > 0, 1 / (1 + np.exp(-logit)), 0.0)


def on_absent(mean: float, strength: float) -> Callable[[Generator, Array, Array], Array]:
    """Tuned success Beta with this mean on the absent third, the base's elsewhere."""

    def tuned(generator: Generator, p: Array, third: Array) -> Array:
        learnt = generator.beta(mean * strength, (1 - mean) * strength, len(p))
        return np.where(third == 2, learnt, p)

    return tuned


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One planted truth.

    Args:
        says: what happened, for the table.
        right: labels that are right; none where any is defensible.
        tuned: ``(generator, p, third) -> q``.
        base: ``(generator, problems) -> (p, third)``.
    """

    says: str
    right: tuple[str, ...]
    tuned: Callable[[Generator, Array, Array], Array]
    base: Callable[[Generator, int], tuple[Array, Array]] = thirds


CONDITIONS = {
    "replicate": Condition(says="base against itself", right=("no change",), tuned=lambda g, p, t: p),
    "replicate, skewed": Condition(
        says="base against itself, p ~ Beta(.15, .6)",
        right=("no change",),
        tuned=lambda g, p, t: p,
        base=skewed,
    ),
    "replicate, middling": Condition(
        says="base against itself, p ~ U(0, 1)", right=("no change",), tuned=lambda g, p, t: p, base=middling
    ),
    "creation": Condition(
        says="absent third learnt, q ~ .4; gain .13", right=("created",), tuned=on_absent(0.4, 5)
    ),
    "deployment": Condition(
        says="edge third sharpened, q = 1 - (1-p)^4; gain .11",
        right=("deployed",),
        tuned=lambda g, p, t: np.where(t == 1, 1 - (1 - p) ** 4, p),
    ),
    "half and half": Condition(
        says="absent third q ~ .25, edge third p + .25; gain .17",
        right=("mixed",),
        tuned=lambda g, p, t: np.where(t == 1, p + 0.25, on_absent(0.25, 8)(g, p, t)),
    ),
    "gain .05, created": Condition(says="absent third q ~ .15", right=("created",), tuned=on_absent(0.15, 10)),
    "gain .05, deployed": Condition(
        says="edge third p + .15", right=("deployed",), tuned=lambda g, p, t: np.where(t == 1, p + 0.15, p)
    ),
    "narrowing": Condition(
        says="half of the edge third lost; gain -.03",
        right=("narrowed",),
        tuned=lambda g, p, t: np.where((t == 1) & (g.random(len(p)) < 0.5), 0.0, p),
    ),
    "sharpened and narrowed": Condition(
        says="easy third p + .08, half of the edge third lost; gain 0",
        right=("narrowed",),
        tuned=lambda g, p, t: np.select(
            [t == 0, (t == 1) & (g.random(len(p)) < 0.5)], [np.minimum(p + 0.08, 1.0), 0.0], p
        ),
    ),
    "loss": Condition(
        says="easy third p - .2, nothing lost for good; gain -.07",
        right=("undecided",),
        tuned=lambda g, p, t: np.where(t == 0, p - 0.2, p),
    ),
    "drift": Condition(
        says="random drift of every logit, sd .4; gain 0", right=("no change", "undecided"), tuned=drifted
    ),
    "at the boundary": Condition(
        says="absent third has p = 1/K and gains .15: no class can be sure",
        right=("undecided",),
        base=lambda g, n: (np.where(np.arange(n) % 3 == 2, 1 / K, thirds(g, n)[0]), np.arange(n) % 3),
        tuned=lambda g, p, t: np.where(t == 2, p + 0.15, p),
    ),
}
BY_SIZE = ("replicate", "replicate, skewed", "replicate, middling", "gain .05, created", "gain .05, deployed")


FIRSTS = (32, 64, 128)
"""First stages tried on problems of middling difficulty, where the base stops after it."""


def two_stage_draws(generator: Generator, p: Array, stage: int = FIRST_STAGE) -> Draws:
    """Base draws as the audit takes them."""
    early = generator.binomial(stage, p)
    late = generator.binomial(N - stage, p)
    on = early < ENOUGH
    first = np.full(len(p), stage)
    return Draws(
        n=np.where(on, N, stage), c=np.where(on, early + late, early), first_n=first, first_c=early,
        went_on=on, enough=ENOUGH,
    )  # fmt: skip


def simulate(name: str, problems: int, audit: int, stage: int) -> tuple[str, str, bool]:
    """Label, coverage, and whether the gain's interval lies above 0, of one simulated audit."""
    condition = CONDITIONS[name]
    streams = Streams(ROOT).child("operating characteristic", name, problems, audit)
    generator = streams.generator("world")
    p, third = condition.base(generator, problems)
    q = condition.tuned(generator, p, third)
    evidence = Evidence(
        base=two_stage_draws(generator, p, stage),
        tuned=plain_draws(np.full(problems, K), generator.binomial(K, q)),
    )
    verdict = judge_evidence(evidence, streams=streams, k=K, resamples=RESAMPLES)
    return verdict.label, verdict.coverage.label, verdict.masses["gain"].low > 0


def key_of(name: str, problems: int, stage: int = FIRST_STAGE) -> str:
    return f"{name} @ {problems}" + ("" if stage == FIRST_STAGE else f", first stage {stage}")


def run(state: dict, path: Path, name: str, problems: int, audits: int, stage: int = FIRST_STAGE) -> None:
    """Bring one condition to ``audits`` simulated audits, batch by batch."""
    key = key_of(name, problems, stage)
    entry = state["conditions"].setdefault(key, {"audits": 0, "labels": {}, "coverage": {}, "gain_seen": 0})
    while entry["audits"] < audits:
        stop = min(entry["audits"] + BATCH, audits)
        found = [simulate(name, problems, audit, stage) for audit in range(entry["audits"], stop)]
        for field, column in (("labels", 0), ("coverage", 1)):
            entry[field] = dict(Counter(entry[field]) + Counter(row[column] for row in found))
        entry["gain_seen"] += sum(row[2] for row in found)
        entry["audits"] = stop
        aside = path.with_suffix(".part")
        aside.write_text(json.dumps(state, indent=1) + "\n")
        os.replace(aside, path)
    print(f"{key}: {entry['audits']} audits, {entry['labels']}", flush=True)


def share(count: int, audits: int) -> str:
    """``.965 [.956, .972]``."""
    low, high = wilson(count, audits)
    return f"{count / audits:.3f} [{float(low):.3f}, {float(high):.3f}]"


def page(state: dict) -> str:
    """The Markdown page."""
    found = state["conditions"]
    first = f"replicate @ {PROBLEMS}"
    lines = [
        "# Operating characteristic of the verdict",
        "",
        "Made by `benchmarks/operating_characteristic.py`; do not edit.",
        "",
        f"Simulated audits with known truth: {PROBLEMS} problems pooled (four cells of 24), K = {K}, base "
        f"drawn in two stages ({FIRST_STAGE}, then {N} where fewer than {ENOUGH} succeeded), {K} tuned draws, "
        f"{found[first]['audits']} audits a condition, {state['resamples']} resamples each (an audit takes "
        "4,000). Unless said otherwise a third of the problems is easy for the base (p .3 to .9), a third at "
        "its edge (p .03 to .3), a third absent (p = 0). Brackets: Wilson 95 %.",
        "",
        "## Labels",
        "",
        "| planted | right label | right | " + " | ".join(LABELS) + " |",
        "|---|---|---|" + "---|" * len(LABELS),
    ]
    for name, condition in CONDITIONS.items():
        entry = found[f"{name} @ {PROBLEMS}"]
        right = sum(entry["labels"].get(label, 0) for label in condition.right)
        cells = [f"{entry['labels'].get(label, 0) / entry['audits']:.3f}" for label in LABELS]
        lines.append(
            f"| {name}: {condition.says} | {' or '.join(condition.right)} | {share(right, entry['audits'])} | "
            + " | ".join(cells)
            + " |"
        )
    lines += [
        "",
        "## Coverage",
        "",
        "| planted | kept | expanded | narrowed | undecided |",
        "|---|---|---|---|---|",
    ]
    for name in CONDITIONS:
        entry = found[f"{name} @ {PROBLEMS}"]
        names = ("kept", "expanded", "narrowed", "undecided")
        cells = [f"{entry['coverage'].get(label, 0) / entry['audits']:.3f}" for label in names]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "## How many problems it takes",
        "",
        f"{state['conditions'][f'replicate @ {SIZES[0]}']['audits']} audits each (more at {PROBLEMS}). For "
        "the base against itself: how often `no change`. For a gain of .05: how often its interval lies above "
        "0 (power), and how often the label is right.",
        "",
        "| problems | "
        + " | ".join(f"{name}: right label" for name in BY_SIZE)
        + " | power, created | power, deployed |",
        "|---|" + "---|" * (len(BY_SIZE) + 2),
    ]
    for size in SIZES:
        entries = [found[f"{name} @ {size}"] for name in BY_SIZE]
        cells = [
            share(sum(entry["labels"].get(label, 0) for label in CONDITIONS[name].right), entry["audits"])
            for name, entry in zip(BY_SIZE, entries, strict=True)
        ]
        cells += [share(entry["gain_seen"], entry["audits"]) for entry in entries[-2:]]
        lines.append(f"| {size} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "The same for problems of middling difficulty, where the base stops after its first stage and its "
        f"noise is largest: {PROBLEMS} problems, base against itself, by the length of the first stage.",
        "",
        "| first stage | no change | gain's interval above 0 |",
        "|---|---|---|",
    ]
    for stage in FIRSTS:
        entry = found[key_of("replicate, middling", PROBLEMS, stage)]
        still = share(entry["labels"].get("no change", 0), entry["audits"])
        lines.append(f"| {stage} | {still} | {share(entry['gain_seen'], entry['audits'])} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--audits", type=int, default=2000, help="simulated audits a condition")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "results")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "operating_characteristic.json"
    fresh = {"schema": SCHEMA, "root": ROOT, "k": K, "resamples": RESAMPLES, "conditions": {}}
    state = json.loads(path.read_text()) if path.exists() else fresh
    if {k: state.get(k) for k in ("schema", "root", "k", "resamples")} != {
        k: fresh[k] for k in fresh if k != "conditions"
    }:
        raise SystemExit(f"{path} was made with other settings; delete it to start again")
    for name in CONDITIONS:
        run(state, path, name, PROBLEMS, options.audits)
    for size in SIZES:
        for name in BY_SIZE:
            run(state, path, name, size, min(SIZE_AUDITS, options.audits))
    for stage in FIRSTS:
        run(state, path, "replicate, middling", PROBLEMS, min(SIZE_AUDITS, options.audits), stage)
    path.with_suffix(".md").write_text(page(state))
    print(path.with_suffix(".md"))


if __name__ == "__main__":
    main()
