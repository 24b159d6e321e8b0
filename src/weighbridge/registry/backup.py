"""Backup: everything a registry knows at one moment between two writers, copied while they go on, signed by its log's key.

A folder of backups holds::

    <time>-<entries>/backup.json     every member with size and SHA-256, checkpoints, what is not in it
    <time>-<entries>/backup.sig.json the signature over it, by the key of the log of records
    <time>-<entries>/registry.json, log/, services/, policy/, records/<table>.jsonl, and keys/ when asked for
    blobs/                           kept bytes, shared by all backups in the folder

A backup has its name from the moment that it is whole; what was cut off bears another one and is removed by the next.
Bytes go through the same store as in a registry, so that each is hashed on its way and copied once, however many
backups hold it and however often one was interrupted.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa

from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import (
    Locked,
    OutOfBudget,
    Unreadable,
    UsageError,
    VerificationFailed,
)
from weighbridge.ledger.lock import exclusive
from weighbridge.ledger.tiles import CHECKPOINT
from weighbridge.registry.gc import References
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.store.files import FileBlobs
from weighbridge.store.plain import flush_folder
from weighbridge.trust.dsse import sign

SCHEMA = "weighbridge.backup/1"
TYPE = "application/vnd.weighbridge.backup+json"
BODY, SIGNATURE, BLOBS, LOCK = "backup.json", "backup.sig.json", "blobs", "lock"
MAKING = ".making"
BLOCK = 1024 * 1024
ROWS = 1000
FULL = (27, 28, 122)
"""EFBIG, ENOSPC and EDQUOT."""


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that is whole."""

    path: Path
    members: int
    blobs: int
    bytes: int
    entries: int
    keys: bool
    elsewhere: str
    """The store in which the kept bytes stay, when they are not in the backup."""

    def to_json(self) -> dict[str, JSON]:
        """Return it as `backup` prints it."""
        return {
            "backup": str(self.path),
            "members": self.members,
            "blobs": self.blobs,
            "bytes": self.bytes,
            "entries": self.entries,
            "keys": self.keys,
            "elsewhere": self.elsewhere,
        }


