"""The hybrid with vectors against a plain loop that knows nothing of caches, processors or batches."""

import functools
from dataclasses import replace

import made_asked
import numpy as np
import pytest
import torch

from keyturn.core.errors import InputError, UsageError
from keyturn.core.streams import Streams
from keyturn.elicitation import ELICITATIONS, hybrid_vectors
from keyturn.elicitation import vector_training as training
from keyturn.elicitation.gates import gate_bits
from keyturn.elicitation.sentences import cut, likeness, sentences, truth_of
from keyturn.elicitation.shifts import Shifts
from keyturn.elicitation.vector_fitting import VectorsConfig, trained
from keyturn.elicitation.vector_training import Item
from keyturn.elicitation.vector_writing import Steers
from keyturn.policies import steered_readers
from keyturn.policies.beside import ReadsAlong
from keyturn.policies.hooks import hooked
from keyturn.policies.sampling import Sampling, choose
from keyturn.policies.sites import Site

SMALL = {
    "trials": 3,
    "steps": 6,
    "epochs": 2,
    "grid": 3,
    "kinds": 3,
    "words": 1,
    "clustering": 5,
    "rate": 1.0,
    "layer": 1,
    "hidden": 8,
}
LAYER, TEACHER_LAYER = 1, 1


def given(**more):
    teacher = made_asked.other("llama", std=0.05)
    return made_asked.made(
        "llama", tokens=6, draws=range(1, 3), lengths=(4, 6), **({"teacher": teacher} | more)
    )


def config_of(method, **settings):
    return replace(method.config, **(SMALL | settings))


@functools.cache
def made(prepare, config):
    return prepare(given(), config)


def run(name, asked, **settings):
    method = ELICITATIONS[name]
    config = config_of(method, **settings)
    prepared = made(method.prepare, config)
    return method.answer(asked, config, prepared), prepared, config


def law(policy, tokens, layer=None, change=None):
    """Logits of the next token, and the state at the last place where a layer ends."""
    seen = []

    def look(hidden):
        seen.append(hidden[0, -1].double())
        if change is None:
            return None
        hidden = hidden.clone()
        hidden[0, -1] = change(hidden[0, -1])
        return hidden

    hooks = [Site(layer=layer).hook(policy.model, "look", look)] if layer is not None else []
    with torch.no_grad(), hooked(policy.model, hooks):
        logits = policy.model(torch.tensor(tokens)[None]).logits[0, -1].float()
    return logits, seen[0] if seen else None


def kind_by_hand(prepared, state):
    """The largest value over kinds that have a vector."""
    moved = state.numpy() - prepared["kinds mean"]
    if prepared["kinds unit"][0]:
        moved = moved / np.linalg.norm(moved)
    found = prepared["kinds table"] @ moved + prepared["kinds constant"]
    return int(np.where(prepared["used"], found, -np.inf).argmax())


def shift_by_hand(prepared, kind, hidden):
    """What is added at coefficient 1."""
    scale = float(prepared["shift scale"])
    vector = scale * torch.tensor(prepared["shift vectors"][kind] + prepared["shift bias"])
    if "shift trunk" not in prepared:
        return vector
    trunk, start, head, last = (
        torch.tensor(prepared[f"shift {name}"]) for name in ("trunk", "trunk bias", "head", "head bias")
    )
    inside = torch.nn.functional.gelu(trunk @ (hidden / scale) + start)
    return torch.nn.functional.softplus(head[kind] @ inside + last[kind]) * vector


