"""Blobs in S3, Google Cloud Storage and Azure: one object each, `sha256/ab/<hex>`.

What is atomic, by store. S3: a put of one request and the completion of a multipart upload; both show the whole
object or none. Google: every upload, for an object appears when it is finalised. Azure: a put of one request and the
commit of a list of blocks. So nobody ever sees a part of a blob, in any of the three.

What is conditional. A blob of up to SINGLE bytes is put with "only if nothing has that name" (`If-None-Match: *`,
Google's `ifGenerationMatch=0`), so of two writers at once one is told that it lost, and compares. A larger one goes
in parts without such a condition, after a look that nothing is there: two writers at once may both complete, and as
the name is the digest of what each of them hashed, the bytes that replace are the bytes that were there. Azure lets only
one complete: whoever commits first drops the parts that others sent meanwhile, and these are told that they lost.

What proves a blob there. S3's entity tag is the MD5 of an object (of its parts' MD5 for a multipart one) unless a key
of the customer's encrypts it; it is compared with the file that was sent. Where it cannot be compared, and always
with Azure, the blob is read back. MD5 finds accidents; against a store that lies, only `verify` helps,
and the gate calls it before every decision.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadSetting, NotFound, Unreachable, WeighbridgeError
from weighbridge.store.remote import Kept, RemoteBlobs
from weighbridge.store.removal import BucketRemoval

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SINGLE = 8 * 1024 * 1024
PART = 16 * 1024 * 1024
MOST_PARTS = 9000
"""S3 takes 10 000 parts of an object; larger blobs go in larger parts."""
CONCURRENT = 4

_NAME = re.compile(r"sha256/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_REFUSED = re.compile(r"status code: 40[13]\b|\(code: 40[13]\)")
"""How the library tells of a list or a removal that was not allowed: it has a class of errors for other requests only."""
_ALLOW_HTTP = {"s3": "AWS_ALLOW_HTTP", "s3a": "AWS_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP"}
_CLIENT: Mapping[str, Any] = {"timeout": "60s", "connect_timeout": "10s"}
_RETRY: Mapping[str, Any] = {"max_retries": 4, "retry_timeout": timedelta(seconds=120)}


def open_objects(url: str, *, cache: Path, **options: Any) -> RemoteBlobs:
    """Open the blobs at `s3://bucket/prefix`, `gs://…` or `az://…`; raises BadSetting.

    Address and credentials come from where each provider's own programs take them: the environment
    (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME …) or the machine's
    identity. `options` are obstore's.
    """
    return RemoteBlobs(ObjectPlace(open_store(url, **options), url), cache)


def open_store(url: str, **options: Any) -> ObjectStore:
    """Open obstore's client for a bucket; raises BadSetting."""
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as error:
        raise BadSetting(
            "object stores need a library that is not installed",
            cause=str(error),
            remedy="install it: pip install 'weighbridge[objects]'",
        ) from error
    client = {**_CLIENT, **options.pop("client_options", {})}
    allowed = _ALLOW_HTTP.get(urlsplit(url).scheme.lower(), "AZURE_ALLOW_HTTP")
    if os.environ.get(allowed, "").lower() == "true":  # the library forgets it beside other options
        client.setdefault("allow_http", True)
    try:
        return from_url(
            url, client_options=client, retry_config={**_RETRY, **options.pop("retry_config", {})}, **options
        )
    except (BaseError, ValueError, TypeError) as error:
        raise BadSetting(
            f"{shown(url)} cannot be used as a store of blobs",
            cause=first_line(error),
            remedy="write s3://bucket/prefix, gs://bucket/prefix or az://container/prefix",
        ) from error


