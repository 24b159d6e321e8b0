"""Ends: acceptances, waivers and break-glass that have an end, read from the kept claims; and what is about to end.

Believed here is only who signed and what was said: it decides when the gate looks again and who is warned, and nothing else.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from weighbridge.core.canonical import JSON
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, WeighbridgeError
from weighbridge.core.tier import Role
from weighbridge.registry import alerts, deployments
from weighbridge.registry.wiring import Registry
from weighbridge.registry.witnesses import fresh
from weighbridge.store import schema

ENDING: Mapping[str, tuple[str, Role]] = {
    "origin": ("acceptance", Role.ORIGIN),
    "waiver": ("waiver", Role.WAIVE),
    "break-glass": ("break-glass", Role.WAIVE),
}
"""Kind of kept claim with an end: the word for it, and the role that its signer needs."""
MEMBERS = ("expires", "until", "ends")
SHARE = 4
"""What lives for hours only is about to end in the last quarter of its life."""


@dataclass(frozen=True, slots=True, order=True)
class End:
    """One thing that ends: when, what it is, which models or weights it is about, and what tells it from others."""

    at: datetime
    kind: str
    """acceptance, waiver, break-glass, authority, witness or admission."""
    thing: str
    """The claim's digest, or what else identifies it: an alert is given once for each thing and end."""
    about: tuple[Digest, ...] = ()
    rule: str = ""
    targets: tuple[str, ...] = ()
    """Where a model runs whose admission ends."""

    def to_json(self) -> dict[str, JSON]:
        """Return the end as it stands in `weighbridge.reevaluation/1` and in an alert's facts."""
        return {
            "kind": self.kind,
            "ends": rfc3339(self.at),
            "thing": self.thing,
            "about": [str(digest) for digest in self.about],
            "rule": self.rule,
            "targets": list(self.targets),
        }

    def __str__(self) -> str:
        of = f" of {', '.join(digest.short for digest in self.about[:3])}" if self.about else ""
        rule = f" for {self.rule}" if self.rule else ""
        where = f", which runs at {', '.join(self.targets)}" if self.targets else ""
        return f"the {self.kind}{rule}{of}{where}"


def payload_of(content: str) -> Mapping[str, Any]:
    """Return what a kept bundle says, unverified; raises ValueError, TypeError or KeyError."""
    value: Any = json.loads(content)
    found: Any = json.loads(base64.b64decode(value["dsseEnvelope"]["payload"], validate=True))
    if not isinstance(found, Mapping):
        raise TypeError("what was signed is no object")
    return found


def claimed(registry: Registry, connection: sa.Connection) -> list[End]:
    """Return the ends of acceptances, waivers and break-glass by whom the authority names for them."""
    table, found = schema.bundle, []
    for stage, (word, role) in ENDING.items():
        query = sa.select(table.c.digest, table.c.signer, table.c.content).where(
            table.c.stage == stage, table.c.project == registry.project
        )
        for row in connection.execute(query):
            if not _may(registry, row.signer, role):
                continue
            try:
                found.append(_end(row.digest, word, payload_of(row.content)))
            except (ValueError, TypeError, KeyError, BadReference):
                continue  # not to be read as one: the gate believes it as little
    return found


def _may(registry: Registry, key: str, role: Role) -> bool:
    for identity in registry.authority.identities:
        if str(identity.key) == key and registry.authority.may(identity.name, role, registry.project):
            return True
    return False


def _end(digest: str, word: str, said: Mapping[str, Any]) -> End:
    predicate = said["predicate"]
    body = predicate.get("body", predicate)
    text = next(body[name] for name in MEMBERS if isinstance(body.get(name), str))
    about = [row.get("name", "") for row in said["subject"]]
    identities = tuple(Digest.parse(name) for name in about if name.startswith(("wb1:", "wbw1:")))
    return End(parse_rfc3339(text), word, digest, identities, str(body.get("rule", "")))


# ---------------------------------------------------------------- what is about to end


