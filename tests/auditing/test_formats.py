"""The few-shot format arm: what it asks, what it reads of an answer, and that only format moves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.elicitation.format_prompt import (
    SUMS,
    elicit_format,
    few_shot,
    format_measurements,
    leaves_room,
    without_next_question,
)
from keyturn.lab.lab import Lab
from keyturn.measures.contract import Tables
from keyturn.measures.paired import Paired
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits
from keyturn.policies.tiny import TinyConfig, TinyForCausalLM, initialise
from keyturn.problems.contract import ProblemSet, answers
from keyturn.problems.graders import GRADERS
from keyturn.rollouts.completions import Completions, Prompts, Stop

PROBLEMS = tuple(
    Problem(id=f"q{i}", prompt=f"What is {i} plus {i}?", answer=f"#### {2 * i}") for i in range(1, 7)
)
LIMITS = Limits(max_new_tokens=64)


class Scripted:
    """A policy that answers by a rule, one character a token."""

    def __init__(self, name, answer):
        self.fingerprint, self.answer = name, answer

    def draw(self, problems, draws, streams, limits):
        texts = [self.answer(problem, draw) for problem in problems for draw in draws]
        tokens = np.concatenate([np.frombuffer(text.encode(), np.uint8) for text in texts]).astype(np.int32)
        offsets = np.cumsum([0, *(len(text.encode()) for text in texts)]).astype(np.int64)
        return Completions(
            policy=self.fingerprint,
            prompts=Prompts.build(
                [p.id for p in problems], [p.prompt for p in problems], [[0] for _ in problems]
            ),
            problem=np.repeat(np.arange(len(problems), dtype=np.int32), len(draws)),
            draw=np.tile(np.array(draws, np.int32), len(problems)),
            tokens=tokens,
            offsets=offsets,
            logprobs=np.zeros(len(tokens), np.float32),
            entropies=np.zeros(len(tokens), np.float32),
            stop=np.full(len(texts), Stop.EOS, np.uint8),
            texts=tuple(texts),
        )

    def score(self, completions):
        raise AssertionError("the arm needs no scores")


def imitator(problem, draw):
    """Knows every answer, and learns from the prompt alone that it belongs after ####."""
    right = problem.answer.removeprefix("#### ")
    shown = f"They make {right}.\n#### {right}" if "####" in problem.prompt else f"It is {right}"
    return f"{shown}\n\nQuestion: What is 1 plus 1?\nAnswer: They make 2.\n#### 2"


def ignorant(problem, draw):
    """Has the format already, and the right answer to the even problems only."""
    odd = int(problem.id[1:]) % 2
    return f"#### {999 if odd else problem.answer.removeprefix('#### ')}"


def arm_of(tmp_path, base, tuned=ignorant, grader="gsm8k", k=16):
    lab = Lab(tmp_path, Streams(0))
    problem_set = ProblemSet(name="sums", problems=PROBLEMS, grader=GRADERS[grader])
    policies = {"base": Scripted("b", base), "tuned": Scripted("t", tuned)}
    return elicit_format(lab, policies, problem_set, GRADERS[grader].form, k, LIMITS)


@pytest.mark.parametrize("name", [name for name in GRADERS if GRADERS[name].form])
@pytest.mark.parametrize("question", SUMS, ids=lambda q: q[0])
def test_every_solved_sum_is_right_by_the_grader_it_is_written_for(name, question):
    _, work, answer = question
    prompt = few_shot(PROBLEMS[:1], GRADERS[name].form)[0].prompt
    solved = prompt.split(f"Question: {question[0]}\nAnswer: ")[1].split("\n\nQuestion:")[0]
    assert GRADERS[name].judge(answer, solved) == 1
    assert GRADERS[name].judge(f"{int(answer) + 1}", solved) == 0
    assert (work in solved) == ("{work}" in GRADERS[name].form)


def test_solved_sums_show_no_option_letters_so_there_is_no_arm_for_them():
    assert [name for name in GRADERS if not GRADERS[name].form] == ["choice"]


def test_the_prompt_ends_with_the_problem_and_names_no_answer_of_it():
    asked = few_shot(PROBLEMS, "#### {answer}")
    for before, after in zip(PROBLEMS, asked, strict=True):
        assert after.prompt.endswith(f"\n\nQuestion: {before.prompt}\nAnswer:")
        assert replace(after, prompt=before.prompt) == before
        head = after.prompt[: -len(f"{before.prompt}\nAnswer:")]
        assert head == asked[0].prompt[: -len(f"{PROBLEMS[0].prompt}\nAnswer:")], "the shots depend on it"


