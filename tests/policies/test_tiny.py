import pytest
import small_models
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM

from keyturn.core.errors import UsageError
from keyturn.policies import kernels
from keyturn.policies.cache import BufferLayer, decoding_cache
from keyturn.policies.tiny import TinyConfig, TinyForCausalLM, initialise, to_llama

BOTH = pytest.mark.parametrize("canon", [False, True])


def ids(rows=3, tokens=20, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, small_models.VOCABULARY, (rows, tokens), generator=generator)


def wide(canon):
    return small_models.spread(small_models.tiny(canon))


def test_demo_size():
    model = TinyForCausalLM(TinyConfig())
    assert 0.33e6 < sum(weight.numel() for weight in model.parameters()) < 0.36e6


def test_without_convolution_it_is_a_llama(tmp_path):
    model = wide(False)
    stock = to_llama(model)
    assert type(stock) is LlamaForCausalLM
    tokens = ids()
    mask = torch.ones_like(tokens)
    mask[0, :4] = 0
    with torch.no_grad():
        assert torch.allclose(model(tokens).logits, stock(tokens).logits, atol=1e-5)
        real = mask.bool()
        ours, theirs = (m(tokens, attention_mask=mask).logits[real] for m in (model, stock))
        assert torch.allclose(ours, theirs, atol=1e-5)
    # The state dict itself is a Llama's, names and all, also through the disk.
    stock.save_pretrained(tmp_path)
    again = TinyForCausalLM(model.config)
    again.load_state_dict(AutoModelForCausalLM.from_pretrained(tmp_path).state_dict())
    assert torch.equal(again.eval()(tokens).logits, model(tokens).logits)


def test_gradients_are_a_llamas():
    model = wide(False)
    stock = to_llama(model)
    tokens = ids()
    for each in (model, stock):
        each(tokens, labels=tokens).loss.backward()
    theirs = dict(stock.named_parameters())
    for name, weight in model.named_parameters():
        assert torch.allclose(weight.grad, theirs[name].grad, atol=1e-5), name


def test_a_convolution_is_no_llama():
    with pytest.raises(UsageError, match="not a Llama"):
        to_llama(wide(True))


@BOTH
def test_auto_classes_read_it_back(tmp_path, canon):
    model = wide(canon)
    model.save_pretrained(tmp_path)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), TinyConfig)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(again, TinyForCausalLM)
    assert again.lm_head.weight is again.model.embed_tokens.weight
    tokens = ids()
    assert torch.equal(again(tokens).logits, model(tokens).logits)


def decoded(model, tokens, cache, first=7):
    """Logits of a prefill and then token by token."""
    with torch.no_grad():
        parts = [model(tokens[:, :first], past_key_values=cache).logits]
        for place in range(first, tokens.shape[1]):
            parts.append(model(tokens[:, place : place + 1], past_key_values=cache).logits)
    return torch.cat(parts, dim=1)


@BOTH
@pytest.mark.parametrize("room", [1, 64])
def test_cached_decoding_equals_the_whole_forward(canon, room):
    model, tokens = wide(canon), ids()
    whole = model(tokens).logits
    assert torch.allclose(decoded(model, tokens, decoding_cache(model.config, room)), whole, atol=1e-4)


def test_forgetting_the_convolution_is_caught(monkeypatch):
    def forgetful(self, inputs, width):
        return torch.nn.functional.pad(inputs, (0, 0, width, 0))

    model, tokens = wide(True), ids()
    whole = model(tokens).logits
    monkeypatch.setattr(BufferLayer, "shift", forgetful)
    assert not torch.allclose(decoded(model, tokens, decoding_cache(model.config, 64)), whole, atol=1e-2)


@BOTH
def test_prefill_in_pieces_equals_the_whole(canon):
    model, tokens = wide(canon), ids()
    cache = decoding_cache(model.config, 64)
    with torch.no_grad():
        pieces = [model(tokens[:, a:b], past_key_values=cache).logits for a, b in ((0, 5), (5, 7), (7, 20))]
    assert torch.allclose(torch.cat(pieces, 1), model(tokens).logits, atol=1e-4)


@BOTH
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(canon, side):
    model, tokens = wide(canon), ids(tokens=12)
    filler = torch.full((3, 5), 7)
    joined = torch.cat([filler, tokens] if side == "left" else [tokens, filler], dim=1)
    mask = torch.cat([filler * 0, tokens * 0 + 1] if side == "left" else [tokens * 0 + 1, filler * 0], dim=1)
    kept = slice(5, None) if side == "left" else slice(0, 12)
    with torch.no_grad():
        whole = model(tokens).logits
        assert torch.allclose(model(joined, attention_mask=mask).logits[:, kept], whole, atol=1e-5)
        if side == "left":  # without the mask the same comparison fails
            assert not torch.allclose(model(joined).logits[:, kept], whole, atol=1e-2)


