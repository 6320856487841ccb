"""CREATE: forms listed in two ways, choices that keep the target in reach, a verifier that takes all ways."""

import math
from collections import Counter
from functools import cache
from itertools import combinations, permutations, product

import numpy as np
import pytest
from hand_made import in_world
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.core.errors import InputError, UsageError
from keyturn.core.problem import Problem
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world import WORLDS, WorldGrader, block, demonstrate, problems, valid_completions
from keyturn.problems.world.create import CreateWorld
from keyturn.problems.world.create_forms import calculate, forms, is_shown, joined
from keyturn.problems.world.shortcuts import audit
from keyturn.problems.world.verify import read_completion, read_prompt
from keyturn.problems.world.verify_create import read_create_prompt
from keyturn.problems.world.vocabulary import EOS, PLUS, TIMES, VALUE, WORDS, decode, encode

STREAMS = Streams(43)
_LISTED: dict[str, tuple[tuple[int, ...], set[tuple[int, ...]]]] = {}
CREATE = WORLDS["create"]
PROMPT = "BOS CTL4 C1 2 5 3 3 ; 2 ASK 6"
GOLD = "DO 2 + 5 = 0 apple ; DO apple 0 - 3 = 4 pear ; ANS 4 EOS"


def read(prompt, completion, *, ended=True, world=CREATE):
    return read_completion(read_prompt(world, encode(prompt)), encode(completion), ended=ended)


def evaluated(words):
    """Form and value of a completion's statements, evaluated on words alone; None where they are ill-formed.

    The verifier's oracle: regular statements only, every number and result used as often as it is there.
    """
    head, *given_ = words[0].split(" ; ")
    numbers, (operations, target) = Counter(head.split()[3:]), given_[0].split(" ASK ")
    known: dict[str, tuple[str, int]] = {}
    count = 0
    for statement in words[1].split("DO ")[1:]:
        left, right = statement.split(" = ")
        sign = next(word for word in left.split() if word in "+-*")
        a, b = (side.split()[0] for side in left.split(f" {sign} "))
        name = right.split()[1]
        pair = []
        for operand in (a, b):
            if operand in known:
                pair.append(known.pop(operand))
            elif numbers[operand] > 0:
                numbers[operand] -= 1
                pair.append((operand, int(operand)))
            else:
                return None
        known[name] = (joined(sign, pair[0][0], pair[1][0]), calculate(sign, pair[0][1], pair[1][1], 7))
        count += 1
    ((form, value),) = known.values() if len(known) == 1 else (("", -1),)
    return form if value == int(target) and count == int(operations) else None


def by_brute_force(numbers, operations):
    """Canonical forms by value, from every order of every choice: no recursion over parts."""
    found: dict[int, set[str]] = {}

    def go(pool, left):
        if not left:
            return
        for i, j in permutations(range(len(pool)), 2):
            rest = [pool[k] for k in range(len(pool)) if k not in (i, j)]
            for sign in "+-*":
                new = (joined(sign, pool[i][0], pool[j][0]), calculate(sign, pool[i][1], pool[j][1], 7))
                if left == 1 and new[0].count("(") == operations:
                    found.setdefault(new[1], set()).add(new[0])
                go([*rest, new], left - 1)

    go([(str(n), n) for n in numbers], operations)
    return {value: frozenset(group) for value, group in found.items()}


@pytest.mark.parametrize("numbers", [(1, 2, 3, 5), (2, 2, 3, 3), (1, 1, 1, 6)])
@pytest.mark.parametrize("operations", [1, 2, 3])
def test_all_forms_are_listed_once(numbers, operations):
    assert forms(numbers, operations, 7) == by_brute_force(numbers, operations)


def constructions(problem):
    """The forms of all right answers."""
    task = read_create_prompt(encode(problem.prompt), CREATE.modulus, CREATE.shown)
    return forms(task.numbers, task.operations, CREATE.modulus)[task.target]


