"""Lock files of Python environments: found or named, hashed, read for what they pin, and held against what is installed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import UsageError, WeighbridgeError
from weighbridge.recorder.environment import Distribution
from weighbridge.source.small import content_of

NAMES = (
    "uv.lock", "pylock.toml", "poetry.lock", "pdm.lock", "Pipfile.lock", "conda-lock.yml", "conda-lock.yaml",
    "requirements.lock", "requirements.txt",
)  # fmt: skip
"""Where a lock is looked for, best first; `requirements.txt` is one only when each of its lines carries a hash."""
LISTED = 50
_REQUIREMENT = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*===?\s*([^\s;\\]+)")


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file: its name, its digest, and what it pins where its form is known (name → version).

    `hashed` tells whether every pin carries a hash; None where the form is not read.
    """

    name: str
    digest: Digest
    pins: Mapping[str, str]
    hashed: bool | None

    def to_json(self, installed: Sequence[Distribution]) -> dict[str, JSON]:
        """Return the row of a claim; `differs` are pinned distributions that are installed in another version."""
        differs = self.differs(installed)
        return {
            "name": self.name,
            "digest": str(self.digest),
            "pins": len(self.pins) if self.hashed is not None else None,
            "hashed": self.hashed,
            "differs": list(differs[:LISTED]),
            "differing": len(differs),
        }

    def differs(self, installed: Sequence[Distribution]) -> tuple[str, ...]:
        """Return what is installed in another version than this pins; what is pinned and not installed is no matter."""
        return tuple(
            f"{one.name} {one.version} (pinned {self.pins[one.name]})"
            for one in installed
            if one.name in self.pins and not _same(one.version, self.pins[one.name])
        )


def find_lock(given: Path | None, folders: Iterable[Path]) -> Lock | None:
    """Read the lock that was named, else the best one in the folders; None when there is none.

    Raises NotFound, Unreadable or UsageError for one that was named and cannot be used.
    """
    if given is not None:
        return read_lock(given.name, content_of(given))
    for folder in dict.fromkeys(folders):
        for name in NAMES:
            try:
                lock = read_lock(name, content_of(folder / name))
            except WeighbridgeError:
                continue
            if name != "requirements.txt" or (lock.pins and lock.hashed):
                return lock
    return None


def read_lock(name: str, data: bytes) -> Lock:
    """Read one lock; one whose form is not known is still named by its digest. Raises UsageError for damaged TOML."""
    digest = Digest.of(data)
    if name.endswith((".toml", ".lock")) and name not in ("Pipfile.lock", "requirements.lock"):
        try:
            pins, hashed = _toml(tomllib.loads(data.decode("utf-8")))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise UsageError(f"{name} cannot be read", cause=str(error), remedy="write it again") from error
        return Lock(name, digest, pins, hashed)
    if name.endswith((".txt", ".lock")) and name != "Pipfile.lock":
        return Lock(name, digest, *_requirements(data.decode("utf-8", errors="replace")))
    return Lock(name, digest, {}, None)


def _toml(table: Mapping[str, Any]) -> tuple[dict[str, str], bool | None]:
    """Read uv.lock (`package`), pylock.toml (PEP 751, `packages`) and poetry.lock (`package` with `files`)."""
    rows = table.get("packages", table.get("package"))
    if not isinstance(rows, list):
        return {}, None
    pins: dict[str, str] = {}
    hashed = True
    for row in rows:
        name, version = row.get("name"), row.get("version")
        source = row.get("source") or {}
        if not isinstance(name, str) or not isinstance(version, str):
            continue  # the project itself, or something without a version: a folder, a repository
        if isinstance(source, Mapping) and {"editable", "virtual", "directory"} & set(source):
            continue
        pins[_key(name)] = version
        hashed = hashed and _has_hashes(row)
    return pins, hashed


def _has_hashes(row: Mapping[str, Any]) -> bool:
    files = [*row.get("wheels", []), *row.get("files", [])]
    files += [row["sdist"]] if isinstance(row.get("sdist"), Mapping) else []
    files += [row["archive"]] if isinstance(row.get("archive"), Mapping) else []
    return bool(files) and all(file.get("hash") or file.get("hashes") for file in files)


def _requirements(text: str) -> tuple[dict[str, str], bool | None]:
    pins: dict[str, str] = {}
    hashed, loose = True, False
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip()  # noqa: PLW2901 (the line without what is around it)
        if not line or line.startswith(("#", "-")):
            continue
        found = _REQUIREMENT.match(line)
        if found is None:
            loose = True
            continue
        pins[_key(found[1])] = found[2]
        hashed = hashed and "--hash=" in line
    return pins, hashed and not loose and bool(pins)


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _same(installed: str, pinned: str) -> bool:
    """Compare versions; a local part (`+cpu`) names a build of the same version (PEP 440)."""
    return installed == pinned or installed.partition("+")[0] == pinned.partition("+")[0]
