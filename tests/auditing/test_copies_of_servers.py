"""A server that answers every request with one seed: its draws count once, and the audit says so."""

from __future__ import annotations

import numpy as np
import pytest

from keyturn.auditing.audit import AuditConfig, AuditPair, audit
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab
from keyturn.problems.contract import ProblemSet
from keyturn.problems.graders import GRADERS
from keyturn.rollouts.completions import Completions, Prompts, Stop

PROBLEMS = tuple(Problem(id=str(n), prompt=f"What is {n}?", answer=str(n)) for n in range(12))


class Server:
    """Answers right with some probability, from the seeds that it is sent or from as few as it likes."""

    def __init__(self, rate: float, seeds: int = 0) -> None:
        self.rate, self.seeds = rate, seeds
        self.fingerprint = f"server-{rate}-{seeds}"

    def draw(self, problems, draws, streams, limits):
        texts, wanted = [], []
        for problem in problems:
            for draw in draws:
                seed = draw % self.seeds if self.seeds else draw
                rng = streams.generator(self.fingerprint, problem.id, seed)
                right = rng.random() < self.rate
                texts.append(problem.id if right else str(int(problem.id) + int(rng.integers(1, 40))))
                wanted.append(draw)
        none = np.zeros(0, dtype=np.float32)
        return Completions(
            policy=self.fingerprint,
            prompts=Prompts.build(
                [p.id for p in problems], [p.prompt for p in problems], [[] for _ in problems]
            ),
            problem=np.repeat(np.arange(len(problems), dtype=np.int32), len(draws)),
            draw=np.array(wanted, dtype=np.int32),
            tokens=none.astype(np.int32),
            offsets=np.zeros(len(texts) + 1, dtype=np.int64),
            logprobs=none,
            entropies=none,
            stop=np.full(len(texts), Stop.EOS, dtype=np.uint8),
            texts=tuple(texts),
        )


def audited(tmp_path, base, tuned):
    problems = ProblemSet(name="numbers", problems=PROBLEMS, grader=GRADERS["exact"])
    pair = AuditPair(
        name="numbers",
        base=base,
        tuned=tuned,
        base_name="a",
        tuned_name="b",
        problems=problems,
        problems_name="numbers",
    )
    found = audit(Lab(tmp_path / "run", Streams(0)), pair, AuditConfig(k=16))
    return found, [caution.text for caution in found.cautions if caution.kind == "copies"]


def test_honest_servers_lose_nothing(tmp_path):
    found, said = audited(tmp_path, Server(0.2), Server(0.9))
    assert said == []
    assert found.verdict.k == 16


@pytest.mark.parametrize("seeds", [1, 4])
def test_one_seed_for_several_requests_counts_once(tmp_path, seeds):
    found, said = audited(tmp_path, Server(0.2), Server(0.9, seeds=seeds))
    assert len(said) == 1
    assert said[0].startswith("tuned: ")
    tuned = found.tables.paired.tuned
    assert len(tuned) == seeds * len(PROBLEMS)


@pytest.mark.parametrize("rate", [0.2, 0.98])
def test_a_base_drawn_in_two_stages_with_one_seed_is_one_draw_and_nothing_is_created(tmp_path, rate):
    found, said = audited(tmp_path, Server(rate, seeds=1), Server(0.9))
    assert len(said) == 1
    base = found.tables.paired.base
    assert len(base) == len(PROBLEMS)
    assert base.two_stages is None, "thirty-two copies of one right answer are not enough successes"
    assert found.verdict.label not in ("created", "deployed", "mixed")
