"""The server policy against llama.cpp's own server, which serves the GGUF that the folder beside it came from.

It runs where there is a `llama-server` on the PATH, or a Python with the wheel of xllamacpp: this one, or the
one that KEYTURN_LLAMA_PYTHON names (an environment of its own, see docs/real.md).
"""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gguf")

import behind_servers
import torch
from test_gguf_import import byte_pieces, write

from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.policies.connect import ServerOptions, connect
from keyturn.policies.gguf.importing import import_gguf
from keyturn.policies.loading import load_policy
from keyturn.policies.protocol import Limits
from keyturn.rollouts.completions import Stop

SERVE = Path(__file__).parents[2] / "benchmarks" / "real" / "llama_server.py"


def command(file, port):
    """How a server of a file is started here; None where there is none."""
    named = os.environ.get("KEYTURN_LLAMA_PYTHON", "")
    python = named or (sys.executable if importlib.util.find_spec("xllamacpp") else "")
    if python:
        return [python, str(SERVE), str(file), str(port)]
    if found := shutil.which("llama-server"):
        return [found, "-m", str(file), "--host", "127.0.0.1", "--port", str(port), "-c", "2048", "-np", "4"]
    return None


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    if command("", 0) is None:
        pytest.skip("no llama.cpp server here (llama-server, or KEYTURN_LLAMA_PYTHON)")
    folder = tmp_path_factory.mktemp("llama")
    # Wide weights give distributions that are not flat.
    wide = {"change": lambda name, values: values * (1 if "norm" in name else 4), "context": 512}
    write(folder / "tiny.gguf", **wide)
    import_gguf(str(folder / "tiny.gguf"), folder / "model")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        command(folder / "tiny.gguf", port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 240
        while True:
            with contextlib.suppress(OSError):
                if urllib.request.urlopen(f"{url}/health", timeout=1).status == 200:
                    break
            assert process.poll() is None, "the server did not start"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.1)
        yield f"{url}/v1", folder / "model"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
def test_how_it_wants_to_be_asked_is_found_out(served):
    url, _ = served
    config = connect(url, ServerOptions(timeout_s=60), template="plain").config
    assert (config.route, config.dialect, config.logprobs) == ("completions", "open", "raw")
    assert config.draws_a_request > 1


@pytest.mark.slow
def test_its_draws_follow_the_distribution_of_the_imported_folder(served):
    url, folder = served
    policy = load_policy(folder)
    problem = Problem(id="p", prompt="2 + 2 =")
    asked = connect(url, ServerOptions(timeout_s=60, concurrency=2), template="plain")
    drawn = asked.draw([problem], range(400), Streams(1), Limits(max_new_tokens=1))
    assert (drawn.stop != Stop.ERROR).all()
    with torch.no_grad():
        ids = torch.tensor([policy.tokenizer(problem.prompt)["input_ids"]])
        own = policy.model(input_ids=ids).logits[0, -1].log_softmax(-1).numpy()
    # Letters alone: other bytes are no text by themselves.
    words = {word: index for index, word in enumerate(byte_pieces()) if len(word) == 1 and word.isascii()}
    shares = np.array([np.exp(own[index]) for index in words.values()])
    counts = np.array([drawn.texts.count(word) for word in words])
    assert counts.sum() > 50
    assert (np.abs(counts / 400 - shares) < 5 * np.sqrt(shares * (1 - shares) / 400) + 0.005).all()
    # Log-probabilities that it gives are those of the same weights; it keeps keys and values in 16 bits.
    whole = [row for row, text in enumerate(drawn.texts) if text in words and drawn.lengths[row] == 1]
    given = drawn.logprobs[drawn.offsets[:-1][whole]]
    assert len(given) > 50
    assert np.abs(given - [own[words[drawn.texts[row]]] for row in whole]).max() < 0.05


@pytest.mark.slow
def test_stop_texts_end_answers_there_and_here_alike(served):
    url, folder = served
    problems = [Problem(id=word, prompt=word) for word in ("a b", "c d", "e f")]
    limits = Limits(max_new_tokens=24, batch_rows=128)
    asked = connect(url, ServerOptions(timeout_s=60, concurrency=2), template="plain", stop=("e", "7"))
    there = asked.draw(problems, range(40), Streams(1), limits)
    here = load_policy(folder).having(stops=("e", "7")).draw(problems, range(40), Streams(1), limits)
    ended = [float((found.stop == Stop.EOS).mean()) for found in (there, here)]
    assert all(0 < share < 1 for share in ended)
    assert not any("e" in text or "7" in text for text in there.texts)
    # Two samples of 120 answers each.
    assert abs(ended[0] - ended[1]) < 4 * np.sqrt(0.25 * 2 / 120)


@pytest.mark.slow
def test_methods_that_look_into_no_model_do_behind_it_what_the_page_says(served, tmp_path):
    prompts = [f"{a} + {b} =" for a in range(4) for b in range(2)]
    behind_servers.held(served[0], "llama.cpp", tmp_path, prompts)
