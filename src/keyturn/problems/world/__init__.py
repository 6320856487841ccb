"""The controlled world: generators, traces with roles, corpora, verifier, tokenizer, zones."""

from keyturn.problems.world.contract import World
from keyturn.problems.world.corpus import block, documents, realised
from keyturn.problems.world.demonstrations import demonstrate
from keyturn.problems.world.exact import guess_rates, valid_completions
from keyturn.problems.world.grader import WorldGrader, problem_set
from keyturn.problems.world.worlds import DOMAINS, WORLDS, problems, world_from_json, world_named, world_to_json

__all__ = [
    "DOMAINS",
    "WORLDS",
    "World",
    "WorldGrader",
    "block",
    "demonstrate",
    "documents",
    "guess_rates",
    "problem_set",
    "problems",
    "realised",
    "valid_completions",
    "world_from_json",
    "world_named",
    "world_to_json",
]
