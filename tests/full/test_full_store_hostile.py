"""S3 behind a proxy that does wrong in every way we could think of: nothing wrong is handed out, nothing acknowledged is lost."""

import itertools
import sys
import threading
import time
from collections import Counter

import pytest
from test_full_store_s3 import again, bucket, moto

from store_conformance import MIB, cut, made
from weighbridge.core.digest import Digest
from weighbridge.core.errors import WeighbridgeError
from world_s3 import Proxy

pytestmark = pytest.mark.full

QUICK = {"client_options": {"allow_http": True, "timeout": "700ms", "connect_timeout": "500ms"}}
SHORT = {"client_options": {"allow_http": True, "timeout": "250ms", "connect_timeout": "500ms"}}
"""For whoever is given no answer in any case: half as long as the silence."""
SERIAL = itertools.count()
ERROR = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>of ours</Message></Error>"
OUTCOMES, HURT = Counter(), Counter()


def flipped(data):
    return bytes([data[0] ^ 1]) + data[1:] if data else b"x"


# A fault answers a request and returns True, or returns False and leaves it alone.


def silent(handler, body):
    time.sleep(0.5)
    handler.close_connection = True


def silent_after(handler, body):
    handler.ask(body)
    silent(handler, body)


def status(code):
    def fault(handler, body):
        handler.answer(code, [], b"" if handler.command == "HEAD" else ERROR)

    return fault


def failed_after(handler, body):
    handler.ask(body)
    handler.answer(500, [], ERROR)


def reset(handler, body):
    handler.close_connection = True


def spoiling(spoil, **how):
    def fault(handler, body):
        code, headers, data = handler.ask(body)
        handler.answer(code, headers, spoil(data), **how)

    return fault


