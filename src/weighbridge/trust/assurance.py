"""How much a log's word is worth, and how old it is: one operator's, witnessed, or a log that everybody can read.

| assurance | true of a checkpoint when |
|---|---|
| single-operator | its log signed it: whoever has the log's key could show others another log |
| witnessed | a witness known here cosigned it, too: all who ask for that witness see one history |
| public | the log is one that the public reads: its monitors see what they would not be shown otherwise |

Pure, as all of the verifier: keys come from the roots, the time is passed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from weighbridge.core.errors import VerificationFailed
from weighbridge.core.tier import Assurance
from weighbridge.ledger.checkpoint import verify_checkpoint
from weighbridge.ledger.cosignature import verify_cosignatures
from weighbridge.trust.roots import LogKey, Witness

PUBLIC_LOGS = ("sigstore.dev",)
"""Domains of the logs that everybody can read; which key is theirs, the roots say."""


def is_public(log: LogKey) -> bool:
    """Tell whether a log that the roots name is one that everybody can read."""
    host = log.origin.partition(" - ")[0] or urlsplit(log.base_url).hostname or ""
    return any(host == name or host.endswith(f".{name}") for name in PUBLIC_LOGS)


def assurance_of(log: LogKey, note: str, witnesses: Iterable[Witness]) -> Assurance:
    """Return what is true of a checkpoint of this log; raises VerificationFailed(log.checkpoint) when it is none."""
    verify_checkpoint(note, origin=log.origin, public_pem=log.pem)
    if is_public(log):
        return Assurance.PUBLIC
    return Assurance.WITNESSED if seen_by(note, witnesses) else Assurance.SINGLE_OPERATOR


def seen_by(note: str, witnesses: Iterable[Witness]) -> tuple[tuple[str, datetime], ...]:
    """Return who cosigned a checkpoint and when: witnesses in force, no key twice, the newest first.

    A cosignature that names a witness and does not verify counts for nothing here: other witnesses' still do.
    """
    found: dict[bytes, tuple[str, datetime]] = {}
    for witness in witnesses:
        try:
            rows = verify_cosignatures(note, [witness])
        except VerificationFailed:
            continue
        for name, moment in rows:
            if witness.window.holds(moment):
                found.setdefault(witness.key, (name, moment))
    return tuple(sorted(found.values(), key=lambda row: row[1], reverse=True))


@dataclass(frozen=True, slots=True)
class Freshness:
    """The newest checkpoint that enough witnesses saw: its size, and when the last of them did."""

    size: int
    seen: datetime

    def age(self, now: datetime) -> timedelta:
        """Return how long ago that was."""
        return now - self.seen


def freshness(log: LogKey, note: str, witnesses: Sequence[Witness], quorum: int) -> Freshness | None:
    """Return how fresh a cosigned checkpoint (`Log.cosigned_text`) is; None when fewer than `quorum` witnesses saw it.

    With a quorum of n the moment is that of the nth newest cosignature, so that no fewer than n witnesses, each with
    its own clock, say that the log stood so then or later. A quorum of 0 is none: a log's checkpoint has no time.
    Raises VerificationFailed(log.checkpoint) when the note is not this log's.
    """
    if not note:
        return None
    head = verify_checkpoint(note, origin=log.origin, public_pem=log.pem)
    times = [moment for _, moment in seen_by(note, witnesses)]
    return Freshness(head.size, times[quorum - 1]) if 0 < quorum <= len(times) else None
