"""The audit: it takes a base policy, a tuned policy and problems, and says what changed: deployed or created.

Every step is a stage of the :class:`~keyturn.lab.lab.Lab`: the base is sampled in two stages, then the tuned
policy is sampled, the draws are graded, and completions are teacher-forced through both models. Pure measures
and the verdict follow. Nothing here knows a model family. A world's grader makes more measures possible, but
no grader is required to read traces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keyturn.auditing import audit_settings, copy_removal
from keyturn.auditing.elicited_problems import ElicitedProblems, elicited_problems
from keyturn.auditing.preflight import check_pair, preflight_cautions
from keyturn.auditing.result import AuditResult, Cell
from keyturn.auditing.spans import choose_spans
from keyturn.auditing.teacher_forced import (
    certified_lower_bound,
    ends_alike,
    shift_table,
    why_not_teacher_forced,
)
from keyturn.auditing.world_facts import WorldFacts
from keyturn.core.errors import InputError, UsageError
from keyturn.core.measurement import Measurement
from keyturn.core.numbers import number
from keyturn.elicitation.format_prompt import elicit_format, format_measurements, leaves_room
from keyturn.lab.lab import Lab, Stage
from keyturn.lab.noted import note
from keyturn.measures import MEASURES
from keyturn.measures.cells import cell_name, cells_of
from keyturn.measures.contract import Tables
from keyturn.measures.deployed_created import judge
from keyturn.measures.draws import ENOUGH, FIRST_STAGE
from keyturn.measures.paired import Paired
from keyturn.measures.routing_execution import shares as routing_shares
from keyturn.measures.verdict import Caution, Verdict
from keyturn.policies.client import ServerPolicy
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits, Policy
from keyturn.policies.vllm_engine import VllmPolicy
from keyturn.policies.vocabularies import check_words
from keyturn.problems.contract import ProblemSet, answers
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Answers, Grades, TwoStages


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """How many draws an audit takes. docs/verdict.md explains why it takes so many."""

    k: int = 64
    """Budget K: what the base does within K draws, it could already do. Also the tuned draws per problem."""
    n_base: int = 0
    """Base draws per problem; 0 means 4K."""
    first: int = FIRST_STAGE
    """Base draws for every problem, before the audit decides which problems need the rest."""
    enough: int = ENOUGH
    """Number of successes among the first draws after which a problem needs no more draws."""
    max_new_tokens: int = 512
    """Maximum number of tokens in a completion."""
    batch_rows: int = 512
    """Rows decoded at once. This changes the speed, never the draws."""
    token_draws: int = 4
    """Completions per problem and policy that are teacher-forced through both models."""
    elicit: tuple[Any, ...] = ()
    """Elicitation methods that are tried where the base's draws do not reach; each draws about as much as the
    audit."""

    @property
    def draws_base(self) -> int:
        """Maximum number of base draws per problem."""
        return self.n_base or 4 * self.k


@dataclass(frozen=True, kw_only=True, eq=False)
class GradedDraws:
    """Graded completions of one policy."""

    stages: tuple[Stage, ...]
    completions: Completions
    grades: Grades
    answers: Answers


@dataclass(frozen=True, kw_only=True, eq=False)
class AuditPair:
    """What is audited: two policies and the problems."""

    name: str
    base: Policy
    tuned: Policy
    base_name: str
    tuned_name: str
    problems: ProblemSet
    problems_name: str
    facts: WorldFacts | None = None
    weights: tuple[Path, Path] | None = None
    history: tuple[Mapping[str, float], ...] = ()
    form: str = ""
    """The completion format that the grader wants, see ``elicitation.format_prompt``. Empty: no such arm."""
    cell_keys: tuple[str, ...] = ()
    """Keys of ``Problem.cell`` that define a cell. If empty, all keys do."""


def audit(lab: Lab, pair: AuditPair, config: AuditConfig) -> AuditResult:
    """Audit a pair of policies.

    Args:
        lab: the run directory. Finished stages are read from it.
        pair: what is audited.
        config: how many draws are taken.
    """
    tables = collect(lab, pair, config)
    elicited = elicitation_of(lab, pair, config, tables) if config.elicit else None
    if elicited is not None:
        known = tables.paired.elicited
        tables = tables.knowing(elicited=elicited.reached if known is None else known | elicited.reached)
    found = conclude(
        lab,
        name=pair.name,
        base_name=pair.base_name,
        tuned_name=pair.tuned_name,
        problems_name=pair.problems_name,
        tables=tables,
        k=config.k,
        cell_keys=pair.cell_keys,
        tokenizer=pair.tuned.tokenizer if isinstance(pair.tuned, LocalPolicy) else None,
    )
    said = audit_settings.settings_of_policies(
        (pair.base, pair.tuned),
        (tables.paired.base, tables.paired.tuned),
        pair.problems,
        tokens=config.max_new_tokens,
        seed=lab.streams.root,
    )
    policies = {"base": pair.base, "tuned": pair.tuned}
    apart = preflight_cautions(policies, pair.problems.problems, Limits(max_new_tokens=config.max_new_tokens))
    return replace(found, settings=said, cautions=(*found.cautions, *apart), elicited=elicited)


def elicitation_of(lab: Lab, pair: AuditPair, config: AuditConfig, tables: Tables) -> ElicitedProblems:
    """What elicitation solves beyond the base's draws.

    Raises:
        UsageError: the base is greedy, so nothing is known of what its draws reach.
    """
    if greedy(pair.base):
        raise UsageError("--elicit needs draws of the base, and a greedy one has one", fix="--temperature 1")
    return elicited_problems(
        lab,
        pair.base,
        pair.problems,
        tables,
        config.elicit,
        k=config.k,
        limits=Limits(max_new_tokens=config.max_new_tokens, batch_rows=config.batch_rows),
        in_words=pair.facts is None,
    )


def collect(lab: Lab, pair: AuditPair, config: AuditConfig) -> Tables:
    """Everything that needs a model: draws, grades and teacher-forced passes."""
    limits = Limits(max_new_tokens=config.max_new_tokens, batch_rows=config.batch_rows)
    draws = config.k
    if any(greedy(policy) for policy in (pair.base, pair.tuned)):
        # Greedy draws are copies of one draw. Counted as many draws, they would make a verdict falsely certain.
        draws, config = 1, replace(config, n_base=1)
    policies = {"base": pair.base, "tuned": pair.tuned}
    asked = pair.problems.problems
    check_pair(policies, asked)
    base = draw_two_stages(lab, pair, config, limits)
    tuned = draw_all(lab, pair.tuned, "tuned", pair.problems, range(draws), limits)
    for side, found in (("base", base), ("tuned", tuned)):
        note((pair.name, side), pair.problems, found.stages, found.answers.two_stages)
    of_base, copied = without_copies(pair.base, "base", base)
    of_tuned, copied_too = without_copies(pair.tuned, "tuned", tuned)
    tables = Tables(
        streams=lab.streams.child("measure", pair.name),
        paired=Paired(base=of_base, tuned=of_tuned),
        weights=pair.weights or (),
        history=pair.history,
        copies=(*copied, *copied_too),
    )
    tables = add_teacher_forced(lab, pair, config, tables, base, tuned)
    cramped = [n for n, p in policies.items() if pair.form and not leaves_room(p, asked, pair.form, limits)]
    if cramped:
        why = f"solved sums leave too little room in the context ({' and '.join(cramped)})"
        tables = replace(tables, left_out={**tables.left_out, "few-shot format": why})
    elif pair.form:
        try:
            arm = elicit_format(lab, policies, pair.problems, pair.form, draws, limits)
            tables = replace(tables.knowing(elicited=arm.reached), formats=arm.tables)
        except InputError as error:
            # A server may refuse the longer prompts. The draws made before that remain valid.
            tables = replace(tables, left_out={**tables.left_out, "few-shot format": error.what})
    if pair.facts is not None:
        tables = pair.facts.add_to(tables, lab, pair.base, pair.tuned, limits, base.stages + tuned.stages)
    return tables


def greedy(policy: Policy) -> bool:
    """Whether a policy gives the same single completion for a problem, however often it is asked."""
    if isinstance(policy, LocalPolicy | VllmPolicy):
        return policy.sampling.greedy
    return isinstance(policy, ServerPolicy) and policy.config.greedy


def without_copies(policy: Policy, name: str, drawn: GradedDraws) -> tuple[Answers, tuple[str, ...]]:
    """Answers without copies. Our own draws are independent, but a server may ignore its seeds."""
    if isinstance(policy, LocalPolicy):
        return drawn.answers, ()
    return copy_removal.remove_server_copies(name, drawn.completions, drawn.answers)


def conclude(
    lab: Lab,
    *,
    name: str,
    base_name: str,
    tuned_name: str,
    problems_name: str,
    tables: Tables,
    k: int,
    cell_keys: tuple[str, ...] = (),
    tokenizer: Any = None,
) -> AuditResult:
    """The pure part: measures, verdicts and the record."""
    measurements, left_out = measure_all(tables, k)
    measurements += format_measurements(tables)
    pooled, cells = verdicts(tables, k, cell_keys)
    pooled = with_routing(pooled, measurements)
    return AuditResult(
        name=name,
        base=base_name,
        tuned=tuned_name,
        problems=problems_name,
        run=str(lab.root.resolve()),
        verdict=pooled,
        cells=cells,
        measurements=measurements,
        tables=tables,
        spans=choose_spans(tables, pooled, tokenizer, lab.streams.child("spans")),
        seconds=dict(lab.seconds),
        limits=limits_of(tables, pooled),
        left_out=left_out,
        cautions=(*pooled.cautions, *(Caution(kind="copies", text=text) for text in tables.copies)),
    )


def draw_all(
    lab: Lab, policy: Policy, name: str, problem_set: ProblemSet, draws: range, limits: Limits
) -> GradedDraws:
    """The same draws of every problem, with their grades."""
    problems = problem_set.problems
    stage, completions = lab.draw(policy, problems, draws, limits, name=f"draw {name}")
    graded, grades = lab.grade(problem_set.grader, problems, completions, stage, name="grade")
    return GradedDraws(
        stages=(stage, graded),
        completions=completions,
        grades=grades,
        answers=answers(name, problems, completions, grades),
    )


def draw_two_stages(lab: Lab, pair: AuditPair, config: AuditConfig, limits: Limits) -> GradedDraws:
    """The base's draws: a few for every problem, and the rest only where successes are rare."""
    problem_set = pair.problems
    first = draw_all(lab, pair.base, "base", problem_set, range(min(config.first, config.draws_base)), limits)
    _, successes = first.answers.counts()
    if config.draws_base <= config.first:
        return first
    rule = TwoStages(first=config.first, enough=config.enough, went_on=successes < config.enough)
    rare = tuple(problem for problem, on in zip(problem_set.problems, rule.went_on, strict=True) if on)
    if not rare:
        return replace(first, answers=replace(first.answers, two_stages=rule))
    more, completions = lab.draw(
        pair.base,
        rare,
        range(config.first, config.draws_base),
        limits,
        name="draw base",
        parents=first.stages,
    )
    both = Completions.concat([first.completions, completions.onto(first.completions.prompts)])
    graded, grades = lab.grade(problem_set.grader, problem_set.problems, both, more, name="grade")
    table = answers("base", problem_set.problems, both, grades)
    return GradedDraws(
        stages=(*first.stages, more, graded),
        completions=both,
        grades=grades,
        answers=replace(table, two_stages=rule),
    )


