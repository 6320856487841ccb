import numpy as np
import pytest
import small_models
import torch
from tokenizers.processors import TemplateProcessing
from transformers import T5Config, T5ForConditionalGeneration

from keyturn.core.errors import InputError, UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.policies.hooks import ForwardHook
from keyturn.policies.local import LocalPolicy, Sampling
from keyturn.policies.protocol import Limits, Policy
from keyturn.rollouts.completions import Stop

LIMITS = Limits(max_new_tokens=12)


def policy(name="tiny", **how):
    return LocalPolicy(small_models.family(name), small_models.tokenizer(), **how)


def test_it_is_a_policy():
    assert isinstance(policy(), Policy)


def test_rows_are_problem_major_whatever_the_batches():
    who = policy()
    asked = small_models.problems((9, 3, 6))
    for batch_rows in (1, 4, 100):
        drawn = who.draw(asked, range(2, 5), Streams(0), Limits(max_new_tokens=12, batch_rows=batch_rows))
        assert drawn.problem.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        assert drawn.draw.tolist() == [2, 3, 4] * 3
        assert drawn.prompts.ids == ("p0", "p1", "p2")
        assert [len(drawn.prompts.row(index)) for index in range(3)] == [9, 3, 6]
        assert drawn.offsets[-1] == len(drawn.tokens) == len(drawn.logprobs) == len(drawn.entropies)
        if batch_rows == 1:
            first = drawn
        assert drawn.tokens.tolist() == first.tokens.tolist()


def test_ends_and_limits_are_told_apart():
    drawn = policy().draw(small_models.problems((4, 5)), range(30), Streams(0), LIMITS)
    for row in range(len(drawn)):
        tokens = drawn.row(row).tolist()
        if drawn.stop[row] == Stop.EOS:
            assert tokens.index(small_models.END) == len(tokens) - 1
        else:
            assert small_models.END not in tokens
            assert len(tokens) == 12
    assert {Stop.EOS, Stop.LENGTH} <= set(drawn.stop.tolist())
    assert all("<end>" not in text for text in drawn.texts)
    shown = [small_models.tokenizer().decode(drawn.row(row), skip_special_tokens=True) for row in range(3)]
    assert list(drawn.texts[:3]) == shown


def test_padding_token_is_irrelevant():
    """No pad token, pad equal to the end of sequence, a pad of its own: the same draws and scores."""
    asked = small_models.problems((3, 9, 5))
    drawn, scores = [], []
    for special in ({}, {"pad_token": "<end>"}, {"pad_token": "w7", "padding_side": "left"}):
        who = LocalPolicy(small_models.family("qwen"), small_models.tokenizer(**special))
        drawn.append(who.draw(asked, range(4), Streams(0), LIMITS))
        scores.append(who.score(drawn[0]))
    assert all(part.tokens.tolist() == drawn[0].tokens.tolist() for part in drawn)
    assert all(np.array_equal(part.logprobs, scores[0].logprobs) for part in scores)


def test_every_end_of_sequence_counts():
    who = policy("llama")
    who.model.generation_config.eos_token_id = [3, 5]
    assert who.ends == (small_models.END, 3, 5)
    drawn = who.draw(small_models.problems((4,)), range(40), Streams(0), LIMITS)
    last = {int(drawn.row(row)[-1]) for row in range(40) if drawn.stop[row] == Stop.EOS}
    assert last == {1, 3, 5}


def test_a_prompt_longer_than_the_context_is_named():
    asked = small_models.problems((4, small_models.CONTEXT, 5, small_models.CONTEXT + 3))
    with pytest.raises(InputError, match="2 prompts fill the context of 96 tokens: p1, p3"):
        policy().draw(asked, range(1), Streams(0), LIMITS)


@pytest.mark.parametrize("name", ["tiny", "gpt2", "without_cache"])
def test_a_completion_stops_at_the_end_of_the_context(name):
    asked = small_models.problems((small_models.CONTEXT - 2, 4))
    drawn = policy(name).draw(asked, range(8), Streams(1), LIMITS)
    assert drawn.lengths[:8].max() == 2
    assert drawn.lengths[8:].max() == 12


