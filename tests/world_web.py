"""A web server of files on 127.0.0.1, with ranges, that breaks off, lies or forgets how to do parts when asked to."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import unquote, urlsplit


class Web:
    """`with Web() as web:` serves `web.files` (path → bytes) until the block ends.

    Knobs by path: `cut` how many bytes of each answer arrive before the connection closes (a list: one for each answer,
    then none is cut), `whole` gives no parts, `mute` answers no HEAD, `status` an answer that is none, `untagged` has no
    entity tag, `answers` a path to (status, headers, body). `sent` counts bytes of bodies by path, `asked` the requests.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: dict[str, list[int]] = {}
        self.whole: set[str] = set()
        self.mute: set[str] = set()
        self.untagged: set[str] = set()
        self.status: dict[str, int] = {}
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.sent: dict[str, int] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.web = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def reference(self, path: str, data: bytes | None = None) -> str:
        digest = hashlib.sha256(self.files[path] if data is None else data).hexdigest()
        return f"{self.url}{path}#sha256={digest}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that go away: some of the tests do."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        web: Web = self.server.web
        path = unquote(urlsplit(self.path).path)
        web.asked.append((self.command, self.path, dict(self.headers)))
        given = web.answers.get(self.path) or web.answers.get(path)
        if given is not None:
            return self._send(given[0], given[1], given[2] if body else b"", len(given[2]))
        status = web.status.get(path, 405 if not body and path in web.mute else 200)
        data = web.files.get(path)
        if data is None or status != 200:
            return self._send(404 if status == 200 else status, {}, b"", 0)
        headers = {"Accept-Ranges": "bytes"}
        if path not in web.untagged:
            headers["ETag"] = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        start, end, status = 0, len(data) - 1, 200
        wanted = self.headers.get("Range")
        if wanted and path not in web.whole:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end, status = int(first), min(int(last or end), end), 206
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        part = data[start : end + 1]
        cut = web.cut[path].pop(0) if body and web.cut.get(path) else None
        self._send(status, headers, part[:cut] if body else b"", len(part))
        if body:
            web.sent[path] = web.sent.get(path, 0) + len(part[:cut])
        return None

    def _send(self, status: int, headers: dict[str, str], body: bytes, length: int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)
        if len(body) < length and self.command != "HEAD":
            self.close_connection = True
