"""What a store of blobs promises, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from weighbridge.core.digest import Digest


class Blobs(Protocol):
    """Immutable byte strings, named by the SHA-256 of their content.

    Durability: when `put` returns, the blob survives a power cut. Concurrency: any number of readers
    and writers, also of the same blob; nobody sees a partial one. Idempotency: putting the same bytes
    again is the same as putting them once. Errors are those of `core.errors` only.
    """

    def put(self, chunks: Iterable[bytes], *, expected: Digest | None = None) -> Digest:
        """Keep the bytes of `chunks` and return their SHA-256.

        Raises VerificationFailed(`blob.digest`) when `expected` is another digest, OutOfBudget when
        there is no room; what `chunks` itself raises passes through. In each case nothing is kept.
        """
        ...

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading, unverified, seekable; raises NotFound, Unreadable or Unreachable.

        Of a store that is not on this machine the stream fetches the ranges that are asked for.
        """
        ...

    def read(self, digest: Digest, start: int, length: int) -> bytes:
        """Return the bytes [start, start + length), unverified, fewer only at the blob's end; raises like `open`."""
        ...

    def has(self, digest: Digest) -> bool:
        """Tell whether a blob of this name is kept; says nothing about its content (see `verify`)."""
        ...

    def verify(self, digest: Digest) -> bool:
        """Read the blob again and tell whether its bytes still have this digest; raises like `open`."""
        ...

    def free(self) -> int | None:
        """Return how many bytes more can be kept, or None where that has no meaning."""
        ...

    def size(self, digest: Digest) -> int:
        """Return how many bytes the kept blob has; raises like `open`."""
        ...

    def stamp(self, digest: Digest) -> tuple[object, ...] | None:
        """Return what the store changes whenever the bytes change, without reading them; None for what is not there.

        What was read twice between two equal stamps was the same twice, as far as the store can be believed.
        """
        ...

    def local(self, digest: Digest) -> Path:
        """Return a file of these bytes on this machine, to be read and never written; raises like `open`.

        A store of files gives its own, unverified; any other one a copy that was hashed when it came, and
        VerificationFailed(`blob.digest`) when the bytes that came were others.
        """
        ...

    def open_local(self, digest: Digest) -> BinaryIO:
        """Open the file that `local` names: who judges bytes reads them here, never from `open`."""
        ...

    def digests(self) -> Iterator[Digest]:
        """Yield the names of all kept blobs, in no order; what comes or goes meanwhile may be left out."""
        ...

    def delete(self, digest: Digest) -> None:
        """Remove a blob for ever; what is not there is no error. Only the garbage collector calls this."""
        ...


@runtime_checkable
class Shared(Protocol):
    """A store at a place of its own, where several registries could keep blobs by mistake: each leaves a note there."""

    def claim(self, registry: str) -> None:
        """Note that a registry of this id keeps blobs here."""
        ...

    def users(self) -> set[str]:
        """Return the ids of the registries that noted so."""
        ...
