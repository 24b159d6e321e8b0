"""A Sigstore in memory: transparency logs of both versions and witnesses, over the authorities of `sigstore_issuing`.

`make(kind)` gives a bundle with the trusted root under which it is in order. Everything that can be wrong with a
bundle is an argument of the piece that makes it, so that an attack changes one thing and leaves all else in order.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ed25519
from sigstore_issuing import BEGIN, END, NOW, Leaf, Tsa, chain, key, pem_of, private, spki

from weighbridge.core.digest import Digest
from weighbridge.keys.files import FileKey, generate
from weighbridge.keys.public import HASHES, details_of_pem
from weighbridge.ledger import merkle
from weighbridge.ledger.checkpoint import Checkpoint, log_id_of, sign_checkpoint
from weighbridge.ledger.cosignature import cosigned_message, cosigner_id
from weighbridge.ledger.entry import signed_entry_timestamp
from weighbridge.trust.bundle import DIGESTS, Bundle, LogProof, MessageSignature, log_body
from weighbridge.trust.demand import Demand
from weighbridge.trust.dsse import Envelope, Signature, encode64, pae
from weighbridge.trust.roots import (
    CertificateAuthority,
    CtLog,
    LogKey,
    Roots,
    TimestampAuthority,
    Window,
    Witness,
)
from weighbridge.trust.trusted_root import write_trusted_root

ORIGIN1 = "rekor.test - 1193050959916656506"
ORIGIN2 = "log2026-1.rekor.test"
ARTIFACT = b"weights of a model"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = json.dumps(
    {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model", "digest": {"sha256": hashlib.sha256(ARTIFACT).hexdigest()}}],
        "predicateType": "https://example.com/claim/v1",
        "predicate": {"accuracy": "0.97"},
    },
    sort_keys=True,
    separators=(",", ":"),
).encode()

KINDS = (
    "dsse",
    "dsse-hashedrekord",
    "hashedrekord",
    "intoto",
    "intoto-first",
    "dsse2",
    "hashedrekord2",
    "dsse2-old",
)
"""What `make` makes: dsse/0.0.1; hashedrekord/0.0.1 over PAE and over a file; intoto 0.0.2 and 0.0.1; then Rekor v2's
hashedrekord/0.0.2 over PAE and over a file; and dsse/0.0.2."""
FILES = ("hashedrekord", "hashedrekord2")
SECOND = ("dsse2", "hashedrekord2", "dsse2-old")


@cache
def managed() -> FileKey:
    return generate("ecdsa-p256")


@dataclass(frozen=True)
class Cosigner:
    """A witness and when it cosigns."""

    name: str = "witness.test"
    algorithm: str = "ed25519"
    when: datetime = NOW
    flip: bool = False

    @property
    def known(self) -> Witness:
        raw = _witness_key(self.name, self.algorithm).public_key().public_bytes_raw()
        return Witness(self.name, raw, self.algorithm, Window(BEGIN, END))

    def line(self, checkpoint: Checkpoint) -> str:
        time = int(self.when.timestamp())
        message = cosigned_message(self.name, self.algorithm, checkpoint, time)
        signature = _witness_key(self.name, self.algorithm).sign(message)
        if self.flip:
            signature = signature[:-1] + bytes([signature[-1] ^ 1])
        value = cosigner_id(self.name, self.known.key, self.algorithm) + struct.pack("!Q", time) + signature
        return f"— {self.name} {encode64(value)}\n"


@cache
def _witness_key(name: str, algorithm: str):
    from cryptography.hazmat.primitives.asymmetric import mldsa

    if algorithm == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return mldsa.MLDSA44PrivateKey.generate()


@dataclass(frozen=True)
class Forged:
    """A bundle, in order unless told otherwise; `build` derives what is not given."""

    kind: str = "dsse"
    leaf: Leaf = field(default_factory=Leaf)
    with_key: FileKey | None = None
    """A managed key that signs instead of the leaf's."""
    content: bytes | None = None
    payload_type: str = PAYLOAD_TYPE
    signature: bytes | None = None
    body: bytes | None = None
    body_changes: dict = field(default_factory=dict)
    """Members of the body's spec to set, by path joined with dots."""
    logged: bool = True
    log: tuple | None = None
    """The log's key: (name, kind)."""
    origin: str | None = None
    log_id: bytes | None = None
    promise: bool | None = None
    promised: dict = field(default_factory=dict)
    seconds: int = int(NOW.timestamp())
    others: tuple[bytes, ...] = (b"genesis one", b"genesis two", b"before", b"after")
    index: int = 3
    outer_index: int | None = None
    """The number in the log, where it differs from the place in the tree."""
    claims: dict = field(default_factory=dict)
    """Members of the LogProof to overwrite at the end."""
    tsas: tuple[Tsa, ...] | None = None
    cosigners: tuple[Cosigner, ...] = ()
    brought: tuple[bytes, ...] = ()
    """Further certificates in the bundle."""
    extensions: tuple[str, ...] = ()

    @property
    def signer(self) -> FileKey:
        return self.with_key or self.leaf.key

    @property
    def second(self) -> bool:
        return self.kind in SECOND

    @property
    def log_key(self) -> FileKey:
        return key(*(self.log or (("log2", "ed25519") if self.second else ("log", "ecdsa-p256"))))

    @property
    def signed(self) -> bytes:
        """What the signature is over."""
        if self.kind in FILES:
            return ARTIFACT if self.content is None else self.content
        return pae(self.payload_type, STATEMENT if self.content is None else self.content)

    def build(self) -> Bundle:
        signature = self.signer.sign(self.signed) if self.signature is None else self.signature
        if self.kind in FILES:
            digest = Digest.of(self.signed)
            content = MessageSignature(signature, digest)
        else:
            payload = STATEMENT if self.content is None else self.content
            content = Envelope(self.payload_type, payload, (Signature("", signature),))
        certificates = () if self.with_key else (self.leaf.build(), *self.brought)
        entries = (self.entry(signature),) if self.logged else ()
        tsas = ((Tsa(),) if self.second else ()) if self.tsas is None else self.tsas
        return Bundle(
            content,
            self.with_key.key_id if self.with_key else None,
            certificates,
            entries,
            tuple(tsa.stamp(signature) for tsa in tsas),
        )

    def entry(self, signature: bytes) -> LogProof:
        body = self._body(signature) if self.body is None else self.body
        row = [*self.others[: self.index], body, *self.others[self.index :]]
        leaves = [merkle.leaf_hash(one) for one in row]
        node, size = merkle.nodes_of(leaves), len(leaves)
        head = Checkpoint(
            self.origin or (ORIGIN2 if self.second else ORIGIN1),
            size,
            merkle.root(size, node),
            self.extensions,
        )
        note = sign_checkpoint(head, self.log_key) + "".join(one.line(head) for one in self.cosigners)
        log_id = self.log_id or bytes.fromhex(log_id_of(head.origin, self.log_key.public_pem).hex)
        outer = self.index if self.outer_index is None else self.outer_index
        promise = b""
        if self.promise or (self.promise is None and not self.second):
            said = {
                "body": body,
                "seconds": self.seconds,
                "log_id": Digest("sha256", log_id.hex()),
                "index": outer,
            }
            said |= self.promised
            promise = signed_entry_timestamp(
                self.log_key, said["body"], said["seconds"], said["log_id"], said["index"]
            )
        kind, version = KIND_VERSIONS[self.kind]
        proof = LogProof(
            log_id=Digest("sha256", log_id.hex()),
            index=outer,
            integrated_time=self.seconds if promise or not self.second else 0,
            body=body,
            promise=promise,
            size=size,
            root=head.root,
            hashes=merkle.inclusion_proof(self.index, size, node),
            checkpoint=note,
            kind=kind,
            version=version,
            leaf_index=None if outer == self.index else self.index,
        )
        return replace(proof, **self.claims)

    def _body(self, signature: bytes) -> bytes:
        kind, version = KIND_VERSIONS[self.kind]
        payload = STATEMENT if self.content is None else self.content
        verifier = self.with_key.public_pem if self.with_key else pem_of(self.leaf.build())
        if self.kind == "dsse":
            envelope = Envelope(self.payload_type, payload, (Signature("", signature),))
            value = json.loads(log_body(envelope, verifier))
        else:
            spec = BODIES[self.kind](self, signature, payload, verifier)
            value = {"apiVersion": version, "kind": kind, "spec": spec}
        for path, changed in self.body_changes.items():
            where = value
            *road, last = path.split(".")
            for step in road:
                where = where[int(step) if isinstance(where, list) else step]
            where[int(last) if isinstance(where, list) else last] = changed
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _hash1(data: bytes) -> dict:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}


