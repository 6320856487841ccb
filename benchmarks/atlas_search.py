"""How often search over the notes finds a right one: lay queries and titles of questions, labelled by hand.

    python benchmarks/atlas_search.py                          # characters, words
    python benchmarks/atlas_search.py --encoder FOLDER         # and an encoder, alone and fused with characters

A hit is a right note among the first three. The numbers and the page go to docs/results. A run without an
encoder keeps the encoder's rows of an earlier run, which say which encoder it was.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from keyturn.atlas.collection import load_atlas
from keyturn.atlas.search import note_index
from keyturn.roles.encoders import Encoder, directions, mean_pooled_encoder

RESULTS = Path(__file__).parents[1] / "docs" / "results"
QUERIES = Path(__file__).parent / "atlas_search_queries.json"
FIRST = 3
CHANCE = "three notes drawn at random"

Search = Callable[[str], Sequence[str]]
Queries = Sequence[tuple[str, Sequence[str]]]


def hits(search: Search, queries: Queries) -> int:
    """Queries with a right note among the first three."""
    return sum(bool(set(search(text)[:FIRST]) & set(right)) for text, right in queries)


def by_words(texts: Mapping[str, str]) -> Search:
    """TF-IDF of words."""
    vectorizer = TfidfVectorizer()
    matrix = vectorizer.fit_transform(texts.values())
    ids = list(texts)

    def search(text: str) -> list[str]:
        cosines = np.asarray((matrix @ vectorizer.transform([text]).T).todense()).ravel()
        return [ids[i] for i in np.argsort(-cosines, kind="stable")[:FIRST]]

    return search


def by_meaning(texts: Mapping[str, str], encoder: Encoder) -> Search:
    """The encoder alone."""
    ids, vectors = list(texts), directions(encoder, list(texts.values()))

    def search(text: str) -> list[str]:
        cosines = vectors @ directions(encoder, [text])[0]
        return [ids[i] for i in np.argsort(-cosines, kind="stable")[:FIRST]]

    return search


def expected(queries: Queries, notes: int) -> float:
    """Hits of three notes drawn at random."""
    found = (1 - math.comb(notes - len(right), FIRST) / math.comb(notes, FIRST) for _, right in queries)
    return sum(found)


def measure(encoder: str) -> dict:
    """Every row."""
    atlas = load_atlas()
    queries = json.loads(QUERIES.read_text())
    sets: dict[str, Queries] = {name: queries[name] for name in ("lay", "titles")}
    index = note_index(atlas)
    searches: dict[str, Search] = {
        "characters 3 to 5 (the default)": lambda text: [hit.id for hit in index.search(text, FIRST)],
        "words": by_words(index.texts),
    }
    if encoder:
        encode = mean_pooled_encoder(encoder)
        fused = note_index(atlas, encode)
        name = Path(encoder).name
        searches[f"encoder {name} alone"] = by_meaning(index.texts, encode)
        searches[f"characters and encoder {name}, fused"] = lambda text: [
            hit.id for hit in fused.search(text, FIRST)
        ]
    rows = {
        name: {label: hits(search, found) for label, found in sets.items()} for name, search in searches.items()
    }
    rows[CHANCE] = {label: expected(found, len(atlas.notes)) for label, found in sets.items()}
    return {
        "schema": 1,
        "notes": len(atlas.notes),
        "queries": {label: len(found) for label, found in sets.items()},
        "rows": rows,
    }


def page(state: dict) -> str:
    """The page."""
    sizes = state["queries"]
    lines = [
        "# How well search finds notes",
        "",
        f"Share of queries with a right note among the first three of {state['notes']}, with standard error.",
        f"The {sizes['lay']} lay queries were written without the notes' own words; the titles are those of",
        "questions, labelled by topic. One person labelled both, who also wrote the notes.",
        "`python benchmarks/atlas_search.py` makes this page; `--encoder FOLDER` adds a sentence encoder,",
        "alone and fused with the default.",
        "",
        "| search | " + " | ".join(f"{label} ({size})" for label, size in sizes.items()) + " |",
        "|---" * (len(sizes) + 1) + "|",
    ]
    for name, row in state["rows"].items():
        shares = [(row[label] / size, size) for label, size in sizes.items()]
        cells = [f"{share:.2f} ± {math.sqrt(share * (1 - share) / size):.2f}" for share, size in shares]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "On the lay queries the differences are within what so few queries can show, and no method is",
        "established as the best. What needs no download is the default, and nothing is called semantic",
        "without an encoder.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--encoder", default="", help="folder or Hub id of an encoder, mean-pooled")
    options = parser.parse_args()
    path = RESULTS / "atlas_search.json"
    state = measure(options.encoder)
    if path.exists() and not options.encoder:
        old = json.loads(path.read_text())["rows"]
        state["rows"] |= {name: row for name, row in old.items() if "encoder" in name}
    path.write_text(json.dumps(state, indent=1) + "\n")
    path.with_suffix(".md").write_text(page(state))
    print(path.with_suffix(".md"))


if __name__ == "__main__":
    main()
