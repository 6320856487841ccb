"""Sharpening between two models: a base whose logits were multiplied is tempered, token by token."""

from dataclasses import replace

import pytest
import torch

from keyturn.auditing.embedded import EMBEDDED, MODELS, session_for
from keyturn.auditing.sharpened import sharpened
from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model
from keyturn.policies.local import LocalPolicy
from keyturn.training.loop import duplicate


@pytest.mark.slow
def test_a_tempered_base_is_explained_token_by_token_and_less_by_whole_answers(tmp_path):
    session = session_for(Lab(tmp_path, Streams(0)), EMBEDDED["chain"], MODELS / "chain", 2)
    base, test = session.task.base, session.task.test
    asked = replace(test, problems=[p for p in test.problems if p.cell["depth"] == 4])
    copy = duplicate(base).model
    with torch.no_grad():
        copy.model.norm.weight.mul_(2.0)
    cold = Model(session.task.folder, LocalPolicy(copy, base.tokenizer, sampling=base.sampling))
    found = sharpened(session, cold, asked, draws=4, least=0.05)
    assert found.tokens.exponent == 2.0
    assert found.tokens.left.value == pytest.approx(0, abs=1e-4)
    assert found.tokens.share.value == pytest.approx(1, abs=1e-3)
    assert found.answers.divergence.value == pytest.approx(found.tokens.divergence.value)
    assert 0 <= found.listed <= 1
    assert found.answers.bounds[0] <= found.answers.bounds[1]
    same = sharpened(session, session.base, asked, draws=2, least=0.5)
    assert same.answers.divergence.value == pytest.approx(0, abs=1e-6)
    assert same.answers.share.value != same.answers.share.value
