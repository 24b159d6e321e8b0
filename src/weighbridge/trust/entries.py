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

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from weighbridge.core.canonical import parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, VerificationFailed
from weighbridge.keys.public import der_of_pem, details_of_pem
from weighbridge.trust.artifact import Artifact
from weighbridge.trust.bundle import DIGESTS, LogProof
from weighbridge.trust.bundle_form import bounded
from weighbridge.trust.dsse import Envelope, decode64, describe, encode64, pae, text
from weighbridge.trust.proof import Signer

CHECK = "log.body"

_PEM = re.compile(
    r"-----BEGIN (CERTIFICATE|PUBLIC KEY)-----\r?\n([A-Za-z0-9+/=\r\n]{1,65536})-----END \1-----\s{0,2}"
)
_THEIRS = {theirs: ours for ours, theirs in DIGESTS.items()}


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
    if not signed.content_is(_hash1(spec["data"]["hash"])):
        return "content"
    if decode64(spec["signature"]["content"]) != signed.signature:
        return "signature"
    return _verifier1(spec["signature"]["publicKey"]["content"], signed)


def _dsse1(spec: Any, signed: Signed) -> str | None:
    if not signed.payload_is(_hash1(spec["payloadHash"])):
        return "payload"
    (row,) = spec["signatures"]
    if decode64(row["signature"]) != signed.signature:
        return "signature"
    return _verifier1(row["verifier"], signed)


def _intoto1(spec: Any, signed: Signed) -> str | None:
    if not signed.payload_is(_hash1(spec["content"]["payloadHash"])):
        return "payload"
    return _verifier1(spec["publicKey"], signed)


def _intoto2(spec: Any, signed: Signed) -> str | None:
    content = spec["content"]
    if not signed.payload_is(_hash1(content["payloadHash"])):
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
    if not signed.content_is(_hash2(row["data"])):
        return "content"
    return _signature2(row["signature"], signed)


def _dsse2(spec: Any, signed: Signed) -> str | None:
    row = spec["dsseV002"]
    if not signed.payload_is(_hash2(row["payloadHash"])):
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


def _hash1(value: Any) -> Digest:
    if value["algorithm"] not in DIGESTS:
        raise ValueError(f"its digest is none of {', '.join(DIGESTS)}")
    return Digest(value["algorithm"], value["value"])


def _hash2(value: Any) -> Digest:
    if value["algorithm"] not in _THEIRS:
        raise ValueError(f"its digest is none of {', '.join(_THEIRS)}")
    return Digest(_THEIRS[value["algorithm"]], decode64(value["digest"]).hex())


def _verifier1(value: Any, signed: Signed) -> str | None:
    """Compare a verifier of version 1: base64 of one PEM block."""
    match = _PEM.fullmatch(decode64(value).decode("ascii"))
    if match is None:
        raise ValueError("its verifier is not one certificate or public key in PEM")
    try:
        der = base64.b64decode(re.sub(r"[\r\n]", "", match[2]), validate=True)
    except binascii.Error as error:
        raise ValueError("the PEM of its verifier is damaged") from error
    return None if der == _expected(signed, certificate=match[1] == "CERTIFICATE") else "verifier"


def _signature2(row: Any, signed: Signed) -> str | None:
    if decode64(row["content"]) != signed.signature:
        return "signature"
    verifier = row["verifier"]
    certificate, key = verifier.get("x509Certificate"), verifier.get("publicKey")
    if (certificate is None) == (key is None):
        raise ValueError("its verifier is not one certificate or public key")
    der = decode64((certificate or key)["rawBytes"])
    if text(verifier["keyDetails"]) != details_of_pem(signed.signer.pem):
        return "kind of key"
    return None if der == _expected(signed, certificate=certificate is not None) else "verifier"


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
