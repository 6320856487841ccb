"""Place the notes of the shipped map: `python docs/map_places.py` after notes or relations changed.

Writes src/keyturn/assets/site/places.json. The search over small moves takes a minute; a build takes what is
here, and puts a user's own notes beside it.
"""

import json
import pathlib
import sys

from keyturn.atlas import CLAIMS
from keyturn.atlas.collection import load_atlas
from keyturn.atlas.known import Known
from keyturn.core.rundir import SCHEMA
from keyturn.site.layout import place
from keyturn.site.source import Source
from keyturn.site.views.notes import WIDTH, map_boxes, map_links

PLACES = pathlib.Path(__file__).parent.parent / "src/keyturn/assets/site/places.json"
MOVES = 90_000


def main():
    """Place all notes anew."""
    source = Source(atlas=load_atlas(None), known=Known(records={}), claims=CLAIMS)
    found = place(map_boxes(source), map_links(source), {}, width=WIDTH, moves=MOVES)
    document = {"schema": SCHEMA, "places": {name: list(at) for name, at in sorted(found.items())}}
    PLACES.write_text(json.dumps(document, indent=0) + "\n", encoding="utf-8")
    sys.stderr.write(f"{len(found)} notes placed\n")


if __name__ == "__main__":
    main()
