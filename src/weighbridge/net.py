"""The one door to the network: the HTTP client that libraries are given, with its limits.

Every answer is bounded in size and in time, no redirect changes the scheme, nothing comes compressed (a
bound on compressed bytes bounds nothing), and names that a server proposes for files are looked at before
a library can use them as such. When the door is closed (`offline`) no client is made at all.
"""

from __future__ import annotations

import io
import queue
import re
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

from weighbridge.core.errors import (
    BadSetting,
    OutOfBudget,
    Unreachable,
    VerificationFailed,
    WeighbridgeError,
)

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
MAX_DOCUMENT = 64 * 1024 * 1024
"""Bytes of one answer that is not a file: a listing, an error."""

_ETAG = re.compile(r'(?:W/)?"?[0-9A-Za-z][0-9A-Za-z._-]{0,127}"?')
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Door:
    """A way out to one address; see `letting_in` before asking for a large file."""

    def __init__(
        self,
        endpoint: str,
        *,
        offline: bool,
        has_token: bool = False,
        most: int | None = None,
        what: str = "the hub",
        setting: str = "the --endpoint setting or HF_ENDPOINT",
        roots: ssl.SSLContext | None = None,
        tags: bool = True,
    ) -> None:
        """Check an address; `most` bounds its documents in bytes (MAX_DOCUMENT), `what` and `setting` name it in messages.

        `roots` says whose certificates are believed, and may hold one to show; the machine's own by default. Without
        `tags` any entity tag will do: for those who make no file names of them.
        """
        if offline:
            raise Unreachable(
                f"{endpoint} was not asked",
                cause="working offline",
                remedy="leave out --offline, or use a model that is on this machine",
                check="net.offline",
            )
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise BadSetting(
                f"the address of {what} cannot be used",
                cause="it must be https://host or http://host, without a user name or password in it",
                remedy=f"check {setting}",
            )
        if has_token and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise BadSetting(
                f"the token would go to {parts.hostname} in the clear",
                cause=f"the address of {what} begins with http:// and is not on this machine",
                remedy="use https://, or do not give a token",
            )
        self.host = parts.hostname
        self._most = self._max_body = MAX_DOCUMENT if most is None else most
        self._roots = roots or httpx2.create_ssl_context()  # reading the certificates is dear: once a door
        self._checks = [_check_redirect, _check_headers] if tags else [_check_redirect, _check_encoding]

    def client(self, *, environment: bool = True) -> httpx2.Client:
        """Make a client; the caller closes it. Without `environment` no proxy is used that the environment names."""
        return httpx2.Client(
            event_hooks={
                "request": [_check_request],
                "response": [*self._checks, self._bound_body],
            },
            follow_redirects=True,
            max_redirects=5,
            timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            verify=self._roots,
            trust_env=environment,
        )

    @contextmanager
    def letting_in(self, size: int) -> Iterator[None]:
        """Let answers of up to `size` bytes in for the time of the block, documents as always."""
        self._max_body = max(size, self._most)
        try:
            yield
        finally:
            self._max_body = self._most

    def _bound_body(self, response: httpx2.Response) -> None:
        assert isinstance(response.stream, httpx2.SyncByteStream)
        response.stream = _Counted(response.stream, self.host, self._max_body)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request: the status and the whole body, whichever status it is."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """By their names in small letters."""


def ask(
    door: Door,
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    seconds: float | None = None,
    follow: bool = False,
) -> Answer:
    """Ask once and follow no redirect, since what is sent may be a secret; raises Unreachable when nothing came.

    With `follow` redirects are followed: for questions that hold no secret but a token, which stays with the first host.

    The answer is bounded as every answer is: by the door, in bytes (64 MiB unless it says less) and in time. `seconds`
    bounds each wait, and the whole of the answer's body; a head that comes byte by byte may take longer.
    """
    limit = httpx2.USE_CLIENT_DEFAULT if seconds is None else httpx2.Timeout(seconds)
    end = None if seconds is None else time.monotonic() + seconds
    try:
        with (
            door.client() as client,
            client.stream(
                method,
                url,
                headers=dict(headers or {}),
                content=body or None,
                follow_redirects=follow,
                timeout=limit,
            ) as answer,
        ):
            blocks = []
            for block in answer.iter_bytes():
                blocks.append(block)
                if end is not None and time.monotonic() > end:
                    raise httpx2.ReadTimeout("the answer came too slowly")
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError):  # the last may quote a secret
        raise Unreachable(
            f"{door.host} gave no usable answer",
            cause="the connection broke off, there was none in time, or what was to be sent cannot be",
            remedy="check the connection, then try again",
            check="net.unreachable",
        ) from None
    told = {name.lower(): value for name, value in answer.headers.items()}
    return Answer(answer.status_code, b"".join(blocks), told)


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of certificates in PEM: whom to believe (empty: whom the machine believes), and what to show."""

    ca: str = ""
    certificate: str = ""
    key: str = ""

    def context(self, what: str) -> ssl.SSLContext:
        """Read them; raises BadSetting."""
        try:
            roots = ssl.create_default_context(cafile=self.ca) if self.ca else httpx2.create_ssl_context()
            if self.certificate:
                roots.load_cert_chain(self.certificate, self.key or None, password=_no_password)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise BadSetting(
                f"the certificates for {what} cannot be read",
                cause=str(error),
                remedy="give files in PEM; a key that needs a passphrase cannot be used here",
            ) from error
        return roots


