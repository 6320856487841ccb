"""A policy that runs vLLM in this process: ``vllm:PLACE``, where the package ``vllm`` is installed.

Prompts are tokenised, and answers end, as for every other policy of ours, so that vLLM only continues tokens.
Each draw is a request with a seed of its own. vLLM's log-probabilities are those of the model at temperature 1,
which is the sampling distribution only at temperature 1 without truncation; elsewhere they are recorded as
unknown. Entropies are always unknown.

This has not run with vLLM itself: tests use a stand-in for its documented interface. Measurements of hidden
states need a policy without ``vllm:``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keyturn.core.errors import InputError, KeyturnError, UsageError
from keyturn.core.extras import need
from keyturn.core.identity import identity
from keyturn.core.problem import Problem
from keyturn.core.progress import progress, waiting
from keyturn.core.rundir import file_hash, read_json
from keyturn.core.streams import Streams
from keyturn.core.weight_files import find_weights
from keyturn.policies.prompting import TurnEnd, encode, turn_end
from keyturn.policies.protocol import Limits, TokenTable
from keyturn.policies.sampling import Sampling
from keyturn.policies.stop_texts import cut_at
from keyturn.rollouts.completions import Completions, Prompts, Stop, ragged

if TYPE_CHECKING:
    from keyturn.policies.by_name import Loading

PREFIX = "vllm:"
MEMORY = 0.45
"""Share of a GPU's memory that one engine takes; an audit has two engines."""
AT_ONCE = 512
"""Requests handed over together; the progress line moves in these steps."""


def is_vllm(name: str) -> bool:
    """Whether a policy's name asks for vLLM in this process."""
    return name.startswith(PREFIX)


def open_vllm(name: str, loading: Loading) -> VllmPolicy:
    """Open a policy in vLLM.

    Args:
        name: ``vllm:`` and a model folder or a Hub name.
        loading: how it is loaded, asked and decoded. vLLM chooses the device.

    Raises:
        MissingExtraError: vLLM is not installed.
        InputError: vLLM cannot load the model.
    """
    from keyturn.policies.loading import find_folder  # noqa: PLC0415, torch is not needed to name a policy

    vllm = need("vllm", name)
    if loading.allow_pickle:
        raise UsageError("--allow-pickle would do nothing: vLLM reads the weights", fix="leave it out")
    folder = find_folder(
        name.removeprefix(PREFIX), revision=loading.revision, trust_remote_code=loading.trust_remote_code
    )
    with waiting(f"loading {folder} into vLLM"):
        try:
            engine = vllm.LLM(
                model=str(folder),
                dtype=loading.dtype,
                trust_remote_code=loading.trust_remote_code,
                gpu_memory_utilization=MEMORY,
                generation_config="vllm",  # else the model's own top-k and penalties would be part of the draws
            )
        except (RuntimeError, ValueError, OSError) as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise InputError(
                f"vLLM cannot load {folder}: {said}", fix="see vLLM's own messages above"
            ) from error
        tokenizer = engine.get_tokenizer()
    has_template = bool(getattr(tokenizer, "chat_template", None))
    chat = loading.template == "chat" or (loading.template == "auto" and has_template)
    return VllmPolicy(
        vllm, engine, tokenizer, folder=folder, sampling=loading.sampling, chat=chat, stops=loading.stop
    )


