"""GRAPH: what a problem is made of, balanced and without shortcuts."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.problems.world import WORLDS, block, problems
from keyturn.problems.world.dag import CONSTANT, Definition, Shape, canonical, draw
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.graph import GraphWorld
from keyturn.problems.world.graph_task import combine, is_noun, is_operation, read_graph_prompt
from keyturn.problems.world.split import split_of
from keyturn.problems.world.vocabulary import VALUE, encode

GRAPH = WORLDS["graph"]
STUDY = WORLDS["graph-study"]
STREAMS = Streams(5)


def task_of(world, problem):
    return read_graph_prompt(encode(problem.prompt), world.modulus, free=False)


def target_if(task, leaf, value):
    """The target's value when one constant is another."""
    values = {}

    def known(token):
        if not is_noun(token):
            return token - VALUE
        if token not in values:
            right = task.definitions[token]
            if token == leaf:
                values[token] = value
            elif len(right) == 1:
                values[token] = known(right[0])
            else:
                values[token] = combine(right[1], known(right[0]), known(right[2]), task.modulus)
        return values[token]

    return known(task.target)


@pytest.mark.parametrize("world", [GRAPH, STUDY], ids=lambda w: w.name)
def test_a_problem_has_exactly_the_operations_it_says_and_its_target_depends_on_every_leaf(world):
    for problem in problems(world, "test", None, 25, STREAMS):
        task = task_of(world, problem)
        operations = [n for n in task.needed if len(task.definitions[n]) == 3]
        leaves = [n for n in task.needed if len(task.definitions[n]) == 1]
        assert len(operations) == problem.cell["operations"]
        assert 1 <= len(leaves) <= world.leaves
        assert str(task.values[task.target]) == problem.answer
        for leaf in leaves:
            changed = {target_if(task, leaf, value) for value in range(world.modulus)}
            assert len(changed) > 1, f"{problem.prompt}: the target ignores a leaf"


def test_distractors_hang_on_needed_variables_or_on_none():
    for hanging, disconnected in ((2, 0), (0, 2), (1, 1), (0, 0)):
        cell = {"domain": "graph", "operations": 3, "hanging": hanging, "disconnected": disconnected}
        for problem in problems(GRAPH, "rl", [cell], 20, STREAMS):
            task = task_of(GRAPH, problem)
            extra = [n for n in task.definitions if n not in task.needed]
            on_needed = [n for n in extra if task.parents[n] & set(task.needed)]
            assert (len(on_needed), len(extra)) == (hanging, hanging + disconnected)
            assert problem.cell == cell


def test_answers_are_balanced_in_every_cell_and_in_the_corpus():
    asked = problems(GRAPH, "test", None, 50, STREAMS)
    assert set(Counter((p.cell["operations"], p.answer) for p in asked).values()) == {10}
    answers = Counter(d.completion[-2] for d in block(GRAPH, STREAMS, 0, 3000))
    assert len(answers) == 5
    assert max(answers.values()) / 3000 < 0.23


def test_intermediate_values_are_balanced_too():
    asked = problems(GRAPH, "test", [{"operations": 4}], 300, STREAMS)
    values = Counter(
        v for p in asked for t in [task_of(GRAPH, p)] for n, v in t.values.items() if n != t.target
    )
    assert max(values.values()) / sum(values.values()) < 0.25


def test_statements_are_shuffled():
    places = Counter()
    for problem in problems(GRAPH, "test", [{"operations": 3}], 300, STREAMS):
        task = task_of(GRAPH, problem)
        places[list(task.definitions).index(task.target) / (len(task.definitions) - 1)] += 1
    assert places[0.0] > 20
    assert places[1.0] > 20
    assert places[1.0] < 120, "the target's place must not be known"


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_the_canonical_form_ignores_names_order_distractors_and_commuting_arguments(seed, operations):
    dice = Dice(Streams(seed).generator("canonical"))
    dag = draw(Shape(operations, 2, 1, 1, 0.3, 5), dice, lambda form: True)
    assert dag is not None
    needed = dag.definitions[: dag.needed]
    swapped = [d if d.operation in (CONSTANT, 1) else Definition(d.operation, d.b, d.a) for d in needed]
    assert canonical(swapped) == canonical(needed)
    order = _another_order(needed, dice)
    place = {old: new for new, old in enumerate(order)}
    moved = [
        Definition(needed[i].operation, *(place[x] if x >= 0 else x for x in needed[i][1:])) for i in order
    ]
    assert canonical(moved) == canonical(needed)


def _another_order(needed, dice):
    order = []
    while len(order) < len(needed):
        ready = [i for i, d in enumerate(needed) if i not in order and set(d.parents) <= set(order)]
        order.append(dice.pick(ready))
    return order


def test_the_canonical_form_tells_different_problems_apart():
    base = [Definition(CONSTANT, -3, -1), Definition(0, 0, -2)]
    others = [
        [Definition(CONSTANT, -4, -1), Definition(0, 0, -2)],
        [Definition(CONSTANT, -3, -1), Definition(1, 0, -2)],
        [Definition(CONSTANT, -3, -1), Definition(1, -2, 0)],
        [Definition(CONSTANT, -3, -1), Definition(0, 0, -4)],
    ]
    assert len({canonical(d) for d in [base, *others]}) == 5


