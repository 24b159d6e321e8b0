"""What happens when an exception takes effect, or is made use of: somebody is told. What it is worth, the gate finds out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from weighbridge.claims.records import Record
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.decision import Decision
from weighbridge.core.digest import Digest
from weighbridge.core.exceptions import ExceptionState, Excuse
from weighbridge.registry.alerts import alert

if TYPE_CHECKING:
    from weighbridge.registry.effects import Cause
    from weighbridge.registry.wiring import Registry


def waived(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Tell that a waiver was made."""
    model = record.about[0]
    alert(
        connection, cause.registry, "waiver", "warning",
        f"{record.body['rule']} of {model.short} is waived in {record.project!r}",
        about=[model], facts=_facts(record, cause),
    )  # fmt: skip


def broken(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Tell that the policy is passed over for a model, as soon as enough people stand behind it."""
    model = record.about[0]
    alert(
        connection, cause.registry, "break-glass", "critical",
        f"break-glass: the policy is passed over for {model.short} in {record.project!r}",
        about=[model], facts=_facts(record, cause),
    )  # fmt: skip


def used(
    connection: sa.Connection,
    registry: Registry,
    model: Digest,
    identity: Digest,
    decision: Decision,
) -> None:
    """Tell of each exception that an allow rests on; inside the transaction that records the decision."""
    for row in decision.exceptions if decision.allow else ():
        if row.state is not ExceptionState.USED:
            continue
        glass = row.kind is Excuse.BREAK_GLASS
        what = "the policy was passed over (break-glass)" if glass else f"{row.rule} was waived"
        alert(
            connection,
            registry,
            row.kind.value,
            "critical" if glass else "info",
            f"{what} when {decision.action} was asked for {model.short} in {decision.project!r}",
            about=[model],
            facts={**row.to_json(), "decision": str(identity), "action": decision.action},
        )


def _facts(record: Record, cause: Cause) -> dict[str, JSON]:
    return {
        **record.body,
        "asked_by": record.actor,
        "at": rfc3339(record.at),
        "bundle": str(cause.bundle.digest),
    }
