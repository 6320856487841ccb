"""Tiny policies and probe problems whose right behaviour is known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from keyturn.core.measurement import Json
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.objectives import OBJECTIVES
from keyturn.objectives.contract import Objective
from keyturn.policies.local import LocalPolicy, Sampling
from keyturn.policies.tiny import TinyConfig, TinyForCausalLM, initialise
from keyturn.problems.contract import ProblemSet
from keyturn.rewards import REWARDS
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Grades
from keyturn.training.config import RLConfig
from keyturn.training.loop import Loop
from keyturn.training.rl import FinishedRun, train_rl

WORDS = ("<pad>", "<eos>", "<unk>", "ask", "tell", "a", "b", "c", "d", "e")
EOS = 1


def tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def tiny_policy(seed: int = 0, *, temperature: float = 1.0, canon: bool = True) -> LocalPolicy:
    """A fresh policy of some 2,000 parameters over WORDS."""
    config = TinyConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=32,
        canon=canon,
        eos_token_id=EOS,
        pad_token_id=0,
    )
    model = initialise(TinyForCausalLM(config), torch.Generator().manual_seed(seed))
    return LocalPolicy(model.eval(), tokenizer(), sampling=Sampling(temperature=temperature))


@dataclass
class Judge:
    """Grades the words of a completion with a function ``(problem, words) -> outcome``."""

    rule: Callable[[Problem, Sequence[str]], float]
    name: str = "judge 1"
    reads_traces: bool = False
    config: str = "a rule of one test, which reads no cache of another"

    def grade(self, problems: tuple[Problem, ...], completions: Completions) -> Grades:
        outcome = [
            self.rule(problems[completions.problem[row]], [WORDS[t] for t in completions.row(row)])
            for row in range(len(completions))
        ]
        return Grades(
            outcome=np.array(outcome, dtype=np.float32),
            verified=np.full(len(completions), np.nan, dtype=np.float32),
            answer=completions.texts,
        )


@dataclass(frozen=True)
class Changes:
    """A hook that moves the reference and begins the optimiser anew every other step, and fades a term."""

    name: str = "changes"
    fades: str = ""
    """Name of the term, which goes linearly to a fifth over four steps."""

    def state(self) -> dict[str, Json]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        pass

    def before_rollout(self, loop: Loop) -> None:
        if self.fades:
            loop.weights[self.fades] = 1 - 0.8 * min(1.0, loop.step / 4)

    def after_step(self, loop: Loop, row: Mapping[str, float]) -> None:
        if loop.step % 2 == 0:
            loop.reset_reference()
            loop.reset_optimiser()


def probe(rule: Callable[[Problem, Sequence[str]], float], prompts: Sequence[str] = ("ask",)) -> ProblemSet:
    return ProblemSet(
        name="probe",
        problems=tuple(Problem(id=f"p{i}", prompt=text) for i, text in enumerate(prompts)),
        grader=Judge(rule),
    )


def config(**changes) -> RLConfig:
    usual = {"steps": 6, "prompts": 1, "draws": 8, "max_new_tokens": 4, "lr": 1e-2, "kl_every": 2}
    return RLConfig(**{**usual, **changes})


def train(folder, problems: ProblemSet, settings: RLConfig, **changes) -> FinishedRun | None:
    usual: dict = {
        "policy": tiny_policy(),
        "reward": REWARDS["outcome"](),
        "objective": OBJECTIVES["grpo"](),
        "streams": Streams(5),
    }
    merged = {**usual, **changes}
    objective = merged["objective"]
    merged["objective"] = objective if isinstance(objective, Objective) else OBJECTIVES[objective]()
    return train_rl(merged.pop("policy"), problems, config=settings, folder=folder, **merged)


def starts_with_a(problem: Problem, words: Sequence[str]) -> float:
    return float(words[:1] == ["a"])


def first_words(policy: LocalPolicy, prompt: str = "ask", draws: int = 200) -> dict[str, float]:
    """Share of each first word over some draws."""
    from keyturn.policies.protocol import Limits

    drawn = policy.draw([Problem(id="x", prompt=prompt)], range(draws), Streams(9), Limits(max_new_tokens=1))
    names, counts = np.unique([WORDS[t] for t in drawn.tokens], return_counts=True)
    return {str(n): float(c) / draws for n, c in zip(names, counts, strict=True)}
