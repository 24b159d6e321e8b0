"""A lineage index that is nothing but loops over a set of edges: slow, obvious, and what the real one must answer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from weighbridge.core.alias import Alias, Scheme
from weighbridge.core.lineage import CARRIES, Grade, Parentage, Relation

SURE = {Grade.ATTESTED, Grade.OBSERVED}


@dataclass
class Naive:
    edges: set = field(default_factory=set)
    nodes: set = field(default_factory=set)
    known: list = field(default_factory=list)
    advisories: dict = field(default_factory=dict)

    def add(self, edge):
        self.nodes |= {edge.parent, edge.child}
        said = {(e.parent, e.child, e.relation, e.source) for e in self.edges}
        if edge.parent == edge.child or (edge.parent, edge.child, edge.relation, edge.source) in said:
            return
        if edge.relation is not Relation.SHARED_TENSORS:
            ordering = [
                e for e in self.edges if e.relation is not Relation.SHARED_TENSORS and e.grade in SURE
            ]
            if edge.parent in _below(edge.child, ordering):
                edge = replace(edge, grade=Grade.DECLARED)
        self.edges.add(edge)

    def alias(self, owner, alias, grade, bundle):
        self.nodes.add(owner)
        self.known.append((owner, alias, grade, bundle))
        if alias.node in self.nodes:
            self.stand_for([alias])

    def stand_for(self, names):
        for name in names:
            self.nodes.add(name.node)
            for owner, alias, grade, bundle in self.known:
                if alias == name:
                    exact = alias.scheme not in (Scheme.NAME, Scheme.PURL) and grade is not Grade.DECLARED
                    sure = Grade.OBSERVED if exact else Grade.DECLARED
                    self.add(Parentage(owner, name.node, Relation.SAME_AS, sure, bundle))

    def advise(self, identity, root, kind):
        if isinstance(root, Alias):
            self.stand_for([root])
            root = root.node
        if root in self.nodes:
            self.advisories[identity] = (root, kind)

    def below(self, root, grades=None):
        return _below(root, [e for e in self.edges if grades is None or e.grade in grades])

    def taints(self):
        """Return (advisory, node) → (fewest steps, grade of the surest way)."""
        found = {}
        for identity, (root, kind) in self.advisories.items():
            ways = [(e.parent, e.child, _rank(e)) for e in self.edges if e.relation in CARRIES[kind]]
            ways += [
                (e.child, e.parent, e.grade.rank)
                for e in self.edges
                if e.relation is Relation.SAME_AS and e.child == root
            ]
            for node, steps in _steps(root, [way[:2] for way in ways]).items():
                rank = min(
                    rank
                    for rank in range(3)
                    if node in _steps(root, [way[:2] for way in ways if way[2] <= rank])
                )
                found[identity, node] = (steps, list(Grade)[rank])
        return found


def _rank(edge):
    return 0 if edge.relation is Relation.PACKAGING else edge.grade.rank


def _below(root, edges):
    return set(_steps(root, [(e.parent, e.child) for e in edges]))


def _steps(root, pairs):
    found, at = {root: 0}, 0
    while any(steps == at for steps in found.values()):
        for parent, child in pairs:
            if found.get(parent) == at and child not in found:
                found[child] = at + 1
        at += 1
    return found
