"""The collection: what the literature says, as typed objects read from plain files.

``load_atlas(home)`` gives an :class:`Atlas`: ``notes``, ``questions``, ``experiments``, ``papers`` by id,
``facts`` and ``readings`` by id through the notes, and ``relations``. See :mod:`.objects` for what each holds.
"""

from keyturn.atlas.collection.atlas import Atlas, load_atlas, read_atlas
from keyturn.atlas.collection.objects import (
    Experiment,
    Fact,
    Note,
    Paper,
    Place,
    Quantity,
    Question,
    Reading,
    Relation,
    Role,
)

__all__ = [
    "Atlas",
    "Experiment",
    "Fact",
    "Note",
    "Paper",
    "Place",
    "Quantity",
    "Question",
    "Reading",
    "Relation",
    "Role",
    "load_atlas",
    "read_atlas",
]
