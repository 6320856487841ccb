"""The server policy against a real HTTP server on loopback that runs a real (tiny) causal LM."""

import contextlib
import json
import math
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from keyturn.core.errors import InputError, UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.policies.client import UNKNOWN_TOKEN, ServerConfig, ServerPolicy
from keyturn.policies.protocol import Limits, Policy
from keyturn.rollouts.completions import Stop

WORDS = ["<eos>", "zero", "one", "two", "three", "four", "five", "six", "seven", "plus", "is", "?"]
PROBLEMS = tuple(
    Problem(id=f"p{i}", prompt=f"{WORDS[i + 1]} plus {WORDS[i + 2]} is ?", answer="x") for i in range(4)
)
LIMITS = Limits(max_new_tokens=6)


class Words:
    """Whitespace words, as the served model knows them."""

    def encode(self, text, *, add_special_tokens=True):
        return [WORDS.index(word) for word in text.split()]

    def decode(self, ids):
        return " ".join(WORDS[i] for i in ids)


@dataclass
class Faults:
    """What goes wrong, and what was asked."""

    statuses: list = field(default_factory=list)
    slow: float = 0.0
    stuck: bool = False
    release: threading.Event = field(default_factory=threading.Event)
    broken: bytes = b""
    only: str = ""
    bodies: list = field(default_factory=list)
    headers: list = field(default_factory=list)
    now: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def tiny_model():
    config = GPT2Config(vocab_size=len(WORDS), n_positions=32, n_embd=16, n_layer=1, n_head=2, eos_token_id=0)
    model = GPT2LMHeadModel(config).eval()
    rng = Streams(5).generator("init")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(0, 0.4, tuple(parameter.shape)).astype(np.float32)))
    return model


@torch.no_grad()
def sample(model, ids, body):
    rng = np.random.default_rng(body["seed"])
    out, logprobs, reason = [], [], "length"
    for _ in range(body["max_tokens"]):
        logits = model(input_ids=torch.tensor([ids + out])).logits[0, -1].double()
        raw = torch.log_softmax(logits, -1)
        token = int(rng.choice(len(WORDS), p=torch.softmax(logits / body["temperature"], -1).numpy()))
        logprobs.append(float(raw[token]))
        out.append(token)
        if token == 0:
            reason = "stop"
            break
    return out, logprobs, reason


def reply(model, path, body):
    words = Words()
    chat = path.endswith("/chat/completions")
    text = body["messages"][0]["content"] if chat else body["prompt"]
    out, logprobs, reason = sample(model, words.encode(text), body)
    shown = words.decode([token for token in out if token])
    choice = {"index": 0, "finish_reason": reason}
    if chat:
        choice["message"] = {"role": "assistant", "content": shown}
        if body.get("logprobs"):
            pairs = zip(out, logprobs, strict=True)
            choice["logprobs"] = {"content": [{"token": WORDS[t], "logprob": x} for t, x in pairs]}
    else:
        choice["text"] = shown
        if "logprobs" in body:
            choice["logprobs"] = {"tokens": [WORDS[t] for t in out], "token_logprobs": logprobs}
    if body.get("return_token_ids"):
        choice["token_ids"] = out
    return {"choices": [choice], "usage": {"completion_tokens": len(out)}}


def handler(model, faults):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with faults.lock:
                faults.bodies.append(body)
                faults.headers.append(dict(self.headers))
                faults.now += 1
                faults.most = max(faults.most, faults.now)
                hit = not faults.only or faults.only in json.dumps(body)
                status = faults.statuses.pop(0) if faults.statuses and hit else 200
            if hit and faults.slow:
                time.sleep(faults.slow)
            if hit and faults.stuck:
                faults.release.wait(60)
            document = reply(model, self.path, body) if status == 200 else {"error": "no\x1b[31m thanks"}
            data = faults.broken if faults.broken and hit else json.dumps(document).encode()
            with faults.lock:
                faults.now -= 1
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                if status == 429:
                    self.send_header("Retry-After", "0.01")
                self.end_headers()
                self.wfile.write(data)

    return Handler


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture
def server(model):
    faults = Faults()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler(model, faults))
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", faults
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def policy(url, **fields):
    given = {name: fields.pop(name) for name in ("key", "tokenizer", "journal") if name in fields}
    return ServerPolicy(ServerConfig(url=url, model="tiny", pause_s=0.001, **fields), **given)


