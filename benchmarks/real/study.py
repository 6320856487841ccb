"""The study of a real pretrained model: RL and its rivals from one base, the audit of a pair, and what is form.

``python benchmarks/real/study.py MODEL --second MODEL --out runs/real/study``: models are folders that
``keyturn model import`` made. The plan comes first, with its cost on this machine. Everything is a stage of the
run folder, so the same command goes on where it was interrupted. Parts come in the order of what they are
worth; ``--parts`` chooses. Numbers go to ``results.json``, draws to ``samples``, the pair's report to
``pair/report.html``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import results
import samples
import tasks
from arms import ARMS, ASKED, BASE, DRAWS, FIRST, FIT, RL, SHORT, STOPS, TOKENS, Arm, Sizes, reinforced, task_of
from cost import SECOND, Work, drawing, minutes, passes_per_second, training
from ways import ASKED as WAY_PROBLEMS
from ways import DRAWS as WAY_DRAWS
from ways import WAYS, policy_of, problems_of

from keyturn.auditing import opening
from keyturn.auditing.audit import AuditConfig
from keyturn.core.rundir import write_text
from keyturn.core.streams import Streams
from keyturn.front.result import Audit
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.policies.by_name import Loading
from keyturn.policies.loading import load_policy
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits
from keyturn.problems.contract import ProblemSet

PROMPT, ANSWER, LEARNT = 175, 32, 25
"""Tokens of a few-shot prompt, of the base's answers and of answers while RL trains, for the plan."""
BASE_DRAWS = 64
"""Base draws per problem of the audit, the same number for every problem."""
COMPARED = 2
"""Completions per problem and policy that are read by both models; each costs a pass over its prompt too."""
WEIGHTS = 30_000
"""Passes that comparing the weights of the pair with their nulls is worth."""
SECOND_STEPS = 4
"""RL steps of the second study."""
PARTS = "parts.json"
"""Seconds of processor time that each finished part took."""
FOUND_AGAIN = 0.3
"""A part that takes less than this share of its plan was finished before and read again."""
SECOND_ARM = Arm(name="RL-0", says="the right answer", train=reinforced("outcome", SECOND_STEPS))


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the study.

    Args:
        name: what ``--parts`` takes.
        says: what it does.
        work: what it will cost.
        run: does it.
    """

    name: str
    says: str
    work: Work
    run: Callable[[Study], None]


class Study:
    """A run folder with the models that it is about, loaded when they are needed."""

    def __init__(self, out: Path, model: Path, second: Path | None) -> None:
        self.out, self.model, self.second = out, model, second
        self.samples = out / "samples"
        self.samples.mkdir(parents=True, exist_ok=True)
        self._sessions: dict[str, Session] = {}

    def session(self, *, second: bool = False) -> Session:
        """The session of the first or the second model."""
        name = "second" if second else "first"
        if name not in self._sessions:
            folder = self.second if second else self.model
            if folder is None:
                raise SystemExit("the part `second` needs a model: --second FOLDER")
            self._sessions.clear()
            read, streams = load_policy(str(folder)), Streams(0)
            base = LocalPolicy(read.model, read.tokenizer, stops=STOPS)
            task = task_of(base, str(folder), streams.child("problems"), SHORT if second else Sizes())
            self._sessions[name] = Session(Lab(self.out, streams), task)
        return self._sessions[name]


def measure(study: Study, arm: Arm, *, second: bool = False) -> None:
    """Train one arm and draw from it on the test problems."""
    session = study.session(second=second).replicate(arm.seed)
    model = arm.train(session)
    completions, _ = session.draw(model, session.task.test, DRAWS, name=f"test {arm.name}")
    group = "second" if second else "test"
    samples.write(samples.place(study.samples, group, arm.name), arm.name, session.task.test, completions)
    if model.history:
        lines = "".join(json.dumps(dict(row)) + "\n" for row in model.history)
        write_text(study.samples / f"{group}-history-{arm.name}.jsonl", lines)


def audit_pair(study: Study) -> None:
    """Audit base against the first seed of RL on sums of three and four, and write the report."""
    began = time.monotonic()
    session = study.session()
    tuned = FIRST.train(session)
    sums = tuple(one for one in session.task.test.problems if one.cell["domain"] == tasks.SUM)
    sums = tuple(one for one in sums if one.cell["depth"] in (3, 4))
    asked = ProblemSet(name="sums", problems=sums, grader=session.task.test.grader)
    plain = replace(asked, problems=tuple(replace(one, prompt=one.id, messages=()) for one in sums))
    lab = Lab(study.out / "pair", Streams(0))
    config = AuditConfig(
        k=results.K, n_base=BASE_DRAWS, first=BASE_DRAWS, max_new_tokens=TOKENS, token_draws=COMPARED
    )
    chosen = opening.ProblemChoice(problems=plain, examples=list(tasks.EXAMPLES))
    loading = Loading(template="plain", stop=STOPS)
    found = opening.audit_models(lab, (session.base.folder, tuned.folder), chosen, loading, config)
    call = " ".join(["python benchmarks/real/study.py", str(study.model), "--parts pair"])
    audit = Audit.of(found, call=call, wall_s=time.monotonic() - began, kept=True)
    print(audit.report())
    limits = Limits(max_new_tokens=TOKENS, batch_rows=config.batch_rows)
    for name, policy, draws in (
        ("base", session.base.policy, BASE_DRAWS),
        (FIRST.name, tuned.policy, results.K),
    ):
        _, completions = lab.draw(policy, sums, range(draws), limits, name=f"draw {name}")
        samples.write(samples.place(study.samples, "pair", name), name, asked, completions)


def ask_in_ways(study: Study) -> None:
    """Ask base and tuned policy the same sums in every way."""
    session = study.session()
    first = tuple(one for one in session.task.test.problems if one.cell["depth"] == 3)[:WAY_PROBLEMS]
    for name, model in ((BASE.name, session.base), (FIRST.name, FIRST.train(session))):
        for way in WAYS:
            asked, limits = problems_of(way, first), Limits(max_new_tokens=way.tokens)
            policy = policy_of(way, model.policy)
            what = f"{name}, {way.name}"
            _, drawn = session.lab.draw(policy, asked.problems, range(WAY_DRAWS), limits, name=what)
            samples.write(samples.place(study.samples, f"way-{way.name}-of", name), name, asked, drawn)


def second_study(study: Study) -> None:
    """The second base before and after a few steps of RL."""
    for arm in (BASE, SECOND_ARM):
        measure(study, arm, second=True)


def parts_of() -> list[Part]:
    """All parts, in the order of what they are worth."""
    sizes = Sizes()
    tested = drawing(sizes.three + sizes.four + sizes.five + sizes.stories, DRAWS, prompt=PROMPT, answer=LEARNT)
    rl = training(RL.steps, RL.prompts, RL.draws, prompt=PROMPT, answer=LEARNT)
    asked = drawing(ASKED, DRAWS, prompt=PROMPT, answer=ANSWER)
    fitted = Work(learnt=FIT.steps * FIT.batch_rows * (PROMPT + LEARNT))
    own = {"base": Work(), "SFT": fitted, "rejection": fitted, "one-example": asked + rl}
    arms = [
        Part(
            name=arm.name,
            says="nothing is trained" if arm is BASE else f"learns from {arm.says}",
            work=own.get(arm.name, rl) + tested,
            run=lambda study, arm=arm: measure(study, arm),
        )
        for arm in ARMS
    ]
    sums = sizes.three + sizes.four
    pair = drawing(sums, BASE_DRAWS, prompt=PROMPT, answer=ANSWER)
    pair += drawing(sums, results.K, prompt=PROMPT, answer=LEARNT)
    pair += Work(read=2 * 2 * sums * COMPARED * (PROMPT + ANSWER) + WEIGHTS)
    ways = drawing(2 * len(WAYS) * WAY_PROBLEMS, WAY_DRAWS, prompt=PROMPT, answer=ANSWER)
    tested = drawing(SHORT.three + SHORT.four, 2 * DRAWS, prompt=PROMPT, answer=ANSWER, size=SECOND)
    shaped = {"prompt": PROMPT, "answer": ANSWER, "size": SECOND}
    second = tested + training(SECOND_STEPS, RL.prompts, RL.draws, **shaped)
    return [
        *arms[:2],
        Part(name="pair", says=f"audit of base and RL-0 at K = {results.K}", work=pair, run=audit_pair),
        *arms[2:4],
        Part(name="ways", says="base and RL-0 asked in five ways", work=ways, run=ask_in_ways),
        *arms[4:],
        Part(
            name="second", says=f"the second base and {SECOND_STEPS} steps of RL", work=second, run=second_study
        ),
    ]


class Clock:
    """What is left of the study, from what its parts were planned and took.

    Args:
        parts: that are to be run.
        rate: forward passes of a token in a second of processor time.
        kept: file with the seconds of finished parts.
    """

    def __init__(self, parts: list[Part], rate: float, kept: Path) -> None:
        self.parts, self.rate, self.kept = parts, rate, kept
        self.took: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}

    def plan(self) -> str:
        """The plan as a table: parts, tokens and minutes of processor time."""
        lines = [f"{'part':14} {'sampled':>8} {'learnt':>8} {'CPU min':>8}  what"]
        for part in self.parts:
            done = f"done in {minutes(self.took[part.name])}" if part.name in self.took else part.says
            spent = "-" if part.name in self.took else minutes(part.work.passes / self.rate)
            lines.append(f"{part.name:14} {part.work.sampled:8,} {part.work.learnt:8,} {spent:>8}  {done}")
        lines.append(
            f"{'left':14} {'':8} {'':8} {minutes(self.left()):>8}  at {self.rate:.0f} tokens forward a second"
        )
        return "\n".join(lines)

    def left(self) -> float:
        """Seconds of processor time of the parts that are not finished."""
        return sum(part.work.passes for part in self.parts if part.name not in self.took) / self.rate

    def finished(self, part: Part, seconds: float) -> str:
        """Note what a part took, and say what is left; a part that was found again keeps its first time."""
        planned = part.work.passes / self.rate
        # The machine may be slower or faster than the forward pass at the start said. A part that was found
        # again says nothing about it.
        if seconds > FOUND_AGAIN * planned:
            self.rate *= (planned / seconds) ** 0.5
        self.took[part.name] = max(seconds, self.took.get(part.name, 0.0))
        write_text(self.kept, json.dumps(self.took, indent=1) + "\n")
        number = [one.name for one in self.parts].index(part.name) + 1
        left = "" if number == len(self.parts) else f"; about {minutes(self.left())} CPU minutes left"
        return f"part {number} of {len(self.parts)}, {part.name}: {minutes(seconds)} CPU minutes{left}"


def called(folder: Path) -> str:
    """The file that a model was imported from, or its folder."""
    said = folder / "import.json"
    known = json.loads(said.read_text(encoding="utf-8")) if said.exists() else {}
    return str(known.get("file") or folder.name)


def write_results(study: Study) -> dict[str, Any]:
    """``results.json`` from the sample files, with what was run and what it took."""
    kept = study.out / PARTS
    took: dict[str, float] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    found: dict[str, Any] = {
        "model": called(study.model),
        "second model": None if study.second is None else called(study.second),
        "grader": "gsm8k/2",
        "stops": list(STOPS),
        "rl": {"objective": "rloo", "steps": RL.steps, "prompts": RL.prompts, "draws": RL.draws, "lr": RL.lr},
        "fit": {"steps": FIT.steps, "rows": FIT.batch_rows, "lr": FIT.lr},
        "draws": DRAWS,
        "cpu minutes": {name: round(seconds / 60, 1) for name, seconds in took.items() if seconds > 3},
        **results.everything(study.samples),
    }
    write_text(study.out / "results.json", json.dumps(found, indent=1) + "\n")
    return found


def show(study: Study, found: dict[str, Any]) -> None:
    """The table, the three numbers with the command for each, and where everything is."""
    kinds = ["sums of three", "sums of four", "sums of five", "word problems"]
    print(f"\n{'success':14} " + " ".join(f"{kind:>18}" for kind in kinds))
    for row in found["arms"]:
        cells = [results.said(row["kinds"][kind]["strict"]) for kind in kinds]
        print(f"{row['arm']:14} " + " ".join(f"{cell:>18}" for cell in cells))
    print()
    drawn = {"verdict": ("pair", "RL-0"), "one-example": ("test", "one-example")}
    for name, line in results.NUMBERS.items():
        group, policy = drawn.get(name, ("test", name))
        if samples.place(study.samples, group, policy).exists():
            print(f"python benchmarks/real/results.py {study.samples} {name}\n  {line(study.samples)}")
    report = study.out / "pair" / "report.html"
    print(f"\nnumbers: {study.out / 'results.json'}")
    if report.exists():
        print(f"report:  {report}")


def main() -> None:
    parts = parts_of()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a folder that keyturn model import made")
    parser.add_argument("--second", type=Path, help="the base of the second, short study")
    parser.add_argument("--out", type=Path, default=Path("runs/real/study"))
    parser.add_argument("--parts", nargs="+", choices=[part.name for part in parts], help="some parts only")
    parser.add_argument("--plan", action="store_true", help="say what it will cost and do nothing")
    given = parser.parse_args()
    chosen = [part for part in parts if given.parts is None or part.name in given.parts]
    if given.second is None and given.parts is None:
        chosen = [part for part in chosen if part.name != "second"]
    study = Study(given.out, given.model, given.second)
    rate = passes_per_second(study.session().task.base.model)
    clock = Clock(chosen, rate, given.out / PARTS)
    print(clock.plan(), flush=True)
    if given.plan:
        return
    found: dict[str, Any] = {}
    for part in chosen:
        began = time.process_time()
        part.run(study)
        print(clock.finished(part, time.process_time() - began), file=sys.stderr, flush=True)
        found = write_results(study)
    show(study, found)


if __name__ == "__main__":
    main()
