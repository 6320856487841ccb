"""Positions of text as problems: entropy by hand, what is paid, what is filtered, equal cost."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_task import shipped_task

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.lab.fit_rows import demonstration_completions
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session, base_of
from keyturn.methods.rpt import METHOD, RptConfig, direct, plain_steps, texts_in, training_positions
from keyturn.methods.rpt.positions import (
    PrefixGrader,
    Texts,
    band_of,
    filtered,
    pieces,
    positions,
    top_entropies,
)
from keyturn.policies.fit import Row
from keyturn.problems.world.vocabulary import decode

BRIEF = METHOD.brief(RptConfig())


@pytest.fixture(scope="module")
def task():
    return shipped_task("chain")


@pytest.fixture(scope="module")
def found(task, tmp_path_factory):
    """Texts and all their positions, with entropies that rise along a text."""
    texts = texts_in(
        Session(Lab(tmp_path_factory.mktemp("lab"), Streams(0)), task), task.train.problems[:3], BRIEF
    )
    rising = [np.arange(len(item.tokens), dtype=np.float32) / 2 for item in texts.rows]
    return texts, positions(task, texts, rising, "train", first=BRIEF.first, horizon=4, instruction="")


def test_entropy_of_the_most_likely_tokens_by_hand():
    logits = torch.tensor([[math.log(0.5), math.log(0.3), math.log(0.2), -20.0]])
    among = [0.5 / 0.8, 0.3 / 0.8]
    assert float(top_entropies(logits, 2)) == pytest.approx(-sum(p * math.log(p) for p in among), abs=1e-5)
    # The broken twin leaves out the renormalisation.
    assert float(top_entropies(logits, 2)) != pytest.approx(
        -0.5 * math.log(0.5) - 0.3 * math.log(0.3), abs=1e-2
    )
    assert float(top_entropies(logits, 16)) == pytest.approx(1.0297, abs=1e-3)


def test_positions_are_the_text_cut_anywhere(found):
    texts, asked = found
    assert len(asked) == sum(len(item.tokens) - BRIEF.first for item in texts.rows)
    for problem, item in zip(texts.problems, texts.rows, strict=True):
        own = [one for one in asked if one.id.startswith(f"{problem.id}@")]
        assert decode(item.tokens) == f"{problem.prompt} {problem.answer}"
        for one in own:
            at = int(one.id.split("@")[1])
            assert one.prompt == decode(item.tokens[:at])
            assert str(one.facts["continuation"]).split() == decode(item.tokens[at : at + 4]).split()
            assert one.facts["token"] == item.tokens[at]
        assert own[-1].prompt == problem.prompt
        assert own[-1].answer == problem.answer


def test_a_prediction_is_paid_at_the_end_of_a_token(task, found):
    _, asked = found
    one = asked[0]
    words = str(one.facts["continuation"]).split()
    texts = [f"so ANS {words[0]}", f"ANS {words[0]} {words[1]}", f"ANS {words[1]} {words[0]} m", words[0]]
    grader = PrefixGrader(BRIEF.reward)
    paid = [
        grader.grade((one,), demonstration_completions(task.base, [(one, text)])).outcome[0] for text in texts
    ]
    assert paid == [1, 1, 0, 0]


def test_the_filter_keeps_what_is_hard(found):
    _, asked = found
    kept = filtered(asked, 1.5)
    assert 0 < len(kept) < len(asked)
    assert {one.cell["band"] for one in kept} == {"hard"}
    assert [band_of(value) for value in (0.0, 0.5, 1.2, 9.0)] == ["plain", "easy", "medium", "hard"]
    with pytest.raises(UsageError, match="nats"):
        filtered(asked, 99.0)


def test_pieces_make_up_the_text(task):
    tokens = task.base.tokenizer("CH f g 5 ?", add_special_tokens=False)["input_ids"]
    found = pieces(task.base, tokens)
    assert len(found) == len(tokens)
    assert b"".join(found).decode() == "CH f g 5 ?"


def test_equal_cost_by_hand():
    rows = (Row(tokens=np.arange(10, dtype=np.int32), weights=np.ones(10, np.float32) * (np.arange(10) >= 2)),)
    config = replace(RptConfig(), plain=replace(RptConfig().plain, batch_rows=5))
    texts = Texts(problems=(), rows=rows)
    # Eight predicted tokens a row of ten, five rows a step; three passes over each of their fifty tokens.
    assert plain_steps(config, texts, predicted=400) == 10
    assert plain_steps(config, texts, passed=4 * 3000) == 80
    assert plain_steps(config, texts, predicted=1) == 1


def test_the_most_likely_token_is_found_at_once(task, tmp_path):
    given = training_positions(Session(Lab(tmp_path, Streams(0)), task), BRIEF)
    asked = given.every.problems
    right = direct(task, base_of(task), asked)
    model = task.base.model
    for one, hit in zip(asked[:8], right, strict=False):
        tokens = torch.tensor([task.base.tokenizer(one.prompt, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            assert (int(model(input_ids=tokens).logits[0, -1].argmax()) == one.facts["token"]) == hit
