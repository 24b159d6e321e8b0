"""Pushing: an admitted model into any OCI registry, as the artifact that our own front serves, with what refers to it.

What is asked before anything leaves is what the front asks (`handout`), and it is asked again before the tag is put, last: until
then the model has no name there, and who was revoked meanwhile gets none. Files are hashed as they are read; what is in the
registry already is not sent again. Source: OCI distribution specification 1.1, "Pushing manifests with subject".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, Unreachable, UsageError
from weighbridge.core.reference import Reference
from weighbridge.gate.handout import claims_about, renew, withheld, word_of
from weighbridge.registry import actions, models, names, tally
from weighbridge.registry.artifacts import BOM, BUNDLE, Artifact
from weighbridge.registry.wiring import Registry
from weighbridge.store import oci_referrers
from weighbridge.store.oci import OciPlace
from weighbridge.store.oci_session import Session

LATEST = "latest"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_FALLBACK = re.compile(r"sha256-[0-9a-f]{64}")
_WORDS = {BUNDLE: "claim", BOM: "bill of materials"}


@dataclass(frozen=True, slots=True)
class Part:
    """One blob or manifest: what it is, its size in bytes, and whether it was sent, or would be."""

    kind: str
    name: str
    digest: str
    size: int
    sent: bool

    def to_json(self) -> dict[str, JSON]:
        """Return it as JSON."""
        fields = ("kind", "name", "digest", "size", "sent")
        return {field: getattr(self, field) for field in fields}


@dataclass(frozen=True, slots=True)
class Pushed:
    """What came of a push, or what would come of it (`dry`)."""

    model: Digest
    reference: Reference
    """With the tag that was put."""
    manifest: str
    before: str
    """The manifest that the tag meant before; empty where there was no such tag."""
    parts: tuple[Part, ...]
    listed: str
    """How the registry lists what refers to the model: `referrers` (its own list) or `fallback tag`; empty if `dry`."""
    dry: bool

    @property
    def pinned(self) -> str:
        """Return the reference that cannot be moved."""
        return f"{self.reference.location}@{self.manifest}"

    def to_json(self) -> dict[str, JSON]:
        """Return it as JSON."""
        return {
            "model": str(self.model),
            "reference": str(self.reference),
            "pinned": self.pinned,
            "manifest": self.manifest,
            "before": self.before,
            "parts": [part.to_json() for part in self.parts],
            "listed": self.listed,
            "dry": self.dry,
        }


def push(
    registry: Registry,
    digest: Digest,
    target: Reference,
    *,
    environ: Mapping[str, str],
    name: str = "",
    dry: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Pushed:
    """Push a model to `oci://host/repository[:tag]` (tag `latest`); `name` is the name that it was asked for under, if any.

    Raises Withheld when the gate does not hand it out, VerificationFailed(`blob.digest`) when kept bytes changed, and
    Unreachable. In each case no tag is put or moved; blobs that were sent stay without a name.
    """
    tag = _tag(target)
    reference = Reference("oci", target.target, tag)
    place = open_target(registry, target, environ)
    with actions.noted(registry, "push --dry-run" if dry else "push", f"{digest} {reference}"):
        artifact = describe(registry, _admitted(registry, digest), name)
        before = _tagged(place, tag)
        parts = tuple((_planned if dry else _sent)(registry, place, artifact, progress))
        listed = ""
        if not dry:
            rows = [listed for _, _, listed in artifact.referrers]
            listed = oci_referrers.announce(place, artifact.manifest.digest, rows)
            registry.take_up()
            tally.check(registry)
            _admitted(registry, digest)
            _put_tag(place, tag, artifact)
        return Pushed(digest, reference, artifact.manifest.digest, before, parts, listed, dry)


def describe(registry: Registry, model: models.Model, name: str = "") -> Artifact:
    """Return a model as the front serves it: under the name it was asked for, else its hub repository, else a name it has."""
    facts: dict[str, Any] = dict(model.source)
    parent = facts.get("converted_from")
    if not facts.get("repository") and parent:
        known = models.find(registry, Digest.parse(str(parent)))
        facts["repository"] = known.source.get("repository") if known else None
    named = sorted(names.names_of(registry, model.digest))
    commit, short = str(facts.get("commit", "")), model.digest.hex[:40]
    repository = name or str(facts.get("repository") or "") or (named[0] if named else short)
    shown = commit if _COMMIT.fullmatch(commit) else short
    return Artifact(repository, shown, model, claims_about(registry, model))


def open_target(registry: Registry, target: Reference, environ: Mapping[str, str]) -> OciPlace:
    """Return the repository that a reference names; user and password as for the source `oci://`. Raises BadSetting, Unreachable."""
    host, _, repository = target.target.partition("/")
    scheme = "http" if urlsplit(f"//{host}").hostname in _LOOPBACK else "https"
    session = Session(
        f"{scheme}://{host}",
        repository,
        environ=environ,
        offline=bool(registry.config["offline"]),
        setting="the reference",
    )
    # The address of an upload that was cut off is one repository's: notes of two must not be mixed up.
    notes = registry.layout.copies / "pushes" / Digest.of(target.target.encode()).hex[:32]
    return OciPlace(session, notes=notes)


def _admitted(registry: Registry, digest: Digest) -> models.Model:
    """Return the model as it is now, with the gate's word that holds; raises Withheld."""
    model = models.get(registry, digest)
    if word_of(registry, model) is None:
        renew(registry, model)
        model = models.get(registry, digest)
        if word_of(registry, model) is None:
            raise withheld(registry, model)
    return model


