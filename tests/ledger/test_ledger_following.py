"""Reading other people's logs over HTTP: whole and partial tiles, and servers that lie, stall or send too much."""

from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from witness_bench import NOW, ORIGIN, key

from weighbridge.core.errors import (
    BadSetting,
    NotFound,
    OutOfBudget,
    Unreachable,
    Unreadable,
    VerificationFailed,
)
from weighbridge.ledger.following import MAX_TILE, AddressSource, LogReader, Position, read_all, source_of
from weighbridge.ledger.merkle import Frontier
from weighbridge.ledger.sequencer import Log


class Server:
    """Serves the files of a log as `Log.resource` gives them; `lies` are answers (status, bytes) by path."""

    def __init__(self, log):
        self.log, self.lies, self.asked = log, {}, []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                path = self.path.lstrip("/")
                server.asked.append(path)
                status, data = server.lies.get(path) or server.answer(path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, path):
        try:
            return 200, self.log.resource(path)
        except NotFound:
            return 404, b""

    def reader(self):
        return LogReader(
            AddressSource(self.url, offline=False), origin=ORIGIN, public_pem=self.log.public_pem
        )

    def read(self, **options):
        bodies = []
        _, head = read_all(self.reader(), lambda stretch: bodies.extend(stretch.bodies), **options)
        assert head.size == len(bodies)
        return bodies


@pytest.fixture
def server(tmp_path):
    log = Log.create(tmp_path / "log", ORIGIN, key("log"), now=NOW, genesis=[b"one", b"two"])
    made = Server(log)
    yield made
    made.http.shutdown()
    made.http.server_close()


def grow(server, count):
    bodies = [b"entry %d" % (server.log.size + number) for number in range(count)]
    server.log.append(bodies, signer=key("log"), now=NOW)


@pytest.mark.parametrize("size", [2, 3, 255, 256, 257, 512, 700])
def test_all_of_a_log_is_read(server, size):
    grow(server, size - 2) if size > 2 else None
    expected = [entry.body for entry in server.log.entries()]
    assert server.read() == expected
    assert server.read(most=1) == expected


def test_a_stretch_ends_where_a_tile_does_and_goes_on_there(server):
    grow(server, 998)
    reader = server.reader()
    _, head = reader.head()
    position, ends = Position(Frontier()), []
    while position.size < head.size:
        stretch = reader.read(position, head, 300)
        assert stretch.start == position.size
        position = stretch.end
        ends.append(position.size)
    assert ends == [512, 1000]


def test_large_entries_come_a_few_at_a_time(server, monkeypatch):
    monkeypatch.setattr("weighbridge.ledger.following.MAX_STRETCH", 1000)
    grow(server, 998)
    reader = server.reader()
    _, head = reader.head()
    stretch = reader.read(Position(Frontier()), head, 10**6)
    assert stretch.end.size == 256
    assert len(server.read()) == 1000


def test_a_server_that_keeps_only_full_tiles_for_an_old_checkpoint(server):
    """C2SP tlog-tiles: a partial tile may be gone once the full one is there."""
    grow(server, 100)
    note = server.log.resource("checkpoint")
    grow(server, 300)
    server.lies = {"checkpoint": (200, note)}
    for path in ("tile/0/000.p/102", "tile/entries/000.p/102"):
        server.lies[path] = (404, b"")
    assert len(server.read()) == 102
    assert "tile/entries/000" in server.asked


@pytest.mark.parametrize("status", [302, 401, 500, 503])
def test_a_server_that_does_not_give_files(server, status):
    server.lies["tile/entries/000.p/2"] = (status, b"")
    with pytest.raises(Unreachable):
        server.read()


def test_a_server_that_sends_too_much(server):
    server.lies["tile/entries/000.p/2"] = (200, bytes(MAX_TILE + 1))
    with pytest.raises(OutOfBudget):
        server.read()
    server.lies = {"checkpoint": (200, b"x" * 2**20)}
    with pytest.raises(Unreadable):
        server.read()


def test_a_server_that_withholds_or_changes(server):
    grow(server, 300)
    for path, lie, error in (
        ("checkpoint", (404, b""), NotFound),
        ("checkpoint", (200, b"\xff"), Unreadable),
        ("checkpoint", (200, b"nonsense"), VerificationFailed),
        ("tile/entries/000", (404, b""), NotFound),
        ("tile/entries/000", (200, b"\x00\x01"), Unreadable),
        ("tile/entries/000", (200, server.log.resource("tile/entries/000").replace(b"entry 9", b"entry 0", 1)), VerificationFailed),
        ("tile/entries/000", (200, b""), Unreadable),
    ):  # fmt: skip
        server.lies = {path: lie}
        with pytest.raises(error):
            server.read()
    server.lies = {"tile/0/000": (200, b"short")}
    old = server.log.root_at(2)
    reader = server.reader()
    head = reader.head()[1]
    with pytest.raises(Unreadable):
        reader.check_extends(type(head)(ORIGIN, 2, old), head)
    server.lies = {}
    reader.check_extends(type(head)(ORIGIN, 2, old), head)
    with pytest.raises(VerificationFailed):
        reader.check_extends(type(head)(ORIGIN, 2, bytes(32)), head)


def test_nobody_is_asked_offline_and_places_that_are_none(server, tmp_path):
    with pytest.raises(Unreachable):
        source_of(server.url, offline=True)
    with pytest.raises(NotFound):
        source_of(str(tmp_path / "nowhere"), offline=False)
    with pytest.raises(BadSetting) as error:
        source_of("http://user:password@127.0.0.1/", offline=False)
    assert "the address of the log" in error.value.problem
    assert server.asked == []
