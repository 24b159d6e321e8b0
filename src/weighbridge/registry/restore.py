"""Restore: a registry made again from a backup, in an empty place, verified whole before anybody may use it.

Nothing in a backup is believed for lying there. The order is: the records of the authority, against the root keys that the
user has pinned; the signature over the backup, by the log key that this authority names; every member, against the size
and digest that were signed; records into an empty database; bytes, hashed on their way into the store. Then the registry is
opened where it was put together, which holds its log against the user's pin, and everything is read again that
`doctor --deep` reads. Only then does it get its name. What was cut off goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from weighbridge.config import Config, Value
from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.clock import Clock, Entropy
from weighbridge.core.errors import (
    NotFound,
    OutOfBudget,
    Unreadable,
    UsageError,
    VerificationFailed,
    WeighbridgeError,
)
from weighbridge.ledger.checkpoint import parse_checkpoint
from weighbridge.registry import fsck, fsck_rows, tally
from weighbridge.registry.backends import open_records
from weighbridge.registry.backup import BLOBS, BLOCK, BODY, FULL, MAKING, SCHEMA, SIGNATURE, TYPE, copy_blob
from weighbridge.registry.backup_files import (
    changed,
    check_name,
    is_member,
    lines_of,
    open_member,
    plain,
    value_of,
)
from weighbridge.registry.gc import References
from weighbridge.registry.layout import Layout
from weighbridge.registry.pins import Pin, read_pin
from weighbridge.registry.wiring import Registry, open_registry
from weighbridge.store import schema
from weighbridge.store.blobs import open_blobs
from weighbridge.trust.authority import Authority
from weighbridge.trust.authority_file import verify_authority, verify_next
from weighbridge.trust.dsse import Envelope
from weighbridge.trust.verify import verify_envelope

SUFFIX = ".restoring"
MAX_LINE = 256 * 1024 * 1024
ROWS = 500
READ_AGAIN: tuple[tuple[str, Callable[[Registry], list[str]]], ...] = (
    ("kept bytes", fsck.blobs),
    ("log", fsck.log),
    ("decisions", fsck.decisions),
    ("lineage", fsck.lineage),
    ("descriptions", fsck_rows.described),
    ("rows", fsck_rows.chained),
)
"""What is read again before a restored registry is one: with the tally, what every decision of it rests on."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A registry that was restored and verified."""

    root: Path
    registry: str
    made: str
    entries: int
    blobs: int
    keys: bool

    def to_json(self) -> dict[str, JSON]:
        """Return it as `restore` prints it."""
        return {
            "root": str(self.root),
            "registry": self.registry,
            "made": self.made,
            "entries": self.entries,
            "blobs": self.blobs,
            "keys": self.keys,
        }


def newest(folder: Path) -> Path:
    """Return the backup itself, or the newest whole one in a folder of backups; raises NotFound."""
    if (folder / BODY).is_file():
        return folder
    found = sorted(path.parent for path in folder.glob(f"*/{BODY}") if not path.parent.name.endswith(MAKING))
    if not found:
        raise NotFound(
            f"there is no whole backup in {folder}",
            cause="a backup has a file backup.json, and another name while it is being made",
            remedy="make one: weighbridge backup FOLDER",
        )
    return found[-1]


def restore(
    config: Config, source: Path, *, clock: Clock, entropy: Entropy, blobs_from: str = ""
) -> Restored:
    """Make the registry of a backup again where the settings say; raises before anything bears its name.

    `blobs_from` is the store that holds the bytes when they are not in the backup. Raises UsageError when something is
    there already, VerificationFailed (backup.signature, backup.member, log.consistency and what the registry's own
    checks raise), Unreadable, OutOfBudget.
    """
    backup = newest(source)
    target = Layout(Path(config["registry"]).expanduser().absolute())
    if target.root.exists() and (not target.root.is_dir() or any(target.root.iterdir())):
        raise UsageError(
            f"there is already something at {target.root}",
            remedy="restore into another folder with --registry; nothing is ever restored over a registry",
        )
    try:
        return _Restoring(config, backup, target, clock, entropy, blobs_from).run()
    except OSError as error:
        kind = OutOfBudget if error.errno in FULL else Unreadable
        raise kind(
            f"the backup could not be restored to {target.root}",
            cause=error.strerror or str(error),
            remedy="look at the disk and run it again: it goes on where it stopped",
        ) from error


