"""Values as plain data: equal values alike in every process, different ones apart, the rest refused by name."""

import datetime
import enum
import functools
import json
import math
import os
import pathlib
import subprocess
import sys
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.core.describe import PROSE, describe
from keyturn.core.errors import UsageError
from keyturn.core.identity import Identity, identity

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.binary(max_size=3)
    | st.builds(range, st.integers(-3, 3), st.integers(-3, 3)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def same(a, b):
    """Equality that tells types apart and knows NaN."""
    if isinstance(a, range) and isinstance(b, range):
        return (a.start, a.stop, a.step) == (b.start, b.stop, b.step)
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a == b


def hashed(value):
    return identity({"value": describe(value)})


@settings(max_examples=60)
@given(plain, plain)
def test_two_values_have_one_identity_where_they_are_the_same(a, b):
    assert (hashed(a) == hashed(b)) == same(a, b)


@given(plain)
def test_a_copy_has_the_same_identity_and_the_description_is_json(a):
    import copy

    assert hashed(a) == hashed(copy.deepcopy(a))
    json.dumps(describe(a), allow_nan=False)


@given(st.sets(st.text(max_size=3)), st.sets(st.text(max_size=3)))
def test_sets_are_what_is_in_them(a, b):
    assert (hashed(a) == hashed(frozenset(b))) == (a == b)
    assert hashed(a) != hashed(sorted(a))


class Colour(enum.Enum):
    RED = 1
    BLUE = 1.5


class Pair(NamedTuple):
    a: int
    b: int


@dataclass(frozen=True, kw_only=True)
class Config:
    rate: float = 1e-3
    steps: tuple[int, ...] = (1, 2)
    words: str = field(default="", metadata=PROSE)
    seen: list = field(default_factory=list, compare=False)
    made: int = field(default=0, init=False)


@dataclass(frozen=True, kw_only=True)
class Other:
    rate: float = 1e-3
    steps: tuple[int, ...] = (1, 2)


def test_a_dataclass_is_its_class_and_the_fields_that_count():
    assert hashed(Config()) == hashed(Config(words="said", seen=[1]))
    assert hashed(Config()) != hashed(Config(rate=2e-3))
    assert hashed(Config()) != hashed(Other())
    assert describe(Config()) == {"~": "Config", "rate": 1e-3, "steps": [1, 2]}


class Drawn:
    fingerprint = "abc"


class Hook:
    def __init__(self, every):
        self.name, self.every, self.held = "hook", every, object()

    @property
    def config(self):
        return {"every": self.every}


class Plain:
    """No state at all."""


def function(x):
    return x


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        ("1", 1),
        (None, "None"),
        (math.nan, "nan"),
        (math.inf, -math.inf),
        ({"~float": "nan"}, math.nan),
        ({"~~float": "nan"}, {"~float": "nan"}),
        (Colour.RED, Colour.BLUE),
        (Colour.RED, 1),
        (Pair(1, 2), (1, 2)),
        (range(0, 3), range(3, 0)),
        (np.zeros(3), np.zeros(3, np.float32)),
        (np.zeros(3), np.zeros((3, 1))),
        (np.arange(4), np.arange(4)[::-1]),
        (np.int32(1), np.int64(1)),
        (Hook(1), Hook(2)),
        (function, Plain),
        (functools.partial(function, 1), functools.partial(function, 2)),
        (functools.partial(function, 1), function),
        (math.sqrt, math.exp),
        (np.add, np.subtract),
        (b"a", "a"),
    ],
)
def test_values_that_are_not_the_same_are_told_apart(one, two):
    assert hashed(one) != hashed(two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ((1, 2), [1, 2]),
        (math.nan, float("nan")),
        (np.float64(0.5), 0.5),
        (np.arange(6).reshape(2, 3).T, np.ascontiguousarray(np.arange(6).reshape(2, 3).T)),
        (Hook(1), Hook(1)),
        (Plain(), Plain()),
        (Drawn(), Drawn()),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ],
)
def test_values_that_are_the_same_are_alike(one, two):
    assert hashed(one) == hashed(two)


