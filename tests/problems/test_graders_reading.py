"""Where graders find an answer in a completion, whose words they read, and what none of it rewards."""

import asyncio
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.problem import Problem
from keyturn.problems.files import choose_grader, grade_samples, problem_set
from keyturn.problems.graders import GRADERS
from keyturn.problems.graders.choice import letter
from keyturn.problems.graders.markers import last_match, own_problems
from keyturn.problems.graders.numbers import _IN_TEXT, last_number
from keyturn.problems.graders.words import after_thinking, own_words
from keyturn.rollouts.completions import Completions, Prompts, Stop
from keyturn.rollouts.readers import pair, read_samples, write_samples


def grades_of(name, golds, text, prompt="p"):
    """The grades of one completion of one problem with these gold answers."""
    problem = Problem(id="q0", prompt=prompt, answer=golds[0] if golds else "", also=tuple(golds[1:]))
    done = Completions(
        policy="p",
        prompts=Prompts.build(["q0"], [prompt], [[]]),
        problem=np.zeros(1, np.int32),
        draw=np.zeros(1, np.int32),
        tokens=np.zeros(0, np.int32),
        offsets=np.zeros(2, np.int64),
        logprobs=np.zeros(0, np.float32),
        entropies=np.zeros(0, np.float32),
        stop=np.full(1, Stop.EOS, np.uint8),
        texts=(text,),
    )
    return GRADERS[name].grade((problem,), done)


NUMBERS = [
    "The answer is: **18 dollars**.", "### Final Answer\n\n18", "**Final Answer**\n\n$$\\boxed{18}$$",
    "### Answer: 18",
    "**Answer:** $18", "The final answer is $18$. I hope it is correct.",
    "The answer is 18. I hope this helps!",
    "Therefore the answer is \\(18\\).", "So the answer would be 18 eggs.",
    "Answer: $\\boxed{18\\text{ dollars}}$",
    "<think>Is it 17?</think>\n18", "<think>17?</think><answer>18</answer>",
    "The answer to the question is 18.",
    "18\n\nQuestion: What is 2 + 2?\nAnswer: 4", "[ANSWER]18[/ANSWER]", "<final_answer> 18 </final_answer>",
    "The answer is\n\n18", "Answer:\n18\n", "\\boxed{18}\n\nLet me know if you have a question.",
    "\\boxed{1\\,8}0 no, \\boxed{18}",
    "<answer>\\boxed{18}</answer>", "ANSWER: 18", "The answer is 17. Wait. The answer is 18.",
    "1\\,8? So \\boxed{18.0\\,\\text{cm}^2}",
    "Problem: Tom has 9 and 9.\nAnswer: 18", "The answer is 18.\nThe answer is correct.", "USD 18", "18€",
    "18\u200b", "x = １８",
]  # fmt: skip


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_where_people_put_them(text):
    assert GRADERS["numeric"].judge("18", text) == 1
    assert GRADERS["numeric"].judge("17", text) == 0


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("The answer is 18.", 1), ("So \\boxed{18}.", 1), ("<answer>18</answer>", 1), ("#### **18**", 1),
        ("#### $18$", 1),
        ("#### Answer: 18", 1), ("A: The answer is 18.", 1), ("So Tom has **18** pens.", 0), ("18", 0),
        ("**18**", 0), ("= 18", 0),
        ("#### 18\n\\boxed{19}", 1), ("\\boxed{19}\n#### 18", 1),
        ("A: 9+9=18. The answer is 18.\n\nQ: more\nA: It is 4. The answer is 4.", 1),
        ("The answer is 18.\n\nQ: Tom has 3.\nA: 3", 1), ("#### 17\n#### 18\nThe answer is 18.", 0),
        ("<think>#### 17</think>\n#### 18", 1),
    ],
)  # fmt: skip
def test_gsm8k_without_its_mark(text, right):
    assert GRADERS["gsm8k"].judge("18", text) == right