class ObjectPlace:
    """`store.remote.Place` in a bucket."""

    def __init__(self, store: ObjectStore, url: str) -> None:
        self._store = store
        self._where = shown(url)
        self._removal = BucketRemoval(store, self._where)

    @property
    def removal(self) -> BucketRemoval:
        """Return how blobs are removed here."""
        return self._removal

    @property
    def where(self) -> str:
        """Return scheme, bucket and prefix."""
        return self._where

    def find(self, digest: Digest) -> Kept | None:
        """Ask for the object's head."""
        try:
            meta = self._store.head(key(digest))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise mapped(error, self.where) from error
        tag = meta["e_tag"] or ""
        return Kept(meta["size"], (tag, meta["version"], meta["last_modified"].isoformat()), tag.strip('"'))

    def fetch(self, digest: Digest, start: int, length: int) -> bytes:
        """Get a range."""
        try:
            return bytes(self._store.get_range(key(digest), start=start, length=length))
        except Exception as error:
            raise mapped(error, self.where, digest) from error

    def send(self, digest: Digest, path: Path, size: int, *, replace: bool = False) -> bool:
        """Put an object; see the top of this file for what is atomic and what is conditional."""
        from obstore.exceptions import AlreadyExistsError

        try:
            if size <= SINGLE:
                mode = "overwrite" if replace else "create"
                self._store.put(key(digest), path.read_bytes(), mode=mode, use_multipart=False)
            else:
                with path.open("rb") as file:
                    self._store.put(
                        key(digest),
                        file,
                        use_multipart=True,
                        chunk_size=part_size(size),
                        max_concurrency=CONCURRENT,
                    )
                self._removal.note(digest)  # S3 dates such an object by its beginning
        except AlreadyExistsError:
            return False
        except Exception as error:
            if "InvalidBlockList" in str(error) and self._came(digest):
                return False
            raise mapped(error, self.where) from error
        return True

    def _came(self, digest: Digest) -> bool:
        """Tell whether somebody else's upload of it ended first, with which Azure dropped the parts of ours."""
        try:
            return self.find(digest) is not None
        except WeighbridgeError:
            return False

    def proves(self, kept: Kept, path: Path) -> bool:
        """Compare an S3 entity tag with the file that was sent."""
        tag = kept.seal
        if re.fullmatch("[0-9a-f]{32}", tag):
            with path.open("rb") as file:
                return hashlib.file_digest(file, _md5).hexdigest() == tag
        return bool(re.fullmatch("[0-9a-f]{32}-[0-9]+", tag)) and _tag_in_parts(path, kept.size) == tag

    def names(self) -> Iterator[Digest]:
        """List the objects."""
        try:
            for page in self._store.list("sha256"):
                for meta in page:
                    if found := _NAME.fullmatch(meta["path"]):
                        yield Digest("sha256", found[2])
        except Exception as error:
            raise mapped(error, self.where) from error

    def remove(self, digest: Digest) -> None:
        """Delete the object."""
        try:
            self._store.delete(key(digest))
        except FileNotFoundError:
            return
        except Exception as error:
            raise mapped(error, self.where) from error


def key(digest: Digest) -> str:
    """Return the name of a blob's object below the prefix."""
    return f"sha256/{digest.hex[:2]}/{digest.hex}"


def part_size(size: int) -> int:
    """Return the bytes of a part of an object of `size` bytes."""
    return max(PART, -(-size // MOST_PARTS))


def shown(url: str) -> str:
    """Return an address without what could be a secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}".rstrip("/")


def first_line(error: BaseException) -> str:
    """Return what an error of obstore says to people; the rest is its insides."""
    line = (str(error).splitlines() or [""])[0]
    if code := re.search(r"<Code>(\w+)</Code>", str(error)):
        line = line.partition("<")[0] + code[1]
    return line[:300]


def mapped(error: Exception, where: str, digest: Digest | None = None) -> WeighbridgeError:
    """Return the error of ours that an error of obstore means."""
    if isinstance(error, WeighbridgeError):
        return error
    if isinstance(error, FileNotFoundError) and digest is not None:
        return NotFound(
            f"the blob {digest.short} is not kept here",
            cause=f"{where} has nothing of that name",
            remedy="take the model in again with `weighbridge intake`",
        )
    kind = type(error).__name__
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or _REFUSED.search(
        str(error).partition("\n")[0]
    ):
        return Unreachable(
            f"{where} does not let this identity in",
            cause=first_line(error),
            remedy="check the credentials; reading, writing, listing and, for gc, deleting objects are needed",
            check="blob.access",
        )
    return Unreachable(
        f"{where} gave no usable answer",
        cause=first_line(error) or kind,
        remedy="check that the bucket exists and the store answers, then run the command again",
        check="blob.unreachable",
    )


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


def _tag_in_parts(path: Path, size: int) -> str:
    """Return the entity tag that S3 gives an object which came in parts of our size."""
    whole, count, length = _md5(), 0, part_size(size)
    with path.open("rb") as file:
        while part := file.read(length):
            whole.update(hashlib.md5(part, usedforsecurity=False).digest())
            count += 1
    return f"{whole.hexdigest()}-{count}"