def closure(sign):
    def reward(graded):
        return sign

    return reward


class Counter:
    def __init__(self):
        self.count = 0

    def step(self):
        return self.count


def looped():
    found = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda x: x, "a lambda cannot be named"),
        (closure(1), "a function made inside another one cannot be named"),
        (functools.partial(lambda x: x, 1), r"setting\.a\[0\]\.function: a lambda cannot be named"),
        (object(), "a object is no plain data"),
        (Counter(), "a Counter is no plain data"),
        (Counter().step, r"setting\.a\[0\]\.__self__: a Counter is no plain data"),
        (pathlib.Path("x"), "a path says where something lies"),
        (datetime.date(2020, 1, 1), "a date is no plain data"),
        (np.array([object()]), "an array of Python objects"),
        ({1: 2}, "it has the key 1, and keys are text"),
        ([].append, "a method of list cannot be named"),
        (math, "a module is no setting"),
        (looped(), "it holds itself"),
        (3 + 4j, "a complex is no plain data"),
        (iter([1]), "is no plain data"),
    ],
)
def test_what_is_no_plain_data_is_refused_with_the_name_of_the_argument(value, message):
    with pytest.raises(UsageError, match=message) as refused:
        describe({"a": [value]}, "setting")
    assert str(refused.value).startswith("setting.a[0]")
    assert refused.value.fix


@dataclass(frozen=True, kw_only=True)
class Carrier:
    """As a reward or an objective: a name, a function, what it was made from."""

    name: str
    reward: object
    config: object = None


def test_a_function_made_inside_another_stands_only_beside_the_config_it_was_made_from():
    with pytest.raises(UsageError, match=r"reward\.reward: a function made inside another") as refused:
        describe(Carrier(name="mine", reward=closure(1)), "reward")
    assert "config" in refused.value.fix
    # The fix works when followed, either way.
    one = describe(Carrier(name="mine", reward=closure(1), config={"sign": 1}), "reward")
    two = describe(Carrier(name="mine", reward=closure(-1), config={"sign": -1}), "reward")
    assert one != two
    describe(Carrier(name="mine", reward=function), "reward")
    with pytest.raises(UsageError, match=r"reward\.config\.weights: a lambda"):
        describe(Carrier(name="mine", reward=function, config={"weights": lambda x: x}), "reward")


def test_identity_depends_on_fields_and_not_on_their_order():
    assert identity({"a": 1, "b": [2]}) == identity({"b": [2], "a": 1})
    assert identity({"a": 1}) != identity({"a": 2})


def test_what_is_not_json_is_refused_by_identity_itself():
    for value in (object(), {1}, math.nan, frozenset(), pathlib.Path("x"), b""):
        with pytest.raises(UsageError, match="plain data only"):
            identity({"value": value})
    with pytest.raises(UsageError):
        identity({("a", "b"): 1})


SCRIPT = """
from dataclasses import dataclass
from keyturn.core.identity import Identity

@dataclass(frozen=True)
class Config:
    names: frozenset = frozenset({"a", "b", "c", ("d", 1), "e"})

print(Identity.of({"config": Config(), "set": {"x", "y", "z"}}).id)
"""


def test_the_same_in_every_process(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    found = [
        subprocess.run(
            [sys.executable, str(tmp_path / "script.py")],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1", "2")
    ]
    assert len(set(found)) == 1
    assert len(found[0].strip()) == 25


def test_an_identity_holds_the_code_behind_its_fields():
    found = Identity.of({"carrier": Carrier(name="n", reward=function), "text": "keyturn.objectives"})
    names = {name.rpartition("test_describe.")[2] for name in found.code.parts}
    assert {"Carrier", "function"} <= names
    assert not any(name.startswith("objectives") for name in found.code.parts)
