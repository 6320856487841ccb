"""Where an update is cut into smaller passes, and where layers are run again for it."""

from dataclasses import replace

import numpy as np
import pytest
import small_models

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.policies import kept_for_backward
from keyturn.policies.hooks import ForwardHook
from keyturn.policies.kept_for_backward import may_keep, token_bytes
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits
from keyturn.training import passes
from keyturn.training.config import UpdateConfig
from keyturn.training.passes import passes_of, tokens_read

PROMPT, ANSWER, DRAWS = 9, 8, 4


@pytest.fixture(scope="module")
def drawn():
    """Four problems, four draws each; no answer ends before its limit."""
    who = LocalPolicy(small_models.family("llama"), small_models.tokenizer())
    who.model.config.eos_token_id = who.model.generation_config.eos_token_id = None
    who.tokenizer.eos_token = None
    asked = small_models.problems((PROMPT,) * 4)
    return who, who.draw(asked, range(DRAWS), Streams(1), Limits(max_new_tokens=ANSWER, batch_rows=64))


def cut(drawn, monkeypatch, keeps, **how):
    """The passes of all rows where a pass may keep so many tokens of a plain one."""
    who, completions = drawn
    monkeypatch.setattr(kept_for_backward, "KEPT_BYTES", keeps * token_bytes(who.model.config))
    monkeypatch.setattr(kept_for_backward, "KEPT_OF_WEIGHTS", 0)
    return passes_of(who, completions, np.arange(len(completions)), UpdateConfig(**how))


def whole_group():
    return PROMPT + DRAWS * ANSWER


def test_what_fits_is_one_plain_pass(drawn, monkeypatch):
    found = cut(drawn, monkeypatch, 4 * whole_group())
    assert not found.recompute
    assert [len(rows) for rows in found.rows] == [16]


def test_groups_that_fit_are_read_one_after_another(drawn, monkeypatch):
    found = cut(drawn, monkeypatch, whole_group())
    assert not found.recompute
    assert [len(rows) for rows in found.rows] == [4, 4, 4, 4]


def test_layers_are_run_again_where_prompts_would_be_read_too_often(drawn, monkeypatch):
    # One row a pass: 4 x (9 + 8) = 68 tokens a group instead of 41; 3 x 68 > 4 x 41.
    found = cut(drawn, monkeypatch, PROMPT + ANSWER)
    assert found.recompute
    assert sum(len(rows) for rows in found.rows) == 16
    plain = cut(drawn, monkeypatch, PROMPT + ANSWER, recompute="never")
    assert not plain.recompute
    assert [len(rows) for rows in plain.rows] == [1] * 16
    # Two rows a pass: 2 x (9 + 16) = 50; 3 x 50 < 4 x 41, so the plain passes are the cheaper ones.
    assert not cut(drawn, monkeypatch, PROMPT + 2 * ANSWER).recompute


def test_layers_are_run_again_for_a_row_that_no_pass_may_keep(drawn, monkeypatch):
    assert cut(drawn, monkeypatch, PROMPT + ANSWER - 1).recompute


def test_always_is_always_and_refused_where_it_cannot_be(drawn, monkeypatch):
    assert cut(drawn, monkeypatch, 4 * whole_group(), recompute="always").recompute
    who, completions = drawn
    nothing = ForwardHook(name="nothing", module="model.layers.0.mlp", run=lambda *_: None, config={})
    watched = who.having(hooks=[nothing])
    rows = np.arange(len(completions))
    with pytest.raises(UsageError, match="cannot be run again"):
        passes_of(watched, completions, rows, UpdateConfig(recompute="always"))
    monkeypatch.setattr(kept_for_backward, "KEPT_BYTES", 1)
    monkeypatch.setattr(kept_for_backward, "KEPT_OF_WEIGHTS", 0)
    assert not passes_of(watched, completions, rows, UpdateConfig()).recompute


def test_small_models_are_read_as_before():
    who = LocalPolicy(small_models.family("tiny"), small_models.tokenizer())
    assert UpdateConfig().micro_tokens * token_bytes(who.model.config) < may_keep(0)


def test_logits_that_a_model_computes_itself_are_counted(drawn, monkeypatch):
    monkeypatch.setattr(passes, "LARGE_VOCABULARY", small_models.VOCABULARY)
    _, completions = drawn
    rows = np.arange(len(completions))

    def count(name):
        who = LocalPolicy(small_models.family(name), small_models.tokenizer())
        monkeypatch.setattr(kept_for_backward, "KEPT_BYTES", whole_group() * token_bytes(who.model.config))
        monkeypatch.setattr(kept_for_backward, "KEPT_OF_WEIGHTS", 0)
        return len(passes_of(who, completions, rows, UpdateConfig(recompute="never")).rows)

    assert count("llama") == 4  # its head is a linear map, and nothing of its logits is kept
    assert count("gemma") > 4  # capped logits


def test_tokens_are_counted_with_prompts_once_and_padding(drawn):
    _, completions = drawn
    assert tokens_read(completions, np.arange(16)) == 4 * whole_group()
    assert tokens_read(completions, np.array([0, 5])) == 2 * (PROMPT + ANSWER)
    shorter = completions.select(np.arange(4))
    assert tokens_read(replace(shorter), np.array([2])) == PROMPT + ANSWER
