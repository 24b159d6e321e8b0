"""The transactional outbox: what was decided is first recorded, then logged, and only then takes effect.

Three steps, each safe to be cut off at any instruction:

1. `enqueue`, inside the transaction that records the decision: the signed envelope.
2. `drain`: the envelope's body is appended to the transparency log, unless an earlier, killed drain
   already did so (it is looked for from the log size noted at enqueue).
3. `drain`, one transaction: the records held against their tally, what each statement says takes effect,
   rows marked done, the new tally signed (`effects`, `tally`).

So no state changes without a log entry, no logged decision is lost, and every opening for writing
finishes what a killed process left. Statements take effect in the order of enqueueing. What a statement
brings about stands in the statement: the outbox only carries it, and is itself believed in nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from weighbridge.core.canonical import canonical, parse
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import CannotTell, VerificationFailed
from weighbridge.core.statement import Statement
from weighbridge.keys.ports import Signer
from weighbridge.registry import effects, tally, witnesses
from weighbridge.registry.wiring import Registry, read_authority
from weighbridge.store import schema
from weighbridge.trust import authority_form, dsse
from weighbridge.trust.authority_file import PAYLOAD_TYPE
from weighbridge.trust.bundle import Bundle, log_body
from weighbridge.trust.seal import seal, sign_statement

CLOCK_SKEW = timedelta(minutes=5)
"""How far the clocks of honest machines differ, and how far one may be set back."""
_ROUNDED_UP = timedelta(seconds=1)
"""A log's dates are whole seconds and never go back. An authority by which somebody ends in this second is logged in the
next one, so that nothing logged after it can have the date of the end, whatever the clock says."""
WITNESS_SECONDS = 10.0
"""How long witnesses have while others wait to write."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A signed envelope that waits for the log; what it says becomes true once it is there."""

    envelope: dsse.Envelope
    public_pem: str
    """Whose it is, as the log keeps it: a public key, or the certificate of a key that lived for one signature."""
    proven: Bundle | None = None
    """The bundle as its signer had it proven elsewhere; kept as it is. Our log then holds the envelope as well."""

    @property
    def content(self) -> str:
        """The text that waits in the outbox: the bundle when there is one, else the envelope."""
        return (self.proven.to_json() if self.proven else canonical(self.envelope.to_json())).decode()


def sign(statement: Statement, signer: Signer) -> Draft:
    """Sign a statement and make it a draft whose bundle will be kept."""
    return Draft(sign_statement(statement, signer), signer.public_pem)


def enqueue(registry: Registry, connection: sa.Connection, drafts: Sequence[Draft]) -> None:
    """Put drafts into the outbox, inside the caller's transaction; raises CannotTell as `check_clock` does.

    The next version of the authority is taken in at any time: it is what helps when the one in force has ended.
    """
    if any(draft.envelope.payload_type != PAYLOAD_TYPE for draft in drafts):
        check_clock(registry)
    for draft in drafts:
        connection.execute(
            sa.insert(schema.outbox).values(
                **registry.record(),
                envelope=draft.content,
                public_pem=draft.public_pem,
                log_size=registry.log.size,
            )
        )


def check_clock(registry: Registry) -> None:
    """Refuse (CannotTell) to say anything at a time that cannot be right, or at which nobody may say anything.

    What is judged by a clock that stands behind the log would count what has ended since; what is logged by one that
    runs past the authority's end would hold up everybody after it.
    """
    now, authority = registry.clock.now(), registry.authority
    newest = datetime.fromtimestamp(registry.log.newest, UTC)
    if now < newest - CLOCK_SKEW:
        raise CannotTell(
            "this machine's clock stands behind the log",
            cause=f"it says {rfc3339(now)}, and the newest entry is of {rfc3339(newest)}; this clock is slow, or another ran ahead then",
            remedy="set the clock; if it is right, go on in a new log: weighbridge trust rotate log",
            check="log.clock",
        )
    if not authority.issued - CLOCK_SKEW <= now < authority.expires:
        raise CannotTell(
            "the authority is not in force at this machine's time",
            cause=f"it holds from {rfc3339(authority.issued)} to {rfc3339(authority.expires)}, and it is {rfc3339(now)}",
            remedy="look at the clock; when it is right, sign the authority again with the root key: weighbridge trust renew",
            check="authority.expired",
        )


