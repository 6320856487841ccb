"""What a reader asks of an audit before believing it: how each policy was asked, decoded and judged, in words.

A table with one column for the base, one for the tuned policy and one for both; what both share is said once by
whoever shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from keyturn.auditing.preflight import share_of
from keyturn.core.identity import identity
from keyturn.core.problem import Problem
from keyturn.core.rundir import file_hash
from keyturn.policies.client import ServerPolicy
from keyturn.policies.describe import prompt_format, stop_tokens
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Policy
from keyturn.problems.contract import ProblemSet
from keyturn.rollouts.grades import Answers
from keyturn.rollouts.readers.records import split_selector

Setting = Mapping[str, str]


def settings_of_policies(
    policies: tuple[Policy, Policy],
    drawn: tuple[Answers, Answers],
    problems: ProblemSet,
    *,
    tokens: int,
    seed: int,
) -> dict[str, Setting]:
    """Settings of an audit that drew from models.

    Args:
        policies: base and tuned.
        drawn: their answers.
        problems: what was asked.
        tokens: that a completion could have.
        seed: of the whole audit.

    Returns:
        ``base``, ``tuned`` and ``both``, each a name and its value in words.
    """
    base, tuned = (
        {**described(policy), "draws": draws_of(answers), **read_and_cut(policy, answers, problems)}
        for policy, answers in zip(policies, drawn, strict=True)
    )
    both = {
        "grader": problems.grader.name,
        "length limit": f"{tokens} tokens",
        "seed": str(seed),
        "problem list": asked_fingerprint(problems.problems),
    }
    return {"base": base, "tuned": tuned, "both": both}


def settings_of_files(
    fingerprints: tuple[str, str], drawn: tuple[Answers, Answers], graders: tuple[str, str], *, seed: int
) -> dict[str, Setting]:
    """Settings of an audit of two sample files; how they were drawn stands in neither.

    Args:
        fingerprints: of each file or table.
        drawn: their answers to the problems in common.
        graders: by which each was judged.
        seed: of the intervals.
    """
    base, tuned = (
        {"fingerprint": fingerprint, "grader": grader, "draws": draws_of(answers)}
        for fingerprint, answers, grader in zip(fingerprints, drawn, graders, strict=True)
    )
    both = {"temperature": "not known: the files do not say", "seed": f"{seed}, of the intervals"}
    return {"base": base, "tuned": tuned, "both": both}


def described(policy: Policy) -> Setting:
    """How a policy is asked and decoded."""
    said = {"fingerprint": policy.fingerprint}
    if isinstance(policy, LocalPolicy):
        said["prompt"] = prompt_format(policy)
        said["stops at"] = stop_tokens(policy)
        said |= _decoding(policy.sampling)
        said["precision"] = f"{str(policy.model.dtype).removeprefix('torch.')} on {policy.model.device.type}"
        acting = [*(hook.name for hook in policy.hooks), *(p.name for p in policy.processors)]
        return said | ({"intervention": ", ".join(acting)} if acting else {})
    if isinstance(policy, ServerPolicy):
        said["prompt"] = prompt_format(policy)
        config = policy.config
        said |= {"server": address(config.url), "served as": config.model} | _decoding(config)
        said["log-probabilities"] = "not given" if config.logprobs == "off" else f"given, {config.logprobs}"
        said["the server's own sampling defaults"] = (
            "in force, as far as it has any" if config.dialect == "openai" else "switched off"
        )
        return said
    return said


def address(url: str) -> str:
    """A server's address without the user and password that it may hold."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def read_and_cut(policy: Policy, answers: Answers, problems: ProblemSet) -> Setting:
    """How much of the prompts the policy could read, and how many answers were cut; where that is known."""
    said = {}
    if isinstance(policy, LocalPolicy):
        said["unknown words"] = share_of(policy.unknown_words(problems.problems))
    if answers.cuts_known and len(answers.truncated):
        said["cut at the limit"] = share_of(float(np.mean(answers.truncated)))
    return said


def draws_of(answers: Answers) -> str:
    """Draws of each problem: ``64 a problem``, or ``32 to 256 a problem`` where some were asked for more."""
    counts = answers.counts()[0]
    if not len(counts):
        return "none"
    low, high = int(counts.min()), int(counts.max())
    return f"{low if low == high else f'{low} to {high}'} per problem"


def asked_fingerprint(problems: Sequence[Problem]) -> str:
    """Identity of what was asked: ids, prompts and gold answers, in their order."""
    return identity({"problems": [(*p.asked, list(p.golds)) for p in problems]})


def fingerprint_of(name: str) -> str:
    """The first twelve digits of a file's sha256; a selector behind its name is left out."""
    path, _ = split_selector(name)
    return file_hash(path)[:12] if path.is_file() else "not a single file"


def _decoding(sampling: Any) -> dict[str, str]:
    """Temperature always, truncation where there is any."""
    said = {"temperature": f"{sampling.temperature:g}" if sampling.temperature else "0 (greedy)"}
    if sampling.top_p < 1:
        said["top-p"] = f"{sampling.top_p:g}"
    if sampling.top_k:
        said["top-k"] = str(sampling.top_k)
    return said
