"""The server policy, and a mixed audit, against `transformers serve` (its packages are of the dev extra)."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import behind_servers
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from keyturn.cli.main import main
from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.policies.client import ServerConfig, ServerPolicy
from keyturn.policies.connect import ServerOptions, connect
from keyturn.policies.loading import load_policy, save_policy
from keyturn.policies.protocol import Limits
from keyturn.rollouts.completions import Stop

WORDS = ["<pad>", "<eos>", *"abcdefgh"]
TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% endfor %}"


def served_folder(path):
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>")
    tokenizer.chat_template = TEMPLATE
    config = GPT2Config(
        vocab_size=len(WORDS), n_positions=512, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=1
    )
    model = GPT2LMHeadModel(config)
    rng = Streams(5).generator("init")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Places beyond the first 64 stay as they are: prompts of some methods need them.
            drawn = parameter[:64] if name.endswith("wpe.weight") else parameter
            drawn.copy_(torch.from_numpy(rng.normal(0, 0.3, tuple(drawn.shape)).astype(np.float32)))
    save_policy(path, model, tokenizer)
    return path, tokenizer


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder, tokenizer = served_folder(tmp_path_factory.mktemp("served") / "model")
    # Held until the end: the server shares the port, and no other process is given it while the server starts.
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    code = "from transformers.cli.transformers import main; main()"
    words = [sys.executable, "-c", code, "serve", str(folder), "--port", str(port), "--host", "127.0.0.1"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([*words, "--device", "cpu"], env=environment, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 240
        while True:
            with contextlib.suppress(OSError):
                try:
                    urllib.request.urlopen(f"{url}/v1/models", timeout=1)
                    break
                except urllib.error.HTTPError:
                    break
            assert process.poll() is None, "the server did not start"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.1)
        yield url, str(folder), tokenizer
    finally:
        process.terminate()
        probe.close()
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


@pytest.mark.slow
def test_how_it_wants_to_be_asked_is_found_out(server):
    """It knows no top-k, gives one completion a request and no log-probabilities."""
    url, model, _ = server
    config = connect(f"{url}/v1#{model}", ServerOptions(timeout_s=60)).config
    assert (config.route, config.dialect, config.logprobs, config.draws_a_request) == (
        "chat",
        "transformers",
        "off",
        1,
    )
    with pytest.raises(UsageError, match="pinned to"):
        connect(f"{url}/v1#another", ServerOptions(timeout_s=60))
    with pytest.raises(UsageError, match="needs a model's name"):
        connect(f"{url}/v1", ServerOptions(timeout_s=60))


@pytest.mark.slow
def test_its_draws_follow_the_model_s_own_distribution(server):
    """Left to itself it decodes a model without a generation config greedily, whatever the temperature."""
    url, model, tokenizer = server
    problem = Problem(id="p", prompt="a b c")
    asked = connect(f"{url}/v1#{model}", ServerOptions(timeout_s=60, concurrency=1), template="plain")
    drawn = asked.draw([problem], range(240), Streams(1), Limits(max_new_tokens=1))
    with torch.no_grad():
        ids = torch.tensor([tokenizer(problem.prompt)["input_ids"]])
        expected = load_policy(model).model(input_ids=ids).logits[0, -1].softmax(-1).numpy()
    counts = {word: drawn.texts.count(word) for word in "abcdefgh"}
    for word, count in counts.items():
        share = expected[WORDS.index(word)]
        assert abs(count / 240 - share) < 4 * np.sqrt(share * (1 - share) / 240), (word, count, share)
    assert len(set(drawn.texts)) >= 5


@pytest.mark.slow
def test_methods_that_look_into_no_model_do_behind_it_what_the_page_says(server, tmp_path):
    url, model, _ = server
    prompts = [f"{a} {b}" for a in "abcd" for b in "ef"]
    behind_servers.held(f"{url}/v1#{model}", "transformers serve", tmp_path, prompts)


@pytest.mark.slow
def test_stop_texts_that_it_fails_on_are_cut_here(server):
    """Its search for stop texts needs a byte-level tokenizer; of others a request that has any fails."""
    url, model, _ = server
    asked = connect(f"{url}/v1#{model}", ServerOptions(timeout_s=60), template="plain", stop=("d", "h"))
    assert not asked.config.stops
    drawn = asked.draw([Problem(id="p", prompt="a b c")], range(12), Streams(1), Limits(max_new_tokens=8))
    assert (drawn.stop != Stop.ERROR).all()
    assert not any("d" in text or "h" in text for text in drawn.texts)


@pytest.mark.slow
def test_it_is_audited_beside_a_local_model(server, tmp_path, monkeypatch, capfd):
    url, model, _ = server
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"{a} {b}", "answer": c} for a in "abcd" for b in "ef" for c in "gh"][::2]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [
        "--problems",
        "p.jsonl",
        "--grader",
        "exact",
        "--k",
        "4",
        "--max-new-tokens",
        "3",
        "--template",
        "plain",
    ]
    code = main(["audit", f"{url}/v1#{model}", model, *words, "--json"])
    said = capfd.readouterr()
    assert code == 0, said.err
    [found] = json.loads(said.out)["audits"]
    assert found["settings"]["base"]["server"] == f"{url}/v1"
    assert found["settings"]["base"]["log-probabilities"] == "not given"
    assert "token_shift" in found["left_out"]
    # One model on both sides. The server has no seed, so a 95 % interval would miss once in twenty runs.
    base, tuned = (found["verdict"]["masses"][side]["value"] for side in ("base", "tuned"))
    draws = np.array([16 * len(rows), 4 * len(rows)])
    rate = max(float(draws @ [base, tuned]), 1.0) / draws.sum()
    assert abs(tuned - base) < 4 * np.sqrt(rate * (1 - rate) * (1 / draws).sum())
