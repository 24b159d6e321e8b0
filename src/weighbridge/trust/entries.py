"""What log entries say: Rekor's hashedrekord, dsse and intoto, in versions 1 and 2, held against the bundle.

An entry that is in the log shows nothing unless it is about this content, this signature and this key; the
three are compared here, whatever else the entry holds. Sources: rekor/pkg/types/{hashedrekord,dsse,intoto} for
version 1, rekor-tiles/api/proto for version 2 (0.0.2 of hashedrekord and dsse).

| kind | content it binds | signature | verifier |
|---|---|---|---|
| hashedrekord 0.0.1, 0.0.2 | digest of the file, or of PAE(envelope) | yes | certificate or key |
| dsse 0.0.1, 0.0.2 | digest of the payload | yes | certificate or key |
| intoto 0.0.2 | digest of the payload, its type | yes | certificate or key |
| intoto 0.0.1 | digest of the payload | no: the log verified one by the same key | certificate or key |
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from weighbridge.core.canonical import parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, VerificationFailed
from weighbridge.keys.public import der_of_pem, details_of_pem
from weighbridge.trust.artifact import Artifact
from weighbridge.trust.bundle import LogProof
from weighbridge.trust.bundle_form import bounded
from weighbridge.trust.dsse import Envelope, decode64, describe, encode64, pae, text
from weighbridge.trust.entry_parts import digest1, digest2, verifier1, verifier2
from weighbridge.trust.proof import Signer

CHECK = "log.body"


@dataclass(frozen=True, slots=True)
class Signed:
    """What the bundle holds, after its signature verified: the one thing an entry may be about."""

    signer: Signer
    signature: bytes
    envelope: Envelope | None = None
    artifact: Artifact | None = None
    """The file, for a bare signature over one."""

    def payload_is(self, digest: Digest) -> bool:
        """Tell whether the envelope's payload has this digest."""
        return self.envelope is not None and _hashed(digest.algorithm, self.envelope.payload) == digest

    def content_is(self, digest: Digest) -> bool:
        """Tell whether what the signature is over has this digest: the file, or PAE of the envelope."""
        if self.envelope is not None:
            return _hashed(digest.algorithm, pae(self.envelope.payload_type, self.envelope.payload)) == digest
        return self.artifact is not None and self.artifact.has(digest)


def check_body(entry: LogProof, signed: Signed) -> None:
    """Hold an entry against what was signed; raises VerificationFailed(log.body)."""
    reader = READERS.get((entry.kind, entry.version))
    if reader is None:
        raise _refused(
            "the log entry is of a kind that is not read here",
            f"{entry.kind} {entry.version}; read are {', '.join(' '.join(row) for row in READERS)}",
        )
    try:
        value: Any = bounded(parse(entry.body))
        if (value["kind"], value["apiVersion"]) != (entry.kind, entry.version):
            raise ValueError(f"it is of kind {value['kind']!r} {value['apiVersion']!r}")
        about = reader(value["spec"], signed)
    except (ValueError, TypeError, KeyError, AttributeError, BadReference, VerificationFailed) as error:
        raise _refused("the log entry is not one of what is in the bundle", describe(error)) from error
    if about is not None:
        raise _refused("the log entry is of something else", f"its {about} differs from that of the bundle")


def is_second(entry: LogProof) -> bool:
    """Tell whether an entry is of Rekor v2, whose log signs no time of its own."""
    return (entry.kind, entry.version) in (("hashedrekord", "0.0.2"), ("dsse", "0.0.2"))


def _hashedrekord1(spec: Any, signed: Signed) -> str | None:
    if not signed.content_is(digest1(spec["data"]["hash"])):
        return "content"
    if decode64(spec["signature"]["content"]) != signed.signature:
        return "signature"
    return _verifier1(spec["signature"]["publicKey"]["content"], signed)


def _dsse1(spec: Any, signed: Signed) -> str | None:
    if not signed.payload_is(digest1(spec["payloadHash"])):
        return "payload"
    (row,) = spec["signatures"]
    if decode64(row["signature"]) != signed.signature:
        return "signature"
    return _verifier1(row["verifier"], signed)


def _intoto1(spec: Any, signed: Signed) -> str | None:
    if not signed.payload_is(digest1(spec["content"]["payloadHash"])):
        return "payload"
    return _verifier1(spec["publicKey"], signed)


def _intoto2(spec: Any, signed: Signed) -> str | None:
    content = spec["content"]
    if not signed.payload_is(digest1(content["payloadHash"])):
        return "payload"
    envelope = content["envelope"]
    if envelope["payloadType"] != (signed.envelope.payload_type if signed.envelope else ""):
        return "payload type"
    (row,) = envelope["signatures"]
    # Rekor encodes the signature, which is base64 already, once more.
    if decode64(row["sig"]) != encode64(signed.signature).encode():
        return "signature"
    return _verifier1(row["publicKey"], signed)


def _hashedrekord2(spec: Any, signed: Signed) -> str | None:
    row = spec["hashedRekordV002"]
    if not signed.content_is(digest2(row["data"])):
        return "content"
    return _signature2(row["signature"], signed)


def _dsse2(spec: Any, signed: Signed) -> str | None:
    row = spec["dsseV002"]
    if not signed.payload_is(digest2(row["payloadHash"])):
        return "payload"
    (signature,) = row["signatures"]
    return _signature2(signature, signed)


READERS: Mapping[tuple[str, str], Callable[[Any, Signed], str | None]] = MappingProxyType(
    {
        ("hashedrekord", "0.0.1"): _hashedrekord1,
        ("hashedrekord", "0.0.2"): _hashedrekord2,
        ("dsse", "0.0.1"): _dsse1,
        ("dsse", "0.0.2"): _dsse2,
        ("intoto", "0.0.1"): _intoto1,
        ("intoto", "0.0.2"): _intoto2,
    }
)
"""Each kind's reader: it returns what differs from the bundle, or None."""


def _verifier1(value: Any, signed: Signed) -> str | None:
    is_certificate, der = verifier1(value)
    return None if der == _expected(signed, certificate=is_certificate) else "verifier"


def _signature2(row: Any, signed: Signed) -> str | None:
    if decode64(row["content"]) != signed.signature:
        return "signature"
    is_certificate, der = verifier2(row["verifier"])
    if text(row["verifier"]["keyDetails"]) != details_of_pem(signed.signer.pem):
        return "kind of key"
    return None if der == _expected(signed, certificate=is_certificate) else "verifier"


def _expected(signed: Signed, *, certificate: bool) -> bytes:
    """Return what the verifier must be: the certificate where there is one, else the key, never the other."""
    if bool(signed.signer.certificate) != certificate:
        return b""
    return signed.signer.certificate or der_of_pem(signed.signer.pem)


def _hashed(algorithm: str, data: bytes) -> Digest:
    return Digest(algorithm, hashlib.new(algorithm, data).hexdigest())


def _refused(problem: str, cause: str) -> VerificationFailed:
    return VerificationFailed(
        problem, cause=cause, remedy="fetch the bundle again from where it was logged", check=CHECK
    )
