"""Token tables made by hand, and a tiny softmax model whose probabilities can be enumerated."""

from __future__ import annotations

import itertools

import numpy as np

from keyturn.core.problem import Problem
from keyturn.measures.contract import Tables, TokenShift
from keyturn.measures.paired import Paired
from keyturn.rollouts.completions import Completions, Prompts, Stop, ragged
from keyturn.rollouts.grades import Answers, Grades


def completions_of(rows, problems, *, size=None, stop=Stop.EOS):
    """Completions from one list of token ids per row; ``problems`` gives each row's problem."""
    tokens, offsets = ragged(rows)
    size = size or max(problems) + 1
    names = [f"p{i}" for i in range(size)]
    stops = np.full(len(rows), int(stop)) if isinstance(stop, Stop) else np.array([int(s) for s in stop])
    return Completions(
        policy="hand",
        prompts=Prompts.build(names, names, [[0]] * size),
        problem=np.array(problems, dtype=np.int32),
        draw=np.arange(len(rows), dtype=np.int32),
        tokens=tokens,
        offsets=offsets,
        logprobs=np.zeros(len(tokens), dtype=np.float32),
        entropies=np.zeros(len(tokens), dtype=np.float32),
        stop=stops.astype(np.uint8),
        texts=("",) * len(rows),
    )


def grades_of(verified, *, roles=None, **token_columns):
    """Grades with the given verdict per row; roles and further columns per token."""
    verified = np.array(verified, dtype=np.float32)
    return Grades(
        outcome=verified,
        verified=verified,
        answer=("",) * len(verified),
        roles=None if roles is None else np.array(roles, dtype=np.uint8),
        token_columns={name: np.array(column) for name, column in token_columns.items()},
    )


def shift_of(drawn_by, completions, grades=None, **columns):
    """A token table; columns that are not given are zero."""
    size = len(completions.tokens)
    kinds = {"base_ranks": np.int32, "tuned_ranks": np.int32, "flip": np.bool_}
    names = ("logprobs", "entropies", "ranks")
    every = [f"{policy}_{name}" for policy, name in itertools.product(("base", "tuned"), names)]
    filled = {
        name: np.asarray(columns.pop(name, np.zeros(size)), dtype=kinds.get(name, np.float32))
        for name in (*every, "kl", "kl_reverse", "flip")
    }
    assert not columns, columns
    return TokenShift(drawn_by=drawn_by, completions=completions, grades=grades, **filled)


def tables_of(streams, problems=1, *, known=None, **collected):
    """Tables of an audit without draws on some problems; ``known`` are columns of :class:`Paired`."""
    asked = tuple(Problem(id=f"p{i}", prompt="?", answer="") for i in range(problems))
    nothing = np.zeros(0, dtype=np.int32)
    answers = [
        Answers(
            policy=policy,
            problems=asked,
            problem=nothing,
            draw=nothing,
            outcome=np.zeros(0, dtype=np.float32),
            verified=np.zeros(0, dtype=np.float32),
            answer=(),
            length=nothing,
            truncated=np.zeros(0, dtype=bool),
        )
        for policy in ("base", "tuned")
    ]
    return Tables(
        streams=streams, paired=Paired(base=answers[0], tuned=answers[1], **(known or {})), **collected
    )


class Markov:
    """A softmax policy over four tokens (0 ends) whose next law depends on problem and last token."""

    vocabulary, longest = 4, 4

    def __init__(self, problems, seed, sharp=1.5):
        logits = sharp * np.random.default_rng(seed).standard_normal(
            (problems, self.vocabulary, self.vocabulary)
        )
        self.problems = problems
        self.logp = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))

    def token_logprobs(self, problem, sequence):
        before = [0, *sequence[:-1]]
        return [self.logp[problem, a, b] for a, b in zip(before, sequence, strict=True)]

    def everything(self):
        """Every completion that ends by itself within the limit."""
        for length in range(self.longest):
            for body in itertools.product(range(1, self.vocabulary), repeat=length):
                yield [*body, 0]

    @staticmethod
    def valid(sequence):
        return sum(sequence) % 3 == 1

    def exact(self, problem):
        """Probability of a valid completion, by enumeration in float64."""
        terms = [sum(self.token_logprobs(problem, s)) for s in self.everything() if self.valid(s)]
        return float(np.exp(terms).sum())

    def draw(self, problem, generator):
        """One completion and whether it ended by itself."""
        out, last = [], 0
        while len(out) < self.longest:
            last = int(generator.choice(self.vocabulary, p=np.exp(self.logp[problem, last])))
            out.append(last)
            if last == 0:
                return out, Stop.EOS
        return out, Stop.LENGTH

    def score(self, completions):
        rows = [
            self.token_logprobs(int(completions.problem[r]), completions.row(r).tolist())
            for r in range(len(completions))
        ]
        return np.array([x for row in rows for x in row], dtype=np.float32)
