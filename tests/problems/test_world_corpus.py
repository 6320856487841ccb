"""Corpora: declared shares, realised counts, weights, and the same bytes from the same streams."""

import json
import logging
from dataclasses import fields, replace
from itertools import islice

import pytest

from keyturn.core.errors import InputError, UsageError
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world import WORLDS, block, documents, problems, realised, world_from_json, world_to_json
from keyturn.problems.world.document import Document, LossWeights
from keyturn.problems.world.graph import GraphWorld
from keyturn.problems.world.mixture import Mixture
from keyturn.problems.world.vocabulary import ANS, EOS, STRATEGIES

STREAMS = Streams(3)
EVERY = GraphWorld(
    strategies=dict.fromkeys(STRATEGIES, 0.125), formats={"F1": 0.4, "F2": 0.3, "F3": 0.3}, order="free"
)


@pytest.mark.parametrize(
    "shares", [{"a": 0.5, "b": 0.4}, {"a": 1.1}, {}, {"a": 1.5, "b": -0.5}, {"a": float("nan")}]
)
def test_shares_that_do_not_sum_to_one_are_refused(shares):
    with pytest.raises(UsageError, match="share"):
        Mixture(shares)


def test_thirds_sum_to_one():
    assert Mixture({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3, "none": 0.0}).names == ("a", "b", "c")


@pytest.mark.parametrize("name", WORLDS)
def test_declared_shares_sum_to_one_and_are_realised(name, caplog):
    world = WORLDS[name]
    assert sum(world.mixture.values()) == pytest.approx(1)
    with caplog.at_level(logging.INFO, logger="keyturn"):
        found = realised(block(world, STREAMS, 0, 3000))
    for component, share in world.mixture.items():
        count = found.get(component, {"documents": 0})["documents"]
        assert abs(count / 3000 - share) < 0.035, component
        assert share == 0 or component in caplog.text or count == 0


@pytest.mark.parametrize("name", WORLDS)
def test_a_block_is_a_pure_function_of_its_number(name):
    world = WORLDS[name]
    assert block(world, STREAMS, 4, 40) == block(world, STREAMS, 4, 80)[:40]
    assert block(world, STREAMS, 4, 40) != block(world, STREAMS, 5, 40)
    assert block(world, STREAMS, 4, 40) != block(world, Streams(4), 4, 40)
    assert tuple(islice(documents(world, STREAMS, start=4), 40)) == block(world, STREAMS, 4, 40)


@pytest.mark.parametrize("world", [*WORLDS.values(), EVERY], ids=lambda w: w.name)
def test_documents_are_well_formed(world):
    for document in block(world, STREAMS, 1, 400):
        assert len(document.roles) == len(document.completion)
        assert document.completion[-1] == EOS
        assert document.completion.count(ANS) == 1
        answer = document.roles[document.completion.index(ANS) + 1 : -1]
        assert set(answer) == {Role.ANSWER}
        assert document.component in world.mixture
        for at, ids in document.choices.items():
            assert document.roles[at] in (Role.PLAN, Role.GOAL)
            assert document.completion[at] in ids, "what was written is among the valid choices"
        planned = sum(role in (Role.PLAN, Role.GOAL) for role in document.roles)
        assert planned == len(document.choices)


def test_canonical_order_takes_the_first_listed_and_free_order_all():
    first, free = ([], [])
    for world, found in ((replace(EVERY, order="canonical"), first), (EVERY, free)):
        for document in block(world, STREAMS, 2, 400):
            if document.component.startswith(("FWD", "SCAN")):
                found += [
                    document.completion[at] == ids[0] for at, ids in document.choices.items() if len(ids) > 1
                ]
    assert all(first)
    assert 0.3 < sum(free) / len(free) < 0.7


def test_weights_of_the_pretraining_loss():
    document = Document(
        prompt=(1, 2),
        completion=(3, 4, 5, 6, 7),
        roles=(Role.STRATEGY, Role.PLAN, Role.COPY, Role.LOOKUP, Role.ARITHMETIC),
        component="hand",
    )
    assert LossWeights().of(document).tolist() == pytest.approx([0, 0, 0.3, 3, 1.5, 1, 4])
    table = LossWeights().by_role()
    assert table[Role.ARBITRARY] == table[Role.LOOKUP], "unequal weights would move the dose of linking"
    assert LossWeights(prompt=0.1).of(document)[0] == pytest.approx(0.1)


def test_noise_in_a_format_is_where_it_was_asked_for():
    from keyturn.problems.world.verify import read_completion, read_prompt

    world = GraphWorld(noise={"F2": 0.3}, strategies={"FWD": 1.0}, formats={"F1": 0.5, "F2": 0.5})
    wrong = {"F1": [], "F2": []}
    for document in block(world, STREAMS, 3, 600):
        reading = read_completion(read_prompt(world, list(document.prompt)), list(document.completion))
        results = [e for role, e in zip(reading.roles, reading.errors, strict=True) if role == Role.ARITHMETIC]
        wrong[document.component.split()[1]] += results
    assert not any(wrong["F1"])
    assert abs(sum(wrong["F2"]) / len(wrong["F2"]) - 0.3) < 0.06


@pytest.mark.parametrize("name", WORLDS)
def test_worlds_survive_json(name):
    world = WORLDS[name]
    again = world_from_json(json.loads(json.dumps(world_to_json(world))))
    assert again == world
    assert again.name == name
    assert block(again, STREAMS, 0, 5) == block(world, STREAMS, 0, 5)
    assert problems(again, "test", None, 2, STREAMS) == problems(world, "test", None, 2, STREAMS)
    assert set(world_to_json(world)) == {"domain", *(field.name for field in fields(world))}


def test_a_damaged_world_file_is_refused():
    good = world_to_json(WORLDS["chain"])
    for damage in ({"domain": "maze"}, {"unheard": 1}, {"loss": {"cats": 1}}, {"loss": 3}):
        with pytest.raises(InputError):
            world_from_json({**good, **damage})
    with pytest.raises(InputError):
        world_from_json({})
