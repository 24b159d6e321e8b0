"""The log of certificates (RFC 6962): a Merkle tree of its own, in which every certificate stands before it is used.

Entries are `MerkleTreeLeaf` structures (section 3.4), kept as they are in the tiles of a `ledger` log, so
that its proofs, checkpoints and checks are those of the other log. It begins with the certificates of the
authorities themselves (`x509_entry`), and grows by what they are about to issue (`precert_entry`).
The signature of an SCT is over the very bytes of the leaf: the two structures agree in every byte.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

from weighbridge.core.clock import Clock
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused, RegistryUnusable, UsageError
from weighbridge.keys.ports import Signer
from weighbridge.keys.public import der_of_pem, key_id_of_pem
from weighbridge.ledger.batch import WAITING, Committer
from weighbridge.ledger.sequencer import Log
from weighbridge.ledger.tiles import MAX_ENTRY
from weighbridge.trust import der
from weighbridge.trust.fulcio import read_vouched
from weighbridge.trust.minting import SIGNATURES, key_of
from weighbridge.trust.proof import SubjectKind

X509_ENTRY, PRECERT_ENTRY = 0, 1
_HEAD = struct.Struct("!BBQH")
_MAX_CERTIFICATE = MAX_ENTRY - _HEAD.size - 32 - 3 - 2

EntryKind: TypeAlias = Literal["leaf", "authority"]


@dataclass(frozen=True, slots=True)
class CertificateEntry:
    """One entry, read: what a monitor holds against what it expects. Times and serial are the certificate's."""

    index: int
    kind: EntryKind
    logged_at: datetime
    serial: int
    key: Digest
    """SHA-256 of the certified public key in DER."""
    subject: str
    """The identity in the alternative name; for an authority its distinguished name."""
    subject_kind: SubjectKind
    issuer: str
    """Who vouched for the identity (OID .1.8); for an authority the name above it."""
    begins: datetime
    ends: datetime
    issuer_key: Digest | None
    """SHA-256 of the key that issues it; None for an authority's own certificate."""
    certificate: bytes
    """TBSCertificate of a leaf without its SCT, or an authority's certificate, in DER."""


class CertificateLog:
    """The log together with its key; like the `Log` below it, it may be used by several threads."""

    def __init__(self, log: Log, signer: Signer) -> None:
        if signer.algorithm != "ecdsa-p256":
            raise UsageError(
                "a log of certificates signs with ECDSA over P-256",
                cause="RFC 6962 section 2.1.4 knows this and RSA only",
                remedy="make its key with: weighbridge key",
            )
        self.log = log
        self._signer = signer
        self._committer: Committer | None = None

    @contextmanager
    def shared(self, clock: Clock, *, waiting: int = WAITING) -> Iterator[None]:
        """Let many threads `add` meanwhile: certificates that are asked for at one time share a commit."""
        with Committer(self.log, self._signer, clock, waiting=waiting) as committer:
            self._committer = committer
            try:
                yield
            finally:
                self._committer = None

    @classmethod
    def create(
        cls, directory: Path, origin: str, signer: Signer, *, now: datetime, authorities: Sequence[bytes]
    ) -> CertificateLog:
        """Start a log with the certificates (two or more, DER) of the authorities; raises as `Log.create`."""
        genesis = [_leaf(X509_ENTRY, _u24(row), now) for row in authorities]
        return cls(Log.create(directory, origin, signer, now=now, genesis=genesis), signer)

    @classmethod
    def open(cls, directory: Path, signer: Signer) -> CertificateLog:
        """Open a log to add to it; raises as `Log.open`."""
        return cls(Log.open(directory, signer.public_pem), signer)

    @property
    def log_id(self) -> Digest:
        """SHA-256 of the log's public key in DER (RFC 6962 section 3.2)."""
        return key_id_of_pem(self.log.public_pem)

    @property
    def public_pem(self) -> str:
        """The log's public key."""
        return self.log.public_pem

    def add(self, tbs: bytes, issuer_pem: str, now: datetime) -> bytes:
        """Log what is about to be issued, and only when it is on disk return the signed timestamp (SCT).

        `tbs` is the TBSCertificate without the SCT extension, `issuer_pem` the key that will sign it.
        Raises Refused(ct.entry) for what a monitor could not read, and as `Log.append`; then there is no SCT,
        and there must be no certificate.
        """
        key_hash = hashlib.sha256(der_of_pem(issuer_pem)).digest()
        body = _leaf(PRECERT_ENTRY, key_hash + _u24(tbs), now)
        _readable(body)
        committer = self._committer
        if committer is None:
            self.log.append([body], signer=self._signer, now=now)
        else:
            committer.append(body)
        signature = self._signer.sign(body)
        return (
            b"\x00"
            + bytes.fromhex(self.log_id.hex)
            + struct.pack("!QH", milliseconds(now), 0)
            + b"\x04\x03"  # SHA-256 with ECDSA (RFC 5246 section 7.4.1.4.1)
            + struct.pack("!H", len(signature))
            + signature
        )

    def add_authority(self, certificate: bytes, now: datetime) -> int:
        """Log an authority's own certificate (a new intermediate, say) and return its index.

        The same certificate and time a second time change nothing, so that whoever was cut off may do it again.
        """
        body = _leaf(X509_ENTRY, _u24(certificate), now)
        known = self.log.find(body)
        if known is not None:
            return known
        return self.log.append([body], signer=self._signer, now=now)[0].index

    def entries(self, start: int = 0) -> Iterator[CertificateEntry]:
        """Yield every entry from `start` on; see `certificate_entries`."""
        self.log.refresh()
        return certificate_entries(self.log, start)


