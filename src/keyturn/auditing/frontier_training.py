"""Training methods on a frontier: what they make of the base, and what that costs."""

from __future__ import annotations

import math

from keyturn.auditing.frontier_plan import sizes_in_words
from keyturn.auditing.frontier_result import Told
from keyturn.auditing.frontier_setting import Setting
from keyturn.auditing.frontier_ways import Chosen
from keyturn.core.errors import UsageError
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model
from keyturn.methods.contract import PRODUCT, Method
from keyturn.methods.sft_then_rl import LARGE_RL
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Policy
from keyturn.rewards.by_name import reward_named
from keyturn.training.config import RLConfig


def trained_by(lab: Lab, setting: Setting, chosen: Chosen) -> tuple[Model, dict[str, float], Told]:
    """Train the base by a method or objective, as one or several stages.

    Returns:
        The model, its costs before the first answer, and what is said of it.

    Raises:
        UsageError: the task lacks what the method needs.
    """
    session, trains = setting.session, chosen.trains
    assert session is not None, "a setting for training methods has a session"
    assert trains is not None, "the caller sees to it"
    pool, before = len(session.task.train.problems), sum(lab.seconds.values())
    if isinstance(trains, Method):
        trains.check(session.task)
        model = trains.train(session, trains.profiles[chosen.profile])[PRODUCT]
        examples, cost = pool, trains.cost
        told = Told(summary=trains.summary, source=trains.source, cost=cost, at_most=("examples",))
    else:
        objective = trains()
        if "demonstration" in objective.needs:
            what = f"{objective.name} learns from demonstrations beside its draws"
            raise UsageError(what, fix=f"keyturn train {objective.name}, and --tuned for what it made")
        sizes = LARGE_RL if chosen.profile == "real" else setting.rl or RLConfig()
        model = session.rl(
            session.base,
            objective=objective,
            reward=reward_named("outcome"),
            config=sizes,
            label=f"RL {objective.name}",
        )
        examples = min(pool, sizes.steps * sizes.prompts)
        cost = sizes_in_words(sizes)
        told = Told(summary=objective.summary, source=objective.source, cost=cost)
    seconds = sum(lab.seconds.values()) - before
    return model, {"before": seconds, "examples": float(examples)}, told


def weights_changed(base: Policy, tuned: Policy) -> float:
    """How many numbers in the weights of two models differ; NaN where they cannot be compared."""
    if not (isinstance(base, LocalPolicy) and isinstance(tuned, LocalPolicy)):
        return math.nan
    ours, theirs = (dict(one.model.named_parameters()) for one in (base, tuned))
    if ours.keys() != theirs.keys() or any(ours[name].shape != theirs[name].shape for name in ours):
        return math.nan
    return float(sum(int((ours[n].detach() != theirs[n].detach().to(ours[n].device)).sum()) for n in ours))
