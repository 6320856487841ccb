"""Power sampling and Power-SMC against the exact law of a small space; CoT-decoding and TIP by hand."""

import functools
import itertools
from dataclasses import replace

import made_asked
import numpy as np
import pytest
import small_models
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from keyturn.core.errors import InputError, UsageError
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation import power as power_file
from keyturn.elicitation.cot_decoding import BranchConfig, branches, place_of
from keyturn.elicitation.tip import SwitchPenalty, young_tokens
from keyturn.policies.interventions import Intervention
from keyturn.policies.laws import likely, log_partitions
from keyturn.policies.local import LocalPolicy
from keyturn.policies.sites import Site
from keyturn.policies.steered import SteeredPolicy

WORDS = ("w0", "<end>", "w2", "w3")
LONGEST = 4
ALPHA = 2.5
STEPS = 8
DRAWS = 1500
PROMPT = [2, 3, 0]


@pytest.fixture(scope="module")
def policy():
    """Four tokens, one of which ends: answers of up to four tokens can be written down."""
    changes = {"vocab_size": len(WORDS), "num_key_value_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(**small_models.SIZES, **(small_models.COMMON | changes)))
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="w0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>")
    return LocalPolicy(small_models.spread(model, std=0.25, seed=7), tokenizer)


def asked_for(policy, draws):
    asked = made_asked.asked_of(policy, draws=range(draws), tokens=LONGEST, lengths=(3,))
    [problem] = asked.problems.problems
    limits = replace(asked.limits, batch_rows=8192)
    return replace(asked.of([replace(problem, prompt="w2 w3 w0")]), limits=limits)


def space(horizon):
    """Every answer of up to ``horizon`` tokens."""
    others = [token for token in range(len(WORDS)) if token != 1]
    ended = [(*body, 1) for size in range(horizon) for body in itertools.product(others, repeat=size)]
    return ended + list(itertools.product(others, repeat=horizon))


@functools.cache
def laws(policy, answer):
    """Log-probabilities of the next token before each token of an answer, ``[token, vocab]``: a plain
    forward."""
    with torch.no_grad():
        found = policy.model(torch.tensor([[*PROMPT, *answer]])).logits[0].double().log_softmax(-1)
    return found[len(PROMPT) - 1 :].numpy()


def exact(policy, alpha, horizon=LONGEST):
    """Every answer with its probability under ``p ^ alpha``, normalised: by enumeration."""
    found = space(horizon)
    logs = np.array([sum(laws(policy, one)[i, token] for i, token in enumerate(one)) for one in found])
    assert abs(np.exp(logs).sum() - 1) < 1e-5, "the space is whole"
    law = np.exp(alpha * logs)
    return dict(zip(found, law / law.sum(), strict=True))


def proposal(policy, answer, start):
    """Log-probability under ``p ^ alpha``, normalised at each place, and ``log Z``, of the tokens from
    ``start`` on."""
    sharp = ALPHA * laws(policy, answer)
    partition = np.log(np.exp(sharp).sum(-1))
    places = range(start, len(answer))
    return (
        sum(sharp[i, answer[i]] - partition[i] for i in places),
        sum(partition[i] for i in places),
    )


def chain(policy, horizon, factor=True):
    """The Metropolis-Hastings kernel written out, ``[answer, answer]``; without the factor of lengths as a
    twin."""
    found = space(horizon)
    kernel = np.zeros((len(found), len(found)))
    for a, old in enumerate(found):
        for i in range(len(old)):
            for b, new in enumerate(found):
                if new[:i] == old[:i] and len(new) > i:
                    chance, weight = proposal(policy, new, i)
                    ratio = np.exp(weight - proposal(policy, old, i)[1]) * (
                        len(old) / len(new) if factor else 1
                    )
                    kernel[a, b] += np.exp(chance) / len(old) * min(1, ratio)
        kernel[a, a] += 1 - kernel[a].sum()
    return kernel


