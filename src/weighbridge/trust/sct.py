"""Signed certificate timestamps (RFC 6962 section 3): the promise of a log to show a certificate to everybody."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING

from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.public import verify_digest
from weighbridge.trust.certificates import read_certificate, spki_hash
from weighbridge.trust.roots import CtLog

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.x509.certificate_transparency import SignedCertificateTimestamp

CHECK = "certificate.sct"
MAX_SCTS = 16


def verify_scts(der: bytes, issuer_spki: bytes, ctlogs: Sequence[CtLog]) -> tuple[bytes, ...]:
    """Return the ids of the known logs whose timestamps in a leaf verified, each once, sorted.

    `issuer_spki` is the key of the issuer in the path that was verified, never one found by name. Timestamps of
    logs that are not known here prove nothing and are passed over; one of a known log that does not hold
    raises VerificationFailed(certificate.sct).
    """
    certificate = read_certificate(der)
    logs = {log.log_id: log for log in ctlogs}
    found = set()
    for stamp in _embedded(certificate):
        log = logs.get(stamp.log_id)
        if log is None:
            continue
        _check(stamp, certificate, issuer_spki, log)
        found.add(log.log_id)
    return tuple(sorted(found))


def signed_entry(stamp: SignedCertificateTimestamp, tbs: bytes, issuer_spki: bytes) -> bytes:
    """Return what a log signs of a precertificate (RFC 6962 section 3.2, `digitally-signed struct`).

    ::

        version(1) type(1) milliseconds(8) entry_type(2) SHA-256 of the issuer's key(32) length(3) tbs
        length(2) extensions
    """
    milliseconds = _milliseconds(stamp)
    head = struct.pack("!BBQH", 0, 0, milliseconds, 1)
    length = struct.pack("!I", len(tbs))[1:]
    extensions = struct.pack("!H", len(stamp.extension_bytes)) + stamp.extension_bytes
    return head + spki_hash(issuer_spki) + length + tbs + extensions


def _embedded(certificate: x509.Certificate) -> list[SignedCertificateTimestamp]:
    from cryptography import x509

    try:
        stamps = list(
            certificate.extensions.get_extension_for_class(
                x509.PrecertificateSignedCertificateTimestamps
            ).value
        )
    except x509.ExtensionNotFound:
        return []
    if len(stamps) > MAX_SCTS:
        raise _refused(f"it carries {len(stamps)} timestamps, more than {MAX_SCTS}")
    return stamps


def _check(
    stamp: SignedCertificateTimestamp, certificate: x509.Certificate, issuer_spki: bytes, log: CtLog
) -> None:
    from cryptography.hazmat.primitives import hashes

    # The struct names its algorithms (RFC 5246 section 7.4.1.4.1); SHA-256 is the only hash that RFC 6962 allows.
    if not isinstance(stamp.signature_hash_algorithm, hashes.SHA256):
        raise _refused("its signature is not over SHA-256")
    message = signed_entry(stamp, certificate.tbs_precertificate_bytes, issuer_spki)
    if not verify_digest(log.pem, Digest.of(message), stamp.signature):
        raise _refused("its log did not sign it for this certificate and this issuer")
    if not log.window.holds(stamp.timestamp.replace(tzinfo=UTC)):
        raise _refused("its log was not trusted at that time")


def _milliseconds(stamp: SignedCertificateTimestamp) -> int:
    try:
        moment = stamp.timestamp.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise _refused("its time is beyond the year 9999") from error
    return int(moment.replace(microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000


def _refused(cause: str) -> VerificationFailed:
    return VerificationFailed(
        "the promise to show the certificate in a log does not hold",
        cause=cause,
        remedy="have it signed again, with a certificate of an authority that is trusted here",
        check=CHECK,
    )
