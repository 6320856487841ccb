"""Sentences of texts as spans of tokens, and their kinds: by the grammar of a world, or by clustering.

A text is cut after ``. ! ? ;`` and line ends, not inside ``3.14``, after a single letter or a ``k!``. The
state of a sentence is the mean over its tokens. *Clusters*: a TopK autoencoder with few latents, three of
them a sentence, is trained on centred states of length 1; the kind of a state is its largest latent, over all
of them. *Roles*: the kind of a sentence is the set of its tokens' roles in the grammar, seldom sets together
one kind; a logistic regression on the states before its tokens tells it while a text is written.

Known bias: while a text is written, a cluster is told from the state of one token, though it was made from
means of sentences; ``agreement`` is the share of tokens where both give the same.
Source: Venhoff et al. 2025 (2510.07364) and its code, sections on the taxonomy; roles: ours.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from keyturn.core.errors import InputError
from keyturn.core.roles import FORCED, Role
from keyturn.core.statistics.bootstrap import within_bounds
from keyturn.core.streams import Streams
from keyturn.policies.local import LocalPolicy
from keyturn.policies.offsets import Spelling
from keyturn.policies.sites import Places, Site
from keyturn.policies.sparse import SparseConfig, fit_sparse
from keyturn.policies.taps import ActivationTap, tap
from keyturn.rollouts.completions import Completions

_END = re.compile(r"(?:(?<!\b[A-Za-z])(?:\.(?!\d)|(?<!\d)\.|(?<!\d)!)|[?;\n])+")
KEPT = 3
"""Latents of a sentence."""
PERMUTATIONS = 200
"""Of the labels, for the null of a likeness."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sentences:
    """Sentences of some texts.

    Args:
        row: text of each, ``[sentence]``.
        start, stop: its tokens among those of all texts, ``[sentence]``.
        words: how many it has, ``[sentence]``.
        of: sentence of every token, ``[token]``.
    """

    row: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    words: NDArray[np.int64]
    of: NDArray[np.int64]