def lengthened(policy, law, start, horizon):
    """A law over answers of up to ``start`` tokens, after those that have not ended are drawn on to
    ``horizon``."""
    out = dict.fromkeys(space(horizon), 0.0)
    for new in out:
        for old, chance in law.items():
            if new == old:
                out[new] += chance
            elif len(old) == start and old[-1:] != (1,) and new[:start] == old and len(new) > start:
                out[new] += chance * np.exp(proposal(policy, new, start)[0])
    return out


def after(policy, block, steps):
    """The law of blockwise sampling with a finite number of steps, written out."""
    law, done = {(): 1.0}, 0
    for horizon in range(block, LONGEST + 1, block):
        law = lengthened(policy, law, done, horizon)
        moved = np.array(list(law.values())) @ np.linalg.matrix_power(chain(policy, horizon), steps)
        law, done = dict(zip(law, moved, strict=True)), horizon
    return law


def apart(completions, law):
    """Total variation between what was drawn and a law."""
    count = dict.fromkeys(law, 0)
    for row in range(len(completions)):
        count[tuple(completions.row(row).tolist())] += 1
    return 0.5 * sum(abs(count[key] / len(completions) - law[key]) for key in law)


def by_chance(law, draws):
    """Total variation that independent exact draws stay below 999 times in 1000."""
    dice = np.random.default_rng(0)
    shares = np.array(list(law.values()))
    drawn = dice.multinomial(draws, shares / shares.sum(), size=2000) / draws
    return float(np.quantile(0.5 * np.abs(drawn - shares).sum(1), 0.999))


def elicited(name, policy, draws, **settings):
    method = ELICITATIONS[name]
    return method.answer(asked_for(policy, draws), replace(method.config, alpha=ALPHA, **settings), {})


@pytest.mark.slow
def test_the_chain_keeps_the_exact_law_and_without_the_factor_of_lengths_another(policy):
    law = np.array(list(exact(policy, ALPHA).values()))
    assert np.abs(law @ chain(policy, LONGEST) - law).max() < 1e-12
    assert np.abs(law @ chain(policy, LONGEST, factor=False) - law).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("block", [LONGEST, 2])
def test_power_sampling_draws_what_the_chain_written_out_gives(policy, block):
    law = after(policy, block, STEPS)
    found = elicited("power", policy, DRAWS, steps=STEPS, block=block)
    assert apart(found.completions, law) < by_chance(law, DRAWS)
    start = elicited("power", policy, DRAWS, steps=0)
    assert apart(start.completions, law) > 2 * by_chance(law, DRAWS), "low temperature is another law"
    # The chain comes nearer to the target than where it starts.
    target = exact(policy, ALPHA)
    assert apart(found.completions, target) < 0.6 * apart(start.completions, target)


@pytest.mark.slow
def test_a_sampler_without_the_factor_of_lengths_is_rejected(policy, monkeypatch):
    """Twin: the released loop's ratio."""

    def ratio(self, row, place, tokens, weights):
        return float(weights.sum() - self.weights[row][place:].sum())

    monkeypatch.setattr(power_file.Chains, "log_ratio", ratio)
    law = after(policy, LONGEST, STEPS)
    found = elicited("power", policy, DRAWS, steps=STEPS, block=LONGEST)
    assert apart(found.completions, law) > by_chance(law, DRAWS)


@pytest.mark.slow
def test_power_sampling_knows_the_probability_of_its_answers(policy):
    found = elicited("power", policy, 20, steps=3, block=2)
    law = exact(policy, 1.0)
    own = [np.log(law[tuple(found.completions.row(row).tolist())]) for row in range(20)]
    assert np.allclose(found.facts["logprob"], own, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("bridge", "threshold"), [(0, 0.5), (3, 1.0)])
def test_particles_tend_to_the_exact_law(policy, bridge, threshold):
    law = exact(policy, ALPHA)
    few, many = (
        elicited("power-smc", policy, DRAWS, particles=n, bridge=bridge, threshold=threshold) for n in (2, 64)
    )
    assert apart(many.completions, law) < by_chance(law, DRAWS)
    assert apart(few.completions, law) > apart(many.completions, law)
    assert many.facts["resampled"].max() > 0
    found = elicited("power-smc", policy, 20, particles=8, bridge=bridge)
    plain = exact(policy, 1.0)
    own = [np.log(plain[tuple(found.completions.row(row).tolist())]) for row in range(20)]
    assert np.allclose(found.facts["logprob"], own, atol=1e-4)