def submit(registry: Registry, *drafts: Draft) -> list[Bundle]:
    """Enqueue and drain: record, log and apply. Must be called while `registry.writing()`."""
    with registry.records.write() as connection:
        enqueue(registry, connection, drafts)
    return drain(registry, drafts)


def drain(registry: Registry, drafts: Sequence[Draft] = ()) -> list[Bundle]:
    """Log and apply everything that waits; returns the bundles in order. Must be called while writing.

    Raises VerificationFailed(records.tally) when the records were changed behind our back, or when one of
    `drafts`, which the caller just put there, was no longer in the outbox; and with log.witness-alarm, after all
    is done, when a witness contradicts the log. Witnesses that do not answer hold up nothing: receipts say so.
    """
    with registry.records.read() as connection:
        query = sa.select(schema.outbox).where(schema.outbox.c.done_at.is_(None)).order_by(schema.outbox.c.id)
        rows = connection.execute(query).mappings().all()
    if not rows:
        tally.check(registry)
        bundles = []
    else:
        indices = _log(registry, rows)
        asked = witnesses.cosign(registry, seconds=WITNESS_SECONDS)  # so that receipts carry what they say
        bundles = _finish(registry, rows, indices)
        registry.remember()
        if asked is not None:
            asked.check_alarms()
    logged = {bundle.digest for bundle in bundles}
    if any(draft.envelope.digest not in logged for draft in drafts):
        raise VerificationFailed(
            "what was decided did not reach the log",
            cause="its row in the outbox was removed or changed by something other than this program",
            remedy="find out who can write to the registry's folder, then run the command again",
            check="records.outbox",
        )
    return bundles


def _log(registry: Registry, rows: Sequence[Mapping[Any, Any]]) -> list[int]:
    """Append the bodies that are not in the log yet, in one group, and return every row's index."""
    bodies = [log_body(waiting(row).envelope, row["public_pem"]) for row in rows]
    indices = [registry.log.find(body, since=row["log_size"]) for body, row in zip(bodies, rows, strict=True)]
    missing = [position for position, index in enumerate(indices) if index is None]
    if missing:
        now = registry.clock.now()
        if any(_ends_now(waiting(rows[position]).envelope, now) for position in missing):
            now += _ROUNDED_UP
        appended = registry.log.append(
            [bodies[position] for position in missing], signer=registry.log_key, now=now
        )
        for position, entry in zip(missing, appended, strict=True):
            indices[position] = entry.index
    return [index for index in indices if index is not None]


def _ends_now(envelope: dsse.Envelope, now: datetime) -> bool:
    """Tell whether this is an authority by which somebody ends in this very second."""
    if envelope.payload_type != PAYLOAD_TYPE:
        return False
    ends = [one.valid_until for one in authority_form.read_authority(envelope.payload).identities]
    return any(end is not None and end.replace(microsecond=0) == now.replace(microsecond=0) for end in ends)


def _finish(registry: Registry, rows: Sequence[Mapping[Any, Any]], indices: Sequence[int]) -> list[Bundle]:
    bundles = []
    with tally.keeping(registry) as connection:
        for row, index in zip(rows, indices, strict=True):
            draft = waiting(row)
            bundles.append(draft.proven or seal(draft.envelope, draft.public_pem, registry.log, index))
            logged_at = datetime.fromtimestamp(registry.log.entry(index).integrated_time, UTC)
            effects.apply(registry, connection, effects.Cause(row, bundles[-1], index, logged_at, registry))
            done = sa.update(schema.outbox).where(schema.outbox.c.id == row["id"])
            connection.execute(done.values(done_at=rfc3339(registry.clock.now())))
        authority = read_authority(connection, registry.pin)
    registry.authority = authority
    return bundles


def waiting(row: Mapping[Any, Any]) -> Draft:
    """Read a row of the outbox again."""
    data, pem = row["envelope"].encode(), row["public_pem"]
    value: Any = parse(data)
    if "mediaType" in value:
        bundle = Bundle.from_json(data)
        return Draft(bundle.envelope, pem, bundle)
    return Draft(dsse.Envelope.decode(data), pem)