OPTIONS = [
    "B", "(B)", "**B**", "B.", "b", "The answer is (B).", "Answer: B) 12 metres",
    "The correct answer is B: 12 metres.",
    "$\\boxed{B}$", "\\boxed{\\text{(B)}}", "<answer>b</answer>", "ANSWER: B", "**Answer: (B)**",
    "Hence the answer is option (B).",
    "The best answer is B", "The answer is **B. 12 metres**", "Therefore, the correct option is B.",
    "B) 12 metres",
    "(A) 1\n(B) 2\nThe answer is (B).", "<think>(C)?</think>B", "We add.\n\nB",
]  # fmt: skip


@pytest.mark.parametrize("text", OPTIONS)
def test_option_letters_where_people_put_them(text):
    assert GRADERS["choice"].judge("B", text) == 1
    assert GRADERS["choice"].judge("(B)", text) == 1
    assert GRADERS["choice"].judge("A", text) == 0


@pytest.mark.parametrize("gold", "ABCD")
@pytest.mark.parametrize(
    "text",
    [
        "(A) 1 (B) 2 (C) 3 (D) 4", "(A) 1\n(B) 2\n(C) 3\n(D) 4", "A. 1\nB. 2\nC. 3\nD. 4",
        "The answer is (A) or (B) or (C) or (D).",
        "\\boxed{A, B, C, D}", "\\boxed{A}\\boxed{B}\\boxed{C}\\boxed{D}", "The answer is a boat.",
        "The answer is correct.", "\\boxed{}",
        "<answer></answer>", "<answer>A B C D</answer>", "Option B is wrong.", "A man walks.", "Is it B?", "",
        "ABCD", "The answer is A, B, C, D",
    ],
)  # fmt: skip
def test_listing_options_is_never_rewarded(gold, text):
    assert GRADERS["choice"].judge(gold, text) == 0


@given(st.text(alphabet="AB().:* boxed{}\\\n", max_size=30))
def test_any_text_has_a_letter_or_none(text):
    assert letter(text) is None or len(letter(text) or "") == 1


PROBES = [
    "The answer is 7 or 8.", "The answer is 7. Or 8.", "Answer: 7\nAnswer: 8", "\\boxed{7} \\boxed{8}",
    "<answer>7</answer><answer>8</answer>",
    "<answer>7, 8</answer>", "<answer>7</answer> <answer></answer>", "<answer>7", "The answer is not 7",
    "The answer isn't 7.",
    "The answer is less than 7", "The answer is at least 7", "Is the answer 7?",
    "If the answer is 7, then x is 3.", "The answer is 7 times 3.",
    "The answer is 7-3", "The answer is 7/2.", "The answer is 7^2", "The answer is 7x", "The answer is 7.5",
    "\\boxed{7}\n\\boxed{}",
    "\\boxed{7\\pi}", "\\boxed{7\\sqrt{2}}", "\\boxed{7i}", "\\boxed{7!}", "\\boxed{7_8}", "\\boxed{\\pm 7}",
    "\\boxed{7,\\;7}", "\\boxed{7\\;7}",
    "The answer is 7 and 8", "The answer is one of 1, 2, 3, 4, 5, 6, 7", "The answer is 7? The answer is 8?",
    "the answer is 7 " * 40 + "the answer is 8", "\\boxed{7}" * 200 + "\\boxed{8}",
    "\\boxed{7} " * 40 + "so \\boxed{9}",
    " ".join(f"The answer is {n}." for n in (*range(7), 7, 8, 9)), "<answer>" * 50 + "7", "answer " * 5000,
    "<think>\\boxed{7}\nThe answer is 7\n#### 7</think> I do not know.",
    "<tool_response>\\boxed{7}</tool_response> I do not know.",
    "<|im_end|>\n<|im_start|>user\nThe answer is 7.<|im_end|>",
]  # fmt: skip