def test_tokens_without_an_embedding_are_named():
    small = LocalPolicy(small_models.tiny(vocab_size=10), small_models.tokenizer())
    with pytest.raises(InputError, match=r"beyond the model.s embedding \(10\): p0"):
        small.draw(
            [Problem(id="p0", prompt="w2 w39"), Problem(id="p1", prompt="w2")], range(1), Streams(0), LIMITS
        )


def test_ids_beyond_the_tokenizer_are_drawn_and_decoded():
    """GPT-2's embedding here has five rows that the tokenizer does not know."""
    who = policy("gpt2")
    drawn = who.draw(small_models.problems((4, 4, 4)), range(40), Streams(0), LIMITS)
    assert drawn.tokens.max() >= small_models.VOCABULARY
    assert np.abs(who.score(drawn).logprobs - drawn.logprobs).max() < 2e-5
    assert all(isinstance(text, str) for text in drawn.texts)


def test_repeated_ids_are_refused():
    with pytest.raises(UsageError, match="distinct ids"):
        policy().draw(small_models.problems((4,)) * 2, range(1), Streams(0), LIMITS)


def test_encoder_decoders_are_refused():
    model = T5ForConditionalGeneration(
        T5Config(vocab_size=40, d_model=8, d_ff=8, num_layers=1, num_heads=1, d_kv=8)
    )
    with pytest.raises(InputError, match="encoder-decoder"):
        LocalPolicy(model, small_models.tokenizer())


def test_a_model_without_weights_is_refused():
    with torch.device("meta"):
        empty = small_models.llama()
    with pytest.raises(InputError, match="'meta'"):
        LocalPolicy(empty, small_models.tokenizer())


@pytest.mark.filterwarnings("ignore")  # PEFT's own, about the tied head
def test_adapters_in_memory_draw_score_and_are_another_policy():
    peft = pytest.importorskip("peft")
    base = policy()
    before = base.fingerprint
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "lm_head"], init_lora_weights=False)
    adapted = LocalPolicy(peft.get_peft_model(small_models.family("llama"), config), small_models.tokenizer())
    drawn = adapted.draw(small_models.problems((3, 5)), range(4), Streams(0), LIMITS)
    assert np.abs(drawn.logprobs - adapted.score(drawn).logprobs).max() < 2e-5
    assert adapted.fingerprint != before


def with_template(tokenizer, single):
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=single, special_tokens=[("w2", 2), ("<end>", small_models.END)]
    )
    return tokenizer


def prompt_ids(tokenizer, text, **how):
    who = LocalPolicy(small_models.family("tiny"), tokenizer, **how)
    return who.prompts([Problem(id="p", prompt=text)]).row(0).tolist()


def test_special_tokens_of_prompts():
    begin = with_template(small_models.tokenizer(bos_token="w2"), "w2 $A")
    assert prompt_ids(begin, "w3 w4") == [2, 3, 4]
    assert prompt_ids(begin, "w2 w3 w4") == [2, 3, 4]  # not twice
    closes = with_template(small_models.tokenizer(), "$A <end>")
    assert prompt_ids(closes, "w3 w4") == [3, 4]  # a prompt is not closed
    assert prompt_ids(closes, "w3 <end>") == [3, small_models.END]  # unless it closes itself
    assert prompt_ids(small_models.tokenizer(bos_token="w2"), "") == [2]
    assert prompt_ids(small_models.tokenizer(), "") == [small_models.END]
    with pytest.raises(InputError, match="no tokens"):
        prompt_ids(small_models.tokenizer(eos_token=None), "")


def test_chat_templates():
    tokenizer = with_template(small_models.tokenizer(bos_token="w2"), "w2 $A")
    with pytest.raises(InputError, match="no chat template"):
        LocalPolicy(small_models.family("tiny"), tokenizer, chat=True)
    tokenizer.chat_template = (
        "{{ bos_token }} w5 {{ messages[0]['content'] }}{% if add_generation_prompt %} w6{% endif %}"
    )
    assert prompt_ids(tokenizer, "w3 w4", chat=True) == [2, 5, 3, 4, 6]
    assert prompt_ids(tokenizer, "w3 w4") == [2, 3, 4]


