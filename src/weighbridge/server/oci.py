"""A read-only OCI registry over the trusted tier (distribution specification 1.1): manifests, blobs, tags, referrers.

| address | answer |
|---|---|
| `/v2/` | that this is one |
| `/v2/<name>/manifests/<tag or digest>` | the model's manifest, a referrer's, or the fallback tag's index of referrers |
| `/v2/<name>/blobs/<digest>` | a file, whole or a part; a configuration, a claim, a bill of materials |
| `/v2/<name>/tags/list` | `latest`, and for each admitted model its commit and its digest's digits |
| `/v2/<name>/referrers/<digest>` | what refers to a model |

Who may read, and what may leave, is asked as for the hub's clients (`shelf`); errors have the form of the specification.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from weighbridge.core.canonical import JSON
from weighbridge.core.errors import NotFound, VerificationFailed, WeighbridgeError
from weighbridge.registry.artifacts import Artifact, Blob
from weighbridge.server.answers import answer
from weighbridge.server.bodies import File, FileAnswer
from weighbridge.server.desk import Asked, Desk
from weighbridge.server.mirror import Handing
from weighbridge.server.refusals import header, line, status_of, waiting

# The distribution specification's names and tags, section "Pulling manifests".
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_FALLBACK = re.compile(r"sha256-(?P<hex>[0-9a-f]{64})")
_PLACE = re.compile(r"(?P<name>.+)/(?P<what>manifests|blobs|referrers|tags)/(?P<which>[^/]+)")
VERSION = {"Docker-Distribution-API-Version": "registry/2.0"}
MAX_TAGS = 1000


def routes(desk: Desk, handing: Handing) -> list[Route]:
    """Return the routes below `/v2/`."""
    front = _Front(handing)
    return [
        Route("/v2", desk.endpoint(front.answer, limit=0), methods=["GET"]),
        Route("/v2/{rest:path}", desk.endpoint(front.answer, limit=0), methods=["GET"]),
    ]


@dataclass(frozen=True, slots=True)
class _Front:
    handing: Handing

    def answer(self, asked: Asked) -> Response:
        """Answer one request, in a thread."""
        try:
            self.handing.shelf.admit_reader(_bearer(asked.authorization))
            return self._answer(asked)
        except VerificationFailed as error:
            self.handing.shelf.alarm(error)
            return refused(error, asked.authorization)
        except WeighbridgeError as error:
            return refused(error, asked.authorization)

    def _answer(self, asked: Asked) -> Response:
        rest = asked.place.get("rest", "")
        if not rest:
            return answer({}, headers=VERSION)
        place = _PLACE.fullmatch(rest)
        if place is None or not _NAME.fullmatch(place["name"]):
            raise _unknown("mirror.repository", "no repository has such a name")
        act: Callable[[str, str, Asked], Response] = {
            "manifests": self._manifest,
            "blobs": self._blob,
            "referrers": self._referrers,
            "tags": self._tags,
        }[place["what"]]
        return act(place["name"], place["which"], asked)

    def _manifest(self, name: str, which: str, _: Asked) -> Response:
        if fallback := _FALLBACK.fullmatch(which):
            return _small(self._about(name, f"sha256:{fallback['hex']}").index())
        if _DIGEST.fullmatch(which):
            for artifact in self._kept(name):
                if which in artifact.manifests:
                    self._ask(artifact)
                    return _small(artifact.manifests[which])
            raise _unknown("oci.manifest", f"{name} has no manifest {which}")
        if not _TAG.fullmatch(which):
            raise _unknown("oci.manifest", "that is neither a tag nor a digest")
        offer = self.handing.shelf.offer(self.handing.shelf.spelled(name), which)
        return _small(self.handing.shelf.artifact(offer.repository, offer.commit, offer.model).manifest)

    def _blob(self, name: str, which: str, _: Asked) -> Response:
        for artifact in self._kept(name) if _DIGEST.fullmatch(which) else ():
            if which in artifact.small:
                self._ask(artifact)
                return _small(artifact.small[which])
            entry = artifact.files.get(which)
            if entry is not None:
                self._ask(artifact)
                file = File(entry.sha256, entry.size, {**VERSION, "Docker-Content-Digest": which})
                return FileAnswer(file, self.handing.leaves, self._refuse)
        raise _unknown("oci.blob", f"{name} has no blob {header(which, 100)}")

    def _referrers(self, name: str, which: str, asked: Asked) -> Response:
        wanted = asked.query.get("artifactType", "")
        applied = {"OCI-Filters-Applied": "artifactType"} if wanted else {}
        return _small(self._about(name, which).index(wanted), applied)

    def _tags(self, name: str, which: str, asked: Asked) -> Response:
        if which != "list":
            raise _unknown("mirror.repository", "no repository has such a name")
        found = {"latest"} if (kept := list(self._admitted(name))) else set()
        for artifact in kept:
            found |= {artifact.commit, artifact.model.digest.hex}
        if not found:
            raise _unknown("mirror.repository", f"{name} has nothing that was admitted")
        tags = sorted(tag for tag in found if tag > asked.query.get("last", ""))
        number = asked.query.get("n", "")
        most = int(number) if number.isascii() and number.isdigit() and len(number) < 6 else MAX_TAGS
        page: list[JSON] = list(tags[:most])
        headers = dict(VERSION)
        if page and len(tags) > most:
            headers["Link"] = f'</v2/{name}/tags/list?n={most}&last={page[-1]}>; rel="next"'
        return answer({"name": name, "tags": page}, headers=headers)

    def _kept(self, name: str) -> Iterator[Artifact]:
        """Yield everything that was ever taken in under a name; what of it may leave is asked when it is found."""
        shelf = self.handing.shelf
        for repository, commit, model in shelf.kept(name):
            yield shelf.artifact(repository, commit, model)

    def _admitted(self, name: str) -> Iterator[Artifact]:
        for artifact in self._kept(name):
            try:
                self._ask(artifact)
            except WeighbridgeError:
                continue
            yield artifact

    def _about(self, name: str, digest: str) -> Artifact:
        for artifact in self._kept(name):
            if artifact.manifest.digest == digest:
                self._ask(artifact)
                return artifact
        raise _unknown("oci.manifest", f"{name} has no manifest {header(digest, 100)}")

    def _ask(self, artifact: Artifact) -> None:
        """Ask for the gate's word about the model; raises as `Shelf.offer`."""
        self.handing.shelf.offer(artifact.repository, str(artifact.model.digest))

    async def _refuse(self, error: WeighbridgeError) -> Response:
        if isinstance(error, VerificationFailed):
            await run_in_threadpool(self.handing.shelf.alarm, error)
        return refused(error)


