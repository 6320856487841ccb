"""The one supervised loop: weighted next-token prediction on rows of tokens, for any causal LM.

``loss = sum_i w_i * nll_i / sum_i w_i`` over all tokens ``i`` of the batch's rows (row, token), where
``nll_i = -log p(token_i | tokens before it in its row)`` and ``w_i`` is the weight of *predicting* token
``i`` (the weight of a row's first token is never used: nothing predicts it).
Denominator: the sum of the weights of the whole batch. The division happens once, so that splitting a batch
into micro-batches changes nothing.
Degenerate: a batch whose weights sum to zero is skipped and counted. Dropout is off: the loop draws from
named streams only, so that a resumed run repeats a straight one byte for byte (CPU, same thread count).
Known bias: batches are bucketed by length (``bucket_batches``), and each is divided by its own weight, so a
token of a short row counts more than one of a long row, by the ratio of their batches' weights. Where rows of
one prompt differ in kind *and* length (an answer alone beside a long trace), the learnt shares of the kinds are
wrong by that ratio: where PAR has 30 % long traces, a bucketed base wrote 1 %. In that case take
``bucket_batches=1``, whose batches are random samples.
The native engine reads and differentiates a batch where it fits (docs/native.md), torch elsewhere.
Source: maximum likelihood; the underlying loop is :func:`keyturn.policies.optimise.optimise`, which also fits
steering vectors, sparse autoencoders and probes with losses of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.lazy import torch
from keyturn.core.streams import Streams
from keyturn.policies.optimise import Evaluate, FitConfig, FitReport, optimise
from keyturn.policies.which_engine import engine_of_model


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One document.

    Args:
        tokens: token ids, int32 ``[token]``.
        weights: weight of predicting each token, float32 ``[token]``; the first is never used.
    """

    tokens: NDArray[np.int32]
    weights: NDArray[np.float32]


Source: TypeAlias = Callable[[int], Sequence[Row]]
"""Block number -> rows. A pure function, so that the batch of any step can be reproduced."""


def fit(
    model: torch.nn.Module,
    source: Source,
    config: FitConfig,
    streams: Streams,
    *,
    label: str = "fit",
    evaluate: Evaluate | None = None,
    evaluate_every: int = 0,
    checkpoint: Path | None = None,
    checkpoint_every: int = 0,
    stop_at: int | None = None,
) -> FitReport:
    """Fit a causal LM to rows of tokens; the model is changed in place and left in evaluation mode.

    Args:
        model: called as ``model(input_ids=..., use_cache=False).logits``, ``[row, token, vocab]``.
        source: blocks of rows; each block should hold ``batch_rows * bucket_batches`` of them.
        config: schedule and sizes.
        streams: only for the order of the batches within a block.
        label: name in the progress line.
        evaluate: called before the step of every ``evaluate_every``-th step and after the last one.
        evaluate_every: steps; 0 evaluates at the end only.
        checkpoint: file for the state; the fit resumes from it if it exists.
        checkpoint_every: steps between writes; 0 never writes.
        stop_at: stop after this many steps in all, with a checkpoint if a file was named.

    Raises:
        NumericsError: three steps in a row were not finite.
        StorageError: the checkpoint belongs to another configuration or engine, or is damaged.
    """
    batches = batch_maker(source, config, streams)
    counted = {"tokens": 0}

    def losses(step: int) -> Iterator[torch.Tensor]:
        rows = batches(step)
        counted["tokens"] = sum(len(row.tokens) for row in rows)
        denominator = sum(float(row.weights[1:].sum()) for row in rows)
        if denominator <= 0:
            return
        size = config.micro_rows or len(rows)
        for start in range(0, len(rows), size):
            yield loss_of(model, rows[start : start + size]) / denominator

    model.eval()
    return optimise(
        dict(model.named_parameters()),
        losses,
        config,
        label=label,
        evaluate=evaluate,
        evaluate_every=evaluate_every,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        stop_at=stop_at,
        tokens=lambda: counted["tokens"],
        engine=engine_of_model(model),
    )