def by_hand(asked, config, prepared, *, guessed=False, at_random=None):
    """Texts, steered tokens and bits without the gate's, one row and one token at a time."""
    base, teacher, rows = asked.policy, asked.teacher, []
    room = asked.limits.max_new_tokens
    used = np.flatnonzero(prepared["used"])
    for problem in asked.problems.problems:
        prompt = base.prompts([problem]).row(0).tolist()
        for draw in asked.draws:
            uniforms, dice = np.empty((1, room)), np.empty((2, room))
            asked.streams.uniforms([("sample", problem.id, draw)], uniforms)
            asked.streams.uniforms([("hybrid", problem.id, draw), ("kind", problem.id, draw)], dice)
            tokens, steered, bits = [], 0, 0.0
            for step in range(room):
                ours, _ = law(base, prompt + tokens)
                theirs, state = law(teacher, prompt + tokens, TEACHER_LAYER)
                fires = (
                    int(ours.argmax()) != int(theirs.argmax())
                    if at_random is None
                    else dice[0, step] < at_random
                )
                chosen = ours
                if fires:
                    steered += 1
                    kind = used[int(dice[1, step] * len(used))] if guessed else kind_by_hand(prepared, state)
                    bits += 0.0 if guessed else np.log2(len(used))
                    found = []
                    for one in range(config.grid if config.version == "grid" else 1):
                        size = (one + 1) / config.grid if config.version == "grid" else 1.0

                        def change(hidden, size=size, kind=kind):
                            return hidden + size * shift_by_hand(prepared, kind, hidden)

                        found.append(law(base, prompt + tokens, LAYER, change)[0])
                    if config.version == "grid":
                        candidates = [int(one.argmax()) for one in found]
                        bits += np.log2(len(set(candidates)))
                        best = max(candidates, key=lambda token: float(theirs[token]))
                        chosen = torch.full_like(ours, -torch.inf)
                        chosen[best] = 0.0
                    else:
                        chosen = found[0]
                token = int(choose(chosen[None], torch.tensor(uniforms[0, step : step + 1]), Sampling()).token)
                tokens.append(token)
                if token in base.ends:
                    break
            rows.append((tokens, steered, bits))
    return rows


def equal(found, rows, config, *, told=True):
    """Whether a method gave what the loop gave, bits and passes included."""
    drawn = found.completions
    if [drawn.row(row).tolist() for row in range(len(drawn))] != [tokens for tokens, _, _ in rows]:
        return False
    steered = np.array([count for _, count, _ in rows], dtype=float)
    lengths = np.array([len(tokens) for tokens, _, _ in rows], dtype=float)
    bits = np.array([bits for _, _, bits in rows]) + (gate_bits(steered, lengths) if told else 0.0)
    tries = config.grid if config.version == "grid" else 1
    return (
        np.array_equal(found.costs.steered, steered)
        and np.allclose(found.costs.teacher_bits, bits)
        and np.array_equal(found.costs.passes, 3 * lengths + tries * steered)
    )


@pytest.mark.parametrize("name", ["hybrid-vectors", "hybrid-vectors-network"])
def test_vectors_where_the_two_disagree(name):
    asked = given()
    found, prepared, config = run(name, asked)
    rows = by_hand(asked, config, prepared)
    assert equal(found, rows, config)
    count = sum(steered for _, steered, _ in rows)
    assert 0 < count < sum(len(tokens) for tokens, _, _ in rows), "it steers at some tokens"
    assert prepared["used"].sum() > 1, "kinds are told apart"


def test_random_kinds_and_random_places():
    asked = given()
    found, prepared, config = run("hybrid-vectors-random-kind", asked)
    assert equal(found, by_hand(asked, config, prepared, guessed=True), config)
    found, prepared, config = run("hybrid-vectors-random-places", asked)
    rate = float(prepared["rate"][0])
    assert 0 < rate < 1
    assert equal(found, by_hand(asked, config, prepared, at_random=rate), config, told=False)


def test_the_bias_alone_has_no_kinds_to_tell():
    asked = given()
    found, prepared, config = run("hybrid-vectors-bias", asked)
    alone = {**prepared, "shift vectors": np.zeros((1, 32), dtype=np.float32), "used": np.array([True])}
    alone["kinds table"], alone["kinds constant"] = alone["kinds table"][:1], alone["kinds constant"][:1]
    assert equal(found, by_hand(asked, config, alone), config)


def test_random_directions_are_as_long_as_what_they_stand_for():
    generator = np.random.default_rng(0)
    vectors, bias = torch.tensor(generator.normal(size=(3, 8))), torch.tensor(generator.normal(size=8))
    made = Shifts(vectors=vectors, bias=bias, network={}, scale=torch.tensor(2.0))
    kinds, hidden = torch.arange(3), torch.zeros(3, 8, dtype=torch.float64)
    for keep in (False, True):
        other = made.random(np.random.default_rng(1), keep_bias=keep)
        ours, theirs = made.at(hidden, kinds), other.at(hidden, kinds)
        if keep:
            ours, theirs = ours - 2 * bias, theirs - 2 * bias
        assert torch.allclose(ours.norm(dim=-1), theirs.norm(dim=-1))
        assert (torch.cosine_similarity(ours, theirs, dim=-1).abs() < 0.95).all()


def test_the_students_gate_tells_no_place():
    asked = given()
    found, _, _ = run("hybrid-vectors-student", asked)
    assert (found.facts["gate_bits"] == 0).all()
    assert 0 < found.costs.steered.sum() < found.completions.lengths.sum()


