"""A stage never returns the result of other code or of other settings; a renamed variable makes none anew."""

import json
import logging
from dataclasses import replace

import edited_sources
import numpy as np
import pytest
from probes import config, probe, starts_with_a, tiny_policy

from keyturn.auditing.embedded import MODELS
from keyturn.auditing.world_facts import WorldFacts
from keyturn.core import code_version as versions
from keyturn.core.errors import UsageError
from keyturn.core.identity import Identity
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.lab.task import Task
from keyturn.methods.control_words import ControlGrader
from keyturn.methods.prorl.stagnation import Validate
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.policies.loading import load_policy, world_of
from keyturn.policies.protocol import Limits
from keyturn.problems.contract import ProblemSet
from keyturn.problems.graders import GRADERS
from keyturn.problems.world.grader import WorldGrader
from keyturn.problems.world.worlds import WORLDS, problems
from keyturn.rewards.contract import Reward
from keyturn.rewards.outcome import OutcomeConfig, outcome
from keyturn.rewards.process import process
from keyturn.rewards.shuffled import shuffled
from keyturn.training.rollout import Beside, Sampled

ASKED = probe(starts_with_a, prompts=("ask", "tell"))
LIMITS = Limits(max_new_tokens=4)
VALIDATE = Validate(problems=ASKED, streams=Streams(1), limits=LIMITS)


def session(folder):
    base = tiny_policy()
    task = Task(base=base, folder="tiny", train=ASKED, validation=ASKED, test=ASKED, max_new_tokens=4)
    return Session(Lab(folder, Streams(5)), task)


def trained(folder, **changes):
    usual = {"objective": grpo(), "reward": outcome(), "config": config(steps=1, draws=2)}
    here = session(folder)
    return here.rl(here.base, **(usual | changes)).stage.id


def graded(folder, grader=GRADERS["exact"], asked=None):
    here = session(folder)
    asked = asked or (Problem(id="a", prompt="ask", answer="a b"), Problem(id="b", prompt="tell", answer="c"))
    _, drawn = here.lab.draw(here.task.base, asked, range(2), LIMITS, name="draw")
    parent, _ = here.lab.draw(here.task.base, asked, range(2), LIMITS, name="draw")
    return here.lab.grade(grader, asked, drawn, parent, name="grade")[0].id


def drawn(folder):
    here = session(folder)
    return here.lab.draw(here.task.base, ASKED.problems, range(2), LIMITS, name="draw")[0].id


def listed(folder):
    """The stage in which an audit adds up the probabilities of valid answers."""
    place = MODELS / "chain"
    world = world_of(place)
    asked = problems(world, "test", [{"domain": "chain", "depth": 1}], 2, Streams(1))
    lab = Lab(folder, Streams(5))
    WorldFacts(world).mass(lab, load_policy(place), asked)
    return max(
        (folder / "stages").glob("exact-*/stage.json"), key=lambda path: path.stat().st_mtime_ns
    ).parent.name


@pytest.fixture
def edit(monkeypatch):
    """Edit keyturn's sources, as if that were the code that runs."""
    return lambda *words: edited_sources.edit(monkeypatch, *words)


