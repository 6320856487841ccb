"""TRL trains the shipped CHAIN base with one of our objectives, on two CPU processes.

    python examples/6_trl_two_processes.py [steps]

Started plainly it starts itself again under `accelerate launch` with two gloo processes. The objective, the
reward and the verifier are keyturn's; sampling, batching and stepping are TRL's. The run's folder holds
what `keyturn train` writes: metrics.jsonl, and every rollout with its grades as Parquet.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

import torch
import trl

import keyturn
from keyturn.core.streams import Streams
from keyturn.engines.trl import ObjectiveTrainer
from keyturn.objectives.dr_grpo import dr_grpo
from keyturn.policies.loading import load_policy, world_of
from keyturn.problems.world.grader import problem_set
from keyturn.rewards import REWARDS
from keyturn.training.record import history


def launch(steps, folder):
    """Two processes of this file."""
    accelerate = str(Path(sys.executable).parent / "accelerate")
    flags = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
    flags += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    subprocess.run([accelerate, "launch", *flags, __file__, steps, str(folder)], check=True)


def train(steps, folder):
    """One of the processes."""
    base = Path(keyturn.__file__).parent / "assets" / "models" / "chain"
    policy = load_policy(base)
    problems = problem_set(world_of(base), "rl", [{"depth": 2}], 16, Streams(0))
    trainer = ObjectiveTrainer(
        policy.model,
        objective=dr_grpo(),
        folder=folder / "run",
        problems=problems,
        reward=REWARDS["outcome"](),
        processing_class=policy.tokenizer,
        args=trl.GRPOConfig(
            output_dir=str(folder / "trl"),
            max_steps=steps,
            learning_rate=3e-4,
            per_device_train_batch_size=16,  # rows per process: 2 x 16 rows are 4 problems, 8 draws each
            num_generations=8,
            max_completion_length=24,
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,  # the world's models are too small to have it
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        ),
    )
    trainer.train()
    if trainer.accelerator.is_main_process:
        for row in history(folder / "run"):
            print(f"step {row['step']:.0f}: reward {row['reward']:.3f}, gradient {row['grad_norm']:.3f}")


if __name__ == "__main__":
    steps = sys.argv[1] if len(sys.argv) > 1 else "2"
    if "LOCAL_RANK" in os.environ:
        train(int(steps), Path(sys.argv[2]))
        # Both leave together: a process that ends with gloo's threads alive may be aborted.
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    else:
        with tempfile.TemporaryDirectory() as folder:
            launch(steps, folder)
