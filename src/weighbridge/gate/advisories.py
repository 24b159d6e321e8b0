"""Advisories at the gate: publish and lift them, say whom one reaches and how sure that is, and what reaches one model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from weighbridge.claims.records import event
from weighbridge.core.advisory import MAX_REASON, Advised, Advisory, AdvisorySeverity, Target, distinct
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused, UsageError
from weighbridge.core.lineage import AdvisoryKind, Grade, Parentage
from weighbridge.core.tier import Role
from weighbridge.core.walks import Answer, ways, weakest
from weighbridge.gate.lineage import MAX_EDGES, Coverage, Lineage, reach
from weighbridge.keys.ports import Signer
from weighbridge.registry import advisories, approvals, authorities, tally
from weighbridge.registry.approvals import Proposal
from weighbridge.registry.outbox import sign, submit
from weighbridge.registry.wiring import Registry
from weighbridge.store import lineage_index, schema

SHOWN = 1000
"""Models that an answer lists by name; it counts them all."""


@dataclass(frozen=True, slots=True)
class Reached:
    """Whom an advisory reaches in this project: kept models, by how sure it is, and every deployment judged."""

    advisory: Advisory
    affected: tuple[Digest, ...]
    """Quarantined by it: reached by what is attested or observed."""
    possibly: tuple[Digest, ...]
    """Reached only by what somebody declared; nothing happens to these."""
    deployed: Lineage
    waiting: Proposal | None = None
    """The lift that was just proposed, where the authority asks for more identities than one."""

    @property
    def coverage(self) -> Coverage:
        """Of how many deployed models the ancestry is known, so that "not affected" means something."""
        return self.deployed.coverage or Coverage(0, 0)

    def count(self, answer: Answer) -> int:
        """Return how many deployments have this answer."""
        return sum(judged.answer is answer for judged in self.deployed.answers)

    def to_json(self) -> dict[str, JSON]:
        """Return one item of `weighbridge.advisory/1`."""
        return {
            **self.advisory.to_json(),
            "affected": {"count": len(self.affected), "models": [str(d) for d in self.affected[:SHOWN]]},
            "possibly": {"count": len(self.possibly), "models": [str(d) for d in self.possibly[:SHOWN]]},
            "deployed": self.deployed.to_json(),
        }


def publish(
    registry: Registry,
    targets: Iterable[Target],
    *,
    kind: AdvisoryKind,
    reason: str,
    severity: AdvisorySeverity,
    signer: Signer,
) -> Reached:
    """Say that something is wrong with `targets`; whom it surely reaches is quarantined in the same transaction.

    Signed by an identity with the role `revoke`. Raises UsageError, BadReference, VerificationFailed.
    """
    _check_reason(reason)
    authorities.require(registry, signer, Role.REVOKE)
    with registry.writing():
        said = Advisory(
            kind, distinct(targets), reason.strip(), severity, rfc3339(registry.clock.now()), registry.project
        )
        body: dict[str, JSON] = {"id": said.id, **said.body()}
        statement = event("advisory", said.nodes, body, **registry.event_facts())
        submit(registry, sign(statement, signer))
    return show(registry, said.id)


def lift(registry: Registry, identity: str, *, reason: str, signer: Signer) -> Reached:
    """Take an advisory back: what it, and nothing else, has quarantined is active again. The record of both stays.

    Where the authority asks for more identities than one, it stands until they approved, and `waiting` is the proposal.
    """
    _check_reason(reason)
    authorities.require(registry, signer, Role.REVOKE)
    with registry.writing():
        with registry.records.read() as connection:
            said = advisories.get(connection, registry.project, identity)
        if not said.stands:
            raise UsageError(
                f"{said.id} was lifted already, {said.lifted}",
                remedy="publish a new advisory if there is trouble again",
            )
        approvals.check_lift(registry, said.id)
        body: dict[str, JSON] = {
            "id": said.id,
            "reason": reason.strip(),
            "since": rfc3339(registry.clock.now()),
        }
        statement = event("lift", said.nodes, body, **registry.event_facts())
        submit(registry, sign(statement, signer))
    found = replace(show(registry, said.id), waiting=approvals.lifts_waiting(registry).get(said.id))
    if found.advisory.stands and found.waiting is None:
        raise Refused(
            f"{said.id} still stands",
            cause="the authority does not name this key for the role revoke in this project any more",
            remedy="see who may: weighbridge trust show",
            check="identity.role",
        )
    return found


def show(registry: Registry, identity: str) -> Reached:
    """Return one advisory, by its id or the beginning of it, and whom it reaches now; raises NotFound."""
    tally.check(registry)
    with registry.records.read() as connection:
        said = advisories.get(connection, registry.project, identity)
        affected, possibly = _models(connection, said)
        starts, steps = advisories.beginnings(connection, said)
    said = replace(said, lift_reason=advisories.lifts(registry, said))
    return Reached(said, affected, possibly, reach(registry, starts[0], starts, steps, said.relations))


def every(registry: Registry, *, standing: bool = False) -> list[Advisory]:
    """Return the advisories of this project, newest first; with `standing` only those that were not lifted."""
    tally.check(registry)
    with registry.records.read() as connection:
        found = advisories.every(connection, registry.project, standing=standing)
    return [replace(said, lift_reason=advisories.lifts(registry, said)) for said in found]


def reaching(
    registry: Registry, own: Sequence[Digest], links: Iterable[Parentage] = ()
) -> tuple[Advised, ...]:
    """Return the standing advisories that surely reach a model, each with the surest way; worst first.

    `own` are the model and its weights. Believed is what the index has above them, what verified claims
    say (`links`), and what is written down as tainted: each by itself is enough.
    """
    with registry.records.read() as connection:
        standing = advisories.every(connection, registry.project, standing=True)
        if not standing:
            return ()
        edges = {*lineage_index.edges_above(connection, own, limit=MAX_EDGES), *links}
        sure = [edge for edge in edges if edge.grade is not Grade.DECLARED]
        tainted = lineage_index.tainted(connection, own)
        known = {one.advisory for found in tainted.values() for one in found if one.sure}
        found = [_reaching(connection, said, own, sure, written=said.id in known) for said in standing]
    ranks = list(AdvisorySeverity)
    hits = [advised for advised in found if advised is not None]
    return tuple(sorted(hits, key=lambda hit: (-ranks.index(hit.advisory.severity), hit.advisory.id)))


def _reaching(
    connection: sa.Connection,
    said: Advisory,
    own: Sequence[Digest],
    sure: Sequence[Parentage],
    *,
    written: bool,
) -> Advised | None:
    starts, steps = advisories.beginnings(connection, said)
    first = [step for step in steps if step.grade is not Grade.DECLARED]
    found = ways([*sure, *first], starts, relations=said.relations)
    ways_here = [way for way in map(found.way, own) if way is not None]
    if ways_here:
        way = min(ways_here, key=lambda way: (weakest(way).rank, len(way)))
        return Advised(said, way[0].parent if way else next(d for d in own if d in starts), way)
    return Advised(said, starts[0], ()) if written else None


def _models(connection: sa.Connection, said: Advisory) -> tuple[tuple[Digest, ...], tuple[Digest, ...]]:
    """Return the kept models that an advisory surely reaches, and those that only a declaration leads to."""
    key = lineage_index.advisory_key(connection, said.project, said.id)
    node, taint, model = schema.artifact, schema.taint, schema.model
    found: dict[str, bool] = {}
    for column in (model.c.digest, model.c.weights):
        query = sa.select(model.c.digest, taint.c.grade).join(node, node.c.digest == column)
        query = query.join(taint, taint.c.artifact == node.c.id)
        for row in connection.execute(query.where(taint.c.advisory == key, model.c.project == said.project)):
            found[row.digest] = found.get(row.digest, False) or row.grade != Grade.DECLARED.value
    sure = tuple(Digest.parse(text) for text in sorted(found) if found[text])
    return sure, tuple(Digest.parse(text) for text in sorted(found) if not found[text])


def _check_reason(reason: str) -> None:
    if not reason.strip() or len(reason.strip()) > MAX_REASON:
        raise UsageError(
            f"a reason of 1 to {MAX_REASON} characters is needed", remedy='say why with --reason "…"'
        )
