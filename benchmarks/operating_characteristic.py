"""How often the audit's label is right, where the truth is known: simulated audits of mixture policies.

    python benchmarks/operating_characteristic.py            # all conditions, resumes where it stopped
    python benchmarks/operating_characteristic.py --audits 40 --out /tmp/oc

Each simulated audit draws problems at random from a population with known base success p, tuned success q and
chance g, draws the base in two stages (32, then up to 256 where fewer than 8 succeeded) and the tuned policy 64
times, and judges the counts exactly as an audit does (``judge``), with fewer bootstrap resamples
(1,000 instead of 4,000). Beside the label it records whether the intervals of the gain and of its shares, and
the band of the pass@k difference, hold the population's own values. The state is one JSON file, written aside
and renamed after every batch; the Markdown page is made from it.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from keyturn.core.statistics.proportions import wilson
from keyturn.core.streams import Streams
from keyturn.measures.coverage_statement import compare_pass_at_k
from keyturn.measures.deployed_created import judge
from keyturn.measures.draws import ENOUGH, FIRST_STAGE, plain_draws
from keyturn.measures.labels import LEAST_PROBLEMS
from keyturn.measures.paired import PairedCounts
from keyturn.measures.truths import skewed, thirds, two_stage_draws

SCHEMA = 2
ROOT = 20_261_129
K = 64
N = 4 * K
RESAMPLES = 1000
BATCH = 50
SIZES = {8: 100, 24: 100, 96: 120, 500: 50}
"""Problems -> simulated audits of a condition."""
LUCK = 1 / 7
POPULATION = 200_000
"""Problems from which the population's values are computed: their error is a tenth of an audit's at 500
problems."""

Generator = np.random.Generator
Array = np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Problems:
    """A list of problems with everything known; arrays are ``[problem]``.

    Args:
        p, q: success of the base and of the tuned policy.
        kind: which part of the mixture a problem is from.
        chance: rate of success by luck; None where luck plays no part.
    """

    p: Array
    q: Array
    kind: Array
    chance: Array | None = None


def middling(generator: Generator, problems: int) -> tuple[Array, Array]:
    """Uniform p: most problems middling, where noise is largest and the base stops at 32 draws."""
    return generator.uniform(0, 1, problems), np.zeros(problems, dtype=int)


def constant(value: float) -> Callable[[Generator, int], tuple[Array, Array]]:
    """Every problem alike."""
    return lambda generator, problems: (np.full(problems, value), np.zeros(problems, dtype=int))


def depths(generator: Generator, problems: int) -> tuple[Array, Array]:
    """Six depths of a chain whose links were never learnt: right by luck alone, at 7^-(depth - 1)."""
    depth = generator.integers(0, 6, problems)
    return np.where(depth == 0, 0.97, LUCK**depth), depth


def half_by_luck(generator: Generator, problems: int) -> tuple[Array, Array]:
    """Half of the problems solved by ability (p = .5), half by luck (p = 1/7)."""
    kind = generator.integers(0, 2, problems)
    return np.where(kind == 0, 0.5, LUCK), kind


def drifted(generator: Generator, p: Array, kind: Array) -> Array:
    """Every logit moves at random: nothing was learnt, single problems change."""
    inside = np.clip(p, 1e-12, 1 - 1e-12)
    logit = np.log(inside / (1 - inside)) + generator.normal(0, 0.4, len(p))
    return np.where(p > 0, 1 / (1 + np.exp(-logit)), 0.0)


def on_absent(mean: float, strength: float) -> Callable[[Generator, Array, Array], Array]:
    """Tuned success Beta with this mean on the absent third, the base's elsewhere."""

    def tuned(generator: Generator, p: Array, kind: Array) -> Array:
        learnt = generator.beta(mean * strength, (1 - mean) * strength, len(p))
        return np.where(kind == 2, learnt, p)

    return tuned


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One planted truth.

    Args:
        says: what happened, for the table.
        right: labels that are right; below LEAST_PROBLEMS only ``undecided`` (or ``nothing measured``) is.
        tuned: ``(generator, p, kind) -> q``.
        base: ``(generator, problems) -> (p, kind)``.
        chance: ``kind -> chance``, where luck plays a part.
    """

    says: str
    right: tuple[str, ...]
    tuned: Callable[[Generator, Array, Array], Array]
    base: Callable[[Generator, int], tuple[Array, Array]] = thirds
    chance: Callable[[Array], Array] | None = None

    def draw(self, generator: Generator, problems: int) -> Problems:
        """Problems of the population."""
        p, kind = self.base(generator, problems)
        chance = None if self.chance is None else self.chance(kind)
        return Problems(p=p, q=self.tuned(generator, p, kind), kind=kind, chance=chance)


SAME = ("no change",)
FLAT = ("nothing measured",)
CONDITIONS = {
    "replicate": Condition(says="base against itself", right=SAME, tuned=lambda g, p, t: p),
    "replicate, skewed": Condition(
        says="base against itself, p ~ Beta(.15, .6)", right=SAME, tuned=lambda g, p, t: p, base=skewed
    ),
    "replicate, middling": Condition(
        says="base against itself, p ~ U(0, 1)", right=SAME, tuned=lambda g, p, t: p, base=middling
    ),
    "floor": Condition(
        says="p = .002 on both sides", right=FLAT, tuned=lambda g, p, t: p, base=constant(0.002)
    ),
    "ceiling": Condition(
        says="p = .998 on both sides", right=FLAT, tuned=lambda g, p, t: p, base=constant(0.998)
    ),
    "creation": Condition(
        says="absent third learnt, q ~ .4; gain .13", right=("created",), tuned=on_absent(0.4, 5)
    ),
    "creation from nothing": Condition(
        says="p = 0 everywhere, q = .5", right=("created",), tuned=lambda g, p, t: p + 0.5, base=constant(0.0)
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
    "luck at all depths": Condition(
        says="six depths right by luck alone, q = .9; gain .6",
        right=("created",),
        tuned=lambda g, p, t: np.where(t == 0, p, 0.9),
        base=depths,
        chance=lambda t: LUCK ** np.maximum(t, 1),
    ),
    "ability at all depths": Condition(
        says="six depths at .6 to .1, q = .9",
        right=("deployed",),
        tuned=lambda g, p, t: np.full(len(p), 0.9),
        base=lambda g, n: (0.6 - 0.1 * (t := g.integers(0, 6, n)), t),
        chance=lambda t: np.where(t == 5, LUCK**5, LUCK ** np.maximum(t, 2)),
    ),
    "half by luck": Condition(
        says="half of the problems by ability, half by luck; q = p + .35",
        right=("mixed",),
        tuned=lambda g, p, t: p + 0.35,
        base=half_by_luck,
        chance=lambda t: np.full(len(t), LUCK),
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
        right=("worse",),
        tuned=lambda g, p, t: np.where(t == 0, p - 0.2, p),
    ),
    "drift": Condition(
        says="random drift of every logit, sd .4; gain 0", right=("no change", "undecided"), tuned=drifted
    ),
    "at the boundary": Condition(
        says="absent third has p = 1/K and gains .15: no class can be sure",
        right=("undecided",),
        base=lambda g, n: (np.where((m := thirds(g, n))[1] == 2, 1 / K, m[0]), m[1]),
        tuned=lambda g, p, t: np.where(t == 2, p + 0.15, p),
    ),
}


@cache
def population(name: str) -> tuple[dict[str, float], Array]:
    """The population's gain and shares, and its pass@k difference at k = 1 to K."""
    problems = CONDITIONS[name].draw(Streams(ROOT).generator("population", name), POPULATION)
    p, q = problems.p, problems.q
    luck = np.zeros(len(p)) if problems.chance is None else problems.chance
    able = (p - luck) > np.maximum(1 / K * (1 - luck), np.minimum(luck, (1 - luck) / 2))
    gain = float((q - p).mean())
    shares = {"deployed": float(((q - p) * able).mean()) / gain if gain > 0 else np.nan}
    k = np.arange(1, K + 1)
    curve = np.array([((1 - p) ** one - (1 - q) ** one).mean() for one in k])
    return {"gain": gain, **shares}, curve


