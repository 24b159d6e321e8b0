"""Alerting: brings alerts from the queue to whom the user named, each receiver by itself; never raises, never decides.

At-least-once: what a receiver took is noted after it took it. Each receiver is told in a thread of its own and in the
order of the queue, so that one that is slow, hostile or gone costs the others nothing, and the caller no more than the
seconds it gave. A thread that does not come back by then is left behind; its lease is not, and it can note nothing any more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Thread

from weighbridge.core.alert import Alert, Sink
from weighbridge.core.clock import parse_rfc3339
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.redact import Redactor
from weighbridge.gate.telling.receivers import Occasion, Receiver, receiver
from weighbridge.registry import alert_queue, alert_spool
from weighbridge.registry.alert_queue import Claim
from weighbridge.registry.wiring import Registry

SECONDS = 2.0
"""What telling may cost at the end of a command."""
MIN_TRY = 0.3
"""Seconds without which no further try is begun."""
SLACK = 0.5
RETRY_SPOOLED = timedelta(minutes=5)


@dataclass
class Delivery:
    """What came of telling one receiver."""

    sink: str
    told: int = 0
    waiting: int = 0
    problem: str = ""
    """Why it was not told, or not all; empty when nothing is left."""
    claim: Claim | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, str | int]:
        """Return one item of `alert send`."""
        return {"sink": self.sink, "told": self.told, "waiting": self.waiting, "problem": self.problem}


def deliver(
    registry: Registry,
    *,
    seconds: float = SECONDS,
    force: bool = False,
    environ: Mapping[str, str] | None = None,
) -> list[Delivery]:
    """Tell every receiver that something waits for, within `seconds` together; what is left stays in the queue.

    `force` tries again at once those that failed before. Never raises: a problem is in the answer.
    """
    surroundings = os.environ if environ is None else environ
    try:
        alert_spool.take(registry)
        wanted = [sink for sink in registry.config.alerts if force or alert_queue.due(registry, sink)]
    except (WeighbridgeError, OSError) as error:
        return [Delivery(sink.name, problem=said(error)) for sink in registry.config.alerts]
    works = [_Work(registry, sink, surroundings, seconds, force) for sink in wanted]
    _together(works, seconds)
    return [work.result for work in works]


@dataclass
class _Work:
    """Telling one receiver, in a thread."""

    registry: Registry
    sink: Sink
    environ: Mapping[str, str]
    seconds: float
    force: bool

    def __post_init__(self) -> None:
        self.end = time.monotonic() + self.seconds
        self.result = Delivery(self.sink.name)

    def run(self) -> None:
        """Tell until nothing waits, the time is over, or it fails."""
        result = self.result  # once it is left behind, another stands there
        try:
            if bool(self.registry.config["offline"]) and (self.sink.network or self.sink.type == "plugin"):
                result.problem = "working offline"
                return
            held = alert_queue.claim(self.registry, self.sink, force=self.force)
            if held is None:
                return  # another process tells it now
            result.claim = held
            self._tell(held, result)
        except Exception as error:  # noqa: BLE001 (nothing that goes wrong here may reach whoever decides)
            result.problem = said(error)
            self.give_up(result)

    def _tell(self, held: Claim, result: Delivery) -> None:
        known: Receiver | None = None
        while True:
            known = known or receiver(self.sink, self.environ, offline=False)
            alerts, seen = alert_queue.pending(self.registry, held, known.most)
            left = self.end - time.monotonic()
            if not alerts:
                alert_queue.passed(self.registry, held, seen)
                break
            if left < MIN_TRY:
                result.problem = "there was no time for more"
                break
            now = self.registry.clock.now()
            known.tell(alerts, Occasion(self.registry.id, now, min(left, float(self.sink.seconds))))
            after = alert_queue.told(self.registry, held, seen)
            result.told += len(alerts)
            if after is None:
                return  # it took so long that another process took over
            held = result.claim = after
        alert_queue.release(self.registry, held)

    def give_up(self, result: Delivery) -> None:
        """Note the failure, so that the next try waits."""
        try:
            if result.claim is not None:
                alert_queue.failed(self.registry, result.claim, result.problem)
        except Exception as error:  # noqa: BLE001 (as above)
            result.problem += f"; and that could not be noted: {said(error)}"


def _together(works: Sequence[_Work], seconds: float) -> None:
    threads = [Thread(target=work.run, daemon=True, name=f"alert {work.sink.name}") for work in works]
    end = time.monotonic() + seconds + SLACK
    for thread in threads:
        thread.start()
    for thread, work in zip(threads, works, strict=True):
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive():
            work.result = Delivery(work.sink.name, work.result.told, claim=work.result.claim)
            work.result.problem = f"it gave no answer within {seconds:.0f} s"
            work.give_up(work.result)
        try:
            work.result.waiting = alert_queue.standing(work.registry, work.sink).waiting
        except (WeighbridgeError, OSError) as error:
            work.result.problem = work.result.problem or said(error)


# ---------------------------------------------------------------- what is told without the queue


def signal(
    registry: Registry,
    told: Alert,
    *,
    sinks: Sequence[Sink] | None = None,
    seconds: float = SECONDS,
    environ: Mapping[str, str] | None = None,
) -> list[Delivery]:
    """Tell a signal now, to each that wants it; nobody is told later. Never raises."""
    wanted = [sink for sink in (registry.config.alerts if sinks is None else sinks) if sink.wants(told)]
    offline = bool(registry.config["offline"])
    occasion = Occasion(registry.id, registry.clock.now(), seconds)
    return direct(wanted, told, occasion, offline=offline, environ=environ)


def direct(
    sinks: Sequence[Sink],
    told: Alert,
    occasion: Occasion,
    *,
    offline: bool,
    environ: Mapping[str, str] | None = None,
) -> list[Delivery]:
    """Tell one alert to each of these, at once and without any record of it. Never raises."""
    surroundings = os.environ if environ is None else environ
    results = [
        Delivery(sink.name, problem=f"it gave no answer within {occasion.seconds:.0f} s") for sink in sinks
    ]

    def one(sink: Sink, result: Delivery) -> Callable[[], None]:
        def run() -> None:
            try:
                known = receiver(sink, surroundings, offline=offline)
                known.tell([told], occasion)
                result.told, result.problem = 1, ""
            except Exception as error:  # noqa: BLE001 (as above)
                result.problem = said(error)

        return run

    pairs = zip(sinks, results, strict=True)
    threads = [Thread(target=one(sink, result), daemon=True) for sink, result in pairs]
    end = time.monotonic() + occasion.seconds + SLACK
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return [Delivery(result.sink, result.told, problem=result.problem) for result in results]


def said(error: BaseException) -> str:
    """Return an error as one line that holds no secret."""
    text = (
        error.problem + (f": {error.cause}" if error.cause else "")
        if isinstance(error, WeighbridgeError)
        else f"{type(error).__name__}: {error}"
    )
    clean = Redactor(os.environ)(text)
    return "".join(char if char.isprintable() else " " for char in clean)[:500]


def settled(kept: alert_spool.Spooled, sink: Sink, now: datetime, *, force: bool = False) -> bool:
    """Tell whether a receiver has been told of a spooled alert, or was tried so lately that it is not tried again yet."""
    if kept.told.get(sink.name, "") >= kept.alert.last:
        return True
    before = kept.tried.get(sink.name)
    if before is None or force:
        return False
    return parse_rfc3339(before) <= now < parse_rfc3339(before) + RETRY_SPOOLED
