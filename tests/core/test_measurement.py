"""Measurements are flat in JSON; undefined is null, infinite a string."""

import json
import math

import pytest

from keyturn.core.measurement import Estimate, Measurement, Null


def test_undefined_is_null_and_infinite_a_word():
    made = Measurement(
        name="crossing",
        value=math.inf,
        low=8,
        n=12,
        unit="draws",
        parameters={"policy": "base", "k": 64},
        null=Null(kind="replicate", value=math.nan, low=1.0),
    )
    document = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert document["value"] == "inf"
    assert document["high"] is None
    assert document["policy"] == "base"
    assert document["null"] == {"kind": "replicate", "value": None, "low": 1.0, "high": None}


def test_a_parameter_may_not_hide_a_field():
    with pytest.raises(ValueError, match="hides"):
        Measurement(name="x", value=0, n=1, unit="", parameters={"value": 3}).to_json()


def test_an_undefined_estimate_is_null():
    assert Estimate(math.nan).to_json() is None
    assert Estimate(0.5, 0.1, math.inf).to_json() == {"value": 0.5, "low": 0.1, "high": "inf"}
