"""New names: one that could be taken for another of this registry, or for a publisher's, is not given by chance.

Who means it says so: which names it differs from, and why. That stands in the signed record of the name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from weighbridge.core.canonical import JSON, parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused, UsageError
from weighbridge.core.lookalike import alike
from weighbridge.core.tier import Tier
from weighbridge.store import schema

if TYPE_CHECKING:
    from weighbridge.registry.wiring import Registry

MOST_CONVERSIONS = 8
_FOREIGN = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Differs:
    """What somebody says who gives a name that looks like others: that it differs from these, and why."""

    names: tuple[str, ...]
    reason: str

    def body(self) -> dict[str, JSON]:
        """Return what goes into the record of the name."""
        return {"differs_from": list(self.names), "reason": self.reason.strip()}


def check_new(registry: Registry, name: str, digest: Digest, differs: Differs | None = None) -> None:
    """Refuse (name.alike) a name that could be taken for another, unless it is said that it differs from each of those.

    A name that is there already is not new, and what the model itself was published as is no other. Raises UsageError for a difference that is claimed without a reason.
    """
    if differs is not None and not differs.reason.strip():
        raise UsageError("a name that looks like another needs a reason", remedy='say why with --because "…"')
    with registry.records.read() as connection:
        ours = _names(connection, registry.project)
        if name in ours:
            return
        theirs = _published(connection, _own(connection, registry.project, digest))
    meant = set(differs.names) if differs is not None else set()
    found = [
        (other, how, whose) for other, how, whose in likenesses(name, ours, theirs) if other not in meant
    ]
    if found:
        other, how, whose = found[0]
        further = f"; so do {', '.join(repr(row[0]) for row in found[1:4])}" if found[1:] else ""
        raise Refused(
            f"the name {name!r} could be taken for {other!r}",
            cause=f"it {how} from {whose} {other!r}{further}",
            remedy="choose another name, or say that it is meant: "
            + " ".join(f"--yes-it-differs-from {row[0]}" for row in found[:4])
            + f' --because "…" (weighbridge promote MODEL --name {name})',
            check="name.alike",
        )


def likenesses(name: str, ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return the names that `name` could be taken for, how, and whose they are; ours first."""
    found = []
    for whose, names in (("the name", ours), ("the publisher's name", theirs)):
        found += [(other, how, whose) for other in names if (how := alike(name, other))]
    return found


def _names(connection: sa.Connection, project: str) -> list[str]:
    table = schema.name
    query = sa.select(table.c.name).distinct().where(table.c.project == project).order_by(table.c.name)
    return list(connection.execute(query).scalars())


def _own(connection: sa.Connection, project: str, digest: Digest) -> set[str]:
    """Return under which names a model itself was published; of a converted one, those of what it was converted from."""
    table = schema.model
    found: set[str] = set()
    for _ in range(MOST_CONVERSIONS):
        query = sa.select(table.c.source, table.c.label)
        row = connection.execute(
            query.where(table.c.project == project, table.c.digest == str(digest))
        ).first()
        if row is None:
            break
        facts: Any = parse(row.source)
        found.update(_spelled(row.label), _spelled(str(facts.get("repository") or "")))
        if not isinstance(facts.get("converted_from"), str):
            break
        digest = Digest.parse(facts["converted_from"])
    return found


def _published(connection: sa.Connection, own: set[str]) -> list[str]:
    """Return under which names other trusted models were published: repository and organisation, in our spelling."""
    table = schema.model
    query = sa.select(table.c.source).distinct().where(table.c.tier == Tier.TRUSTED.value)
    found: set[str] = set()
    for text in connection.execute(query).scalars():
        facts: Any = parse(text)
        repository = facts.get("repository")
        if isinstance(repository, str):
            found.update(_spelled(repository))
    return sorted(found - own)


def _spelled(text: str) -> set[str]:
    """Return the parts of `org/name` as a registry name would spell them."""
    return {_FOREIGN.sub("-", part.lower()).strip("-._") for part in text.split("/")} - {""}
