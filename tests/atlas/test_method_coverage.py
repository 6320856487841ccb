"""Every method and every experiment has a study, and a study names what there is."""

from keyturn.atlas import CLAIMS
from keyturn.experiments import EXPERIMENTS
from keyturn.methods import METHODS
from keyturn.objectives import OBJECTIVES
from keyturn.rewards import REWARDS

TRAINED_BY = {*OBJECTIVES, *METHODS, *EXPERIMENTS}
STUDIED = {claim.id: claim for claim in CLAIMS.values() if claim.methods}


def test_every_method_has_a_study():
    named = {name for claim in STUDIED.values() for name in claim.methods}
    assert named - TRAINED_BY - set(REWARDS) == set(), "a claim names what does not exist"
    assert TRAINED_BY - named == set(), "a method without a study"


def test_methods_objectives_and_experiments_have_names_of_their_own():
    assert len(TRAINED_BY) == len(OBJECTIVES) + len(METHODS) + len(EXPERIMENTS)


def test_a_study_says_what_decides_and_what_it_does_not_show():
    for name, claim in STUDIED.items():
        assert claim.not_shown, name
        assert claim.gates or claim.controls, name
        assert claim.refuted_if, name
        assert claim.default.base or claim.study.__module__, name
