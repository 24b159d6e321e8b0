"""What was enforced for a model on a date: the decision in force then, by which policy and authority, with the proofs.

In force is the newest decision that the log had taken in by then; what was logged after it and may have changed what it is
worth (a mode, a policy, a revocation) is named beside it. What this registry cannot know is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from weighbridge.claims.records import read_event
from weighbridge.claims.summary import Summary, read_vsa
from weighbridge.claims.words import VSA
from weighbridge.core.canonical import JSON, parse
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.statement import Statement
from weighbridge.gate.decision_log import item
from weighbridge.gate.decisions import Kept, kept
from weighbridge.registry.wiring import Registry, authority_versions
from weighbridge.store import schema
from weighbridge.trust.bundle import Bundle

ABOUT_ALL = ("mode", "policy")
ABOUT_IT = ("revocation", "advisory", "distrust", "standing", "lift", "waiver", "break-glass")


@dataclass(frozen=True, slots=True)
class Later:
    """A record that was logged after the decision and by the date, and may have changed what it is worth."""

    kind: str
    logged_at: datetime
    bundle: Digest
    says: str

    def to_json(self) -> dict[str, JSON]:
        """Return the record as a row of the answer."""
        return {
            "kind": self.kind,
            "logged_at": rfc3339(self.logged_at),
            "bundle": str(self.bundle),
            "says": self.says,
        }


def enforced_on(registry: Registry, manifest: Digest, moment: datetime) -> dict[str, JSON]:
    """Return what was enforced for a model in this project just before `moment`; raises as `decisions.kept`."""
    found = _newest(registry, manifest, moment)
    if found is None:
        return {
            "model": str(manifest),
            "project": registry.project,
            "on": rfc3339(moment),
            "decision": None,
            "policy": None,
            "authority": None,
            "admission": None,
            "later": [],
            "proof": None,
            "unknown": ["nothing was decided about it by then: here, nothing let it run"],
        }
    assert found.bundle is not None
    assert found.logged_at is not None
    later = sorted(_later(registry, manifest, found.logged_at, moment), key=lambda row: row.logged_at)
    policy, authority = _policy(registry, found), _authority(registry, found)
    unknown = [*_unknown(policy, authority, later), *_always()]
    return {
        "model": str(manifest),
        "project": registry.project,
        "on": rfc3339(moment),
        "decision": item(found),
        "policy": policy,
        "authority": authority,
        "admission": _admission(registry, manifest, moment),
        "later": [row.to_json() for row in later],
        "proof": {"bundle": parse(found.bundle.to_json()), "receipt": dict(found.receipt)},
        "unknown": list(unknown),
    }


def _newest(registry: Registry, manifest: Digest, moment: datetime) -> Kept | None:
    """Return the last decision of the chain that was logged by then; raises VerificationFailed for one that was changed."""
    newest = None
    for one in kept(registry, manifest=manifest, project=registry.project):
        if one.problem:
            raise VerificationFailed(
                "a decision about this model is not what was signed",
                cause=one.problem,
                remedy="weighbridge doctor --deep; then restore the registry from a backup",
                check="decisions.changed",
            )
        if one.logged_at is not None and one.logged_at < moment:
            newest = one
    return newest


def _policy(registry: Registry, found: Kept) -> dict[str, JSON]:
    """Return the policy of a decision: its digest, the git commit that its change names, and whether its files are kept."""
    digest, table = str(found.body["digests"]["policy"]), schema.policy
    with registry.records.read() as connection:
        query = sa.select(table.c.git, table.c.blob, table.c.bundle).where(table.c.digest == digest)
        row = connection.execute(query.order_by(table.c.sequence.desc()).limit(1)).first()
    return {
        "digest": digest,
        "commit": row[0] if row else "",
        "kept": bool(row and row[1]),
        "bundle": row[2] if row else "",
    }


def _authority(registry: Registry, found: Kept) -> dict[str, JSON]:
    digest = str(found.body["digests"]["authority"])
    with registry.records.read() as connection:
        version = authority_versions(connection, registry.pin).get(digest)
    return {"digest": digest, "version": version.version if version else None}


def _admission(registry: Registry, manifest: Digest, moment: datetime) -> JSON:
    """Return the gate's newest word of an admission by then, and whether it was still good."""
    newest: tuple[datetime, Digest, Summary] | None = None
    for stage, when, bundle in _logged(registry, manifest, ("admit",)):
        statement = Statement.decode(bundle.envelope.payload)
        if when >= moment or statement.predicate_type != VSA:
            continue
        try:
            said = read_vsa(statement)
        except VerificationFailed:
            continue
        if said.registry == registry.id and said.project == registry.project and stage:
            newest = when, bundle.digest, said
    if newest is None:
        return None
    _, digest, said = newest
    return {
        "bundle": str(digest),
        "decision": str(said.decision),
        "from": rfc3339(said.verified_at),
        "until": rfc3339(said.expires),
        "good": said.verified_at <= moment < said.expires,
    }


def _later(registry: Registry, manifest: Digest, after: datetime, moment: datetime) -> Iterator[Later]:
    for about, stages in ((None, ABOUT_ALL), (manifest, ABOUT_IT)):
        for stage, when, bundle in _logged(registry, about, stages):
            if after <= when < moment:
                says = _says(bundle, registry.project)
                if says:
                    yield Later(stage, when, bundle.digest, says)


def _says(bundle: Bundle, project: str) -> str:
    try:
        record = read_event(Statement.decode(bundle.envelope.payload))
    except VerificationFailed:
        return ""
    if record is None or record.project not in (project, "*"):
        return ""
    words = ("mode", "namespace", "digest", "status", "reason", "rule", "id")
    return ", ".join(f"{name} {record.body[name]}" for name in words if record.body.get(name))


def _logged(
    registry: Registry, about: Digest | None, stages: tuple[str, ...]
) -> Iterator[tuple[str, datetime, Bundle]]:
    """Yield what was logged of some kinds (about one model), in the order in which it was kept."""
    table, subject = schema.bundle, schema.bundle_subject
    query: sa.Select[Any] = sa.select(table.c.stage, table.c.content).where(table.c.stage.in_(stages))
    if about is not None:
        query = query.join(subject, subject.c.bundle == table.c.digest)
        query = query.where(subject.c.identity == str(about))
    with registry.records.read() as connection:
        rows = connection.execute(query.order_by(table.c.place)).all()
    for stage, content in rows:
        bundle = Bundle.from_json(content.encode())
        if bundle.entry is not None:
            yield str(stage), datetime.fromtimestamp(bundle.entry.integrated_time, UTC), bundle


def _unknown(policy: dict[str, JSON], authority: dict[str, JSON], later: list[Later]) -> Iterator[str]:
    if not policy["commit"]:
        yield "from which git commit the policy came: its change names none"
    if not policy["kept"]:
        yield "what the policy says, unless its files are still the active ones: they were not kept"
    if authority["version"] is None:
        yield "which version of the authority that was: it is not kept here"
    if any(row.kind in ABOUT_ALL for row in later):
        yield "whether a change of mode or policy listed as later found the approvals that it needed (weighbridge policy show)"


def _always() -> Iterator[str]:
    yield "whether it ran elsewhere without asking this registry"
    yield "that this host, which alone keeps the log, did not make another history: hold it against a checkpoint kept elsewhere"