@pytest.mark.parametrize("route", ["completions", "chat"])
def test_draws_with_logprobs_of_the_model_itself(server, model, route):
    url, _ = server
    asked = policy(url, route=route, token_ids=True, tokenizer=Words())
    assert isinstance(asked, Policy)
    drawn = asked.draw(PROBLEMS, range(3), Streams(1), LIMITS)
    assert len(drawn) == 12
    assert drawn.problem.tolist() == np.repeat(range(4), 3).tolist()
    assert drawn.draw.tolist() == [0, 1, 2] * 4
    assert drawn.prompts.row(0).tolist() == Words().encode(PROBLEMS[0].prompt)
    assert len({drawn.row(i).tobytes() for i in range(12)}) > 6, "every draw has its own seed"
    for row in range(12):
        tokens = drawn.row(row)
        ended = tokens[-1] == 0
        assert drawn.stop[row] == (Stop.EOS if ended else Stop.LENGTH)
        assert ended or len(tokens) == LIMITS.max_new_tokens
        prompt = drawn.prompts.row(int(drawn.problem[row]))
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
        want = torch.log_softmax(logits, -1)[range(len(tokens)), tokens.tolist()].numpy()
        got = drawn.logprobs[drawn.offsets[row] : drawn.offsets[row + 1]]
        np.testing.assert_allclose(got, want, atol=1e-4)
        assert drawn.texts[row] == Words().decode([t for t in tokens if t])
    assert np.isnan(drawn.entropies).all()


def test_a_draw_is_the_same_whoever_is_drawn_with_it(server):
    url, _ = server
    asked = policy(url, token_ids=True)
    all_of_them = asked.draw(PROBLEMS, range(4), Streams(1), LIMITS)
    alone = asked.draw(PROBLEMS[2:3], range(3, 4), Streams(1), LIMITS)
    assert alone.row(0).tolist() == all_of_them.row(2 * 4 + 3).tolist()
    other = asked.draw(PROBLEMS, range(4), Streams(2), LIMITS)
    assert other.tokens.tolist() != all_of_them.tokens.tolist()


def test_without_ids_or_tokenizer_lengths_are_the_servers_counts(server):
    url, _ = server
    drawn = policy(url, logprobs="off").draw(PROBLEMS, range(2), Streams(1), LIMITS)
    exact = policy(url, token_ids=True).draw(PROBLEMS, range(2), Streams(1), LIMITS)
    assert set(drawn.tokens.tolist()) == {UNKNOWN_TOKEN}
    assert drawn.lengths.tolist() == exact.lengths.tolist()
    assert np.isnan(drawn.logprobs).all()


def test_raw_logprobs_away_from_temperature_one_are_unknown_not_wrong(server):
    url, _ = server
    raw = policy(url, temperature=0.7, token_ids=True).draw(PROBLEMS, range(1), Streams(1), LIMITS)
    assert np.isnan(raw.logprobs).all()
    said = policy(url, temperature=0.7, token_ids=True, logprobs="processed")
    assert np.isfinite(said.draw(PROBLEMS, range(1), Streams(1), LIMITS).logprobs).all()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_rate_limits_and_faults_are_tried_again(server, status):
    url, faults = server
    faults.statuses = [status] * 3
    drawn = policy(url).draw(PROBLEMS, range(2), Streams(1), LIMITS)
    assert (drawn.stop != Stop.ERROR).all()
    assert len(faults.bodies) == 8 + 3


@pytest.mark.parametrize("status", [400, 401, 404])
def test_what_trying_again_cannot_mend_stops_at_once(server, status):
    url, faults = server
    faults.statuses = [status] * 99
    with pytest.raises(InputError, match=f"status {status}.*problem p0"):
        policy(url, concurrency=1).draw(PROBLEMS, range(5), Streams(1), LIMITS)
    assert len(faults.bodies) == 1


def test_a_row_that_times_out_is_an_error_row_and_the_rest_stands(server):
    url, faults = server
    faults.stuck, faults.only = True, PROBLEMS[1].prompt
    asked = policy(url, timeout_s=1.5, retries=0, token_ids=True)
    drawn = asked.draw(PROBLEMS, range(2), Streams(1), LIMITS)
    faults.release.set()
    assert drawn.problem[drawn.stop == Stop.ERROR].tolist() == [1, 1]
    assert drawn.lengths[drawn.stop == Stop.ERROR].tolist() == [0, 0]
    assert (drawn.lengths[drawn.stop != Stop.ERROR] > 0).all()


@pytest.mark.parametrize("broken", [b"{", b"[]", b'{"choices": []}', b'{"choices": [{"text": 3}]', b"\xff\xfe"])
def test_a_broken_reply_is_an_error_row(server, broken):
    url, faults = server
    faults.broken, faults.only = broken, PROBLEMS[3].prompt
    drawn = policy(url, retries=1).draw(PROBLEMS, range(1), Streams(1), LIMITS)
    assert drawn.stop.tolist()[3] == Stop.ERROR
    assert (drawn.stop[:3] != Stop.ERROR).all()


def test_no_server_at_all_is_one_line():
    with pytest.raises(InputError, match="answered none of 4 requests"):
        policy("http://127.0.0.1:9", retries=1).draw(PROBLEMS, range(1), Streams(1), LIMITS)
    with pytest.raises(UsageError, match="not a server address"):
        policy("file:///etc/passwd")


