"""Decoding, scoring and gradients by the compiled library of one shape, with the interface of sampler and
scorer."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from keyturn.core.errors import NumericsError
from keyturn.policies import kernels
from keyturn.policies.batching import Texts
from keyturn.policies.head import TokenScores
from keyturn.policies.native.build import Library
from keyturn.policies.native.layout import (
    DrawsStruct,
    Held,
    Pieces,
    Pool,
    Sizes,
    TextsStruct,
    addresses,
    aligned,
    flat,
    parameters_of,
    pointers,
    rope_theta,
    run,
)
from keyturn.policies.native.memory import DrawnTape, Memory, Recalled
from keyturn.policies.runners import Decoded, Rows
from keyturn.policies.sampling import Sampling

PIECE_TOKENS = 1024
"""Tokens of a piece. Longer pieces leave the second-level cache; shorter ones read the same prompt too
often."""

BUCKETS = 4
"""Number of partial sums of a gradient, which is also the largest number of threads of a backward pass."""

_SLOT_ROWS = 12
"""Number of rows that one thread decodes together."""


class Engine:
    """Calls the compiled library of one shape.

    Args:
        library: the library that was compiled for the shape.
    """

    def __init__(self, library: Library) -> None:
        self.library, self.sizes = library, Sizes(library)
        self.tapes, self.sums, self.draws, self.prompts = Pool(), Pool(), Pool(), Pool()
        self.memory: Memory | None = None
        self._rotations: dict[tuple[int, int, float], tuple[NDArray[np.float32], NDArray[np.float32]]] = {}

    def decode(self, model: Any, rows: Rows, sampling: Sampling, ends: Sequence[int]) -> Decoded:
        """Decode a batch; arguments and result are those of ``sampler.decode``."""
        weights = self.packed(parameters_of(model))
        count, width = rows.uniforms.shape
        prompts = [np.asarray(prompt, dtype=np.int32) for prompt in rows.prompts]
        lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
        taped = self.memory.new(self, model, weights, prompts, rows.prompt, width) if self.memory else None
        prefixes, kept = self._prefixes(model, weights, prompts, lengths, taped)
        is_end = np.zeros(model.config.vocab_size, dtype=np.uint8)
        is_end[[end for end in ends if end < len(is_end)]] = 1
        tokens = np.zeros((count, width), dtype=np.int32)
        logprobs, entropies = (np.full((count, width), np.nan, dtype=np.float32) for _ in range(2))
        found, ended = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.uint8)
        given = {
            "prompt": np.ascontiguousarray(rows.prompt, dtype=np.int64),
            "uniforms": np.ascontiguousarray(rows.uniforms, dtype=np.float64),
            "limits": np.minimum(rows.limits, width).astype(np.int64),
        }
        cosine, sine = self._rotation(model)
        work = DrawsStruct(
            rows=count, width=width, eps=model.config.rms_norm_eps, temperature=sampling.temperature
        )
        addresses(
            work, prompt_tokens=lengths, prefixes=prefixes, is_end=is_end, cosine=cosine, sine=sine, **given
        )
        addresses(work, tokens=tokens, logprobs=logprobs, entropies=entropies)
        addresses(work, lengths=found, ended=ended, tape=None if taped is None else taped.rows.array)
        threads = min(torch.get_num_threads(), -(-count // _SLOT_ROWS))
        run(self.library.code.decode_rows, threads, work, _at(weights), ctypes.byref(work))
        del kept
        if taped is not None:
            taped.fill(tokens, found)
        inside = np.arange(width) < found[:, None]
        if not (np.isfinite(logprobs) & np.isfinite(entropies))[inside].all():
            raise NumericsError(
                "the model gave logits that are not numbers", fix="check its weights, or load it in float32"
            )
        return Decoded(
            tokens=tokens, logprobs=logprobs, entropies=entropies, lengths=found, ended=ended.astype(bool)
        )

    def _prefixes(
        self,
        model: Any,
        weights: NDArray[np.uint8],
        prompts: list[NDArray[np.int32]],
        lengths: NDArray[np.int64],
        taped: DrawnTape | None,
    ) -> tuple[NDArray[Any], list[NDArray[np.float32]]]:
        """Process the prompts for decoding. Returns the library's ``Prefix`` of each and the memory they point
        to."""
        sizes, layers, vector = self.sizes, model.config.num_hidden_layers, self.sizes.vector
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        starts = np.concatenate([[0], np.cumsum((lengths + vector - 1) // vector * vector)]).astype(np.int64)
        keys = aligned(int(starts[-1]) * layers * sizes.heads_width)
        values = aligned(int(starts[-1]) * layers * sizes.values_width)
        prefixes = np.zeros((len(prompts), sizes.prefix_bytes), dtype=np.uint8)
        where = prefixes[:, :16].view(np.uint64)
        where[:, 0] = keys.ctypes.data + starts[:-1] * (4 * layers * sizes.heads_width)
        where[:, 1] = values.ctypes.data + starts[:-1] * (4 * layers * sizes.values_width)
        every = np.arange(len(prompts), dtype=np.int64)
        none = np.zeros(len(prompts) + 1, dtype=np.int64)
        work = self._texts(model, 1.0)
        given, tokens = np.concatenate(prompts), np.zeros(0, dtype=np.int32)
        addresses(work, prompt_of=every, first=none, order=none, prompts=given, prompt_at=offsets)
        addresses(work, tokens=tokens, row_at=none, prefixes=prefixes)
        if taped is not None:
            addresses(work, tape=taped.prompts.array, tape_at=taped.prompt_at)
        work.pieces = len(prompts)
        threads = min(torch.get_num_threads(), len(prompts))
        run(self.library.code.read_texts, threads, work, _at(weights), ctypes.byref(work))
        return prefixes, [keys, values]

    def score(
        self, model: Any, texts: Texts
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
        """Log-probabilities, entropies and ranks at temperature 1, flat over all rows."""
        reading = Reading(self, model, texts, 1.0)
        ranks = np.empty(len(texts.tokens), dtype=np.int32)
        reading.read(self.packed(parameters_of(model)), ranks=ranks)
        return reading.logprobs, reading.entropies, ranks

    def policy_tokens(self, model: Any, texts: Texts, temperature: float) -> TokenScores:
        """Log-probabilities and entropies with gradient; the result is that of ``scorer.policy_tokens``."""
        parameters = [one for one in parameters_of(model) if one is not None]
        reading = Reading(self, model, texts, temperature)
        if self.memory is not None and torch.is_grad_enabled():
            reading.recalled = self.memory.find(model, self.packed(parameters_of(model)), texts)
        logprobs, entropies = _Scores.apply(reading, *parameters)  # type: ignore[misc]
        width = int(texts.lengths.max(initial=0))
        row = np.repeat(np.arange(len(texts.lengths)), texts.lengths)
        column = np.arange(len(row)) - np.repeat(texts.offsets[:-1], texts.lengths)
        place = torch.from_numpy(row * width + column)
        blank = torch.zeros(len(texts.lengths) * width)
        shape = (len(texts.lengths), width)
        return TokenScores(*(blank.index_copy(0, place, one).view(shape) for one in (logprobs, entropies)))

    def packed(self, parameters: Sequence[Tensor | None]) -> NDArray[np.uint8]:
        """The weights in the layout of the matrix products. Packed anew at each call, since the tensors may
        have changed."""
        found = aligned(self.sizes.weights_bytes, np.uint8)
        self.library.code.pack_weights(pointers(parameters), _at(found))
        return found

    def turned(self, parameters: Sequence[Tensor | None]) -> NDArray[np.uint8]:
        """The weights in the layout of the backward pass."""
        found = aligned(self.sizes.turned_bytes, np.uint8)
        self.library.code.pack_turned(pointers(parameters), _at(found))
        return found

    def _texts(self, model: Any, temperature: float) -> TextsStruct:
        work = TextsStruct(eps=model.config.rms_norm_eps, temperature=temperature)
        cosine, sine = self._rotation(model)
        addresses(work, cosine=cosine, sine=sine)
        return work

    def _rotation(self, model: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Cosines and sines of every position, ``[position, head_dim / 2]``; kept because the library points to
        them."""
        config = model.config
        key = (config.max_position_embeddings, config.head_dim, rope_theta(config))
        if key not in self._rotations:
            unit = kernels.rotation(torch.arange(key[0]), key[1], key[2])
            self._rotations[key] = (unit.real.contiguous().numpy(), unit.imag.contiguous().numpy())
        return self._rotations[key]


