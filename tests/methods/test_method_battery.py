"""Every method: its first steps in a world and on a stock model; what it needs is asked for in one line."""

from dataclasses import replace

import pytest
from made_task import shipped_task, stock_task

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.methods import METHODS
from keyturn.methods.contract import PROFILES
from keyturn.policies.loading import load_policy


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return stock_task(tmp_path_factory.mktemp("stock"))


@pytest.fixture(scope="module")
def worlds():
    return {name: shipped_task(name) for name in ("chain", "graph")}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_is(name):
    method = METHODS[name]
    assert method.name == name
    assert set(method.profiles) == set(PROFILES)
    assert all((method.summary, method.source, method.cost))
    assert len({type(config) for config in method.profiles.values()}) == 1
    for config in method.profiles.values():
        assert type(method.brief(config)) is type(config)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_the_first_steps_of_the_demo_run_in_a_world(name, worlds, tmp_path):
    method = METHODS[name]
    task = worlds[method.domain]
    missing = method.needs - {"world", "expert"}
    task = replace(task, others=dict.fromkeys(missing, task.base))
    method.check(task)
    config = method.brief(method.profiles["demo"])
    made = method.run(Session(Lab(tmp_path, Streams(0)), task), config)
    assert load_policy(made.policies["policy"]).fingerprint
    assert made.rows
    # Again: everything is found, nothing is done twice.
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.glob("stages/*/DONE"))
    again = method.run(Session(Lab(tmp_path, Streams(0)), task), config)
    assert (again.policies, again.rows) == (made.policies, made.rows)
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.glob("stages/*/DONE")) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if "world" not in method.needs])
def test_the_first_steps_of_the_real_profile_run_on_a_stock_model(name, stock, tmp_path):
    method = METHODS[name]
    task = replace(stock, others=dict.fromkeys(method.needs - {"expert"}, stock.base))
    method.check(task)
    made = method.run(Session(Lab(tmp_path, Streams(0)), task), method.brief(method.profiles["real"]))
    assert load_policy(made.policies["policy"]).fingerprint != stock.base.fingerprint
    assert made.rows


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.needs])
def test_what_a_method_needs_is_asked_for_in_one_line(name, stock):
    method = METHODS[name]
    bare = replace(stock, expert=None, world=None, others={})
    with pytest.raises(UsageError, match=name) as refused:
        method.check(bare)
    assert refused.value.fix