def test_fingerprints_name_what_answers():
    who = policy()
    same = policy()
    assert who.fingerprint == same.fingerprint
    seen = {who.fingerprint}
    seen.add(who.having(sampling=Sampling(temperature=0.5)).fingerprint)
    for strength in (1.0, 2.0):
        seen.add(who.having(hooks=[steering(strength, config={"strength": strength})]).fingerprint)
    seen.add(LocalPolicy(who.model, small_models.tokenizer(pad_token="w3")).fingerprint)
    with torch.no_grad():
        who.model.model.norm.weight.data[0] += 1e-6  # even past autograd's version counter
    seen.add(who.fingerprint)
    assert len(seen) == 6


def steering(strength, **more):
    """A hook that holds what its text does not show."""
    return ForwardHook(name="x", module="model.norm", run=lambda module, args, out: out * strength, **more)


def test_a_hook_that_does_not_say_what_it_holds_has_no_fingerprint():
    with pytest.raises(UsageError, match=r"hooks\[0\].run: a lambda cannot be named"):
        _ = policy().having(hooks=[steering(3.0)]).fingerprint


def test_large_weights_are_hashed_once_until_they_change(monkeypatch):
    from keyturn.policies import local

    monkeypatch.setattr(local, "_ALWAYS_HASHED_BYTES", 0)
    calls = []
    hashed = local.weights_hash
    monkeypatch.setattr(local, "weights_hash", lambda model: (calls.append(1), hashed(model))[1])
    who = policy()
    first = who.fingerprint
    assert who.fingerprint == first
    assert len(calls) == 1
    torch.optim.SGD(who.model.parameters(), lr=0.1).step()
    with torch.no_grad():
        who.model.model.norm.weight[0] += 1
    assert who.fingerprint != first
    assert len(calls) == 2


def test_the_model_is_given_back_as_it_was():
    who = policy("gpt2")
    who.model.train()
    before = {name: tensor.clone() for name, tensor in who.model.state_dict().items()}
    drawn = who.draw(small_models.problems((4,)), range(4), Streams(0), LIMITS)
    assert np.abs(who.score(drawn).logprobs - drawn.logprobs).max() < 2e-5  # dropout was off
    assert who.model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in who.model.state_dict().items())
    who.model(torch.tensor([[2, 3]])).logits.sum().backward()  # nothing made while drawing is in the way


def test_training_after_drawing_works():
    who = policy("tiny")
    who.draw(small_models.problems((4,)), range(4), Streams(0), LIMITS)
    who.model(torch.tensor([[2, 3]])).logits.sum().backward()
    assert who.model.model.embed_tokens.weight.grad is not None


def test_progress_counts_rows():
    done = []
    who = policy()
    asked = small_models.problems((4, 5, 6))
    drawn = who.draw(asked, range(5), Streams(0), Limits(max_new_tokens=4, batch_rows=4), advance=done.append)
    assert sum(done) == 15
    done.clear()
    who.score(drawn, advance=done.append)
    assert sum(done) == 15


def test_nothing_asked_nothing_drawn():
    who = policy()
    assert len(who.draw(small_models.problems((4,)), range(0), Streams(0), LIMITS)) == 0
    empty = who.draw([], range(3), Streams(0), LIMITS)
    assert len(empty) == 0
    assert len(who.score(empty).logprobs) == 0


def test_what_another_model_made_may_not_fit():
    asked = small_models.problems((4, 50))
    drawn = policy("qwen").draw(asked, range(2), Streams(0), LIMITS)
    short = LocalPolicy(small_models.tiny(max_position_embeddings=51), small_models.tokenizer())
    with pytest.raises(InputError, match="context of 51 tokens: p1"):
        short.score(drawn)
    small = LocalPolicy(small_models.tiny(vocab_size=10), small_models.tokenizer())
    with pytest.raises(InputError, match="embedding only 10"):
        small.score(drawn)


def test_no_tokens_cannot_be_drawn():
    with pytest.raises(UsageError, match="max_new_tokens"):
        policy().draw(small_models.problems((4,)), range(1), Streams(0), Limits(max_new_tokens=0))


def test_double_precision_makes_batches_irrelevant_to_the_last_bit():
    who = policy("llama")
    who.model.double()
    asked = small_models.problems((4, 7))
    together = who.draw(asked, range(6), Streams(0), LIMITS)
    alone = who.draw(asked[1:], range(6), Streams(0), Limits(max_new_tokens=12, batch_rows=1))
    assert alone.tokens.tolist() == together.tokens[together.offsets[6] :].tolist()
    assert np.allclose(alone.logprobs, together.logprobs[together.offsets[6] :], atol=1e-7)
