"""`log watch`: follow logs and tell what nobody announced; for a terminal, and for cron."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, opened, untold
from weighbridge.cli.render import count, emit, safe, say
from weighbridge.core.errors import UsageError, WeighbridgeError

if TYPE_CHECKING:
    from weighbridge.gate.monitor import Monitor, Patience, Step
    from weighbridge.gate.monitor_entries import Announced, Watch
    from weighbridge.registry.wiring import Registry
    from weighbridge.trust.expect import Expected


@dataclass(frozen=True, slots=True)
class Asked:
    """What was typed."""

    place: str | None
    key: str
    origin: str
    signers: tuple[str, ...]
    subjects: tuple[str, ...]
    patterns: tuple[str, ...]
    issuer: str
    announced: tuple[Path, ...]
    certificates: bool
    everything: bool
    grace: int
    max_age: int | None


@click.command("watch")
@click.argument("place", metavar="[FOLDER|URL]", required=False)
@click.option("--key", default="", help="The log's public key: a PEM file, or NAME+ID+BASE64.")
@click.option("--origin", default="", help="The log's origin, the first line of its checkpoints.")
@click.option("--certificates", is_flag=True, help="It is a log of certificates (RFC 6962).")
@click.option("--signer", "signers", multiple=True, help="Watch this key: sha256:…, or a PEM file.")
@click.option("--certificate-identity", "subjects", multiple=True, help="Watch this subject of certificates.")
@click.option("--certificate-identity-regexp", "patterns", multiple=True, help="Watch subjects like this.")
@click.option("--certificate-oidc-issuer", "issuer", default="", help="… only where this issuer vouched.")
@click.option("--everything", is_flag=True, help="Watch whoever signs.")
@click.option(
    "--announced",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file of bundles or digests that were announced, one a line.",
)
@click.option("--grace", type=click.IntRange(0), default=0, help="Seconds to wait for an announcement.")
@click.option("--max-age", type=click.IntRange(1), help="Seconds after which a log without news is stale.")
@click.option("--once", is_flag=True, help="Look once and end (the default).")
@click.option("--every", type=click.IntRange(1), help="Look again after so many seconds, for ever.")
@common
def watch(shared: Shared, *, once: bool, every: int | None, **typed: object) -> int:
    """Follow logs from what was pinned, read every new entry, tell what nobody announced; exit code 1 if anything.

    Without a place: the logs of the registry, with what it keeps as announced. What was shown is not shown again.
    """
    if once and every is not None:
        raise UsageError("--once and --every contradict each other", remedy="give one of them")
    asked = Asked(**typed)  # type: ignore[arg-type]  # click gives what the options above say
    code = _look(shared, asked)
    while every is not None:
        time.sleep(every)
        try:
            _look(shared, asked)
        except WeighbridgeError as error:  # a log that cannot be reached today may be tomorrow
            say(shared, f"error: {error}")
    return code


def _look(shared: Shared, asked: Asked) -> int:
    """Take every log to its end once, showing and then keeping what each step found."""
    from weighbridge.gate.monitor import behind
    from weighbridge.registry.wiring import SystemClock

    code = 0
    together = shared.format == "json" or shared.output is not None  # one document, at the end
    kept: list[tuple[Monitor, Step]] = []
    with ExitStack() as stack:
        registry = stack.enter_context(opened(shared)) if asked.place is None else None
        announced = _announcements(asked, registry)
        for monitor in _monitors(shared, asked, registry):
            stack.enter_context(monitor.holding())
            steps: list[Step] = []
            while not steps or not steps[-1].done:
                steps.append(monitor.step(announced, SystemClock().now()))
                code = 1 if steps[-1].alerts else code
                _have_told(shared, registry, steps[-1])
                if together:
                    monitor.go_on()
                else:
                    emit(shared, "step", [steps[-1].to_json()], _text(steps[-1]))
                    monitor.keep()
            kept.append((monitor, behind(*steps)))
        if together:
            shown = [step for _, step in kept]
            emit(shared, "step", [step.to_json() for step in shown], "\n".join(map(_text, shown)))
            for monitor, _ in kept:
                monitor.keep()
    return code


def _have_told(shared: Shared, registry: Registry | None, step: Step) -> None:
    """Have somebody told of what a step found, before it counts as seen."""
    if not step.alerts:
        return
    from weighbridge.gate.alarms import watched
    from weighbridge.registry.wiring import SystemClock

    found = [
        (alert.what, step.origin, {"kind": alert.kind, "entry": alert.index, **alert.details})
        for alert in step.alerts
    ]
    untold(shared, watched(found, shared.config, SystemClock(), registry))


def _announcements(asked: Asked, registry: Registry | None) -> Callable[[], Announced]:
    from weighbridge.gate.announced import announced_by_file, announced_in
    from weighbridge.gate.monitor_entries import Announced

    def announced() -> Announced:
        found = announced_in(registry) if registry is not None else Announced()
        for path in asked.announced:
            found |= announced_by_file(path)
        return found

    return announced


def _monitors(shared: Shared, asked: Asked, registry: Registry | None) -> Iterator[Monitor]:
    from weighbridge.cli.log_keys import foreign_log
    from weighbridge.gate.monitor import Monitor, Patience
    from weighbridge.gate.monitor_entries import Watch

    age = None if asked.max_age is None else timedelta(seconds=asked.max_age)
    patience = Patience(timedelta(seconds=asked.grace), age)
    identities = _identities(asked)
    if registry is not None:
        yield from _own(registry, identities, patience, everything=asked.everything)
        return
    assert asked.place is not None
    if not asked.key:
        raise UsageError("a log is watched by its key", remedy="give --key LOG.pub.pem", check="log.key")
    if not identities and not asked.everything:
        raise UsageError("nobody is watched", remedy="give --signer, --certificate-identity or --everything")
    reader, pem = foreign_log(asked.place, asked.key, asked.origin, offline=bool(shared.config["offline"]))
    seen = Watch(identities, asked.everything, asked.certificates)
    yield Monitor(shared.config.home, reader, pem, seen, patience)


def _own(
    registry: Registry, identities: Sequence[Expected], patience: Patience, *, everything: bool
) -> Iterator[Monitor]:
    """Yield a monitor for each log of a registry; in the log of records everything must be the registry's own."""
    from weighbridge.gate.announced import issuers_of
    from weighbridge.gate.monitor import Monitor
    from weighbridge.gate.monitor_entries import Watch
    from weighbridge.ledger.checkpoint import parse_checkpoint
    from weighbridge.ledger.following import FolderSource, LogReader
    from weighbridge.trust.expect import ExpectedKey

    authority, home = registry.authority, registry.config.home
    named = [one.keyless or ExpectedKey(one.key) for one in authority.identities]
    seen = Watch((*named, *identities), everything=everything)

    def monitor(folder: Path, pem: str, watch: Watch) -> Monitor:
        note = (folder / "checkpoint").read_text(encoding="utf-8")
        reader = LogReader(FolderSource(folder), origin=parse_checkpoint(note)[0].origin, public_pem=pem)
        return Monitor(home, reader, pem, watch, patience)

    yield monitor(registry.layout.log, registry.log.public_pem, Watch(everything=True))
    for kind, pems in (
        ("signing-log", [log.pem for log in authority.logs]),
        ("ct", [log.pem for log in authority.trusted.ctlogs]),
    ):
        for folder, pem in _folders(registry.layout.services / kind, pems):
            certificates = kind == "ct"
            issuers = issuers_of(registry) if certificates else frozenset()
            yield monitor(folder, pem, Watch(seen.identities, everything, certificates, issuers))


