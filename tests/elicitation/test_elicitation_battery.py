"""Every elicitation method: neutral is plain, nothing is left on the model, costs are counted, streams
decide all."""

from dataclasses import replace

import made_asked
import numpy as np
import pytest
import torch

from keyturn.core.errors import KeyturnError, UsageError
from keyturn.core.streams import Streams
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.contract import NEEDS, Costs, Elicitation
from keyturn.elicitation.stage import elicit, hooks_on, untouched
from keyturn.lab.lab import Lab

GEPA = ("gepa", "gepa-answers", "gepa-coins")
NIM = tuple(name for name in ELICITATIONS if name.startswith("nim-search"))
"""Methods for one game: the same models, asked positions of it."""
TOOLS = {
    "understand": "w3 w9",
    "recall": "w4",
    "examine": "w5",
    "backtrack": "w6",
    "ask": "w7",
    "tool_tokens": 3,
}
LATENTS = {"latents": 16, "k": 3, "epochs": 3, "trials": 2, "dose": 1.0, "layer": 1}
VECTORS = {
    "trials": 4,
    "steps": 2,
    "epochs": 1,
    "grid": 2,
    "kinds": 2,
    "words": 1,
    "clustering": 3,
    "rate": 0.3,
}
SMALL = {
    "few-shot": {"shots": 2},
    "zero-shot": {"extract_tokens": 3},
    "forced-opener": {"openers": (" w7", " w8 w9"), "first_tokens": 1, "trials": 2},
    **{name: {"instruction": "w7 w9", "between": " ", "budget": 0} for name in GEPA},
    **{
        f"prefix-search{arm}": {"longest": 2, "likely": 2, "random": 2, "budget": 40}
        for arm in ("", "-answers", "-coins")
    },
    "no-thinking": {"thought": "w5 w6 ", "samples": 2},
    "self-consistency": {"samples": 3},
    "confident-vote": {"samples": 4, "window": 3},
    "best-of-n": {"samples": 3},
    "best-of-n-verifier": {"samples": 3},
    "budget-more": {"wait": " w9", "end": "w11"},
    "budget-less": {"budget": 4, "close": " w8", "end": "w11", "answer_tokens": 2},
    "answer-prompt": {"close": " w8", "answer_tokens": 2},
    "revision": {"rounds": 1, "request": "w3 w9"},
    "cot-decoding": {"k": 4, "span": "appended", "ask": " w9", "ask_tokens": 3},
    "cot-decoding-sum": {"k": 4},
    "cot-branches-vote": {"k": 3},
    "power": {"alpha": 2.0, "block": 6, "steps": 1},
    "power-smc": {"alpha": 2.0, "particles": 4, "bridge": 3},
    "steering-mean": {"trials": 24, "dose": 0.5},
    "steering-pca": {"contrast": "trigger", "trigger": " w9 w4", "dose": 0.5, "where": "first_step"},
    "steering-logistic": {"trials": 24, "dose": 0.5, "persistent": False},
    "steering-random": {"contrast": "trigger", "trigger": " w9 w4", "dose": 0.5, "where": "all"},
    "perturbed-vote": {"voters": 2, "population": 3, "trials": 2},
    "perturbed-random-vote": {"voters": 2},
    "route-threshold": {"think": " w9 w4", "short": " w8", "threshold": 0.3},
    "route-benefit": {"think": " w9 w4", "trials": 2, "layer": 1},
    **{f"route-{name}": {"think": " w9 w4"} for name in ("unsure", "length", "random")},
    "route-oracle": {"think": " w9 w4", "trials": 6},
    **dict.fromkeys(("tools", "tools-inlined", "tools-vote"), TOOLS),
    "tools-neutral": {**TOOLS, "filler": "w30"},
    **{
        f"abstraction{name}": {"request": "w3 w9", "lead": "w4", "hint_tokens": 3, "abstractions": 2}
        for name in ("", "-mismatched", "-alone")
    },
    **{name: {"simulations": 3} for name in NIM},
    "nim-search-oracle": {"simulations": 3, "trials": 3},
    "power-ahead": {"alpha": 2.0, "rollouts": 2, "candidates": 2, "horizon": 2},
    "one-feature": {**LATENTS, "trigger": " w9 w4", "shortlist": 2},
    "feature-random": {**LATENTS, "number": 3},
    "steering-other": {"trials": 4, "dose": 0.5},
    "steering-answer": {"dose": 0.5, "lead": " w7 "},
    "steering-delimiter": {
        "dose": 0.5,
        "delimiters": tuple(f"w{i}" for i in range(2, 20)),
        "reflection": tuple(f"w{i}" for i in range(20, 30)),
        "trials": 4,
    },
    "steering-conditional": {"trials": 24, "dose": 0.5, "threshold": -1.0},
    "steering-unconditional": {"trials": 24, "kl": 0.2},
    **{name: {"words": ("w9", "w11"), "duration": 3} for name in ("tip", "tip-flipped", "tip-random")},
    "hybrid-divergence": {"share": 0.4, "trials": 1},
    "hybrid-entropy": {"share": 0.4, "trials": 1},
    "hybrid-planning": {"words": ("w9", "w11", "w13", "w20")},
    "hybrid-backwards": {"trials": 1},
    "hybrid-random": {"trials": 1},
    "hybrid-student": {"trials": 1, "layer": 1},
    **{name: VECTORS for name in ELICITATIONS if name.startswith("hybrid-vectors")},
}
"""Settings that are quick and in the made models' words."""


