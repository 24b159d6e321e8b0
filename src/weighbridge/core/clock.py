"""Clock and entropy as things that are passed in, and the one way times are written (RFC 3339, UTC)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time; the system's is made in `registry.wiring`, tests pass their own."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC, whole seconds."""
        ...


class Entropy(Protocol):
    """Gives unpredictable bytes; never used for keys (those come from the crypto library)."""

    def token(self, size: int) -> bytes:
        """Return `size` unpredictable bytes."""
        ...


def rfc3339(moment: datetime) -> str:
    """Write a time as `2026-11-22T20:10:00Z`; naive times are a programming error."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone cannot be written")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_rfc3339(text: str) -> datetime:
    """Read a time written by `rfc3339` (or any RFC 3339 time with a zone); raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:  # the year 1 or 9999, pushed over the edge by its offset
        raise ValueError(f"{text!r} is beyond the calendar") from error
