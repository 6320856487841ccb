"""Two small causal LMs of other architectures with byte and word tokenizers, on disk, base and tuned."""

import json

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from keyturn.core.streams import Streams
from keyturn.policies.fit import Row, epochs, fit
from keyturn.policies.optimise import FitConfig

SUMS = [(a, b) for a in range(1, 5) for b in range(1, 5)]


def byte_tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate(["<|end|>", *alphabet])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>")


def word_tokenizer():
    words = ["<end>", "<unk>", "What", "is", "plus", "?", "####", *map(str, range(20))]
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<end>", pad_token="<end>", unk_token="<unk>"
    )


def gpt2(size):
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=size, n_embd=48, n_layer=2, n_head=4, n_positions=256, eos_token_id=0, bos_token_id=0
        )
    )


def qwen(size):
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=size,
            hidden_size=48,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            eos_token_id=0,
            bos_token_id=None,
        )
    )


def problem_file(folder):
    path = folder / "sums.jsonl"
    rows = [{"question": f"What is {a} plus {b} ?", "answer": f"#### {a + b}", "level": a % 2} for a, b in SUMS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pair_on_disk(folder, make, tokenizer, steps=120):
    """A base that knows the format and not the sums, and a child that was fitted to them."""
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(1)
        model = make(len(tokenizer))
    wrong = [f" #### {a + b + d}" for a, b in SUMS for d in range(-1, 9)]
    asked = [f"What is {a} plus {b} ?" for a, b in SUMS for _ in range(10)]
    learn(model, tokenizer, asked, wrong, steps)
    save(model, tokenizer, folder / "base")
    learn(
        model,
        tokenizer,
        [f"What is {a} plus {b} ?" for a, b in SUMS],
        [f" #### {a + b}" for a, b in SUMS],
        steps,
    )
    save(model, tokenizer, folder / "tuned")
    return folder / "base", folder / "tuned"


def learn(model, tokenizer, prompts, completions, steps):
    rows = []
    for prompt, completion in zip(prompts, completions, strict=True):
        head = tokenizer(prompt)["input_ids"]
        tail = [*tokenizer(completion)["input_ids"], tokenizer.eos_token_id]
        tokens = np.array([*head, *tail], dtype=np.int32)
        rows.append(
            Row(tokens=tokens, weights=np.array([0.0] * len(head) + [1.0] * len(tail), dtype=np.float32))
        )
    config = FitConfig(steps=steps, batch_rows=16, bucket_batches=1, lr=3e-3, warmup=5)
    fit(model, epochs(rows, config, Streams(0)), config, Streams(0))


def save(model, tokenizer, folder):
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
