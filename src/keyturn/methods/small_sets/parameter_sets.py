"""Small sets of parameters: a small part of a model is trained while the rest stays unchanged.

``bias``: a vector per layer, added to what the feed-forward block writes to the residual stream,
``h_l <- h_l + s_l``, ``s_l`` ``[dim]``, 0 at the start; it is the bias of ``mlp.down_proj``, so the product is
a plain model folder. ``rank-1``: ``W + (alpha / 1) B A`` on every matrix but the head, ``A`` ``[1, in]``, ``B``
``[out, 1]``. ``tinylora``: ``W + U S (sum_i v_i P_i) V'``, the truncated SVD of ``W`` and fixed random ``P_i``
``[2, 2]``, one ``v`` ``[budget]`` for all matrices. The adapters are merged into the weights at the end.
Degenerate: a budget of ``tinylora`` above four times the number of matrices holds redundant numbers.
Known bias: merging rounds once to the model's type.
Source: steering vectors by RL, Sinii et al. 2025 (2505.18706); LoRA of rank 1, Schulman et al. 2025, LoRA
without regret (alpha 32); TinyLoRA, Morris et al. 2026 (2602.04118), PEFT's implementation (its ``P`` is
N(0, 1/r): the paper names no distribution).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.extras import need
from keyturn.core.lazy import torch
from keyturn.core.measurement import Json
from keyturn.lab.fit_rows import digest
from keyturn.lab.session import Model, Session, loaded
from keyturn.policies.fit import Row, epochs, fit
from keyturn.policies.loading import save_policy
from keyturn.policies.local import LocalPolicy
from keyturn.policies.optimise import FitConfig
from keyturn.policies.which_engine import engine_of_model
from keyturn.training.loop import Loop, duplicate
from keyturn.training.record import MODEL

Kind = Literal["full", "bias", "rank-1", "tinylora"]
KINDS: tuple[Kind, ...] = ("full", "bias", "rank-1", "tinylora")
Mask = Mapping[str, NDArray[np.bool_]]
"""Name of a parameter -> which of its entries may change."""

_WHY = "training a small set of parameters"


def attached(policy: LocalPolicy, kind: Kind, *, budget: int = 13, seed: int = 0) -> LocalPolicy:
    """A copy of a policy that gives the same answers, and of which only the small set would be trained.

    Args:
        policy: left as it is.
        kind: of the set, see the file's docstring.
        budget: numbers of ``tinylora``.
        seed: of what the adapters draw.

    Raises:
        UsageError: ``bias`` on an architecture that has no place for it.
    """
    copy = duplicate(policy)
    model = copy.model
    if kind == "full":
        return copy
    if kind == "bias":
        model = _with_biases(model)
    else:
        _adapt(model, kind, budget, seed)
    return LocalPolicy(model, copy.tokenizer, sampling=copy.sampling, chat=copy.chat, stops=copy.stops)


def _with_biases(model: Any) -> Any:
    """The same function in a model with zero biases behind its feed-forward blocks, which alone are trained."""
    if not hasattr(model.config, "mlp_bias"):
        raise UsageError(
            f"{type(model).__name__} has no bias in its feed-forward blocks",
            fix="a Llama, or another set: rank-1, tinylora",
        )
    config = type(model.config).from_dict({**model.config.to_dict(), "mlp_bias": True})
    wider = type(model)(config).to(device=model.device, dtype=model.dtype)
    own = model.state_dict()
    blank = {name: torch.zeros_like(value) for name, value in wider.state_dict().items() if name not in own}
    wider.load_state_dict({**blank, **own})
    for name, parameter in wider.named_parameters():
        parameter.requires_grad_(name.endswith("down_proj.bias"))
    return wider.eval()


def _adapt(model: Any, kind: Kind, budget: int, seed: int) -> None:
    """Put PEFT's layers in the place of every matrix but the head; they alone are trained."""
    peft = need("peft", _WHY)
    head = model.get_output_embeddings()
    names = [name for name, part in model.named_modules() if type(part) is torch.nn.Linear and part is not head]
    if kind == "rank-1":
        config = peft.LoraConfig(r=1, lora_alpha=32, lora_dropout=0.0, target_modules=names)
    else:
        config = peft.TinyLoraConfig(
            r=2, u=budget, weight_tying=1.0, projection_seed=seed, target_modules=names
        )
    # PEFT draws from torch's global stream: its state is restored, and what PEFT drew is drawn again.
    with torch.random.fork_rng(devices=[]):
        peft.get_peft_model(model, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "lora_A" in name:
                reach = parameter.shape[1] ** -0.5
                parameter.copy_(torch.empty(parameter.shape).uniform_(-reach, reach, generator=generator))
    model.eval()


def merged(model: torch.nn.Module) -> int:
    """Merge adapters into their matrices in place; returns how many there were."""
    layers = need("peft.tuners.tuners_utils", _WHY).BaseTunerLayer
    found = [(name, part) for name, part in model.named_modules() if isinstance(part, layers)]
    for name, part in found:
        layer: Any = part
        layer.merge()
        above, _, last = name.rpartition(".")
        setattr(model.get_submodule(above), last, layer.get_base_layer())
    return len(found)


def trained_numbers(model: torch.nn.Module) -> int:
    """How many numbers would be trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def biases_of(model: Any) -> int:
    """How many numbers the set ``bias`` has in a model: layers times width."""
    return int(model.config.num_hidden_layers * model.config.hidden_size)


@dataclass(frozen=True, kw_only=True)
class MergeAtEnd:
    """Put the adapters into the weights after the last step, so that what is saved is a plain model."""

    steps: int
    """Steps of the run."""

    @property
    def name(self) -> str:
        """Identity."""
        return "merge adapters at the end"

    def state(self) -> dict[str, Json]:
        """Nothing: the step decides."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to take back."""

    def before_rollout(self, loop: Loop) -> None:
        """Nothing before a rollout."""

    def after_step(self, loop: Loop, row: Mapping[str, float]) -> None:
        """Merge after the last step; the adapters' run writes no checkpoint after it."""
        if loop.step >= self.steps or loop.stopped:
            merged(loop.policy.model)


@dataclass(eq=False)
class Masked:
    """Only some entries of the weights are trained: gradients elsewhere are zero, before norms are taken.

    Without weight decay AdamW then leaves all other entries as they are, to the bit.
    """

    mask: Mask
    """Entries that may change."""
    _on: Loop | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Identity by content."""
        return f"mask {mask_digest(self.mask)}"

    def state(self) -> dict[str, Json]:
        """Nothing: it does not change."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to take back."""

    def before_rollout(self, loop: Loop) -> None:
        """Hold the gradients of a run, once."""
        if self._on is not loop:
            hold(loop.parameters, self.mask)
            self._on = loop

    def after_step(self, loop: Loop, row: Mapping[str, float]) -> None:
        """Nothing after a step."""


def hold(parameters: Mapping[str, torch.nn.Parameter], mask: Mask) -> None:
    """Make gradients outside of a mask zero from now on; a parameter that it does not name is held whole."""
    for name, parameter in parameters.items():
        kept = torch.zeros_like(parameter)
        if name in mask:
            kept = torch.from_numpy(mask[name].astype(np.float32)).to(kept)
        parameter.register_hook(lambda gradient, kept=kept: gradient * kept)


def mask_digest(mask: Mask) -> str:
    """Identity of a mask."""
    mixed = hashlib.sha256()
    for name in sorted(mask):
        mixed.update(name.encode() + np.packbits(mask[name]).tobytes())
    return mixed.hexdigest()[:12]


def weights_by_name(model: torch.nn.Module) -> dict[str, NDArray[np.float32]]:
    """Parameters as float32, tied ones once."""
    return {name: p.detach().float().cpu().numpy() for name, p in model.named_parameters()}


def fitted(
    session: Session,
    start: Model,
    rows: Sequence[Row],
    config: FitConfig,
    *,
    mask: Mask | None = None,
    label: str = "sft small",
) -> Model:
    """A supervised-fitting stage of the parameters that :func:`attached` leaves trainable; adapters are merged.

    Args:
        lab: the run directory.
        task: the world that the model folder names, and the device.
        start: its policy is what :func:`attached` gave.
        rows: documents with weights on what is to be predicted.
        config: schedule and sizes; with a mask without weight decay.
        mask: entries that may change.
        label: in the progress line.
        seed: replicate.
    """
    if mask is not None and config.weight_decay:
        raise UsageError("weight decay would change the masked parameters", fix="set weight_decay to 0")
    streams = session.streams.child("sft", session.seed)
    fields = {
        "policy": start.policy,
        "engine": engine_of_model(start.policy.model),
        "rows": digest(rows),
        "fit": config,
        "seed": session.seed,
        "mask": None if mask is None else mask_digest(mask),
    }

    def work(folder: Any) -> None:
        trained = duplicate(start.policy)
        if mask is not None:
            hold(dict(trained.model.named_parameters()), mask)
        fit(trained.model, epochs(rows, config, streams.child("rows")), config, streams, label=label)
        merged(trained.model)
        save_policy(folder / MODEL, trained.model, trained.tokenizer, session.task.world, None, overwrite=True)

    parents = [start.stage] if start.stage is not None else []
    stage, policy = session.lab.stage(
        "sft-small", fields, work, lambda f: loaded(session.task, f / MODEL), parents=parents, label=label
    )
    return Model(str(stage.folder / MODEL), policy, stage)
