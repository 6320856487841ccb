"""Loading from a Hub: a real HTTP server on loopback that speaks the part of its protocol that is used."""

import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlparse

import pytest

from keyturn.core.errors import InputError, UsageError
from keyturn.policies.loading import find_folder

SHA = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"model_type": "gpt2"}',
    "tokenizer.json": b"{}",
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"pickle",
    "modeling.py": b"code",
    "onnx/config.json": b"{}",
}


class State:
    """What the Hub answers, and what it was asked."""

    status = 200
    error = ""
    asked: list


def handler(state):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def answer(self, data, headers, status=200):
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                with contextlib.suppress(OSError):
                    self.wfile.write(data)

        def do_GET(self):
            path = urlparse(self.path).path
            state.asked.append(path)
            if state.status != 200:
                self.answer(b"{}", {"X-Error-Code": state.error, "X-Error-Message": "no"}, state.status)
            elif path.startswith("/api/models/owner/name"):
                document = {"id": "owner/name", "sha": SHA, "siblings": [{"rfilename": name} for name in FILES]}
                if "/tree/" in path:
                    rows = [{"type": "file", "path": n, "size": len(d), "oid": "x"} for n, d in FILES.items()]
                    self.answer(json.dumps(rows).encode(), {"Content-Type": "application/json"})
                else:
                    self.answer(json.dumps(document).encode(), {"Content-Type": "application/json"})
            else:
                data = FILES[path.split("/resolve/")[1].split("/", 1)[1]]
                etag = hashlib.sha1(data).hexdigest()
                self.answer(data, {"ETag": f'"{etag}"', "X-Repo-Commit": SHA})

        do_HEAD = do_GET

    return Handler


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    state = State()
    state.asked = []
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler(state))
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", state
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_neither_pickles_nor_code_are_downloaded(hub):
    url, _ = hub
    assert names(find_folder("owner/name", endpoint=url)) == {
        "config.json",
        "tokenizer.json",
        "model.safetensors",
    }


def test_what_was_asked_for_by_name_is_downloaded(hub):
    url, _ = hub
    folder = find_folder("owner/name", endpoint=url, allow_pickle=True, trust_remote_code=True, revision=SHA)
    assert names(folder) == set(FILES) - {"onnx/config.json"}


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (401, "RepoNotFound", "neither a folder nor a repository"),
        (403, "GatedRepo", "is gated"),
        (404, "RepoNotFound", "neither a folder nor a repository"),
        (404, "RevisionNotFound", "has no revision v9"),
        (400, "", "answered 400"),
    ],
)
def test_every_refusal_has_its_own_sentence(hub, status, error, says):
    url, state = hub
    state.status, state.error = status, error
    with pytest.raises(InputError, match=says) as refused:
        find_folder("owner/name", endpoint=url, revision="v9")
    assert refused.value.fix


def test_a_hub_that_cannot_be_reached(hub):
    with pytest.raises(InputError, match="cannot be reached"):
        find_folder("owner/name", endpoint="http://127.0.0.1:9")


def test_offline_and_not_in_the_cache(hub, monkeypatch):
    url, state = hub
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="not in the cache"):
        find_folder("owner/name", endpoint=url)
    assert state.asked == []


def test_not_a_repository_name(hub):
    with pytest.raises(UsageError, match="not a repository name"):
        find_folder("owner--x/na..me", endpoint=hub[0])
