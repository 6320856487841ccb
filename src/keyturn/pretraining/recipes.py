"""Recipes of pretraining: how large, how long, on what. An arm is the demo with one dial changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from keyturn.core.errors import UsageError
from keyturn.policies.optimise import FitConfig
from keyturn.problems.world.vocabulary import BOS, EOS, PAD, WORDS

if TYPE_CHECKING:
    from keyturn.policies.tiny import TinyConfig


@dataclass(frozen=True, kw_only=True)
class Size:
    """Shape of the model; the defaults are 0.35M parameters."""

    hidden: int = 96
    """Channels; as in the pilot (docs/world.md)."""
    inner: int = 256
    """Channels inside the feed-forward (SwiGLU: three matrices, so two thirds of the pilot's 384)."""
    layers: int = 3
    """Blocks; as in the pilot."""
    heads: int = 4
    """Attention heads; as in the pilot."""
    context: int = 256
    """Longest text in tokens; larger where a world needs more."""
    canon: bool = True
    """Short causal convolution before attention."""

    def config(self, longest: int) -> TinyConfig:
        """The architecture for a world whose longest text has ``longest`` tokens."""
        from keyturn.policies.tiny import TinyConfig

        return TinyConfig(
            vocab_size=len(WORDS),
            hidden_size=self.hidden,
            intermediate_size=self.inner,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            max_position_embeddings=max(self.context, longest),
            canon=self.canon,
            pad_token_id=PAD,
            bos_token_id=BOS,
            eos_token_id=EOS,
        )


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Measurements during and after pretraining."""

    documents: int = 256
    """Fresh documents for the accuracy by role."""
    every: int = 100
    """Steps between two measurements."""
    problems: int = 32
    """Problems per cell for the zones."""
    draws: int = 64
    """Draws per problem; also the larger k of pass@k."""


@dataclass(frozen=True, kw_only=True)
class PretrainRecipe:
    """A recipe. Values live in :data:`PRETRAIN`.

    Args:
        name: key of the dictionary.
        summary: one sentence.
        size: of the model.
        fit: schedule by domain of the world.
        dials: fields of the world that are set, by name, JSON-able.
        probe: what is looked at.
    """

    name: str
    summary: str
    size: Size = field(default_factory=Size)
    fit: Mapping[str, FitConfig]
    dials: Mapping[str, Any] = field(default_factory=dict)
    probe: Probe = field(default_factory=Probe)

    def schedule(self, domain: str) -> FitConfig:
        """The schedule of a domain; CHAIN's where it has none of its own.

        Raises:
            UsageError: the recipe is made for other domains only.
        """
        config = self.fit.get(domain) or self.fit.get("chain")
        if config is None:
            what = f"recipe {self.name} has no schedule for {domain}"
            raise UsageError(what, fix=f"one of {', '.join(self.fit)}")
        return config


def _longer(config: FitConfig, times: float) -> FitConfig:
    return replace(config, steps=round(config.steps * times))


_CHAIN = FitConfig(steps=500, batch_rows=64, bucket_batches=10, lr=3e-3, warmup=60)
_GRAPH = FitConfig(steps=2600, batch_rows=32, bucket_batches=10, lr=3e-3, warmup=60)
# Long and short texts of one prompt: random batches, or the shares of the kinds are learnt wrongly (fit.py).
_MIXED = replace(_CHAIN, bucket_batches=1)
_BRANCHING = FitConfig(steps=700, batch_rows=32, bucket_batches=1, lr=3e-3, warmup=60)

_FITS: dict[str, FitConfig] = {
    "chain": _CHAIN,
    "graph": _GRAPH,
    "par": _longer(_MIXED, 2),
    "inv": _MIXED,
    "create": _longer(_MIXED, 1.6),
    "belief": _BRANCHING,
    "nim": _BRANCHING,
    "unanswerable": _BRANCHING,
    "modes": replace(_MIXED, steps=800, batch_rows=128),
    "search": replace(_MIXED, steps=800),
}
"""Domain -> schedule of the demo, where it is not CHAIN's."""

_DEMO = PretrainRecipe(
    name="demo",
    summary="what ships: 0.35M parameters, about one minute (CHAIN) or six (GRAPH) of one core",
    fit=_FITS,
)

_EVEN = {"arithmetic": 1.0, "plan": 1.0, "copy": 1.0, "lookup": 1.0, "rest": 1.0, "prompt": 0.0}


PRETRAIN: dict[str, PretrainRecipe] = {
    "demo": _DEMO,
    "study": replace(
        _DEMO,
        name="study",
        summary="0.8M parameters and three times the text; a quarter of an hour",
        size=Size(hidden=128, inner=344, layers=4, context=320),
        fit={
            **{domain: _longer(fit, 3) for domain, fit in _FITS.items()},
            "graph": replace(_longer(_GRAPH, 3), lr=2e-3, warmup=100),
        },
        probe=Probe(documents=512, problems=64, draws=256),
    ),
    "even": replace(
        _DEMO, name="even", summary="the demo with one loss weight for every token", dials={"loss": _EVEN}
    ),
    "stock": replace(
        _DEMO, name="stock", summary="the demo without the short convolution", size=Size(canon=False)
    ),
    "brief": replace(
        _DEMO,
        name="brief",
        summary="the demo stopped at two fifths: execution is still the bottleneck",
        fit={domain: _longer(fit, 0.4) for domain, fit in _FITS.items()},
    ),
    "small": replace(_DEMO, name="small", summary="the demo with two layers", size=Size(layers=2)),
}
