"""A forger's bench: every piece of a bundle made by hand, each with any key, so that one thing at a time can be wrong."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache

from weighbridge.core.digest import Digest
from weighbridge.core.statement import PAYLOAD_TYPE, Statement, subject_of
from weighbridge.core.tier import Role
from weighbridge.keys.files import FileKey, generate
from weighbridge.ledger import merkle
from weighbridge.ledger.checkpoint import Checkpoint, sign_checkpoint
from weighbridge.ledger.entry import signed_entry_timestamp
from weighbridge.trust.authority import Authority, Demand
from weighbridge.trust.bundle import Bundle, LogProof, log_body
from weighbridge.trust.dsse import Envelope, sign

NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
ORIGIN = "weighbridge.test - 7"
PROJECT = "speech"
STATEMENT = Statement(
    (subject_of(Digest("wb1", "ab" * 32)),), "https://weighbridge.dev/test/v1", {"a": 1, "é": "ü"}
)


@cache
def key(name: str, algorithm: str = "ecdsa-p256") -> FileKey:
    """One key per name for the whole run: `trainer` is Ed25519, all others ECDSA."""
    return generate("ed25519" if name == "trainer" else algorithm)


@cache
def authority() -> Authority:
    """Names `trainer` for TRAIN everywhere, `reviewer` for ORIGIN, and one log."""
    return (
        Authority("test", 1, NOW - timedelta(days=10), NOW + timedelta(days=10), (key("root").public_pem,))
        .with_log(ORIGIN, key("log").public_pem)
        .with_identity("trainer", key("trainer").public_pem, [Role.TRAIN])
        .with_identity("reviewer", key("reviewer").public_pem, [Role.ORIGIN])
    )


def demanding(**changes: object) -> Authority:
    """The same authority with another demand on `trainer`, or other dates."""
    known = authority()
    evidence = {name: changes.pop(name) for name in ("logs", "timestamps", "witnesses") if name in changes}
    identities = tuple(
        replace(row, evidence=Demand(**evidence), **changes) if row.name == "trainer" else row
        for row in known.identities
    )
    return replace(known, identities=identities)


@dataclass(frozen=True)
class Forged:
    """What goes into a bundle; `build` derives whatever is not given, so that all else is in order."""

    envelope: Envelope
    signer: FileKey
    body: bytes | None = None
    hint: FileKey | None = None
    log_key: FileKey = field(default_factory=lambda: key("log"))
    promise_key: FileKey | None = None
    promised: dict[str, object] = field(default_factory=dict)
    """What the promise says instead: body, seconds, log_id or index."""
    seconds: int = SECONDS
    origin: str = ORIGIN
    others: tuple[bytes, ...] = (b"genesis one", b"genesis two", b"before", b"after")
    index: int = 3
    claims: dict[str, object] = field(default_factory=dict)
    """Members of the LogProof to overwrite at the end."""

    def build(self) -> Bundle:
        body = self.body if self.body is not None else log_body(self.envelope, self.signer.public_pem)
        leaves = [
            merkle.leaf_hash(row) for row in (*self.others[: self.index], body, *self.others[self.index :])
        ]
        node, size = merkle.nodes_of(leaves), len(leaves)
        root = merkle.root(size, node)
        said = {"body": body, "seconds": self.seconds, "log_id": self.log_key.key_id, "index": self.index}
        said |= self.promised
        promise = signed_entry_timestamp(
            self.promise_key or self.log_key, said["body"], said["seconds"], said["log_id"], said["index"]
        )
        entry = LogProof(
            log_id=self.log_key.key_id,
            index=self.index,
            integrated_time=self.seconds,
            body=body,
            promise=promise,
            size=size,
            root=root,
            hashes=merkle.inclusion_proof(self.index, size, node),
            checkpoint=sign_checkpoint(Checkpoint(self.origin, size, root), self.log_key),
        )
        return Bundle(
            self.envelope, (self.hint or self.signer).key_id, entries=(replace(entry, **self.claims),)
        )


def forged(
    payload: bytes | None = None, *, payload_type: str = PAYLOAD_TYPE, by: str = "trainer", **changes: object
) -> Forged:
    """A bundle in order, before `changes`."""
    envelope = sign(payload_type, STATEMENT.encode() if payload is None else payload, key(by))
    return replace(Forged(envelope, key(by)), **changes)