def given(name, family="llama"):
    """What a method is asked in these tests."""
    return made_asked.of_nim(family) if name in NIM else made_asked.made(family)


def small(method):
    """The method's settings for these tests."""
    if method.config is None:
        return None
    return replace(method.config, **SMALL.get(method.name, {}))


def neutral(method):
    """Its neutral settings, in words that the made models know."""
    if method.name.startswith("tip") or method.name == "hybrid-planning":
        return replace(method.neutral, words=("w9", "w11"))
    if method.name == "steering-delimiter":
        return replace(method.neutral, delimiters=("w9",))
    return method.neutral


def run(method, asked, config):
    prepared = method.prepare(asked, config) if method.prepare is not None else {}
    return method.answer(asked, config, prepared)


def same(one, other):
    """Whether two results hold the same answers, to the last bit of the record."""
    one, other = one.completions, other.completions
    return (
        np.array_equal(one.tokens, other.tokens)
        and np.array_equal(one.offsets, other.offsets)
        and np.array_equal(one.stop, other.stop)
        and np.array_equal(one.logprobs, other.logprobs, equal_nan=True)
        and np.array_equal(one.draw, other.draw)
        and one.texts == other.texts
    )


def check_neutral(method, asked):
    assert same(run(method, asked, neutral(method)), run(ELICITATIONS["plain"], asked, None))


def check_untouched(method, asked):
    model = asked.policy.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    untouched(asked, lambda: run(method, asked, small(method)))
    assert hooks_on(asked) == 0
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def check_streams(method, asked):
    config = small(method)
    found = run(method, asked, config)
    assert same(found, run(method, asked, config))
    prepared = method.prepare(asked, config) if method.prepare is not None else {}
    alone = method.answer(asked.of(asked.problems.problems[1:2]), config, prepared)
    rows = np.flatnonzero(found.completions.problem == 1)
    assert alone.completions.texts == tuple(found.completions.texts[row] for row in rows)
    few = method.answer(replace(asked, draws=range(1, 2)), config, prepared)
    rows = np.flatnonzero(found.completions.draw == 1)
    assert few.completions.texts == tuple(found.completions.texts[row] for row in rows)


def check_costs(method, asked, monkeypatch):
    """Costs are what a spy at the decoder counts, which knows nothing of the method."""
    seen = {"generated": 0, "read": 0}
    from keyturn.policies import sampler

    own = sampler.decode

    def spied(model, rows, *args, **kwargs):
        drawn = own(model, rows, *args, **kwargs)
        seen["generated"] += int(drawn.lengths.sum())
        seen["read"] += sum(len(rows.prompts[i]) for i in rows.prompt.tolist())
        return drawn

    prepared = method.prepare(asked, small(method)) if method.prepare is not None else {}
    monkeypatch.setattr(sampler, "decode", spied)
    costs = method.answer(asked, small(method), prepared).costs
    monkeypatch.undo()
    # What is paid once for a problem is shared among its answers, in fractions.
    assert costs.generated.sum() == pytest.approx(seen["generated"], rel=1e-12)
    assert costs.read.sum() == pytest.approx(seen["read"], rel=1e-12)
    assert (costs.passes >= costs.generated).all()


def check_shape(method, asked):
    found = run(method, asked, small(method))
    rows = len(asked.problems.problems) * len(asked.draws)
    assert len(found.completions) == rows
    assert found.completions.prompts.ids == tuple(p.id for p in asked.problems.problems)
    assert found.completions.draw.tolist() == list(asked.draws) * len(asked.problems.problems)
    for column in (*found.costs.columns().values(), *found.facts.values()):
        assert column.shape == (rows,)
        assert np.isfinite(column).all()
    return found


CHECKS = {
    "neutral": check_neutral,
    "untouched": check_untouched,
    "streams": check_streams,
    "shape": check_shape,
}


@pytest.mark.parametrize("name", ELICITATIONS)
def test_a_method_says_what_it_is(name):
    method = ELICITATIONS[name]
    assert method.name == name
    assert all((method.summary, method.source, method.cost))
    assert set(method.control) <= set(ELICITATIONS)
    assert name not in method.control
    assert method.control or name == "plain"
    assert method.needs <= set(NEEDS)
    assert type(method.config) is type(method.neutral)
    assert method.config is None or method.config != method.neutral


