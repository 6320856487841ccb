"""Other makes of steering vectors: what each is made from, where each acts, and doses of equal effect."""

from dataclasses import replace

import made_asked
import numpy as np
import pytest
import torch

from keyturn.core.errors import InputError, UsageError
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.steering import intervention
from keyturn.elicitation.steering_kinds import AtTokens, answer_pairs, delimiter_tokens
from keyturn.policies.hooks import hooked
from keyturn.policies.sites import Site
from keyturn.policies.steered import SteeredPolicy

LAYER = 1


def prepared(name, asked, **settings):
    method = ELICITATIONS[name]
    config = replace(method.config, **{"layer": LAYER, "dose": 0.5} | settings)
    return method.prepare(asked, config), config


def state(asked, tokens):
    """Hidden states of a text, one forward pass of the model alone, ``[token, dim]``."""
    seen = []
    hook = Site(layer=LAYER).hook(asked.policy.model, "look", lambda hidden: seen.append(hidden[0]))
    with hooked(asked.policy.model, [hook]), torch.no_grad():
        asked.policy.model(torch.tensor(np.asarray(tokens, dtype=np.int64))[None])
    return seen[0].double().numpy()


def unit(vector):
    return vector / np.linalg.norm(vector)


def test_the_answers_vector_is_the_mean_difference_at_the_answers_last_token():
    asked = made_asked.made()
    found, _ = prepared("steering-answer", asked, lead=" w7 w8 ")
    [first, second] = asked.development.problems
    rows = []
    for one, other in ((first, second), (second, first)):
        ends = []
        for answer in (one.answer, other.answer):
            text = f"{one.prompt} w7 w8 {answer}"
            ids = asked.policy.tokenizer(text)["input_ids"]
            ends.append(state(asked, ids)[-1])
        rows.append(ends[0] - ends[1])
    assert np.allclose(found["vector"], unit(np.mean(rows, axis=0)), atol=1e-5)
    assert ELICITATIONS["steering-answer"].examples(asked, ELICITATIONS["steering-answer"].config) == 2


def test_a_wrong_answer_is_one_that_is_not_also_right():
    problems = made_asked.made().development
    one = replace(problems.problems[0], id="a", answer="w5", also=("w6",))
    others = [replace(one, id=f"b{i}", answer=word, also=()) for i, word in enumerate(("w6", "w5", "w9"))]
    right, wrong = answer_pairs(replace(problems, problems=(one, *others)))
    assert (right, wrong) == ([0, 1, 2, 3], [3, 2, 3, 0])
    with pytest.raises(InputError, match="an answer that another one lacks"):
        answer_pairs(replace(problems, problems=(one, replace(one, id="c"))))


def test_delimiters_alone_are_steered_and_the_vector_is_theirs():
    asked = made_asked.made()
    words = {"delimiters": ("w3", "w5", "w17", "w21"), "reflection": tuple(f"w{i}" for i in range(23, 31))}
    found, config = prepared("steering-delimiter", asked, trials=12, **words)
    kinds = found["delimiters"].tolist()
    assert kinds == [3, 5, 17, 21]
    # By hand: every text read alone, cut at delimiters.
    trial = replace(asked, streams=asked.streams.child("elicit", "steering"))
    drawn = asked.policy.draw(asked.development.problems, range(12), trial.streams, asked.limits)
    groups = {True: [], False: []}
    for row in range(len(drawn)):
        prompt = drawn.prompts.row(int(drawn.problem[row])).tolist()
        own = drawn.row(row).tolist()
        states = state(asked, prompt + own)
        piece, start = [], None
        for place, token in enumerate([*own, kinds[0]]):
            if token in kinds:
                if start is not None and piece:
                    away = any(23 <= one <= 30 for one in piece)
                    groups[away].append(states[len(prompt) + start])
                piece, start = [], place
            elif token != asked.policy.tokenizer.eos_token_id:
                piece.append(token)
    assert all(len(group) for group in groups.values())
    expected = np.mean(groups[False], axis=0) - np.mean(groups[True], axis=0)
    assert np.allclose(found["vector"], unit(expected), atol=1e-4)
    assert found["texts"].tolist() == [len(groups[False]), len(groups[True])]
    given = ELICITATIONS["steering-delimiter"].answer(asked, config, found)
    hits = [int(np.isin(given.completions.row(row)[:-1], kinds).sum()) for row in range(len(given.completions))]
    assert given.costs.steered.tolist() == hits
    assert sum(hits)


