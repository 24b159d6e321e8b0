"""Cosignatures on checkpoints (C2SP tlog-cosignature): witnesses who saw the log grow and nothing else.

A line of the signed note is `— <name> base64(key id, time, signature)`: four bytes, eight bytes of seconds since
1970, and an Ed25519 (type 0x04) or ML-DSA-44 (type 0x06) signature. The key id is the first four bytes of
SHA-256 of name, line feed, type and raw key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol, TypeAlias

from weighbridge.core.errors import UsageError, VerificationFailed
from weighbridge.keys.ports import Signer
from weighbridge.keys.public import der_of_pem, pem_of_der, verify_signature
from weighbridge.ledger.checkpoint import Checkpoint, parse_checkpoint

CHECK = "log.witness"
MAX_TIME = 253_402_300_799
"""Seconds: the last of the year 9999."""

MAX_NAME = 255
"""Bytes: the message of ML-DSA-44 writes a name's length as one byte."""

CosignatureAlgorithm: TypeAlias = Literal["ed25519", "ml-dsa-44"]

_TYPES: dict[CosignatureAlgorithm, bytes] = {"ed25519": b"\x04", "ml-dsa-44": b"\x06"}
_SPKI: dict[CosignatureAlgorithm, bytes] = {
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
    def algorithm(self) -> CosignatureAlgorithm:
        """Which of the two signature types the witness uses."""
        ...


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A witness's name and the key it cosigns with (Ed25519 or ML-DSA-44). Building one checks both."""

    name: str
    signer: Signer

    def __post_init__(self) -> None:
        if not is_witness_name(self.name):
            raise UsageError(
                f"{self.name!r} is not the name of a witness",
                cause=f"it has 1 to {MAX_NAME} bytes, all of them shown, no spaces and no plus signs",
                remedy="name it like a host and a path: witness.example/w1",
                check="log.witness-name",
            )
        if self.signer.algorithm not in _TYPES:
            raise UsageError(
                f"a witness does not sign with {self.signer.algorithm}",
                cause="C2SP tlog-cosignature knows Ed25519 and ML-DSA-44",
                remedy="make a key with: weighbridge key new KEY --algorithm ml-dsa-44",
                check="log.witness-key",
            )

    @property
    def algorithm(self) -> CosignatureAlgorithm:
        """Which of the two signature types this is."""
        return "ed25519" if self.signer.algorithm == "ed25519" else "ml-dsa-44"

    @property
    def key(self) -> bytes:
        """Raw public key."""
        return der_of_pem(self.signer.public_pem)[len(_SPKI[self.algorithm]) :]

    @property
    def verifier_key(self) -> str:
        """The key as others are told of it (C2SP signed-note, "Verifier keys"): `<name>+<id>+<base64>`."""
        value = base64.b64encode(_TYPES[self.algorithm] + self.key).decode("ascii")
        return f"{self.name}+{cosigner_id(self.name, self.key, self.algorithm).hex()}+{value}"

    def line(self, checkpoint: Checkpoint, time: int) -> str:
        """Return the signature line, line feed included, that says: at `time` this was the largest tree seen."""
        message = cosigned_message(self.name, self.algorithm, checkpoint, time)
        value = cosigner_id(self.name, self.key, self.algorithm) + struct.pack("!Q", time)
        return f"— {self.name} {base64.b64encode(value + self.signer.sign(message)).decode('ascii')}\n"


@dataclass(frozen=True, slots=True)
class KnownWitness:
    """A witness as a verifier key tells of it."""

    name: str
    key: bytes
    algorithm: CosignatureAlgorithm


def is_witness_name(text: str) -> bool:
    """Tell whether a signature line may carry this name (C2SP signed-note: no spaces, no plus signs)."""
    return text.isprintable() and not set(text) & {" ", "+"} and 0 < len(text.encode()) <= MAX_NAME


def read_witness_key(text: str) -> KnownWitness:
    """Read a verifier key of a witness, `<name>+<id>+<base64>`; raises UsageError(log.witness-key)."""
    name, _, rest = text.strip().partition("+")
    said, _, value = rest.partition("+")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    for algorithm, kind in _TYPES.items():
        key = data[1:]
        if (
            data[:1] == kind
            and len(key) == (32 if algorithm == "ed25519" else 1312)
            and is_witness_name(name)
        ):
            if cosigner_id(name, key, algorithm).hex() == said:
                return KnownWitness(name, key, algorithm)
            break
    raise UsageError(
        "this is not the verifier key of a witness",
        cause="it is written NAME+ID+BASE64, the key's type in its first byte: 4 for Ed25519, 6 for ML-DSA-44",
        remedy="copy the whole line that the witness's operator publishes",
        check="log.witness-key",
    )


def cosigner_id(name: str, key: bytes, algorithm: CosignatureAlgorithm) -> bytes:
    """Return the four bytes by which signature lines name a witness's key."""
    return hashlib.sha256(name.encode() + b"\n" + _TYPES[algorithm] + key).digest()[:4]


def cosigned_message(name: str, algorithm: CosignatureAlgorithm, checkpoint: Checkpoint, time: int) -> bytes:
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
    if time <= MAX_TIME:
        message = cosigned_message(witness.name, witness.algorithm, checkpoint, time)
        if verify_signature(pem, message, value[8:]):
            return datetime.fromtimestamp(time, UTC)
    raise VerificationFailed(
        f"the cosignature of {witness.name!r} does not verify",
        cause="the checkpoint, its time or the signature was changed",
        remedy="fetch the checkpoint again from the log",
        check=CHECK,
    )
