"""Is this the same work? What differs is named."""

import json
from dataclasses import replace

from keyturn.core.code_version import CodeVersion
from keyturn.core.identity import Identity, differences

NOW = Identity(
    {"lr": 0.1, "name": "a", "nested": {"x": [1, 2], "y": None}, "empty": {}},
    CodeVersion({"objectives.grpo.credit": "1", "core.x": "2"}),
)


def noted(one):
    return json.loads(json.dumps(one.document()))


def test_the_same_work_differs_in_nothing():
    assert differences(noted(NOW), NOW).none


def test_settings_that_differ_are_named_with_both_values():
    fields = {"lr": 1, "name": "a", "nested": {"x": [1, 3], "y": None}, "more": True}
    found = differences(noted(NOW), replace(NOW, fields=fields))
    assert not found.none
    assert found.settings == (
        ("empty", {}, None),
        ("lr", 0.1, 1),
        ("more", None, True),
        ("nested.x", [1, 2], [1, 3]),
    )
    assert found.settings_in_words.startswith("empty: {} then, None now; lr: 0.1 then, 1 now")
    assert found.code == ()


def test_values_that_python_calls_equal_and_json_does_not_are_told_apart():
    for then, now in ((1, 1.0), (1, True), (0, False), (None, ...)):
        before = {"a": then}
        after = {} if now is ... else {"a": now}
        assert differences(noted(replace(NOW, fields=before)), replace(NOW, fields=after)).settings


def test_code_that_differs_is_named_and_long_lists_are_cut():
    code = CodeVersion({"objectives.grpo.credit": "3", **{f"z.{n}": "1" for n in range(6)}})
    found = differences(noted(NOW), replace(NOW, code=code))
    assert found.code[:2] == ("core.x", "objectives.grpo.credit")
    assert found.code_in_words == "core.x, objectives.grpo.credit, z.0, z.1 and 4 more"
    assert found.settings == ()
    assert replace(NOW, code=code).key == NOW.key
    assert replace(NOW, code=code).id != NOW.id


def test_what_says_nothing_of_its_code_is_of_an_earlier_keyturn():
    for then in ({}, {"run": {"lr": 0.1}}, {"fields": {"lr": 0.1}}, {"fields": 1, "code": {}}):
        found = differences(then, NOW)
        assert found.earlier
        assert not found.none
