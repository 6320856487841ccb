"""Made-up audits for the report's tests: real measures and verdicts on numbers drawn here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from keyturn.auditing.result import AuditResult, Cell, TokenSpan
from keyturn.core.measurement import Measurement
from keyturn.core.problem import Problem
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.measures import MEASURES
from keyturn.measures.cells import cell_name, cells_of
from keyturn.measures.contract import Tables, TokenShift
from keyturn.measures.deployed_created import judge
from keyturn.measures.paired import Paired
from keyturn.measures.verdict import AT_CHANCE, Caution
from keyturn.rollouts.completions import Completions, Prompts
from keyturn.rollouts.grades import Answers, Grades

STEP = (
    ("FWD", Role.STRATEGY),
    (" F1", Role.STRATEGY),
    (" ;", Role.SYNTAX),
    (" c", Role.PLAN),
    (" =", Role.SYNTAX),
    (" a", Role.COPY),
    (" +", Role.COPY),
    (" b", Role.COPY),
    (" =", Role.SYNTAX),
    (" 4", Role.LOOKUP),
    (" +", Role.REPEAT),
    (" 5", Role.LOOKUP),
    (" =", Role.SYNTAX),
    (" 2", Role.ARITHMETIC),
    (" ;\n", Role.SYNTAX),
    ("d", Role.PLAN),
    (" =", Role.SYNTAX),
    (" c", Role.COPY),
    (" *", Role.COPY),
    (" 3", Role.COPY),
    (" =", Role.SYNTAX),
    (" 2", Role.LOOKUP),
    (" *", Role.REPEAT),
    (" 3", Role.REPEAT),
    (" =", Role.SYNTAX),
    (" 6", Role.ARITHMETIC),
    (" ;", Role.SYNTAX),
    (" wait", Role.BACKTRACK),
    (" check", Role.VERIFY),
    (" c", Role.VERIFY),
    (" 2", Role.VERIFY),
    (" ;\n", Role.SYNTAX),
    ("answer", Role.SYNTAX),
    (" 6", Role.ANSWER),
)
ROLES = np.array([role for _, role in STEP], dtype=np.uint8)
UNSURE = np.isin(ROLES, [Role.PLAN, Role.STRATEGY, Role.BACKTRACK])
STRATEGIES = ("FWD", "BWD", "SCAN", "DIR")


def problems_of(cells, per_cell: int) -> tuple[Problem, ...]:
    return tuple(
        Problem(
            id="-".join(str(v) for v in (*cell.values(), i)),
            prompt=f"a = 4 ; b = 5 ; depth {cell['depth']} ?",
            cell=cell,
        )
        for cell in cells
        for i in range(per_cell)
    )


def drawn(policy: str, problems, rates, draws: int, weights, rng: np.random.Generator) -> Answers:
    """Draws that succeed at the given rates, by strategies of the given weights."""
    problem = np.repeat(np.arange(len(problems), dtype=np.int32), draws)
    success = (rng.random(len(problem)) < np.repeat(rates, draws)).astype(np.float32)
    lucky = ((rng.random(len(problem)) < 0.1) | (success == 1)).astype(np.float32)
    return Answers(
        policy=policy,
        problems=problems,
        problem=problem,
        draw=np.tile(np.arange(draws, dtype=np.int32), len(problems)),
        outcome=lucky,
        verified=success,
        answer=tuple("6" if right else "3" for right in lucky),
        length=rng.integers(28, 40, len(problem)).astype(np.int32),
        truncated=np.zeros(len(problem), dtype=bool),
        columns={
            "strategy": rng.choice(STRATEGIES, size=len(problem), p=weights).astype(object),
            "format": rng.choice(["F1", "F2"], size=len(problem), p=[0.7, 0.3]).astype(object),
        },
    )


def looked_at(drawn_by: str, problems, rates, rng: np.random.Generator) -> TokenShift:
    """Both models on two completions a problem."""
    prompts = Prompts.build([p.id for p in problems], [p.prompt for p in problems], [[1, 2]] * len(problems))
    rows, size = 2 * len(problems), len(STEP)
    shape = (rows, size)
    unsure = np.broadcast_to(UNSURE, shape)
    base_entropy = np.where(unsure, rng.gamma(3.0, 0.3, shape), rng.gamma(1.0, 0.04, shape))
    tuned_entropy = np.where(unsure, rng.gamma(2.0, 0.12, shape), rng.gamma(1.0, 0.03, shape))
    base = -np.where(unsure, rng.gamma(2.0, 0.5, shape), rng.gamma(1.0, 0.05, shape))
    tuned = -np.where(unsure, rng.gamma(1.0, 0.25, shape), rng.gamma(1.0, 0.03, shape))
    flip = unsure & (rng.random(shape) < 0.4)
    flat = {
        name: values.astype(np.float32).ravel()
        for name, values in {
            "base_logprobs": base,
            "tuned_logprobs": tuned,
            "base_entropies": base_entropy,
            "tuned_entropies": tuned_entropy,
            "kl": np.abs(tuned - base) * np.where(unsure, 0.6, 0.05),
            "kl_reverse": np.abs(tuned - base) * np.where(unsure, 0.5, 0.05),
        }.items()
    }
    problem = np.repeat(np.arange(len(problems), dtype=np.int32), 2)
    success = (rng.random(rows) < np.repeat(rates, 2)).astype(np.float32)
    completions = Completions(
        policy=drawn_by,
        prompts=prompts,
        problem=problem,
        draw=np.tile(np.arange(2, dtype=np.int32), len(problems)),
        tokens=np.tile(np.arange(size, dtype=np.int32), rows),
        offsets=np.arange(rows + 1, dtype=np.int64) * size,
        logprobs=flat["base_logprobs"],
        entropies=flat["base_entropies"],
        stop=np.zeros(rows, dtype=np.uint8),
        texts=("".join(text for text, _ in STEP),) * rows,
    )
    grades = Grades(
        outcome=success,
        verified=success,
        answer=("6",) * rows,
        roles=np.tile(ROLES, rows),
        token_columns={
            "floor": np.tile(np.where(UNSURE, 0.2, 0.0).astype(np.float32), rows),
            "error": (rng.random(rows * size) < 0.04),
        },
    )
    return TokenShift(
        drawn_by=drawn_by,
        completions=completions,
        grades=grades,
        base_ranks=(flat["base_logprobs"] < -1).astype(np.int32),
        tuned_ranks=np.zeros(rows * size, dtype=np.int32),
        flip=flip.ravel(),
        **flat,
    )


def span_of(shift: TokenShift, row: int, title: str, outcome: str, sibling: TokenSpan | None) -> TokenSpan:
    part = slice(int(shift.completions.offsets[row]), int(shift.completions.offsets[row + 1]))
    prompts = shift.completions.prompts
    problem = int(shift.completions.problem[row])
    return TokenSpan(
        title=title,
        problem=prompts.ids[problem],
        prompt=prompts.texts[problem],
        text=tuple(text for text, _ in STEP),
        role=tuple(role.name.lower() for _, role in STEP),
        entropy=shift.tuned_entropies[part] if shift.drawn_by == "tuned" else shift.base_entropies[part],
        logprob=shift.tuned_logprobs[part],
        base_logprob=shift.base_logprobs[part],
        outcome=outcome,
        sibling=sibling,
    )


def spans_of(shift: dict[str, TokenShift]) -> tuple[TokenSpan, ...]:
    kinds = (("within the base's reach", "verified"), ("a failure of the tuned policy", "wrong"))
    spans = []
    for row, (kind, outcome) in enumerate(kinds):
        sibling = span_of(
            shift["base"], row, "base, its first draw on the same problem (draw 0)", "wrong", None
        )
        spans.append(span_of(shift["tuned"], row, f"tuned policy, {kind} (draw {row})", outcome, sibling))
    return tuple(spans)


def history_of(rng: np.random.Generator, steps: int = 120) -> tuple[dict[str, float], ...]:
    rows = []
    for step in range(steps):
        done = 1 / (1 + np.exp(-(step - 45) / 12))
        noise = rng.normal(0, 0.03, 8)
        rows.append(
            {
                "step": float(step),
                "reward": float(np.clip(0.3 + 0.5 * done + noise[0], 0, 1)),
                "verified": float(np.clip(0.28 + 0.45 * done + noise[1], 0, 1)),
                "entropy/planning": float(max(0.02, 0.62 - 0.45 * done + noise[2])),
                "entropy/execution": float(max(0.01, 0.12 - 0.08 * done + noise[3] / 3)),
                "share/strategy FWD": float(np.clip(0.45 + 0.4 * done + noise[4], 0, 1)),
                "share/strategy BWD": float(np.clip(0.3 - 0.25 * done + noise[5], 0, 1)),
                "share/strategy SCAN": float(np.clip(0.25 - 0.2 * done + noise[6] / 2, 0, 1)),
            }
        )
    return tuple(rows)


def model_folders(folder: Path, rng: np.random.Generator) -> tuple[Path, Path]:
    base, tuned = {}, {}
    for layer in range(2):
        for part in ("attention.q_proj", "attention.o_proj", "mlp.up_proj"):
            name = f"model.layers.{layer}.{part}.weight"
            base[name] = rng.normal(0, 0.06, (48, 32)).astype(np.float32)
            moved = rng.normal(0, 1e-4, (48, 32)) * rng.gamma(1.0, 1.0, (48, 1))
            tuned[name] = (base[name] + moved).astype(np.float32)
    for name, tensors in (("base", base), ("tuned", tuned)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / name / "model.safetensors")
    return folder / "base", folder / "tuned"


def audit_of(
    name: str, folder: Path, *, created: bool, seed: int = 0, per_cell: int = 5, draws: int = 96
) -> AuditResult:
    """One whole audit: ``created`` says on which side of the base's reach the gain lies."""
    rng = np.random.default_rng(seed)
    depths = (2, 3, 4, 5, 6) if created else (2, 3, 4)
    contexts = ("C1",) if created else ("C1", "C2")
    cells = [{"depth": d} if created else {"context": c, "depth": d} for d in depths for c in contexts]
    problems = problems_of(cells, per_cell)
    depth = np.array([p.cell["depth"] for p in problems])
    if created:
        rare = np.where(depth == 4, rng.beta(1, 60, len(depth)), 0.0)
        base_p = np.where(depth <= 3, rng.beta(9, 2, len(depth)), rare)
        tuned_q = np.clip(1.0 - 0.07 * (depth - 2) + rng.normal(0, 0.05, len(depth)), 0, 1)
    else:
        base_p = rng.beta(1.6, 0.35 * depth, len(depth))
        tuned_q = np.clip(base_p + 0.25 * base_p**0.3 * (rng.random(len(depth)) < 0.92) - 0.03, 0, 1)
        tuned_q[base_p < 0.03] = 0.0
    base = drawn("base", problems, base_p, draws, (0.4, 0.3, 0.2, 0.1), rng)
    tuned = drawn("tuned", problems, tuned_q, draws // 3, (0.85, 0.06, 0.05, 0.04), rng)
    rates = {"base": base_p, "tuned": tuned_q}
    shift = {policy: looked_at(policy, problems, of_policy, rng) for policy, of_policy in rates.items()}
    tables = Tables(
        streams=Streams(seed), paired=Paired(base=base, tuned=tuned), shift=shift,
        weights=model_folders(folder / name, rng), history=history_of(rng),
    )  # fmt: skip
    found: list[Measurement] = []
    for measure in MEASURES.values():
        if not measure.why_not(tables):
            config = measure.config()
            fewer = {key: 100 for key in ("resamples", "permutations") if hasattr(config, key)}
            found.extend(measure.measure(tables, replace(config, **fewer)))
    keys = tuple(cells[0])
    size = {"k": draws // 3, "resamples": 100}
    verdict = judge(tables.paired.counts(), streams=tables.streams, **size)
    counts = tables.paired.counts(cell_keys=keys)
    by_cell = [
        (key, judge(counts.at(index), streams=tables.streams.child(cell_name(key)), **size))
        for key, index in cells_of(tables.paired.problems, keys)
    ]
    return AuditResult(
        name=name,
        base=f"models/{name}-base",
        tuned=f"runs/made-up/{name}/tuned",
        problems=f"{name} test problems ({len(problems)})",
        run="/somewhere/runs/made-up",
        verdict=verdict,
        cells=tuple(Cell(key=dict(key), verdict=v) for key, v in by_cell),
        measurements=tuple(found),
        tables=tables,
        spans=spans_of(shift),
        seconds={"train": 61.2, "draw base": 22.4, "draw tuned": 8.1, "grade": 2.2, "look inside": 3.4},
        limits=(
            "'Created' means: not within 64 draws of the base at this temperature and prompt.",
            "Intervals are bootstraps over problems of this list.",
            *verdict.notes,
        ),
        left_out={"elicited": "needs elicited, which this audit does not have"},
        settings=settings_of(name),
        cautions=(Caution(kind="few problems", text=f"{len(problems)} problems stand behind the verdict."),),
    )


def settings_of(name: str) -> dict[str, dict[str, str]]:
    return {
        "base": {"prompt format": "chat template", "fingerprint": f"{name}-4be1f0c2"},
        "tuned": {"prompt format": "chat template", "fingerprint": f"{name}-99aa01c2"},
        "both": {"temperature": "1.0", "grader": "numeric", "seed": "0"},
    }


def with_verdict(result: AuditResult, **changes) -> AuditResult:
    """The same audit with another pooled verdict."""
    return replace(result, verdict=replace(result.verdict, **changes))


def lucky(result: AuditResult) -> AuditResult:
    """The same audit with a part of its gain, some problems and a cell at chance."""
    verdict = result.verdict
    masses = dict(verdict.masses)
    part = masses["deployed"]
    masses["at_chance"] = replace(part, value=part.value / 2, low=part.low / 2, high=part.high / 2)
    masses["deployed"] = masses["at_chance"]
    classes = verdict.classes.copy()
    classes[::5] = AT_CHANCE
    shares = {**verdict.shares, "at_chance": verdict.shares["deployed"]}
    changed = replace(verdict, masses=masses, classes=classes, shares=shares)
    cells = tuple(replace(c, verdict=replace(c.verdict, masses=masses)) for c in result.cells[:1])
    return replace(result, verdict=changed, cells=cells + result.cells[1:])
