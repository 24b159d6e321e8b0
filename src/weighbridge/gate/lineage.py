"""Lineage: who descends from whom, by which path, how sure that is, what of it is deployed, and what nobody can tell."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.distrust import check_signer
from weighbridge.core.errors import OutOfBudget, VerificationFailed
from weighbridge.core.lineage import CARRIES, AdvisoryKind, Grade, Parentage, Relation
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Role, Stage
from weighbridge.core.walks import Answer, Gap, answer, gaps, ways, weakest
from weighbridge.registry import advisories, deployments, distrusts, models, names
from weighbridge.registry.deployments import Deployment
from weighbridge.registry.wiring import Registry
from weighbridge.store import lineage_index, schema
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.verify import verify_bundle

MAX_EDGES = 500_000
"""Edges that one answer rests on; with more it is refused, for part of an ancestry proves nothing."""
PART = 400


@dataclass(frozen=True, slots=True)
class Node:
    """One identity in a lineage: what people call it, where it stands, what stands against it."""

    digest: Digest
    label: str
    names: tuple[str, ...]
    tier: str
    status: str
    revoked: str
    """The reason, when it is revoked; else empty."""
    kind: str = "model"
    """model, weights, dataset or alias (a name whose bytes never came here)."""
    advisories: tuple[str, ...] = ()
    """The ids of the standing advisories that surely reach it."""

    def to_json(self) -> dict[str, JSON]:
        """Return the node as it stands in `weighbridge.lineage/1`."""
        return {
            "digest": str(self.digest),
            "label": self.label,
            "names": list(self.names),
            "tier": self.tier,
            "status": self.status,
            "revoked": self.revoked,
            "kind": self.kind,
            "advisories": list(self.advisories),
        }


@dataclass(frozen=True, slots=True)
class Hit:
    """A deployment that descends from something: the surest path to it, and the weakest grade on that path."""

    deployment: Deployment
    origin: Digest
    path: tuple[Parentage, ...]

    @property
    def grade(self) -> Grade:
        """The weakest grade on the path; attested when it is the thing itself."""
        return weakest(self.path)

    def to_json(self) -> dict[str, JSON]:
        """Return the hit as it stands among the paths of `weighbridge.lineage/1`."""
        return {
            "deployment": self.deployment.to_json(),
            "from": str(self.origin),
            "grade": self.grade.value,
            "edges": [edge.to_json() for edge in self.path],
        }


@dataclass(frozen=True, slots=True)
class Judged:
    """One deployment and what can be said of it; the gap is where its ancestry cannot be followed further."""

    deployment: Deployment
    answer: Answer
    gap: Gap | None

    def to_json(self) -> dict[str, JSON]:
        """Return the answer as it stands in `weighbridge.lineage/1`."""
        return {
            "deployment": self.deployment.to_json(),
            "answer": self.answer.value,
            "gap": self.gap.to_json() if self.gap else None,
        }


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of how many deployed models every branch of the ancestry reaches a known root without a gap."""

    deployed: int
    complete: int

    @property
    def share(self) -> float:
        """From 0 to 1; 1 when nothing is deployed."""
        return self.complete / self.deployed if self.deployed else 1.0

    def to_json(self) -> dict[str, JSON]:
        """Return the figure as it stands in `weighbridge.lineage/1`."""
        return {"deployed": self.deployed, "complete": self.complete, "share": round(self.share, 4)}


@dataclass(frozen=True, slots=True)
class Lineage:
    """The family of one identity: nodes, edges, and the deployments it reaches.

    An answer about what is deployed has `coverage`, and in `answers` every deployment there is.
    """

    root: Digest
    nodes: tuple[Node, ...]
    edges: tuple[Parentage, ...]
    paths: tuple[Hit, ...]
    answers: tuple[Judged, ...] = ()
    coverage: Coverage | None = None

    def to_json(self) -> dict[str, JSON]:
        """Return one item of `weighbridge.lineage/1`."""
        return {
            "root": str(self.root),
            "nodes": [node.to_json() for node in self.nodes],
            "edges": [edge.to_json() for edge in self.edges],
            "paths": [hit.to_json() for hit in self.paths],
            "answers": [judged.to_json() for judged in self.answers],
            "coverage": self.coverage.to_json() if self.coverage else None,
        }