def _no_password() -> str:
    raise ValueError("the key is encrypted")


class Line:
    """A service that is asked again and again: one connection, and a deadline for each whole answer.

    No redirect is followed and no proxy used. Without TLS only this machine is asked: an answer that decides something
    must not be changed on the way. Safe to share between threads; one question at a time.
    """

    def __init__(
        self,
        address: str,
        *,
        offline: bool,
        what: str,
        setting: str,
        most: int,
        token: str = "",
        tls: Tls | None = None,
    ) -> None:
        """Check the address; `most` bounds an answer in bytes. Raises BadSetting, or Unreachable when offline."""
        parts = urlsplit(address)
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise BadSetting(
                f"{what} would be asked in the clear",
                cause=f"{parts.hostname} is not this machine, and the address begins with http://",
                remedy=f"use https://; check {setting}",
            )
        self._door = Door(
            address,
            offline=offline,
            most=most,
            what=what,
            setting=setting,
            roots=(tls or Tls()).context(what),
        )
        self._address = address.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._lock = threading.Lock()
        self._client: httpx2.Client | None = None

    def ask(
        self, path: str, *, method: str = "GET", body: bytes = b"", kind: str = "", seconds: float
    ) -> Answer:
        """Ask once; raises Unreachable when no whole answer came in time, OutOfBudget for one that is too long.

        The wait is for everything: name, connection, sending, and each byte of the answer. Who is asked may not stretch it.
        """
        box: queue.SimpleQueue[Answer | BaseException] = queue.SimpleQueue()
        with self._lock:
            client = self._client = self._client or self._door.client(environment=False)
            request = {"method": method, "body": body, "kind": kind, "seconds": seconds}
            threading.Thread(target=self._fetch, args=(client, path, box, request), daemon=True).start()
            try:
                came = box.get(timeout=seconds)
            except queue.Empty:
                came = self._silent(f"there was no whole answer within {seconds:.2g} seconds")
            except BaseException:
                self._drop()
                raise
            if isinstance(came, Answer):
                return came
            self._drop()
        if isinstance(came, httpx2.TimeoutException):  # it noticed before we did
            raise self._silent(f"there was no whole answer within {seconds:.2g} seconds") from None
        if isinstance(came, (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError)):
            raise self._silent("the connection broke off, or could not be made") from None
        raise came

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        with self._lock:
            self._drop()

    def _fetch(
        self,
        client: httpx2.Client,
        path: str,
        box: queue.SimpleQueue[Answer | BaseException],
        request: Mapping[str, Any],
    ) -> None:
        try:
            answer = client.request(
                request["method"],
                f"{self._address}{path}",
                headers=self._headers | ({"Content-Type": request["kind"]} if request["kind"] else {}),
                content=request["body"] or None,
                follow_redirects=False,
                timeout=request["seconds"],
            )
            box.put(Answer(answer.status_code, answer.content))
        except BaseException as error:  # noqa: BLE001 (it is raised where the answer is waited for)
            box.put(error)

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _silent(self, cause: str) -> Unreachable:
        return Unreachable(
            f"{self._door.host} gave no usable answer",
            cause=cause,
            remedy="check that it runs, then try again",
            check="net.unreachable",
        )


