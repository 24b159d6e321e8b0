"""Removing objects from a bucket so that nothing is removed late: by requests that the store itself refuses after their time.

A folder takes a blob out of its place by one call, and can have it back. A bucket has no such step, and a request to delete
may arrive at any time: its sender was paused, a proxy sent it again. So nothing is deleted by a plain request. Each
goes to an address that was signed for this one object, this method and two minutes (AWS Signature Version 4, query
parameters `X-Amz-Date` and `X-Amz-Expires`; Google's V4 signed URLs; Azure's shared access signatures, `se`). The end of
that time is in the signed text and counts by the store's own clock, so whatever delays it, afterwards it does nothing.
`registry.removing` says in which order this is safe.

Beside the blobs lie two kinds of small objects::

    held/<hex>         empty; its time says when somebody last put or needed a blob that was there already
    used-by/<id>       empty; a registry of this id keeps blobs here

Ages are told by the store's clock: that of an object put just now.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused, WeighbridgeError
from weighbridge.store.files import USED

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from weighbridge.net import Door

SECONDS = 120
"""For how long a request to delete counts."""
HELD = "held"
_BLOB = re.compile(r"sha256/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_NOTE = re.compile(r"held/([0-9a-f]{64})")
_USER = re.compile(r"used-by/([0-9A-Za-z._-]{1,128})")
_DONE = (200, 202, 204, 404)


@dataclass(frozen=True, slots=True)
class Removal:
    """A request to delete one object that nobody has sent yet."""

    digest: Digest
    url: str = field(repr=False)
    """Whoever knows it can delete the object until then."""
    until: datetime
    """When it ends, by the store's clock."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A blob as the store lists it."""

    digest: Digest
    put: datetime
    size: int


class BucketRemoval:
    """What garbage collection needs of a bucket; errors are those of `core.errors`."""

    def __init__(self, store: ObjectStore, where: str) -> None:
        self._store = store
        self._where = where
        self._way: Door | None = None

    def now(self) -> datetime:
        """Return the store's time, by an object put just now."""
        probe = f"{HELD}/.now"
        try:
            self._store.put(probe, b"", use_multipart=False)
            told: datetime = self._store.head(probe)["last_modified"]
        except Exception as error:
            raise self._mapped(error) from error
        return told.astimezone(UTC)

    def blobs(self) -> Iterator[Listed]:
        """List the blobs with their ages; of one that came in parts the time may be that of its beginning (S3)."""
        for name, meta in self._list("sha256", _BLOB):
            yield Listed(Digest("sha256", name[2]), meta["last_modified"].astimezone(UTC), meta["size"])

    def notes(self) -> dict[Digest, datetime]:
        """Return when blobs were last needed that were there already."""
        listed = self._list(HELD, _NOTE)
        return {Digest("sha256", name[1]): meta["last_modified"].astimezone(UTC) for name, meta in listed}

    def note(self, digest: Digest) -> None:
        """Note that a blob is needed."""
        try:
            self._store.put(f"{HELD}/{digest.hex}", b"", use_multipart=False)
        except Exception as error:
            raise self._mapped(error) from error

    def forget(self, digests: Iterable[Digest]) -> None:
        """Remove notes that nobody needs; one that goes late spoils nothing but somebody's patience."""
        names = [f"{HELD}/{digest.hex}" for digest in digests]
        try:
            if names:
                self._store.delete(names)
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._mapped(error) from error

    def claim(self, registry: str) -> None:
        """Note that a registry keeps blobs here."""
        from obstore.exceptions import AlreadyExistsError

        try:
            self._store.put(f"{USED}/{registry}", b"", mode="create", use_multipart=False)
        except AlreadyExistsError:
            return
        except Exception as error:
            raise self._mapped(error) from error

    def users(self) -> set[str]:
        """Return the registries that keep blobs here."""
        return {name[1] for name, _ in self._list(USED, _USER)}

    def prepare(self, digest: Digest) -> Removal:
        """Sign a request to delete a blob; raises Refused(gc.store) where this identity cannot sign any."""
        import obstore

        try:
            url = obstore.sign(self._store, "DELETE", _key(digest), timedelta(seconds=SECONDS))
        except Exception as error:
            raise self._unsigned(str(error).splitlines()[0][:200]) from error
        return Removal(digest, url, self._end(url))

    def send(self, removal: Removal) -> str:
        """Send a request once; returns why the blob may still be there, nothing when it is gone."""
        from weighbridge import net

        try:
            answer = net.ask(self._door(removal.url), removal.url, method="DELETE", seconds=float(SECONDS))
        except WeighbridgeError as error:
            return error.cause or error.problem
        return "" if answer.status in _DONE else f"the store answered {answer.status}"

    def _door(self, url: str) -> Door:
        """Return the way to a signed address's host: all of a bucket are at one, and making it reads all certificates."""
        from weighbridge import net

        if self._way is None or self._way.host != urlsplit(url).hostname:
            what, setting = "the object store", "the store's endpoint"
            self._way = net.Door(url, offline=False, what=what, setting=setting, tags=False)
        return self._way

    def _list(self, folder: str, name: re.Pattern[str]) -> Iterator[tuple[re.Match[str], Any]]:
        try:
            for page in self._store.list(folder):
                for meta in page:
                    if found := name.fullmatch(meta["path"]):
                        yield found, meta
        except Exception as error:
            raise self._mapped(error) from error

    def _end(self, url: str) -> datetime:
        """Return when a signed address ends, which is in the signed text itself."""
        told = {name.lower(): values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        try:
            if "se" in told:
                return datetime.fromisoformat(told["se"]).astimezone(UTC)
            prefix = "x-goog" if "x-goog-date" in told else "x-amz"
            began = datetime.strptime(told[f"{prefix}-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            return began + timedelta(seconds=int(told[f"{prefix}-expires"]))
        except (KeyError, ValueError) as error:
            raise self._unsigned("what was signed does not say when it ends") from error

    def _unsigned(self, cause: str) -> Refused:
        return Refused(
            f"the garbage of {self._where} cannot be collected by this command",
            cause=f"no request could be signed that ends by itself: {cause}",
            remedy="use credentials that can sign (an access key, a service account's or an account's key), or the store's own lifecycle rules: docs/reference/gc.md",
            check="gc.store",
        )

    def _mapped(self, error: Exception) -> WeighbridgeError:
        from weighbridge.store.objects import mapped

        return mapped(error, self._where)


def _key(digest: Digest) -> str:
    return f"sha256/{digest.hex[:2]}/{digest.hex}"