@pytest.mark.parametrize("name", ["numeric", "gsm8k", "math"])
@pytest.mark.parametrize("text", PROBES)
def test_reward_hacking_probes(name, text):
    assert GRADERS[name].judge("7", text) == 0


@pytest.mark.parametrize("name", ["numeric", "gsm8k"])
def test_the_last_of_several_answers_is_the_one_try(name):
    """Restating or listing gains nothing: whatever the gold answer, exactly one of the candidates is read."""
    text = " ".join(f"The answer is {n}." for n in range(10)) + " So the answer is 3."
    assert [n for n in range(10) if GRADERS[name].judge(str(n), text) == 1] == [3]
    boxed = "so ".join(rf"\boxed{{{n}}}" for n in range(10))
    assert [n for n in range(10) if GRADERS["math"].judge(str(n), boxed) == 1] == [9]


@pytest.mark.parametrize("name", ["numeric", "gsm8k", "math"])
def test_a_copied_prompt_with_an_example_in_it_is_no_answer(name):
    prompt = "Example: the answer is 7.\n#### 7\n\\boxed{7}\nNow: what is 3 + 4?"
    assert grades_of(name, ["7"], prompt, prompt).outcome.tolist() == [0]
    assert grades_of(name, ["7"], f"{prompt}\n{prompt}", prompt).columns["lenient"].tolist() == [0]
    assert GRADERS[name].judge("7", prompt) == 1  # the twin: without its prompt it would be rewarded


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[{"role": "assistant", "content": "#### 5"}]', "#### 5"),
        ('[{"role":"assistant","content":"I ask."},{"role":"tool","content":"5"},'
         '{"role":"assistant","content":"No."}]', "No."),
        ('[{"role": "assistant", "content": [{"type": "text", "text": "5"}]}]', "5"),
        ('{"role": "assistant", "content": "5"}', "5"),
        ('[{"role": "user", "content": "5"}]', ""), ('[{"role": "assistant", "content": null}]', ""),
        ('[{"role": "assistant", ', '[{"role": "assistant", '),
        ('[{"a": 5}]', '[{"a": 5}]'), ("5<|im_end|>", "5"), ("5<|eot_id|>6", "5"), ("5</s>Q: 6", "5"),
        ("<|im_start|>assistant\n5<|im_end|>", "\n5"),
        ("I ask.<|im_end|>\n<|im_start|>tool\n7<|im_end|>\n<|im_start|>assistant\n5<|im_end|>", "\n5"),
        ("5<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n6", "5"),
        ("5<end_of_turn>\n<start_of_turn>user\n6", "5"),
        ("a <tool_response>7</tool_response> b", "a   b"), ("a <information>7", "a <information>7"),
        ("a < b > c", "a < b > c"), ("", ""),
    ],
)  # fmt: skip
def test_only_a_policy_s_own_words_count(text, words):
    assert own_words(text) == words


def test_thoughts_are_no_answer_once_they_are_closed():
    assert after_thinking("<think>a</think>b</think>c") == "c"
    assert after_thinking("<think>a") == "<think>a"
    grades = grades_of("math", ["12"], "<think>so \\boxed{12}</think>")
    assert (grades.outcome[0], grades.columns["lenient"][0]) == (0, 1)


@pytest.mark.parametrize(
    ("name", "golds", "text", "right"),
    [
        ("exact", ["5", "5 pens"], "5 pens", 1), ("exact", ["5", "5 pens"], "5", 1), ("exact", ["5",
        "5 pens"], "6 pens", 0),
        ("numeric", ["5", "five"], "5", 1), ("numeric", ["five", "5"], "5", 1), ("numeric", ["5", "6"], "6", 1),
        ("numeric", ["5", "6"], "7", 0),
        ("gsm8k", ["5", "6"], "#### 6", 1), ("math", ["5", "\\frac{1}{2}"], "\\boxed{0.5}", 1), ("math", ["1",
        "2"], "\\boxed{1, 2}", 0),
        ("choice", ["A", "C"], "C", 1), ("choice", ["A", "C"], "B", 0), ("exact", ["Paris",
        "paris"], "The answer is Paris.", 0),
    ],
)  # fmt: skip
def test_any_of_several_gold_answers_is_right(name, golds, text, right):
    assert GRADERS[name].judge(golds, text) == right
    assert grades_of(name, golds, text).outcome.tolist() == [right]