def simulate(name: str, problems: int, audit: int) -> dict[str, str | bool | None]:
    """One simulated audit: label, coverage, whether the gain is seen, and which intervals hold the truth."""
    streams = Streams(ROOT).child("operating characteristic", name, problems, audit)
    generator = streams.generator("world")
    asked = CONDITIONS[name].draw(generator, problems)
    counts = PairedCounts(
        base=two_stage_draws(generator, asked.p, N),
        tuned=plain_draws(np.full(problems, K), generator.binomial(K, asked.q)),
        chance=asked.chance,
        cells=None if asked.chance is None else asked.kind.astype(np.int64),
    )
    verdict = judge(counts, streams=streams, k=K, resamples=RESAMPLES)
    truth, curve = population(name)
    ks, band = compare_pass_at_k(counts.base, counts.tuned, streams, kind="verified", resamples=RESAMPLES)
    wanted = curve[np.array(ks) - 1]
    gain, share = verdict.masses["gain"], verdict.shares["deployed"]
    return {
        "label": verdict.label,
        "coverage": verdict.coverage.label,
        "gain seen": bool(gain.low > 0),
        "gain held": bool(gain.low <= truth["gain"] <= gain.high),
        "share held": None if np.isnan(share.low) else bool(share.low <= truth["deployed"] <= share.high),
        "curve held": bool(((band.low <= wanted) & (wanted <= band.high)).all()),
    }


