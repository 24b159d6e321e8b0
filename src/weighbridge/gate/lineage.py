"""Lineage: who descends from whom, by which path, how sure that is, and what of it is deployed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Grade, Parentage, Relation
from weighbridge.gate.evidence import revocations
from weighbridge.registry import deployments, descent, models, names
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
    roots = _both(registry, digest)
    with registry.records.read() as connection:
        above = descent.edges_above(connection, roots)
        below = descent.edges_below(connection, roots)
    every = tuple(sorted({*above, *below}))
    identities = {digest, *(edge.parent for edge in every), *(edge.child for edge in every)}
    return Lineage(digest, _nodes(registry, identities), every, _hits(registry, roots))


def deployed(registry: Registry, digest: Digest | None) -> tuple[Lineage, ...]:
    """Answer which deployed models descend from `digest`; None asks for everything that is revoked.

    Only the paths to what is deployed are returned, so that the answer is as small as the question.
    """
    if digest is not None:
        return (_deployed(registry, digest),)
    roots = [d.manifest for d in deployments.running(registry)]
    with registry.records.read() as connection:
        met = {*roots, *descent.ancestors(connection, roots)}
    return tuple(_deployed(registry, found.target) for found in revocations(registry, met))


def _deployed(registry: Registry, digest: Digest) -> Lineage:
    hits = _hits(registry, _both(registry, digest))
    every = tuple(sorted({edge for hit in hits for edge in hit.path}))
    identities = {digest, *(edge.parent for edge in every), *(edge.child for edge in every)}
    return Lineage(digest, _nodes(registry, identities), every, hits)


def _both(registry: Registry, digest: Digest) -> list[Digest]:
    """Return a model with its weights: whoever trained on the weights descends from the model."""
    model = models.find(registry, digest)
    weights = model.manifest.weights if model else None
    return [digest, weights] if weights else [digest]


def _hits(registry: Registry, roots: Sequence[Digest]) -> tuple[Hit, ...]:
    running = deployments.running(registry)
    wanted = sorted({deployment.manifest for deployment in running})
    with registry.records.read() as connection:
        paths = descent.shortest_paths(connection, roots, wanted)
    hits = []
    for deployment in running:
        path = paths.get(deployment.manifest)
        if path is not None or deployment.manifest in roots:
            steps = path or ()
            origin = steps[0].parent if steps else deployment.manifest
            hits.append(Hit(deployment, origin, steps))
    return tuple(hits)


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
