"""A made-up frontier with every kind of way, for the page and its tests."""

import numpy as np

from keyturn.auditing.frontier_result import FrontierResult, Told
from keyturn.core.streams import Streams
from keyturn.measures.frontier import NULL, PLAIN, TUNED, Way, frontier_of

PROBLEMS = 48


def _way(name, kind, p, seed, *, told=False, control=(), **costs):
    dice = np.random.default_rng(seed)
    rates = dice.binomial(8, np.clip(p + dice.normal(0, 0.1, PROBLEMS), 0, 1)) / 8
    usual = {"generated": 20.0, "seconds": 0.01, "before": 0.0, "examples": 0.0, "weights": 0.0}
    known = {**usual, "steered": 0.0, "teacher_bits": 0.0, **costs}
    columns = {cost: np.full(PROBLEMS, value) for cost, value in known.items()}
    return Way(name=name, kind=kind, success=rates, costs=columns, told=told, control=control)


def made_up(extra="", *, tuned=True):
    """The frontier; ``extra`` is text from outside that is put wherever there is some."""
    ways = [
        _way(PLAIN, "base", 0.25, 1),
        _way(NULL, "null", 0.25, 2),
        *(
            [_way(TUNED, "tuned", 0.8, 3, weights=350_000.0, before=42.0, examples=float("nan"))]
            if tuned
            else []
        ),
        _way("few-shot" + extra, "prompt", 0.4, 4, generated=24.0, examples=4.0),
        _way("zero-shot", "prompt", 0.2, 5, generated=40.0),
        _way("self-consistency", "elicitation", 0.6, 6, generated=320.0, seconds=0.2, control=(PLAIN,)),
        _way("cot-decoding", "elicitation", 0.5, 7, generated=200.0, seconds=0.15, control=("zero-shot",)),
        _way("steering-mean", "elicitation", 0.3, 8, steered=1.0, before=4.0, examples=24.0),
        _way("steering-random", "control", 0.2, 9, steered=1.0, before=4.0),
        _way("best-of-n-verifier", "elicitation", 0.7, 10, generated=320.0, seconds=0.2, told=True),
        _way("sft", "training", 0.7, 11, weights=340_000.0, before=30.0, examples=200.0),
    ]
    told = {way.name: Told(summary="what it does" + extra, source="somebody" + extra, cost="") for way in ways}
    told["sft"] = Told(summary="imitate", source="ours", cost="200 steps", at_most=("examples",))
    return FrontierResult(
        name="made-up" + extra,
        base="base" + extra,
        tuned="tuned" + extra if tuned else "",
        problems="problems" + extra,
        run="/runs/made-up" + extra,
        frontier=frontier_of(ways, "few-shot" + extra, Streams(0), resamples=400),
        told=told,
        draws=8,
        unit="right answers",
        left_out={"tip" + extra: "no word is one token" + extra},
        notes=("The best prompt was chosen on 24 other problems." + extra,),
        seconds=12.0,
    )