def family(registry: Registry, digest: Digest, *, up: bool = True, down: bool = True) -> Lineage:
    """Return everything above and below `digest` (or one of the two), and where it or its descendants run."""
    roots = both(registry, digest)
    with registry.records.read() as connection:
        above = _edges(connection, roots, up=True) if up else []
        below = _edges(connection, roots, up=False) if down else []
    every = tuple(sorted({*above, *below}))
    hits = _judged(registry, roots, (), None, gapless=True)[0] if down else ()
    return Lineage(digest, nodes_of(registry, {digest}, every), every, hits)


def deployed(
    registry: Registry, digest: Digest | None, *, kind: AdvisoryKind | None = None
) -> tuple[Lineage, ...]:
    """Answer which deployed models descend from `digest`; None asks for everything that is revoked.

    With `kind` only along what trouble of that kind travels on. Only the paths to what is deployed are
    returned, so that the answer is as small as the question; what else is deployed is judged in `answers`.
    """
    if digest is not None:
        return (_deployed(registry, digest, kind),)
    running = sorted({d.manifest for d in deployments.running(registry)})
    with registry.records.read() as connection:
        met = {*running, *lineage_index.ancestors(connection, running)}
    return tuple(_deployed(registry, target, kind) for target in sorted(met & set(_revoked(registry))))


def _deployed(registry: Registry, digest: Digest, kind: AdvisoryKind | None) -> Lineage:
    starts, relations = both(registry, digest), CARRIES[kind] if kind else None
    follows = relations is None or Relation.SHARED_TENSORS in relations
    with registry.records.read() as connection:
        steps = advisories.kin(connection, starts) if follows else []
    return reach(registry, digest, starts, steps, relations)


def reach(
    registry: Registry,
    root: Digest,
    starts: Sequence[Digest],
    steps: Sequence[Parentage],
    relations: frozenset[Relation] | None,
) -> Lineage:
    """Judge everything that is deployed by whether it comes from `starts`, or from where the further `steps` lead."""
    hits, answers = _judged(registry, starts, steps, relations)
    every = tuple(sorted({edge for hit in hits for edge in hit.path}))
    held = {judged.deployment.manifest: judged.gap is None for judged in answers}
    coverage = Coverage(len(held), sum(held.values()))
    identities = {root, *starts, *(judged.gap.at for judged in answers if judged.gap)}
    ways_to_gaps = [edge for judged in answers if judged.gap for edge in judged.gap.way]
    nodes = nodes_of(registry, identities, (*every, *ways_to_gaps))
    return Lineage(root, nodes, every, hits, answers, coverage)


def both(registry: Registry, digest: Digest) -> list[Digest]:
    """Return a model with its weights: whoever trained on the weights descends from the model."""
    table = schema.model
    query = sa.select(table.c.weights).where(
        table.c.project == registry.project, table.c.digest == str(digest)
    )
    with registry.records.read() as connection:
        weights = connection.execute(query).scalar()
    return [digest, Digest.parse(weights)] if weights else [digest]


def _edges(connection: sa.Connection, roots: Sequence[Digest], *, up: bool) -> list[Parentage]:
    read = lineage_index.edges_above if up else lineage_index.edges_below
    found = read(connection, roots, limit=MAX_EDGES + 1)
    if len(found) > MAX_EDGES:
        raise OutOfBudget(
            f"the lineage has more than {MAX_EDGES:,} edges",
            cause="an answer about a part of it would look like an answer about all of it",
            remedy="ask in one direction (--up or --down), or about a model nearer to the one you mean",
        )
    return found


def _judged(
    registry: Registry,
    starts: Sequence[Digest],
    steps: Sequence[Parentage],
    relations: frozenset[Relation] | None,
    *,
    gapless: bool = False,
) -> tuple[tuple[Hit, ...], tuple[Judged, ...]]:
    """Return what is deployed and comes from `starts`, and every deployment judged (not where `gapless`)."""
    running = deployments.running(registry)
    wanted = sorted({deployment.manifest for deployment in running})
    with registry.records.read() as connection:
        edges = _edges(connection, wanted, up=True)
    found = ways([*edges, *steps], starts, relations=relations)
    paths = {digest: found.way(digest) for digest in wanted}
    hits = []
    for deployment in running:
        path = paths[deployment.manifest]
        if path is not None:
            hits.append(Hit(deployment, path[0].parent if path else deployment.manifest, path))
    if gapless:
        return tuple(hits), ()
    missing = _gaps(registry, edges, wanted, _branches(edges, starts, relations))
    answers = tuple(
        Judged(d, answer(paths[d.manifest], missing.get(d.manifest)), missing.get(d.manifest))
        for d in running
    )
    return tuple(hits), answers


