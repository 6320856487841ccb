"""The embedded audit in small: RL, both policies, exact probabilities, forced strategies, resumption."""

import json
from dataclasses import replace

import numpy as np
import pytest

from keyturn.auditing.audit import AuditConfig
from keyturn.auditing.embedded import EMBEDDED, MODELS, audit_embedded, session_for, trained
from keyturn.cli.main import main
from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab
from keyturn.policies.hashes import weights_hash
from keyturn.policies.loading import load_policy

SMALL = AuditConfig(k=8, n_base=48, batch_rows=256, token_draws=1)


def short(name, steps=2, **rl):
    one = EMBEDDED[name]
    return replace(one, rl=replace(one.rl, steps=steps, prompts=4, draws=4, **rl), train_per_cell=16)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["graph", "chain"])
def test_the_embedded_audit_measures_everything(tmp_path, name):
    found = audit_embedded(Lab(tmp_path, Streams(0)), short(name), 4, SMALL)
    assert found.left_out == {}
    tables = found.tables
    assert len(found.cells) == len(EMBEDDED[name].test)
    assert set(tables.shift) == {"base", "tuned"}
    names = {m.name for m in found.measurements}
    assert {
        "deployed_created",
        "pass_at_k",
        "crossing",
        "coverage",
        "reach_bound",
        "token_kl",
        "role_entropy",
    } <= names
    assert {"update_zero", "update_visible", "answer_entropy", "length", "routing_execution"} <= names
    assert found.spans
    if name == "chain":
        floor = np.array([p.facts["floor"] for p in tables.paired.problems])
        depth = np.array([p.cell["depth"] for p in tables.paired.problems])
        assert (tables.paired.exact[depth == 1] > 0.9).all()
        # The one valid trace of a deep chain has the base's chance of linking, not its answer rate.
        ratio = tables.paired.exact[depth >= 4].mean() / floor[depth >= 4].mean()
        assert 0.3 < ratio < 3
    else:
        assert (tables.paired.bound <= 1).all()
        assert any(policy == "base" for policy, _ in tables.forced)


@pytest.mark.slow
def test_learning_rate_zero_moves_no_byte_and_is_no_change(tmp_path):
    one = short("chain", steps=3, lr=0.0)
    lab = Lab(tmp_path, Streams(1))
    session = session_for(lab, one, MODELS / "chain", 14)
    tuned = load_policy(trained(session, one).folder)
    assert weights_hash(tuned.model) == weights_hash(session.task.base.model)
    found = audit_embedded(lab, replace(one, test=({"domain": "chain", "depth": 1},)), 14, AuditConfig(k=8))
    zeros = [m.value for m in found.measurements if m.name == "update_zero" and m.n]
    assert zeros
    assert zeros == pytest.approx([1.0] * len(zeros), abs=1e-12)
    # Fourteen problems near 1 are too few to show that nothing changed; a difference they must not show.
    assert found.verdict.label in ("no change", "nothing measured", "undecided")
    assert found.verdict.masses["gain"].low <= 0 <= found.verdict.masses["gain"].high
    assert not found.verdict.coverage.above
    assert not found.verdict.coverage.below


@pytest.mark.slow
def test_an_interrupted_audit_goes_on_and_ends_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(EMBEDDED, "chain", short("chain"))
    words = ["audit", "--worlds", "chain", "--per-cell", "3", "--k", "4", "--n-base", "16", "--json"]

    def broken(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("keyturn.auditing.audit.certified_lower_bound", broken)
        assert main([*words, "--out", str(tmp_path / "a")]) == 130
    assert "keyturn audit" in capsys.readouterr().err
    kept = set((tmp_path / "a").rglob("DONE"))
    assert kept
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    resumed = json.loads(capsys.readouterr().out)["audits"][0]
    assert main([*words, "--out", str(tmp_path / "b")]) == 0
    straight = json.loads(capsys.readouterr().out)["audits"][0]
    for key in ("verdict", "cells", "measurements"):
        assert resumed[key] == straight[key]
    assert resumed["name"] == "chain"
