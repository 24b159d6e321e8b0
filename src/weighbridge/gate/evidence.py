"""Evidence: establishes every fact about one kept model, and refuses to take anybody's word for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import sqlalchemy as sa

from weighbridge.claims.chain import walk
from weighbridge.claims.predicates import kind_of, role_of, stage_of
from weighbridge.claims.predicates import scan as scan_claim
from weighbridge.claims.records import read_event
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.decision import Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.distrust import Distrust, check_scan, check_signer
from weighbridge.core.errors import NotFound, VerificationFailed, WeighbridgeError
from weighbridge.core.evidence import (
    Ancestry,
    AuthorityFact,
    BytesFact,
    ClaimFact,
    Evidence,
    Proven,
    Revocation,
    ScanFact,
)
from weighbridge.core.finding import Report
from weighbridge.core.identity import Identity
from weighbridge.core.lineage import Grade, Parentage, Relation
from weighbridge.core.manifest import Manifest
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Origin, Role, Stage
from weighbridge.gate.advisories import reaching
from weighbridge.gate.claimed import fact_of
from weighbridge.gate.described import bom_of, build_of_model
from weighbridge.gate.excuses import Excuses
from weighbridge.gate.licences import licences_of
from weighbridge.registry import bundles, distrusts, dropping, models, tally
from weighbridge.registry import revocations as withdrawn
from weighbridge.registry.contradictions import contradictions
from weighbridge.registry.import_age import overdue
from weighbridge.registry.outbox import sign, submit
from weighbridge.registry.rebuilding import scan_kept
from weighbridge.registry.wiring import Registry
from weighbridge.registry.witnesses import fresh, witnessed
from weighbridge.store import schema
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.verify import verify_bundle

MAX_IDENTITIES = 10_000
DESCRIBING = (Stage.BOM, Stage.SCAN, Stage.ADMIT)
"""Stages that say nothing about descent: gathered for the model itself only.

