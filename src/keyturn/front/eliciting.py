"""``keyturn.elicit``: answers of a policy under a method that leaves its weights as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from keyturn.auditing.asking import Request, asked_of
from keyturn.auditing.embedded import EMBEDDED
from keyturn.auditing.opening import PER_CELL
from keyturn.auditing.sides import Side, side_of
from keyturn.core.describe import describe
from keyturn.core.errors import UsageError, unknown
from keyturn.core.identity import identity
from keyturn.core.streams import Streams
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.contract import Asked, ElicitationMethod
from keyturn.elicitation.prepared_file import Given, read_prepared, without_preparing, write_prepared
from keyturn.elicitation.stage import elicit as by_stages
from keyturn.front.arguments import loading_of
from keyturn.front.elicited import PREPARED, Elicited
from keyturn.front.method_of import settled
from keyturn.front.run_folder import ELICITED, hold_to
from keyturn.lab.lab import Lab
from keyturn.policies.connect import ServerOptions
from keyturn.problems.contract import answers


def elicit(
    method: str | ElicitationMethod,
    model: Any,
    problems: Any = None,
    *,
    settings: Any = None,
    draws: int = 8,
    development: Any = None,
    teacher: Any = None,
    vector: str | Path | None = None,
    grader: str = "auto",
    limit: int = 0,
    per_cell: int = PER_CELL,
    max_new_tokens: int = 0,
    template: str = "auto",
    device: str = "auto",
    dtype: str = "float32",
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    server: ServerOptions = ServerOptions(),  # noqa: B008
    seed: int = 0,
    out: str | Path | None = None,
) -> Elicited:
    """Let a policy answer under an elicitation method. No weight is changed.

    Args:
        method: its name (``keyturn elicit ls``), or an ElicitationMethod.
        model: what answers: an embedded base, a model folder, ``owner/name`` on the Hub, the address of a
            server, ``(model, tokenizer)`` of transformers, or a policy.
        problems: a file, a data frame, a list of ``{prompt, answer}``, a data set. A model of a controlled
            world brings its own.
        settings: settings of the method: its config, or a dict of the fields that differ from its defaults.
        draws: answers per problem; a method may take several draws for each.
        development: other problems with answers, on which a method makes its choices, with worked solutions
            where it shows them. A controlled world brings its own.
        teacher: a tuned model with the same tokenizer, for methods that look at one: what ``model`` takes.
        vector: a file that an earlier call of the same method with the same model wrote
            (``OUT/prepared.safetensors``); nothing is then prepared. A vector of another model is refused.
        grader: how answers are graded; ``auto``: by the layout of the problems.
        limit: ask only this many problems, from the first on; 0 means all.
        per_cell: test problems per cell, if a world makes them.
        max_new_tokens: maximum number of tokens in an answer; 0: what the world needs, or 512.
        template: ``chat``: apply the tokenizer's chat template; ``plain``: do not; ``auto``: where there is
            one.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, for models that are loaded by name.
        dtype: ``float32``, ``bfloat16``, ``float16`` or ``auto`` (as stored).
        revision: revision of a Hub repository.
        trust_remote_code: run model code that comes with the weights; needs a pinned revision.
        allow_pickle: read pytorch_model.bin if there are no safetensors.
        server: how a policy behind a server is asked.
        seed: root of all randomness.
        out: run directory, in which finished stages are found again. None: a separate folder under ``runs``,
            which the same call finds again.

    Returns:
        The answers with their success and costs; ``.samples`` is a file that :func:`keyturn.audit` reads.

    Raises:
        KeyturnError: the method cannot work with this. The message is one sentence with its fix.
    """
    given = dict(locals())
    folder = None if out is None else Path(out).expanduser()
    return _elicited(opened(given, kept=None if folder is None else folder / "servers"), seed, folder)


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A method with its settings, and the policy and problems that it is to work on.

    Args:
        method, config: the method and its settings.
        side: who answers, as it was named.
        asked: policy, problems and development problems.
        given: what an earlier call prepared, if its file was named.
    """

    method: ElicitationMethod
    config: Any
    side: Side
    asked: Asked
    given: Given | None


