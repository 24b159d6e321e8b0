"""Tokens: secrets by which people and machines come in over HTTP, granted and ended by signed, logged records.

The secret is shown once and only its SHA-256 is kept. A token has an end, and rights in one project (or in all, `*`); who
grants it holds the role `policy` there. What is ended stays ended: an id is never granted twice.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from weighbridge.claims.records import Record, event
from weighbridge.claims.settings import ENDED, GRANTED
from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.distrust import check_signer
from weighbridge.core.errors import NotFound, Refused, UsageError, VerificationFailed
from weighbridge.core.tier import Role
from weighbridge.keys.ports import Signer
from weighbridge.registry import approvals, distrusts, tally, vouched
from weighbridge.registry.rights import Principal, Right
from weighbridge.store import schema
from weighbridge.store.dialect import insert_new
from weighbridge.trust.authority_words import is_label
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.verify import verify_bundle

if TYPE_CHECKING:
    from weighbridge.registry.effects import Cause
    from weighbridge.registry.wiring import Registry

LONGEST = timedelta(days=366)
"""No token is granted for longer."""
MOST_PROJECT = 64
SECRET = re.compile(r"wb_([0-9a-f]{16})_[A-Za-z0-9-]{40,64}")


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept: whose, for what, until when."""

    id: str
    project: str
    holder: str
    rights: tuple[Right, ...]
    expires: datetime
    granted_at: str
    granted_by: str
    ended_at: str = ""

    def state(self, now: datetime) -> str:
        """Return `in force`, `expired` or `ended`."""
        return "ended" if self.ended_at else "in force" if now < self.expires else "expired"

    def to_json(self, now: datetime) -> dict[str, JSON]:
        """Return one row of `access list`."""
        return {
            "id": self.id,
            "project": self.project,
            "holder": self.holder,
            "rights": [right.value for right in self.rights],
            "expires": rfc3339(self.expires),
            "state": self.state(now),
            "granted_at": self.granted_at,
            "granted_by": self.granted_by,
            "ended_at": self.ended_at,
        }


def grant(
    registry: Registry,
    holder: str,
    rights: Collection[Right],
    *,
    expires: datetime,
    reason: str,
    signer: Signer,
    project: str | None = None,
) -> tuple[Token, str]:
    """Grant a token; returns it and its secret, which is kept nowhere. Raises UsageError, OutOfBudget and Refused."""
    from weighbridge.registry import (
        authorities,
        quotas,
    )  # they need the outbox, which applies what is said here

    where = registry.project if project is None else project
    _check(registry, holder, rights, expires, reason)
    authorities.require(registry, signer, Role.POLICY, project=where)
    identity = registry.entropy.token(8).hex()
    random = base64.b32encode(registry.entropy.token(32)).decode().rstrip("=")
    secret = f"wb_{identity}_{random}"
    body: dict[str, JSON] = {
        "id": identity,
        "state": GRANTED,
        "digest": str(Digest.of(secret.encode())),
        "holder": holder,
        "rights": sorted(right.value for right in set(rights)),
        "expires": rfc3339(expires),
        "reason": reason.strip(),
    }
    with registry.writing():
        quotas.check_tokens(registry, where)
        _say(registry, body, where, signer)
    try:
        return find(registry, identity), secret
    except NotFound:
        raise approvals.without_effect("token") from None


def end(registry: Registry, identity: str, *, reason: str, signer: Signer) -> Token:
    """End a token, now and for good; raises NotFound, UsageError for one that has ended, Refused for strangers."""
    from weighbridge.registry import authorities  # as above

    token = find(registry, identity)
    if token.ended_at:
        raise UsageError(
            f"the token {token.id} ended already, {token.ended_at}", remedy="see: weighbridge access list"
        )
    if not reason.strip():
        raise UsageError("ending a token needs a reason", remedy='say why with --reason "…"')
    authorities.require(registry, signer, Role.POLICY, project=token.project)
    with registry.writing():
        _say(registry, {"id": token.id, "state": ENDED, "reason": reason.strip()}, token.project, signer)
    ended = find(registry, token.id)
    if not ended.ended_at:
        raise approvals.without_effect("token")
    return ended


def every(registry: Registry) -> list[Token]:
    """Return all tokens that open the current project, newest first; held against the tally."""
    tally.check(registry)
    table = schema.token
    query = sa.select(table).where(table.c.project.in_([registry.project, "*"]))
    with registry.records.read() as connection:
        rows = connection.execute(query.order_by(table.c.created_at.desc(), table.c.id)).mappings().all()
    return [_token(row) for row in rows]


def find(registry: Registry, identity: str) -> Token:
    """Return a token by its id or the beginning of it; raises NotFound."""
    found = [token for token in every(registry) if identity and token.id.startswith(identity)]
    if len(found) != 1:
        raise NotFound(
            f"{identity!r} means more than one token" if found else f"there is no token {identity!r} here",
            remedy="see which there are: weighbridge access list",
        )
    return found[0]