def test_verified_is_exactly_a_construction_that_reaches_the_target():
    for problem in problems(CREATE, "test", [{"operations": 1}, {"operations": 2}], 3, STREAMS):
        listed = valid_completions(CREATE, problem, cap=4000)
        assert listed.complete
        assert len(set(listed.ids)) == len(listed.ids)
        reader = read_prompt(CREATE, encode(problem.prompt))
        readings = [read_completion(reader, list(ids)) for ids in listed.ids]
        assert all(reading.verified and reading.process == 1 for reading in readings)
        found = {reading.more["canonical"] for reading in readings}
        assert found == constructions(problem)
        assert len(found) == problem.facts["constructions"]
        assert problem.facts["novel_constructions"] == len(
            {r.more["canonical"] for r in readings if r.more["novel"]}
        )
        for reading, ids in zip(readings, listed.ids, strict=True):
            assert evaluated((problem.prompt, decode(ids))) == reading.more["canonical"]


@given(data=st.data())
@settings(max_examples=120)
def test_any_one_token_changed_is_judged_as_the_oracle_judges_it(data):
    problem = data.draw(st.sampled_from(_asked()))
    gold, listed = _gold(problem)
    at = data.draw(st.integers(0, len(gold) - 2))
    near = [VALUE + v for v in range(7)] + list(range(PLUS, TIMES + 1)) + [t for t in gold if t != EOS]
    token = data.draw(st.sampled_from(near) | st.integers(0, len(WORDS) - 1))
    changed = [*gold[:at], token, *gold[at + 1 :]]
    reading = read_completion(read_prompt(CREATE, encode(problem.prompt)), changed)
    assert reading.verified == (tuple(changed) in listed)
    if reading.outcome:
        assert evaluated((problem.prompt, decode(changed))) == reading.more["canonical"]
        assert reading.more["canonical"] in constructions(problem)
    if token != gold[at] and not reading.verified:
        assert any(reading.errors)
        assert not any(reading.errors[:at])


@cache
def _asked() -> tuple[Problem, ...]:
    return problems(CREATE, "test", [{"operations": 1}, {"operations": 2}], 3, STREAMS)


def _gold(problem):
    """A completion and all that there are."""
    if problem.id not in _LISTED:
        listed = set(valid_completions(CREATE, problem, cap=4000).ids)
        _LISTED[problem.id] = (demonstrate(CREATE, problem, STREAMS).completion, listed)
    return _LISTED[problem.id]


