from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "docs" / "results"


@pytest.fixture(scope="module")
def benchmark():
    path = REPOSITORY / "benchmarks" / "operating_characteristic.py"
    spec = importlib.util.spec_from_file_location("operating_characteristic", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "label", "least"),
    [("replicate", "no change", 16), ("creation", "created", 20), ("deployment", "deployed", 20)],
)
def test_simulated_audits_come_out_as_planted(benchmark, name, label, least):
    labels = [benchmark.simulate(name, 96, audit)["label"] for audit in range(20)]
    assert labels.count(label) >= least, labels


def test_a_run_resumes_where_it_stopped(benchmark, tmp_path):
    def fresh():
        return {"schema": 2, "conditions": {}}

    straight, path = fresh(), tmp_path / "a.json"
    benchmark.run(straight, path, "replicate", 24, 12)
    halted, again = fresh(), tmp_path / "b.json"
    benchmark.run(halted, again, "replicate", 24, 5)
    benchmark.run(json.loads(again.read_text()), again, "replicate", 24, 12)
    assert json.loads(again.read_text()) == json.loads(path.read_text())


def test_the_committed_page_is_what_the_committed_counts_say(benchmark):
    state = json.loads((RESULTS / "operating_characteristic.json").read_text())
    assert (RESULTS / "operating_characteristic.md").read_text() == benchmark.page(state)


def test_the_committed_figures_meet_the_promise(benchmark):
    found = json.loads((RESULTS / "operating_characteristic.json").read_text())["conditions"]

    def labelled(name, size):
        entry = found[f"{name} @ {size}"]
        right = sum(entry["labels"].get(label, 0) for label in benchmark.right_labels(name, size))
        undecided = entry["labels"].get("undecided", 0)
        return right / entry["audits"], 1 - (right + undecided) / entry["audits"]

    for name in benchmark.CONDITIONS:
        assert labelled(name, 96)[0] >= 0.9 or name in ("drift", "replicate, middling"), name
        assert labelled(name, 500)[0] >= 0.93 or name == "drift", name
        assert labelled(name, 8)[0] >= 0.99, "too few problems for any label"
    for name in ("replicate", "replicate, skewed", "floor", "ceiling"):
        for size in (96, 500):
            assert labelled(name, size)[0] >= 0.94, (name, size)
    for name in ("gain .05, created", "gain .05, deployed"):
        entry = found[f"{name} @ 96"]
        assert entry["gain_seen"] / entry["audits"] >= 0.9
