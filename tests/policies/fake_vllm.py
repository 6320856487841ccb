"""A stand-in for the package ``vllm``: the same names and arguments, a shipped model behind them.

Arguments are those of vLLM's documentation; one that is not known there is refused.
"""

from dataclasses import dataclass
from types import SimpleNamespace

import torch

from keyturn.policies.loading import load_policy

__version__ = "0.0.fake"


@dataclass
class SamplingParams:
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: list | None = None
    stop_token_ids: list | None = None
    max_tokens: int = 16
    logprobs: int | None = None
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True


class LLM:
    """``vllm.LLM``.

    Args:
        model, dtype, trust_remote_code, gpu_memory_utilization, generation_config: as there.
    """

    def __init__(
        self,
        model,
        *,
        dtype="auto",
        trust_remote_code=False,
        gpu_memory_utilization=0.9,
        generation_config="auto",
    ):
        assert 0 < gpu_memory_utilization <= 0.5, "two engines have to fit"
        assert generation_config == "vllm", "the model's own sampling defaults would shape the draws"
        if "broken" in model:
            raise ValueError("no such architecture\nand a long story")
        self._policy = load_policy(model, dtype=dtype)
        self.asked = []

    def get_tokenizer(self):
        return self._policy.tokenizer

    def generate(self, prompts, sampling_params, *, use_tqdm=True):
        assert not use_tqdm
        assert len(prompts) == len(sampling_params)
        self.asked += sampling_params
        return [self._one(p["prompt_token_ids"], how) for p, how in zip(prompts, sampling_params, strict=True)]

    def _one(self, ids, how):
        generator = torch.Generator().manual_seed(how.seed)
        tokens, logprobs, reason = [], [], "length"
        while len(tokens) < how.max_tokens:
            with torch.no_grad():
                logits = self._policy.model(input_ids=torch.tensor([ids + tokens])).logits[0, -1].double()
            logs = logits.log_softmax(-1)
            if how.temperature == 0:
                token = int(logits.argmax())
            else:
                token = int(torch.multinomial((logits / how.temperature).softmax(-1), 1, generator=generator))
            tokens.append(token)
            logprobs.append({token: SimpleNamespace(logprob=float(logs[token]), rank=1, decoded_token="")})
            if token in (how.stop_token_ids or []):
                reason = "stop"
                break
        output = SimpleNamespace(index=0, text="", token_ids=tokens, logprobs=logprobs, finish_reason=reason)
        return SimpleNamespace(outputs=[output], finished=True)