class _Counted(httpx2.SyncByteStream):
    def __init__(self, inner: httpx2.SyncByteStream, host: str, limit: int) -> None:
        self._inner = inner
        self._host = host
        self._limit = limit

    def __iter__(self) -> Iterator[bytes]:
        seen = 0
        for block in self._inner:
            seen += len(block)
            if seen > self._limit:
                raise OutOfBudget(
                    f"{self._host} sent more than was expected",
                    cause=f"an answer of at most {self._limit} bytes was due",
                    remedy="try again; if it happens twice, do not use this source",
                    check="net.size",
                )
            yield block

    def close(self) -> None:
        self._inner.close()


def _check_request(request: httpx2.Request) -> None:
    """Set a timeout where a library forgot one, and ask for nothing compressed."""
    asked = request.extensions.get("timeout") or {}
    limits = {"connect": CONNECT_SECONDS, "read": READ_SECONDS, "write": READ_SECONDS, "pool": READ_SECONDS}
    request.extensions["timeout"] = {key: asked.get(key) or value for key, value in limits.items()}
    request.headers["Accept-Encoding"] = "identity"


def _check_redirect(response: httpx2.Response) -> None:
    if not response.has_redirect_location:
        return
    here, there = str(response.request.url), response.headers.get("location", "")
    if urlsplit(urljoin(here, there)).scheme != urlsplit(here).scheme:
        raise VerificationFailed(
            f"{response.request.url.host} redirects to another scheme",
            cause=f"from {urlsplit(here).scheme} to {urlsplit(urljoin(here, there)).scheme or 'none'}",
            remedy="use the address it redirects to, if you trust it",
            check="net.redirect",
        )


def _check_encoding(response: httpx2.Response) -> None:
    """Refuse what comes compressed, which was not asked for."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise _unusable(response, "a compressed answer, which was not asked for")


def _check_headers(response: httpx2.Response) -> None:
    """Refuse what was not asked for, and headers that become file names in the hub client's cache."""
    _check_encoding(response)
    headers = response.headers
    bad = ""
    if "x-repo-commit" in headers and not _COMMIT.fullmatch(headers["x-repo-commit"]):
        bad = "a commit that is none"
    etag = headers.get("x-linked-etag") or headers.get("etag")
    if response.request.method == "HEAD" and etag and (not _ETAG.fullmatch(etag) or ".." in etag):
        bad = "an entity tag that is no plain name"
    if bad:
        raise _unusable(response, bad)


def _unusable(response: httpx2.Response, cause: str) -> VerificationFailed:
    return VerificationFailed(
        f"{response.request.url.host} gave an answer that cannot be used",
        cause=cause,
        remedy="do not use this source until its owner explains it",
        check="net.answer",
    )


