"""The server policy against `transformers serve` itself, where its optional packages are installed."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.policies.client import ServerConfig, ServerPolicy
from keyturn.policies.loading import save_policy
from keyturn.policies.protocol import Limits
from keyturn.rollouts.completions import Stop

WORDS = ["<pad>", "<eos>", *"abcdefgh"]
TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% endfor %}"


def served_folder(path):
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>")
    tokenizer.chat_template = TEMPLATE
    config = GPT2Config(vocab_size=len(WORDS), n_positions=64, n_embd=16, n_layer=1, n_head=2, eos_token_id=1)
    model = GPT2LMHeadModel(config)
    rng = Streams(5).generator("init")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(0, 0.3, tuple(parameter.shape)).astype(np.float32)))
    save_policy(path, model, tokenizer)
    return path, tokenizer


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    for package in ("fastapi", "uvicorn", "openai", "pydantic"):
        pytest.importorskip(package)
    folder, tokenizer = served_folder(tmp_path_factory.mktemp("served") / "model")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "from transformers.cli.transformers import main; main()"
    words = [sys.executable, "-c", code, "serve", str(folder), "--port", str(port), "--host", "127.0.0.1"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([*words, "--device", "cpu"], env=environment, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                try:
                    urllib.request.urlopen(f"{url}/v1/models", timeout=1)
                    break
                except urllib.error.HTTPError:
                    break
            assert process.poll() is None, "the server did not start"
            time.sleep(0.1)
        yield url, str(folder), tokenizer
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
@pytest.mark.parametrize("route", ["completions", "chat"])
def test_it_answers_through_the_same_client(server, route):
    url, model, tokenizer = server
    problems = tuple(Problem(id=word, prompt=f"{word} b c") for word in "adg")
    config = ServerConfig(url=url, model=model, route=route, concurrency=2, timeout_s=60, retries=1)
    asked = ServerPolicy(config, tokenizer=tokenizer)
    drawn = asked.draw(problems, range(2), Streams(1), Limits(max_new_tokens=5))
    assert len(drawn) == 6
    assert (drawn.stop != Stop.ERROR).all()
    assert (drawn.lengths <= 5).all()
    assert drawn.lengths.sum() > 0
    assert set(" ".join(drawn.texts).split()) <= set(WORDS)
