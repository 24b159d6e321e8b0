"""Transfer: models, claims, withdrawals and trust of one registry, as a folder that is carried to another one.

A folder of a transfer holds::

    transfer.json, transfer.sig.json   what is in it and when it was made, signed by the key of the log of records
    authority.jsonl                    every version of who may do what, each signed by a root key
    log/<n>/                           the logs of records as static files (C2SP tlog-tiles): digests, no contents
    claims.jsonl                       the claims about the models and all that they descend from
    news.jsonl                         withdrawals, advisories and what is distrusted, since a number of log entries when asked
    models/<hex>.json                  manifest, label and source of each model
    trusted_root.json                  whose certificates, logs and timestamps verifiers believe
    blobs/                             the bytes, unless evidence goes alone

Evidence is small and goes often; bytes are large, go once, and may go by another way. Making it again in the same folder goes
on where it stopped: bytes that are there are not copied again, and the logs only grow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import OutOfBudget, Refused, Unreadable, UsageError
from weighbridge.core.statement import Statement
from weighbridge.ledger.tiles import CHECKPOINT, write_durably
from weighbridge.registry import bundles, edges, models, tally
from weighbridge.registry.backup import BLOBS, FULL, copy_blob
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.store.files import FileBlobs
from weighbridge.store.plain import read_plain
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.dsse import sign

SCHEMA = "weighbridge.transfer/1"
TYPE = "application/vnd.weighbridge.transfer+json"
BODY, SIGNATURE = "transfer.json", "transfer.sig.json"
AUTHORITY, CLAIMS, NEWS, ROOTS = "authority.jsonl", "claims.jsonl", "news.jsonl", "trusted_root.json"
STAGES_OF_NEWS = ("revocation", "advisory", "lift", "distrust")
"""Words under which bundles are kept that take something back, or give it back."""
MAX_IDENTITIES = 10_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What goes: which models, whether claims and news, whether bytes, and from which entry on the news are new."""

    models: tuple[Digest, ...] = ()
    evidence: bool = True
    blobs: bool = True
    since: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """What was put into a folder."""

    path: Path
    models: int
    claims: int
    news: int
    blobs: int
    entries: int
    """Of the newest log: give it as --since the next time."""
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, JSON]:
        """Return it as `transfer export` prints it."""
        return {
            "path": str(self.path),
            "models": self.models,
            "claims": self.claims,
            "news": self.news,
            "blobs": self.blobs,
            "entries": self.entries,
        }


def export(registry: Registry, target: Path, wanted: Wanted) -> Sent:
    """Put what is wanted into the folder `target`; the signed list is written last, so that a folder without it is unfinished.

    Raises NotFound for a model that is not here, Refused(transfer.folder) for a folder with something else in it, what
    `tally.check` raises, Unreadable, OutOfBudget.
    """
    if target.exists() and not (target / AUTHORITY).exists() and any(target.iterdir()):
        raise Refused(
            f"there is something else in {target}",
            remedy="name an empty folder, or one that an earlier export made",
            check="transfer.folder",
        )
    try:
        return _export(registry, target, wanted)
    except OSError as error:
        kind = OutOfBudget if error.errno in FULL else Unreadable
        raise kind(
            f"the transfer could not be written to {target}",
            cause=error.strerror or str(error),
            remedy="free some space or name another folder, and run it again: it goes on where it stopped",
        ) from error


