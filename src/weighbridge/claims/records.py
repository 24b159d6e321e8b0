"""Write and read records: decisions, names, deployments, revocations and waivers, as signed statements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from weighbridge.claims import readers
from weighbridge.claims.words import RECORD_ROLES, kind_of, record_type
from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import InternalError, VerificationFailed
from weighbridge.core.statement import Statement, subject_of

_REQUIRED = {
    "decision": (),
    "name": ("name",),
    "deployment": ("target",),
    "revocation": ("reason", "since"),
    "waiver": ("rule", "fingerprint", "reason", "expires"),
}
_TIMES = ("since", "expires")


@dataclass(frozen=True, slots=True)
class Record:
    """Something that happened: its kind, the identities it is about, in which project, by whom, when."""

    kind: str
    about: tuple[Digest, ...]
    project: str
    actor: str
    at: datetime
    body: Mapping[str, JSON]


def event(
    kind: str, digests: Sequence[Digest], body: Mapping[str, JSON], *, project: str, actor: str, at: datetime
) -> Statement:
    """Make the statement of a record; `kind` is decision, name, deployment, revocation or waiver.

    `body` of a revocation holds reason and since, of a waiver rule, fingerprint, reason and expires
    (RFC 3339), of a name its name, of a deployment its target; anything else may stand beside these.
    """
    if kind not in RECORD_ROLES:
        raise InternalError(f"{kind!r} is no kind of record; known are {', '.join(RECORD_ROLES)}")
    predicate: dict[str, JSON] = {
        "schema": f"weighbridge.{kind}/1",
        "project": project,
        "actor": actor,
        "at": rfc3339(at),
        "body": dict(body),
    }
    statement = Statement(tuple(subject_of(digest) for digest in digests), record_type(kind), predicate)
    read_event(statement)
    return statement


def read_event(statement: Statement) -> Record | None:
    """Read a record; None when it is none, VerificationFailed(record.form) when it is ill-formed."""
    kind = kind_of(statement)
    if kind is None:
        return None
    try:
        return _read(kind, statement)
    except (ValueError, TypeError) as error:
        raise VerificationFailed(
            f"this {kind} is not well-formed",
            cause=str(error),
            remedy="records are written by the gate; docs/reference/claims.md describes their form",
            check="record.form",
        ) from error


def _read(kind: str, statement: Statement) -> Record:
    row: Mapping[str, Any] = statement.predicate
    if readers.text(row, "schema") != f"weighbridge.{kind}/1":
        raise ValueError(f"schema is not weighbridge.{kind}/1")
    for subject in statement.subjects:
        if subject.name and subject.identity is None:
            raise ValueError(f"the subject {subject.name!r} is not an identity")
    about = statement.identities
    if not about:
        raise ValueError("it names no model, weights or dataset")
    if kind == "waiver" and [digest.algorithm for digest in about] != ["wb1"]:
        raise ValueError("a waiver is for exactly one model (wb1:)")
    body = readers.mapping(row, "body")
    for name in _REQUIRED[kind]:
        value = readers.text(body, name)
        if name in _TIMES:
            parse_rfc3339(value)
    canonical(dict(body))
    at = parse_rfc3339(readers.text(row, "at"))
    return Record(kind, about, readers.text(row, "project"), readers.text(row, "actor"), at, dict(body))
