"""The chain of decisions: each is signed with its number and the id of the one before, so that none can go missing unseen.

What counts stands in the signed statements. The row of a decision, and the end of the chain in the settings (which the
tally signs), are drawn from them when they take effect; a decision that does not follow the end takes no effect.
Evidence lies beside them once, under its digest, which the decision names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.decision import Receipt
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.store import schema
from weighbridge.store.dialect import upsert
from weighbridge.trust.authority import EVERY_PROJECT

if TYPE_CHECKING:
    from weighbridge.claims.records import Record
    from weighbridge.registry.effects import Cause

KEY = "decisions"
"""The setting that holds the end of the chain."""
FIRST = ""
"""What the first decision of a registry says of the one before."""
PART = 64
"""How many decisions are read at once."""
_TEXTS = ("decision", "action", "previous")


@dataclass(frozen=True, slots=True)
class End:
    """The end of the chain: the number and the id of the newest decision that took effect; 0 where there is none."""

    sequence: int = 0
    id: str = FIRST

    def numbered(self, body: Mapping[str, JSON]) -> dict[str, JSON]:
        """Return the body of the next decision: what was decided, and its place in the chain."""
        return {**body, "sequence": self.sequence + 1, "previous": self.id}

    def after(self, body: Mapping[str, JSON]) -> End:
        """Return the end of the chain once the decision with this body took effect."""
        return End(self.sequence + 1, id_of(body))

    def follows(self, body: Mapping[str, JSON]) -> bool:
        """Tell whether a decision comes next; one without a number only where no other has one."""
        if "sequence" not in body and "previous" not in body:
            return self.sequence == 0
        return (body.get("sequence"), body.get("previous")) == (self.sequence + 1, self.id)


def id_of(body: Mapping[str, JSON]) -> str:
    """Return the id of a decision: the SHA-256 of the canonical JSON of its body."""
    return str(Digest.of(canonical(dict(body))))


def end(connection: sa.Connection) -> End:
    """Return the end of the chain; raises VerificationFailed(decisions.chain) when it cannot be read."""
    table = schema.setting
    query = sa.select(table.c.value).where(table.c.project == EVERY_PROJECT, table.c.key == KEY)
    text = connection.execute(query).scalar()
    if text is None:
        return End()
    try:
        value: Any = parse(text)
        return End(int(value["sequence"]), str(Digest.parse(value["id"])))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _broken(f"its end cannot be read: {error}") from error


def keep_evidence(connection: sa.Connection, text: str, record: Mapping[str, Any]) -> str:
    """Keep evidence under its digest, inside the caller's transaction; returns the digest."""
    digest = str(Digest.of(text.encode()))
    row = {**record, "digest": digest, "content": text}
    connection.execute(upsert(connection, schema.evidence).values(row).on_conflict_do_nothing())
    return digest


def evidence_text(connection: sa.Connection, kept: str) -> str:
    """Return the evidence that a decision's row names (or, in the first decisions, holds); empty when it is gone.

    Whoever uses it holds it against the digest that the signed decision names.
    """
    if not kept.startswith("sha256:"):
        return kept
    table = schema.evidence
    return str(connection.execute(sa.select(table.c.content).where(table.c.digest == kept)).scalar() or "")