def test_what_follows_the_next_question_is_not_the_answer():
    assert without_next_question("5\n\nQuestion: 1+1?\nAnswer: 2") == "5"
    assert without_next_question("The Question: is hard. 5") == "The Question: is hard. 5"
    assert without_next_question("") == ""


def test_a_base_that_lacks_only_the_format_is_reached_everywhere(tmp_path):
    arm = arm_of(tmp_path, imitator)
    assert arm.reached.all()
    assert arm.tables["base"].outcome.mean() == 1
    assert arm.tables["tuned"].outcome.mean() == 0.5
    assert arm.tables["base"].problems == PROBLEMS, (
        "the arm is read beside the plain draws of the same problems"
    )


def test_a_base_that_lacks_the_answer_is_not_reached_by_format(tmp_path):
    arm = arm_of(tmp_path, ignorant)
    assert arm.reached.tolist() == [int(p.id[1:]) % 2 == 0 for p in PROBLEMS]


@pytest.mark.parametrize("grader", ["numeric", "exact"])
def test_a_base_that_asks_itself_the_next_question_is_graded_on_the_first(tmp_path, grader):
    def chatty(problem, draw):
        return f"{problem.answer.removeprefix('#### ')}\n\nQuestion: What is 1 plus 1?\nAnswer: 2"

    problems = tuple(replace(p, answer=p.answer.removeprefix("#### ")) for p in PROBLEMS)
    problem_set = ProblemSet(name="sums", problems=problems, grader=GRADERS[grader])
    policy = Scripted("b", chatty)
    arm = elicit_format(
        Lab(tmp_path, Streams(0)), {"base": policy}, problem_set, GRADERS[grader].form, 16, LIMITS
    )
    assert arm.reached.all()
    plain = GRADERS[grader].grade(problems, policy.draw(problems, range(1), Streams(0), LIMITS))
    # The numeric grader stops reading at the next question by itself; the exact one takes a text as it stands.
    assert (plain.outcome[1:] == (grader == "numeric")).all()


def test_strict_lenient_and_few_shot_stand_side_by_side(tmp_path):
    graded = {}
    for name, rule in (("base", imitator), ("tuned", ignorant)):
        drawn = Scripted(name, rule).draw(PROBLEMS, range(4), Streams(0), LIMITS)
        drawn = replace(drawn, texts=tuple(without_next_question(text) for text in drawn.texts))
        graded[name] = answers(name, PROBLEMS, drawn, GRADERS["gsm8k"].grade(PROBLEMS, drawn))
    tables = Tables(streams=Streams(1), paired=Paired(**graded), formats=arm_of(tmp_path, imitator).tables)
    found = {(m.parameters["policy"], m.parameters["scoring"]): m for m in format_measurements(tables)}
    values = {key: measurement.value for key, measurement in found.items()}
    assert values == {
        ("base", "strict"): 0.0,
        ("base", "lenient"): 1.0,
        ("base", "few-shot format"): 1.0,
        ("tuned", "strict"): 0.5,
        ("tuned", "lenient"): 0.5,
        ("tuned", "few-shot format"): 0.5,
    }
    assert all(m.n == len(PROBLEMS) and m.unit == "probability" for m in found.values())
    assert found["tuned", "strict"].low < 0.5 < found["tuned", "strict"].high


def test_a_grader_of_traces_has_no_formats_to_compare():
    drawn = Scripted("b", imitator).draw(PROBLEMS, range(2), Streams(0), LIMITS)
    grades = replace(GRADERS["gsm8k"].grade(PROBLEMS, drawn), columns={})
    table = answers("base", PROBLEMS, drawn, grades)
    assert format_measurements(Tables(streams=Streams(0), paired=Paired(base=table, tuned=table))) == ()


def local(context):
    backend = Tokenizer(models.WordLevel({"?": 0, "<end>": 1}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    config = TinyConfig(
        vocab_size=2,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=context,
        eos_token_id=1,
    )
    model = initialise(TinyForCausalLM(config), torch.Generator().manual_seed(0))
    return LocalPolicy(model, PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>"))


@pytest.mark.parametrize(("context", "room"), [(24, False), (80, False), (512, True)])
def test_the_arm_asks_for_a_context_that_leaves_room_to_answer(context, room):
    form = GRADERS["gsm8k"].form
    words = len(few_shot(PROBLEMS[:1], form)[0].prompt.split())
    assert 24 < words < 80
    assert leaves_room(local(context), PROBLEMS, form, Limits(max_new_tokens=64)) is room
    assert leaves_room(Scripted("server", imitator), PROBLEMS, form, LIMITS)
