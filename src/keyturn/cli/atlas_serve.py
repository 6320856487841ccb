"""Serve the atlas to a browser on this machine."""

from __future__ import annotations

import json as jsonlib
import sys

from keyturn.atlas.store import home
from keyturn.core.progress import waiting
from keyturn.core.rundir import SCHEMA
from keyturn.site.page import POLICY
from keyturn.site.serve import Server
from keyturn.site.site import Live


def run(port: int = 8347, json: bool = False) -> None:
    """Serve the atlas to a browser on this machine, and nothing else to nobody else. Ctrl-C ends it.

    Pages follow new records and notes while it runs.

    Args:
        port: on 127.0.0.1; 0 takes any that is free.
        json: the address as one JSON document on stdout.
    """
    with waiting("building the atlas"):
        live = Live(home())
    with Server(live, port=port, policy=POLICY) as server:
        document = {"schema": SCHEMA, "command": "atlas serve", "url": server.url}
        sys.stdout.write(f"{jsonlib.dumps(document) if json else server.url}\n")
        sys.stdout.flush()
        sys.stderr.write("Ctrl-C ends it\n")
        server.serve_forever()
