"""An elicited policy behind an endpoint: our own client draws from it, and what it must not do it does not."""

import contextlib
import hashlib
import http.client
import json
import threading
from dataclasses import replace

import pytest
from made_asked import made

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.elicitation import ELICITATIONS
from keyturn.front.endpoint import BODY, Endpoint
from keyturn.front.served import served
from keyturn.policies.connect import ServerOptions, connect
from keyturn.policies.protocol import Limits

PROMPT = "w3 w5 w7"


@contextlib.contextmanager
def serving(name, asked=None, **settings):
    asked = asked or made()
    method = ELICITATIONS[name]
    config = replace(method.config, **settings) if settings else method.config
    prepared = method.prepare(asked, config) if method.prepare else {}
    with Endpoint(served(method, config, asked, prepared), port=0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def sent(server, body, path="/v1/completions", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", path, data, {"Content-Type": "application/json", **headers})
    reply = connection.getresponse()
    found = json.loads(reply.read())
    connection.close()
    return reply.status, found


def test_our_client_draws_from_it_and_a_seed_decides():
    asked = made()
    with serving("self-consistency", asked, samples=3) as server:
        policy = connect(server.url, ServerOptions(draws_a_request=2, concurrency=1))
        drawn = policy.draw(asked.problems.problems, range(4), Streams(1), Limits(max_new_tokens=6))
        assert len(drawn) == 12
        assert all(drawn.texts)
        assert (drawn.lengths <= 6).all()
        body = {"model": "self-consistency", "prompt": PROMPT, "n": 2, "seed": 5, "max_tokens": 6}
        status, one = sent(server, body)
        assert (status, sent(server, body)[1]) == (200, one)
    assert len(one["keyturn_costs"]["generated"]) == 2
    assert one["keyturn_costs"]["generated"][0] >= 3
    method = ELICITATIONS["self-consistency"]
    name = f"0-{hashlib.sha256(PROMPT.encode()).hexdigest()[:16]}"
    problem = replace(asked.problems.problems[0], id=name, prompt=PROMPT, answer="", also=())
    again = replace(asked, problems=replace(asked.problems, problems=(problem,)), draws=range(2))
    again = replace(again, streams=Streams(5), limits=Limits(max_new_tokens=6))
    alone = method.answer(again, replace(method.config, samples=3), {})
    assert alone.completions.texts == tuple(choice["text"] for choice in one["choices"])


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("plain", {}),
        ("low-temperature", {}),
        ("few-shot", {"shots": 1, "question": ""}),
        ("confident-vote", {}),
        ("best-of-n", {"samples": 2}),
        ("cot-decoding-sum", {"k": 3}),
        ("power-smc", {"particles": 2}),
        ("steering-mean", {"contrast": "trigger", "trigger": " w3"}),
        ("forced-opener", {"openers": (" w3", " w4"), "trials": 1}),
        ("zero-shot", {"trigger": " w3", "extract": ""}),
    ],
)
def test_methods_are_served(name, settings):
    with serving(name, **settings) as server:
        status, found = sent(server, {"prompt": [PROMPT, "w4 w4"], "n": 2, "max_tokens": 4, "logprobs": 1})
    assert status == 200, found
    assert [one["index"] for one in found["choices"]] == [0, 1, 2, 3]
    assert found["usage"]["completion_tokens"] > 0
    if name == "plain":
        assert len(found["choices"][0]["logprobs"]["token_logprobs"]) > 0


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"temperature": 0.5}, 400, "decides how answers are sampled"),
        ({"top_p": 0.9}, 400, "ask for top_p 1"),
        ({"n": 0}, 400, "n is a whole number from 1"),
        ({"n": 4000}, 400, "n is a whole number from 1"),
        ({"n": True}, 400, "n is a whole number from 1"),
        ({"max_tokens": "many"}, 400, "max_tokens is a whole number"),
        ({"seed": 1.5}, 400, "seed is a whole number"),
        ({"prompt": []}, 400, "prompt is a text"),
        ({"prompt": ["w3"] * 65}, 400, "at most 64 prompts"),
        ({"prompt": None}, 400, "prompt is a text"),
        ({"stop": [""]}, 400, "stop is a text"),
        ({"tools": []}, 400, "unknown fields tools"),
        ({"model": "other"}, 404, "does not exist"),
    ],
)
def test_a_request_that_is_not_answered_is_told_why(plainly, change, status, said):
    found, document = sent(plainly, {"prompt": PROMPT, "max_tokens": 3, **change})
    assert found == status
    assert said in document["error"]["message"]


def test_a_stream_has_each_answer_whole(plainly):
    body = {"prompt": [PROMPT, "w4 w6"], "max_tokens": 4, "n": 2, "seed": 7}
    _, whole = sent(plainly, body)
    connection = http.client.HTTPConnection("127.0.0.1", plainly.server_address[1], timeout=60)
    more = {"stream": True, "stream_options": {"include_usage": True}}
    connection.request("POST", "/v1/completions", json.dumps(body | more).encode())
    reply = connection.getresponse()
    assert reply.getheader("Content-Type") == "text/event-stream"
    lines = [line.removeprefix("data: ") for line in reply.read().decode().split("\n\n") if line]
    connection.close()
    assert lines[-1] == "[DONE]"
    found = [json.loads(line) for line in lines[:-1]]
    assert [one["choices"][0] for one in found] == whole["choices"]
    assert [one["choices"][0]["index"] for one in found] == [0, 1, 2, 3]
    assert (found[-1]["usage"], found[-1]["keyturn_costs"]) == (whole["usage"], whole["keyturn_costs"])
    assert sent(plainly, {**body, **more, "n": 0})[0] == 400


@pytest.fixture(scope="module")
def plainly():
    with serving("plain") as server:
        yield server


def test_only_this_machine_and_no_web_page_is_answered(plainly):
    assert plainly.server_address[0] == "127.0.0.1"
    body = {"prompt": PROMPT, "max_tokens": 2}
    assert sent(plainly, body, Host="evil.example")[0] == 421
    assert sent(plainly, body, Origin="http://evil.example")[0] == 403
    assert sent(plainly, b"x" * (BODY + 1))[0] == 413
    assert sent(plainly, b"{")[0] == 400
    assert sent(plainly, b"[" * 100_000)[0] == 400
    assert sent(plainly, [1])[0] == 400
    assert sent(plainly, body, path="/etc/passwd")[0] == 404
    chat = {"messages": [{"role": "user", "content": PROMPT}]}
    status, document = sent(plainly, chat, path="/v1/chat/completions")
    assert (status, "no chat template" in document["error"]["message"]) == (400, True)
    assert sent(plainly, body)[0] == 200, "and it still answers"


def test_what_makes_no_sense_is_refused():
    method = ELICITATIONS["best-of-n-verifier"]
    with pytest.raises(UsageError, match="it asks the grader"):
        served(method, method.config, made(), {})
    with pytest.raises(UsageError, match="--port is 70000"):
        Endpoint(served(ELICITATIONS["plain"], None, made(), {}), port=70000)
    with (
        Endpoint(served(ELICITATIONS["plain"], None, made(), {}), port=0) as first,
        pytest.raises(UsageError, match="cannot be taken"),
    ):
        Endpoint(first.policy, port=first.server_address[1])
