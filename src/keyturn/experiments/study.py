"""Turn a plan's runs into a study's outcome, and run a plan's arms in several processes."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from keyturn.core.measurement import Estimate
from keyturn.core.streams import Streams
from keyturn.experiments.contract import Outcome, Study, Subject
from keyturn.experiments.plan import ArmRun, Contrast, ShareDone
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.lab.workers import Executor, Job, Processes, free_cores


def outcome_of(
    session: Session,
    runs: Sequence[ArmRun],
    contrasts: Mapping[str, Contrast],
    *,
    setting: str,
    more: Mapping[str, Estimate] | None = None,
    exact: Collection[str] = (),
) -> Outcome:
    """The outcome of a study that runs a plan.

    Args:
        session: its base and test problems are those of the study.
        runs: every run.
        contrasts: the claim's numbers (estimand, gates, controls) by name.
        setting: the study's setting in one sentence.
        more: numbers that are not contrasts over seeds.
        exact: numbers that are computed and not estimated.
    """
    numbers = {name: one.estimate for name, one in contrasts.items()}
    return Outcome(
        numbers={**numbers, **(more or {})},
        base=session.task.base.fingerprint,
        base_name=Path(session.task.folder).name,
        run=str(session.lab.root),
        n=len(session.task.test.problems),
        rows=tuple(one.to_json() for one in runs),
        contrasts=tuple({"key": name, **one.to_json()} for name, one in contrasts.items()),
        setting=setting,
        exact=frozenset(exact),
        over_problems=frozenset(name for name, one in contrasts.items() if one.basis == "problems"),
    )


class Claimed(Protocol):
    """What a claim (``atlas.contract.Claim``) says of its study."""

    @property
    def study(self) -> Study:
        """The function that tests it."""
        ...

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that it trains; none: it is one audit."""
        ...


def run_study(claim: Claimed, subject: Subject, root: Path, *, executor: Executor | None = None) -> Outcome:
    """Run a claim's study; the runs of the plan of one that trains methods are shared among workers.

    Args:
        claim: the claim.
        subject: what its study is run on.
        root: the run directory.
        executor: where single-threaded workers are; None: processes on the free cores.
    """
    executor = executor or Processes(free_cores())
    count = executor.slots
    if count > 1 and claim.methods:
        root = root.resolve()  # workers elsewhere have another working directory
        jobs = {
            f"worker {i + 1}": Job(function=_share, arguments=(claim.study, subject, root, i, count))
            for i in range(count)
        }
        executor.run(jobs, folders=dict.fromkeys(jobs, root))
    return claim.study(Lab(root, Streams(subject.seed)), subject)


def _share(study: Study, subject: Subject, root: Path, number: int, count: int) -> None:
    with contextlib.suppress(ShareDone):
        study(Lab(root, Streams(subject.seed), share=(number, count)), subject)
