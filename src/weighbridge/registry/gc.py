"""Garbage collection: removes kept bytes that nothing refers to, while others write, and never one that is referred to.

What refers to blobs: the manifests of all models of all projects, whatever their tier or status, and the policies that
were ever active or asked for (`References`; a test holds the list against whoever puts blobs). Bytes that a killed or refused intake
left are referred to by nothing. The hard case is an intake that is under way: it has put blobs, or found them kept
already, and refers to them only at its end.

The steps, for a blob d that nothing refers to and nobody has put or held for the grace:

    A  set it aside: one rename, out of its place
    C  in a write transaction, read what refers to blobs: is it d, or was d held since, it is brought back
    U  unlink what is set aside, under its name there

and of whoever refers to blobs, in the one write transaction that says so (`hold_all`):

    H  each blob is held: a note of its time, then a look whether it is in its place; if not it is brought back from where
       it is set aside; if it is nowhere, nothing is recorded, and intake is told to come again
    K  the transaction commits

Why nothing referred to is lost, whatever stops where, whatever clocks say, and however late U comes. Write transactions
exclude each other, so C is before H or after K. After K: C sees that d is referred to and brings it back; U is not
reached. Before H: A was before C, so H finds d out of its place. Either it brings d back by a link, and U removes
another name or none; or U was there first, and H refuses. No lock has to be held from C to U: a process that was paused
in between, or that has lost its connection, does no harm. Only set aside blobs are ever unlinked, and a blob is
brought back by link and not by copy, so two collectors at once can only find each other's work done.

Why nothing stays for ever: what is neither referred to nor held grows older than the grace. A collector begins with what
another one left aside: it comes back or goes. A time in the future, after a clock was turned back, is replaced by now.

Where blobs lie in a bucket the steps are others: `registry.removing`.

The grace is for the sake of intakes only: one that takes longer is refused at its end and repeated, and loses nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

import sqlalchemy as sa

from weighbridge.claims.records import read_event
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused, Unreadable, VerificationFailed
from weighbridge.core.manifest import Manifest
from weighbridge.core.statement import Statement
from weighbridge.registry import removing
from weighbridge.registry.collected import Collected
from weighbridge.registry.removing import RecordsPage, Removing
from weighbridge.registry.wiring import Registry
from weighbridge.source import partial
from weighbridge.store import schema
from weighbridge.store.aside import hold
from weighbridge.trust.bundle import Bundle

GRACE_HOURS = 24.0
PART = 256
"""Blobs that are set aside in one go: writers wait no longer than that takes."""


class Removable(Protocol):
    """What a store gives so that its garbage can be removed: `store.aside.Aside`, where each step is described."""

    def idle(self, digest: Digest) -> float | None:
        """Return for how many seconds nobody has put or held a blob; None when there is none."""
        ...

    def set_aside(self, digest: Digest) -> bool:
        """Take a blob from its place."""
        ...

    def bring_back(self, digest: Digest) -> bool:
        """Put it back."""
        ...

    def drop(self, digest: Digest) -> int | None:
        """Remove for ever what is set aside."""
        ...

    def aside(self) -> list[Digest]:
        """Return what is set aside."""
        ...

    def forget(self, referenced: Iterable[Digest]) -> None:
        """Remove notes that nobody needs."""
        ...


@dataclass
class Collector:
    """The steps A, C and U over one store."""

    store: Removable
    """Where blobs are set aside."""
    names: Callable[[], Iterable[Digest]]
    """Gives the names of all that is kept."""
    references: Callable[[], AbstractContextManager[Collection[Digest]]]
    """Gives what is referred to, inside of a write transaction."""
    grace: float
    """Seconds."""
    found: Collected = field(default_factory=Collected)

    def run(self) -> Collected:
        """Finish what another collection left aside, then collect; safe to be cut off anywhere."""
        self._settle(self.store.aside())
        with self.references() as referenced:
            known = set(referenced)
        self.found.referenced = len(known)
        unknown = [digest for digest in self.names() if digest not in known]
        old = [digest for digest in unknown if self._old(digest)]
        self.found.young = len(unknown) - len(old)
        for start in range(0, len(old), PART):
            part = old[start : start + PART]
            with self.references() as referenced:
                gone = [digest for digest in part if digest not in referenced and self._old(digest)]
                for digest in gone:
                    self.store.set_aside(digest)
            self._settle(gone)
        self.store.forget(known)
        return self.found

    def _old(self, digest: Digest) -> bool:
        idle = self.store.idle(digest)
        return idle is not None and idle >= self.grace

    def _settle(self, digests: Sequence[Digest]) -> None:
        """Look again whether anybody needs what is set aside; what nobody does is removed for ever."""
        if not digests:
            return
        gone = []
        with self.references() as referenced:
            for digest in digests:
                idle = self.store.idle(digest)
                if digest in referenced or (idle is not None and idle < self.grace):
                    self.found.brought_back += self.store.bring_back(digest)
                else:
                    gone.append(digest)
        for digest in gone:
            size = self.store.drop(digest)
            if size is not None:
                self.found.removed.append(digest)
                self.found.freed += size


def collect(registry: Registry, *, grace_hours: float = GRACE_HOURS, dry: bool = False) -> Collected:
    """Remove the blobs that nothing refers to and nobody has put for the grace; `dry` only says which.

    Halves of files that sources left (`source.partial`) and nobody went on with for the grace go as well. Raises Refused(gc.store) for a store that can neither set blobs aside nor end requests, Refused(gc.shared) where another
    registry keeps its own there, Unreadable, Unreachable, Locked.
    """
    _check_own(registry)
    known = References()
    halves = partial.sweep(registry.layout.scratch / partial.FOLDER, grace_hours * 3600, dry=dry)
    found = _collect(registry, known, grace_hours, dry=dry)
    found.halves, found.freed = len(halves), found.freed + sum(halves)
    return found


def _collect(registry: Registry, known: References, grace_hours: float, *, dry: bool) -> Collected:
    if registry.blobs.removal is not None:
        return _collect_bucket(registry, registry.blobs.removal, known, timedelta(hours=grace_hours), dry=dry)
    store = _removable(registry)

    @contextmanager
    def locked() -> Iterator[Collection[Digest]]:
        with registry.writing(), registry.records.write() as connection:
            yield known.read(connection)

    @contextmanager
    def seen() -> Iterator[Collection[Digest]]:
        with registry.records.read() as connection:
            yield known.read(connection)

    collector = Collector(store, registry.blobs.digests, locked, grace_hours * 3600)
    try:
        if dry:
            return _rehearsed(registry, store, seen, grace_hours * 3600)
        return collector.run()
    except OSError as error:
        raise Unreadable(
            "the kept blobs cannot be collected",
            cause=error.strerror or str(error),
            remedy="look at the disk and at who may write there, then run it again: what was begun is finished then",
        ) from error


def _rehearsed(
    registry: Registry,
    store: Removable,
    seen: Callable[[], AbstractContextManager[Collection[Digest]]],
    grace: float,
) -> Collected:
    found = Collected(dry=True)
    with seen() as referenced:
        found.referenced = len(referenced)
        for digest in registry.blobs.digests():
            idle = store.idle(digest) if digest not in referenced else None
            if idle is not None and idle >= grace:
                found.removed.append(digest)
                found.freed += registry.blobs.size(digest)
            elif idle is not None:
                found.young += 1
    return found


def _collect_bucket(
    registry: Registry, store: Removing, known: References, grace: timedelta, *, dry: bool
) -> Collected:
    if dry:
        with registry.records.read() as connection:
            return removing.rehearsed(store, known.read(connection), grace)
    pages = removing.pages_of(registry, known.read)
    return removing.BucketCollector(store, pages, grace, registry.blobs.removed).run()


def _check_own(registry: Registry) -> None:
    """Refuse to collect where another registry keeps blobs: what it refers to is not known here."""
    others = registry.blobs.users() - {registry.id}
    if others:
        raise Refused(
            "the garbage of this store of blobs cannot be collected",
            cause=f"the registry {min(others)} keeps blobs in it too, and what it refers to is not known here",
            remedy=f"give each registry a folder or prefix of its own; if that one is no more, remove its note used-by/{min(others)}",
            check="gc.shared",
        )


class References:
    """What refers to blobs. Manifests are never changed, so that each is read once however often this is asked.

    Each model must have its own manifest: were one removed or exchanged behind our back, its files would look like garbage.
    """

    def __init__(self) -> None:
        self._models: set[tuple[str, str]] = set()
        self._found: set[Digest] = set()

    def read(self, connection: sa.Connection) -> Collection[Digest]:
        """Return every blob that something recorded refers to; raises VerificationFailed(records.manifest)."""
        model, table, policy = schema.model, schema.description, schema.policy
        keys = {(row[0], row[1]) for row in connection.execute(sa.select(model.c.project, model.c.digest))}
        if missing := keys - self._models:
            query = sa.select(table.c.project, table.c.digest, table.c.manifest)
            if len(missing) <= PART:
                query = query.where(table.c.digest.in_({digest for _, digest in missing}))
            for project, digest, text in connection.execute(query):
                manifest = Manifest.from_json(text.encode())
                if str(manifest.digest) == digest:
                    self._found |= {entry.sha256 for entry in manifest.files}
                    self._models.add((project, digest))
        if lost := keys - self._models:
            raise VerificationFailed(
                "the manifest of a kept model is gone or was exchanged",
                cause=f"no manifest of {min(lost)[1]} is kept, so nobody can tell which blobs are its own",
                remedy="find out who can write to the registry's records, then restore them from a backup",
                check="records.manifest",
            )
        blobs = set(connection.execute(sa.select(policy.c.blob).where(policy.c.blob != "")).scalars())
        return self._found | {Digest.parse(blob) for blob in blobs | _asked_for(connection)}


def _asked_for(connection: sa.Connection) -> set[str]:
    """Return the blobs of policies that somebody signed: one may wait for another's approval for as long as it takes."""
    query = sa.select(schema.bundle.c.content).where(schema.bundle.c.stage == "policy")
    found = set()
    for content in connection.execute(query).scalars():
        record = read_event(Statement.decode(Bundle.from_json(content.encode()).envelope.payload))
        if record is not None and record.body.get("blob"):
            found.add(str(record.body["blob"]))
    return found


