"""Sigstore bundles: what was signed, by which key or certificate, and the proofs that travel with it.

Versions 0.1, 0.2 and 0.3 are read (`bundle_form` says how), 0.3 is written. Nothing here is verified: see
`prove`. A bundle names keys and logs, it never brings one that is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.public import key_id_of_pem
from weighbridge.ledger.entry import InclusionProof, LogEntry
from weighbridge.trust.dsse import Envelope, encode64

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
KIND, VERSION = "dsse", "0.0.1"
MAX_BUNDLE = 64 * 1024 * 1024
"""Bytes; a BOM of a large model stays far below."""

DIGESTS = {"sha256": "SHA2_256", "sha384": "SHA2_384", "sha512": "SHA2_512"}
"""The digests that Sigstore's documents name (HashAlgorithm of sigstore_common.proto), by our names."""


@dataclass(frozen=True, slots=True)
class LogProof:
    """One `tlogEntries` row: where the log says the signature is, since when, and its proofs."""

    log_id: Digest
    index: int
    """The entry's number in the log as `promise` covers it; without a promise it is anybody's word."""
    integrated_time: int
    """Seconds since 1970; worth nothing unless `promise` covers it."""
    body: bytes
    promise: bytes
    """The signed entry timestamp; empty when the bundle carries none."""
    size: int
    root: bytes
    hashes: tuple[bytes, ...]
    checkpoint: str
    kind: str = KIND
    version: str = VERSION
    leaf_index: int | None = None
    """The entry's place in the tree where that is another number than `index` (a log in several trees)."""

    @property
    def position(self) -> int:
        """The entry's place in the tree, which the inclusion proof proves."""
        return self.index if self.leaf_index is None else self.leaf_index

    def to_json(self) -> dict[str, JSON]:
        """Return the row as the bundle carries it; zeros are written, as strict readers want them."""
        row: dict[str, JSON] = {
            "logIndex": str(self.index),
            "logId": {"keyId": encode64(bytes.fromhex(self.log_id.hex))},
            "kindVersion": {"kind": self.kind, "version": self.version},
            "integratedTime": str(self.integrated_time),
            "inclusionProof": {
                "logIndex": str(self.position),
                "rootHash": encode64(self.root),
                "treeSize": str(self.size),
                "hashes": [encode64(step) for step in self.hashes],
                "checkpoint": {"envelope": self.checkpoint},
            },
            "canonicalizedBody": encode64(self.body),
        }
        if self.promise:
            row["inclusionPromise"] = {"signedEntryTimestamp": encode64(self.promise)}
        return row


@dataclass(frozen=True, slots=True)
class MessageSignature:
    """A signature over a file that is not in the bundle, with the digest the bundle says the file has."""

    signature: bytes
    digest: Digest | None = None

    def to_json(self) -> dict[str, JSON]:
        """Return the signature as the bundle carries it."""
        found: dict[str, JSON] = {"signature": encode64(self.signature)}
        if self.digest is not None:
            found["messageDigest"] = {
                "algorithm": DIGESTS[self.digest.algorithm],
                "digest": encode64(bytes.fromhex(self.digest.hex)),
            }
        return found


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was signed and what travels with it. Equal digests mean the same claim, whatever proof it carries."""

    content: Envelope | MessageSignature
    key: Digest | None = None
    """The managed key that the bundle says signed it; None with a certificate, or where its hint is no digest."""
    certificates: tuple[bytes, ...] = ()
    """The signer's certificate in DER, then whatever chain came with it; empty for managed keys."""
    entries: tuple[LogProof, ...] = ()
    timestamps: tuple[bytes, ...] = ()
    """RFC 3161 responses in DER."""
    hint: str = ""
    """`publicKey.hint` as it stands, where it is anything but the 64 hexadecimal digits of `key`."""

    @property
    def envelope(self) -> Envelope:
        """The signed envelope; raises VerificationFailed(bundle.content) where a bare signature stands instead."""
        if isinstance(self.content, MessageSignature):
            raise VerificationFailed(
                "the bundle holds a signature over a file where a signed claim is needed",
                remedy="hand in the bundle of a claim (a DSSE envelope)",
                check="bundle.content",
            )
        return self.content

    @property
    def message(self) -> MessageSignature | None:
        """The bare signature over a file; None where the bundle holds an envelope."""
        return self.content if isinstance(self.content, MessageSignature) else None

    @property
    def entry(self) -> LogProof | None:
        """The first log entry, or None."""
        return self.entries[0] if self.entries else None

    @property
    def digest(self) -> Digest:
        """The id of the claim: `Envelope.digest`, or that of the bare signature. No proof changes it."""
        if isinstance(self.content, Envelope):
            return self.content.digest
        return Digest.of(canonical(self.content.to_json()))

    def to_json(self) -> bytes:
        """Return the bundle as canonical JSON, in version 0.3."""
        material: dict[str, JSON] = {"tlogEntries": [entry.to_json() for entry in self.entries]}
        raw: list[JSON] = [{"rawBytes": encode64(der)} for der in self.certificates]
        if len(raw) == 1:
            material["certificate"] = raw[0]
        elif raw:
            material["x509CertificateChain"] = {"certificates": raw}
        else:
            material["publicKey"] = {"hint": self.hint or (self.key.hex if self.key else "")}
        if self.timestamps:
            rows: list[JSON] = [{"signedTimestamp": encode64(der)} for der in self.timestamps]
            material["timestampVerificationData"] = {"rfc3161Timestamps": rows}
        name = "dsseEnvelope" if isinstance(self.content, Envelope) else "messageSignature"
        return canonical(
            {"mediaType": MEDIA_TYPE, "verificationMaterial": material, name: self.content.to_json()}
        )

    @classmethod
    def from_json(cls, data: bytes) -> Bundle:
        """Read a bundle; raises VerificationFailed(bundle.form), OutOfBudget beyond 64 MiB."""
        from weighbridge.trust.bundle_form import read_bundle  # reading needs the types above

        return read_bundle(data, MAX_BUNDLE)


def make_bundle(
    envelope: Envelope,
    public_pem: str,
    *,
    log_id: Digest,
    entry: LogEntry,
    proof: InclusionProof,
    certificate: bytes = b"",
    timestamps: Sequence[bytes] = (),
) -> Bundle:
    """Put an envelope, its log entry and the proof of that entry together.

    With `certificate` (DER) the bundle names that instead of the key; `timestamps` are RFC 3161 responses.
    """
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
    key = None if certificate else key_id_of_pem(public_pem)
    certificates = (certificate,) if certificate else ()
    return Bundle(envelope, key, certificates, (row,), tuple(timestamps))


def log_body(envelope: Envelope, public_pem: str) -> bytes:
    """Return what the log keeps of an envelope with one signature: Rekor's `dsse/0.0.1` body, RFC 8785 JSON.

    `public_pem` is the verifier as PEM: a public key, or a certificate. `envelopeHash` is over our canonical
    JSON of the envelope; as in Rekor, nobody verifies it. Payload, signature and key are bound by the other
    members, see `entries`.
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
