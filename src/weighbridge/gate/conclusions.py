"""Conclusions: a person says, signed and logged, under which licence something is; the last word logged holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from weighbridge.bom.licence_knowledge import read
from weighbridge.bom.licence_words import Duty
from weighbridge.claims.predicates import read_claim, role_of, stage_of
from weighbridge.claims.records import event, read_event
from weighbridge.claims.words import kind_of
from weighbridge.core.alias import Alias
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.distrust import check_signer
from weighbridge.core.errors import NotFound, UsageError, VerificationFailed
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Role, Stage
from weighbridge.keys.ports import Signer
from weighbridge.registry import authorities, bundles, distrusts, models
from weighbridge.registry.outbox import sign, submit
from weighbridge.registry.wiring import Registry
from weighbridge.registry.witnesses import witnessed
from weighbridge.store import lineage_walks, schema
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.verify import verify_bundle

KIND = "licence"
STATES = (Stage.ORIGIN, Stage.DATA)
"""Claims by which a person states a licence: of a stranger's model, of a dataset."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """Somebody concluded, and signed: this is under that licence. Of several about one thing the last logged holds."""

    about: tuple[Digest, ...]
    licence: str
    reason: str
    signer: str
    bundle: Digest

    def to_json(self) -> dict[str, JSON]:
        """Return it as it stands in `weighbridge.licence/1`."""
        return {
            "licence": self.licence,
            "reason": self.reason,
            "signer": self.signer,
            "bundle": str(self.bundle),
        }


def conclude(
    registry: Registry, about: Digest | Alias, licence: str, *, reason: str, signer: Signer
) -> Conclusion:
    """Sign and log which licence a model, a dataset or a base known by name is under; the last word logged holds.

    Raises UsageError for a licence nobody here knows, or without a reason; Refused when the key may not waive.
    """
    authorities.require(registry, signer, Role.WAIVE)
    if not reason.strip():
        raise UsageError("a conclusion needs a reason", remedy="say in --reason what it rests on")
    alternatives = read(licence)
    if any(one.has(Duty.REVIEW) for each in alternatives for one in each):
        raise UsageError(
            f"{licence[:128]!r} is no licence that is known here",
            cause="what it asks for would stay unknown, so nothing would be concluded",
            remedy="name a licence (weighbridge licence list), an SPDX expression, or `agreement` for a separate one",
        )
    body: dict[str, JSON] = {"licence": licence, "reason": reason}
    if isinstance(about, Alias):
        body["name"] = str(about)
    digest = about.node if isinstance(about, Alias) else about
    with registry.writing():
        if not isinstance(about, Alias) and models.find(registry, about) is None:
            _known(registry, about)
        draft = sign(event(KIND, (digest,), body, **registry.event_facts()), signer)
        submit(registry, draft)
    return Conclusion((digest,), licence, reason, str(signer.key_id), draft.envelope.digest)


def _known(registry: Registry, digest: Digest) -> None:
    with registry.records.read() as connection:
        if not lineage_walks.numbers(connection, [digest]):
            raise NotFound(
                f"nothing here is known as {digest.short}",
                remedy="name a model, a dataset of a claim, or a base as name:org/model",
            )


def concluded(registry: Registry, nodes: Sequence[Digest]) -> dict[Digest, Conclusion]:
    """Return the last verified word on each of `nodes`: stated when it was accepted, or concluded since."""
    wanted = set(nodes)
    found: dict[Digest, Conclusion] = {}
    for bundle in (*bundles.about(registry, list(nodes)), *_records(registry)):
        said = _concluded_in(registry, bundle)
        if said is not None:
            found |= {digest: said for digest in said.about if digest in wanted}
    return found


def _records(registry: Registry) -> list[Bundle]:
    """Return every conclusion kept in this project, in the order in which the log took them in."""
    table = schema.bundle
    with registry.records.read() as connection:
        query = sa.select(table.c.digest, table.c.content).where(
            table.c.stage == KIND, table.c.project == registry.project
        )
        rows = connection.execute(query.order_by(table.c.log_index)).all()
    found = [Bundle.from_json(content.encode()) for _, content in rows]
    if any(str(bundle.digest) != digest for bundle, (digest, _) in zip(found, rows, strict=True)):
        raise VerificationFailed(
            "a kept conclusion was exchanged",
            remedy="find out who can write to the registry's folder, then restore it from a backup",
            check="records.bundle",
        )
    return found


def _concluded_in(registry: Registry, bundle: Bundle) -> Conclusion | None:
    """Return what a bundle concludes of a licence, when its signer may; None otherwise."""
    try:
        statement = Statement.decode(bundle.envelope.payload)
        stage, role = stage_of(statement), role_of(statement)
        if role is None or (stage not in STATES and kind_of(statement) != KIND):
            return None
        shown = witnessed(bundle, registry.log) if registry.authority.trusted.witnesses else bundle
        proven = verify_bundle(
            shown, authority=registry.authority, project=registry.project, role=role, now=registry.clock.now()
        ).proven
        check_signer(distrusts.standing(registry), proven)
        if stage is not None:
            claim = read_claim(statement)
            assert claim is not None  # its stage is one of ours
            about, said = claim.about, claim.detail
        else:
            record = read_event(statement)
            if record is None or record.project != registry.project:
                return None
            about, said = record.about, record.body
    except VerificationFailed:
        return None
    reason = str(said.get("reason", ""))
    signer = proven.signer.name or str(proven.signer.key)
    return Conclusion(about, str(said["licence"]), reason, signer, bundle.digest)
