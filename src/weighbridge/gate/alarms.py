"""Alarms: when deciding itself fails, somebody is told; by a row where the registry takes one, else through the spool.

A gate that blocks because it cannot tell looks from outside like a gate that works. So an engine without an answer, a log
that cannot be written, an authority that has expired or cannot be believed, records that somebody changed and a witness
that contradicts the log are alerts of their own (`outage`, `tampering`, `log-alarm`), whatever the mode.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from weighbridge.config import Config
from weighbridge.core.alert import Alert
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import Clock, rfc3339
from weighbridge.core.decision import Check, Decision, Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.errors import CannotTell, RegistryUnusable, VerificationFailed, WeighbridgeError
from weighbridge.gate.alerting import SECONDS, Delivery, direct, said, settled
from weighbridge.gate.telling.receivers import Occasion
from weighbridge.registry import alert_spool
from weighbridge.registry.alerts import alert, made
from weighbridge.registry.layout import Layout
from weighbridge.registry.wiring import Registry, read_card

PARTS = {
    "authority.current": "the authority has expired or cannot be believed",
    "evidence.gathered": "the evidence about a model could not be gathered",
    "evidence.established": "a record or service that evidence needs could not be read",
    "policy.engine": "the policy engine gave no usable answer",
    "floor.complete": "a condition of the floor was not checked",
}
"""Checks that are about the gate and not about the model; a decision that fails them is an outage."""
TAMPERING = ("records.", "decisions.", "blob.")
AT_OPENING = ("authority.rollback", "authority.registry", "authority.signature", "authority.form")
"""As `TAMPERING`, where the registry's own authority is read; later it may be a file that somebody was given."""
DISKS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM})
SHOWN = 5


def decided(
    connection: sa.Connection, registry: Registry, decision: Decision, manifest: Digest, identity: str
) -> None:
    """Tell what a decision is worth telling, inside the transaction that records it.

    That is a part of the gate that did not answer, and a model that was refused when it was to run.
    """
    refusals = decision.refusals
    broken = [check for check in refusals if check.id in PARTS and _untold(check)]
    if any(check.id == "evidence.gathered" for check in broken):  # then nobody was asked anything further
        broken = [check for check in broken if check.id not in ("policy.engine", "floor.complete")]
    for check in broken:
        facts: dict[str, JSON] = {
            "check": check.id,
            "found": check.found,
            "remedy": check.remedy,
            "action": decision.action,
            "model": str(manifest),
            "decision": identity,
        }
        alert(connection, registry, "outage", "critical", PARTS[check.id], facts=facts)
    if decision.action == "admit" and decision.enforced and not decision.allow:
        shown = [f"{check.id}: {check.found}" for check in refusals[:SHOWN]]
        names = ", ".join(check.id for check in refusals[:SHOWN])
        more = f" and {len(refusals) - SHOWN} more" if len(refusals) > SHOWN else ""
        alert(
            connection,
            registry,
            "decision-blocked",
            "warning",
            f"a model was refused when it was to run: {names}{more}",
            about=[manifest],
            facts={"decision": identity, "mode": decision.mode.value, "against": shown},
        )


def _untold(check: Check) -> bool:
    """Tell whether the gate itself failed: it could not tell, or its authority has ended."""
    return check.outcome is Outcome.CANNOT_TELL or check.id == "authority.current"


@dataclass(frozen=True, slots=True)
class Alarm:
    """What an error is worth to somebody who does not see it."""

    kind: str
    severity: str
    summary: str
    facts: Mapping[str, JSON]


def alarm_of(error: BaseException, config: Config, *, opening: bool = True) -> Alarm | None:
    """Return the alarm that an error is (while `opening` the registry), or None for one that only its caller has to know of.

    A refusal is no alarm, and neither is what was typed, a lock that another holds, or a registry that is not there.
    """
    facts: dict[str, JSON] = {"cause": said(error)}
    if isinstance(error, OSError):
        inside = _inside(error, config)
        return Alarm("outage", "critical", "the registry's disk refuses", facts) if inside else None
    if not isinstance(error, WeighbridgeError):
        return None
    facts["check"] = error.check
    if isinstance(error, VerificationFailed):
        if error.check.startswith((*TAMPERING, *(AT_OPENING if opening else ()))):
            return Alarm("tampering", "critical", error.problem, facts)
        if error.check.startswith("log."):
            return Alarm("log-alarm", "critical", error.problem, facts)
        if error.check == "authority.expired":
            return Alarm("outage", "critical", error.problem, facts)
    missing = isinstance(error, RegistryUnusable) and (
        error.check == "registry.pinned" or not Layout(root_of(config)).card.exists()
    )
    if isinstance(error, RegistryUnusable) and not missing:
        return Alarm("outage", "critical", error.problem, facts)
    if isinstance(error, CannotTell) and error.check in (
        "decision.logged",
        "log.disk",
        "log.damaged",
        "log.missing",
        "log.clock",
        "authority.expired",
    ):
        return Alarm("outage", "critical", error.problem, facts)
    return None


