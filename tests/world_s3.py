"""S3 over real HTTP on loopback: moto's server in a process of its own, and a proxy before it that does wrong when told."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MOTO = Path(sys.prefix) / "services" / "bin" / "moto_server"
QUICK = {
    "region": "us-east-1",
    "access_key_id": "test",
    "secret_access_key": "test",
    "virtual_hosted_style_request": False,
    "client_options": {"allow_http": True, "timeout": "1500ms", "connect_timeout": "1s"},
}
"""What a client of these servers is given; retries are quick, so that thousands of faults take minutes."""


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@contextmanager
def moto():
    """Yield the address of a server that answers as S3 does."""
    port = free_port()
    with subprocess.Popen(
        [MOTO, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(300):
                with suppress(OSError):
                    urllib.request.urlopen(f"{address}/moto-api/", timeout=5).close()
                    break
                time.sleep(0.1)
            yield address
        finally:
            process.terminate()


def environment(address):
    """Return the variables by which clients find the server at an address."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
    }


def bucket(address, name, *, versions=False):
    """Make a bucket."""
    ask(f"{address}/{name}")
    if versions:
        body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        ask(f"{address}/{name}?versioning", body=body)


def ask(url, method="PUT", body=None):
    """Send one request as somebody who may: moto looks whether there is a signature, not at it."""
    headers = {
        "Content-Type": "application/octet-stream",
        "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, "
        "SignedHeaders=host, Signature=0",
    }
    request = urllib.request.Request(url, method=method, data=body, headers=headers)
    urllib.request.urlopen(request, timeout=10).close()


class Proxy:
    """Stands between a client and S3 and gives every request to `fault` first.

    A fault is a function of (handler, method, path, headers, body) that answers by `handler.passed`, `handler.answer`
    or not at all, and returns True; or returns False and leaves the request alone. `seen` counts requests by
    method, `got` the bytes of objects that were handed out.
    """

    def __init__(self, upstream):
        self.upstream = upstream.removeprefix("http://")
        self.fault = None
        self.seen = Counter()
        self.got = 0
        self.lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def handle_one_request(self):
                with suppress(OSError):
                    super().handle_one_request()

            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with proxy.lock:
                    proxy.seen[self.command] += 1
                    fault = proxy.fault
                if fault is None or not fault(self, self.command, self.path, body):
                    self.answer(*self.ask(body))

            do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815 (the names that http.server calls)

            def ask(self, body, **changed):
                """Send the request on; returns status, headers and body of the answer."""
                inner = HTTPConnection(proxy.upstream, timeout=30)
                try:
                    headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"} | changed
                    inner.request(self.command, self.path, body=body or None, headers=headers)
                    got = inner.getresponse()
                    data = got.read()
                    return got.status, got.getheaders(), data
                finally:
                    inner.close()

            def answer(self, status, headers, body, *, length=None, drip=0.0):
                """Answer; `length` is what the header says where that is not the truth."""
                self.send_response(status)
                told = {key.lower(): value for key, value in headers}
                for key, value in told.items():
                    if key not in ("content-length", "connection", "transfer-encoding", "server", "date"):
                        self.send_header(key, value)
                said = told.get("content-length", "0") if self.command == "HEAD" else len(body)
                self.send_header("Content-Length", str(said if length is None else length))
                self.end_headers()
                if self.command == "HEAD":
                    return
                if drip:
                    for start in range(0, len(body), 1000):
                        self.wfile.write(body[start : start + 1000])
                        time.sleep(drip)
                else:
                    self.wfile.write(body)
                if self.command == "GET" and told.get("content-type") != "application/xml":
                    proxy.got += len(body)
                if length is not None and length != len(body):
                    self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
