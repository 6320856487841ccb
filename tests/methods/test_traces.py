"""Traces made wrong, foreign or empty: by hand, each with a broken twin; equal tokens."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_task import shipped_task

from keyturn.core.errors import InputError, UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.lab.fit_rows import encoded
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.methods.distill import DistillConfig, material, solutions
from keyturn.methods.token_budget import for_tokens, tokens_a_row
from keyturn.methods.traces import Worked, altered, numbers_in, parted, remade
from keyturn.policies.fit import Row
from keyturn.policies.optimise import FitConfig

CHAINS = ("f 3 4 ; g 4 2 ; ANS 2 EOS", "h 1 5 ; f 5 0 ; ANS 0 EOS", "g 6 6 ; h 6 3 ; ANS 3 EOS")


def worked(texts=CHAINS):
    return [parted(Problem(id=f"p{i}", prompt="?"), text) for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("f 3 4 ; ANS 4 EOS", "ANS 4 EOS"),
        ("2 and 3 make 5.\n#### 5", "#### 5"),
        ("I sum.\nSo the final answer is \\boxed{7}.", "the final answer is \\boxed{7}."),
        ("The answer is not yet known.\n2 + 2 = 4\nAnswer: 4", "Answer: 4"),
        ("= 3", "3"),
        ("none at all", ""),
    ],
)
def test_the_answer_begins_at_the_last_lines_first_mark(text, answer):
    one = parted(Problem(id="p", prompt="?"), text)
    assert one.answer == answer
    assert one.text == text


def form(text):
    return re.sub(r"\d+", "#", text)


def test_an_invalid_trace_keeps_its_form_and_every_number_is_another():
    for one, made in zip(worked(), remade(worked(), "invalid", Streams(0)), strict=True):
        assert form(made.text) == form(one.text)
        assert made.answer == one.answer
        pairs = zip(re.findall(r"\d+", one.trace), re.findall(r"\d+", made.trace), strict=True)
        assert all(a != b for a, b in pairs)


def test_a_twin_that_may_draw_the_same_number_is_caught():
    def twin(text, generator):
        return re.sub(r"\d", lambda _: str(generator.integers(10)), text)

    generator = np.random.default_rng(0)
    same = [twin("1 2 3 4", generator).split()[i] == "1234"[i] for i in range(4) for _ in range(20)]
    assert any(same)
    generator = np.random.default_rng(0)
    known = {1: tuple("0123456789")}
    for _ in range(20):
        assert all(
            a != b for a, b in zip(altered("1 2 3 4", 1.0, known, generator).split(), "1234", strict=True)
        )


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="12 ab;", max_size=40), st.floats(0, 1), st.integers(0, 99))
def test_at_least_one_number_is_changed_wherever_one_can_be(text, wrong, seed):
    known = numbers_in([Worked(problem=Problem(id="p", prompt="?"), trace=text, answer="")])
    made = altered(text, wrong, known, np.random.default_rng(seed))
    assert form(made) == form(text)
    can = any(len(known[len(number)]) > 1 for number in re.findall(r"\d+", text))
    assert (made != text) == can


def test_swapped_traces_are_of_other_problems_and_a_fixed_twin_is_not():
    made = remade(worked(), "swapped", Streams(0))
    assert sorted(one.trace for one in made) == sorted(one.trace for one in worked())
    assert all(a.trace != b.trace and a.answer == b.answer for a, b in zip(made, worked(), strict=True))
    twin = [worked()[(i + 0) % 3].trace for i in range(3)]
    assert twin == [one.trace for one in worked()]
    with pytest.raises(InputError, match="swapping needs"):
        remade(worked()[:1], "swapped", Streams(0))


def test_a_wrong_answer_is_another_one_and_the_trace_stays():
    for one, made in zip(worked(), remade(worked(), "valid", Streams(0), right=False), strict=True):
        assert made.trace == one.trace
        assert made.answer != one.answer
        assert form(made.answer) == form(one.answer)


def test_an_unknown_kind_is_named():
    with pytest.raises(UsageError, match="kind of trace"):
        remade(worked(), "invald", Streams(0))  # type: ignore[arg-type]


def test_filler_has_the_tokens_of_the_trace_and_nothing_of_its_content(tmp_path):
    task = shipped_task("chain")
    lab = Lab(tmp_path, Streams(0))
    right = solutions(Session(lab, task), DistillConfig())
    made = material(Session(lab, task), DistillConfig(traces="filler"))
    for one, empty in zip(right, made, strict=True):
        assert len(encoded(task.base, one.text)) == len(encoded(task.base, empty.text))
        assert set(empty.trace.split()) == {"~"}
        assert empty.answer == one.answer
    # A twin that fills by characters is longer.
    twin = remade(right, "filler", Streams(0), count={one.trace: len(one.trace) for one in right})
    assert len(twin[0].text.split()) > len(right[0].text.split())


def test_the_verifier_accepts_the_valid_arm_alone(tmp_path):
    task = shipped_task("chain")
    lab = Lab(tmp_path, Streams(0))

    world = task.world
    assert world is not None

    def verified(config):
        found = material(Session(lab, task), config)
        reads = [world.reader(encoded(task.base, one.problem.prompt)[:-1]) for one in found]
        return [
            read(encoded(task.base, one.text), ended=True).verified
            for read, one in zip(reads, found, strict=True)
        ]

    assert all(verified(DistillConfig()))
    for config in (
        DistillConfig(traces="invalid"),
        DistillConfig(traces="filler"),
        DistillConfig(traces="none"),
        DistillConfig(answer="wrong"),
    ):
        assert not any(verified(config))


def test_a_teacher_is_asked_and_only_its_successes_are_kept(tmp_path):
    task = shipped_task("chain")
    task = replace(task, others={"teacher": task.base}, expert=None)
    lab = Lab(tmp_path, Streams(0))
    found = solutions(Session(lab, task), DistillConfig(train_problems=8, teacher_draws=4))
    expert = shipped_task("chain").expert
    assert expert is not None
    gold = {one.problem.id: expert(one.problem, Streams(0)) for one in found}
    assert 0 < len(found) <= 8
    assert all(
        (gold[one.problem.id] or "").removesuffix(" EOS") == one.text.removesuffix(" EOS") for one in found
    )
    with pytest.raises(UsageError, match="teacher"):
        solutions(Session(lab, replace(task, others={})), DistillConfig())


def test_equal_tokens_by_hand():
    rows = [
        Row(tokens=np.zeros(n, np.int32), weights=np.array([0] + [1] * (n - 1), np.float32)) for n in (5, 9)
    ]
    assert tokens_a_row(rows) == 6
    fit = for_tokens(rows, FitConfig(batch_rows=4, warmup=20), 240)
    assert (fit.steps, fit.warmup) == (10, 1)
    assert for_tokens(rows, fit, 0) is fit
    assert sum(len(row.tokens) for row in rows) / 2 != tokens_a_row(rows)  # prompts are not learnt from
