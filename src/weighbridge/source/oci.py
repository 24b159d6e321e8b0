"""A model in an OCI registry: a manifest by its digest, and files that are layers with a name (oras, ModelPack).

A tag is resolved once; what is pinned is the SHA-256 of the manifest's bytes, which names each layer's SHA-256 and size.
A layer's name is its annotation (`org.opencontainers.image.title`, or ModelPack's `org.cncf.model.filepath`). A layer that
is an archive is refused: nothing is unpacked here. Sources: OCI distribution and image specifications 1.1; ModelPack.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import urlencode, urlsplit

from weighbridge.core.digest import Digest
from weighbridge.core.errors import (
    BadReference,
    NotFound,
    Refused,
    Unreachable,
    VerificationFailed,
    WeighbridgeError,
)
from weighbridge.core.reference import Reference
from weighbridge.net import Answer, Door, ask
from weighbridge.source.fetched import (
    ANY_SIZE,
    FetchedTree,
    check_number,
    contradiction,
    document,
    fetching,
    parsed,
    remote_file,
    together,
)
from weighbridge.source.opening import Asking
from weighbridge.source.tree import TreeFile

DEFAULT_TAG = "latest"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
NAMES = ("org.opencontainers.image.title", "org.cncf.model.filepath")
UNPACK = "io.deis.oras.content.unpack"
GENERIC = "application/vnd.oci.image.layer.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MAX_MANIFEST = 4 * 1024 * 1024
MAX_CLAIMS, MAX_PAGES = 64, 32
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')
_CHALLENGE = re.compile(r'([a-z]+)="([^"]*)"')
_ARCHIVE = re.compile(r"\b(?:tar|zip|gzip|zstd)\b")


def open_oci(reference: Reference, asking: Asking) -> FetchedTree:
    """Read the manifest that a tag or digest leads to; no layer is fetched yet. Raises as other sources, and Refused."""
    service = _Service(reference, asking)
    wanted = reference.revision or DEFAULT_TAG
    answer = service.ask(f"manifests/{wanted}", {"Accept": ", ".join((MANIFEST, DOCKER, *INDEXES))})
    digest = Digest.of(answer.body)
    told = answer.headers.get("docker-content-digest", str(digest))
    for theirs in (told, *([wanted] if wanted.startswith("sha256:") else [])):
        if theirs.startswith("sha256:") and theirs != str(digest):
            raise contradiction(service.host, f"the manifest {theirs} came with the bytes of {digest}")
    manifest = parsed(answer, service.host)
    kind = manifest.get("mediaType") or answer.headers.get("content-type", "").partition(";")[0]
    if kind in INDEXES or "manifests" in manifest:
        raise BadReference(
            f"{reference} is a list of manifests",
            cause="it holds one for each platform or variant, and they are different models",
            remedy=f"give the digest of one: {reference.location}@sha256:…",
        )
    layers = manifest.get("layers")
    if kind not in (MANIFEST, DOCKER) or not isinstance(layers, list) or not layers:
        raise contradiction(service.host, f"a manifest of type {str(kind)[:80]!r} without layers")
    check_number(len(layers), str(reference))
    files = [file for layer in layers if (file := _file(layer, service, asking))]
    origin = {
        "scheme": "oci",
        "location": reference.location,
        "requested": wanted,
        "version": str(digest),
    } | _licence(manifest)
    return FetchedTree(
        reference.target.rpartition("/")[2], files, origin, claims=lambda: _claims(service, str(digest))
    )


def _claims(service: _Service, subject: str) -> list[bytes | WeighbridgeError]:
    """Return the bundles that refer to a manifest: by the registry's own list, else the index under the fallback tag.

    At most MAX_CLAIMS of them, in the order of the list; of one that cannot be had, why. Source: distribution specification 1.1, "Listing Referrers".
    """
    rows: list[Any] = []
    with suppress(NotFound, Unreachable):  # what a registry answers that has no such list is its own affair
        rows = _pages(service, f"referrers/{subject}")
    if not rows:
        with suppress(NotFound):
            rows = _pages(service, f"manifests/{subject.replace(':', '-')}")
    wanted = [row for row in rows if isinstance(row, dict) and row.get("artifactType") == BUNDLE]
    return together(partial(_claim, service, subject), wanted[:MAX_CLAIMS])


def _pages(service: _Service, path: str) -> list[Any]:
    """Return the rows of an index, page by page."""
    rows, following = [], path
    for _ in range(MAX_PAGES):
        answer = service.ask(following, {"Accept": INDEXES[0]})
        listed = parsed(answer, service.host).get("manifests")
        rows += listed if isinstance(listed, list) else []
        more = _NEXT.search(answer.headers.get("link", ""))
        if not more:
            break
        following = f"{path}?{urlsplit(more[1]).query}"
    return rows


def _claim(service: _Service, subject: str, row: Mapping[str, Any]) -> bytes | WeighbridgeError:
    """Fetch one referrer: a manifest whose subject is the model's, with one layer that is a bundle."""
    try:
        return _fetched_claim(service, subject, row)
    except (VerificationFailed, NotFound) as error:
        return error


