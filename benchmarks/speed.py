"""How fast: our sampler against Hugging Face `generate`, our RL step against TRL's GRPOTrainer, and the floor.

    python benchmarks/speed.py                      a minute and a half, once TRL's environment is there
    python benchmarks/speed.py --wait 25            first wait up to 25 minutes for an idle machine
    python benchmarks/speed.py --only grading       one section anew; the page keeps the others

Same model folder, prompts, rows, length limit, learning rate and reward on both sides, in one run; the sides
take turns (A B A B), medians over the steps, each side's first step of a turn left out. Three settings:

* `task`: the shipped GRAPH base on its own problems, which end when they end; the reward is the verifier's.
* `equal`: the same base with an end token that it never gives, so that every completion has the full length,
  and a reward in which no group agrees (the share of odd tokens), so that every row is learnt from.
* `llama`: `equal` on a stock `LlamaForCausalLM` of the same shape, without our short convolution.

Beside the steps: scoring, grading and the embedded audit (`speed_parts.py`). Writes docs/results/speed.json
and, from it, docs/results/speed.md.
"""

import argparse
import itertools
import json
import os
import pathlib
import platform
import statistics
import subprocess
import tempfile
import time

import torch
from arithmetic import floor_of
from speed_page import page
from speed_parts import PARTS
from transformers import AutoModelForCausalLM
from transformers.utils import logging

import keyturn
from keyturn.auditing.embedded import EMBEDDED
from keyturn.core.rundir import write_json
from keyturn.core.streams import Streams
from keyturn.objectives import OBJECTIVES
from keyturn.policies.loading import load_policy, save_policy, world_of
from keyturn.policies.protocol import Limits
from keyturn.policies.tiny import TinyForCausalLM, to_llama
from keyturn.problems.contract import ProblemSet
from keyturn.problems.world.grader import WorldGrader
from keyturn.problems.world.worlds import problems, world_to_json
from keyturn.rewards import REWARDS
from keyturn.rewards.contract import Reward
from keyturn.training.config import RLConfig
from keyturn.training.rl import train_rl

HERE = pathlib.Path(__file__).parent
PROMPTS, DRAWS, TOKENS, RATE = 16, 8, 90, 3e-4
NEVER = "CTL15"
"""A reserved word that no corpus holds: as end token it never comes."""
ROUNDS, STEPS = 2, 2


class Clock:
    """A hook of the RL loop that notes when steps begin."""

    name = "clock"
    config = ()

    def __init__(self):
        self.at, self.row = [], {}

    def state(self):
        return {}

    def restore(self, state):
        pass

    def before_rollout(self, loop):
        self.at.append((time.perf_counter(), time.process_time()))

    def after_step(self, loop, row):
        self.row = dict(row)


def models(base, folder):
    """The three model folders, made from one base."""
    policy, world = load_policy(base), world_of(base)
    tokenizer, model = policy.tokenizer, policy.model
    made = {"task": folder / "task", "equal": folder / "equal", "llama": folder / "llama"}
    save_policy(made["task"], model, tokenizer, world)
    tokenizer.eos_token = NEVER
    for part in (model.config, model.generation_config):
        part.eos_token_id = tokenizer.convert_tokens_to_ids(NEVER)
    save_policy(made["equal"], model, tokenizer, world)
    config = model.config
    config.canon = False
    plain = TinyForCausalLM(config)
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if ".canon." not in k})
    save_policy(made["llama"], to_llama(plain), tokenizer, world)
    return made


def reward_named(name):
    """The verifier's outcome, or the share of odd tokens."""
    if name == "outcome":
        return REWARDS["outcome"]()
    return Reward(name="odd", summary="share of odd token ids", source="ours", reward=odd)


def odd(graded):
    """The share of odd token ids in each row."""
    rows = (graded.completions.row(i) for i in range(len(graded.completions)))
    return torch.tensor([float((row % 2).mean()) for row in rows]).numpy()


