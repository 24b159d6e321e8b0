"""Taking blobs away so that they can be had back: the part of garbage collection that touches files.

Beside the blobs of a folder lie two folders of garbage collection::

    sha256/.aside/<hex>    a blob that was set aside; nothing but `drop` removes it for ever
    sha256/.held/<hex>     empty; its time says when somebody last put or needed a blob that was there already

Every step is one call to the kernel, so any number of processes may be at it. `registry.gc` says in which order they
are safe. Ages are told by the file system's own clock (that of a file just touched), which is the clock of all who write.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

from weighbridge.core.digest import Digest
from weighbridge.store.plain import flush_folder

ASIDE, HELD = ".aside", ".held"
SKEW = 300.0
"""Seconds that a time may lie ahead of the file system's clock; beyond that the clock was turned back."""
_HEX = re.compile("[0-9a-f]{64}")


@runtime_checkable
class Holding(Protocol):
    """A store whose garbage may be collected while others write to it."""

    def hold(self, digest: Digest) -> bool:
        """Tell whether a blob is kept; if so it is safe from collection for the grace, brought back when set aside."""
        ...


class Keeping(Protocol):
    """Any store that knows what it keeps."""

    def has(self, digest: Digest) -> bool:
        """Tell whether a blob of this name is kept."""
        ...


def hold(blobs: Keeping, digest: Digest) -> bool:
    """Tell whether a blob is kept that somebody is about to need, and keep it from being collected meanwhile."""
    return blobs.hold(digest) if isinstance(blobs, Holding) else blobs.has(digest)


class Aside:
    """What is set aside and held in the folder `top` (`sha256/`) of a `FileBlobs`. Raises OSError."""

    def __init__(self, top: Path) -> None:
        self._top = top

    def hold(self, digest: Digest) -> bool:
        """Note that a blob is needed; False when it is not here.

        The note is made first and the blob looked for after it. Whoever sets it aside later finds the note; whoever
        did so before is found out here, and the blob brought back.
        """
        path = self._path(digest)
        while True:
            if not _is_file(path) and not self.bring_back(digest):
                return False
            self._note(digest)
            if _is_file(path):
                return True

    def idle(self, digest: Digest) -> float | None:
        """Return for how many seconds nobody has put or held a blob, here or set aside; None when there is none.

        A time in the future is none: the clock was turned back since. Counting then begins now.
        """
        blob = _time(self._path(digest))
        if blob is None:
            blob = _time(self._aside(digest))
        if blob is None:
            return None
        now, held = self._now(), _time(self._held(digest))
        known = [moment for moment in (blob, held) if moment is not None and moment <= now + SKEW]
        if not known or (held is not None and held > now + SKEW):
            self._note(digest)
            return 0.0
        return max(0.0, now - max(known))

    def set_aside(self, digest: Digest) -> bool:
        """Take a blob from its place; False when it is not there."""
        self._folder(ASIDE)
        try:
            os.rename(self._path(digest), self._aside(digest))  # noqa: PTH104 (one call that a test can stop at)
        except FileNotFoundError:
            return False
        return True

    def bring_back(self, digest: Digest) -> bool:
        """Put a blob that was set aside back in its place, durably; False when it is in neither place.

        What was put there meanwhile stays: it is the same.
        """
        path = self._path(digest)
        try:
            os.link(self._aside(digest), path, follow_symlinks=False)
        except FileExistsError:
            pass
        except FileNotFoundError:
            return _is_file(path)
        flush_folder(path.parent)
        with suppress(FileNotFoundError):
            os.unlink(self._aside(digest))  # noqa: PTH108
        return True

    def drop(self, digest: Digest) -> int | None:
        """Remove for ever what is set aside; returns its bytes, None when it was brought back or dropped already."""
        path = self._aside(digest)
        try:
            size = os.stat(path, follow_symlinks=False).st_size  # noqa: PTH116
            os.unlink(path)  # noqa: PTH108
        except FileNotFoundError:
            return None
        return size

    def aside(self) -> list[Digest]:
        """Return what is set aside."""
        return _named(self._top / ASIDE)

    def open_path(self, digest: Digest) -> Path:
        """Return where a blob lies while it is set aside, for a reader who needs it all the same."""
        return self._aside(digest)

    def forget(self, referenced: Iterable[Digest]) -> None:
        """Remove notes about blobs that are gone, and about those that are `referenced` and need none."""
        known = {digest.hex for digest in referenced}
        for digest in _named(self._top / HELD):
            if digest.hex in known or not _is_file(self._path(digest)):
                with suppress(FileNotFoundError):
                    os.unlink(self._held(digest))  # noqa: PTH108

    def _now(self) -> float:
        self._folder(HELD)
        probe = self._top / HELD / ".now"
        _touch(probe)
        return os.stat(probe).st_mtime  # noqa: PTH116

    def _note(self, digest: Digest) -> None:
        self._folder(HELD)
        _touch(self._held(digest))

    def _folder(self, name: str) -> None:
        with suppress(FileExistsError):
            os.mkdir(self._top / name, 0o700)  # noqa: PTH102

    def _path(self, digest: Digest) -> Path:
        return self._top / digest.hex[:2] / digest.hex

    def _aside(self, digest: Digest) -> Path:
        return self._top / ASIDE / digest.hex

    def _held(self, digest: Digest) -> Path:
        return self._top / HELD / digest.hex


def _named(folder: Path) -> list[Digest]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 (names are all that is needed)
    except FileNotFoundError:
        return []
    return [Digest("sha256", name) for name in sorted(names) if _HEX.fullmatch(name)]


def _touch(path: Path) -> None:
    """Give a file the time that it is now, making it first; it may be removed at any moment."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    while True:
        os.close(os.open(path, flags, 0o600))
        with suppress(FileNotFoundError):
            os.utime(path)
            return


def _time(path: Path) -> float | None:
    try:
        return os.stat(path, follow_symlinks=False).st_mtime  # noqa: PTH116
    except FileNotFoundError:
        return None


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.stat(path, follow_symlinks=False).st_mode)  # noqa: PTH116
    except FileNotFoundError:
        return False
