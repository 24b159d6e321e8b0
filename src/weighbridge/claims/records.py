"""Write and read records: decisions, names, deployments, revocations, waivers and advisories, as signed statements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from weighbridge.claims import readers, settings
from weighbridge.claims.results import unwrapped
from weighbridge.claims.words import RECORD_ROLES, kind_of, record_type
from weighbridge.core.advisory import is_id, read_advisory
from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.distrust import is_distrust_id, read_distrust
from weighbridge.core.errors import BadReference, InternalError, VerificationFailed
from weighbridge.core.statement import Statement, Subject, subject_of

_REQUIRED = {
    "decision": (),
    "name": ("name",),
    "deployment": ("target",),
    "revocation": ("reason", "since"),
    "waiver": ("rule", "fingerprint", "reason", "expires"),
    "break-glass": ("reason", "expires"),
    "licence": ("licence", "reason"),
    "advisory": ("id", "kind", "reason", "severity", "since"),
    "lift": ("id", "reason", "since"),
    "policy": ("digest",),
    "mode": ("mode", "reason"),
    "approval": ("bundle", "kind"),
    "distrust": ("id", "what", "reason", "since"),
    "standing": ("status", "reason", "decision"),
    "token": ("id", "state", "reason"),
    "setting": ("key", "reason"),
}
_TIMES = ("since", "expires")
_ALIASED = ("advisory", "lift", "licence", "revocation")
"""Kinds that may also be about what is known by another name only: a subject `alias:` and the SHA-256 of that name."""
_DIGESTED = ("distrust", "lift")
"""Kinds that are about no model: their subject is nameless, the digest of what a distrust says."""
STANDINGS = ("active", "quarantined")
"""What the gate may say of where a model stands."""


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
    """Make the statement of a record; `kind` is one of RECORD_ROLES, and `claims.settings` says which are about no model.

    `body` of a revocation holds reason and since, of a waiver rule, fingerprint, reason and expires
    (RFC 3339), of a name its name, of a deployment its target, of an advisory what `core.advisory` says, of
    a lift the advisory's id, reason and since; anything else may stand beside these.
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
    subjects = tuple(_subject(digest) for digest in digests)
    if kind in settings.KINDS:
        subjects = (settings.subject_of(kind, body),)
    statement = Statement(subjects, record_type(kind), predicate)
    read_event(statement)
    return statement


def read_event(statement: Statement) -> Record | None:
    """Read a record; None when it is none, VerificationFailed(record.form) when it is ill-formed."""
    kind = kind_of(statement)
    if kind is None:
        return None
    try:
        return _read(kind, unwrapped(statement))
    except (ValueError, TypeError, KeyError, BadReference) as error:
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
    about = _about(kind, statement)
    if kind in ("waiver", "break-glass") and [digest.algorithm for digest in about] != ["wb1"]:
        raise ValueError(f"a {kind} is for exactly one model (wb1:)")
    body = readers.mapping(row, "body")
    for name in _REQUIRED[kind]:
        value = readers.text(body, name)
        if name in _TIMES:
            parse_rfc3339(value)
    canonical(dict(body))
    if kind in settings.KINDS:
        settings.check(kind, statement, body)
    project = readers.text(row, "project")
    if kind == "advisory" and read_advisory(body, project).nodes != about:
        raise ValueError("its subjects are not the targets that it names")
    if kind == "lift" and not _lifts(readers.text(body, "id"), about, statement):
        raise ValueError("it lifts nothing that could be an advisory or a distrust")
    if kind == "distrust" and statement.subjects != (subject_of(read_distrust(body, project).digest),):
        raise ValueError("its subject is not the digest of what it says")
    if kind == "standing" and (
        [digest.algorithm for digest in about] != ["wb1"] or body["status"] not in STANDINGS
    ):
        raise ValueError(f"it gives exactly one model (wb1:) one of {', '.join(STANDINGS)}")
    at = parse_rfc3339(readers.text(row, "at"))
    return Record(kind, about, project, readers.text(row, "actor"), at, dict(body))


def _lifts(identity: str, about: Sequence[Digest], statement: Statement) -> bool:
    """Tell whether a lift can mean what its id names: an advisory's targets are its subjects, a distrust's digest is."""
    if is_id(identity):
        return bool(about)
    hexed = statement.subjects[0].digests[0][1] if len(statement.subjects) == 1 and not about else ""
    return is_distrust_id(identity) and hexed.startswith(identity.removeprefix("dis-"))


def _about(kind: str, statement: Statement) -> tuple[Digest, ...]:
    if kind in settings.KINDS:
        return ()
    about = tuple(d for s in statement.subjects if (d := _named(s, aliases=kind in _ALIASED)) is not None)
    if not about and kind not in _DIGESTED:
        raise ValueError("it names no model, weights or dataset")
    return about


def _subject(digest: Digest) -> Subject:
    if digest.algorithm == "alias":
        return Subject(str(digest), (("sha256", digest.hex),))
    return subject_of(digest)


def _named(subject: Subject, *, aliases: bool) -> Digest | None:
    """Return the identity (or the name's node) that a subject is; None for a nameless file."""
    if not subject.name or subject.identity is not None:
        return subject.identity
    if not aliases or not subject.name.startswith("alias:"):
        raise ValueError(f"the subject {subject.name!r} is not an identity")
    digest = Digest.parse(subject.name)
    if dict(subject.digests) != {"sha256": digest.hex}:
        raise ValueError(f"the subject {subject.name!r} does not carry its own SHA-256")
    return digest
