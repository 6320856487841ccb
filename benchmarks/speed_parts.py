"""Parts of keyturn beside an RL step, each against its arithmetic floor: scoring, grading, the embedded audit.

One thread, processor time, medians of turns. A floor is matrix products alone at the rate at which this
machine does them (`arithmetic.py`): 2 N a token read or drawn, 6 N a token learnt, N the entries of all
matrices. Grading has none: it multiplies nothing.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import torch
from arithmetic import UPDATE_ROWS, matrices, products

from keyturn.auditing.embedded import EMBEDDED
from keyturn.core.streams import Streams
from keyturn.policies.loading import load_policy, world_of
from keyturn.policies.native.build import SWITCH
from keyturn.policies.protocol import Limits
from keyturn.problems.world.grader import WorldGrader
from keyturn.problems.world.worlds import problems
from keyturn.rollouts.store import completion_parts, read_completions

ROWS, TOKENS, TURNS = 1024, 90, 5
WORLDS = ("graph", "chain")


def drawn(base):
    """A base's answers to its own problems: the policy, the problems, the completions."""
    torch.set_num_threads(1)
    policy, world = load_policy(base), world_of(base)
    asked = problems(world, "rl", list(EMBEDDED[world.domain].train), 64, Streams(0).child("speed"))[:64]
    limits = Limits(max_new_tokens=TOKENS, batch_rows=ROWS)
    return policy, asked, policy.draw(asked, range(ROWS // len(asked)), Streams(0), limits)


def spent(call, of=statistics.median):
    """Processor seconds of a call, the median of its turns."""
    call()
    times = []
    for _ in range(TURNS):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return of(times)


def read_floor(model):
    """Processor seconds of the products that reading a token takes, and that learning from it takes."""
    torch.set_num_threads(1)
    found = []
    for backward in (False, True):
        product = products(matrices(model), UPDATE_ROWS, backward=backward)
        with torch.no_grad():
            found.append(spent(product, min) / UPDATE_ROWS)
    return found


def scoring(shipped):
    """Teacher-forced log-probabilities, entropies and ranks: the native engine and torch."""
    found = {}
    for name in WORLDS:
        policy, _, completions = drawn(shipped / name)
        tokens = len(completions.tokens) + len(completions.prompts.tokens)
        sides = {}
        for side, switch in (("native", ""), ("torch", "0")):
            os.environ[SWITCH] = switch
            sides[side] = tokens / spent(lambda policy=policy, rows=completions: policy.score(rows))
        del os.environ[SWITCH]
        found[name] = {"tokens": tokens, "tokens_a_second": sides, "floor": 1 / read_floor(policy.model)[0]}
    return found


def grading(shipped):
    """Completions that the worlds' verifiers judge in a second of one core."""
    found = {}
    for name in WORLDS:
        _, asked, completions = drawn(shipped / name)
        grader = WorldGrader(world_of(shipped / name))
        seconds = spent(lambda grader=grader, asked=asked, rows=completions: grader.grade(asked, rows))
        found[name] = {"rows": len(completions), "rows_a_second": len(completions) / seconds}
    return found


def audit(shipped):
    """`keyturn audit` of both embedded worlds, from nothing: processor seconds, stages and the floor."""
    with tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch) / "audit"
        command = [sys.executable, "-m", "keyturn.cli.main", "audit", "--out", str(out), "--json"]
        before = os.times()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        after = os.times()
        seconds = sum(getattr(after, of) - getattr(before, of) for of in ("children_user", "children_system"))
        stages, floor = {}, 0.0
        for name in WORLDS:
            read, learnt = read_floor(load_policy(shipped / name).model)
            for stage in sorted((out / name / "stages").iterdir()):
                kind = stage.name.split("-")[0]
                clock = json.loads((stage / "time.json").read_text())["seconds"]
                stages[kind] = stages.get(kind, 0.0) + clock
                if completion_parts(stage):
                    completions = read_completions(stage)
                    floor += read * (len(completions.tokens) + len(completions.prompts.tokens))
                metrics = stage / "run" / "metrics.jsonl"
                if metrics.exists():
                    last = json.loads(metrics.read_text().splitlines()[-1])
                    floor += (read + learnt) * last["tokens"]
        verdicts = [row["verdict"]["label"] for row in json.loads(done.stdout)["audits"]]
    return {"processor_s": seconds, "wall_by_stage_s": stages, "floor_s": floor, "verdicts": verdicts}


def pretraining(shipped):
    """Whole steps of pretraining, as `pretraining.py` measures them."""
    import pretraining as own

    torch.set_num_threads(1)
    return {name: own.measured(name) for name in WORLDS}


PARTS = {"scoring": scoring, "grading": grading, "audit": audit}
if (pathlib.Path(__file__).parent / "pretraining.py").exists():
    PARTS["pretraining"] = pretraining


def scoring_rows(found):
    for name, case in found.items():
        for side, rate in case["tokens_a_second"].items():
            share = rate / case["floor"]
            yield f"scoring, `{name}`, {side}", f"{rate:,.0f} tokens/s", f"{case['floor']:,.0f}", share


def grading_rows(found):
    for name, case in found.items():
        yield f"grading, `{name}`", f"{case['rows_a_second']:,.0f} completions/s", "", None


def audit_rows(found):
    share = found["floor_s"] / found["processor_s"]
    yield "audit, both worlds", f"{found['processor_s']:.1f} s", f"{found['floor_s']:.1f} s", share


def pretraining_rows(found):
    for name, case in found.items():
        yield (
            f"pretraining, `{name}`",
            f"{case['torch / native']} times torch's",
            "",
            1 / case["native / floor"],
        )


ROWS_OF = {
    "scoring": scoring_rows,
    "grading": grading_rows,
    "audit": audit_rows,
    "pretraining": pretraining_rows,
}


def rows(parts):
    """Lines of the table: part, speed, floor, share of the speed that the floor allows."""
    lines = [line for name, found in parts.items() for line in ROWS_OF[name](found)]
    return [[*line[:3], "" if line[3] is None else f"{line[3]:.0%}"] for line in lines]


def stages(found):
    """Lines of the audit's own table: stage, seconds, share of all stages."""
    spent_s = found["wall_by_stage_s"]
    whole = sum(spent_s.values())
    ordered = sorted(spent_s.items(), key=lambda item: -item[1])
    return [[name, f"{seconds:.1f}", f"{seconds / whole:.0%}"] for name, seconds in ordered]
