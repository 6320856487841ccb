"""Updates of known make: dense and Gaussian, relative, sparse, low rank; what the nulls must say of each."""

import json
import math
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.torch import save_file
from token_tables import tables_of

from keyturn.core.errors import InputError
from keyturn.core.streams import Streams
from keyturn.measures.concentration import Magnitudes, gini, holding, lorenz
from keyturn.measures.rounding import exponents, mask_overlap, permuted_within_exponent, to_bf16, visible
from keyturn.measures.spectrum import energies, entropy_rank, gaussian_ranks, largest_energy, stable_rank
from keyturn.measures.tensor_update import describe_update
from keyturn.measures.update_geometry import (
    GAUSSIAN,
    PERMUTED,
    UPDATE_GEOMETRY,
    UpdateGeometryConfig,
    null_range,
    structured,
)
from keyturn.measures.weights import WeightPair, weight_pairs


def normal(seed, *shape, sd=1.0):
    return (sd * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def pair_of(base, tuned, **more):
    flags = {"limited": False, "vocabulary": False, **more}
    return WeightPair(name="w", base=base, tuned=tuned.astype(np.float32), **flags)


# What bf16 alone paints: the table of an idealised simulation, at 1e6 weights N(0, .02^2) on the grid.

TABLE = [
    (1e-6, 0.988, 0.585, 0.012),
    (1e-5, 0.884, 0.589, 0.116),
    (3e-5, 0.681, 0.621, 0.319),
    (1e-4, 0.325, 0.752, 0.677),
    (3e-4, 0.118, 0.892, 0.882),
]


@pytest.fixture(scope="module")
def grid():
    return to_bf16(normal(0, 1_000_000, sd=0.02))


@pytest.mark.parametrize(("sd", "sparsity", "overlap", "uniform"), TABLE)
def test_rounding_alone_gives_the_published_picture(grid, sd, sparsity, overlap, uniform):
    first, second = (visible(grid, grid + normal(seed, grid.size, sd=sd)) for seed in (1, 2))
    assert 1 - first.mean() == pytest.approx(sparsity, abs=0.0015)
    found = mask_overlap(first, second, grid)
    error = 4 / math.sqrt(first.sum())
    assert found["observed"] == pytest.approx(overlap, abs=error + 0.001)
    assert found["uniform"] == pytest.approx(uniform, abs=0.0015)
    # Independent updates overlap as much as chance within exponents says, and far more than uniform chance.
    assert found["exponent"] == pytest.approx(found["observed"], abs=error)
    if sd < 3e-4:
        assert found["observed"] - found["uniform"] > error


def test_an_overlap_beyond_rounding_is_seen(grid):
    first = visible(grid, grid + normal(1, grid.size, sd=3e-5))
    found = mask_overlap(first, first, grid)
    assert found["observed"] == 1.0
    assert found["exponent"] < 0.7
    assert all(math.isnan(x) for x in mask_overlap(first & False, first, grid).values())


def test_rounding_agrees_with_torch():
    values = np.concatenate([normal(3, 50_000), normal(4, 50_000, sd=1e-30), [0.0, -0.0, 1.0, 1.00390625]])
    values = values.astype(np.float32)
    expected = torch.from_numpy(values).bfloat16().float().numpy()
    np.testing.assert_array_equal(to_bf16(values), expected)


# The permuted null: sizes and exponents stay, places go.


def test_permuting_keeps_every_exponents_updates():
    base, delta = normal(5, 40, 30, sd=0.02), normal(6, 40, 30, sd=1e-5)
    (dealt,) = permuted_within_exponent(base, delta, np.random.default_rng(0), 1)
    assert not np.array_equal(dealt, delta)
    for exponent in np.unique(exponents(base)):
        here = exponents(base) == exponent
        np.testing.assert_array_equal(np.sort(dealt[here]), np.sort(delta[here]))


def permuted_anywhere(base, delta, generator, draws):
    """The twin: deltas change places across exponents."""
    for _ in range(draws):
        yield generator.permutation(delta.ravel()).reshape(delta.shape)


def assert_visible_share_is_explained(permute):
    """An update proportional to the weight's size has no places: the null must give its visible share."""
    base = to_bf16(normal(7, 300, 200, sd=0.02))
    delta = 2e-3 * np.abs(base) * normal(8, 300, 200)
    draws = permute(base, delta, np.random.default_rng(0), 20)
    null = null_range("twin", np.array([visible(base, base + dealt).mean() for dealt in draws]))
    assert null.low - 1e-3 <= visible(base, base + delta).mean() <= null.high + 1e-3


def assert_rows_are_explained(permute):
    """Rows of different scale, updates in proportion: no row is special given its exponents."""
    scale = 2.0 ** np.random.default_rng(9).integers(-8, -3, size=(120, 1))
    base = (scale * np.random.default_rng(10).uniform(1, 2, (120, 80))).astype(np.float32)
    delta = (scale * normal(11, 120, 80, sd=1e-3)).astype(np.float32)

    def uneven(d):
        return gini(lorenz((d.astype(np.float64) ** 2).sum(axis=1)))

    null = null_range("twin", np.array([uneven(d) for d in permute(base, delta, np.random.default_rng(0), 20)]))
    assert null.low <= uneven(delta) <= null.high


@pytest.mark.parametrize("explained", [assert_visible_share_is_explained, assert_rows_are_explained])
def test_a_null_that_permutes_across_exponents_is_caught(explained):
    explained(permuted_within_exponent)
    with pytest.raises(AssertionError):
        explained(permuted_anywhere)


def test_a_dense_gaussian_update_leaves_its_nulls_no_more_often_than_stated():
    config, outside = UpdateGeometryConfig(), []
    for seed in range(40):
        base = normal(seed, 64, 96, sd=0.02)
        found = describe_update(
            pair_of(base, base + normal(seed + 500, 64, 96, sd=3e-5)), config, Streams(seed)
        )
        for value, draws in (
            (found.shares[0], found.permuted),
            (found.rows.value, found.rows.null),
            (found.columns.value, found.columns.null),
        ):
            null = null_range(PERMUTED, draws)
            outside.append(not null.low <= value <= null.high)
    assert np.mean(outside) < 0.1


# Whole models from files.

SHAPES = {
    "model.embed_tokens.weight": (50, 32),
    "model.layers.0.attn.weight": (64, 48),
    "model.layers.0.mlp.weight": (96, 64),
    "model.layers.0.norm.weight": (64,),
    "model.layers.0.conv.weight": (32, 1, 4),
}


def base_weights():
    weights = {name: normal(i, *shape, sd=0.02) for i, (name, shape) in enumerate(SHAPES.items())}
    return {**weights, "model.layers.0.norm.weight": np.ones(64, dtype=np.float32)}


def folder(path, weights, *, dtype=torch.float32, shards=1, **config):
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"vocab_size": 50, **config}))
    tensors = {name: torch.from_numpy(np.array(values)).to(dtype) for name, values in weights.items()}
    if shards == 1:
        save_file(tensors, path / "model.safetensors")
        return path
    where = {name: f"model-{i % shards + 1:05d}-of-{shards:05d}.safetensors" for i, name in enumerate(tensors)}
    for file in sorted(set(where.values())):
        save_file({name: t for name, t in tensors.items() if where[name] == file}, path / file)
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return path