def _branches(
    edges: Iterable[Parentage], starts: Sequence[Digest], relations: frozenset[Relation] | None
) -> frozenset[Relation] | None:
    """Return along which relations a gap matters: beyond a dataset there are only datasets, so no model hides there."""
    if relations is not None:
        return relations
    datasets = {edge.parent for edge in edges if edge.relation is Relation.DATASET}
    return None if datasets & set(starts) else frozenset(Relation) - {Relation.DATASET}


def _gaps(
    registry: Registry,
    edges: Sequence[Parentage],
    wanted: Sequence[Digest],
    relations: Collection[Relation] | None,
) -> dict[Digest, Gap]:
    met = {*wanted, *(edge.parent for edge in edges), *(edge.child for edge in edges)}
    return gaps(edges, wanted, known_roots(registry, met), relations=relations)


def known_roots(registry: Registry, identities: Iterable[Digest]) -> set[Digest]:
    """Return those of `identities` with a dataset claim or an accepted origin by whom the authority names, verified now."""
    bundle, subject = schema.bundle, schema.bundle_subject
    wanted = sorted(str(digest) for digest in set(identities))
    stages = {stage.value: Role(stage.value) for stage in (Stage.DATA, Stage.ORIGIN)}
    contents: dict[str, tuple[str, str]] = {}
    with registry.records.read() as connection:
        for start in range(0, len(wanted), PART):
            query = sa.select(bundle.c.digest, bundle.c.stage, bundle.c.content)
            query = query.join(subject, subject.c.bundle == bundle.c.digest)
            query = query.where(
                subject.c.identity.in_(wanted[start : start + PART]), bundle.c.stage.in_(stages)
            )
            contents |= {row.digest: (row.stage, row.content) for row in connection.execute(query)}
    found: set[Digest] = set()
    standing = distrusts.standing(registry)
    for stage, content in contents.values():
        kept = Bundle.from_json(content.encode())
        try:
            proven = verify_bundle(
                kept,
                authority=registry.authority,
                project=registry.project,
                role=stages[stage],
                now=registry.clock.now(),
            ).proven
            check_signer(standing, proven)
        except VerificationFailed:
            continue
        found.update(Statement.decode(kept.envelope.payload).identities)
    return found


def nodes_of(
    registry: Registry, identities: Iterable[Digest], edges: Iterable[Parentage]
) -> tuple[Node, ...]:
    """Return what is known of each identity, and of each end of each edge."""
    ends = {end for edge in edges for end in (edge.parent, edge.child)}
    wanted = sorted({*identities, *ends})
    known = models.standings(registry, wanted)
    called = names.pointing(registry)
    revoked = _revoked(registry)
    kinds: dict[str, tuple[str, str]] = {}
    reached: dict[Digest, tuple[str, ...]] = {}
    table = schema.artifact
    with registry.records.read() as connection:
        for start in range(0, len(wanted), PART):
            part = wanted[start : start + PART]
            query = sa.select(table.c.digest, table.c.kind, table.c.label)
            rows = connection.execute(query.where(table.c.digest.in_([str(digest) for digest in part])))
            kinds |= {row.digest: (row.kind, row.label) for row in rows}
            for digest, found in lineage_index.tainted(connection, part).items():
                ids = (one.advisory for one in found if one.sure and one.project == registry.project)
                reached[digest] = tuple(ids)
    nodes = []
    for digest in wanted:
        model = known.get(digest)
        kind, label = kinds.get(str(digest), ("weights" if digest.algorithm == "wbw1" else "model", ""))
        nodes.append(
            Node(
                digest,
                model.label if model else label,
                called.get(digest, ()),
                model.tier.value if model else "",
                model.status.value if model else "",
                revoked.get(digest, ""),
                kind,
                reached.get(digest, ()),
            )
        )
    return tuple(nodes)


def _revoked(registry: Registry) -> dict[Digest, str]:
    table = schema.revocation
    query = sa.select(table.c.target, table.c.reason).where(table.c.project == registry.project)
    with registry.records.read() as connection:
        return {Digest.parse(row.target): row.reason for row in connection.execute(query)}
