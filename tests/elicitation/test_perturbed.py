"""Random perturbations of the weights: what is drawn, who is chosen, who votes; and it is called training."""

from dataclasses import replace

import made_asked
import numpy as np
import pytest
import small_models
import torch

from keyturn.core.errors import KeyturnError, UsageError
from keyturn.elicitation import ELICITATIONS, perturbed
from keyturn.elicitation.choosing import majority
from keyturn.elicitation.stage import elicit, untouched
from keyturn.lab.lab import Lab
from keyturn.policies.local import LocalPolicy

VOTE = ELICITATIONS["perturbed-vote"]


def by_hand(asked, sigma, number):
    """A second model with the perturbed weights, made without the code under test."""
    model = small_models.family("llama")
    weights = dict(model.named_parameters())
    flat = torch.cat([one.detach().double().reshape(-1) for one in weights.values()])
    size = float((flat**2).mean().sqrt())
    streams = asked.streams.child("elicit", "perturbations")
    with torch.no_grad():
        for name, weight in weights.items():
            noise = streams.generator(number, name).standard_normal(tuple(weight.shape), dtype=np.float32)
            weight.copy_(weight + torch.tensor(noise) * sigma * size)
    return LocalPolicy(model, asked.policy.tokenizer)


def test_scores_members_and_votes_are_those_of_models_made_by_hand():
    asked = made_asked.made()
    config = replace(VOTE.config, sigma=0.3, population=4, voters=3, trials=8)
    found = VOTE.prepare(asked, config)
    models = [by_hand(asked, 0.3, number) for number in range(4)]
    scores = []
    for model in models:
        drawn = model.draw(
            asked.development.problems, range(8), asked.streams.child("elicit", "perturbed"), asked.limits
        )
        scores.append(asked.development.grader.grade(asked.development.problems, drawn).outcome.mean())
    assert np.allclose(found["scores"], scores)
    assert len(set(scores)) > 1, "perturbations differ"
    best = sorted(range(4), key=lambda number: (-scores[number], number))[:3]
    assert found["members"].tolist() == best
    given = VOTE.answer(asked, config, found)
    texts = []
    for place, number in enumerate(best):
        streams = asked.streams if place == 0 else asked.streams.child("perturbed", number)
        drawn = models[number].draw(asked.problems.problems, asked.draws, streams, asked.limits)
        texts.append((drawn.texts, asked.answers(drawn), drawn.lengths))
    for row, text in enumerate(given.completions.texts):
        place, share = majority([answers[row] for _, answers, _ in texts])
        assert text == texts[place][0][row]
        assert given.facts["agreement"][row] == share
        assert given.costs.generated[row] == sum(lengths[row] for _, _, lengths in texts)


def test_perturbations_are_independent_and_of_the_size_that_was_asked_for():
    asked = made_asked.made()
    base = {name: one.detach().clone() for name, one in asked.policy.model.named_parameters()}
    size = perturbed.root_mean_square(asked.policy.model)
    moved = []
    for policy in perturbed.perturbed(asked.policy, 0.1, range(2), asked.streams):
        own = dict(policy.model.named_parameters())
        moved.append(torch.cat([(own[name].detach() - base[name]).reshape(-1) for name in base]) / size)
    for one in moved:
        assert float(one.square().mean().sqrt()) == pytest.approx(0.1, rel=0.05)
    assert abs(float(torch.nn.functional.cosine_similarity(moved[0], moved[1], dim=0))) < 0.05
    assert all(torch.equal(base[name], one) for name, one in asked.policy.model.named_parameters())


def test_it_is_called_training(tmp_path):
    """Weights and examples with answers are in its cost; without a choice no answer is used."""
    asked = made_asked.made()
    config = replace(VOTE.config, sigma=0.1, population=3, voters=2, trials=1)
    done = elicit(Lab(tmp_path, asked.streams), VOTE, config, asked)
    own = sum(one.numel() for one in asked.policy.model.parameters())
    assert done.weights == 2 * own
    assert done.examples == len(asked.development.problems)
    assert VOTE.examples(asked, replace(config, voters=3)) == 0
    assert VOTE.weights(asked, replace(config, sigma=0.0)) == 0
    plain = elicit(Lab(tmp_path, asked.streams), ELICITATIONS["plain"], None, asked)
    assert plain.weights == 0


def test_a_perturbation_that_is_not_taken_back_is_found_out(monkeypatch):
    """The broken twin perturbs the policy that is asked."""
    monkeypatch.setattr(perturbed, "deepcopy", lambda model: model)
    asked = made_asked.made()
    config = replace(VOTE.config, sigma=0.1, population=2, voters=1, trials=1)
    with pytest.raises(KeyturnError, match="weights of the policy were changed"):
        untouched(asked, lambda: VOTE.answer(asked, config, VOTE.prepare(asked, config)))


def test_senseless_numbers_are_refused():
    asked = made_asked.made()
    for settings in ({"voters": 0}, {"sigma": -1.0}, {"population": 2, "voters": 3}, {"trials": 0}):
        with pytest.raises(UsageError):
            VOTE.prepare(asked, replace(VOTE.config, **settings))
