"""Interrupted and resumed equals straight, at every step; whatever is missing from the state shows."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from probes import Changes, config, probe, starts_with_a, tiny_policy, train
from safetensors.torch import load_file, save_file

from keyturn.core.errors import BusyError, StorageError, UsageError
from keyturn.core.rundir import file_hash, is_done, run_lock
from keyturn.core.streams import Streams
from keyturn.objectives.contract import Adapted
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.training.config import UpdateConfig

STEPS = 6
PROBLEMS = probe(starts_with_a, prompts=("ask", "tell", "ask a", "tell b", "ask c"))
CONFIG = config(
    steps=STEPS,
    prompts=2,
    draws=6,
    lr=3e-2,
    warmup=3,
    checkpoint_every=1,
    keep_checkpoints=99,
    store_rollouts=True,
    update=UpdateConfig(epochs=2, minibatches=2),
)


@dataclass
class Cooling:
    """A hook with a state of its own: lowers the rate by what it has seen so far."""

    seen: float = field(default=0.0, init=False)
    name: str = "cooling"

    def state(self):
        return {"seen": self.seen}

    def restore(self, state):
        self.seen = float(state["seen"])

    def before_rollout(self, loop):
        pass

    def after_step(self, loop, row):
        self.seen += row["reward"]
        loop.lr_factor = 1 / (1 + self.seen)
        loop.weights["policy"] = 0.9 * loop.weights.get("policy", 1.0)


def following(state, step, metrics):
    """A schedule with a memory, which follows the metrics of the step before."""
    total = state.get("total", 0.0) + metrics.get("length", 0.0)
    return Adapted({"total": total}, {"policy": 1 + metrics.get("entropy/all", 0.0) + 0.1 * total})


def go(folder, stop_after=None, **changes):
    """A run in which everything that can be saved matters."""
    usual = {
        "policy": tiny_policy(),
        "objective": replace(grpo(GrpoConfig(kl_weight=0.1)), adapt=following),
        # The reference moves at step 2 and the optimiser begins anew there; the penalty's weight fades.
        "hooks": (Cooling(), Changes(fades="kl")),
        "stop_after": stop_after,
    }
    return train(folder, changes.pop("problems", PROBLEMS), changes.pop("config", CONFIG), **(usual | changes))


def product(folder: Path) -> dict[str, bytes]:
    """Every byte of a run's results: times and the environment are of the machine, not of the run."""
    parts = ["metrics.jsonl", "model/model.safetensors", "model/card.json", "config.json"]
    parts += [str(p.relative_to(folder)) for p in sorted((folder / "rollouts").iterdir())]
    last = sorted((folder / "checkpoints").iterdir())[-1]
    parts += [str(p.relative_to(folder)) for p in sorted(last.iterdir())]
    return {part: (folder / part).read_bytes() for part in parts}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    assert go(folder) is not None
    return product(folder)


@pytest.mark.parametrize("at", range(1, STEPS))
def test_stopped_and_resumed_equals_straight_at_every_step(tmp_path, straight, at):
    assert go(tmp_path, stop_after=at) is None
    assert not is_done(tmp_path)
    assert go(tmp_path) is not None
    assert product(tmp_path) == straight


def test_resuming_between_checkpoints_takes_the_lost_steps_again(tmp_path, straight):
    go(tmp_path, stop_after=5)
    for step in (4, 5):
        shutil.rmtree(tmp_path / "checkpoints" / f"step-{step:06d}")
    with (tmp_path / "metrics.jsonl").open("ab") as stream:
        stream.write(b'{"step": 5, "rew')
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("half")
    go(tmp_path)
    assert product(tmp_path) == straight


def test_two_interruptions_and_no_checkpoint_at_all(tmp_path, straight):
    go(tmp_path, stop_after=2)
    shutil.rmtree(tmp_path / "checkpoints")
    go(tmp_path, stop_after=3)
    go(tmp_path)
    assert product(tmp_path) == straight


def test_a_finished_run_is_read_and_not_run_again(tmp_path, straight, monkeypatch):
    go(tmp_path)

    def never(*_):
        raise AssertionError("a finished run was run again")

    monkeypatch.setattr(type(PROBLEMS.grader), "grade", never)
    again = go(tmp_path)
    assert again.policy is None
    assert len(again.history) == STEPS
    assert again.model == tmp_path / "model"
    assert product(tmp_path) == straight


def checkpoint_of(folder):
    return sorted((folder / "checkpoints").iterdir())[-1]