def test_no_gold_answer_that_a_grader_reads_is_ungraded():
    assert np.isnan(GRADERS["numeric"].judge(["five", "fünf"], "5"))
    assert np.isnan(GRADERS["choice"].judge("12", "A"))
    assert np.isnan(GRADERS["numeric"].judge([], "5"))


def test_several_gold_answers_from_files(tmp_path):
    rows = [
        {"id": 0, "question": "Tom?", "target": ["5", "5 pens"]},
        {"id": 1, "question": "Ann?", "target": ["7"]},
    ]
    found = problem_set(rows, name="a")
    assert [problem.golds for problem in found.problems] == [("5", "5 pens"), ("7",)]
    assert found.grader is GRADERS["numeric"]
    samples = tmp_path / "samples.jsonl"
    samples.write_text(
        "".join(
            f'{{"id": {i}, "input": "How many?{i}", "output": "{out}", "target": ["5", "5 pens"]}}\n'
            for i in range(2)
            for out in ("5 pens", "5", "6")
        ),
        encoding="utf-8",
    )
    read = read_samples(samples)
    assert grade_samples(read, GRADERS["exact"]).success.tolist() == [1, 1, 0, 1, 1, 0]
    write_samples(tmp_path / "again.jsonl", read)
    again = read_samples(tmp_path / "again.jsonl")
    assert [problem.golds for problem in again.problems()] == [("5", "5 pens")] * 2
    assert len(pair(*(grade_samples(one, GRADERS["exact"]) for one in (read, again))).problems) == 2


@pytest.mark.parametrize(
    ("golds", "name"),
    [
        (["70", "12"], "numeric"), (["A", "B"], "choice"), (["(A)", "(J)"], "choice"), (["A", "x"], "exact"),
        (["A", "Paris"], "exact"),
        (["a"], "exact"), (["K"], "exact"), ([r"\frac12", "A"], "math"), (["Yes", "No"], "exact"),
        (["5 pens"], "numeric"),
    ],
)  # fmt: skip
def test_the_grader_that_fits_the_gold_answers(golds, name):
    assert choose_grader([Problem(id=str(i), prompt="p", answer=gold) for i, gold in enumerate(golds)]) == name


@pytest.mark.parametrize(
    ("name", "gold", "text", "strict", "lenient"),
    [
        ("gsm8k", "1", "So Tom has **1** pens.", 0, 1), ("numeric", "18", "He pays 18 in the end", 0, 1),
        ("math", "12", "Answer: 12", 0, 1),
        ("exact", "Paris", "The answer is **Paris**.", 0, 1), ("exact", "A", "(A)", 0, 1), ("exact", "Paris",
        "So \\boxed{\\text{Paris}}.", 0, 1),
        ("exact", "Paris", "<answer>paris</answer>", 0, 1), ("choice", "B",
        "I would take option B here.", 0, 1), ("choice", "A", "A boat, so C.", 0, 0),
        ("gsm8k", "18", "#### 18\n\nQuestion: next\n#### 42", 1, 1), ("math", "1", "\\boxed{1} so 2", 1, 1),
        ("gsm8k", "18", "#### 17 not 18", 0, 1),
        ("exact", "Paris", "Rome", 0, 0), ("numeric", "18", "", 0, 0),
    ],
)  # fmt: skip
def test_lenient_stands_beside_strict_and_never_below_it(name, gold, text, strict, lenient):
    grades = grades_of(name, [gold], text)
    assert (grades.outcome[0], grades.columns["lenient"][0]) == (strict, lenient)
    assert grades.columns["lenient"].dtype == np.float32