def _sent(
    registry: Registry, place: OciPlace, artifact: Artifact, progress: Callable[[int], None]
) -> Iterator[Part]:
    for entry in artifact.files.values():
        if not registry.blobs.has(entry.sha256):
            raise NotFound(
                f"the bytes of {entry.path!r} are not kept here",
                remedy="see what else is missing: weighbridge doctor --deep; then take the model in again",
                check="blob.digest",
            )
        with models.open_blob(registry, entry) as file:
            sent = place.put_read(entry.sha256, file, entry.size, progress=progress)
        yield Part("file", entry.path, str(entry.sha256), entry.size, sent)
    for digest, blob in artifact.small.items():
        kind = _WORDS.get(blob.media_type, "configuration")
        yield Part(kind, "", digest, len(blob.data), place.put_small(blob.data))
    for digest, blob in artifact.manifests.items():
        missing = not place.has_manifest(digest)
        if missing:
            place.put_manifest(digest, blob.data)
        yield Part(_manifest_kind(artifact, digest), "", digest, len(blob.data), missing)


def _planned(_: Registry, place: OciPlace, artifact: Artifact, __: Callable[[int], None]) -> Iterator[Part]:
    for entry in artifact.files.values():
        yield Part("file", entry.path, str(entry.sha256), entry.size, not place.has_blob(entry.sha256))
    for digest, blob in artifact.small.items():
        kind = _WORDS.get(blob.media_type, "configuration")
        yield Part(kind, "", digest, len(blob.data), not place.has_blob(Digest.parse(digest)))
    for digest, blob in artifact.manifests.items():
        missing = not place.has_manifest(digest)
        yield Part(_manifest_kind(artifact, digest), "", digest, len(blob.data), missing)


def _manifest_kind(artifact: Artifact, digest: str) -> str:
    return "manifest" if digest == artifact.manifest.digest else "referrer"


def _tag(target: Reference) -> str:
    if target.scheme != "oci":
        raise UsageError(
            f"{target} is no place to push to",
            remedy="name a repository: oci://registry.example/org/name:tag",
        )
    if ":" in target.revision or _FALLBACK.fullmatch(target.revision):
        raise UsageError(
            f"{target.revision} is no tag for a model",
            cause="a digest follows from the bytes, and sha256-… is where registries list referrers",
            remedy=f"name a tag: {target.location}:v1",
        )
    return target.revision or LATEST


def _tagged(place: OciPlace, tag: str) -> str:
    answer = place.manifest(tag)
    return str(Digest.of(answer.body)) if answer else ""


def _put_tag(place: OciPlace, tag: str, artifact: Artifact) -> None:
    if _tagged(place, tag) == artifact.manifest.digest:
        return
    place.put_manifest(tag, artifact.manifest.data)
    found = _tagged(place, tag)
    if found != artifact.manifest.digest:
        raise Unreachable(
            f"the tag {tag!r} in {place.where} is not what was put",
            cause=f"it means {found or 'nothing'} and not {artifact.manifest.digest}: somebody else moved it meanwhile",
            remedy="find out who else pushes to it, then run the command again",
            check="push.tag",
        )