def test_finished_draws_are_not_asked_again(server, tmp_path):
    url, faults = server
    journal = tmp_path / "draws.jsonl"
    asked = policy(url, journal=journal, token_ids=True)
    first = asked.draw(PROBLEMS, range(2), Streams(1), LIMITS)
    assert len(faults.bodies) == 8
    torn = journal.read_bytes()[:-5]
    journal.write_bytes(torn)
    again = asked.draw(PROBLEMS, range(3), Streams(1), LIMITS)
    assert len(faults.bodies) == 8 + 1 + 4, "the torn line and the four new draws"
    both = again.select(again.draw < 2)
    assert both.tokens.tolist() == first.tokens.tolist()
    assert both.texts == first.texts
    np.testing.assert_array_equal(both.logprobs, first.logprobs)
    policy(url, journal=journal, temperature=0.5, logprobs="off").draw(PROBLEMS, range(1), Streams(1), LIMITS)
    assert len(faults.bodies) == 13 + 4, "another temperature is another question"


def test_error_rows_are_asked_again_when_resumed(server, tmp_path):
    url, faults = server
    asked = policy(url, journal=tmp_path / "draws.jsonl", retries=0, concurrency=1)
    faults.statuses = [500, 500]
    first = asked.draw(PROBLEMS, range(1), Streams(1), LIMITS)
    assert first.stop[:2].tolist() == [Stop.ERROR, Stop.ERROR]
    assert (asked.draw(PROBLEMS, range(1), Streams(1), LIMITS).stop != Stop.ERROR).all()
    assert len(faults.bodies) == 4 + 2


def test_concurrency_is_kept_and_the_key_is_sent_but_never_written(server, tmp_path):
    url, faults = server
    faults.slow = 0.02
    asked = policy(url, concurrency=3, key="s3cret", journal=tmp_path / "draws.jsonl")
    asked.draw(PROBLEMS, range(6), Streams(1), LIMITS)
    assert 1 < faults.most <= 3
    assert all(h["Authorization"] == "Bearer s3cret" for h in faults.headers)
    assert "s3cret" not in (tmp_path / "draws.jsonl").read_text()
    assert policy(url, key="a").fingerprint == policy(url, key="b").fingerprint
    assert policy(url).fingerprint != policy(url, top_p=0.9).fingerprint


def test_scoring_is_refused_with_the_way_out(server):
    url, _ = server
    asked = policy(url)
    drawn = asked.draw(PROBLEMS, range(1), Streams(1), LIMITS)
    with pytest.raises(UsageError, match="cannot score"):
        asked.score(drawn)
    assert math.isnan(drawn.entropies[0])


@pytest.mark.parametrize("route", ["completions", "chat"])
@pytest.mark.parametrize("logprobs", ["raw", "off"])
def test_a_stop_text_is_sent_and_what_a_server_gives_beyond_it_is_cut(server, route, logprobs):
    url, faults = server
    asked = policy(url, route=route, logprobs=logprobs)
    whole = asked.draw(PROBLEMS, range(8), Streams(1), LIMITS)
    assert all("stop" not in body for body in faults.bodies)
    stopped = asked.having(stops=["three", "five"])
    drawn = stopped.draw(PROBLEMS, range(8), Streams(1), LIMITS)
    assert faults.bodies[-1]["stop"] == ["three", "five"]
    assert stopped.fingerprint != asked.fingerprint == policy(url, route=route, logprobs=logprobs).fingerprint
    hit = [any(stop in text for stop in ("three", "five")) for text in whole.texts]
    assert 0 < sum(hit) < len(hit)
    for row, (text, was) in enumerate(zip(whole.texts, hit, strict=True)):
        ended = min((text.index(s) for s in ("three", "five") if s in text), default=len(text))
        assert drawn.texts[row] == text[:ended]
        assert drawn.stop[row] == (Stop.EOS if was else whole.stop[row])
        words = len(text[:ended].split()) + 1
        if was and logprobs == "raw":
            # This server does not know stop texts: its tokens are counted up to the one that completes it.
            assert len(drawn.row(row)) == words
        elif not was:
            assert len(drawn.row(row)) == len(whole.row(row))


def test_tokens_behind_a_stop_text_are_dropped_with_their_ids(server):
    url, _ = server
    asked = policy(url, token_ids=True, stop=("three",))
    drawn = asked.draw(PROBLEMS, range(8), Streams(1), LIMITS)
    three = WORDS.index("three")
    ended = [row for row in range(len(drawn)) if three in drawn.row(row)]
    assert ended
    assert all(drawn.row(row).tolist().index(three) == len(drawn.row(row)) - 1 for row in ended)
    assert all(drawn.stop[row] == Stop.EOS for row in ended)


def test_a_server_that_fails_on_stop_texts_is_sent_none(server):
    """What such a server gives is cut here all the same."""
    url, faults = server
    asked = policy(url, route="chat", logprobs="off", stops=False).having(stops=["three"])
    drawn = asked.draw(PROBLEMS, range(8), Streams(1), LIMITS)
    assert all("stop" not in body for body in faults.bodies)
    assert not any("three" in text for text in drawn.texts)
