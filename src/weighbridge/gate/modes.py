"""Modes: what happens with a truthful answer, per project and namespace; never what is true.

`enforce` acts on every answer. `warn` acts on what is allowed and only warns of what is not; `observe` and `off` act on
nothing. A mode is set by a signed, logged event; enforcing less can be bound to a second identity, enforcing more never waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from weighbridge.claims.records import event
from weighbridge.claims.settings import is_namespace
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import UsageError
from weighbridge.core.tier import Mode, Role
from weighbridge.keys.ports import Signer
from weighbridge.registry import approvals, authorities, changes, tally
from weighbridge.registry.approvals import Proposal
from weighbridge.registry.outbox import sign, submit
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.trust.authority import EVERY_PROJECT


@dataclass(frozen=True, slots=True)
class Setting:
    """A mode as it is set: for which project (or `*`), which namespace (or a whole project), since when, by whom."""

    project: str
    namespace: str
    mode: Mode
    since: str
    actor: str

    def to_json(self) -> dict[str, JSON]:
        """Return the setting as JSON."""
        return {
            "project": self.project,
            "namespace": self.namespace,
            "mode": self.mode.value,
            "since": self.since,
            "set_by": self.actor,
        }


@dataclass(frozen=True, slots=True)
class ModeChange:
    """What a change of mode came to: the mode in force before and now, and the proposal that waits, if it does."""

    before: Mode
    now: Mode
    bundle: Digest
    waiting: Proposal | None


def mode_of(registry: Registry, namespace: str = "") -> Mode:
    """Return the mode in force in a namespace of the current project: its own, else the project's, else that of `*`, else enforce."""
    with registry.records.read() as connection:
        return changes.mode_in(connection, registry.project, namespace)


def namespace_of(target: str | None, namespace: str | None) -> str:
    """Return in which namespace something is to run: the part of the target before the first `/`, unless it is named.

    Raises UsageError where a namespace is named that is not the target's: a laxer one must not be borrowed.
    """
    own = target.partition("/")[0] if target and "/" in target else ""
    if namespace is None:
        return own
    if target and namespace != own:
        raise UsageError(
            f"{target!r} does not lie in the namespace {namespace!r}",
            cause=f"its namespace is {own!r}, the part before the first /",
            remedy="leave --namespace out, or name the target's own",
        )
    return namespace


def modes(registry: Registry) -> list[Setting]:
    """Return every mode that is set, `*` first, a project before its namespaces; held against the tally."""
    tally.check(registry)
    table = schema.setting
    query = sa.select(table).where(sa.or_(table.c.key == "mode", table.c.key.startswith("mode/")))
    with registry.records.read() as connection:
        rows = connection.execute(query.order_by(table.c.project, table.c.key)).mappings().all()
    return [
        Setting(
            row["project"],
            row["key"].partition("/")[2],
            changes.read_mode(row["value"]) or Mode.ENFORCE,
            row["created_at"],
            row["actor"],
        )
        for row in rows
    ]


def set_mode(
    registry: Registry,
    mode: Mode,
    *,
    namespace: str = "",
    project: str = EVERY_PROJECT,
    reason: str,
    signer: Signer,
) -> ModeChange:
    """Sign and log another mode; raises UsageError without a reason or for an odd namespace, Refused for strangers."""
    if not reason.strip():
        raise UsageError("a change of mode needs a reason", remedy='say why with --reason "…"')
    if namespace and not is_namespace(namespace):
        raise UsageError(
            f"{namespace!r} is no namespace",
            cause="it has at most 63 letters, digits, '.', '_' and '-', and begins and ends with a letter or digit",
            remedy="name it as the part of a target before the first /: prod for prod/chat",
        )
    authorities.require(registry, signer, Role.POLICY, project=project)
    with registry.writing():
        with registry.records.read() as connection:
            before = changes.mode_in(connection, project, namespace)
            previous, since = changes.current(connection, project, changes.mode_key(namespace))
        body: dict[str, JSON] = {
            "namespace": namespace,
            "mode": mode.value,
            "previous": previous,
            "reason": reason.strip(),
        }
        at = changes.after(registry.clock.now(), since)
        statement = event("mode", (), body, project=project, actor=registry.actor, at=at)
        bundle = submit(registry, sign(statement, signer))[-1].digest
        with registry.records.read() as connection:
            now = changes.mode_in(connection, project, namespace)
    waiting = _waiting(approvals.every(registry), bundle)
    if waiting is None and now is not mode:
        raise approvals.without_effect("mode")
    return ModeChange(before, now, bundle, waiting)


def _waiting(rows: Sequence[Proposal], bundle: Digest) -> Proposal | None:
    return next((row for row in rows if row.bundle == bundle and row.state == approvals.WAITING), None)


def describe(setting: Setting) -> str:
    """Say in words where a mode applies."""
    where = (
        "every project without its own"
        if setting.project == EVERY_PROJECT
        else f"project {setting.project!r}"
    )
    return f"namespace {setting.namespace!r} of {where}" if setting.namespace else where
