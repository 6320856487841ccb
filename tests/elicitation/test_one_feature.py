"""One reasoning feature: the latent is the one that tells the conditions apart, and the first step alone is
steered."""

from dataclasses import replace

import made_asked
import numpy as np
import pytest
import torch

from keyturn.core.errors import UsageError
from keyturn.elicitation import ELICITATIONS, one_feature
from keyturn.policies.hooks import hooked
from keyturn.policies.sites import Site

ONE, RANDOM = ELICITATIONS["one-feature"], ELICITATIONS["feature-random"]
SMALL = {"latents": 24, "k": 3, "epochs": 20, "trials": 3, "dose": 2.0, "layer": 1}
FEATURE = replace(ONE.config, **SMALL, trigger=" w9 w4", shortlist=3)


def state(asked, text):
    seen = []
    hook = Site(layer=1).hook(asked.policy.model, "look", lambda hidden: seen.append(hidden[0, -1]))
    with hooked(asked.policy.model, [hook]), torch.no_grad():
        asked.policy.model(torch.tensor([asked.policy.tokenizer(text)["input_ids"]]))
    return seen[0].double().numpy()


def first_law(asked, text, push):
    """The law of the first token with a vector added at the prompt's last one, by a hook of this test."""

    def change(hidden):
        moved = hidden.clone()
        moved[:, -1] += torch.tensor(push, dtype=hidden.dtype)
        return moved

    hook = Site(layer=1).hook(asked.policy.model, "push", change)
    with hooked(asked.policy.model, [hook]), torch.no_grad():
        ids = torch.tensor([asked.policy.tokenizer(text)["input_ids"]])
        return asked.policy.model(ids).logits[0, -1].double().log_softmax(-1).numpy()


def first_tokens_fit(asked, given, pushes):
    """Whether every answer's first token has the log-probability that the pushed prompt gives it."""
    drawn = given.completions
    for row in range(len(drawn)):
        problem = asked.problems.problems[int(drawn.problem[row])]
        law = first_law(asked, problem.prompt, pushes[int(drawn.draw[row]) % len(pushes)])
        if not np.isclose(law[drawn.row(row)[0]], drawn.logprobs[drawn.offsets[row]], atol=1e-3):
            return False
    return True


def test_the_latent_tells_the_trigger_and_is_the_best_of_those_that_were_tried():
    asked = made_asked.made()
    found = ONE.prepare(asked, FEATURE)
    sparse = one_feature.autoencoder(asked, FEATURE).sparse
    plain, begun = (
        np.array([state(asked, one.prompt + words) for one in asked.development.problems])
        for words in ("", " w9 w4")
    )
    apart = sparse.encode(begun).mean(axis=0) - sparse.encode(plain).mean(axis=0)
    tried = np.argsort(-apart, kind="stable")[: len(found["screened"])]
    latent = int(found["latent"][0])
    assert latent == tried[int(np.argmax(found["screened"]))]
    assert found["difference"][0] == pytest.approx(apart[latent], abs=1e-3)
    assert np.allclose(found["vector"], sparse.w_dec[latent])
    assert found["norm"][0] == pytest.approx(np.linalg.norm([*plain, *begun], axis=1).mean(), rel=1e-4)
    assert ONE.examples(asked, FEATURE) == 2
    assert ONE.examples(asked, replace(FEATURE, shortlist=1)) == 0


@pytest.mark.parametrize("persistent", [True, False])
def test_the_first_step_alone_is_steered(persistent):
    asked = made_asked.made(tokens=5)
    config = replace(FEATURE, persistent=persistent, shortlist=1)
    found = ONE.prepare(asked, config)
    given = ONE.answer(asked, config, found)
    push = found["vector"] * found["norm"][0] * 2.0
    assert first_tokens_fit(asked, given, [push])
    assert not first_tokens_fit(asked, given, [-push]), "the broken twin steers the other way"
    assert (given.costs.steered == 1).all()
    assert (given.costs.passes == given.completions.lengths + (not persistent)).all()


def test_random_latents_take_turns_over_draws():
    asked = made_asked.made(draws=range(4), tokens=4)
    config = replace(RANDOM.config, **SMALL, number=3)
    found = RANDOM.prepare(asked, config)
    assert len(set(found["latents"].tolist())) == 3
    given = RANDOM.answer(asked, config, found)
    pushes = found["vectors"] * found["norm"][0] * 2.0
    assert first_tokens_fit(asked, given, list(pushes))
    assert not first_tokens_fit(asked, given, [pushes[1], pushes[2], pushes[0]])
    with pytest.raises(UsageError, match="share one dose"):
        RANDOM.prepare(asked, replace(config, kl=0.1))


def test_senseless_settings_are_refused():
    asked = made_asked.made()
    with pytest.raises(UsageError, match="--trigger"):
        ONE.prepare(asked, replace(FEATURE, trigger=""))
    with pytest.raises(UsageError, match="senseless sizes"):
        ONE.prepare(asked, replace(FEATURE, k=99))
    with pytest.raises(UsageError, match="--shortlist"):
        ONE.prepare(asked, replace(FEATURE, shortlist=0))
