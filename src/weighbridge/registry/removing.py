"""Garbage collection where blobs cannot be set aside: a bucket, whose objects are removed by requests that end by themselves.

For a blob d that nothing refers to and nobody has put or needed for the grace:

    C  in a write transaction, read what refers to blobs; is it not d, sign a request that deletes d and counts until t
       by the store's clock (`store.removal`), and record "d goes, until t" (table `removal`)
    U  once that is committed, send the request, one time

and of whoever refers to blobs, in the one write transaction that says so (`check`):

    H  is it recorded that d goes, then, until t has passed at the store, nothing is recorded and intake is told to come
       again; after t the record is removed. Then d is looked for; is it not there, nothing is recorded either
    K  the transaction commits

Why nothing referred to is lost, whatever stops where, however late a request arrives and however often. Write
transactions exclude each other, so C is before H or after K. After K: C sees that d is referred to. Before H: H finds the
record, or it was removed, which is done after t only. After t no request of before does anything, so whatever H finds
there stays. A request whose transaction did not commit is never sent; and as t is part of what was signed, a process that was
paused for a day in between sends one that the store refuses. MARGIN is left for a store whose machines differ in time.

Why nothing stays for ever: what a request did not remove is found again by the next collection, once t has passed; records
whose time has passed are removed at its beginning.

What it costs: the same bytes cannot be taken in again for some minutes after they were collected (`blob.going`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

import sqlalchemy as sa

from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused
from weighbridge.registry.collected import Collected
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.store.removal import SECONDS, Listed, Removal

MARGIN = timedelta(minutes=5)
"""How long after its end a request is still reckoned with."""
APART = timedelta(minutes=10)
"""How far this machine's clock may be from the store's."""
PART = 64
"""Blobs that are recorded as going in one transaction: writers wait no longer than that takes."""


class Removing(Protocol):
    """What a store gives so that its garbage can be removed: `store.removal.BucketRemoval`, where each step is described."""

    def now(self) -> datetime:
        """Return the store's time."""
        ...

    def blobs(self) -> Iterable[Listed]:
        """List what is kept."""
        ...

    def notes(self) -> Mapping[Digest, datetime]:
        """Return when blobs were last needed."""
        ...

    def prepare(self, digest: Digest) -> Removal:
        """Sign a request."""
        ...

    def send(self, removal: Removal) -> str:
        """Send it; returns why the blob may still be there."""
        ...

    def forget(self, digests: Iterable[Digest]) -> None:
        """Remove notes."""
        ...


class Page(Protocol):
    """The records inside of a write transaction."""

    referenced: Collection[Digest]
    """What something recorded refers to."""

    def going(self) -> Mapping[Digest, datetime]:
        """Return what is recorded as going, and until when."""
        ...

    def note_going(self, digest: Digest, until: datetime) -> None:
        """Record that a blob goes."""
        ...

    def clear(self, digest: Digest) -> None:
        """Remove that record."""
        ...


@dataclass
class RecordsPage:
    """A page of the registry's records."""

    registry: Registry
    connection: sa.Connection
    referenced: Collection[Digest] = ()

    def going(self) -> Mapping[Digest, datetime]:
        """Read the table `removal`."""
        table = schema.removal
        rows = self.connection.execute(sa.select(table.c.digest, table.c.until))
        return {Digest.parse(digest): datetime.fromisoformat(until).astimezone(UTC) for digest, until in rows}

    def note_going(self, digest: Digest, until: datetime) -> None:
        """Add a row."""
        row = {**self.registry.record(), "digest": str(digest), "until": rfc3339(until)}
        self.connection.execute(sa.insert(schema.removal).values(row))

    def clear(self, digest: Digest) -> None:
        """Delete the row."""
        self.connection.execute(sa.delete(schema.removal).where(schema.removal.c.digest == str(digest)))


