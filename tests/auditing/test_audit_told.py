"""Audits of models whose answers are known: how they stop, what they can read, what they have in common."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import told_models
import torch
from safetensors.torch import load_file, save_file
from told_models import END, KNOWS, STOP, WORDS, half, on_disk, problem_file
from transformers import AutoModelForCausalLM

import keyturn
from keyturn.auditing import opening as entry
from keyturn.auditing.world_facts import WorldFacts
from keyturn.core.errors import InputError, NumericsError
from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab
from keyturn.policies.by_name import Loading
from keyturn.policies.loading import load_policy, world_of
from keyturn.policies.local import LocalPolicy, Sampling
from keyturn.problems.world.worlds import problems

SMALL = entry.config_of(k=8, n_base=32, max_new_tokens=8)


def audited(tmp_path, base, tuned, asked=None, *, config=SMALL, **loading):
    lab = Lab(tmp_path / "run", Streams(0))
    asked = entry.ProblemChoice(problems=asked or problem_file(tmp_path))
    return entry.audit_models(lab, (str(base), str(tuned)), asked, Loading(device="cpu", **loading), config)


def rates(found):
    return [float(np.mean(t.outcome)) for t in (found.tables.paired.base, found.tables.paired.tuned)]


def told(found, kind):
    return [caution.text for caution in found.cautions if caution.kind == kind]


@pytest.mark.slow
def test_a_turn_ends_where_the_template_ends_it_whatever_the_tokenizer_calls_its_end(tmp_path):
    """The base ends its turn with a token that neither its tokenizer nor its config calls the end."""
    base = on_disk(tmp_path / "base", KNOWS, eos=END)
    tuned = on_disk(tmp_path / "tuned", KNOWS, eos=STOP)
    found = audited(tmp_path, base, tuned)
    assert rates(found) == [1.0, 1.0]
    assert found.verdict.label not in ("deployed", "created")
    assert STOP in found.settings["base"]["stops at"]
    assert told(found, "stop tokens") == [
        f"answers end differently: base at {END}, {STOP}; tuned at {STOP}"
    ]  # both are said, since a turn that the base's own end closes is closed as well


@pytest.mark.slow
def test_a_pair_asked_alike_has_no_caution_about_it(tmp_path):
    base = on_disk(tmp_path / "base", half(0.2))
    found = audited(tmp_path, base, on_disk(tmp_path / "tuned", half(0.9)))
    assert not {"prompt format", "stop tokens", "turn end", "roles", "unknown words", "context"} & {
        caution.kind for caution in found.cautions
    }
    assert found.left_out == {}
    assert found.settings["base"]["prompt"] == found.settings["tuned"]["prompt"]
    assert found.settings["base"]["unknown words"] == "0%"


def one_row_more(folder, base):
    words = (*WORDS, "<pad>")
    return on_disk(folder, half(0.9), words=words)


def other_tokenizer(folder, base):
    return on_disk(folder, half(0.9), words=tuple(reversed(WORDS)))


def biased(folder, base):
    """The tuned model has a parameter more, as one with an untied head has."""
    shutil.copytree(base, folder)
    tensors = load_file(base / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj.bias"
    config = json.loads((base / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "attention_bias": True}))
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            weight.copy_(tensors[key]) if key in tensors else weight.zero_()
    model.save_pretrained(folder)
    assert name in load_file(folder / "model.safetensors")
    return folder


def a_buffer_more(folder, base):
    """A tensor that the other file does not have, and that no model reads."""
    shutil.copytree(base, folder)
    tensors = load_file(base / "model.safetensors")
    save_file({**tensors, "step": torch.tensor([7])}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "out"),
    [
        (
            one_row_more,
            {"token_shift": "the base has 31 tokens, the tuned policy 32", "update_geometry": "shape"},
        ),
        (other_tokenizer, {"token_shift": "for the tuned policy", "bound": "for the tuned policy"}),
        (biased, {"update_geometry": "bias is in"}),
        (a_buffer_more, {"update_geometry": "step is in"}),
    ],
)
def test_a_look_that_cannot_be_had_is_left_out_and_the_verdict_stands(tmp_path, make, out):
    base = on_disk(tmp_path / "base", half(0.2))
    found = audited(tmp_path, base, make(tmp_path / "tuned", base))
    for name, why in out.items():
        assert why in found.left_out[name], found.left_out
    assert set(found.left_out) <= {"reachability", "token_shift", "role_entropy", "update_geometry", "bound"}
    assert found.verdict.masses["base"].value == pytest.approx(0.2, abs=0.1)
    names = {m.name for m in found.measurements}
    assert "pass_at_k" in names
    assert ("token_kl" in names) == ("token_shift" not in found.left_out)


@pytest.mark.slow
def test_each_policy_is_looked_at_behind_its_own_prompt(tmp_path):
    """The base has no template: plainly it says 5 at .2, behind the other's prompt nothing."""
    plain = {f"q{i}": half(0.2)["assistant"] for i in range(12)}
    said = {"5": {STOP: 1.0}, "9": {STOP: 1.0}, **plain}
    base = on_disk(tmp_path / "base", said, template=None)
    tuned = on_disk(tmp_path / "tuned", half(0.9))
    found = audited(tmp_path, base, tuned)
    assert len(told(found, "prompt format")) == 1
    assert "base plain text and tuned chat template" in told(found, "prompt format")[0]
    assert found.tables.paired.bound == pytest.approx(np.full(12, 0.2), abs=1e-3)
    first = found.tables.shift["tuned"]
    five = first.completions.tokens == WORDS.index("5")
    assert np.exp(first.base_logprobs[five]) == pytest.approx(0.2, abs=1e-3)
    assert np.exp(first.tuned_logprobs[five]) == pytest.approx(0.9, abs=1e-3)


