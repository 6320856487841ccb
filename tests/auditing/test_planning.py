"""What a plan says an audit will need is what an audit then takes."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

import keyturn
from keyturn.auditing.audit import AuditConfig
from keyturn.auditing.embedded import MODELS
from keyturn.auditing.model_size import ModelSize, folder_of, size_of
from keyturn.auditing.planning import (
    ESTIMATE,
    PROCESS_BYTES,
    READ_AT_ONCE,
    WHOLE_LOGITS,
    Sampling,
    choose_design,
    cost_of,
    memory_bytes,
)
from keyturn.core.errors import UsageError
from keyturn.front.planning import PlanOptions, plan
from keyturn.measures.power import Assumed
from keyturn.policies.loading import load_policy

DRAWN = Sampling(tokens_per_draw=100.0, tokens_from="as given")


def test_what_the_estimate_says_of_itself_was_measured():
    results = Path(__file__).parents[2] / "docs" / "results" / "plan_memory.json"
    cases = json.loads(results.read_text(encoding="utf-8"))["cases"]
    found = [case["measured / said"] for case in cases]
    assert len({case["model"] for case in cases}) == 2
    least, most = (f"{value:.2f}".lstrip("0") for value in (min(found), max(found)))
    assert f"of two Llamas were {least} to {most} of it" in ESTIMATE


def test_the_cost_of_an_audit_is_draws_times_tokens():
    config = AuditConfig(k=64)
    cost = cost_of(50, config, DRAWN, Assumed())
    assert cost.base_draws_range == (32, 256)
    assert 32 < cost.base_draws < 256
    assert cost.sampled == pytest.approx(50 * (cost.base_draws + 64) * 100)
    assert cost.sampled_most == 50 * (256 + 64) * 100
    formats = cost_of(50, config, Sampling(tokens_per_draw=100.0, tokens_from="", formats=True), Assumed())
    assert formats.sampled_most == 50 * (256 + 3 * 64) * 100


@pytest.mark.slow
def test_a_budget_is_kept_and_the_best_design_comes_first():
    designs = choose_design(3_000_000, 0, AuditConfig(k=16), DRAWN, Assumed())
    assert len({(one.problems, one.n_base) for one in designs}) == 4
    for one in designs:
        assert one.cost.sampled <= 3_000_000
        assert one.problems == 0 or one.cost.sampled > 2_700_000
    assert designs[0].weakest >= max(one.weakest for one in designs) - 0.01


@pytest.mark.slow
def test_a_budget_takes_no_more_problems_than_there_are():
    designs = choose_design(10**9, 40, AuditConfig(k=16), DRAWN, Assumed())
    assert {one.problems for one in designs} == {40}


def test_base_draws_that_were_given_stay():
    [only] = choose_design(10**6, 0, AuditConfig(k=16, n_base=80), DRAWN, Assumed())
    assert only.n_base == 80


def test_a_budget_for_too_few_problems_has_no_power():
    designs = choose_design(50_000, 0, AuditConfig(k=64), DRAWN, Assumed())
    assert all(one.power == {} and one.weakest == 0.0 for one in designs)


@pytest.mark.slow
def test_a_model_is_as_large_as_it_says_once_loaded():
    for name in ("chain", "graph"):
        size, model = size_of(MODELS / name), load_policy(MODELS / name).model
        assert size is not None
        assert size.parameters == sum(one.numel() for one in model.parameters())
        assert (size.layers, size.vocabulary) == (model.config.num_hidden_layers, model.config.vocab_size)
        assert size.key_values == 2 * model.config.hidden_size
        assert size.stored_bytes == pytest.approx(4, rel=0.05)
    assert folder_of("nobody/at-home") is None
    assert size_of(MODELS) is None


SEVEN = ModelSize(
    parameters=7 * 10**9,
    stored_bytes=2,
    layers=28,
    key_values=2 * 4 * 128,
    vocabulary=152_064,
    hidden=3584,
    inner=18_944,
    queries=7,
)


def test_memory_counts_weights_caches_and_logits():
    config = AuditConfig(max_new_tokens=1000, batch_rows=1)
    told = Sampling(tokens_per_draw=1.0, tokens_from="", prompt_tokens=24.0)
    found = memory_bytes([SEVEN, SEVEN], 9, config, told, "bfloat16")
    # One layer of 28 copied, and once for each of 7 query heads; a step's logits twice.
    cache, logits = 1024 * (28 + 1 + 7) * 1024 * 2, 2 * 2 * 152_064
    assert found == PROCESS_BYTES + 2 * 14e9 + cache + logits
    assert memory_bytes([SEVEN], 9, config, told, "float32") == pytest.approx(28.5e9, rel=0.01)
    many = replace(config, batch_rows=512, k=2)
    eight = memory_bytes([SEVEN, SEVEN], 1, many, told, "bfloat16")
    assert eight == found + 7 * (cache + logits), "8 draws, not 512 rows"
    all_rows = memory_bytes([SEVEN, SEVEN], 99, many, told, "bfloat16")
    assert all_rows == PROCESS_BYTES + 2 * 14e9 + 512 * cache + 2 * 2 * WHOLE_LOGITS, "some rows' logits"


def test_memory_of_scoring_where_it_is_the_larger():
    config = AuditConfig(max_new_tokens=64, batch_rows=1)
    told = Sampling(tokens_per_draw=1.0, tokens_from="", prompt_tokens=32.0, scores=True)
    found = memory_bytes([SEVEN], 9, config, told, "bfloat16")
    tokens = 9 * config.token_draws * 64
    cache, layer = 1.5 * tokens * 28 * 1024 * 2, tokens * 4 * (3584 + 18_944) * 2
    assert found == PROCESS_BYTES + 14e9 + cache + layer + 5 * 4 * WHOLE_LOGITS
    assert memory_bytes([SEVEN], 9000, config, told, "bfloat16") > found
    assert memory_bytes([SEVEN], 9000, config, replace(told, scores=False), "bfloat16") < found


def test_what_memory_counts_is_what_the_code_holds():
    """A plan needs no torch, so it repeats two bounds of modules that do."""
    from keyturn.policies import runners, scorer

    assert runners.WHOLE_LOGITS == WHOLE_LOGITS
    assert scorer._BATCH_TOKENS == READ_AT_ONCE


@pytest.mark.slow
def test_without_models_the_design_alone_is_planned():
    found = plan(asked=PlanOptions(plan=True, tokens_per_second=1000, tokens_per_draw=100), k=16)
    assert found.least is not None
    assert found.problems == found.least
    assert found.seconds == pytest.approx(found.cost.sampled / 1000)
    assert math.isnan(found.memory)
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.slow
def test_servers_are_not_asked_and_their_rate_is_unknown():
    address = "http://127.0.0.1:9/v1#m"
    found = plan(address, address, [{"prompt": f"1 + {i} =", "answer": str(1 + i)} for i in range(20)], k=8)
    assert math.isnan(found.seconds)
    assert all("--tokens-per-second" in rate.how for rate in found.rates)
    assert found.memory == 0
    assert not found.sampling.scores
    assert found.problems == 20


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"budget": 5}, "--budget would do nothing without --plan"),
        ({"tokens_per_second": 5.0}, "--tokens-per-second would do nothing"),
        ({"plan": True, "budget": -1}, "negative"),
        ({"plan": True, "power": 1.0}, "--power is 1"),
    ],
)
def test_senseless_plans_are_refused(options, said):
    with pytest.raises(UsageError, match=said):
        PlanOptions(**options)


@pytest.mark.slow
def test_an_audit_takes_what_its_plan_said(tmp_path):
    """The shipped base against itself: tokens within the range, and near what the measured length makes."""
    planned = plan("graph", "graph", k=8, per_cell=6, seed=3)
    done = keyturn.audit("graph", "graph", k=8, per_cell=6, seed=3, out=tmp_path)
    tables = (done.tables.paired.base, done.tables.paired.tuned)
    taken = sum(int(one.length.sum()) for one in tables)
    draws = sum(len(one) for one in tables)
    assert len(tables[0].problems) == planned.problems
    cost = planned.cost
    low, high = cost.base_draws_range
    assert planned.problems * (low + 8) <= draws <= planned.problems * (high + 8)
    assert taken == pytest.approx(draws * planned.sampling.tokens_per_draw, rel=0.2)
    assert all("measured here" in rate.how and rate.tokens_per_second > 0 for rate in planned.rates)
    assert 0 < planned.seconds < 600
