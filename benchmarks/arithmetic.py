"""The arithmetic floor of an RL step: its matrix products alone, at the rate this machine does them.

FLOPs: 2 N a token read while sampling (each prompt read once for all its draws), 6 N a token in the update
(2 N forward, 4 N backward), N the entries of all matrices that a token is multiplied with, the head among them.
Attention's own products, norms and everything elementwise are left out: they are what a step adds to the
floor, not part of it. The rate is measured on products of the model's own shapes, as many rows at once as
decoding and the update have, so that it is this machine's and these sizes' and not a peak from a data sheet.
"""

import time

import numpy as np
import torch
from torch import nn

from keyturn.policies.loading import load_policy

UPDATE_ROWS = 4096
"""Tokens of a backward pass, as ``UpdateConfig.micro_tokens``."""


def matrices(model):
    """``(out, in)`` of every matrix that a token is multiplied with."""
    return [tuple(m.weight.shape) for m in model.modules() if isinstance(m, nn.Linear)]


def seconds_of(product, least=0.5, clock=time.perf_counter):
    """Fewest seconds of a call, over calls for at least so long: what others do to the machine is no floor."""
    product()
    times, until = [], clock() + least
    while clock() < until or len(times) < 3:
        began = clock()
        product()
        times.append(clock() - began)
    return min(times)


def products(shapes, rows, *, backward):
    """A call that does the products of all matrices for so many rows: forward, or all three."""
    generator = torch.Generator().manual_seed(0)

    def filled(*shape):
        return torch.empty(shape).normal_(generator=generator)

    parts = [(filled(rows, i), filled(o, i), filled(rows, o)) for o, i in shapes]

    def forward():
        for inputs, weight, _ in parts:
            inputs @ weight.T

    def whole():
        for inputs, weight, grad in parts:
            inputs @ weight.T
            grad @ weight
            grad.T @ inputs

    return whole if backward else forward


def floor_of(folder, asked, prompts, draws, tokens, threads):
    """The floor of one step in which every row is learnt from, in seconds, with what it is made of.

    Args:
        folder: of the model.
        asked: problems.
        prompts, draws, tokens: of a step.
        threads: of torch.
    """
    torch.set_num_threads(threads)
    policy = load_policy(folder)
    shapes = matrices(policy.model)
    entries = sum(o * i for o, i in shapes)
    read = float(np.diff(policy.prompts(asked).offsets).mean())
    rows = prompts * draws
    sampled, prefilled = rows * tokens, prompts * read
    learnt = rows * (read + tokens)
    with torch.no_grad():
        decode = seconds_of(products(shapes, rows, backward=False))
        update = seconds_of(products(shapes, UPDATE_ROWS, backward=True))
    rates = {"sampling": 2 * entries * rows / decode, "update": 6 * entries * UPDATE_ROWS / update}
    flops = {"sampling": 2 * entries * (sampled + prefilled), "update": 6 * entries * learnt}
    seconds = {name: flops[name] / rates[name] for name in flops}
    return {
        "entries": entries,
        "prompt_tokens": read,
        "flops": flops,
        "flops_a_second": rates,
        "seconds": {**seconds, "step": sum(seconds.values())},
    }