def cut(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences of a text; blank ones belong to the sentence before them."""
    ends = [found.end() for found in _END.finditer(text)]
    spans: list[tuple[int, int]] = []
    for end in (*ends, len(text)):
        start = spans[-1][1] if spans else 0
        if text[start:end].strip():
            spans.append((start, end))
    if spans and spans[-1][1] < len(text):
        spans[-1] = (spans[-1][0], len(text))
    return spans or [(0, len(text))]


def sentences(tokenizer: Any, texts: Completions) -> Sentences:
    """Cut texts. A token belongs to the sentence in which its last character stands, special tokens to the
    sentence before them."""
    spelling = Spelling(tokenizer)
    of = np.zeros(len(texts.tokens), dtype=np.int64)
    rows, words = list[int](), list[int]()
    for row in range(len(texts)):
        text, where = spelling.row(texts.row(row))
        spans = cut(text)
        ends = np.array([end for _, end in spans])
        own = np.minimum(np.searchsorted(ends, where[:, 1], side="left"), len(spans) - 1)
        of[int(texts.offsets[row]) : int(texts.offsets[row + 1])] = own + len(rows)
        rows += [row] * len(spans)
        words += [len(text[start:end].split()) for start, end in spans]
    count = np.bincount(of, minlength=len(rows))
    stop = np.cumsum(count)
    return Sentences(
        row=np.array(rows, dtype=np.int64),
        start=(stop - count).astype(np.int64),
        stop=stop.astype(np.int64),
        words=np.array(words, dtype=np.int64),
        of=of,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Kinds:
    """Kinds of sentences, and what tells them from a hidden state: the largest of ``table @ x + constant``.

    Args:
        label: of each sentence, -1 where it has none, ``[sentence]``.
        strength: how surely it is of that kind, for ranking, ``[sentence]``.
        table: ``[kind, dim]``.
        constant: ``[kind]``.
        mean: subtracted from a state, ``[dim]``.
        unit: whether states are brought to length 1 then.
        facts: numbers about them.
    """

    label: NDArray[np.int64]
    strength: NDArray[np.float64]
    table: NDArray[np.float64]
    constant: NDArray[np.float64]
    mean: NDArray[np.float64]
    unit: bool
    facts: Mapping[str, float]

    def arrays(self) -> dict[str, NDArray]:
        """What is needed to tell the kind of a state, by name."""
        tells = {
            "table": self.table,
            "constant": self.constant,
            "mean": self.mean,
            "unit": np.array([self.unit]),
        }
        return {f"kinds {name}": one for name, one in tells.items()}


def values(arrays: Mapping[str, Any], states: Any, xp: Any) -> Any:
    """How much each state is of each kind, ``[state, kind]``, in numpy or torch.

    Args:
        arrays: from :meth:`Kinds.arrays`, in the library's own arrays.
        states: ``[state, dim]``.
        xp: ``numpy`` or ``torch``.
    """
    moved = states - arrays["kinds mean"]
    if bool(arrays["kinds unit"][0]):
        length = xp.sqrt((moved * moved).sum(-1))
        moved = moved / xp.where(length > 0, length, xp.ones_like(length))[:, None]
    return moved @ arrays["kinds table"].T + arrays["kinds constant"]


def _before(places: Places) -> Any:
    return places.position >= places.prompt - 1


def states_of(policy: LocalPolicy, texts: Completions, site: Site) -> tuple[NDArray, NDArray]:
    """Hidden states of every token, and of the place from which it is drawn, float64 ``[token, dim]`` each."""
    found = tap(policy, texts, ActivationTap(sites=(site,), positions=_before, reduce="none", sinks=0))
    states = found.states[0].astype(np.float64)
    prompts = np.diff(texts.prompts.offsets)[texts.problem]
    place = found.position - prompts[found.row] + 1
    return states[place > 0], states[place < texts.lengths[found.row]]


def by_clusters(
    policy: LocalPolicy,
    texts: Completions,
    cutting: Sentences,
    site: Site,
    streams: Streams,
    *,
    count: int,
    least: int,
    epochs: int,
) -> Kinds:
    """Kinds by clustering the means of sentences.

    Args:
        policy: reads the texts.
        texts: its own.
        cutting: their sentences.
        site: layer that is read.
        streams: of the autoencoder.
        count: number of kinds.
        least: words that a sentence must have.
        epochs: passes over the sentences.

    Raises:
        InputError: fewer than two sentences are long enough.
    """
    states, _ = states_of(policy, texts, site)
    sums = np.zeros((len(cutting.row), states.shape[1]))
    np.add.at(sums, cutting.of, states)
    size = cutting.stop - cutting.start
    means = sums / np.maximum(size, 1)[:, None]
    long = (cutting.words >= least) & (size > 0)
    if long.sum() < 2:
        what = f"{int(long.sum())} sentences of the teacher have {least} words or more"
        raise InputError(what, fix="fewer --words, more --trials, or a larger --max-new-tokens")
    how = SparseConfig(latents=count, k=min(KEPT, count), nonneg=False, normalise=True, epochs=epochs)
    place = {"layer": site.layer, "side": site.side, "reduce": "mean", "made_for": policy._weights_hash()}
    fitted = fit_sparse(means[long], how, streams, **place)
    sparse = fitted.sparse
    raw = sparse.raw(means)
    label = np.where(long, raw.argmax(axis=1), -1)
    table = sparse.w_enc.astype(np.float64)
    kinds = Kinds(
        label=label,
        strength=raw.max(axis=1),
        table=table,
        constant=sparse.b_enc.astype(np.float64) - table @ sparse.b_dec.astype(np.float64),
        mean=sparse.mean.astype(np.float64),
        unit=True,
        facts={"unexplained": float(fitted.unexplained[-1]), "dead": float(fitted.dead)},
    )
    return _agreeing(kinds, states, cutting)


def by_roles(
    policy: LocalPolicy,
    texts: Completions,
    cutting: Sentences,
    truth: NDArray[np.int64],
    site: Site,
    *,
    count: int,
) -> Kinds:
    """Kinds by the grammar, at most ``count`` of them.

    Args:
        policy: reads the texts.
        texts: its own.
        cutting: their sentences.
        truth: kind of every sentence by the grammar, from :func:`truth_of`.
        site: layer that is read.
        count: number of kinds.
    """
    # Here and not at the top: scikit-learn takes a second, and a listing needs none of it.
    from keyturn.elicitation.directions import kinds_probe

    label = np.minimum(truth, count - 1)
    _, before = states_of(policy, texts, site)
    table, constant = kinds_probe(before, label[cutting.of], count)
    kinds = Kinds(
        label=label,
        strength=np.zeros(len(label)),
        table=table,
        constant=constant,
        mean=np.zeros(before.shape[1]),
        unit=False,
        facts={},
    )
    return _agreeing(kinds, before, cutting)


def _agreeing(kinds: Kinds, states: NDArray[np.float64], cutting: Sentences) -> Kinds:
    """With the share of tokens whose own state gives the kind of their sentence."""
    told = values(kinds.arrays(), states, np).argmax(axis=1)
    own = kinds.label[cutting.of]
    kept = own >= 0
    agreement = float((told == own)[kept].mean()) if kept.any() else float("nan")
    return replace(kinds, facts={**kinds.facts, "agreement": agreement})


def truth_of(roles: NDArray[np.uint8], cutting: Sentences) -> NDArray[np.int64]:
    """The kind of every sentence by the grammar, the most frequent one first, ``[sentence]``."""
    left_out = {int(role) for role in (*FORCED, Role.UNKNOWN)}
    spans = zip(cutting.start.tolist(), cutting.stop.tolist(), strict=True)
    sets = [frozenset(int(role) for role in roles[start:stop]) - left_out for start, stop in spans]
    order = sorted(Counter(sets).items(), key=lambda item: (-item[1], sorted(item[0])))
    number = {kind: place for place, (kind, _) in enumerate(order)}
    return np.array([number[one] for one in sets], dtype=np.int64)


def likeness(
    label: NDArray[np.int64],
    truth: NDArray[np.int64],
    row: NDArray[np.int64],
    problem: NDArray[np.integer],
    streams: Streams,
) -> dict[str, float]:
    """How alike two ways of telling kinds are, over sentences that have both: adjusted Rand index (``ari``) and
    normalised mutual information (``nmi``), each with its interval over problems and its null.

    ``X low`` and ``X high``: the 95 % interval of the jackknife that leaves out one problem at a time; a
    bootstrap would draw the same sentence twice, and such a pair agrees always. ``X null low`` and ``X null
    high``: the 95 % range when labels are permuted among the sentences of each answer, so that knowing which
    kinds an answer has is worth nothing. A value inside it says that the clustering does not tell sentences of
    an answer apart.

    Args:
        label: the kind of each sentence, -1 where it has none, ``[sentence]``.
        truth: its kind by the grammar, ``[sentence]``.
        row: its answer, ``[sentence]``.
        problem: its problem, ``[sentence]``.
        streams: permute the labels.
    """
    kept = label >= 0
    _, ours = np.unique(label[kept], return_inverse=True)
    _, theirs = np.unique(truth[kept], return_inverse=True)
    units, unit = np.unique(problem[kept], return_inverse=True)
    if not len(units):
        names = ("", " low", " high", " null low", " null high")
        return {f"{index}{name}": float("nan") for index in ("ari", "nmi") for name in names}
    kinds = (int(ours.max()) + 1, int(theirs.max()) + 1)
    pair = ours * kinds[1] + theirs
    cells = kinds[0] * kinds[1]
    apart = np.bincount(unit * cells + pair, minlength=len(units) * cells).reshape(len(units), *kinds)
    answer, dice = row[kept], streams.generator("likeness")
    home = np.argsort(np.argsort(answer, kind="stable"))
    permuted = (ours[np.lexsort((dice.random(len(ours)), answer))][home] for _ in range(PERMUTATIONS))
    tables = [np.bincount(one * kinds[1] + theirs, minlength=cells).reshape(kinds) for one in permuted]
    found: dict[str, float] = {}
    for name, index, least in (("ari", rand_index, -1.0), ("nmi", shared_information, 0.0)):
        value = float(index(apart.sum(axis=0)))
        low, high = _jackknifed(value, index(apart.sum(axis=0) - apart), least)
        below, above = np.quantile(index(np.array(tables)), [0.025, 0.975]).tolist()
        found |= {name: value, f"{name} low": low, f"{name} high": high}
        found |= {f"{name} null low": below, f"{name} null high": above}
    return found


def rand_index(table: NDArray[np.integer]) -> NDArray[np.float64]:
    """Adjusted Rand index of how often kinds meet, ``[..., kind, kind]`` to ``[...]``; 1 where chance gives 1.

    Source: Hubert and Arabie 1985, "Comparing partitions".
    """
    counts = np.asarray(table, dtype=np.float64)

    def pairs(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
        return sizes * (sizes - 1) / 2

    both = pairs(counts).sum(axis=(-2, -1))
    ours, theirs = pairs(counts.sum(axis=-1)).sum(axis=-1), pairs(counts.sum(axis=-2)).sum(axis=-1)
    every = np.maximum(pairs(counts.sum(axis=(-2, -1))), 1.0)
    chance = ours * theirs / every
    apart = (ours + theirs) / 2 - chance
    return np.where(apart > 0, (both - chance) / np.where(apart > 0, apart, 1.0), 1.0)


def shared_information(table: NDArray[np.integer]) -> NDArray[np.float64]:
    """Mutual information by the mean entropy, ``[..., kind, kind]`` to ``[...]``; 1 where both are 0."""
    counts = np.asarray(table, dtype=np.float64)
    shares = counts / np.maximum(counts.sum(axis=(-2, -1), keepdims=True), 1.0)
    joint = special.entr(shares).sum(axis=(-2, -1))
    sides = special.entr(shares.sum(axis=-1)).sum(axis=-1) + special.entr(shares.sum(axis=-2)).sum(axis=-1)
    return np.where(sides > 0, 2 * (sides - joint) / np.where(sides > 0, sides, 1.0), 1.0)


def _jackknifed(value: float, without: NDArray[np.float64], least: float) -> tuple[float, float]:
    """The 95 % interval of a value between ``least`` and 1, from the values without one unit each."""
    units = len(without)
    if units < 2:
        return float("nan"), float("nan")
    error = float(np.sqrt((units - 1) / units * ((without - without.mean()) ** 2).sum()))
    reach = error * float(special.stdtrit(units - 1, 0.975))
    edges = (np.array(value), np.array(value - reach), np.array(value + reach))
    low, high = within_bounds(*edges, units, (least, 1.0))
    return float(low), float(high)