_CODES = {
    "mirror.repository": "NAME_UNKNOWN",
    "mirror.revision": "MANIFEST_UNKNOWN",
    "oci.manifest": "MANIFEST_UNKNOWN",
    "oci.blob": "BLOB_UNKNOWN",
}


def refused(error: WeighbridgeError, authorization: str = "") -> Response:
    """Return an error in the form of the specification ("Error Codes"); who may not read and brought nothing is asked for a token."""
    status, _ = status_of(error)
    if error.check in _CODES:
        status = 404
    if error.check == "access.denied" and not authorization:
        status = 401
    code = _CODES.get(error.check) or {401: "UNAUTHORIZED", 503: "TOOMANYREQUESTS"}.get(status, "DENIED")
    headers = {**VERSION, **waiting(error, status)}
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="weighbridge"'  # the password is a token of the project
    detail: dict[str, JSON] = {"check": error.check, "decision": getattr(error, "decision", "")}
    return answer({"errors": [{"code": code, "message": line(error), "detail": detail}]}, status, headers)


def _bearer(authorization: str) -> str:
    """Return what was sent as a password in the form in which tokens come: registry clients know no other way."""
    scheme, _, coded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return authorization
    try:
        _, _, secret = base64.b64decode(coded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return authorization
    return f"Bearer {secret}"


def _small(blob: Blob, headers: dict[str, str] | None = None) -> Response:
    known = {"Docker-Content-Digest": blob.digest, "ETag": f'"{blob.digest}"', **VERSION}
    return Response(blob.data, 200, {**known, **(headers or {})}, blob.media_type)


def _unknown(check: str, problem: str) -> NotFound:
    return NotFound(problem, remedy="ask for the tag latest, or list the tags", check=check)
