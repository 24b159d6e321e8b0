"""The files of policies: each policy that was ever active is kept as one blob; the active one also lies in a folder.

A policy is pinned in one transaction and its files are put in place after it. A setting of its own says whose files lie
there, so that whoever next writes finishes a change that was cut off, and only that: files that somebody else put into the
folder are left as they are, and the gate blocks until the pinned ones are back.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, VerificationFailed, WeighbridgeError
from weighbridge.registry import changes, tally
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.store.plain import flush_folder, read_plain
from weighbridge.store.ports import Blobs
from weighbridge.trust.authority import EVERY_PROJECT

SUFFIXES = (".rego", ".toml")
MAX_KEPT = 256 * 1024 * 1024
"""Bytes of one kept policy: a hundred files of a megabyte, with room for their escapes."""


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the files in a folder that belong to a policy."""
    return {path.name: read_plain(path) for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES}


def digest_of(files: Mapping[str, bytes]) -> Digest:
    """Return the digest of a policy: SHA-256 of the canonical JSON `{file name: its SHA-256}`."""
    named: dict[str, JSON] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return Digest.of(canonical(named))


def keep(blobs: Blobs, files: Mapping[str, bytes]) -> Digest:
    """Keep the files of a policy, all UTF-8, as one blob: the canonical JSON `{file name: text}`."""
    texts: dict[str, JSON] = {name: data.decode("utf-8") for name, data in files.items()}
    return blobs.put([canonical(texts)])


def active(registry: Registry) -> dict[str, bytes]:
    """Return the files to judge by in the current project: the kept ones of its own policy, else those in the folder.

    Where replicas share the records, the folder is a copy, and the kept files are used in any case.
    Whether those in the folder are the pinned ones is for the caller to ask. Raises as `kept_files`, or OSError.
    """
    with registry.records.read() as connection:
        own, _ = changes.current(connection, registry.project, changes.POLICY)
        if registry.records.shared and not own:
            own, _ = changes.current(connection, EVERY_PROJECT, changes.POLICY)
    return kept_files(registry, Digest.parse(own)) if own else read_folder(registry.layout.policy)


def kept_files(registry: Registry, digest: Digest) -> dict[str, bytes]:
    """Return the files of a policy that is or was active; raises NotFound, or VerificationFailed for other files."""
    table = schema.policy
    query = sa.select(table.c.blob).where(table.c.digest == str(digest), table.c.blob != "")
    with registry.records.read() as connection:
        blob = connection.execute(query.order_by(table.c.sequence).limit(1)).scalar()
    if blob is None:
        raise NotFound(
            f"the files of policy {digest.short} are not kept here",
            cause="it was never active here, or was replaced before policies were kept",
            remedy="see what is kept: weighbridge policy show",
        )
    with registry.blobs.open(Digest.parse(blob)) as stream:
        data = stream.read(MAX_KEPT + 1)
    files = _unpacked(data)
    if len(data) > MAX_KEPT or digest_of(files) != digest:
        raise VerificationFailed(
            f"the kept files of policy {digest.short} are not those files any more",
            cause=f"blob {blob} was changed by something other than this program",
            remedy="restore the registry's blobs from a backup",
            check="policy.kept",
        )
    return files


def finish(registry: Registry) -> None:
    """Put the pinned files in place where a change was cut off before that; while `registry.writing()`.

    Files that cannot be had leave it as it is: the gate then blocks, and says that the files are others. A replica's
    folder follows what another pinned.
    """
    if registry.records.shared:
        with suppress(WeighbridgeError, OSError):
            finish_copy(registry)
    with registry.records.read() as connection:
        pinned, _ = changes.current(connection, EVERY_PROJECT, changes.POLICY)
        placed, _ = changes.current(connection, EVERY_PROJECT, changes.FILES)
    if not placed or placed == pinned:
        return
    with suppress(WeighbridgeError, OSError):
        put(registry.layout.policy, kept_files(registry, Digest.parse(pinned)))
        with tally.keeping(registry) as connection:
            table = schema.setting
            here = (table.c.project == EVERY_PROJECT, table.c.key == changes.FILES)
            connection.execute(sa.update(table).where(*here).values(**_record(registry), value=pinned))


def finish_copy(registry: Registry) -> None:
    """Make the folder of a replica a copy of the pinned files; raises as `kept_files`."""
    with registry.records.read() as connection:
        pinned, _ = changes.current(connection, EVERY_PROJECT, changes.POLICY)
    if str(digest_of(read_folder(registry.layout.policy))) != pinned:
        put(registry.layout.policy, kept_files(registry, Digest.parse(pinned)))


def put(target: Path, files: Mapping[str, bytes]) -> None:
    """Make the policy files in a folder these and no others; each is whole under its name, or not there."""
    for old in target.iterdir():
        if old.suffix in SUFFIXES and old.name not in files:
            old.unlink()
    for name, data in files.items():
        temporary = target / f".{name}.{os.getpid()}"
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target / name)
    flush_folder(target)


def _unpacked(data: bytes) -> dict[str, bytes]:
    try:
        value: Any = parse(data)
        return {str(name): text.encode("utf-8") for name, text in value.items()}
    except (ValueError, AttributeError):
        return {}


def _record(registry: Registry) -> dict[str, Any]:
    return {**registry.record(), "project": EVERY_PROJECT}
