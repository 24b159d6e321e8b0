"""Asking once: what comes back as it is, what never comes, and that nothing secret is quoted or sent on."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from weighbridge import net
from weighbridge.core.errors import OutOfBudget, Unreachable
from weighbridge.net import Answer, Door, ask


class Service(BaseHTTPRequestHandler):
    def _answer(self):
        size = int(self.headers["Content-Length"] or 0)
        self.server.asked.append(
            (self.command, self.path, self.headers["Authorization"], self.rfile.read(size))
        )
        status, headers, body = self.server.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self._answer()

    def do_POST(self):
        self._answer()

    def log_message(self, *_given):
        pass


@pytest.fixture
def service():
    server = HTTPServer(("127.0.0.1", 0), Service)
    server.asked, server.answer = [], (200, {}, b"yes")
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_status_comes_back(service):
    door = Door(service.url, offline=False)
    for status in (200, 201, 404, 409, 500):
        service.answer = (status, {}, b"body")
        assert ask(door, f"{service.url}/a?b=c") == Answer(status, b"body")
    got = ask(door, service.url, method="POST", headers={"Authorization": "Bearer x"}, body=b"sent")
    assert got.status == 500
    assert service.asked[-1] == ("POST", "/", "Bearer x", b"sent")


def test_no_redirect_is_followed(service):
    service.answer = (307, {"Location": "/other"}, b"")
    assert ask(Door(service.url, offline=False), service.url, headers={"Authorization": "x"}).status == 307
    assert len(service.asked) == 1


def test_an_answer_is_bounded(service, monkeypatch):
    monkeypatch.setattr(net, "MAX_DOCUMENT", 10)
    service.answer = (200, {}, b"x" * 11)
    with pytest.raises(OutOfBudget):
        ask(Door(service.url, offline=False), service.url)


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://127.0.0.1:1/", {}),
        ("http://127.0.0.1:99999/", {}),
        ("http://127.0.0.1:1/\n", {}),
        ("http://127.0.0.1:1/", {"Authorization": "planted é"}),
        ("http://127.0.0.1:1/", {"Authorization": "planted\r\nX: y"}),
    ],
)
def test_what_cannot_be_asked_is_said_without_what_was_sent(url, headers):
    with pytest.raises(Unreachable) as caught:
        ask(Door("http://127.0.0.1:1", offline=False), url, headers=headers)
    assert caught.value.check == "net.unreachable"
    assert caught.value.__cause__ is None
    assert "planted" not in str(caught.value)
