"""Limits that every reader keeps, and the counters that are spent against them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from weighbridge.core.errors import OutOfBudget

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a scan may spend on one model's file; each spent limit means "could not tell", never "clean"."""

    max_memory: int = 2048 * MIB
    """Bytes of one file or archive member that may be held in memory at once."""
    max_unpacked: int = 64 * 1024 * MIB
    """Bytes that all compressed members of one file may unpack to."""
    max_ratio: int = 1100
    """Unpacked bytes for one packed byte; deflate cannot honestly exceed 1032."""
    max_members: int = 200_000
    """Members of one archive."""
    max_depth: int = 4
    """Archives inside archives."""
    max_opcodes: int = 60_000_000
    """Opcodes in one pickle stream."""
    max_events: int = 200_000
    """Distinct globals, calls and persistent ids in one pickle stream."""
    max_expansion: int = 1_000_000_000
    """Values a pickle would come to if each shared container were written out in full."""
    max_streams: int = 10_000
    """Pickle streams that follow each other in one file."""
    max_findings: int = 200
    """Findings reported for one file; one more says how many were left out."""
    max_text: int = 512 * MIB
    """Bytes of one text file."""

    def within(self, size: int) -> Limits:
        """Return the limits for what is unpacked from an archive of `size` bytes: a small one may not ask for much.

        Honest packing wins a factor of ten; the floors leave room for small files of zeros.
        """
        return replace(
            self,
            max_memory=min(self.max_memory, max(16 * MIB, 64 * size)),
            max_text=min(self.max_text, max(8 * MIB, 16 * size)),
            max_unpacked=min(self.max_unpacked, max(512 * MIB, 64 * size)),
        )


DEFAULT_LIMITS = Limits()


class Budget:
    """Counts what one file has cost so far; each `spend_…` raises OutOfBudget once its limit is passed."""

    __slots__ = ("limits", "members", "unpacked")

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self.unpacked = 0
        self.members = 0

    def spend_unpacked(self, count: int) -> None:
        """Count `count` unpacked bytes."""
        self.unpacked += count
        if self.unpacked > self.limits.max_unpacked:
            raise _spent("unpacked bytes", self.limits.max_unpacked, "unpacked")

    def spend_members(self, count: int) -> None:
        """Count `count` archive members."""
        self.members += count
        if self.members > self.limits.max_members:
            raise _spent("archive members", self.limits.max_members, "members")

    def check_memory(self, count: int) -> None:
        """Refuse to hold `count` bytes at once when that is more than allowed."""
        if count > self.limits.max_memory:
            raise _spent("bytes held at once", self.limits.max_memory, "memory")

    def check_depth(self, depth: int) -> None:
        """Refuse to open an archive `depth` levels deep when that is more than allowed."""
        if depth > self.limits.max_depth:
            raise _spent("archives inside archives", self.limits.max_depth, "depth")


def _spent(what: str, limit: int, check: str) -> OutOfBudget:
    return OutOfBudget(
        f"more than {limit} {what}",
        cause="the file asks for more work than a scan may spend on it",
        remedy="split the file, or scan it with larger limits where you trust its size",
        check=f"budget.{check}",
    )
