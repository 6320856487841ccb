"""Audit two models that are in memory, on problems of one's own.

    python examples/2_two_models.py

Any causal LM of transformers will do, with its tokenizer; here they are the shipped CHAIN base and a copy whose
last layer was disturbed, so that nothing is downloaded.
"""

import copy

import torch

import keyturn

base = keyturn.load("chain")
worse = copy.deepcopy(base.model)
with torch.no_grad():
    list(worse.parameters())[-1].mul_(0.7)

audit = keyturn.audit((base.model, base.tokenizer), (worse, base.tokenizer), per_cell=6, k=8, n_base=32)
print(audit)
print(audit.verdict.why)
print(audit.to_frame().query("name == 'pass_at_k'")[["policy", "k", "value", "low", "high"]].head(8))
