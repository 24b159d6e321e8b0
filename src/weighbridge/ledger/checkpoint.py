"""Signed checkpoints: the log's size and root under its key (C2SP signed-note and tlog-checkpoint).

::

    weighbridge.<registry> - <tree id>       origin
    42                                       size, decimal
    qgJ0…=                                   root, base64
                                             (blank)
    — weighbridge.<registry> a1b2…           signer's name, base64(key hint + signature)

An origin that ends in ` - <tree id>` is how Sigstore clients tell a Rekor v1 log (form `v1`). The signer's
name is the origin without it, because a name in a signed note holds no spaces, and the key hint is the
first four bytes of SHA-256 of the key's DER. Any other origin is form `v2`: the signer's name is the origin
itself and the hint that of C2SP signed-note. The origin alone tells the form, so no log has two.

Lines after the root are extensions, signed like the rest. One is known here: the statement that the log is
frozen, in the words that Rekor's `freeze-checkpoint` uses.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.ports import Signer
from weighbridge.keys.public import algorithm_of_pem, der_of_pem, key_id_of_pem, verify_signature
from weighbridge.ledger.merkle import HASH_SIZE

Form: TypeAlias = Literal["v1", "v2"]

CHECK = "log.checkpoint"
MAX_NOTE = 64 * 1024
MAX_ORIGIN = 255
"""Bytes: cosignatures (C2SP tlog-cosignature) write an origin's length as one byte."""

FROZEN = "Log frozen — "
CONTINUES = "Log continues — "

_V1 = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}) - (?:0|[1-9][0-9]{0,19})")
_HOST = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")
_SIGNATURE = re.compile(r"— (?P<name>[^ +]+) (?P<value>[A-Za-z0-9+/]+={0,2})")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint says; whether its log said it is what `verify_checkpoint` answers."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()
    """Lines after the root, signed with it."""

    @property
    def text(self) -> str:
        """The signed part of the note."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode("ascii"), *self.extensions)
        return "\n".join(lines) + "\n"

    @property
    def frozen(self) -> str:
        """When the log says that it was frozen (`Mon Nov 23 02:34:02 UTC 2026`), or empty."""
        return self._said(FROZEN)

    @property
    def continues(self) -> str:
        """Where a frozen log says that it goes on: the next log's origin, a space, its log id in hex; or empty."""
        return self._said(CONTINUES)

    def _said(self, words: str) -> str:
        return next((line.removeprefix(words) for line in self.extensions if line.startswith(words)), "")


def origin_of(registry: str, tree_id: int) -> str:
    """Write a log's origin: `weighbridge.<registry> - <tree id>`; raises ValueError for unfit names."""
    origin = f"weighbridge.{registry} - {tree_id}"
    if not _V1.fullmatch(origin):
        raise ValueError(
            f"{origin!r} is not an origin: letters, digits, '.', '_' and '-', then a decimal tree id"
        )
    return origin


def is_origin(text: str) -> bool:
    """Tell whether `text` has the form of an origin that a log of ours may have, in either form."""
    return _V1.fullmatch(text) is not None or _HOST.fullmatch(text) is not None


def form_of(origin: str) -> Form:
    """Return the form that an origin stands for: `v1` when it ends in ` - <tree id>`, else `v2`."""
    return "v1" if _V1.fullmatch(origin) else "v2"


def log_id_of(origin: str, public_pem: str) -> Digest:
    """Return the 32 bytes by which entries name their log; the first four are the key hint of its checkpoints.

    Form v1, and ECDSA in any form: SHA-256 of the key's DER (the exception that C2SP signed-note leaves to
    old ECDSA keys, and Rekor v2 takes). Otherwise SHA-256 of name, line feed, type and key: type 0x01 for
    Ed25519, 0xff and `PKIX-RSA-PKCS#1v1.5` for RSA. Raises VerificationFailed(log.key) for other keys.
    """
    algorithm = str(algorithm_of_pem(public_pem))
    if form_of(origin) == "v1" or algorithm.startswith("ecdsa"):
        return key_id_of_pem(public_pem)
    der = der_of_pem(public_pem)
    if algorithm not in ("ed25519", "rsa"):
        raise VerificationFailed(
            "this key cannot be a log's",
            cause=f"it is {algorithm}; logs sign with Ed25519, ECDSA or RSA",
            remedy="take the log's key from the authority",
            check="log.key",
        )
    kind = b"\x01" + der[-32:] if algorithm == "ed25519" else b"\xffPKIX-RSA-PKCS#1v1.5" + der
    return Digest("sha256", hashlib.sha256(origin.encode() + b"\n" + kind).hexdigest())