def _export(registry: Registry, target: Path, wanted: Wanted) -> Sent:
    tally.check(registry)
    target.mkdir(parents=True, exist_ok=True)
    with registry.records.read() as connection:
        versions = connection.execute(
            sa.select(schema.authority.c.content).order_by(schema.authority.c.version)
        ).scalars()
        _lines(target / AUTHORITY, (text.encode() for text in versions))
        since = 0 if registry.before else wanted.since  # a log that follows another counts from 0 again
        news = _news(connection, since) if wanted.evidence else []
    found = [models.get(registry, digest) for digest in wanted.models]
    claims = _claims(registry, found) if wanted.evidence else []
    _lines(target / CLAIMS, (bundle.to_json() for bundle in claims))
    _lines(target / NEWS, (text.encode() for text in news))
    write_durably(target / ROOTS, _roots(registry))
    (target / "models").mkdir(exist_ok=True)
    for model in found:
        write_durably(target / "models" / f"{model.digest.hex}.json", _described(model))
    store, copied = FileBlobs(target / BLOBS), 0
    for digest in (
        sorted({entry.sha256 for model in found for entry in model.manifest.files}) if wanted.blobs else ()
    ):
        if not store.hold(digest):
            copy_blob(registry.blobs, store, digest)
        copied += 1
    logs = (*registry.before, registry.log)
    notes = []
    for number, log in enumerate(logs):
        (target / "log").mkdir(exist_ok=True)
        log.export(target / "log" / str(number))
        notes.append(read_plain(target / "log" / str(number) / CHECKPOINT).decode())
    names = [AUTHORITY, CLAIMS, NEWS, ROOTS, *(f"models/{model.digest.hex}.json" for model in found)]
    body: dict[str, JSON] = {
        "schema": SCHEMA,
        "registry": registry.id,
        "project": registry.project,
        "made": rfc3339(registry.clock.now()),
        "since": since,
        "checkpoints": list[JSON](notes),
        "models": [str(model.digest) for model in found],
        "evidence": wanted.evidence,
        "blobs": wanted.blobs,
        "members": [_member(target, name) for name in names],
    }
    signature = sign(TYPE, canonical(body), registry.log_key)
    write_durably(target / SIGNATURE, canonical(signature.to_json()) + b"\n")
    write_durably(target / BODY, canonical(body) + b"\n")
    return Sent(target, len(found), len(claims), len(news), copied, registry.log.size)


def _described(model: models.Model) -> bytes:
    said: dict[str, JSON] = {
        "manifest": model.manifest.canonical_bytes.decode(),
        "label": model.label,
        "origin": model.origin.value,
        "source": dict(model.source),
    }
    return canonical(said) + b"\n"


def _claims(registry: Registry, found: Sequence[models.Model]) -> list[Bundle]:
    """Return the claims about models, and about everything that these claims say they descend from."""
    waiting = [d for model in found for d in (model.digest, model.manifest.weights) if d is not None]
    seen: set[Digest] = set()
    claims: dict[Digest, Bundle] = {}
    while waiting:
        part, waiting = [digest for digest in dict.fromkeys(waiting) if digest not in seen], []
        seen |= set(part)
        if len(seen) > MAX_IDENTITIES:
            raise OutOfBudget(
                f"more than {MAX_IDENTITIES} things are named in this ancestry",
                remedy="export fewer models at a time",
            )
        for bundle in bundles.about(registry, part) if part else ():
            if _stage(bundle) not in STAGES_OF_NEWS:
                claims[bundle.digest] = bundle
            waiting += [edge.parent for edge in edges.stated(bundle)[0]]
    return list(claims.values())


def _stage(bundle: Bundle) -> str:
    return edges.stage_name(Statement.decode(bundle.envelope.payload))


def _news(connection: sa.Connection, since: int) -> list[str]:
    table = schema.bundle
    query = sa.select(table.c.content).where(table.c.stage.in_(STAGES_OF_NEWS), table.c.log_index >= since)
    return list(connection.execute(query.order_by(table.c.place)).scalars())


def _roots(registry: Registry) -> bytes:
    from weighbridge.registry.distribution import trusted_root

    return trusted_root(registry)


def _lines(path: Path, lines: Iterable[bytes]) -> None:
    write_durably(path, b"".join(line + b"\n" for line in lines))


def _member(folder: Path, name: str) -> dict[str, JSON]:
    data = read_plain(folder / name)
    return {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def since_of(text: str) -> int:
    """Return the number of entries that `--since` means: a number, or a file with a checkpoint; raises UsageError."""
    if text.isdigit():
        return int(text)
    from weighbridge.ledger.checkpoint import parse_checkpoint

    try:
        return parse_checkpoint(read_plain(Path(text), 65536).decode())[0].size
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--since {text!r} is neither a number of log entries nor a checkpoint",
            cause=str(error),
            remedy="give the number that the last export or import printed",
        ) from error
