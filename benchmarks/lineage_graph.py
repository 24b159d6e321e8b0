"""A made-up world of models for `lineage.py`: skewed families, diamonds, merges across families, datasets.

Every number is drawn from one seed, so that both databases hold the same graph and their counts can be compared.
"""

from __future__ import annotations

import hashlib
import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Grade, Relation

DEPTH = 12
"""No model is further than this from the base of its family."""
FIRST = 0.085
"""The share of all models that the largest family has; the others follow Zipf's law (size ~ 1 / rank)."""
DIRECT, DIAMONDS, ACROSS = 0.35, 0.07, 0.02
"""Shares: children of the base itself, second parents in the family, second parents in another family."""
LATER = 1.08
"""Parents that each model still to come will have on average."""
DATASETS = 0.02
"""Datasets for each model; their use is skewed as well."""
KINDS = ((Relation.FINE_TUNE, 36), (Relation.QUANTIZATION, 28), (Relation.ADAPTER, 24), (Relation.CONVERSION, 10), (Relation.DISTILLATION, 2))  # fmt: skip
RELATIONS, GRADES = list(Relation), list(Grade)


@dataclass
class Graph:
    """Nodes 0 … models-1 are models, the rest datasets; four arrays hold the edges, sorted by child."""

    models: int
    nodes: int
    parents: array[int] = field(default_factory=lambda: array("i"))
    children: array[int] = field(default_factory=lambda: array("i"))
    relations: array[int] = field(default_factory=lambda: array("b"))
    grades: array[int] = field(default_factory=lambda: array("b"))

    def edges(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int, Relation, Grade]]:
        """Yield parent, child, relation and grade of the edges of the children from `start` to before `stop`."""
        for parent, child, relation, grade in zip(
            self.parents, self.children, self.relations, self.grades, strict=True
        ):
            if child >= start and (stop is None or child < stop):
                yield parent, child, RELATIONS[relation], GRADES[grade]

    def below(
        self, root: int, relations: frozenset[Relation] | None = None, *, sure: bool = False
    ) -> set[int]:
        """Return what descends from `root`, itself included: every parent has a smaller number than its children."""
        found = {root}
        for parent, child, relation, grade in self.edges():
            followed = (relations is None or relation in relations) and not (sure and grade is Grade.DECLARED)
            if parent in found and followed:
                found.add(child)
        return found


def identity(node: int) -> Digest:
    """Return the identity of a node."""
    return Digest("wb1", hashlib.sha256(b"node %d" % node).hexdigest())


def file_digest(node: int) -> str:
    """Return the SHA-256 of a model's one file of weights."""
    return hashlib.sha256(b"file %d" % node).hexdigest()


def make(models: int, edges: int, seed: int = 5) -> Graph:
    """Draw the graph; datasets have the smallest numbers after the models but are nobody's children."""
    random_ = random.Random(seed)
    graph = Graph(models, models + int(models * DATASETS))
    family, base = _families(models, random_)
    members: dict[int, list[int]] = {}
    depth = array("b", bytes(models))
    spare = edges
    for model in range(models):
        own = members.setdefault(family[model], [])
        chosen: dict[int, Relation] = {}
        if own:
            chosen = _parents(model, family, members, random_)
            chosen = {parent: relation for parent, relation in chosen.items() if depth[parent] < DEPTH}
            chosen = chosen or {base[family[model]]: Relation.FINE_TUNE}
            depth[model] = 1 + max(depth[parent] for parent in chosen)
            spare -= len(chosen)
        for parent, relation in chosen.items():
            across = family[parent] != family[model]
            grade = Grade.DECLARED if across and random_.random() < 0.5 else _grade(random_, 0.9)
            _add(graph, parent, model, relation, grade)
        wanted = spare / (models - model) - LATER  # datasets make up for what is missing, evenly
        for _ in range(int(wanted + random_.random())):
            number = models + int((graph.nodes - models) * random_.random() ** 3)
            if (graph.children and graph.children[-1] == model) and graph.parents[-1] == number:
                continue
            _add(graph, number, model, Relation.DATASET, _grade(random_, 0.3))
            spare -= 1
        own.append(model)
    return graph


def _families(models: int, random_: random.Random) -> tuple[array[int], dict[int, int]]:
    """Return the family of each model, and the base of each: its first member. Model 0 is the base of the largest."""
    count = models // 100
    weights = [FIRST / rank for rank in range(1, count + 1)]
    weights = [weight for weight in weights if weight * models >= 1]
    rest = max(0.0, 1 - sum(weights)) / count
    weights = [FIRST, *(weight + rest for weight in weights[1:]), *([rest] * (count - len(weights)))]
    family = array("i", random_.choices(range(len(weights)), weights, k=models))
    family[0] = 0
    base: dict[int, int] = {}
    for model, number in enumerate(family):
        base.setdefault(number, model)
    return family, base


def _parents(
    model: int, family: array[int], members: dict[int, list[int]], random_: random.Random
) -> dict[int, Relation]:
    own = members[family[model]]
    parent = own[0] if random_.random() < DIRECT else random_.choice(own)
    chosen = {parent: random_.choices([kind for kind, _ in KINDS], [share for _, share in KINDS])[0]}
    if random_.random() < DIAMONDS:
        chosen = {parent: Relation.MERGE, random_.choice(own): Relation.MERGE}
    if random_.random() < ACROSS:
        chosen[random_.randrange(model)] = Relation.MERGE
    return chosen


def _grade(random_: random.Random, attested: float) -> Grade:
    if random_.random() < attested:
        return Grade.ATTESTED
    return Grade.OBSERVED if attested > 0.5 else Grade.DECLARED


def _add(graph: Graph, parent: int, child: int, relation: Relation, grade: Grade) -> None:
    graph.parents.append(parent)
    graph.children.append(child)
    graph.relations.append(RELATIONS.index(relation))
    graph.grades.append(GRADES.index(grade))