def verifier_key(origin: str, public_pem: str) -> str:
    """Return the key as other tools want it (C2SP signed-note, "Verifier keys"): `<name>+<hint>+<base64>`.

    Raises ValueError unless the key is Ed25519: no other kind of log key has a settled spelling.
    """
    if algorithm_of_pem(public_pem) != "ed25519":
        raise ValueError("only an Ed25519 key has a spelling as a verifier key")
    raw = base64.b64encode(b"\x01" + der_of_pem(public_pem)[-32:]).decode("ascii")
    return f"{_name(origin)}+{_hint(origin, public_pem).hex()}+{raw}"


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> str:
    """Return the checkpoint as a signed note."""
    signature = signer.sign(checkpoint.text.encode())
    value = base64.b64encode(_hint(checkpoint.origin, signer.public_pem) + signature).decode("ascii")
    return f"{checkpoint.text}\n— {_name(checkpoint.origin)} {value}\n"


def parse_checkpoint(note: str) -> tuple[Checkpoint, tuple[tuple[str, bytes], ...]]:
    """Read a note without believing it: the checkpoint and its (name, hint + signature) rows.

    Raises VerificationFailed(log.checkpoint) when it is not one. Any origin that C2SP allows is read, and any
    number of signatures: whose they are is for others to say.
    """
    text, _, tail = note.partition("\n\n")
    lines = text.split("\n")
    if len(note) > MAX_NOTE or len(lines) < 3 or not tail.endswith("\n"):
        raise _malformed("it is not a text, a blank line and signatures")
    if _CONTROL.search(note) or not 0 < len(lines[0].encode()) <= MAX_ORIGIN:
        raise _malformed("it holds control characters, or its origin is empty or too long")
    if not _SIZE.fullmatch(lines[1]):
        raise _malformed("its second line is not a size")
    root = _base64(lines[2])
    if len(root) != HASH_SIZE:
        raise _malformed("its root is not 32 bytes")
    rows = []
    for line in tail.removesuffix("\n").split("\n"):
        match = _SIGNATURE.fullmatch(line)
        if match is None:
            raise _malformed("a signature line is not '— name base64'")
        rows.append((match["name"], _base64(match["value"])))
    return Checkpoint(lines[0], int(lines[1]), root, tuple(lines[3:])), tuple(rows)


def verify_checkpoint(note: str, *, origin: str, public_pem: str, name: str = "") -> Checkpoint:
    """Return what the log with this origin and key signed; raises VerificationFailed(log.checkpoint).

    Signatures of others (witnesses) are passed over; exactly one must be the log's and it must verify.
    `name` is the signer's, for logs that do not sign under the name that their origin says.
    """
    checkpoint, rows = parse_checkpoint(note)
    if checkpoint.origin != origin:
        raise VerificationFailed(
            "the checkpoint is of another log",
            cause=f"expected {origin!r}, found {checkpoint.origin!r}",
            remedy="fetch the checkpoint of the log that the authority names",
            check=CHECK,
        )
    name = name or _name(origin)
    hint = _hint(origin if name == _name(origin) else name, public_pem)
    own = [value[4:] for signer, value in rows if signer == name and value[:4] == hint]
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
    return origin.partition(" - ")[0] if form_of(origin) == "v1" else origin


def _hint(origin: str, public_pem: str) -> bytes:
    return bytes.fromhex(log_id_of(origin, public_pem).hex)[:4]


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
