"""Rewards: functions from a graded group to one number per completion, one file each."""

from __future__ import annotations

from collections.abc import Callable

from keyturn.rewards.abstain import abstain
from keyturn.rewards.and_not import and_not
from keyturn.rewards.bernoulli import bernoulli
from keyturn.rewards.contract import Reward
from keyturn.rewards.format_only import format_only
from keyturn.rewards.inverted import inverted
from keyturn.rewards.label import label
from keyturn.rewards.length import length
from keyturn.rewards.majority import majority
from keyturn.rewards.mode_priced import mode_priced
from keyturn.rewards.outcome import outcome
from keyturn.rewards.overlong import overlong
from keyturn.rewards.prefix import prefix
from keyturn.rewards.process import process
from keyturn.rewards.rarity import rarity
from keyturn.rewards.shuffled import shuffled
from keyturn.rewards.step_similarity import step_similarity
from keyturn.rewards.strategy import strategy
from keyturn.rewards.sum_of import sum_of
from keyturn.rewards.tiered import tiered

REWARDS: dict[str, Callable[..., Reward]] = {
    "outcome": outcome,
    "process": process,
    "format": format_only,
    "random": bernoulli,
    "shuffled": shuffled,
    "inverted": inverted,
    "label": label,
    "majority": majority,
    "length": length,
    "overlong": overlong,
    "strategy": strategy,
    "and_not": and_not,
    "abstain": abstain,
    "prefix": prefix,
    "step_similarity": step_similarity,
    "rarity": rarity,
    "mode_priced": mode_priced,
    "tiered": tiered,
    "sum": sum_of,
}
"""Name -> function that builds the reward from its config (by default the default config), and from other
rewards (``inner``) if it wraps them; ``keyturn.rewards.by_name`` builds one from a command line's words."""
