"""Snapshots of names: all names of a project and what they point at, signed by the gate, with an end (`weighbridge.names/1`).

A client that resolves a name by a snapshot needs no registry at that moment, and cannot be shown yesterday's: the
version only grows (it is the number of entries in the log of records), no name goes back in its own sequence, and what is
past its end resolves nothing. What a client has seen it keeps in its own configuration home.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, NotFound, UsageError, VerificationFailed
from weighbridge.core.reference import is_name
from weighbridge.core.tier import Role
from weighbridge.registry import tally
from weighbridge.store import schema
from weighbridge.store.plain import read_plain
from weighbridge.trust.authority import Authority
from weighbridge.trust.dsse import Envelope, sign
from weighbridge.trust.verify import verify_envelope

if TYPE_CHECKING:
    from weighbridge.registry.wiring import Registry

SCHEMA = "weighbridge.names/1"
TYPE = "application/vnd.weighbridge.names+json"
LIFE = timedelta(hours=24)
LONGEST = timedelta(days=30)
SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What all names of a project pointed at, at a moment."""

    registry: str
    project: str
    version: int
    issued: datetime
    expires: datetime
    names: Mapping[str, tuple[int, Digest]]
    """Name: its sequence number, and the manifest it points at."""

    def to_json(self) -> dict[str, JSON]:
        """Return the document."""
        return {
            "schema": SCHEMA,
            "registry": self.registry,
            "project": self.project,
            "version": self.version,
            "issued": rfc3339(self.issued),
            "expires": rfc3339(self.expires),
            "names": {
                name: {"sequence": number, "manifest": str(digest)}
                for name, (number, digest) in self.names.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Known:
    """What a client has seen of a project's names: the highest version, and each name's highest sequence number."""

    version: int = 0
    sequences: Mapping[str, int] | None = None


def issue(registry: Registry, *, life: timedelta = LIFE) -> bytes:
    """Sign a snapshot of the current project's names as they are now; held against the tally. Raises UsageError."""
    if not timedelta(0) < life <= LONGEST:
        raise UsageError(f"a snapshot of names lives at most {LONGEST.days} days", remedy="ask for less")
    with registry.writing():  # so that version and names are of one moment
        tally.check(registry)
        with registry.records.read() as connection:
            names = _current(connection, registry.project)
        version = registry.log.size + sum(log.size for log in registry.before)
        now = registry.clock.now()
        said = Snapshot(registry.id, registry.project, version, now, now + life, names)
        return canonical(sign(TYPE, canonical(said.to_json()), registry.gate_key).to_json())


def verify(
    data: bytes, *, authority: Authority, project: str, now: datetime, known: Known | None = None
) -> Snapshot:
    """Return a snapshot that counts now; raises VerificationFailed.

    1. `names.signature`: signed by a key that the authority names for `record` in this project, and in force.
    2. `names.form`: it is what it should be, and of this registry and project.
    3. `names.expired`: issued not later than now and not past its end, which lies at most 30 days after.
    4. `names.rollback`: neither the version nor any name's sequence is lower than what was seen, and no name is gone.
    """
    payload = _signed(data, authority, project, now)
    said = _read(payload)
    if (said.registry, said.project) != (authority.registry, project):
        raise _form(f"it is of project {said.project!r} of registry {said.registry}")
    if not said.issued - SKEW <= now < said.expires or said.expires - said.issued > LONGEST:
        raise VerificationFailed(
            "the snapshot of names does not count now",
            cause=f"it holds from {rfc3339(said.issued)} to {rfc3339(said.expires)}, and it is {rfc3339(now)}",
            remedy="get a new one: weighbridge access names; or look at this machine's clock",
            check="names.expired",
        )
    if (cause := _older(said, known or Known())) != "":
        raise VerificationFailed(
            "the snapshot of names is older than one seen before",
            cause=cause,
            remedy="get a new one; if it stays so, the registry was rolled back: ask its owner",
            check="names.rollback",
        )
    return said


def resolve(
    data: bytes, name: str, *, authority: Authority, project: str, now: datetime, home: Path
) -> Digest:
    """Return what a name points at by a snapshot, and remember in `home` what was seen; raises as `verify`, and NotFound."""
    known = read_known(home, authority.registry, project)
    said = verify(data, authority=authority, project=project, now=now, known=known)
    _remember(home, said)
    if name not in said.names:
        raise NotFound(
            f"the snapshot has no name {name!r}",
            remedy=f"it has {', '.join(sorted(said.names)[:10]) or 'none'}",
        )
    return said.names[name][1]


def read_known(home: Path, registry: str, project: str) -> Known:
    """Return what was seen of a project's names; raises UsageError where that cannot be read."""
    path = _path(home, registry, project)
    try:
        value: Any = parse(read_plain(path))
        return Known(
            int(value["version"]), {str(name): int(number) for name, number in value["sequences"].items()}
        )
    except FileNotFoundError:
        return Known()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"what was seen of the names of {project!r} cannot be read",
            cause=f"{path}: {error}",
            remedy="restore the file; without it an old snapshot could pass for a new one",
        ) from error


def _current(connection: sa.Connection, project: str) -> dict[str, tuple[int, Digest]]:
    table = schema.name
    query = sa.select(table.c.name, table.c.sequence, table.c.manifest).where(table.c.project == project)
    found: dict[str, tuple[int, Digest]] = {}
    for row in connection.execute(query.order_by(table.c.name, table.c.sequence)):
        found[row.name] = (row.sequence, Digest.parse(row.manifest))
    return found


def _signed(data: bytes, authority: Authority, project: str, now: datetime) -> bytes:
    envelope = Envelope.decode(data)
    for one in authority.identities:
        held = one.keyless is None and authority.may(one.name, Role.RECORD, project)
        if not held or now < one.valid_from or (one.valid_until is not None and now > one.valid_until):
            continue
        try:
            return verify_envelope(envelope, one.pem, TYPE)
        except VerificationFailed:
            continue
    raise VerificationFailed(
        "the snapshot of names is not signed by the gate",
        cause=f"no identity that holds the role record in {project!r} has signed these bytes",
        remedy="get another one from the registry: weighbridge access names",
        check="names.signature",
    )


def _read(payload: bytes) -> Snapshot:
    try:
        value: Any = parse(payload)
        if set(value) != {"schema", "registry", "project", "version", "issued", "expires", "names"}:
            raise ValueError("its members are not those of a snapshot")
        if value["schema"] != SCHEMA or type(value["version"]) is not int or value["version"] < 1:
            raise ValueError("schema or version is not that of a snapshot")
        names = {}
        for name, row in value["names"].items():
            digest = Digest.parse(row["manifest"])
            if not is_name(name) or digest.algorithm != "wb1" or type(row["sequence"]) is not int:
                raise ValueError(f"{name!r} does not point at a model")
            names[name] = (row["sequence"], digest)
        issued, expires = parse_rfc3339(value["issued"]), parse_rfc3339(value["expires"])
        return Snapshot(
            str(value["registry"]), str(value["project"]), value["version"], issued, expires, names
        )
    except (ValueError, KeyError, TypeError, AttributeError, BadReference) as error:
        raise _form(str(error)) from error


def _older(said: Snapshot, known: Known) -> str:
    if said.version < known.version:
        return f"its version is {said.version}, and {known.version} was seen"
    for name, number in (known.sequences or {}).items():
        if name not in said.names:
            return f"the name {name!r} was seen, and is not in it"
        if said.names[name][0] < number:
            return f"the name {name!r} was seen at its move {number}, and is at {said.names[name][0]}"
    return ""


def _form(cause: str) -> VerificationFailed:
    return VerificationFailed(
        "this is no snapshot of these names",
        cause=cause,
        remedy="get one from the registry: weighbridge access names",
        check="names.form",
    )


def _path(home: Path, registry: str, project: str) -> Path:
    return home / "names" / f"{registry}-{Digest.of(project.encode()).hex[:16]}.json"


def _remember(home: Path, said: Snapshot) -> None:
    path = _path(home, said.registry, said.project)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    value = {"version": said.version, "sequences": {name: number for name, (number, _) in said.names.items()}}
    with temporary.open("wb") as file:
        file.write(json.dumps(value, indent=1).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
