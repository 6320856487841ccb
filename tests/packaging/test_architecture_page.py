"""The architecture page names files and functions that exist; the glossary says each word in one sentence."""

import ast
import re
from pathlib import Path

import pytest

import keyturn

ROOT = Path(__file__).parents[2]
SOURCES = Path(keyturn.__file__).parent
NAMED = re.compile(r"`((?:\w+/)*\w+\.py)(?::\s([\w.]+))?`")
ENTRY = re.compile(r"^- \*\*(.+?)\*\*: (.+?)(?=\n- |\n\n|\n?\Z)", re.MULTILINE | re.DOTALL)


def page(name):
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def defined(path):
    """Every name that a file defines at its top, and ``Class.method``."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
            if isinstance(node, ast.ClassDef):
                found |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)}
    return found


def missing(text):
    """What a page names and the sources lack."""
    for file, name in NAMED.findall(text):
        path = SOURCES / file
        if not path.is_file():
            yield file
        elif name and name not in defined(path):
            yield f"{file}: {name}"


@pytest.mark.parametrize("name", ["architecture.md", "glossary.md"])
def test_every_file_and_function_that_a_page_names_exists(name):
    assert list(missing(page(name))) == []


def test_the_architecture_page_names_the_way_to_a_verdict():
    named = NAMED.findall(page("architecture.md"))
    assert len(named) > 20
    assert {"cli/claim_run.py", "experiments/plan.py", "lab/session.py", "atlas/verdict.py"} <= {
        f for f, _ in named
    }


def test_the_look_at_names_would_notice():
    text = "`atlas/verdict.py: verdict`, `atlas/gone.py`, `lab/lab.py: Lab.gone`, `lab/lab.py: Lab.stage`"
    assert list(missing(text)) == ["atlas/gone.py", "lab/lab.py: Lab.gone"]


def test_the_glossary_says_each_word_once_in_one_sentence_and_in_order():
    entries = ENTRY.findall(page("glossary.md"))
    words = [word.casefold() for word, _ in entries]
    assert len(words) > 60
    assert len(set(words)) == len(words)
    for heading, part in re.findall(
        r"^## (.+?)\n(.+?)(?=^## |\Z)", page("glossary.md"), re.MULTILINE | re.DOTALL
    ):
        listed = [word.casefold() for word, _ in ENTRY.findall(part)]
        assert listed == sorted(listed), heading
    for word, said in entries:
        flat = " ".join(said.split())
        assert flat.endswith("."), word
        assert not re.search(r"[.!?] [A-Z]", flat), f"{word}: more than one sentence"
        assert len(flat) < 260, word


def test_the_nouns_of_the_architecture_are_in_the_glossary():
    nouns = re.findall(r"^\| \*\*(\w+)\*\*", page("architecture.md"), re.MULTILINE)
    assert len(nouns) == 7
    assert set(nouns) <= {word for word, _ in ENTRY.findall(page("glossary.md"))}


def test_the_readme_leads_to_both():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "docs/architecture.md" in readme
    assert "docs/glossary.md" in readme
