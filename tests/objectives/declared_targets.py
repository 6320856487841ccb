"""What objectives say that their expected gradients are, in plain arithmetic; no objective is asked here."""

import itertools
import math
import statistics

import torch
from softmax_policy import EOS, logits, logprobs, per_sequence_gradients, sequences

THETA = logits(3)
SUPPORT = sequences()
RIGHT = {(1, 0), (1, 2), (2, 0)}


def right(sequence):
    return float(sequence in RIGHT)


def graded(sequence):
    """A reward that is not 0/1, so that nothing depends on two values."""
    return 0.25 * len(sequence) + 0.5 * sequence[0] - 0.3 * (sequence[-1] == 0)


def true_gradient(reward):
    value = torch.tensor([reward(s) for s in SUPPORT], dtype=torch.float64)
    return (value[:, None, None] * per_sequence_gradients(THETA)).sum(0)


def close(a, b):
    return torch.allclose(a, b, rtol=1e-9, atol=1e-12)


def grpo_target_gradient(size, config, weight_of_length):
    """The declared target by binomial counts of right draws; no group is enumerated here.

    sum_c Binomial(c; G, p) v_c / (sqrt(v_c G / (G - 1)) + eps) * (g_right / p - g_wrong / (1 - p)), where
    g_right = sum over right sequences of grad pi(o) / T(o) (the token mean's factor), g_wrong likewise.
    """
    gradients = per_sequence_gradients(THETA)
    chance = logprobs(THETA, SUPPORT).sum(1).exp()
    is_right = torch.tensor([right(s) for s in SUPPORT], dtype=torch.bool)
    factor = torch.tensor([weight_of_length(len(s)) for s in SUPPORT], dtype=torch.float64)
    p = chance[is_right].sum()
    counts = torch.arange(size + 1, dtype=torch.float64)
    binomial = torch.distributions.Binomial(size, probs=p).log_prob(counts).exp()
    v = counts / size * (1 - counts / size)
    weight = (binomial * v / ((v * size / (size - 1)).sqrt() + config.std_epsilon)).sum()
    scaled = factor[:, None, None] * gradients
    return weight * (scaled[is_right].sum(0) / p - scaled[~is_right].sum(0) / (1 - p))


def target_by_class(reward, size, weights):
    """The expected gradient of ``sum_i w_i grad log pi(o_i)``, by classes of draws and not by draws.

    ``w_i`` depends on the draws only through their classes (reward, length, cut): ``sum over class tuples of
    prod P(class) * sum_i w_i g(class_i) / P(class_i)``, ``g`` the summed gradient of a class's probabilities.
    ``weights(classes)`` gives one weight a draw, in plain arithmetic.
    """
    chance = logprobs(THETA, SUPPORT).sum(1).exp()
    by_class: dict[tuple, list[int]] = {}
    for i, sequence in enumerate(SUPPORT):
        by_class.setdefault((reward(sequence), len(sequence), sequence[-1] != EOS), []).append(i)
    p = {c: float(chance[index].sum()) for c, index in by_class.items()}
    g = {c: per_sequence_gradients(THETA)[index].sum(0) for c, index in by_class.items()}
    out = torch.zeros_like(THETA)
    for classes in itertools.product(by_class, repeat=size):
        whole = math.prod(p[c] for c in classes)
        for c, weight in zip(classes, weights(classes), strict=True):
            out += whole * weight * g[c] / p[c]
    return out


def standardised(rewards):
    mean = statistics.fmean(rewards)
    deviation = statistics.stdev(rewards) + 1e-4
    return [0.0 if min(rewards) == max(rewards) else (r - mean) / deviation for r in rewards]


def dapo_weights(classes):
    tokens = sum(length for _, length, cut in classes if not cut)
    rewards = standardised([r for r, _, _ in classes])
    return [0.0 if cut else a / tokens for a, (_, _, cut) in zip(rewards, classes, strict=True)]


def token_mean_weights(classes):
    tokens = sum(length for _, length, _ in classes)
    return [a / tokens for a in standardised([r for r, _, _ in classes])]


def whitened_weights(classes):
    """REINFORCE++ at gamma 1: the row's reward stands on each of its tokens."""
    values = [r for r, length, _ in classes for _ in range(length)]
    if min(values) == max(values):
        return [0.0] * len(classes)
    mean, scale = statistics.fmean(values), (statistics.variance(values) + 1e-8) ** 0.5
    return [(r - mean) / scale / len(values) for r, _, _ in classes]


def pass_at_k_gradient(reward, k):
    """Gradient of the expected maximum of k rewards, by the distribution of one."""
    theta = THETA.clone().requires_grad_()
    chance = logprobs(theta, SUPPORT).sum(1).exp()
    value = torch.tensor([reward(s) for s in SUPPORT], dtype=torch.float64)
    levels = value.unique(sorted=True)
    below = torch.stack([chance[value <= level].sum() for level in levels]) ** k
    expected = (levels * torch.cat([below[:1], below[1:] - below[:-1]])).sum()
    return torch.autograd.grad(expected, theta)[0]
