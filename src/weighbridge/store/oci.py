"""Blobs in an OCI registry: blobs of one repository, each held by a small manifest under a tag that is its digest.

What is atomic: an upload is named by its digest when it is completed, and the registry must refuse bytes of another
digest (distribution specification 1.1, "Pushing blobs"), so a part of a blob is never seen. A registry deletes blobs that
no manifest names; so each has a manifest, `blob-<hex>`, and is kept only when both are there. That is also how blobs are
listed, for the specification has no listing of blobs. What proves a blob is the registry's own word for the digest that it
verified; against a registry that lies, only `verify` helps, and the gate calls it before every decision.

An upload that was cut off goes on where the registry says it stopped: at once after a lost connection, and in a later
process by the address of the upload, which is noted beside the cache.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlencode, urljoin, urlsplit

from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadSetting, NotFound, Unreachable, VerificationFailed
from weighbridge.net import Answer
from weighbridge.store.oci_session import Session
from weighbridge.store.oci_upload import Note, Reading, noting
from weighbridge.store.remote import Kept, RemoteBlobs

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
BLOB = "application/vnd.weighbridge.blob.v1"
CHUNK = 16 * 1024 * 1024
PAGE = 1000
MAX_PAGES = 1000
TURNS = 5
INDEX = "application/vnd.oci.image.index.v1+json"
ANY_MANIFEST = (
    MANIFEST,
    INDEX,
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
"""Each by its name: docker-registry says 404 of a manifest whose type was not asked for."""
NO_SUCH_QUESTION = (404, 405, 501)
"""How registries answer that were made before there were referrers; the specification says 404."""

_TAG = re.compile("blob-([0-9a-f]{64})")
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')


def open_oci(url: str, *, cache: Path, environ: Mapping[str, str] | None = None) -> RemoteBlobs:
    """Open the blobs at `oci://host/repository` (`oci+http://` on this machine only); raises BadSetting.

    User and password are taken from OCI_USERNAME and OCI_PASSWORD where OCI_HOST is this host.
    """
    parts = urlsplit(url)
    repository = parts.path.strip("/")
    if not parts.hostname or not re.fullmatch(r"[a-z0-9]+([._/-][a-z0-9_]+)*", repository):
        raise BadSetting(
            f"{url} names no repository of a registry",
            cause="it is oci://host/repository, the repository in small letters",
            remedy="check the setting `blobs` (WEIGHBRIDGE_BLOBS)",
        )
    scheme = "http" if parts.scheme == "oci+http" else "https"
    session = Session(f"{scheme}://{parts.netloc}", repository, environ=environ)
    return RemoteBlobs(OciPlace(session, notes=cache / "uploads"), cache)


class OciPlace:
    """`store.remote.Place` in a repository of a registry."""

    def __init__(self, session: Session, *, notes: Path, wait: Callable[[float], None] = time.sleep) -> None:
        self.session = session
        self._notes = notes
        self._wait = wait

    @property
    def where(self) -> str:
        """Return host and repository."""
        return self.session.where

    def find(self, digest: Digest) -> Kept | None:
        """Ask for the blob and for what holds it."""
        if not self._there(f"manifests/{_tag(digest)}", MANIFEST):
            return None
        answer = self._there(f"blobs/{digest}")
        if answer is None:
            return None
        told = answer.headers.get("docker-content-digest", "")
        size = self._number(answer.headers.get("content-length", ""))
        return Kept(size, (told, size), told)

    def fetch(self, digest: Digest, start: int, length: int) -> bytes:
        """Get a range (RFC 9110, section 14)."""
        wanted = {"Range": f"bytes={start}-{start + length - 1}"}
        answer = self.session.ask("GET", f"blobs/{digest}", headers=wanted, most=length)
        if answer.status == 404:
            raise NotFound(
                f"the blob {digest.short} is not kept here",
                cause=f"{self.where} has nothing of that name",
                remedy="take the model in again with `weighbridge intake`",
            )
        given = answer.headers.get("content-range", "")
        if answer.status == 200 and start == 0:
            return answer.body
        if answer.status != 206 or not given.startswith(f"bytes {start}-{start + length - 1}/"):
            raise self._unusable(answer, "it gave another part than was asked for")
        return answer.body

    removal = None
    """A registry collects its own garbage; it knows no requests that end by themselves."""

    def send(self, digest: Digest, path: Path, size: int, *, replace: bool = False) -> bool:
        """Upload in chunks, then put the manifest that holds the blob."""
        if replace:
            self.remove(digest)
        if not self.has_blob(digest):
            with path.open("rb") as file:
                self._upload(digest, Reading(digest, file, CHUNK), size)
        held: dict[str, JSON] = {"mediaType": BLOB, "digest": str(digest), "size": size}
        self.put_manifest(
            _tag(digest),
            canonical({"schemaVersion": 2, "mediaType": MANIFEST, "config": held, "layers": [held]}),
        )
        return True

    def proves(self, kept: Kept, path: Path) -> bool:
        """Believe the digest that the registry verified when it took the blob."""
        return kept.seal == f"sha256:{_hashed(path)}"

    def names(self) -> Iterator[Digest]:
        """List the tags, a page at a time."""
        path = f"tags/list?{urlencode({'n': PAGE})}"
        while path:
            answer = self.session.ask("GET", path)
            if answer.status == 404:
                return
            self._expect(answer, 200)
            for tag in parsed(answer, self.where).get("tags") or ():
                if found := _TAG.fullmatch(str(tag)):
                    yield Digest("sha256", found[1])
            following = _NEXT.search(answer.headers.get("link", ""))
            path = f"tags/list?{urlsplit(following[1]).query}" if following else ""

    def remove(self, digest: Digest) -> None:
        """Delete the manifest, then the blob."""
        answer = self._there(f"manifests/{_tag(digest)}", MANIFEST)
        if answer is not None:
            held = answer.headers.get("docker-content-digest", "")
            self._expect(self.session.ask("DELETE", f"manifests/{held}"), 202, 404)
        self._expect(self.session.ask("DELETE", f"blobs/{digest}"), 202, 404)

    def has_blob(self, digest: Digest) -> bool:
        """Ask whether the registry has a blob, whatever holds it."""
        return self._there(f"blobs/{digest}") is not None

    def has_manifest(self, name: str) -> bool:
        """Ask whether the registry has a manifest, by its tag or digest."""
        return self._there(f"manifests/{name}", MANIFEST) is not None

    def manifest(self, name: str) -> Answer | None:
        """Get a manifest or an index by its tag or digest; None when there is none."""
        answer = self.session.ask("GET", f"manifests/{name}", headers={"Accept": ", ".join(ANY_MANIFEST)})
        self._expect(answer, 200, 404)
        return answer if answer.status == 200 else None

    def referrers(self, subject: str) -> set[str] | None:
        """List what refers to a manifest (specification, "Listing Referrers"); None where the registry cannot."""
        path, found = f"referrers/{subject}", set[str]()
        for _ in range(MAX_PAGES):
            answer = self.session.ask("GET", path, headers={"Accept": INDEX})
            self._expect(answer, 200, *NO_SUCH_QUESTION)
            if answer.status != 200 or INDEX not in answer.headers.get("content-type", ""):
                return None
            rows = parsed(answer, self.where).get("manifests")
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise self._unusable(answer, "its list of referrers holds something else")
            found |= {str(row.get("digest")) for row in rows}
            following = _NEXT.search(answer.headers.get("link", ""))
            if not following:
                break
            path = f"referrers/{subject}?{urlsplit(following[1]).query}"
        return found

    def put_manifest(
        self, name: str, data: bytes, *, kind: str = MANIFEST, conditions: Mapping[str, str] | None = None
    ) -> Answer:
        """Put a manifest under a tag or its digest; raises Unreachable.

        Asked again where the registry says that it has not got a blob of it, which is only put when all are there: docker-registry
        truncates and writes its own note of a blob whenever somebody uploads it again, and believes neither in between. With `conditions` (RFC 9110, section 13) the answer may be 412: they did not hold, and nothing was put.
        """
        headers = {"Content-Type": kind, **(conditions or {})}
        for turn in range(TURNS):
            answer = self.session.ask("PUT", f"manifests/{name}", headers=headers, body=data)
            if answer.status not in (400, 404) or b"BLOB_UNKNOWN" not in answer.body or turn == TURNS - 1:
                break
            self._wait(0.1 * 2**turn)
        self._expect(answer, 201, *([412] if conditions else []))
        return answer

    def put_small(self, data: bytes) -> bool:
        """Put a blob that lies in memory and that a manifest is about to name; False when it was there."""
        digest = Digest.of(data)
        if self.has_blob(digest):
            return False
        begun = self.session.ask("POST", "blobs/uploads/")
        self._expect(begun, 202)
        self._complete(self._address(begun), digest, data)
        return True

    def put_read(
        self, digest: Digest, file: BinaryIO, size: int, *, progress: Callable[[int], None] = lambda _: None
    ) -> bool:
        """Put a blob from an open file, hashed as it is read, whatever the registry verifies; False when it was there.

        Raises VerificationFailed(`blob.digest`) when the bytes are others: the upload is given up, and no blob comes of it.
        """
        if self.has_blob(digest):
            return False
        self._upload(digest, Reading(digest, file, CHUNK, progress), size)
        return True

    def _upload(self, digest: Digest, reading: Reading, size: int) -> None:
        with noting(self._notes / digest.hex) as note:
            address, done = self._begun(note)
            failures = 0
            try:
                while done < size:
                    data = reading.part(done, min(CHUNK, size - done))
                    headers = {
                        "Content-Range": f"{done}-{done + len(data) - 1}",
                        "Content-Type": "application/octet-stream",
                    }
                    answer = self.session.ask("PATCH", address, headers=headers, body=data, once=True)
                    if answer.status == 202:
                        address, done = self._address(answer), done + len(data)
                        note.write(address)
                        continue
                    failures += 1
                    if failures > 4:
                        self._expect(answer, 202)
                    self._wait(0.1 * 2**failures)
                    address, done = self._begun(note)
                reading.check(size)
            except VerificationFailed:
                note.forget()
                self.session.ask("DELETE", address, once=True)
                raise
            try:
                self._complete(address, digest, b"")
            finally:
                note.forget()  # where it failed, what lies there is not these bytes: begin anew

    def _begun(self, note: Note) -> tuple[str, int]:
        """Return an upload and how many bytes of it the registry has: the one that was noted, if it still goes on."""
        address = note.read()
        if address and self.session.own(address):
            answer = self.session.ask("GET", address)
            if answer.status == 204 and "location" in answer.headers:
                last = answer.headers.get("range", "0-0").rpartition("-")[2]
                return self._address(answer), self._number(last) + 1 if last != "0" else 0
        answer = self.session.ask("POST", "blobs/uploads/")
        self._expect(answer, 202)
        address = self._address(answer)
        note.write(address)
        return address, 0

    def _complete(self, address: str, digest: Digest, data: bytes) -> None:
        whole = f"{address}{'&' if '?' in address else '?'}{urlencode({'digest': str(digest)})}"
        headers = {"Content-Type": "application/octet-stream"}
        answer = self.session.ask("PUT", whole, headers=headers, body=data, once=True)
        if answer.status != 201 and not self.has_blob(digest):  # another writer of the same bytes was first
            self._expect(answer, 201)

    def _address(self, answer: Answer) -> str:
        place = answer.headers.get("location", "")
        if not place:
            raise self._unusable(answer, "it named no address for the upload")
        return urljoin(self.session.base, place)

    def _there(self, path: str, kind: str = "") -> Answer | None:
        answer = self.session.ask("HEAD", path, headers={"Accept": kind} if kind else {})
        if answer.status == 404:
            return None
        self._expect(answer, 200)
        return answer

    def _expect(self, answer: Answer, *wanted: int) -> None:
        if answer.status not in wanted:
            raise self._unusable(answer, "")

    def _number(self, text: str) -> int:
        if not text.isascii() or not text.isdigit():
            raise Unreachable(
                f"{self.where} gave no usable answer",
                cause=f"{text[:40]!r} is no number of bytes",
                remedy="check what lies between, then run the command again",
                check="blob.unreachable",
            )
        return int(text)

    def _unusable(self, answer: Answer, cause: str) -> Unreachable:
        refused = answer.status in (401, 403)
        return Unreachable(
            f"{self.where} {'does not let this identity in' if refused else 'gave no usable answer'}",
            cause=cause or f"status {answer.status}: {answer.body[:200].decode('utf-8', 'replace')}",
            remedy="check OCI_HOST, OCI_USERNAME and OCI_PASSWORD; pulling and pushing are needed, for blobs deleting too"
            if refused
            else "check that the registry answers, and allows deletes for gc, then run the command again",
            check="blob.access" if refused else "blob.unreachable",
        )


def parsed(answer: Answer, where: str) -> dict[str, Any]:
    """Return an answer's body as a JSON object; raises Unreachable."""
    try:
        value = json.loads(answer.body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Unreachable(
            f"{where} gave no usable answer",
            cause="it is not a JSON object",
            remedy="check the address, then run the command again",
            check="blob.unreachable",
        )
    return value


def _tag(digest: Digest) -> str:
    return f"blob-{digest.hex}"


def _hashed(path: Path) -> str:
    """Return the digest that the file is named by: copies in the cache bear it as their name, and were hashed."""
    return path.name
