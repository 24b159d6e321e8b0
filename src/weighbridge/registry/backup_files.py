"""The files of a backup, as whoever restores one may read them: plain ones, inside of it, and those that were signed."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from weighbridge.core.errors import BadManifest, VerificationFailed
from weighbridge.core.manifest import check_path
from weighbridge.store.plain import read_plain


def check_name(name: str) -> None:
    """Refuse a member that would not lie inside of the registry's folder."""
    try:
        check_path(name)
    except BadManifest as error:
        raise changed(f"{name!r} is no name that a backup has: {error.cause}") from error


def open_member(path: Path, top: Path) -> BinaryIO:
    """Open a plain file of the backup; no link on the way below `top` is followed, and nothing else is opened."""
    for folder in path.relative_to(top).parents:
        if (top / folder).is_symlink():
            raise changed(f"{folder} is a link")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise changed(f"{path.relative_to(top)} is not there, or is no plain file") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise changed(f"{path.relative_to(top)} is no plain file")
    return os.fdopen(descriptor, "rb")


def plain(path: Path) -> bytes:
    """Return what a small file of a backup holds; raises VerificationFailed(backup.signed)."""
    try:
        if path.is_symlink():
            raise OSError(0, "it is a link")
        return read_plain(path)
    except OSError as error:
        raise changed(f"{path.name} cannot be read: {error.strerror or error}") from error


def lines_of(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a table."""
    for line in plain(path).splitlines():
        value: Any = json.loads(line)
        yield value


def value_of(value: Any) -> Any:
    """Return a column as it goes into a database."""
    return base64.b64decode(value["base64"], validate=True) if isinstance(value, dict) else value


def is_member(path: Path, row: Mapping[str, Any]) -> bool:
    """Tell whether a plain file is the one of a row of members."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != row["size"]:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == str(row["sha256"])


def changed(cause: str) -> VerificationFailed:
    """Make the error for a backup that is not what was signed."""
    return VerificationFailed(
        "these files are not what the registry made and signed",
        cause=cause,
        remedy="use another copy; if all are so, find out who can write there",
        check="backup.signed",
    )