def _hash2(forged: Forged, data: bytes) -> dict:
    name = HASHES.get(forged.signer.algorithm, "sha256") if forged.kind != "hashedrekord2" else "sha256"
    return {"algorithm": DIGESTS[name], "digest": encode64(hashlib.new(name, data).digest())}


def _hashedrekord1(forged, signature, payload, verifier):
    return {
        "data": {"hash": _hash1(forged.signed)},
        "signature": {
            "content": encode64(signature),
            "publicKey": {"content": encode64(verifier.encode())},
        },
    }


def _intoto2(forged, signature, payload, verifier):
    row = {"publicKey": encode64(verifier.encode()), "sig": encode64(encode64(signature).encode())}
    return {
        "content": {
            "envelope": {"payloadType": forged.payload_type, "signatures": [row]},
            "hash": _hash1(b"an envelope in somebody's spelling"),
            "payloadHash": _hash1(payload),
        }
    }


def _intoto1(forged, signature, payload, verifier):
    return {
        "content": {"hash": _hash1(b"an envelope"), "payloadHash": _hash1(payload)},
        "publicKey": encode64(verifier.encode()),
    }


def _signature2(forged, signature):
    details = details_of_pem(forged.signer.public_pem)
    if forged.with_key:
        raw = base64.b64decode("".join(forged.with_key.public_pem.split("\n")[1:-2]))
        verifier = {"keyDetails": details, "publicKey": {"rawBytes": encode64(raw)}}
    else:
        verifier = {"keyDetails": details, "x509Certificate": {"rawBytes": encode64(forged.leaf.build())}}
    return {"content": encode64(signature), "verifier": verifier}


