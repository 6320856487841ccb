"""``keyturn.audit``: what post-training changed in a policy. The command line calls this function too."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from keyturn.auditing import opening
from keyturn.auditing.side_kinds import kind_of
from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.elicitation.contract import ElicitationMethod
from keyturn.front.arguments import loading_of
from keyturn.front.options import refuse_idle
from keyturn.front.result import Audit, called
from keyturn.front.trained import Training
from keyturn.lab.lab import Lab
from keyturn.lab.workers import executor_named, free_cores
from keyturn.policies.connect import ServerOptions
from keyturn.policies.stop_texts import checked
from keyturn.rollouts.readers import Columns, Samples

WORLDS = ("graph", "chain")
"""The embedded worlds of the default audit."""


def audit(
    base: Any,
    tuned: Any = None,
    problems: Any = None,
    *,
    k: int = 64,
    n_base: int = 0,
    limit: int = 0,
    per_cell: int = opening.PER_CELL,
    max_new_tokens: int = 0,
    temperature: float = 1.0,
    top_p: float = 1.0,
    template: str = "auto",
    stop: Sequence[str] = (),
    examples: Any = None,
    grader: str = "auto",
    device: str = "auto",
    dtype: str = "float32",
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    elicit: Sequence[str | ElicitationMethod] = (),
    draws_independent: bool = False,
    columns: Columns = Columns(),  # noqa: B008
    server: ServerOptions = ServerOptions(),  # noqa: B008
    executor: str = "processes",
    seed: int = 0,
    out: str | Path | None = None,
) -> Audit:
    """Audit a policy before and after post-training, or samples of both.

    Args:
        base: the policy before post-training. By name: an embedded base (``"graph"``, ``"chain"``), a model
            folder, a run of keyturn, ``owner/name`` on the Hub, ``http://host:port/v1#model``. As an object:
            ``(model, tokenizer)`` of transformers, a pipeline, a policy of keyturn. Or its samples: a file, a
            data frame, a list of records, counts ``{problem: (right, drawn)}``, verdicts ``{problem: [True,
            False, ...]}`` or an array ``[problem, draw]`` of truth values.
        tuned: the policy after post-training, what :func:`keyturn.train` returned, or samples. None: the base
            is trained by RL in its controlled world.
        problems: the problems to ask: a file, a data frame, a list of ``{prompt, answer}``, a data set. A base
            of a controlled world brings its own. Samples need them only if they lack gold answers.
        k: budget K: what the base does within K draws, it could already do. K is also the number of tuned draws
            per problem.
        n_base: base draws per problem. 0 means up to 4K: 32 for every problem, and the rest where successes are
            rare.
        limit: audit only this many problems, from the first on; 0 means all.
        per_cell: test problems per cell, if a world makes them.
        max_new_tokens: maximum number of tokens in a completion; 0: what the world needs, or 512.
        temperature: temperature of both policies. 0 is greedy, and then there is one draw per problem.
        top_p: nucleus of both policies; 1 keeps everything.
        template: ``chat``: apply the tokenizer's chat template; ``plain``: do not; ``auto``: apply it if there
            is one.
        stop: texts that end an answer where they are first complete, such as ``["Question:"]`` behind worked
            examples. An answer that a text ends is not cut.
        examples: problems with worked solutions that stand in front of every problem: what ``problems`` takes.
        grader: how answers are graded; ``auto``: by the layout of the problems.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, for models that are loaded by name.
        dtype: ``float32``, ``bfloat16``, ``float16`` or ``auto`` (as stored).
        revision: revision of Hub repositories.
        trust_remote_code: run model code that comes with the weights; needs a pinned revision.
        allow_pickle: read pytorch_model.bin if there are no safetensors.
        elicit: elicitation methods that are tried on problems that the base's draws do not reach, each maybe
            with settings (``"cot-decoding:temperature=1"``). What they solve without teacher or answers counts
            as deployed. None by default: each method draws about as much as the audit itself.
        draws_independent: count every draw of the samples, even where draws look like copies of each other.
        columns: column names, for samples that do not use the known ones.
        server: how policies behind a server are asked.
        executor: ``processes``: everything in this process; ``ray``, ``ray://host:port``: models are drawn from
            and answers graded on a Ray cluster that sees ``out``.
        seed: root of all randomness.
        out: run directory. Finished stages are kept there, and the same call continues from them. None: only
            the result is kept.

    Returns:
        The audit: its verdict, measurements and cells; ``.to_frame()`` and ``.report(path)``.

    Raises:
        KeyturnError: the pair cannot be audited. The message is one sentence with its fix.
    """
    return _audited(dict(locals()))


def _audited(given: Mapping[str, Any]) -> Audit:
    """Run :func:`audit` on its arguments, given as a mapping."""
    started = time.monotonic()
    base, tuned = (_policy_of(given[side]) for side in ("base", "tuned"))
    problems, columns = given["problems"], given["columns"]
    way = _way_in(base, tuned, problems)
    refuse_idle(given, audit, way, (base, tuned))
    if way == "samples" and isinstance(base, Samples) and isinstance(tuned, Samples) and columns != Columns():
        raise UsageError("--columns would do nothing: the samples were read already", fix="leave it out")
    config = opening.config_of(**{name: given[name] for name in ("k", "n_base", "max_new_tokens", "elicit")})
    with _run_folder(given["out"]) as folder:
        lab = Lab(folder, Streams(given["seed"]))
        if way == "samples":
            independent = given["draws_independent"]
            found = opening.audit_samples(
                lab, (base, tuned), columns, given["grader"], problems, config, independent=independent
            )
        elif way == "embedded":
            found = opening.audit_base(lab, base, per_cell=given["per_cell"], config=config)
        else:
            loading = loading_of(given)
            loading = replace(loading, stop=checked(loading.stop))
            asked = opening.ProblemChoice(
                **{field.name: given[field.name] for field in fields(opening.ProblemChoice)}
            )
            away = None if given["executor"] == "processes" else executor_named(given["executor"])
            found = opening.audit_models(lab, (base, tuned), asked, loading, config, executor=away)
    call = called("keyturn.audit", audit, given)
    return Audit.of(found, call=call, wall_s=time.monotonic() - started, kept=given["out"] is not None)


def audit_worlds(
    worlds: Sequence[str] = WORLDS,
    *,
    out: Path,
    k: int = 64,
    n_base: int = 0,
    per_cell: int = opening.PER_CELL,
    elicit: Sequence[str | ElicitationMethod] = (),
    workers: int = 0,
    executor: str = "processes",
    seed: int = 0,
) -> list[Audit]:
    """Train the base of each embedded world by RL and audit it: the default of the command line.

    Args:
        worlds: their names.
        out: the run directory. Each world has its own folder in it.
        k, n_base, per_cell, elicit, seed: as for :func:`audit`.
        workers: number of workers, one thread each; 0: chosen by the number of free cores.
        executor: where they are: ``processes``, ``ray``, ``ray://host:port``.
    """
    started = time.monotonic()
    config = opening.config_of(k=k, n_base=n_base, max_new_tokens=0, elicit=elicit)
    lab = Lab(out, Streams(seed))
    count = workers or min(len(worlds), free_cores())
    where = executor_named(executor, workers=count if executor == "processes" else workers)
    found = opening.audit_worlds(lab, worlds, per_cell=per_cell, config=config, executor=where)
    wall = time.monotonic() - started
    options: Mapping[str, Any] = {
        "k": k,
        "n_base": n_base,
        "per_cell": per_cell,
        "elicit": elicit,
        "seed": seed,
    }
    return [
        Audit.of(one, call=called("keyturn.audit", audit, {"base": name, **options}), wall_s=wall, kept=True)
        for name, one in zip(worlds, found, strict=True)
    ]


def _policy_of(side: Any) -> Any:
    """A side of the audit, where a training stands for the policy that it made."""
    return side.policies["policy"] if isinstance(side, Training) else side


def _way_in(base: Any, tuned: Any, problems: Any) -> str:
    """The kind of audit that is requested, one of :data:`~keyturn.front.options.WAYS`.

    Raises:
        UsageError: the arguments specify no kind of audit, or two.
    """
    kinds = [kind_of(one, side) for one, side in ((base, "base"), (tuned, "tuned")) if one is not None]
    if len(set(kinds)) > 1:
        raise UsageError(
            "one side is samples and the other a policy", fix="give either samples of both or two policies"
        )
    if tuned is None:
        if kinds == ["samples"]:
            raise UsageError("the samples of the tuned policy are missing", fix="tuned=SAMPLES")
        return "embedded"
    if kinds[0] == "samples":
        return "samples"
    return "file" if problems is not None else "world"


@contextlib.contextmanager
def _run_folder(out: str | Path | None) -> Iterator[Path]:
    """The run directory: the one that was named, or a temporary one that is removed afterwards."""
    if out is not None:
        yield Path(out).expanduser()
        return
    with tempfile.TemporaryDirectory(prefix="keyturn-") as folder:
        yield Path(folder)
