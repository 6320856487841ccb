"""What elicitation methods are given in tests: stock architectures with random weights, and problems in
their words."""

from dataclasses import replace

import small_models
import torch

from keyturn.core.streams import Streams
from keyturn.elicitation.contract import Asked, Exemplar
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits
from keyturn.policies.world_tokenizer import world_tokenizer
from keyturn.problems.contract import ProblemSet
from keyturn.problems.graders.extraction import OneByOne, TextGrader
from keyturn.problems.world.vocabulary import EOS, WORDS
from keyturn.problems.world.worlds import WORLDS
from keyturn.problems.world.worlds import problems as world_problems

STOCK = ("llama", "gpt2", "qwen")


def last_word(text):
    """The answer of a made-up text: its last word."""
    words = text.split()
    return words[-1] if words else None


def same(gold, answer):
    return float(gold == answer)


GRADER = TextGrader(
    name="last word", strict=last_word, lenient=last_word, gold=last_word, compare=OneByOne(same), form=""
)


def first_move(text):
    """The move that stands first behind ANS, whatever a random model says after it."""
    words = text.partition("ANS")[2].split()
    return " ".join(words[: 1 if words[0] == "~" else 2]) if words else None


MOVES = TextGrader(
    name="first move", strict=first_move, lenient=first_move, gold=str, compare=OneByOne(same), form=""
)


def problem_set(lengths, seed, name):
    """Problems whose prompts have these numbers of words; each has five right answers."""
    found = [
        replace(p, id=f"{name}{i}", answer=f"w{5 + i}", also=tuple(f"w{9 + i + 6 * j}" for j in range(4)))
        for i, p in enumerate(small_models.problems(lengths, seed))
    ]
    return ProblemSet(name=name, problems=tuple(found), grader=GRADER)


def made(family="llama", draws=range(3), tokens=10, lengths=(4, 6, 5), **more):
    """A random model of an architecture, asked three problems."""
    policy = LocalPolicy(small_models.family(family), small_models.tokenizer())
    given = {"teacher": other(family)} | more
    return asked_of(policy, draws=draws, tokens=tokens, lengths=lengths, **given)


def of_nim(family="llama", draws=range(3), tokens=6, **more):
    """A random model of an architecture that knows the words of the worlds, asked three positions of NIM."""
    model = small_models.FAMILIES[family]()
    model.resize_token_embeddings(len(WORDS), mean_resizing=False)
    model.config.eos_token_id = model.generation_config.eos_token_id = EOS
    policy = LocalPolicy(small_models.spread(model), world_tokenizer())
    world = WORLDS["nim"]
    cells = [{"domain": "nim", "heaps": 2, "takes": 2}]
    found = {
        name: world_problems(world, split, cells, 3, Streams(1))
        for name, split in (("problems", "test"), ("development", "validation"))
    }
    given = {
        "policy": policy,
        "draws": draws,
        "streams": Streams(0),
        "limits": Limits(max_new_tokens=tokens),
        "in_words": False,
        **{name: ProblemSet(name=name, problems=some, grader=MOVES) for name, some in found.items()},
    }
    return Asked(**(given | more))


def other(family="llama", std=0.12):
    """A teacher: the random model of that kind with noise on its weights, so that both agree now and then."""
    model = small_models.family(family)
    noise = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _, weight in sorted(model.named_parameters()):
            if weight.dim() > 1:
                weight.add_(torch.empty(weight.shape).normal_(0, std, generator=noise))
    return LocalPolicy(model, small_models.tokenizer())


def asked_of(policy, draws=range(3), tokens=10, lengths=(4, 6, 5), seed=0, **more):
    development = problem_set((5, 4), 7, "d")
    shots = [
        Exemplar(problem=p, solution=f"w3 w{20 + i} w{30 + i} w4 {p.answer}")
        for i, p in enumerate(development.problems)
    ]
    given = {
        "policy": policy,
        "problems": problem_set(lengths, 1, "p"),
        "draws": draws,
        "streams": Streams(seed),
        "limits": Limits(max_new_tokens=tokens),
        "development": development,
        "exemplars": tuple(shots),
    }
    return Asked(**(given | more))
