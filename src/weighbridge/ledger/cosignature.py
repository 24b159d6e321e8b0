"""Cosignatures on checkpoints (C2SP tlog-cosignature): witnesses who saw the log grow and nothing else.

A line of the signed note is `— <name> base64(key id, time, signature)`: four bytes, eight bytes of seconds since
1970, and an Ed25519 (type 0x04) or ML-DSA-44 (type 0x06) signature. The key id is the first four bytes of
SHA-256 of name, line feed, type and raw key.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal, Protocol

from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.public import pem_of_der, verify_signature
from weighbridge.ledger.checkpoint import Checkpoint, parse_checkpoint

CHECK = "log.witness"
MAX_TIME = 253_402_300_799
"""Seconds: the last of the year 9999."""

_TYPES = {"ed25519": b"\x04", "ml-dsa-44": b"\x06"}
_SPKI = {
    "ed25519": bytes.fromhex("302a300506032b6570032100"),
    "ml-dsa-44": bytes.fromhex("30820532300b06096086480165030403110382052100"),
}
"""SubjectPublicKeyInfo up to the raw key: RFC 8410 section 4, RFC 9881 section 4."""


class WitnessKey(Protocol):
    """A witness as a verifier knows it: its name, its raw public key, and what that is."""

    @property
    def name(self) -> str:
        """Name in signature lines."""
        ...

    @property
    def key(self) -> bytes:
        """Raw public key: 32 bytes for Ed25519, 1312 for ML-DSA-44."""
        ...

    @property
    def algorithm(self) -> Literal["ed25519", "ml-dsa-44"]:
        """Which of the two signature types the witness uses."""
        ...


def cosigner_id(name: str, key: bytes, algorithm: Literal["ed25519", "ml-dsa-44"]) -> bytes:
    """Return the four bytes by which signature lines name a witness's key."""
    return hashlib.sha256(name.encode() + b"\n" + _TYPES[algorithm] + key).digest()[:4]


def cosigned_message(
    name: str, algorithm: Literal["ed25519", "ml-dsa-44"], checkpoint: Checkpoint, time: int
) -> bytes:
    """Return what a witness signs at `time` (seconds since 1970).

    Ed25519: a line with the format, one with the time, then the note's text. ML-DSA-44: the witness's name, the
    time, the log's origin, 0, the size and the root, names with their length in one byte before them.
    """
    if algorithm == "ed25519":
        return f"cosignature/v1\ntime {time}\n{checkpoint.text}".encode()
    own, origin = name.encode(), checkpoint.origin.encode()
    return b"".join(
        (
            b"subtree/v1\n\x00",
            bytes([len(own)]) + own,
            struct.pack("!Q", time),
            bytes([len(origin)]) + origin,
            struct.pack("!QQ", 0, checkpoint.size),
            checkpoint.root,
        )
    )


def verify_cosignatures(note: str, witnesses: Iterable[WitnessKey]) -> tuple[tuple[str, datetime], ...]:
    """Return name and newest time of each of these witnesses who cosigned the note, sorted by name.

    Lines of others are passed over. A line that names the key of one of these and does not verify raises
    VerificationFailed(log.witness), as C2SP signed-note demands; a note that is none raises log.checkpoint.
    """
    checkpoint, rows = parse_checkpoint(note)
    known = {(row.name, cosigner_id(row.name, row.key, row.algorithm)): row for row in witnesses}
    found: dict[str, datetime] = {}
    for name, value in rows:
        witness = known.get((name, value[:4]))
        if witness is None:
            continue
        moment = _verified(witness, checkpoint, value[4:])
        found[name] = max(moment, found.get(name, moment))
    return tuple(sorted(found.items()))


def _verified(witness: WitnessKey, checkpoint: Checkpoint, value: bytes) -> datetime:
    time = int.from_bytes(value[:8], "big")
    pem = pem_of_der(_SPKI[witness.algorithm] + witness.key)
    if len(value) > 8 and time <= MAX_TIME:
        message = cosigned_message(witness.name, witness.algorithm, checkpoint, time)
        if verify_signature(pem, message, value[8:]):
            return datetime.fromtimestamp(time, UTC)
    raise VerificationFailed(
        f"the cosignature of {witness.name!r} does not verify",
        cause="the checkpoint, its time or the signature was changed",
        remedy="fetch the checkpoint again from the log",
        check=CHECK,
    )