@dataclass
class _Restoring:
    """One backup on its way to being a registry."""

    config: Config
    backup: Path
    target: Layout
    clock: Clock
    entropy: Entropy
    blobs_from: str

    def run(self) -> Restored:
        body, pin = self._believed()
        digest = hashlib.sha256(canonical(body)).hexdigest()
        making = Layout(self.target.root.with_name(f"{self.target.root.name}.{digest[:12]}{SUFFIX}"))
        making.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for row in body["members"]:
            if row["path"].partition("/")[0] != "records":
                self._member(making.root, row)
        for folder in (making.blobs, making.keys, making.policy, making.models, making.scratch):
            folder.mkdir(mode=0o700, exist_ok=True)
        placed = replace(
            self.config, values={**self.config.values, "registry": Value(str(making.root), "restore")}
        )
        self._records(placed, making, body)
        registry = self._opened(placed, body, pin)
        try:
            count = self._blobs(registry, body)
            _read_again(registry)
        finally:
            registry.close()
        if self.target.root.exists():
            self.target.root.rmdir()
        making.root.rename(self.target.root)
        return Restored(
            self.target.root,
            body["registry"],
            body["made"],
            _size(body["checkpoints"]),
            count,
            bool(body["keys"]),
        )

    def _believed(self) -> tuple[Mapping[str, Any], Pin]:
        """Return what was signed, believed through the user's pin and the authority in the backup."""
        data = plain(self.backup / BODY)
        try:
            body: Any = parse(data)
            if body["schema"] != SCHEMA:
                raise ValueError(f"it is no {SCHEMA}")
            pin = read_pin(self.config.home, str(body["registry"]))
            authority = self._authority(pin)
            origin = parse_checkpoint(body["checkpoints"][-1])[0].origin
            key = next(log.pem for log in authority.logs if log.origin == origin)
            payload = verify_envelope(Envelope.decode(plain(self.backup / SIGNATURE)), key, TYPE)
        except (ValueError, KeyError, TypeError, IndexError, StopIteration, AttributeError) as error:
            raise changed(f"{BODY} cannot be read: {error}") from error
        if payload != data.rstrip(b"\n"):
            raise changed("what was signed is not what lies in backup.json")
        for row in body["members"]:
            check_name(str(row["path"]))
        return body, pin

    def _authority(self, pin: Pin) -> Authority:
        authority: Authority | None = None
        for row in lines_of(self.backup / "records" / "authority.jsonl"):
            content = str(row["content"]).encode()
            authority = (
                verify_next(content, current=authority, now=None)
                if authority
                else verify_authority(content, root_keys=pin.roots, now=None, minimum_version=1)
            )
        if authority is None or authority.registry != pin.registry:
            raise changed("the authority in it is none, or another registry's")
        return authority

    def _member(self, root: Path, row: Mapping[str, Any]) -> None:
        """Copy one file; one that is there already, from an earlier try, is read again and kept when it is right."""
        name, target = str(row["path"]), root / str(row["path"])
        if is_member(target, row):
            return
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = target.with_name(f"{target.name}.part")
        hasher, size = hashlib.sha256(), 0
        with open_member(self.backup / name, self.backup) as source, temporary.open("wb") as out:
            os.fchmod(out.fileno(), 0o600)
            while block := source.read(BLOCK):
                size += len(block)
                hasher.update(block)
                out.write(block)
            out.flush()
            os.fsync(out.fileno())
        if (size, hasher.hexdigest()) != (row["size"], row["sha256"]):
            temporary.unlink()
            raise changed(f"{name} is not the file that was signed")
        temporary.replace(target)

    def _records(self, config: Config, making: Layout, body: Mapping[str, Any]) -> None:
        """Fill an empty database in one transaction."""
        shared = bool(config["records"])
        if shared and body["records"] == "sqlite":
            raise UsageError(
                "records from SQLite are restored into SQLite",
                cause="replicas share the journal of the log with the records, and this backup has none",
                remedy="restore without the setting `records`",
            )
        if not shared:
            for path in making.root.glob(f"{making.database.name}*"):
                path.unlink()
        members = {row["path"]: row for row in body["members"]}
        records = open_records(config, making, create=True)
        try:
            with records.write() as connection:
                _check_empty(connection)
                for table in schema.metadata.sorted_tables:
                    name = f"records/{table.name}.jsonl"
                    if name in members:
                        self._fill(connection, table, members[name])
        finally:
            records.close()

    def _fill(self, connection: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> None:
        """Insert the rows of one table, whose file was read to its end before, and is held against its digest again."""
        with self._signed(row) as lines:
            for _ in lines:
                pass
        part: list[dict[str, Any]] = []
        with self._signed(row) as lines:
            for line in lines:
                part.append({name: value_of(value) for name, value in json.loads(line).items()})
                if len(part) == ROWS:
                    connection.execute(sa.insert(table), part)
                    part = []
        if part:
            connection.execute(sa.insert(table), part)
        if connection.dialect.name == "postgresql":
            _go_on(connection, table)

    @contextmanager
    def _signed(self, row: Mapping[str, Any]) -> Iterator[Iterator[bytes]]:
        """Give the lines of a member; raises at the end when they are not what was signed."""
        hasher, size = hashlib.sha256(), 0
        with open_member(self.backup / row["path"], self.backup) as file:

            def lines() -> Iterator[bytes]:
                nonlocal size
                while line := file.readline(MAX_LINE):
                    hasher.update(line)
                    size += len(line)
                    yield line

            yield lines()
        if (size, hasher.hexdigest()) != (row["size"], row["sha256"]):
            raise changed(f"{row['path']} is not the file that was signed")

    def _opened(self, config: Config, body: Mapping[str, Any], pin: Pin) -> Registry:
        """Open it where it lies now; what the user remembers of the registry may be newer than the backup."""
        try:
            registry = open_registry(config, clock=self.clock, entropy=self.entropy)
        except VerificationFailed as error:
            if error.check not in ("log.consistency", "authority.rollback"):
                raise
            known = parse_checkpoint(pin.checkpoint)[0].size if pin.checkpoint else 0
            raise VerificationFailed(
                "this backup is older than what you have seen of the registry",
                cause=f"it was made {body['made']} with {_size(body['checkpoints'])} entries in its logs, and you remember a log"
                f" of {known}: what was decided since is not in it",
                remedy="restore a later backup. If there is none, entries are lost for good: remove your pin and pin the registry"
                " again (weighbridge trust pin), tell those who watch its log, and go on in a new one: weighbridge trust rotate log",
                check="log.consistency",
            ) from error
        notes = [log.checkpoint_text for log in (*registry.before, registry.log)]
        if notes != list(body["checkpoints"]):
            registry.close()
            raise changed("its logs are not those whose checkpoints were signed")
        return registry

    def _blobs(self, registry: Registry, body: Mapping[str, Any]) -> int:
        """Fetch the bytes that are kept; those that are referenced in place stay there."""
        with registry.records.read() as connection:
            wanted = sorted(References().read(connection))
        missing = [digest for digest in wanted if not registry.blobs.has(digest)]
        here = self.blobs_from or ("" if body["blobs"]["elsewhere"] else str(self.backup.parent / BLOBS))
        if missing and here:
            with _store(here, registry) as store:
                for digest in missing:
                    copy_blob(store, registry.blobs, digest)
        return len(wanted)


class _store:  # noqa: N801 (used as a function)
    """The store that bytes come from, for as long as they do."""

    def __init__(self, url: str, registry: Registry) -> None:
        path = Path(url)
        if "://" not in url and (path.is_symlink() or not path.is_dir()):
            raise NotFound(
                f"there is no folder {url}", remedy="name the store of the bytes with --blobs-from"
            )
        self._store = open_blobs(url, cache=registry.layout.scratch / "from")

    def __enter__(self) -> Any:
        return self._store

    def __exit__(self, *_: object) -> None:
        close = getattr(self._store, "close", None)
        if close is not None:
            close()


def _read_again(registry: Registry) -> None:
    """Read everything again that decisions rest on; raises VerificationFailed(backup.whole)."""
    tally.check(registry)
    tally.check_subjects(registry)
    for what, read in READ_AGAIN:
        try:
            problems = read(registry)
        except WeighbridgeError as error:
            problems = [error.problem]
        if problems:
            raise VerificationFailed(
                f"the restored {what} is not whole",
                cause="; ".join(problems[:3])
                + (f" and {len(problems) - 3} more" if len(problems) > 3 else ""),
                remedy="bytes may come from another store: --blobs-from STORE; else restore an earlier backup",
                check="backup.whole",
            )


def _go_on(connection: sa.Connection, table: sa.Table) -> None:
    """Let PostgreSQL count on from the numbers that rows have."""
    for column in table.columns:
        if column.identity is not None or column is table.autoincrement_column:
            counter = f"pg_get_serial_sequence('{table.name}', '{column.name}')"
            connection.exec_driver_sql(
                f"SELECT setval({counter}, max({column.name})) FROM {table.name} WHERE {counter} IS NOT NULL"  # noqa: S608 (our own words only)
            )


def _check_empty(connection: sa.Connection) -> None:
    for table in (schema.authority, schema.model, schema.setting):
        if connection.execute(sa.select(sa.func.count()).select_from(table)).scalar():
            raise UsageError(
                "the database holds records already",
                remedy="name an empty database with the setting `records`; nothing is ever restored over a registry",
            )


def _size(notes: list[str]) -> int:
    return sum(parse_checkpoint(note)[0].size for note in notes)
