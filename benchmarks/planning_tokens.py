"""How planning tokens found by phrases fall on annotators' sentence kinds, and on the world's planning roles.

    KEYTURN_REAL_DATA=FOLDER python benchmarks/planning_tokens.py    # both looks; some minutes
    python benchmarks/planning_tokens.py                             # the world's look; the other one is kept

(a) ``annotated_traces_*.json``: every sentence of a trace has a kind that a model gave it. Grams are mined from
the traces of the even tasks and looked at, beside the lexicon, on those of the odd ones. Whether a trace is
right is not known, so all are mined. A token is a word. Intervals: bootstrap over tasks. Null: kinds permuted
among the sentences of their trace. No text of the data is written anywhere, only counts.
(b) Documents of the world with known roles: precision and recall of phrases for tokens whose role is PLANNING,
mined from other documents. Placebo: as many spans of the same lengths, elsewhere in the same document.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from keyturn.core.roles import PLANNING
from keyturn.core.rundir import write_json
from keyturn.core.statistics.bootstrap import resample_weights
from keyturn.core.streams import Streams
from keyturn.problems.world import documents, world_named
from keyturn.problems.world.vocabulary import EOS, FORMATS, NOUNS, STRATEGIES, decode
from keyturn.roles.grams import StrategicGrams, dropped, written_by_hand
from keyturn.roles.lexicon import ROLE_OF, lexicon
from keyturn.roles.matching import Finder, assign
from keyturn.roles.strategic_grams import MiningConfig, mine
from keyturn.roles.words import runs

PAGE = Path(__file__).parent.parent / "docs" / "results" / "planning_tokens"
STREAMS = Streams(20_260_802)
RESAMPLES = 2000
PERMUTATIONS = 400
PLACEBOS = 20
MODELS = {
    "reasoning models": ("deepseek-r1-distill-llama-8b", "deepseek-r1-distill-qwen-1.5b"),
    "instruct models": ("llama-3.1-8b-instruct", "qwen2.5-1.5b-instruct"),
}
KINDS = (
    *("initializing", "deduction", "adding-knowledge"),
    *("example-testing", "uncertainty-estimation", "backtracking"),
)
SECTION = re.compile(r'\[\s*"?([a-z][a-z -]{2,40})"?\s*\]((?:(?!\[\s*"?[a-z][a-z -]{2,40}"?\s*\]).)*)', re.S)
WORLDS = ("graph", "graph-study")

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Sentences of one trace: task, kind of each, and their text."""

    task: int
    kinds: tuple[str, ...]
    texts: tuple[str, ...]


def traces(path: Path) -> list[Trace]:
    """The annotated traces of one model; text outside every kind is left out."""
    found = []
    for task, row in enumerate(json.loads(path.read_text(encoding="utf-8"))):
        sections = [(k, t.strip()) for k, t in SECTION.findall(row["annotated_response"]) if k in KINDS]
        sections = [(k, t) for k, t in sections if t]
        if sections:
            kinds, texts = zip(*sections, strict=True)
            found.append(Trace(task=task, kinds=kinds, texts=texts))
    return found


def words_and_hits(text: str, finder: Finder) -> tuple[int, int]:
    """Words of a sentence, and those inside a phrase."""
    where = [(word.start, word.end) for run in runs(text) for word in run]
    got = assign([text], [np.array(where, dtype=np.int32).reshape(-1, 2)], finder)
    return len(where), int((got.fired >= 0).sum())


