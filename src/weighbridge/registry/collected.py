"""What a collection of garbage found and did, whatever kind of store it was in."""

from __future__ import annotations

from dataclasses import dataclass, field

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest


@dataclass
class Collected:
    """What a collection did, or (dry) would do."""

    dry: bool = False
    removed: list[Digest] = field(default_factory=list)
    freed: int = 0
    """Bytes; files that are laid out from the same bytes keep the disk's blocks in use."""
    brought_back: int = 0
    young: int = 0
    """Referred to by nothing, but put or held within the grace."""
    referenced: int = 0
    going: int = 0
    """Asked to be removed before, and that may still happen."""
    halves: int = 0
    """Files of which only a part arrived, and that nobody went on with."""
    left: dict[Digest, str] = field(default_factory=dict)
    """Asked to be removed and perhaps not, with the reason; the next collection looks again."""

    def to_json(self) -> dict[str, JSON]:
        """Return it as `gc` prints it."""
        return {
            "dry_run": self.dry,
            "removed": [str(digest) for digest in self.removed],
            "bytes": self.freed,
            "brought_back": self.brought_back,
            "young": self.young,
            "referenced": self.referenced,
            "going": self.going,
            "halves": self.halves,
            "left": {str(digest): reason for digest, reason in self.left.items()},
        }
