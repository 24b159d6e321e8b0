"""How the `log` verbs are told of other people's logs: a place, and a key as PEM or as a verifier key."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from weighbridge.core.errors import UsageError, VerificationFailed

if TYPE_CHECKING:
    from weighbridge.ledger.following import LogReader

_ED25519 = bytes.fromhex("302a300506032b6570032100")


@dataclass(frozen=True, slots=True)
class NamedKey:
    """A log's key, and the name it signs under where the spelling tells it."""

    pem: str
    name: str = ""


def read_log_key(text: str) -> NamedKey:
    """Read a key: the path of a PEM file, or `NAME+ID+BASE64` (C2SP signed-note). Raises UsageError(log.key)."""
    from weighbridge.keys.public import key_id_of_pem, pem_of_der
    from weighbridge.ledger.checkpoint import verifier_key

    try:
        path = Path(text)
        if path.is_file():
            pem = path.read_text(encoding="ascii")
            key_id_of_pem(pem)
            return NamedKey(pem)
        name, said, value = text.split("+", 2)
        raw = base64.b64decode(value, validate=True)
        if raw[:1] != b"\x01" or len(raw) != 33:
            raise ValueError("only Ed25519 keys have a settled spelling; give others as PEM")
        pem = pem_of_der(_ED25519 + raw[1:])
        if f"+{said}+" not in verifier_key(name, pem):
            raise ValueError("its id is not that of its name and key")
    except (OSError, ValueError, binascii.Error, VerificationFailed) as error:
        raise UsageError(
            f"{text!r} is not the key of a log",
            cause=error.problem if isinstance(error, VerificationFailed) else str(error),
            remedy="give a file with its public key in PEM, or its verifier key: NAME+ID+BASE64",
            check="log.key",
        ) from error
    return NamedKey(pem, name)


def foreign_log(place: str, key: str, origin: str, *, offline: bool) -> tuple[LogReader, str]:
    """Return a reader of somebody's log and its key; without `origin` that of the verifier key, else the log's own."""
    from weighbridge.ledger.checkpoint import parse_checkpoint
    from weighbridge.ledger.following import LogReader, source_of

    named, source = read_log_key(key), source_of(place, offline=offline)
    if not origin and not named.name:
        data = source.read("checkpoint") or b""
        origin = parse_checkpoint(data.decode(errors="replace"))[0].origin
    return LogReader(source, origin=origin or named.name, public_pem=named.pem, name=named.name), named.pem
