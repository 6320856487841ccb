"""Corpora: documents of a world, drawn from a mixture whose shares sum to one, in blocks.

A block is a pure function of world, streams and number, so the batch of any training step can be made again.
Shares are shares of documents. Realised counts are logged and belong on a model's card.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count

from keyturn.core.streams import Streams
from keyturn.problems.world.contract import World
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.document import Document
from keyturn.problems.world.mixture import Mixture

_log = logging.getLogger("keyturn")
_BLOCK = 1024


def block(world: World, streams: Streams, number: int, size: int) -> tuple[Document, ...]:
    """The documents of one block.

    Args:
        world: the world of the documents.
        streams: the streams of the corpus; nothing else may draw from them.
        number: number of the block; every number has its own stream.
        size: number of documents in a block.
    """
    mixture = Mixture(world.mixture)
    dice = Dice(streams.generator("corpus", number))
    return tuple(world.draw_document(mixture.draw(dice), dice) for _ in range(size))


def documents(world: World, streams: Streams, *, start: int = 0) -> Iterator[Document]:
    """Endless documents, block after block of 1024.

    Args:
        world: the world of the documents.
        streams: as for :func:`block`.
        start: number of the first block.
    """
    for number in count(start):
        yield from block(world, streams, number, _BLOCK)


def realised(documents: Iterable[Document]) -> dict[str, dict[str, int]]:
    """Numbers of documents and tokens per component that were drawn; also logged.

    Returns:
        component -> ``{"documents": ..., "tokens": ...}`` (prompt and completion together).
    """
    texts: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for document in documents:
        texts[document.component] += 1
        tokens[document.component] += len(document.prompt) + len(document.completion)
    table = {name: {"documents": texts[name], "tokens": tokens[name]} for name in sorted(texts)}
    total = sum(texts.values())
    for name, row in table.items():
        share = row["documents"] / total
        _log.info("corpus: %s %d documents (%.4f), %d tokens", name, row["documents"], share, row["tokens"])
    return table