def form_of(task):
    """The rename-invariant form, by another way than the generator's: nested tuples from the tokens."""

    def form(token):
        if not is_noun(token):
            return str(token - VALUE)
        right = task.definitions[token]
        if len(right) == 1:
            return f"c{right[0] - VALUE}"
        sign = {0: "+", 1: "-", 2: "*"}[right[1] - encode("+")[0]]
        parts = [form(right[0]), form(right[2])]
        return f"({sign}{' '.join(parts if sign == '-' else sorted(parts))})"

    return form(task.target)


def test_splits_are_disjoint_as_sets_of_rename_invariant_problems():
    found = {}
    for split in ("pretrain", "rl", "validation", "test"):
        asked = problems(GRAPH, split, [{"operations": n} for n in (1, 2, 3)], 80, STREAMS)
        found[split] = {form_of(task_of(GRAPH, p)) for p in asked}
        assert all(split_of(f"graph 5 {form}") == split for form in found[split])
    assert not any(a & b for a, b in combinations(found.values(), 2))
    texts = {form_of(read_graph_prompt(list(d.prompt), 5, free=False)) for d in block(GRAPH, STREAMS, 1, 1000)}
    assert texts.isdisjoint(found["test"] | found["rl"] | found["validation"])
    # A split by prompt text instead would leak: the same problem under other names is another text.
    prompts = problems(GRAPH, "test", [{"operations": 1}], 100, STREAMS)
    by_form = Counter(form_of(task_of(GRAPH, p)) for p in prompts)
    assert max(by_form.values()) > 1


@pytest.mark.parametrize("operations", [2, 3])
def test_a_prompt_alone_does_not_give_the_answer_to_a_linear_reader(operations):
    cells = [{"operations": operations}]
    # Learnt where a model learns, judged where it is judged: within one split of two operations the few
    # forms recur, and a reader would be credited for having seen them.
    learnt, judged = (problems(GRAPH, split, cells, 1500, STREAMS) for split in ("pretrain", "test"))
    y, y_new = (np.array([int(p.answer) for p in asked]) for asked in (learnt, judged))
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(_prompt_features(learnt))
    x, x_new = (encoder.transform(_prompt_features(asked)) for asked in (learnt, judged))
    accuracy = LogisticRegression(C=0.1, max_iter=300).fit(x, y).score(x_new, y_new)
    majority = np.bincount(y_new).max() / len(y_new)
    assert accuracy < majority + 0.04, f"{accuracy:.3f} against {majority:.3f}"
    # The same reader must find a shortcut where there is one: the answer added to every third prompt.
    leak, leak_new = (np.eye(5)[v] * (np.arange(len(v)) % 3 == 0)[:, None] for v in (y, y_new))
    found = LogisticRegression(max_iter=300).fit(np.hstack([x, leak]), y)
    assert found.score(np.hstack([x_new, leak_new]), y_new) > majority + 0.15


def _prompt_features(asked):
    """What a shortcut could use: the target's and the last right side, literals, places, sizes."""
    rows = []
    for problem in asked:
        task = task_of(GRAPH, problem)
        written = list(task.definitions.values())
        literals = Counter(
            t - VALUE for right in written for t in right if not is_noun(t) and not is_operation(t)
        )
        row = [len(written), list(task.definitions).index(task.target)]
        for right in (task.definitions[task.target], written[-1]):
            row += ([-1 if is_noun(t) else t for t in right] + [-2] * 3)[:3]
        rows.append(row + [literals[v] for v in range(5)])
    return np.array(rows)


def test_problems_know_their_skills():
    for problem in problems(GRAPH, "test", None, 10, STREAMS):
        assert problem.facts["seen"] == (problem.cell["operations"] <= 3)
    cell = {"domain": "graph", "operations": 2, "context": "C3"}
    strange = problems(GRAPH, "test", [cell], 3, STREAMS)
    assert all(not p.facts["seen"] and not p.facts["atoms_seen"] and p.cell == cell for p in strange)


def test_same_streams_same_problems():
    assert problems(GRAPH, "rl", None, 5, STREAMS) == problems(GRAPH, "rl", None, 5, STREAMS)
    assert problems(GRAPH, "rl", None, 5, STREAMS) != problems(GRAPH, "rl", None, 5, Streams(6))


def test_prompts_and_completions_fit_the_stated_lengths():
    every = GraphWorld(
        strategies=dict.fromkeys(("FWD", "BWD", "SCAN", "DIR", "CHK", "RET", "FILL", "WRNG"), 0.125),
        formats={"F1": 0.4, "F2": 0.3, "F3": 0.3},
        operations=(1, 5),
    )
    for world in (GRAPH, STUDY, every):
        documents = block(world, STREAMS, 2, 600)
        assert max(len(d.prompt) for d in documents) <= world.max_prompt_tokens
        assert max(len(d.completion) for d in documents) <= world.max_new_tokens


@pytest.mark.parametrize(
    "wrong",
    [
        {"modulus": 6},
        {"strategies": {"FWD": 0.5}},
        {"formats": {"F9": 1.0}},
        {"contexts": {"C1": 1.5, "C2": -0.5}},
        {"distractors": 9},
        {"noise": {"F4": 0.1}},
        {"order": "any"},
        {"operations": (3, 1)},
        {"hanging": 2.0},
    ],
)
def test_a_world_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(UsageError):
        GraphWorld(**wrong)