def by_kind(some: Sequence[Trace], finder: Finder, name: str) -> dict[str, dict[str, float]]:
    """Share of words inside phrases by kind, with interval over tasks and the permuted null."""
    counts = [np.array([words_and_hits(text, finder) for text in trace.texts]) for trace in some]
    kinds = [np.array([KINDS.index(kind) for kind in trace.kinds]) for trace in some]

    def table(labels: Sequence[Array]) -> Array:
        out = np.zeros((len(some), len(KINDS), 2))
        for row, (count, label) in enumerate(zip(counts, labels, strict=True)):
            np.add.at(out[row], label, count)
        return out

    seen = table(kinds)
    shuffle = STREAMS.generator("permute", name)
    null = np.stack([ratio(table([shuffle.permutation(k) for k in kinds]).sum(0)) for _ in range(PERMUTATIONS)])
    low, high = interval(seen, [trace.task for trace in some], name)
    total = seen.sum(0)
    rows = {}
    for number, kind in enumerate([*KINDS, "all"]):
        pooled = kind == "all"
        row = {
            "words": int(total[:, 0].sum() if pooled else total[number, 0]),
            "share": float(ratio(total.sum(0) if pooled else total[number])),
            "low": float(low[number]),
            "high": float(high[number]),
        }
        if not pooled:
            row["null"] = float(np.nanmean(null[:, number]))
            row["null_low"], row["null_high"] = map(float, np.nanquantile(null[:, number], [0.025, 0.975]))
        rows[kind] = row
    return rows


def ratio(counts: Array) -> Array:
    """Second over first count along the last axis; NaN where there is none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return counts[..., 1] / counts[..., 0]


def interval(table: Array, clusters: Sequence[int], name: str) -> tuple[Array, Array]:
    """95 % limits of the share of each kind and of all, tasks resampled whole."""
    weights = resample_weights(len(table), RESAMPLES, STREAMS.generator("interval", name), clusters)
    drawn = np.einsum("rt,tkc->rkc", weights, table)
    drawn = np.concatenate([drawn, drawn.sum(1, keepdims=True)], axis=1)
    low, high = np.nanquantile(ratio(drawn), [0.025, 0.975], axis=0)
    return low, high


def look_at_traces(folder: Path) -> dict[str, object]:
    """Look (a)."""
    out: dict[str, object] = {}
    for family, models in MODELS.items():
        every = [trace for model in models for trace in traces(folder / f"annotated_traces_{model}.json")]
        train = [trace for trace in every if trace.task % 2 == 0]
        test = [trace for trace in every if trace.task % 2]
        mined = mine(
            ["\n".join(trace.texts) for trace in train],
            streams=STREAMS.child("mine", family),
            problems=[str(trace.task) for trace in train],
        )
        sets = {"lexicon": lexicon(), "mined": mined}
        sets["mined, 30 % dropped"] = dropped(mined, 0.3, STREAMS.generator("drop", family))
        for category, role in ROLE_OF.items():
            sets[f"lexicon: {category}"] = lexicon({category: role})
        tables = {name: by_kind(test, Finder(grams), f"{family}/{name}") for name, grams in sets.items()}
        out[family] = {
            "traces": len(test),
            "tasks": len({trace.task for trace in test}),
            "mining": dict(mined.counts),
            "tables": tables,
        }
    return out


def world_rows(name: str, start: int, count: int) -> list[tuple[str, Array, Array]]:
    """Text, offsets and PLANNING mask of documents, without the end of the sequence."""
    rows = []
    wanted = [int(role) for role in PLANNING]
    for document in islice(documents(world_named(name), STREAMS.child("world", name), start=start), count):
        kept = [i for i, token in enumerate(document.completion) if token != EOS]
        words = [decode([document.completion[i]]) for i in kept]
        ends = np.cumsum([len(word) + 1 for word in words]) - 1
        where = np.stack([ends - [len(word) for word in words], ends], axis=1)
        rows.append((" ".join(words), where, np.isin([document.roles[i] for i in kept], wanted)))
    return rows


def placebo(fired: Array, generator: np.random.Generator) -> Array:
    """As many spans of the same lengths, at random places of the same row."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], fired.astype(int), [0]])))
    lengths = generator.permutation(edges[1::2] - edges[::2])
    free = len(fired) - int(lengths.sum())
    cuts = np.sort(generator.integers(0, free + 1, len(lengths)))
    out = np.zeros(len(fired), dtype=bool)
    for cut, before, length in zip(cuts, np.cumsum(lengths) - lengths, lengths, strict=True):
        out[cut + before : cut + before + length] = True
    return out


