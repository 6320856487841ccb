"""TRL's GRPOTrainer on the tiny model, step by step on demand. Runs in TRL's own environment (trl_env.sh).

``speed.py`` starts it with a job (JSON, the only argument) and writes one line ``{"threads": n, "steps": n}`` a
turn; the answer is one line of seconds of wall clock and of processor a step. An empty input ends it. Only
the lines of that conversation go to stdout.
"""

import json
import os
import sys
import time
from importlib import metadata

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="false")
TALK = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
os.dup2(2, 1)

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

import keyturn.policies.tiny  # noqa: E402, F401 (the Auto classes learn the tiny model)
from keyturn.problems.world.verify import read_completion, read_prompt  # noqa: E402
from keyturn.problems.world.vocabulary import EOS, encode  # noqa: E402
from keyturn.problems.world.worlds import world_from_json  # noqa: E402


class Turns(TrainerCallback):
    """Waits for a turn before a step, and tells the seconds of each step once the turn is over."""

    def __init__(self):
        self.left, self.wall, self.cpu, self.began = 0, [], [], None

    def on_step_begin(self, args, state, control, **_):
        if self.left == 0:
            line = sys.stdin.readline()
            if not line.strip():
                raise SystemExit(0)
            turn = json.loads(line)
            torch.set_num_threads(turn["threads"])
            self.left, self.wall, self.cpu = turn["steps"], [], []
        self.began = time.perf_counter(), time.process_time()

    def on_step_end(self, args, state, control, **_):
        self.wall.append(time.perf_counter() - self.began[0])
        self.cpu.append(time.process_time() - self.began[1])
        self.left -= 1
        if self.left == 0:
            say({"wall": self.wall, "cpu": self.cpu, **RECENT})


RECENT = {}
"""What the last step drew, so that both sides can be seen to do the same work."""


def say(document):
    TALK.write(json.dumps(document) + "\n")


def reward_of(job):
    """The verifier's outcome on the world's tokens, or a reward that no group agrees on."""
    world = world_from_json(job["world"])
    tasks = {}

    def outcome(prompt, ids):
        if prompt not in tasks:
            tasks[prompt] = read_prompt(world, encode(prompt))
        return float(read_completion(tasks[prompt], ids, ended=ids[-1:] == [EOS]).outcome)

    def reward(prompts, completion_ids, **_):
        RECENT["rows"] = len(completion_ids)
        RECENT["length"] = sum(map(len, completion_ids)) / len(completion_ids)
        if job["reward"] == "outcome":
            return [outcome(p, list(ids)) for p, ids in zip(prompts, completion_ids, strict=True)]
        return [sum(i % 2 for i in ids) / max(len(ids), 1) for ids in completion_ids]

    return reward


def main():
    job = json.loads(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    config = GRPOConfig(
        output_dir=job["out"],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=job["prompts"] * job["draws"],
        num_generations=job["draws"],
        max_completion_length=job["max_new_tokens"],
        max_steps=1000,
        learning_rate=job["lr"],
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        max_grad_norm=1.0,
        beta=0.0,
        loss_type="grpo",
        logging_steps=1000,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=job["seed"],
    )
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32),
        reward_funcs=reward_of(job),
        args=config,
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in job["asked"]]),
        processing_class=tokenizer,
        callbacks=[Turns()],
    )
    say({"ready": True, "trl": metadata.version("trl"), "transformers": metadata.version("transformers")})
    trainer.train()


if __name__ == "__main__":
    main()
