"""Strategic grams: phrases that occur in many successful solutions, but only now and then in each.

Formula, for word n-grams ``g`` (n = 3 to 5) of ``D`` successful solutions::

    df(g) = solutions with g            of(g) = occurrences of g
    candidates = {g : df(g) >= min_documents and of(g) / df(g) <= max_per_document}
    clusters of the candidates' embeddings;  DF(c) = solutions with any member of c
    grams = union of the clusters in the top ``kept_share`` by DF

Denominator: ``kept_share`` is a share of clusters, not of grams; ``of / df`` counts only the solutions that
have the gram.
Degenerate: without a text, or without a gram that passes the filters, there is an InputError that names the
filter. With fewer candidates than clusters, each is its own cluster. Ties of DF go to the cluster with more
candidates, then to the first.
Known bias: a large cluster has a large DF by its size alone, and frequent wording of the *task* ("the number of
ways") is as common as wording of the plan: grams from one kind of problem contain its vocabulary. ``problems``
counts problems instead of solutions, which removes repetitions among one problem's draws. Grams mined from a
tuned policy's text reveal its training: mine from the base's text too, or freeze them before training. Text
without spaces between words (Chinese, Japanese) has no word n-grams.
Source: Wang et al. 2025 (2509.03646): n-grams of 3 to 5 words, clusters of embeddings, cluster document
frequency, top 20 %. Departures, where the paper gives no detail: the encoder (``roles.encoders``); the
clustering, k-means in small batches on unit vectors, because agglomerative clustering needs memory quadratic in
about ten thousand grams; the number of clusters; the filter "occurrences per containing solution", for the
paper's "sparse within a single solution", which it gives as a reason without a rule; candidates occur in at
least two solutions (a gram of a single one adds noise to clusters); n-grams do not cross the end of a clause
and, in prose, contain no digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from keyturn.core.errors import InputError, UsageError
from keyturn.core.streams import Streams
from keyturn.roles.encoders import Encoder, directions, lsa_encoder
from keyturn.roles.grams import MAX_WORDS, Gram, StrategicGrams, checked
from keyturn.roles.words import WordKind, runs


@dataclass(frozen=True, kw_only=True)
class MiningConfig:
    """Settings of the mining."""

    shortest: int = 3
    """Number of words of the shortest gram (2509.03646)."""
    longest: int = 5
    """Number of words of the longest gram (2509.03646)."""
    kept_share: float = 0.2
    """Share of the clusters that is kept, by document frequency (2509.03646)."""
    clusters: int = 300
    """Number of clusters (ours; the paper gives none). Fewer if there are fewer candidates."""
    min_documents: int = 2
    """Minimum number of solutions (or problems) with a candidate (ours); the paper's text implies 1."""
    max_per_document: float = 1.5
    """Maximum mean number of occurrences per containing solution (ours): "sparse within a single solution"."""
    max_grams: int = 40_000
    """Maximum number of clustered candidates; of more, those in most solutions (ours, for memory; counted)."""
    dimensions: int = 64
    """Dimension of the default encoder's vectors (ours)."""
    words: WordKind = "letters"
    """The kind of words: "letters" for prose, "spaces" for text whose tokens are separated by spaces."""
    digits: bool = False
    """Whether a gram may contain a digit (ours: in prose, numbers belong to execution)."""

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest <= MAX_WORDS:
            raise UsageError(
                f"grams of {self.shortest} to {self.longest} words",
                fix=f"1 <= shortest <= longest <= {MAX_WORDS}",
            )
        if not 0 < self.kept_share <= 1:
            raise UsageError(f"kept_share is {self.kept_share}", fix="above 0, at most 1")
        if min(self.clusters, self.min_documents, self.max_grams, self.dimensions) < 1:
            raise UsageError("clusters, min_documents, max_grams or dimensions is below 1", fix="1 or more")


