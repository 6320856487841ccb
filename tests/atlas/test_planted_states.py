"""Where the truth is planted, a fact seldom holds or fails falsely, and effects that matter are seen."""

import importlib.util
import json
import pathlib
import sys

import pytest

from keyturn.atlas.known import Known
from keyturn.atlas.readings import reading_state
from keyturn.core.statistics.proportions import wilson
from keyturn.core.streams import Streams
from keyturn.report.page import asset

REPOSITORY = pathlib.Path(__file__).parents[2]
RESULTS = REPOSITORY / "docs" / "results"


@pytest.fixture(scope="module")
def benchmark():
    path = REPOSITORY / "benchmarks" / "planted_states.py"
    spec = importlib.util.spec_from_file_location("planted_states", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_committed_table_keeps_its_promises(benchmark):
    state = json.loads((RESULTS / "planted_states.json").read_text())
    assert (RESULTS / "planted_states.md").read_text() == benchmark.page(state)
    assert state["records"] == 2000
    rows = {(row["design"], row["truth"]): row for row in state["rows"]}
    assert len(rows) == len(benchmark.DESIGNS) * 5
    *honest, many = benchmark.DESIGNS
    for design in honest:
        for truth in benchmark.truths(design):
            assert rows[design.name, truth]["false"] <= 0.05 * state["records"]
        for truth in ("far below", "far above"):
            assert rows[design.name, truth]["right"] >= 0.8 * state["records"]
        assert rows[design.name, "no effect"]["states"].get("holds", 0) == 0, "a coin never holds"
    assert rows[many.name, "on the bound"]["false"] > 0.05 * state["records"], "why it is called a lead"


def test_the_page_on_trust_shows_the_committed_counts():
    state = json.loads((RESULTS / "planted_states.json").read_text())
    tables = json.loads(asset("trust.json", "site"))["tables"]
    (table,) = (one for one in tables if one["caption"].startswith("Facts with planted truth"))
    assert f"{state['records']:,} made facts a row" in table["caption"]
    assert table["header"] == ["evidence", "truth", "effect", "false", "right", "undecided"]
    for cells, row in zip(table["rows"], state["rows"], strict=True):
        assert cells[:2] == [row["design"], row["truth"]]
        for cell, key in ((cells[3], "false"), (cells[4], "right")):
            assert float(cell.split()[0]) == pytest.approx(row[key] / row["records"], abs=6e-4)
            low, high = wilson(row[key], row["records"])
            assert cell.split()[1:] == [f"[{low:.3f},", f"{high:.3f}]"]


@pytest.mark.slow
def test_the_states_of_now_keep_them_too(benchmark):
    for design in benchmark.DESIGNS[:4]:
        for name, effect in benchmark.truths(design).items():
            generator = Streams(7).generator("planted states", design.name, name)
            found = benchmark.states(generator, effect, design, 300)
            false = found["holds"] if effect < benchmark.BOUND else found["fails"]
            assert false <= 0.08 * 300, (design.name, name)
            if name.startswith("far"):
                assert 300 - sum(found[one] for one in ("open", "split")) - false >= 0.8 * 300


def test_ten_equal_copies_change_no_state(benchmark):
    generator = Streams(8).generator("copies")
    for effect in (0.0, 0.05, 0.3):
        one = benchmark.record(generator, effect, benchmark.DESIGNS[0], 0)
        alone, many = (
            reading_state(benchmark.READING, benchmark.CLAIM, Known(records={"planted": [one] * count}))
            for count in (1, 10)
        )
        assert alone == many
