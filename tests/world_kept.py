"""Worlds that were furnished once in this process: each test has a copy of its own, which costs a tenth of making it anew.

`prepare` makes the usual ones before a test begins, so that nothing that a test puts in the place of something else gets into
them. Without it every world is made anew.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import world_postgresql as postgresql

KEPT: dict[str, Kept] = {}
PREPARED: list[Path] = []
"""The folder in which they lie, once there is one."""
PLAIN = "plain"
PARTS = ("registry", "config")


@dataclass(frozen=True)
class Kept:
    """A world as it was left: its folder, what its clock and its entropy had come to, who was named, what was returned."""

    folder: Path
    at: object
    drawn: int
    people: dict[str, object]
    said: Any
    records: str
    """The URL of its records, where these are no file."""

    @property
    def beside(self) -> set[str]:
        """What lies beside the registry: the models and data that were made for it."""
        return {path.name for path in self.folder.iterdir()} - set(PARTS)


def prepare(world: type) -> None:
    """Make the usual worlds; returns at once when they are there."""
    if PREPARED and PREPARED[0].exists():
        return
    KEPT.clear()  # somebody may have tidied up
    PREPARED.clear()
    folder = Path(tempfile.mkdtemp(prefix="weighbridge-worlds-"))
    owner = os.getpid()
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(folder, ignore_errors=True))
    keep(PLAIN, world(folder / PLAIN))
    PREPARED.append(folder)
    for number, made in enumerate((lambda one: one.ready(), lambda one: (one.team(), one.ready()))):
        first = world(folder / f"first-{number}")
        made(first)
        first.registry.close()


def keep(name: str, made: Any, said: object = None) -> None:
    """Close a world and keep it under a name, and what was returned to whoever furnished it."""
    made.registry.close()
    KEPT[name] = Kept(
        made.folder,
        made.hand.at,
        made.hand.drawn,
        dict(made.people),
        said,
        made.settings.get("records", ""),
    )


def copied(kept: Kept, folder: Path) -> None:
    """Put what was kept into a folder in which nothing of it is."""
    for path in kept.folder.iterdir():
        if path.is_dir():
            shutil.copytree(path, folder / path.name, symlinks=True)
        else:
            shutil.copy2(path, folder / path.name)


def mark(folder: Path, records: str) -> object:
    """Return what is another as soon as anything is written to a world."""
    found = {}
    for part in PARTS:
        for path in (folder / part).rglob("*"):
            status = path.lstat()
            if path.name != "registry.db-shm" and (path.name != "registry.db-wal" or status.st_size):
                found[path] = (
                    status.st_mode,
                    status.st_size,
                    status.st_mtime_ns,
                )  # those are left by readers too
    return found, postgresql.written(records) if records else 0
