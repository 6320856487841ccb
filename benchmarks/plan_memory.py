"""What ``keyturn audit --plan`` says an audit's memory is, against measured peaks.

    python benchmarks/plan_memory.py            two random Llamas; writes docs/results/plan_memory.json

Each case is a process of its own: it makes the model, then draws a whole batch to the length limit, or scores
completions of that length, in float32 on one thread. Its peak resident memory is divided by what
``planning.memory_bytes`` says for one such model and these limits.
"""

import argparse
import json
import os
import pathlib
import platform
import resource
import subprocess
import sys

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from keyturn.auditing.audit import AuditConfig
from keyturn.auditing.model_size import ModelSize
from keyturn.auditing.planning import Sampling, memory_bytes
from keyturn.policies.batching import Texts
from keyturn.policies.hooks import evaluating
from keyturn.policies.runners import Rows
from keyturn.policies.sampler import decode
from keyturn.policies.sampling import Sampling as Decoding
from keyturn.policies.scorer import score_rows

OUT = pathlib.Path(__file__).parent.parent / "docs" / "results" / "plan_memory.json"
SHAPES = {
    "small": {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "vocab_size": 32_000},
    "large": {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "vocab_size": 49_152},
}
KEYS = {"small": 4, "large": 8}
"""Key heads; each has 8 query heads."""
LIMITS = {"small": (256, 64), "large": (256, 32)}
"""Rows at once, and tokens of a completion."""
PROMPT, PROBLEMS = 64, 8


def model_of(name):
    """A Llama with random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        **SHAPES[name],
        num_attention_heads=8,
        num_key_value_heads=KEYS[name],
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


def said(name, work, parameters):
    """What the plan says."""
    shape, (rows, tokens) = SHAPES[name], LIMITS[name]
    size = ModelSize(
        parameters=parameters,
        stored_bytes=4,
        layers=shape["num_hidden_layers"],
        key_values=2 * KEYS[name] * shape["hidden_size"] // 8,
        vocabulary=shape["vocab_size"],
        hidden=shape["hidden_size"],
        inner=shape["intermediate_size"],
        queries=8 // KEYS[name],
    )
    config = AuditConfig(
        k=rows // PROBLEMS,
        batch_rows=rows if work == "draw" else 1,
        max_new_tokens=tokens,
        token_draws=rows // PROBLEMS,
    )
    asked = Sampling(tokens_per_draw=tokens, tokens_from="", prompt_tokens=PROMPT, scores=work == "score")
    return memory_bytes([size], PROBLEMS, config, asked, "float32")


def case(name, work):
    """One case, in this process: parameters and the peak in bytes."""
    torch.set_num_threads(1)
    model, rng = model_of(name), np.random.default_rng(0)
    rows, tokens = LIMITS[name]
    words = SHAPES[name]["vocab_size"]
    prompts = [rng.integers(0, words, PROMPT).astype(np.int32) for _ in range(PROBLEMS)]
    which = np.arange(rows) * PROBLEMS // rows
    with torch.no_grad(), evaluating(model):
        if work == "draw":
            asked = Rows(
                prompts=prompts,
                prompt=which,
                uniforms=rng.random((rows, tokens)),
                limits=np.full(rows, tokens),
                problem=which,
                draw=np.arange(rows),
            )
            decode(model, asked, Decoding(), ends=())
        else:
            answers = [rng.integers(0, words, tokens).astype(np.int32) for _ in range(rows)]
            score_rows(model, Texts.build([prompts[place] for place in which], answers))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"parameters": sum(p.numel() for p in model.parameters()), "peak": peak}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs=2, help="one case, in this process")
    chosen = parser.parse_args().case
    if chosen:
        print(json.dumps(case(*chosen)))
        return
    cases = []
    for name in SHAPES:
        for work in ("draw", "score"):
            done = subprocess.run(
                [sys.executable, __file__, "--case", name, work],
                env={**os.environ, "OMP_NUM_THREADS": "1", "KEYTURN_NATIVE": "0"},
                capture_output=True,
                text=True,
                check=True,
            )
            found = json.loads(done.stdout.splitlines()[-1])
            plan = said(name, work, found["parameters"])
            cases.append(
                {
                    "model": name,
                    "parameters": found["parameters"],
                    "vocabulary": SHAPES[name]["vocab_size"],
                    "work": work,
                    "rows": LIMITS[name][0],
                    "prompt": PROMPT,
                    "tokens": LIMITS[name][1],
                    "measured / said": round(found["peak"] / plan, 2),
                    "said, bytes": round(plan),
                }
            )
            print(cases[-1], flush=True)
    found = {"machine": platform.machine(), "torch": torch.__version__, "cases": cases}
    OUT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
