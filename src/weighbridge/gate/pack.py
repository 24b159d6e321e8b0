"""The audit pack: what an auditor asks for in one archive, made from signed records and verifiable without us.

Whatever decides a list is a signed record out of the log, never a row of the database: rows only say where a record
lies. The lists are made by reading the pack that was just written with the code that the auditor reads it with
(`verify_pack`), so what they say is what can be shown. Everything goes through files in a folder beside the target;
memory does not grow with the number of records. docs/reference/audit.md describes the members.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from weighbridge.claims.records import read_event
from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.clock import rfc3339
from weighbridge.core.envelope import VERSION
from weighbridge.core.errors import OutOfBudget, Unreadable, UsageError, VerificationFailed
from weighbridge.core.statement import Statement
from weighbridge.gate import pack_formats, pack_lists, pack_records, verify_pack
from weighbridge.gate.pack_script import script
from weighbridge.gate.pack_sources import (
    README,
    Found,
    Kept,
    bundle_of,
    checkpoint_in,
    encoded,
    found_under,
    is_about,
    latest,
    looks_secret,
    parts,
)
from weighbridge.ledger.checkpoint import parse_checkpoint
from weighbridge.ledger.entry import LogEntry
from weighbridge.ledger.merkle import Frontier, leaf_hash
from weighbridge.ledger.sequencer import Log
from weighbridge.registry import decisions, tally
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.trust import dsse
from weighbridge.trust.bundle import log_body

MAX_PACK = 64 << 30
"""Bytes of all members together."""
EARLIER = (
    "deployment",
    "revocation",
    "waiver",
    "break-glass",
    "policy",
    "mode",
    "approval",
    "other",
    "advisory",
    "lift",
)
"""What is carried from before the period whatever it is about, by the word under which bundles are kept."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Secret = Callable[[str], str]
"""Says what a text holds that must not leave the registry, or nothing."""


