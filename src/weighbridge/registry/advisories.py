"""Advisories as a registry keeps them: which stand, what each brings about, and what is left when one is lifted.

An advisory taints what it names and whom its kind reaches from there, and quarantines the models among them
that are surely reached; a way that somebody only declared taints and quarantines nobody. What is wrong with a
model that it names is wrong with that model's weights, so it travels on to whoever was trained from them; code
alone stays where it is. A lift takes these taints away, and makes a model active again when nothing else
that is recorded stands against it: no other advisory, no revocation above it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from weighbridge.claims.records import Record
from weighbridge.core.advisory import Advisory, AdvisorySeverity, Target, parse_target, read_advisory
from weighbridge.core.alias import Alias
from weighbridge.core.canonical import canonical, parse
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound
from weighbridge.core.lineage import CARRIES, AdvisoryKind, Grade, Parentage, Relation
from weighbridge.core.tier import Status
from weighbridge.registry.wiring import Registry
from weighbridge.store import lineage_index, schema, taints
from weighbridge.store.aliases import known_by, same_grade
from weighbridge.store.dialect import insert_new

if TYPE_CHECKING:
    from weighbridge.registry.effects import Cause

PART = 400
"""Identities asked for in one query."""


def every(connection: sa.Connection, project: str, *, standing: bool = False) -> list[Advisory]:
    """Return the advisories of a project, newest first; with `standing` only those that nobody has lifted."""
    table = schema.advisory
    query = sa.select(table).where(table.c.project == project)
    if standing:
        query = query.where(table.c.lifted_at.is_(None))
    rows = connection.execute(query.order_by(table.c.published.desc(), table.c.id)).mappings()
    return [_advisory(row) for row in rows]


def get(connection: sa.Connection, project: str, identity: str) -> Advisory:
    """Return one advisory by its id, or the beginning of it; raises NotFound."""
    found = [said for said in every(connection, project) if said.id.startswith(identity)]
    if len(found) != 1:
        raise NotFound(
            f"there is no advisory {identity!r} in project {project!r}"
            if not found
            else f"{identity!r} means more than one advisory",
            remedy="see them: weighbridge advisory list",
        )
    return found[0]


def _advisory(row: Mapping[Any, Any]) -> Advisory:
    targets: Any = parse(row["targets"])
    return Advisory(
        AdvisoryKind(row["kind"]),
        tuple(parse_target(text) for text in targets),
        row["reason"],
        AdvisorySeverity(row["severity"]),
        row["published"],
        row["project"],
        row["bundle"],
        row["lifted_at"] or "",
    )


def beginnings(connection: sa.Connection, said: Advisory) -> tuple[list[Digest], list[Parentage]]:
    """Return where an advisory begins, and the first steps that no edge of the index shows.

    Those lead from a name to what is known by it, and, unless code is what is wrong, from a model that is
    named (so or otherwise) to its weights.
    """
    roots, named = _roots(connection, said.targets)
    steps = list(named)
    if said.kind is not AdvisoryKind.CODE:
        starts = {*roots, *(step.child for step in named)}
        below = lineage_index.edges_above(
            connection, sorted(starts), relations=frozenset({Relation.PACKAGING})
        )
        steps += [
            Parentage(edge.child, edge.parent, Relation.PACKAGING, edge.grade)
            for edge in below
            if edge.child in starts
        ]
    if Relation.SHARED_TENSORS in CARRIES[said.kind]:
        steps += kin(connection, {*roots, *(step.child for step in steps)})
    return roots, steps


def kin(connection: sa.Connection, starts: Collection[Digest]) -> list[Parentage]:
    """Return steps from `starts` to what shares their tensors and was here first.

    Such an edge is drawn from the earlier to the later, and says nothing of who came from whom. Against its direction it
    therefore only makes something possible: one poisoned child must not take the family of its clean base with it.
    """
    relations = frozenset({Relation.SHARED_TENSORS})
    above = lineage_index.edges_above(connection, sorted(starts), relations=relations)
    return [
        Parentage(edge.child, edge.parent, edge.relation, Grade.DECLARED, edge.source)
        for edge in above
        if edge.child in starts
    ]


def _roots(connection: sa.Connection, targets: Iterable[Target]) -> tuple[list[Digest], list[Parentage]]:
    targets = list(targets)
    names = [target for target in targets if isinstance(target, Alias)]
    found = known_by(connection, names)
    named = [
        Parentage(alias.node, digest, Relation.SAME_AS, same_grade(alias, grade), bundle)
        for digest, alias, grade, bundle in found
    ]
    return [target.node if isinstance(target, Alias) else target for target in targets], named


# ---------------------------------------------------------------- effects: inside the transaction that marks the outbox


def take_effect(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Keep an advisory, taint whom it reaches, quarantine the models that it surely reaches."""
    said = read_advisory(record.body, record.project)
    columns = _columns(record)
    row = {
        **columns,
        "id": said.id,
        "kind": said.kind.value,
        "targets": canonical([str(target) for target in said.targets]).decode(),
        "reason": said.reason,
        "severity": said.severity.value,
        "published": said.since,
        "lifted_at": None,
        "bundle": str(cause.bundle.digest),
    }
    key = lineage_index.file_advisory(connection, row)
    if key is None:
        return  # the same word again: it stands, or was lifted, and nothing new was said
    _make_nodes(connection, said, columns)
    lineage_index.taint(connection, key, said.targets, columns)
    _reach_weights(connection, said, key, columns)
    lineage_index.quarantine(connection, key, record.project)


