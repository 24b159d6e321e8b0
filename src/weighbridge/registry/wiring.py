"""Wiring: makes a registry, opens one, and holds its parts together for everybody above."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypedDict, TypeVar

import sqlalchemy as sa

from weighbridge.config import Config
from weighbridge.core.canonical import parse
from weighbridge.core.clock import Clock, Entropy
from weighbridge.core.errors import NotFound, RegistryUnusable, VerificationFailed
from weighbridge.keys.ports import Signer
from weighbridge.ledger.sequencer import Log
from weighbridge.registry import next_keys
from weighbridge.registry.backends import kept_blobs, login, open_journal, open_records
from weighbridge.registry.chain import check_pinned, open_chain
from weighbridge.registry.journal import RecordsJournal
from weighbridge.registry.layout import FORMAT, Layout
from weighbridge.registry.lock import writer
from weighbridge.registry.pins import Pin, advance, move_pin, read_pin
from weighbridge.registry.service_keys import load_service_key
from weighbridge.store import schema
from weighbridge.store.plain import read_plain
from weighbridge.store.referenced import ReferencedBlobs, lookup_in
from weighbridge.store.sql import Records
from weighbridge.trust.authority import Authority
from weighbridge.trust.authority_file import verify_authority, verify_next


class Closing(Protocol):
    """Something that ends."""

    def close(self) -> None:
        """End it."""
        ...


Held = TypeVar("Held", bound=Closing)


MAX_VERIFIED = 4096
_VERIFIED: dict[tuple[str, tuple[str, ...]], tuple[Authority, str]] = {}


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
    blobs: ReferencedBlobs
    log: Log
    authority: Authority
    clock: Clock
    entropy: Entropy
    actor: str
    pin: Pin
    before: tuple[Log, ...] = ()
    """The frozen logs of records that `log` followed, oldest first."""
    journal: RecordsJournal | None = None
    """What says which append to the log is next, where replicas share the records."""
    wrote: bool = field(default=False, repr=False)
    """Whether anything was to be written since it was opened."""
    _depth: int = field(default=0, repr=False)
    _held: dict[str, Any] = field(default_factory=dict, repr=False)

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
        try:
            return load_service_key(keys, name, self.config, self.id)
        except NotFound as error:
            raise RegistryUnusable(
                f"the registry's key {name!r} is gone",
                cause=error.problem,
                remedy=f"restore {keys} from a backup, or make another key: weighbridge trust rotate {name}",
                check="keys.gone",
            ) from error

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
        VerificationFailed(records.tally) when the records are not what this program wrote, and Locked. Where the
        records are shared, it is the one writer of all replicas.
        """
        if self._depth:
            yield
            return
        seconds = float(self.config["lock_seconds"])
        with writer(self.layout.lock, seconds=seconds), self.records.leading(seconds=seconds):
            self._depth += 1
            self.wrote = True
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
        *before, self.log = open_chain(self.layout, self.authority, self.journal)
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

        def moved(pin: Pin) -> Pin:
            version = max(self.authority.version, pin.authority_version)
            before = [log.origin for log in self.before]
            return advance(pin, authority_version=version, checkpoint=self.log.checkpoint_text, before=before)

        self.pin = move_pin(self.config.home, self.id, moved, seconds=float(self.config["lock_seconds"]))

    def holding(self, name: str, make: Callable[[], Held]) -> Held:
        """Return what is held under a name for as long as the registry is open; made when first asked for, closed with it."""
        if name not in self._held:
            self._held.setdefault(name, make())
        held: Held = self._held[name]
        return held

    def close(self) -> None:
        """Close the database, and what is held."""
        try:
            while self._held:
                self._held.popitem()[1].close()
        finally:
            self.records.close()


def finish_work(registry: Registry) -> None:
    """Finish what a killed writer left: a log that was being exchanged, what waits in the outbox, a policy's files, keys to follow.

    Late imports, because all of them need the Registry.
    """
    from weighbridge.registry import policy_files
    from weighbridge.registry.outbox import drain

    if registry.log.head.frozen:
        _finish_rotations(registry)
    drain(registry)
    policy_files.finish(registry)
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
    records = open_records(config, layout)
    try:
        journal = open_journal(records, config, clock)
        authority, chain = _open_logs(layout, records, pin, journal)
        check_pinned(chain, pin.checkpoint)
        actor = str(config["actor"]) or login()
        blobs = ReferencedBlobs(kept_blobs(config, layout), lookup_in(records), layout.copies)
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
            journal,
        )
        registry.remember()
    except BaseException:
        records.close()
        raise
    return registry


def read_card(layout: Layout) -> str:
    """Return the id on the registry's card; raises RegistryUnusable."""
    try:
        value: Any = parse(read_plain(layout.card))
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
    return list(authority_versions(connection, pin).values())[-1]


def authority_versions(connection: sa.Connection, pin: Pin) -> dict[str, Authority]:
    """Return every version of the authority by its digest, oldest first; verified and refused as `read_authority` does."""
    query = sa.select(schema.authority.c.content).order_by(schema.authority.c.version)
    authority: Authority | None = None
    found: dict[str, Authority] = {}
    before: tuple[str, ...] = pin.roots
    for content in connection.execute(query).scalars().all():
        authority, digest = _verified_version(content, before, authority)
        found[digest], before = authority, (digest,)
    if authority is None:
        raise RegistryUnusable("this registry has no authority", remedy="restore it from a backup")
    if authority.registry != pin.registry:
        raise VerificationFailed(
            "the authority is another registry's",
            cause=f"it says {authority.registry}, the pin says {pin.registry}",
            check="authority.registry",
        )
    advance(pin, authority_version=authority.version, checkpoint="")
    return found


def _verified_version(
    content: str, before: tuple[str, ...], current: Authority | None
) -> tuple[Authority, str]:
    """Verify a version after the `current` one, whose digest is `before` (the pinned roots for the first), once in this process.

    Nothing else goes in, no clock and no setting, so that what was believed of these bytes stays so.
    """
    known = _VERIFIED.get((content, before))
    if known is not None:
        return known
    data = content.encode()
    authority = (
        verify_next(data, current=current, now=None)
        if current
        else verify_authority(data, root_keys=before, now=None, minimum_version=1)
    )
    found = authority, str(authority.digest)
    if len(_VERIFIED) >= MAX_VERIFIED:
        _VERIFIED.clear()
    _VERIFIED[content, before] = found
    return found


def _open_logs(
    layout: Layout, records: Records, pin: Pin, journal: RecordsJournal | None
) -> tuple[Authority, tuple[Log, ...]]:
    """Open the logs that the authority names; read it again when a log that follows was named just now."""
    with records.read() as connection:
        authority = read_authority(connection, pin)
    try:
        return authority, open_chain(layout, authority, journal)
    except VerificationFailed:
        with records.read() as connection:
            newer = read_authority(connection, pin)
        if newer.version == authority.version:
            raise
        return newer, open_chain(layout, newer, journal)