HELD = ("gain held", "share held", "curve held")


def run(state: dict, path: Path, name: str, problems: int, audits: int) -> None:
    """Bring one condition to ``audits`` simulated audits, batch by batch."""
    key = f"{name} @ {problems}"
    fresh = {"audits": 0, "labels": {}, "coverage": {}, "gain_seen": 0, "held": {h: [0, 0] for h in HELD}}
    entry = state["conditions"].setdefault(key, fresh)
    while entry["audits"] < audits:
        stop = min(entry["audits"] + BATCH, audits)
        found = [simulate(name, problems, audit) for audit in range(entry["audits"], stop)]
        for field, column in (("labels", "label"), ("coverage", "coverage")):
            entry[field] = dict(sorted((Counter(entry[field]) + Counter(row[column] for row in found)).items()))
        entry["gain_seen"] += sum(row["gain seen"] for row in found)
        for held in HELD:
            known = [row[held] for row in found if row[held] is not None]
            entry["held"][held] = [entry["held"][held][0] + sum(known), entry["held"][held][1] + len(known)]
        entry["audits"] = stop
        aside = path.with_suffix(".part")
        aside.write_text(json.dumps(state, indent=1) + "\n")
        os.replace(aside, path)
    print(f"{key}: {entry['audits']} audits, {entry['labels']}", flush=True)


def right_labels(name: str, problems: int) -> tuple[str, ...]:
    """What counts as right: nothing may be claimed below the least number of problems."""
    if problems < LEAST_PROBLEMS:
        return ("undecided", "nothing measured")
    return CONDITIONS[name].right


def share(count: int, audits: int) -> str:
    """``.965 [.956, .972]``."""
    low, high = wilson(count, audits)
    return f"{count / audits:.3f} [{float(low):.3f}, {float(high):.3f}]"


def outcome(entry: dict, name: str, problems: int) -> str:
    """Right, undecided and wrong shares of one condition at one size; below the least number of problems, the
    share of audits that claim nothing."""
    right = sum(entry["labels"].get(label, 0) for label in right_labels(name, problems))
    open_ones = 0 if "undecided" in right_labels(name, problems) else entry["labels"].get("undecided", 0)
    if problems < LEAST_PROBLEMS:
        # Three shares would read as if the planted label had been found.
        return f"{right / entry['audits']:.3f} claim nothing"
    wrong = entry["audits"] - right - open_ones
    return f"{right / entry['audits']:.3f} / {open_ones / entry['audits']:.3f} / {wrong / entry['audits']:.3f}"


