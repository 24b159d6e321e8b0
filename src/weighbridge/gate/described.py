"""Facts about a model's own description: what its bill of materials has, and which build level its claims show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from weighbridge.bom.completeness import Completeness, Status, assess, profiles, read_profile
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed, WeighbridgeError
from weighbridge.core.evidence import BomFact, BuildFact, ClaimFact
from weighbridge.core.manifest import Manifest
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Stage
from weighbridge.gate.builds import level
from weighbridge.registry import bundles
from weighbridge.registry.wiring import Registry

MAX_NAMED = 20
"""How many pieces of software without a hash are named."""


def bom_of(registry: Registry, manifest: Manifest, claims: Sequence[ClaimFact]) -> BomFact | None:
    """Return what the newest verified bill of materials of this model has; None when there is none."""
    bound = [
        fact
        for fact in claims
        if fact.stage is Stage.BOM
        and fact.verified
        and fact.detail.get("bound")
        and manifest.digest in fact.about
    ]
    newest = max(bound, key=_logged, default=None)
    if newest is None:
        return None
    kept = (bundle for bundle in bundles.about(registry, [manifest.digest]) if bundle.digest == newest.bundle)
    try:
        statement = Statement.decode(next(kept).envelope.payload)
    except (StopIteration, VerificationFailed):
        return None
    return describe(dict(statement.predicate), newest.bundle)


def describe(document: Mapping[str, Any], bundle: Digest) -> BomFact:
    """Hold a bill of materials against each profile that comes with the program, and count its software."""
    found = {name: _counts(assess(document, read_profile(name), signed=str(bundle))) for name in profiles()}
    software = list(_software(document))
    bare = [name for name, hashed in software if not hashed]
    return BomFact(
        bundle=bundle,
        spec_version=str(document.get("specVersion", "")),
        profiles=found,
        libraries=len(software),
        hashed=len(software) - len(bare),
        unhashed=tuple(bare[:MAX_NAMED]),
    )


def build_of_model(registry: Registry, manifest: Manifest, claims: tuple[ClaimFact, ...]) -> BuildFact | None:
    """Return the build level under the pinned policy's trusted builders; None when these cannot be read."""
    try:
        found = level(registry, manifest, claims)
    except (WeighbridgeError, OSError):
        return None
    rests = {row.build.builder for row in (found.made, found.packed) if row and row.level > 0}
    return BuildFact(found.level, found.missing, tuple(sorted(rests)))


def _logged(fact: ClaimFact) -> tuple[int, str]:
    index = fact.proof.log_index if fact.proof else None
    return (-1 if index is None else index, str(fact.bundle))


def _counts(found: Completeness) -> dict[str, JSON]:
    """Return how many elements are asked of this model, and how many of them are there, and vouched for."""
    asked = len(found.elements) - found.count(Status.NOT_APPLICABLE)
    return {
        "asked": asked,
        "present": asked - found.count(Status.ABSENT),
        "attested": found.count(Status.ATTESTED),
    }


def _software(part: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield each library and framework of a document, nested ones too: its name, and whether it has a hash."""
    for component in part.get("components") or []:
        if component.get("type") in ("library", "framework"):
            name = f"{component.get('name', '')} {component.get('version', '')}".strip()
            yield name, bool(component.get("hashes"))
        yield from _software(component)