def _folders(parent: Path, pems: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Yield the logs below a folder, each named by the beginning of its key's id, with that key out of the authority."""
    from weighbridge.keys.public import key_id_of_pem

    known = {key_id_of_pem(pem).hex[:16]: pem for pem in pems}
    for folder in sorted(parent.iterdir()) if parent.is_dir() else ():
        if folder.name not in known:
            raise UsageError(
                f"{folder} is a log whose key the authority does not name",
                cause="nothing tells whether what it shows is signed by whom",
                remedy="find out who put it there, or move it away",
                check="log.known",
            )
        yield folder, known[folder.name]


def _identities(asked: Asked) -> tuple[Expected, ...]:
    from weighbridge.core.digest import Digest
    from weighbridge.keys.public import key_id_of_pem
    from weighbridge.trust.expect import ExpectedIdentity, ExpectedKey
    from weighbridge.trust.pattern import Pattern

    found: list[Expected] = []
    for text in asked.signers:
        path = Path(text)
        pem = path.read_text(encoding="ascii") if path.is_file() else ""
        found.append(ExpectedKey(key_id_of_pem(pem) if pem else Digest.parse(text)))
    names: list[str | Pattern] = [*asked.subjects, *(Pattern(text) for text in asked.patterns)]
    found += [ExpectedIdentity(name, asked.issuer or None) for name in names]
    if asked.issuer and not names:
        found.append(ExpectedIdentity(issuer=asked.issuer))
    return tuple(found)


def _text(step: Step) -> str:
    """Return a step for people: one line on the log, one for each alert."""
    line = f"{safe(step.origin)}: {count(step.size, 'entry').replace('entrys', 'entries')}, "
    line += f"read {step.start} to {step.end}" if step.end > step.start else "nothing new"
    if step.first:
        line += "; pinned for the first time"
    if step.frozen:
        line += f"; frozen {safe(step.frozen)}"
        line += f", goes on as {safe(step.continues.rpartition(' ')[0])}" if step.continues else ""
    if step.pending:
        line += f"; {step.pending} not announced yet"
    lines = [line]
    for alert in step.alerts:
        place = "" if alert.index is None else f" entry {alert.index}:"
        lines.append(f"{click.style(f'alert[{alert.kind}]', fg='red', bold=True)}:{place} {safe(alert.what)}")
        lines += [f"    {name}: {safe(text)}" for name, text in alert.details.items()]
    return "\n".join(lines)