class Ranges:
    """Parts of one file of `size` bytes at `url`; every answer must be exactly the part that was asked for.

    Source: RFC 9110, section 14. Headers with a token go to the address itself, never to where it redirects.
    """

    def __init__(self, door: Door, url: str, headers: Mapping[str, str], size: int) -> None:
        self._door = door
        self._client = door.client()
        self._url = url
        self._headers = dict(headers)
        self._size = size
        self._etag: str | None = None

    def read(self, start: int, count: int) -> bytes:
        """Return the bytes [start, start + count); raises Unreachable, or VerificationFailed when it is another file."""
        last = start + count - 1
        headers = self._headers | {"Range": f"bytes={start}-{last}"}
        try:
            with self._client.stream("GET", self._url, headers=headers) as answer:
                self._check(answer, f"bytes {start}-{last}/{self._size}")
                data = answer.read()
        except httpx2.HTTPError as error:
            raise Unreachable(
                f"{self._door.host} gave no usable answer",
                cause="the connection broke off, or there was none in time",
                remedy="check the connection, then try again",
                check="net.unreachable",
            ) from error
        if len(data) != count:
            raise self._other(f"{count} bytes were asked for, {len(data)} came")
        return data

    def _check(self, answer: httpx2.Response, expected: str) -> None:
        if answer.status_code != 206:
            raise Unreachable(
                f"{self._door.host} does not give parts of files",
                cause=f"it answered with status {answer.status_code}",
                remedy="scan the whole file: leave out --remote",
                check="net.range",
            )
        if answer.headers.get("content-range", "") != expected:
            raise self._other("it gave another part than was asked for, or the file has another size")
        etag = answer.headers.get("etag", "")
        if self._etag not in (None, etag):
            raise self._other("the file changed between two parts of it")
        self._etag = etag

    def _other(self, cause: str) -> VerificationFailed:
        return VerificationFailed(
            f"{self._door.host} gave parts that do not belong together",
            cause=cause,
            remedy="try again; if it happens twice, do not use this source",
            check="net.range",
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class Download(io.RawIOBase):
    """The bytes of one file at `url` from `start` on, once and in order; a connection that breaks is made again.

    It goes on where it broke off (RFC 9110, section 14) if that can only be the same file: `pinned` says that somebody
    announced a digest, which the reader compares; else the server must give a strong entity tag, the same each time.
    """

    def __init__(
        self,
        door: Door,
        url: str,
        size: int,
        *,
        headers: Mapping[str, str] | None = None,
        start: int = 0,
        pinned: bool = False,
        tries: int = 4,
    ) -> None:
        super().__init__()
        self._door, self._url, self._size = door, url, size
        self._headers = dict(headers or {})
        self._at, self._pinned, self._tries = start, pinned, tries
        self._client = door.client()
        self._answer: httpx2.Response | None = None
        self._blocks: Iterator[bytes] = iter(())
        self._rest = memoryview(b"")
        self._tag = ""

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # the stub says Buffer
        """Fill `buffer` as far as there is something; raises Unreachable or VerificationFailed."""
        while not self._rest:
            try:
                if self._answer is None:
                    if self._at >= self._size:
                        return 0
                    self._ask()
                    continue
                self._rest = memoryview(next(self._blocks))
            except StopIteration:
                if self._at >= self._size:
                    return 0
                self._again("it ended too early")
            except httpx2.HTTPError:
                self._again("the connection broke off, or there was none in time")
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        self._at += count
        return count

    def close(self) -> None:
        """Close the connection."""
        if not self.closed:
            self._drop()
            self._client.close()
        super().close()

    def _ask(self) -> None:
        headers = dict(self._headers)
        if self._at:
            headers["Range"] = f"bytes={self._at}-{self._size - 1}"
        request = self._client.build_request("GET", self._url, headers=headers)
        self._answer = answer = self._client.send(request, stream=True)
        tag = answer.headers.get("etag", "")
        if answer.status_code >= 500 or answer.status_code == 429:
            self._again(f"it answered with status {answer.status_code}")
            return self._ask()
        if self._tag and tag != self._tag:
            raise self._problem("the file changed while it was fetched", "net.range")
        self._tag = tag if tag.startswith('"') else ""
        self._blocks = (
            answer.iter_raw()
        )  # as it comes: what a chunk waits for is lost when the connection breaks
        if answer.status_code == 206:
            expected = f"bytes {self._at}-{self._size - 1}/{self._size}"
            if answer.headers.get("content-range", "") != expected:
                raise self._problem(
                    "it gave another part than was asked for, or the file has another size", "net.range"
                )
        elif answer.status_code == 200:
            self._skip(self._at)
        else:
            raise self._refused(answer.status_code)
        return None

    def _skip(self, count: int) -> None:
        """Pass over what came before: the server gives no parts."""
        while count > len(self._rest):
            count -= len(self._rest)
            self._rest = memoryview(next(self._blocks))
        self._rest = self._rest[count:]

    def _again(self, cause: str) -> None:
        """Wait, and be ready to ask for the rest; raises Unreachable after too many tries, or when it cannot be the same file."""
        self._drop()
        self._tries -= 1
        if self._tries <= 0 or (self._at and not (self._pinned or self._tag)):
            raise Unreachable(
                f"{self._door.host} did not give the whole file",
                cause=f"{cause}; {self._at} of {self._size} bytes had come",
                remedy="check the connection, then run the command again: what is kept already is not fetched again",
                check="net.unreachable",
            )
        time.sleep(0.1 * 2 ** (4 - min(self._tries, 4)))

    def _drop(self) -> None:
        if self._answer is not None:
            self._answer.close()
        self._answer, self._rest, self._blocks = None, memoryview(b""), iter(())

    def _refused(self, status: int) -> WeighbridgeError:
        if status in (401, 403):
            return Unreachable(
                f"{self._door.host} does not hand out a file",
                cause=f"it answered with status {status}",
                remedy="give a token or a key that may read it",
                check="source.gated",
            )
        return self._problem(
            f"it answered with status {status} for a file that was there", "source.announced"
        )

    def _problem(self, cause: str, check: str) -> VerificationFailed:
        return VerificationFailed(
            f"{self._door.host} did not give the file that was asked for",
            cause=cause,
            remedy="try again; if it happens twice, do not use this source and tell its owner",
            check=check,
        )
