"""The embedded default: two shipped bases, RL on each and an audit of each. One instrument gives two answers.

In CHAIN, the base learned to apply functions but never composed them. So what RL gains at depths that it never
trained on is created. In GRAPH, the base knows every strategy. So what RL gains is deployed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import keyturn
from keyturn.auditing.audit import AuditConfig, AuditPair, audit
from keyturn.auditing.result import AuditResult
from keyturn.auditing.world_facts import WorldFacts
from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.task import world_task
from keyturn.objectives import OBJECTIVES
from keyturn.policies.loading import load_policy, world_of
from keyturn.policies.model_folder import same_folder
from keyturn.problems.contract import ProblemSet
from keyturn.problems.world.grader import WorldGrader
from keyturn.problems.world.worlds import World, problems
from keyturn.rewards.by_name import reward_named
from keyturn.training.config import RLConfig
from keyturn.training.record import MODEL

MODELS = Path(keyturn.__file__).parent / "assets" / "models"
"""The base models shipped with the package."""


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """How one shipped base is trained and on which cells it is audited."""

    name: str
    rl: RLConfig
    test: tuple[Mapping[str, str | int], ...]
    """Cells of the audit. CHAIN: atoms, and depths beyond the 2 and 3 that RL trains on.

    GRAPH: the measured edge of what its base can do.
    """
    train: tuple[Mapping[str, str | int], ...]
    """Cells that RL trains on, with the same number of problems of each."""
    train_per_cell: int = 112
    """Problems per cell that RL trains on. CHAIN has about 112 problems of depth 2 in its RL split."""
    objective: str = "grpo"
    reward: str = "outcome"


EMBEDDED: dict[str, Embedded] = {
    "graph": Embedded(
        name="graph",
        rl=RLConfig(steps=100, prompts=16, draws=8, max_new_tokens=96, batch_rows=128, checkpoint_every=25),
        test=tuple({"domain": "graph", "operations": n} for n in (1, 2, 3)),
        train=tuple({"domain": "graph", "operations": n} for n in (1, 2)),
        train_per_cell=400,
    ),
    "chain": Embedded(
        name="chain",
        rl=RLConfig(steps=100, prompts=16, draws=16, max_new_tokens=15, batch_rows=256, checkpoint_every=50),
        test=tuple({"domain": "chain", "depth": d} for d in (1, 4, 5, 6)),
        train=tuple({"domain": "chain", "depth": d} for d in (2, 3)),
    ),
}


def audit_embedded(lab: Lab, one: Embedded, per_cell: int, config: AuditConfig) -> AuditResult:
    """Train a shipped base by RL and audit the pair. Finished stages are read from disk."""
    return audit_trained(lab, one, MODELS / one.name, per_cell, config)


def audit_trained(
    lab: Lab, one: Embedded, base_folder: Path, per_cell: int, config: AuditConfig, base_name: str = ""
) -> AuditResult:
    """Train a base of a world by RL with the embedded settings, and audit the pair.

    Args:
        lab: the run directory.
        one: the settings of RL and the cells of the audit.
        base_folder: a model folder with its world.
        per_cell: test problems per cell.
        config: how many draws are taken.
        base_name: what the base is called; by default, the name of the shipped one.
    """
    world, session = world_in(base_folder), session_for(lab, one, base_folder, per_cell)
    task, tuned = session.task, trained(session, one)
    tuned_folder = same_folder(tuned.path, lab.root / MODEL)
    pair = AuditPair(
        name=one.name,
        base=task.base,
        tuned=tuned.policy,
        base_name=base_name or f"keyturn's shipped base {one.name!r}",
        tuned_name=f"the same after {one.rl.steps} steps of {one.objective} with {one.reward} reward",
        problems=task.test,
        problems_name=f"{len(task.test.problems)} test problems of {world.name}",
        facts=WorldFacts(world),
        weights=(base_folder, tuned_folder),
        history=tuned.history,
        cell_keys=cell_keys(one.test),
    )
    return audit(lab, pair, replace(config, max_new_tokens=task.max_new_tokens))


def session_for(lab: Lab, one: Embedded, folder: Path, per_cell: int) -> Session:
    """A session on a base of a world, with the problems that the embedded settings name.

    Args:
        lab: the run directory.
        one: the settings.
        folder: the base, with its world.
        per_cell: test problems per cell.
    """
    world = world_in(folder)
    task = world_task(
        load_policy(folder),
        str(folder),
        world,
        lab.streams,
        train=one.train,
        test=one.test,
        per_cell=one.train_per_cell,
        held_out=per_cell,
    )
    return Session(lab, task)


def trained(session: Session, one: Embedded) -> Model:
    """The base after RL with the embedded settings."""
    return session.rl(
        session.base,
        objective=OBJECTIVES[one.objective](),
        reward=reward_named(one.reward),
        config=one.rl,
        streams=session.streams.child("rl"),
        label=f"RL {one.name}",
    )


def world_in(folder: Path) -> World:
    """The world of a model folder. If there is none, the error names the folder."""
    world = world_of(folder)
    if world is None:
        raise UsageError(
            f"{folder} is not a model of a controlled world",
            fix="name a model of a world, or give --problems FILE",
        )
    return world


def cell_keys(cells: tuple[Mapping[str, str | int], ...]) -> tuple[str, ...]:
    """The keys whose values differ between cells."""
    keys = sorted({key for cell in cells for key in cell})
    return tuple(key for key in keys if len({cell.get(key) for cell in cells}) > 1) or tuple(keys)


def world_problems(world: World, per_cell: int, streams: Streams) -> tuple[ProblemSet, int]:
    """Test problems of all of a world's own cells, and the number of tokens that an answer may need."""
    asked = problems(world, "test", None, per_cell, streams.child("problems"))
    return ProblemSet(name=world.name, problems=asked, grader=WorldGrader(world)), world.max_new_tokens


def settings_for(folder: Path) -> Embedded:
    """The embedded settings that fit a base's world."""
    world = world_in(folder)
    return replace(EMBEDDED[world.domain], name=world.name)
