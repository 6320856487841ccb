"""A policy whose model is in this process."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.describe import describe
from keyturn.core.errors import InputError, NumericsError, UsageError
from keyturn.core.identity import identity
from keyturn.core.lazy import torch
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.policies.context import check_causal, context_length
from keyturn.policies.hashes import tokenizer_hash, weights_hash
from keyturn.policies.hooks import ForwardHook, Processor, evaluating, hooked
from keyturn.policies.prompting import TurnEnd, as_given, encode, turn_end, unknown_words
from keyturn.policies.protocol import Limits, TokenTable
from keyturn.policies.sampling import Sampling
from keyturn.policies.stop_texts import StopTexts, checked, cut_at
from keyturn.policies.which_engine import engine_of
from keyturn.rollouts.completions import Completions, Prompts, Stop

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from keyturn.policies.runners import Decoded, Rows

__all__ = ["LocalPolicy", "Sampling"]

_CHECKED: weakref.WeakKeyDictionary[PreTrainedModel, set[tuple[str, ...]]] = weakref.WeakKeyDictionary()

_ALWAYS_HASHED_BYTES = 64 << 20
"""Weights up to this size are hashed at every call (some 50 ms at most), larger ones after they change."""


class LocalPolicy:
    """A causal LM with its tokenizer, its decoding settings, and the hooks and processors that act on it.

    The model is borrowed: it may be trained between calls. Its mode (training, gradients) is restored
    after every call, and hooks exist only during one.

    Args:
        model: any Hugging Face causal LM.
        tokenizer: the model's tokenizer.
        sampling: temperature and truncation.
        hooks: put on the model while it draws or scores.
        processors: shape the logits while it draws (scoring uses the model under its hooks alone).
        chat: put prompts through the tokenizer's chat template.
        stops: texts that end an answer where they are first complete, in addition to the tokens that end it.

    Raises:
        InputError: an encoder-decoder, or ``chat`` without a template.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        sampling: Sampling | None = None,
        hooks: Sequence[ForwardHook] = (),
        processors: Sequence[Processor] = (),
        chat: bool = False,
        stops: Sequence[str] = (),
    ) -> None:
        check_causal(model)
        if chat and not getattr(tokenizer, "chat_template", None):
            raise InputError(
                "the tokenizer has no chat template", fix="ask for plain prompts (--template auto)"
            )
        self.model = model
        self.tokenizer = tokenizer
        self.sampling = sampling or Sampling()
        self.hooks = tuple(hooks)
        self.processors = tuple(processors)
        self.chat = chat
        self.turn = turn_end(tokenizer) if chat else TurnEnd()
        self.stops = checked(stops)
        self._weights: tuple[object, str] | None = None

    def having(
        self,
        *,
        sampling: Sampling | None = None,
        hooks: Sequence[ForwardHook] = (),
        processors: Sequence[Processor] = (),
        stops: Sequence[str] = (),
    ) -> LocalPolicy:
        """The same model with other decoding: other sampling, further hooks, processors and stop texts."""
        return LocalPolicy(
            self.model,
            self.tokenizer,
            sampling=sampling or self.sampling,
            hooks=(*self.hooks, *hooks),
            processors=(*self.processors, *processors),
            chat=self.chat,
            stops=(*self.stops, *stops),
        )

    @property
    def fingerprint(self) -> str:
        """Hash of weights, tokenizer, sampling, interventions and the ends of an answer.

        Raises UsageError where a hook or a processor holds a value that has no identity.
        """
        usual = self.ends == (self.tokenizer.eos_token_id,) and not self.turn.texts
        ends = {} if usual else {"ends": [*self.ends, *self.turn.texts]}
        stops = {"stops": list(self.stops)} if self.stops else {}
        return identity(
            {
                "weights": self._weights_hash(),
                "tokenizer": tokenizer_hash(self.tokenizer),
                "sampling": asdict(self.sampling),
                "hooks": describe(self.hooks, "hooks"),
                "processors": describe(self.processors, "processors"),
                "chat": self.chat,
                **ends,
                **stops,
            }
        )

    def _weights_hash(self) -> str:
        tensors = list(self.model.named_parameters())
        small = sum(tensor.nbytes for _, tensor in tensors) <= _ALWAYS_HASHED_BYTES
        versions = None if small else tuple((tensor.data_ptr(), tensor._version) for _, tensor in tensors)
        if self._weights is None or versions is None or self._weights[0] != versions:
            self._weights = (versions, weights_hash(self.model))
        return self._weights[1]

    @property
    def stop_texts(self) -> tuple[str, ...]:
        """Texts that end an answer: those that end a chat's turn, and those that the caller gave."""
        return tuple(dict.fromkeys((*self.turn.texts, *self.stops)))

    @property
    def ends(self) -> tuple[int, ...]:
        """Ids that end an answer, from the generation settings, the config, the tokenizer and a chat's turn."""
        found: set[int] = set(self.turn.tokens)
        generation = getattr(self.model, "generation_config", None)
        for owner in (generation, self.model.config, self.tokenizer):
            value = getattr(owner, "eos_token_id", None)
            found.update([value] if isinstance(value, int) else value or [])
        return tuple(sorted(found))

    def prompts(self, problems: Sequence[Problem]) -> Prompts:
        """Tokenised prompts.

        Raises:
            InputError: a prompt is empty, longer than the context, or has tokens that the model does not know.
        """
        texts = [problem.prompt for problem in problems]
        rows = [encode(self.tokenizer, problem, chat=self.chat) for problem in problems]
        context = context_length(self.model)
        long = [p.id for p, row in zip(problems, rows, strict=True) if context and len(row) >= context]
        if long:
            raise InputError(
                f"{len(long)} prompts fill the context of {context} tokens: {_listed(long)}",
                fix="leave these problems out, or take a model with a longer context",
            )
        strange = [p.id for p, row in zip(problems, rows, strict=True) if max(row) >= self._embedded]
        if strange:
            raise InputError(
                f"the tokenizer gives ids beyond the model's embedding ({self._embedded}): {_listed(strange)}",
                fix="resize the embedding, or use the tokenizer the model was trained with",
            )
        return Prompts.build([problem.id for problem in problems], texts, rows)

    def try_out(self, problem: Problem) -> None:
        """Read one prompt, so that a model that cannot answer at all is found before anything is drawn.

        Raises:
            InputError: the model's forward pass fails.
            NumericsError: its logits are not numbers.
        """
        from keyturn.policies.cache import without_cache

        tokens = torch.from_numpy(self.prompts([problem]).row(0).astype(np.int64))[None].to(self.model.device)
        with evaluating(self.model):
            try:
                logits = self.model(input_ids=tokens, **without_cache(self.model)).logits[0, -1]
            except torch.OutOfMemoryError:
                raise
            except (AttributeError, ImportError, IndexError, RuntimeError, TypeError, ValueError) as error:
                said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
                raise InputError(
                    f"{type(self.model).__name__} cannot read a prompt: {said}",
                    fix="try another dtype or device, and the model in transformers alone",
                ) from error
        if bool(logits.isnan().any()) or not bool(logits.isfinite().any()):
            raise NumericsError(
                f"{type(self.model).__name__} gives logits that are not numbers",
                fix="check its weights, or load it in float32",
            )

    def unknown_words(self, problems: Sequence[Problem]) -> float:
        """Share of the words of these prompts, as the model reads them, that the tokenizer does not know."""
        return unknown_words(self.tokenizer, [as_given(self.tokenizer, p, chat=self.chat) for p in problems])

    @property
    def _embedded(self) -> int:
        """Ids that the model knows."""
        return self.model.get_input_embeddings().weight.shape[0]  # type: ignore[union-attr]

    def draw(
        self,
        problems: Sequence[Problem],
        draws: range,
        streams: Streams,
        limits: Limits,
        *,
        advance: Callable[[int], None] | None = None,
        compact: bool = True,
    ) -> Completions:
        """Draw completions ``draws`` of every problem; row order is problem-major, draw-minor.

        A row's random numbers come from ``streams.generator("sample", problem id, draw)``, so its tokens
        do not depend on what else is drawn.

        Args:
            problems: problems with distinct ids.
            draws: numbers of the draws.
            streams: source of the random numbers.
            limits: tokens per completion and rows per batch.
            advance: called with the number of rows that were just finished.
            compact: drop ended rows from the batch.

        Raises:
            InputError: see :meth:`prompts`.
            UsageError: repeated ids, or no tokens to draw.
            NumericsError: the model gives logits that are not numbers.
        """
        from keyturn.policies.runners import cache_is_whole

        if len({problem.id for problem in problems}) != len(problems):
            raise UsageError("problems must have distinct ids", fix="drop the repeats and ask for more draws")
        if limits.max_new_tokens < 1:
            raise UsageError(f"max_new_tokens is {limits.max_new_tokens}", fix="give at least 1")
        prompts = self.prompts(problems)
        parts: list[tuple[NDArray[np.int64], Decoded]] = []
        if engine_of(self) == "torch":
            cache_is_whole(self.model)  # tried out before hooks are on
        with evaluating(self.model), hooked(self.model, self.hooks):
            for rows in _batches(prompts, draws, limits.batch_rows):
                problem, number = rows // len(draws), np.asarray(draws, dtype=np.int64)[rows % len(draws)]
                batch = self._batch(prompts, problem, number, streams, limits)
                drawn = self.decode(batch, compact=compact)
                self._check(batch, drawn)
                parts.append((rows, drawn))
                if advance is not None:
                    advance(len(rows))
        return self._gather(prompts, draws, parts)

    def decode(self, batch: Rows, *, compact: bool = True, reader: Any = None) -> Decoded:
        """Decode one batch, see ``sampler.decode``. The caller holds evaluation mode and the policy's hooks."""
        from keyturn.policies.sampler import decode

        return decode(
            self.model,
            batch,
            self.sampling,
            ends=self.ends,
            processors=self.processors,
            stops=StopTexts(self.tokenizer, self.stop_texts) if self.stop_texts else None,
            compact=compact,
            reader=reader,
        )

    def _check(self, batch: Rows, drawn: Decoded) -> None:
        """Check the first batch of a model (with its present hooks) against a plain forward pass."""
        from keyturn.policies.checked import check_drawn

        known = _CHECKED.setdefault(self.model, set())
        hooked_on = tuple(hook.name for hook in self.hooks)
        if hooked_on not in known:
            check_drawn(self.model, batch, drawn, self.sampling, shaped=bool(self.processors))
            known.add(hooked_on)

    def _batch(
        self,
        prompts: Prompts,
        problem: NDArray[np.int64],
        number: NDArray[np.int64],
        streams: Streams,
        limits: Limits,
    ) -> Rows:
        from keyturn.policies.runners import Rows

        distinct, prompt = np.unique(problem, return_inverse=True)
        context = context_length(self.model)
        longest = limits.max_new_tokens
        lengths = (prompts.offsets[1:] - prompts.offsets[:-1])[problem]
        room = np.full(len(problem), longest) if context is None else np.minimum(longest, context - lengths)
        # No wider than the context lets anything grow; the numbers of a row are the first of its stream.
        uniforms = np.empty((len(problem), int(room.max(initial=1))))
        pairs = zip(problem.tolist(), number.tolist(), strict=True)
        streams.uniforms((("sample", prompts.ids[which], draw) for which, draw in pairs), uniforms)
        return Rows(
            prompts=[prompts.row(int(index)) for index in distinct],
            prompt=prompt.astype(np.int64),
            uniforms=uniforms,
            limits=room.astype(np.int64),
            problem=problem,
            draw=number,
        )

    def _gather(
        self, prompts: Prompts, draws: range, parts: Sequence[tuple[NDArray[np.int64], Decoded]]
    ) -> Completions:
        """Rows of all batches, flat and in order."""
        count = len(prompts) * len(draws)
        lengths, ended = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=bool)
        for rows, drawn in parts:
            lengths[rows], ended[rows] = drawn.lengths, drawn.ended
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        tokens = np.empty(offsets[-1], dtype=np.int32)
        logprobs, entropies = (np.empty(offsets[-1], dtype=np.float32) for _ in range(2))
        for rows, drawn in parts:
            inside = np.arange(drawn.tokens.shape[1]) < drawn.lengths[:, None]
            place = (offsets[rows][:, None] + np.arange(drawn.tokens.shape[1]))[inside]
            tokens[place] = drawn.tokens[inside]
            logprobs[place], entropies[place] = drawn.logprobs[inside], drawn.entropies[inside]
        decoded = {end: str(self.tokenizer.decode([end], skip_special_tokens=True)) for end in self.ends}
        shown = [end for end, text in decoded.items() if text.strip()]
        last = tokens[np.maximum(offsets[1:] - 1, 0)] if len(tokens) else np.zeros(count, dtype=np.int32)
        # The token that ends an answer is not part of its text, even where it is not a special token.
        stops = offsets[1:] - (ended & np.isin(last, shown))
        pieces: Any = [tokens[offsets[row] : stops[row]].tolist() for row in range(count)]
        numbers = np.asarray(draws, dtype=np.int32)
        found = Completions(
            policy=self.fingerprint,
            prompts=prompts,
            problem=np.repeat(np.arange(len(prompts), dtype=np.int32), len(draws)),
            draw=np.tile(numbers, len(prompts)),
            tokens=tokens,
            offsets=offsets,
            logprobs=logprobs,
            entropies=entropies,
            stop=np.where(ended, Stop.EOS, Stop.LENGTH).astype(np.uint8),
            texts=tuple(self.tokenizer.batch_decode(pieces, skip_special_tokens=True)),
        )
        return cut_at(found, self.tokenizer, self.stop_texts) if self.stop_texts else found

    def score(self, completions: Completions, *, advance: Callable[[int], None] | None = None) -> TokenTable:
        """Teacher-forced log-probabilities, entropies and ranks at temperature 1, under the policy's hooks.

        Prompt and completion are read as tokens, so they must come from this policy's tokenizer.

        Raises:
            InputError: ids that the model does not know, or more tokens than its context.
        """
        from keyturn.policies.batching import Texts
        from keyturn.policies.scorer import score_rows

        self.check_fits(completions)
        with evaluating(self.model), hooked(self.model, self.hooks):
            table = score_rows(self.model, Texts.of(completions), advance=advance)
        return TokenTable(policy=self.fingerprint, logprobs=table[0], entropies=table[1], ranks=table[2])

    def check_fits(self, completions: Completions) -> None:
        """Refuse tokens that another tokenizer made, and rows that only a longer context holds.

        Raises:
            InputError: ids that the model does not know, or more tokens than its context.
        """
        ids, size = completions.prompts.ids, self._embedded
        highest = max(completions.tokens.max(initial=0), completions.prompts.tokens.max(initial=0))
        if highest >= size:
            raise InputError(
                f"the completions have token {highest}, the model's embedding only {size}",
                fix="score them with a policy that shares the tokenizer",
            )
        context = context_length(self.model)
        whole = np.diff(completions.prompts.offsets)[completions.problem] + completions.lengths
        long = [] if context is None else [ids[index] for index in completions.problem[whole > context]]
        if long:
            raise InputError(
                f"prompt and completion are longer than the context of {context} tokens: "
                f"{_listed(list(dict.fromkeys(long)))}",
                fix="take a model with a longer context",
            )


def _batches(prompts: Prompts, draws: range, batch_rows: int) -> Iterator[NDArray[np.int64]]:
    """Rows (problem-major numbers) of each batch: prompts of similar length, and all draws of one, together."""
    order = np.argsort(np.diff(prompts.offsets), kind="stable")
    rows = (order[:, None] * len(draws) + np.arange(len(draws))).reshape(-1)
    for start in range(0, len(rows), max(batch_rows, 1)):
        yield rows[start : start + max(batch_rows, 1)]


def _listed(ids: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(ids[:most])
    return shown if len(ids) <= most else f"{shown} and {len(ids) - most} more"