def add_teacher_forced(
    lab: Lab, pair: AuditPair, config: AuditConfig, tables: Tables, base: GradedDraws, tuned: GradedDraws
) -> Tables:
    """Teacher-forced passes through both models and the resulting certified lower bound, or why they fail."""
    left_out = {**tables.left_out, **why_not_teacher_forced(pair.base, pair.tuned)}
    if not (isinstance(pair.base, LocalPolicy) and isinstance(pair.tuned, LocalPolicy)):
        return replace(tables, left_out=left_out)
    asked, shift, bound = pair.problems.problems, {}, None
    try:
        if "shift" not in left_out:
            shift = {
                name: shift_table(
                    lab,
                    pair.base,
                    pair.tuned,
                    name,
                    d.completions,
                    d.grades,
                    config.token_draws,
                    d.stages,
                    asked,
                )
                for name, d in (("base", base), ("tuned", tuned))
            }
            if not ends_alike(pair.base, pair.tuned, shift["tuned"].completions):
                left_out["reachability"] = "the base would not have ended where the tuned policy did"
    except InputError as error:
        left_out["shift"] = error.what
    try:
        if "bound" not in left_out:
            check_words(pair.base, pair.tuned, tuned.completions.tokens)
            bound = certified_lower_bound(lab, pair.base, tuned.completions, tuned.grades, tuned.stages, asked)
    except InputError as error:
        left_out["bound"] = error.what
    return replace(tables.knowing(bound=bound), shift=shift, left_out=left_out)


