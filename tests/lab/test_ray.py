"""Workers on a Ray cluster of two nodes on this machine, one of which is lost in the middle."""

import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import keyturn
from keyturn.atlas import claim_named
from keyturn.core.errors import BusyError, KeyturnError, MissingExtraError, UsageError
from keyturn.experiments.contract import Subject
from keyturn.experiments.study import run_study
from keyturn.lab import ray_workers, workers_shown
from keyturn.lab.workers import Job, Processes, executor_named

STORE = 80 << 20


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one processor; the second may be taken away. The clocks of a busy machine are slow."""
    pytest.importorskip("ray")
    import ray
    from ray.cluster_utils import Cluster

    changed = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
    }
    before = {name: os.environ.get(name) for name in (*changed, "RAY_ADDRESS")}
    os.environ |= changed
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False},
    )
    os.environ["RAY_ADDRESS"] = made.address
    yield made
    ray.shutdown()
    made.shutdown()
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture
def workers(cluster):
    """An executor on a cluster that has its second node."""
    while len(cluster.list_all_nodes()) < 2:
        cluster.add_node(num_cpus=1, object_store_memory=STORE)
    executor = executor_named("ray")
    deadline = time.monotonic() + 60
    # A node that was just lost is counted until the cluster has noticed.
    while executor.slots != 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert executor.slots == 2
    return executor


def lose_the_second_node(cluster):
    [node] = [one for one in cluster.list_all_nodes() if one is not cluster.head_node]
    cluster.remove_node(node, allow_graceful=False)


def files_of(root):
    """Bytes of every file of the finished stages, without clocks."""
    found = {}
    for path in sorted(root.glob("stages/**/*")):
        if path.is_file() and "lock" not in path.name.lower() and path.name not in ("time.json", "times.jsonl"):
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


def without_clocks(files):
    """Metrics of training hold seconds, and files name the hashes of what they list."""
    kept = {}
    for name, data in files.items():
        if name.endswith("metrics.jsonl"):
            rows = [json.loads(line) for line in data.splitlines()]
            kept[name] = [{k: v for k, v in row.items() if "second" not in k and k != "wall"} for row in rows]
        elif name.rsplit("/", 1)[-1] not in ("DONE", "environment.json", "manifest.json", "state.json"):
            kept[name] = data
    return kept


@pytest.mark.slow
def test_results_and_errors_come_back_as_from_processes(workers, tmp_path, capfd):
    import ray_jobs

    jobs = {str(n): Job(function=ray_jobs.square, arguments=(n,)) for n in range(5)}
    finished = []
    assert workers.run(jobs, done=finished.append) == {str(n): n * n for n in range(5)}
    assert sorted(finished) == list("01234")
    with pytest.raises(BusyError, match="in use") as caught:
        workers.run({"b": Job(function=ray_jobs.busy)})
    assert caught.value.fix == "wait for it"
    with pytest.raises(KeyturnError, match="the worker for z failed with a bug"):
        workers.run({"z": Job(function=ray_jobs.bug)})
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.slow
def test_nodes_must_see_the_run_directory_and_have_this_code(workers, tmp_path, monkeypatch):
    import ray_jobs

    job = {"a": Job(function=ray_jobs.square, arguments=(2,))}
    monkeypatch.setattr(ray_workers, "code_hash", lambda: "another")
    with pytest.raises(UsageError, match="another keyturn"):
        workers.run(job, folders={"a": tmp_path})
    monkeypatch.undo()
    monkeypatch.setattr(Path, "touch", lambda *_, **__: None)
    with pytest.raises(UsageError, match="does not see"):
        workers.run(job, folders={"a": tmp_path})
    monkeypatch.undo()
    assert workers.run(job, folders={"a": tmp_path}) == {"a": 4}
    assert not list(tmp_path.glob(".seen*"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_lost_node_costs_what_it_was_doing_and_the_study_is_the_same(
    cluster, workers, tmp_path, capfd, monkeypatch
):
    import ray_jobs

    monkeypatch.setattr(workers_shown, "_LINE_EVERY_S", 0.5)
    claim = replace(claim_named("one-example-nearly-suffices"), study=ray_jobs.study)
    subject, away, here = Subject(base="chain"), tmp_path / "away", tmp_path / "here"
    found = []
    thread = threading.Thread(target=lambda: found.append(run_study(claim, subject, away, executor=workers)))
    thread.start()

    def begun():
        return [
            p
            for p in away.glob("stages/rl-*")
            if list(p.glob("run/metrics.jsonl")) and not (p / "DONE").exists()
        ]

    deadline = time.monotonic() + 600
    while not (list(away.glob("stages/rl-*/DONE")) and len(begun()) >= 2) and time.monotonic() < deadline:
        assert thread.is_alive()
        time.sleep(0.05)
    lose_the_second_node(cluster)
    finished = {path: path.stat().st_mtime_ns for path in away.glob("stages/*/DONE")}
    assert finished
    assert begun(), "both nodes were training"
    thread.join(900)
    [outcome] = found
    said = capfd.readouterr()
    assert said.out == "", "stdout is for results"
    assert "stages done" in said.err
    assert {path: path.stat().st_mtime_ns for path in finished} == finished, (
        "what was finished was not made again"
    )

    alone = run_study(claim, subject, here, executor=Processes(1))
    assert outcome.rows == alone.rows
    assert outcome.numbers == alone.numbers
    assert without_clocks(files_of(away)) == without_clocks(files_of(here))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_audit_drawn_and_graded_by_workers_is_the_same_bytes(workers, tmp_path):
    asked = {"k": 32, "per_cell": 24, "seed": 2}
    away = keyturn.audit("chain", "chain", **asked, executor="ray", out=tmp_path / "away")
    here = keyturn.audit("chain", "chain", **asked, out=tmp_path / "here")
    assert away.verdict.to_json() == here.verdict.to_json()
    draws = list((tmp_path / "away").glob("stages/draw-*/1.done"))
    assert draws, "a stage had more than one part"
    assert without_clocks(files_of(tmp_path / "away")) == without_clocks(files_of(tmp_path / "here"))


def test_an_executor_that_is_none_and_one_that_is_not_installed(monkeypatch):
    with pytest.raises(UsageError, match="no executor 'slurm'"):
        executor_named("slurm")
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtraError, match="needs the package ray") as caught:
        executor_named("ray")
    assert "keyturn[ray]" in caught.value.fix
