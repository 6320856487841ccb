"""Draws of a stage are cut by what they cost, and an interruption costs one part."""

from typing import Any

import numpy as np
import pytest
from probes import probe, starts_with_a, tiny_policy

from keyturn.core.streams import Streams
from keyturn.lab import lab as lab_module
from keyturn.lab import parts
from keyturn.lab.lab import Lab
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits

PROBLEMS = probe(starts_with_a, prompts=("ask", "tell", "ask a", "tell b")).problems
LIMITS = Limits(max_new_tokens=4)
DRAWS = range(3)
SMOLLM2, TINY = 134_515_008, 1_000_000


@pytest.fixture
def torch_draws(monkeypatch):
    """Torch draws here, as it does for pretrained models."""
    monkeypatch.setenv("KEYTURN_NATIVE", "0")


def drawn_by(lab, policy):
    return lab.draw(policy, PROBLEMS, DRAWS, LIMITS, name="draw")


def cut(monkeypatch, rows):
    """A part holds this many answers of a tiny model."""
    weights = sum(tensor.numel() for tensor in tiny_policy().model.parameters())
    monkeypatch.setattr(parts, "FEWEST", {"cpu": 1})
    tokens = 2 * LIMITS.max_new_tokens + np.mean([len(one.prompt.split()) for one in PROBLEMS]) / len(DRAWS)
    monkeypatch.setattr(parts, "WORK_A_PART", weights * tokens * (rows + 0.5))


def breaking_at(monkeypatch, call):
    """The process ends while this part is drawn; returns the ids of the problems of every part."""
    asked, draw = [], LocalPolicy.draw

    def drawn(policy, problems, *rest, **options):
        asked.append([one.id for one in problems])
        if len(asked) == call:
            raise KeyboardInterrupt
        return draw(policy, problems, *rest, **options)

    monkeypatch.setattr(LocalPolicy, "draw", drawn)
    return asked


def tables(stage):
    return {path.name: path.read_bytes() for path in sorted(stage.folder.glob("completions-*"))}


def test_a_part_of_a_pretrained_model_takes_half_a_minute_and_tiny_models_keep_theirs():
    audited = SMOLLM2 * (175 / 64 + 2 * 32)
    assert 256 <= parts.affordable(audited, "cpu") < 320
    assert parts.affordable(audited * 1000, "cpu") == 64
    assert parts.affordable(TINY * 2 * 64, "cpu") > parts.ROWS_A_PART
    assert parts.affordable(7e9 * 2 * 2048, "cuda") == 256
    assert parts.affordable(audited, "cuda") > parts.ROWS_A_PART


def test_where_the_native_engine_or_a_server_answers_parts_are_as_large_as_may_be(monkeypatch):
    cut(monkeypatch, 3)
    server: Any = object()
    assert parts.rows_a_part(server, PROBLEMS, DRAWS, LIMITS) == parts.ROWS_A_PART
    monkeypatch.setattr(parts, "engine_of", lambda policy: "native 0")
    assert parts.rows_a_part(tiny_policy(), PROBLEMS, DRAWS, LIMITS, most=5) == 5
    monkeypatch.setattr(parts, "engine_of", lambda policy: "torch")
    assert parts.rows_a_part(tiny_policy(), PROBLEMS, DRAWS, LIMITS, most=5) == 3


def test_an_interruption_costs_one_part_and_the_result_is_the_same_to_the_byte(
    tmp_path, monkeypatch, torch_draws
):
    cut(monkeypatch, 3)
    straight, whole = drawn_by(Lab(tmp_path / "straight", Streams(5)), tiny_policy())
    with monkeypatch.context() as patch:
        asked = breaking_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            drawn_by(Lab(tmp_path / "cut", Streams(5)), tiny_policy())
        done = len(asked) - 1
    asked = breaking_at(monkeypatch, 0)
    stage, again = drawn_by(Lab(tmp_path / "cut", Streams(5)), tiny_policy())
    assert (done, len(asked)) == (2, len(PROBLEMS) - 2)
    assert asked == [[one.id] for one in PROBLEMS[2:]]
    assert tables(stage) == tables(straight)
    assert again.fingerprint == whole.fingerprint


def test_tokens_do_not_depend_on_the_cut(tmp_path, monkeypatch, torch_draws):
    cut(monkeypatch, 3)
    _, several = drawn_by(Lab(tmp_path / "several", Streams(5)), tiny_policy())
    cut(monkeypatch, 3 * len(PROBLEMS))
    stage, one = drawn_by(Lab(tmp_path / "one", Streams(5)), tiny_policy())
    assert len(tables(stage)) == 2
    assert np.array_equal(several.tokens, one.tokens)
    assert several.texts == one.texts
    np.testing.assert_allclose(several.logprobs, one.logprobs, atol=1e-5)


@pytest.mark.parametrize(("first", "then"), [(3, 9), (9, 3)])
def test_parts_that_were_cut_in_another_way_are_drawn_again_and_none_is_counted_twice(
    tmp_path, monkeypatch, torch_draws, first, then
):
    cut(monkeypatch, then)
    straight, _ = drawn_by(Lab(tmp_path / "straight", Streams(5)), tiny_policy())
    cut(monkeypatch, first)
    with monkeypatch.context() as patch:
        breaking_at(patch, len(PROBLEMS) * len(DRAWS) // first)
        with pytest.raises(KeyboardInterrupt):
            drawn_by(Lab(tmp_path / "moved", Streams(5)), tiny_policy())
    cut(monkeypatch, then)
    stage, moved = drawn_by(Lab(tmp_path / "moved", Streams(5)), tiny_policy())
    assert tables(stage) == tables(straight)
    assert len(moved) == len(PROBLEMS) * len(DRAWS)


def test_what_was_drawn_before_counts_as_done_when_it_goes_on(tmp_path, monkeypatch, torch_draws):
    shown = []
    progress = lab_module.progress
    monkeypatch.setattr(lab_module, "progress", lambda *a, **k: (shown.append((a, k)), progress(*a, **k))[1])
    cut(monkeypatch, 3)
    with monkeypatch.context() as patch:
        breaking_at(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            drawn_by(Lab(tmp_path, Streams(5)), tiny_policy())
    drawn_by(Lab(tmp_path, Streams(5)), tiny_policy())
    rows = 3 * len(PROBLEMS)
    assert [(a, k["done"]) for a, k in shown] == [(("draw", rows), 0), (("draw", rows), 9)]
