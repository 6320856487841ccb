"""Recipes: every arm is the demo with one dial changed, and every schedule is whole."""

from dataclasses import fields

import pytest

from keyturn.core.errors import InputError
from keyturn.core.streams import Streams
from keyturn.pretraining.pretrain import fresh_model, with_dials
from keyturn.pretraining.recipes import PRETRAIN
from keyturn.problems.world.worlds import WORLDS

DEMO = PRETRAIN["demo"]


@pytest.mark.parametrize("name", PRETRAIN)
def test_an_entry_says_who_it_is(name):
    recipe = PRETRAIN[name]
    assert recipe.name == name
    assert recipe.summary
    assert set(recipe.fit) == set(DEMO.fit)


@pytest.mark.parametrize("name", sorted(set(PRETRAIN) - {"demo", "study"}))
def test_an_arm_changes_one_dial(name):
    recipe = PRETRAIN[name]
    changed = [
        field.name
        for field in fields(recipe)
        if field.name not in ("name", "summary") and getattr(recipe, field.name) != getattr(DEMO, field.name)
    ]
    assert len(changed) == 1
    if changed == ["size"]:
        differs = [
            f.name for f in fields(DEMO.size) if getattr(recipe.size, f.name) != getattr(DEMO.size, f.name)
        ]
        assert len(differs) == 1


@pytest.mark.parametrize("name", PRETRAIN)
@pytest.mark.parametrize("world", WORLDS)
def test_a_recipe_fits_every_world(name, world):
    recipe = PRETRAIN[name]
    dialled = with_dials(WORLDS[world], recipe.dials)
    config = recipe.fit[dialled.domain]
    assert config.steps % config.bucket_batches == 0, "whole blocks only, so that nothing drawn is unread"
    model = fresh_model(dialled, recipe, Streams(0))
    longest = dialled.max_prompt_tokens + dialled.max_new_tokens
    assert model.config.max_position_embeddings >= longest
    if name == "demo":
        size = 4 * sum(p.numel() for p in model.parameters())
        assert size < 1.9e6, "a shipped base is at most 2 MB"


def test_a_dial_that_is_none_is_refused():
    world = WORLDS["chain"]
    assert with_dials(world, {"linked": 0.25}).linked == 0.25
    assert with_dials(world, {}) is world
    with pytest.raises(InputError, match="no field 'likned'"):
        with_dials(world, {"likned": 0.25})
