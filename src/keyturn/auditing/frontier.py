"""The frontier of a base: what elicitation, and training where it is asked for, gain on the same problems, and
what each costs.

Every way gets the same problems, prompts and number of draws, and every cost is counted in the same way. Each
step is a stage, so an interrupted run keeps what is done. A way that cannot work here is left out with its
reason; it does not end the run. What the numbers say is computed by :mod:`keyturn.measures.frontier`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from keyturn.auditing.embedded import trained
from keyturn.auditing.frontier_plan import plan_frontier, reason, seconds_left
from keyturn.auditing.frontier_result import FrontierResult, Told
from keyturn.auditing.frontier_setting import Setting
from keyturn.auditing.frontier_training import trained_by, weights_changed
from keyturn.auditing.frontier_ways import PROMPTS, Chosen
from keyturn.core.errors import BusyError, InputError, KeyturnError, StorageError
from keyturn.core.progress import step
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.contract import Asked, Costs
from keyturn.elicitation.drafts import costs_of
from keyturn.elicitation.stage import elicit
from keyturn.lab.lab import Lab, Stage
from keyturn.measures.frontier import NULL, PLAIN, TUNED, Kind, Way, frontier_of
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Policy
from keyturn.problems.contract import ProblemSet, answers
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Answers

TRIALS = 4
"""Draws per development problem by which the best prompt is chosen."""
QUIET_S = 2.0
"""Seconds before anything is said of progress."""
LEAST_GRADED = 0.9
"""Share of the problems that a way must have a graded answer for; with fewer it is left out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """A way with its answers.

    Args:
        way: its success and costs per problem.
        completions: its answers.
        table: the same, graded.
        told: what is said of it in words.
    """

    way: Way
    completions: Completions
    table: Answers
    told: Told


@dataclass
class _Run:
    """One frontier while it is made."""

    lab: Lab
    setting: Setting
    ways: Mapping[str, Chosen]
    found: dict[str, Measured] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def asked(self) -> Asked:
        """What every way is given."""
        return self.setting.asked


def run_frontier(lab: Lab, setting: Setting, ways: Sequence[Chosen], *, quiet: bool = False) -> FrontierResult:
    """Measure all ways and place them on one frontier. Finished stages are read from disk.

    Args:
        lab: the run directory.
        setting: base, problems and maybe a tuned model.
        ways: what is tried besides the plain base, its second draw and the tuned model.
        quiet: write no line for each way.
    """
    plain = {name: Chosen(name=name, elicitation=ELICITATIONS[PLAIN]) for name in (PLAIN, NULL)}
    run = _Run(lab, setting, {**plain, **{way.name: way for way in ways}})
    begun, used = time.monotonic(), dict[str, float]()
    planned = {one.name: one for one in plan_frontier(lab, setting, ways)}
    run.left_out |= {name: one.why for name, one in planned.items() if one.why}
    steps = [PLAIN, NULL, *([TUNED] if setting.tuned_name else []), *(way.name for way in ways)]
    steps = [name for name in steps if name not in run.left_out]
    for place, name in enumerate(steps):
        if not quiet and time.monotonic() - begun > QUIET_S:
            left = seconds_left(planned, used, steps[place:])
            step(f"frontier of {setting.name}", place, len(steps), name, left)
        started = time.monotonic()
        _one(run, name)
        used[name] = time.monotonic() - started
    best, chosen_by = best_prompt(run)
    ordered = [one.way for one in run.found.values()]
    streams = lab.streams.child("frontier", setting.name)
    table = run.found[PLAIN].table
    return FrontierResult(
        name=setting.name,
        base=setting.base_name,
        tuned=setting.tuned_name,
        problems=setting.problems_name,
        run=str(lab.root.resolve()),
        frontier=frontier_of(ordered, best, streams),
        told={name: one.told for name, one in run.found.items()},
        draws=len(setting.asked.draws),
        unit="verified answers" if table.reads_traces else "right answers",
        left_out=dict(run.left_out),
        notes=(*setting.notes, chosen_by),
        seconds=time.monotonic() - begun,
        stages=dict(lab.seconds),
    )


