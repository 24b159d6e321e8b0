"""The bundles a registry keeps: taking in claims that others signed, and finding what is said of an identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.statement import Statement
from weighbridge.keys.public import key_id_of_pem, verify_signature
from weighbridge.registry.outbox import Draft
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.trust import dsse
from weighbridge.trust.authority_services import pem_of_certificate
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.certificates import signer_of


def take(envelope: dsse.Envelope, public_pem: str) -> Draft:
    """Make a draft of a claim signed elsewhere, by whoever.

    The signature must be by that key over that payload, and the payload a statement; whether the signer
    may say such a thing is for the gate to judge, so a stranger's claim is kept and refused there by name.
    """
    if len(envelope.signatures) != 1:
        raise VerificationFailed("a claim carries exactly one signature", check="bundle.one-signature")
    signature = envelope.signatures[0]
    data = dsse.pae(envelope.payload_type, envelope.payload)
    if not verify_signature(public_pem, data, signature.sig):
        raise VerificationFailed(
            "the claim's signature does not fit the key",
            cause=f"key {key_id_of_pem(public_pem).short}",
            remedy="sign it again with the key you name",
            check="bundle.signature",
        )
    statement = Statement.decode(envelope.payload)
    if not statement.identities:
        raise VerificationFailed(
            "the claim is about no model, weights or dataset",
            cause="no subject is named wb1:… or wbw1:… with the same sha256",
            remedy="make it with `weighbridge attest` or `weighbridge sign`",
            check="statement.subject",
        )
    return Draft(envelope, public_pem)


def take_proven(bundle: Bundle) -> Draft:
    """Make a draft of a claim that its signer had proven elsewhere: certificate, log entries and timestamps stay.

    As with `take`, whether the signer may say such a thing, and whether the proof is enough, is for the gate.
    """
    if not bundle.certificates:
        raise VerificationFailed(
            "a claim without a certificate is handed in with the key that signed it",
            remedy="give the key with --key",
            check="bundle.material",
        )
    signer = signer_of(bundle.certificates[0])
    draft = take(bundle.envelope, signer.pem)
    return replace(draft, public_pem=pem_of_certificate(signer.certificate), proven=bundle)


def about(registry: Registry, identities: Sequence[Digest]) -> list[Bundle]:
    """Return every bundle about any of `identities`, in the order in which the logs took them in.

    Raises VerificationFailed(records.bundle) when one is not the bundle that was kept under its digest.
    """
    subject, bundle = schema.bundle_subject, schema.bundle
    found: dict[str, str] = {}
    with registry.records.read() as connection:
        for start in range(0, len(identities), 500):
            part = [str(d) for d in identities[start : start + 500]]
            # Not by place in the log: one that follows another counts from 0 again.
            query = sa.select(subject.c.bundle, bundle.c.content, bundle.c.place).distinct()
            query = query.select_from(subject.outerjoin(bundle, subject.c.bundle == bundle.c.digest))
            query = query.where(subject.c.identity.in_(part))
            found |= {row[0]: row[1] for row in connection.execute(query.order_by(bundle.c.place))}
    return [_read(digest, content) for digest, content in found.items()]


def _read(digest: str, content: str | None) -> Bundle:
    bundle = Bundle.from_json(content.encode()) if content is not None else None
    if bundle is None or str(bundle.digest) != digest:
        raise VerificationFailed(
            "a kept claim was exchanged or removed",
            cause=f"under {digest} lies {bundle.digest if bundle else 'nothing'}",
            remedy="find out who can write to the registry's folder, then restore it from a backup",
            check="records.bundle",
        )
    return bundle
