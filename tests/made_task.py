"""Tasks made in a moment: the shipped bases in their worlds, and a stock model on a file of problems."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

import keyturn
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.lab.fit_rows import supervised
from keyturn.lab.task import Task, file_task, world_task
from keyturn.policies.fit import epochs, fit
from keyturn.policies.loading import load_policy, save_policy, world_of
from keyturn.policies.local import LocalPolicy
from keyturn.policies.optimise import FitConfig
from keyturn.problems.files import read_problems

MODELS = Path(keyturn.__file__).parent / "assets" / "models"
SPECIAL = ("<pad>", "<eos>", "<unk>")
PLAIN = ("what", "is", "one", "more", "than", "=", "wait", "so", "0", "1", "2", "3")
WORDS = (*SPECIAL, *(f"Ġ{word}" for word in PLAIN))


def shipped_task(name: str = "chain") -> Task:
    """A shipped base on few problems of its world."""
    world = world_of(MODELS / name)
    assert world is not None
    key = "depth" if name == "chain" else "operations"
    cells = [{"domain": name, key: n} for n in (1, 2)]
    return world_task(
        load_policy(MODELS / name),
        str(MODELS / name),
        world,
        Streams(3),
        train=cells,
        test=cells,
        per_cell=12,
        held_out=4,
    )


def made_model(folder: Path, seed: int = 0) -> Path:
    """A stock Qwen3 of some 5,000 weights that answers any question with any digit: a user's model folder."""
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    # Of a Qwen2 folder transformers builds the tokenizer anew by its own rules: this one would read nothing.
    config = Qwen3Config(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=128,
        eos_token_id=1,
        pad_token_id=0,
    )
    model = Qwen3ForCausalLM(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2, generator=generator)
    policy = LocalPolicy(model, tokenizer)
    # As the file's problems are worded, so that no prompt is strange to it; the digit is any.
    asked = [
        Problem(id=f"{i}", prompt=f"what is {' '.join(['one more than'] * (1 + i % 20))} {i % 3}")
        for i in range(120)
    ]
    rows = supervised(policy, [(problem, f"= {i // 20 % 4}") for i, problem in enumerate(asked)])
    config = FitConfig(steps=150, batch_rows=16, bucket_batches=1, lr=2e-2, warmup=0)
    fit(model, epochs(rows, config, Streams(seed)), config, Streams(seed))
    save_policy(folder, model, tokenizer)
    return folder


def problem_file(path: Path, count: int = 60) -> Path:
    """Questions with answers 1 to 3 and worked solutions, different ones by their wording."""
    with path.open("w") as lines:
        for index in range(count):
            number = index % 3
            words = ["one more than"] * (1 + index // 3)
            question = f"what is {' '.join(words)} {number}"
            answer = str((number + len(words)) % 4)
            row = {"question": question, "answer": answer, "solution": f"= {answer}"}
            lines.write(json.dumps(row) + "\n")
    return path


def stock_task(folder: Path) -> Task:
    """A stock model on a file: what a user with any Hugging Face model has."""
    model = made_model(folder / "made")
    asked = read_problems(problem_file(folder / "problems.jsonl"), grader="numeric")
    return file_task(load_policy(model), str(model), asked, max_new_tokens=8)
