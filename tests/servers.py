"""Servers on loopback that speak OpenAI's protocol each in its own way, for tests; what they say is made up."""

import contextlib
import json
import random
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OPENAI = {
    "model",
    "max_tokens",
    "temperature",
    "top_p",
    "seed",
    "n",
    "stream",
    "prompt",
    "messages",
    "logprobs",
    "stop",
}
OPEN = OPENAI | {"top_k", "min_p", "repetition_penalty", "return_token_ids"}
TRANSFORMERS = OPENAI | {"generation_config"}


@dataclass
class Served:
    """How a server behaves, and what it was asked.

    Args:
        says: ``(body, random) -> text`` of one completion.
        models: listed names; None: there is no listing.
        fields: that requests may have.
        fails: fields on which it fails, with status 500.
        several: whether it gives ``n`` completions.
        slots: most completions that it gives to one request; more are refused.
        logprobs: whether it gives them.
        template: whether it takes chat requests.
        key: that it wants; empty for none.
        reason: why completions end.
    """

    says: object = lambda body, dice: "2"
    models: tuple | None = ("m",)
    fields: set = field(default_factory=lambda: set(OPEN))
    fails: frozenset = frozenset()
    several: bool = True
    slots: int = 64
    logprobs: bool = True
    template: bool = True
    key: str = ""
    reason: object = "stop"
    redirect: str = ""
    bodies: list = field(default_factory=list)
    seen: list = field(default_factory=list)


def answered(served, path, body):
    """Status and document of a request."""
    if body["model"] not in (served.models or ("m",)):
        return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
    if set(body) - served.fields:
        return 400, {"error": {"message": f"unknown fields {sorted(set(body) - served.fields)}"}}
    if set(body) & served.fails:
        return 500, b"Internal Server Error"
    if body.get("n", 1) > served.slots:
        return 400, {"error": {"message": f"Field 'n': Value must be between 1 <= value <= {served.slots}"}}
    chat = path.endswith("/chat/completions")
    if chat and not served.template:
        return 400, {"error": {"message": "no chat template"}}
    choices = []
    for index in range(body["n"] if served.several else 1):
        text = served.says(body, random.Random(body["seed"] * 1000 + index))
        words = (text or "").split()[: body["max_tokens"]]
        choice = {"index": index, "finish_reason": served.reason}
        choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        if served.logprobs and body.get("logprobs"):
            row = {"content": [{"token": word, "logprob": -0.5} for word in words]}
            choice["logprobs"] = row if chat else {"tokens": words, "token_logprobs": [-0.5] * len(words)}
        choices.append(choice)
    total = sum(len((served.says(body, random.Random(0)) or "").split()) for _ in choices)
    return 200, {"choices": choices, "usage": {"completion_tokens": total}}


def handler(served):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def reply(self, status, document, more=()):
            data = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            for name, value in more:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def stopped(self):
            served.seen.append(self.headers.get("Authorization"))
            if served.redirect:
                self.reply(302, {}, [("Location", served.redirect + self.path)])
                return True
            given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            if served.key and given != served.key:
                self.reply(401, {"error": {"message": f"Incorrect API key provided: {given}"}})
                return True
            return False

        def do_GET(self):
            if not self.stopped():
                if served.models is None or self.path != "/v1/models":
                    return self.reply(404, b"<html>not here</html>")
                self.reply(200, {"data": [{"id": name} for name in served.models]})
            return None

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path not in ("/v1/completions", "/v1/chat/completions"):
                self.reply(404, b"<html>not here</html>")
            elif not self.stopped():
                served.bodies.append(body)
                self.reply(*answered(served, self.path, body))

    return Handler


@contextlib.contextmanager
def running(served):
    """The server's address while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(served))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