def measure_all(tables: Tables, k: int) -> tuple[tuple[Measurement, ...], dict[str, str]]:
    """Compute every measure whose tables exist, at the audit's budget K. For the others, say why not."""
    found: list[Measurement] = []
    left_out: dict[str, str] = {}
    for measure in MEASURES.values():
        config = measure.config()
        if hasattr(config, "k"):
            config = replace(config, k=k)
        try:
            found.extend(measure.take(tables, config))
        except InputError as error:
            left_out[measure.name] = error.what
    # A table that no measure needs is listed under its own name.
    needs = {need for measure in MEASURES.values() for need in measure.needs}
    return tuple(found), {n: w for n, w in tables.left_out.items() if n not in needs} | left_out


def verdicts(tables: Tables, k: int, cell_keys: tuple[str, ...]) -> tuple[Verdict, tuple[Cell, ...]]:
    """The pooled verdict and one verdict per cell."""
    problems, streams = tables.paired.problems, tables.streams
    keys = cell_keys or tuple(sorted({key for problem in problems for key in problem.cell}))
    counts = tables.paired.counts(cell_keys=keys)
    cells = [
        Cell(key=dict(key), verdict=judge(counts.at(index), streams=streams.child(cell_name(key)), k=k))
        for key, index in cells_of(problems, keys)
    ]
    return judge(counts, streams=streams, k=k), tuple(cells)