def precision_recall(masks: Sequence[Array], truth: Sequence[Array], name: str) -> dict[str, float]:
    """Precision, recall and density with 95 % intervals over documents."""
    counts = np.array([[m.sum(), t.sum(), (m & t).sum(), len(m)] for m, t in zip(masks, truth, strict=True)])
    weights = resample_weights(len(counts), RESAMPLES, STREAMS.generator("documents", name))
    out: dict[str, float] = {}
    for label, above, below in (("precision", 2, 0), ("recall", 2, 1), ("density", 0, 3), ("base rate", 1, 3)):
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = (weights @ counts[:, above]) / (weights @ counts[:, below])
            value = counts[:, above].sum() / counts[:, below].sum()
        low, high = np.nanquantile(drawn, [0.025, 0.975]) if np.isfinite(drawn).any() else (np.nan, np.nan)
        out |= {label: float(value), f"{label}_low": float(low), f"{label}_high": float(high)}
    return out


def look_at_world(name: str) -> dict[str, object]:
    """Look (b) in one world."""
    train, test = world_rows(name, 0, 600), world_rows(name, 100, 400)
    texts, truth = [row[0] for row in train], [row[2] for row in test]
    nouns = [f"DO {noun}" for context in NOUNS for noun in context]

    def mined(**settings: float) -> StrategicGrams:
        config = MiningConfig(words="spaces", digits=True, **settings)  # type: ignore[arg-type]
        return mine(texts, streams=STREAMS.child("mine", name), config=config)

    sets: dict[str, Callable[[], StrategicGrams]] = {
        "mined (defaults)": mined,
        "mined, no sparsity filter": lambda: mined(max_per_document=1e9),
        "mined, every candidate": lambda: mined(max_per_document=1e9, kept_share=1.0),
        "mined, 1 to 5 words": lambda: mined(shortest=1),
        "by hand: strategies, formats, DO noun": lambda: written_by_hand(
            [*STRATEGIES, *FORMATS, *nouns], words="spaces"
        ),
    }
    out: dict[str, object] = {}
    for label, made in sets.items():
        grams = made()
        finder = Finder(grams)
        masks = [assign([text], [where], finder).fired >= 0 for text, where, _ in test]
        chance = STREAMS.generator("placebo", name, label)
        false = [[placebo(mask, chance) for mask in masks] for _ in range(PLACEBOS)]
        drawn = [precision_recall(some, truth, f"{name}/{label}/placebo") for some in false]
        out[label] = {
            "grams": len(grams),
            **precision_recall(masks, truth, f"{name}/{label}"),
            "placebo precision": float(np.mean([row["precision"] for row in drawn])),
            "placebo recall": float(np.mean([row["recall"] for row in drawn])),
        }
    return out


def share(row: dict[str, float]) -> str:
    """A share with its interval in per cent."""
    return f"{100 * row['share']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


def between(row: dict[str, float], key: str) -> str:
    """A value with its interval."""
    if not np.isfinite(row[key]):
        return "none fired"
    return f"{row[key]:.2f} [{row[f'{key}_low']:.2f}, {row[f'{key}_high']:.2f}]"


