"""Exceptions: what somebody signed for so that a policy's no does not stand; never for the floor."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.identity import Identity

POLICY = "policy."
"""What the checks of a policy begin with; a waiver for one of them names it so, in place of a finding."""
MAX_HOURS = 72
"""How long break-glass may last, from when it was logged."""
LEAST_SIGNERS = 2
"""How many identities break-glass needs, whatever an authority says."""


class Excuse(StrEnum):
    """What an exception is."""

    WAIVER = "waiver"
    BREAK_GLASS = "break-glass"


class ExceptionState(StrEnum):
    """What came of an exception in one decision."""

    USED = "used"
    STANDING = "standing"
    EXPIRED = "expired"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Exception_:  # noqa: N801 (an exception from a rule, not one that is raised)
    """One exception as it was weighed: what it excuses, who signed it, until when, and what came of it.

    `rule` is `policy.<rule>` for a denial of the policy, `policy.*` for all that a policy says (break-glass), or the
    rule of a finding, for which floor and policy weigh a waiver themselves. `problem` says why one counts for nothing
    although it has not ended.
    """

    kind: Excuse
    rule: str
    reason: str
    signers: tuple[str, ...]
    expires: datetime
    bundle: Digest
    fingerprint: str = ""
    state: ExceptionState = ExceptionState.STANDING
    problem: str = ""

    @property
    def who(self) -> str:
        """Who signed it, for people."""
        return " and ".join(self.signers)

    def stands(self, now: datetime) -> bool:
        """Tell whether it counts at `now`: nothing speaks against it, and it has not ended."""
        return not self.problem and now < self.expires

    def __str__(self) -> str:
        """Return it as a line for people."""
        what = f"{self.kind.value} for {self.rule}" if self.kind is Excuse.WAIVER else self.kind.value
        said = {
            ExceptionState.USED: f"until {rfc3339(self.expires)}",
            ExceptionState.STANDING: f"until {rfc3339(self.expires)}, not needed",
            ExceptionState.EXPIRED: f"ended {rfc3339(self.expires)}",
            ExceptionState.REFUSED: f"does not count: {self.problem}",
        }[self.state]
        return f"{what} by {self.who}, {said}: {self.reason}"

    def to_json(self) -> dict[str, JSON]:
        """Return it as it stands in `weighbridge.decision/1`."""
        return {
            "kind": self.kind.value,
            "rule": self.rule,
            "fingerprint": self.fingerprint,
            "reason": self.reason,
            "signers": list(self.signers),
            "expires": rfc3339(self.expires),
            "bundle": str(self.bundle),
            "state": self.state.value,
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class BreakGlass:
    """Verified break-glass: these identities let the policy be passed over for one model, in one project, until then.

    `signers` are the one who asked and all who approved, each verified now; `since` is when the log took it in.
    """

    manifest: Digest
    project: str
    reason: str
    signers: tuple[Identity, ...]
    since: datetime
    expires: datetime
    bundle: Digest
    needed: int = LEAST_SIGNERS
    """How many identities the authority asks for."""

    @property
    def problem(self) -> str:
        """Say why it counts for nothing, whatever the time: too few people, or for too long; else empty."""
        named = [signer for signer in self.signers if signer.name]
        needed = max(self.needed, LEAST_SIGNERS)
        if min(len({signer.name for signer in named}), len({signer.key for signer in named})) < needed:
            return f"it needs {needed} identities"
        if self.expires - self.since > timedelta(hours=MAX_HOURS):
            return f"it reaches further than {MAX_HOURS} hours"
        return ""

    def to_json(self) -> dict[str, JSON]:
        """Return the fact as JSON."""
        return {
            "manifest": str(self.manifest),
            "project": self.project,
            "reason": self.reason,
            "signers": [signer.to_json() for signer in self.signers],
            "since": rfc3339(self.since),
            "expires": rfc3339(self.expires),
            "bundle": str(self.bundle),
            "needed": self.needed,
        }
