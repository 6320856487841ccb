"""Resolves METHOD: a method of several stages or an objective, by name or as an object, and its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeAlias, cast

from keyturn.auditing.embedded import EMBEDDED
from keyturn.core.errors import UsageError, unknown
from keyturn.experiments import EXPERIMENTS
from keyturn.methods import METHODS
from keyturn.methods.contract import PROFILES, Method, Profile
from keyturn.methods.sft_then_rl import LARGE_RL
from keyturn.objectives import OBJECTIVES
from keyturn.objectives.contract import Objective
from keyturn.training.config import RLConfig

AnyMethod: TypeAlias = Method | Objective | Callable[..., Objective]


def method_of(method: Any) -> AnyMethod:
    """The method of several stages, the objective, or the function that builds the objective from its settings.

    Args:
        method: a name, or one of these objects.

    Raises:
        UsageError: the name is unknown or is the name of a model, or the value is of another kind.
    """
    if isinstance(method, Method | Objective):
        return method
    if callable(method) and not isinstance(method, type):
        return cast(Callable[..., Objective], method)
    if not isinstance(method, str):
        raise UsageError(
            f"a method is of type {type(method).__name__}",
            fix="its name, e.g. 'grpo', or a Method or an Objective",
        )
    if method in METHODS:
        return METHODS[method]
    if method in OBJECTIVES:
        return OBJECTIVES[method]
    if method in EMBEDDED or "/" in method:
        raise UsageError(
            f"the method comes first, then the model: {method!r} is a model", fix=f"keyturn train grpo {method}"
        )
    if method in EXPERIMENTS:
        what = f"{method} is an experiment: it pretrains bases of its own and trains no other model"
        raise UsageError(what, fix=f"keyturn experiment run {method}")
    raise unknown("method", method, [*METHODS, *OBJECTIVES])


def recipe_settings(recipe: Method, settings: Any, profile: str) -> Any:
    """The settings of a method of several stages: those of its profile, overridden by what was given."""
    return settled(recipe.profiles[_profile(profile)], settings, recipe.name)


def objective_of(method: Objective | Callable[..., Objective], settings: Any) -> Objective:
    """The objective with its settings.

    Raises:
        UsageError: settings were given for an objective that is already built, or they do not fit it.
    """
    if isinstance(method, Objective):
        if settings is not None:
            raise UsageError(f"{method.name} has its settings already", fix="leave settings= out")
        return method
    made = method()
    if settings is None:
        return made
    return method(settled(made.config, settings, made.name))


def sizes(profile: str, model: Any) -> RLConfig:
    """The default sizes and rates of RL in a profile, for an embedded world or another model."""
    if _profile(profile) == "real":
        return LARGE_RL
    rl = EMBEDDED[model].rl if isinstance(model, str) and model in EMBEDDED else RLConfig()
    return replace(rl, steps=rl.steps * 10) if profile == "study" else rl


def settled(usual: Any, given: Any, whose: str) -> Any:
    """A config in which the given values replace the defaults.

    Args:
        usual: the default config, a frozen dataclass; None if there is nothing to set.
        given: None; a config of the same class; or a mapping of some of its fields, with nested ones as
            mappings.
        whose: whose settings these are, for messages.

    Raises:
        UsageError: the config is of another class, or a field does not exist.
    """
    if given is None:
        return usual
    if not is_dataclass(usual) or isinstance(usual, type):
        raise UsageError(f"{whose} has no settings", fix="leave settings= out")
    if isinstance(given, type(usual)):
        return given
    if not isinstance(given, Mapping):
        raise UsageError(
            f"settings of {whose} are of type {type(given).__name__}",
            fix=f"{type(usual).__name__}(...), or a dict of its fields",
        )
    known = {field.name: getattr(usual, field.name) for field in fields(usual)}
    for name in given:
        if name not in known:
            raise unknown(f"setting of {whose}", str(name), known)
    changed = {
        name: settled(known[name], value, f"{whose}, {name}") if isinstance(value, Mapping) else value
        for name, value in given.items()
    }
    return replace(usual, **changed)


def _profile(name: str) -> Profile:
    for profile in PROFILES:
        if profile == name:
            return profile
    raise unknown("profile", name, PROFILES)
