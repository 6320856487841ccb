"""The pages that say how to add a thing are followed, word by word, and what they add works."""

import json

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
