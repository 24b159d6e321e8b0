"""From one log to the next: the statement that freezes a log, and the entry with which its successor begins.

A log's key and origin never change. To change either, the log is frozen (nothing is appended any more, and its
last checkpoint says so under its key) and another log follows it. Both name each other: the frozen
checkpoint the successor's origin and log id, the successor's first entries the frozen log's head. What the old
log proved stays proven, because verifiers keep its key with the time in which it was used.

The statement is an extension line in the words of Rekor's `freeze-checkpoint`: `Log frozen — ` and a date as
`date -u` prints it. A second line, `Log continues — <origin> <log id>`, is ours.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from weighbridge.core.canonical import canonical, parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, UsageError
from weighbridge.ledger.checkpoint import (
    CONTINUES,
    FROZEN,
    Checkpoint,
    is_origin,
    log_id_of,
    verify_checkpoint,
)
from weighbridge.ledger.merkle import HASH_SIZE

KIND = "weighbridge.log-follows/1"

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Successor:
    """The log that follows a frozen one."""

    origin: str
    log_id: Digest


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The frozen log that a log follows: where it ended."""

    origin: str
    log_id: Digest
    size: int
    root: bytes


def frozen(head: Checkpoint, now: datetime, successor: Successor | None) -> Checkpoint:
    """Return the last checkpoint of a log, which says that it is the last; raises UsageError(log.origin)."""
    if successor is not None and (not is_origin(successor.origin) or successor.origin == head.origin):
        raise UsageError(
            f"{successor.origin!r} cannot follow {head.origin!r}",
            cause="a successor has an origin of its own, of the form that logs have",
            remedy="give it another tree id or another host name",
            check="log.origin",
        )
    at = now.astimezone(UTC)
    date = f"{_DAYS[at.weekday()]} {_MONTHS[at.month - 1]} {at.day:2d} {at:%H:%M:%S} UTC {at.year:04d}"  # never by locale
    lines = [f"{FROZEN}{date}"]
    if successor is not None:
        lines.append(f"{CONTINUES}{successor.origin} {successor.log_id.hex}")
    return replace(head, extensions=tuple(lines))


def frozen_at(head: Checkpoint) -> datetime:
    """Return when a log was frozen, as its last checkpoint says; raises UsageError for one that is not, or says it oddly."""
    try:
        _, month, day, clock, zone, year = head.frozen.split()
        hour, minute, second = (int(part) for part in clock.split(":"))
        if zone != "UTC":
            raise ValueError(zone)
        return datetime(int(year), _MONTHS.index(month) + 1, int(day), hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise UsageError(
            f"the log {head.origin} does not say when it was frozen",
            cause=f"it says {head.frozen!r}",
            remedy="freeze it first: nothing may be appended to it any more",
        ) from None


def successor_of(head: Checkpoint) -> Successor | None:
    """Return the successor that a frozen checkpoint names, or None; raises BadReference when the line is damaged."""
    if not head.continues:
        return None
    origin, _, log_id = head.continues.rpartition(" ")
    return Successor(origin, Digest("sha256", log_id))


def follows(note: str, *, origin: str, public_pem: str) -> bytes:
    """Return a genesis entry for the log that follows the one frozen by `note`.

    Raises VerificationFailed(log.checkpoint) when that log did not sign it, UsageError when it is not frozen.
    """
    head = verify_checkpoint(note, origin=origin, public_pem=public_pem)
    if not head.frozen:
        raise UsageError(
            f"the log {origin} is not frozen",
            remedy="freeze it first: nothing may be appended to it any more",
        )
    return canonical(
        {
            "kind": KIND,
            "logID": log_id_of(origin, public_pem).hex,
            "origin": origin,
            "root": base64.b64encode(head.root).decode("ascii"),
            "size": head.size,
        }
    )


def read_follows(body: bytes) -> Predecessor | None:
    """Read such an entry; None for an entry of any other kind or form."""
    try:
        value: Any = parse(body)
        if not isinstance(value, dict) or value.get("kind") != KIND or canonical(value) != body:
            return None
        root = base64.b64decode(value["root"], validate=True)
        size, origin = value["size"], value["origin"]
        if len(root) != HASH_SIZE or type(size) is not int or not isinstance(origin, str) or len(value) != 5:
            return None
        return Predecessor(origin, Digest("sha256", value["logID"]), size, root)
    except (ValueError, KeyError, TypeError, BadReference, binascii.Error):
        return None
