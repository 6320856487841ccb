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
    cut = ""
    """A file whose download breaks off."""
    page = b""
    """What is answered for everything."""
    files = 200
    """Status of the files, once they are listed."""
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
            if state.page:
                self.answer(state.page, {"Content-Type": "text/html"})
            elif state.files != 200 and "/resolve/" in path:
                self.answer(b"{}", {}, state.files)
            elif state.cut and path.endswith(state.cut) and self.command == "GET":
                self.answer(b"wei", {"Content-Length": "7", "ETag": '"x"', "X-Repo-Commit": SHA})
                self.close_connection = True
            elif state.status != 200:
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
        (401, "", "answered 401.*log in"),
        (403, "", "answered 403.*log in"),
        (404, "", "answered 404.*check the name"),
        (429, "", "answered 429.*wait some minutes"),
        (500, "", "answered 500.*try again later"),
        (503, "", "answered 503.*try again later"),
    ],
)
def test_every_refusal_has_its_own_sentence(hub, status, error, says):
    url, state = hub
    state.status, state.error = status, error
    with pytest.raises(InputError, match=says) as refused:
        find_folder("owner/name", endpoint=url, revision="v9")
    assert refused.value.fix


@pytest.mark.slow
def test_a_download_that_breaks_off_is_no_bug_and_goes_on_the_next_time(hub):
    url, state = hub
    state.cut = "model.safetensors"
    with pytest.raises(InputError, match=r"download of owner/name broke off.*same command again"):
        find_folder("owner/name", endpoint=url)
    state.cut = ""
    assert (find_folder("owner/name", endpoint=url) / "model.safetensors").read_bytes() == b"weights"


def test_something_else_that_answers_in_the_hub_s_place_is_said(hub):
    url, state = hub
    state.page = b"<html>log in to the airport</html>"
    with pytest.raises(InputError, match=r"not the Hub.*proxy"):
        find_folder("owner/name", endpoint=url)


def test_a_file_that_is_refused_after_the_listing_is_said(hub):
    url, state = hub
    state.files = 403
    with pytest.raises(InputError, match=r"answered 403.*log in"):
        find_folder("owner/name", endpoint=url)


def test_bars_are_drawn_on_a_terminal_only(hub, capfd):
    find_folder("owner/name", endpoint=hub[0])
    assert capfd.readouterr().err == ""


def test_a_typo_that_looks_like_a_repository_is_answered_with_the_folder(hub, tmp_path, monkeypatch):
    url, state = hub
    state.status, state.error = 404, "RepoNotFound"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine" / "model").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "model" / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"did you mean runs/mine\?"):
        find_folder("runs/mien", endpoint=url)


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