def certificate_entries(log: Log, start: int = 0) -> Iterator[CertificateEntry]:
    """Yield what a log of certificates holds, for which no key is needed; raises RegistryUnusable for other logs."""
    for entry in log.entries(start):
        yield read_entry(entry.index, entry.body)


def sct_list(*scts: bytes) -> bytes:
    """Write the value of the SCT extension: an OCTET STRING of a list with lengths (RFC 6962 section 3.3)."""
    rows = b"".join(struct.pack("!H", len(sct)) + sct for sct in scts)
    return der.octets(struct.pack("!H", len(rows)) + rows)


def milliseconds(moment: datetime) -> int:
    """Return a time as RFC 6962 counts it: milliseconds since 1970, leap seconds ignored."""
    return int(moment.timestamp() * 1000)


def read_entry(index: int, body: bytes) -> CertificateEntry:
    """Read a `MerkleTreeLeaf`; raises RegistryUnusable(ct.entry) for anything else."""
    try:
        version, leaf_type, timestamp, kind = _HEAD.unpack_from(body)
        if (version, leaf_type) != (0, 0) or kind not in (X509_ENTRY, PRECERT_ENTRY):
            raise ValueError("it is not a version 1 leaf of a certificate")
        key_hash, rest = (
            (body[_HEAD.size :][:32], body[_HEAD.size + 32 :]) if kind else (b"", body[_HEAD.size :])
        )
        size = int.from_bytes(rest[:3], "big")
        encoded, tail = rest[3 : 3 + size], rest[3 + size :]
        if len(encoded) != size or tail != b"\x00\x00" or (kind and len(key_hash) != 32):
            raise ValueError("its lengths do not add up")
        return _described(index, timestamp, key_hash, encoded)
    except (
        Exception
    ) as error:  # the library has a dozen kinds of errors for certificates, few of them ValueErrors
        raise RegistryUnusable(
            f"entry {index} of the log of certificates cannot be read",
            cause=str(error),
            remedy="point this at a log of certificates (the folder `ct`)",
            check="ct.entry",
        ) from error


def _described(index: int, timestamp: int, key_hash: bytes, encoded: bytes) -> CertificateEntry:
    from cryptography import x509

    # A certificate around a bare TBSCertificate: nothing verifies its signature, and it is not kept.
    whole = der.sequence(encoded, SIGNATURES["ecdsa-p256"], der.bits(b"")) if key_hash else encoded
    found = x509.load_der_x509_certificate(whole)
    kind: SubjectKind = ""
    subject, issuer = found.subject.rfc4514_string(), found.issuer.rfc4514_string()
    if key_hash:
        subject, kind, issuer = read_vouched(found)
    return CertificateEntry(
        index=index,
        kind="leaf" if key_hash else "authority",
        logged_at=datetime.fromtimestamp(timestamp / 1000, UTC),
        serial=found.serial_number,
        key=Digest.of(key_of(found)),
        subject=subject,
        subject_kind=kind,
        issuer=issuer,
        begins=found.not_valid_before_utc,
        ends=found.not_valid_after_utc,
        issuer_key=Digest("sha256", key_hash.hex()) if key_hash else None,
        certificate=encoded,
    )


def _readable(body: bytes) -> None:
    try:
        read_entry(0, body)
    except RegistryUnusable as error:
        raise Refused(
            "a certificate that nobody could read is not logged",
            cause=error.cause,
            remedy="give it one subject, of a kind that certificates name, and an issuer",
            check="ct.entry",
        ) from error


def _leaf(kind: int, entry: bytes, now: datetime) -> bytes:
    return _HEAD.pack(0, 0, milliseconds(now), kind) + entry + b"\x00\x00"


def _u24(data: bytes) -> bytes:
    if len(data) > _MAX_CERTIFICATE:
        raise UsageError(
            f"a certificate of more than {_MAX_CERTIFICATE} bytes cannot be logged",
            remedy="ask for fewer or shorter claims",
            check="ct.entry",
        )
    return len(data).to_bytes(3, "big") + data
