"""The study of a real model: its numbers come from its draws, its page from its numbers, its plan adds up."""

import importlib
import json
import pathlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from keyturn.core.errors import InputError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.problems.contract import ProblemSet
from keyturn.problems.graders import GRADERS
from keyturn.rollouts.completions import Completions, Prompts, Stop

REPOSITORY = pathlib.Path(__file__).parents[2]
RESULTS = REPOSITORY / "docs" / "results"
MODULES = ("tasks", "arms", "cost", "ways", "samples", "results", "page", "study")


@pytest.fixture(scope="module")
def real():
    """The programs of benchmarks/real, importable only here."""
    folder = str(REPOSITORY / "benchmarks" / "real")
    sys.path.insert(0, folder)
    before = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.modules.update(before)
    sys.path.remove(folder)


def test_the_committed_page_is_what_the_committed_numbers_say(real):
    found = json.loads((RESULTS / "real.json").read_text(encoding="utf-8"))
    assert (RESULTS / "real.md").read_text(encoding="utf-8") == real.page.page(found)


def test_the_committed_numbers_are_what_the_committed_draws_say(real):
    found = json.loads((RESULTS / "real.json").read_text(encoding="utf-8"))
    said = {row["arm"]: row["kinds"] for row in found["arms"]}
    base, tuned = real.samples.paired(RESULTS / "real", "test", "base", "RL-0")
    assert real.results.by_kind(base, tuned) == said["RL-0"]


@pytest.mark.slow
def test_all_committed_numbers_are_what_the_committed_draws_say(real):
    found = json.loads((RESULTS / "real.json").read_text(encoding="utf-8"))
    again = real.results.everything(RESULTS / "real")
    assert again == {name: found[name] for name in again}


@pytest.mark.slow
def test_the_guide_quotes_what_each_command_prints(real):
    guide = " ".join((REPOSITORY / "docs" / "real.md").read_text(encoding="utf-8").split())
    for name, line in real.results.NUMBERS.items():
        assert f"results.py docs/results/real {name}" in guide
        assert line(RESULTS / "real") in guide, name


def drawn(texts, cuts=()):
    """Completions of two problems, a list of texts each."""
    rows = [(index, draw, text) for index, own in enumerate(texts) for draw, text in enumerate(own)]
    none = np.zeros(0, dtype=np.float32)
    return Completions(
        policy="p",
        prompts=Prompts.build(["a", "b"], ["a", "b"], [[], []]),
        problem=np.array([row[0] for row in rows], dtype=np.int32),
        draw=np.array([row[1] for row in rows], dtype=np.int32),
        tokens=none.astype(np.int32),
        offsets=np.zeros(len(rows) + 1, dtype=np.int64),
        logprobs=none,
        entropies=none,
        stop=np.array([Stop.LENGTH if n in cuts else Stop.EOS for n in range(len(rows))], dtype=np.uint8),
        texts=tuple(row[2] for row in rows),
    )


@pytest.fixture
def folder(real, tmp_path):
    """Draws of a base and a tuned policy on one sum of three and one of four."""
    problems = (real.tasks.sum_of((3, 4, 2)), real.tasks.sum_of((1, 2, 3, 4)))
    asked = ProblemSet(name="two", problems=problems, grader=GRADERS["gsm8k"])
    base = drawn([[" 3 plus 4 is 8. #### 8", " it is 9", " #### 9", " no"], [" #### 6", " 7", " 8", " 9"]], {3})
    tuned = drawn(
        [[" 3 plus 4 is 7. 7 plus 2 is 9. #### 9"] * 4, [" 1 plus 2 is 3. 3 plus 3 is 6. #### 6"] * 4]
    )
    for name, completions in (("base", base), ("RL-0", tuned)):
        for group in ("test", "pair"):
            real.samples.write(real.samples.place(tmp_path, group, name), name, asked, completions)
    return tmp_path


def test_success_form_and_dropped_numbers_are_counted_from_texts(real, folder):
    base, tuned = real.samples.paired(folder, "test", "base", "RL-0")
    assert base.truncated.tolist() == [False] * 3 + [True] + [False] * 4
    found = real.results.by_kind(base, tuned)
    assert found["sums of three"]["strict"]["value"] == 1
    assert found["sums of three"]["gain"]["value"] == 0.75
    assert found["sums of four"]["strict"]["value"] == 0
    assert found["sums of four"]["the first three only"]["value"] == 1
    before = real.results.by_kind(base, base)
    assert before["sums of three"]["strict"]["value"] == 0.25
    assert before["sums of three"]["lenient"]["value"] == 0.5
    assert before["sums of three"]["in the form"]["value"] == 0.5
    assert before["sums of four"]["the first three only"]["value"] == 0.25


