"""Do what a page of docs/ says: its snippets, put where they say they belong, in a copy of the package."""

import ast
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def copied(folder):
    """A copy of the repository's package and docs, into which snippets may be written."""
    for part in ("src", "docs"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "results"))
    return folder


def snippets(page):
    """The Python snippets of a page that name a file in their first line: (path, text), in order."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```$", text, flags=re.M | re.DOTALL)
    assert blocks, f"{page} shows no file"
    return blocks


def follow(page, root):
    """Write the new files of a page, which pass the linter, and add its lines to the files that are there.

    Returns:
        Paths of the new files, and how many lines were added to the others.
    """
    made, added = [], 0
    for name, text in snippets(page):
        path = root / name
        if not path.exists():
            path.write_text(text, encoding="utf-8")
            made.append(path)
        else:
            added += add_lines(path, text)
    for path in made:
        done = subprocess.run(
            [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
    return made, added


def add_lines(path, snippet):
    """Put the imports and the entries of a snippet into a file; returns how many lines that was.

    An import goes behind the file's last import, an entry to the end of the dictionary that the snippet names.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    body, asked = ast.parse("\n".join(lines)).body, ast.parse(snippet).body
    added: list[tuple[int, list[str]]] = []
    for node in asked:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            last = [one for one in body if isinstance(one, (ast.Import, ast.ImportFrom))][-1]
            added.append((last.end_lineno, [ast.get_source_segment(snippet, node)]))
        else:
            (there,) = (one for one in body if named(one) == named(node))
            entries = zip(node.value.keys, node.value.values, strict=True)
            source = [[ast.get_source_segment(snippet, one) for one in entry] for entry in entries]
            shown = [f"    {key}: {value}," for key, value in source]
            added.append((there.value.end_lineno - 1, shown))
    for place, new in sorted(added, key=lambda one: -one[0]):
        lines[place:place] = new
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return sum(len(new) for _, new in added)


def named(node):
    """The name that a statement assigns to; None where it assigns none."""
    target = getattr(node, "target", None) or next(iter(getattr(node, "targets", [])), None)
    return getattr(target, "id", None)


def run(root, *words, code=0):
    """Python in the copy; what it printed."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=root,
        env={
            "PYTHONPATH": str(root / "src"),
            "PATH": "/usr/bin:/bin",
            "HOME": str(root),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout
