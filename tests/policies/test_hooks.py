import pytest
import small_models
import torch

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.policies.hooks import ForwardHook, evaluating, hooked
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits

LIMITS = Limits(max_new_tokens=6)


def hooks_of(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def shift(module, args, output):
    return output + 1.0


def test_hooks_act_only_inside_the_block():
    model = small_models.family("tiny")
    tokens = torch.tensor([[2, 3, 4]])
    plain = model(tokens).logits
    with hooked(model, [ForwardHook(name="shift", module="model.layers.0", run=shift)]):
        assert hooks_of(model) == 1
        assert not torch.allclose(model(tokens).logits, plain)
    assert hooks_of(model) == 0
    assert torch.equal(model(tokens).logits, plain)


def test_hooks_are_gone_after_an_exception():
    model = small_models.family("tiny")

    def explode(module, args, output):
        raise RuntimeError("inside")

    hooks = [
        ForwardHook(name="shift", module="model.layers.1", run=shift),
        ForwardHook(name="explode", module="model.norm", run=explode),
    ]
    with pytest.raises(RuntimeError, match="inside"):
        LocalPolicy(model, small_models.tokenizer(), hooks=hooks).draw(
            small_models.problems((4,)), range(2), Streams(0), LIMITS
        )
    assert hooks_of(model) == 0
    with (
        pytest.raises(UsageError, match=r"model.layers.1"),
        hooked(model, [hooks[0], ForwardHook(name="lost", module="model.layers.11", run=shift)]),
    ):
        pass
    assert hooks_of(model) == 0


def test_pre_hooks_and_hooks_reach_drawing_and_scoring():
    model = small_models.family("tiny")
    plain = LocalPolicy(model, small_models.tokenizer())
    asked = small_models.problems((4, 5))
    drawn = plain.draw(asked, range(4), Streams(0), LIMITS)
    before = ForwardHook(
        name="half",
        module="model.layers.1.mlp",
        run=lambda module, args: (args[0] * 0.1,),
        before=True,
        config={"factor": 0.1},
    )
    steered = plain.having(hooks=[before])
    other = steered.draw(asked, range(4), Streams(0), LIMITS)
    assert other.tokens.tolist() != drawn.tokens.tolist()
    score = steered.score(other)
    assert abs(score.logprobs - other.logprobs).max() < 2e-5
    assert abs(plain.score(other).logprobs - other.logprobs).max() > 1e-2
    assert len({plain.fingerprint, steered.fingerprint, other.policy}) == 2


def test_evaluating_restores_the_mode_of_every_module():
    model = small_models.gpt2().train()
    model.transformer.h[0].eval()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
    assert model.training
    assert not model.transformer.h[0].training
    assert model.transformer.h[1].training
    assert torch.is_grad_enabled()
    with pytest.raises(KeyError), evaluating(model):
        raise KeyError
    assert model.training