def page(state: dict) -> str:
    """The Markdown page."""
    found = state["conditions"]
    sizes = [size for size in SIZES if f"replicate @ {size}" in found]
    lines = [
        "# Operating characteristic of the verdict",
        "",
        "Made by `benchmarks/operating_characteristic.py`; do not edit.",
        "",
        "Simulated audits with known truth: problems drawn at random from a population, "
        f"K = {K}, base drawn in two stages ({FIRST_STAGE}, then {N} where fewer than {ENOUGH} succeeded), "
        f"{K} tuned draws, {state['resamples']} resamples each (an audit takes 4,000). Unless said otherwise a "
        "third of the problems is easy for the base (p .3 to .9), a third at its edge (p .03 to .3), a third "
        "absent (p = 0). "
        "Audits a condition, at least: "
        + ", ".join(f"{min(found[f'{n} @ {size}']['audits'] for n in CONDITIONS)} at {size}" for size in sizes)
        + " problems"
        + ".",
        "",
        "## Labels",
        "",
        "Shares of audits: *right / undecided / wrong*. An audit of fewer than "
        f"{LEAST_PROBLEMS} problems claims nothing, and that is right there.",
        "",
        "| planted | right label | " + " | ".join(f"{size} problems" for size in sizes) + " |",
        "|---|---|" + "---|" * len(sizes),
    ]
    for name, condition in CONDITIONS.items():
        cells = [outcome(found[f"{name} @ {size}"], name, size) for size in sizes]
        lines.append(
            f"| {name}: {condition.says} | {' or '.join(condition.right)} | " + " | ".join(cells) + " |"
        )
    at = 96
    names = ("kept", "expanded", "narrowed", "crossing", "undecided")
    lines += ["", f"## Coverage statement at {at} problems", "", "| planted | " + " | ".join(names) + " |"]
    lines.append("|---|" + "---|" * len(names))
    for name in CONDITIONS:
        entry = found[f"{name} @ {at}"]
        cells = [f"{entry['coverage'].get(label, 0) / entry['audits']:.3f}" for label in names]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "## Do the intervals hold the truth?",
        "",
        "How often the 95 % interval of the gain, that of the deployed share, and the simultaneous band of "
        "the pass@k difference (all k at once) hold the population's value. Brackets: Wilson 95 %. The "
        "deployed share is that of problems which the draws call reachable; what they leave undecided is a "
        "share of its own. Where much is undecided the interval lies below the population's share, which "
        "counts every problem by its true p.",
        "",
        "| planted | problems | gain | deployed share | pass@k difference, all k |",
        "|---|---|---|---|---|",
    ]
    for name in CONDITIONS:
        for size in sizes:
            held = found[f"{name} @ {size}"]["held"]
            cells = [share(*held[h]) if held[h][1] >= 50 else "too few" for h in HELD]
            lines.append(f"| {name} | {size} | " + " | ".join(cells) + " |")
    lines += ["", "## Power", "", "How often a gain of .05 has an interval above 0.", ""]
    lines += ["| problems | created | deployed |", "|---|---|---|"]
    for size in sizes:
        entries = [found[f"{name} @ {size}"] for name in ("gain .05, created", "gain .05, deployed")]
        lines.append(f"| {size} | " + " | ".join(share(e["gain_seen"], e["audits"]) for e in entries) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--audits", type=int, default=0, help="simulated audits a condition; 0: as SIZES says")
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
    for size, audits in SIZES.items():
        for name in CONDITIONS:
            run(state, path, name, size, options.audits or audits)
    path.with_suffix(".md").write_text(page(state))
    print(path.with_suffix(".md"))


if __name__ == "__main__":
    main()