@dataclass
class BucketCollector:
    """The steps C and U over one bucket."""

    store: Removing
    pages: Callable[[], AbstractContextManager[Page]]
    """Begins a write transaction."""
    grace: timedelta
    removed: Callable[[Digest], None] = lambda _digest: None
    """Told of each blob that is gone."""
    found: Collected = field(default_factory=Collected)

    def run(self) -> Collected:
        """Collect; safe to be cut off anywhere."""
        now = self.store.now()
        with self.pages() as page:
            going = dict(page.going())
            for digest in [digest for digest, until in going.items() if now > until + MARGIN]:
                page.clear(digest)
                del going[digest]
            known = set(page.referenced)
        self.found.referenced = len(known)
        listed = list(self.store.blobs())
        unknown = {blob.digest: blob for blob in listed if blob.digest not in known}
        notes = self.store.notes()
        aged = [blob for blob in unknown.values() if is_old(blob, notes, now, self.grace)]
        old = [blob for blob in aged if blob.digest not in going]
        self.found.going = sum(digest in going for digest in unknown)
        self.found.young = len(unknown) - len(old) - self.found.going
        for start in range(0, len(old), PART):
            self._remove(old[start : start + PART])
        self.store.forget(digest for digest in notes if digest not in unknown)
        return self.found

    def _remove(self, part: Sequence[Listed]) -> None:
        """Record and sign (C), then send (U)."""
        now, notes = self.store.now(), self.store.notes()
        requests = []
        with self.pages() as page:
            going = page.going()
            for blob in part:
                free = blob.digest not in page.referenced and blob.digest not in going
                if free and is_old(blob, notes, now, self.grace):
                    request = prepared(self.store, blob.digest, now)
                    page.note_going(blob.digest, request.until)
                    requests.append((request, blob.size))
        for request, size in requests:
            if reason := self.store.send(request):
                self.found.left[request.digest] = reason
                continue
            self.removed(request.digest)
            self.found.removed.append(request.digest)
            self.found.freed += size


def is_old(blob: Listed, notes: Mapping[Digest, datetime], now: datetime, grace: timedelta) -> bool:
    """Tell whether nobody has put or needed a blob for the grace; a time in the future is now."""
    last = max(blob.put, notes.get(blob.digest, blob.put))
    return now - min(last, now) >= grace


def prepared(store: Removing, digest: Digest, now: datetime) -> Removal:
    """Sign a request; raises Refused(gc.clock) when this machine's clock is far from the store's."""
    request = store.prepare(digest)
    if abs(request.until - timedelta(seconds=SECONDS) - now) > APART:
        raise Refused(
            "nothing is removed while this machine's clock differs from the store's",
            cause=f"a request signed here would end at {rfc3339(request.until)}, and at the store it is {rfc3339(now)}",
            remedy="set the clock right, then run it again",
            check="gc.clock",
        )
    return request


def check(page: Page, digests: Iterable[Digest], now: Callable[[], datetime]) -> None:
    """Make sure that no blob is going which is about to be referred to (H); `now` asks the store for its time.

    Raises Refused(blob.going).
    """
    going = page.going()
    for digest in digests:
        until = going.get(digest)
        if until is None:
            continue
        if now() <= until + MARGIN:
            raise Refused(
                f"the blob {digest.short} is being removed",
                cause="garbage collection found that nothing referred to it, and its request to the store may still arrive",
                remedy=f"run it again after {rfc3339(until + MARGIN)}",
                check="blob.going",
            )
        page.clear(digest)


def remove(registry: Registry, removing: Removing, digests: Sequence[Digest]) -> dict[Digest, str]:
    """Remove blobs that nobody refers to any more by the word of whoever holds the registry's lock; returns what may be left, and why."""
    now, requests, left = removing.now(), [], {}
    with registry.records.write() as connection:
        page = RecordsPage(registry, connection)
        check(page, digests, lambda: now)
        for digest in digests:
            request = prepared(removing, digest, now)
            page.note_going(digest, request.until)
            requests.append(request)
    for request in requests:
        if reason := removing.send(request):
            left[request.digest] = reason
        else:
            registry.blobs.removed(request.digest)
    return left


def rehearsed(store: Removing, referenced: Collection[Digest], grace: timedelta) -> Collected:
    """Say what would go now."""
    found, now, notes = Collected(dry=True, referenced=len(referenced)), store.now(), store.notes()
    for blob in store.blobs():
        if blob.digest in referenced:
            continue
        if is_old(blob, notes, now, grace):
            found.removed.append(blob.digest)
            found.freed += blob.size
        else:
            found.young += 1
    return found


def pages_of(
    registry: Registry, read: Callable[[sa.Connection], Collection[Digest]]
) -> Callable[[], AbstractContextManager[Page]]:
    """Return how to begin a write transaction over the registry's records; `read` gives what they refer to."""

    @contextmanager
    def page() -> Iterator[Page]:
        with registry.writing(), registry.records.write() as connection:
            yield RecordsPage(registry, connection, read(connection))

    return page
