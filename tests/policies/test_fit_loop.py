"""The supervised loop: its loss, its buckets, its guards and its resume."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from keyturn.core.errors import NumericsError, StorageError, UsageError
from keyturn.core.streams import Streams
from keyturn.policies.fit import Row, batch_maker, epochs, fit, pad_rows, weighted_nll
from keyturn.policies.optimise import FitConfig, optimise

VOCAB = 11


class Bigram(nn.Module):
    """The smallest causal LM: the next token's logits depend on this token only."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        values = Streams(seed).generator("init").standard_normal((VOCAB, VOCAB)) * 0.1
        self.table = nn.Parameter(torch.from_numpy(values.astype(np.float32)))
        self.bias = nn.Parameter(torch.zeros(VOCAB))

    def forward(self, input_ids, use_cache=False):
        return SimpleNamespace(logits=self.table[input_ids] + self.bias)


def cycle_rows(count: int, seed: int = 1) -> list[Row]:
    """Counting modulo VOCAB: a rule that a bigram learns exactly."""
    rng = Streams(seed).generator("rows")
    rows = []
    for _ in range(count):
        length = int(rng.integers(3, 12))
        tokens = (np.arange(length) + rng.integers(VOCAB)) % VOCAB
        rows.append(Row(tokens=tokens.astype(np.int32), weights=np.ones(length, np.float32)))
    return rows


CONFIG = FitConfig(steps=24, batch_rows=8, lr=0.1, warmup=4, bucket_batches=3)


def weights_of(model) -> bytes:
    return b"".join(p.detach().numpy().tobytes() for p in model.parameters())


def test_a_bigram_learns_to_count():
    model = Bigram()
    report = fit(model, epochs(cycle_rows(64), CONFIG, Streams(0)), CONFIG, Streams(0))
    assert report.history[0]["loss"] == pytest.approx(math.log(VOCAB), abs=0.2)
    assert report.history[-1]["loss"] < 0.5
    assert report.skipped == 0
    assert report.tokens == report.history[-1]["tokens"] > 0


def test_loss_is_the_weighted_mean_over_the_whole_batch():
    rows = cycle_rows(5)
    weighted = [Row(tokens=r.tokens, weights=np.linspace(0, 2, len(r.tokens), dtype=np.float32)) for r in rows]
    model = Bigram()
    tokens, weights = pad_rows(weighted)
    got = weighted_nll(model, tokens, weights).item()
    table = torch.log_softmax(model.table + model.bias, -1).detach().numpy()
    by_hand = sum(
        -table[r.tokens[i - 1], r.tokens[i]] * r.weights[i] for r in weighted for i in range(1, len(r.tokens))
    )
    assert got == pytest.approx(by_hand, rel=1e-5)
    shifted = sum(
        -table[r.tokens[i - 1], r.tokens[i]] * r.weights[i - 1]
        for r in weighted
        for i in range(1, len(r.tokens))
    )
    assert got != pytest.approx(shifted, rel=1e-3)


def gradient(config: FitConfig) -> torch.Tensor:
    model = Bigram()
    one = FitConfig(**{**vars(config), "steps": 1, "lr": 0.0})
    fit(model, epochs(cycle_rows(30), one, Streams(0)), one, Streams(0))
    assert model.table.grad is not None
    return model.table.grad


def test_micro_batches_change_nothing_but_memory():
    whole = gradient(CONFIG)
    for micro in (1, 3, 5):
        assert torch.allclose(gradient(FitConfig(**{**vars(CONFIG), "micro_rows": micro})), whole, atol=1e-7)


def test_a_row_with_weight_zero_is_not_learnt_from():
    rows = [Row(tokens=r.tokens, weights=np.zeros_like(r.weights)) for r in cycle_rows(40)]
    model = Bigram()
    before = weights_of(model)
    report = fit(model, epochs(rows, CONFIG, Streams(0)), CONFIG, Streams(0))
    assert report.skipped == CONFIG.steps
    assert weights_of(model) == before


def test_every_row_of_a_block_is_used_once_and_batches_are_of_like_length():
    rows = cycle_rows(24)
    batch = batch_maker(epochs(rows, CONFIG, Streams(3)), CONFIG, Streams(3))
    seen = [id(row) for step in range(3) for row in batch(step)]
    assert sorted(seen) == sorted(id(row) for row in rows)
    spans = [(min(len(r.tokens) for r in batch(s)), max(len(r.tokens) for r in batch(s))) for s in range(3)]
    spans.sort()
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    assert [id(r) for r in batch(1)] == seen[8:16], "asking again, in another order, gives the same batch"


def test_shares_of_short_and_long_rows_are_learnt_as_they_are_only_in_random_batches():
    short, long = np.array([0, 1, 2]), np.array([0, 3, *[4] * 18, 5])
    rows = [Row(tokens=t.astype(np.int32), weights=np.ones(len(t), np.float32)) for t in (short, long) * 64]

    def share_of_the_long(bucket_batches: int) -> float:
        config = FitConfig(steps=160, batch_rows=16, lr=0.05, warmup=0, bucket_batches=bucket_batches)
        model = Bigram()
        fit(model, epochs(rows, config, Streams(0)), config, Streams(0))
        return float(torch.softmax(model(torch.tensor([[0]])).logits[0, 0].detach(), -1)[3])

    assert share_of_the_long(1) == pytest.approx(0.5, abs=0.1)
    assert share_of_the_long(8) < 0.25, "the bias that the module names"


