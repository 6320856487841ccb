"""What an audit will need, before anything is drawn: ``keyturn audit --plan``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from keyturn.auditing import opening
from keyturn.auditing.audit import AuditConfig
from keyturn.auditing.model_places import place_of
from keyturn.auditing.model_size import arithmetic_rate, folder_of, size_of, tokens_per_second_at_best
from keyturn.auditing.planning import (
    DISK_BYTES,
    ESTIMATE,
    Choice,
    Cost,
    Powers,
    Sampling,
    choose_design,
    cost_of,
    memory_bytes,
    powers_of,
)
from keyturn.auditing.sides import problems_called, problems_in, side_of
from keyturn.core.errors import UsageError
from keyturn.core.measurement import Json, json_number
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.measures.power import Assumed
from keyturn.measures.truths import BaseName
from keyturn.policies.by_name import Loading, open_model
from keyturn.policies.connect import is_server
from keyturn.policies.protocol import Limits
from keyturn.policies.stop_texts import checked
from keyturn.policies.vllm_engine import PREFIX, is_vllm
from keyturn.problems.contract import ProblemSet
from keyturn.problems.examples import with_examples

OPENED_UP_TO = 500_000_000
"""Parameters of the largest model that is opened to measure it: it takes seconds, and a few GB."""
CHARACTERS_A_TOKEN = 4
"""Of a prompt whose tokenizer is not at hand: what English takes."""


_GIVEN = "as given"
_UNKNOWN = "not known; --tokens-per-second says it"


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What a plan is asked, and what it assumes."""

    plan: bool = False
    """Print tokens, memory, time and power, and draw nothing."""
    budget: int = 0
    """With --plan: sampled tokens to spend; problems and base draws are chosen to decide best."""
    tokens_per_second: float = 0.0
    """With --plan: rate of sampled tokens, all servers or GPUs together; 0: measured or estimated here."""
    tokens_per_draw: float = 0.0
    """With --plan: mean tokens of a completion; 0: measured where a model is opened, else the limit."""
    power: float = 0.8
    """With --plan: share of audits that are to find the right label."""
    assumed_base: BaseName = "thirds"
    """With --plan: thirds (easy, at the edge, absent), or skewed (most hopeless, some sure)."""
    assumed_gain: float = 0.05
    """With --plan: gain in mean success that the audit is to find and divide."""

    def __post_init__(self) -> None:
        given = {name for name, value in vars(self).items() if value != type(self).__dict__.get(name)}
        for name in sorted(given) if not self.plan else ():
            option = name.replace("_", "-")
            raise UsageError(f"--{option} would do nothing without --plan", fix="--plan beside it")
        if self.budget < 0 or self.tokens_per_second < 0 or self.tokens_per_draw < 0:
            raise UsageError("a budget, a rate or a length is negative", fix="numbers of 0 or more")
        if not 0 < self.power < 1:
            raise UsageError(f"--power is {self.power:g}", fix="a number between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How fast one policy answers.

    Args:
        side: base or tuned.
        tokens_per_second: NaN where unknown.
        how: where it is from, in words.
    """

    side: str
    tokens_per_second: float
    how: str


@dataclass(frozen=True, kw_only=True)
class AuditPlan:
    """What an audit will need.

    Args:
        config: how many draws.
        problems: how many it is planned for; ``of``: what those are.
        powers: by number of problems; ``least``: the smallest that has the power wanted, None beyond all tried.
        wanted: the power.
        cost: at ``problems``.
        sampling: what a draw costs.
        rates: of both policies.
        seconds: of the sampling; NaN where a rate is unknown.
        memory: peak bytes in this process, NaN where unknown.
        memory_says: why it is unknown, or what it counts.
        assumed: of the truth.
        designs: what a budget affords, best first; empty without one.
    """

    config: AuditConfig
    problems: int
    of: str
    powers: Powers
    least: int | None
    wanted: float
    cost: Cost
    sampling: Sampling
    rates: tuple[Rate, ...]
    seconds: float
    memory: float
    memory_says: str
    assumed: Assumed
    designs: tuple[Choice, ...] = ()

    @property
    def disk(self) -> float:
        """Bytes of the run directory, at most."""
        return self.cost.sampled_most * DISK_BYTES

    def to_json(self) -> dict[str, Json]:
        """Everything, with null for what is not known."""
        return {
            "k": self.config.k,
            "n_base": self.config.draws_base,
            "problems": self.problems,
            "problems_are": self.of,
            "power": self.powers.to_json(),
            "power_wanted": self.wanted,
            "least_problems": self.least,
            "assumed": {"base": self.assumed.base, "gain": self.assumed.gain},
            "cost": self.cost.to_json(),
            "tokens_per_draw": json_number(self.sampling.tokens_per_draw),
            "tokens_per_draw_are": self.sampling.tokens_from,
            "prompt_tokens": json_number(self.sampling.prompt_tokens),
            "rates": [
                {"side": one.side, "tokens_per_second": json_number(one.tokens_per_second), "how": one.how}
                for one in self.rates
            ],
            "seconds": json_number(self.seconds),
            "memory_bytes": json_number(self.memory),
            "memory": self.memory_says,
            "disk_bytes_at_most": json_number(self.disk),
            "designs": [one.to_json() for one in self.designs],
        }


def plan(
    base: str = "",
    tuned: str = "",
    problems: Any = None,
    *,
    asked: PlanOptions = PlanOptions(plan=True),
    k: int = 64,
    n_base: int = 0,
    limit: int = 0,
    per_cell: int = opening.PER_CELL,
    max_new_tokens: int = 0,
    temperature: float = 1.0,
    top_p: float = 1.0,
    template: str = "auto",
    stop: Sequence[str] = (),
    examples: Any = None,
    grader: str = "auto",
    device: str = "auto",
    dtype: str = "float32",
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    seed: int = 0,
) -> AuditPlan:
    """Say what :func:`keyturn.audit` with the same arguments will need. No server is asked for anything.

    Args:
        base, tuned: the policies, by name; both empty: the design alone.
        problems: the problems; None: those of the base's world.
        asked: the budget, the rate, and what is assumed.
        k, n_base, limit, per_cell, max_new_tokens: how much is drawn, as for the audit.
        temperature, top_p, template, stop, examples, grader: how policies are asked and judged.
        device, dtype, revision, trust_remote_code, allow_pickle: how models are loaded.
        seed: that of the audit; it decides which problems a world makes.

    Raises:
        KeyturnError: the audit would be refused, or what is assumed is impossible.
    """
    names = tuple(name for name in (base, tuned) if name)
    config = opening.config_of(k=k, n_base=n_base, max_new_tokens=max_new_tokens)
    if n_base and n_base < 3 * k:
        what = f"{n_base} base draws lower K to {n_base // 3}"
        raise UsageError(what, fix=f"--n-base {3 * k}, or a smaller --k")
    loading = Loading(
        device=device, dtype=dtype, revision=revision, trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle, temperature=temperature, top_p=top_p, template=template, stop=checked(stop),
    )  # fmt: skip
    given, config, of = _problems(base, problems, grader, limit, per_cell, config, seed)
    if given is not None and examples is not None:
        given = with_examples(given, problems_in(examples).problems)
    assumed = Assumed(base=asked.assumed_base, gain=asked.assumed_gain)
    available = len(given.problems) if given else limit
    powers, least = powers_of(config, assumed, asked.power, (available,))
    sampling, rates = _sampling(names, given, config, loading, asked)
    count = available or least or max(powers.by_size)
    cost = cost_of(count, config, sampling, assumed)
    designs = choose_design(asked.budget, available, config, sampling, assumed) if asked.budget else ()
    memory, says = _memory(names, count, config, sampling, loading)
    return AuditPlan(
        config=config,
        problems=count,
        of=of or ("as --limit says" if limit else f"the least for a power of {asked.power:g}"),
        powers=powers,
        least=least,
        wanted=asked.power,
        cost=cost,
        sampling=sampling,
        rates=rates,
        seconds=_seconds(cost, config, rates, count * sampling.tokens_per_draw),
        memory=memory,
        memory_says=says,
        assumed=assumed,
        designs=designs,
    )


def _problems(
    base: str, problems: Any, grader: str, limit: int, per_cell: int, config: AuditConfig, seed: int
) -> tuple[ProblemSet | None, AuditConfig, str]:
    """The problems that will be asked, where there are any, and what they are."""
    if problems is not None:
        found = problems_in(problems, grader)
        chosen = found.problems[:limit] if limit else found.problems
        return replace(found, problems=chosen), config, f"those of {problems_called(problems, found)}"
    if not base:
        return None, config, ""
    world = None if is_server(base) else side_of(base, "base").world
    if world is None:
        raise UsageError(f"{base} brings no problems of its own", fix="--problems FILE")
    made, tokens = opening.world_problems(world, per_cell, Streams(seed))
    return made, replace(config, max_new_tokens=tokens), f"test problems of the world {world.name}"


def _sampling(
    names: tuple[str, ...], given: ProblemSet | None, config: AuditConfig, loading: Loading, asked: PlanOptions
) -> tuple[Sampling, tuple[Rate, ...]]:
    """What a draw costs and how fast it comes: given, measured, or estimated."""
    problems: tuple[Problem, ...] = given.problems if given else ()
    length, prompt, rates = [], [], []
    for side, name in zip(("base", "tuned"), names, strict=False):
        rate, tokens, prompt_tokens = _rate(side, name, problems, config, loading, asked)
        rates.append(rate)
        length.append(tokens)
        prompt.append(prompt_tokens)
    if not names:
        rate = asked.tokens_per_second or math.nan
        rates = [Rate(side="both", tokens_per_second=rate, how=_GIVEN if asked.tokens_per_second else _UNKNOWN)]
    known = [tokens for tokens in length if not math.isnan(tokens)]
    characters = [sum(len(text) for _, text in p.turns) for p in problems]
    typed = sum(characters) / len(characters) / CHARACTERS_A_TOKEN if characters else math.nan
    prompts = [tokens for tokens in prompt if not math.isnan(tokens)]
    if asked.tokens_per_draw:
        tokens, tokens_from = asked.tokens_per_draw, "as given"
    elif known and len(known) == len(names):
        tokens, tokens_from = sum(known) / len(known), "measured on some completions"
    else:
        tokens, tokens_from = float(config.max_new_tokens), "the limit: not measured, so all of this is at most"
    local = bool(names) and not any(map(_away, names))
    shown = any(problem.facts.get("examples") for problem in problems[:1])
    return (
        Sampling(
            tokens_per_draw=tokens,
            tokens_from=tokens_from,
            prompt_tokens=sum(prompts) / len(prompts) if prompts else typed,
            formats=bool(given and getattr(given.grader, "form", "") and not shown),
            scores=local,
        ),
        tuple(rates),
    )


def _rate(
    side: str,
    name: str,
    problems: tuple[Problem, ...],
    config: AuditConfig,
    loading: Loading,
    asked: PlanOptions,
) -> tuple[Rate, float, float]:
    """Rate, tokens of a draw and tokens of a prompt of one policy; NaN where they are not known."""
    nothing = math.nan
    if asked.tokens_per_second:
        return Rate(side=side, tokens_per_second=asked.tokens_per_second, how=_GIVEN), nothing, nothing
    if is_server(name):
        how = f"{_UNKNOWN} (a server is asked for nothing before the audit)"
        return Rate(side=side, tokens_per_second=nothing, how=how), nothing, nothing
    folder = folder_of(place_of(name.removeprefix(PREFIX)))
    size = None if folder is None else size_of(folder)
    if size is None:
        why = "not on this machine" if folder is None else "of a size that its files do not say"
        how = f"{_UNKNOWN} (the model is {why})"
        return Rate(side=side, tokens_per_second=nothing, how=how), nothing, nothing
    if is_vllm(name):
        how = f"{_UNKNOWN} (vLLM is not started for a plan)"
        return Rate(side=side, tokens_per_second=nothing, how=how), nothing, nothing
    if size.parameters > OPENED_UP_TO or not problems:
        best = tokens_per_second_at_best(size, arithmetic_rate())
        how = (
            f"at best: {size.parameters / 1e9:.2f}e9 parameters at this processor's matrix product, one process"
        )
        return Rate(side=side, tokens_per_second=best, how=how), nothing, nothing
    # Here and not at the top: a trial opens a model, and what needs none must not import torch.
    from keyturn.auditing.trial import try_policy  # noqa: PLC0415

    policy = open_model(str(folder), loading)
    limits = Limits(max_new_tokens=config.max_new_tokens, batch_rows=config.batch_rows)
    found = try_policy(policy, problems, limits)
    how = f"measured here, {found.rows} completions at a time"
    rate = Rate(side=side, tokens_per_second=found.tokens_per_second, how=how)
    return rate, found.tokens_per_draw, found.prompt_tokens


def _away(name: str) -> bool:
    """Whether a policy is not a model of ours in this process."""
    return is_server(name) or is_vllm(name)


def _seconds(cost: Cost, config: AuditConfig, rates: tuple[Rate, ...], tokens: float) -> float:
    """Seconds of the sampling: each policy's draws at its own rate."""
    if len(rates) == 1:
        return cost.sampled / rates[0].tokens_per_second
    formats = (cost.other_draws - config.k) / 2
    draws = (cost.base_draws + formats, config.k + formats)
    return sum(one * tokens / rate.tokens_per_second for one, rate in zip(draws, rates, strict=True))


def _memory(
    names: tuple[str, ...], problems: int, config: AuditConfig, sampling: Sampling, loading: Loading
) -> tuple[float, str]:
    """Peak memory of the process that audits, and what it counts."""
    local = [name for name in names if not _away(name)]
    if not names:
        return math.nan, "not known: no model is named"
    if not local:
        return 0.0, "servers and vLLM hold the models"
    folders = [folder_of(place_of(name)) for name in local]
    sizes = [None if folder is None else size_of(folder) for folder in folders]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return math.nan, "not known: a model is not on this machine"
    what: Mapping[int, str] = {1: "one model", 2: "both models"}
    held = "the process, and the rows that are drawn or scored at once"
    says = f"{what[len(known)]} in {loading.dtype}, {held}; {ESTIMATE}"
    return memory_bytes(known, problems, config, sampling, loading.dtype), says