def page(document: dict[str, dict]) -> str:
    """The Markdown page."""
    lines = [HEAD]
    for family, found in document.get("traces", {}).items():
        counts, tables = found["mining"], found["tables"]
        lines += [
            f"### {family.capitalize()}: {found['traces']} traces of {found['tasks']} tasks\n",
            f"Mined: {counts['kept']} grams in {counts['kept clusters']} of {counts['clusters']} clusters, "
            f"from {counts['texts']} traces with {counts['grams']} n-grams, of which "
            f"{counts['in enough documents']} stand in two or more tasks and {counts['sparse']} of those are "
            "sparse within a trace.\n",
            "| kind | words | lexicon, % | null | mined, % | null | mined, 30 % dropped, % |",
            "|---|---|---|---|---|---|---|",
        ]
        for kind in (*KINDS, "all"):
            cells = [kind, str(tables["lexicon"][kind]["words"])]
            for name in ("lexicon", "mined"):
                row = tables[name][kind]
                null = f"{100 * row['null_low']:.1f} to {100 * row['null_high']:.1f}" if "null" in row else ""
                cells += [share(row), null]
            cells.append(share(tables["mined, 30 % dropped"][kind]))
            lines.append("| " + " | ".join(cells) + " |")
        names = list(ROLE_OF)
        lines += [
            "\nThe lexicon by its own kinds, % of words:\n",
            f"| kind | {' | '.join(names)} |",
            "|---|" + "---|" * len(names),
        ]
        for kind in KINDS:
            cells = [share(tables[f"lexicon: {name}"][kind]) for name in names]
            lines.append(f"| {kind} | " + " | ".join(cells) + " |")
        lines.append("")
    lines.append(WORLD_HEAD)
    for name, found in document["world"].items():
        lines += [
            f"### {name}: {100 * next(iter(found.values()))['base rate']:.1f} % of tokens plan\n",
            "| phrases | grams | density | precision | placebo | recall | placebo |",
            "|---|---|---|---|---|---|---|",
        ]
        for label, row in found.items():
            placebos = [f"{row[f'placebo {key}']:.2f}" for key in ("precision", "recall")]
            lines.append(
                f"| {label} | {row['grams']} | {row['density']:.2f} | {between(row, 'precision')} "
                f"| {placebos[0]} | {between(row, 'recall')} | {placebos[1]} |"
            )
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


HEAD = """\
# Planning tokens found by phrases: what they fall on

Generated by `python benchmarks/planning_tokens.py`.

**On real traces** both ways of finding planning tokens, our lexicon and mined strategic grams, fall on the
sentences that open a problem three times as often, or more, as kinds permuted within a trace would have it; in
models that think aloud they fall less often than that on deduction. The two differ on backtracking: the lexicon
is above its null there for the models that think aloud, mined grams are not, because a retraction is mostly one
or two words and a gram has three. Where instruct models were labelled as uncertain or backtracking they do not
use such words, and neither way finds them. Dropping 30 % of the mined grams keeps the order of the kinds;
nested grams stand in for each other.

**On the world's text** mined grams say next to nothing of what plans: precision is that of a placebo mask, give
or take two points, with and without each filter. Its vocabulary is small and its layout rigid, so n-grams of
syntax are as common and as sparse as those of planning. A list by hand reaches what phrases can reach. So an
experiment in the world takes the grammar's roles, and a gram mask there is a placebo, not a second opinion.

What this does not show: that the phrases *cause* anything, or that the annotator (a model) is right; the mined
texts are all traces, since nobody says which are right; a token is a word here.

## On annotated traces of real models

Every sentence of these traces was given a kind by a language model. Share of words that stand inside a phrase,
by kind of sentence; 95 % intervals over tasks. Null: kinds permuted among the sentences of their trace (middle
95 % of the shares). Grams are mined from the even tasks, and everything is looked at on the odd ones.
"""

WORLD_HEAD = """\
## On the world's text, where every token's role is known

Tokens inside a phrase against tokens whose role is PLANNING (strategy, plan, goal, backtrack); 95 % intervals
over documents. Placebo: as many spans of the same lengths elsewhere in the same document (mean of 20). Mined
from 600 documents, looked at on 400 others.
"""


def main() -> None:
    """Take both looks and write numbers and page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PAGE, help="path without suffix")
    parser.add_argument("--page", action="store_true", help="only write the page from the numbers")
    arguments = parser.parse_args()
    numbers = arguments.out.with_suffix(".json")
    document = json.loads(numbers.read_text(encoding="utf-8")) if numbers.exists() else {}
    document.pop("schema", None)
    if not arguments.page:
        folder = os.environ.get("KEYTURN_REAL_DATA")
        if folder:
            document["traces"] = look_at_traces(Path(folder))
        document["world"] = {name: look_at_world(name) for name in WORLDS}
        write_json(numbers, document)
    arguments.out.with_suffix(".md").write_text(page(document), encoding="utf-8")


if __name__ == "__main__":
    main()
