"""One place reads small files that somebody names: keys, certificates, tokens, authorities, bundles."""

from __future__ import annotations

from pathlib import Path

from weighbridge.core.errors import NotFound, Unreadable, UsageError

MAX_FILE = 4 * 1024 * 1024
"""Bytes of a key, a list of keys, roots or other file that somebody names."""


def content_of(path: Path) -> bytes:
    """Return what a small file holds; raises NotFound, Unreadable, and UsageError for one that is not small."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except FileNotFoundError as error:
        raise NotFound(f"there is no {path}", remedy="check the path") from error
    except OSError as error:
        raise Unreadable(f"{path} cannot be read", cause=error.strerror or str(error)) from error
    if len(data) > MAX_FILE:
        raise UsageError(f"{path} is larger than {MAX_FILE} bytes", remedy="give the file that was meant")
    return data
