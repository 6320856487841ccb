"""Which studies are shared among processes is said by the claim, to whoever runs it."""

from dataclasses import replace

import pytest

from keyturn.atlas import claim_named
from keyturn.experiments import study
from keyturn.lab.workers import Processes


@pytest.mark.parametrize(("name", "trains"), [("rl-deploys", False), ("one-example-nearly-suffices", True)])
def test_only_studies_that_train_methods_are_shared_among_processes(monkeypatch, tmp_path, name, trains):
    claim, shared, seen = claim_named(name), [], []
    workers = Processes(3)
    monkeypatch.setattr(workers, "run", lambda jobs, folders: shared.extend(jobs.values()))
    told = replace(claim, study=lambda lab, subject: seen.append((lab.root, subject)))
    study.run_study(told, claim.default, tmp_path, executor=workers)
    assert seen == [(tmp_path, claim.default)], "and then the whole study is run here"
    assert [job.arguments[3:] for job in shared] == ([(0, 3), (1, 3), (2, 3)] if trains else [])
