"""Encoders of phrases: what mined grams are clustered by. The default needs no download.

TF-IDF of words (1 and 2 together) and of characters within words (2 to 4), side by side, reduced by a truncated
SVD (latent semantic analysis): phrases that share words, or stems of words, are near each other. It knows no
synonyms that share neither; a sentence encoder does, and is the user's choice.

Source: Deerwester et al. 1990 (latent semantic analysis). Departures from Wang et al. 2025 (2509.03646): they
take a sentence transformer that they do not name.
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
"""``(phrases) -> one vector each``, float ``[phrase, dim]``; lengths do not matter, only directions."""


def lsa_encoder(dimensions: int, seed: int) -> Encoder:
    """The default encoder, fitted on the phrases it is given.

    Args:
        dimensions: of the vectors, at most; fewer where there are fewer phrases or features.
        seed: of the randomised SVD, from a named stream.
    """

    def encode(phrases: list[str]) -> NDArray[np.float64]:
        # Words are what stands between blanks: phrases come folded already.
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
        name: as that library takes it.
        batch: phrases at once.

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
    """Vectors of unit length, float64 ``[phrase, dim]``; what the encoder gave as zero stays zero.

    Raises:
        InputError: the encoder gave another shape, or something that is not finite.
    """
    vectors = np.asarray(encoder(list(phrases)), dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) != len(phrases) or not np.isfinite(vectors).all():
        raise InputError(
            f"the encoder gave {vectors.shape} for {len(phrases)} phrases, or values that are not finite",
            fix="one finite vector a phrase: [phrase, dim]",
        )
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
