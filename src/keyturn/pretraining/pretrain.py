"""Pretraining: a world and a recipe in, a base model with its card out.

Each row holds one document, bucketed by length; the loss weighs a token by its role (the world's
``LossWeights``); accuracy by role is measured while it trains, verified pass@1 and pass@k by difficulty at
the end, and from them the zones. Everything random is named under the seed, so the same command on the
same machine makes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import keyturn
from keyturn.core.errors import UsageError
from keyturn.core.identity import Identity, identity
from keyturn.core.lazy import torch
from keyturn.core.measurement import json_number
from keyturn.core.streams import Streams
from keyturn.policies.fit import Row, batch_maker, fit
from keyturn.policies.hashes import weights_hash
from keyturn.policies.loading import save_policy
from keyturn.policies.local import LocalPolicy
from keyturn.policies.optimise import FitConfig, FitReport
from keyturn.policies.protocol import Limits
from keyturn.policies.which_engine import engine_of_model
from keyturn.policies.world_tokenizer import world_tokenizer
from keyturn.pretraining.recipes import PretrainRecipe, Probe
from keyturn.pretraining.role_accuracy import role_accuracy
from keyturn.pretraining.zones import Zone, measure_zones
from keyturn.problems.contract import answers
from keyturn.problems.world.corpus import block
from keyturn.problems.world.document import Document
from keyturn.problems.world.grader import problem_set
from keyturn.problems.world.worlds import World, world_from_json, world_to_json

if TYPE_CHECKING:
    from keyturn.policies.tiny import TinyForCausalLM

_CHECKPOINT_EVERY = 250
_BATCH_ROWS = 512


@dataclass(frozen=True, kw_only=True, eq=False)
class Pretrained:
    """A base model, fresh from its recipe.

    Args:
        policy: it, decoded plainly.
        world: with the recipe's dials applied.
        card: what stands in ``card.json``.
        report: of the fit.
    """

    policy: LocalPolicy
    world: World
    card: Mapping[str, Any]
    report: FitReport


def pretrain(
    world: World,
    recipe: PretrainRecipe,
    *,
    seed: int = 0,
    out: Path | None = None,
    steps: int | None = None,
    overwrite: bool = False,
) -> Pretrained:
    """Pretrain a base model.

    Args:
        world: what it reads about.
        recipe: how; see :data:`keyturn.pretraining.recipes.PRETRAIN`.
        seed: root of all randomness.
        out: folder of the model; nothing is written without one. An interrupted run goes on where it
            stopped (a file beside the folder holds the state).
        steps: another number of steps than the recipe's.
        overwrite: replace a model folder that is there.

    Raises:
        UsageError: the recipe has no schedule for such a world, or ``out`` is taken.
    """
    if out is not None and out.exists() and not overwrite:
        raise UsageError(f"{out} exists already", fix="choose another --out, or pass --overwrite")
    world = with_dials(world, recipe.dials)
    config = recipe.schedule(world.domain)
    config = config if steps is None else replace(config, steps=steps)
    streams = Streams(seed).child("pretrain")
    model = fresh_model(world, recipe, streams)
    probed = block(world, streams.child("probe"), 0, recipe.probe.documents)
    resume = _resume_file(out, world, recipe, config, seed, engine_of_model(model))
    report = fit(
        model,
        lambda number: rows_of(world, config, streams, number),
        config,
        streams,
        label=f"pretrain {world.name}",
        evaluate=lambda step: role_accuracy(model, probed),
        evaluate_every=recipe.probe.every,
        checkpoint=resume,
        checkpoint_every=_CHECKPOINT_EVERY if resume else 0,
    )
    policy = LocalPolicy(model, world_tokenizer())
    zones = probe_zones(policy, world, recipe.probe, streams)
    counted = realised(world, config, streams)
    card = make_card(world, recipe, config, seed, model, report, zones, counted)
    if out is not None:
        save_policy(out, model, policy.tokenizer, world, card, overwrite=overwrite)
    if resume is not None:
        resume.unlink(missing_ok=True)
    return Pretrained(policy=policy, world=world, card=card, report=report)


def with_dials(world: World, dials: Mapping[str, Any]) -> World:
    """The world with some of its fields set; an unknown field or an impossible value is refused."""
    return world_from_json({**world_to_json(world), **dials}) if dials else world


def fresh_model(world: World, recipe: PretrainRecipe, streams: Streams) -> TinyForCausalLM:
    """The untrained model of a recipe."""
    from keyturn.policies.tiny import TinyForCausalLM, initialise

    config = recipe.size.config(world.max_prompt_tokens + world.max_new_tokens)
    generator = torch.Generator().manual_seed(streams.seed("init"))
    return initialise(TinyForCausalLM(config), generator).eval()


@dataclass(frozen=True, kw_only=True, eq=False)
class DocumentRow(Row):
    """A row that knows which part of the mixture it is from."""

    component: str


def rows_of(world: World, config: FitConfig, streams: Streams, number: int) -> list[Row]:
    """The rows of one block of the corpus."""
    size = config.batch_rows * config.bucket_batches
    return [_row(world, document) for document in block(world, streams.child("corpus"), number, size)]


def realised(world: World, config: FitConfig, streams: Streams) -> dict[str, dict[str, int]]:
    """Documents and tokens per component that the fit really saw, counted batch by batch."""
    table: dict[str, dict[str, int]] = {}
    for row in _rows_seen(world, config, streams):
        entry = table.setdefault(row.component, {"documents": 0, "tokens": 0})
        entry["documents"] += 1
        entry["tokens"] += len(row.tokens)
    return dict(sorted(table.items()))


def probe_zones(policy: LocalPolicy, world: World, probe: Probe, streams: Streams) -> tuple[Zone, ...]:
    """Zones of a base, from plain samples on test problems."""
    asked = problem_set(world, "test", None, probe.problems, streams.child("zones"))
    limits = Limits(max_new_tokens=world.max_new_tokens, batch_rows=_BATCH_ROWS)
    drawn = policy.draw(asked.problems, range(probe.draws), streams.child("zones"), limits)
    graded = answers("base", asked.problems, drawn, asked.grader.grade(asked.problems, drawn))
    keys = tuple(dict.fromkeys(key for problem in asked.problems for key in problem.cell if key != "domain"))
    return measure_zones(graded, by=keys, k=probe.draws)


def make_card(
    world: World,
    recipe: PretrainRecipe,
    config: FitConfig,
    seed: int,
    model: TinyForCausalLM,
    report: FitReport,
    zones: tuple[Zone, ...],
    counted: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    """The card of a base model; JSON-able."""
    looks = [
        {name: json_number(value) for name, value in row.items() if name not in ("loss", "grad_norm", "lr")}
        for row in report.history
        if any(name in row for name in ("arithmetic", "syntax"))
    ]
    return {
        "name": world.name,
        "recipe": recipe.name,
        "seed": seed,
        "keyturn": keyturn.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "engine": report.engine,
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": config.steps,
        "tokens": report.tokens,
        "skipped_steps": report.skipped,
        "seconds": round(report.seconds, 1),
        "corpus": counted,
        "accuracy_by_role": looks,
        "zones": [zone.to_json() for zone in zones],
        "hashes": {
            "weights": weights_hash(model),
            "world": identity(world_to_json(world)),
            "recipe": identity({"size": asdict(recipe.size), "fit": asdict(config)}),
        },
        "fit": asdict(config),
    }


def _row(world: World, document: Document) -> DocumentRow:
    return DocumentRow(
        tokens=np.array(document.ids, dtype=np.int32),
        weights=world.loss.of(document),
        component=document.component,
    )


def _rows_seen(world: World, config: FitConfig, streams: Streams) -> Iterator[DocumentRow]:
    batches = batch_maker(lambda number: rows_of(world, config, streams, number), config, streams)
    for step in range(config.steps):
        for row in batches(step):
            if isinstance(row, DocumentRow):
                yield row


def _resume_file(
    out: Path | None, world: World, recipe: PretrainRecipe, config: FitConfig, seed: int, engine: str
) -> Path | None:
    if out is None:
        return None
    # The name holds everything that decides the result, so that no other run is ever continued.
    asked = {"world": world, "size": recipe.size, "fit": config, "seed": seed, "engine": engine}
    return out.with_name(f".{out.name}-{Identity.of(asked, pretrain).id}.fit")
