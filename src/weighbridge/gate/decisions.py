"""The decisions that were made: read in the order of their chain, each held against what was signed before it is believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from weighbridge.claims.records import Record, read_event
from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.clock import parse_rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, VerificationFailed, WeighbridgeError
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Role
from weighbridge.gate.judging import Basis
from weighbridge.registry import decisions, tally
from weighbridge.registry.wiring import Registry, authority_versions
from weighbridge.store import schema
from weighbridge.trust.authority import Authority
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.verify import verify_bundle

CHAIN = ("sequence", "previous", "circumstances")
"""Members of what is signed that are no part of `weighbridge.decision/1` as the judge writes it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One decision as it was signed, the evidence it rests on, what the log answered, and who asked for it.

    `problem` says what speaks against believing it (a changed row, exchanged evidence, a signature that does not
    verify); everything else is then as it was found. `sequence` is None for the first registries' decisions.
    """

    id: Digest
    sequence: int | None
    body: Mapping[str, Any]
    text: str
    """The canonical JSON of the evidence, or empty where there was none (or none is kept)."""
    receipt: Mapping[str, Any]
    bundle: Bundle | None
    asked_by: str
    logged_at: datetime | None
    problem: str = ""

    @property
    def manifest(self) -> str:
        """The model it is about."""
        return str(self.body.get("digests", {}).get("manifest", ""))

    @property
    def allow(self) -> bool:
        """What was decided."""
        return self.body.get("decision") == "allow"

    @property
    def project(self) -> str:
        """In which project it was decided."""
        return str(self.body.get("project", ""))

    @property
    def time(self) -> datetime:
        """The time at which everything was judged."""
        return parse_rfc3339(str(self.body["time"]))

    @property
    def evidence(self) -> str:
        """The digest of the evidence it rests on; empty for a decision that could get none."""
        return str(self.body.get("digests", {}).get("evidence", ""))

    @property
    def circumstances(self) -> Mapping[str, JSON]:
        """What it was made from beside evidence, policy and time; empty for the first registries' decisions."""
        found = self.body.get("circumstances", {})
        return found if isinstance(found, Mapping) else {}

    def basis(self) -> Basis:
        """Read the evidence; raises ValueError when it cannot be."""
        return Basis.read(self.text)


def kept(
    registry: Registry,
    *,
    manifest: Digest | None = None,
    project: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    verify: bool = True,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Kept]:
    """Yield the decisions that took effect, oldest first; of one model, one project, of a time (`since <= time < until`).

    Raises VerificationFailed when rows are missing (records.tally, decisions.chain); one that was changed is yielded
    with its problem, whatever was asked for. `verify` also verifies each signature and log proof; `share` (k, n) yields the k-th of n parts.
    """
    tally.check(registry)
    with registry.records.read() as connection:
        decisions.check(connection)
        verifier = _Verifier(registry, authority_versions(connection, registry.pin)) if verify else None
        for row in decisions.rows(connection, str(manifest) if manifest else "", share=share):
            found = _read(connection, row, verifier)
            if found.problem or _wanted(found, project, since, until):
                yield found


def _wanted(found: Kept, project: str, since: datetime | None, until: datetime | None) -> bool:
    if project and found.project != project:
        return False
    return (since is None or found.time >= since) and (until is None or found.time < until)


class _Verifier:
    """Verifies the signed statements of decisions, each under the authority by which it was made."""

    def __init__(self, registry: Registry, versions: Mapping[str, Authority]) -> None:
        self._now = registry.authority
        self._versions = versions

    def __call__(self, bundle: Bundle, body: Mapping[str, Any], project: str, when: datetime) -> None:
        then = self._versions.get(str(body["digests"]["authority"]), self._now)
        try:
            verify_bundle(bundle, authority=then, project=project, role=Role.DECIDE, now=when)
        except VerificationFailed:
            if then is self._now:
                raise
            verify_bundle(bundle, authority=self._now, project=project, role=Role.DECIDE, now=when)


def _read(connection: sa.Connection, row: Mapping[str, Any], verifier: _Verifier | None) -> Kept:
    """Read a row; whatever does not fit what was signed becomes its problem."""
    identity, text = _identity(row), decisions.evidence_text(connection, row["evidence"])
    body: Any = {}
    bundle, record, when, receipt = None, None, None, {}
    problem = ""
    try:
        body, receipt = _object(row["content"]), _object(row["receipt"])
        if str(Digest.of(row["content"].encode())) != row["id"]:
            raise _changed("the row is not what its id is the digest of")
        bundle = _bundle(connection, row)
        record = _record(bundle)
        if canonical(dict(record.body)) != row["content"].encode():
            raise _changed("it is not what was signed")
        if (row["manifest"], row["project"]) != (str(record.about[0]), record.project):
            raise _changed("the row names another model or project than what was signed")
        if bundle.entry is None or bundle.entry.index != receipt["log_index"]:
            raise _changed("its receipt is another entry's")
        when = datetime.fromtimestamp(bundle.entry.integrated_time, UTC)
        if verifier is not None:
            verifier(bundle, body, record.project, when)
        wanted = str(body["digests"]["evidence"])
        if wanted and str(Digest.of(text.encode())) != wanted:
            raise _changed(f"its evidence {wanted} {'was exchanged' if text else 'is gone'}")
    except WeighbridgeError as error:
        problem = f"{error.problem}{f': {error.cause}' if error.cause else ''}"
    except (ValueError, KeyError, TypeError) as error:
        problem = f"it cannot be read: {error}"
    asked_by = record.actor if record is not None else row["actor"]
    return Kept(identity, row["sequence"], body, text, receipt, bundle, asked_by, when, problem)


def _identity(row: Mapping[str, Any]) -> Digest:
    """Return under which id a row is shown: its own, or where that is none any more, what it should be."""
    try:
        return Digest.parse(row["id"])
    except BadReference:
        return Digest.of(row["content"].encode())


def _object(text: str) -> dict[str, JSON]:
    value = parse(text)
    if not isinstance(value, dict):
        raise ValueError("it is no object")  # noqa: TRY004 (one error type for callers)
    return value


def _bundle(connection: sa.Connection, row: Mapping[str, Any]) -> Bundle:
    """Return the signed statement of a decision; that of the first ones is looked for among what is about the model."""
    table, subject = schema.bundle, schema.bundle_subject
    query = sa.select(table.c.digest, table.c.content)
    if row["bundle"]:
        query = query.where(table.c.digest == row["bundle"])
    else:
        query = query.join(subject, subject.c.bundle == table.c.digest)
        query = query.where(subject.c.identity == row["manifest"], table.c.stage == "decision")
    for digest, content in connection.execute(query):
        bundle = Bundle.from_json(content.encode())
        if str(bundle.digest) != digest:
            raise _changed("its signed statement was exchanged")
        if row["bundle"] or canonical(dict(_record(bundle).body)) == row["content"].encode():
            return bundle
    raise _changed("its signed statement is gone")


def _record(bundle: Bundle) -> Record:
    record = read_event(Statement.decode(bundle.envelope.payload))
    if record is None or record.kind != "decision":
        raise _changed("its signed statement is about something else")
    return record


def _changed(cause: str) -> VerificationFailed:
    return VerificationFailed(
        "this decision is not what was signed",
        cause=cause,
        remedy="find out who can write to the registry's folder, then restore it from a backup",
        check="decisions.changed",
    )
