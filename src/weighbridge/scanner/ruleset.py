"""The digest of everything that can influence a verdict: sources, lists of names, and versions of the parsers used."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.digest import Digest
from weighbridge.core.finding import Ruleset

VERSION = "2"
PACKAGE = Path(__file__).parent.parent
ROOMS = ("formats", "scanner")
"""Folders of this package; read as files, because importlib.resources costs more to import than a small scan."""
LIBRARIES = ("jinja2", "pyyaml", "zstandard")
"""Distributions that parse on our behalf. One that is missing counts as well: what it would have read is unread."""

_COUNTED = (".py", ".json", ".tsv", ".txt")


@cache
def ruleset() -> Ruleset:
    """Return the version and the digest of the rules; docs/reference/ruleset.md writes the formula down.

    Nothing is imported for it, so that a scan which needs one reader does not load them all.
    """
    sources: dict[str, JSON] = {}
    for room in ROOMS:
        for name, data in _files(PACKAGE / room, f"weighbridge.{room}"):
            sources[name] = hashlib.sha256(data).hexdigest()
    libraries: dict[str, JSON] = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    libraries.update(versions(LIBRARIES, sys.path))
    content = canonical({"libraries": libraries, "sources": sources, "version": VERSION})
    return Ruleset(VERSION, Digest.of(content))


def _files(folder: Path, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield every counted file below a room."""
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_dir() and item.name != "__pycache__":
            yield from _files(item, f"{name}/{item.name}")
        elif item.name.endswith(_COUNTED):
            yield f"{name}/{item.name}", item.read_bytes()


def versions(libraries: Iterable[str], path: Iterable[str]) -> dict[str, str]:
    """Return the version of each distribution as its metadata folder on `path` is named, or "absent".

    The folder's name is enough (PEP 376, PEP 503): reading metadata properly costs more than a small scan.
    """
    found: dict[str, str] = {}
    for entry in path:
        folder = Path(entry or ".")
        if not folder.is_dir():
            continue
        for item in folder.glob("*.dist-info"):
            name, _, version = item.name.removesuffix(".dist-info").rpartition("-")
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return {name: found.get(name, "absent") for name in libraries}
