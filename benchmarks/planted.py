"""Planted truth: does the audit say `created` where a skill was absent and `deployed` where it was present?

    python benchmarks/planted.py                       all arms, 5 bases x 2 RL seeds each, resumable
    python benchmarks/planted.py --arms absent --bases 1 --seeds 1
    python benchmarks/planted.py --executor ray        on a cluster that shares the run directory
    python benchmarks/planted.py --judge-only          the verdicts anew, from the counts kept

Each arm is a world; each base is pretrained anew under its own seed and cached; each RL seed trains it, and
both are drawn from. The counts of a run are kept as arrays, so that a new rule can be tried on old draws. A
CHAIN counts as planted-present only if the base's exact mean success at depths 5 and 6 is at least .1, as
absent only at the chance floor; what lies between is dose response with no required answer. From the counts:
docs/results/planted.md.
"""

import argparse
import json
import pathlib
from dataclasses import replace

import numpy as np

from keyturn.auditing.audit import AuditConfig
from keyturn.auditing.embedded import EMBEDDED, audit_trained
from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab
from keyturn.lab.workers import Job, executor_named
from keyturn.measures.classes import class_agreement
from keyturn.measures.deployed_created import judge
from keyturn.measures.draws import Draws
from keyturn.measures.paired import PairedCounts
from keyturn.pretraining.pretrain import pretrain
from keyturn.pretraining.recipes import PRETRAIN
from keyturn.problems.world.worlds import WORLDS

ALL = tuple({"domain": "chain", "depth": d} for d in range(1, 7))
CHAIN = replace(EMBEDDED["chain"], test=ALL)
KS = (2, 4, 8, 16, 32, 64, 85)
"""Budgets at which a verdict is made; 85 is what 256 base draws allow."""
PRESENT, FLOOR_FACTOR = 0.1, 3.0
ARMS = {
    "absent": (replace(WORLDS["chain"], name="absent"), CHAIN),
    "present": (replace(WORLDS["chain"], name="present60", linked=0.6), CHAIN),
    "graph": (WORLDS["graph"], EMBEDDED["graph"]),
    "dose .1": (replace(WORLDS["chain"], name="dose10", linked=0.1), CHAIN),
    "dose .5": (replace(WORLDS["chain"], name="present", linked=0.5), CHAIN),
    "dose .3": (replace(WORLDS["chain"], name="dose30", linked=0.3), CHAIN),
    "never": (replace(WORLDS["chain-never"], name="never"), CHAIN),
}
KINDS = ("n", "c", "first_n", "first_c", "went_on", "enough", "decided")
FACTS = ("exact", "bound", "chance", "floor")


def base_of(root, arm, base_seed):
    """Pretrain a base, or find it; its folder."""
    world, _ = ARMS[arm]
    folder = root / "bases" / f"{world.name}-{base_seed}"
    if not (folder / "card.json").exists():
        pretrain(world, PRETRAIN["demo"], seed=base_seed, out=folder)
    return folder


def counts_path(root, arm, base_seed, rl_seed):
    """Where the counts of a run are kept."""
    return root / "counts" / f"{arm}-{base_seed}-{rl_seed}.npz"


def make_base(root, arm, base_seed):
    """A job: one base."""
    base_of(root, arm, base_seed)


