"""A TRL run on rows that are given, so that its gradient can be compared; also run as a script by `accelerate`.

accelerate launch --multi_gpu --num_processes 2 tests/engines/trl_rows.py MODEL FOLDER
"""

import os
import sys
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}

import numpy as np
import torch
import trl
from probes import WORDS, probe, tiny_policy, tokenizer
from transformers import TrainerCallback

from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.engines.trl import ObjectiveTrainer
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.rewards import REWARDS

ASKED = ("ask a", "tell b c", "ask", "tell")
LIMIT, ROWS = 6, 8
TOKEN_MEAN = grpo(GrpoConfig(aggregation="token-mean", kl_weight=0.1))


def judged_problems(rule=None):
    """Right where an `a` occurs."""
    return probe(rule or (lambda _, words: float("a" in words)), ASKED)


def roles_of(completions):
    """Even tokens plan, odd ones execute."""
    planning = completions.tokens % 2 == 0
    return np.where(planning, Role.STRATEGY, Role.COPY).astype(np.uint8)


def saved(folder):
    policy = tiny_policy(3)
    policy.model.save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)
    return str(folder)


def config(folder, **changes):
    """8 rows an update, 2 prompts of 4 draws."""
    plain = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_generations": 4}
    quiet = {
        "use_cpu": True,
        "report_to": [],
        "logging_steps": 100,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    sizes = {"max_completion_length": LIMIT, "learning_rate": 1e-2, "max_steps": 1, "max_grad_norm": 1e9}
    quiet |= {"bf16": False, "activation_checkpointing": False}
    return trl.GRPOConfig(output_dir=str(folder / "trl"), **(plain | quiet | sizes | changes))


def given_rows(prompts, trainer):
    """The rows that are drawn, by their place among those of all processes: ragged, some cut at the limit."""
    first = trainer.accelerator.process_index * len(prompts)
    rows, logprobs = [], []
    for place in range(first, first + len(prompts)):
        rng = np.random.default_rng([place, trainer.state.global_step])
        length = int(rng.integers(1, LIMIT + 1))
        row = rng.integers(2, len(WORDS), length)
        if length < LIMIT:
            row[-1] = 1
        rows.append(row.tolist())
        logprobs.append(rng.uniform(-3.5, -1.0, length).tolist())
    asked = [trainer._tokenizer(prompt)["input_ids"] for prompt in prompts]
    return {"prompt_ids": asked, "completion_ids": rows, "logprobs": logprobs}


class Gradient(TrainerCallback):
    """Keeps the gradient of the first update."""

    def __init__(self):
        self.found = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        if not self.found:
            bare = getattr(model, "module", model)
            self.found = {name: p.grad.clone() for name, p in bare.named_parameters() if p.grad is not None}


def run(model, folder, objective, *, trainer=ObjectiveTrainer, changes=None, **kwargs):
    """A finished run: its trainer and the gradient of its first update."""
    kept = Gradient()
    sources = (
        {} if "reward_funcs" in kwargs else {"problems": judged_problems(), "reward": REWARDS["outcome"]()}
    )
    made = trainer(
        model,
        objective=objective,
        folder=folder / "run",
        args=config(folder, **(changes or {})),
        processing_class=tokenizer(),
        streams=Streams(5),
        callbacks=[kept],
        **({"rollout_func": given_rows, "roles": roles_of} | sources | kwargs),
    )
    made.train()
    return made, kept.found


if __name__ == "__main__":
    place = Path(sys.argv[2])
    done, gradient = run(sys.argv[1], place, TOKEN_MEAN, changes={"gradient_accumulation_steps": 1})
    if done.accelerator.is_main_process:
        torch.save(gradient, place / "gradient.pt")
    # Both wait and leave the group together: a process that ends with gloo's threads alive may be aborted.
    done.accelerator.wait_for_everyone()
    torch.distributed.destroy_process_group()