def truncated(handler, body):
    code, headers, data = handler.ask(body)
    handler.answer(code, headers, data[: len(data) // 2], length=len(data))


def other_range(handler, body):
    code, headers, data = handler.ask(body, Range="bytes=1-" + str(10**9))
    wanted = handler.headers.get("Range", "")
    if not wanted:
        handler.answer(code, headers, data)
        return
    first, last = (int(part) for part in wanted.removeprefix("bytes=").split("-"))
    data = data[first : last + 1].ljust(last + 1 - first, b"x")
    told = [row for row in headers if row[0].lower() != "content-range"]
    handler.answer(206, [*told, ("Content-Range", f"bytes {first}-{last}/{last + 2}")], data)


def whole(handler, body):
    _, headers, data = handler.ask(body, Range="bytes=0-")
    handler.answer(200, [row for row in headers if row[0].lower() != "content-range"], data)


def lost(handler, body):
    answer = b""
    if handler.command == "POST":
        key = handler.path.partition("?")[0]
        answer = (
            f"<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>{key}</Key><UploadId>none</UploadId>"
            "</InitiateMultipartUploadResult>"
            if "uploads" in handler.path
            else f"<CompleteMultipartUploadResult><Key>{key}</Key><ETag>&quot;{0:032x}-1&quot;</ETag>"
            "</CompleteMultipartUploadResult>"
        ).encode()
    handler.answer(200, [("ETag", f'"{0:032x}"')], answer)


def stored(spoil):
    def fault(handler, body):
        changed = spoil(body) if handler.command == "PUT" else body
        handler.answer(*handler.ask(changed, **{"Content-Length": str(len(changed))}))

    return fault


def unconditional(handler, body):
    del handler.headers["If-None-Match"]
    handler.answer(*handler.ask(body))


def complete_fails(handler, body):
    handler.answer(200, [], ERROR)


def said_present(handler, body):
    length = str(SAID["size"])
    handler.answer(200, [("Content-Length", length), ("ETag", f'"{1:032x}"'), LAST], b"")


def said_larger(handler, body):
    code, headers, data = handler.ask(body)
    told = [row for row in headers if row[0].lower() != "content-length"]
    handler.answer(code, [*told, ("Content-Length", str(SAID["size"] + 1))], data)


def other_tag(handler, body):
    code, headers, data = handler.ask(body)
    handler.answer(code, [*(r for r in headers if r[0].lower() != "etag"), ("ETag", '"other"')], data)


LAST = ("Last-Modified", "Mon, 23 Nov 2026 15:50:18 GMT")
SAID = {"size": 0}
ANY = {
    "no answer": silent,
    "done and no answer": silent_after,
    "500": status(500),
    "503": status(503),
    "403": status(403),
    "404": status(404),
    "connection reset": reset,
    "done and 500": failed_after,
}
ANSWERS = {
    "a body cut in half": truncated,
    "one byte less": spoiling(lambda data: data[:-1]),
    "no body": spoiling(lambda _: b""),
    "a wrong byte": spoiling(flipped),
    "one byte more": spoiling(lambda data: data + b"x"),
    "zeros": spoiling(lambda data: bytes(len(data))),
    "another range": other_range,
    "the whole for a range": whole,
    "a byte now and then": spoiling(lambda data: data, drip=0.05),
}
UPLOADS = {
    "acknowledged and lost": lost,
    "a wrong byte stored": stored(flipped),
    "one byte less stored": stored(lambda data: data[:-1]),
    "nothing stored": stored(lambda _: b""),
    "412 while absent": status(412),
    "409": status(409),
    "200 twice": unconditional,
    "200 with an error in it": complete_fails,
}
HEADS = {"said to be there": said_present, "said to be larger": said_larger, "another tag": other_tag}
TIMES = {"once": 1, "twice": 2, "always": 10**9}
SMALL, LARGE = 3000, 9 * MIB

CASES = [
    *(
        ("put", size, ("PUT", "POST"), f, t)
        for size in (0, SMALL, LARGE)
        for f in {**ANY, **UPLOADS}
        for t in TIMES
        if t != "twice"
    ),
    *(
        ("put", size, ("HEAD",), f, t)
        for size in (SMALL, LARGE)
        for f in {**ANY, **HEADS}
        for t in TIMES
        if t != "twice"
    ),
    *(("put", LARGE, ("GET",), f, "always") for f in {**ANY, **ANSWERS}),
    *(
        (op, SMALL, ("GET",), f, t)
        for op in ("verify", "local", "read", "open")
        for f in {**ANY, **ANSWERS}
        for t in TIMES
    ),
    *((op, LARGE, ("GET",), f, t) for op in ("verify", "local") for f in ANSWERS for t in ("once", "always")),
    *(
        (op, SMALL, ("HEAD",), f, "always")
        for op in ("verify", "local", "size", "has", "stamp")
        for f in {**ANY, **HEADS}
    ),
    *(("digests", SMALL, ("GET",), f, "always") for f in {**ANY, **ANSWERS}),
]
FAULTS = {**ANY, **ANSWERS, **UPLOADS, **HEADS}


@pytest.fixture(scope="module")
def server():
    with moto() as address, Proxy(address) as proxy:
        yield address, proxy


def faulty(methods, name, times, *, hide=False):
    """Return the fault that befalls the first `times` requests of these methods; `hide` the tag that would prove a put."""
    left, lock = [times], threading.Lock()

    def fault(handler, method, path, body):
        if hide and method == "HEAD":
            other_tag(handler, body)
            return True
        with lock:
            if method not in methods or left[0] <= 0:
                return False
            left[0] -= 1
            HURT[name] += 1
        FAULTS[name](handler, body)
        return True

    return fault


def whole_stream(stream):
    with stream:
        return stream.read()


def ask(blobs, op, digest, data):
    """Call the store; returns what came, and whether it is true."""
    calls = {
        "put": (lambda: blobs.put(cut(data), expected=digest), digest),
        "verify": (lambda: blobs.verify(digest), True),
        "local": (lambda: blobs.local(digest).read_bytes(), data),
        "read": (lambda: blobs.read(digest, 10, 500), data[10:510]),
        "open": (lambda: whole_stream(blobs.open(digest)), data),
        "size": (lambda: blobs.size(digest), len(data)),
        "has": (lambda: blobs.has(digest), True),
        "stamp": (lambda: blobs.stamp(digest) is not None, True),
        "digests": (lambda: list(blobs.digests()), [digest]),
    }
    call, truth = calls[op]
    try:
        found = call()
    except WeighbridgeError as error:
        return "an error that says so" if error.remedy and error.kind != "internal" else repr(error)
    return "right" if found == truth else found


@pytest.mark.parametrize(
    ("op", "size", "methods", "name", "times"),
    CASES,
    ids=["-".join(map(str, (o, s, m[0], f, t))) for o, s, m, f, t in CASES],
)
def test_a_fault_is_survived_or_said(server, tmp_path, op, size, methods, name, times):
    address, proxy = server
    where = f"hostile-{next(SERIAL)}"
    bucket(address, where)
    data = made(size, name.encode())
    digest = Digest.of(data)
    SAID["size"] = size
    honest = again(address, where, tmp_path / "honest", **QUICK)
    if op != "put":
        honest.put(cut(data))
    blobs = again(proxy.address, where, tmp_path / "cache", **(SHORT if "no answer" in name else QUICK))
    hurt = HURT[name]
    proxy.fault = faulty(methods, name, TIMES[times], hide=op == "put" and methods == ("GET",))
    try:
        came = ask(blobs, op, digest, data)
    finally:
        proxy.fault = None
    OUTCOMES[came if isinstance(came, str) else "wrong"] += 1
    if op in ("put", "local"):
        assert came in ("right", "an error that says so")
    elif op == "verify":
        assert came in ("right", "an error that says so", False)
    elif op in ("read", "open"):  # unverified: other bytes may come, never fewer and never more
        assert isinstance(came, str) or len(came) == len(data if op == "open" else data[10:510])
    if (
        times == "once"
        and op in ("verify", "local")
        and name in ANSWERS
        and name not in ("a wrong byte", "zeros", "another range", "the whole for a range")
    ):
        assert came == "right", "one cut answer is asked for again"
    fresh = again(address, where, tmp_path / "fresh", **QUICK)
    if op == "put" and came != "right":
        assert not fresh.has(digest) or fresh.verify(digest), "wrong bytes stayed under a blob's name"
        patient = again(proxy.address, where, tmp_path / "cache", **QUICK)
        assert patient.put(cut(data), expected=digest) == digest
    assert fresh.verify(digest), "what was acknowledged is not there"
    assert HURT[name] > hurt or (op == "put" and size < LARGE), "the fault befell nothing"


def test_the_table_is_long():
    sys.stdout.write(f"{len(CASES)} cases of {len(FAULTS)} faults; in this process: {dict(OUTCOMES)}\n")
    assert len(CASES) >= 300
    assert {case[3] for case in CASES} == set(FAULTS)
