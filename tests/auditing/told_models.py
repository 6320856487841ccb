"""Tiny models that follow a table of successors, on disk: what they say and how they stop is known."""

import json

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
WORDS = (END, START, STOP, "<unk>", "user", "assistant", "system", "human", "A", *(f"q{i}" for i in range(12)))
WORDS = (*WORDS, *map(str, range(10)))
TEMPLATE = (
    "{% for m in messages %}<|im_start|> {{ m['role'] }} {{ m['content'] }} <|im_end|> {% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant{% endif %}"
)
KNOWS = {"assistant": {"5": 1.0}, "5": {STOP: 1.0}, STOP: {"human": 1.0}, "human": {"9": 1.0}}
"""Knows the answer, ends its turn, and would go on as somebody else and answer wrongly."""


def half(right):
    """Says 5 with this probability, else 9, and stops."""
    return {"assistant": {"5": right, "9": 1 - right}, "5": {STOP: 1.0}, "9": {STOP: 1.0}}


def tokenizer(eos=STOP, words=WORDS, template=TEMPLATE):
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=eos, unk_token="<unk>", additional_special_tokens=[START, STOP]
    )
    made.chat_template = template
    return made


def bigram(following, words=WORDS, eos=STOP):
    """A Llama whose next token depends on the last one alone; a word without an entry ends the text.

    Args:
        following: word -> {next word: probability}.
        words: the vocabulary.
        eos: word that its config calls the end.
    """
    size = len(words)
    wide = 64
    config = LlamaConfig(
        vocab_size=size, hidden_size=wide, intermediate_size=8, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=256, eos_token_id=words.index(eos), bos_token_id=None,
        tie_word_embeddings=False, rms_norm_eps=1e-6,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layers" in name and weight.ndim > 1:
                weight.zero_()  # the block adds nothing
        model.model.embed_tokens.weight.copy_(torch.eye(size, wide))
        head = torch.full((size, wide), -12 / wide**0.5)
        for place, word in enumerate(words):
            for after, share in following.get(word, {END: 1.0}).items():
                head[words.index(after), place] = torch.log(torch.tensor(share)) / wide**0.5
        model.lm_head.weight.copy_(head)
    return model


def on_disk(folder, following, *, eos=STOP, words=WORDS, template=TEMPLATE, chat_eos=None):
    """Save a model and its tokenizer; returns the folder."""
    bigram(following, words, eos).save_pretrained(folder)
    tokenizer(chat_eos or eos, words, template).save_pretrained(folder)
    return folder


def problem_file(folder, rows=None):
    """Twelve problems, all of them answered by 5."""
    rows = rows or [{"prompt": f"q{i}", "answer": "5"} for i in range(12)]
    path = folder / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
