"""How a prompt reaches a model and what ends its answer: templates of common kinds, roles, unknown words."""

import numpy as np
import pytest
import small_models
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AddedToken, PreTrainedTokenizerFast

from keyturn.core.errors import InputError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.policies.local import LocalPolicy
from keyturn.policies.offsets import Spelling
from keyturn.policies.prompting import as_given, turn_end, unknown_words
from keyturn.policies.protocol import Limits
from keyturn.policies.stop_texts import cut_at
from keyturn.rollouts.completions import Stop

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m['role'] }}<|mid|>\n\n{{ m['content'] | trim }}<|eot|>"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant<|mid|>\n\n{% endif %}"
)
GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] }}"
    "<end>\n{% endfor %}{% if add_generation_prompt %}<turn>model\n{% endif %}"
)
MISTRAL = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
GLM = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
ALPACA = (
    "{% for m in messages %}{% if m['role'] == 'user' %}### Instruction:\n{{ m['content'] }}\n\n### Response:\n"
    "{% else %}{{ m['content'] }}\n\n{% endif %}{% endfor %}"
)
NOTHING = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
ONLY_USERS = (
    "{% for m in messages %}{% if m['role'] != 'user' %}{{ raise_exception('users only') }}{% endif %}"
    "{{ m['content'] }}<end>{% endfor %}"
)
THINKS = (  # drops what an assistant thought, as reasoning models' templates do
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'].split('</think>')[-1] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
ENDS = "eos bos |im_start| |im_end| |start| |mid| |eot| turn end |user| |assistant|"
SPECIAL = [f"<{name}>" for name in ENDS.split()]


def bytes_with(template, special=tuple(SPECIAL)):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", bos_token="<bos>", additional_special_tokens=list(special)
    )
    made.chat_template = template
    return made


@pytest.mark.parametrize(
    ("template", "token"),
    [
        (CHATML, "<|im_end|>"),
        (LLAMA3, "<|eot|>"),
        (GEMMA, "<end>"),
        (MISTRAL, "<eos>"),
        (GLM, "<|user|>"),
        (THINKS, "<|im_end|>"),
    ],
)
def test_the_token_that_ends_a_turn(template, token):
    made = bytes_with(template)
    found = turn_end(made)
    assert [made.decode([one]) for one in found.tokens] == [token]
    assert not found.texts
    assert not found.unknown


def test_turns_that_text_separates_and_turns_that_nothing_ends():
    assert turn_end(bytes_with(ALPACA)).texts == ("\n\n### Instruction:",)
    # The mark of a turn's end that this tokenizer has no token for is a text.
    assert turn_end(bytes_with(CHATML, special=["<|im_start|>"])).texts == ("<|im_end|>",)
    assert "nothing between turns" in turn_end(bytes_with(NOTHING)).unknown
    assert "users only" in turn_end(bytes_with(ONLY_USERS)).unknown


def test_an_end_that_the_tokenizer_does_not_call_special():
    made = bytes_with(CHATML, special=["<|im_start|>"])
    made.add_tokens([AddedToken("<|im_end|>", special=False)])
    assert turn_end(made).tokens == (made.convert_tokens_to_ids("<|im_end|>"),)


FEW_SHOT = (("system", "be short"), ("user", "q0"), ("assistant", "5"), ("user", "q1"))


def test_roles_reach_the_template_in_their_order():
    asked = Problem(id="p", prompt="be short\nq0\n5\nq1", messages=FEW_SHOT)
    made = bytes_with(CHATML)
    assert as_given(made, asked, chat=True) == (
        "<|im_start|>system\nbe short<|im_end|>\n<|im_start|>user\nq0<|im_end|>\n"
        "<|im_start|>assistant\n5<|im_end|>\n<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\n"
    )
    assert as_given(made, asked, chat=False) == asked.prompt
    alone = Problem(id="p", prompt="q1")
    assert as_given(made, alone, chat=True).startswith("<|im_start|>user\nq1<|im_end|>")


def test_a_last_message_of_the_assistants_is_gone_on_with():
    begun = Problem(id="p", prompt="q\nLet us", messages=(("user", "q"), ("assistant", "Let us")))
    assert as_given(bytes_with(CHATML), begun, chat=True).endswith("<|im_start|>assistant\nLet us")


def test_roles_that_a_template_refuses_are_one_sentence():
    with pytest.raises(InputError, match=r"system, user.*System role not supported \(problem p\)") as refused:
        as_given(bytes_with(GEMMA), Problem(id="p", prompt="x", messages=FEW_SHOT), chat=True)
    assert "--template plain" in refused.value.fix