def _one(run: _Run, name: str) -> None:
    """Measure one way, or note why it is left out. Base and tuned model cannot be left out."""
    setting, lab = run.setting, run.lab
    if name in (PLAIN, NULL):
        asked, count = run.asked, len(run.asked.draws)
        if name == NULL:
            asked = replace(asked, draws=range(asked.draws.start + count, asked.draws.stop + count))
        kind: Kind = "base" if name == PLAIN else "null"
        run.found[name] = by_elicitation(lab, asked, run.ways[name], kind)
        return
    if name == TUNED:
        policy, spent = reference(lab, setting)
        run.setting = replace(setting, asked=replace(run.asked, teacher=policy))
        told = Told(summary=setting.tuned_name, source="the reference model", cost="")
        run.found[name] = by_policy(lab, run.asked, policy, name=TUNED, kind="tuned", spent=spent, told=told)
        return
    try:
        made = _made(run, run.ways[name])
    except (BusyError, StorageError):
        raise
    except KeyturnError as why:
        run.left_out[name] = reason(why)
        return
    idle = _idle(made, run.found[PLAIN], run.asked)
    if idle:
        run.left_out[name] = idle
    else:
        run.found[name] = made


def reference(lab: Lab, setting: Setting) -> tuple[Policy, dict[str, float]]:
    """The tuned model and what it cost; of one that was brought nobody knows that."""
    one, session = setting.trains, setting.session
    if one is None or session is None:
        assert setting.tuned is not None, "a setting with a tuned model"
        return setting.tuned, {}
    before = sum(lab.seconds.values())
    policy = trained(session, one).policy
    asked = min(len(session.task.train.problems), one.rl.steps * one.rl.prompts)
    return policy, {"before": sum(lab.seconds.values()) - before, "examples": float(asked)}


def _made(run: _Run, chosen: Chosen) -> Measured:
    if chosen.elicitation is not None:
        kind: Kind = "control" if chosen.elicitation.controls else "elicitation"
        return by_elicitation(run.lab, run.asked, chosen, "prompt" if chosen.method in PROMPTS else kind)
    model, spent, told = trained_by(run.lab, run.setting, chosen)
    return by_policy(
        run.lab, run.asked, model.policy, name=chosen.name, kind="training", spent=spent, told=told
    )


def by_elicitation(lab: Lab, asked: Asked, chosen: Chosen, kind: Kind) -> Measured:
    """Answers under an elicitation method."""
    method = chosen.elicitation
    assert method is not None, "the caller sees to it"
    before = dict(lab.seconds)
    done = elicit(lab, method, chosen.config, asked)
    spent = _spent(lab, before)
    size = max(len(done.elicitation.completions), 1)
    prepared = spent.get(f"prepare {method.name}", 0.0)
    return _measured(
        lab,
        asked,
        (done.stage, done.elicitation.completions, done.elicitation.costs),
        name=chosen.name,
        kind=kind,
        spent={
            "before": prepared,
            "seconds": spent.get(method.name, math.nan) / size,
            "examples": float(done.examples),
            "weights": float(done.weights),
        },
        control=method.control,
        told=Told(summary=method.summary, source=method.source, cost=method.cost),
    )


def by_policy(
    lab: Lab,
    asked: Asked,
    policy: Policy,
    *,
    name: str,
    kind: Kind,
    spent: Mapping[str, float],
    told: Told,
) -> Measured:
    """Plain answers of another policy."""
    before, label = dict(lab.seconds), f"draw {name}"
    stage, completions = lab.draw(policy, asked.problems.problems, asked.draws, asked.limits, name=label)
    seconds = _spent(lab, before).get(label, math.nan) / max(len(completions), 1)
    costs = costs_of(completions)
    changed = weights_changed(asked.policy, policy)
    return _measured(
        lab,
        asked,
        (stage, completions, costs),
        name=name,
        kind=kind,
        spent={"seconds": seconds, "weights": changed, **spent},
        control=(),
        told=told,
    )


def _spent(lab: Lab, before: Mapping[str, float]) -> dict[str, float]:
    """Seconds that stages took since."""
    return {label: seconds - before.get(label, 0.0) for label, seconds in lab.seconds.items()}