@pytest.mark.slow
def test_where_the_base_would_not_have_stopped_nothing_is_certified(tmp_path):
    """The base does not stop where the tuned policy's turn ends: it goes on, and answers wrongly."""
    base = on_disk(tmp_path / "base", KNOWS | {f"q{i}": {"5": 1.0} for i in range(12)}, eos=END, template=None)
    found = audited(tmp_path, base, on_disk(tmp_path / "tuned", KNOWS, eos=STOP))
    assert found.tables.paired.bound.tolist() == [0.0] * 12
    assert "would not have ended" in found.left_out["reachability"]
    assert rates(found) == [0.0, 1.0]


@pytest.mark.parametrize("spoilt", ["base", "tuned"])
def test_prompts_that_a_model_cannot_read_are_refused_before_anything_is_drawn(tmp_path, spoilt):
    folders = {name: on_disk(tmp_path / name, half(0.5)) for name in ("base", "tuned")}
    known = tuple(word for word in WORDS if not word.startswith("q"))
    folders[spoilt] = on_disk(tmp_path / "spoilt", half(0.5), words=known)
    with pytest.raises(InputError, match=rf"17% of the prompts' words are unknown .* {spoilt} model"):
        audited(tmp_path, folders["base"], folders["tuned"])
    assert not (tmp_path / "run" / "stages").exists()


@pytest.mark.parametrize("spoilt", ["base", "tuned"])
def test_a_model_that_gives_no_numbers_is_refused_before_anything_is_drawn(tmp_path, spoilt):
    folders = {name: on_disk(tmp_path / name, half(0.5)) for name in ("base", "tuned")}
    path = folders[spoilt] / "model.safetensors"
    tensors = load_file(path)
    tensors["lm_head.weight"][3] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(NumericsError, match=f"{spoilt}: LlamaForCausalLM gives logits that are not numbers"):
        audited(tmp_path, folders["base"], folders["tuned"])
    assert not (tmp_path / "run" / "stages").exists()


@pytest.mark.slow
def test_a_word_that_is_unknown_now_and_then_is_said(tmp_path):
    rows = [{"prompt": f"q{i} A A A A A A", "answer": "5"} for i in range(11)]
    asked = problem_file(tmp_path, [*rows, {"prompt": "q11 A A A A A zebra", "answer": "zebra"}])
    base = on_disk(tmp_path / "base", half(0.5))
    found = audited(tmp_path, base, base, asked)
    said = told(found, "unknown words")
    assert any("1 of 12 gold answers hold words that the base model cannot write" in text for text in said)
    assert any("of the words of the prompts are unknown" in text for text in said)


@pytest.mark.slow
def test_roles_reach_a_model_and_are_said_to_be_lost_without_a_template(tmp_path):
    messages = [{"role": "system", "content": "A"}, {"role": "user", "content": "q1"}]
    asked = problem_file(tmp_path, [{"prompt": messages, "answer": "5", "id": str(i)} for i in range(12)])
    base = on_disk(tmp_path / "base", half(0.5), template=None)
    tuned = on_disk(tmp_path / "tuned", half(0.5))
    found = audited(tmp_path, base, tuned, asked)
    assert len(told(found, "roles")) == 1
    assert "12 of 12 prompts have roles" in told(found, "roles")[0]
    prompts = found.tables.shift["tuned"].completions.prompts
    words = LocalPolicy(told_models.bigram(half(0.5)), told_models.tokenizer()).tokenizer
    assert words.decode(
        prompts.row(0)
    ) == "<|im_start|> system A <|im_end|> <|im_start|> user q1 <|im_end|> " + ("<|im_start|> assistant")


@pytest.mark.slow
def test_a_template_that_does_not_say_how_a_turn_ends_is_a_caution(tmp_path):
    endless = "{% for m in messages %}{{ m['content'] }} {% endfor %}assistant"
    base = on_disk(tmp_path / "base", half(0.5), template=endless)
    found = audited(tmp_path, base, base)
    assert "writes assistant between turns" in told(found, "turn end")[0]


def test_the_world_whose_valid_traces_are_too_many_is_audited(tmp_path):
    folder = Path(keyturn.__file__).parent / "assets" / "models" / "graph"
    base, world = load_policy(folder), world_of(folder)
    streams = Streams(0)
    asked = tuple(
        problem
        for operations in (1, 4)
        for problem in problems(world, "test", [{"domain": "graph", "operations": operations}], 2, streams)
    )
    mass, complete, why = WorldFacts(world).mass(Lab(tmp_path / "run", streams), base, asked)
    assert np.isfinite(mass).tolist() == [True, True, False, False]
    assert [bool(reason) for reason in why] == [False, False, True, True]
    assert "too many to list" in why[2]
    assert not complete.any()


@pytest.mark.slow
def test_a_policy_that_is_not_sampled_plainly_says_why_there_is_no_bound(tmp_path):
    base = on_disk(tmp_path / "base", half(0.5))
    found = audited(tmp_path, base, base, temperature=0.7)
    assert "not sampled plainly" in found.left_out["bound"]
    assert Sampling(temperature=0.7).plain is False