def root_of(config: Config) -> Path:
    """Return the folder of the configured registry."""
    return Path(config["registry"]).expanduser().absolute()


def _inside(error: OSError, config: Config) -> bool:
    """Tell whether it is the disk of the registry (or no particular place) that refuses."""
    if error.errno not in DISKS:
        return False
    where = str(error.filename or "")
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) or where.startswith(f"{root_of(config)}/")


def noted(
    error: BaseException, config: Config, clock: Clock, registry: Registry | None = None
) -> list[Delivery]:
    """Tell of an error that a command ends with, if it is an alarm. Never raises: the error itself is what counts.

    The registry takes a row where it can; where it cannot, the spool does, and receivers are told at once.
    """
    try:
        alarm = alarm_of(error, config, opening=registry is None)
        return [] if alarm is None else raised(alarm, config, clock, registry)
    except Exception as problem:  # noqa: BLE001 (the error that led here must not be hidden by another)
        return [Delivery("spool", problem=said(problem))]


def raised(
    alarm: Alarm, config: Config, clock: Clock, registry: Registry | None = None, *, project: str = ""
) -> list[Delivery]:
    """Put an alarm into the registry's queue, or else into the spool, and then tell it from there at once.

    A disk that refuses even the spool holds up no telling; the answer then says so.
    """
    if registry is not None:
        try:
            with registry.records.write() as connection:
                alert(connection, registry, alarm.kind, alarm.severity, alarm.summary, facts=alarm.facts)
        except (WeighbridgeError, OSError):
            pass
        else:
            return []  # told by whoever closes the registry
    told = made(
        alarm.kind,
        alarm.severity,
        alarm.summary,
        facts=alarm.facts,
        project=project or str(config["project"]),
        actor=str(config["actor"]),
        now=clock.now(),
    )
    results: list[Delivery] = []
    kept: alert_spool.Spooled | None = None
    try:
        kept = alert_spool.spool(config.home, root_of(config), told)
    except (WeighbridgeError, OSError) as error:
        results.append(Delivery("spool", problem=said(error)))
    return results + _tell(kept or alert_spool.Spooled(str(root_of(config)), told, {}, {}), config, clock)


def retell(config: Config, clock: Clock, *, seconds: float = SECONDS, force: bool = False) -> list[Delivery]:
    """Tell what is spooled and was not told yet; for a machine whose registry cannot be opened, or that has none."""
    results: list[Delivery] = []
    for kept in alert_spool.waiting(config.home):
        results += _tell(kept, config, clock, seconds=seconds, force=force)
    return results


def _tell(
    kept: alert_spool.Spooled, config: Config, clock: Clock, *, seconds: float = SECONDS, force: bool = False
) -> list[Delivery]:
    now = clock.now()
    told: Alert = kept.alert
    sinks = [sink for sink in config.alerts if sink.wants(told) and not settled(kept, sink, now, force=force)]
    if not sinks:
        return []
    try:
        registry = read_card(Layout(Path(kept.root)))
    except (WeighbridgeError, OSError):
        registry = ""
    occasion = Occasion(registry, now, seconds)
    results = direct(sinks, told, occasion, offline=bool(config["offline"]))
    try:
        tried, reached = [sink.name for sink in sinks], [result.sink for result in results if result.told]
        alert_spool.note(config.home, kept, tried, reached, rfc3339(now))
    except (WeighbridgeError, OSError) as error:
        results.append(Delivery("spool", problem=said(error)))
    return results


def watched(
    found: Sequence[tuple[str, str, Mapping[str, JSON]]],
    config: Config,
    clock: Clock,
    registry: Registry | None,
) -> list[Delivery]:
    """Tell what a monitor found in a log, before it counts as seen: (what, which log, details) each."""
    results: list[Delivery] = []
    for what, origin, details in found:
        facts: dict[str, JSON] = {"origin": origin, "details": details}
        alarm = Alarm("log-alarm", "critical", f"{origin}: {what}", facts)
        results += raised(alarm, config, clock, registry)
    return results
