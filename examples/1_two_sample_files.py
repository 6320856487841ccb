"""Audit two files of samples: no model is loaded.

    python examples/1_two_sample_files.py

The files hold counts: of each problem, how many of how many draws were right. Completions with verdicts, data
frames and the files of lm-eval, Inspect, TRL, verl and verifiers are taken as well.
"""

from pathlib import Path

import keyturn

samples = Path(__file__).parent / "samples"
audit = keyturn.audit(samples / "base.csv", samples / "tuned.csv")
print(audit)
print(audit.verdict)
for cell in ("gain", "deployed", "created"):
    print(cell, audit.verdict.masses[cell])