@dataclass(frozen=True, slots=True)
class Made:
    """A pack that was made: where, how many rows each list has, what is wrong with the records, what is not in it."""

    path: Path
    size: int
    sha256: str
    records: int
    lists: Mapping[str, int]
    wrong: tuple[str, ...]
    missing: tuple[str, ...]

    def to_json(self) -> dict[str, JSON]:
        """Return what was made, as `audit --pack` prints it."""
        return {
            "pack": str(self.path),
            "bytes": self.size,
            "sha256": self.sha256,
            "records": self.records,
            "lists": dict(self.lists),
            "wrong": list(self.wrong),
            "missing": list(self.missing),
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the pack is to cover, and what goes into it beside the records."""

    since: datetime = EPOCH
    as_of: datetime | None = None
    """The day for which roles are listed; the end of the period unless told."""
    documents: Mapping[str, JSON] = field(default_factory=dict)
    """Further members, by name: they are the registry's word and stand on no record."""
    signed: bool = True
    secret: Secret = looks_secret


def make_pack(registry: Registry, target: Path, wanted: Wanted) -> Made:
    """Write the pack to `target`, which must not exist; until it is whole there is nothing under that name.

    Raises UsageError, VerificationFailed(records.tally) when the records were changed behind our back, OutOfBudget,
    Unreadable when the disk refuses. Records that do not verify do not stop it: they are in `Made.wrong`.
    """
    if target.exists():
        raise UsageError(f"there is already something at {target}", remedy="name another file with --pack")
    now = registry.clock.now()
    if wanted.since > now:
        raise UsageError("the period begins in the future", remedy="name an earlier day with --since")
    tally.check(registry)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.with_name(f".{target.name}.{registry.entropy.token(6).hex()}.making")
    try:
        folder.mkdir(mode=0o700)
        return _Making(registry, folder, target, wanted, now).run()
    except OSError as error:
        raise Unreadable(
            f"the pack could not be written to {target}",
            cause=error.strerror or str(error),
            remedy="free some space, or name another place with --pack",
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Making:
    """One pack in the making, in a folder beside its target."""

    def __init__(self, registry: Registry, folder: Path, target: Path, wanted: Wanted, now: datetime) -> None:
        self.registry = registry
        self.folder = folder
        self.target = target
        self.wanted = wanted
        self.now = now
        self.logs: tuple[Log, ...] = ()
        self.notes: list[str] = []
        self.sizes: list[int] = []
        """Checkpoints and sizes of the logs at the moment that the pack is of."""
        self.starts: list[int] = []
        self.running: dict[str, None] = {}
        """Manifests that ran in the period."""
        self.referred: set[str] = set()
        """Bundles that decisions of the period rest on."""
        self.versions: dict[tuple[int, int], int] = {}

    def run(self) -> Made:
        """Write every member, make the lists, put it all into one archive."""
        with ExitStack() as stack:
            connection = self._still(stack)
            roots = self._authority(connection)
            for number, log in enumerate(self.logs):
                self._log(connection, number, log)
            self._earlier(connection)
            reader, found, counts = self._lists(roots)
            self._models(connection, reader)
        for path in sorted(self.registry.layout.policy.iterdir()):
            if path.suffix in (".rego", ".toml"):
                self._write(f"policy/{path.name}", self._hidden(path.read_text(encoding="utf-8")).encode())
        for name, document in self.wanted.documents.items():
            self._write(name, self._hidden(canonical(document).decode()).encode() + b"\n")
        self._write("verify_pack.py", script())
        self._write("README.txt", README.encode())
        self._index(counts)
        size, digest = self._archive()
        return Made(
            self.target, size, digest, reader.records, counts, tuple(found.wrong), tuple(found.missing)
        )

    def _still(self, stack: ExitStack) -> sa.Connection:
        """Take records and logs as they are at one moment between two writers, who may go on from here.

        A copy that cannot be written to has no writers.
        """
        quiet = os.access(self.registry.layout.root, os.W_OK)
        with self.registry.writing() if quiet else nullcontext():
            connection = stack.enter_context(self.registry.records.read())
            connection.execute(sa.select(sa.func.count()).select_from(schema.setting))  # the view begins here
            self.logs = (*self.registry.before, self.registry.log)
            self.notes = [log.checkpoint_text for log in self.logs]
        self.sizes = [parse_checkpoint(note)[0].size for note in self.notes]
        return connection

    # The members.

    def _authority(self, connection: sa.Connection) -> list[str]:
        """Write every version of the authority and find each in the logs; return the root keys that are pinned."""
        query = sa.select(schema.authority.c.content).order_by(schema.authority.c.version)
        roots, known = list(self.registry.pin.roots), list(self.registry.pin.roots)
        with self._lines("authority.jsonl") as line:
            for content in connection.execute(query).scalars():
                envelope = dsse.Envelope.decode(content.encode())
                line(envelope.to_json())
                document: Any = json.loads(envelope.payload)
                for number, log in enumerate(self.logs):
                    for pem in known:
                        index = log.find(log_body(envelope, pem))
                        if index is not None and index < self.sizes[number]:
                            self.versions[number, index] = document["version"]
                known = [*known, *(pem for pem in document["roots"] if pem not in known)]
        return roots

    def _log(self, connection: sa.Connection, number: int, log: Log) -> None:
        """Write one log: its checkpoint, and every entry of the period with the record it is about."""
        frontier, start, since = Frontier(), 0, int(self.wanted.since.timestamp())
        if since > 0:
            for entry in log.entries():
                if entry.integrated_time >= since or entry.index >= self.sizes[number]:
                    break
                frontier, start = frontier.extend([leaf_hash(entry.body)]), start + 1
        self.starts.append(start)
        meta: dict[str, JSON] = {
            "origin": log.origin,
            "key": log.public_pem,
            "start": start,
            "edge": [encoded(step) for step in frontier.subtrees],
            "checkpoint": self.notes[number],
            "cosigned": log.cosigned_text,
        }
        first = ""
        found = Kept(connection, start)
        with self._lines(f"log/{number}/entries.jsonl") as line:
            for entry in log.entries(start):
                if entry.index >= self.sizes[number]:
                    break
                row = self._row(connection, (number, entry), found.of(entry))
                first = first or checkpoint_in(row, log)
                line(row)
        old = int(first.split("\n")[1]) if first else 0
        proof = log.consistency(old, self.sizes[number]) if old else ()
        meta["first"] = {"checkpoint": first, "proof": [encoded(step) for step in proof]}
        self._write(f"log/{number}/log.json", canonical(meta) + b"\n")

    def _row(
        self, connection: sa.Connection, at: tuple[int, LogEntry], found: Found | None
    ) -> dict[str, JSON]:
        """Return an entry as the pack has it: with the version or the record that it is about, or why there is none."""
        number, entry = at
        row: dict[str, JSON] = {
            "index": entry.index,
            "time": entry.integrated_time,
            "promise": encoded(entry.promise),
            "body": encoded(entry.body),
        }
        if (number, entry.index) in self.versions:
            return {**row, "authority": self.versions[number, entry.index]}
        if found is None:
            unsigned = json.loads(entry.body).get("kind") in verify_pack.UNSIGNED
            return row if unsigned else {**row, "missing": "the registry does not keep what was signed"}
        payload = found.bundle.envelope.payload.decode(errors="replace")
        if what := self.wanted.secret(payload):
            return {**row, "missing": f"withheld: it holds what looks like {what}"}
        row["bundle"] = json.loads(found.text)
        evidence = self._evidence(connection, payload)
        return {**row, "evidence": evidence} if evidence else row

    def _evidence(self, connection: sa.Connection, payload: str) -> str:
        """Return the evidence of a decision as it was signed by its digest; note what runs and what is referred to."""
        try:
            statement: Any = json.loads(payload)
            kind, record = pack_records.record_in(statement)
            if kind == "deployment":
                self.running.update(dict.fromkeys(str(row["name"]) for row in statement["subject"]))
            if kind != "decision":
                return ""
            body = record["body"]
            digest = str(body["digests"]["evidence"])
        except (ValueError, KeyError, TypeError, AttributeError, pack_formats.Wrong):
            return ""  # no record, whatever it looks like: the script says so as well
        name = pack_formats.sha256(pack_formats.canonical(body))
        query = sa.select(schema.decision.c.evidence).where(schema.decision.c.id == name)
        text = decisions.evidence_text(connection, str(connection.execute(query).scalar() or ""))
        if pack_formats.sha256(text.encode()) != digest or self.wanted.secret(text):
            return ""
        said: Any = json.loads(text)
        for part in ("claims", "waivers", "break_glass", "revocations", "advisories"):
            self.referred.update(row["bundle"] for row in said.get(part) or ())
        return text

    def _earlier(self, connection: sa.Connection) -> None:
        """Write what the lists need from before the period, each with its proof of inclusion in the newest checkpoint."""
        places = dict(self._places(connection)) if any(self.starts) else {}
        for number, start in enumerate(self.starts):
            if start:
                places[number, 0] = ""
        for place in self.versions:
            if place[1] < self.starts[place[0]]:
                places[place] = ""
        with self._lines("earlier.jsonl") as line:
            for (number, index), digest in sorted(places.items()):
                log = self.logs[number]
                found = found_under(connection, digest) if digest else None
                row = self._row(connection, (number, log.entry(index)), found)
                proof: list[JSON] = [encoded(step) for step in log.prove(index, self.sizes[number])]
                line({"log": number, **row, "proof": proof})

    def _places(self, connection: sa.Connection) -> Iterator[tuple[tuple[int, int], str]]:
        """Yield place and digest of each record before the period that a list may need."""
        table, subject = schema.bundle, schema.bundle_subject
        before = table.c.log_index < max(self.starts)
        columns = (table.c.digest, table.c.log_index)
        chosen: dict[str, int] = {}
        query = sa.select(*columns).where(before, table.c.stage.in_(EARLIER))
        chosen.update((row[0], row[1]) for row in connection.execute(query))
        began = self._note_running(connection, chosen)
        for manifest in self.running:
            about: sa.Select[Any] = sa.select(*columns, table.c.stage)
            about = about.select_from(subject.join(table, subject.c.bundle == table.c.digest))
            about = about.where(before, subject.c.identity == manifest)
            about = about.where(table.c.stage.in_(("decision", "admit", "bom")))
            about = about.order_by(table.c.place.desc())
            chosen.update(latest(connection, about))
            for place in began.get(manifest, ()):  # what it ran on when it began to run
                chosen.update(latest(connection, about.where(table.c.place < place)))
        for project in connection.execute(sa.select(table.c.project).distinct()).scalars():
            query = sa.select(*columns).where(before, table.c.stage == "decision", table.c.project == project)
            last = connection.execute(query.order_by(table.c.place.desc()).limit(1)).first()
            chosen.update({last[0]: last[1]} if last else {})  # the mode that the project was in
        for part in parts(sorted(self.referred), 400):
            rows = connection.execute(sa.select(*columns).where(before, table.c.digest.in_(part)))
            chosen.update((row[0], row[1]) for row in rows)
        for digest, index in chosen.items():
            bundle = bundle_of(connection, digest)
            for number, log in enumerate(self.logs):
                if index < self.starts[number] and is_about(log.entry(index).body, bundle):
                    yield (number, index), digest

    def _note_running(self, connection: sa.Connection, chosen: Mapping[str, int]) -> dict[str, list[int]]:
        """Note what ran when the period began, by the signed words of what was deployed where before it.

        Returns, for each such manifest, the rows of the records that say since when.
        """
        at: dict[tuple[str, str], tuple[str, int]] = {}
        for place, digest in sorted(_kept_at(connection, list(chosen))):
            try:
                event = read_event(Statement.decode(bundle_of(connection, digest).envelope.payload))
            except VerificationFailed:
                continue
            if event is not None and event.kind == "deployment":
                there, manifest = (event.project, str(event.body["target"])), str(event.about[0])
                if event.body.get("ended"):
                    at.pop(there, None)
                elif at.get(there, ("", 0))[0] != manifest:
                    at[there] = manifest, place
        began: dict[str, list[int]] = {}
        for manifest, place in at.values():
            began.setdefault(manifest, []).append(place)
        self.running.update(dict.fromkeys(began))
        return began

    def _lists(
        self, roots: Sequence[str]
    ) -> tuple[verify_pack.Reader, pack_formats.Findings, dict[str, int]]:
        """Make the lists by reading what was written, as the auditor will."""
        found = pack_formats.Findings()
        here = pack_formats.Pack(self.folder)
        versions = pack_formats.read_authority(here, self.registry.id, roots)
        counts = dict.fromkeys(pack_lists.LISTS, 0)
        since, until = int(self.wanted.since.timestamp()), int(self.now.timestamp())
        with ExitStack() as stack:
            lines = {name: stack.enter_context(self._lines(f"lists/{name}.jsonl")) for name in counts}

            def emit(name: str, row: dict[str, Any]) -> None:
                counts[name] += 1
                lines[name](row)

            lists = pack_lists.Lists(emit, since, until)
            reader = verify_pack.Reader(here, versions, lists, found)
            reader.read([{"origin": log.origin} for log in self.logs])
            as_of = int((self.wanted.as_of or self.now).timestamp())
            lists.finish(versions, as_of, verify_pack.frozen(reader.logs))
        return reader, found, counts

    def _models(self, connection: sa.Connection, reader: verify_pack.Reader) -> None:
        """Write manifest and bill of materials of each model that ran; the latter is the newest by who may make one."""
        table = schema.description
        newest = {manifest: bundle for bundle, (_, about) in reader.boms.items() for manifest in about}
        with (
            self._lines("models/manifests.jsonl") as manifest_line,
            self._lines("models/boms.jsonl") as bom_line,
        ):
            for manifest in sorted(reader.lists.ran):
                query = sa.select(table.c.manifest).where(table.c.digest == manifest).limit(1)
                text = connection.execute(query).scalar()
                if text is not None:
                    manifest_line({"manifest": manifest, "text": text})
                if manifest in newest:
                    payload = bundle_of(connection, newest[manifest]).envelope.payload
                    bom: JSON = json.loads(payload)["predicate"]
                    bom_line({"manifest": manifest, "bundle": newest[manifest], "bom": bom})

    def _hidden(self, text: str) -> str:
        """Return a text that no record stands behind, unless it holds what must not leave the registry."""
        what = self.wanted.secret(text)
        return f"withheld: it holds what looks like {what}\n" if what else text

    # The archive.

    def _index(self, counts: Mapping[str, int]) -> None:
        members: list[JSON] = []
        for path in sorted(self.folder.rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                name = path.relative_to(self.folder).as_posix()
                members.append({"path": name, "bytes": path.stat().st_size, "sha256": digest})
        logs: list[JSON] = [
            {"origin": log.origin, "start": start, "size": size}
            for log, start, size in zip(self.logs, self.starts, self.sizes, strict=True)
        ]
        authority = self.registry.authority
        index: dict[str, JSON] = {
            "schema": pack_formats.SCHEMA,
            "tool": {"name": "weighbridge", "version": VERSION},
            "registry": self.registry.id,
            "since": rfc3339(self.wanted.since),
            "until": rfc3339(self.now),
            "as_of": rfc3339(self.wanted.as_of or self.now),
            "authority": {"version": authority.version, "digest": str(authority.digest)},
            "logs": logs,
            "lists": dict(counts),
            "members": members,
        }
        data = canonical(index) + b"\n"
        self._write(pack_formats.INDEX, data)
        if self.wanted.signed:
            envelope = dsse.sign(pack_formats.PACK_TYPE, data, self.registry.gate_key)
            self._write(pack_formats.SIGNATURE, canonical(envelope.to_json()) + b"\n")

    def _archive(self) -> tuple[int, str]:
        """Put the members into one zip, the index first, every date the same; return its size and digest."""
        paths = sorted((path for path in self.folder.rglob("*") if path.is_file()), key=_order)
        if sum(path.stat().st_size for path in paths) > MAX_PACK:
            raise OutOfBudget(
                f"the pack would hold more than {MAX_PACK >> 30} GiB",
                remedy="take a shorter period with --since",
                check="audit.size",
            )
        making = self.target.with_name(f"{self.folder.name}.zip")
        try:
            with making.open("xb") as file:
                with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
                    for path in paths:
                        info = zipfile.ZipInfo(path.relative_to(self.folder).as_posix())
                        info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                        with path.open("rb") as data, archive.open(info, "w", force_zip64=True) as out:
                            shutil.copyfileobj(data, out, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
            with making.open("rb") as written:
                digest = hashlib.file_digest(written, "sha256").hexdigest()
            size = making.stat().st_size
            if self.target.exists():
                raise UsageError(
                    f"there is already something at {self.target}", remedy="name another file with --pack"
                )
            making.rename(self.target)
        finally:
            making.unlink(missing_ok=True)
        return size, digest

    def _write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    @contextmanager
    def _lines(self, name: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Give a function that writes one row of JSON lines to a member."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            yield lambda row: _put(file.write, row)


def _put(write: Callable[[bytes], int], row: Mapping[str, Any]) -> None:
    write(pack_formats.canonical(row) + b"\n")


def _kept_at(connection: sa.Connection, digests: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the order in which bundles were kept: by place in the log does not do where one log follows another."""
    for part in parts(digests, 400):
        query = sa.select(schema.bundle.c.place, schema.bundle.c.digest).where(
            schema.bundle.c.digest.in_(part)
        )
        yield from ((int(row[0]), str(row[1])) for row in connection.execute(query))


def _order(path: Path) -> tuple[bool, str]:
    return path.name not in (pack_formats.INDEX, pack_formats.SIGNATURE), str(path)