def mine(
    texts: Sequence[str],
    *,
    streams: Streams,
    encoder: Encoder | None = None,
    problems: Sequence[str] | None = None,
    config: MiningConfig = MiningConfig(),
) -> StrategicGrams:
    """The strategic grams of successful completions.

    Args:
        texts: texts of successful completions, one each.
        streams: randomness of the encoder's SVD and the clustering.
        encoder: encoder of phrases; None means TF-IDF and LSA.
        problems: problem of each text; document frequencies then count problems, not texts.
        config: settings.

    Raises:
        InputError: there is nothing to mine, or the encoder gives no vectors.
    """
    if problems is not None and len(problems) != len(texts):
        raise UsageError(f"{len(problems)} problems for {len(texts)} texts", fix="give one problem per text")
    if not texts:
        raise InputError("no successful completion to mine", fix="samples with successes among them")
    owner = _numbers(problems) if problems is not None else list(range(len(texts)))
    counted = _counted(texts, owner, config)
    frequent = {g: c for g, c in counted.items() if c[0] >= config.min_documents}
    sparse = {g: c for g, c in frequent.items() if c[1] <= config.max_per_document * c[2]}
    order = sorted(sparse, key=lambda g: (-sparse[g][0], g))[: config.max_grams]
    if not order:
        raise InputError(
            f"no gram is left of {len(counted)}: {len(frequent)} occur in {config.min_documents} or more "
            f"documents, and {len(sparse)} of those are rare enough within them",
            fix="more text, a lower min_documents or a higher max_per_document",
        )
    chosen = sorted(order)
    vectors = directions(encoder or lsa_encoder(config.dimensions, streams.seed("lsa")), chosen)
    member = _clustered(vectors, min(config.clusters, len(chosen)), streams.seed("clusters"))
    coverage = _cluster_documents(
        texts, owner, {g: int(c) for g, c in zip(chosen, member, strict=True)}, config
    )
    kept = _top(coverage, member, config.kept_share)
    entries = tuple(
        Gram(text=gram, kind=f"c{cluster}", documents=sparse[gram][0], occurrences=sparse[gram][1])
        for gram, cluster in zip(chosen, member.tolist(), strict=True)
        if cluster in kept
    )
    return checked(
        StrategicGrams(
            entries=entries,
            words=config.words,
            source="mined from successful completions",
            settings={**asdict(config), "encoder": "given" if encoder else "lsa", "root": str(streams.root)},
            counts={
                "texts": len(texts),
                "documents": len(set(owner)),
                "grams": len(counted),
                "in enough documents": len(frequent),
                "sparse": len(sparse),
                "clustered": len(chosen),
                "clusters": len(coverage),
                "kept clusters": len(kept),
                "kept": len(entries),
            },
        )
    )


def _numbers(names: Sequence[str]) -> list[int]:
    place: dict[str, int] = {}
    return [place.setdefault(name, len(place)) for name in names]


def _grams(text: str, config: MiningConfig) -> Iterator[str]:
    for run in runs(text, config.words):
        forms = [word.form for word in run]
        bad = [not config.digits and any(letter.isdigit() for letter in form) for form in forms]
        for start in range(len(forms)):
            for stop in range(start + 1, min(start + config.longest, len(forms)) + 1):
                if bad[stop - 1]:
                    break
                if stop - start >= config.shortest:
                    yield " ".join(forms[start:stop])


def _counted(
    texts: Sequence[str], owner: Sequence[int], config: MiningConfig
) -> dict[str, tuple[int, int, int]]:
    """Gram -> numbers of documents, of occurrences, and of texts with it."""
    found: dict[str, list[int]] = {}
    # Texts of one document need not be neighbours, so documents are visited one after another.
    for text in sorted(range(len(texts)), key=lambda text: owner[text]):
        for gram in _grams(texts[text], config):
            row = found.setdefault(gram, [0, 0, 0, -1, -1])
            row[1] += 1
            if row[4] != text:
                row[2], row[4] = row[2] + 1, text
            if row[3] != owner[text]:
                row[0], row[3] = row[0] + 1, owner[text]
    return {gram: (row[0], row[1], row[2]) for gram, row in found.items()}


def _clustered(vectors: NDArray[np.float64], clusters: int, seed: int) -> NDArray[np.int64]:
    """The cluster of each gram, numbered in the order of their first member."""
    distinct = len(np.unique(vectors.round(9), axis=0))
    clusters = min(clusters, distinct)
    if clusters == len(vectors):
        return np.arange(len(vectors))
    # The stubs of scikit-learn know only the word "auto" for n_init.
    from sklearn.cluster import MiniBatchKMeans

    means = MiniBatchKMeans(
        n_clusters=clusters,
        random_state=seed % 2**32,
        n_init=3,  # pyright: ignore[reportArgumentType]
        batch_size=4096,
        reassignment_ratio=0.0,
    )
    # One thread, since sums in another order may move a gram to another cluster.
    with threadpool_limits(1):
        raw = means.fit_predict(vectors)
    return np.array(_numbers([str(label) for label in raw]), dtype=np.int64)


def _cluster_documents(
    texts: Sequence[str], owner: Sequence[int], cluster_of: dict[str, int], config: MiningConfig
) -> NDArray[np.int64]:
    """Number of documents with any member of each cluster, ``[cluster]``."""
    holds: list[set[int]] = [set() for _ in range(max(cluster_of.values()) + 1)]
    for text, document in zip(texts, owner, strict=True):
        for gram in _grams(text, config):
            cluster = cluster_of.get(gram)
            if cluster is not None:
                holds[cluster].add(document)
    return np.array([len(documents) for documents in holds], dtype=np.int64)


def _top(coverage: NDArray[np.int64], member: NDArray[np.int64], share: float) -> set[int]:
    """The clusters in most documents: ``ceil(share * clusters)`` of them."""
    size = np.bincount(member, minlength=len(coverage))
    order = np.lexsort((np.arange(len(coverage)), -size, -coverage))
    return set(order[: int(np.ceil(share * len(coverage)))].tolist())