ONCE = {
    *(f"hybrid-vectors-{arm}" for arm in ("bias", "random", "random-above-bias", "random-kind", "coefficient")),
    *(f"nim-search-{arm}" for arm in ("rules", "random", "oracle")),
}
"""Controls that read and write as another method does, and differ in the numbers that are added: one
architecture is enough."""


@pytest.mark.parametrize(
    ("name", "family"),
    [(name, kind) for name in ELICITATIONS for kind in made_asked.STOCK[: 1 if name in ONCE else None]],
)
def test_a_method_on_a_stock_architecture(name, family):
    asked = given(name, family)
    found = [check(ELICITATIONS[name], asked) for check in CHECKS.values()][-1]
    # A search may find nothing on two problems; what it finds is tested in a file of its own.
    if family == made_asked.STOCK[0] and name != "plain" and not name.startswith("prefix-search"):
        # A method that does nothing at these settings would pass all checks.
        assert not same(found, plainly(asked))


@pytest.mark.parametrize("name", [name for name in ELICITATIONS if name != "power-smc"])
def test_costs_are_what_the_decoder_saw(name, monkeypatch):
    check_costs(ELICITATIONS[name], given(name, "qwen"), monkeypatch)


def test_costs_of_particles_are_the_tokens_of_all_of_them(monkeypatch):
    """They are written by a decoder of their own. Without resampling every token is in some particle's text."""
    from keyturn.elicitation import power_smc

    found, own = [], power_smc.particles

    def kept(*args, **kwargs):
        found.append(own(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(power_smc, "particles", kept)
    method, asked = ELICITATIONS["power-smc"], made_asked.made("qwen")
    costs = run(method, asked, replace(small(method), threshold=0.0)).costs
    assert costs.generated.sum() == sum(one.lengths.sum() for one in found)
    prompts = np.diff(asked.policy.prompts(asked.problems.problems).offsets)
    assert costs.read.tolist() == np.repeat(4.0 * prompts, len(asked.draws)).tolist()
    assert (costs.passes == costs.generated).all()


@pytest.mark.parametrize("name", [name for name, method in ELICITATIONS.items() if method.needs])
def test_what_a_method_needs_is_asked_for_in_one_line(name):
    bare = replace(made_asked.made(), policy=Silent(), development=None, exemplars=())
    with pytest.raises(UsageError, match=name) as refused:
        ELICITATIONS[name].check(bare)
    assert refused.value.fix


class Silent:
    fingerprint = "silent"

    def draw(self, *_):
        raise AssertionError


def plainly(asked):
    return run(ELICITATIONS["plain"], asked, None)


def never_neutral(asked, config, prepared):
    found = plainly(replace(asked, streams=Streams(99)))
    return found


def changes_weights(asked, config, prepared):
    with torch.no_grad():
        next(asked.policy.model.parameters()).add_(1e-7)
    return plainly(asked)


def leaves_a_hook(asked, config, prepared):
    asked.policy.model.register_forward_hook(lambda *_: None)
    return plainly(asked)


def depends_on_others(asked, config, prepared):
    return plainly(replace(asked, streams=Streams(len(asked.problems.problems))))


def counts_nothing(asked, config, prepared):
    found = plainly(asked)
    return replace(found, costs=Costs.nothing(len(found.completions)))


def loses_a_row(asked, config, prepared):
    found = plainly(asked)
    return Elicitation(completions=found.completions.select(np.arange(1)), costs=found.costs)


TWINS = {
    never_neutral: "neutral",
    changes_weights: "untouched",
    leaves_a_hook: "untouched",
    depends_on_others: "streams",
    loses_a_row: "shape",
}


@pytest.mark.parametrize("broken", TWINS, ids=lambda one: one.__name__)
def test_a_broken_twin_is_rejected(broken):
    twin = replace(ELICITATIONS["plain"], answer=broken)
    with pytest.raises((AssertionError, KeyturnError)):
        CHECKS[TWINS[broken]](twin, made_asked.made())


def test_a_twin_that_counts_nothing_is_rejected(monkeypatch):
    twin = replace(ELICITATIONS["plain"], answer=counts_nothing)
    with pytest.raises(AssertionError):
        check_costs(twin, made_asked.made(), monkeypatch)


@pytest.mark.parametrize("name", ["self-consistency", "forced-opener"])
def test_stages_give_what_the_method_gives_and_are_found_again(name, tmp_path):
    method, asked = ELICITATIONS[name], made_asked.made()
    found = elicit(Lab(tmp_path, asked.streams), method, small(method), asked)
    assert same(found.elicitation, run(method, asked, small(method)))
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.glob("stages/*/DONE"))
    again = elicit(Lab(tmp_path, asked.streams), method, small(method), asked)
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.glob("stages/*/DONE")) == before
    for one, other in zip(
        found.elicitation.costs.columns().values(), again.elicitation.costs.columns().values(), strict=True
    ):
        assert np.array_equal(one, other)
    elicit(Lab(tmp_path, asked.streams), method, method.neutral, asked)
    assert len(list(tmp_path.glob("stages/elicit-*/DONE"))) > len(before), "other settings are other work"
