"""How long does the atlas take at size: python benchmarks/atlas_scale.py [--notes 10000 --records 100000]

Notes are made: three facts each, of which one has a reading, one relation, two paragraphs. Records are made of
all claims that ship one, in files of a home of its own. Seconds are of this process on one core; the second
reading follows one appended record and one changed note.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import platform
import resource
import sys
import tempfile
import time

from keyturn.atlas import CLAIMS
from keyturn.atlas.collection import load_atlas
from keyturn.atlas.evidence import MINE
from keyturn.atlas.known import load_known
from keyturn.atlas.search import note_index
from keyturn.atlas.states import all_states
from keyturn.atlas.store import append, line_of, shipped
from keyturn.atlas.verdict import verdict

WORDS = (
    *(
        "reward",
        "gradient",
        "entropy",
        "base",
        "format",
        "trace",
        "budget",
        "token",
        "sample",
        "expert",
        "plan",
    ),
    *("search", "depth", "length", "critique", "curriculum", "transfer", "coverage", "reference"),
    *("strategy", "demonstration", "operator", "habit", "exploration", "control"),
)
NOTE = """---
id: {id}
question: Does {a} of {b} change {c} number {n}?
statement: The literature says that {a} of {b} changes {c}, and that {d} does not.
kind: finding
topics: [{topic}]
papers: []
facts:
  - id: {id}/1
    says: More {a} gives more {c}.
    readings:
      - claim: {claim}
        number: "{number}"
        counts: ">="
        bound: 0.1
        how: tests
        where: in GRAPH
        says: more {a} gives at least .1 more {c}
        otherwise: more {a} gives less than .1 more {c}
  - id: {id}/2
    says: Less {b} gives less {d}.
  - id: {id}/3
    says: "{d} is what {a} costs."
relations:
  - {{type: extends, to: {other}, why: it asks the same of {b}}}
---
What {a} does to {c} was asked of {b} first, and [[{other}]] asks it of {d}.

A second paragraph says how {b} and {d} were told apart, and that nobody counted them.
"""


def timed(what: str, work):
    """Processor seconds of one call, printed."""
    started = time.process_time()
    found = work()
    print(f"{what:52} {time.process_time() - started:8.2f} s", flush=True)
    return found


def write_notes(home: pathlib.Path, count: int) -> pathlib.Path:
    """The notes; the path of the last."""
    folder = home / "atlas" / "notes"
    folder.mkdir(parents=True)
    claims = [(name, claim.threshold.estimand) for name, claim in CLAIMS.items() if shipped(name)]
    path = folder
    for n in range(count):
        a, b, c, d = (WORDS[(n * k + k) % len(WORDS)] for k in (1, 7, 11, 13))
        claim, number = claims[n % len(claims)]
        own, other = f"made-{n:05d}", f"made-{max(n - 1, 0):05d}" if n else "one-example"
        text = NOTE.format(
            id=own, other=other, a=a, b=b, c=c, d=d, n=n, claim=claim, number=number, topic=f"made {n % 40}"
        )
        path = folder / f"{own}.md"
        path.write_text(text)
    return path


def write_records(home: pathlib.Path, count: int) -> None:
    """The records, shared among all claims that ship one."""
    folder = home / "evidence"
    folder.mkdir(parents=True)
    claims = [name for name in CLAIMS if shipped(name)]
    for at, name in enumerate(claims):
        one = dataclasses.replace(shipped(name)[0], origin=MINE, base_made=False)
        own = range(count // len(claims) + (at < count % len(claims)))
        rows = (dataclasses.replace(one, base=f"base {n % 20}", seed=1000 + n // 20) for n in own)
        text = "".join(json.dumps(line_of(row)) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)


def main() -> int:
    """Make, read, judge, search; then append one and do it again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notes", type=int, default=10_000)
    parser.add_argument("--records", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder)
        print(f"{asked.notes} notes, {asked.records} records; {platform.processor() or platform.machine()}")
        last = write_notes(home, asked.notes)
        write_records(home, asked.records)
        look(home)
        name = next(name for name in CLAIMS if shipped(name))
        append(dataclasses.replace(shipped(name)[0], origin=MINE, seed=999_999), home)
        last.write_text(last.read_text().replace("nobody counted", "somebody counted"))
        print("after one record and one changed note:")
        look(home)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{'largest memory of this process':52} {peak:8.2f} GB")
    return 0


def look(home: pathlib.Path) -> None:
    """What a command reads and computes."""
    atlas = timed("collection read", lambda: load_atlas(home))
    known = timed("records read", lambda: load_known(home))
    timed("states of all facts", lambda: all_states(atlas, known))
    timed("verdicts", lambda: [verdict(claim, known.of(name)) for name, claim in CLAIMS.items()])
    index = note_index(atlas)
    timed("search: fitted, and a first query", lambda: index.search("does more reward change the trace?"))
    timed("search: one query more", lambda: index.search("is a curriculum better than transfer?"))


if __name__ == "__main__":
    sys.exit(main())
