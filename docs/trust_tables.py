"""The tables of docs/results that the atlas shows on its page of trust, as data that ships with keyturn."""

import json
import pathlib

from keyturn.measures.labels import LEAST_PROBLEMS

RESULTS = pathlib.Path(__file__).parent / "results"
TABLES = (
    (
        "operating_characteristic.md",
        "Simulated audits with known truth: shares of audits that are right / undecided / wrong; an audit of "
        f"fewer than {LEAST_PROBLEMS} problems claims nothing",
        [0, 1],
    ),
    (
        "planted_states.md",
        "Facts with planted truth that ask for an effect of .05: shares of states that are false, right and "
        "undecided, with 95 % intervals; 2,000 made facts a row",
        [0, 1],
    ),
    ("planted.md", "Worlds where the skill was or was not in pretraining: right labels by budget K", [0]),
)
"""File, caption, and the columns that hold words; of each file its first table."""


def trust_page():
    """src/keyturn/assets/site/trust.json."""
    tables = []
    for name, caption, words in TABLES:
        header, _, *rows = first_table((RESULTS / name).read_text(encoding="utf-8"))
        tables.append({"caption": caption, "header": header, "rows": rows, "words": words})
    return json.dumps({"tables": tables}, indent=1) + "\n"


def first_table(text):
    """The cells of the first Markdown table of a text, line by line."""
    lines = []
    for line in text.splitlines():
        if line.startswith("|"):
            lines.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif lines:
            return lines
    return lines
