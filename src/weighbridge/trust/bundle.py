"""Sigstore bundles v0.3: an envelope, the key it names, and the log's proof of it.

Reading is tolerant where machines evolve (unknown members, zeros and empty lists that proto3 JSON leaves
out, integers as numbers or strings) and strict in everything else. Nothing here is verified: see `verify`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from weighbridge.core.canonical import JSON, MAX_SAFE_INTEGER, canonical, parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, OutOfBudget, VerificationFailed
from weighbridge.keys.public import key_id_of_pem
from weighbridge.ledger.entry import InclusionProof, LogEntry
from weighbridge.ledger.merkle import HASH_SIZE
from weighbridge.trust.dsse import Envelope, decode64, describe, encode64, text

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
KIND, VERSION = "dsse", "0.0.1"
MAX_BUNDLE = 64 * 1024 * 1024
"""Bytes; a BOM of a large model stays far below."""
MAX_PROOF = 64
"""Hashes: the depth of a tree of 2**64 entries."""
MAX_TIME = 253_402_300_799
"""Seconds: the last of the year 9999, beyond which a time cannot be written."""

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,15}")


@dataclass(frozen=True, slots=True)
class LogProof:
    """One `tlogEntries` row: where the log says the envelope is, since when, and its proofs."""

    log_id: Digest
    index: int
    integrated_time: int
    """Seconds since 1970; worth nothing unless `promise` covers it."""
    body: bytes
    promise: bytes
    """The signed entry timestamp; empty when the bundle carries none."""
    size: int
    root: bytes
    hashes: tuple[bytes, ...]
    checkpoint: str

    def to_json(self) -> dict[str, JSON]:
        """Return the row as the bundle carries it; zeros are written, as strict readers want them."""
        return {
            "logIndex": str(self.index),
            "logId": {"keyId": encode64(bytes.fromhex(self.log_id.hex))},
            "kindVersion": {"kind": KIND, "version": VERSION},
            "integratedTime": str(self.integrated_time),
            "inclusionPromise": {"signedEntryTimestamp": encode64(self.promise)},
            "inclusionProof": {
                "logIndex": str(self.index),
                "rootHash": encode64(self.root),
                "treeSize": str(self.size),
                "hashes": [encode64(step) for step in self.hashes],
                "checkpoint": {"envelope": self.checkpoint},
            },
            "canonicalizedBody": encode64(self.body),
        }


@dataclass(frozen=True, slots=True)
class Bundle:
    """An envelope and what travels with it. Equal digests mean the same claim, whatever proof it carries."""

    envelope: Envelope
    key: Digest
    """The key that the bundle says signed it (`publicKey.hint`)."""
    entry: LogProof | None = None
    timestamps: int = 0
    """How many RFC 3161 timestamps the bundle carries; none is verified yet."""

    @property
    def digest(self) -> Digest:
        """The id of the claim: `Envelope.digest`. It does not change when a log proof is added."""
        return self.envelope.digest

    def to_json(self) -> bytes:
        """Return the bundle as canonical JSON."""
        entries: list[JSON] = [self.entry.to_json()] if self.entry else []
        return canonical(
            {
                "mediaType": MEDIA_TYPE,
                "verificationMaterial": {"publicKey": {"hint": self.key.hex}, "tlogEntries": entries},
                "dsseEnvelope": self.envelope.to_json(),
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> Bundle:
        """Read a bundle; raises VerificationFailed(bundle.form), OutOfBudget beyond 64 MiB."""
        if len(data) > MAX_BUNDLE:
            raise OutOfBudget(f"the bundle is larger than {MAX_BUNDLE} bytes", check="bundle.form")
        try:
            return _bundle(parse(data))
        except (ValueError, TypeError, KeyError, AttributeError, BadReference) as error:
            raise VerificationFailed(
                "this is not a bundle we can read",
                cause=describe(error),
                remedy=f"expected one JSON object of media type {MEDIA_TYPE}, signed with a key",
                check="bundle.form",
            ) from error


def make_bundle(
    envelope: Envelope,
    public_pem: str,
    *,
    log_id: Digest,
    entry: LogEntry,
    proof: InclusionProof,
) -> Bundle:
    """Put an envelope, its log entry and the proof of that entry together."""
    row = LogProof(
        log_id=log_id,
        index=entry.index,
        integrated_time=entry.integrated_time,
        body=entry.body,
        promise=entry.promise,
        size=proof.size,
        root=proof.root,
        hashes=proof.hashes,
        checkpoint=proof.checkpoint,
    )
    return Bundle(envelope, key_id_of_pem(public_pem), row)


def log_body(envelope: Envelope, public_pem: str) -> bytes:
    """Return what the log keeps of an envelope with one signature: Rekor's `dsse/0.0.1` body, RFC 8785 JSON.

    `envelopeHash` is over our canonical JSON of the envelope; as in Rekor, nobody verifies it. Payload,
    signature and key are bound by the other members, see `verify`.
    """
    body: dict[str, JSON] = {
        "apiVersion": VERSION,
        "kind": KIND,
        "spec": {
            "envelopeHash": {"algorithm": "sha256", "value": Digest.of(canonical(envelope.to_json())).hex},
            "payloadHash": {"algorithm": "sha256", "value": Digest.of(envelope.payload).hex},
            "signatures": [
                {"signature": encode64(row.sig), "verifier": encode64(public_pem.encode())}
                for row in envelope.signatures
            ],
        },
    }
    return canonical(body)


def _bundle(value: Any) -> Bundle:
    if value["mediaType"] != MEDIA_TYPE:
        raise ValueError(f"mediaType is not {MEDIA_TYPE}")
    material = value["verificationMaterial"]
    if any(material.get(kind) is not None for kind in ("certificate", "x509CertificateChain")):
        raise ValueError("it is signed with a certificate, and only keys are verified yet")
    if value.get("messageSignature") is not None:
        raise ValueError("it carries a bare signature where an envelope is needed")
    rows = _list(material, "tlogEntries")
    if len(rows) > 1:
        raise ValueError("it has more than one log entry")
    stamps = _list(_object(material, "timestampVerificationData"), "rfc3161Timestamps")
    return Bundle(
        envelope=Envelope.from_json(value["dsseEnvelope"]),
        key=Digest("sha256", material["publicKey"]["hint"]),
        entry=_proof(rows[0]) if rows else None,
        timestamps=len(stamps),
    )


def _proof(row: Any) -> LogProof:
    kind, proof, promise = (
        row["kindVersion"],
        row["inclusionProof"],
        _object(row, "inclusionPromise").get("signedEntryTimestamp"),
    )
    if (kind["kind"], kind["version"]) != (KIND, VERSION):
        raise ValueError(f"its log entry is not of kind {KIND} {VERSION}")
    index, hashes = _integer(row, "logIndex"), _list(proof, "hashes")
    if _integer(proof, "logIndex") != index:
        raise ValueError("its log entry names two positions")
    if len(hashes) > MAX_PROOF:
        raise ValueError("its inclusion proof is deeper than any tree")
    return LogProof(
        log_id=Digest("sha256", decode64(row["logId"]["keyId"]).hex()),
        index=index,
        integrated_time=_integer(row, "integratedTime", MAX_TIME),
        body=decode64(row["canonicalizedBody"]),
        promise=b"" if promise is None else decode64(promise),
        size=_integer(proof, "treeSize"),
        root=_hash(proof["rootHash"]),
        hashes=tuple(_hash(step) for step in hashes),
        checkpoint=text(proof["checkpoint"]["envelope"]),
    )


def _integer(value: Any, name: str, limit: int = MAX_SAFE_INTEGER) -> int:
    """Read an int64 of proto3 JSON: a number, a decimal string, or left out for zero."""
    found = value.get(name)
    if found is None:
        return 0
    if isinstance(found, str) and _DECIMAL.fullmatch(found):
        found = int(found)
    if type(found) is not int or not 0 <= found <= limit:
        raise ValueError(f"{name} is not a whole number that fits")
    return found


def _list(value: Any, name: str) -> list[Any]:
    """Read a repeated field: a list, or left out when empty."""
    found = value.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise ValueError(f"{name} is not a list")  # noqa: TRY004 (one error type for callers)
    return found


def _object(value: Any, name: str) -> dict[str, Any]:
    """Read a message field: an object, or left out when empty."""
    found = value.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError(f"{name} is not an object")  # noqa: TRY004 (one error type for callers)
    return found


def _hash(value: Any) -> bytes:
    data = decode64(value)
    if len(data) != HASH_SIZE:
        raise ValueError("a hash is not 32 bytes")
    return data