def make_backup(registry: Registry, target: Path, *, keys: bool = False, blobs: bool = True) -> Made:
    """Write a backup into the folder `target`, beside earlier ones. Writers wait only while the newest entries are copied.

    Without `blobs` the kept bytes stay where they are and a restored registry needs them there. Raises VerificationFailed
    when records or bytes are not what was signed, Locked while another backup is made there, Unreadable, OutOfBudget.
    """
    root = registry.layout.root
    if target.absolute() == root or root in target.absolute().parents:
        raise UsageError(
            "a backup inside of the registry would be lost with it",
            remedy="name a folder elsewhere, on another disk if there is one",
        )
    try:
        with ExitStack() as stack:
            stack.enter_context(_alone(target))
            return _Making(registry, target, keys=keys, blobs=blobs).run(stack)
    except OSError as error:
        kind = OutOfBudget if error.errno in FULL else Unreadable
        raise kind(
            f"the backup could not be written to {target}",
            cause=error.strerror or str(error),
            remedy="free some space or name another folder, and run it again: bytes that were copied are not copied again",
        ) from error


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Be the only one who makes a backup there, and remove what was cut off."""
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(target / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Locked(
                f"another backup is being made in {target}",
                remedy="wait for it to end, or name another folder",
            ) from error
        for left in target.glob(f"*{MAKING}"):
            shutil.rmtree(left)
        yield
    finally:
        os.close(descriptor)


class _Making:
    """One backup in the making."""

    def __init__(self, registry: Registry, target: Path, *, keys: bool, blobs: bool) -> None:
        self.registry = registry
        self.target = target
        self.keys = keys
        self.elsewhere = "" if blobs else str(registry.config["blobs"]) or str(registry.layout.blobs)
        self.at = registry.clock.now()
        self.folder = target / f"{self.at:%Y%m%dT%H%M%SZ}-{registry.entropy.token(4).hex()}{MAKING}"

    def run(self, stack: ExitStack) -> Made:
        registry, layout = self.registry, self.registry.layout
        self.folder.mkdir(mode=0o700)
        self._logs()  # most of it, while others write
        with registry.writing():
            connection = stack.enter_context(registry.records.read())
            connection.execute(sa.select(sa.func.count()).select_from(schema.setting))  # the view begins here
            self._logs()
            _same_files(layout.policy, self.folder / "policy")
            if self.keys:
                _same_files(layout.keys, self.folder / "keys")
            notes = [log.checkpoint_text for log in (*registry.before, registry.log)]
            version, key = registry.authority.version, registry.log_key
        _same_files(layout.root, self.folder, only=(layout.card.name, ".gitignore"))
        self._records(connection)
        known = sorted(References().read(connection))
        wanted = [digest for digest in known if registry.blobs.placed(digest) is None]
        count, size = (0, 0) if self.elsewhere else self._blobs(wanted)
        members = [_member(self.folder, path) for path in sorted(_files(self.folder))]
        body: dict[str, JSON] = {
            "schema": SCHEMA,
            "registry": registry.id,
            "made": rfc3339(self.at),
            "authority": version,
            "checkpoints": list[JSON](notes),
            "records": connection.dialect.name,
            "keys": self.keys,
            "blobs": {"kept": len(wanted), "in_place": len(known) - len(wanted), "elsewhere": self.elsewhere},
            "members": list[JSON](members),
        }
        _write(self.folder / BODY, canonical(body))
        _write(self.folder / SIGNATURE, canonical(sign(TYPE, canonical(body), key).to_json()))
        whole = self.folder.with_name(
            f"{self.at:%Y%m%dT%H%M%SZ}-{_entries(notes):08}-{self.folder.name[17:25]}"
        )
        flush_folder(self.folder)
        self.folder.rename(whole)
        flush_folder(self.target)
        return Made(whole, len(members), count, size, _entries(notes), self.keys, self.elsewhere)

    def _logs(self) -> None:
        """Bring the copies of all logs to what they are now; a log that others append to meanwhile is held for a moment."""
        layout = self.registry.layout
        for source in (layout.log, layout.services):
            logs = {path.parent for path in source.rglob(CHECKPOINT)} if source.exists() else set()
            for folder in sorted(logs):
                with exclusive(folder / "lock"):
                    _same_files(folder, self.folder / folder.relative_to(layout.root))
        _same_files(layout.services, self.folder / "services", beside=True)

    def _records(self, connection: sa.Connection) -> None:
        """Write every table as canonical JSON lines, the same for every database."""
        (self.folder / "records").mkdir(mode=0o700)
        for table in schema.metadata.sorted_tables:
            with (self.folder / "records" / f"{table.name}.jsonl").open("wb") as file:
                query = sa.select(table).execution_options(yield_per=ROWS)
                for row in connection.execute(query.order_by(*_order(table))).mappings():
                    file.write(canonical({name: _value(value) for name, value in row.items()}) + b"\n")
                file.flush()
                os.fsync(file.fileno())

    def _blobs(self, wanted: list[Digest]) -> tuple[int, int]:
        store, total = FileBlobs(self.target / BLOBS), 0
        for digest in wanted:
            if not store.hold(digest):
                copy_blob(self.registry.blobs, store, digest)
            total += store.size(digest)
        return len(wanted), total


def copy_blob(source: Any, target: Any, digest: Digest) -> None:
    """Copy one blob between two stores; raises VerificationFailed(blob.digest) when it is not what it is named by."""
    try:
        with source.open(digest) as stream:
            target.put(iter(lambda: stream.read(BLOCK), b""), expected=digest)
    except VerificationFailed as error:
        raise VerificationFailed(
            f"the blob {digest.short} is damaged where it was to be copied from",
            cause=error.cause,
            remedy="repair it from another store: weighbridge doctor --deep --repair-from STORE",
            check="blob.digest",
        ) from error


def _order(table: sa.Table) -> list[sa.Column[Any]]:
    keys = list(table.primary_key.columns)
    return keys or [
        column
        for column in table.columns
        if column.name in ("project", "digest", "sequence", "name", "id", "target", "key")
    ]


def _value(value: object) -> JSON:
    if isinstance(value, bytes | memoryview):
        return {"base64": base64.b64encode(bytes(value)).decode("ascii")}
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"a column holds {type(value).__name__}")


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path


def _member(folder: Path, path: Path) -> dict[str, JSON]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": path.relative_to(folder).as_posix(), "size": path.stat().st_size, "sha256": digest}


def _same_files(source: Path, target: Path, *, only: tuple[str, ...] = (), beside: bool = False) -> None:
    """Make the plain files below `target` those below `source`; `beside` leaves out the logs, which have a copy already.

    What has its size and time is not copied again: a file of a log that was replaced since has another time.
    """
    if not source.is_dir():
        return
    found = set()
    for path in source.iterdir() if only else list(source.rglob("*")):
        name = path.relative_to(source)
        if (only and path.name not in only) or path.name.endswith(".tmp") or path.name == "lock":
            continue
        if path.is_symlink() or not path.is_file() or (beside and _in_log(path, source)):
            continue
        found.add(name)
        with suppress(FileNotFoundError):  # a partial tile whose wider twin was just written
            _copy(path, target / name)
    if only or beside:
        return
    for path in list(_files(target)):
        if path.relative_to(target) not in found:
            path.unlink()


def _in_log(path: Path, top: Path) -> bool:
    return any((folder / CHECKPOINT).exists() for folder in path.parents if top in folder.parents)


def _copy(path: Path, target: Path) -> None:
    info = path.stat()
    with suppress(FileNotFoundError):
        old = target.stat()
        if (old.st_size, old.st_mtime_ns) == (info.st_size, info.st_mtime_ns):
            return
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("rb") as source, _private(target) as out:
        shutil.copyfileobj(source, out, BLOCK)
        out.flush()
        os.fsync(out.fileno())
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))


def _private(path: Path) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def _write(path: Path, data: bytes) -> None:
    with _private(path) as file:
        file.write(data + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _entries(notes: list[str]) -> int:
    """Return how many entries the logs of records have together, so that names sort by age."""
    from weighbridge.ledger.checkpoint import parse_checkpoint

    return sum(parse_checkpoint(note)[0].size for note in notes)
