"""The next version of an authority, in which one key took another's place: what the old one proved keeps counting.

Nothing is taken out: a key that was exchanged stays with the time in which it was used. Told since when a key
was in somebody else's hands (`since`), what it and those before it did after that time counts no longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal, TypeAlias, TypeVar

from weighbridge.core.errors import NotFound
from weighbridge.trust.authority import Authority, AuthorityIdentity, AuthorityLog, Project
from weighbridge.trust.roots import CertificateAuthority, CtLog, TimestampAuthority, Window

Part: TypeAlias = Literal["authorities", "ctlogs", "timestamps"]
_Row = TypeVar("_Row", CertificateAuthority, CtLog, TimestampAuthority, AuthorityLog)


def with_new_key(
    authority: Authority, name: str, pem: str, *, now: datetime, since: datetime | None = None
) -> Authority:
    """Give a named identity another key from `now` on; raises NotFound for names not here.

    The key it had goes on under `<name>.<beginning of its id>` with the same roles, until now.
    """
    if all(row.name != name for row in authority.identities):
        raise NotFound(
            f"the authority names no {name!r}",
            cause=f"known are {', '.join(row.name for row in authority.identities)}",
            remedy="look with: weighbridge trust show",
        )
    rows, projects = [], dict(authority.projects)
    for row in authority.identities:
        former = _former_name(name, row)
        if row.name not in (name, former):
            rows.append(row)
            continue
        end = end_of(Window(row.valid_from, row.valid_until), now=now, since=since)
        rows.append(replace(row, name=former, valid_until=end))
        if row.name == name:
            rows.append(replace(row, pem=pem, keyless=None, valid_from=now, valid_until=None))
            projects = {where: _joined(rules, name, former) for where, rules in projects.items()}
    return replace(authority, version=authority.version + 1, identities=tuple(rows), projects=projects)


def with_successor(
    authority: Authority,
    part: Part,
    row: CertificateAuthority | CtLog | TimestampAuthority,
    *,
    now: datetime,
    since: datetime | None = None,
    grace: timedelta = timedelta(0),
) -> Authority:
    """Let one party take the place of those of its kind; they end `grace` after now, or at `since`."""
    rows = ended(getattr(authority.trusted, part), now=now, since=since, grace=grace)
    return authority.with_trusted(replace(authority.trusted, **{part: (*rows, row)}))


def with_logs(authority: Authority, logs: Sequence[AuthorityLog]) -> Authority:
    """Take the word of these logs, and of no other."""
    return replace(authority, version=authority.version + 1, logs=tuple(logs))


def ended(
    rows: Sequence[_Row], *, now: datetime, since: datetime | None = None, grace: timedelta = timedelta(0)
) -> tuple[_Row, ...]:
    """Return the rows with an end each (`end_of`)."""
    return tuple(
        replace(row, window=Window(row.window.start, end_of(row.window, now=now, since=since, grace=grace)))
        for row in rows
    )


def end_of(
    window: Window, *, now: datetime, since: datetime | None, grace: timedelta = timedelta(0)
) -> datetime:
    """Return when what is exchanged ends: now (and some `grace`), or when it did already.

    At `since` where it was in use at that time or before it: what came into use later was not yet stolen then.
    """
    if since is not None and (window.start is None or window.start <= since):
        return since if window.end is None else min(window.end, since)
    return now + grace if window.end is None else window.end


def _former_name(name: str, row: AuthorityIdentity) -> str:
    return f"{name}.{row.key.hex[:12]}"


def _joined(rules: Project, name: str, another: str) -> Project:
    """Let `another` hold every role that `name` holds."""
    roles = {
        role: (*holders, another) if name in holders else holders for role, holders in rules.roles.items()
    }
    return replace(rules, roles=roles)