def test_the_gain_is_split_into_form_and_what_stands_in_it(real, folder):
    parts = real.results.pair(folder)["sums of three"]["format"]
    # In the form: share .5 to 1, right in it .5 to 1.
    assert parts["routing_execution routing"]["value"] == pytest.approx(0.5 * 0.75)
    assert parts["routing_execution execution"]["value"] == pytest.approx(0.5 * 0.75)
    assert parts["routing_execution unattributed"]["value"] == 0


def test_the_same_draws_make_the_same_file(real, folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("again") / "x.jsonl.gz"
    problems = (real.tasks.sum_of((3, 4, 2)), real.tasks.sum_of((1, 2, 3, 4)))
    asked = ProblemSet(name="two", problems=problems, grader=GRADERS["gsm8k"])
    tuned = drawn(
        [[" 3 plus 4 is 7. 7 plus 2 is 9. #### 9"] * 4, [" 1 plus 2 is 3. 3 plus 3 is 6. #### 6"] * 4]
    )
    real.samples.write(other, "RL-0", asked, tuned)
    assert other.read_bytes() == real.samples.place(folder, "test", "RL-0").read_bytes()


def test_draws_that_are_not_there_are_named(real, tmp_path):
    with pytest.raises(InputError, match=r"test-base\.jsonl\.gz is not there"):
        real.samples.paired(tmp_path, "test", "base", "RL-0")


def test_every_solution_is_right_and_nothing_is_asked_that_is_shown(real):
    streams = Streams(0)
    task = real.arms.task_of(SimpleNamespace(), "", streams)
    known = {problem.id for problem in (*real.tasks.EXAMPLES, *real.tasks.STORIES)}
    trained, tested = ({one.id for one in part.problems} for part in (task.train, task.test))
    assert not trained & tested
    assert not (trained | tested) & known
    for problem in (*task.train.problems, *task.test.problems):
        assert task.test.grader.judge(problem.golds, str(problem.facts["solution"])) == 1
        assert task.expert(problem, streams) == problem.facts["solution"]


def test_every_way_of_asking_shows_what_it_says(real):
    problem = Problem(id="Add 1, 2 and 3.", prompt="old", answer="6", cell={"domain": "sum", "depth": 3})
    for way in real.ways.WAYS:
        [asked] = real.ways.problems_of(way, (problem,)).problems
        shown = "".join(text for _, text in asked.turns) if way.chat else asked.prompt
        assert "Add 1, 2 and 3." in shown
        assert "old" not in shown
        assert (real.tasks.EXAMPLES[0].id in shown) == way.examples
        assert ("####" in shown) == (way.examples or way.chat)


def test_the_plan_adds_up_and_learns_from_what_parts_took(real, tmp_path):
    kept = tmp_path / "parts.json"
    parts = [
        real.study.Part(name=name, says="s", work=real.cost.Work(read=6000), run=lambda study: None)
        for name in ("one", "two", "three")
    ]
    clock = real.study.Clock(parts, 100.0, kept)
    assert clock.left() == pytest.approx(180)
    assert "3.0" in clock.plan().splitlines()[-1]
    said = clock.finished(parts[0], 240.0)
    assert said.startswith("part 1 of 3, one: 4.0 CPU minutes")
    assert clock.rate == pytest.approx(50), "half as fast as planned, once"
    again = real.study.Clock(parts, 100.0, kept)
    assert again.left() == pytest.approx(120)
    assert "done in 4.0" in again.plan()
    again.finished(parts[0], 0.5)
    assert again.rate == 100
    assert again.took["one"] == 240
    assert again.finished(parts[2], 60).endswith("CPU minutes")


def test_every_part_of_the_study_has_a_cost_and_an_hour_is_planned_for_all(real):
    parts = real.study.parts_of()
    assert [part.name for part in parts if not part.work.passes] == []
    assert len({part.name for part in parts}) == len(parts)
    found = json.loads((RESULTS / "real.json").read_text(encoding="utf-8"))
    spent = found["cpu minutes"]
    assert set(spent) == {part.name for part in parts}
    # 357 tokens forward a second were measured when the committed run began. What its parts then took on a
    # shared machine stands in docs/real.md, and is more.
    assert sum(part.work.passes for part in parts) / 357 / 60 < 60
