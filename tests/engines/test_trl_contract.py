"""TRL's trainer with our objectives, against the pinned TRL: gradients, its own losses, records, refusals."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trl
import trl_rows
from datasets import Dataset
from probes import tiny_policy, tokenizer

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.engines.contract import missing
from keyturn.engines.rows import rows_of
from keyturn.engines.trl import ObjectiveTrainer
from keyturn.engines.trl_settings import TRL
from keyturn.objectives import OBJECTIVES
from keyturn.objectives.cispo import CispoConfig
from keyturn.objectives.contract import PolicyTokens, judged, total
from keyturn.objectives.dapo import DapoConfig
from keyturn.objectives.dr_grpo import DrGrpoConfig
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.objectives.gspo import GspoConfig
from keyturn.policies.batching import Texts
from keyturn.policies.scorer import policy_tokens
from keyturn.rewards import REWARDS
from keyturn.rollouts.store import read_completions, read_grades
from keyturn.training.batches import rollout_batch
from keyturn.training.curves import COLUMNS
from keyturn.training.record import history

QUICK = ("grpo", "rloo")
CARRIED = [name for name, build in OBJECTIVES.items() if not missing(build(), TRL)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return trl_rows.saved(tmp_path_factory.mktemp("model"))


def own_gradient(objective, folder, kept=None):
    """Our loop's gradient on the rows that a TRL run has written down."""
    completions, grades = (
        read_completions(folder / "run" / "rollouts", [0]),
        read_grades(folder / "run" / "rollouts", [0]),
    )
    rows = np.arange(len(completions)) if kept is None else kept
    chosen = completions.select(rows)
    batch = rollout_batch(
        chosen,
        grades.outcome[rows],
        max_new_tokens=trl_rows.LIMIT,
        roles=trl_rows.roles_of(chosen),
    )
    policy = tiny_policy(3)
    with torch.no_grad():
        anchors = policy_tokens(policy.model, Texts.of(chosen)).logprobs
    batch = replace(batch, reference_logprobs=anchors, streams=Streams(5).child("step", 0, "credit"))
    batch = judged(objective, batch)
    scores = policy_tokens(policy.model, Texts.of(chosen))
    entropies = scores.entropies if "policy_entropies" in objective.needs else batch.entropies
    terms = objective.loss(PolicyTokens(scores.logprobs, entropies), batch)
    if objective.adapt is not None:
        factors = objective.adapt({}, 0, {}).weights
        terms = tuple(term._replace(weight=term.weight * factors.get(term.name, 1.0)) for term in terms)
    total(terms, {term.name: term.denominator for term in terms}).backward()
    return {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}


def apart(one, other):
    """The largest difference of two gradients, over the largest entry."""
    assert one.keys() == other.keys()
    scale = max(float(value.abs().max()) for value in one.values())
    assert scale > 1e-4, "a gradient of nothing shows nothing"
    return max(float((one[name] - other[name]).abs().max()) for name in one) / scale


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CARRIED]
)
def test_the_gradient_is_that_of_our_own_loop(name, model, tmp_path):
    objective = OBJECTIVES[name]()
    _, gradient = trl_rows.run(model, tmp_path, objective)
    assert apart(gradient, own_gradient(objective, tmp_path)) < 1e-5


class PerMicroBatch(ObjectiveTrainer):
    """The broken twin: divides by what the micro-batch itself counts."""

    def _open_update(self, inputs):
        super()._open_update(inputs)
        rows = self._judged[True][0].rows(inputs["keyturn_row"])
        terms = self.objective.loss(PolicyTokens(rows.behaviour_logprobs, rows.entropies), rows)
        self._denominators = {term.name: 2 * term.denominator for term in terms}