def measured(base, tuned, **config):
    tables = tables_of(Streams(1), weights=(base, tuned))
    return UPDATE_GEOMETRY.measure(tables, UpdateGeometryConfig(**config))


def get(measurements, name, tensor="all", **parameters):
    (found,) = [
        m
        for m in measurements
        if m.name == name
        and m.parameters["tensor"] == tensor
        and all(m.parameters[k] == v for k, v in parameters.items())
    ]
    return found


def dense(weights, sd=3e-5):
    return {
        name: values + normal(100 + i, *values.shape, sd=sd) for i, (name, values) in enumerate(weights.items())
    }


def planted(weights):
    """A tenth of the rows of every matrix moves, nothing else does."""
    out = {}
    for i, (name, values) in enumerate(weights.items()):
        moved = np.zeros_like(values)
        if values.ndim > 1:
            some = max(2, len(values) // 10)
            moved[:some] = normal(200 + i, *values[:some].shape, sd=1e-3)
        out[name] = values + moved
    return out


def test_a_dense_gaussian_update_is_not_structured_and_a_planted_one_is(tmp_path):
    base = folder(tmp_path / "base", base_weights())
    plain = measured(base, folder(tmp_path / "dense", dense(base_weights())))
    found = measured(base, folder(tmp_path / "planted", planted(base_weights())))
    assert structured(plain) is False
    assert structured(found) is True
    assert get(plain, "update_zero").value < 0.01
    assert get(found, "update_zero").value > 0.8
    # The dense update is what its Gaussian null says; the sparse one is far from it.
    for name in ("update_gini", "update_participation", "update_share90"):
        m = get(plain, name)
        assert m.value == pytest.approx(m.null.value, rel=0.05), name
    visible_dense = get(plain, "update_visible", against=GAUSSIAN)
    assert visible_dense.value == pytest.approx(visible_dense.null.value, abs=0.02)
    visible_planted = get(found, "update_visible", against=GAUSSIAN)
    assert visible_planted.value < visible_planted.null.low / 2
    assert get(found, "update_share90").value < get(found, "update_share90").null.value / 3


def test_shares_of_one_tensor_by_hand(tmp_path):
    base = {"w": np.array([[1.0, 1.0, 0.5, 0.25]], dtype=np.float32)}
    delta = np.array([[0.0, 2.0**-9, 2.0**-8, 2.0**-20]], dtype=np.float32)
    found = measured(
        folder(tmp_path / "a", base),
        folder(tmp_path / "b", {"w": base["w"] + delta}),
        tolerances=(1e-6, 3e-3),
        relative=(3e-3,),
    )
    # bf16 spacing is 2^-7 at 1, 2^-8 at .5: only the third entry reaches half of it.
    assert get(found, "update_visible", "w", against=PERMUTED).value == 0.25
    assert get(found, "update_zero", "w").value == 0.25
    assert get(found, "update_within", tolerance=1e-6, relative=False).value == 0.5
    assert get(found, "update_within", tolerance=3e-3, relative=False).value == 0.75
    assert get(found, "update_within", tolerance=3e-3, relative=True).value == 0.75
    norm = math.sqrt(2.0**-18 + 2.0**-16 + 2.0**-40) / math.sqrt(1 + 1 + 0.25 + 0.0625)
    assert get(found, "update_norm", "w").value == pytest.approx(norm)
    assert get(found, "update_norm", "w").n == 4


def test_equal_weights_are_zero_everywhere_and_have_no_shape(tmp_path):
    base = folder(tmp_path / "base", base_weights())
    found = measured(base, folder(tmp_path / "same", base_weights()))
    assert get(found, "update_zero").value == 1.0
    assert get(found, "update_norm").value == 0.0
    assert get(found, "update_visible", against=PERMUTED).value == 0.0
    for name in ("update_gini", "update_rows", "update_stable_rank_share"):
        assert math.isnan(get(found, name).value)
        assert get(found, name).n == 0
    assert structured(found) is None
    assert get(found, "update_untouched_rows").value == 1.0


def test_rows_of_unseen_tokens_are_told_apart(tmp_path):
    weights, tuned = base_weights(), dense(base_weights())
    tuned["model.embed_tokens.weight"][:20] = weights["model.embed_tokens.weight"][:20]
    found = measured(folder(tmp_path / "a", weights), folder(tmp_path / "b", tuned))
    assert get(found, "update_untouched_rows").value == pytest.approx(0.4)
    assert get(found, "update_untouched_rows").n == 50
    rows = get(found, "update_zero", "model.embed_tokens.weight")
    assert rows.n == 30 * 32
    # Left in, they would be 40 % zeros that no optimiser made.
    assert rows.value < 0.01


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_pair_in_low_precision_is_called_limited_and_never_sparse(tmp_path, dtype):
    base = folder(tmp_path / "base", base_weights(), dtype=dtype)
    found = measured(base, folder(tmp_path / "tuned", dense(base_weights(), sd=1e-4), dtype=dtype))
    names = {m.name for m in found}
    assert not names & {
        "update_zero",
        "update_within",
        "update_gini",
        "update_share90",
        "update_untouched_rows",
    }
    assert all(m.parameters["precision"] == "precision-limited" for m in found)
    assert "spars" not in json.dumps([m.to_json() for m in found])
    seen = get(found, "update_visible", against=PERMUTED)
    assert 0.2 < seen.value < 0.95
    assert seen.value == pytest.approx(seen.null.value, abs=0.01)
    assert "precision-limited" in seen.note
    assert structured(found) is False


def test_one_side_in_low_precision_limits_the_pair(tmp_path):
    base = folder(tmp_path / "base", base_weights(), dtype=torch.bfloat16)
    found = measured(base, folder(tmp_path / "tuned", dense(base_weights())))
    assert get(found, "update_visible", against=PERMUTED).parameters["precision"] == "precision-limited"


def test_shards_and_one_file_are_the_same(tmp_path):
    base = folder(tmp_path / "base", base_weights())
    one = measured(base, folder(tmp_path / "one", dense(base_weights())))
    many = measured(
        folder(tmp_path / "sharded", base_weights(), shards=2),
        folder(tmp_path / "many", dense(base_weights()), shards=3),
    )
    assert [m.to_json() for m in one] == [m.to_json() for m in many]


def test_totals_alone_are_the_totals(tmp_path):
    base, tuned = folder(tmp_path / "a", base_weights()), folder(tmp_path / "b", dense(base_weights()))
    every, totals = measured(base, tuned), measured(base, tuned, per_tensor=False)
    assert [m.to_json() for m in totals] == [m.to_json() for m in every[: len(totals)]]
    assert {m.parameters["tensor"] for m in every} == {"all", *SHAPES}


def test_the_total_pools_entries_and_not_tensors(tmp_path):
    base = {"big": normal(0, 90, 10, sd=0.02), "small": normal(1, 10, 10, sd=0.02)}
    tuned = {"big": base["big"], "small": base["small"] + 1.0}
    found = measured(folder(tmp_path / "a", base), folder(tmp_path / "b", tuned))
    assert get(found, "update_zero").value == pytest.approx(0.9)


@pytest.mark.parametrize("said", [{}, {"tie_word_embeddings": True}])
def test_tied_weights_count_once(tmp_path, said):
    weights, tuned = base_weights(), dense(base_weights())
    head, tuned_head = weights["model.embed_tokens.weight"], tuned["model.embed_tokens.weight"]
    with_head = folder(tmp_path / "a", {**weights, "lm_head.weight": head}, **said)
    also = folder(tmp_path / "b", {**tuned, "lm_head.weight": tuned_head}, **said)
    without = folder(tmp_path / "c", tuned, **said)
    names = [pair.name for pair in weight_pairs(with_head, also)]
    assert names == sorted(SHAPES)
    assert [pair.name for pair in weight_pairs(with_head, without)] == names


def test_untied_heads_count_on_their_own(tmp_path):
    weights = {**base_weights(), "lm_head.weight": base_weights()["model.embed_tokens.weight"]}
    untied = [folder(tmp_path / n, weights, tie_word_embeddings=False) for n in "ab"]
    assert "lm_head.weight" in [pair.name for pair in weight_pairs(*untied)]
    moved = {**weights, "lm_head.weight": weights["lm_head.weight"] + 1}
    apart = folder(tmp_path / "c", moved)
    assert "lm_head.weight" in [pair.name for pair in weight_pairs(folder(tmp_path / "d", weights), apart)]


def test_the_null_of_a_large_tensor_looks_at_a_block_and_agrees(tmp_path):
    base, tuned = folder(tmp_path / "a", base_weights()), folder(tmp_path / "b", dense(base_weights()))
    whole, block = measured(base, tuned), measured(base, tuned, null_entries=1000)
    for kind in (PERMUTED, GAUSSIAN):
        a, b = (get(found, "update_visible", against=kind) for found in (whole, block))
        assert a.value == b.value
        assert a.null.value == pytest.approx(b.null.value, abs=0.02)


# Bad input.


def drop(name):
    return {n: w for n, w in base_weights().items() if n != name}


def with_shape(name, shape):
    return {**base_weights(), name: np.zeros(shape, dtype=np.float32)}


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (drop("model.layers.0.mlp.weight"), "model.layers.0.mlp.weight is in"),
        ({**base_weights(), "extra.weight": np.ones(3, dtype=np.float32)}, "extra.weight is in"),
        (with_shape("model.layers.0.mlp.weight", (64, 96)), "shape"),
        ({**base_weights(), "model.layers.0.norm.weight": np.full(64, np.nan, dtype=np.float32)}, "not finite"),
    ],
)
def test_weights_that_do_not_match_are_refused(tmp_path, weights, says):
    base = folder(tmp_path / "base", base_weights())
    with pytest.raises(InputError, match=says):
        measured(base, folder(tmp_path / "tuned", weights))
    with pytest.raises(InputError):
        measured(tmp_path / "tuned", base)