def loss_of(model: torch.nn.Module, rows: Sequence[Row]) -> torch.Tensor:
    """``sum_i w_i nll_i`` of some rows, a scalar; by the native engine where it fits.

    Args:
        model: any causal LM; the native engine takes the architectures and texts of ``native.fits.chosen``.
        rows: documents; those without a weighted token to predict add nothing.
    """
    from keyturn.policies.batching import Texts  # noqa: PLC0415, both need torch
    from keyturn.policies.native.fits import chosen  # noqa: PLC0415

    learnt = [row for row in rows if row.weights[1:].any()]
    # A document continues its first token, so that documents with the same one are read as one block.
    texts = Texts.build([row.tokens[:1] for row in learnt], [row.tokens[1:] for row in learnt])
    engine = chosen(model, texts=texts).engine
    if engine is None:
        device = next(model.parameters()).device
        tokens, weights = pad_rows(rows)
        return weighted_nll(model, tokens.to(device), weights.to(device))
    wanted = pad_rows(learnt)[1][:, 1:]
    logprobs = engine.policy_tokens(model, texts, 1.0).logprobs
    return -(logprobs[wanted != 0] * wanted[wanted != 0]).sum()


def batch_maker(source: Source, config: FitConfig, streams: Streams) -> Callable[[int], list[Row]]:
    """``step -> rows``: blocks sorted by length, cut into batches, batches shuffled within the block.

    A pure function of the step (the last block is kept only for speed), so resuming needs no iterator
    state.
    """
    kept: dict[int, list[list[Row]]] = {}

    def batches_of(block: int) -> list[list[Row]]:
        rows = sorted(source(block), key=lambda row: len(row.tokens))
        if len(rows) < config.batch_rows * config.bucket_batches:
            raise UsageError(
                f"block {block} holds {len(rows)} rows, {config.batch_rows * config.bucket_batches} are needed",
                fix="give blocks of batch_rows * bucket_batches rows",
            )
        cut = [rows[i * config.batch_rows : (i + 1) * config.batch_rows] for i in range(config.bucket_batches)]
        order = streams.generator("order", block).permutation(config.bucket_batches)
        return [cut[i] for i in order]

    def batch(step: int) -> list[Row]:
        block, place = divmod(step, config.bucket_batches)
        if block not in kept:
            kept.clear()
            kept[block] = batches_of(block)
        return kept[block][place]

    return batch


def epochs(rows: Sequence[Row], config: FitConfig, streams: Streams) -> Source:
    """A source over a finite list: every epoch a new permutation; a block may run into the next epoch."""
    if not rows:
        raise UsageError("there are no rows to fit", fix="give at least one row")
    size = config.batch_rows * config.bucket_batches

    def source(block: int) -> list[Row]:
        out: list[Row] = []
        for position in range(block * size, (block + 1) * size):
            epoch, place = divmod(position, len(rows))
            if epoch not in orders:
                orders[epoch] = streams.generator("epoch", epoch).permutation(len(rows))
            out.append(rows[orders[epoch][place]])
        return out

    orders: dict[int, NDArray[np.int64]] = {}
    return source


def pad_rows(rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded int64 ``[row, token]`` and float32 weights of the same shape, 0 on padding.

    Padding follows the last token of its row, where a causal model cannot see it.
    """
    width = max(len(row.tokens) for row in rows)
    tokens = np.zeros((len(rows), width), dtype=np.int64)
    weights = np.zeros((len(rows), width), dtype=np.float32)
    for index, row in enumerate(rows):
        tokens[index, : len(row.tokens)] = row.tokens
        weights[index, : len(row.tokens)] = row.weights
    return torch.from_numpy(tokens), torch.from_numpy(weights)


def weighted_nll(model: torch.nn.Module, tokens: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """``sum_i w_i nll_i`` of a padded batch, a scalar; always float32."""
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
    wanted = weights[:, 1:] != 0
    nll = torch.nn.functional.cross_entropy(logits[wanted].float(), tokens[:, 1:][wanted], reduction="none")
    return (nll * weights[:, 1:][wanted]).sum()
