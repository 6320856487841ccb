"""Real repetitions of the audit that must find nothing: a base against itself after a run at learning rate 0.

    python benchmarks/self_audit.py --world chain --repetitions 20

Every repetition draws base and 'tuned' anew from one model (other streams, nothing shared) and judges them.
The learning-rate-0 arm goes through the RL loop; its weights must be the base's to the byte. Resumable: each
repetition is a run directory, finished stages are read.
"""

import argparse
import pathlib
from dataclasses import replace

from keyturn.auditing.audit import AuditConfig, AuditPair, draw_all, draw_two_stages
from keyturn.auditing.embedded import EMBEDDED, MODELS, session_for, trained, world_in
from keyturn.core.jsonl import append_jsonl, read_jsonl
from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab
from keyturn.measures.deployed_created import judge
from keyturn.measures.paired import Paired
from keyturn.policies.loading import load_policy
from keyturn.policies.local import weights_hash
from keyturn.policies.protocol import Limits
from keyturn.problems.contract import ProblemSet
from keyturn.problems.world.grader import WorldGrader
from keyturn.problems.world.worlds import problems


def repetition(root, name, number, tuned):
    """One audit of a base against something with the same weights; its verdict."""
    world = world_in(MODELS / name)
    lab = Lab(root / f"{name}-{number}", Streams(7000 + number))
    base = load_policy(MODELS / name)
    asked = problems(world, "test", list(EMBEDDED[name].test), 32, Streams(0).child("problems"))
    tests = ProblemSet(name=name, problems=asked, grader=WorldGrader(world))
    config = AuditConfig()
    limits = Limits(max_new_tokens=world.max_new_tokens, batch_rows=512)
    pair = AuditPair(
        name=name,
        base=base,
        tuned=tuned,
        base_name=name,
        tuned_name="itself",
        problems=tests,
        problems_name=name,
    )
    first = draw_two_stages(lab, pair, config, limits)
    other = Lab(lab.root / "other", Streams(9000 + number))
    second = draw_all(other, tuned, "itself", tests, range(config.k), limits)
    counts = Paired(base=first.answers, tuned=second.answers).counts()
    found = judge(counts, streams=lab.streams.child("judge"), k=config.k)
    return {
        "world": name,
        "repetition": number,
        "label": found.label,
        "coverage": found.coverage.label,
        "gain": found.masses["gain"].to_json(),
        "problems": found.problems,
    }


def zero_rate(root, name):
    """A policy that went through the RL loop at learning rate 0."""
    lab = Lab(root / f"{name}-lr0", Streams(0))
    settings = replace(EMBEDDED[name], rl=replace(EMBEDDED[name].rl, steps=10, lr=0.0))
    session = session_for(lab, settings, MODELS / name, 1)
    tuned = load_policy(trained(session, settings).folder)
    assert weights_hash(tuned.model) == weights_hash(session.task.base.model), "learning rate 0 moved a weight"
    return tuned


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="chain", choices=list(EMBEDDED))
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/self_audit"))
    options = parser.parse_args()
    lines = options.out / "runs.jsonl"
    done = {(row["world"], row["repetition"]) for row in read_jsonl(lines)}
    tuned = zero_rate(options.out, options.world)
    for number in range(options.repetitions):
        if (options.world, number) not in done:
            row = repetition(options.out, options.world, number, tuned)
            append_jsonl(lines, row)
            print(row, flush=True)
    mine = [row for row in read_jsonl(lines) if row["world"] == options.world]
    right = sum(row["label"] == "no change" for row in mine)
    print(f"{options.world}: no change in {right} of {len(mine)}, weights after learning rate 0 byte-identical")


if __name__ == "__main__":
    main()
