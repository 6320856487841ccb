"""vLLM in this process, against a stand-in with vLLM's own names and arguments."""

import math
import sys

import fake_vllm
import numpy as np
import pytest

import keyturn
from keyturn.auditing.embedded import MODELS, world_in
from keyturn.core.errors import InputError, MissingExtraError, UsageError
from keyturn.core.streams import Streams
from keyturn.policies.by_name import Loading, open_policy
from keyturn.policies.loading import load_policy
from keyturn.policies.protocol import Limits, Policy
from keyturn.policies.vllm_engine import VllmPolicy
from keyturn.problems.world.worlds import problems
from keyturn.rollouts.completions import Stop

CHAIN = f"vllm:{MODELS / 'chain'}"
LIMITS = Limits(max_new_tokens=12)


@pytest.fixture
def vllm(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", fake_vllm)
    return fake_vllm


def asked(count):
    world = world_in(MODELS / "chain")
    return problems(world, "test", [{"domain": "chain", "depth": 1}], count, Streams(3))


def test_draws_are_named_by_problem_and_draw_and_scored_as_the_model_does(vllm):
    policy, some = open_policy(CHAIN, Loading()), asked(3)
    assert isinstance(policy, VllmPolicy)
    assert isinstance(policy, Policy)
    drawn = policy.draw(some, range(4), Streams(1), LIMITS)
    later = policy.draw(some[1:2], range(2, 4), Streams(1), LIMITS)
    assert later.texts == drawn.texts[6:8], "a draw is the same whoever is drawn with it"
    local = load_policy(MODELS / "chain")
    assert drawn.prompts.tokens.tolist() == local.prompts(some).tokens.tolist()
    assert np.allclose(local.score(drawn).logprobs, drawn.logprobs, atol=1e-4)
    assert np.isnan(drawn.entropies).all()
    ended = drawn.stop == Stop.EOS
    assert ended.any()
    for row in np.flatnonzero(ended):
        assert drawn.row(row)[-1] == local.tokenizer.eos_token_id
        assert drawn.texts[row] == local.tokenizer.decode(drawn.row(row)[:-1], skip_special_tokens=True)
    short = policy.draw(some, range(2), Streams(1), Limits(max_new_tokens=2))
    assert (short.stop == Stop.LENGTH).all()
    assert (short.lengths == 2).all()


def test_away_from_plain_sampling_log_probabilities_are_unknown(vllm):
    for how in (Loading(temperature=0.5), Loading(top_p=0.5), Loading(temperature=0.0)):
        drawn = open_policy(CHAIN, how).draw(asked(1), range(2), Streams(1), LIMITS)
        assert np.isnan(drawn.logprobs).all()


def test_the_fingerprint_is_of_weights_decoding_and_version(vllm, monkeypatch):
    marks = {open_policy(CHAIN, how).fingerprint for how in (Loading(), Loading(), Loading(temperature=0.5))}
    marks.add(open_policy(f"vllm:{MODELS / 'graph'}", Loading()).fingerprint)
    assert len(marks) == 3
    monkeypatch.setattr(fake_vllm, "__version__", "0.1.fake")
    assert open_policy(CHAIN, Loading()).fingerprint not in marks


def test_what_cannot_be_is_one_line(vllm, tmp_path, monkeypatch):
    broken = tmp_path / "broken"
    broken.symlink_to(MODELS / "chain")
    with pytest.raises(InputError, match=r"vLLM cannot load .*: no such architecture "):
        open_policy(f"vllm:{broken}", Loading())
    with pytest.raises(UsageError, match="allow-pickle"):
        open_policy(CHAIN, Loading(allow_pickle=True))
    policy = open_policy(CHAIN, Loading())
    with pytest.raises(UsageError, match="without vllm:"):
        policy.score(policy.draw(asked(1), range(1), Streams(1), LIMITS))
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtraError, match="pip install vllm"):
        open_policy(CHAIN, Loading())


@pytest.mark.slow
def test_an_audit_with_vllm_leaves_out_looks_inside_with_the_reason(vllm, tmp_path):
    rows = [{"prompt": problem.prompt, "answer": problem.answer} for problem in asked(14)]
    found = keyturn.audit(CHAIN, f"vllm:{MODELS / 'graph'}", rows, k=4, max_new_tokens=12, out=tmp_path)
    assert any("answered by vLLM" in why for why in found.left_out.values()), found.left_out
    assert found.settings["base"]["engine"] == "vLLM 0.0.fake"
    assert not math.isnan(found.verdict.masses["base"].value)
    greedy = keyturn.audit(CHAIN, CHAIN, rows[:2], k=4, max_new_tokens=4, temperature=0.0)
    assert greedy.tables.paired.base.counts()[0].tolist() == [1, 1]