def _make_nodes(connection: sa.Connection, said: Advisory, columns: Mapping[str, Any]) -> None:
    """Make nodes of what is not here yet, so that it is tainted when it comes."""
    missing = [
        lineage_index.Node(target, "weights" if target.algorithm == "wbw1" else "model")
        for target in said.targets
        if isinstance(target, Digest)
    ]
    lineage_index.publish(connection, lineage_index.Batch(nodes=missing), columns)


def lift(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Undo what one advisory, and nothing else, has brought about; a second lift changes nothing."""
    del cause
    table = schema.advisory
    here = (table.c.project == record.project, table.c.id == record.body["id"], table.c.lifted_at.is_(None))
    row = connection.execute(sa.select(table).where(*here)).mappings().first()
    if row is None or _advisory(row).nodes != record.about:
        return
    key = int(row["key"])
    reached = _surely_reached(connection, key)
    lineage_index.untaint(connection, key)
    connection.execute(sa.update(table).where(*here).values(lifted_at=rfc3339(record.at)))
    release(connection, record.project, reached)


def arrived(
    connection: sa.Connection,
    identities: Collection[Digest],
    reached: Collection[Digest],
    record: Mapping[str, Any],
) -> None:
    """Quarantine what came in below something tainted, or is tainted itself: called when a claim was kept.

    `identities` are those that the claim speaks of, `reached` those that new edges have tainted.
    """
    known = lineage_index.tainted(connection, sorted(identities))
    hit = {digest for digest, found in known.items() if any(one.sure for one in found)}
    for digest, found in known.items():
        if digest.algorithm == "wb1":
            for one in found:
                _follow(connection, one.project, one.advisory, digest, record)
    hit |= set(reached)
    if hit:
        _quarantine(connection, sorted(hit))


def _follow(
    connection: sa.Connection, project: str, identity: str, model: Digest, record: Mapping[str, Any]
) -> None:
    """Taint the weights of a model that an advisory names, now that it is known which these are."""
    said = get(connection, project, identity)
    key = lineage_index.advisory_key(connection, project, identity)
    roots, named = _roots(connection, said.targets)
    if key is not None and model in {*roots, *(step.child for step in named)}:
        before = _surely_reached(connection, key)
        _reach_weights(connection, said, key, record)
        _quarantine(connection, sorted(_surely_reached(connection, key) - before))


def _reach_weights(connection: sa.Connection, said: Advisory, key: int, columns: Mapping[str, Any]) -> None:
    """Taint the weights of the models that an advisory names, as surely as these are tainted; their kin as possible."""
    roots, steps = beginnings(connection, said)
    grades = dict.fromkeys(roots, Grade.ATTESTED)
    for step in steps:
        if step.relation is Relation.SAME_AS and step.child not in roots:
            grades[step.child] = min(
                step.grade, grades.get(step.child, step.grade), key=lambda grade: grade.rank
            )
    carried: dict[Digest, Grade] = {}
    vias: dict[Digest, Relation] = {}
    for step in steps:
        if step.relation is Relation.PACKAGING:
            sure = grades[step.parent]
            carried[step.child] = min(sure, carried.get(step.child, sure), key=lambda grade: grade.rank)
            vias[step.child] = step.relation
        elif step.relation is Relation.SHARED_TENSORS and step.child not in {*grades, *carried}:
            carried[step.child], vias[step.child] = step.grade, step.relation
    ids, table = lineage_index.numbers(connection, carried), schema.taint
    rows = [
        {
            **{name: columns[name] for name in ("schema_version", "project", "actor", "created_at")},
            "artifact": ids[digest],
            "advisory": key,
            "distance": 1 if vias[digest] is Relation.PACKAGING else 2,
            "via": vias[digest].value,
            "grade": grade.value,
        }
        for digest, grade in carried.items()
    ]
    insert_new(connection, table, rows, table.c.artifact)
    for row in rows:  # what somebody's word led to before is reached no less surely for that
        _strengthen(connection, row)
    if rows:
        taints.spread(connection, key, ids.values(), columns)


def _strengthen(connection: sa.Connection, row: Mapping[str, Any]) -> None:
    """Let a taint that is there be as sure as this one, and as near."""
    table, grade = schema.taint, Grade(row["grade"])
    weaker = [one.value for one in Grade if one.rank > grade.rank]
    near = sa.case((table.c.distance > row["distance"], row["distance"]), else_=table.c.distance)
    here = (
        table.c.artifact == row["artifact"],
        table.c.advisory == row["advisory"],
        table.c.grade.in_(weaker),
    )
    connection.execute(sa.update(table).where(*here).values(grade=grade.value, via=row["via"], distance=near))


# ---------------------------------------------------------------- status follows from what is recorded


def _surely_reached(connection: sa.Connection, key: int) -> set[Digest]:
    taint, node = schema.taint, schema.artifact
    query = sa.select(node.c.digest).join(taint, taint.c.artifact == node.c.id)
    query = query.where(taint.c.advisory == key, taint.c.grade != Grade.DECLARED.value)
    return {Digest.parse(text) for text in connection.execute(query).scalars()}


def _quarantine(connection: sa.Connection, digests: Sequence[Digest]) -> None:
    """Quarantine the active models among these (or with these weights) that an advisory of their project surely reaches."""
    for project, reached in _held(connection, digests).items():
        _set_status(connection, project, reached, Status.ACTIVE, Status.QUARANTINED)


def release(connection: sa.Connection, project: str, digests: Iterable[Digest]) -> None:
    """Make quarantined models active again against which nothing recorded stands any more, by identity or by weights."""
    rows = holding(connection, project, sorted(digests))
    held = _held(connection, sorted({d for pair in rows for d in pair if d is not None})).get(project, set())
    held |= _below_revoked(connection, project) | _judged(connection, project)
    clear = {digest for digest, weights in rows if digest not in held and weights not in held}
    _set_status(connection, project, clear, Status.QUARANTINED, Status.ACTIVE)


def _held(connection: sa.Connection, digests: Sequence[Digest]) -> dict[str, set[Digest]]:
    """Return by project those of `digests` that a standing advisory of that project surely reaches."""
    found: dict[str, set[Digest]] = {}
    for digest, reach in lineage_index.tainted(connection, digests).items():
        for one in reach:
            if one.sure:
                found.setdefault(one.project, set()).add(digest)
    return found


def _judged(connection: sa.Connection, project: str) -> set[Digest]:
    """Return the models that the gate itself has quarantined, for what they are now."""
    table = schema.standing
    query = sa.select(table.c.digest).where(table.c.project == project)
    return {Digest.parse(text) for text in connection.execute(query).scalars()}


def _below_revoked(connection: sa.Connection, project: str) -> set[Digest]:
    table = schema.revocation
    query = sa.select(table.c.target).where(table.c.project == project)
    targets = [Digest.parse(text) for text in connection.execute(query).scalars()]
    return (
        set(lineage_index.descendants(connection, targets, grades=lineage_index.SURE)) if targets else set()
    )


def holding(
    connection: sa.Connection, project: str, digests: Sequence[Digest]
) -> list[tuple[Digest, Digest | None]]:
    """Return the models among `digests`, or with one of them as weights, each with its weights."""
    table = schema.model
    found: dict[Digest, Digest | None] = {}
    for start in range(0, len(digests), PART):
        part = [str(digest) for digest in digests[start : start + PART]]
        for column in (table.c.digest, table.c.weights):
            # Asked in one, or for the project as well, SQLite would read every row of the project each time.
            query = sa.select(table.c.project, table.c.digest, table.c.weights).where(column.in_(part))
            for row in connection.execute(query):
                if row.project != project:
                    continue
                found[Digest.parse(row.digest)] = Digest.parse(row.weights) if row.weights else None
    return list(found.items())


def _set_status(
    connection: sa.Connection, project: str, digests: Collection[Digest], before: Status, after: Status
) -> None:
    """Change the status of the models among `digests`, or with one of them as weights, that stand as `before`."""
    table = schema.model
    rows = sorted(str(digest) for digest, _ in holding(connection, project, sorted(digests)))
    for start in range(0, len(rows), PART):
        change = sa.update(table).where(
            table.c.project == project,
            table.c.digest.in_(rows[start : start + PART]),
            table.c.status == before.value,
        )
        connection.execute(change.values(status=after.value))


def _columns(record: Record) -> dict[str, Any]:
    """Return the record columns as the signed statement has them."""
    return {
        "schema_version": schema.SCHEMA_VERSION,
        "project": record.project,
        "actor": record.actor[:128],
        "created_at": rfc3339(record.at),
    }


def lifts(registry: Registry, said: Advisory) -> str:
    """Return why an advisory was lifted; empty while it stands."""
    from weighbridge.claims.records import read_event
    from weighbridge.core.statement import Statement
    from weighbridge.trust.bundle import Bundle

    table = schema.bundle
    query = sa.select(table.c.content).where(table.c.stage == "lift", table.c.project == said.project)
    with registry.records.read() as connection:
        contents = connection.execute(query.order_by(table.c.log_index)).scalars().all()
    for content in contents if not said.stands else ():
        event = read_event(Statement.decode(Bundle.from_json(content.encode()).envelope.payload))
        if event is not None and event.body["id"] == said.id and rfc3339(event.at) == said.lifted:
            return str(event.body["reason"])
    return ""