def test_left_padding_while_decoding():
    model, tokens = wide(True), ids(tokens=12)
    whole = model(tokens).logits
    joined = torch.cat([torch.full((3, 4), 9), tokens], dim=1)
    mask = torch.ones_like(joined)
    mask[:, :4] = 0
    cache = decoding_cache(model.config, 0)
    with torch.no_grad():
        model(joined[:, :10], attention_mask=mask[:, :10], past_key_values=cache)
        last = [
            model(joined[:, t : t + 1], attention_mask=mask[:, : t + 1], past_key_values=cache).logits[:, 0]
            for t in range(10, 16)
        ]
    assert torch.allclose(torch.stack(last, 1), whole[:, 6:], atol=1e-5)


@BOTH
def test_generate_works(canon):
    model, tokens = wide(canon), ids(tokens=6)
    greedy = {"max_new_tokens": 10, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    found = model.generate(tokens, **greedy)
    expected = tokens
    for _ in range(10):
        expected = torch.cat([expected, model(expected).logits[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(found, expected)
    # Beam search reorders the cache, convolution inputs included.
    beams = model.generate(tokens, num_beams=3, **greedy)
    without = model.generate(tokens, num_beams=3, use_cache=False, **greedy)
    assert torch.equal(beams, without)


def test_hooks_on_fused_projections_are_called():
    model, tokens = wide(True), ids()
    plain = model(tokens).logits
    attention = model.model.layers[0].self_attn
    for name in ("q_proj", "k_proj", "v_proj"):
        handle = getattr(attention, name).register_forward_hook(lambda module, args, out: out * 0.5)
        halved = model(tokens).logits
        handle.remove()
        assert not torch.allclose(halved, plain, atol=1e-3), name
    seen = []
    handle = attention.q_proj.register_forward_hook(lambda module, args, out: seen.append(out.shape))
    assert torch.allclose(model(tokens).logits, plain, atol=1e-5)
    handle.remove()
    assert seen


def test_hidden_states_and_loss():
    model, tokens = wide(True), ids()
    out = model(tokens, labels=tokens, output_hidden_states=True)
    assert len(out.hidden_states) == 3
    assert torch.equal(model.lm_head(out.hidden_states[-1]), out.logits)
    expected = torch.nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    assert out.loss.item() == pytest.approx(expected.item(), abs=1e-6)
    assert torch.equal(model(inputs_embeds=model.model.embed_tokens(tokens)).logits, out.logits)


def test_initialisation_follows_its_generator_only():
    first = small_models.tiny().state_dict()
    again = initialise(
        TinyForCausalLM(TinyConfig(**small_models.SIZES, **small_models.COMMON)),
        torch.Generator().manual_seed(0),
    )
    assert all(torch.equal(weight, first[name]) for name, weight in again.state_dict().items())
    other = initialise(again, torch.Generator().manual_seed(1)).state_dict()
    assert not torch.equal(other["model.embed_tokens.weight"], first["model.embed_tokens.weight"])
    assert first["model.embed_tokens.weight"].std() == pytest.approx(0.02, rel=0.1)


def test_kernels_have_the_gradients_of_their_formulas():
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.empty(*shape, dtype=torch.float64).normal_(generator=generator).requires_grad_()

    assert torch.autograd.gradcheck(lambda x, w: kernels.rms_norm(x, w, 1e-6), (draw(2, 3, 6), draw(6)))
    assert torch.autograd.gradcheck(kernels.short_convolution, (draw(2, 7, 5), draw(4, 5)))
    inputs, weight = draw(4, 3, 6), draw(6)
    by_hand = weight * inputs / (inputs.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
    assert torch.allclose(kernels.rms_norm(inputs, weight, 1e-6), by_hand)
    padded, kernel = draw(2, 7, 5), draw(4, 5)
    stock = torch.nn.functional.conv1d(padded.transpose(1, 2), kernel.T[:, None], groups=5).transpose(1, 2)
    assert torch.allclose(kernels.short_convolution(padded, kernel), stock + padded[:, 3:])
    with torch.no_grad():
        last = kernels.short_convolution(padded[:, -4:], kernel)
    assert torch.allclose(last, (stock + padded[:, 3:])[:, -1:])


def test_a_used_cache_of_another_kind_is_refused():
    from transformers import DynamicCache

    model, tokens = wide(True), ids()
    cache = DynamicCache()
    cache.update(torch.zeros(3, 4, 2, 8), torch.zeros(3, 4, 2, 8), 0)
    with pytest.raises(ValueError, match="fresh DynamicCache"):
        model(tokens, past_key_values=cache)


@BOTH
def test_half_precision_runs(canon):
    model = wide(canon)
    tokens = ids()
    exact = model(tokens).logits
    assert torch.allclose(model.to(torch.bfloat16)(tokens).logits.float(), exact, atol=0.5, rtol=0.1)


def test_registration_is_by_import():
    assert type(AutoModelForCausalLM.from_config(TinyConfig(num_hidden_layers=1))) is TinyForCausalLM
