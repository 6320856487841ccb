"""Peak memory of one RL step: all at once, as it is by default, and with every layer run again.

``python benchmarks/memory.py [--layers N] [--model FOLDER] [--write]``: a random Llama of SmolLM2-135M's shape
(or a model folder), 64 completions on 8 prompts, drawn, learnt from and written as a checkpoint. Every side is
a process of its own, one thread. Figures are ratios and depend little on the machine; the peak is the system's
(``VmHWM``).
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.objectives.rloo import rloo
from keyturn.policies import kept_for_backward
from keyturn.policies.loading import load_policy
from keyturn.policies.local import LocalPolicy
from keyturn.problems.contract import ProblemSet
from keyturn.rewards.bernoulli import bernoulli
from keyturn.rollouts.grades import Grades
from keyturn.training import run as running
from keyturn.training.config import RLConfig, UpdateConfig
from keyturn.training.rl import train_rl

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "memory.json"
VOCABULARY, PROMPT, COMPLETION, PROMPTS, DRAWS = 49152, 156, 32, 8, 8
SIDES = {
    "whole": "no bound on a pass, nothing run again",
    "default": "as `keyturn train` does it",
    "again": "every layer run again (update.recompute=always)",
}


def made(layers: int) -> LocalPolicy:
    """A random Llama of SmolLM2-135M's shape with a tokenizer of words."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=576, intermediate_size=1536, num_hidden_layers=layers,
        num_attention_heads=9, num_key_value_heads=3, head_dim=64, max_position_embeddings=8192,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=1,
    )  # fmt: skip
    inner = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w0"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return LocalPolicy(
        LlamaForCausalLM(config).eval(), PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="w1")
    )


class Right:
    """A grader that calls every answer right: the reward is random."""

    name, reads_traces, config = "right", False, None

    def grade(self, problems, completions):
        rows = len(completions)
        nothing = np.full(rows, np.nan, np.float32)
        return Grades(outcome=np.ones(rows, np.float32), verified=nothing, answer=("",) * rows, columns={})


def problems(policy: LocalPolicy) -> ProblemSet:
    """Prompts of 156 tokens."""
    rng = np.random.default_rng(1)
    known = rng.integers(1000, min(VOCABULARY, len(policy.tokenizer)) - 1, (PROMPTS, PROMPT)).tolist()
    texts = [str(policy.tokenizer.decode(row)) for row in known]
    asked = tuple(Problem(id=f"p{i}", prompt=text, answer="1") for i, text in enumerate(texts))
    return ProblemSet(name="asked", problems=asked, grader=Right())


class Phase:
    """Wraps a function so that its own peak is known, in GB beyond what was held before it."""

    def __init__(self, inner) -> None:
        self.inner, self.peak, self.beyond, self.seconds = inner, 0.0, 0.0, 0.0

    def __call__(self, *args, **kwargs):
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew at what is held now
        held, begun = status("VmRSS"), time.process_time()
        try:
            return self.inner(*args, **kwargs)
        finally:
            self.peak, self.seconds = status("VmHWM"), time.process_time() - begun
            self.beyond = self.peak - held


def status(name: str) -> float:
    """A line of this process's status, in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024 / 1e9


def measure(side: str, layers: int, folder: str) -> dict[str, float]:
    """One step in this process."""
    torch.set_num_threads(1)
    policy = load_policy(folder) if folder else made(layers)
    if side == "whole":
        kept_for_backward.KEPT_BYTES = 1 << 50
    update = {
        "whole": UpdateConfig(recompute="never"),
        "default": UpdateConfig(),
        "again": UpdateConfig(recompute="always"),
    }[side]
    config = RLConfig(
        steps=2, prompts=PROMPTS, draws=DRAWS, max_new_tokens=COMPLETION, kl_every=0, lr=1e-6,
        update=update,
    )  # fmt: skip
    collect, learn, save = Phase(running.collect_rollouts), Phase(running.update), Phase(running.Run.save)
    running.collect_rollouts, running.update = collect, learn
    running.Run.save = lambda self: save(self)
    held = status("VmRSS")
    with tempfile.TemporaryDirectory(dir=".") as place:
        out = Path(place) / "run"
        train_rl(
            policy, problems(policy), reward=bernoulli(), objective=rloo(), config=config, folder=out,
            streams=Streams(3), stop_after=1,
        )  # fmt: skip
        row = json.loads((out / "metrics.jsonl").read_text().splitlines()[0])
    return {
        "peak": max(collect.peak, learn.peak, save.peak), "loaded": held,
        "draws": collect.peak, "update": learn.peak, "checkpoint_beyond": save.beyond,
        "update_seconds": learn.seconds, "grad_norm": row["grad_norm"], "loss": row["loss"],
        "weights": sum(p.nbytes for p in policy.model.parameters()) / 1e9,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--model", default="", help="a model folder instead of a random model")
    parser.add_argument("--one", choices=list(SIDES))
    parser.add_argument("--sides", default="whole,default,again")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    said = parser.parse_args()
    if said.one:
        print("\n" + json.dumps(measure(said.one, said.layers, said.model)))
        return
    found = {}
    for side in said.sides.split(","):
        command = [sys.executable, __file__, "--layers", str(said.layers), "--one", side, "--model", said.model]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[side] = json.loads(done.stdout.splitlines()[-1])
        print(side, json.dumps({name: round(value, 3) for name, value in found[side].items()}), flush=True)
    whole = found["whole"]
    table = {
        side: {
            "peak of the step": one["peak"] / whole["peak"],
            "peak of the step, in weights": one["peak"] / one["weights"],
            "peak of the update": one["update"] / whole["update"],
            "processor time of the update": one["update_seconds"] / whole["update_seconds"],
            "gradient norm, relative distance": abs(one["grad_norm"] / whole["grad_norm"] - 1),
            "checkpoint, beyond what was held, in weights": one["checkpoint_beyond"] / one["weights"],
        }
        for side, one in found.items()
    }
    for side, row in table.items():
        print(f"{side:8} {SIDES[side]}")
        for name, value in row.items():
            print(f"  {name:46} {value:.3g}")
    if said.write:
        where = {"machine": platform.machine(), "torch": torch.__version__, "python": platform.python_version()}
        asked = {"layers": said.layers, "model": Path(said.model).name or "random", "draws": [PROMPTS, DRAWS]}
        RESULTS.write_text(json.dumps({**where, **asked, "sides": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
