"""Encoders of phrases, for clustering mined grams. The default needs no download.

The default concatenates TF-IDF of words (1 and 2 together) and of characters within words (2 to 4) and reduces
it by a truncated SVD (latent semantic analysis), so phrases that share words or stems are near each other. It
does not recognise synonyms without common letters; a sentence encoder does, and users may choose one.

Source: Deerwester et al. 1990 (latent semantic analysis). Departures from Wang et al. 2025 (2509.03646): the
paper uses a sentence transformer that it does not name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from keyturn.core.errors import InputError
from keyturn.core.extras import need
from keyturn.core.lazy import torch

Encoder: TypeAlias = Callable[[list[str]], NDArray[np.floating]]
"""``(phrases) -> one vector each``, float ``[phrase, dim]``; only directions matter."""


def lsa_encoder(dimensions: int, seed: int) -> Encoder:
    """The default encoder, fitted on the given phrases.

    Args:
        dimensions: maximum dimension of the vectors; less with fewer phrases or features.
        seed: seed of the randomised SVD, from a named stream.
    """

    def encode(phrases: list[str]) -> NDArray[np.float64]:
        # Words are separated by spaces; the phrases are already folded.
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        together = TfidfVectorizer(token_pattern=r"\S+", lowercase=False, ngram_range=(1, 2))
        within = TfidfVectorizer(analyzer="char_wb", lowercase=False, ngram_range=(2, 4))
        parts = [together.fit_transform(phrases), within.fit_transform(phrases)]
        table = sparse.csr_matrix(sparse.hstack(parts))
        features = len(together.vocabulary_) + len(within.vocabulary_)
        most = min(dimensions, len(phrases) - 1, features - 1)
        if most < 1:
            return np.asarray(table.todense(), dtype=np.float64)
        with threadpool_limits(1):
            reduced = TruncatedSVD(n_components=most, random_state=seed % 2**32).fit_transform(table)
        return np.asarray(reduced, dtype=np.float64)

    return encode


def sentence_encoder(name: str, *, batch: int = 256) -> Encoder:
    """A sentence-transformers model by name or folder.

    Args:
        name: name or folder, as in that library.
        batch: number of phrases at a time.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
    """
    model = need("sentence_transformers", "a sentence encoder").SentenceTransformer(name)
    return lambda phrases: np.asarray(model.encode(phrases, batch_size=batch, show_progress_bar=False))


def mean_pooled_encoder(name: str, *, batch: int = 32) -> Encoder:
    """A transformer encoder by folder or Hub id, whose last states are averaged over the tokens of a text.

    Args:
        name: as transformers takes it.
        batch: texts at once.

    Raises:
        InputError: there is no such model, or transformers cannot load it.
    """
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModel.from_pretrained(name).eval()
    except (OSError, ValueError) as error:
        said = str(error).splitlines()[0]
        raise InputError(
            f"no encoder at {name!r}: {said}", fix="a folder or a Hub id of an encoder, or none"
        ) from error

    def encode(phrases: list[str]) -> NDArray[np.float32]:
        found = []
        for start in range(0, len(phrases), batch):
            words = tokenizer(
                phrases[start : start + batch], padding=True, truncation=True, return_tensors="pt"
            )
            with torch.no_grad():
                states = model(**words).last_hidden_state
            mask = words["attention_mask"].unsqueeze(-1).to(states.dtype)
            found.append(((states * mask).sum(1) / mask.sum(1)).float().numpy())
        return np.concatenate(found)

    return encode


def directions(encoder: Encoder, phrases: Sequence[str]) -> NDArray[np.float64]:
    """Vectors of unit length, float64 ``[phrase, dim]``; a zero vector stays zero.

    Raises:
        InputError: the encoder gave another shape, or values that are not finite.
    """
    vectors = np.asarray(encoder(list(phrases)), dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) != len(phrases) or not np.isfinite(vectors).all():
        raise InputError(
            f"the encoder gave {vectors.shape} for {len(phrases)} phrases, or values that are not finite",
            fix="return one finite vector per phrase: [phrase, dim]",
        )
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
