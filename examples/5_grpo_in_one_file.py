"""GRPO from problem to gradient in one file, to be read from top to bottom.

    python examples/5_grpo_in_one_file.py [steps]

It trains the shipped CHAIN base (single steps known, chaining them not) to chain two and three steps, with
nothing but torch. No cache, no batching across prompts, no checkpoints: `keyturn.training.rl.train_rl` has
those and gives the same numbers (tests/training/test_one_file_example.py compares them step by step).
"""

import copy
import sys
from pathlib import Path

import numpy as np
import torch

import keyturn
from keyturn.core.streams import Streams
from keyturn.policies.loading import load_policy, world_of
from keyturn.problems.world.grader import problem_set
from keyturn.problems.world.verify import read_completion, read_prompt
from keyturn.problems.world.vocabulary import encode

BASE = Path(keyturn.__file__).parent / "assets" / "models" / "chain"
PROMPTS, DRAWS, MAX_NEW_TOKENS = 8, 8, 24  # problems per step, draws per problem, tokens per draw
LR, CLIP_RATIO, CLIP_NORM, STD_EPSILON = 3e-4, 0.2, 1.0, 1e-4


def draw(model, eos, prompt, uniforms):
    """Draw one completion per row of `uniforms` [draw, token]: token ids, and their log-probabilities."""
    tokens = torch.tensor([prompt] * len(uniforms))
    rows, logprobs, alive = [[] for _ in uniforms], [[] for _ in uniforms], [True] * len(uniforms)
    for t in range(uniforms.shape[1]):
        with torch.no_grad():
            logprob = model(input_ids=tokens).logits[:, -1].log_softmax(-1)
        # Inverse CDF: the first token whose cumulative probability exceeds the row's own random number.
        cumulative = logprob.exp().cumsum(-1, dtype=torch.float64)
        token = torch.searchsorted(cumulative, uniforms[:, t : t + 1] * cumulative[:, -1:], right=True)
        for i in range(len(rows)):
            if alive[i]:
                rows[i].append(int(token[i]))
                logprobs[i].append(float(logprob[i, token[i]]))
                alive[i] = int(token[i]) != eos
        if not any(alive):
            break
        tokens = torch.cat([tokens, token], dim=1)
    return rows, logprobs


def grpo(steps, *, model, eos, world, problems, streams):
    """Train `model` in place; returns one (mean reward, loss, gradient norm) a step."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.999), weight_decay=0.0)
    trajectory = []
    for step in range(steps):
        # 1. Problems: every epoch is a permutation of all of them; a rest that is too small is passed over.
        epoch, place = divmod(step, len(problems) // PROMPTS)
        order = streams.generator("problems", "order", epoch).permutation(len(problems))
        asked = [problems[i] for i in order[place * PROMPTS : (place + 1) * PROMPTS]]

        loss, rewards = torch.zeros(()), []
        for problem in asked:
            # 2. Draws: a random stream of its own for every completion.
            prompt = encode(problem.prompt)
            name = ("step", step, "rollout", "sample", problem.id)
            random = [streams.generator(*name, draw).random(MAX_NEW_TOKENS) for draw in range(DRAWS)]
            rows, sampled = draw(model, eos, prompt, torch.from_numpy(np.stack(random)))

            # 3. Rewards: the verifier reads prompt and completion; 1 if the answer is right.
            task = read_prompt(world, prompt)
            reward = torch.tensor([float(read_completion(task, r, ended=r[-1] == eos).outcome) for r in rows])
            rewards.append(reward)

            # 4. Credit: how much better than its siblings, in standard deviations of the group.
            credit = (reward - reward.mean()) / (reward.std() + STD_EPSILON)
            if (reward == reward[0]).all():
                continue  # nothing to tell draws apart: no gradient, though they count in the denominator

            # 5. Loss: clipped ratio times credit, mean over a completion's tokens, mean over completions.
            for row, old, a in zip(rows, sampled, credit, strict=True):
                logits = model(input_ids=torch.tensor([prompt + row[:-1]])).logits[0, len(prompt) - 1 :]
                new = logits.log_softmax(-1)[torch.arange(len(row)), torch.tensor(row)]
                ratio = (new - torch.tensor(old)).exp()
                surrogate = torch.minimum(ratio * a, ratio.clamp(1 - CLIP_RATIO, 1 + CLIP_RATIO) * a)
                loss = loss - surrogate.mean() / (PROMPTS * DRAWS)

        # 6. Gradient: one update per rollout.
        norm = torch.zeros(())
        if loss.requires_grad:
            optimiser.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimiser.step()
        trajectory.append((float(torch.cat(rewards).mean()), float(loss.detach()), float(norm)))
    return trajectory


def setting(root=0):
    """The shipped base, the problems of its RL split, and the run's random streams."""
    policy, world = load_policy(BASE), world_of(BASE)
    problems = problem_set(world, "rl", [{"depth": 2}, {"depth": 3}], 60, Streams(root).child("problem set"))
    return policy, world, problems, Streams(root)


if __name__ == "__main__":
    policy, world, problems, streams = setting()
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    model = copy.deepcopy(policy.model)
    fixed = {"eos": policy.ends[0], "world": world, "problems": problems.problems, "streams": streams}
    done = grpo(count, model=model, **fixed)
    for step, (reward, loss, norm) in enumerate(done):
        print(f"step {step:3d}   reward {reward:.3f}   loss {loss:+.6f}   gradient norm {norm:.4f}")
