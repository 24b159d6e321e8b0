"""RFC 3161 timestamps: at what moment a trusted authority saw a signature."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import VerificationFailed
from weighbridge.trust.certificates import read_certificate
from weighbridge.trust.proof import SignedTime
from weighbridge.trust.roots import TimestampAuthority

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse, Verifier

CHECK = "time.timestamp"
MAX_TIMESTAMP = 64 * 1024
"""Bytes; one with its whole chain has five thousand."""

_REASON = re.compile(r"Verify error: ([^\"]*)")
_HASHES = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}


@dataclass(frozen=True, slots=True)
class Stamped:
    """A timestamp that verified, and the certificate (DER) that signed it, by which authorities are told apart."""

    time: SignedTime
    authority: bytes


def verify_timestamp(der: bytes, signature: bytes, authorities: Sequence[TimestampAuthority]) -> Stamped:
    """Return when a trusted authority saw `signature`; raises VerificationFailed(time.timestamp).

    The moment must lie in the interval of the very authority that signed, ends included.
    """
    response = _read(der)
    moment = response.tst_info.gen_time
    # RFC 3161 section 2.4.2: granted, and over the digest of this signature.
    if response.status != 0:
        raise _refused(f"its status is {response.status}, not granted")
    if len(response.signed_data.signer_infos) != 1:
        raise _refused("it is not signed by one authority")
    imprint = response.tst_info.message_imprint
    name = _HASHES.get(imprint.hash_algorithm.dotted_string)
    if name is None:
        raise _refused("it is over a digest that is none of SHA-256, SHA-384 and SHA-512")
    digest = hashlib.new(name, signature).digest()
    if imprint.message != digest:
        raise _refused("it is over another signature")
    # The token's signature and path are valid at that moment, under one authority and its own interval.
    causes = []
    for authority in authorities:
        cause = _trial(response, digest, moment, authority)
        if cause is None:
            return Stamped(SignedTime(moment, "timestamp", _name(authority)), authority.chain[0])
        causes.append(f"{_name(authority)}: {cause}")
    raise _refused("; ".join(causes) or "no timestamp authority is trusted here")


def _trial(
    response: TimeStampResponse, digest: bytes, moment: datetime, authority: TimestampAuthority
) -> str | None:
    """Return why this authority did not make the timestamp, or None when it did."""
    if len(authority.chain) < 2:
        return "its chain has no root beside its own certificate"
    try:
        _verifier(authority.chain).verify(response, digest)
    except Exception as error:  # noqa: BLE001 (it parses what strangers wrote, and raises more than its own)
        reason = _REASON.search(str(error))  # of the crypto library's stack, what a person can use
        return reason[1] if reason else str(error)
    if not authority.window.holds(moment):
        return f"it was not trusted at {rfc3339(moment)}"
    return None


@lru_cache(maxsize=64)
def _verifier(chain: tuple[bytes, ...]) -> Verifier:
    from rfc3161_client import VerifierBuilder

    leaf, *between, root = (read_certificate(der) for der in chain)
    builder = VerifierBuilder(tsa_certificate=leaf, roots=[root], intermediates=between)
    return builder.build()


def _read(der: bytes) -> TimeStampResponse:
    from rfc3161_client import decode_timestamp_response

    try:
        if len(der) > MAX_TIMESTAMP:
            raise ValueError(f"it is larger than {MAX_TIMESTAMP} bytes")
        response = decode_timestamp_response(der)
        _ = response.tst_info.gen_time, response.signed_data, response.tst_info.message_imprint
    except Exception as error:  # what the library raises for what it cannot read is no closed set
        raise _refused(f"it cannot be read: {error}") from error
    return response


def _name(authority: TimestampAuthority) -> str:
    return authority.uri or read_certificate(authority.chain[0]).subject.rfc4514_string()


def _refused(cause: str) -> VerificationFailed:
    return VerificationFailed(
        "a timestamp in the bundle does not hold",
        cause=cause,
        remedy="have the signature timestamped by an authority that is trusted here, or leave the timestamp out",
        check=CHECK,
    )
