"""The base models inside the package are what their cards say."""

import json
from dataclasses import asdict
from importlib.resources import as_file, files

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

import keyturn.policies.tiny  # noqa: F401 (registers the architecture)
from keyturn.core.identity import identity
from keyturn.core.rundir import read_json
from keyturn.core.streams import Streams
from keyturn.policies.hashes import weights_hash
from keyturn.policies.loading import load_policy, world_of
from keyturn.policies.protocol import Limits
from keyturn.pretraining.recipes import PRETRAIN
from keyturn.pretraining.role_accuracy import role_accuracy
from keyturn.pretraining.zones import zone_of
from keyturn.problems.contract import answers
from keyturn.problems.world.corpus import block
from keyturn.problems.world.exact import valid_completions
from keyturn.problems.world.grader import problem_set
from keyturn.problems.world.worlds import WORLDS, world_to_json

NAMES = ("chain", "graph")


@pytest.fixture(scope="module", params=NAMES)
def shipped(request):
    with as_file(files("keyturn.assets") / "models" / request.param) as folder:
        yield request.param, folder


def test_a_base_is_small_whole_and_safetensors_only(shipped):
    _, folder = shipped
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 2 * 2**20
    names = {path.name for path in folder.iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "world.json",
        "card.json",
        "manifest.json",
    } <= names
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}


def test_the_card_is_of_this_model_this_world_and_this_recipe(shipped):
    name, folder = shipped
    card, policy, world = read_json(folder / "card.json"), load_policy(folder), world_of(folder)
    assert world == WORLDS[name], "the shipped base was made in the world as it is now; make it again"
    recipe = PRETRAIN["demo"]
    fit = recipe.fit[name]
    assert card["hashes"] == {
        "weights": weights_hash(policy.model),
        "world": identity(world_to_json(world)),
        "recipe": identity({"size": asdict(recipe.size), "fit": asdict(fit)}),
    }
    assert card["recipe"] == "demo"
    assert card["steps"] == fit.steps
    assert sum(row["tokens"] for row in card["corpus"].values()) == card["tokens"]
    shares = {k: row["documents"] / (fit.steps * fit.batch_rows) for k, row in card["corpus"].items()}
    for component, share in world.mixture.items():
        assert shares.get(component, 0) == pytest.approx(share, abs=0.02)


def test_zones_follow_from_their_figures(shipped):
    card = read_json(shipped[1] / "card.json")
    for zone in card["zones"]:
        assert zone["zone"] == zone_of(zone["pass_at_1"], zone["pass_at_k"])
        assert zone["k"] == 64


def test_stock_transformers_loads_it(shipped):
    _, folder = shipped
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert weights_hash(model) == json.loads((folder / "card.json").read_text())["hashes"]["weights"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer("BOS CH f 3 ?")["input_ids"]) == "BOS CH f 3 ?"


def test_pass_at_1_is_what_the_card_says(shipped):
    """Fresh problems and draws; the difference may be what two samples of problems and draws differ by."""
    name, folder = shipped
    card, policy, world = read_json(folder / "card.json"), load_policy(folder), world_of(folder)
    assert world is not None
    key = "depth" if name == "chain" else "operations"
    for level in (1, 2):
        cells = [{"domain": name, key: level}]
        asked = problem_set(world, "test", cells, 24, Streams(77))
        limits = Limits(max_new_tokens=world.max_new_tokens, batch_rows=512)
        drawn = policy.draw(asked.problems, range(8), Streams(78), limits)
        graded = answers("base", asked.problems, drawn, asked.grader.grade(asked.problems, drawn))
        n, c = graded.counts()
        by_problem = c / n
        said = next(zone["pass_at_1"] for zone in card["zones"] if zone["cell"][key] == level)
        error = max(np.std(by_problem) / np.sqrt(len(n) / 2), 0.02)
        assert abs(by_problem.mean() - said) < 4 * error, (level, by_problem.mean(), said)


def test_chain_knows_its_atoms_and_links_at_the_chance_floor():
    """Exact, by teacher forcing the one valid trace."""
    with as_file(files("keyturn.assets") / "models" / "chain") as folder:
        policy, world = load_policy(folder), world_of(folder)
    assert world is not None
    fresh = block(world, Streams(79), 0, 200)
    accuracy = role_accuracy(policy.model, fresh)
    assert accuracy["arithmetic"] > 0.98
    assert accuracy["copy"] > 0.98
    for depth in (2, 3, 4, 5, 6):
        asked = problem_set(world, "test", [{"domain": "chain", "depth": depth}], 64, Streams(80))
        probability = exact(policy, world, asked.problems)
        floor = 7.0 ** -(depth - 1)
        assert 0.6 * floor < probability.mean() < 1.6 * floor, depth


def test_graph_executes_and_does_not_yet_plan():
    with as_file(files("keyturn.assets") / "models" / "graph") as folder:
        policy, world = load_policy(folder), world_of(folder)
    assert world is not None
    accuracy = role_accuracy(policy.model, block(world, Streams(81), 0, 200))
    assert min(accuracy[role] for role in ("copy", "lookup", "arithmetic")) > 0.93
    assert 0.5 < accuracy["plan"] < 0.88, "RL needs head-room in planning"


def exact(policy, world, problems):
    """The probability of the one valid completion of each problem."""
    from keyturn.policies.batching import Texts
    from keyturn.policies.hooks import evaluating
    from keyturn.policies.scorer import score_rows
    from keyturn.problems.world.vocabulary import encode

    prompts = [np.array(encode(problem.prompt), dtype=np.int32) for problem in problems]
    gold = [np.array(valid_completions(world, problem).ids[0], dtype=np.int32) for problem in problems]
    with evaluating(policy.model):
        logprobs, _, _ = score_rows(policy.model, Texts.build(prompts, gold))
    starts = np.cumsum([0, *(len(trace) for trace in gold[:-1])])
    return np.exp(np.add.reduceat(logprobs, starts))
