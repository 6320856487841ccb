"""Few parameters: the same function before training, only the set moves, a plain model after it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_task import shipped_task
from transformers import Qwen2Config, Qwen2ForCausalLM

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.measures.rounding import exponents
from keyturn.methods.small_sets import (
    METHOD,
    SmallSetsConfig,
    by_rl,
    by_sft,
    chosen_after,
    chosen_alike,
    chosen_anywhere,
    gain_share,
)
from keyturn.methods.small_sets.parameter_sets import (
    KINDS,
    attached,
    biases_of,
    merged,
    trained_numbers,
    weights_by_name,
)
from keyturn.policies.loading import load_policy
from keyturn.policies.local import LocalPolicy
from keyturn.policies.tiny import to_llama

SHORT = METHOD.brief(SmallSetsConfig())


@pytest.fixture(scope="module")
def task():
    return shipped_task("chain")


def logits_of(model):
    tokens = torch.arange(24).reshape(2, 12) % 90
    with torch.no_grad():
        return model(input_ids=tokens).logits


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_set_changes_nothing_and_merges_into_a_plain_model(task, kind):
    if kind in ("rank-1", "tinylora"):
        pytest.importorskip("peft")
    own = attached(task.base, kind, budget=13)
    torch.testing.assert_close(logits_of(own.model), logits_of(task.base.model))
    wide = sum(p.numel() for p in task.base.model.parameters())
    sizes = {"full": wide, "bias": biases_of(task.base.model), "tinylora": 13}
    assert trained_numbers(own.model) == sizes.get(kind, trained_numbers(own.model)) <= wide
    with torch.no_grad():
        for parameter in own.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.03)
    changed = logits_of(own.model)
    assert (changed - logits_of(task.base.model)).abs().max() > 1e-3
    found = merged(own.model)
    assert (found > 0) == (kind in ("rank-1", "tinylora"))
    torch.testing.assert_close(logits_of(own.model), changed, atol=1e-4, rtol=1e-4)


def test_a_bias_is_a_llamas(task):
    own = attached(task.base, "bias")
    config = own.model.config
    config.canon = False
    plain = type(own.model)(config).eval()
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(logits_of(to_llama(plain).eval()), logits_of(plain), atol=1e-4, rtol=1e-4)


def test_a_bias_needs_a_place(task):
    config = Qwen2Config(
        vocab_size=160,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
    )
    with pytest.raises(UsageError, match="no bias"):
        attached(LocalPolicy(Qwen2ForCausalLM(config), task.base.tokenizer), "bias")


def test_masks_by_hand():
    base = {"a": np.array([1.0, 1.1, 4.0, 4.1], np.float32), "b": np.array([[1.0, 1.2]], np.float32)}
    tuned = {"a": base["a"] + np.float32([0.5, 0, -0.9, 0.1]), "b": base["b"] + np.float32([[0, -0.6]])}
    mask = chosen_after(base, tuned, 2)
    assert mask["a"].tolist() == [False, False, True, False]
    assert mask["b"].tolist() == [[False, True]]
    # The broken twin: signed changes would choose other entries.
    signed = np.concatenate([(tuned[name] - base[name]).ravel() for name in ("a", "b")])
    assert set(np.argsort(-signed)[:2]) != {2, 5}
    generator = np.random.default_rng(0)
    assert sum(part.sum() for part in chosen_anywhere(base, 3, generator).values()) == 3


def test_a_matched_mask_has_the_same_matrices_and_sizes():
    draw = np.random.default_rng(1)
    base = {name: draw.normal(size=(30, 20)).astype(np.float32) for name in "ab"}
    tuned = {name: value * np.float32(1.1) for name, value in base.items()}
    mask = chosen_after(base, tuned, 200)

    def strata(chosen):
        return {name: np.bincount(exponents(base[name])[chosen[name]], minlength=256).tolist() for name in base}

    alike = chosen_alike(base, mask, draw)
    assert strata(alike) == strata(mask)
    assert any((alike[name] != mask[name]).any() for name in base)
    # The broken twin: large weights moved most here, and a random mask does not know that.
    assert strata(chosen_anywhere(base, 200, draw)) != strata(mask)


def test_a_share_without_a_gain_has_no_value():
    assert gain_share(0.5, 0.2, 0.8) == pytest.approx(0.5)
    assert np.isnan(gain_share(0.5, 0.2, 0.2))


@pytest.mark.parametrize("how", [by_rl, by_sft])
def test_only_the_masked_entries_move(task, tmp_path, how):
    config = replace(SHORT, chosen="random", budget=500)
    made = how(Session(Lab(tmp_path, Streams(0)), task), config)
    base, tuned = weights_by_name(task.base.model), weights_by_name(made.policy.model)
    moved = sum(int((base[name] != tuned[name]).sum()) for name in base)
    assert 0 < moved <= 500
    whole = how(Session(Lab(tmp_path, Streams(0)), task), replace(config, chosen="full"))
    full = weights_by_name(whole.policy.model)
    assert sum(int((base[name] != full[name]).sum()) for name in base) > 500


@pytest.mark.slow
@pytest.mark.parametrize("chosen", ["bias", "rank-1", "tinylora", "hindsight", "matched"])
@pytest.mark.parametrize("how", [by_rl, by_sft])
def test_every_set_trains_to_a_plain_folder(task, tmp_path, how, chosen):
    pytest.importorskip("peft")
    made = how(Session(Lab(tmp_path, Streams(0)), task), replace(SHORT, chosen=chosen))
    names = {name for name, _ in load_policy(made.path).model.named_parameters()}
    assert not any("lora" in name or "base_layer" in name for name in names)
    assert (logits_of(made.policy.model) - logits_of(task.base.model)).abs().max() > 0
