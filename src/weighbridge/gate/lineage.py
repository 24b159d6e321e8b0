"""Lineage: who descends from whom, by which path, how sure that is, and what of it is deployed."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Grade, Parentage, Relation
from weighbridge.gate.evidence import revocations
from weighbridge.registry import deployments, edges, models, names
from weighbridge.registry.deployments import Deployment
from weighbridge.registry.wiring import Registry


@dataclass(frozen=True, slots=True)
class Node:
    """One identity in a lineage: what people call it, where it stands, whether it is revoked."""

    digest: Digest
    label: str
    names: tuple[str, ...]
    tier: str
    status: str
    revoked: str
    """The reason, when it is revoked; else empty."""

    def to_json(self) -> dict[str, JSON]:
        """Return the node as it stands in `weighbridge.lineage/1`."""
        return {
            "digest": str(self.digest),
            "label": self.label,
            "names": list(self.names),
            "tier": self.tier,
            "status": self.status,
            "revoked": self.revoked,
        }


@dataclass(frozen=True, slots=True)
class Hit:
    """A deployment that descends from something: the shortest path to it, and the weakest grade on that path."""

    deployment: Deployment
    origin: Digest
    path: tuple[Parentage, ...]

    @property
    def grade(self) -> Grade:
        """The weakest grade on the path; attested when it is the thing itself.

        That weights are in a package was computed from the kept bytes, so such a step weakens nothing.
        """
        claimed = (edge.grade for edge in self.path if edge.relation is not Relation.PACKAGING)
        return max(claimed, key=lambda grade: grade.rank, default=Grade.ATTESTED)

    def to_json(self) -> dict[str, JSON]:
        """Return the hit as it stands among the paths of `weighbridge.lineage/1`."""
        return {
            "deployment": self.deployment.to_json(),
            "from": str(self.origin),
            "grade": self.grade.value,
            "edges": [edge.to_json() for edge in self.path],
        }


@dataclass(frozen=True, slots=True)
class Lineage:
    """The family of one identity: nodes, edges, and the deployments it reaches."""

    root: Digest
    nodes: tuple[Node, ...]
    edges: tuple[Parentage, ...]
    paths: tuple[Hit, ...]

    def to_json(self) -> dict[str, JSON]:
        """Return one item of `weighbridge.lineage/1`."""
        return {
            "root": str(self.root),
            "nodes": [node.to_json() for node in self.nodes],
            "edges": [edge.to_json() for edge in self.edges],
            "paths": [hit.to_json() for hit in self.paths],
        }


def family(registry: Registry, digest: Digest) -> Lineage:
    """Return everything above and below `digest`, and where it or its descendants run."""
    return _family(registry, digest, deployments.running(registry))


def _family(registry: Registry, digest: Digest, running: Sequence[Deployment]) -> Lineage:
    roots = _both(registry, digest)
    with registry.records.read() as connection:
        above = edges.edges_above(connection, roots)
        below = edges.edges_below(connection, roots)
    every = tuple(sorted({*above, *below}))
    identities = {digest, *(edge.parent for edge in every), *(edge.child for edge in every)}
    return Lineage(digest, _nodes(registry, identities), every, _hits(running, roots, below))


def deployed(registry: Registry, digest: Digest | None) -> tuple[Lineage, ...]:
    """Answer which deployed models descend from `digest`; None asks for everything that is revoked."""
    if digest is not None:
        return (family(registry, digest),)
    running = deployments.running(registry)
    roots = [d.manifest for d in running]
    with registry.records.read() as connection:
        above = edges.edges_above(connection, roots)
    met = {*roots, *(edge.parent for edge in above)}
    targets = [revocation.target for revocation in revocations(registry, met)]
    return tuple(_family(registry, target, running) for target in targets)


def _both(registry: Registry, digest: Digest) -> list[Digest]:
    """Return a model with its weights: whoever trained on the weights descends from the model."""
    model = models.find(registry, digest)
    weights = model.manifest.weights if model else None
    return [digest, weights] if weights else [digest]


def _hits(
    running: Sequence[Deployment], roots: Sequence[Digest], below: Sequence[Parentage]
) -> tuple[Hit, ...]:
    came_from = _shortest(roots, below)
    hits = []
    for deployment in running:
        if deployment.manifest in came_from or deployment.manifest in roots:
            path = _path(deployment.manifest, came_from)
            origin = path[0].parent if path else deployment.manifest
            hits.append(Hit(deployment, origin, path))
    return tuple(hits)


def _shortest(roots: Sequence[Digest], below: Sequence[Parentage]) -> dict[Digest, Parentage]:
    """Breadth first from the roots, surer edges first: for each identity the edge it was reached by."""
    children: dict[Digest, list[Parentage]] = {}
    for edge in sorted(below, key=lambda e: e.grade.rank):
        children.setdefault(edge.parent, []).append(edge)
    reached: dict[Digest, Parentage] = {}
    queue = deque(roots)
    while queue:
        for edge in children.get(queue.popleft(), []):
            if edge.child not in reached and edge.child not in roots:
                reached[edge.child] = edge
                queue.append(edge.child)
    return reached


def _path(digest: Digest, reached: dict[Digest, Parentage]) -> tuple[Parentage, ...]:
    path: list[Parentage] = []
    while digest in reached:
        path.append(reached[digest])
        digest = reached[digest].parent
    return tuple(reversed(path))


def _nodes(registry: Registry, identities: set[Digest]) -> tuple[Node, ...]:
    known = models.standings(registry, sorted(identities))
    called = names.pointing(registry)
    revoked = {r.target: r.reason for r in revocations(registry, identities)}
    nodes = []
    for digest in sorted(identities):
        model = known.get(digest)
        nodes.append(
            Node(
                digest,
                model.label if model else "",
                called.get(digest, ()),
                model.tier.value if model else "",
                model.status.value if model else "",
                revoked.get(digest, ""),
            )
        )
    return tuple(nodes)
