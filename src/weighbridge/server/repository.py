"""The TUF repository over HTTP: files of one folder under the names that TUF gives them, and no other file."""

from __future__ import annotations

import os
import re
from pathlib import Path

from starlette.responses import Response

from weighbridge.core.errors import NotFound, Unreadable
from weighbridge.server.answers import BYTES_TYPE, JSON_TYPE, static
from weighbridge.server.desk import Asked, Handler

MAX_FILE = 4 * 1024 * 1024
_METADATA = re.compile(r"(?:[1-9][0-9]{0,8}\.(?:root|targets|snapshot)|timestamp)\.json")
_TARGET = re.compile(r"targets/[0-9a-f]{64}\.[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def files_of(folder: Path) -> Handler:
    """Return the handler of `/tuf/…`; what has a version or a digest in its name never changes."""

    def file(asked: Asked) -> Response:
        name = asked.place["path"]
        target = _TARGET.fullmatch(name) is not None
        if not target and not _METADATA.fullmatch(name):
            raise _missing()
        data = _read(folder / name)
        media_type = JSON_TYPE if name.endswith(".json") else BYTES_TYPE
        return static(data, media_type, forever=name != "timestamp.json")

    return file


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as opened:
            data = opened.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise _missing() from None
    except OSError as error:
        raise Unreadable("a file of the repository cannot be read", cause=str(error.strerror)) from error
    if len(data) > MAX_FILE:
        raise Unreadable("a file of the repository is larger than any it has")
    return data


def _missing() -> NotFound:
    return NotFound("the repository has no such file", check="tuf.missing")
