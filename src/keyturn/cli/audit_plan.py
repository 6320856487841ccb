"""How ``keyturn audit --plan`` prints a plan."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from keyturn.front.planning import AuditPlan
from keyturn.measures.truths import TRUTHS

_SWITCHES = ("--plan", "--json")
_WITH_VALUE = (
    *("--budget", "--tokens-per-second", "--tokens-per-draw", "--power", "--assumed-base", "--assumed-gain"),
    *("--n-base", "--limit"),
)
"""Options that a plan takes, or that it chooses: the command that it leads to has its own."""
_BASES = {
    "thirds": "a third of the problems easy for the base, a third at its edge, a third absent",
    "skewed": "most problems hopeless for the base and some sure, Beta(.15, .6)",
}


def print_plan(plan: AuditPlan, words: Sequence[str], *, named: bool) -> None:
    """Write a plan to stdout.

    Args:
        plan: the plan.
        words: the command line, of which the next command is made.
        named: whether it names the policies.
    """
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(f"Plan of an audit at K = {plan.config.k}: {_draws(plan)}.\n")
    console.print(_powers(plan))
    console.print(f"\n{_least(plan)}")
    console.print(
        "Shares of simulated audits with the right label (error about .02). Assumed: "
        f"{_BASES[plan.assumed.base]}; a gain of {plan.assumed.gain:g}, all of it created or all of it "
        "deployed, or no change."
    )
    console.print(f"\nCost of {plan.problems} problems ({plan.of}), if the base is as assumed:")
    for name, value in _costs(plan):
        console.print(f"  {name:<18}{value}")
    if plan.designs:
        console.print("\nWhat the budget affords, the design that decides best first:")
        console.print(_designs(plan))
        if plan.designs[0].power:
            console.print(f"\n    keyturn {shlex.join(_next(plan, words, named))}")
        else:
            console.print("\nThese are too few problems for any label: a larger budget, or a smaller --k.")


def _next(plan: AuditPlan, words: Sequence[str], named: bool) -> list[str]:
    """The command that takes the best design."""
    kept, skip = [], False
    for word in words:
        name = word.split("=", 1)[0].replace("_", "-")
        if skip or name in _SWITCHES:
            skip = False
        elif name in _WITH_VALUE:
            skip = "=" not in word
        else:
            kept.append(word)
    best = plan.designs[0]
    policies = [] if named else ["BASE", "TUNED", "--problems", "FILE"]
    limit = ["--limit", str(best.problems)] if not plan.of.startswith("test problems") else []
    return [*kept, *policies, "--n-base", str(best.n_base), *limit]


def _draws(plan: AuditPlan) -> str:
    low, high = plan.cost.base_draws_range
    mean = f" ({plan.cost.base_draws:.0f} on average)" if low < high else ""
    formats = f", {2 * plan.config.k} more in the problems' own format" if plan.sampling.formats else ""
    return f"{_range(low, high)} base draws per problem{mean}, {plan.config.k} tuned draws{formats}"


def _least(plan: AuditPlan) -> str:
    wanted = f"The right label in {plan.wanted:.0%} of audits, whichever is true,"
    if plan.least:
        return f"{wanted} needs {plan.least} problems."
    most = max(plan.powers.by_size)
    return (
        f"{wanted} needs more than {most} problems, or more base draws (--n-base {2 * plan.config.draws_base})."
    )


def _range(low: int, high: int) -> str:
    return f"{low} to {high}" if low < high else str(high)


def _powers(plan: AuditPlan) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("problems", *(f"if {truth}" for truth in TRUTHS)):
        table.add_column(name, justify="right")
    for size, found in sorted(plan.powers.by_size.items()):
        table.add_row(str(size), *(f"{found[truth]:.2f}" for truth in TRUTHS))
    return table


def _costs(plan: AuditPlan) -> Iterator[tuple[str, str]]:
    cost, sampling = plan.cost, plan.sampling
    yield "draws", _short(plan.problems * (cost.base_draws + cost.other_draws))
    yield "tokens per draw", f"{sampling.tokens_per_draw:.0f} ({sampling.tokens_from})"
    most = f", at most {_short(cost.sampled_most)}" if cost.sampled_most > cost.sampled else ""
    yield "sampled tokens", f"{_short(cost.sampled)}{most}"
    if cost.scored:
        yield "scored tokens", f"{_short(cost.scored)} (read once more by the models)"
    if not math.isnan(sampling.prompt_tokens):
        yield "prompt tokens", f"{sampling.prompt_tokens:.0f} per problem"
    for rate in plan.rates:
        known = "" if math.isnan(rate.tokens_per_second) else f"{_short(rate.tokens_per_second)} tokens/s, "
        yield f"rate, {rate.side}", f"{known}{rate.how}"
    yield "time to sample", "not known" if math.isnan(plan.seconds) else _time(plan.seconds)
    amount = f"{plan.memory / 1e9:.1f} GB: " if plan.memory > 0 else ""
    yield "memory", f"{amount}{plan.memory_says}"
    yield "disk", f"at most {plan.disk / 1e9:.2g} GB"


def _designs(plan: AuditPlan) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("problems", "base draws", *(f"if {truth}" for truth in TRUTHS), "sampled tokens"):
        table.add_column(name, justify="right")
    for one in plan.designs:
        power = [f"{one.power[truth]:.2f}" if one.power else "none" for truth in TRUTHS]
        draws = _range(*one.cost.base_draws_range)
        table.add_row(str(one.problems), draws, *power, _short(one.cost.sampled))
    return table


def _short(number: float) -> str:
    """A number with three digits, in millions or billions where it is large."""
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _time(seconds: float) -> str:
    for size, word in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {word}"
    return f"{seconds:.2g} seconds"