def test_a_gate_that_reads_the_next_place_is_found_out(monkeypatch):
    """The broken twin: the teacher's cache lags one token behind."""
    own = ReadsAlong._follow

    def late(self, so_far):
        if type(self) is ReadsAlong and so_far.tokens.shape[1] > so_far.start:
            shown = so_far.tokens.clone()
            shown[:, -1] = shown[:, -2]
            so_far = so_far._replace(tokens=shown)
        return own(self, so_far)

    asked = given()
    method = ELICITATIONS["hybrid-vectors"]
    config = config_of(method)
    prepared = made(method.prepare, config)
    rows = by_hand(asked, config, prepared)
    assert equal(method.answer(asked, config, prepared), rows, config)
    monkeypatch.setattr(ReadsAlong, "_follow", late)
    assert not equal(method.answer(asked, config, prepared), rows, config)


def test_random_kinds_in_disguise_are_found_out(monkeypatch):
    """The broken twin: kinds are drawn at random and counted as told."""
    own = Steers._kinds

    def guessing(self, so_far, dice):
        return own(replace(self, guessed=True), so_far, dice)

    asked = given()
    method = ELICITATIONS["hybrid-vectors"]
    config = config_of(method)
    prepared = made(method.prepare, config)
    rows = by_hand(asked, config, prepared)
    monkeypatch.setattr(Steers, "_kinds", guessing)
    assert not equal(method.answer(asked, config, prepared), rows, config)


@pytest.mark.parametrize("name", ["hybrid-vectors", "hybrid-vectors-network"])
def test_the_same_without_a_cache_and_with_rows_that_end(name, monkeypatch):
    from keyturn.policies import sampler

    asked = replace(given(), draws=range(8))
    method = ELICITATIONS[name]
    config = config_of(method)
    prepared = made(method.prepare, config)
    usual = method.answer(asked, config, prepared)
    monkeypatch.setattr(sampler, "FLOOR", 2)
    dropped = method.answer(asked, config, prepared)
    monkeypatch.setattr(steered_readers, "forgets", lambda model: False)
    whole = method.answer(asked, config, prepared)
    if name == "hybrid-vectors-network":
        assert (usual.completions.lengths < 6).any(), "some end early"
    for other in (dropped, whole):
        assert other.completions.texts == usual.completions.texts
        assert np.allclose(other.costs.teacher_bits, usual.costs.teacher_bits)


def test_the_loss_is_that_of_one_reading_and_the_base_has_no_gradient():
    asked = given()
    policy, site = asked.policy, Site(layer=1)
    drawn = asked.teacher.draw(asked.problems.problems, range(2), asked.streams, asked.limits)
    items = [Item(0, np.array([0, 2]), np.array([1, 0])), Item(3, np.array([1]), np.array([1]))]
    vectors = torch.tensor(
        np.random.default_rng(0).normal(size=(2, 32)), dtype=torch.float32, requires_grad=True
    )
    loss = training.written_loss(drawn, "cpu")
    found = training.losses(policy, site, drawn, items, lambda hidden, kinds: vectors[kinds], loss)
    for value, item in zip(found.tolist(), items, strict=True):
        prompt = drawn.prompts.row(int(drawn.problem[item.row])).tolist()
        own = drawn.row(item.row).tolist()

        def change(hidden, item=item, prompt=prompt):
            hidden = hidden.clone()
            for place, kind in zip(item.places.tolist(), item.kinds.tolist(), strict=True):
                hidden[0, len(prompt) - 1 + place] += vectors[kind].detach()
            return hidden

        with torch.no_grad(), hooked(policy.model, [site.hook(policy.model, "by hand", change)]):
            logits = policy.model(torch.tensor([prompt + own])).logits[0]
        laws = (0.7 * logits).log_softmax(-1)
        by_hand = [-float(laws[len(prompt) - 1 + place, own[place]]) for place in item.places.tolist()]
        assert value == pytest.approx(np.mean(by_hand), abs=1e-5)
    gradient = torch.autograd.grad(found.mean(), [vectors])[0]
    assert (gradient.norm(dim=-1) > 0).all()
    assert all(one.grad is None for one in policy.model.parameters())


