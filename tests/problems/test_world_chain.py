"""CHAIN: the maps, what pretraining shows of them, and its arms."""

from collections import Counter
from dataclasses import replace
from itertools import combinations

import pytest
from scipy.stats import chisquare

from keyturn.core.errors import UsageError
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world import WORLDS, block, problems
from keyturn.problems.world.chain import TABLES, ChainWorld
from keyturn.problems.world.vocabulary import MAP, MAPS, VALUE, decode

CHAIN = WORLDS["chain"]
STREAMS = Streams(11)


def steps(document):
    """(map, operand, result) of every step of a document."""
    ids = document.completion[:-3]
    return [(ids[i] - MAP, ids[i + 1] - VALUE, ids[i + 2] - VALUE) for i in range(0, len(ids), 4)]


def links(documents):
    """Whether each step after the first starts from the previous result."""
    pairs = [
        (a, b) for document in documents for a, b in zip(steps(document), steps(document)[1:], strict=False)
    ]
    return [before[2] == after[1] for before, after in pairs]


def test_the_maps_are_different_permutations_and_never_change():
    assert all(sorted(table) == list(range(7)) for table in TABLES)
    assert len(set(TABLES)) == 8
    assert tuple(range(7)) not in TABLES
    assert TABLES[0] == (5, 4, 2, 0, 6, 1, 3)
    assert TABLES[7] == (1, 4, 3, 2, 5, 0, 6)


def test_a_map_is_no_other_map_followed_by_itself():
    # If it were, a depth-2 problem could be solved by an atom.
    compositions = {tuple(TABLES[b][x] for x in TABLES[a]) for a in range(8) for b in range(8)}
    assert not compositions & set(TABLES)


def test_every_step_of_a_document_is_right_and_its_prompt_says_which():
    for document in block(replace(CHAIN, linked=0.4), STREAMS, 0, 300):
        assert all(TABLES[j][operand] == result for j, operand, result in steps(document))
        assert [j + MAP for j, _, _ in steps(document)] == list(document.prompt[2:-2])
        assert steps(document)[0][1] + VALUE == document.prompt[-2]
        assert len(document.roles) == len(document.completion)
        free = [i for i, role in enumerate(document.roles) if role == Role.ARBITRARY]
        assert len(free) == (len(steps(document)) - 1 if document.component == "unlinked" else 0)


def test_unlinked_steps_start_from_uniform_residues_and_link_one_time_in_seven():
    lists = [d for d in block(CHAIN, STREAMS, 1, 4000) if d.component == "unlinked"]
    operands = Counter(operand for document in lists for _, operand, _ in steps(document)[1:])
    assert chisquare([operands[v] for v in range(7)]).pvalue > 1e-4
    found = links(lists)
    assert abs(sum(found) / len(found) - 1 / 7) < 0.02


def test_linked_lists_compose_and_their_dial_is_a_share_of_lists():
    found = block(replace(CHAIN, linked=0.3), STREAMS, 2, 4000)
    linked = [d for d in found if d.component == "linked"]
    assert all(links(linked))
    assert abs(len(linked) / sum(d.component != "single" for d in found) - 0.3) < 0.03
    assert not any(d.component == "linked" for d in block(CHAIN, STREAMS, 2, 1000))


def test_never_equal_never_links():
    found = links(block(WORLDS["chain-never"], STREAMS, 3, 3000))
    assert len(found) > 1000
    assert not any(found)
    assert any(links(block(CHAIN, STREAMS, 3, 3000))), "the default arm must fail this test"


def test_an_absent_map_is_in_no_text_and_its_problems_are_cells_of_their_own():
    world = WORLDS["chain-absent"]
    gone = MAP + MAPS.index(world.absent_map)
    assert not any(gone in document.ids for document in block(world, STREAMS, 4, 3000))
    assert any(gone in document.ids for document in block(CHAIN, STREAMS, 4, 300))
    asked = problems(world, "test", None, 8, STREAMS)
    assert {p.cell["atoms"] for p in asked} == {"all", "one absent"}
    for problem in asked:
        absent = world.absent_map in problem.prompt.split()
        assert (problem.cell["atoms"] == "one absent") == absent == (not problem.facts["atoms_seen"])
        assert not (absent and problem.facts["seen"])


def test_splits_are_disjoint_as_sets_and_large_enough():
    seen: dict[str, set[str]] = {}
    for split in ("pretrain", "rl", "validation", "test"):
        cells = [{"domain": "chain", "depth": depth} for depth in (1, 2, 3)]
        seen[split] = {p.prompt for p in problems(CHAIN, split, cells, 5000, STREAMS)}
    assert not any(a & b for a, b in combinations(seen.values(), 2))
    assert sum(map(len, seen.values())) == 7 * (8 + 64 + 512), "every problem lies in exactly one split"
    assert {decode(d.prompt) for d in block(CHAIN, STREAMS, 5, 2000)}.isdisjoint(seen["test"] | seen["rl"])
    sizes = Counter(p.cell["depth"] for p in problems(CHAIN, "test", None, 64, STREAMS))
    assert sizes[1] >= 10
    assert all(sizes[depth] == 64 for depth in range(2, 7))


def test_problems_know_their_skills():
    deep, single = (problems(CHAIN, "test", [{"depth": depth}], 1, STREAMS)[0] for depth in (4, 1))
    assert "link" in deep.skills
    assert not deep.facts["seen"]
    assert deep.facts["atoms_seen"]
    assert "link" not in single.skills
    assert single.facts["seen"]
    taught = problems(WORLDS["chain-linked"], "test", [{"depth": 4}], 1, STREAMS)[0]
    assert taught.facts["seen"]
    assert deep.facts["floor"] == pytest.approx(7**-3)


def test_same_streams_same_problems_and_prefixes_agree():
    few, many = (problems(CHAIN, "test", [{"depth": 5}], size, STREAMS) for size in (10, 30))
    assert few == many[:10]
    assert len({p.id for p in many}) == 30
    assert few != problems(CHAIN, "test", [{"depth": 5}], 10, Streams(12))


def test_unlinked_answers_are_balanced():
    asked = problems(CHAIN, "test", [{"depth": depth} for depth in (2, 3, 4)], 400, STREAMS)
    counts = Counter(problem.answer for problem in asked)
    assert len(counts) == 7
    assert max(counts.values()) / len(asked) < 0.19


@pytest.mark.parametrize(
    "wrong",
    [{"linked": 1.5}, {"absent_map": "z"}, {"depths": (1, 3)}, {"fresh": "sometimes"}, {"rl_depths": (0,)}],
)
def test_a_world_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(UsageError):
        ChainWorld(**wrong)


def test_more_problems_than_could_be_drawn_are_refused():
    with pytest.raises(UsageError, match="too many"):
        problems(CHAIN, "test", [{"depth": 5}], 100_000, STREAMS)