def one_run(root, arm, base_seed, rl_seed):
    """A job: train a base, draw from both; the counts, as arrays, in one file."""
    path = counts_path(root, arm, base_seed, rl_seed)
    if path.exists():
        return
    world, settings = ARMS[arm]
    folder = base_of(root, arm, base_seed)
    lab = Lab(root / "runs" / f"{world.name}-{base_seed}-{rl_seed}", Streams(1000 * base_seed + rl_seed))
    paired = audit_trained(lab, settings, folder, 24, AuditConfig(), base_name=folder.name).tables.paired
    columns = {"cells": np.array([json.dumps(dict(p.cell), sort_keys=True) for p in paired.problems])}
    counts = paired.counts("verified")
    for who, draws in (("base", counts.base), ("tuned", counts.tuned)):
        columns |= {f"{who}_{kind}": getattr(draws, kind) for kind in KINDS}
    columns |= {fact: getattr(paired, fact) for fact in FACTS if getattr(paired, fact) is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    with open(aside, "wb") as file:
        np.savez_compressed(file, **columns)
    aside.rename(path)


def run_all(executor, root, arms, bases, seeds):
    """Every run that is not there yet: bases first, since the RL seeds of one share it."""
    root = root.resolve()
    wanted = [
        (arm, base, seed)
        for seed in range(seeds)
        for base in bases
        for arm in arms
        if not counts_path(root, arm, base, seed).exists()
    ]
    # Arms of one world share its bases.
    shared = {(ARMS[arm][0].name, base): (arm, base) for arm, base, _ in wanted}
    rounds = (
        {
            f"base {name} {base}": Job(function=make_base, arguments=(root, *of))
            for (name, base), of in shared.items()
        },
        {" ".join(map(str, run)): Job(function=one_run, arguments=(root, *run)) for run in wanted},
    )
    for jobs in rounds:
        executor.run(jobs, folders=dict.fromkeys(jobs, root), done=lambda name: print(name, flush=True))


def counts_of(kept):
    """What a verdict is judged on, from the counts of one run."""
    sides = {who: Draws(**{kind: kept[f"{who}_{kind}"][()] for kind in KINDS}) for who in ("base", "tuned")}
    _, cells = np.unique(kept["cells"], return_inverse=True)
    facts = {fact: kept[fact] for fact in FACTS if fact in kept}
    if not np.isfinite(facts.get("chance", np.array([np.nan]))).any():
        facts.pop("chance", None)
    return PairedCounts(**sides, **facts, cells=cells)


def judged(path):
    """One line: the verdict at every budget, on all depths."""
    arm, base, rl = path.stem.rsplit("-", 2)
    counts = counts_of(np.load(path))
    verdicts = {k: judge(counts, streams=Streams(1), k=k) for k in KS}
    found = verdicts[64]
    known = np.zeros(found.problems, bool) if counts.exact is None else np.isfinite(counts.exact)
    right, decided = class_agreement(found.classes[known], counts.exact[known], 64) if known.any() else (0, 0)
    return {
        "arm": arm,
        "base": int(base),
        "rl": int(rl),
        "labels": {k: verdict.label for k, verdict in verdicts.items()},
        "coverage": found.coverage.label,
        "gain": found.masses["gain"].to_json(),
        "shares": {name: share.to_json() for name, share in found.shares.items()},
        "deep": deep_success(counts, np.load(path)["cells"]),
        "agree": [right, decided],
    }


def deep_success(counts, cells):
    """Exact mean base success at depths 5 and 6, and the chance of it there; None where no world says."""
    deep = np.array([json.loads(cell).get("depth", 0) >= 5 for cell in cells])
    if not deep.any() or counts.exact is None:
        return None
    return [float(counts.exact[deep].mean()), float(counts.floor[deep].mean())]


def truth(row):
    """What was really planted, from the exact probability and not from the arm's name."""
    if row["arm"] in ("graph", "never"):
        return row["arm"]
    exact, floor = row["deep"]
    if exact >= PRESENT:
        return "present"
    return "absent" if exact <= FLOOR_FACTOR * floor else "between"


WANTED = {"absent": {"created"}, "present": {"deployed"}, "graph": {"deployed", "narrowed"}}


def table(rows):
    """Markdown: right labels by budget, then every run."""
    lines = [
        "# Planted worlds: what the audit said where the truth is known",
        "",
        "Generated by `python benchmarks/planted.py`. Every CHAIN is judged on *all* depths, 1 to 6, "
        "also on those "
        "that a base without composing hits by luck (depth 2: one in seven). *absent*: the base's "
        "exact mean success "
        "at depths 5 and 6 is at chance (at most three times it); *present*: at least .1; *between*: "
        "dose response, "
        "no required answer; *graph*: every strategy is in pretraining; *never*: one atom was never "
        "shown either.",
        "",
        "Right labels by budget K (absent: created; present: deployed; graph: deployed, or "
        "narrowed). At small K "
        "a present base really does not reach the deeper problems within K draws: at K = 2 it would "
        "have to succeed "
        "in half of its draws.",
        "",
        "| planted | runs | bases | " + " | ".join(f"K = {k}" for k in KS) + " |",
        "|---|---|---|" + "---|" * len(KS),
    ]
    for kind, wanted in WANTED.items():
        of = [row for row in rows if truth(row) == kind]
        if of:
            right = [f"{sum(row['labels'][k] in wanted for row in of)} of {len(of)}" for k in KS]
            bases = len({(row["arm"], row["base"]) for row in of})
            lines.append(f"| {kind} | {len(of)} | {bases} | " + " | ".join(right) + " |")
    lines += [
        "",
        "Shares of the gain at K = 64. What is *at chance* is reported apart: it never counts as "
        "deployed, and as "
        "created only where it is surely mostly luck.",
        "",
        "| arm | base | RL seed | planted | exact base p, depths 5 and 6 | gain | deployed | created "
        "| at chance | "
        "label at K = 64 | coverage |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda r: (r["arm"], r["base"], r["rl"])):
        deep = "" if row["deep"] is None else f"{row['deep'][0]:.3g}"
        shares = " | ".join(estimate(row["shares"].get(name)) for name in ("deployed", "created", "at_chance"))
        lines.append(
            f"| {row['arm']} | {row['base']} | {row['rl']} | {truth(row)} | {deep} | {estimate(row['gain'])} | "
            f"{shares} | {row['labels'][64]} | {row['coverage']} |"
        )
    right, decided = np.sum([row["agree"] for row in rows], axis=0)
    if decided:
        lines += ["", f"Of {decided} problems that sampling decides, the exact probability agrees in {right}."]
    return "\n".join(lines) + "\n"


def estimate(found):
    return "" if found is None else f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/planted"))
    parser.add_argument("--arms", nargs="+", default=["absent", "present", "graph"], choices=list(ARMS))
    parser.add_argument("--bases", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-base", type=int, default=0)
    parser.add_argument("--executor", default="processes", help="processes, ray, or ray://host:port")
    parser.add_argument("--workers", type=int, default=1, help="runs at once, of one thread each; 0: all cores")
    parser.add_argument(
        "--judge-only", action="store_true", help="make the table from the counts that are there"
    )
    parser.add_argument("--table", type=pathlib.Path, default=pathlib.Path("docs/results/planted.md"))
    options = parser.parse_args()
    bases = range(options.first_base, options.first_base + options.bases)
    if not options.judge_only:
        executor = executor_named(options.executor, workers=options.workers)
        run_all(executor, options.out, options.arms, bases, options.seeds)
    rows = [judged(path) for path in sorted((options.out / "counts").glob("*.npz"))]
    options.table.parent.mkdir(parents=True, exist_ok=True)
    options.table.write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