def job_of(name, folder, asked, scratch):
    """What TRL's side is told."""
    return {
        "model": str(folder),
        "world": world_to_json(world_of(folder)),
        "asked": [problem.prompt for problem in asked],
        "prompts": PROMPTS,
        "draws": DRAWS,
        "max_new_tokens": TOKENS,
        "lr": RATE,
        "reward": "outcome" if name == "task" else "odd",
        "seed": 0,
        "out": str(scratch / f"trl-{name}"),
    }


class Trl:
    """TRL's side of one setting: a process that takes turns."""

    def __init__(self, python, job, log):
        environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [python, str(HERE / "trl_grpo.py"), json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
        self.versions = self._answer()

    def turn(self, threads, steps):
        self.process.stdin.write(json.dumps({"threads": threads, "steps": steps + 1}) + "\n")
        self.process.stdin.flush()
        found = self._answer()
        return {**found, "wall": found["wall"][1:], "cpu": found["cpu"][1:]}

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"TRL's side ended with exit code {self.process.wait()}; see its log")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)


def our_turn(job, asked, scratch, threads, steps):
    """Our loop, whole: sampling, grading, update, files."""
    torch.set_num_threads(threads)
    clock, policy = Clock(), load_policy(job["model"])
    config = RLConfig(
        steps=steps + 2,
        prompts=PROMPTS,
        draws=DRAWS,
        max_new_tokens=TOKENS,
        batch_rows=PROMPTS * DRAWS,
        lr=RATE,
        kl_every=0,
    )
    problem_set = ProblemSet(name="speed", problems=asked, grader=WorldGrader(world_of(job["model"])))
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        done = train_rl(
            policy,
            problem_set,
            reward=reward_named(job["reward"]),
            objective=OBJECTIVES["grpo"](),
            config=config,
            folder=pathlib.Path(folder) / "run",
            streams=Streams(0),
            hooks=[clock],
            label="ours",
        )
    spent = [[b - a for a, b in itertools.pairwise(times)] for times in zip(*clock.at, strict=True)]
    seconds = {name: value / (steps + 2) for name, value in done.seconds.items()}
    used = clock.row.get("rows/used")
    return {
        "wall": spent[0][1:],
        "cpu": spent[1][1:],
        "rows": PROMPTS * DRAWS,
        "length": clock.row["length"],
        "rows_used": used,
        "phases": seconds,
    }


