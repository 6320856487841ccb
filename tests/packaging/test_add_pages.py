"""The pages that say how to add a thing are followed, word by word, and what they add works."""

import json
import re
import shlex

import numpy as np
import pytest
from followed_pages import add_lines, copied, follow, run


@pytest.fixture
def root(tmp_path):
    return copied(tmp_path)


def sample_files(root, problems=14, draws=8):
    generator = np.random.default_rng(0)
    for name, rates in (("base", (0.1, 0.8)), ("tuned", (0.7, 0.9))):
        rows = [
            {"id": f"p{i}", "prompt": f"q{i}", "completion": f"try {d}: {right}", "success": right, "draw": d}
            for i in range(problems)
            for d in range(draws)
            if (right := int(generator.random() < rates[i % 2])) in (0, 1)
        ]
        (root / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return root / "base.jsonl", root / "tuned.jsonl"


@pytest.mark.slow
def test_a_measure_is_added_as_its_page_says(root):
    made, added = follow("add-a-measure.md", root)
    assert [path.name for path in made] == ["mostly_solved.py"]
    assert added == 2
    words = (
        "-m",
        "keyturn.cli.main",
        "audit",
        "--samples",
        *sample_files(root),
        "--json",
        "--out",
        root / "run",
    )
    document = json.loads(run(root, *words))
    found = [m for m in document["audits"][0]["measurements"] if m["name"] == "mostly_solved"]
    assert [m["policy"] for m in found] == ["base", "tuned"]
    base, tuned = found
    assert base["value"] < 0.75 < tuned["value"]
    assert tuned["null"]["value"] == base["value"]
    assert base["n"] == tuned["n"] == 14
    page = (root / "run" / "report.html").read_text()
    assert "Share of problems whose success rate is at least the threshold." in page
    # Its section of the reference is made from the file that the page shows.
    run(root, "-c", SECTION)


SECTION = """
import sys; sys.path.insert(0, "docs")
import generate
page = generate.measures_page()
assert "## mostly_solved" in page and "**Denominator:** the problems with a graded draw." in page
assert "| `threshold` | `0.5` |" in page
"""


@pytest.mark.slow
def test_a_method_is_added_as_its_page_says(root):
    words = ("-m", "keyturn.cli.main", "train", "shortest", "chain", "--dry-run", "--per-cell", "4", "--json")
    run(root, *words, "--out", root / "run", code=2)
    made, added = follow("add-a-method.md", root)
    assert [path.name for path in made] == ["shortest.py"]
    assert added == 2
    found = json.loads(run(root, *words, "--out", root / "run"))
    assert (root / "run" / "dry-run" / "model" / "model.safetensors").exists()
    assert [row["name"] for row in found["rows"]] == ["base", "policy"]
    listed = json.loads(run(root, "-m", "keyturn.cli.main", "train", "ls", "--json"))["methods"]
    assert [row["source"] for row in listed if row["name"] == "shortest"]
    # What is learnt from is what the page says: one shortest right answer per problem.
    assert run(root, "-c", SHORTEST).split() == ["problems", "with", "one"]


SHORTEST = """
import pathlib
from keyturn.core.streams import Streams
from keyturn.experiments.arms import Cells, embedded_task
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.methods.shortest import METHOD

lab = Lab(pathlib.Path("shortest"), Streams(0))
session = Session(lab, embedded_task(lab, "chain", Cells(train=(1,), test=(1,), per_cell=6, held_out=2)))
config = METHOD.brief(METHOD.profiles["demo"])
drawn, grades = session.draw(session.base, session.task.train, config.answers, name="answers")
seen = []
session.__class__.fit = lambda self, start, rows, fit, *, label: seen.extend(rows) or start
METHOD.train(session, config)
for row in seen:
    said = row.tokens[row.weights > 0].tolist()
    own = [i for i in range(len(drawn)) if drawn.row(i).tolist() == said]
    problem = drawn.problem[own[0]]
    right = [i for i in range(len(drawn)) if drawn.problem[i] == problem and grades.outcome[i] == 1]
    assert len(said) == min(drawn.lengths[i] for i in right)
solved = {int(p) for p, right in zip(drawn.problem, grades.outcome) if right == 1}
assert len(seen) == len(solved) > 0
print("problems with one")
"""


@pytest.mark.slow
def test_a_claim_is_added_as_its_page_says(root):
    made, added = follow("add-a-claim.md", root)
    assert [path.parent.name for path in made] == ["experiments", "claims"]
    assert added == 2
    words = ("-m", "keyturn.cli.main", "claim", "run", "own-answers-teach-as-well", "--workers", "1", "--json")
    found = json.loads(run(root, *words))
    text = json.dumps(found)
    assert "own-answers-teach-as-well" in text
    assert any(state in text for state in ("supported", "contradicted", "undecided"))
    assert all(f'"{name}"' in text for name in ("effect", "expert - base", "own - base"))


def tries(root, name, rate):
    generator = np.random.default_rng(len(name))
    rows = []
    for i in range(12):
        told = {f"{d}": {"said": f"{name} {i} {d}", "points": int(generator.random() < rate)} for d in range(6)}
        rows.append(
            {"item": {"uid": i, "text": f"What is {i}?"}, "tries": {**told, "6": {"failed": "timeout"}}}
        )
    path = root / f"{name}.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.slow
def test_a_reader_is_added_as_its_page_says(root):
    files = tries(root, "base", 0.2), tries(root, "tuned", 0.9)
    words = ("-m", "keyturn.cli.main", "audit", "--samples", *files, "--json", "--out", root / "run")
    run(root, *words, code=1)
    made, added = follow("add-a-reader.md", root)
    assert [path.name for path in made] == ["tries.py"]
    assert added == 2
    (found,) = json.loads(run(root, *words))["audits"]
    assert found["n_base"] == 6, "what failed is no draw"
    assert found["problems"].startswith("12 problems")
    masses = found["verdict"]["masses"]
    assert masses["base"]["value"] < 0.4 < 0.7 < masses["tuned"]["value"]


def yes_or_no(root, name, rate):
    generator = np.random.default_rng(len(name))
    rows = []
    for i in range(12):
        for d in range(6):
            said = "yes" if (generator.random() < rate) == (i % 2 == 0) else "no"
            told = f"{name}, try {d}.\n{said}" if i else f"{name}, try {d}: I say {said}!"
            rows.append(
                {"id": i, "prompt": f"Is {i} even?", "answer": ["Yes", "No"][i % 2], "completion": told}
            )
    path = root / f"{name}.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.slow
def test_a_grader_is_added_as_its_page_says(root):
    files = yes_or_no(root, "base", 0.2), yes_or_no(root, "tuned", 0.9)
    words = ("-m", "keyturn.cli.main", "audit", "--samples", *files, "--grader", "yes_no", "--json")
    run(root, *words, "--out", root / "run", code=2)
    made, added = follow("add-a-problem-source.md", root)
    assert [path.name for path in made] == ["yes_no.py"]
    assert added == 2
    (found,) = json.loads(run(root, *words, "--out", root / "run"))["audits"]
    rates = {(m["policy"], m["scoring"]): m["value"] for m in found["measurements"] if m["name"] == "accuracy"}
    assert rates["base", "strict"] < 0.4 < 0.6 < rates["tuned", "strict"]
    assert rates["tuned", "lenient"] > rates["tuned", "strict"], "one problem is answered in a sentence"


@pytest.mark.slow
def test_a_domain_is_added_as_its_page_says(root):
    made, added = follow("add-a-domain.md", root)
    assert [path.name for path in made] == ["verify_sum.py", "sum.py"]
    assert added == 3
    run(root, "-c", TRACES)
    shown = json.loads(run(root, "-m", "keyturn.cli.main", "world", "show", "sum", "--n", 1, "--json"))
    assert shown
    base = root / "base"
    run(root, "-c", PRETRAINED)
    size = ("--k", 2, "--n-base", 8, "--per-cell", 2, "--out", root / "run")
    (found,) = json.loads(run(root, "-m", "keyturn.cli.main", "audit", base, base, *size, "--json"))["audits"]
    assert [cell["key"] for cell in found["cells"]] == [{"domain": "sum", "numbers": n} for n in (2, 3, 4)]
    assert found["verdict"]["unit"] == "verified"


PRETRAINED = """
from dataclasses import replace
from pathlib import Path
from keyturn.pretraining.pretrain import pretrain
from keyturn.pretraining.recipes import PRETRAIN, Probe
from keyturn.problems.world import world_named
few = replace(PRETRAIN["demo"], probe=Probe(documents=8, problems=1, draws=2))
pretrain(world_named("sum"), few, out=Path("base"), steps=3)
"""


TRACES = """
from keyturn.core.streams import Streams
from keyturn.problems.world import world_named
from keyturn.problems.world.vocabulary import VALUE, encode
from keyturn.problems.world.worlds import problems, world_from_json, world_to_json
world = world_named("sum")
assert world_from_json(world_to_json(world)) == world
asked = problems(world, "test", None, 20, Streams(0))
assert {p.cell["numbers"] for p in asked} == {2, 3, 4}
for problem in asked:
    reader = world.reader(encode(problem.prompt))
    trace = world.demonstrate(problem, Streams(0), strategy=None, format=None)
    told = reader(list(trace.completion), ended=True)
    assert told.verified and told.roles == list(trace.roles) and told.answer == problem.answer
    for at, token in enumerate(trace.completion[:-1]):
        changed = list(trace.completion)
        changed[at] = token + 1 if VALUE <= token < VALUE + 10 else VALUE
        assert not reader(changed, ended=True).verified, (problem.prompt, at)
    assert not reader(list(trace.completion), ended=False).verified
"""


@pytest.mark.slow
def test_a_note_is_added_as_its_page_says(root):
    page = (root / "docs" / "add-a-note.md").read_text(encoding="utf-8")
    ((name, text),) = re.findall(r"^`(runs/\S+\.md)`\n\n```markdown\n(.*?)^```$", page, flags=re.M | re.DOTALL)
    keyturn = ("-m", "keyturn.cli.main")
    (command,) = re.findall(r"^keyturn (atlas new note .*?[^\\])$", page, flags=re.M | re.DOTALL)
    assert run(root, *keyturn, *shlex.split(command.replace("\\\n", " "))).startswith(name)
    run(root, *keyturn, "atlas", "lint", code=1)
    (root / name).write_text(text, encoding="utf-8")
    assert "nothing is wrong" in run(root, *keyturn, "atlas", "lint")
    found = json.loads(run(root, *keyturn, "note", "show", "shorter-wrong-answers", "--json"))
    (fact,) = found["note"]["facts"]
    assert (fact["state"], fact["lead"]) == ("holds", True)
    shown = run(root, *keyturn, "note", "show", "shorter-wrong-answers")
    assert "{" not in shown
    assert "[[" not in shown
    assert "1 of" in run(root, *keyturn, "atlas", "diff", "shipped", "runs")


def test_lines_go_behind_the_last_import_and_to_the_end_of_the_dictionary(tmp_path):
    file = tmp_path / "__init__.py"
    file.write_text(
        '"""Things."""\n\nfrom a import (\n    b,\n)\n\nT: dict[str, int] = {\n    "b": b,\n}\n"""Said."""\n'
    )
    assert add_lines(file, 'from c import D\n\nT = {\n    "d": D,\n}\n') == 2
    assert file.read_text() == (
        '"""Things."""\n\nfrom a import (\n    b,\n)\nfrom c import D\n\n'
        'T: dict[str, int] = {\n    "b": b,\n    "d": D,\n}\n"""Said."""\n'
    )


@pytest.mark.slow
def test_an_objective_is_added_as_its_page_says(root):
    made, added = follow("add-an-objective.md", root)
    assert [path.name for path in made] == ["half_baseline.py"]
    assert added == 2
    sizes = ("--rl.steps", "2", "--rl.prompts", "4", "--rl.draws", "4", "--rl.max-new-tokens", "15")
    words = ("-m", "keyturn.cli.main", "train", "half_baseline", "chain", *sizes, "--json", "--out", "run")
    document = json.loads(run(root, *words))
    assert document["method"] == "half_baseline"
    assert (root / "run" / "model" / "model.safetensors").exists()
    assert "REINFORCE with half" in run(root, "-m", "keyturn.cli.main", "train", "show", "half_baseline")
    run(root, "-c", UNBIASED)


UNBIASED = """
import torch
from keyturn.objectives.contract import INVARIANTS
from keyturn.objectives import OBJECTIVES
from keyturn.objectives.half_baseline import HalfBaselineConfig, credit
assert OBJECTIVES["half_baseline"]().invariants < set(INVARIANTS)
class Batch:
    rewards, group = torch.tensor([1.0, 0.0, 0.0, 1.0]), torch.tensor([0, 0, 1, 1])
    mask = torch.ones(4, 2, dtype=bool)
assert credit(Batch, HalfBaselineConfig()).tolist() == [[1.0, 1.0], [-0.5, -0.5], [-0.5, -0.5], [1.0, 1.0]]
"""


@pytest.mark.slow
def test_an_elicitation_method_is_added_as_its_page_says(root):
    made, added = follow("add-an-elicitation-method.md", root)
    assert [path.name for path in made] == ["shortest_answer.py"]
    assert added == 2
    rows = json.loads(run(root, "-m", "keyturn.cli.main", "elicit", "ls", "--json"))["methods"]
    assert rows[-1]["name"] == "shortest-answer"
    words = (
        "elicit",
        "shortest-answer",
        "chain",
        "--per-cell",
        "2",
        "--draws",
        "2",
        "--samples",
        "3",
        "--json",
    )
    found = json.loads(run(root, "-m", "keyturn.cli.main", *words, "--out", root / "run"))
    assert found["cost"]["weights_changed"] == 0
    assert (root / "run" / "samples.jsonl").exists()
