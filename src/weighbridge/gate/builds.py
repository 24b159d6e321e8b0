"""Builds of one kept model, as far as kept provenance tells, and the build level that they show under the pinned policy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from weighbridge.claims.predicates import role_of, stage_of
from weighbridge.claims.provenance import read_provenance
from weighbridge.claims.slsa import Build, ModelLevel, TrustedBuilder, build_of, model_level, read_trusted
from weighbridge.core.distrust import Distrust, check_signer
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.evidence import ClaimFact
from weighbridge.core.manifest import Manifest
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Role
from weighbridge.gate.judging import read_active, setting
from weighbridge.registry import bundles, distrusts
from weighbridge.registry.wiring import Registry
from weighbridge.trust.authority import Authority
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.verify import verify_bundle


def level(registry: Registry, manifest: Manifest, facts: tuple[ClaimFact, ...]) -> ModelLevel:
    """Return the build level of a model: `facts` are its claims, strangers' provenance is looked up beside them."""
    own = [manifest.digest] if manifest.weights is None else [manifest.digest, manifest.weights]
    standing = distrusts.standing(registry)
    builds = [build for fact in facts if set(own) & set(fact.about) and (build := build_of(fact))]
    for bundle in bundles.about(registry, own):
        found = foreign(bundle, registry.authority, registry.project, registry.clock.now(), standing)
        if found is not None:
            builds.append(found)
    return model_level(manifest.digest, manifest.weights, builds, trusted(registry))


def trusted(registry: Registry) -> tuple[TrustedBuilder, ...]:
    """Return the trusted builders of the policy that the registry pins; none where its files were changed."""
    bundle = read_active(registry)
    if str(bundle.digest) != setting(registry, "policy"):
        return ()
    section = bundle.settings.get("builders")
    return read_trusted(section.get("trusted", []) if isinstance(section, dict) else [])


def foreign(
    bundle: Bundle, authority: Authority, project: str, now: datetime, standing: Sequence[Distrust] = ()
) -> Build | None:
    """Read provenance of a build type that is not ours (of Tekton Chains, say); None when it is no such thing.

    It is carried and proves no link. Who may sign training may have signed it; what it names by our identities it
    speaks of, as a builder that made them.
    """
    statement = Statement.decode(bundle.envelope.payload)
    if stage_of(statement) is not None or role_of(statement) is not None:
        return None
    try:
        said = read_provenance(statement)
    except VerificationFailed:
        return None
    if said is None:
        return None
    about, kind, builder = statement.identities, said.build_type, said.builder
    try:
        proven = verify_bundle(bundle, authority=authority, project=project, role=Role.TRAIN, now=now).proven
        check_signer(standing, proven)
    except VerificationFailed as error:
        reason = f"{error.problem}: {error.cause}" if error.cause else error.problem
        return Build(
            about, makes=True, kind=kind, builder=builder, bundle=bundle.digest, proof=None, reason=reason
        )
    return Build(about, makes=True, kind=kind, builder=builder, bundle=bundle.digest, proof=proven)
