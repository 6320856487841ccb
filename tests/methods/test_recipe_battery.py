"""Every recipe: its first steps in a world and on a stock model; what it needs is asked for in one line."""

from dataclasses import replace

import pytest
from made_task import shipped_task, stock_task

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.methods import RECIPES
from keyturn.methods.contract import PROFILES
from keyturn.policies.loading import load_policy


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return stock_task(tmp_path_factory.mktemp("stock"))


@pytest.fixture(scope="module")
def worlds():
    return {name: shipped_task(name) for name in ("chain", "graph")}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_is(name):
    recipe = RECIPES[name]
    assert recipe.name == name
    assert set(recipe.profiles) == set(PROFILES)
    assert all((recipe.summary, recipe.source, recipe.cost))
    assert len({type(config) for config in recipe.profiles.values()}) == 1
    for config in recipe.profiles.values():
        assert type(recipe.brief(config)) is type(config)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_the_first_steps_of_the_demo_run_in_a_world(name, worlds, tmp_path):
    recipe = RECIPES[name]
    task = worlds[recipe.domain]
    missing = recipe.needs - {"world", "expert"}
    task = replace(task, others=dict.fromkeys(missing, task.base))
    recipe.check(task)
    config = recipe.brief(recipe.profiles["demo"])
    made = recipe.run(Session(Lab(tmp_path, Streams(0)), task), config)
    assert load_policy(made.policies["policy"]).fingerprint
    assert made.rows
    # Again: everything is found, nothing is done twice.
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.glob("stages/*/DONE"))
    again = recipe.run(Session(Lab(tmp_path, Streams(0)), task), config)
    assert (again.policies, again.rows) == (made.policies, made.rows)
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.glob("stages/*/DONE")) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if "world" not in recipe.needs])
def test_the_first_steps_of_the_real_profile_run_on_a_stock_model(name, stock, tmp_path):
    recipe = RECIPES[name]
    task = replace(stock, others=dict.fromkeys(recipe.needs - {"expert"}, stock.base))
    recipe.check(task)
    made = recipe.run(Session(Lab(tmp_path, Streams(0)), task), recipe.brief(recipe.profiles["real"]))
    assert load_policy(made.policies["policy"]).fingerprint != stock.base.fingerprint
    assert made.rows


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.needs])
def test_what_a_recipe_needs_is_asked_for_in_one_line(name, stock):
    recipe = RECIPES[name]
    bare = replace(stock, expert=None, world=None, others={})
    with pytest.raises(UsageError, match=name) as refused:
        recipe.check(bare)
    assert refused.value.fix