def take_effect(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Let a logged decision count, if it comes next: write its row from what was signed, and move the end of the chain."""
    body, entry = dict(record.body), cause.bundle.entry
    before = end(connection)
    if not before.follows(body):
        return
    receipt = Receipt(cause.log_index, entry.to_json() if entry else {}, cause.assurance)
    said = {
        "receipt": canonical(receipt.to_json()).decode(),
        "bundle": str(cause.bundle.digest),
    }
    table, identity = schema.decision, id_of(body)
    if "sequence" not in body:
        connection.execute(sa.update(table).where(table.c.id == identity).values(**said))
        return
    digests = body.get("digests")
    if not all(isinstance(body.get(name), str) for name in _TEXTS) or not isinstance(digests, Mapping):
        return  # signed, logged, and not to be read as a decision
    row = {
        **cause.record,
        **said,
        "project": record.project,
        "manifest": str(record.about[0]),
        "action": str(body["action"])[:16],
        "answer": str(body["decision"])[:8],
        "content": canonical(body).decode(),
        "evidence": str(digests.get("evidence", ""))[:71],
        "sequence": before.sequence + 1,
    }
    change = upsert(connection, table).values(id=identity, **row)
    connection.execute(change.on_conflict_do_update(index_elements=["id"], set_=row))
    _move(connection, before.after(body), cause)


def _move(connection: sa.Connection, to: End, cause: Cause) -> None:
    value: dict[str, JSON] = {"sequence": to.sequence, "id": to.id}
    row = {
        **cause.record,
        "project": EVERY_PROJECT,
        "key": KEY,
        "value": canonical(value).decode(),
    }
    change = upsert(connection, schema.setting).values(row)
    connection.execute(change.on_conflict_do_update(index_elements=["project", "key"], set_=row))


def allowed(connection: sa.Connection, decision: Digest, *, project: str) -> bool:
    """Tell whether a decision that took effect here, in this project, allows."""
    table = schema.decision
    query = sa.select(table.c.answer).where(
        table.c.id == str(decision), table.c.project == project, table.c.receipt.is_not(None)
    )
    return connection.execute(query).scalar() == "allow"


def check(connection: sa.Connection) -> None:
    """Hold the rows against the end of the chain, by their number alone; raises VerificationFailed(decisions.chain).

    It is what listings ask first. `reread` reads every decision and its evidence.
    """
    table = schema.decision
    query = sa.select(sa.func.count(table.c.sequence), sa.func.max(table.c.sequence))
    number, newest = connection.execute(query.where(table.c.receipt.is_not(None))).one()
    wanted = end(connection).sequence
    if (number, newest or 0) != (wanted, wanted):
        raise _broken(f"it ends at number {wanted}, and {number} of its decisions are here")


def reread(connection: sa.Connection) -> list[str]:
    """Read every decision and its evidence again; returns what is missing, exchanged or out of order."""
    problems, at = [], End()
    for row in rows(connection):
        name = f"decision {row['sequence'] or row['id'][:19]}"
        text = evidence_text(connection, row["evidence"])
        try:
            body: Any = parse(row["content"])
            wanted = body["digests"]["evidence"]
        except (ValueError, KeyError, TypeError):
            problems.append(f"{name} cannot be read")
            continue
        if str(Digest.of(row["content"].encode())) != row["id"]:
            problems.append(f"{name} has changed")
        if wanted and str(Digest.of(text.encode())) != wanted:
            problems.append(f"the evidence of {name} has {'changed' if text else 'gone'}")
        if row["sequence"] is not None:
            if not at.follows(body):
                problems.append(f"{name} does not follow number {at.sequence}")
            at = End(int(row["sequence"]), row["id"])
    last = end(connection)
    if at != last:
        problems.append(f"the chain ends at number {last.sequence}, the decisions here at {at.sequence}")
    return problems


def rows(
    connection: sa.Connection, manifest: str = "", *, share: tuple[int, int] = (0, 1)
) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of decisions that took effect (on one model), in the order in which they did, a few at a time.

    `share` (k, n) is the k-th of n parts, for several readers.
    """
    table = schema.decision
    about = (table.c.receipt.is_not(None), *([table.c.manifest == manifest] if manifest else []))
    for column, first in (
        (table.c.place, table.c.sequence.is_(None)),
        (table.c.sequence, table.c.sequence.is_not(None)),
    ):
        last = 0
        while True:
            query = sa.select(table).where(*about, first, column > last)
            if share[1] > 1:
                query = query.where(column % share[1] == share[0])
            part = connection.execute(query.order_by(column).limit(PART)).mappings().all()
            if not part:
                break
            yield from (dict(row) for row in part)
            last = int(part[-1][column.name])


def _broken(cause: str) -> VerificationFailed:
    return VerificationFailed(
        "the chain of decisions is broken",
        cause=cause,
        remedy="find out who can write to the registry's folder, then restore it from a backup",
        check="decisions.chain",
    )
