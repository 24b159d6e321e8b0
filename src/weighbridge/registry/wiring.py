"""Wiring: makes a registry, opens one, and holds its parts together for everybody above."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import sqlalchemy as sa

from weighbridge.config import Config
from weighbridge.core.canonical import parse
from weighbridge.core.clock import Clock, Entropy
from weighbridge.core.errors import NotFound, RegistryUnusable, VerificationFailed
from weighbridge.keys.ports import Signer
from weighbridge.ledger.sequencer import Log
from weighbridge.registry import next_keys
from weighbridge.registry.chain import check_pinned, open_chain
from weighbridge.registry.layout import FORMAT, Layout
from weighbridge.registry.lock import writer
from weighbridge.registry.pins import Pin, advance, read_pin, write_pin
from weighbridge.registry.service_keys import load_service_key
from weighbridge.store import schema
from weighbridge.store.files import FileBlobs
from weighbridge.store.sql import Records
from weighbridge.trust.authority import Authority
from weighbridge.trust.authority_file import verify_authority, verify_next


class SystemClock:
    """The machine's clock, whole seconds, UTC."""

    def now(self) -> datetime:
        """Return the current time."""
        return datetime.now(UTC).replace(microsecond=0)


class SystemEntropy:
    """The operating system's random numbers."""

    def token(self, size: int) -> bytes:
        """Return `size` unpredictable bytes."""
        return secrets.token_bytes(size)


class EventFacts(TypedDict):
    """Who did something in which project, when."""

    project: str
    actor: str
    at: datetime


@dataclass
class Registry:
    """An open registry: its folder, records, blobs, log and authority, and who is acting on what project."""

    id: str
    layout: Layout
    config: Config
    records: Records
    blobs: FileBlobs
    log: Log
    authority: Authority
    clock: Clock
    entropy: Entropy
    actor: str
    pin: Pin
    before: tuple[Log, ...] = ()
    """The frozen logs of records that `log` followed, oldest first."""
    _depth: int = field(default=0, repr=False)

    @property
    def project(self) -> str:
        """Return the project that this invocation acts in."""
        return str(self.config["project"])

    @cached_property
    def intake_key(self) -> Signer:
        """Return the key that signs what intake did: origins, BOMs, conversions."""
        return self.service_key("intake")

    @cached_property
    def gate_key(self) -> Signer:
        """Return the key that signs what the gate concluded."""
        return self.service_key("gate")

    @cached_property
    def log_key(self) -> Signer:
        """Return the key that signs checkpoints and entry timestamps."""
        return self.service_key("log")

    def service_key(self, name: str) -> Signer:
        """Return one of the keys the registry signs with by itself; raises as `load_service_key`.

        Where another one is about to follow, it is the one that the authority names: a rotation may have been cut off.
        """
        keys = self.layout.keys
        if next_keys.next_path(keys, name).exists():
            with suppress(NotFound):  # it took its place meanwhile
                following = load_service_key(keys, f"{name}{next_keys.SUFFIX}", self.config, self.id)
                if self._uses(name, following.public_pem):
                    return following
        return load_service_key(keys, name, self.config, self.id)

    def _uses(self, name: str, pem: str) -> bool:
        if name == "log":
            return self.log.public_pem == pem
        if name == "tuf":
            return next_keys.in_repository(self.layout, pem)
        return next_keys.in_force(self.authority, name, pem)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the one writer; may be nested. What an earlier, killed writer left in the outbox is finished first.

        What other processes wrote meanwhile is taken up: the log, and a newer authority. Raises
        VerificationFailed(records.tally) when the records are not what this program wrote.
        """
        if self._depth:
            yield
            return
        with writer(self.layout.lock, seconds=float(self.config["lock_seconds"])):
            self._depth += 1
            try:
                self.take_up()
                finish_work(self)
                yield
            finally:
                self._depth -= 1

    def take_up(self) -> None:
        """Take up what other processes wrote: entries, a newer authority, a log that follows; raises as `open_registry`."""
        self.log.refresh()
        with self.records.read() as connection:
            authority = read_authority(connection, self.pin)
        changed = authority.version != self.authority.version
        self.authority = authority
        if self.log.head.frozen:
            self.follow()
        elif changed:
            self.forget_keys()

    def follow(self) -> None:
        """Go on with the newest log of records."""
        *before, self.log = open_chain(self.layout, self.authority)
        self.before = tuple(before)
        self.forget_keys()

    def forget_keys(self) -> None:
        """Load the keys again when they are next needed: others may have taken their place."""
        for name in ("intake_key", "gate_key", "log_key"):
            self.__dict__.pop(name, None)

    def record(self) -> dict[str, Any]:
        """Return the columns that every record carries, filled in for now."""
        return {
            "schema_version": schema.SCHEMA_VERSION,
            "project": self.project,
            "actor": self.actor,
            "created_at": self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def event_facts(self) -> EventFacts:
        """Return project, actor and time as the statement of a record wants them."""
        return {"project": self.project, "actor": self.actor, "at": self.clock.now()}

    def remember(self) -> None:
        """Move the user's pin to the authority and the checkpoint just verified."""
        known = read_pin(self.config.home, self.id)
        version = max(self.authority.version, known.authority_version)
        pin = advance(
            known,
            authority_version=version,
            checkpoint=self.log.checkpoint_text,
            before=[log.origin for log in self.before],
        )
        if pin != known:
            write_pin(self.config.home, pin)
        self.pin = pin

    def close(self) -> None:
        """Close the database."""
        self.records.close()