def hold_all(registry: Registry, connection: sa.Connection, digests: Iterable[Digest]) -> None:
    """Make sure that blobs are kept which are about to be referred to, inside the transaction that does so (H).

    Raises Refused(blob.kept) for what is not here: it was collected since it was put, or never was; and
    Refused(blob.going) for what is being removed.
    """
    wanted, blobs = list(digests), registry.blobs
    if str(registry.config["blobs"]):
        blobs.claim(registry.id)
    if blobs.removal is not None:
        removing.check(RecordsPage(registry, connection), wanted, blobs.removal.now)
    held = functools.partial(hold, blobs) if blobs.removal is None else blobs.has
    for digest in wanted:
        if not held(digest):
            raise Refused(
                f"the blob {digest.short} is not kept any more",
                cause="it was put longer ago than garbage collection waits, and nothing referred to it",
                remedy="take the model in again; a longer --grace keeps what a slow intake has put",
                check="blob.kept",
            )


def not_going(registry: Registry, digests: Iterable[Digest]) -> None:
    """Make sure that what was put again, and is referred to already, is not being removed; raises Refused(blob.going)."""
    if registry.blobs.removal is not None:
        with registry.writing(), registry.records.write() as connection:
            removing.check(RecordsPage(registry, connection), digests, registry.blobs.removal.now)


def _removable(registry: Registry) -> Removable:
    store = getattr(registry.blobs, "aside", None)
    if store is None:
        raise Refused(
            "the garbage of this store of blobs cannot be collected by this command",
            cause="a folder can set blobs aside, a bucket can end a request to delete; this store has neither step",
            remedy="let the store collect its own garbage, and see docs/reference/gc.md",
            check="gc.store",
        )
    found: Removable = store
    return found
