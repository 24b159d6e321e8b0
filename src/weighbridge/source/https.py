"""A file at an address, or the files that a list there names: pinned by the SHA-256 that stands in the reference.

A list is a file called `SHA256SUMS` (or ending in `.sha256sums`) with a line `HEX  PATH` for each file, as
sha256sum(1) writes it; paths are taken from where the list lies. Nothing is unpacked: an archive is a file.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urljoin, urlsplit

from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, Unreachable, VerificationFailed
from weighbridge.core.manifest import check_path
from weighbridge.core.reference import Reference
from weighbridge.net import Door, ask
from weighbridge.source.fetched import (
    ANY_SIZE,
    FetchedTree,
    check_number,
    document,
    fetching,
    remote_file,
    together,
)
from weighbridge.source.opening import Asking

LIST = re.compile(r"(?:.*/)?(?:SHA256SUMS|[^/]*\.sha256sums)")
MAX_LIST = 8 * 1024 * 1024
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def open_https(reference: Reference, asking: Asking) -> FetchedTree:
    """List what lies at an address; no file is fetched yet. Raises Unreachable, VerificationFailed, BadManifest."""
    url, digest = reference.target, Digest("sha256", reference.revision.removeprefix("sha256="))
    settings = {"offline": asking.offline, "what": "the file", "setting": "the reference", "tags": False}
    door, files = Door(url, most=MAX_LIST, **settings), Door(url, most=ANY_SIZE, **settings)  # type: ignore[arg-type]
    place = urlsplit(url)
    shown = f"{place.scheme}://{place.netloc.rpartition('@')[2]}{place.path}"  # what follows a `?` may be a secret
    if LIST.fullmatch(place.path):
        rows = read_list(document(door, url, what="list of files", follow=True).body, digest)
        wanted = [(path, urljoin(url, quote(path)), announced) for path, announced in rows]
    else:
        wanted = [(_name(place.path), url, digest)]
    sizes = together(lambda row: _size(door, row[1]), wanted)
    found = [
        remote_file(
            path,
            size,
            fetching(files, where, size, {}, pinned=True),
            announced=announced,
            keep=asking.partial,
        )
        for (path, where, announced), size in zip(wanted, sizes, strict=True)
    ]
    origin = {"scheme": "https", "location": shown, "requested": reference.revision, "version": str(digest)}
    return FetchedTree(_name(place.path), [file for file in found if file], origin)


def read_list(data: bytes, digest: Digest) -> list[tuple[str, Digest]]:
    """Return the (path, digest) of each line of a list whose own digest is known; raises VerificationFailed, BadManifest."""
    if Digest.of(data) != digest:
        raise VerificationFailed(
            "the list of files is not the one that the reference names",
            cause=f"announced {digest}, received {Digest.of(data)}",
            remedy="ask whoever gave you the reference; do not take over what is served now",
            check="source.announced",
        )
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError as error:
        raise _no_list("it is not UTF-8") from error
    rows: dict[str, Digest] = {}
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise _no_list(f"line {number} is not a SHA-256, two spaces and a path")
        path = match[2].removeprefix("./")
        check_path(path)
        if path in rows:
            raise _no_list(f"{path!r} stands in it twice")
        rows[path] = Digest("sha256", match[1])
    check_number(len(rows), "the list")
    return list(rows.items())


def _size(door: Door, url: str) -> int:
    """Ask how long a file is; from its head, else from the answer to a question for its first byte."""
    answer = ask(door, url, method="HEAD", follow=True)
    length = answer.headers.get("content-length", "")
    if answer.status == 200 and length.isdecimal():
        return int(length)
    if answer.status not in (200, 403, 405, 501):
        document(door, url, what=f"file {_name(urlsplit(url).path)!r}", follow=True)
    part = ask(door, url, headers={"Range": "bytes=0-0"}, follow=True)
    total = part.headers.get("content-range", "").rpartition("/")[2]
    if part.status != 206 or not total.isdecimal():
        raise Unreachable(
            f"{door.host} does not say how long {_name(urlsplit(url).path)!r} is",
            cause=f"it answered with status {answer.status} and then {part.status}",
            remedy="download the file, then give its path",
            check="source.unreachable",
        )
    return int(total)


def _name(path: str) -> str:
    name = unquote(path).rstrip("/").rpartition("/")[2]
    check_path(name)
    return name


def _no_list(cause: str) -> BadReference:
    return BadReference(
        "the list of files cannot be read",
        cause=cause,
        remedy="make it with sha256sum; a single file must not be called SHA256SUMS",
    )
