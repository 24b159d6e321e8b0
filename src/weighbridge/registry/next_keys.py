"""A key that is about to take another's place: `keys/<name>.next.pem`, and when it does.

It is written before the authority names it and takes the old one's file name after, so that whoever is cut off
between the two finds both. Which of them is in use is what the authority says (for the log of records: which
of them the log in use belongs to), never which file is newer.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.core.canonical import parse
from weighbridge.core.errors import Unreadable
from weighbridge.registry.layout import Layout
from weighbridge.store.plain import flush_folder, read_plain
from weighbridge.trust.authority import Authority

if TYPE_CHECKING:
    from collections.abc import Sequence

SUFFIX = ".next"
IDENTITIES = ("gate", "intake")
"""Keys that sign what this registry did; the authority has them as identities of these names."""


def next_path(keys: Path, name: str) -> Path:
    """Return where the key lies that is to follow."""
    return keys / f"{name}{SUFFIX}.pem"


def waiting(keys: Path) -> tuple[str, ...]:
    """Return the names of the keys that have one to follow."""
    ending = f"{SUFFIX}.pem"
    try:
        names = [path.name for path in keys.iterdir()]
    except FileNotFoundError:
        return ()
    return tuple(sorted(name.removesuffix(ending) for name in names if name.endswith(ending)))


def put(key: Path, place: Path) -> None:
    """Move a key file to a place, where another one may lie that is gone then; on disk before this returns.

    Raises Unreadable.
    """
    try:
        key.replace(place)
        flush_folder(place.parent)
    except OSError as error:
        raise Unreadable(
            f"a new key could not take its place at {place}",
            cause=os.strerror(error.errno or 0),
            remedy="check the disk, then run the command again: it finishes this",
        ) from error


def in_force(authority: Authority, name: str, pem: str) -> bool:
    """Tell whether the authority names a public key for this purpose, and without an end."""
    if name in IDENTITIES:
        return any(one.name == name and one.pem == pem for one in authority.identities)
    if name == "ct":
        return any(row.pem == pem and row.window.end is None for row in authority.trusted.ctlogs)
    if name in ("log", "signing-log"):
        return any(row.pem == pem and row.window.end is None for row in authority.logs)
    trusted = authority.trusted
    ours = {
        "ca": [row.chain for row in trusted.authorities if row.window.end is None],
        "tsa": [row.chain for row in trusted.timestamps if row.window.end is None],
    }
    return any(pem_of_leaf(chain) == pem for chain in ours.get(name, []))


def in_repository(layout: Layout, pem: str) -> bool:
    """Tell whether the newest root of what clients fetch (`services/tuf`) names a public key for the online roles."""
    try:
        names = [path.name.partition(".") for path in (layout.services / "tuf").iterdir()]
        newest = max(int(number) for number, _, rest in names if rest == "root.json" and number.isdecimal())
        document: Any = parse(read_plain(layout.services / "tuf" / f"{newest}.root.json"))
        root = document["signed"]
        return any(
            root["keys"][key]["keyval"]["public"].strip() == pem.strip()
            for key in root["roles"]["timestamp"]["keyids"]
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # there is none yet, or it is damaged: then the key that is there stays


def pem_of_leaf(chain: Sequence[bytes]) -> str:
    """Return the public key in the first certificate of a chain."""
    from weighbridge.keys.public import pem_of_der
    from weighbridge.trust.certificates import read_certificate
    from weighbridge.trust.minting import key_of

    return pem_of_der(key_of(read_certificate(chain[0])))
