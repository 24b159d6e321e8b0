"""An Alertmanager: alerts as its API v2 takes them, many in one request.

What happened at the gate is over when it is told, so each alert ends by itself after a while (`hold_seconds`); telling it
again extends it. A heartbeat ends unless the next one comes: that is the alarm, see docs/reference/alerts.md.
Source: Alertmanager's API v2, POST /api/v2/alerts (api/v2/openapi.yaml: postableAlerts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from weighbridge.core.alert import Alert, Sink
from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.gate.telling.receivers import Occasion, check, secret
from weighbridge.net import Door, ask

PATH = "/api/v2/alerts"
MAX_ANSWER = 64 * 1024
MAX_LABEL = 128


class Alertmanager:
    """Posts to the Alertmanager at one address."""

    most = 64

    def __init__(self, sink: Sink, environ: Mapping[str, str], *, offline: bool) -> None:
        """Read the token, where there is one, and open the door; raises BadSetting or Unreachable."""
        self._url = sink.url.rstrip("/") + PATH
        self._token = secret(environ, sink.token_env, least=1) if sink.token_env else ""
        self._link = sink.link
        self._hold = timedelta(seconds=sink.hold_seconds)
        self._door = Door(
            sink.url, offline=offline, has_token=bool(self._token), most=MAX_ANSWER, what="the Alertmanager",
            setting=f"[[alert]] {sink.name}",
        )  # fmt: skip

    def tell(self, alerts: Sequence[Alert], occasion: Occasion) -> None:
        """Post them together."""
        body = canonical([self._row(alert, occasion) for alert in alerts])
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        answer = ask(
            self._door, self._url, method="POST", headers=headers, body=body, seconds=occasion.seconds
        )
        check(answer, self._door.host)

    def _row(self, alert: Alert, occasion: Occasion) -> dict[str, JSON]:
        words = "".join(part.capitalize() for part in alert.kind.split("-"))
        labels = {
            "alertname": f"Weighbridge{words}",
            "kind": alert.kind,
            "severity": alert.severity,
            "registry": occasion.registry,
            "project": alert.project,
        }
        if alert.kind == "heartbeat":
            held = timedelta(seconds=3 * _whole(alert.facts.get("every")))
        else:
            held = self._hold
            labels["alert"] = alert.id.rpartition(":")[2][:16]  # two things of one kind stay two
        annotations = {
            "summary": alert.summary,
            "about": " ".join(alert.about),
            "count": str(alert.count),
            "actor": alert.actor,
            "facts": canonical(alert.facts).decode(),
        }
        row: dict[str, JSON] = {
            "labels": {key: value[:MAX_LABEL] for key, value in labels.items() if value},
            "annotations": {key: value for key, value in annotations.items() if value},
            "startsAt": rfc3339(min(parse_rfc3339(alert.last), occasion.now)),
            "endsAt": rfc3339(occasion.now + held),
        }
        if self._link:
            row["generatorURL"] = self._link
        return row


def _whole(value: JSON) -> int:
    return value if isinstance(value, int) else 60
