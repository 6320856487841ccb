"""Planning phrases on annotated traces of reasoning models: they fall where they should, and not by chance."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from keyturn.roles.lexicon import lexicon
from keyturn.roles.matching import Finder
from keyturn.roles.words import runs

DATA = Path(os.environ.get("KEYTURN_REAL_DATA", "absent"))
TRACES = DATA / "annotated_traces_deepseek-r1-distill-llama-8b.json"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not TRACES.is_file(), reason="KEYTURN_REAL_DATA names no folder with the data"),
]


def test_the_lexicon_is_denser_where_a_trace_opens_or_backtracks_than_where_it_deduces():
    finder = Finder(lexicon())
    rows = []
    for trace in json.loads(TRACES.read_text(encoding="utf-8")):
        found = re.findall(r'\["([a-z-]+)"\]([^\[]*)', trace["annotated_response"])
        rows.append([(kind, text) for kind, text in found if kind != "end-section"])

    def density(kinds_of):
        words, inside = {}, {}
        for row in rows:
            for kind, (_, text) in zip(kinds_of(row), row, strict=True):
                hits = finder.hits(text)
                words[kind] = words.get(kind, 0) + sum(len(run) for run in runs(text))
                inside[kind] = inside.get(kind, 0) + sum(len(text[h.start : h.end].split()) for h in hits)
        return {kind: inside[kind] / words[kind] for kind in words}

    true = density(lambda row: [kind for kind, _ in row])
    rng = np.random.default_rng(0)
    null = density(lambda row: rng.permutation([kind for kind, _ in row]).tolist() if row else [])
    for kind in ("initializing", "backtracking", "uncertainty-estimation"):
        assert true[kind] > 1.5 * true["deduction"], kind
        assert true[kind] > null[kind], kind
    # The twin: with kinds permuted there is little to tell them apart.
    assert max(null.values()) < 0.5 * true["initializing"]
