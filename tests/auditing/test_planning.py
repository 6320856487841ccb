"""What a plan says an audit will need is what an audit then takes."""

import json
import math
from dataclasses import replace

import pytest

import keyturn
from keyturn.auditing.audit import AuditConfig
from keyturn.auditing.embedded import MODELS
from keyturn.auditing.model_size import ModelSize, folder_of, size_of
from keyturn.auditing.planning import PROCESS_BYTES, Sampling, choose_design, cost_of, memory_bytes
from keyturn.core.errors import UsageError
from keyturn.front.planning import PlanOptions, plan
from keyturn.measures.power import Assumed
from keyturn.policies.loading import load_policy

DRAWN = Sampling(tokens_per_draw=100.0, tokens_from="as given")


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


def test_memory_counts_weights_caches_and_logits():
    seven = ModelSize(
        parameters=7 * 10**9, stored_bytes=2, layers=28, key_values=2 * 4 * 128, vocabulary=152_064
    )
    config = AuditConfig(max_new_tokens=1000, batch_rows=1)
    told = Sampling(tokens_per_draw=1.0, tokens_from="", prompt_tokens=24.0)
    found = memory_bytes([seven, seven], 9, config, told, "bfloat16")
    assert found == PROCESS_BYTES + 2 * 14e9 + 1024 * 28 * 1024 * 2 + 7 * 4 * 152_064
    assert memory_bytes([seven], 9, config, told, "float32") == pytest.approx(28.45e9, rel=0.01)
    many = replace(config, batch_rows=512, k=2)
    one_row = found - PROCESS_BYTES - 2 * 14e9
    assert memory_bytes([seven, seven], 1, many, told, "bfloat16") == found + 7 * one_row, (
        "8 draws, not 512 rows"
    )


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
