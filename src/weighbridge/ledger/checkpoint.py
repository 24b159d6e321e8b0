"""Signed checkpoints: the log's size and root under its key (C2SP signed-note and tlog-checkpoint).

::

    weighbridge.<registry> - <tree id>       origin
    42                                       size, decimal
    qgJ0…=                                   root, base64
                                             (blank)
    — weighbridge.<registry> a1b2…           signer's name, base64(key hint + signature)

The origin ends in ` - <tree id>`, which is how Sigstore clients tell a Rekor v1 log. The signer's name is
the origin without it, because a name in a signed note holds no spaces. The key hint is the first four
bytes of the log id, SHA-256 of the key's DER, as Rekor v1 has it, for both algorithms.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.ports import Signer
from weighbridge.keys.public import key_id_of_pem, verify_signature
from weighbridge.ledger.merkle import HASH_SIZE

CHECK = "log.checkpoint"
MAX_NOTE = 64 * 1024

_ORIGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}) - (?:0|[1-9][0-9]{0,19})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")
_SIGNATURE = re.compile(r"— (?P<name>[^ +]+) (?P<value>[A-Za-z0-9+/]+={0,2})")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint says; whether its log said it is what `verify_checkpoint` answers."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The signed part of the note."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode('ascii')}\n"


def origin_of(registry: str, tree_id: int) -> str:
    """Write a log's origin: `weighbridge.<registry> - <tree id>`; raises ValueError for unfit names."""
    origin = f"weighbridge.{registry} - {tree_id}"
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(
            f"{origin!r} is not an origin: letters, digits, '.', '_' and '-', then a decimal tree id"
        )
    return origin


def is_origin(text: str) -> bool:
    """Tell whether `text` has the form of an origin."""
    return _ORIGIN.fullmatch(text) is not None


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> str:
    """Return the checkpoint as a signed note."""
    signature = signer.sign(checkpoint.text.encode())
    value = base64.b64encode(_hint(signer.public_pem) + signature).decode("ascii")
    return f"{checkpoint.text}\n— {_name(checkpoint.origin)} {value}\n"


def parse_checkpoint(note: str) -> tuple[Checkpoint, tuple[tuple[str, bytes], ...]]:
    """Read a note without believing it: the checkpoint and its (name, hint + signature) rows.

    Raises VerificationFailed(log.checkpoint) when it is not one. Lines after the root are extensions,
    which the signature covers and we do not interpret.
    """
    text, blank, tail = note.partition("\n\n")
    lines = text.split("\n")
    if not blank or len(note) > MAX_NOTE or len(lines) < 3 or not tail.endswith("\n"):
        raise _malformed("it is not a text, a blank line and signatures")
    if not _ORIGIN.fullmatch(lines[0]) or not _SIZE.fullmatch(lines[1]):
        raise _malformed("its first lines are not an origin and a size")
    root = _base64(lines[2])
    if len(root) != HASH_SIZE:
        raise _malformed("its root is not 32 bytes")
    rows = []
    for line in tail.removesuffix("\n").split("\n"):
        match = _SIGNATURE.fullmatch(line)
        if match is None:
            raise _malformed("a signature line is not '— name base64'")
        rows.append((match["name"], _base64(match["value"])))
    return Checkpoint(lines[0], int(lines[1]), root), tuple(rows)


def verify_checkpoint(note: str, *, origin: str, public_pem: str) -> Checkpoint:
    """Return what the log with this origin and key signed; raises VerificationFailed(log.checkpoint).

    Signatures of others (witnesses) are passed over; exactly one must be the log's and it must verify.
    """
    checkpoint, rows = parse_checkpoint(note)
    if checkpoint.origin != origin:
        raise VerificationFailed(
            "the checkpoint is of another log",
            cause=f"expected {origin!r}, found {checkpoint.origin!r}",
            remedy="fetch the checkpoint of the log that the authority names",
            check=CHECK,
        )
    hint = _hint(public_pem)
    own = [value[4:] for name, value in rows if name == _name(origin) and value[:4] == hint]
    signed = note.partition("\n\n")[0].encode() + b"\n"
    if len(own) != 1 or not verify_signature(public_pem, signed, own[0]):
        raise VerificationFailed(
            "the checkpoint is not signed by its log",
            cause=f"no valid signature of {origin!r} under the key the authority names",
            remedy="fetch it again; when it stays so, whoever handed it out is not that log",
            check=CHECK,
        )
    return checkpoint


def _name(origin: str) -> str:
    return origin.partition(" - ")[0]


def _hint(public_pem: str) -> bytes:
    return bytes.fromhex(key_id_of_pem(public_pem).hex)[:4]


def _base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed("base64 is damaged") from error
    if base64.b64encode(data).decode("ascii") != text:
        raise _malformed("base64 is not in its one canonical spelling")
    return data


def _malformed(cause: str) -> VerificationFailed:
    return VerificationFailed(
        "this is not a signed checkpoint",
        cause=cause,
        remedy="fetch it again from the log: it is the file `checkpoint` in its folder",
        check=CHECK,
    )
