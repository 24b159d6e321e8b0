"""What strangers send to a server that hands out, and what stands in reasons: nothing of it leaves its place."""

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent))

from handing_house import World, accepted, anybody_may_read, counter, granted

from weighbridge.core.errors import Refused
from weighbridge.server.ranges import wanted
from weighbridge.server.refusals import MAX_LINE, header, refused
from world_house import Hand


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    anybody_may_read(made)
    yield made
    made.registry.close()


@given(st.text(max_size=3000))
def test_any_reason_fits_into_a_header(text):
    shown = header(text)
    assert len(shown) <= MAX_LINE
    assert all(" " <= char <= "~" for char in shown)
    reply = refused(Refused(text, cause=text, remedy=text, check="status.active"))
    raw = dict(reply.raw_headers)
    assert raw[b"x-error-code"] == b"GatedRepo"
    assert b"\n" not in raw[b"x-error-message"]
    assert json.loads(reply.body)["error"] == raw[b"x-error-message"].decode("ascii")


def test_a_reason_cannot_add_headers_or_show_a_token():
    said = header("no\r\nSet-Cookie: a=b\x00\x85\u2028more wb_0123 eyJhbGciOiJFUzI1NiJ9.e30.c2ln")
    assert said.startswith("no Set-Cookie: a=b more")
    assert "eyJ" not in said


@given(
    st.text(alphabet="bytes=0123456789-, *", max_size=40)
    | st.from_regex(r"\Abytes=[0-9]{0,30}-[0-9]{0,30}\Z"),
    st.integers(0, 10**15),
)
@settings(max_examples=300)
def test_no_range_leaves_the_file(text, size):
    asked = wanted({"range": text}, size=size, etag='"x"')
    assert asked.status in (200, 206, 416)
    assert 0 <= asked.start <= asked.end <= size
    if asked.status == 206:
        assert asked.start < asked.end
    if asked.status == 200:
        assert (asked.start, asked.end) == (0, size)


def raw(served, *pieces):
    """Send bytes as they are, and return all that comes back."""
    with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])), timeout=30) as made:
        came = b""
        try:
            for piece in pieces:
                made.sendall(piece)
            while more := made.recv(65536):
                came += more
        except ConnectionError:
            came += b"(cut)"
        return came


def test_requests_without_manners(world):
    folder = world.model()
    data = (folder / "config.json").read_bytes()
    accepted(world, folder)
    path = b"/org/model/resolve/main/config.json"
    host = b"Host: 127.0.0.1\r\nConnection: close\r\n"
    with counter(world) as served:
        with_body = raw(served, b"HEAD " + path + b" HTTP/1.1\r\n" + host + b"Content-Length: 5\r\n\r\nhello")
        assert with_body.startswith(b"HTTP/1.1 4")
        assert data not in with_body
        huge = raw(
            served,
            b"GET " + path + b" HTTP/1.1\r\n" + host + b"Range: bytes=" + b"0-1," * 100_000 + b"\r\n\r\n",
        )
        assert huge.startswith((b"HTTP/1.1 4", b"(cut)")), "a head that is too large is not taken"
        assert data not in huge
        twice = raw(
            served, b"GET " + path + b" HTTP/1.1\r\n" + host + b"Range: bytes=0-0\r\nRange: bytes=1-1\r\n\r\n"
        )
        assert twice.startswith((b"HTTP/1.1 206", b"HTTP/1.1 400", b"HTTP/1.1 416"))
        other = raw(served, b"GET " + path + b" HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        assert other.startswith(b"HTTP/1.1 421")
        for method in (b"POST", b"PUT", b"DELETE", b"PATCH"):
            assert raw(served, method + b" " + path + b" HTTP/1.1\r\n" + host + b"\r\n").startswith(
                b"HTTP/1.1 405"
            )
        assert served.get(path.decode()).content == data


def test_the_verb_hands_out(tmp_path):
    world = World(
        tmp_path, Hand(datetime.now(UTC).replace(microsecond=0))
    )  # the verb has the machine's clock
    accepted(world, world.model(), name="encoder")
    secret = granted(world, "ci")
    world.registry.close()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("WEIGHBRIDGE")},
        **world.environ,
        "WEIGHBRIDGE_HOME": str(tmp_path / "registry"),
        "WEIGHBRIDGE_RECORDS": str(world.config["records"]),
    }
    command = [
        sys.executable,
        "-m",
        "weighbridge",
        "serve",
        "--mirror",
        "--port",
        "0",
        "--format",
        "jsonl",
        "--heartbeat",
        "0",
    ]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            said = json.loads(line)
            assert said["mirror"] is True
            done = subprocess.run(
                [sys.executable, "-c", _ASKS, said["url"], secret],
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )
            assert json.loads(done.stdout) == [401, 200, 200]
        finally:
            process.terminate()
            process.communicate(timeout=30)


_ASKS = """
import json, sys
import httpx2
url, secret = sys.argv[1:]
found = []
for path, token in (("/v2/", ""), ("/v2/encoder/tags/list", secret), ("/encoder/resolve/main/config.json", secret)):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    found.append(httpx2.get(url + path, headers=headers).status_code)
print(json.dumps(found))
"""