def finish_work(registry: Registry) -> None:
    """Finish what a killed writer left: a log that was being exchanged, what waits in the outbox, keys to follow.

    Late imports, because both need the Registry.
    """
    from weighbridge.registry.outbox import drain

    if registry.log.head.frozen:
        _finish_rotations(registry)
    drain(registry)
    _finish_rotations(registry)


def _finish_rotations(registry: Registry) -> None:
    if next_keys.waiting(registry.layout.keys):
        from weighbridge.registry.rotation import finish

        finish(registry)


def open_registry(config: Config, *, clock: Clock, entropy: Entropy, root: Path | None = None) -> Registry:
    """Open the registry at `root` (or the configured one).

    Verifies before anything is believed: the user's pin, the authority's signature, version and expiry,
    and that the log extends the pinned checkpoint. Raises RegistryUnusable or VerificationFailed.
    """
    layout = Layout(Path(root if root is not None else config["registry"]).expanduser().absolute())
    registry_id = read_card(layout)
    pin = read_pin(config.home, registry_id)
    records = Records.open(layout.database)
    try:
        authority, chain = _open_logs(layout, records, pin)
        check_pinned(chain, pin.checkpoint)
        actor = str(config["actor"]) or _login()
        blobs = FileBlobs(layout.blobs)
        registry = Registry(
            registry_id,
            layout,
            config,
            records,
            blobs,
            chain[-1],
            authority,
            clock,
            entropy,
            actor,
            pin,
            chain[:-1],
        )
        registry.remember()
    except BaseException:
        records.close()
        raise
    return registry


def read_card(layout: Layout) -> str:
    """Return the id on the registry's card; raises RegistryUnusable."""
    try:
        value: Any = parse(layout.card.read_bytes())
    except FileNotFoundError as error:
        raise RegistryUnusable(
            f"there is no registry at {layout.root}",
            remedy="make one with `weighbridge init`, or point --registry (or WEIGHBRIDGE_HOME) at one",
        ) from error
    except (OSError, ValueError) as error:
        raise RegistryUnusable(
            f"the registry card {layout.card} cannot be read",
            cause=str(error),
            remedy="restore the registry from a backup",
        ) from error
    if not isinstance(value, dict) or value.get("format") != FORMAT or not isinstance(value.get("id"), str):
        raise RegistryUnusable(
            "this registry was made by another version of Weighbridge",
            cause=f"its card says format {value.get('format') if isinstance(value, dict) else value!r}",
            remedy=f"use a version that knows it; this one knows {FORMAT}",
        )
    return str(value["id"])


def read_authority(connection: sa.Connection, pin: Pin) -> Authority:
    """Read all versions of the authority; each must be signed by a root that the version before names.

    Expiry is left to the floor (`authority.current`), so that an expired registry can still be looked at.
    """
    query = sa.select(schema.authority.c.content).order_by(schema.authority.c.version)
    versions = connection.execute(query).scalars().all()
    authority: Authority | None = None
    for content in versions:
        data = content.encode()
        authority = (
            verify_next(data, current=authority, now=None)
            if authority
            else verify_authority(data, root_keys=pin.roots, now=None, minimum_version=1)
        )
    if authority is None:
        raise RegistryUnusable("this registry has no authority", remedy="restore it from a backup")
    if authority.registry != pin.registry:
        raise VerificationFailed(
            "the authority is another registry's",
            cause=f"it says {authority.registry}, the pin says {pin.registry}",
            check="authority.registry",
        )
    advance(pin, authority_version=authority.version, checkpoint="")
    return authority


def _open_logs(layout: Layout, records: Records, pin: Pin) -> tuple[Authority, tuple[Log, ...]]:
    """Open the logs that the authority names; read it again when a log that follows was named just now."""
    with records.read() as connection:
        authority = read_authority(connection, pin)
    try:
        return authority, open_chain(layout, authority)
    except VerificationFailed:
        with records.read() as connection:
            newer = read_authority(connection, pin)
        if newer.version == authority.version:
            raise
        return newer, open_chain(layout, newer)


def _login() -> str:
    return os.environ.get("USER") or os.environ.get("LOGNAME") or f"uid:{os.getuid()}"
