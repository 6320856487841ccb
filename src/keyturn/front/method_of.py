"""What METHOD means: a method of several stages or an objective, by name or as an object, and its settings."""

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
    """The recipe, the objective, or what builds the objective from its settings.

    Args:
        method: a name, or one of these.

    Raises:
        UsageError: an unknown name, a model's name in its place, or anything else.
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
    """The settings of a recipe: those of its profile, with what was given in their place."""
    return settled(recipe.profiles[_profile(profile)], settings, recipe.name)


def objective_of(method: Objective | Callable[..., Objective], settings: Any) -> Objective:
    """The objective with its settings.

    Raises:
        UsageError: settings beside an objective that is built already, or no settings of its own.
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
    """Sizes and rates of RL where nothing is said: of a profile, for an embedded world or another model."""
    if _profile(profile) == "real":
        return LARGE_RL
    rl = EMBEDDED[model].rl if isinstance(model, str) and model in EMBEDDED else RLConfig()
    return replace(rl, steps=rl.steps * 10) if profile == "study" else rl


def settled(usual: Any, given: Any, whose: str) -> Any:
    """A config with what was given in its place.

    Args:
        usual: the config, a frozen dataclass; None where there is nothing to set.
        given: None; a config of the same class; or a mapping of some of its fields, nested ones as mappings.
        whose: for messages.

    Raises:
        UsageError: another class, or a field that there is not.
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
