"""The ways that a frontier compares: elicitation methods and training methods by name, with their settings.

A name may carry settings, ``self-consistency:samples=64`` or ``tip:words=wait|alternatively,penalty=5``, so one
method can stand on a frontier at several doses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeAlias

from keyturn.core.errors import UsageError, unknown
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.contract import ElicitationMethod
from keyturn.measures.frontier import NULL, PLAIN, TUNED
from keyturn.methods import METHODS
from keyturn.methods.contract import Method, Profile
from keyturn.objectives import OBJECTIVES
from keyturn.objectives.contract import Objective

PROMPTS = ("zero-shot", "few-shot", "forced-opener", "no-thinking", "answer-prompt")
"""Methods that only change what stands before or in the answer: candidates for the base's best prompt."""

ON_REQUEST = frozenset(
    {
        "gepa",
        "gepa-answers",
        "gepa-coins",
        "prefix-search",
        "prefix-search-answers",
        "prefix-search-coins",
        "power-ahead",
        "perturbed-vote",
        "perturbed-random-vote",
        "one-feature",
        "feature-random",
        "tools",
        "tools-inlined",
        "tools-neutral",
        "tools-vote",
        "abstraction",
        "abstraction-mismatched",
        "abstraction-alone",
        "route-threshold",
        "route-benefit",
        "route-unsure",
        "route-length",
        "route-random",
        "route-oracle",
        "nim-search",
        "nim-search-rules",
        "nim-search-unsure",
        "nim-search-random",
        "nim-search-oracle",
        "steering-answer",
        "steering-delimiter",
        "steering-conditional",
        "steering-unconditional",
        "hybrid-divergence",
        "hybrid-planning",
        "hybrid-backwards",
        "hybrid-student",
        "hybrid-vectors",
        "hybrid-vectors-network",
        "hybrid-vectors-bias",
        "hybrid-vectors-random",
        "hybrid-vectors-random-above-bias",
        "hybrid-vectors-random-kind",
        "hybrid-vectors-coefficient",
        "hybrid-vectors-random-places",
        "hybrid-vectors-student",
    }
)
"""Methods that are tried only where they are named: they take long, or others of their kind stand for them."""

Trains: TypeAlias = Method | Callable[..., Objective]


@dataclass(frozen=True, kw_only=True, eq=False)
class Chosen:
    """A way that was asked for.

    Args:
        name: method and the settings that were given with it.
        elicitation: the method, where it changes no weight.
        config: its settings.
        trains: the training method or objective, where it does.
        profile: its profile.
    """

    name: str
    elicitation: ElicitationMethod | None = None
    config: Any = None
    trains: Trains | None = None
    profile: Profile = "demo"

    @property
    def method(self) -> str:
        """The method's own name."""
        return self.name.partition(":")[0]


def chosen_ways(names: Sequence[str | ElicitationMethod], profile: Profile = "demo") -> tuple[Chosen, ...]:
    """The ways by their names; where none is named, every elicitation method but those of :data:`ON_REQUEST`.

    Args:
        names: of methods, each maybe with settings; or methods as objects.
        profile: of training methods.

    Raises:
        UsageError: a name or a setting is unknown, or a way is named twice.
    """
    if not names:
        return tuple(
            Chosen(name=name, elicitation=one, config=one.config)
            for name, one in ELICITATIONS.items()
            if name != PLAIN and name not in ON_REQUEST
        )
    found = tuple(_chosen(name, profile) for name in names)
    seen: set[str] = set()
    for one in found:
        if one.name in seen:
            raise UsageError(f"{one.name} is named twice", fix="name it once, or give it other settings")
        seen.add(one.name)
    return found


def _chosen(name: str | ElicitationMethod, profile: Profile) -> Chosen:
    if isinstance(name, ElicitationMethod):
        return Chosen(name=name.name, elicitation=name, config=name.config)
    method, _, settings = name.partition(":")
    if method in (PLAIN, NULL, TUNED):
        raise UsageError(f"{method} is always on the frontier", fix="leave it out of --methods")
    if method in ELICITATIONS:
        one = ELICITATIONS[method]
        return Chosen(name=name, elicitation=one, config=with_settings(one.config, settings, method))
    trains = METHODS.get(method) or OBJECTIVES.get(method)
    if trains is None:
        raise unknown("method", method, [*ELICITATIONS, *METHODS, *OBJECTIVES])
    if settings:
        what = f"settings of a training method cannot be given here ({settings})"
        raise UsageError(what, fix=f"keyturn train {method} with them, and --tuned for what it made")
    return Chosen(name=name, trains=trains, profile=profile)


def with_settings(config: Any, words: str, whose: str) -> Any:
    """A config with settings from text, ``name=value`` each, parted by commas; parts of a list by ``|``.

    Raises:
        UsageError: there is no such setting, or the value is of another kind.
    """
    if not words:
        return config
    if not is_dataclass(config) or isinstance(config, type):
        raise UsageError(f"{whose} has no settings", fix=whose)
    usual = {one.name: getattr(config, one.name) for one in fields(config)}
    given: dict[str, Any] = {}
    for part in words.split(","):
        name, equals, value = part.partition("=")
        name = name.strip().replace("-", "_")
        if name not in usual:
            raise unknown(f"setting of {whose}", name, usual)
        if not equals:
            raise UsageError(f"{whose}: {name} has no value", fix=f"{whose}:{name}=VALUE")
        given[name] = _value(usual[name], value, f"{whose}:{name}")
    return replace(config, **given)


def _value(usual: Any, word: str, where: str) -> Any:
    """A value of the kind of the default."""
    yes, no = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
    if isinstance(usual, bool):
        if word.lower() in (*yes, *no):
            return word.lower() in yes
        raise UsageError(f"{where} is {word!r}", fix=f"{where}=true or {where}=false")
    if isinstance(usual, tuple):
        return tuple(word.split("|"))
    for kind in (int, float):
        if isinstance(usual, kind):
            try:
                return kind(word)
            except ValueError:
                raise UsageError(f"{where} is {word!r}, not a number", fix=f"{where}={usual}") from None
    return word
