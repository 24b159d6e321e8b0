"""Somebody on loopback who is told of alerts: records all that comes, and can be slow, hostile or gone."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "a-secret-that-is-long-enough"


class Receiver:
    """`behaviour` is what it does with a request: an int (the status), or one of the words in `_answer`."""

    def __init__(self):
        self.behaviour = 200
        self.requests = []
        self.stop = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                outer.requests.append((self.path, dict(self.headers.items()), body))
                self._answer()

            def _answer(self):
                done = outer.behaviour
                if done == "cut":
                    self.connection.shutdown(socket.SHUT_RDWR)
                elif done == "silent":
                    outer.stop.wait(20)
                elif done == "drip":
                    self._drip(b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 1000)
                elif done == "drip-body":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                    self._drip(b"a" * 1000)
                elif done == "huge":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
                    try:
                        for _ in range(1000):
                            self.wfile.write(b"a" * 100000)
                    except OSError:
                        pass
                else:
                    status, headers = done if isinstance(done, tuple) else (done, {})
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def _drip(self, data):
                try:
                    for byte in data:
                        if outer.stop.is_set():
                            return
                        self.wfile.write(bytes([byte]))
                        self.wfile.flush()
                        time.sleep(0.05)
                except OSError:
                    pass

            def log_message(self, *_given):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_given: None  # whoever asked may be gone
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self):
        self.stop.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def told(self):
        """The alerts that came."""
        return [json.loads(body)["alerts"][0] for _, _, body in self.requests]

    @property
    def summaries(self):
        return [row["summary"] for row in self.told]


def verified(headers, body, secret, now, *, window=300):
    """Do what docs/reference/alerts.md tells a receiver to do; returns whether it may believe the request."""
    stamp = headers["Weighbridge-Timestamp"]
    expected = "v1=" + hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, headers["Weighbridge-Signature"]) and abs(now - int(stamp)) <= window
