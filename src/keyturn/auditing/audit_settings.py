"""What a reader checks before believing an audit: how each policy was asked, decoded and graded, in words.

The result is a table with one column for the base, one for the tuned policy and one for both. The code that
shows the table prints settings common to both policies once.
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
from keyturn.policies.vllm_engine import VllmPolicy
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
    """Settings of an audit that sampled from models.

    Args:
        policies: base and tuned.
        drawn: their answers.
        problems: the problems that were asked.
        tokens: maximum number of tokens in a completion.
        seed: seed of the whole audit.

    Returns:
        ``base``, ``tuned`` and ``both``. Each maps a name to its value in words.
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
    """Settings of an audit of two sample files. Neither file says how its samples were drawn.

    Args:
        fingerprints: the fingerprint of each file or table.
        drawn: their answers to the problems in common.
        graders: the grader that judged each of them.
        seed: seed of the intervals.
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
    if isinstance(policy, VllmPolicy):
        said |= {"prompt": prompt_format(policy), "engine": f"vLLM {policy.version}"} | _decoding(
            policy.sampling
        )
    if isinstance(policy, ServerPolicy):
        said["prompt"] = prompt_format(policy)
        config = policy.config
        if config.stop:
            said["stops at"] = ", ".join(f"the text {text!r}" for text in config.stop)
        said |= {
            "server": ", ".join(map(address, (config.url, *config.others))),
            "served as": config.model,
        } | _decoding(config)
        said["log-probabilities"] = "not given" if config.logprobs == "off" else f"given, {config.logprobs}"
        said["the server's own sampling defaults"] = (
            "in force, as far as it has any" if config.dialect == "openai" else "switched off"
        )
        return said
    return said


def address(url: str) -> str:
    """A server's address without the user name and password that it may contain."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def read_and_cut(policy: Policy, answers: Answers, problems: ProblemSet) -> Setting:
    """How much of the prompts the policy could read and how many answers were cut off, where that is known."""
    said = {}
    if isinstance(policy, LocalPolicy):
        said["unknown words"] = share_of(policy.unknown_words(problems.problems))
    if answers.cuts_known and len(answers.truncated):
        said["cut at the limit"] = share_of(float(np.mean(answers.truncated)))
    return said


def draws_of(answers: Answers) -> str:
    """Draws per problem: ``64 a problem``, or ``32 to 256 a problem`` where some problems got more draws."""
    counts = answers.counts()[0]
    if not len(counts):
        return "none"
    low, high = int(counts.min()), int(counts.max())
    return f"{low if low == high else f'{low} to {high}'} per problem"


def asked_fingerprint(problems: Sequence[Problem]) -> str:
    """Fingerprint of what was asked: ids, prompts and gold answers, in order."""
    return identity({"problems": [(*p.asked, list(p.golds)) for p in problems]})


def fingerprint_of(name: str) -> str:
    """The first twelve digits of a file's sha256. A selector after the file name is left out."""
    path, _ = split_selector(name)
    return file_hash(path)[:12] if path.is_file() else "not a single file"


def _decoding(sampling: Any) -> dict[str, str]:
    """The temperature always, and the truncation if there is any."""
    said = {"temperature": f"{sampling.temperature:g}" if sampling.temperature else "0 (greedy)"}
    if sampling.top_p < 1:
        said["top-p"] = f"{sampling.top_p:g}"
    if sampling.top_k:
        said["top-k"] = str(sampling.top_k)
    return said
