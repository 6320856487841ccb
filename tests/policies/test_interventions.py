"""Interventions on hidden states: their formulas, where they act, both persistence modes, and what is left
after."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import small_models
import torch

from keyturn.core.errors import InputError, UsageError
from keyturn.core.streams import Streams
from keyturn.policies.hooks import evaluating, hooked
from keyturn.policies.interventions import Intervention
from keyturn.policies.local import LocalPolicy, Sampling
from keyturn.policies.protocol import Limits
from keyturn.policies.sites import Places, Site, layers_of
from keyturn.policies.steered import Control, SteeredPolicy, steered_tokens
from keyturn.policies.steered_readers import SteeredCached, SteeredUncached

STOCK = ("llama", "gpt2", "qwen")
LIMITS = Limits(max_new_tokens=8)
WIDTH = small_models.SIZES["hidden_size"]


def vector(seed=0, size=4.0):
    drawn = np.random.default_rng(seed).normal(size=WIDTH)
    return (size * drawn / np.linalg.norm(drawn)).astype(np.float64)


def push(**changes):
    given = {"name": "push", "site": Site(layer=0), "vector": vector(), "where": "generation"}
    return Intervention(**(given | changes))


def policy(family="llama", double=False):
    model = small_models.family(family)
    return LocalPolicy(model.double() if double else model, small_models.tokenizer())


def drawn(found, lengths=(4, 6, 5), draws=range(3), **more):
    return found.draw(small_models.problems(lengths), draws, Streams(0), replace(LIMITS, **more))


def close(one, other, most=1e-9):
    return one.tokens.tolist() == other.tokens.tolist() and np.allclose(
        one.logprobs, other.logprobs, atol=max(most, 1e-6), rtol=0
    )


@pytest.mark.parametrize("family", STOCK)
@pytest.mark.parametrize("where", ["prompt", "first_step", "generation", "all"])
def test_a_zero_vector_changes_no_token_and_no_bit(family, where):
    plain = policy(family)
    usual = drawn(plain)
    for persistent in (True, False):
        still = push(vector=np.zeros(WIDTH), where=where, persistent=persistent)
        found = drawn(SteeredPolicy(plain, [still]))
        assert found.tokens.tolist() == usual.tokens.tolist()
        assert np.array_equal(found.logprobs, usual.logprobs)
        moved = drawn(SteeredPolicy(plain, [push(where=where, persistent=persistent)]))
        assert not np.array_equal(moved.logprobs, usual.logprobs), "twin: a vector that is not zero does"


def reference(plain, one, prompt, tokens, coefficient):
    """Log-probabilities of an answer by whole forwards and a bare hook: what the definitions say."""
    model, found = plain.model, []
    layers = layers_of(model)[1]
    for place, token in enumerate(tokens):
        whole = [*prompt, *tokens[:place]]
        positions = np.arange(len(whole))
        if one.where == "generation":
            active = positions >= len(prompt)
        elif one.where == "first_step":
            active = positions == len(prompt) - 1
        else:
            active = np.ones(len(whole), dtype=bool) if one.where == "all" else positions < len(prompt)
        if not one.persistent:
            active = active & (positions == len(whole) - 1)
        shift = torch.from_numpy(active[:, None] * coefficient * one.vector)

        def add(module, args, output, shift=shift):
            return (output[0] + shift, *output[1:]) if isinstance(output, tuple) else output + shift

        handle = layers[one.site.layer].register_forward_hook(add)
        with torch.no_grad():
            law = model(torch.tensor([whole])).logits[0, -1].log_softmax(-1)
        handle.remove()
        found.append(float(law[token]))
    return found


@pytest.mark.parametrize("family", STOCK)
@pytest.mark.parametrize("where", ["prompt", "first_step", "generation", "all"])
@pytest.mark.parametrize("persistent", [True, False])
def test_what_is_drawn_is_what_the_definitions_say(family, where, persistent):
    plain = policy(family, double=True)
    one = push(where=where, persistent=persistent, coefficient=(0.5, 1.0, -1.0))
    found = drawn(SteeredPolicy(plain, [one]), lengths=(4, 6))
    for row in range(len(found)):
        prompt = found.prompts.row(int(found.problem[row])).tolist()
        coefficient = one.coefficient[int(found.draw[row]) % 3]
        wanted = reference(plain, one, prompt, found.row(row).tolist(), coefficient)
        own = found.logprobs[found.offsets[row] : found.offsets[row + 1]]
        assert np.allclose(own, wanted, atol=2e-5)


@pytest.mark.parametrize("family", STOCK)
@pytest.mark.parametrize("persistent", [True, False])
def test_cached_equals_uncached_and_a_row_alone_equals_the_row_in_a_batch(family, persistent, monkeypatch):
    plain = policy(family, double=True)
    several = [
        push(where="all", persistent=persistent, coefficient=(0.3, 1.0, -0.5)),
        push(name="other", site=Site(layer=1, side="mlp"), vector=vector(1), persistent=not persistent),
    ]
    steered = SteeredPolicy(plain, several)
    batch = drawn(steered)
    for place, length in enumerate((4, 6, 5)):
        problem = small_models.problems((4, 6, 5))[place]
        for draw in range(3):
            alone = steered.draw([problem], range(draw, draw + 1), Streams(0), LIMITS)
            row = place * 3 + draw
            assert alone.tokens.tolist() == batch.row(row).tolist(), length
            own = batch.logprobs[batch.offsets[row] : batch.offsets[row + 1]]
            assert np.allclose(alone.logprobs, own, atol=1e-6)
    made = []
    monkeypatch.setattr(Control, "reader", lambda self, rows: made.append(1) or SteeredUncached(self, rows))
    assert close(drawn(steered), batch)
    assert made


@pytest.mark.parametrize("family", STOCK)
def test_logits_agree_to_the_last_digits_in_float64(family):
    """Cached and uncached readers side by side, fed the same tokens."""
    plain = policy(family, double=True)
    rows = made_rows(plain)
    for persistent in (True, False):
        one = push(where="all", persistent=persistent, coefficient=(0.3, 1.0))
        control = Control(plain.model, [one])
        with evaluating(plain.model), hooked(plain.model, control.hooks()):
            from keyturn.policies.steered_readers import own_prompts

            cached, anew = (
                SteeredCached(control, own_prompts(rows)),
                SteeredUncached(control, own_prompts(rows)),
            )
            for step in range(5):
                assert (cached.logits() - anew.logits()).abs().max() < 1e-11
                token = torch.tensor([3 + step, 5, 7, 9 - step])
                cached.feed(token)
                anew.feed(token)


def made_rows(plain):
    from keyturn.policies.runners import Rows

    prompts = plain.prompts(small_models.problems((4, 7)))
    which = np.array([0, 0, 1, 1])
    return Rows(
        prompts=[prompts.row(0), prompts.row(1)],
        prompt=which,
        uniforms=np.zeros((4, 6)),
        limits=np.full(4, 6),
        problem=which,
        draw=np.array([0, 1, 0, 1]),
    )


def test_the_tiny_model_with_a_short_convolution_is_read_anew_where_its_cache_cannot_forget():
    for canon in (True, False):
        model = small_models.spread(small_models.tiny(canon=canon)).double()
        plain = LocalPolicy(model, small_models.tokenizer())
        for persistent in (True, False):
            one = push(where="all", persistent=persistent)
            found = drawn(SteeredPolicy(plain, [one]), lengths=(4,), draws=range(2))
            for row in range(2):
                wanted = reference(plain, one, found.prompts.row(0).tolist(), found.row(row).tolist(), 1.0)
                own = found.logprobs[found.offsets[row] : found.offsets[row + 1]]
                assert np.allclose(own, wanted, atol=2e-5)


def test_persistent_and_transient_differ_in_what_later_tokens_see():
    plain = policy(double=True)
    one, other = (drawn(SteeredPolicy(plain, [push(where="first_step", persistent=p)])) for p in (True, False))
    first = one.offsets[:-1]
    assert np.allclose(one.logprobs[first], other.logprobs[first], atol=1e-6), (
        "the first token's law is the same"
    )
    assert not close(one, other)


def test_scores_are_what_was_drawn():
    plain = policy("qwen")
    steered = SteeredPolicy(plain, [push(where="all")])
    found = drawn(steered)
    table = steered.score(found)
    assert np.allclose(table.logprobs, found.logprobs, atol=2e-5)
    assert np.allclose(table.entropies, found.entropies, atol=2e-5)
    assert (table.ranks >= 0).all()
    assert not np.allclose(plain.score(found).logprobs, found.logprobs, atol=1e-2)
    with pytest.raises(UsageError, match="transient"):
        SteeredPolicy(plain, [push(persistent=False)]).score(found)


def test_hooks_are_gone_and_weights_are_as_they_were_also_after_an_exception():
    plain = policy()
    before = {name: tensor.clone() for name, tensor in plain.model.state_dict().items()}
    drawn(SteeredPolicy(plain, [push(where="all", persistent=False)]))
    with pytest.raises(RuntimeError, match="inside"):
        drawn(SteeredPolicy(plain, [push(mode="function", vector=None, function=explode)]))
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in plain.model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in plain.model.state_dict().items())
    assert np.array_equal(drawn(plain).tokens, drawn(policy()).tokens)


def explode(hidden, places):
    raise RuntimeError("inside")


def places_of(tokens):
    tokens = torch.tensor(tokens)
    position = torch.arange(tokens.shape[1])[None].expand(tokens.shape)
    one = torch.tensor([[0]])
    return Places(position, torch.tensor([[2]]), tokens, torch.ones_like(tokens, dtype=torch.bool), one, one)


def test_the_formulas():
    places = places_of([[5, 6, 7]])
    hidden = torch.from_numpy(np.random.default_rng(3).normal(size=(1, 3, WIDTH)))
    unit = torch.from_numpy(vector(size=1.0))

    def after(mode, coefficient):
        one = push(mode=mode, coefficient=coefficient, where="all")
        return one.applied(hidden, *one.strength(places, torch.float64), places)

    along = hidden @ unit
    assert torch.allclose(after("add", 0.5), hidden + 0.5 * torch.from_numpy(vector()))
    assert torch.allclose(after("set", 2.0) @ unit, torch.full((1, 3), 2.0, dtype=torch.float64))
    assert torch.allclose(after("project_out", 1.0) @ unit, torch.zeros((1, 3), dtype=torch.float64))
    assert torch.allclose(after("clamp", 0.1) @ unit, along.clamp(-0.1, 0.1))
    for mode in ("set", "project_out", "clamp"):
        rest = after(mode, 0.7) - (after(mode, 0.7) @ unit)[..., None] * unit
        assert torch.allclose(rest, hidden - along[..., None] * unit), "what is across the vector stays"
        still = push(mode=mode, vector=np.zeros(WIDTH), where="all")
        assert torch.equal(still.applied(hidden, *still.strength(places, torch.float64), places), hidden)
    one = push(where="first_step")
    moved = one.applied(hidden, *one.strength(places, torch.float64), places)
    assert (moved != hidden).any(-1).tolist() == [[False, True, False]]


@dataclass(frozen=True)
class AtToken:
    """Where a token was read."""

    token: int

    def __call__(self, places):
        return places.token == self.token


def turned(hidden, places):
    return hidden.roll(1, -1)


def test_an_intervention_may_act_where_a_token_stands_and_by_a_function():
    plain = policy()
    one = push(mode="function", vector=None, function=turned, where=AtToken(token=7))
    steered = SteeredPolicy(plain, [one])
    usual, found = drawn(plain, draws=range(8)), drawn(steered, draws=range(8))
    same = [usual.row(row).tolist() == found.row(row).tolist() for row in range(len(usual))]
    touched = [
        7 in (*usual.prompts.row(int(usual.problem[row])), *usual.row(row)[:-1]) for row in range(len(usual))
    ]
    assert all(one or two for one, two in zip(same, touched, strict=True))
    assert not all(same)
    assert steered.fingerprint != SteeredPolicy(plain, [replace(one, where=AtToken(token=8))]).fingerprint


def test_the_input_of_a_layer_is_the_output_of_the_one_before():
    plain = policy(double=True)
    out, into = (
        drawn(SteeredPolicy(plain, [push(site=site, where="all")]))
        for site in (Site(layer=0, side="out"), Site(layer=1, side="in"))
    )
    assert close(out, into)
    for side in ("attn", "mlp"):
        other = drawn(SteeredPolicy(plain, [push(site=Site(layer=0, side=side), where="all")]))
        assert not close(out, other) or side == "mlp", "what the second part adds is added to the output"


def test_steered_tokens_are_counted():
    plain = policy()
    for where, wanted in (("all", None), ("generation", -1), ("first_step", 1), ("prompt", 1)):
        one = push(where=where)
        found = drawn(SteeredPolicy(plain, [one]))
        count = steered_tokens(found, [one])
        lengths = found.lengths
        expected = lengths if wanted is None else lengths - 1 if wanted == -1 else np.minimum(lengths, 1)
        assert count.tolist() == expected.tolist(), where
        assert not steered_tokens(found, [one.at(0.0)]).any()


def test_sampling_and_hooks_stay_with_a_steered_policy():
    plain = policy().having(sampling=Sampling(temperature=0.5))
    steered = SteeredPolicy(plain, [push()]).having(sampling=Sampling(temperature=0.0))
    assert isinstance(steered, SteeredPolicy)
    assert steered.sampling.greedy
    twice = SteeredPolicy(steered, [push(name="again")])
    assert [one.name for one in twice.interventions] == ["push", "again"]
    assert len({plain.fingerprint, steered.fingerprint, twice.fingerprint}) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"site": Site(layer=2)}, "no layer 2"),
        ({"vector": np.ones(WIDTH + 1)}, "the width 32"),
        ({"made_for": "0" * 32}, "another model"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(changes, said):
    with pytest.raises(UsageError, match=said) as refused:
        SteeredPolicy(policy(), [push(**changes)])
    assert refused.value.fix


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "subtract"},
        {"where": "everywhere"},
        {"mode": "function"},
        {"function": turned},
        {"vector": None},
        {"vector": np.full(WIDTH, np.nan)},
        {"coefficient": ()},
    ],
)
def test_senseless_interventions_are_refused(changes):
    with pytest.raises(UsageError) as refused:
        push(**changes)
    assert refused.value.fix


def test_unknown_sides_and_architectures_are_refused():
    with pytest.raises(UsageError, match="side"):
        Site(layer=0, side="middle")
    model = policy().model
    model.config.num_hidden_layers = 5
    with pytest.raises(InputError, match="layers"):
        layers_of(model)