def _hashedrekord2(forged, signature, payload, verifier):
    row = {"data": _hash2(forged, forged.signed), "signature": _signature2(forged, signature)}
    return {"hashedRekordV002": row}


def _dsse2(forged, signature, payload, verifier):
    row = {"payloadHash": _hash2(forged, payload), "signatures": [_signature2(forged, signature)]}
    return {"dsseV002": row}


KIND_VERSIONS = {
    "dsse": ("dsse", "0.0.1"),
    "dsse-hashedrekord": ("hashedrekord", "0.0.1"),
    "hashedrekord": ("hashedrekord", "0.0.1"),
    "intoto": ("intoto", "0.0.2"),
    "intoto-first": ("intoto", "0.0.1"),
    "dsse2": ("hashedrekord", "0.0.2"),
    "hashedrekord2": ("hashedrekord", "0.0.2"),
    "dsse2-old": ("dsse", "0.0.2"),
}
BODIES = {
    "dsse-hashedrekord": _hashedrekord1,
    "hashedrekord": _hashedrekord1,
    "intoto": _intoto2,
    "intoto-first": _intoto1,
    "dsse2": _hashedrekord2,
    "hashedrekord2": _hashedrekord2,
    "dsse2-old": _dsse2,
}


@cache
def roots(*, second: tuple = ("log2", "ed25519"), ct: tuple = ("ct", "ecdsa-p256")) -> Roots:
    """Whose word is taken: both logs, the authority, its certificate log, the timestamp authority."""
    window = Window(BEGIN, END)
    first, other = key("log").public_pem, key(*second).public_pem
    return Roots(
        logs=(
            LogKey(
                bytes.fromhex(log_id_of(ORIGIN1, first).hex), first, window, ORIGIN1, "https://rekor.test"
            ),
            LogKey(
                bytes.fromhex(log_id_of(ORIGIN2, other).hex), other, window, ORIGIN2, f"https://{ORIGIN2}"
            ),
        ),
        authorities=(CertificateAuthority(chain(), window, "https://fulcio.test"),),
        ctlogs=(
            CtLog(
                hashlib.sha256(spki(private(*ct))).digest(), key(*ct).public_pem, window, "https://ct.test"
            ),
        ),
        timestamps=(TimestampAuthority(Tsa().chain, window, "https://tsa.test"),),
    )


@dataclass(frozen=True)
class Made:
    """One bundle with everything that is needed to believe it."""

    bundle: bytes
    """Sigstore bundle v0.3, JSON."""
    trusted_root: bytes
    """Sigstore trusted root, JSON."""
    content: bytes
    """The file that was signed, or the payload of the envelope."""
    now: datetime
    demand: Demand
    roots: Roots
    is_file: bool


def make(kind: str = "dsse", *, second: tuple = ("log2", "ed25519"), **changes) -> Made:
    """Make a bundle of one of KINDS, with `changes` to `Forged`; `second` is the key of the Rekor v2 log."""
    if kind in SECOND:
        changes.setdefault("log", second)
    forged = Forged(kind, **changes)
    known = roots(second=second)
    return Made(
        bundle=forged.build().to_json(),
        trusted_root=write_trusted_root(known),
        content=(ARTIFACT if kind in FILES else STATEMENT) if forged.content is None else forged.content,
        now=NOW,
        demand=Demand(),
        roots=known,
        is_file=kind in FILES,
    )
