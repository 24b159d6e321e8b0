"""What a verifier established about one bundle, as values: who, what, when, and by whose word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

from weighbridge.core.digest import Digest
from weighbridge.core.tier import Assurance

SubjectKind: TypeAlias = Literal["email", "uri", "other-name", "dns", ""]


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed: a managed key, or the identity that a certificate authority vouched for.

    `issuer`, `subject` and `claims` are empty for managed keys. Claims are named by the last number of their
    OID below 1.3.6.1.4.1.57264.1 (Fulcio), values as text.
    """

    key: Digest
    """SHA-256 of the DER of the public key that signed (of the leaf's, for a certificate)."""
    pem: str
    issuer: str = ""
    subject: str = ""
    subject_kind: SubjectKind = ""
    claims: Mapping[str, str] = field(default_factory=dict)
    certificate: bytes = b""
    """The leaf in DER; empty for managed keys."""


@dataclass(frozen=True, slots=True)
class LoggedAt:
    """One log entry that was proven: position, size and root of the tree, and who else saw that tree."""

    log_id: bytes
    origin: str
    index: int
    size: int
    root: bytes
    integrated_time: datetime | None
    """None where no signature of the log covers the time (Rekor v2)."""
    witnesses: tuple[tuple[str, datetime], ...] = ()
    """Name and time of each witness whose cosignature on this checkpoint verified."""


@dataclass(frozen=True, slots=True)
class SignedTime:
    """One proven moment at which the signature existed."""

    moment: datetime
    source: Literal["log", "timestamp"]
    by: str
    """Origin of the log, or URI (else subject) of the timestamp authority."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The outcome of all steps; everything in it was verified."""

    signer: Signer
    logs: tuple[LoggedAt, ...]
    times: tuple[SignedTime, ...]
    scts: tuple[bytes, ...]
    """Ids of the certificate logs whose signed timestamps verified."""
    assurance: Assurance | None
    """None without a log; otherwise the weakest sentence that is true of all logs counted."""
    payload_type: str = ""
    payload: bytes = b""
    """The signed payload of an envelope; empty for a signature over a file."""
    digest: Digest | None = None
    """The digest of the file, for a signature over a file."""