class VllmPolicy:
    """Answers prompts by an engine of vLLM.

    Args:
        vllm: the package.
        engine: its ``LLM``.
        tokenizer: the model's tokenizer.
        folder: folder of the weights, which identify the policy.
        sampling: temperature and truncation.
        chat: put prompts through the tokenizer's chat template.
        stops: texts that end an answer, in addition to the tokens that end it.
    """

    def __init__(
        self,
        vllm: Any,
        engine: Any,
        tokenizer: Any,
        *,
        folder: Path,
        sampling: Sampling,
        chat: bool,
        stops: Sequence[str] = (),
    ) -> None:
        self._vllm, self._engine = vllm, engine
        self.tokenizer, self.sampling, self.chat = tokenizer, sampling, chat
        self.turn = turn_end(tokenizer) if chat else TurnEnd()
        self.ends = _ends(folder, tokenizer, self.turn)
        self.stop_texts = tuple(dict.fromkeys((*self.turn.texts, *stops)))
        weights = find_weights(folder).files
        with waiting(f"reading the weights of {folder}"):
            self._weights = {path.name: file_hash(path) for path in weights}

    @property
    def version(self) -> str:
        """Of vLLM."""
        return str(getattr(self._vllm, "__version__", "unknown"))

    @property
    def fingerprint(self) -> str:
        """Hash of weights, decoding and the version of vLLM."""
        return identity(
            {
                "vllm": self.version,
                "weights": self._weights,
                "sampling": asdict(self.sampling),
                "chat": self.chat,
                "ends": [*self.ends, *self.stop_texts],
            }
        )

    def draw(self, problems: Sequence[Problem], draws: range, streams: Streams, limits: Limits) -> Completions:
        """Draw completions ``draws`` of every problem; row order is problem-major, draw-minor."""
        rows = [encode(self.tokenizer, problem, chat=self.chat) for problem in problems]
        asked = [(place, draw) for place in range(len(problems)) for draw in draws]
        outputs: list[Any] = []
        with progress("vLLM", len(asked)) as advance:
            for start in range(0, len(asked), AT_ONCE):
                some = asked[start : start + AT_ONCE]
                prompts = [{"prompt_token_ids": rows[place]} for place, _ in some]
                how = [self._how(problems[place], draw, streams, limits) for place, draw in some]
                outputs += [found.outputs[0] for found in self._generate(prompts, how)]
                advance(len(some))
        tokens, offsets = ragged([[int(token) for token in one.token_ids] for one in outputs])
        logprobs = [value for one in outputs for value in self._logprobs(one)]
        drawn = Completions(
            policy=self.fingerprint,
            prompts=Prompts.build([p.id for p in problems], [p.prompt for p in problems], rows),
            problem=np.array([place for place, _ in asked], dtype=np.int32),
            draw=np.array([draw for _, draw in asked], dtype=np.int32),
            tokens=tokens,
            offsets=offsets,
            logprobs=np.array(logprobs, dtype=np.float32),
            entropies=np.full(len(tokens), np.nan, dtype=np.float32),
            stop=np.array([_stop(one) for one in outputs], dtype=np.uint8),
            texts=tuple(self._text(one) for one in outputs),
        )
        return cut_at(drawn, self.tokenizer, self.stop_texts) if self.stop_texts else drawn

    def score(self, completions: Completions) -> TokenTable:
        """Refused: vLLM gives neither entropies nor ranks over the whole vocabulary."""
        raise UsageError(
            "vLLM cannot score given text over its whole vocabulary",
            fix="name the model without vllm: for measures that look inside",
        )

    def _generate(self, prompts: list[dict[str, list[int]]], how: list[Any]) -> list[Any]:
        try:
            return self._engine.generate(prompts, how, use_tqdm=False)
        except (RuntimeError, ValueError) as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            fix = "see vLLM's own messages above; what is finished is kept"
            raise KeyturnError(f"vLLM failed: {said}", fix=fix) from error

    def _how(self, problem: Problem, draw: int, streams: Streams, limits: Limits) -> Any:
        return self._vllm.SamplingParams(
            n=1,
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            top_k=self.sampling.top_k or -1,
            min_p=0.0,
            repetition_penalty=1.0,
            seed=streams.seed("sample", problem.id, draw) & 0x7FFFFFFF,
            max_tokens=limits.max_new_tokens,
            stop_token_ids=list(self.ends),
            stop=list(self.stop_texts) or None,
            include_stop_str_in_output=True,
            logprobs=1,
        )

    def _logprobs(self, output: Any) -> list[float]:
        given = output.logprobs or []
        if not self.sampling.plain or len(given) != len(output.token_ids):
            return [math.nan] * len(output.token_ids)
        return [float(here[token].logprob) for token, here in zip(output.token_ids, given, strict=True)]

    def _text(self, output: Any) -> str:
        """An answer without the token that ends it, even where the tokenizer does not call it special."""
        ids = [int(token) for token in output.token_ids]
        ended = bool(ids) and ids[-1] in self.ends
        return str(self.tokenizer.decode(ids[:-1] if ended else ids, skip_special_tokens=True))


def _stop(output: Any) -> Stop:
    return {"stop": Stop.EOS, "length": Stop.LENGTH}.get(output.finish_reason, Stop.ERROR)


def _ends(folder: Path, tokenizer: Any, turn: TurnEnd) -> tuple[int, ...]:
    """Ids that end an answer, from the generation settings, the config, the tokenizer and a chat's turn."""
    said = [getattr(tokenizer, "eos_token_id", None)]
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            said.append(read_json(folder / name).get("eos_token_id"))
    found = set(turn.tokens)
    for value in said:
        found.update([value] if isinstance(value, int) else value or [])
    return tuple(sorted(found))