def sample_turns(job, asked, threads):
    """Our sampler and Hugging Face `generate` on the same 128 rows, in turns."""
    torch.set_num_threads(threads)
    policy = load_policy(job["model"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32).eval()
    some = asked[:PROMPTS]
    policy.tokenizer.padding_side = "left"
    inputs = policy.tokenizer([p.prompt for p in some for _ in range(DRAWS)], return_tensors="pt", padding=True)
    limits = Limits(max_new_tokens=TOKENS, batch_rows=PROMPTS * DRAWS)
    options = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": TOKENS}

    def ours(turn):
        return int(policy.draw(some, range(DRAWS), Streams(turn), limits).lengths.sum())

    def theirs(turn):
        with torch.no_grad():
            rows = model.generate(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, **options)
        new = rows[:, inputs.input_ids.shape[1] :]
        ended = (new == model.generation_config.eos_token_id).cumsum(1).cumsum(1)
        return int((ended <= 1).sum())

    found = {"ours": {"wall": [], "cpu": [], "tokens": []}, "generate": {"wall": [], "cpu": [], "tokens": []}}
    for turn in range(ROUNDS + 2):
        for side, draw in (("ours", ours), ("generate", theirs)):
            began = time.perf_counter(), time.process_time()
            tokens = draw(turn)
            if turn:
                found[side]["wall"].append(time.perf_counter() - began[0])
                found[side]["cpu"].append(time.process_time() - began[1])
                found[side]["tokens"].append(tokens)
    return found


def measure(base, python, scratch, threads, log):
    """All settings at all thread counts: raw seconds by side."""
    world = world_of(base)
    cells = list(EMBEDDED[world.domain].train)
    asked = problems(world, "rl", cells, 64, Streams(0).child("speed"))
    found, versions = {}, {}
    for name, folder in models(base, scratch).items():
        job = job_of(name, folder, asked, scratch)
        trl = Trl(python, job, log)
        versions = trl.versions
        for count in threads:
            sides = {"ours": [], "trl": []}
            for _ in range(ROUNDS):
                sides["ours"].append(our_turn(job, asked, scratch, count, STEPS))
                sides["trl"].append(trl.turn(count, STEPS))
            found[f"{name}, {count} thread{'s' * (count > 1)}"] = {
                "rl": {side: merged(turns) for side, turns in sides.items()},
                "sampling": sample_turns(job, asked, count),
            }
        trl.close()
    floor = {str(count): floor_of(scratch / "equal", asked, PROMPTS, DRAWS, TOKENS, count) for count in threads}
    return {"settings": found, "floor": floor, "versions": {k: v for k, v in versions.items() if k != "ready"}}


def merged(turns):
    """The turns of one side: all seconds, means of the rest."""
    out = {name: [s for turn in turns for s in turn[name]] for name in ("wall", "cpu")}
    for name in ("rows", "length", "rows_used"):
        if name in turns[0] and turns[0][name] is not None:
            out[name] = statistics.mean(turn[name] for turn in turns)
    if "phases" in turns[0]:
        names = turns[0]["phases"]
        out["phases"] = {k: statistics.median(t["phases"].get(k, 0.0) for t in turns) for k in names}
    return out


def hardware():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []
    names = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    return {
        "processor": ", ".join(sorted(names)) or platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "keyturn": keyturn.__version__,
    }


def wait_for_idle(minutes, load=1.5):
    """Wait until the load of the last minute is low, or until the time is over."""
    until = time.monotonic() + 60 * minutes
    while os.getloadavg()[0] >= load and time.monotonic() < until:
        time.sleep(10)


def steps(asked):
    """Everything about RL steps and sampling, against TRL and `generate`."""
    python = asked.trl
    if python is None:
        made = subprocess.run([HERE / "trl_env.sh"], check=True, stdout=subprocess.PIPE, text=True)
        python = made.stdout.strip()
    before, began = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        log_path = pathlib.Path(tempfile.gettempdir()) / "keyturn-speed-trl.log"
        with log_path.open("w") as log:
            found = measure(asked.model, python, pathlib.Path(scratch), asked.threads, log)
    return found | {
        "schema": 1,
        "base": asked.model.name,
        "batch": {"prompts": PROMPTS, "draws": DRAWS, "max_new_tokens": TOKENS},
        "hardware": hardware(),
        "load": {"before": before, "after": os.getloadavg()[0]},
        "seconds": time.monotonic() - began,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shipped = pathlib.Path(keyturn.__file__).parent / "assets" / "models"
    parser.add_argument("--model", type=pathlib.Path, default=shipped / "graph")
    parser.add_argument("--trl", help="python of TRL's environment; made by trl_env.sh when not given")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--wait", type=float, default=0.0, help="minutes to wait for a load below 1.5")
    sections = ["steps", *PARTS]
    parser.add_argument("--only", nargs="+", choices=sections, default=[], help="sections; all by default")
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "docs" / "results")
    asked = parser.parse_args()
    logging.disable_progress_bar()
    path = asked.out / "speed.json"
    found = json.loads(path.read_text()) if asked.only and path.exists() else {}
    if asked.only and "settings" not in found:
        parser.error(f"{path} has no steps yet: run without --only first")
    wait_for_idle(asked.wait)
    if "steps" in asked.only or not asked.only:
        found |= steps(asked)
    parts = [name for name in PARTS if name in asked.only or not asked.only]
    found["parts"] = found.get("parts", {}) | {name: PARTS[name](asked.model.parent) for name in parts}
    asked.out.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
    (asked.out / "speed.md").write_text(page(found), encoding="utf-8")
    print(page(found))


if __name__ == "__main__":
    main()