@pytest.mark.slow
def test_particles_whose_ended_texts_gain_nothing_miss(policy, monkeypatch):
    """Twin: a weight that forgets what an ended text gains while the exponent grows."""
    from keyturn.policies import particles

    def write(self, step, exponent, previous, uniform):
        before, done = self.logweights.clone(), self.done.clone()
        token = own(self, step, exponent, previous, uniform)
        self.logweights = torch.where(done, before, self.logweights)
        return token

    own = particles._State.write
    monkeypatch.setattr(particles._State, "write", write)
    law = exact(policy, ALPHA)
    found = elicited("power-smc", policy, DRAWS, particles=64, bridge=3)
    assert apart(found.completions, law) > by_chance(law, DRAWS)


def test_particles_count_every_token_that_was_chosen(policy):
    asked = made_asked.made(tokens=7, draws=range(2))
    asked.policy.model.generation_config.eos_token_id = None
    asked.policy.model.config.eos_token_id = None
    asked.policy.tokenizer.eos_token = None
    assert asked.policy.ends == ()
    method = ELICITATIONS["power-smc"]
    costs = method.answer(asked, replace(method.config, particles=5), {}).costs
    assert costs.generated.tolist() == [5 * 7] * 6
    assert costs.read.tolist() == [5 * 4] * 2 + [5 * 6] * 2 + [5 * 5] * 2


def test_power_sampling_wants_sensible_numbers(policy):
    for name, settings in (
        ("power", {"alpha": 0.0}),
        ("power", {"steps": -1}),
        ("power-smc", {"particles": 0}),
        ("power-smc", {"threshold": 2.0}),
    ):
        method = ELICITATIONS[name]
        with pytest.raises(UsageError):
            method.answer(asked_for(policy, 1), replace(method.config, **settings), {})


def test_branches_begin_with_the_likeliest_tokens_and_are_greedy_behind_them():
    asked = made_asked.made(lengths=(4,), draws=range(1), tokens=6)
    found = branches(asked, BranchConfig(k=5))
    policy = asked.policy
    [problem] = asked.problems.problems
    prompt = policy.prompts([problem]).row(0).tolist()
    with torch.no_grad():
        law = policy.model(torch.tensor([prompt])).logits[0, -1].softmax(-1)
        for rank, token in enumerate(law.topk(5).indices.tolist()):
            written = found.drawn.row(rank).tolist()
            assert written[0] == token
            for place in range(1, len(written)):
                tokens = torch.tensor([[*prompt, *written[:place]]])
                assert int(policy.model(tokens).logits[0, -1].argmax()) == written[place]


def test_delta_is_the_mean_margin_on_the_answer():
    asked = made_asked.made(lengths=(4,), draws=range(1), tokens=6)
    found = branches(asked, BranchConfig(k=3))
    policy = asked.policy
    prompt = policy.prompts(asked.problems.problems).row(0).tolist()
    for row in range(3):
        written = found.drawn.row(row).tolist()
        words = found.drawn.texts[row].split()
        assert found.answers[row] == words[-1]
        place = len(words) - 1
        with torch.no_grad():
            law = policy.model(torch.tensor([[*prompt, *written[:place]]])).logits[0, -1].softmax(-1)
        two = law.topk(2).values
        assert abs(found.delta[row] - float(two[0] - two[1])) < 1e-5
        assert found.found[row]


def test_the_place_of_an_answer():
    policy = made_asked.made().policy
    tokens = np.array([3, 12, 7, 12, 1], dtype=np.int32)
    text = "w3 w12 w7 w12"
    assert place_of(policy, tokens, text, "w12") == slice(3, 4)
    assert place_of(policy, tokens, text, "w7 w12") == slice(2, 4)
    assert place_of(policy, tokens, text, "w1") is None, "a part of a word is no answer"
    assert place_of(policy, tokens, text, "") is None


