"""What a source gives: the files of one model, before anybody has read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from weighbridge.core.digest import Digest
from weighbridge.core.errors import OutOfBudget
from weighbridge.core.manifest import Listing

MAX_BYTES = 1 << 41
"""Two tebibytes a tree: more is asked for by name (`max_bytes`), so that a sparse file cannot cost a day."""


@dataclass(frozen=True, slots=True)
class TreeFile:
    """One file of a tree: relative path with '/', size in bytes as listed, and how to open it.

    `announced` are digests that somebody else gave for it: `sha256:` of the content, or `sha1:` of the
    git blob (the hash of "blob SIZE NUL" and the content). They are compared, never believed.
    """

    path: str
    size: int
    opener: Callable[[], BinaryIO] = field(repr=False, compare=False)
    announced: tuple[Digest, ...] = ()
    settle: Callable[[BinaryIO], None] | None = field(default=None, repr=False, compare=False)
    """Called with the stream after its last byte; raises Unreadable when the file is no longer the one listed."""
    remote: bool = False
    """Opening it means fetching it: a kept blob of the announced SHA-256 is read instead, and hashed as well."""

    def open(self) -> BinaryIO:
        """Open for one reading from start to end; raises Unreadable, BadManifest or NotFound.

        Nothing is compared here: `read.read_file` does that. Opening a remote file again fetches it again,
        so whoever needs its bytes twice keeps them (`read_tree(tree, blobs)`) and reads what was kept.
        """
        return self.opener()


class Tree(Protocol):
    """The files of one model, listed once. Close it when done."""

    @property
    def model_hint(self) -> str:
        """What to call the model in messages: a folder's name, a repository. Never an identity."""
        ...

    @property
    def origin(self) -> Mapping[str, str]:
        """Facts about where it came from, by the source itself: `scheme`, and what that scheme knows."""
        ...

    def files(self) -> Sequence[TreeFile]:
        """Return the files, in the order of the manifest, excluded ones left out."""
        ...

    def settle(self) -> None:
        """Look again, after the last file was read; raises Unreadable when the tree is no longer as listed."""
        ...

    def close(self) -> None:
        """Release what the tree holds open."""
        ...


def listed(tree: Tree, *, max_bytes: int = MAX_BYTES) -> Listing[TreeFile]:
    """Return the files, held against the manifest's own rules: a tree that cannot have an identity costs no reading.

    Raises OutOfBudget when the tree is larger than `max_bytes`, and BadManifest.
    """
    listing = Listing.of(tree.files())
    if listing.size > max_bytes:
        largest = max(listing.files, key=lambda file: file.size)
        raise OutOfBudget(
            f"this model is larger than the limit: {listing.size} of at most {max_bytes} bytes",
            cause=f"the largest file is {largest.path!r} with {largest.size} bytes; a sparse file counts in full",
            remedy="leave out what does not belong to the model, or raise the limit",
            check="source.size",
        )
    return listing