def warned(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


CHANGES = {
    "the sign of GRPO's credit": (
        trained,
        "objectives/grpo.py",
        "centred = rewards - group_mean(rewards, batch.group)",
        "centred = group_mean(rewards, batch.group) - rewards",
        "objectives.grpo.credit",
    ),
    "a reward": (trained, "rewards/outcome.py", "* grades.outcome)", "* grades.outcome**2)", "rewards.outcome"),
    "what an objective calls": (
        trained,
        "objectives/surrogate.py",
        "torch.minimum(ratio",
        "torch.maximum(ratio",
        "objectives.surrogate.clipped",
    ),
    "the training loop": (
        trained,
        "training/collect.py",
        "config.rounds > 1:",
        "config.rounds > 2:",
        "training",
    ),
    "the sampler": (
        drawn,
        "policies/sampling.py",
        "scores = logits / sampling.temperature",
        "scores = logits * sampling.temperature",
        "policies.sampling.truncated",
    ),
    "a grader": (
        graded,
        "problems/graders/exact.py",
        "return float(gold == answer)",
        "return float(gold != answer)",
        "problems.graders.exact.same_text",
    ),
    "a measure's arithmetic": (
        listed,
        "measures/certified.py",
        "min(1.0, float(np.exp(logsumexp(logs))))",
        "float(np.exp(logsumexp(logs)))",
        "measures.certified",
    ),
}


def check_a_change_makes_a_new_stage(change, folder, edit):
    stage, file, before, after, _ = CHANGES[change]
    first = stage(folder)
    assert stage(folder) == first
    edit(file, before, after)
    again = stage(folder)
    assert again != first, "the result of other code was returned"
    assert again.split("-")[-2] == first.split("-")[-2], "what was asked for is the same"


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_code_makes_a_new_stage_and_is_named(change, tmp_path, edit, caplog):
    check_a_change_makes_a_new_stage(change, tmp_path / "run", edit)
    said = [line for line in warned(caplog) if "another version of the code" in line]
    assert said
    assert CHANGES[change][-1] in said[0]
    assert len(said) == len(set(said))


def test_an_identity_without_code_would_not_pass(tmp_path, edit, monkeypatch):
    monkeypatch.setattr(Identity, "id", property(lambda self: f"{self.key}-{'0' * 12}"))
    with pytest.raises(AssertionError, match="the result of other code was returned"):
        check_a_change_makes_a_new_stage("the sign of GRPO's credit", tmp_path / "run", edit)


HARMLESS = {
    "a local variable": ("objectives/grpo.py", "centred", "moved"),
    "a docstring": ("objectives/grpo.py", "exactly 0 in silent groups.", "nothing in silent groups."),
    "a comment": ("objectives/grpo.py", "# Equal rewards may differ", "# Rewards that are equal may differ"),
    "an annotation": (
        "objectives/grpo.py",
        "config: GrpoConfig = GrpoConfig()",
        "config: object = GrpoConfig()",
    ),
    "what is said of stages": ("lab/lab.py", "it is made again", "it is made anew"),
    "the progress line": ("core/progress.py", "about {left:.0f} s left", "{left:.0f} s left"),
    "another objective": ("objectives/rloo.py", "score - mean_of_others(", "score + mean_of_others("),
}


@pytest.mark.parametrize("change", HARMLESS)
def test_a_change_without_effect_makes_no_new_stage(change, tmp_path, edit, caplog):
    first = trained(tmp_path / "run")
    file, before, after = HARMLESS[change]
    text = (edited_sources.SRC / file).read_text(encoding="utf-8")
    part = text[text.index("def credit") : text.index("def loss")] if "def loss" in text else text
    assert before in text
    if before in part:
        edit(file, part, part.replace(before, after))
    else:
        edit(file, before, after)
    assert trained(tmp_path / "run") == first
    assert not warned(caplog)


def counted(one):
    def reward(graded):
        return np.full(len(graded), one, np.float32)

    return reward


SETTINGS = {
    "the rollout's draws": ({"rollout": Sampled(2, LIMITS)}, {"rollout": Sampled(3, LIMITS)}),
    "the rollout's limits": (
        {"rollout": Sampled(2, LIMITS)},
        {"rollout": Sampled(2, replace(LIMITS, max_new_tokens=3))},
    ),
    "a reward's setting": ({}, {"reward": outcome(OutcomeConfig(wrong=-1.0))}),
    "what a reward is made of": (
        {"reward": shuffled(inner=outcome())},
        {"reward": shuffled(inner=outcome(OutcomeConfig(wrong=-1.0)))},
    ),
    "an objective's setting": ({}, {"objective": grpo(GrpoConfig(clip_low=0.3))}),
    "the limits of a hook": (
        {"hooks": lambda: (VALIDATE,)},
        {"hooks": lambda: (replace(VALIDATE, limits=replace(LIMITS, max_new_tokens=2)),)},
    ),
    "a hook's number": ({"hooks": lambda: (VALIDATE,)}, {"hooks": lambda: (replace(VALIDATE, every=2),)}),
    "the problems' facts": (
        {},
        {"problems": replace(ASKED, problems=tuple(replace(p, facts={"k": 1}) for p in ASKED.problems))},
    ),
}


@pytest.mark.parametrize("change", SETTINGS)
def test_another_setting_is_another_stage(change, tmp_path):
    one, two = SETTINGS[change]
    first = trained(tmp_path, **one)
    assert trained(tmp_path, **one) == first
    assert trained(tmp_path, **two) != first


def test_a_reward_that_pays_the_opposite_is_refused_until_it_says_what_it_was_made_from(tmp_path):
    def mine(sign, **more):
        return Reward(name="mine", summary="", source="", reward=counted(sign), **more)

    for sign in (1, -1):
        with pytest.raises(UsageError, match=r"run\.reward\.reward: a function made inside another") as refused:
            trained(tmp_path, reward=mine(sign))
        assert "run.reward.config" in refused.value.fix
        with pytest.raises(UsageError, match="cannot be named"):
            trained(tmp_path, reward=shuffled(inner=mine(sign)))
    ids = [trained(tmp_path, reward=mine(sign, config={"sign": sign})) for sign in (1, -1)]
    assert ids[0] != ids[1]


def test_grades_know_the_grader_and_all_that_a_problem_holds(tmp_path):
    first = graded(tmp_path)
    assert graded(tmp_path) == first
    assert graded(tmp_path, GRADERS["choice"]) != first
    assert graded(tmp_path, replace(GRADERS["exact"], lenient=GRADERS["choice"].lenient)) != first
    asked = (Problem(id="a", prompt="ask", answer="a b"), Problem(id="b", prompt="tell", answer="c"))
    for change in ({"facts": {"gold": 1}}, {"answer": "d"}, {"cell": {"depth": 2}}):
        other = (replace(asked[0], **change), asked[1])
        assert graded(tmp_path, asked=other) != first
    words = [ControlGrader(GRADERS["exact"], (5,), (word,)) for word in ("a", "b")]
    assert graded(tmp_path, words[0]) != graded(tmp_path, words[1])


def test_graders_of_worlds_know_their_world():
    chain = WORLDS["chain"]
    sets = [ProblemSet(name="x", problems=(), grader=WorldGrader(w)) for w in (chain, chain, WORLDS["graph"])]
    assert sets[0].fingerprint == sets[1].fingerprint != sets[2].fingerprint


def test_a_stage_says_what_it_is(tmp_path):
    trained(tmp_path)
    [folder] = (tmp_path / "stages").iterdir()
    noted = json.loads((folder / "stage.json").read_text())
    assert noted["fields"]["run"]["reward"]["config"] == {"~": "OutcomeConfig", "right": 1.0, "wrong": 0.0}
    assert {"objectives.grpo.credit", "rewards.outcome.outcome_reward", "training.rl.train_rl"} <= set(
        noted["code"]
    )
    assert "objectives.rloo.credit" not in noted["code"]
    assert folder.name == f"rl-{Identity(noted['fields'], versions.CodeVersion(noted['code'])).id}"


def test_stages_of_an_earlier_keyturn_are_recognised_and_never_read(tmp_path, caplog):
    first = trained(tmp_path)
    [folder] = (tmp_path / "stages").iterdir()
    earlier = folder.with_name("rl-0123456789ab")
    folder.rename(earlier)
    (earlier / "stage.json").write_text(json.dumps({"schema": 1, "kind": "rl"}))
    assert trained(tmp_path) == first
    [line] = warned(caplog)
    assert "holds 1 stages of an earlier keyturn, which did not record its code; they are not read" in line
    assert (tmp_path / "stages" / f"rl-{first}").is_dir()


def test_what_was_begun_by_other_code_is_begun_anew(tmp_path, edit, caplog):
    def stopped():
        def work(folder):
            (folder / "half").write_text("")
            raise KeyboardInterrupt

        return Lab(tmp_path / "run", Streams(1)).stage("kind", {"objective": grpo()}, work, lambda path: None)

    with pytest.raises(KeyboardInterrupt):
        stopped()
    edit("objectives/grpo.py", *CHANGES["the sign of GRPO's credit"][2:4])
    with pytest.raises(KeyboardInterrupt):
        stopped()
    [line] = warned(caplog)
    assert "was begun by another version of the code (changed: objectives.grpo.credit)" in line
    assert len(list((tmp_path / "run" / "stages").iterdir())) == 2


def test_a_field_that_cannot_be_described_is_refused_by_name(tmp_path):
    lab = Lab(tmp_path, Streams(1))
    with pytest.raises(UsageError, match=r"^weights: a lambda cannot be named"):
        lab.stage("kind", {"weights": lambda x: x}, lambda path: None, lambda path: None)
    assert not tmp_path.joinpath("stages").exists()


def test_demonstrations_are_known_by_their_content(tmp_path):
    here = session(tmp_path)
    _, completions = here.lab.draw(here.task.base, ASKED.problems, range(2), LIMITS, name="draw")
    plain = Sampled(2, LIMITS)
    whole, part = (Beside(plain, one, 1) for one in (completions, completions.select(np.array([0, 1, 2]))))
    fields = [{"rollout": one} for one in (whole, part, replace(whole, rows=2))]
    assert len({Identity.of(one).key for one in fields}) == 3


def test_the_code_behind_a_composed_reward_is_found():
    parts = versions.code_version(shuffled(inner=process())).parts
    assert {"rewards.shuffled.shuffled_reward", "rewards.process.process"} <= set(parts)
