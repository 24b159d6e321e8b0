"""`alert`: what the gate has told or has to tell, who is told, and whether the gate still lives."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, opened, untold
from weighbridge.cli.render import count, emit, safe, say, table
from weighbridge.core.alert import KINDS
from weighbridge.core.errors import NotFound, UsageError

if TYPE_CHECKING:
    from weighbridge.core.alert import Alert, Sink
    from weighbridge.gate.alerting import Delivery
    from weighbridge.registry.alert_queue import Standing
    from weighbridge.registry.wiring import Registry

COLOURS = {"critical": "red", "warning": "yellow", "info": "blue"}
SEND_SECONDS = 60


@click.group()
def alert() -> None:
    """Show what the gate has to tell, tell it now, and look whether the gate still lives.

    Who is told stands in weighbridge.toml as [[alert]]: docs/reference/alerts.md.
    """


@alert.command("list")
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="Only alerts of this kind."
)
@click.option(
    "--most", type=click.IntRange(1), default=50, show_default=True, help="Only the newest so many."
)
@click.option("--sinks", is_flag=True, help="Show who is told instead, and what waits for each.")
@common
def list_(shared: Shared, *, kinds: tuple[str, ...], most: int, sinks: bool) -> int:
    """List alerts, the newest last, and say who has not been told of all of them."""
    from weighbridge.registry import alert_queue, alert_spool, alerts

    with opened(shared) as registry:
        alert_spool.take(registry)
        standings = [alert_queue.standing(registry, sink) for sink in registry.config.alerts]
        if sinks:
            emit(shared, "alert-sink", [row.to_json() for row in standings], _sinks_text(standings))
            return 0
        found = alerts.kept(registry, kinds=kinds)[-most:]
        rows = [(a.last, a.severity, a.kind, str(a.count), a.id[7:19], a.project, a.summary) for a in found]
        head = ("last", "severity", "kind", "times", "id", "project", "what")
        text = table(rows, head) if rows else "nothing was told yet"
        emit(shared, "alert", [a.to_json(registry.id) for a in found], text)
        for row in standings:
            if row.problem:
                say(shared, f"{row.sink.name} was not told of {row.waiting}: {safe(row.problem)}")
        if not standings:
            say(
                shared, "nobody is told: there is no [[alert]] in weighbridge.toml (docs/reference/alerts.md)"
            )
    return 0


@alert.command()
@click.argument("identity", metavar="ID")
@common
def show(shared: Shared, identity: str) -> int:
    """Show one alert whole; the beginning of its id is enough."""
    from weighbridge.registry import alert_spool, alerts

    with opened(shared) as registry:
        alert_spool.take(registry)
        wanted = identity.removeprefix("sha256:")
        found = [a for a in alerts.kept(registry) if a.id.removeprefix("sha256:").startswith(wanted)]
        if not wanted or not found:
            raise NotFound(f"there is no alert {identity!r}", remedy="weighbridge alert list")
        if len(found) > 1:
            raise UsageError(
                f"{count(len(found), 'alert')} begin with {identity!r}", remedy="give more of the id"
            )
        emit(shared, "alert", [found[0].to_json(registry.id)], _text(found[0]))
    return 0


@alert.command()
@common
def send(shared: Shared) -> int:
    """Tell everybody what waits for them, at once, even those that failed just now; exit code 3 if any is not told."""
    from weighbridge.gate.alarms import retell
    from weighbridge.gate.alerting import deliver
    from weighbridge.registry.wiring import SystemClock

    if not shared.config.alerts:
        raise UsageError(
            "nobody is told", remedy="write an [[alert]] into weighbridge.toml: docs/reference/alerts.md"
        )
    try:
        with opened(shared) as registry:
            done = deliver(registry, seconds=SEND_SECONDS, force=True)
    except Exception:
        retell(shared.config, SystemClock(), seconds=SEND_SECONDS, force=True)
        raise
    _show(shared, done)
    return 3 if any(one.problem or one.waiting for one in done) else 0


@alert.command()
@click.argument("sink", required=False)
@common
def test(shared: Shared, sink: str | None) -> int:
    """Tell everybody, or one of them, that this is a test; exit code 3 if any did not take it."""
    from weighbridge.gate.alerting import signal
    from weighbridge.gate.heartbeat import signal_of

    with opened(shared) as registry:
        wanted = _sinks(shared, sink)
        told = signal_of(registry, "test", "somebody wants to know whether alerts arrive", {})
        done = signal(registry, told, sinks=wanted, seconds=max(one.seconds for one in wanted))
    _show(shared, done)
    return 3 if any(one.problem for one in done) else 0


@alert.command()
@click.option(
    "--after",
    type=click.IntRange(1),
    required=True,
    metavar="SECONDS",
    help="How old the newest sign may be.",
)
@common
def watch(shared: Shared, *, after: int) -> int:
    """Tell everybody when the gate has neither decided nor shown itself for so long; exit code 1 then.

    Run it where the gate's own machine cannot keep it from running, or have a dead-man service wait for heartbeats.
    """
    from weighbridge.gate.heartbeat import life, missed

    with opened(shared) as registry:
        problem = missed(registry, timedelta(seconds=after))
        found = life(registry)
        item = {"alive": not problem, "problem": problem, "after": after, **found.to_json()}
        signs = f"last decision {item['last_decision'] or 'never'}, last heartbeat {item['last_heartbeat'] or 'never'}"
        emit(shared, "sign", [item], f"{problem or 'the gate lives'} ({signs})")
    return 1 if problem else 0


@alert.command()
@click.option(
    "--every",
    type=click.IntRange(1),
    default=60,
    show_default=True,
    help="When the next one is due, in seconds.",
)
@common
def beat(shared: Shared, *, every: int) -> int:
    """Give one sign of life, if the gate could decide now, and tell what waits: for cron, where nothing serves."""
    from weighbridge.gate.heartbeat import beat as give

    with opened(shared) as registry:
        done = give(registry, every)
        untold(shared, done)
        emit(shared, "delivery", [one.to_json() for one in done], "the gate lives")
    return 0


def _sinks(shared: Shared, name: str | None) -> list[Sink]:
    wanted = [sink for sink in shared.config.alerts if name in (None, sink.name)]
    if not wanted:
        known = ", ".join(sink.name for sink in shared.config.alerts)
        raise NotFound(
            f"nobody called {name!r} is told" if name else "nobody is told",
            cause=f"there are {known}" if known else "there is no [[alert]] in weighbridge.toml",
            remedy="docs/reference/alerts.md",
        )
    return wanted


def _show(shared: Shared, done: list[Delivery]) -> None:
    rows = [(d.sink, str(d.told), str(d.waiting), d.problem or "told") for d in done]
    text = (
        table(rows, ("receiver", "told", "waiting", "what came of it")) if rows else "nothing was to be told"
    )
    emit(shared, "delivery", [d.to_json() for d in done], text)


def _sinks_text(standings: list[Standing]) -> str:
    rows = [
        (s.sink.name, s.sink.type, str(s.waiting), s.told_at or "never", s.failing_since or "", s.problem)
        for s in standings
    ]
    head = ("receiver", "type", "waiting", "last told", "failing since", "problem")
    return table(rows, head) if rows else "nobody is told: there is no [[alert]] in weighbridge.toml"


def _text(alert: Alert) -> str:
    """Return one alert for people."""
    head = click.style(f"{alert.severity}[{alert.kind}]", fg=COLOURS[alert.severity], bold=True)
    lines = [f"{head}: {safe(alert.summary)}", f"  id:      {alert.id}"]
    lines += [f"  project: {safe(alert.project)}, by {safe(alert.actor)}"]
    times = (
        f"once, {alert.last}" if alert.count == 1 else f"{alert.count} times, {alert.first} to {alert.last}"
    )
    lines += [f"  when:    {times}", f"  means:   {KINDS[alert.kind]}"]
    lines += [f"  about:   {digest}" for digest in alert.about]
    lines += [f"  {safe(key)}: {safe(str(value))}" for key, value in alert.facts.items()]
    return "\n".join(lines)


def doctor_found(registry: Registry) -> list[str]:
    """Return who has not listened for long, for `doctor`; a receiver that failed only just now is not yet one."""
    from weighbridge.registry import alert_queue

    now = registry.clock.now()
    standings = [alert_queue.standing(registry, sink) for sink in registry.config.alerts]
    return [
        f"{row.sink.name} has not been told since {row.failing_since} ({row.waiting} waiting): {row.problem}"
        for row in standings
        if row.long(now)
    ]
