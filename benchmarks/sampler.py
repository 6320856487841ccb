"""Tokens a second of our sampler against ``generate``, on Llamas with large vocabularies, one thread.

``python benchmarks/sampler.py [--model FOLDER] [--write]``. Our sampler records the log-probability and entropy
of every token. ``generate`` draws from the same distribution, once without a record and once with the logits
that a record needs. Sides run in turns; processor time, the least of the rounds; peaks are the system's, beyond
what was held before. Ratios are its time to ours: above 1, ours is faster. ``after the prompt`` leaves out
reading the prompts, which ``generate`` reads once a row and we read once a prompt.
"""

import argparse
import json
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, logging

from keyturn.policies.batching import Texts
from keyturn.policies.hooks import evaluating
from keyturn.policies.runners import Rows, cache_is_whole
from keyturn.policies.sampler import decode
from keyturn.policies.sampling import Sampling
from keyturn.policies.scorer import score_rows

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "sampler.json"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model and a batch."""

    name: str
    vocabulary: int = 49152
    width: int = 256
    inner: int = 704
    layers: int = 6
    heads: int = 4
    folder: str = ""
    prompts: int = 8
    draws: int = 8
    prompt: int = 64
    tokens: int = 12


CASES = [
    Case(name="narrow Llama"),
    Case(name="narrow Llama, 150k words", vocabulary=151936, prompt=32, tokens=6),
    Case(name="SmolLM2's width, 4 layers", width=576, inner=1536, layers=4, heads=9, prompt=32, tokens=6),
    Case(name="narrow Llama, 256 rows", prompts=16, draws=16, prompt=32, tokens=6),
]


def made(case: Case) -> LlamaForCausalLM:
    """A random model, spread so that its distributions are not flat."""
    if case.folder:
        return AutoModelForCausalLM.from_pretrained(case.folder, dtype=torch.float32).eval()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=case.vocabulary, hidden_size=case.width, intermediate_size=case.inner,
        num_hidden_layers=case.layers, num_attention_heads=case.heads,
        num_key_value_heads=case.heads if case.heads % 3 else case.heads // 3, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=None, pad_token_id=0, initializer_range=0.1,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def narrowed(model):
    """Weights in bfloat16, as a loader gives them: rotary frequencies stay as they are."""
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    return model


def rows_of(case: Case, tokens: int) -> Rows:
    """Every draw with its own numbers; no row ends before its limit."""
    rng = np.random.default_rng(1)
    which = np.repeat(np.arange(case.prompts), case.draws)
    return Rows(
        prompts=list(rng.integers(5, case.vocabulary, (case.prompts, case.prompt)).astype(np.int32)),
        prompt=which, uniforms=rng.random((len(which), tokens)), limits=np.full(len(which), tokens),
        problem=which, draw=np.tile(np.arange(case.draws), case.prompts),
    )  # fmt: skip


def ours(model, case: Case, tokens: int) -> None:
    decode(model, rows_of(case, tokens), Sampling(), ends=())


def generate(model, case: Case, tokens: int, record: bool) -> None:
    """What a user of transformers writes; with ``record``, each token's log-probability and entropy too."""
    prompts = torch.from_numpy(np.stack(rows_of(case, 1).prompts).astype(np.int64))
    found = model.generate(
        prompts, attention_mask=torch.ones_like(prompts), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
        num_return_sequences=case.draws, max_new_tokens=tokens, min_new_tokens=tokens, eos_token_id=None,
        return_dict_in_generate=True, output_logits=record,
    )  # fmt: skip
    if record:
        drawn = found.sequences[:, case.prompt :]
        for step, logits in enumerate(found.logits):
            own = logits.float().log_softmax(-1)
            own.gather(1, drawn[:, step, None])
            -(own.exp() * own).sum(-1)


def status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024 / 1e9


def timed(work) -> tuple[float, float]:
    """Processor seconds, and the peak beyond what was held, in GB."""
    Path("/proc/self/clear_refs").write_text("5")
    held, begun = status("VmRSS"), time.process_time()
    work()
    return time.process_time() - begun, status("VmHWM") - held


def measure(case: Case, rounds: int) -> dict[str, object]:
    """One case, sides in turns."""
    model = made(case)
    narrow = narrowed(made(case)) if torch.ops.mkldnn._is_mkldnn_bf16_supported() else None
    sides = {
        "ours": lambda tokens: ours(model, case, tokens),
        "generate": lambda tokens: generate(model, case, tokens, record=False),
        "generate with a record": lambda tokens: generate(model, case, tokens, record=True),
    }
    if narrow is not None:
        sides["ours in bfloat16"] = lambda tokens: ours(narrow, case, tokens)
    whole, first, peak = ({name: [] for name in sides} for _ in range(3))
    with evaluating(model):
        cache_is_whole(model)
        for side in sides.values():
            side(2)  # what is made at a first call is nobody's peak
        for _ in range(rounds):
            for name, side in sides.items():
                seconds, beyond = timed(lambda: side(case.tokens))  # noqa: B023
                whole[name].append(seconds)
                peak[name].append(beyond)
                first[name].append(timed(lambda: side(1))[0])  # noqa: B023
        found = {
            name: {
                "it / ours, whole call": min(whole[name]) / min(whole["ours"]),
                "it / ours, after the prompt": (min(whole[name]) - min(first[name]))
                / (min(whole["ours"]) - min(first["ours"])),
                "peak, it / ours": max(peak[name]) / max(peak["ours"]),
            }
            for name in sides
            if name != "ours"
        }
        tokens = case.prompts * case.draws * case.tokens
        facts = {
            "rows": case.prompts * case.draws, "vocabulary": case.vocabulary, "tokens": case.tokens,
            "parameters": sum(p.numel() for p in model.parameters()), "ours, tokens a core second":
            tokens / min(whole["ours"]),
        }  # fmt: skip
        if narrow is not None:
            facts["bfloat16"] = apart(model, narrow, case)
    return {"case": case.name, **facts, "against": found}


def apart(model, narrow, case: Case) -> dict[str, float]:
    """What bfloat16 does to log-probabilities of the same tokens, in nats a token."""
    rows = rows_of(case, case.tokens)
    drawn = decode(model, rows, Sampling(), ends=())
    some = range(0, len(rows.prompt), case.draws)
    texts = Texts.build([rows.prompts[rows.prompt[i]] for i in some], [drawn.tokens[i] for i in some])
    gap = np.abs(score_rows(narrow, texts)[0] - score_rows(model, texts)[0])
    return {"mean distance": float(gap.mean()), "largest": float(gap.max())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default="", help="part of a case's name; the others are kept as they were")
    parser.add_argument("--model", default="", help="a further case: a model folder")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    said = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    cases = list(CASES)
    if said.model:
        cases.append(
            Case(name=f"{Path(said.model).name}, real weights", folder=said.model, prompt=32, tokens=6)
        )
    found = []
    for case in cases:
        if said.only in case.name:
            found.append(measure(case, said.rounds))
            print(json.dumps(found[-1], indent=1), flush=True)
    if said.write:
        where = {"machine": platform.machine(), "torch": torch.__version__, "python": platform.python_version()}
        before = json.loads(RESULTS.read_text())["cases"] if RESULTS.is_file() and said.only else []
        kept = [one for one in before if said.only not in one["case"]]
        RESULTS.write_text(json.dumps({**where, "threads": 1, "cases": [*kept, *found]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
