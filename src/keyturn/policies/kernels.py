"""Three operations of the tiny model whose stock gradients cost more than their arithmetic on a CPU.

Each is the textbook formula; only the backward is written out, to save passes over memory (together about
a fifth of a training step of the 0.34M-parameter model). They are differentiable once.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = _rms_scale(inputs, eps)
        ctx.save_for_backward(inputs, weight, scale)
        return (inputs * scale).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        inputs, weight, scale = ctx.saved_tensors
        dim = inputs.shape[-1]
        flat = (grad * inputs).reshape(-1, dim)
        by_token = scale.reshape(-1)
        pull = (flat @ weight).mul_(by_token.pow(3)).mul_(-1 / dim).view(scale.shape)
        return (grad * weight).mul_(scale).addcmul_(inputs, pull), by_token @ flat, None


def rms_norm(
    inputs: Float[Tensor, "*axes dim"], weight: Float[Tensor, " dim"], eps: float
) -> Float[Tensor, "*axes dim"]:
    """``weight * inputs / sqrt(mean(inputs ** 2) + eps)`` over the last axis."""
    if torch.is_grad_enabled():
        return _RmsNorm.apply(inputs, weight, eps)  # type: ignore[return-value]
    return (inputs * _rms_scale(inputs, eps)).mul_(weight)


def _rms_scale(inputs: Tensor, eps: float) -> Tensor:
    norm = torch.linalg.vector_norm(inputs, dim=-1, keepdim=True)
    return norm.square_().mul_(1 / inputs.shape[-1]).add_(eps).rsqrt_()


class _ShortConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, padded: Tensor, kernel: Tensor) -> Tensor:
        width = kernel.shape[0] - 1
        tokens = padded.shape[1] - width
        out = padded[:, width:] * (1 + kernel[width])
        for tap in range(width):
            out.addcmul_(padded[:, tap : tap + tokens], kernel[tap])
        ctx.save_for_backward(padded, kernel)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        padded, kernel = ctx.saved_tensors
        width, tokens = kernel.shape[0] - 1, grad.shape[1]
        pull = torch.empty_like(padded)
        pull[:, :width] = 0
        torch.mul(grad, 1 + kernel[width], out=pull[:, width:])
        for tap in range(width):
            pull[:, tap : tap + tokens].addcmul_(grad, kernel[tap])
        taps = [(padded[:, tap : tap + tokens] * grad).sum((0, 1)) for tap in range(width + 1)]
        return pull, torch.stack(taps)


def short_convolution(
    padded: Float[Tensor, "row padded dim"], kernel: Float[Tensor, "tap dim"]
) -> Float[Tensor, "row token dim"]:
    """``x[t] + sum_j kernel[j] * x[t - (taps - 1) + j]`` per channel; causal, with its residual.

    Args:
        padded: the ``taps - 1`` inputs before the first token (zeros at the start), then the inputs.
        kernel: one filter per channel, oldest tap first.
    """
    if padded.shape[1] == kernel.shape[0] and not torch.is_grad_enabled():
        return padded[:, -1:] + (padded * kernel).sum(1, keepdim=True)
    return _ShortConvolution.apply(padded, kernel)  # type: ignore[return-value]


def attend_once(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of one new token per row, ``[row, head, 1, dim]``; products beat the fused kernel here.

    Args:
        queries: ``[row, head, 1, dim]``.
        keys: ``[row, head, token, dim]``.
        values: ``[row, head, token, dim]``.
        mask: additive, or None.
    """
    scores = scores_once(queries, keys)
    return mix_once((scores if mask is None else scores + mask).softmax(-1), values)


def scores_once(
    queries: Float[Tensor, "row head 1 dim"], keys: Float[Tensor, "row head token dim"]
) -> Float[Tensor, "row head 1 token"]:
    """``queries keys^T / sqrt(dim)``; with three axes, since with four PyTorch copies the keys first."""
    rows, heads, _, dim = queries.shape
    flat = torch.baddbmm(
        queries.new_empty(()),
        queries.reshape(rows * heads, 1, dim),
        keys.flatten(0, 1).transpose(1, 2),
        beta=0,
        alpha=dim**-0.5,
    )
    return flat.view(rows, heads, 1, -1)


def mix_once(
    weights: Float[Tensor, "row head 1 token"], values: Float[Tensor, "row head token dim"]
) -> Float[Tensor, "row head 1 dim"]:
    """``weights values``; below a size met while decoding PyTorch's batched product is slow on a CPU."""
    rows, heads, tokens, dim = values.shape
    if tokens * dim < 400 and values.device.type == "cpu":
        return (weights.transpose(2, 3) * values).sum(2, keepdim=True)
    flat = torch.bmm(weights.reshape(rows * heads, 1, tokens), values.flatten(0, 1))
    return flat.view(rows, heads, 1, dim)


def rotation(positions: Tensor, dim: int, theta: float) -> Tensor:
    """RoPE's unit complex numbers ``exp(i * position * theta ** (-2 j / dim))``, ``[*positions, dim / 2]``."""
    exponents = torch.arange(0, dim, 2, device=positions.device, dtype=torch.float32) / dim
    angles = positions[..., None].to(torch.float32) * theta**-exponents
    return torch.polar(torch.ones_like(angles), angles)


def rotate(pairs: Float[Tensor, "*axes dim"], unit: Tensor) -> Float[Tensor, "*axes dim"]:
    """Rotate neighbouring pairs of channels (see :func:`interleaved`) by unit complex numbers."""
    wide = pairs if pairs.dtype in (torch.float32, torch.float64) else pairs.float()
    turned = torch.view_as_complex(wide.unflatten(-1, (-1, 2))) * unit
    return torch.view_as_real(turned).flatten(-2).to(pairs.dtype)


def interleaved(heads: int, dim: int) -> Tensor:
    """Llama rotates channel ``j`` with ``j + dim / 2``; this order puts them side by side, head by head.

    Queries and keys in the same order have the same products, so attention is unchanged. A rotation of
    neighbours is one complex product, where Llama's takes four operations.
    """
    within = torch.arange(dim).view(2, dim // 2).T.reshape(-1)
    return (torch.arange(heads)[:, None] * dim + within).reshape(-1)
