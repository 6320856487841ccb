"""Jobs on a Ray cluster: the extra ``keyturn[ray]``.

A job is a task of Ray. What it makes lies in the run directory, which every node must see (a shared file
system), so a task whose node is lost is run again elsewhere and goes on from the stages that are finished: a
lost worker costs what it was doing, and nothing else. Before the first job each node is asked whether it sees
the run directory and has the same code, because with other code it would make other stages.

Source: Ray 2.60, tasks and fault tolerance (docs.ray.io/en/latest/ray-core/fault-tolerance.html).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import logging
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from keyturn.core.errors import KeyturnError, MissingExtraError, UsageError
from keyturn.core.lazy import torch
from keyturn.lab.workers import Job, bug_of, error_of, free_cores
from keyturn.lab.workers_shown import shown

AGAIN = 5
"""How often a job is run again when its worker or its node was lost."""
_POLL_S = 0.5
_NODES_EVERY_S = 5.0
_STORE_BYTES = 256 << 20
"""Shared memory of a Ray that is started here; jobs return little."""
_log = logging.getLogger("keyturn")


class RayWorkers:
    """Workers of a Ray cluster.

    Args:
        address: ``ray://host:port``; empty for the cluster that ``RAY_ADDRESS`` names or this machine belongs
            to, else for one that is started on this machine and ends with this process.
        workers: jobs at once; 0: as many as the cluster has processors.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: no cluster answers at the address.
    """

    def __init__(self, address: str, *, workers: int = 0) -> None:
        try:
            self._ray: Any = importlib.import_module("ray")
        except ModuleNotFoundError as error:
            if error.name != "ray":
                raise
            fix = "pip install 'keyturn[ray]'"
            raise MissingExtraError("--executor ray needs the package ray", fix=fix) from error
        self._connect(address)
        _keep_stdout()
        self._workers = workers
        self._seen: set[Path] = set()

    @property
    def slots(self) -> int:
        """Processors of the cluster, or the number of workers that was asked for."""
        return self._workers or max(int(self._ray.cluster_resources().get("CPU", 1)), 1)

    def run(
        self,
        jobs: Mapping[str, Job],
        *,
        folders: Mapping[str, Path] | None = None,
        done: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """See :meth:`keyturn.lab.workers.Executor.run`."""
        for folder in dict.fromkeys((folders or {}).values()):
            self._all_see(folder)
        waiting, running, found = dict(jobs), {}, {}
        nodes = _Nodes(self._ray)
        try:
            with shown({} if done else folders or {}, lines=True) as show:
                while waiting or running:
                    while waiting and len(running) < self.slots:
                        name = next(iter(waiting))
                        running[self._submit(name, waiting.pop(name))] = name
                    ready, _ = self._ray.wait(list(running), timeout=_POLL_S)
                    for task in ready:
                        name = running.pop(task)
                        found[name] = self._result(name, task)
                        if done is not None:
                            done(name)
                    nodes.look()
                    show()
        finally:
            for task in running:
                with contextlib.suppress(Exception):
                    self._ray.cancel(task, force=True)
        return {name: found[name] for name in jobs}

    def _connect(self, address: str) -> None:
        ray = self._ray
        if ray.is_initialized() and not address:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machine
        common = {"logging_level": logging.ERROR, "log_to_driver": False, "ignore_reinit_error": True}
        try:
            if address or os.environ.get("RAY_ADDRESS"):
                ray.init(address=address or "auto", **common)
                return
            with contextlib.suppress(ConnectionError):
                ray.init(address="auto", **common)
                return
            ray.init(
                num_cpus=free_cores(),
                include_dashboard=False,
                object_store_memory=_STORE_BYTES,
                **common,
            )
        except (ConnectionError, ImportError, OSError, RuntimeError, ValueError) as error:
            where = address or os.environ.get("RAY_ADDRESS") or "this machine"
            what = f"no Ray cluster at {where}: {(str(error).splitlines() or [type(error).__name__])[0][:200]}"
            raise UsageError(what, fix="start it (ray start --head), or correct the address") from error

    def _submit(self, name: str, job: Job) -> Any:
        resources = self._ray.cluster_resources()
        options: dict[str, Any] = {"num_cpus": job.threads, "max_retries": AGAIN, "name": name}
        if job.gpu and resources.get("GPU", 0) >= 1:
            options["num_gpus"] = 1
        return self._ray.remote(**options)(_work).remote(job.function, job.arguments, job.threads)

    def _result(self, name: str, task: Any) -> Any:
        """What a job returned, or the reason why it failed."""
        exceptions = self._ray.exceptions
        try:
            kind, said = self._ray.get(task)
        except exceptions.RayTaskError as error:
            sys.stderr.write(f"{error}\n")
            raise bug_of(name) from error
        except exceptions.RayError as error:
            why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            what = f"the worker for {name} was lost more than {AGAIN} times, at last: {why}"
            raise KeyturnError(what, fix="run again: what is finished is kept") from error
        if kind == "failed":
            raise error_of(said)
        return said

    def _all_see(self, folder: Path) -> None:
        """Every node sees the run directory and has this code.

        Raises:
            KeyturnError: one does not.
        """
        folder = folder.resolve()
        if folder in self._seen:
            return
        folder.mkdir(parents=True, exist_ok=True)
        token = folder / f".seen-by-all-{uuid.uuid4().hex}"
        token.touch()
        try:
            ours = code_hash()
            for node, (sees, code) in self._ask_nodes(token):
                if not sees:
                    what = f"node {node} of the Ray cluster does not see {folder}"
                    raise UsageError(what, fix="--out in a folder that all nodes share")
                if code != ours:
                    what = f"node {node} of the Ray cluster has another keyturn than this process"
                    raise UsageError(what, fix="install the same version on all nodes")
        finally:
            token.unlink(missing_ok=True)
        self._seen.add(folder)

    def _ask_nodes(self, token: Path) -> Iterator[tuple[str, tuple[bool, str]]]:
        strategies = self._ray.util.scheduling_strategies
        asked = {}
        for node in self._ray.nodes():
            if node["Alive"] and node["Resources"].get("CPU"):
                there = strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                task = self._ray.remote(num_cpus=0, scheduling_strategy=there, max_retries=1)(_look)
                asked[node["NodeManagerHostname"]] = task.remote(str(token))
        for name, task in asked.items():
            yield name, self._ray.get(task)


def _keep_stdout() -> None:
    """Ray prints what befalls its nodes, with their state, to stdout, which is for results. It is logged."""
    worker: Any = importlib.import_module("ray._private.worker")
    if hasattr(worker, "print_to_stdstream"):

        def logged(data: Mapping[str, Any], ignore_prefix: bool = False) -> None:
            _log.debug("ray: %s", "\n".join(map(str, data.get("lines", ()))))

        worker.print_to_stdstream = logged


class _Nodes:
    """Says once that a node was lost."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._alive = self._count()
        self._looked = time.monotonic()

    def _count(self) -> int:
        return sum(bool(node["Alive"]) for node in self._ray.nodes())

    def look(self) -> None:
        if time.monotonic() - self._looked < _NODES_EVERY_S:
            return
        self._looked, before, self._alive = time.monotonic(), self._alive, self._count()
        if self._alive < before:
            _log.warning("%d node(s) of the Ray cluster were lost; their jobs run again", before - self._alive)


def code_hash() -> str:
    """Hash of the source files of this keyturn."""
    root = Path(__file__).parents[1]
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _look(token: str) -> tuple[bool, str]:
    """On a node: whether a file is seen there, and which keyturn it has."""
    return Path(token).exists(), code_hash()


def _work(function: Callable[..., Any], arguments: tuple[Any, ...], threads: int) -> tuple[str, Any]:
    """On a worker: run a job. Errors of ours are returned, since Ray would wrap them."""
    torch.set_num_threads(threads)
    try:
        return "done", function(*arguments)
    except KeyturnError as error:
        return "failed", (type(error).__name__, error.what, error.fix)
