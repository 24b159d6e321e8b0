"""A wire between a client and PostgreSQL that can be cut: bytes wait on both sides, and nobody is told, until it is mended."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa


class Wire:
    """`with Wire(url) as wire:` gives at `wire.url` the database of `url`, over TCP on loopback and through here."""

    def __init__(self, url):
        parsed = sa.make_url(url)
        self._server = Path(parsed.query["host"]) / f".s.PGSQL.{parsed.query.get('port', 5432)}"
        self._listening = socket.create_server(("127.0.0.1", 0))
        query = {name: value for name, value in parsed.query.items() if name not in ("host", "port")}
        self.url = parsed.set(
            host="127.0.0.1", port=self._listening.getsockname()[1], query=query
        ).render_as_string(hide_password=False)
        self.whole = threading.Event()
        self.whole.set()
        self.cuts = 0
        self._ends, self._threads = [], []

    def cut(self):
        self.whole.clear()
        self.cuts += 1

    def mend(self):
        self.whole.set()

    def __enter__(self):
        self._start(self._accept)
        return self

    def __exit__(self, *_):
        self.mend()
        self._listening.shutdown(socket.SHUT_RDWR)
        for one in self._ends:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listening.close()

    def _start(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self):
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                self._ends.append(near)
                self._start(self._join, near)

    def _join(self, near):
        self.whole.wait()
        with near, socket.socket(socket.AF_UNIX) as far, suppress(OSError):
            far.connect(str(self._server))
            self._ends.append(far)
            back = self._start(self._carry, far, near)
            self._carry(near, far)
            back.join()

    def _carry(self, one, other):
        """Carry bytes one way, also the news that there will be none; what comes while the wire is cut waits."""
        with suppress(OSError):
            while data := one.recv(65536):
                self.whole.wait()
                other.sendall(data)
        self.whole.wait()
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