def with_routing(verdict: Verdict, measurements: tuple[Measurement, ...]) -> Verdict:
    """The verdict, with the shares of routing and execution that the Kitagawa decomposition found."""
    return replace(verdict, shares={**verdict.shares, **routing_shares(measurements, verdict.masses["gain"])})


def limits_of(tables: Tables, verdict: Verdict) -> tuple[str, ...]:
    """What this audit cannot say."""
    said = [
        f"'Created' means: not within {verdict.k} draws of the base at this temperature and prompt. "
        "Another elicitation or a larger budget may still reach it.",
        "Intervals are bootstraps over problems of this list; they say nothing of other lists, other seeds of "
        "training or other bases.",
    ]
    base = tables.paired.base
    if not base.reads_traces:
        said.append("Only answers were judged: a right answer may stand under a wrong trace.")
        if not tables.formats and not all(problem.facts.get("examples") for problem in base.problems):
            said.append(
                "No few-shot format arm was run (it needs models, and a context with room for solved sums): a "
                "base that does not know how an answer is wanted looks like one that cannot find it."
            )
    if base.truncated.any():
        share = float(base.truncated.mean())
        said.append(
            f"A share of {number(share, small=True)} of the base's completions was cut at the length limit; "
            "they count as they stand."
        )
    if tables.paired.exact is None:
        said.append("The base's success probabilities are sampled, not computed.")
    if len({str(x) for x in base.columns.get("format", ())} - {""}) > 1:
        said.append(
            "Routing and execution are split over strategies. Formats moved at the same time, and a split over "
            "formats gives other shares: the two are not told apart."
        )
    return (*said, *verdict.notes)
