"""Peak memory of one RL update: passes as large as asked for, against passes that keep at most 2 GiB.

``python benchmarks/memory.py``: a random Llama of SmolLM2-135M's shape, 64 completions on 8 prompts, in two
processes of their own. Figures are ratios and depend little on the machine.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from keyturn.policies import kept_for_backward
from keyturn.policies.batching import Texts
from keyturn.policies.kept_for_backward import token_bytes, tokens_of_a_pass
from keyturn.policies.scorer import policy_tokens

PROMPT, COMPLETION, PROMPTS, DRAWS = 156, 32, 8, 8


def config(layers: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=layers,
        num_attention_heads=9, num_key_value_heads=3, head_dim=64, max_position_embeddings=8192,
        tie_word_embeddings=True,
    )  # fmt: skip


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measure(layers: int, bounded: bool) -> dict[str, float]:
    """One backward pass after another over the same 64 rows."""
    torch.set_num_threads(1)
    torch.random.default_generator.manual_seed(0)
    model = LlamaForCausalLM(config(layers))
    made = torch.Generator().manual_seed(1)
    prompts = torch.randint(5, 49000, (PROMPTS, PROMPT), generator=made).numpy().astype("int32")
    answers = torch.randint(5, 49000, (PROMPTS * DRAWS, COMPLETION), generator=made).numpy().astype("int32")
    rows = [(prompts[row // DRAWS], answers[row]) for row in range(len(answers))]
    # The bound of the whole model, in proportion to the layers that are here.
    kept_for_backward.KEPT_BYTES = int(kept_for_backward.KEPT_BYTES * layers / 30)
    size = tokens_of_a_pass(model.config, 8192) if bounded else 8192
    groups = max(1, size // (PROMPT + DRAWS * COMPLETION))
    before = peak()
    for start in range(0, len(rows), groups * DRAWS):
        part = rows[start : start + groups * DRAWS]
        scores = policy_tokens(model, Texts.build([p for p, _ in part], [a for _, a in part]))
        (-scores.logprobs.sum() / len(rows)).backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    weights = 4 * sum(p.numel() for p in model.parameters()) / 1e9
    return {"peak_gb": peak(), "before_gb": before, "weights_gb": weights, "norm": float(norm), "tokens": size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--one", choices=["bounded", "whole"])
    said = parser.parse_args()
    if said.one:
        print(json.dumps(measure(said.layers, said.one == "bounded")))
        return
    found = {}
    for name in ("whole", "bounded"):
        command = [sys.executable, __file__, "--layers", str(said.layers), "--one", name]
        found[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    whole, bounded = found["whole"], found["bounded"]
    beyond = {name: one["peak_gb"] - one["before_gb"] for name, one in found.items()}
    print(f"{platform.machine()}, torch {torch.__version__}, {said.layers} layers, {PROMPTS} x {DRAWS} draws")
    print(f"peak, bounded / whole: {bounded['peak_gb'] / whole['peak_gb']:.2f}")
    print(f"peak beyond the loaded model, bounded / whole: {beyond['bounded'] / beyond['whole']:.2f}")
    print(f"gradient norm, bounded / whole - 1: {bounded['norm'] / whole['norm'] - 1:.1e}")
    estimate = token_bytes(config(said.layers)) * PROMPTS * (PROMPT + DRAWS * COMPLETION) / 1e9
    held = whole["weights_gb"] + estimate
    print(f"estimate of a whole pass, of what was measured: {held / beyond['whole']:.2f}")


if __name__ == "__main__":
    main()
