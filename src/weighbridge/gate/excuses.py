"""Which exceptions there are for a model: kept waivers and break-glass, each verified now, with everybody who stands behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from weighbridge.claims.predicates import kind_of
from weighbridge.claims.records import Record, read_event
from weighbridge.core.clock import parse_rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, VerificationFailed
from weighbridge.core.evidence import Proven, Waiver
from weighbridge.core.exceptions import BreakGlass
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Role
from weighbridge.registry import approvals
from weighbridge.registry.wiring import Registry
from weighbridge.trust.bundle import Bundle

KINDS = ("waiver", "break-glass")
Verify = Callable[[Registry, Bundle, Role], Proven]


@dataclass
class Excuses:
    """Notes the exceptions met among kept bundles that are bound to one model in the registry's project."""

    registry: Registry
    manifest: Digest
    verify: Verify
    waivers: list[Waiver] = field(default_factory=list)
    break_glass: list[BreakGlass] = field(default_factory=list)

    def note(self, bundle: Bundle, statement: Statement) -> None:
        """Note an exception if the bundle is one, its signer may make it, and it is bound to this model and project.

        One that waits for somebody's approval is none yet.
        """
        if kind_of(statement) not in KINDS:
            return
        try:
            record = read_event(statement)
            proven = self.verify(self.registry, bundle, Role.WAIVE)
        except VerificationFailed:
            return
        if record is None or self.manifest not in record.about or record.project != self.registry.project:
            return
        if record.kind == "waiver":
            self._waiver(bundle, record, proven)
        else:
            self._glass(bundle, record)

    def _waiver(self, bundle: Bundle, record: Record, proven: Proven) -> None:
        with self.registry.records.read() as connection:
            if not approvals.stands(connection, self.registry.authority, record, bundle):
                return
        body = record.body
        self.waivers.append(
            Waiver(
                rule=str(body["rule"]),
                fingerprint=str(body["fingerprint"]),
                manifest=self.manifest,
                reason=str(body["reason"]),
                signer=proven.signer,
                expires=parse_rfc3339(str(body["expires"])),
                bundle=bundle.digest,
            )
        )

    def _glass(self, bundle: Bundle, record: Record) -> None:
        """Note break-glass that took effect; whoever no longer counts by now is left out, and may be missed."""
        try:
            proposal = approvals.find(self.registry, str(bundle.digest))
        except NotFound:
            return
        if proposal.state != approvals.DONE:
            return
        self.break_glass.append(
            BreakGlass(
                manifest=self.manifest,
                project=record.project,
                reason=str(record.body["reason"]),
                signers=proposal.identities,
                since=proposal.logged_at,
                expires=parse_rfc3339(str(record.body["expires"])),
                bundle=bundle.digest,
                needed=self.registry.authority.needed("break-glass", record.project),
            )
        )
