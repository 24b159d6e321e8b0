"""Where the rows of an audit pack lie: kept bundles by their place in the log, and what of them must stay here."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.gate import pack_records
from weighbridge.ledger.entry import LogEntry
from weighbridge.ledger.sequencer import Log
from weighbridge.scanner.secret_rules import SECRETS
from weighbridge.store import schema
from weighbridge.trust.bundle import Bundle

README = """Audit pack of a Weighbridge registry (weighbridge.audit-pack/1).

Verify it before you read it, with a root key of the registry that you got from somewhere else than this pack:

    python verify_pack.py PACK.zip --root ROOT.pub.pem

Take verify_pack.py from a release of Weighbridge that you trust (`weighbridge audit --script verify_pack.py`), not from
here: whoever can change a pack can change the script in it. It needs Python 3.11 and the package `cryptography`.

index.json          what is covered, and the digest of every member
index.sig.json      the gate's signature over it
authority.jsonl     every version of who may do what, signed by root keys
log/N/              each transparency log of the registry: its checkpoint, and every entry of the period with its record
earlier.jsonl       records from before the period that the lists rest on, each with its proof
lists/              the lists, one JSON object a line; all of them can be made again from the records
models/             manifests and bills of materials of what ran
policy/             the policy in force at the end
audit.json          the eight risks as the registry measured them; no record stands behind it
framework-*.json    evidence for a framework's tasks; no record stands behind it
"""

_SHAPES = tuple(
    (what, tuple(marks.split(" ") if what != "a private key" else [marks]), re.compile(shape))
    for what, marks, shape in SECRETS
)


def looks_secret(text: str) -> str:
    """Say what in a text looks like a secret (the scanner's shapes of tokens and keys), or nothing."""
    for what, marks, shape in _SHAPES:
        if any(mark in text for mark in marks) and shape.search(text):
            return what
    return ""


def encoded(data: bytes) -> str:
    """Write base64."""
    return base64.b64encode(data).decode("ascii")


class Kept:
    """Finds the bundle of each entry of one log, in order: one pass over places, one look for each bundle."""

    def __init__(self, connection: sa.Connection, start: int) -> None:
        table = schema.bundle
        query = sa.select(table.c.log_index, table.c.digest).where(table.c.log_index >= start)
        query = query.order_by(table.c.log_index, table.c.place)
        self._connection = connection
        self._rows: Iterator[Any] = iter(connection.execute(query.execution_options(yield_per=1000)))
        self._next: Any = next(self._rows, None)

    def of(self, entry: LogEntry) -> Found | None:
        """Return the bundle that an entry is about; several logs may have entries of one number. None for none."""
        found = None
        while self._next is not None and self._next[0] <= entry.index:
            index, digest = self._next
            self._next = next(self._rows, None)
            if index == entry.index:
                kept = found_under(self._connection, digest)
                if is_about(entry.body, kept.bundle):
                    found = kept
        return found


@dataclass(frozen=True, slots=True)
class Found:
    """A kept bundle and the text in which it is kept."""

    bundle: Bundle
    text: str


def bundle_of(connection: sa.Connection, digest: str) -> Bundle:
    """Return a kept bundle; raises as `found_under`."""
    return found_under(connection, digest).bundle


def found_under(connection: sa.Connection, digest: str) -> Found:
    """Return what is kept under a digest; raises VerificationFailed(records.bundle) when it is not the one kept under its digest."""
    query = sa.select(schema.bundle.c.content).where(schema.bundle.c.digest == digest)
    content = connection.execute(query).scalar()
    bundle = Bundle.from_json(content.encode()) if content is not None else None
    if bundle is None or str(bundle.digest) != digest:
        raise VerificationFailed(
            "a kept claim was exchanged or removed",
            cause=f"under {digest} lies {bundle.digest if bundle else 'nothing'}",
            remedy="find out who can write to the registry's folder, then restore it from a backup",
            check="records.bundle",
        )
    assert content is not None
    return Found(bundle, content)


def is_about(body: bytes, bundle: Bundle) -> bool:
    """Tell whether a log entry is about this bundle: the same payload under the same signature."""
    try:
        spec: Any = json.loads(body)["spec"]
        (row,) = spec["signatures"]
        said = (spec["payloadHash"]["value"], row["signature"])
    except (ValueError, KeyError, TypeError):
        return False
    envelope = bundle.envelope
    return said == (Digest.of(envelope.payload).hex, encoded(envelope.signatures[0].sig))


def checkpoint_in(row: Mapping[str, Any], log: Log) -> str:
    """Return the checkpoint of this log that a row's record was proven in, or nothing."""
    if "bundle" not in row:
        return ""
    for proof in row["bundle"]["verificationMaterial"]["tlogEntries"]:
        if base64.b64decode(proof["logId"]["keyId"]).hex() == log.log_id.hex:
            return str(proof["inclusionProof"]["checkpoint"]["envelope"])
    return ""


def latest(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[tuple[str, int]]:
    """Yield, of (digest, place, stage) from the newest on: every BOM, the last admission, the last decision and allow."""
    met: set[str] = set()
    for digest, index, stage in connection.execute(query):
        if stage == "decision" and "allow" not in met:
            statement = json.loads(bundle_of(connection, digest).envelope.payload)
            body = pack_records.record_in(statement)[1]["body"]
            allows = body.get("decision") == "allow" and body.get("enforced") is True
            if allows or "decision" not in met:
                yield digest, index
            met |= {"decision", "allow"} if allows else {"decision"}
        elif stage == "bom" or (stage == "admit" and "admit" not in met):
            yield digest, index
            met.add(stage)


def parts(rows: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Cut into parts of a size that a query takes."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
