"""A user's own atlas in a folder that is thrown away."""

import pytest

NOTE = """---
id: mine
question: Is this a note?
statement: It is one.
kind: finding
topics: [tests]
papers: ["2504.20571"]
facts:
  - id: mine/1
    says: It holds one fact.
    quantities:
      - {id: gain, what: gain, value: [3, 4], unit: points, paper: "2504.20571"}
    readings:
      - claim: one-example-nearly-suffices
        number: top - base
        counts: ">="
        bound: 0.3
        how: tests
        where: in GRAPH
        says: one example raises success by .3 or more
        otherwise: one example does not raise success by .3
        base: graph
relations:
  - {type: extends, to: one-example, why: it asks for more}
---
One example gave {gain}; compare [[one-example]].
"""


@pytest.fixture
def note():
    return NOTE


@pytest.fixture
def own(tmp_path):
    """Write files below ``$KEYTURN_HOME/atlas`` and return the home."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / "home" / "atlas" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path / "home"

    return write