def is_secret(text: str) -> bool:
    """Tell whether a text has the form of a secret of ours."""
    return SECRET.fullmatch(text) is not None


def principal(registry: Registry, secret: str) -> Principal:
    """Return whose secret this is; raises Refused(access.token). The row is one that the tally vouches for."""
    match = SECRET.fullmatch(secret)
    row = _row(registry, match[1]) if match else None
    told = str(Digest.of(secret.encode()))
    # Compared in any case, so that the time taken does not tell whether there is such an id.
    same = hmac.compare_digest(told, row["digest"] if row is not None else str(Digest.of(b"")))
    if row is None or not same:
        raise refused("nobody was granted this token")
    token = _token(row)
    state = token.state(registry.clock.now())
    if state != "in force":
        raise refused(f"the token {token.id} of {token.holder!r} is {state}")
    return Principal(token.holder, {token.project: frozenset(token.rights)}, f"token {token.id}")


def refused(cause: str) -> Refused:
    """Return the error for what opens nothing."""
    return Refused(
        "this token opens nothing here",
        cause=cause,
        remedy="ask whoever administers the project for another: weighbridge access grant",
        check="access.token",
    )


def take_effect(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Let a granted token open what it is for, or end one; an id that was granted before is not granted again."""
    body: Any = record.body
    table = schema.token
    if body["state"] == ENDED:
        here = (table.c.id == body["id"], table.c.project == record.project, table.c.ended_at.is_(None))
        connection.execute(sa.update(table).where(*here).values(ended_at=rfc3339(cause.logged_at)))
        return
    expires = parse_rfc3339(body["expires"])
    if (
        expires > cause.logged_at + LONGEST
        or len(record.project) > MOST_PROJECT
        or not is_label(body["holder"])
    ):
        return
    row = {
        "id": body["id"],
        "schema_version": schema.SCHEMA_VERSION,
        "project": record.project,
        "actor": record.actor[:128],
        "created_at": rfc3339(record.at),
        "digest": body["digest"],
        "holder": body["holder"],
        "rights": canonical(sorted(set(body["rights"]))).decode(),
        "expires": rfc3339(expires),
        "ended_at": None,
        "bundle": str(cause.bundle.digest),
    }
    insert_new(connection, table, [row], table.c.id)


def _say(registry: Registry, body: dict[str, JSON], project: str, signer: Signer) -> None:
    from weighbridge.registry.outbox import sign, submit  # the outbox applies what is said here

    facts = {**registry.event_facts(), "project": project}
    submit(registry, sign(event("token", (), body, **facts), signer))  # type: ignore[arg-type]


def _check(
    registry: Registry, holder: str, rights: Collection[Right], expires: datetime, reason: str
) -> None:
    problem = ""
    now = registry.clock.now()
    if not is_label(holder):
        problem = "whose it is has 1 to 128 printable characters"
    elif not rights:
        problem = f"it gives no right; there are {', '.join(Right)}"
    elif not reason.strip():
        problem = "it is not said why"
    elif not now < expires <= now + LONGEST:
        problem = f"its end lies between now and {rfc3339(now + LONGEST)}"
    if problem:
        raise UsageError(
            "this token cannot be granted", cause=problem, remedy="see: weighbridge access grant --help"
        )


def _row(registry: Registry, identity: str) -> Any:
    """Return a row that the tally vouches for, or None."""
    table = schema.token
    with registry.records.read() as connection:
        row = connection.execute(sa.select(table).where(table.c.id == identity)).mappings().first()
        text = vouched.signed(connection)
    if row is not None:
        further = partial(_grounded, registry, row)
        vouched.vouch(registry, f"token {identity}", text, tuple(row.values()), further=further)
    return row


def _grounded(registry: Registry, row: Any) -> None:
    """Refuse a token whose grant would not count today: its signer is distrusted from before it, or never had the role.

    Who came to an end since, in the authority, has granted what was granted; end those tokens as well.
    """
    table = schema.bundle
    with registry.records.read() as connection:
        content = connection.execute(
            sa.select(table.c.content).where(table.c.digest == row["bundle"])
        ).scalar()
        standing = distrusts.every(connection, row["project"], standing=True)
    try:
        bundle = Bundle.from_json((content or "").encode())
        if bundle.entry is None:
            raise refused("the log's word about its grant is missing")
        at = datetime.fromtimestamp(bundle.entry.integrated_time, UTC)
        proven = verify_bundle(
            bundle, authority=registry.authority, project=row["project"], role=Role.POLICY, now=at
        ).proven
        check_signer(standing, proven)
    except VerificationFailed as error:
        raise refused(f"its grant does not count: {error.problem}") from error


def _token(row: Any) -> Token:
    rights: Any = parse(row["rights"])
    return Token(
        row["id"],
        row["project"],
        row["holder"],
        tuple(Right(right) for right in rights),
        parse_rfc3339(row["expires"]),
        row["created_at"],
        row["actor"],
        row["ended_at"] or "",
    )
