"""Due: which trusted models the gate has to look at again, and why, told from the newest decision about each.

Nothing here judges, and no file of a model is read. A model is due when its newest decision rests on something that has
changed since: rules, policy, floor, authority; or when something came since that may change the answer: a claim, a
revocation, an advisory, a distrust, an end. What came after what is told by the order in which the registry took it
in, not by anybody's clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from weighbridge.claims.words import DECIDED
from weighbridge.core.clock import parse_rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.distrust import Distrust, Distrusted
from weighbridge.core.tier import Mode, Status, Tier
from weighbridge.gate import ends
from weighbridge.gate.judging import floor_digest, setting
from weighbridge.gate.modes import mode_of
from weighbridge.registry import distrusts, standings, tally
from weighbridge.registry.wiring import Registry
from weighbridge.scanner.ruleset import ruleset
from weighbridge.store import lineage_index, schema
from weighbridge.store.dialect import listed, pack
from weighbridge.trust.dsse import Envelope

CLAIMS = ("data", "train", "evaluate", "package", "convert", "origin", "bom", "scan", "waiver", "licence", "break-glass", "other")  # fmt: skip
"""Kinds of kept statements that may change an answer, unless the gate itself made them."""
EVENTS = ("revocation", "advisory", "distrust", "lift")


class Reason(StrEnum):
    """Why a model is due."""

    NEVER = "never"
    """No decision about it counts."""
    UNREADABLE = "unreadable"
    """Its newest decision is not what was signed."""
    FLOOR = "floor"
    POLICY = "policy"
    RULESET = "ruleset"
    AUTHORITY = "authority"
    CLAIM = "claim"
    """Somebody said something of it, or of what it came from."""
    REVOCATION = "revocation"
    ADVISORY = "advisory"
    DISTRUST = "distrust"
    """Something that it may rest on counts no longer, or counts again."""
    ENDED = "ended"
    """An acceptance, a waiver or break-glass has ended."""
    REFUSED = "refused"
    """It is active, and the newest answer was no, or none."""
    AGE = "age"
    CLOCK = "clock"
    """Its newest decision is of a time that has not come."""


@dataclass(frozen=True, slots=True)
class Looked:
    """One trusted model: its status, its newest decision, why it is due (empty: it is not), and which records say so."""

    digest: Digest
    status: Status
    decided: str
    """The time of its newest decision; empty where there is none."""
    reasons: tuple[Reason, ...] = ()
    said_by: frozenset[str] = frozenset()
    untold: bool = False
    """Whether its newest decision could not tell; such models come last."""


@dataclass(frozen=True, slots=True)
class _Newest:
    place: int
    body: Mapping[str, Any]


def due(registry: Registry) -> list[Looked]:
    """Return the trusted models that have to be judged again: first those that could be told of last time."""
    found = [row for row in trusted(registry) if row.reasons]
    return sorted(found, key=lambda row: (row.untold, row.decided, row.digest))


def trusted(registry: Registry, only: Sequence[Digest] = ()) -> list[Looked]:
    """Return every trusted model that is not revoked (or those of `only`) with its reasons.

    The records are first held against their tally, and who is spoken of against its chain.
    """
    tally.check(registry)
    tally.check_subjects(registry)
    policy, mode = setting(registry, "policy") or "", mode_of(registry)
    with registry.records.read() as connection:
        models = _models(connection, registry.project, only)
        newest = _newest(connection, registry.project, models)
        held = standings.held(connection, registry.project)
        marks = {
            Reason.FLOOR: str(floor_digest()),
            Reason.POLICY: policy,
            Reason.RULESET: str(ruleset().digest),
            Reason.AUTHORITY: str(registry.authority.digest),
        }
        since = _Since(registry, connection, newest, models)
        rows = []
        for digest, (status, weights) in models.items():
            found = newest.get(digest)
            looked = _own(_Now(registry, marks, mode), digest, status, found, judged=digest in held)
            if isinstance(found, _Newest):
                own = {digest} if weights is None else {digest, weights}
                more, said_by = since.reasons(own, found)
                looked = replace(looked, reasons=(*looked.reasons, *more), said_by=frozenset(said_by))
            rows.append(looked)
    return rows


def _models(
    connection: sa.Connection, project: str, only: Sequence[Digest]
) -> dict[Digest, tuple[Status, Digest | None]]:
    table = schema.model
    query = sa.select(table.c.digest, table.c.status, table.c.weights).where(
        table.c.project == project,
        table.c.tier == Tier.TRUSTED.value,
        table.c.status != Status.REVOKED.value,
    )
    if only:
        query = query.where(table.c.digest.in_([str(digest) for digest in only]))
    return {
        Digest.parse(row.digest): (Status(row.status), Digest.parse(row.weights) if row.weights else None)
        for row in connection.execute(query.order_by(table.c.digest))
    }


# ---------------------------------------------------------------- the newest decision of each


def _newest(
    connection: sa.Connection, project: str, models: Iterable[Digest]
) -> dict[Digest, _Newest | Reason]:
    """Return the newest decision of each model that has one, from its signed statement; a Reason where that is not whole.

    A row only says where to look: number, model and place must be those of the statement, which the chain of
    subjects holds.
    """
    wanted = {str(digest) for digest in models}
    table, subject, bundle = schema.decision, schema.bundle_subject, schema.bundle
    top = sa.select(sa.func.max(table.c.sequence)).where(
        table.c.project == project, table.c.sequence.is_not(None)
    )
    query = (
        sa.select(table.c.manifest, table.c.sequence, bundle.c.digest, bundle.c.content, bundle.c.place)
        .select_from(
            table.outerjoin(
                subject,
                sa.and_(subject.c.identity == table.c.manifest, subject.c.bundle == table.c.bundle),
            ).outerjoin(bundle, bundle.c.digest == subject.c.bundle)
        )
        .where(table.c.sequence.in_(top.group_by(table.c.manifest)))
    )
    found: dict[Digest, _Newest | Reason] = {}
    for manifest, sequence, digest, content, place in connection.execute(query):
        if manifest in wanted:
            found[Digest.parse(manifest)] = _read(sequence, digest, content, place)
    return found


def _read(sequence: int, digest: str | None, content: str | None, place: int | None) -> _Newest | Reason:
    try:
        value: Any = json.loads(content or "")
        envelope = Envelope.from_json(value["dsseEnvelope"])
        if str(envelope.digest) != digest:
            return Reason.UNREADABLE
        said: Any = json.loads(envelope.payload)
        body = said["predicate"].get(DECIDED, said["predicate"])["body"]
        if body["sequence"] != sequence or not isinstance(body["digests"], Mapping):
            return Reason.UNREADABLE
        parse_rfc3339(body["time"])
    except (ValueError, TypeError, KeyError):
        return Reason.UNREADABLE
    return _Newest(int(place or 0), body)


@dataclass(frozen=True, slots=True)
class _Now:
    """What a decision of now would rest on."""

    registry: Registry
    marks: Mapping[Reason, str]
    mode: Mode


def _own(at: _Now, digest: Digest, status: Status, found: _Newest | Reason | None, *, judged: bool) -> Looked:
    """Return what the newest decision of a model itself says about being due."""
    if not isinstance(found, _Newest):
        return Looked(digest, status, "", (found or Reason.NEVER,))
    body, now = found.body, at.registry.clock.now()
    time = parse_rfc3339(body["time"])
    used = body["digests"]
    reasons = [reason for reason, mark in at.marks.items() if used.get(reason.value) != mark]
    if used.get(Reason.RULESET.value) == "" and body.get("decision") != "allow":
        reasons.remove(Reason.RULESET)  # nothing was scanned: what stood against it was something else
    if time > now:
        reasons.append(Reason.CLOCK)
    if now - time >= timedelta(days=int(at.registry.config["reevaluate_days"])):
        reasons.append(Reason.AGE)
    untold = _untold(body)
    if _open(body, status, at.mode, untold=untold, judged=judged):
        reasons.append(Reason.REFUSED)
    return Looked(digest, status, body["time"], tuple(reasons), untold=untold)


def _untold(body: Mapping[str, Any]) -> bool:
    """Tell whether a decision blocked only because something could not be told."""
    outcomes = {check.get("outcome") for check in body.get("checks", []) if isinstance(check, Mapping)}
    return body.get("decision") != "allow" and "fail" not in outcomes


def _open(body: Mapping[str, Any], status: Status, mode: Mode, *, untold: bool, judged: bool) -> bool:
    """Tell whether an answer was given from which something has still to follow."""
    if body.get("decision") == "allow":
        return judged  # it passes, and the gate itself still holds it
    if untold:
        return not judged
    if status is not Status.ACTIVE:
        return False
    return body.get("action") != standings.ACTION or mode is Mode.ENFORCE


# ---------------------------------------------------------------- what came since


class _Since:
    """What was taken in, or has ended, since the oldest of the newest decisions; each with whom it concerns."""

    def __init__(
        self,
        registry: Registry,
        connection: sa.Connection,
        newest: Mapping[Digest, _Newest | Reason],
        models: Mapping[Digest, tuple[Status, Digest | None]],
    ) -> None:
        self.registry, self.connection = registry, connection
        self.wanted = set(models) | {weights for _, weights in models.values() if weights is not None}
        places = [found.place for found in newest.values() if isinstance(found, _Newest)]
        self.oldest = min(places, default=0)
        self.scans: list[tuple[int, Distrust]] = []
        """Distrusts of scans, and lifts of them, each with its place."""
        self.concerns: dict[Digest, list[tuple[int, Reason, str]]] = {}
        self.ended: dict[Digest, list[datetime]] = {}
        if places:
            self._claims()
            self._events()
            self._ends()

    def reasons(self, own: Iterable[Digest], newest: _Newest) -> tuple[list[Reason], set[str]]:
        """Return why a model, by any of its identities, is due since its newest decision, and the records that say so."""
        rows = [row for digest in own for row in self.concerns.get(digest, ())]
        rules, time = str(newest.body["digests"].get("ruleset", "")), parse_rfc3339(newest.body["time"])
        rows += [(at, Reason.DISTRUST, said.id) for at, said in self.scans if said.covers_scan(rules, time)]
        later = [row for row in rows if row[0] > newest.place]
        reasons = dict.fromkeys(reason for _, reason, _ in sorted(later))
        if any(time < end for digest in own for end in self.ended.get(digest, ())):
            reasons[Reason.ENDED] = None
        return list(reasons), {record for _, _, record in later if record}

    def _claims(self) -> None:
        table, subject = schema.bundle, schema.bundle_subject
        place = table.c.place
        query = sa.select(subject.c.identity, sa.func.max(place)).join(
            table, table.c.digest == subject.c.bundle
        )
        query = query.where(
            table.c.stage.in_(CLAIMS),
            place > self.oldest,
            table.c.signer != str(self.registry.gate_key.key_id),
        )
        rows = self.connection.execute(query.group_by(subject.c.identity)).all()
        self._spread({Digest.parse(identity): (at, Reason.CLAIM, "") for identity, at in rows})

    def _spread(self, news: Mapping[Digest, tuple[int, Reason, str]]) -> None:
        """Note what concerns some identities, for these and for what surely descends from them."""
        groups: dict[tuple[int, Reason, str], list[Digest]] = {}
        for digest, row in news.items():
            groups.setdefault(row, []).append(digest)
        for row, digests in groups.items():
            below = set(digests)
            if self._has_children(digests):
                below |= set(lineage_index.descendants(self.connection, digests, grades=lineage_index.SURE))
            for digest in below & self.wanted:
                self.concerns.setdefault(digest, []).append(row)

    def _has_children(self, digests: Sequence[Digest]) -> bool:
        inside = listed(self.connection.dialect.name, "wanted")
        text = f"SELECT 1 FROM edge e JOIN artifact a ON a.id = e.parent WHERE a.digest IN ({inside}) LIMIT 1"  # noqa: S608 (our own words only)
        found = self.connection.execute(sa.text(text), {"wanted": pack(str(digest) for digest in digests)})
        return found.first() is not None

    def _events(self) -> None:
        table = schema.bundle
        place = table.c.place
        query = sa.select(place, table.c.stage, table.c.content).where(
            table.c.stage.in_(EVENTS), place > self.oldest
        )
        known = {row.id: row for row in distrusts.every(self.connection, self.registry.project)}
        for at, stage, content in self.connection.execute(query.order_by(place)).all():
            try:
                said = ends.payload_of(content)
                body = said["predicate"]["body"]
                identity = str(body.get("id", ""))
                about = [Digest.parse(row["name"]) for row in said["subject"] if row.get("name")]
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
            if identity in known:
                self._distrusted(known[identity], at)
            elif stage == "revocation":
                self._spread(dict.fromkeys(about, (at, Reason.REVOCATION, "")))
            elif identity:
                self._advised(identity, about, at)

    def _advised(self, identity: str, about: Sequence[Digest], at: int) -> None:
        """Note an advisory, or its lift: for whom it reaches, or for everything below what it named."""
        row = (at, Reason.ADVISORY, identity)
        self._spread(dict.fromkeys(about, row))
        node, taint, advisory = schema.artifact, schema.taint, schema.advisory
        query = sa.select(node.c.digest).join(taint, taint.c.artifact == node.c.id)
        query = query.join(advisory, advisory.c.key == taint.c.advisory).where(advisory.c.id == identity)
        for text in self.connection.execute(query).scalars():
            digest = Digest.parse(text)
            if digest in self.wanted:
                self.concerns.setdefault(digest, []).append(row)

    def _distrusted(self, said: Distrust, at: int) -> None:
        """Note a distrust, or its lift: for what the signer spoke of, and what came of that; rules concern everybody."""
        row = (at, Reason.DISTRUST, said.id)
        if said.what is not Distrusted.SIGNER:
            self.scans.append((at, said))
            return
        if not said.key:  # which claims a certificate's subject signed is read from each: all are looked at
            for digest in self.wanted:
                self.concerns.setdefault(digest, []).append(row)
            return
        table, subject = schema.bundle, schema.bundle_subject
        query = sa.select(subject.c.identity).distinct().join(table, table.c.digest == subject.c.bundle)
        for text in self.connection.execute(query.where(table.c.signer == said.key)).scalars():
            self._spread({Digest.parse(text): row})

    def _ends(self) -> None:
        now = self.registry.clock.now()
        for end in ends.claimed(self.registry, self.connection):
            if end.at > now:
                continue
            below = set(end.about)
            if self._has_children(end.about):
                below |= set(lineage_index.descendants(self.connection, end.about, grades=lineage_index.SURE))
            for digest in below & self.wanted:
                self.ended.setdefault(digest, []).append(end.at)