def test_the_switch_penalty_by_hand():
    from keyturn.policies.hooks import SoFar

    shaped = SwitchPenalty(switches=(4,), penalised=(4,), penalty=3.0, duration=2)
    tokens = torch.tensor([[9, 9, 5, 5, 5], [9, 9, 5, 5, 4], [9, 9, 5, 4, 5]])
    so_far = SoFar(tokens=tokens, start=2, problem=torch.zeros(3), draw=torch.zeros(3))
    logits = torch.zeros((3, 6))
    assert shaped(so_far, logits)[:, 4].tolist() == [0.0, -3.0, -3.0 if 3 < 1 + 2 else 0.0]
    first = SoFar(tokens=tokens[:, :2], start=2, problem=torch.zeros(3), draw=torch.zeros(3))
    assert shaped(first, logits)[:, 4].tolist() == [-3.0] * 3
    assert not logits.any(), "its argument is left alone"


@pytest.mark.slow
def test_tip_moves_switches_and_its_twins_do_not_or_the_other_way():
    asked = made_asked.made(tokens=24, draws=range(40))
    said = {}
    for name in ("tip", "tip-flipped", "tip-random"):
        config = replace(ELICITATIONS[name].config, words=("w9", "w11"), duration=24)
        found = ELICITATIONS[name].answer(asked, config, {})
        said[name] = found.facts["switches"].sum()
        assert (found.costs.steered <= found.completions.lengths).all()
    plain = ELICITATIONS["plain"].answer(asked, None, {}).completions
    usual = np.isin(plain.tokens, (9, 11)).sum()
    assert said["tip"] < usual < said["tip-flipped"]
    assert abs(said["tip-random"] - usual) < usual - said["tip"]
    assert young_tokens(plain, (), 3).tolist() == np.minimum(plain.lengths, 3).tolist()
    with pytest.raises(InputError, match="one token"):
        ELICITATIONS["tip"].answer(asked, ELICITATIONS["tip"].config, {})


def test_particles_refuse_a_policy_whose_interventions_or_processors_they_would_pass_over(policy):
    push = Intervention(
        name="push", site=Site(layer=0), vector=np.ones(policy.model.config.hidden_size), where="generation"
    )
    penalty = SwitchPenalty(switches=(2,), penalised=(3,), penalty=1.0, duration=2)
    for changed in (SteeredPolicy(policy, [push]), policy.having(processors=(penalty,))):
        with pytest.raises(UsageError, match="written by the model alone"):
            elicited("power-smc", changed, 2)


@pytest.mark.parametrize("least", [0.2, 0.01, 1e-9])
def test_the_likely_answers_are_all_that_are_as_likely_as_that(policy, least):
    law = exact(policy, 1.0)
    found = likely(policy, asked_for(policy, 1).problems.problems, least=least, longest=LONGEST)
    listed = dict(zip(found.tokens, np.exp(found.logprob).tolist(), strict=True))
    wanted = {answer: chance for answer, chance in law.items() if chance >= least}
    assert listed.keys() == wanted.keys()
    assert all(abs(listed[answer] - chance) < 1e-5 for answer, chance in wanted.items())
    assert not found.problem.any()
    with pytest.raises(UsageError, match="probability above 0"):
        likely(policy, [], least=0.0, longest=LONGEST)


def test_the_normaliser_of_every_token_is_the_sum_over_the_vocabulary(policy):
    asked = asked_for(policy, 12)
    drawn = policy.draw(asked.problems.problems, asked.draws, asked.streams, asked.limits)
    found = log_partitions(policy, drawn, (1.0, ALPHA))
    assert np.allclose(found[0], 0, atol=1e-6)
    for row in range(len(drawn)):
        answer = drawn.row(row).tolist()
        wanted = np.log(np.exp(ALPHA * laws(policy, tuple(answer))[: len(answer)]).sum(-1))
        assert np.allclose(found[1][drawn.offsets[row] : drawn.offsets[row + 1]], wanted, atol=1e-4)
