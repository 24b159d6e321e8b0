"""A webhook: one alert a request, as JSON, with a keyed digest over time and body that only both ends can make.

Source: HMAC, RFC 2104; the form of the headers is documented with a verifier in docs/reference/alerts.md.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from weighbridge.core.alert import Alert, Sink
from weighbridge.core.canonical import canonical
from weighbridge.core.envelope import envelope
from weighbridge.gate.telling.receivers import Occasion, check, secret
from weighbridge.net import Door, ask

MIN_SECRET = 16
MAX_ANSWER = 64 * 1024


def signature(key: bytes, timestamp: str, body: bytes) -> str:
    """Return the value of the header Weighbridge-Signature: HMAC-SHA256 over the timestamp, a full stop and the body."""
    return "v1=" + hmac.new(key, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class Webhook:
    """Posts to one address."""

    most = 1

    def __init__(self, sink: Sink, environ: Mapping[str, str], *, offline: bool) -> None:
        """Read the secret and open the door; raises BadSetting or Unreachable."""
        self._url = sink.url
        self._key = secret(environ, sink.secret_env, least=MIN_SECRET).encode()
        self._door = Door(
            sink.url, offline=offline, most=MAX_ANSWER, what="the webhook", setting=f"[[alert]] {sink.name}"
        )

    def tell(self, alerts: Sequence[Alert], occasion: Occasion) -> None:
        """Post one alert after the other."""
        for alert in alerts:
            body = canonical(envelope("alert", [alert.to_json(occasion.registry)]))
            timestamp = str(int(occasion.now.timestamp()))
            headers = {
                "Content-Type": "application/json",
                "Idempotency-Key": alert.key,
                "Weighbridge-Timestamp": timestamp,
                "Weighbridge-Signature": signature(self._key, timestamp, body),
            }
            answer = ask(
                self._door, self._url, method="POST", headers=headers, body=body, seconds=occasion.seconds
            )
            check(answer, self._door.host)