def test_delimiters_are_whole_tokens_or_blanks_inside_one():
    policy = made_asked.made().policy
    assert delimiter_tokens(policy, ("w3", "w4 ")) == (3,)
    with pytest.raises(InputError, match="delimiters"):
        delimiter_tokens(policy, ("\n\n",))


def test_only_problems_of_the_condition_are_steered():
    asked = made_asked.made(lengths=(4, 6, 5, 7, 8))
    found, config = prepared("steering-conditional", asked, trials=24)
    plain = ELICITATIONS["plain"].answer(asked, None, {}).completions
    [yes, no] = [
        ELICITATIONS[name].answer(asked, config, found)
        for name in ("steering-conditional", "steering-unconditional")
    ]
    met = yes.facts["met"] == 1
    assert 0 < met.sum() < len(met)
    assert (no.facts["met"] == ~met).all()
    for given, steered in ((yes, met), (no, ~met)):
        assert ((given.costs.steered > 0) <= steered).all()
        left = np.flatnonzero(~steered)
        assert [given.completions.texts[row] for row in left] == [plain.texts[row] for row in left]
        assert (given.costs.passes == given.completions.lengths + 1).all()
    # The condition by hand: mean states of prompts, cosines from the middle.
    for index, problem in enumerate(asked.problems.problems):
        away = state(asked, asked.policy.tokenizer(problem.prompt)["input_ids"]).mean(axis=0) - found["middle"]
        assert (unit(away) @ unit(found["condition"]) > 0) == met[index * 3]
    with pytest.raises(UsageError, match="cosine"):
        ELICITATIONS["steering-conditional"].answer(asked, replace(config, threshold=2.0), found)


@pytest.mark.parametrize("name", ["steering-mean", "steering-other", "steering-random"])
def test_doses_of_equal_effect_move_the_law_by_the_same_amount(name):
    asked = made_asked.made(tokens=6)
    found, config = prepared(name, asked, trials=24, kl=0.05, dose=-1.0)
    assert found["dose"][0] < 0, "the sign of the dose is kept"
    trial = replace(asked, streams=asked.streams.child("elicit", "steering"))
    drawn = asked.policy.draw(asked.development.problems, range(1), trial.streams, asked.limits)
    one = intervention(asked, config, found, config.where)
    # By hand: the steered law of whole texts against the plain law, token by token.
    total, count = 0.0, 0
    for row in range(len(drawn)):
        start = len(drawn.prompts.row(int(drawn.problem[row])))
        tokens = torch.tensor(np.concatenate([drawn.prompts.row(int(drawn.problem[row])), drawn.row(row)]))[
            None
        ].long()

        def push(hidden, start=start):
            moved = hidden.clone()
            moved[:, start:] += float(one.coefficient) * torch.tensor(one.vector, dtype=hidden.dtype)
            return moved

        laws = []
        for hooks in ([one.site.hook(asked.policy.model, "push", push)], []):
            with hooked(asked.policy.model, hooks), torch.no_grad():
                laws.append(asked.policy.model(tokens).logits[0, start - 1 : -1].double().log_softmax(-1))
        total += float((laws[0].exp() * (laws[0] - laws[1])).sum())
        count += tokens.shape[1] - start
    assert total / count == pytest.approx(0.05, rel=0.02)


def test_a_divergence_that_forgets_the_steering_is_found_out(monkeypatch):
    """The broken twin: it compares the plain law with itself, so no dose reaches the effect."""
    asked = made_asked.made(tokens=6)
    monkeypatch.setattr(SteeredPolicy, "divergence", lambda self, texts: np.zeros(len(texts.tokens)))
    with pytest.raises(InputError, match="no dose up to"):
        prepared("steering-other", asked, trials=2, kl=0.05)


def test_a_transient_vector_has_no_effect_that_can_be_measured():
    with pytest.raises(UsageError, match="transient"):
        prepared("steering-other", made_asked.made(tokens=4), trials=2, kl=0.05, persistent=False)


def test_places_of_tokens_are_written_ones_only():
    from keyturn.policies.sites import Places

    token = torch.tensor([[3, 4, 3, 5]])
    position = torch.arange(4)[None]
    places = Places(
        position, torch.tensor([[2]]), token, torch.ones_like(token, dtype=torch.bool), position, position
    )
    assert AtTokens(tokens=(3, 5))(places).tolist() == [[False, False, True, True]]
