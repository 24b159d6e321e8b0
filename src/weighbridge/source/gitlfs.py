"""A path as typed: a folder or file, and a git checkout whose large files may be pointers of git-lfs.

A pointer (git-lfs, "Specification") says the SHA-256 and the size of a file that lies below `.git/lfs/objects`. Where
that object is there it is read in the pointer's place and compared; where it is not, the checkout is refused. Nothing of
git is run: a repository's own settings may name programs.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Self

from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused, Unreadable
from weighbridge.core.reference import Reference
from weighbridge.source.local import LocalTree, open_folder
from weighbridge.source.opening import Asking
from weighbridge.source.tree import Tree, TreeFile

MAX_POINTER = 1024
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-[^\n]*\n)*"
    rb"oid sha256:(?P<oid>[0-9a-f]{64})\nsize (?P<size>0|[1-9][0-9]{0,15})\n(?:[a-z0-9.-]+ [^\n]*\n)*"
)
_BEGINS = b"version https://git-lfs.github.com/spec/"
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REF = re.compile(r"ref: (refs/(?:heads|tags|remotes)/[A-Za-z0-9._/-]{1,200})")
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_path(reference: Reference, asking: Asking) -> Tree:
    """Open a path, for `source.opening`."""
    del asking
    return open_place(Path(reference.target).expanduser())


def open_place(path: Path) -> Tree:
    """Open a folder or file; in a git checkout pointers stand for their files. Raises as `open_folder`, and Refused."""
    tree = open_folder(path)
    try:
        real = Path(os.path.realpath(path))
        if not (real.is_dir() and os.path.lexists(real / ".git")):
            return tree
        return Checkout(tree, real)
    except BaseException:
        tree.close()
        raise


class Checkout:
    """A checkout's files; those that are pointers are replaced by what they point at."""

    def __init__(self, tree: LocalTree, root: Path) -> None:
        self._tree, self._git = tree, root / ".git"
        self._commit = _commit(self._git)
        self._files = [self._settled(file) for file in tree.files()]

    @property
    def model_hint(self) -> str:
        """The folder's name."""
        return self._tree.model_hint

    @property
    def origin(self) -> Mapping[str, str]:
        """`scheme` is `git`; `version` the commit that the checkout says it is of, on its own word."""
        return {**self._tree.origin, "scheme": "git"} | ({"version": self._commit} if self._commit else {})

    def files(self) -> Sequence[TreeFile]:
        """Return the files in the order of the manifest."""
        return self._files

    def settle(self) -> None:
        """Look again; raises Unreadable (`source.changed`)."""
        self._tree.settle()

    def close(self) -> None:
        """Close the handles."""
        self._tree.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _settled(self, file: TreeFile) -> TreeFile:
        if file.size > MAX_POINTER:
            return file
        with file.open() as stream:
            data = stream.read(MAX_POINTER + 1)
        if not data.startswith(_BEGINS):
            return file
        match = _POINTER.fullmatch(data)
        if match is None or b"\next-" in data:
            raise Refused(
                f"{file.path!r} points at a file in a way that cannot be followed",
                cause="it begins like a pointer of git-lfs and is none of the first version without extensions",
                remedy="check the file out whole: git lfs pull",
                check="source.pointer",
            )
        digest, size = Digest("sha256", match["oid"].decode()), int(match["size"])
        place = f"lfs/objects/{digest.hex[:2]}/{digest.hex[2:4]}/{digest.hex}"
        if not self._there(place, size):
            raise Refused(
                f"{file.path!r} is a pointer, and the file it points at is not here",
                cause=f"{digest} of {size} bytes does not lie below .git/lfs/objects",
                remedy="fetch what is missing in that folder: git lfs pull",
                check="source.pointer",
            )
        return TreeFile(file.path, size, partial(self._open, file.path, place), (digest,))

    def _there(self, place: str, size: int) -> bool:
        try:
            with self._open("", place) as stream:
                return os.fstat(stream.fileno()).st_size == size
        except Unreadable:
            return False

    def _open(self, path: str, place: str) -> BinaryIO:
        """Open an object below `.git` step by step, following no link."""
        *folders, name = place.split("/")
        try:
            here = os.open(self._git, _FOLDER)
            try:
                for folder in folders:
                    there = os.open(folder, _FOLDER, dir_fd=here)
                    os.close(here)
                    here = there
                fd = os.open(name, _FLAGS, dir_fd=here)
            finally:
                os.close(here)
        except OSError as error:
            raise _unreadable(path, error.strerror or str(error)) from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise _unreadable(path, "it is no regular file")
        return os.fdopen(fd, "rb", buffering=0)


def _unreadable(path: str, cause: str) -> Unreadable:
    return Unreadable(
        f"what {path!r} points at cannot be read", cause=cause, remedy="run in that folder: git lfs pull"
    )


def _commit(git: Path) -> str:
    """Return the commit that a checkout's HEAD leads to, or nothing where that is not plain to see."""
    head = _read(git / "HEAD").strip()
    if match := _REF.fullmatch(head):
        if ".." in match[1]:
            return ""
        packed = {
            row[1]: row[0]
            for line in _read(git / "packed-refs").splitlines()
            if len(row := line.split(" ")) == 2
        }
        head = _read(git / match[1]).strip() or packed.get(match[1], "")
    return head if _COMMIT.fullmatch(head) else ""


def _read(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        fd = os.open(path, _FLAGS)
        with os.fdopen(fd, "rb") as stream:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return stream.read(1024 * 1024).decode()
    return ""
