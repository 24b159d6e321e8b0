"""How much proof a signature must bring: thresholds that the authority sets, and that no bundle can lower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from weighbridge.core.canonical import JSON, MAX_SAFE_INTEGER

MAX_COUNT = 32
"""No bundle carries more rows of one kind, so more could never be met."""

_MEMBERS = ("logs", "timestamps", "scts", "times", "witnesses", "checkpoint_age")


@dataclass(frozen=True, slots=True)
class Demand:
    """The evidence each bundle of a signer must bring. Building one checks it; raises ValueError."""

    logs: int = 1
    """Distinct transparency logs that must prove the entry."""
    timestamps: int = 0
    """Distinct timestamp authorities (RFC 3161) that must have seen the signature."""
    scts: int = 1
    """Distinct certificate logs (RFC 6962) that must have promised to show the certificate; nothing for keys."""
    times: int = 0
    """Independent proven moments: a log's signed entry timestamp or an RFC 3161 timestamp. For a certificate
    one is needed whatever stands here, unless logs, timestamps and times are all zero: then it must be valid now."""
    witnesses: int = 0
    """Distinct witnesses that must have cosigned the checkpoint of each log counted."""
    checkpoint_age: int | None = None
    """Seconds: how old the checkpoint may be that the entry was proven in; None for any age."""

    def __post_init__(self) -> None:
        for name in ("logs", "timestamps", "scts", "times", "witnesses"):
            if type(getattr(self, name)) is not int or not 0 <= getattr(self, name) <= MAX_COUNT:
                raise ValueError(f"{name} of a demand is not a number from 0 to {MAX_COUNT}")
        age = self.checkpoint_age
        if age is not None and (type(age) is not int or not 0 <= age <= MAX_SAFE_INTEGER):
            raise ValueError("checkpoint_age of a demand is not a number of seconds")
        if not self.logs and (self.witnesses or age is not None):
            raise ValueError("witnesses and checkpoint_age are about a log, and logs is 0")

    @property
    def bare(self) -> bool:
        """Tell whether no moment need be proven: what signed must then be in force now."""
        return not (self.logs or self.timestamps or self.times)

    def to_json(self) -> dict[str, JSON]:
        """Return the demand as JSON, every member written."""
        return {name: getattr(self, name) for name in _MEMBERS}

    @classmethod
    def from_json(cls, value: Any) -> Demand:
        """Read a demand, every member known; raises ValueError.

        `log: true` or `false`, which the first form of the document had instead of `logs` (with timestamps and
        witnesses, no other), is still read.
        """
        if not isinstance(value, dict):
            raise ValueError("a demand is not an object")  # noqa: TRY004 (one error type for callers)
        members = dict(value)
        if "log" in members:
            log = members.pop("log")
            if type(log) is not bool or "logs" in members:
                raise ValueError("log of a demand is true or false, and stands instead of logs")
            members["logs"] = int(log)
        if strangers := sorted(set(members) - set(_MEMBERS)):
            raise ValueError(f"a demand has an unknown member {strangers[0]!r}")
        return cls(**members)
