"""An OPA server for tests: a small front that speaks OPA's /v1 API on loopback, with an evaluator behind it.

The front is ours. Behind it is either OPA itself, as the shared library that `make setup FULL=1` fetches
(tools/fetch_opa.py), or regorus for tests of nothing but the conversation. No OPA server program is involved, and no test
may claim so. `lies` has it misbehave: a function that is given the request and may answer it instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from weighbridge.core.errors import CannotTell
from weighbridge.policy.engines.regorus import RegorusEngine

LIBRARY = Path(__file__).resolve().parent.parent / ".cache" / "opa" / "libopabridge.so"


class PolicyError(Exception):
    """The evaluator refuses."""


class OpaLibrary:
    """OPA itself: modules and data as they are given, documents as OPA finds them."""

    _loaded = None

    def __init__(self, modules, data):
        lib = OpaLibrary._loaded = OpaLibrary._loaded or self._load()
        self._lib, self._handle = lib, lib.OpaNew()
        for name, text in sorted(modules.items()):
            self._call(lib.OpaAddPolicy, name.encode(), text.encode())
        if data:
            self._call(lib.OpaAddData, b"", json.dumps(data).encode())
        self.query("true", {})

    @staticmethod
    def _load():
        lib = ctypes.CDLL(str(LIBRARY))
        lib.OpaNew.restype = ctypes.c_uint64
        lib.OpaDestroy.argtypes = [ctypes.c_uint64]
        lib.OpaFreeString.argtypes = [ctypes.c_void_p]
        for name, arguments in (
            ("OpaAddPolicy", [ctypes.c_char_p] * 2),
            ("OpaAddData", [ctypes.c_char_p] * 2),
            ("OpaEvalQuery", [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]),
        ):
            function = getattr(lib, name)
            function.restype = ctypes.c_void_p
            function.argtypes = [ctypes.c_uint64, *arguments]
        return lib

    def _call(self, function, *arguments):
        pointer = function(self._handle, *arguments)
        try:
            said = json.loads(ctypes.string_at(pointer))
        finally:
            self._lib.OpaFreeString(pointer)
        if said.get("error"):
            raise PolicyError(said["error"].get("message", ""))
        return said.get("result")

    def query(self, query, question):
        """Return the value of a query's one expression, or None with False when it is undefined."""
        rows = self._call(self._lib.OpaEvalQuery, query.encode(), json.dumps(question).encode(), 0, 0)
        return (rows[0]["expressions"][0]["value"], True) if rows else (None, False)

    def close(self):
        self._lib.OpaDestroy(self._handle)


class RegorusStandIn:
    """regorus behind the front: for the conversation, not for what OPA would say."""

    _engine = RegorusEngine()

    def __init__(self, modules, data):
        self._modules, self._data = modules, data
        if modules:
            self.query("null", {})

    def query(self, query, question):
        try:
            return self._engine.query(self._modules, self._data, question, query), True
        except CannotTell as error:
            if "is undefined" in error.problem:
                return None, False
            raise PolicyError(error.problem) from error

    def close(self):
        """Leave the engine to the next: it keeps nothing of a policy but its parsed rules."""


class Front:
    """The server; a context manager. `modules` and `data` are what it holds, `asked` the requests that came."""

    def __init__(self, evaluator=RegorusStandIn, *, token="", tls=None, version="1.99.0"):
        self.evaluator, self.token, self.version = evaluator, token, version
        self.modules, self.data, self.asked = {}, {}, []
        self.lies = None
        self.lock = threading.RLock()
        front = self

        class Handler(_Handler):
            world = front

        self._server = _Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://localhost:{self._server.server_address[1]}"
        self._made = None

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self.forget()

    def made(self):
        key = json.dumps([self.modules, self.data], sort_keys=True)
        if self._made is None or self._made[0] != key:
            self.forget()
            self._made = (key, self.evaluator(self.modules, self.data))
        return self._made[1]

    def forget(self):
        if self._made is not None:
            self._made[1].close()
            self._made = None

    def handle(self, method, path, body):
        """Return status and document; OPA's REST API, as far as it is used here."""
        if path == "/health":
            return 200, {}
        if path == "/v1/policies" and method == "GET":
            return 200, {"result": [{"id": n, "raw": t, "ast": {}} for n, t in sorted(self.modules.items())]}
        if path.startswith("/v1/policies/"):
            return self._policy(method, path.removeprefix("/v1/policies/"), body)
        if path.startswith("/v1/data/") and method == "PUT":
            self.data[path.removeprefix("/v1/data/")] = json.loads(body)
            return 204, None
        if path.startswith("/v1/data/") and method == "POST":
            return self._document(path.removeprefix("/v1/data/").replace("/", "."), json.loads(body)["input"])
        return 404, {"code": "resource_not_found", "message": "no"}

    def _policy(self, method, name, body):
        changed = dict(self.modules)
        if method == "DELETE":
            if changed.pop(name, None) is None:
                return 404, {"code": "resource_not_found", "message": "storage_not_found_error"}
        else:
            changed[name] = body.decode()
        try:
            self.evaluator(changed, self.data).close()
        except PolicyError as error:
            said = {"code": "rego_compile_error", "message": str(error)}
            return 400, {"code": "invalid_parameter", "message": "error(s) occurred", "errors": [said]}
        self.modules = changed
        return 200, {}

    def _document(self, path, question):
        known = {"decision_id": "7f3c1e", "provenance": {"version": self.version}}
        try:
            value, defined = self.made().query(f"data.{path}", question)
        except PolicyError as error:
            said = {"code": "eval_builtin_error", "message": str(error)}
            return 500, {"code": "internal_error", "message": "error(s) occurred", "errors": [said]}
        return 200, {**known, "result": value} if defined else known


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Say nothing of clients that went away: they are meant to."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536
    world: Front

    def log_message(self, *_):
        pass

    def answer(self):
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        world = self.world
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
            if world.lies is not None and world.lies(self, self.command, unquote(parts.path)):
                return
            with world.lock:
                world.asked.append((self.command, unquote(parts.path), parts.query))
                if world.token and self.headers.get("Authorization") != f"Bearer {world.token}":
                    status, document = 401, {"code": "unauthorized", "message": "who are you?"}
                else:
                    status, document = world.handle(self.command, unquote(parts.path), body)
            self.send(status, b"" if document is None else json.dumps(document).encode())

    def send(self, status, data, *, length=None, headers=()):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 (the names that http.server calls)