def rewrite(path: Path) -> None:
    """Make the manifest agree with what lies there now, so that only the content is wrong."""
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["sha256"] = {p.name: file_hash(p) for p in path.iterdir() if p.name != "manifest.json"}
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A run stopped after step 3, and the names of everything its checkpoint holds."""
    folder = tmp_path_factory.mktemp("half")
    go(folder, stop_after=3)
    return folder


def saved_fields(folder):
    path = checkpoint_of(folder)
    facts = json.loads((path / "facts.json").read_text())
    fields = [("facts", name) for name in facts if name != "schema"]
    fields += [("facts", f"hooks.{name}") for name in facts["hooks"]]
    for file in sorted(path.glob("*.safetensors")):
        fields += [("file", file.name), *((file.name, name) for name in load_file(file))]
    return fields


def drop(path, where, name):
    """Leave one field out of a checkpoint whose hashes then agree again."""
    if where == "facts":
        facts = json.loads((path / "facts.json").read_text())
        if name.startswith("hooks."):
            del facts["hooks"][name.removeprefix("hooks.")]
        else:
            del facts[name]
        (path / "facts.json").write_text(json.dumps(facts))
    elif where == "file":
        (path / name).unlink()
    else:
        tensors = load_file(path / where)
        del tensors[name]
        save_file(tensors, path / where)
    rewrite(path)


@pytest.mark.slow
def test_dropping_any_one_field_of_the_state_fails_the_resume(tmp_path, half, straight):
    fields = saved_fields(half)
    assert len(fields) > 40
    for number, (where, name) in enumerate(fields):
        folder = tmp_path / str(number)
        shutil.copytree(half, folder)
        drop(checkpoint_of(folder), where, name)
        assert resumes_to(folder) != straight, f"{where} {name} is saved and not needed"
        shutil.rmtree(folder)


def resumes_to(folder):
    """What the run comes to, or the refusal to go on."""
    try:
        go(folder)
    except StorageError as error:
        return error
    return product(folder)


def beginnings(half, tmp_path_factory):
    """The checkpoint as a fresh run would have it."""
    folder = tmp_path_factory.mktemp("fresh")
    go(folder, stop_after=1)
    return checkpoint_of(folder)


@pytest.mark.slow
def test_resetting_any_one_field_to_another_value_changes_the_result(
    tmp_path, half, straight, tmp_path_factory
):
    # A value of another step in the place of the right one must not go unnoticed either.
    other = beginnings(half, tmp_path_factory)
    facts_then = json.loads((other / "facts.json").read_text())
    facts_now = json.loads((checkpoint_of(half) / "facts.json").read_text())
    unnoticed = []
    names = [n for n in facts_now if facts_now[n] != facts_then.get(n)] + ["hooks"]
    assert {"step", "position", "tokens", "lr_factor", "metrics_bytes", "hooks"} <= set(names)
    changes = [("facts.json", name) for name in sorted(set(names))]
    changes += [("weights.safetensors", "*"), ("optimiser.safetensors", "*"), ("reference.safetensors", "*")]
    for number, (file, name) in enumerate(changes):
        folder = tmp_path / str(number)
        shutil.copytree(half, folder)
        path = checkpoint_of(folder)
        if file == "facts.json":
            value = facts_then.get(name)
            (path / file).write_text(json.dumps(facts_now | {name: value}))
        elif file == "reference.safetensors":
            shutil.copy(other / "weights.safetensors", path / file)
        else:
            shutil.copy(other / file, path / file)
        rewrite(path)
        if resumes_to(folder) == straight:
            unnoticed.append((file, name))
    assert unnoticed == []


def test_other_settings_are_refused_by_name(tmp_path):
    go(tmp_path, stop_after=1)
    with pytest.raises(UsageError, match=r"lr: 0\.03 then, 0\.5 now"):
        go(tmp_path, config=replace(CONFIG, lr=0.5))
    with pytest.raises(UsageError, match="streams"):
        go(tmp_path, streams=Streams(6))
    with pytest.raises(UsageError, match="policy"):
        go(tmp_path, policy=tiny_policy(1))
    with pytest.raises(UsageError, match="objective"):
        go(tmp_path, objective=grpo(GrpoConfig(kl_weight=0.2)))
    with pytest.raises(UsageError, match="hooks"):
        go(tmp_path, hooks=())


def test_how_often_a_checkpoint_is_written_may_change(tmp_path, straight):
    go(tmp_path, stop_after=2)
    go(tmp_path, config=replace(CONFIG, checkpoint_every=2))
    found = product(tmp_path)
    assert found["model/model.safetensors"] == straight["model/model.safetensors"]
    assert found["metrics.jsonl"] == straight["metrics.jsonl"]


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    go(tmp_path / "a", stop_after=2)
    go(tmp_path / "b", stop_after=1, streams=Streams(6))
    shutil.rmtree(tmp_path / "b" / "checkpoints")
    shutil.copytree(tmp_path / "a" / "checkpoints", tmp_path / "b" / "checkpoints")
    with pytest.raises(StorageError, match="another run"):
        go(tmp_path / "b", streams=Streams(6))


def test_two_processes_on_one_run(tmp_path):
    with run_lock(tmp_path), pytest.raises(BusyError, match=str(os.getpid())):
        go(tmp_path)


_CHILD = """
import sys
sys.path[:0] = sys.argv[3:]
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv[2]))
import test_resume
test_resume.go(Path(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.0, 0.05, 0.2])
def test_killed_at_any_moment_it_resumes(tmp_path, straight, after):
    import torch

    folder = tmp_path / "run"
    words = [str(folder), str(torch.get_num_threads()), *filter(None, sys.path)]
    child = subprocess.Popen([sys.executable, "-c", _CHILD, *words])
    try:
        deadline = time.monotonic() + 120
        while not (folder / "metrics.jsonl").exists() and time.monotonic() < deadline:
            assert child.poll() in (None, 0), "it ended before anyone killed it"
            time.sleep(0.005)
        assert (folder / "metrics.jsonl").exists()
        time.sleep(after)
        child.send_signal(signal.SIGKILL)
        child.wait()
    finally:
        child.kill()
        child.wait()
    assert go(folder) is not None
    assert product(folder) == straight
