"""Pins: what a client remembers of a registry outside of it, so that the registry cannot rewrite its past.

A pin holds the root public keys, the highest authority version seen and the last log checkpoint seen. It
lives in the user's configuration home. A registry folder without a pin is not opened: a `.weighbridge`
that came along with a downloaded model decides nothing (docs/adr/0003).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.errors import RegistryUnusable, VerificationFailed
from weighbridge.ledger.checkpoint import parse_checkpoint
from weighbridge.registry.lock import writer
from weighbridge.store.plain import read_plain

SCHEMA = "weighbridge.pin/1"


@dataclass(frozen=True, slots=True)
class Pin:
    """The remembered facts of one registry."""

    registry: str
    roots: tuple[str, ...]
    """PEM public keys that may sign the authority."""
    authority_version: int = 0
    checkpoint: str = ""
    """The last checkpoint (signed note text) that was verified; the log must extend it."""


def pin_path(home: Path, registry: str) -> Path:
    """Return where the pin of a registry lies."""
    return home / "pins" / f"{registry}.json"


def read_pin(home: Path, registry: str) -> Pin:
    """Read a pin; raises RegistryUnusable when there is none or it cannot be read."""
    path = pin_path(home, registry)
    try:
        value: Any = parse(read_plain(path))
        if value["schema"] != SCHEMA or value["registry"] != registry:
            raise ValueError("not the pin of this registry")
        return Pin(registry, tuple(value["roots"]), int(value["authority_version"]), str(value["checkpoint"]))
    except FileNotFoundError as error:
        raise RegistryUnusable(
            f"this registry ({registry}) is not pinned by you",
            cause=f"there is no {path}; a registry folder you did not make could claim anything",
            remedy="if you trust its owner: weighbridge trust pin REGISTRY --root ROOT.pub.pem, with the root key "
            "you got from them by another way",
            check="registry.pinned",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RegistryUnusable(
            f"the pin {path} cannot be read",
            cause=str(error),
            remedy="restore the file, or remove it and pin the registry again: weighbridge trust pin",
        ) from error


def write_pin(home: Path, pin: Pin) -> None:
    """Write a pin atomically; a pin only ever moves forward (`advance`)."""
    path = pin_path(home, pin.registry)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    data: dict[str, JSON] = {
        "schema": SCHEMA,
        "registry": pin.registry,
        "roots": list(pin.roots),
        "authority_version": pin.authority_version,
        "checkpoint": pin.checkpoint,
    }
    with temporary.open("wb") as file:
        file.write(json.dumps(parse(canonical(data)), indent=1, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def move_pin(home: Path, registry: str, move: Callable[[Pin], Pin], *, seconds: float) -> Pin:
    """Change a pin by what `move` makes of it, and return it: one process at a time, so that none moves it back.

    A pin that stays as it is needs no right to write. Raises what `move` does, Locked after `seconds`, Unreadable.
    """
    pin = read_pin(home, registry)
    if move(pin) == pin:
        return pin
    with writer(pin_path(home, registry).with_suffix(".lock"), seconds=seconds):
        pin = move(read_pin(home, registry))
        write_pin(home, pin)
    return pin


def advance(pin: Pin, *, authority_version: int, checkpoint: str, before: Collection[str] = ()) -> Pin:
    """Return the pin moved forward; a lower authority version is a rollback and refused.

    `before` are the origins of the frozen logs that the log of `checkpoint` followed: theirs are older.
    """
    if authority_version < pin.authority_version:
        raise VerificationFailed(
            "the registry shows an older authority than it showed before",
            cause=f"version {authority_version}, while version {pin.authority_version} was seen already",
            remedy="the registry was rolled back or restored from an old backup: ask its owner",
            check="authority.rollback",
        )
    later = _later(pin.checkpoint, checkpoint, before)
    return replace(pin, authority_version=authority_version, checkpoint=later)


def _later(known: str, seen: str, before: Collection[str]) -> str:
    """Return the checkpoint of more entries: another process may have pinned one since this one looked.

    Of two logs, the one in use is later than those it followed; one that this process does not know follows it.
    """
    if not known or not seen:
        return seen or known
    old, new = parse_checkpoint(known)[0], parse_checkpoint(seen)[0]
    if old.origin != new.origin:
        return seen if old.origin in before else known
    return seen if (new.size, bool(new.frozen)) >= (old.size, bool(old.frozen)) else known