def test_terms_are_divided_once_by_the_whole_update(model, tmp_path):
    _, gradient = trl_rows.run(model, tmp_path / "one", trl_rows.TOKEN_MEAN)
    assert apart(gradient, own_gradient(trl_rows.TOKEN_MEAN, tmp_path / "one")) < 1e-5
    _, broken = trl_rows.run(model, tmp_path / "two", trl_rows.TOKEN_MEAN, trainer=PerMicroBatch)
    assert apart(gradient, broken) > 1e-2


def test_ungraded_rows_leave_group_loss_and_denominator(model, tmp_path):
    def rule(problem, words):
        return float("nan") if "e" in words else float("a" in words)

    problems = trl_rows.judged_problems(rule)
    done, gradient = trl_rows.run(
        model, tmp_path, trl_rows.TOKEN_MEAN, problems=problems, reward=REWARDS["outcome"]()
    )
    graded = np.isfinite(done._taken.rewards)
    assert 0 < graded.sum() < len(graded)
    assert apart(gradient, own_gradient(trl_rows.TOKEN_MEAN, tmp_path, np.flatnonzero(graded))) < 1e-5
    assert history(tmp_path / "run")[0]["ungraded"] == pytest.approx(1 - graded.mean())


@pytest.mark.slow
def test_two_processes_give_the_gradient_of_one(model, tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    two.mkdir()
    launch = [str(Path(sys.executable).parent / "accelerate"), "launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--main_process_port", "0", trl_rows.__file__, model, str(two)]
    found = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        launch, capture_output=True, text=True, check=False, timeout=280, env={**os.environ, **found}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    _, alone = trl_rows.run(model, one, trl_rows.TOKEN_MEAN)
    assert apart(alone, torch.load(two / "gradient.pt")) < 1e-5
    (mine,), (theirs,) = history(one / "run"), history(two / "run")
    assert mine.keys() == theirs.keys()
    assert all(theirs[name] == pytest.approx(mine[name], rel=1e-4, abs=1e-6) for name in mine)


GRPO = {"loss_type": "grpo"}
SAME_AS_TRL = [
    ("grpo", GrpoConfig(), GRPO),
    ("grpo", GrpoConfig(kl_weight=0.1), GRPO | {"beta": 0.1, "use_bias_correction_kl": False}),
    ("grpo", GrpoConfig(scale="none"), GRPO | {"scale_rewards": "none"}),
    ("dr_grpo", DrGrpoConfig(), {"loss_type": "dr_grpo", "scale_rewards": "none"}),
    ("dapo", DapoConfig(), {"loss_type": "dapo", "epsilon_high": 0.28}),
    (
        "gspo",
        GspoConfig(),
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
    ),
    ("cispo", CispoConfig(), {"loss_type": "cispo", "epsilon_high": 5.0}),
]
"""Objective, its settings, and TRL's for the same."""


@pytest.mark.parametrize(
    ("name", "ours", "theirs"), SAME_AS_TRL, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(SAME_AS_TRL)]
)
def test_credit_and_loss_are_trls_own_on_equal_batches(name, ours, theirs, model, tmp_path):
    objective = OBJECTIVES[name](ours)
    prompts = [[3, 5], [4, 6, 7]]
    rng = np.random.default_rng(1)
    lengths = [2, 6, 4, 5, 6, 1]
    answered = [rng.integers(2, 10, n).tolist() for n in lengths]
    asked = [prompts[row // 3] for row in range(6)]
    stock = trl.GRPOTrainer(
        model,
        reward_funcs=lambda completions, **_: [1.0, 0.0, 0.5, 0.0, 0.0, 1.0],
        args=trl_rows.config(
            tmp_path, num_generations=3, per_device_train_batch_size=6, gradient_accumulation_steps=1, **theirs
        ),
        train_dataset=Dataset.from_dict({"prompt": ["ask a", "tell b c"]}),
        processing_class=tokenizer(),
        rollout_func=lambda prompts, _: {
            "prompt_ids": asked,
            "completion_ids": answered,
            "logprobs": [[-1.0] * n for n in lengths],
        },
    )
    stock.model.train()
    stock.current_gradient_accumulation_steps = 1
    inputs = stock._generate_and_score_completions([{"prompt": "ask a"}] * 3 + [{"prompt": "tell b c"}] * 3)
    shift = torch.from_numpy(rng.normal(0, 0.3, inputs["completion_mask"].shape).astype(np.float32))
    scores = policy_tokens(stock.model, Texts.build(asked, answered))
    old = scores.logprobs.detach() + shift * (0.002 if name == "gspo" else 1.0)
    reference = scores.logprobs.detach() + shift.flip(0)
    inputs |= {"old_per_token_logps": old, "ref_per_token_logps": reference}
    value = stock._compute_loss(stock.model, inputs)
    wanted = torch.autograd.grad(value, list(stock.model.parameters()), allow_unused=True)

    mask = inputs["completion_mask"].bool()
    completions = rows_of(asked, answered, group=[0] * 3 + [1] * 3, truncated=[False] * 6)
    batch = rollout_batch(
        completions, np.array([1, 0, 0.5, 0, 0, 1], dtype=np.float32), max_new_tokens=trl_rows.LIMIT
    )
    assert torch.equal(batch.mask, mask)
    batch = replace(batch, old_logprobs=old, reference_logprobs=reference)
    batch = judged(objective, batch)
    assert torch.allclose(batch.credit, inputs["advantages"][:, None] * mask, atol=1e-5)
    terms = objective.loss(PolicyTokens(scores.logprobs, scores.entropies), batch)
    loss = total(terms, {term.name: term.denominator for term in terms})
    assert float(loss) == pytest.approx(float(value), abs=1e-5)
    found = torch.autograd.grad(loss, list(stock.model.parameters()), allow_unused=True)
    assert max(float(g.abs().max()) for g in wanted) > 1e-3
    for mine, its in zip(found, wanted, strict=True):
        assert torch.allclose(mine, its, atol=1e-5)


def test_a_run_writes_our_records_and_curves_and_goes_on_from_a_checkpoint(model, tmp_path):
    objective = grpo(GrpoConfig(entropy_weight=0.01, entropy_target=5.0, clip_high=0.28))
    free = {"rollout_func": None, "changes": {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}}
    done, _ = trl_rows.run(model, tmp_path, objective, **free)
    rows = history(tmp_path / "run")
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    known = {name.split("<")[0] for name in COLUMNS}
    assert all(any(name.startswith(prefix) for prefix in known) for row in rows for name in row)
    assert {"reward", "entropy/planning", "entropy/execution", "grad_norm", "loss/policy", "lr"} <= rows[
        0
    ].keys()
    assert rows[0]["factor/entropy"] != rows[3]["factor/entropy"]
    completions = read_completions(tmp_path / "run" / "rollouts")
    grades = read_grades(tmp_path / "run" / "rollouts")
    assert len(completions) == len(grades.outcome) == 4 * trl_rows.ROWS
    assert completions.lengths.sum() == rows[-1]["tokens"]
    assert np.isfinite(completions.logprobs).all()
    assert set(completions.prompts.texts) == set(trl_rows.ASKED)
    fresh = tiny_policy(3).score(read_completions(tmp_path / "run" / "rollouts", [0]))
    first = read_completions(tmp_path / "run" / "rollouts", [0])
    assert np.allclose(fresh.logprobs, first.logprobs, atol=1e-5)
    assert np.allclose(fresh.entropies, first.entropies, atol=1e-5)

    again = ObjectiveTrainer(
        model,
        objective=objective,
        folder=tmp_path / "run",
        args=trl_rows.config(tmp_path, max_steps=4),
        problems=trl_rows.judged_problems(),
        reward=REWARDS["outcome"](),
        roles=trl_rows.roles_of,
        processing_class=tokenizer(),
        streams=Streams(5),
    )
    again.train(resume_from_checkpoint=str(tmp_path / "trl" / "checkpoint-2"))
    resumed = history(tmp_path / "run")
    assert [row["step"] for row in resumed] == [0, 1, 2, 3]
    assert resumed[:2] == rows[:2]
    assert resumed[2]["factor/entropy"] == rows[2]["factor/entropy"]
    assert done.record.step == again.record.step == 4


def test_rewards_and_rows_of_trl_itself(model, tmp_path):
    def long(completion_ids, **_):
        return [None if len(row) == 1 else float(len(row)) for row in completion_ids]

    dataset = Dataset.from_dict({"prompt": list(trl_rows.ASKED)})
    done, gradient = trl_rows.run(
        model,
        tmp_path,
        TRL_OWN,
        reward_funcs=[long],
        train_dataset=dataset,
        changes={"num_iterations": 2, "max_steps": 2},
    )
    taken, (row,) = done._taken, history(tmp_path / "run")
    assert gradient
    wanted = np.where(taken.completions.lengths == 1, np.nan, taken.completions.lengths)
    assert np.array_equal(taken.rewards, wanted, equal_nan=True)
    assert row["reward"] == pytest.approx(np.nanmean(wanted))
    assert row["updates"] == 2
    assert "outcome" not in row, "nobody graded"
    stored = read_grades(tmp_path / "run" / "rollouts").columns["reward"]
    assert np.array_equal(stored, taken.rewards, equal_nan=True)
    credit = done._judged[True][0].credit
    assert not credit[torch.from_numpy(~np.isfinite(taken.rewards))].any()


TRL_OWN = grpo(GrpoConfig())

REFUSED = [
    ({"use_liger_kernel": True}, "one advantage per row"),
    ({"loss_type": "grpo"}, "loss_type"),
    ({"beta": 0.1}, "beta"),
    ({"temperature": 0.7}, "temperature"),
    ({"top_p": 0.9}, "top_p"),
    ({"steps_per_generation": 3}, "not a multiple"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_settings_that_nobody_would_read_are_refused(changes, words, model, tmp_path):
    problems, reward = trl_rows.judged_problems(), REWARDS["outcome"]()
    with pytest.raises(UsageError, match=words):
        ObjectiveTrainer(
            model,
            objective=TRL_OWN,
            folder=tmp_path,
            args=trl_rows.config(tmp_path, num_generations=2, **changes),
            problems=problems,
            reward=reward,
        )


def test_an_objective_that_trl_cannot_carry_is_refused_with_the_reason(model, tmp_path):
    shown = replace(TRL_OWN, name="shown", needs=frozenset({"demonstration"}))
    with pytest.raises(UsageError, match="only draws"):
        trl_rows.run(model, tmp_path, shown)
    with pytest.raises(UsageError, match="given together"):
        trl_rows.run(model, tmp_path, TRL_OWN, reward=None)


def test_an_evaluation_between_updates_disturbs_nothing(model, tmp_path):
    def short(completion_ids, **_):
        return [-float(len(row)) for row in completion_ids]

    rows = Dataset.from_dict({"prompt": list(trl_rows.ASKED)})
    own = {"reward_funcs": [short], "train_dataset": rows}
    looked = {"eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 4, "num_iterations": 2}
    sizes = {"max_steps": 2}
    done, _ = trl_rows.run(model, tmp_path / "one", TRL_OWN, changes=looked | sizes, eval_dataset=rows, **own)
    trl_rows.run(model, tmp_path / "two", TRL_OWN, changes=sizes | {"num_iterations": 2}, **own)
    evaluations = [row for row in done.state.log_history if "eval_loss" in row]
    assert len(evaluations) == 2
    assert all(np.isfinite(row["eval_loss"]) for row in evaluations)
    (watched,), (plain,) = history(tmp_path / "one" / "run"), history(tmp_path / "two" / "run")
    assert watched == pytest.approx(plain)