@given(st.binary(max_size=60), st.booleans())
@settings(max_examples=100)
def test_any_ids_have_a_verdict(noise, prefixed):
    problem = _asked()[-1]
    gold = _gold(problem)[0]
    text = [*(gold[: len(gold) // 2] if prefixed else []), *(byte - 5 for byte in noise)]
    reading = read_completion(read_prompt(CREATE, encode(problem.prompt)), text)
    assert len(reading.roles) == len(reading.errors) == len(reading.choices) == len(reading.floors) == len(text)
    assert reading.verified <= reading.outcome
    assert 0 <= reading.process <= 1
    assert (reading.first_error == -1) == (not any(reading.errors))
    assert (
        (reading.more["canonical"] == "") == (not reading.outcome) == math.isnan(float(reading.more["novel"]))
    )


@pytest.mark.parametrize("name", ["create", "create-absent"])
def test_texts_are_read_as_they_were_written_and_only_shown_forms_are_told(name):
    for document in block(WORLDS[name], STREAMS, 0, 100):
        reading = read_completion(read_prompt(CREATE, list(document.prompt)), list(document.completion))
        assert reading.verified
        assert reading.more["novel"] == 0
        assert reading.roles == list(document.roles)
        assert {at: n for at, n in enumerate(reading.choices) if n} == {
            at: len(ids) for at, ids in document.choices.items()
        }
        statements = decode(document.completion).count("DO")
        assert (statements == 1) == document.component.startswith("single")


def test_outcome_is_what_was_built_and_verified_is_that_it_was_worked_out():
    gold = read(PROMPT.replace("6", "4"), GOLD)
    assert (gold.outcome, gold.verified, gold.more["canonical"]) == (True, True, "((2+5)-3)")
    slip = read(PROMPT.replace("6", "4"), GOLD.replace("apple 0 - 3", "apple 1 - 3"))
    assert (slip.outcome, slip.verified, slip.first_error_role) == (True, False, Role.LOOKUP)
    assert slip.exec_score < 1
    elsewhere = read(PROMPT, GOLD.replace("ANS 4", "ANS 6"))
    assert (elsewhere.outcome, elsewhere.lenient) == (False, True)
    assert elsewhere.plan_score < 1


@pytest.mark.parametrize(
    ("asked", "text", "role"),
    [
        ("2 ASK 3", "DO 5 - 2 = 3 apple ; ANS 3 EOS", Role.PLAN),
        ("1 ASK 4", "DO 2 * 2 = 4 apple ; ANS 4 EOS", Role.PLAN),
        ("1 ASK 5", "DO 1 + 4 = 5 apple ; ANS 5 EOS", Role.PLAN),
        ("1 ASK 0", "DO 2 + 5 = 0 pear ; ANS 0 EOS", Role.REPEAT),
        ("1 ASK 0", "DO 2 + 5 = 0 apple ; ANS 1 EOS", Role.ANSWER),
        ("1 ASK 0", "DO 2 + 5 = 0 apple ; DO 3 - 3 = 0 pear ; ANS 0 EOS", Role.SYNTAX),
    ],
    ids=["too few", "used twice", "not given", "name", "answer", "too many"],
)
def test_what_breaks_the_rules_is_found_where_it_does(asked, text, role):
    reading = read(f"BOS CTL4 C1 2 5 3 3 ; {asked}", text)
    assert not reading.verified
    assert reading.first_error_role == role
    assert reading.process < 1 or role in (Role.ANSWER, Role.SYNTAX)


def test_once_out_of_reach_the_error_is_not_counted_again():
    reading = read("BOS CTL4 C1 1 1 1 1 ; 2 ASK 5", "DO 1 + 1 = 2 apple ; DO apple 2 + 1 = ")
    planned = [e for role, e in zip(reading.roles, reading.errors, strict=True) if role == Role.PLAN]
    assert sum(planned) == 0, "5 cannot be built from ones at all: no choice was wrong"
    assert not any(reading.choices)


def test_cut_text_is_not_verified():
    assert not read(PROMPT.replace("6", "4"), GOLD, ended=False).verified


def test_choices_lead_to_the_target_and_no_other_token_does():
    problem = problems(CREATE, "test", [{"operations": 2}], 1, STREAMS)[0]
    listed = valid_completions(CREATE, problem, cap=4000).ids
    document = demonstrate(CREATE, problem, STREAMS)
    for at, right in document.choices.items():
        prefix = document.completion[:at]
        assert {ids[at] for ids in listed if ids[:at] == prefix} == set(right)


def test_a_choice_among_n_has_the_floor_log_n_and_even_texts_have_that_entropy():
    world = CreateWorld(shown=1.0)
    problem = problems(world, "test", [{"operations": 1}], 1, STREAMS)[0]
    first = Counter(demonstrate(world, problem, STREAMS.child(str(i))).completion[1] for i in range(250))
    document = demonstrate(world, problem, STREAMS)
    reading = read_completion(read_prompt(world, list(document.prompt)), list(document.completion))
    assert reading.floors[1] == pytest.approx(math.log(len(document.choices[1])))
    shares = np.array(list(first.values())) / 250
    assert -np.sum(shares * np.log(shares)) == pytest.approx(reading.floors[1], abs=0.05)


def test_splits_are_disjoint_as_sets_and_each_problem_has_shown_and_new_answers():
    cells = [{"operations": n} for n in (1, 2)]
    seen = {}
    for split in ("pretrain", "rl", "test"):
        asked = problems(CREATE, split, cells, 1000, STREAMS)
        seen[split] = {_form(problem.prompt) for problem in asked}
        assert len(seen[split]) == len(asked)
        for problem in asked:
            assert 0 < problem.facts["novel_constructions"] < problem.facts["constructions"]
    assert not any(a & b for a, b in combinations(seen.values(), 2))
    told = {_form(decode(d.prompt)) for d in block(CREATE, STREAMS, 1, 300)}
    assert {form for form in told if form[1] != "3"} <= seen["pretrain"]
    assert min(Counter(form[1] for form in seen["test"]).values()) > 30


def _form(prompt):
    head, rest = prompt.split(" ; ")
    return tuple(sorted(head.split()[3:])), *rest.split(" ASK ")


def test_how_much_is_shown_is_a_dial():
    every = [form for group in forms((1, 2, 3, 5), 3, 7).values() for form in group]
    for share in (0.2, 0.5, 0.9):
        assert np.mean([is_shown(form, 7, share) for form in every]) == pytest.approx(share, abs=0.06)


def test_absent_arms_never_compose():
    absent = WORLDS["create-absent"]
    assert all(decode(d.completion).count("DO") == 1 for d in block(absent, STREAMS, 2, 60))
    one, two = (problems(absent, "test", [{"operations": n}], 1, STREAMS)[0] for n in (1, 2))
    assert one.facts["seen"]
    assert not two.facts["seen"]
    assert problems(CREATE, "test", [{"operations": 2}], 1, STREAMS)[0].facts["seen"]


def test_grades_have_the_form_and_whether_it_is_new():
    asked = problems(CREATE, "test", [{"operations": 2}], 2, STREAMS)
    listed = [valid_completions(CREATE, problem, cap=4000).ids for problem in asked]
    rows = [(i, list(ids)) for i, every in enumerate(listed) for ids in (*every, (EOS,))]
    grades = WorldGrader(CREATE).grade(asked, in_world(asked, rows))
    for i, problem in enumerate(asked):
        here = [row for row, (j, _) in enumerate(rows) if j == i]
        shown = list(zip(grades.columns["canonical"][here], grades.columns["novel"][here], strict=True))
        assert sum(form != "" for form, _ in shown) == len(here) - 1, "all but the empty answer are valid"
        assert len({form for form, _ in shown if form}) == problem.facts["constructions"]
        assert len({form for form, new in shown if new == 1}) == problem.facts["novel_constructions"]


def test_no_construction_is_right_for_most_targets_whatever_the_prompt():
    """Two numbers of the prompt joined by one operation: whether that is right cannot be foretold."""
    asked = {s: problems(CREATE, s, [{"operations": 1}], 400, STREAMS) for s in ("pretrain", "rl", "test")}
    for sign, (i, j) in product("+-*", [(0, 1)]):

        def right(problem, sign=sign, i=i, j=j):
            numbers = [int(word) for word in problem.prompt.split()[3:7]]
            return str(calculate(sign, numbers[i], numbers[j], 7) == int(problem.answer))

        found = audit([*asked["pretrain"], *asked["rl"]], asked["test"], label=right)
        assert found.accuracy <= found.majority + 3 * found.standard_error, (sign, i, j, found)


def test_guess_rates_are_the_share_of_constructions_that_reach_the_target():
    problem = problems(CREATE, "test", [{"operations": 1}], 1, STREAMS)[0]
    numbers = [int(word) for word in problem.prompt.split()[3:7]]
    every = {
        (joined(sign, str(a), str(b)), calculate(sign, a, b, 7))
        for (a, b) in permutations(numbers, 2)
        for sign in "+-*"
    }
    share = sum(value == int(problem.answer) for _, value in every) / len(every)
    assert problem.facts["guess_rate"] == pytest.approx(share)


def test_lengths_are_kept():
    longest = [
        len(demonstrate(CREATE, p, STREAMS).completion) for p in problems(CREATE, "test", None, 12, STREAMS)
    ]
    assert max(longest) == CREATE.max_new_tokens
    assert len(encode(problems(CREATE, "test", None, 1, STREAMS)[0].prompt)) == CREATE.max_prompt_tokens


@pytest.mark.parametrize(
    "prompt",
    ["", "BOS CTL4 C1 2 5 3 3 ; 4 ASK 6", "BOS CTL4 C1 2 5 9 3 ; 2 ASK 6", "BOS CTL4 f 2 5 3 3 ; 2 ASK 6"],
)
def test_other_prompts_are_refused(prompt):
    with pytest.raises(InputError):
        read_prompt(CREATE, encode(prompt))


@pytest.mark.parametrize(
    "wrong",
    [
        {"modulus": 6},
        {"composed": 1.2},
        {"shown": 0.0},
        {"test_operations": (4,)},
        {"given": 7},
        {"contexts": {"C9": 1.0}},
        {"operations": (1, 1)},
        {"composed": 0.5, "operations": (2, 3)},
    ],
)
def test_a_world_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(UsageError):
        CreateWorld(**wrong)
