"""Signing without a key of one's own: a token is turned into a key for one signature, proven in every way we have.

In process and without a network: certificate, signature, log entry, timestamp and bundle, and then the verifier
on all of it, so that nothing leaves here that would not be believed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal, TypeAlias

from weighbridge.core.digest import Digest
from weighbridge.core.errors import UsageError
from weighbridge.core.statement import PAYLOAD_TYPE, Statement
from weighbridge.keys.files import generate
from weighbridge.keys.ports import Signer
from weighbridge.ledger.checkpoint import form_of
from weighbridge.ledger.sequencer import Log
from weighbridge.trust.artifact import Artifact
from weighbridge.trust.bundle import KIND, VERSION, Bundle, LogProof, MessageSignature, log_body
from weighbridge.trust.ca import LEAF_LIFE, CertificateService, Issued
from weighbridge.trust.certificates import read_certificate
from weighbridge.trust.ctlog import CertificateLog
from weighbridge.trust.demand import Demand
from weighbridge.trust.dsse import Envelope, pae, sign
from weighbridge.trust.log_bodies import HASHEDREKORD, hashedrekord1_body, hashedrekord2_body
from weighbridge.trust.minting import EARLY
from weighbridge.trust.oidc import TokenVerifier
from weighbridge.trust.prove import prove
from weighbridge.trust.roots import (
    CertificateAuthority,
    CtLog,
    LogKey,
    Roots,
    TimestampAuthority,
    Window,
)
from weighbridge.trust.tsa import TimestampService

Part: TypeAlias = Literal["logs", "authorities", "ctlogs", "timestamps"]


@dataclass(frozen=True)
class Services:
    """What signs, logs and stamps here, and what did so before (`retired`, whose windows have an end)."""

    ca: CertificateService
    log: Log
    log_signer: Signer
    tsa: TimestampService
    verifier: TokenVerifier
    retired: Roots = field(default_factory=Roots)
    operator: str = ""

    @property
    def ct(self) -> CertificateLog:
        """The log of certificates that the authority uses."""
        return self.ca.ct

    def roots(self) -> Roots:
        """Return whose word is to be taken: these services, each since five minutes before its first use, and the retired."""
        own, old = self._own, self.retired
        return Roots(
            logs=(*old.logs, *own.logs),
            authorities=(*old.authorities, *own.authorities),
            ctlogs=(*old.ctlogs, *own.ctlogs),
            timestamps=(*old.timestamps, *own.timestamps),
            witnesses=old.witnesses,
        )

    @cached_property
    def _own(self) -> Roots:
        issuing, stamping = (
            read_certificate(chain[0]).not_valid_before_utc for chain in (self.ca.chain, self.tsa.chain)
        )
        log_id = bytes.fromhex(self.log.log_id.hex)
        logged = LogKey(
            log_id, self.log.public_pem, _since(self.log, issuing), self.log.origin, operator=self.operator
        )
        ct_id = bytes.fromhex(self.ct.log_id.hex)
        url = f"https://{self.ct.log.origin.partition(' - ')[0]}"
        shown = CtLog(ct_id, self.ct.public_pem, _since(self.ct.log, issuing), url, self.operator)
        return Roots(
            logs=(logged,),
            authorities=(CertificateAuthority(self.ca.chain, Window(issuing), operator=self.operator),),
            ctlogs=(shown,),
            timestamps=(TimestampAuthority(self.tsa.chain, Window(stamping), operator=self.operator),),
        )


def retire(roots: Roots, part: Part, at: datetime, *, compromised: bool = False) -> Roots:
    """Return what the next `Services` takes as `retired` when one part is exchanged at `at`.

    The part's windows end at `at`; that of a certificate authority ten minutes later, when its last leaf has
    ended, unless it is compromised: then nothing after `at` counts. Other parts in force are left out, as the
    next services bring them themselves. Raises UsageError when the part would end before it begins.
    """
    end = at + LEAF_LIFE if part == "authorities" and not compromised else at
    rows = getattr(roots, part)
    for row in rows:
        if row.window.end is None and row.window.start is not None and row.window.start > end:
            raise UsageError(
                "it cannot end before it began",
                cause=f"it began {row.window.start.isoformat()}",
                remedy="give a later time, or leave it out of the roots",
            )
    ended = tuple(
        replace(row, window=replace(row.window, end=end)) if row.window.end is None else row for row in rows
    )
    known = {name: getattr(roots, name) for name in ("logs", "authorities", "ctlogs", "timestamps")}
    known[part] = ended
    kept = {name: tuple(row for row in rows if row.window.end is not None) for name, rows in known.items()}
    return replace(roots, **kept)


def sign_keyless(
    content: Statement | Envelope | Artifact, token: str, services: Services, now: datetime
) -> Bundle:
    """Sign a statement, the payload of an (unsigned) envelope, or a file, as whom the token names.

    The bundle (v0.3) carries certificate, log entry with its proofs, and a timestamp; it has been verified
    against `services.roots()`. Raises VerificationFailed for tokens that are not believed, and whatever the
    services raise; an entry may then be in a log, which claims nothing by itself.
    """
    who = services.verifier.verify(token, now)
    key = generate("ecdsa-p256")  # lives in memory, for this one signature
    issued = services.ca.issue(who, key.public_pem.encode(), key.sign(who.challenges[0].encode()), now)
    if isinstance(content, Artifact):
        bundle = _signed_file(content, key, issued, services, now)
    else:
        kind, payload = (
            (PAYLOAD_TYPE, content.encode())
            if isinstance(content, Statement)
            else (content.payload_type, content.payload)
        )
        bundle = _signed_envelope(sign(kind, payload, key), key, issued, services, now)
    prove(
        bundle,
        roots=services.roots(),
        demand=Demand(logs=1, timestamps=1, scts=1, times=1),
        now=now,
        payload_type=None,
        artifact=content if isinstance(content, Artifact) else None,
    )
    return bundle


def _signed_envelope(
    envelope: Envelope, key: Signer, issued: Issued, services: Services, now: datetime
) -> Bundle:
    signature = envelope.signatures[0].sig
    if form_of(services.log.origin) == "v1":
        kind, version, body = KIND, VERSION, log_body(envelope, issued.pem()[0])
    else:
        message = Digest.of(pae(envelope.payload_type, envelope.payload))
        kind, version = HASHEDREKORD, "0.0.2"
        body = hashedrekord2_body(message, signature, key.public_pem, issued.leaf)
    bare = Envelope(envelope.payload_type, envelope.payload, (replace(envelope.signatures[0], keyid=""),))
    return _logged(bare, signature, issued, services, now, entry=(kind, version, body))


def _signed_file(file: Artifact, key: Signer, issued: Issued, services: Services, now: datetime) -> Bundle:
    if file.data is None:
        raise UsageError(
            "a file is signed by its bytes", remedy="hand in the file's content, or sign a statement about it"
        )
    digest, signature = Digest.of(file.data), key.sign(file.data)
    if form_of(services.log.origin) == "v1":
        version, body = "0.0.1", hashedrekord1_body(digest, signature, issued.pem()[0])
    else:
        version, body = "0.0.2", hashedrekord2_body(digest, signature, key.public_pem, issued.leaf)
    content = MessageSignature(signature, digest)
    return _logged(content, signature, issued, services, now, entry=(HASHEDREKORD, version, body))


def _logged(
    content: Envelope | MessageSignature,
    signature: bytes,
    issued: Issued,
    services: Services,
    now: datetime,
    *,
    entry: tuple[str, str, bytes],
) -> Bundle:
    kind, version, body = entry
    stamp = services.tsa.stamp(Digest.of(signature), now)
    (row,) = services.log.append([body], signer=services.log_signer, now=now)
    proof = services.log.proof(row.index)
    proven = LogProof(
        log_id=services.log.log_id,
        index=row.index,
        integrated_time=row.integrated_time,
        body=row.body,
        promise=row.promise,
        size=proof.size,
        root=proof.root,
        hashes=proof.hashes,
        checkpoint=proof.checkpoint,
        kind=kind,
        version=version,
    )
    return Bundle(content, None, (issued.leaf,), (proven,), (stamp,))


def _since(log: Log, otherwise: datetime) -> Window:
    """Return the interval of a log: from five minutes before its first entry on; a v2 log keeps no times."""
    seconds = log.entry(0).integrated_time
    return Window(datetime.fromtimestamp(seconds, UTC) - EARLY if seconds else otherwise)