def words(**how):
    inner = Tokenizer(models.WordLevel({"<unk>": 0, "one": 1, "two": 2, ".": 3}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", **how)


def dropping():
    """A tokenizer that leaves out what it does not know, without a word."""
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate("onetw.")}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner)


@pytest.mark.parametrize(
    ("make", "texts", "share"),
    [
        (words, ["one two.", "one"], 0.0),
        (words, ["one three.", "two two"], 0.25),
        (words, ["\u00e4 \u00f6", "\n\t "], 1.0),
        (words, ["", " "], 0.0),
        (dropping, ["one two", "one"], 0.0),
        (dropping, ["one t\u00fcwo drei"], 2 / 3),
        (lambda: bytes_with(None), ["\u4e00 \u00e9t\u00e9 \U0001f600"], 0.0),
    ],
)
def test_the_share_of_words_that_a_tokenizer_does_not_know(make, texts, share):
    assert unknown_words(make(), texts) == pytest.approx(share)


def with_template(tokenizer, template):
    tokenizer.chat_template = template
    return tokenizer


PLAIN_TURNS = "{% for m in messages %}w3 {{ m['content'] }} w7 {% endfor %}"
TWO_WORDS = "{% for m in messages %}{{ m['content'] }} w7 w9 {% endfor %}"


def test_answers_end_with_the_turn_and_its_end_is_no_part_of_the_text():
    made = small_models.tokenizer()
    assert "w7 between turns" in turn_end(with_template(made, PLAIN_TURNS)).unknown  # it may stand in an answer
    made.add_tokens([AddedToken("w7", special=False)])
    who = LocalPolicy(small_models.family("llama"), made, chat=True)
    rows = who.draw(small_models.problems((4, 6)), range(40), Streams(0), Limits(max_new_tokens=24))
    assert set(who.ends) == {small_models.END, 7}
    last = np.array([rows.row(row)[-1] for row in range(len(rows))])
    assert (last == 7).any()
    assert not any("w7" in text.split() for text in rows.texts)
    assert all((rows.row(row)[:-1] != 7).all() for row in range(len(rows)))
    assert (rows.stop[last == 7] == Stop.EOS).all()
    spelling = Spelling(who.tokenizer)
    for row, text in enumerate(rows.texts):
        assert spelling.row(rows.row(row))[0].startswith(text), "what ends the turn is behind the text"


def test_answers_are_cut_where_the_text_that_ends_a_turn_is_complete():
    made = small_models.tokenizer()
    made.chat_template = TWO_WORDS
    assert turn_end(made).texts == ("w7 w9",)
    who = LocalPolicy(small_models.family("llama"), small_models.tokenizer())
    rows = who.draw(small_models.problems((4,)), range(3), Streams(0), Limits(max_new_tokens=6))
    ids = [[5, 7, 9, 4], [5, 7, 4], [7, 9]]
    offsets = np.array([0, 4, 7, 9])
    flat = np.concatenate(ids).astype(np.int32)
    texts = tuple(" ".join(f"w{i}" for i in row) for row in ids)
    numbers = np.arange(9, dtype=np.float32)
    given = type(rows)(
        **{**rows.__dict__, "tokens": flat, "offsets": offsets, "texts": texts, "logprobs": numbers},
    )
    given = type(rows)(
        **{**given.__dict__, "entropies": numbers, "stop": np.full(3, Stop.LENGTH, dtype=np.uint8)}
    )
    cut = cut_at(given, made, turn_end(made).texts)
    assert [cut.row(row).tolist() for row in range(3)] == [[5, 7, 9], [5, 7, 4], [7, 9]]
    assert cut.texts == ("w5 ", "w5 w7 w4", "")
    assert cut.stop.tolist() == [Stop.EOS, Stop.LENGTH, Stop.EOS]
    assert cut.logprobs.tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    spelling = Spelling(made)
    assert all(spelling.row(cut.row(row))[0].startswith(text) for row, text in enumerate(cut.texts))
    assert cut_at(given, made, ("w30",)) is given


def test_what_ends_an_answer_is_part_of_who_answers():
    made = small_models.tokenizer()
    who = LocalPolicy(small_models.family("llama"), made)
    before = who.fingerprint
    who.model.generation_config.eos_token_id = [small_models.END, 5]
    assert who.fingerprint != before