class Reading:
    """One forward and backward pass over some texts.

    Args:
        engine: the engine of the model's shape.
        model: the model; its weights are passed to each pass.
        texts: prompts and completions.
        temperature: the temperature of the log-probabilities.
    """

    def __init__(self, engine: Engine, model: Any, texts: Texts, temperature: float) -> None:
        self.engine, self.model, self.texts = engine, model, texts
        self.pieces = Pieces(texts, PIECE_TOKENS, engine.sizes.tape_tile)
        self.logprobs, self.entropies = (np.empty(len(texts.tokens), dtype=np.float32) for _ in range(2))
        lengths = texts.prompt_lengths
        self._arrays = {
            "prompt_of": self.pieces.prompt_of,
            "first": self.pieces.first,
            "order": self.pieces.order,
            "prompts": np.concatenate(texts.prompts) if texts.prompts else np.zeros(0, dtype=np.int32),
            "prompt_at": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            "tokens": np.ascontiguousarray(texts.tokens, dtype=np.int32),
            "row_at": np.ascontiguousarray(texts.offsets, dtype=np.int64),
            "logprobs": self.logprobs,
            "entropies": self.entropies,
            "tape_at": self.pieces.tape_at,
        }
        self.work = engine._texts(model, temperature)
        self.work.pieces = self.pieces.count
        addresses(self.work, **self._arrays)
        self.recalled: Recalled | None = None
        """Activations kept while drawing; if there are any, the forward pass is skipped."""

    def read(
        self, weights: NDArray[np.uint8], *, ranks: NDArray[np.int32] | None = None, tape: Held | None = None
    ) -> None:
        """Fill ``logprobs`` and ``entropies``, and the tape for a backward pass."""
        addresses(self.work, ranks=ranks, tape=None if tape is None else tape.array)
        if self.recalled is not None:
            self.recalled.prompts = self.recalled.prompt[self.pieces.prompt_of]
            addresses(self.work, drawn_row=self.recalled.row, drawn_prompt=self.recalled.prompts)
        self._run(self.engine.library.code.read_texts, self.pieces.count, _at(weights))

    def tape(self) -> Held:
        """Memory for the activations that a backward pass needs."""
        return self.engine.tapes.take(int(self.pieces.tape_at[-1]) * self.engine.sizes.tape_floats)

    def gradients(
        self,
        weights: NDArray[np.uint8],
        parameters: Sequence[Tensor | None],
        wanted: Sequence[Tensor | None],
        tape: Held | None,
        by_logprob: NDArray[np.float32],
        by_entropy: NDArray[np.float32],
    ) -> None:
        """Fill ``wanted``, aligned with ``parameters``, with the gradients of the texts whose activations are
        on the tape."""
        buckets = min(BUCKETS, max(self.pieces.count, 1))
        sums = self.engine.sums.take(buckets * self.engine.sizes.gradients_bytes // 4)
        out = pointers(wanted)
        self.work.buckets, self.work.wanted = buckets, ctypes.cast(out, ctypes.c_void_p)
        addresses(self.work, tape=None if tape is None else tape.array, gradients=sums.array)
        addresses(self.work, by_logprob=by_logprob, by_entropy=by_entropy)
        code = self.engine.library.code
        self._run(code.learn_texts, buckets, _at(weights), _at(self.engine.turned(parameters)))
        code.unpack_gradients(ctypes.c_void_p(sums.array.ctypes.data), ctypes.c_int64(buckets), out)

    def _run(self, function: Any, parts: int, *arguments: Any) -> None:
        threads = min(torch.get_num_threads(), parts)
        run(function, threads, self.work, *arguments, ctypes.byref(self.work))


class _Scores(torch.autograd.Function):
    """``(reading, parameters) -> logprobs, entropies``, flat; gradients flow to the parameters."""

    @staticmethod
    def forward(ctx: Any, reading: Reading, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        ctx.reading, ctx.places = reading, parameters_of(reading.model)
        ctx.weights = reading.engine.packed(ctx.places)
        ctx.tape = reading.tape() if any(ctx.needs_input_grad) and reading.recalled is None else None
        ctx.save_for_backward(*parameters)
        reading.read(ctx.weights, tape=ctx.tape)
        return torch.from_numpy(reading.logprobs), torch.from_numpy(reading.entropies)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors  # which fails where one was changed since
        needed = iter(ctx.needs_input_grad[1:])
        wanted = [torch.empty_like(one) if one is not None and next(needed) else None for one in ctx.places]
        by_logprob, by_entropy = (flat(grad) for grad in grads)
        ctx.reading.gradients(ctx.weights, ctx.places, wanted, ctx.tape, by_logprob, by_entropy)
        return None, *(one for one, of in zip(wanted, ctx.places, strict=True) if of is not None)


def _at(array: NDArray[Any]) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)  # which keeps the array
