"""The one door to the network: the HTTP client that libraries are given, with its limits.

Every answer is bounded in size and in time, no redirect changes the scheme, nothing comes compressed (a
bound on compressed bytes bounds nothing), and names that a server proposes for files are looked at before
a library can use them as such. When the door is closed (`offline`) no client is made at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpx2

from weighbridge.core.errors import BadSetting, OutOfBudget, Unreachable, VerificationFailed

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
    ) -> None:
        """Check an address; `most` bounds its documents in bytes (MAX_DOCUMENT), `what` and `setting` name it in messages."""
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
        self._roots = httpx2.create_ssl_context()  # reading the certificates is dear: once a door

    def client(self) -> httpx2.Client:
        """Make a client; the caller closes it."""
        return httpx2.Client(
            event_hooks={
                "request": [_check_request],
                "response": [_check_redirect, _check_headers, self._bound_body],
            },
            follow_redirects=True,
            max_redirects=5,
            timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            verify=self._roots,
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


def ask(
    door: Door, url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Answer:
    """Ask once and follow no redirect, since what is sent may be a secret; raises Unreachable when nothing came.

    The answer is bounded as every answer is: by the door, in bytes (64 MiB unless it says less) and in time.
    """
    try:
        with door.client() as client:
            answer = client.request(
                method, url, headers=dict(headers or {}), content=body or None, follow_redirects=False
            )
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError):  # the last may quote a secret
        raise Unreachable(
            f"{door.host} gave no usable answer",
            cause="the connection broke off, there was none in time, or what was to be sent cannot be",
            remedy="check the connection, then try again",
            check="net.unreachable",
        ) from None
    return Answer(answer.status_code, answer.content)


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


def _check_headers(response: httpx2.Response) -> None:
    """Refuse what was not asked for, and headers that become file names in the hub client's cache."""
    headers = response.headers
    bad = ""
    if headers.get("content-encoding", "identity").lower() != "identity":
        bad = "a compressed answer, which was not asked for"
    if "x-repo-commit" in headers and not _COMMIT.fullmatch(headers["x-repo-commit"]):
        bad = "a commit that is none"
    etag = headers.get("x-linked-etag") or headers.get("etag")
    if response.request.method == "HEAD" and etag and (not _ETAG.fullmatch(etag) or ".." in etag):
        bad = "an entity tag that is no plain name"
    if bad:
        raise VerificationFailed(
            f"{response.request.url.host} gave an answer that cannot be used",
            cause=bad,
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
