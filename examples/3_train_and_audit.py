"""Train a model by RL and audit what that changed.

    python examples/3_train_and_audit.py [steps]

The run has its own folder: the same call again reads the finished work. More steps change more.
"""

import sys
import tempfile
from pathlib import Path

import keyturn

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 6
with tempfile.TemporaryDirectory() as folder:
    trained = keyturn.train("grpo", "chain", rl={"steps": steps}, out=Path(folder) / "run")
    print(trained)
    audit = keyturn.audit("chain", trained, per_cell=4, k=8, n_base=32, out=Path(folder) / "audit")
    print(audit)
    print(audit.report())
