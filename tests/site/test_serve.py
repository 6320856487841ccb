"""The small server: what it refuses, and that nothing of the disk can be asked for."""

import http.client
import socket
import threading

import pytest

from keyturn.core.errors import UsageError
from keyturn.site.page import POLICY
from keyturn.site.serve import AT_ONCE, Server

PAGES = {"index.html": b"home", "notes/a.html": b"note a", "style.css": b"p{}", "records/index.html": b"all"}


@pytest.fixture
def server():
    with Server(lambda: PAGES, port=0, policy=POLICY) as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def asked(server, path, *, method="GET", host=None, headers=()):
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    if host != "":
        connection.putheader("Host", host or f"127.0.0.1:{port}")
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_pages_are_looked_up(server):
    for path, wanted in (
        ("/", b"home"),
        ("/notes/a.html", b"note a"),
        ("/records/", b"all"),
        ("/?x=1", b"home"),
    ):
        answer, body = asked(server, path)
        assert (answer.status, body) == (200, wanted)
    assert asked(server, "/style.css")[0].getheader("Content-Type") == "text/css; charset=utf-8"


def test_every_answer_carries_its_policy_and_no_cors(server):
    for path in ("/", "/nothing"):
        answer, _ = asked(server, path)
        assert answer.getheader("Content-Security-Policy").startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in answer.getheader("Content-Security-Policy")
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert answer.getheader("Access-Control-Allow-Origin") is None


def test_a_path_of_the_disk_is_no_page(server):
    for path in (
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/%252e%252e/etc/passwd",
        "/..%5c..%5cetc",
        "//etc/passwd",
        "/notes/../index.html",
        "/index.html%00",
        "/" + "a" * 5000,
        "/notes",
        "/.keyturn-atlas.json",
    ):
        answer, body = asked(server, path)
        assert answer.status == 404, path
        assert b"etc" not in body


def test_only_this_machine_s_own_names_are_answered(server):
    port = server.server_address[1]
    for host in (f"localhost:{port}", f"LOCALHOST:{port}", f"127.0.0.1:{port}"):
        assert asked(server, "/", host=host)[0].status == 200
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1",
        f"127.0.0.1:{port + 1}",
        f"x@127.0.0.1:{port}",
    ):
        assert asked(server, "/", host=host)[0].status == 421, host
    assert asked(server, "/", host="")[0].status == 400
    two = [("Host", "evil.example")]
    assert asked(server, "/", headers=two)[0].status == 400


def test_nothing_but_reading_is_offered(server):
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH"):
        answer, body = asked(server, "/", method=method)
        assert answer.status == 405, method
        assert b"home" not in body
    head, body = asked(server, "/", method="HEAD")
    assert (head.status, head.getheader("Content-Length"), body) == (200, "4", b"")
    for headers in ([("Content-Length", "3")], [("Transfer-Encoding", "chunked")], [("Content-Length", "x")]):
        assert asked(server, "/", headers=headers)[0].status == 400


def test_it_listens_on_this_machine_only(server):
    assert server.server_address[0] == "127.0.0.1"


def test_a_taken_port_is_said_with_its_way_out(server):
    with pytest.raises(UsageError) as error:
        Server(lambda: PAGES, port=server.server_address[1], policy=POLICY)
    assert "--port 0" in error.value.fix


def test_idle_connections_do_not_keep_others_out(server, monkeypatch):
    monkeypatch.setattr("keyturn.site.serve._Handler.timeout", 0.3)
    idle = [socket.create_connection(server.server_address) for _ in range(AT_ONCE + 4)]
    try:
        assert asked(server, "/")[0].status == 200
    finally:
        for one in idle:
            one.close()


def test_pages_follow_what_changes(server):
    server.content = lambda: {"index.html": b"new"}
    assert asked(server, "/")[1] == b"new"
