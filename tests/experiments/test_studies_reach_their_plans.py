"""Every study makes the configs of its arms: a setting that a method renamed is found without training."""

import sys

import pytest

from keyturn.atlas import CLAIMS
from keyturn.core.streams import Streams
from keyturn.experiments import arms
from keyturn.lab.lab import Lab

LATER = "a stage comes before the plan"
STUDIES = {name: claim for name, claim in CLAIMS.items() if claim.methods}


class Stopped(Exception):
    pass


def reached(claim, tmp_path, monkeypatch):
    """How far a study gets without any stage: ``plan``, with the configs of its arms, or why not."""
    module, made = sys.modules[claim.study.__module__], []

    def method_arm(name, method, configured, **told):
        config = configured(1e-3)
        assert type(config) is type(method.profiles["demo"]), name
        made.append(config)
        return arms.method_arm(name, method, configured, **told)

    def stop(why):
        def stops(*_, **__):
            raise Stopped(why)

        return stops

    if hasattr(module, "method_arm"):
        monkeypatch.setattr(module, "method_arm", method_arm)
    if hasattr(module, "run_plan"):
        monkeypatch.setattr(module, "run_plan", stop("plan"))
    monkeypatch.setattr(Lab, "stage", stop(LATER))
    with pytest.raises(Stopped) as stopped:
        claim.study(Lab(tmp_path, Streams(0)), claim.default)
    return str(stopped.value), made


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_makes_its_arms(tmp_path, monkeypatch, name):
    reached(STUDIES[name], tmp_path, monkeypatch)


def test_many_studies_get_there(tmp_path, monkeypatch):
    for name in ("rationales-improve-themselves", "form-carries-distillation", "imitate-beside-rl"):
        with monkeypatch.context() as patched:
            why, made = reached(STUDIES[name], tmp_path, patched)
        assert (why, bool(made)) == ("plan", True), name
