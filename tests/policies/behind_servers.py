"""The table of docs/frontier.md that says which methods answer behind which server, held against a real one."""

from dataclasses import fields, is_dataclass
from pathlib import Path

import keyturn
from keyturn.elicitation import ELICITATIONS
from keyturn.policies.connect import ServerOptions

PAGE = Path(__file__).parents[2] / "docs" / "frontier.md"
SMALL = {
    **{"samples": 2, "trials": 1, "shots": 1, "rounds": 1, "times": 1, "openers": ("a ", "b ")},
    # A made model of bytes has little room for English.
    **dict.fromkeys(("understand", "recall", "examine", "backtrack", "ask", "request", "lead"), "a?"),
    **{"tool_tokens": 4, "hint_tokens": 4},
}


def settings_of(method):
    """Names of its settings."""
    return {one.name for one in fields(method.config)} if is_dataclass(method.config) else set()


def without_hooks():
    """Methods that look into no model and ask no second server."""
    return [
        name
        for name, method in ELICITATIONS.items()
        if not method.needs & {"model", "teacher"} and "reflection" not in settings_of(method)
    ]


def table():
    """Method -> server -> what the page says of it."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| method | transformers"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:]]
    heads = rows[0]
    found = {}
    for row in rows[2:]:
        if len(row) != len(heads):
            break
        found |= {name.strip(" `"): dict(zip(heads[1:], row[1:], strict=True)) for name in row[0].split(",")}
    return found


def held(url, server, folder, prompts):
    """Let every method without hooks answer behind a server, and compare with the page."""
    rows = [{"prompt": prompt, "answer": str(place)} for place, prompt in enumerate(prompts)]
    shown = [{**row, "solution": f"a b {row['answer']}"} for row in rows[2:]]
    said = table()
    for name in without_hooks():
        known = settings_of(ELICITATIONS[name])
        settings = {key: value for key, value in SMALL.items() if key in known} or None
        try:
            found = keyturn.elicit(
                name,
                url,
                rows[:2],
                settings=settings,
                draws=1,
                development=shown,
                grader="numeric",
                max_new_tokens=6,
                template="plain",
                server=ServerOptions(timeout_s=60, retries=0),
                out=folder / name,
            )
        except keyturn.KeyturnError as why:
            outcome = str(why)
        else:
            assert len(found.completions) == 2
            outcome = "answers"
        assert said[name][server] in outcome, (name, outcome)