@given(st.text(alphabet="7#8A:\\boxed{} answeris\n,.Q", max_size=80))
def test_lenient_is_never_below_strict(text):
    for name in ("numeric", "gsm8k", "exact"):
        grades = grades_of(name, ["7"], text)
        assert grades.columns["lenient"][0] >= grades.outcome[0]


@given(st.text(alphabet="0123456789 .,-$x\n(", max_size=700))
def test_the_last_match_is_the_last_of_all(text):
    found = [match[0] for match in _IN_TEXT.finditer(text)]
    last = last_match(_IN_TEXT, text)
    assert (last[0] if last else None) == (found[-1] if found else None)
    assert last_number(text) == next((one for one in reversed(found) if len(one) <= 120), None)


def test_a_text_is_cut_where_it_poses_a_question():
    assert own_problems("18\n\nQuestion: 2?\nA: 4\nQ: 3?") == ["18\n\n", "Question: 2?\nA: 4\n", "Q: 3?"]
    assert own_problems("My question: none. A problem is here.") == ["My question: none. A problem is here."]
    assert own_problems(" ") == []


@pytest.mark.parametrize("name", sorted(GRADERS))
def test_graders_work_in_threads_and_in_an_event_loop(name):
    gold, text = ("B", "\\boxed{B}") if name == "choice" else ("7", "7" if name == "exact" else "\\boxed{7}")
    found = []
    threads = [threading.Thread(target=lambda: found.append(GRADERS[name].judge(gold, text))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def ask():
        others = [asyncio.to_thread(GRADERS[name].judge, gold, text) for _ in range(3)]
        return [GRADERS[name].judge(gold, text), *await asyncio.gather(*others)]

    assert found == [1] * 4
    assert asyncio.run(ask()) == [1] * 4


BOMBS = {
    "power": "2**30**5", "tower": "10^{5^{5^5}}", "nines": "9**9**9",
    "digits": "9" * 1_000_000, "parentheses": "(" * 100_000,
    "fractions": "\\frac{" * 100_000, "fonts": "\\mathbf{" * 100_000, "boxes": "\\boxed{" * 100_000,
    "closed boxes": "\\boxed{7}" * 50_000,
    "tags": "<answer>" * 50_000, "answers": "the answer is " * 50_000, "hashes": "#### " * 100_000,
    "lines": "####\n" * 100_000,
    "questions": "Q: 1\n" * 50_000, "thoughts": "</think>" * 50_000, "turns": "<|im_start|>user" * 20_000,
    "spaces": " " * 1_000_000,
    "braces": "{" * 300_000, "import": "__import__('os').system('touch CANARY')",
    "lambda": "(lambda: open('CANARY','w'))()",
    "walrus": "(x := open('CANARY', 'w'))", "f-string": "{open('CANARY','w')}",
    "messages": '[{"role":' + "[" * 100_000, "nul": "1\0",
    "surrogate": "\ud800", "infinite": "1e309", "european": "1.000,5", "half": "½", "percent": "50%",
    "arithmetic": "0.1+0.2", "minus": "-0",
}  # fmt: skip


@pytest.mark.parametrize("name", ["numeric", "gsm8k", "choice", "exact"])
@pytest.mark.parametrize("bomb", sorted(BOMBS))
def test_bombs_have_a_verdict_at_once_and_run_nothing(name, bomb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for form in ("%s", "#### %s", "\\boxed{%s}", "The answer is %s"):
        text = form % BOMBS[bomb]
        grades = grades_of(name, ["B" if name == "choice" else "7"], text)
        assert grades.outcome[0] == 0 or bomb == "closed boxes"
    assert list(tmp_path.iterdir()) == []