def test_missing_damaged_and_pickled_files_are_refused(tmp_path):
    base = folder(tmp_path / "base", base_weights())
    with pytest.raises(InputError, match="no model folder"):
        measured(base, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no weights"):
        measured(base, tmp_path / "empty")
    (tmp_path / "empty" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(InputError, match="pickle"):
        measured(base, tmp_path / "empty")
    sharded = folder(tmp_path / "sharded", base_weights(), shards=2)
    (sharded / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match="lacks 1 of 2 weight files"):
        measured(base, sharded)
    (base / "model.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(InputError, match="is damaged"):
        measured(base, base)


def test_quantised_weights_are_refused_and_equal_buffers_ignored(tmp_path):
    def saved(name, step):
        path = folder(tmp_path / name, base_weights())
        tensors = {n: torch.from_numpy(w) for n, w in base_weights().items()}
        save_file({**tensors, "position_ids": torch.arange(0, 5 * step, step)}, path / "model.safetensors")
        return path

    one, same, other = saved("one", 1), saved("same", 1), saved("other", 2)
    assert "position_ids" not in [pair.name for pair in weight_pairs(one, same)]
    with pytest.raises(InputError, match="I64"):
        list(weight_pairs(one, other))


def test_memory_does_not_grow_with_the_number_of_tensors(tmp_path):
    def peak(tensors):
        weights = {f"w{i:02d}": normal(i, 50, 4000, sd=0.02) for i in range(tensors)}
        base = folder(tmp_path / f"a{tensors}", weights)
        tuned = folder(tmp_path / f"b{tensors}", dense(weights))
        config = {"permutations": 2, "gaussian_draws": 2, "null_entries": 2000}
        tracemalloc.start()
        measured(base, tuned, **config)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(1)  # imports
    # Six tensors are 4.8 MB; holding them would add that to the peak.
    assert peak(6) < peak(2) + 2e6


# Ranks and concentration.


def test_ranks_of_known_spectra():
    left, right = np.linalg.qr(normal(0, 40, 10).astype(np.float64))[0], np.linalg.qr(normal(1, 30, 10))[0]
    for s in ([1.0], [2.0, 2.0, 2.0], [4.0, 2.0, 1.0]):
        matrix = (left[:, : len(s)] * s @ right[:, : len(s)].T).astype(np.float32)
        square = np.array(s) ** 2
        share = square / square.sum()
        for m in (matrix, matrix.T):
            found = energies(m)
            assert len(found) == 30
            assert stable_rank(found) == pytest.approx(square.sum() / square.max(), rel=1e-5)
            assert entropy_rank(found) == pytest.approx(math.exp(-(share * np.log(share)).sum()), rel=1e-4)
            assert largest_energy(m, np.random.default_rng(0)) == pytest.approx(square.max(), rel=1e-4)
    assert math.isnan(stable_rank(np.zeros(3)))
    assert math.isnan(entropy_rank(np.zeros(3)))


def test_a_rank_one_update_is_far_below_its_gaussian_null_even_where_rounding_fills_the_rank():
    base = to_bf16(normal(0, 200, 300, sd=0.02))
    rank_one = np.outer(normal(1, 200), normal(2, 300)) * 2e-5
    rounded = to_bf16((base + rank_one).astype(np.float32)) - base
    assert np.linalg.matrix_rank(rounded) > 190
    null = gaussian_ranks((200, 300), np.random.default_rng(0), 5)
    assert stable_rank(energies(rounded)) < 0.1 * null[:, 0].min()
    dense_delta = normal(3, 200, 300)
    assert stable_rank(energies(dense_delta)) == pytest.approx(null[:, 0].mean(), rel=0.05)
    assert entropy_rank(energies(dense_delta)) == pytest.approx(null[:, 1].mean(), rel=0.02)


def test_the_gaussian_null_of_a_large_matrix_is_scaled_rightly():
    small = gaussian_ranks((600, 900), np.random.default_rng(0), 3).mean(axis=0)
    squares = energies(normal(1, 600, 900))
    np.testing.assert_allclose(small, [stable_rank(squares), entropy_rank(squares)], rtol=0.04)


def test_above_the_cap_only_the_stable_rank_is_told():
    base = normal(0, 60, 80, sd=0.02)
    pair = pair_of(base, base + normal(1, 60, 80, sd=1e-3))
    full = describe_update(pair, UpdateGeometryConfig(), Streams(0))
    capped = describe_update(pair, UpdateGeometryConfig(spectrum_side=32), Streams(0))
    assert capped.stable.value == pytest.approx(full.stable.value, rel=1e-4)
    assert math.isnan(capped.entropy.value)


@given(arrays(np.float64, st.integers(2, 40), elements=st.floats(0, 100, allow_subnormal=False)))
def test_gini_is_the_mean_difference(values):
    curve = lorenz(values)
    if values.sum() == 0:
        assert math.isnan(gini(curve))
        return
    expected = np.abs(values[:, None] - values[None, :]).mean() / (2 * values.mean())
    assert gini(curve) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(0.3, 3))
def test_the_histogram_tells_what_sorting_tells(seed, power):
    values = (np.abs(normal(seed, 3000)) ** power * np.sign(normal(seed + 1, 3000))).astype(np.float32)
    halves = Magnitudes.of(values[:1000]) + Magnitudes.of(values[1000:])
    wide = np.abs(values.astype(np.float64))
    assert halves.n == 3000
    assert halves.energy == pytest.approx((wide**2).sum())
    assert halves.participation() == pytest.approx((wide**2).sum() ** 2 / (3000 * (wide**4).sum()))
    assert gini(halves.size_curve()) == pytest.approx(gini(lorenz(wide)), abs=1e-3)
    assert holding(halves.energy_curve(), 0.9) == pytest.approx(holding(lorenz(wide**2), 0.9), abs=1e-3)


def test_gaussian_magnitudes_have_their_known_figures():
    found = Magnitudes.gaussian(10_000, 3e-5)
    assert found.n == 10_000
    assert math.sqrt(found.energy / found.n) == pytest.approx(3e-5, rel=1e-3)
    assert gini(found.size_curve()) == pytest.approx(math.sqrt(2) - 1, abs=1e-3)
    assert found.participation() == pytest.approx(1 / 3, abs=2e-3)