def expiring(registry: Registry) -> list[End]:
    """Return what a trusted model's approval rests on and what ends within the setting `expiring_days`, soonest first.

    An acceptance or waiver that another one of the same thing outlives is not among them, nor what has ended already.
    """
    now = registry.clock.now()
    days = timedelta(days=int(registry.config["expiring_days"]))
    with registry.records.read() as connection:
        trusted = _trusted(registry, connection)
        claims = [end for end in claimed(registry, connection) if trusted & set(end.about)]
        admissions = list(_admissions(registry, connection))
    latest: dict[tuple[str, str, tuple[Digest, ...]], End] = {}
    for end in sorted(claims):
        latest[end.kind, end.rule, end.about] = end
    ends = [*latest.values(), *_authority(registry)]
    soon = [end for end in ends if now < end.at <= now + days]
    hours = timedelta(hours=int(registry.config["admission_hours"])) / SHARE
    soon += [end for end in admissions if now < end.at <= now + min(days, hours)]
    return sorted([*soon, *_witnesses(registry)])


def warn(registry: Registry, found: list[End]) -> list[End]:
    """Alert once for each thing that is about to end, and return those that were new."""
    if not found:
        return []
    with registry.writing(), registry.records.write() as connection:
        known = _told(registry, connection)
        new = [end for end in found if (end.thing, rfc3339(end.at)) not in known]
        for end in new:
            about, facts = end.about[: alerts.MAX_ABOUT], end.to_json()
            # Another end of the same thing is another alert, and a sentence holds no time.
            alerts.alert(
                connection, registry, "evidence-expiring", "warning", f"{end} is about to end ({end.thing[:19]})",
                about=about, facts=facts,
            )  # fmt: skip
    return new


def _told(registry: Registry, connection: sa.Connection) -> set[tuple[str, str]]:
    table = schema.alert
    query = sa.select(table).where(table.c.kind == "evidence-expiring", table.c.project == registry.project)
    facts = [alerts.read(row).facts for row in connection.execute(query).mappings()]
    return {(str(fact.get("thing")), str(fact.get("ends"))) for fact in facts}


def _trusted(registry: Registry, connection: sa.Connection) -> set[Digest]:
    """Return the trusted models, their weights and everything that these surely came from."""
    from weighbridge.store import lineage_index

    table = schema.model
    query = sa.select(table.c.digest, table.c.weights).where(
        table.c.project == registry.project, table.c.tier == "trusted", table.c.status != "revoked"
    )
    own = {Digest.parse(text) for row in connection.execute(query) for text in row if text}
    return own | set(lineage_index.ancestors(connection, sorted(own), grades=lineage_index.SURE))


def _authority(registry: Registry) -> list[End]:
    authority = registry.authority
    return [End(authority.expires, "authority", str(authority.digest))]


def _witnesses(registry: Registry) -> list[End]:
    """Return the freshness of the log, once most of the age that the authority allows is spent."""
    age, now = registry.authority.checkpoint_age, registry.clock.now()
    if age is None:
        return []
    seen = fresh(registry.log, registry.authority)
    if seen is None:
        return []
    end = seen.seen + timedelta(seconds=age)
    return (
        [End(end, "witness", registry.log.origin)]
        if now < end <= now + timedelta(seconds=age) / SHARE
        else []
    )


def _admissions(registry: Registry, connection: sa.Connection) -> Iterator[End]:
    """Yield the end of the newest admission of each model that runs."""
    from weighbridge.claims.summary import read_vsa
    from weighbridge.core.statement import Statement
    from weighbridge.trust.bundle import Bundle

    running: dict[Digest, list[str]] = {}
    for deployment in deployments.listed(connection, registry.project):
        running.setdefault(deployment.manifest, []).append(deployment.target)
    table, subject = schema.bundle, schema.bundle_subject
    for digest, targets in sorted(running.items()):
        query = sa.select(table.c.digest, table.c.content).join(subject, subject.c.bundle == table.c.digest)
        query = query.where(
            subject.c.identity == str(digest), table.c.stage == "admit", table.c.project == registry.project,
            table.c.signer == str(registry.gate_key.key_id),
        )  # fmt: skip
        for row in connection.execute(query.order_by(table.c.place.desc())):
            try:
                said = read_vsa(Statement.decode(Bundle.from_json(row.content.encode()).envelope.payload))
            except WeighbridgeError:
                continue
            yield End(said.expires, "admission", row.digest, (digest,), targets=tuple(sorted(targets)))
            break