def _measured(
    lab: Lab,
    asked: Asked,
    drawn: tuple[Stage, Completions, Costs],
    *,
    name: str,
    kind: Kind,
    spent: Mapping[str, float],
    control: tuple[str, ...],
    told: Told,
) -> Measured:
    stage, completions, costs = drawn
    problems = asked.problems
    _, grades = lab.grade(problems.grader, problems.problems, completions, stage, name="grade")
    table = answers(name, problems.problems, completions, grades)
    rates = table.rates()
    if np.isfinite(rates).mean() < LEAST_GRADED:
        what = f"{int(np.isnan(rates).sum())} of {len(rates)} problems have no graded answer"
        raise InputError(what, fix="see what the policy answered")
    size = len(problems.problems)
    long = _by_problem(completions.lengths.astype(np.float64), completions, size)
    with np.errstate(divide="ignore", invalid="ignore"):
        steered = np.where(long > 0, _by_problem(costs.steered, completions, size) / long, 0.0)
    columns = {
        "generated": _by_problem(costs.generated, completions, size),
        "steered": steered,
        "teacher_bits": _by_problem(costs.teacher_bits, completions, size),
        **{cost: np.full(size, value) for cost, value in spent.items()},
    }
    way = Way(
        name=name,
        kind=kind,
        success=rates,
        costs=columns,
        told=bool((costs.checks > 0).any()),
        control=control,
    )
    return Measured(way=way, completions=completions, table=table, told=told)


def _by_problem(values: NDArray[np.float64], completions: Completions, problems: int) -> NDArray[np.float64]:
    """Mean over each problem's answers; NaN where one is not known."""
    sums = np.bincount(completions.problem, weights=values, minlength=problems)
    return sums / np.maximum(np.bincount(completions.problem, minlength=problems), 1)


def _idle(made: Measured, plain: Measured, asked: Asked) -> str:
    """Why a way says nothing here: it gave the answers of plain sampling, or it spoke in words that the model
    does not know."""
    given, usual = made.completions, plain.completions
    same = np.array_equal(given.offsets, usual.offsets) and np.array_equal(given.tokens, usual.tokens)
    if same and given.texts == usual.texts and made.way.kind != "training":
        return "it gave the very answers of plain sampling: with these settings it changes nothing here"
    policy = asked.policy
    unknown = getattr(policy.tokenizer, "unk_token_id", None) if isinstance(policy, LocalPolicy) else None
    if unknown is None:
        return ""
    share = [np.unique(one.token_row[one.tokens == unknown]).size / max(len(one), 1) for one in (given, usual)]
    return "its words are not among this model's words" if share[0] - share[1] > 0.5 else ""


def best_prompt(run: _Run) -> tuple[str, str]:
    """The base with its best prompt, and how it was chosen: on problems that are not judged where there are
    some."""
    names = [PLAIN, *(name for name, one in run.found.items() if one.way.kind == "prompt")]
    choosing = run.setting.choosing
    if len(names) == 1:
        return PLAIN, "No prompt could be tried here, so the base with its best prompt is the plain base."
    if choosing is None:
        rates = {name: float(np.nanmean(run.found[name].way.success)) for name in names}
        best = max(names, key=lambda name: rates[name])
        said = "its success is too high by that choice"
        return best, f"The best of {len(names)} prompts was chosen on the judged problems: {said}."
    rates = {name: _on(run, name, choosing) for name in names}
    best = max(names, key=lambda name: rates[name])
    told = ", ".join(f"{name} {rates[name]:.2f}" for name in names)
    return best, f"The best prompt was chosen on {len(choosing.problems)} other problems: {told}."


def _on(run: _Run, name: str, choosing: ProblemSet) -> float:
    """Success of a prompt on the problems for choices."""
    asked = replace(
        run.asked,
        problems=choosing,
        draws=range(TRIALS),
        streams=run.asked.streams.child("frontier", "prompts"),
    )
    done = by_elicitation(run.lab, asked, run.ways[name], "prompt")
    return float(np.nanmean(done.way.success))
