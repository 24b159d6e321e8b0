"""Intake: bytes are copied and hashed before anything looks at them; then they are described and recorded.

A model enters the intake tier with its manifest, chunk table and a BOM made from the kept bytes and
signed by the intake key. Nothing here admits anything: anything may land in intake.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from weighbridge.bom.cyclonedx import build_bom
from weighbridge.bom.harvest import harvest
from weighbridge.claims import predicates
from weighbridge.core.alias import Scheme
from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.core.reference import Reference, parse_reference
from weighbridge.core.statement import Statement, subjects_of
from weighbridge.core.tier import Origin, Tier
from weighbridge.registry import advisories, attached, fingerprints, gc, models, sightings, tally
from weighbridge.registry.aliases import aliases_of
from weighbridge.registry.arriving import arriving
from weighbridge.registry.outbox import drain, enqueue, sign
from weighbridge.registry.quotas import check_room
from weighbridge.registry.separation import check_other
from weighbridge.registry.wiring import Registry
from weighbridge.source.fetched import FetchedTree
from weighbridge.source.gitlfs import open_place
from weighbridge.source.opening import Asking, open_source
from weighbridge.source.read import Progress, Snapshot, read_tree
from weighbridge.source.tree import Tree, TreeFile, listed


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What a person says when accepting a stranger's model: who made it, under which licence, why, until when."""

    publisher: str
    licence: str
    reviewer: str
    reason: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class Planned:
    """One file that would be taken in: `kept` says that its bytes are here already, by the digest announced for it."""

    path: str
    size: int
    kept: bool
    announced: tuple[Digest, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        """Return the file as JSON."""
        told: list[JSON] = [str(digest) for digest in self.announced]
        return {"path": self.path, "size": self.size, "kept": self.kept, "announced": told}


def take(
    registry: Registry,
    reference: Reference | str,
    *,
    environ: Mapping[str, str] | None = None,
    announced: Mapping[str, Digest] | None = None,
    origin: Origin | None = None,
    progress: Progress | None = None,
    on_drift: Callable[[sightings.Drift], None] = lambda _drift: None,
    on_claims: Callable[[attached.Attached], None] = lambda _attached: None,
) -> models.Model:
    """Take in what a reference names, from whatever source; every byte is hashed, and compared with what was announced.

    Claims that lie beside the model there come along (`attached`).

    `environ` is where sources look for tokens (none by default). The class is `origin`, by default a stranger's for all
    that does not lie on this machine. Where the same name led elsewhere before, that is noted and told (`sightings`).
    """
    named = parse_reference(reference) if isinstance(reference, str) else reference
    class_ = origin or (Origin.OWN if named.scheme == "path" else Origin.THIRD_PARTY)
    tree = open_source(named, asking(registry, environ or {}))
    try:
        check_room(registry, sum(file.size for file in tree.files()))
        model = _take(registry, tree, announced or {}, class_, progress)
        claims = tree.claims() if isinstance(tree, FetchedTree) else []
    finally:
        tree.close()
    if claims:
        on_claims(attached.take_claims(registry, model, claims))
    pinned = str(tree.origin.get("commit") or tree.origin.get("version") or "")
    for drift in sightings.note(registry, named, model.digest, pinned=pinned):
        on_drift(drift)
    return model


def plan(
    registry: Registry, reference: Reference | str, *, environ: Mapping[str, str] | None = None
) -> list[Planned]:
    """List what `take` would take in and what of it is kept already; nothing of a model is fetched or read for it."""
    named = parse_reference(reference) if isinstance(reference, str) else reference
    tree = open_source(named, asking(registry, environ or {}))
    try:
        return [
            Planned(file.path, file.size, _is_kept(registry, file), tuple(file.announced))
            for file in listed(tree).files
        ]
    finally:
        tree.close()


def asking(registry: Registry, environ: Mapping[str, str]) -> Asking:
    """Return what sources need to know of this registry's settings."""
    config = registry.config
    scratch = registry.layout.scratch
    scratch.mkdir(parents=True, exist_ok=True)
    return Asking(
        scratch, bool(config["offline"]), str(config["hub_endpoint"]), str(config["mlflow_uri"]), environ
    )


def take_folder(
    registry: Registry,
    path: Path,
    *,
    announced: Mapping[str, Digest] | None = None,
    origin: Origin = Origin.OWN,
    progress: Progress | None = None,
) -> models.Model:
    """Take in a folder or file. `announced` maps paths to the digests that somebody else gave for them."""
    tree = open_place(path)
    try:
        check_room(registry, sum(file.size for file in tree.files()))
        return _take(registry, tree, announced or {}, origin, progress)
    finally:
        tree.close()


def take_tree(registry: Registry, tree: Tree, *, origin: Origin) -> models.Model:
    """Take in a tree that somebody made by other means than a reference, under the digests that it announces."""
    check_room(registry, sum(file.size for file in tree.files()))
    return _take(registry, tree, {}, origin, None)


def _take(
    registry: Registry, tree: Tree, announced: Mapping[str, Digest], origin: Origin, progress: Progress | None
) -> models.Model:
    facts: dict[str, JSON] = {**tree.origin}
    source: Tree = tree
    if announced:
        source = _Announced(tree, announced)
        facts["announced"] = {name: str(digest) for name, digest in announced.items()}
    # What a folder's own files say of each other (a cache's names, a checkout's pointers) is nobody's announcement.
    told = () if facts.get("scheme") in ("path", "git") else {f.path for f in tree.files() if f.announced}
    snapshot = read_tree(source, registry.blobs, progress=progress)
    facts["matches_announced"] = _all_announced(snapshot.manifest, announced, told)
    model = record(registry, snapshot, label=tree.model_hint, origin=origin, source=facts, within_quota=True)
    if (
        model.origin is Origin.LEGACY and origin is not Origin.LEGACY
    ):  # taken in anew: it is no longer what just ran
        with registry.writing(), tally.keeping(registry) as connection:
            models.set_origin(registry, connection, model.digest, origin)
        return models.get(registry, model.digest)
    return model


def take_hub(
    registry: Registry,
    reference: Reference,
    *,
    token: str | None,
    progress: Progress | None = None,
) -> models.Model:
    """Take in a repository of a hub at one commit; every byte is compared with what the hub announced."""
    return take(registry, reference, environ={"HF_TOKEN": token} if token else {}, progress=progress)


def record(
    registry: Registry,
    snapshot: Snapshot,
    *,
    label: str,
    origin: Origin,
    source: Mapping[str, JSON],
    parents: Sequence[Mapping[str, JSON]] = (),
    claims: Sequence[Statement] = (),
    within_quota: bool = False,
) -> models.Model:
    """Describe and record bytes that are already kept: BOM signed by intake, further `claims` signed with it.

    With `within_quota` a new model is refused (OutOfBudget) where others took the room since the intake began.
    """
    known = models.find(registry, snapshot.manifest.digest)
    knows_more = bool(source.get("matches_announced"))
    if known is not None and known.bom is not None and not claims:
        settled = known.source.get("matches_announced") or known.tier is not Tier.INTAKE
        if settled or not knows_more:
            gc.not_going(registry, (entry.sha256 for entry in known.manifest.files))
            return known
    bom = make_bom(registry, snapshot.manifest, label=label, source=source, parents=parents)
    about = subjects_of(snapshot.manifest)
    statements = [Statement(about, predicates.BOM, bom), *claims]
    seen = _observed(registry, snapshot.manifest, source)
    with registry.writing():
        if within_quota and models.find(registry, snapshot.manifest.digest) is None:
            check_room(registry, snapshot.manifest.size)
        if fingerprints.outdated(registry, seen):  # somebody took in weights while these were being compared
            seen = _observed(registry, snapshot.manifest, source)
        drafts = [sign(statement, registry.intake_key) for statement in statements]
        with tally.keeping(registry) as connection:
            models.keep(
                registry,
                connection,
                snapshot.manifest,
                snapshot.chunks,
                origin=origin,
                label=label,
                source=source,
                bom=canonical(bom).decode(),
            )
            if knows_more:
                models.learn_source(registry, connection, snapshot.manifest.digest, origin, source)
            with arriving(registry, connection, [snapshot.manifest.digest]):
                reached = fingerprints.keep(registry, connection, seen).tainted
                advisories.arrived(connection, reached, reached, registry.record())
            enqueue(registry, connection, drafts)
        drain(registry)
    return models.get(registry, snapshot.manifest.digest)


def _observed(registry: Registry, manifest: Manifest, source: Mapping[str, JSON]) -> fingerprints.Observation:
    """Print the weights and find their relatives among those that are here."""
    known = (alias for _, alias, _ in aliases_of(manifest, source) if alias.scheme is Scheme.NAME)
    return fingerprints.observe(registry, manifest, names=tuple(known))


def make_bom(
    registry: Registry,
    manifest: Manifest,
    *,
    label: str,
    source: Mapping[str, JSON],
    parents: Sequence[Mapping[str, JSON]] = (),
) -> dict[str, JSON]:
    """Build the CycloneDX ML-BOM of kept bytes; raises Refused when it would not be valid."""

    def open_file(entry: FileEntry) -> BinaryIO:
        return models.open_blob(registry, entry)

    return build_bom(
        manifest,
        harvest(manifest, open_file),
        name=label,
        version=str(source.get("commit") or manifest.digest.hex[:12]),
        now=registry.clock.now(),
        serial=str(uuid.UUID(bytes=registry.entropy.token(16), version=4)),
        source=source,
        parents=parents,
    )


def accept(registry: Registry, model: models.Model, acceptance: Acceptance) -> models.Model:
    """Accept a stranger's model as an origin: a claim of the intake key, with person, reason and end.

    Returns the model as it stands then: of the class third-party. Raises Refused(access.other) for who took it in, where
    the project asks for somebody else.
    """
    with registry.writing():
        check_other(registry, model.digest)
        facts = models.get(registry, model.digest).source
        statement = predicates.origin(
            model.manifest,
            publisher=acceptance.publisher,
            repository=str(facts.get("repository", "")),
            commit=str(facts.get("commit", "")),
            matches_announced=bool(facts.get("matches_announced")),
            licence=acceptance.licence,
            reviewer=acceptance.reviewer,
            reason=acceptance.reason,
            expires=acceptance.expires,
        )
        with tally.keeping(registry) as connection:
            models.set_origin(registry, connection, model.digest, Origin.THIRD_PARTY)
            enqueue(registry, connection, [sign(statement, registry.intake_key)])
        drain(registry)
    return models.get(registry, model.digest)


class _Announced:
    """A tree whose files must have the digests that somebody announced for them."""

    def __init__(self, tree: Tree, announced: Mapping[str, Digest]) -> None:
        self._tree = tree
        self._announced = announced

    @property
    def model_hint(self) -> str:
        return self._tree.model_hint

    @property
    def origin(self) -> Mapping[str, str]:
        return self._tree.origin

    def files(self) -> Sequence[TreeFile]:
        files = self._tree.files()
        missing = sorted(set(self._announced) - {file.path for file in files})
        if missing:
            raise Refused(
                f"the announced file {missing[0]!r} is not there",
                cause="a digest was announced for it, but the folder does not hold it",
                remedy="check the path given with --expect",
                check="source.announced",
            )
        return [
            replace(file, announced=(*file.announced, self._announced[file.path]))
            if file.path in self._announced
            else file
            for file in files
        ]

    def settle(self) -> None:
        self._tree.settle()

    def close(self) -> None:
        self._tree.close()


def _all_announced(manifest: Manifest, announced: Mapping[str, Digest], told: Collection[str]) -> bool:
    """Tell whether every file was announced, by the source (`told`, compared while reading) or by hand."""
    return all(entry.path in told or announced.get(entry.path) == entry.sha256 for entry in manifest.files)


def _is_kept(registry: Registry, file: TreeFile) -> bool:
    return any(digest.algorithm == "sha256" and registry.blobs.has(digest) for digest in file.announced)
