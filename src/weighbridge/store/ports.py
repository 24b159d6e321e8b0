"""What a store of blobs promises, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO, Protocol

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
        """Open a blob for reading, unverified; raises NotFound or Unreadable."""
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