def opened(given: Mapping[str, Any], *, side: Side | None = None, kept: Path | None = None) -> Opened:
    """Open what an elicitation is asked for.

    Args:
        given: arguments of :func:`elicit` by name; what is no argument of it is ignored.
        side: the model, if it was looked up already.
        kept: where a server's answers are kept.

    Raises:
        KeyturnError: the method cannot work with this.
    """
    method = elicitation_of(given["method"])
    config = settled(method.config, given["settings"], method.name)
    request = Request(**{one.name: given[one.name] for one in fields(Request)})
    request.check()
    side = side or side_of(given["model"], "model")
    teacher = beside(method, given["teacher"])
    asked = asked_of(side, request, loading_of(given), Streams(given["seed"]), kept=kept, teacher=teacher)
    prepared = _prepared(given["vector"], method, config, asked)
    return Opened(method=method, config=config, side=side, asked=asked, given=prepared)


def elicitation_of(method: str | ElicitationMethod) -> ElicitationMethod:
    """The method by its name, or the object itself.

    Raises:
        UsageError: the name is unknown, or is the name of a model.
    """
    if isinstance(method, ElicitationMethod):
        return method
    if method in ELICITATIONS:
        return ELICITATIONS[method]
    if method in EMBEDDED or "/" in method:
        what = f"the method comes first, then the model: {method!r} is a model"
        raise UsageError(what, fix=f"keyturn elicit self-consistency {method}")
    raise unknown("elicitation method", method, ELICITATIONS)


def beside(method: ElicitationMethod, teacher: Any) -> Side | None:
    """The teacher, where the method has one.

    Raises:
        UsageError: it has none, and one was given.
    """
    if teacher is None:
        return None
    if "teacher" not in method.needs:
        raise UsageError(f"{method.name} has no teacher", fix="leave --teacher out, or take a hybrid")
    return side_of(teacher, "teacher")


def _prepared(vector: str | Path | None, method: ElicitationMethod, config: Any, asked: Asked) -> Given | None:
    """What an earlier call prepared, if its file was given.

    Raises:
        KeyturnError: the file is not for this model, or the method cannot work with what was asked.
    """
    given = None if vector is None else read_prepared(Path(vector).expanduser(), method, config, asked)
    (method if given is None else without_preparing(method)).check(asked)
    return given


def decides_of(opened: Opened, seed: int) -> dict[str, object]:
    """What decides an elicited run, and so its folder: everything that was asked, and of whom."""
    config, asked, given = opened.config, opened.asked, opened.given
    return {
        "method": opened.method.name,
        "settings": config,
        "policy": asked.policy,
        "problems": asked.problems,
        "development": asked.development,
        **({"teacher": asked.teacher} if asked.teacher is not None else {}),
        **({"vector": given.mark} if given is not None else {}),
        "draws": len(asked.draws),
        "max_new_tokens": asked.limits.max_new_tokens,
        "seed": seed,
    }


def _elicited(opened: Opened, seed: int, folder: Path | None) -> Elicited:
    method, config, asked, given = opened.method, opened.config, opened.asked, opened.given
    decides = decides_of(opened, seed)
    if folder is None:
        key = identity({name: describe(value, name) for name, value in decides.items()}, length=8)
        folder = Path("runs") / f"elicit-{method.name}-{key}"
    hold_to(folder, ELICITED, decides, method.answer)
    lab = Lab(folder, asked.streams)
    found = by_stages(lab, method, config, asked, given=given)
    if found.prepared:
        write_prepared(folder / PREPARED, method, config, asked, found.prepared, found.examples)
    completions = found.elicitation.completions
    problems = asked.problems
    _, grades = lab.grade(problems.grader, problems.problems, completions, found.stage, name="grade")
    table = answers(method.name, problems.problems, completions, grades)
    return Elicited.of(folder, method, opened.side.name, found, grades, table, asked)