Evaluations are gathered for its ancestors too: those of the weights that it was proven to hold speak of it.
"""


def gather(registry: Registry, model: models.Model, *, keep_scan: bool = True) -> Evidence:
    """Establish all facts about `model` now.

    `keep_scan` signs and logs the gate's scan, so that it need not be repeated under the same ruleset;
    a dry run leaves it out.
    """
    tally.check_subjects(registry)
    manifest = model.manifest
    before = models.versions(registry, manifest.files)
    kept = weigh(registry, manifest)
    facts = _Facts(registry, manifest)
    claims = facts.gather()
    report = scan_kept(registry, model) if kept.outcome is Outcome.PASS else None
    if models.versions(registry, manifest.files) != before:
        kept, report = BytesFact(Outcome.FAIL, "a kept file was changed while it was being read"), None
    ancestry = walk(manifest.digest, manifest.weights, claims)
    claims = tuple(fact for fact in claims if _counts(fact, ancestry))
    origin = _origin(model, ancestry)
    visited = {manifest.digest, *ancestry.visited} | ({manifest.weights} if manifest.weights else set())
    return Evidence(
        manifest=manifest.digest,
        weights=manifest.weights,
        project=registry.project,
        origin=origin,
        authority=_authority(registry, origin),
        bytes=kept,
        scan=_scanned(registry, manifest, claims, report, keep=keep_scan) if report else None,
        claims=claims,
        ancestry=ancestry,
        revocations=revocations(registry, visited),
        waivers=tuple(facts.excuses.waivers),
        break_glass=tuple(facts.excuses.break_glass),
        licence=licences_of(registry, model).fact,
        contradictions=_contradicted(registry, manifest),
        problems=(*facts.problems, *_stale(registry), *overdue(registry)),
        bom=bom_of(registry, manifest, claims),
        build=build_of_model(registry, manifest, claims),
        advisories=reaching(registry, sorted(facts.own), _proven(ancestry)),
    )


def _proven(ancestry: Ancestry) -> list[Parentage]:
    """Return the links that verified claims prove, whatever the index says."""
    known = set(Relation)
    return [
        Parentage(parent, child, Relation(relation), Grade.ATTESTED)
        for parent, child, relation in ancestry.links
        if relation in known
    ]


def told(registry: Registry, manifest: Manifest) -> tuple[ClaimFact, ...]:
    """Return the claims about a model and everything its verified claims lead to, each verified or refused now."""
    return _Facts(registry, manifest).gather()


def _contradicted(registry: Registry, manifest: Manifest) -> tuple[dict[str, JSON], ...]:
    """Return where what the tensors show and what is said of their origin do not agree."""
    if manifest.weights is None:
        return ()
    with registry.records.read() as connection:
        return tuple(row.to_json() for row in contradictions(connection, manifest.weights))


def _stale(registry: Registry) -> tuple[str, ...]:
    """Say when no quorum of witnesses has seen the log for longer than the authority allows."""
    age, now = registry.authority.checkpoint_age, registry.clock.now()
    if age is None:
        return ()
    seen = fresh(registry.log, registry.authority)
    if seen is not None and seen.age(now).total_seconds() <= age:
        return ()
    last = rfc3339(seen.seen) if seen else "never"
    return (
        f"the log was last seen by its witnesses: {last}; at most {age} s ago is asked for (weighbridge log cosign)",
    )


def _counts(fact: ClaimFact, ancestry: Ancestry) -> bool:
    """Tell whether a claim belongs to the evidence: an evaluation only when it speaks of this model."""
    return fact.stage is not Stage.EVALUATE or bool(set(fact.about) & set(ancestry.equal))


def _origin(model: models.Model, ancestry: Ancestry) -> Origin:
    """Return the class of a model; whatever a record says, what somebody here trained is our own.

    Only what lies between a model and its weights or a conversion's source may be between it and an accepted
    origin: a fine-tune of a stranger's model needs every claim of its own.
    """
    carried = (Relation.PACKAGING.value, Relation.CONVERSION.value)
    trained = any(relation not in carried for _, _, relation in ancestry.links)
    return Origin.OWN if trained and model.origin is Origin.THIRD_PARTY else model.origin


def weigh(registry: Registry, manifest: Manifest) -> BytesFact:
    """Read every kept byte again and hold it against the manifest."""
    for entry in manifest.files:
        try:
            if not registry.blobs.verify(entry.sha256):
                return BytesFact(
                    Outcome.FAIL, f"{entry.path!r} no longer has its digest {entry.sha256.short}"
                )
        except NotFound:
            gone = dropping.every(registry).get(entry.sha256, "no longer kept")
            return BytesFact(Outcome.FAIL, f"{entry.path!r} ({entry.sha256.short}) is {gone}")
        except WeighbridgeError as error:
            return BytesFact(Outcome.CANNOT_TELL, f"{entry.path!r} cannot be read: {error.problem}")
    found = f"{len(manifest.files)} files, {manifest.size} bytes, read again just now"
    return BytesFact(Outcome.PASS, found + _elsewhere(registry, manifest), len(manifest.files), manifest.size)


def _elsewhere(registry: Registry, manifest: Manifest) -> str:
    """Say which of the bytes are read where others keep them, and that this holds for now where they can change."""
    places = [place for entry in manifest.files if (place := registry.blobs.placed(entry.sha256))]
    loose = sum(not place.version for place in places)
    if not places:
        return ""
    text = f"; {len(places)} of them lie in place, where others keep them"
    if loose:
        text += f", {loose} without versions: they may change at any time and are hashed again at each use"
    return text


def revocations(registry: Registry, identities: Iterable[Digest]) -> tuple[Revocation, ...]:
    """Return what of `identities` is revoked: by the table, and by every revocation kept about them."""
    wanted = sorted(set(identities))
    found: dict[Digest, Revocation] = {}
    with registry.records.read() as connection:
        for start in range(0, len(wanted), 500):
            part = [str(d) for d in wanted[start : start + 500]]
            query = sa.select(schema.revocation).where(
                schema.revocation.c.target.in_(part), schema.revocation.c.project == registry.project
            )
            for row in connection.execute(query).mappings():
                target = Digest.parse(row["target"])
                since = parse_rfc3339(row["since"])
                found[target] = Revocation(target, row["reason"], since, Digest.parse(row["bundle"]))
        for said in withdrawn.named(connection, registry.project):
            for target in set(withdrawn.known(connection, [said.alias])) & set(wanted):
                since = parse_rfc3339(said.since)
                found.setdefault(target, Revocation(target, said.reason, since, Digest.parse(said.bundle)))
    for bundle in bundles.about(registry, wanted):
        for revocation in _revocations_in(registry, bundle):
            if revocation.target in wanted:
                found.setdefault(revocation.target, revocation)
    return tuple(found[target] for target in sorted(found))


def _revocations_in(registry: Registry, bundle: Bundle) -> list[Revocation]:
    statement = Statement.decode(bundle.envelope.payload)
    if kind_of(statement) != "revocation":
        return []
    try:
        event = read_event(statement)
        proven = _verify(registry, bundle, Role.REVOKE)
    except VerificationFailed:
        return []
    if event is None or event.kind != "revocation":
        return []
    since, reason = parse_rfc3339(str(event.body["since"])), str(event.body["reason"])
    return [Revocation(target, reason, since, proven.bundle) for target in event.about]


def _shown(registry: Registry, bundle: Bundle) -> Bundle:
    """Return a bundle as it is verified: with the cosigned checkpoint where the authority asks for witnesses."""
    return witnessed(bundle, registry.log) if registry.authority.trusted.witnesses else bundle


def _verify(registry: Registry, bundle: Bundle, role: Role) -> Proven:
    """Verify who signed a record; a distrusted signer counts for nothing, but for what withdraws."""
    shown = _shown(registry, bundle)
    proven = verify_bundle(
        shown, authority=registry.authority, project=registry.project, role=role, now=registry.clock.now()
    ).proven
    if role is not Role.REVOKE:
        check_signer(distrusts.standing(registry), proven)
    return proven


class _Facts:
    """Walks the kept claims from one model upwards, verifying each bundle as it comes."""

    def __init__(self, registry: Registry, manifest: Manifest) -> None:
        self.registry = registry
        self.manifest = manifest
        self.own = {manifest.digest} | ({manifest.weights} if manifest.weights else set())
        self.problems: list[str] = []
        self.distrusts = distrusts.standing(registry)
        self.excuses = Excuses(registry, manifest.digest, _verify)

    def gather(self) -> tuple[ClaimFact, ...]:
        """Return the facts about the model and about everything its verified claims lead to."""
        facts: dict[Digest, ClaimFact] = {}
        seen: set[Digest] = set()
        frontier = sorted(self.own)
        while frontier:
            seen |= set(frontier)
            if len(seen) > MAX_IDENTITIES:
                self.problems.append(f"more than {MAX_IDENTITIES} ancestors: out of budget")
                break
            reached: set[Digest] = set()
            for bundle in bundles.about(self.registry, frontier):
                if bundle.digest in facts:
                    continue
                fact = self._fact(bundle)
                if fact is None:
                    continue
                facts[bundle.digest] = fact
                if fact.outcome is Outcome.PASS and fact.stage is not Stage.EVALUATE:
                    reached |= set(fact.about) | set(fact.parents)
            frontier = sorted(reached - seen)
        return tuple(facts.values())

    def _fact(self, bundle: Bundle) -> ClaimFact | None:
        statement = Statement.decode(bundle.envelope.payload)
        stage, role = stage_of(statement), role_of(statement)
        self.excuses.note(bundle, statement)
        if stage is None or role is None:
            return None
        if stage in DESCRIBING and not self.own & set(statement.identities):
            return None
        return fact_of(
            bundle,
            authority=self.registry.authority,
            project=self.registry.project,
            now=self.registry.clock.now(),
            manifest=self.manifest,
            shown=lambda kept: _shown(self.registry, kept),
            distrusts=self.distrusts,
        )


def _scanned(
    registry: Registry, manifest: Manifest, claims: tuple[ClaimFact, ...], report: Report, *, keep: bool
) -> ScanFact:
    """Establish what the scan of the kept bytes found; sign and log the report once per ruleset."""
    rules, now = str(report.ruleset.digest), registry.clock.now()
    named = registry.authority.identity_for(registry.gate_key.key_id)
    told = any(
        fact.stage is Stage.SCAN and fact.outcome is Outcome.PASS and fact.detail.get("ruleset") == rules
        for fact in claims
    )
    standing, mine = distrusts.standing(registry), str(registry.gate_key.key_id)
    refused = _refused(standing, rules, now)
    if keep and not told and not refused:
        submit(registry, sign(scan_claim(manifest, report), registry.gate_key))
    return ScanFact(
        scanner=Identity(registry.gate_key.key_id, named.name if named else ""),
        by_gate=named is not None
        and registry.authority.may(named.name, Role.SCAN, registry.project)
        and not any(said.key == mine for said in standing),
        manifest=report.manifest,
        verdict=report.verdict,
        complete=report.coverage.complete,
        ruleset=report.ruleset.digest,
        scanned_at=now,
        findings=report.findings,
        formats=report.formats,
        ruleset_version=report.ruleset.version,
        distrusted=refused,
    )


def _refused(standing: Sequence[Distrust], ruleset: str, now: datetime) -> str:
    """Say why a scan of now counts no longer; empty where it does."""
    try:
        check_scan(standing, ruleset, now)
    except VerificationFailed as error:
        return f"{error.problem} ({error.cause})"
    return ""


def _authority(registry: Registry, origin: Origin) -> AuthorityFact:
    authority, now = registry.authority, registry.clock.now()
    current = authority.issued <= now < authority.expires
    return AuthorityFact(
        version=authority.version,
        digest=authority.digest,
        expires=authority.expires,
        outcome=Outcome.PASS if current else Outcome.FAIL,
        found=f"version {authority.version}, {'current' if current else 'expired or not yet valid'}",
        required=authority.required(registry.project, origin),
        demonstration=authority.demonstration,
    )
