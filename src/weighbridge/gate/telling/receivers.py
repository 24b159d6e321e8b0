"""The types of receivers: each takes a few alerts at once and raises when they were not taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from weighbridge.core.alert import Alert, Sink
from weighbridge.core.errors import BadSetting, Unreachable
from weighbridge.net import Answer


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a receiver is told beside the alerts: whose they are, when, and how long this may take (seconds)."""

    registry: str
    now: datetime
    seconds: float


class Receiver(Protocol):
    """Somebody who can be told."""

    most: int
    """Alerts of one telling."""

    def tell(self, alerts: Sequence[Alert], occasion: Occasion) -> None:
        """Tell them; returns when the receiver has them for good, else raises WeighbridgeError or OSError."""
        ...


def receiver(sink: Sink, environ: Mapping[str, str], *, offline: bool) -> Receiver:
    """Return who is meant by an entry; raises BadSetting or Unreachable (offline) when it cannot be used."""
    if sink.type == "webhook":
        from weighbridge.gate.telling.webhook import Webhook

        return Webhook(sink, environ, offline=offline)
    if sink.type == "alertmanager":
        from weighbridge.gate.telling.alertmanager import Alertmanager

        return Alertmanager(sink, environ, offline=offline)
    if sink.type == "plugin":
        from weighbridge.gate.telling.plugin import Plugin

        return Plugin(sink, environ, offline=offline)
    from weighbridge.gate.telling.lines import Lines

    return Lines(sink)


def secret(environ: Mapping[str, str], variable: str, *, least: int) -> str:
    """Return a secret of the environment; raises BadSetting when it is not there or too short to be one."""
    value = environ.get(variable, "")
    if len(value) < least:
        raise BadSetting(
            f"the environment variable {variable} holds no secret",
            cause="it is not set" if not value else f"it has fewer than {least} characters",
            remedy=f"set {variable} where weighbridge runs",
        )
    if not value.isascii() or not value.isprintable():
        raise BadSetting(f"the environment variable {variable} holds what no header can carry")
    return value


def check(answer: Answer, host: str) -> None:
    """Raise Unreachable unless an answer says that the alerts were taken; what else it says is not looked at."""
    if 200 <= answer.status < 300:
        return
    cause = f"it answered with status {answer.status}"
    if 300 <= answer.status < 400:
        cause = f"it leads elsewhere (status {answer.status}), and alerts go only where they were meant to"
    raise Unreachable(f"{host} did not take the alerts", cause=cause, remedy="look at the receiver's own log")
