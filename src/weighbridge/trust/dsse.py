"""DSSE v1.0.2 envelopes: a typed payload and signatures over both (github.com/secure-systems-lab/dsse)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.ports import Signer

MAX_TYPE = 1024


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature; `keyid` is a hint that nothing may rely on (DSSE protocol, section "Signature Definition")."""

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload, its media type, and signatures over `pae` of both. Nothing here is verified."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    @property
    def digest(self) -> Digest:
        """SHA-256 of the canonical JSON of the envelope without key ids: the id of what was signed.

        Key ids are left out because no signature covers them, and two spellings of one claim would
        have two ids.
        """
        bare = tuple(Signature("", signature.sig) for signature in self.signatures)
        return Digest.of(canonical(Envelope(self.payload_type, self.payload, bare).to_json()))

    def to_json(self) -> dict[str, JSON]:
        """Return the envelope as JSON (DSSE envelope v1.0.0)."""
        rows: list[JSON] = [{"keyid": row.keyid, "sig": encode64(row.sig)} for row in self.signatures]
        return {"payload": encode64(self.payload), "payloadType": self.payload_type, "signatures": rows}

    @classmethod
    def from_json(cls, value: Any) -> Envelope:
        """Read an envelope from parsed JSON; unknown members are passed over.

        Raises ValueError, TypeError or KeyError when its shape is wrong; the caller names the check.
        """
        kind, payload, rows = text(value["payloadType"]), value["payload"], value["signatures"]
        if not 0 < len(kind) <= MAX_TYPE or not isinstance(rows, list):
            raise ValueError("payloadType or signatures is missing or of the wrong type")
        return cls(kind, decode64(payload), tuple(_signature(row) for row in rows))

    @classmethod
    def decode(cls, data: bytes, *, check: str = "envelope.form") -> Envelope:
        """Read an envelope from bytes; raises VerificationFailed with `check`."""
        try:
            return cls.from_json(parse(data))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise VerificationFailed(
                "this is not a signed envelope",
                cause=describe(error),
                remedy="expected one JSON object with payload, payloadType and signatures (DSSE)",
                check=check,
            ) from error


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed: PAE of DSSE, lengths in bytes."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, signer: Signer) -> Envelope:
    """Sign a payload; the envelope has exactly one signature, as the Sigstore bundle demands."""
    signature = Signature(signer.key_id.hex, signer.sign(pae(payload_type, payload)))
    return Envelope(payload_type, payload, (signature,))


def encode64(data: bytes) -> str:
    """Write standard base64 with padding."""
    return base64.b64encode(data).decode("ascii")


def text(value: Any) -> str:
    """Return a string that UTF-8 can carry; raises ValueError for other types and lone surrogates."""
    if not isinstance(value, str):
        raise ValueError("a string was expected")  # noqa: TRY004 (one error type for callers)
    value.encode()
    return value


def decode64(value: Any) -> bytes:
    """Read standard base64 in its one canonical spelling; raises ValueError."""
    try:
        data = base64.b64decode(text(value), validate=True)
    except binascii.Error as error:
        raise ValueError("base64 is damaged") from error
    if encode64(data) != value:
        raise ValueError("base64 is not in its one canonical spelling")
    return data


def describe(error: Exception) -> str:
    """Say what a parser tripped over, for the cause of a refusal."""
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _signature(row: Any) -> Signature:
    keyid = row.get("keyid")
    sig = decode64(row["sig"])
    if not sig:
        raise ValueError("a signature is empty")
    return Signature("" if keyid is None else text(keyid), sig)
