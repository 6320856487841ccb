"""A study of one's own: a reward and its control, two seeds each, one table of what they changed.

    python examples/4_a_study_of_ones_own.py [steps]

A training is repeated over seeds, so the table shows every one of them, each with its interval over problems.
Three steps show nothing; take a hundred. `keyturn claim show NAME` has studies with gates and controls.
"""

import sys
import tempfile
from pathlib import Path

import pandas

import keyturn

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 3
small = {"steps": steps, "prompts": 8, "draws": 8}
rows = []
with tempfile.TemporaryDirectory() as folder:
    for reward in ("outcome", "random"):
        for seed in (0, 1):
            out = Path(folder) / f"{reward}-{seed}"
            trained = keyturn.train("grpo", "chain", reward=reward, rl=small, seed=seed, out=out)
            verdict = keyturn.audit("chain", trained, per_cell=3, k=8, n_base=32).verdict
            gain = verdict.masses["gain"]
            told = {"label": verdict.label, "gain": gain.value, "low": gain.low, "high": gain.high}
            rows.append({"reward": reward, "seed": seed, **told})
print(pandas.DataFrame(rows).to_string(index=False))
