"""Intake: bytes are copied and hashed before anything looks at them; then they are described and recorded.

A model enters the intake tier with its manifest, chunk table and a BOM made from the kept bytes and
signed by the intake key. Nothing here admits anything: anything may land in intake.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
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
from weighbridge.core.reference import Reference
from weighbridge.core.statement import Statement, subjects_of
from weighbridge.core.tier import Origin, Tier
from weighbridge.registry import advisories, fingerprints, models, tally
from weighbridge.registry.aliases import aliases_of
from weighbridge.registry.outbox import drain, enqueue, sign
from weighbridge.registry.wiring import Registry
from weighbridge.source.hub import fetch_hub
from weighbridge.source.local import open_folder
from weighbridge.source.read import Progress, Snapshot, read_tree
from weighbridge.source.tree import Tree, TreeFile


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What a person says when accepting a stranger's model: who made it, under which licence, why, until when."""

    publisher: str
    licence: str
    reviewer: str
    reason: str
    expires: datetime


def take_folder(
    registry: Registry,
    path: Path,
    *,
    announced: Mapping[str, Digest] | None = None,
    origin: Origin = Origin.OWN,
    progress: Progress | None = None,
) -> models.Model:
    """Take in a folder or file. `announced` maps paths to the digests that somebody else gave for them."""
    with open_folder(path) as tree:
        facts: dict[str, JSON] = {**tree.origin}
        source: Tree = tree
        if announced:
            source = _Announced(tree, announced)
            facts["announced"] = {name: str(digest) for name, digest in announced.items()}
        snapshot = read_tree(source, registry.blobs, progress=progress)
        facts["matches_announced"] = bool(announced) and _all_announced(snapshot.manifest, announced or {})
        return record(registry, snapshot, label=tree.model_hint, origin=origin, source=facts)


def take_hub(
    registry: Registry,
    reference: Reference,
    *,
    token: str | None,
    progress: Progress | None = None,
) -> models.Model:
    """Take in a repository of a hub at one commit; every byte is compared with what the hub announced."""
    cache = registry.layout.scratch / "hub"
    cache.mkdir(parents=True, exist_ok=True)
    tree = fetch_hub(
        reference,
        endpoint=str(registry.config["hub_endpoint"]) or None,
        token=token,
        cache_dir=cache,
        offline=bool(registry.config["offline"]),
    )
    try:
        snapshot = read_tree(tree, registry.blobs, progress=progress)
        facts: dict[str, JSON] = {**tree.origin, "matches_announced": True}
        return record(registry, snapshot, label=tree.model_hint, origin=Origin.THIRD_PARTY, source=facts)
    finally:
        tree.close()


def record(
    registry: Registry,
    snapshot: Snapshot,
    *,
    label: str,
    origin: Origin,
    source: Mapping[str, JSON],
    parents: Sequence[Mapping[str, JSON]] = (),
    claims: Sequence[Statement] = (),
) -> models.Model:
    """Describe and record bytes that are already kept: BOM signed by intake, further `claims` signed with it."""
    known = models.find(registry, snapshot.manifest.digest)
    knows_more = bool(source.get("matches_announced"))
    if known is not None and known.bom is not None and not claims:
        settled = known.source.get("matches_announced") or known.tier is not Tier.INTAKE
        if settled or not knows_more:
            return known
    bom = make_bom(registry, snapshot.manifest, label=label, source=source, parents=parents)
    about = subjects_of(snapshot.manifest)
    statements = [Statement(about, predicates.BOM, bom), *claims]
    seen = _observed(registry, snapshot.manifest, source)
    with registry.writing():
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

    Returns the model as it stands then: of the class third-party.
    """
    with registry.writing():
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


def _all_announced(manifest: Manifest, announced: Mapping[str, Digest]) -> bool:
    return all(announced.get(entry.path) == entry.sha256 for entry in manifest.files)