def test_schedule():
    config = FitConfig(steps=100, lr=1.0, warmup=10, decay_from=0.6, final_lr=0.05)
    assert config.rate(0) == pytest.approx(0.1)
    assert config.rate(9) == config.rate(59) == 1.0
    assert config.rate(60) == pytest.approx(1.0)
    assert config.rate(99) == pytest.approx(0.05)
    assert FitConfig(steps=100, lr=1.0, warmup=1, decay_from=1.0).rate(99) == 1.0


@pytest.mark.parametrize("stop", [1, 2, 7, 16, 23])
def test_stopped_and_resumed_equals_straight(tmp_path, stop):
    straight = Bigram()
    whole = fit(straight, epochs(cycle_rows(64), CONFIG, Streams(0)), CONFIG, Streams(0))
    path = tmp_path / "fit.safetensors"
    first = Bigram()
    fit(first, epochs(cycle_rows(64), CONFIG, Streams(0)), CONFIG, Streams(0), checkpoint=path, stop_at=stop)
    second = Bigram(seed=99)
    resumed = fit(second, epochs(cycle_rows(64), CONFIG, Streams(0)), CONFIG, Streams(0), checkpoint=path)
    assert weights_of(second) == weights_of(straight)
    assert resumed.history == whole.history
    assert resumed.tokens == whole.tokens


def test_resume_needs_every_part_of_the_state(tmp_path):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    straight = Bigram()
    fit(straight, epochs(cycle_rows(64), CONFIG, Streams(0)), CONFIG, Streams(0))
    path = tmp_path / "fit.safetensors"
    fit(Bigram(), epochs(cycle_rows(64), CONFIG, Streams(0)), CONFIG, Streams(0), checkpoint=path, stop_at=7)
    with safe_open(path, framework="pt") as stored:
        facts = stored.metadata()
    tensors = load_file(path)
    for kind in ("exp_avg", "exp_avg_sq", "step", "weight"):
        broken = {k: torch.zeros_like(v) if k.split("/")[0] == kind else v for k, v in tensors.items()}
        save_file(broken, tmp_path / f"{kind}.safetensors", metadata=facts)
        model = Bigram()
        fit(
            model,
            epochs(cycle_rows(64), CONFIG, Streams(0)),
            CONFIG,
            Streams(0),
            checkpoint=tmp_path / f"{kind}.safetensors",
        )
        assert weights_of(model) != weights_of(straight), kind


def test_a_checkpoint_of_another_fit_is_refused(tmp_path):
    path = tmp_path / "fit.safetensors"
    rows = cycle_rows(64)
    fit(Bigram(), epochs(rows, CONFIG, Streams(0)), CONFIG, Streams(0), checkpoint=path, stop_at=2)
    other = FitConfig(**{**vars(CONFIG), "lr": 0.2})
    with pytest.raises(StorageError, match="another configuration"):
        fit(Bigram(), epochs(rows, other, Streams(0)), other, Streams(0), checkpoint=path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(StorageError, match="not a checkpoint"):
        fit(Bigram(), epochs(rows, CONFIG, Streams(0)), CONFIG, Streams(0), checkpoint=path)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_non_finite_step_is_skipped_and_three_in_a_row_stop(bad):
    start = torch.ones(3)

    def losses_with(bad_steps):
        parameter = nn.Parameter(start.clone())

        def losses(step):
            yield parameter.square().sum() * (bad if step in bad_steps else 1.0)

        return parameter, losses

    config = FitConfig(steps=6, lr=0.1, warmup=1)
    parameter, losses = losses_with({2, 3})
    report = optimise({"x": parameter}, losses, config)
    assert report.skipped == 2
    assert bool(torch.isfinite(parameter).all())
    assert not torch.equal(parameter, start)
    parameter, losses = losses_with({2, 3, 4})
    with pytest.raises(NumericsError, match="3 steps in a row"):
        optimise({"x": parameter}, losses, config)
    assert bool(torch.isfinite(parameter).all())


def test_evaluation_lands_in_the_history():
    model = Bigram()
    report = fit(
        model,
        epochs(cycle_rows(64), CONFIG, Streams(0)),
        CONFIG,
        Streams(0),
        evaluate=lambda step: {"probe": float(step)},
        evaluate_every=10,
    )
    assert [row["probe"] for row in report.history if "probe" in row] == [0, 10, 20, 24]


def test_nothing_to_train_and_nothing_to_read_are_usage_errors():
    model = Bigram().requires_grad_(False)
    with pytest.raises(UsageError, match="frozen"):
        fit(model, epochs(cycle_rows(9), CONFIG, Streams(0)), CONFIG, Streams(0))
    with pytest.raises(UsageError, match="no rows"):
        epochs([], CONFIG, Streams(0))
    with pytest.raises(UsageError, match="block 0 holds 5 rows"):
        fit(Bigram(), lambda block: cycle_rows(5), CONFIG, Streams(0))
