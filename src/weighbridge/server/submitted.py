"""What clients hand in to be logged, read strictly, and held against its own signature before anything is logged.

| handed in | becomes the entry |
|---|---|
| Rekor v1 `dsse` 0.0.1 (`proposedContent`: envelope, verifiers) | `dsse` 0.0.1 |
| Rekor v1 `hashedrekord` 0.0.1 | `hashedrekord` 0.0.1 |
| Rekor v2 `hashedRekordRequestV002` | `hashedrekord` 0.0.2 |
| Rekor v2 `dsseRequestV002`, which older clients send | `hashedrekord` 0.0.2 of the digest of PAE |

The entry is written anew from what was read, so that one signature has one entry however it was spelled.
Sources: rekor/openapi.yaml and pkg/types for version 1, rekor-tiles/api/proto for version 2.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Any

from weighbridge.core.canonical import parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, UsageError, VerificationFailed
from weighbridge.keys.public import (
    HASHES,
    algorithm_of_pem,
    details_of_pem,
    pem_of_der,
    verify_digest,
    verify_signature,
)
from weighbridge.trust.bundle import log_body
from weighbridge.trust.bundle_form import bounded
from weighbridge.trust.certificates import read_certificate
from weighbridge.trust.dsse import Envelope, decode64, describe, pae, text
from weighbridge.trust.log_bodies import hashedrekord1_body, hashedrekord2_body
from weighbridge.trust.minting import key_of

_PEM = re.compile(
    r"\s{0,8}-----BEGIN (CERTIFICATE|PUBLIC KEY)-----\r?\n([A-Za-z0-9+/=\r\n]{1,65536})-----END \1-----\s{0,8}"
)
_SIZES = {32: "sha256", 48: "sha384", 64: "sha512"}


@dataclass(frozen=True, slots=True)
class Submitted:
    """A signature that verified, as the log will keep it."""

    body: bytes
    public_pem: str
    certificate: bytes
    """In DER; empty where a bare key signed."""


@dataclass(frozen=True, slots=True)
class _Verifier:
    public_pem: str
    certificate: bytes = b""

    @property
    def pem(self) -> str:
        """The certificate, else the key, in the one spelling that entries have."""
        if not self.certificate:
            return self.public_pem
        from cryptography.hazmat.primitives.serialization import Encoding

        return read_certificate(self.certificate).public_bytes(Encoding.PEM).decode("ascii")


def read_v1(data: bytes) -> Submitted:
    """Read a proposed entry of Rekor v1; raises UsageError(log.request), VerificationFailed(log.signature)."""
    try:
        value: Any = bounded(parse(data))
        kind, version, spec = text(value["kind"]), text(value["apiVersion"]), value["spec"]
        if version != "0.0.1" or kind not in ("dsse", "hashedrekord"):
            raise ValueError(
                f"{kind[:40]} {version[:40]} is not logged here: dsse 0.0.1 and hashedrekord 0.0.1 are"
            )
        return _dsse1(spec) if kind == "dsse" else _hashedrekord1(spec)
    except _MISTAKES as error:
        raise _unreadable(error) from error


def read_v2(data: bytes) -> Submitted:
    """Read a request of Rekor v2; raises as `read_v1`."""
    try:
        value: Any = bounded(parse(data))
        asked, envelope = value.get("hashedRekordRequestV002"), value.get("dsseRequestV002")
        if (asked is None) == (envelope is None):
            raise ValueError("exactly one hashedRekordRequestV002 is expected")
        return _hashedrekord2(asked) if envelope is None else _dsse2(envelope)
    except _MISTAKES as error:
        raise _unreadable(error) from error


def _dsse1(spec: Any) -> Submitted:
    content = spec["proposedContent"]
    envelope = Envelope.from_json(parse(text(content["envelope"])))
    (named,) = content["verifiers"]
    verifier = _verifier_of_pem(named)
    _check_envelope(envelope, verifier)
    return Submitted(log_body(envelope, verifier.pem), verifier.public_pem, verifier.certificate)


def _hashedrekord1(spec: Any) -> Submitted:
    said, signature = spec["data"]["hash"], decode64(spec["signature"]["content"])
    verifier = _verifier_of_pem(spec["signature"]["publicKey"]["content"])
    if said["algorithm"] not in _SIZES.values():
        raise ValueError(f"digests are one of {', '.join(_SIZES.values())}")
    digest = Digest(said["algorithm"], text(said["value"]))
    _check_digest(digest, signature, verifier)
    return Submitted(
        hashedrekord1_body(digest, signature, verifier.pem), verifier.public_pem, verifier.certificate
    )


def _hashedrekord2(asked: Any) -> Submitted:
    raw, signature = decode64(asked["digest"]), decode64(asked["signature"]["content"])
    verifier = _verifier_of_der(asked["signature"]["verifier"])
    if len(raw) not in _SIZES:
        raise ValueError("the digest has 32, 48 or 64 bytes")
    digest = Digest(_SIZES[len(raw)], raw.hex())
    _check_digest(digest, signature, verifier)
    return _second(digest, signature, verifier)


def _dsse2(asked: Any) -> Submitted:
    envelope = Envelope.from_json(asked["envelope"])
    (named,) = asked["verifiers"]
    verifier = _verifier_of_der(named)
    _check_envelope(envelope, verifier)
    signed = pae(envelope.payload_type, envelope.payload)
    name = HASHES.get(str(algorithm_of_pem(verifier.public_pem)), "sha256")
    digest = Digest(name, hashlib.new(name, signed).hexdigest())
    return _second(digest, envelope.signatures[0].sig, verifier)


def _second(digest: Digest, signature: bytes, verifier: _Verifier) -> Submitted:
    body = hashedrekord2_body(digest, signature, verifier.public_pem, verifier.certificate)
    return Submitted(body, verifier.public_pem, verifier.certificate)


def _check_envelope(envelope: Envelope, verifier: _Verifier) -> None:
    if len(envelope.signatures) != 1:
        raise ValueError("an envelope with exactly one signature is expected")
    signed, signature = pae(envelope.payload_type, envelope.payload), envelope.signatures[0].sig
    pem = verifier.public_pem
    if verify_signature(pem, signed, signature):
        return
    # Older clients sign with SHA-256 whatever the curve (see `verify_digest`).
    if algorithm_of_pem(pem) in HASHES and verify_digest(pem, Digest.of(signed), signature):
        return
    raise _unsigned()


def _check_digest(digest: Digest, signature: bytes, verifier: _Verifier) -> None:
    if not verify_digest(verifier.public_pem, digest, signature):
        raise _unsigned()


def _verifier_of_pem(value: Any) -> _Verifier:
    match = _PEM.fullmatch(decode64(value).decode("ascii"))
    if match is None:
        raise ValueError("the verifier is not one certificate or public key in PEM")
    der = base64.b64decode(re.sub(r"[\r\n]", "", match[2]), validate=True)
    return _verifier(der, certificate=match[1] == "CERTIFICATE")


def _verifier_of_der(value: Any) -> _Verifier:
    certificate, key = value.get("x509Certificate"), value.get("publicKey")
    if (certificate is None) == (key is None):
        raise ValueError("the verifier is exactly one of x509Certificate and publicKey")
    found = _verifier(decode64((certificate or key)["rawBytes"]), certificate=certificate is not None)
    if text(value["keyDetails"]) != details_of_pem(found.public_pem):
        raise ValueError(f"keyDetails of this key are {details_of_pem(found.public_pem)}")
    return found


def _verifier(der: bytes, *, certificate: bool) -> _Verifier:
    if not certificate:
        pem = pem_of_der(der)
        algorithm_of_pem(pem)  # refuses what is not a key we know, in its one spelling
        return _Verifier(pem)
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        public = key_of(read_certificate(der))
    except UnsupportedAlgorithm as error:
        raise ValueError("the certificate is of a kind of key that is not known here") from error
    return _Verifier(pem_of_der(public), der)


_MISTAKES = (ValueError, TypeError, KeyError, AttributeError, BadReference)


def _unreadable(error: Exception) -> UsageError:
    return UsageError(
        "this is not an entry that can be logged",
        cause=describe(error),
        remedy="send a dsse or hashedrekord entry as Sigstore's clients do",
        check="log.request",
    )


def _unsigned() -> VerificationFailed:
    return VerificationFailed(
        "the signature is not by this key over this content",
        remedy="sign again, and hand in what was signed",
        check="log.signature",
    )
