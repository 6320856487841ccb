"""What elicitation costs beside plain decoding, as ratios of processor time in one run, one thread.

``python benchmarks/elicitation.py [--rounds 5] [--write]``. A random Llama without an end of sequence, so every
text has its full length and every ratio is one of equal tokens. Its vocabulary is too large for the native
engine: all sides run on torch. Sides run in turns; the least processor time of the rounds counts.

- *steered*: a vector added at every written token, persistently, against plain decoding of the same rows.
- *CoT-decoding*: the method with k branches of a few problems, against k times one greedy text, each decoded by
  a call of its own.
- *power sampling*: its tokens by a formula: with B blocks of b tokens and S proposals a block, each
  of which regrows a uniformly chosen tail, ``B b + S (b B (B + 1) / 2 + B) / 2``.
- *hybrid*: the method with a teacher of the same size that reads along, and without the pass that scores its
  texts afterwards, against plain decoding.
"""

import argparse
import json
import platform
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, logging

from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.contract import Asked
from keyturn.elicitation.gates import Disagree
from keyturn.elicitation.hybrid_places import written
from keyturn.policies.interventions import Intervention
from keyturn.policies.local import LocalPolicy, Sampling
from keyturn.policies.protocol import Limits
from keyturn.policies.sites import Site
from keyturn.policies.steered import SteeredPolicy
from keyturn.policies.which_engine import engine_of
from keyturn.problems.contract import ProblemSet
from keyturn.problems.graders import GRADERS

RESULTS = Path(__file__).parents[1] / "docs" / "results"
WORDS, WIDTH, LAYERS = 8192, 256, 4
PROBLEMS, DRAWS, PROMPT, TOKENS = 4, 4, 32, 32
BRANCHES = 8
BLOCK, STEPS = 8, 3


def made(seed: int) -> LocalPolicy:
    """A random model whose texts never end."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=WORDS, hidden_size=WIDTH, intermediate_size=704, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=4, bos_token_id=None, eos_token_id=None,
        initializer_range=0.1,
    )  # fmt: skip
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(WORDS)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    return LocalPolicy(LlamaForCausalLM(config).eval(), tokenizer)


def asking() -> Asked:
    """The base, its problems and a teacher of its size."""
    rng = np.random.default_rng(0)
    problems = tuple(
        Problem(id=f"p{i}", prompt=" ".join(f"w{w}" for w in rng.integers(0, WORDS, PROMPT)), answer="1")
        for i in range(PROBLEMS)
    )
    return Asked(
        policy=made(0),
        teacher=made(1),
        problems=ProblemSet(name="made", problems=problems, grader=GRADERS["numeric"]),
        draws=range(DRAWS),
        streams=Streams(0),
        limits=Limits(max_new_tokens=TOKENS),
    )


def least(sides: dict, rounds: int) -> dict[str, float]:
    """Processor seconds of each side, the least of the rounds, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            begun = time.process_time()
            side()
            if number:  # the first round makes what is made once
                taken[name].append(time.process_time() - begun)
    return {name: min(seconds) for name, seconds in taken.items()}


def formula(block: int, steps: int, tokens: int) -> float:
    """Tokens that power sampling draws for an answer of full length."""
    blocks = tokens // block
    return tokens + steps * (block * blocks * (blocks + 1) / 2 + blocks) / 2


def measured(rounds: int) -> dict[str, float]:
    """All ratios."""
    asked = asking()
    base = asked.model
    assert engine_of(base) == "torch", "the native engine has no interventions to be compared with"
    problems = asked.problems.problems
    vector = np.random.default_rng(1).normal(size=WIDTH).astype(np.float32)
    push = Intervention(name="push", site=Site(layer=LAYERS // 2), vector=vector, coefficient=0.1)
    steered = SteeredPolicy(base, [push])
    hybrid = ELICITATIONS["hybrid-disagree"]
    cot = ELICITATIONS["cot-decoding"]
    branching = replace(cot.config, k=BRANCHES, span="number")
    greedy = base.having(sampling=Sampling(temperature=0.0))
    one = replace(asked, draws=range(1))

    def apart() -> None:
        for problem in problems:
            for _ in range(BRANCHES):
                greedy.draw([problem], range(1), asked.streams, asked.limits)

    taken = least(
        {
            "plain": lambda: base.draw(problems, asked.draws, asked.streams, asked.limits),
            "steered": lambda: steered.draw(problems, asked.draws, asked.streams, asked.limits),
            "hybrid": lambda: hybrid.answer(asked, hybrid.config, {}),
            "hybrid, decoding alone": lambda: written(asked, Disagree(), taking=1.0),
            "branches": lambda: cot.answer(one, branching, {}),
            "apart": apart,
        },
        rounds,
    )
    power = ELICITATIONS["power"]
    many = replace(asked, draws=range(64))
    costs = power.answer(many, replace(power.config, block=BLOCK, steps=STEPS), {}).costs
    expected = formula(BLOCK, STEPS, TOKENS)
    return {
        "steered / plain": taken["steered"] / taken["plain"],
        "hybrid / plain": taken["hybrid"] / taken["plain"],
        "hybrid, decoding alone / plain": taken["hybrid, decoding alone"] / taken["plain"],
        "CoT-decoding / separate decodes": taken["branches"] / taken["apart"],
        "power sampling, tokens an answer": float(costs.generated.mean()),
        "power sampling, by its formula": expected,
        "power sampling, tokens / formula": float(costs.generated.mean()) / expected,
    }


def page(found: dict) -> str:
    """The table, with what each row means."""
    ratios = found["ratios"]
    power = (
        f"power sampling ({TOKENS // BLOCK} blocks of {BLOCK} tokens, {STEPS} proposals each): tokens, "
        f"to the {ratios['power sampling, by its formula']:.0f} of its formula"
    )
    rows = {
        "a vector added at every written token, to plain decoding (aim: 1.1)": ("steered / plain", 2),
        "`hybrid-disagree` with a teacher of the same size, to plain decoding, a token": ("hybrid / plain", 2),
        "the same without the pass that scores its texts": ("hybrid, decoding alone / plain", 2),
        f"CoT-decoding with {BRANCHES} branches, to {BRANCHES} texts decoded by calls of their own": (
            "CoT-decoding / separate decodes",
            2,
        ),
        power: ("power sampling, tokens / formula", 3),
    }
    head = (
        f"Processor time of one thread, sides in turns in one run, least of {found['rounds']} rounds: a random "
        f"Llama ({found['parameters'] / 1e6:.1f}M parameters, {WORDS:,} words), {PROBLEMS} problems with "
        f"{DRAWS} draws of {TOKENS} tokens behind {PROMPT}, torch {found['torch']}."
    )
    lines = [
        "# What elicitation costs beside plain decoding",
        "",
        "*Written by `benchmarks/elicitation.py --write`; its head says how.*",
        "",
        head,
        "",
        "| what | ratio |",
        "| --- | ---: |",
        *(f"| {what} | {ratios[name]:.{digits}f} |" for what, (name, digits) in rows.items()),
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write docs/results/elicitation.json and its page")
    said = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    parameters = sum(p.numel() for p in made(0).model.parameters())
    found = {
        "machine": platform.machine(), "torch": torch.__version__, "rounds": said.rounds, "threads": 1,
        "parameters": parameters, "ratios": measured(said.rounds),
    }  # fmt: skip
    print(json.dumps(found, indent=1))
    if said.write:
        (RESULTS / "elicitation.json").write_text(json.dumps(found, indent=1) + "\n")
        (RESULTS / "elicitation.md").write_text(page(found))


if __name__ == "__main__":
    main()