@pytest.mark.parametrize("version", ["grid", "network"])
def test_training_lowers_the_loss_and_leaves_the_base(version):
    asked = given()
    before = {name: one.clone() for name, one in asked.policy.model.state_dict().items()}
    made = trained(asked, VectorsConfig(**(SMALL | {"version": version, "rate": 0.1, "steps": 20})))
    known = np.isfinite(made["loss"][:, 1])
    assert known.sum() > 1
    assert (made["loss"][known, 1] < made["loss"][known, 0]).all()
    after = asked.policy.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(one.requires_grad and one.grad is None for one in asked.policy.model.parameters())
    count = sum(one.size for name, one in made.items() if name.startswith("shift ") and name != "shift scale")
    numbers = hybrid_vectors.FULL.weights(asked, VectorsConfig(**(SMALL | {"version": version})))
    assert numbers == (count if version == "grid" else count - 32), "the network's version has no bias"


def test_the_writers_laws_are_its_likeliest_tokens():
    asked = given()
    drawn = asked.teacher.draw(asked.problems.problems, range(1), asked.streams, asked.limits)
    laws = training.laws_of(asked.teacher, drawn, 40)
    prompt, own = drawn.prompts.row(0).tolist(), drawn.row(0).tolist()
    logits, _ = law(asked.teacher, prompt + own[:1])
    top = logits[:40].topk(40)
    assert laws.tokens[1].tolist() == top.indices.tolist()
    assert np.allclose(laws.shares[1], top.values.double().softmax(-1), atol=1e-6)
    loss = training.divergence_loss(laws)(logits[None], torch.tensor([1]))
    by_hand = laws.shares[1] * (laws.shares[1].log() - logits.double().log_softmax(-1)[laws.tokens[1]])
    assert float(loss) == pytest.approx(float(by_hand.sum()), abs=1e-5)


def test_sentences_end_where_a_reader_would_end_them():
    text = "It is 3.14. Is it? No! As n! grows, A. B. says so; next\nline"
    found = [text[start:end].strip() for start, end in cut(text)]
    assert found == ["It is 3.14.", "Is it?", "No!", "As n! grows, A. B. says so;", "next", "line"]
    assert cut("") == [(0, 0)]
    assert [text[a:b] for text in ["one... two"] for a, b in cut(text)] == ["one...", " two"]


def test_tokens_belong_to_sentences_and_roles_to_kinds():
    asked = given()
    drawn = asked.teacher.draw(asked.problems.problems, range(2), asked.streams, asked.limits)
    found = sentences(asked.policy.tokenizer, drawn)
    assert len(found.of) == len(drawn.tokens)
    assert found.row[found.of].tolist() == drawn.token_row.tolist()
    many = replace_of(found)
    roles = np.array([1, 3, 4, 12, 4, 3, 12], dtype=np.uint8)
    truth = truth_of(roles, many)
    assert truth.tolist() == [0, 1, 0, 1], "the set of roles decides, punctuation does not"
    alike = likeness(np.array([1, 0, 1, -1]), truth, many.row, many.row, Streams(0))
    assert (alike["ari"], alike["nmi"]) == (1.0, pytest.approx(1.0))


def replace_of(found):
    """Four sentences of seven tokens."""
    start, stop = np.array([0, 3, 4, 6]), np.array([3, 4, 6, 7])
    return replace(found, start=start, stop=stop, row=np.zeros(4, dtype=np.int64), words=stop - start)


def test_what_cannot_work_is_refused_in_one_line():
    asked = given()
    with pytest.raises(InputError, match="0 sentences of the teacher have 99 words"):
        run("hybrid-vectors", asked, words=99)
    with pytest.raises(UsageError, match="grammar that gives roles"):
        run("hybrid-vectors", asked, taxonomy="roles")
    with pytest.raises(UsageError, match="--kinds is 0"):
        run("hybrid-vectors", asked, kinds=0)
    with pytest.raises(UsageError, match="--taking is 2"):
        run("hybrid-vectors", asked, taking=2.0)
    with pytest.raises(UsageError, match="--rate is 0"):
        run("hybrid-vectors", asked, rate=0.0)


def test_vectors_of_another_version_layer_or_teacher_are_refused():
    asked = given()
    method = ELICITATIONS["hybrid-vectors"]
    config = config_of(method)
    prepared = made(method.prepare, config)
    for other, said in (
        (replace(config, version="network"), "version grid"),
        (replace(config, layer=0.0), "layer 1"),
    ):
        with pytest.raises(UsageError, match=f"made for {said}"):
            method.answer(asked, other, prepared)
    with pytest.raises(UsageError, match="made for teacher"):
        method.answer(replace(asked, teacher=asked.policy), config, prepared)
