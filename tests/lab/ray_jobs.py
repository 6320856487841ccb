"""A small study for workers of a cluster, which must be found by import."""

from dataclasses import replace

from keyturn.core.errors import BusyError
from keyturn.experiments.arms import CHAIN_RL, Cells, base_arm, embedded_task, numbers_on_test, rl_arm
from keyturn.experiments.plan import PlanSizes, contrast, run_plan
from keyturn.experiments.study import outcome_of
from keyturn.lab.session import Session
from keyturn.objectives import OBJECTIVES
from keyturn.rewards import REWARDS

RL = replace(CHAIN_RL, steps=25, prompts=8, draws=8, checkpoint_every=5)


def study(lab, subject):
    """Two arms, two rates, two seeds: six trainings."""
    task = embedded_task(lab, "chain", Cells(train=(1, 2), test=(1, 2), per_cell=8, held_out=3))
    session = Session(lab, task)
    arms = [base_arm()]
    for name in ("grpo", "rloo"):
        arms.append(rl_arm(name, objective=OBJECTIVES[name](), reward=REWARDS["outcome"](), config=RL))
    runs = run_plan(session, arms, PlanSizes(seeds=2, lrs=(1e-3, 3e-3)), numbers_on_test(2))
    found = {"estimand": contrast(runs, "grpo", "rloo", "success")}
    return outcome_of(session, runs, found, setting="a test")


def busy():
    raise BusyError("the folder is in use", fix="wait for it")


def bug():
    raise ZeroDivisionError("by zero")


def square(number):
    return number * number