def _fetched_claim(service: _Service, subject: str, row: Mapping[str, Any]) -> bytes:
    try:
        manifest = parsed(service.exact(f"manifests/{row['digest']}", row["digest"]), service.host)
        [layer] = manifest["layers"]
        fits = manifest["subject"]["digest"] == subject and layer["mediaType"] == BUNDLE
        named = layer["digest"]
    except (KeyError, TypeError, ValueError) as error:
        raise contradiction(service.host, "a referrer that is no manifest with one layer") from error
    if not fits:
        raise contradiction(
            service.host, f"{row['digest']} is listed as a claim about another manifest than its own"
        )
    return service.exact(f"blobs/{named}", named).body


def _file(layer: Any, service: _Service, asking: Asking) -> TreeFile | None:
    try:
        kind, size = str(layer["mediaType"]), layer["size"]
        digest = Digest.parse(layer["digest"])
        notes = layer.get("annotations") or {}
        name = next((notes[key] for key in NAMES if isinstance(notes.get(key), str)), "")
    except (KeyError, TypeError, AttributeError, BadReference) as error:
        raise contradiction(service.host, "a layer without type, size or digest") from error
    if type(size) is not int or size < 0 or digest.algorithm != "sha256":
        raise contradiction(service.host, f"a layer of size {str(size)[:40]!r} and digest {digest}")
    if kind == EMPTY and not name:
        return None
    plain = (
        kind.startswith(GENERIC) and NAMES[0] in notes
    )  # what oras calls files of which it was told no type
    if (_ARCHIVE.search(kind) and not plain) or notes.get(UNPACK) == "true" or not name:
        raise Refused(
            "a layer of this model is not a file that could be taken as it is",
            cause=f"{digest.short} of type {kind[:120]!r} {'has no name' if not name else f'is an archive called {name!r}'}",
            remedy="push the files themselves (oras push, modctl with raw layers), or unpack it and give the folder",
            check="source.layer",
        )
    url = f"{service.base}/blobs/{digest}"
    fetch = fetching(service.files, url, size, service.headers, pinned=True)
    return remote_file(name, size, fetch, announced=digest, keep=asking.partial)


def _licence(manifest: Mapping[str, Any]) -> dict[str, str]:
    notes = manifest.get("annotations")
    said = notes.get("org.opencontainers.image.licenses") if isinstance(notes, dict) else None
    return {"license": said} if isinstance(said, str) and 0 < len(said) < 128 else {}


class _Service:
    """One repository of one registry; how it wants to be asked is found out at the first question."""

    def __init__(self, reference: Reference, asking: Asking) -> None:
        host, _, self.repository = reference.target.partition("/")
        name = urlsplit(f"//{host}").hostname
        where = f"{'http' if name in _LOOPBACK else 'https'}://{host}"
        self.base = f"{where}/v2/{self.repository}"
        user, password = asking.environ.get("OCI_USERNAME", ""), asking.environ.get("OCI_PASSWORD", "")
        # A password is for one registry: whoever is named in a reference must not be sent it.
        self._login = f"{user}:{password}" if user and asking.environ.get("OCI_HOST") == host else ""
        settings: dict[str, Any] = {
            "offline": asking.offline, "what": "the registry", "setting": "the reference", "tags": False,
            "has_token": bool(self._login),
        }  # fmt: skip
        self.door = Door(where, most=MAX_MANIFEST, **settings)
        self.files = Door(where, most=ANY_SIZE, **settings)
        self.host = self.door.host
        self.headers: dict[str, str] = {}

    def ask(self, path: str, headers: Mapping[str, str]) -> Answer:
        """Ask for a document of the repository, after getting a token where the registry wants one."""
        url = f"{self.base}/{path}"
        first = ask(self.door, url, headers=headers)
        if first.status == 401:
            self.headers = self._authorised(first.headers.get("www-authenticate", ""))
        return document(
            self.door, url, {**headers, **self.headers}, what=f"model {self.repository!r} ({path})"
        )

    def exact(self, path: str, digest: str) -> Answer:
        """Ask for what a digest names; raises VerificationFailed for anything else."""
        answer = self.ask(path, {"Accept": "*/*"})
        if str(Digest.of(answer.body)) != digest:
            raise contradiction(
                self.host, f"{str(digest)[:80]} came with the bytes of {Digest.of(answer.body)}"
            )
        return answer

    def _authorised(self, challenge: str) -> dict[str, str]:
        """Do what a registry asks for (RFC 7617, or the token way of the distribution project)."""
        kind, _, rest = challenge.partition(" ")
        basic = (
            {"Authorization": f"Basic {base64.b64encode(self._login.encode()).decode()}"}
            if self._login
            else {}
        )
        if kind.lower() != "bearer":
            return basic
        asked = dict(_CHALLENGE.findall(rest))
        realm = urlsplit(asked.get("realm", ""))
        if realm.scheme != "https" and realm.hostname not in _LOOPBACK:
            raise contradiction(self.host, "it sends for a token to an address that is not https://")
        door = Door(
            f"{realm.scheme}://{realm.netloc}",
            offline=False,
            what="the registry's tokens",
            setting="the reference",
        )
        query = urlencode(
            {"service": asked.get("service", ""), "scope": f"repository:{self.repository}:pull"}
        )
        answer = parsed(
            document(door, f"{asked['realm']}?{query}", basic, what=f"token for {self.repository!r}"),
            door.host,
        )
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise Unreachable(
                f"{door.host} gave no token",
                remedy="set OCI_HOST, OCI_USERNAME and OCI_PASSWORD",
                check="source.gated",
            )
        return {"Authorization": f"Bearer {token}"}
