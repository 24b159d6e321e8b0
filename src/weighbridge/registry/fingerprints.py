"""Observed lineage: what is taken in is printed, compared with what is here already, and tied to it where bytes show it.

`observe` reads and compares before anything is written; `keep` writes what it found in the transaction of the intake. Nodes
are weights (`wbw1:`). Every edge is of the grade observed; the relation is named where its direction is known (information
was lost, one side declares it, or the tensors are the same), else it is `shared-tensors` from what was taken in earlier.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, BinaryIO

import sqlalchemy as sa

from weighbridge.core.alias import Alias, Scheme
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.lineage import Grade, Parentage, Relation
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.registry.wiring import Registry
from weighbridge.store import lineage_index, schema
from weighbridge.store.dialect import insert_new

if TYPE_CHECKING:
    from weighbridge.tensors.compare import Model
    from weighbridge.tensors.fingerprint import Fingerprint
    from weighbridge.tensors.kinship import Kinship

LISTED = 64
"""Owners of one mark that are looked at, those taken in first: a base is among them, however many descend from it."""
COMPARED = 16
"""Candidates whose fingerprints are held against the new one's, the most telling first."""
DRAWN = 8
"""Relatives that edges are drawn to; what those descend from is reached through them."""
MAX_KEPT = 50_000
"""Tensors whose prints are kept; of more, the largest."""
_CHUNK = 50
_LEAST = {"tensor": 1, "cast": 1, "norm": 2, "peak": 2}
"""Marks of each kind that make a candidate; a candidate is compared, not believed."""


class Order(StrEnum):
    """How it is known which of two came first."""

    LOST = "information was lost"
    DECLARED = "declared"
    SAME = "the tensors are the same"
    INTAKE = "taken in earlier"


@dataclass(frozen=True, slots=True)
class Relative:
    """Weights that are here already and are related: who came first, and how that is known."""

    digest: Digest
    kinship: Kinship
    parent: Digest
    child: Digest
    order: Order

    @property
    def edge(self) -> Parentage:
        """The edge to draw; `shared-tensors` where only the order of intake speaks for its direction."""
        named = self.kinship.relation or Relation.SHARED_TENSORS
        relation = Relation.SHARED_TENSORS if self.order is Order.INTAKE else named
        return Parentage(self.parent, self.child, relation, Grade.OBSERVED)

    def to_json(self) -> dict[str, JSON]:
        """Return it as it is kept beside the fingerprint."""
        return {
            "weights": str(self.digest),
            "parent": str(self.parent),
            "child": str(self.child),
            "order": self.order.value,
            "kinship": self.kinship.to_json(),
        }


@dataclass(frozen=True)
class Observation:
    """What was seen of one model's weights; empty where it has none. Nothing of it is written yet."""

    weights: Digest | None
    printed: Fingerprint | None
    marks: tuple[tuple[str, str], ...] = ()
    aliases: tuple[Alias, ...] = ()
    relatives: tuple[Relative, ...] = ()
    among: int = 0
    """How many weights had been printed when relatives were looked for."""

    @property
    def edges(self) -> tuple[Parentage, ...]:
        """The edges to draw."""
        return tuple(relative.edge for relative in self.relatives)


def observe(registry: Registry, manifest: Manifest, *, names: Sequence[Alias] = ()) -> Observation:
    """Print the kept bytes of a model and find its relatives; `names` are what the model is called (`name:org/model`).

    What cannot be read is noted in the fingerprint and raises nothing. Weights that were observed before are not
    compared again.
    """
    from weighbridge.tensors.compare import side
    from weighbridge.tensors.fingerprint import of_weights
    from weighbridge.tensors.reading import open_weights
    from weighbridge.tensors.sketch import sketch

    weights = manifest.weights
    if weights is None:
        return Observation(None, None)
    with registry.records.read() as connection:
        if _kept(connection, weights) is not None:
            return Observation(weights, None)
    with ExitStack() as held:
        opened = held.enter_context(open_weights(manifest.files, lambda entry: _open(registry, entry)))
        printed = of_weights(opened)
        marks = sketch(printed)
        aliases = tuple(Alias(Scheme.TENSOR_SET, root.hex) for root in printed.roots if printed.evident)
        with registry.records.read() as connection:
            among = _number(connection)
            here = side(printed, opened)
            search = _Search(registry, connection, weights, here, tuple(names))
            relatives = search.relatives(marks)
    return Observation(weights, printed, marks, aliases, relatives, among)


def outdated(registry: Registry, observation: Observation) -> bool:
    """Tell whether other weights were kept since; a relative among them would have been missed."""
    if observation.printed is None:
        return False
    with registry.records.read() as connection:
        return _number(connection) != observation.among


def _number(connection: sa.Connection) -> int:
    query = sa.select(sa.func.count()).select_from(schema.fingerprint)
    return int(connection.execute(query).scalar_one())


def keep(registry: Registry, connection: sa.Connection, observation: Observation) -> lineage_index.Drawn:
    """Write an observation: fingerprint, marks, aliases (tensor-set), edges; writing it again changes nothing."""
    weights, printed = observation.weights, observation.printed
    if weights is None or printed is None:
        return lineage_index.Drawn()
    record = registry.record()
    node = lineage_index.Node(weights, "weights")
    aliases = [(weights, alias, Grade.OBSERVED) for alias in observation.aliases]
    drawn = lineage_index.publish(
        connection, lineage_index.Batch(nodes=[node], aliases=aliases, edges=observation.edges), record
    )
    number = lineage_index.numbers(connection, [weights])[weights]
    table = schema.fingerprint
    content = _content(printed, observation.relatives)
    insert_new(connection, table, [{**record, "artifact": number, "content": content}], table.c.artifact)
    rows = [{"kind": kind, "mark": mark, "artifact": number} for kind, mark in observation.marks]
    insert_new(connection, schema.mark, rows, schema.mark.c.artifact)
    return drawn


def kept(registry: Registry, weights: Digest) -> dict[str, Any] | None:
    """Return what is kept of weights: `weighbridge.fingerprint/1` with `relatives` beside it; None when never observed."""
    with registry.records.read() as connection:
        return _kept(connection, weights)


def drawn(connection: sa.Connection) -> Iterator[Parentage]:
    """Yield every edge that observations drew, as it is kept beside the fingerprints."""
    for content in connection.execute(sa.select(schema.fingerprint.c.content)).scalars():
        for row in json.loads(content)["relatives"]:
            order, kinship = Order(row["order"]), row["kinship"]
            relation = None if order is Order.INTAKE else kinship["relation"]
            yield Parentage(
                Digest.parse(row["parent"]), Digest.parse(row["child"]),
                Relation(relation or Relation.SHARED_TENSORS), Grade.OBSERVED,
            )  # fmt: skip


def _kept(connection: sa.Connection, weights: Digest) -> dict[str, Any] | None:
    table, node = schema.fingerprint, schema.artifact
    query = sa.select(table.c.content).join(node, node.c.id == table.c.artifact)
    content = connection.execute(query.where(node.c.digest == str(weights))).scalar()
    found: dict[str, Any] | None = json.loads(content) if content else None
    return found


def _content(printed: Fingerprint, relatives: Iterable[Relative]) -> str:
    value = {**printed.to_json(MAX_KEPT), "relatives": [relative.to_json() for relative in relatives]}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _open(registry: Registry, entry: FileEntry) -> BinaryIO:
    return registry.blobs.open_local(entry.sha256)


class _Search:
    """One look for relatives of new weights among those that are known."""

    def __init__(
        self,
        registry: Registry,
        connection: sa.Connection,
        weights: Digest,
        here: Model,
        names: tuple[Alias, ...],
    ) -> None:
        self.registry = registry
        self.connection = connection
        self.weights = weights
        self.here = here
        self.names = names

    def relatives(self, marks: Sequence[tuple[str, str]]) -> tuple[Relative, ...]:
        """Return the closest relatives first; who is an ancestor or a descendant of one already there is left out."""
        found = []
        for candidate in self.candidates(marks):
            kinship = self.compared(candidate)
            if kinship is not None and kinship.kin.related:
                found.append(self.ordered(candidate, kinship))
        found.sort(key=lambda relative: _distance(relative.kinship))
        chosen: list[Relative] = []
        for relative in found:
            if len(chosen) < DRAWN and not any(self.tied(relative.digest, other.digest) for other in chosen):
                chosen.append(relative)
        return tuple(chosen)

    def candidates(self, marks: Sequence[tuple[str, str]]) -> list[Digest]:
        """Return who shares marks, the most telling first: a mark that few have tells more."""
        weight: dict[int, float] = defaultdict(float)
        counts: dict[tuple[int, str], int] = defaultdict(int)
        for kind, owners in self.owners(marks):
            for owner in owners:
                weight[owner] += 1 / len(owners)
                counts[owner, kind] += 1
        telling = {owner for (owner, kind), count in counts.items() if count >= _LEAST[kind]}
        best = sorted(telling, key=lambda owner: (-weight[owner], owner))[:COMPARED]
        table = schema.artifact
        query = sa.select(table.c.id, table.c.digest).where(table.c.id.in_(best))
        names = {number: Digest.parse(digest) for number, digest in self.connection.execute(query)}
        return [names[owner] for owner in best if names[owner] != self.weights]

    def owners(self, marks: Sequence[tuple[str, str]]) -> Iterable[tuple[str, list[int]]]:
        """Yield, for each mark that anybody has, its kind and who had it first."""
        table = schema.mark
        for start in range(0, len(marks), _CHUNK):
            part = marks[start : start + _CHUNK]
            queries = [
                sa.select(
                    sa.select(sa.literal(at).label("at"), table.c.artifact)
                    .where(table.c.kind == kind, table.c.mark == mark)
                    .order_by(table.c.artifact)
                    .limit(LISTED)
                    .subquery()
                )
                for at, (kind, mark) in enumerate(part)
            ]
            owners: dict[int, list[int]] = defaultdict(list)
            for at, owner in self.connection.execute(sa.union_all(*queries)):
                owners[at].append(owner)
            yield from ((part[at][0], found) for at, found in owners.items())

    def compared(self, candidate: Digest) -> Kinship | None:
        """Compare with one candidate, by values where its bytes are kept here; None when it cannot be read."""
        from weighbridge.tensors.compare import Model, compare, side
        from weighbridge.tensors.fingerprint import Fingerprint
        from weighbridge.tensors.reading import open_weights

        content = _kept(self.connection, candidate)
        if content is None:
            return None
        printed = Fingerprint.from_json(content)
        manifest = self.manifest_of(candidate)
        with ExitStack() as held:
            there = Model(printed, {})
            try:
                if manifest is not None:
                    opened = open_weights(manifest.files, lambda entry: _open(self.registry, entry))
                    there = side(printed, held.enter_context(opened))
                return compare(there, self.here)
            except (WeighbridgeError, OSError):
                return compare(Model(printed, {}), Model(self.here.printed, {}))

    def manifest_of(self, weights: Digest) -> Manifest | None:
        table, texts = schema.model, schema.description
        query = sa.select(texts.c.manifest).join(table, texts.c.digest == table.c.digest)
        query = query.where(table.c.weights == str(weights)).limit(1)
        found = self.connection.execute(query).scalar()
        return Manifest.from_json(found.encode()) if found else None

    def ordered(self, candidate: Digest, kinship: Kinship) -> Relative:
        """Say which came first: by lost information, by what is declared, else by the order of intake."""
        from weighbridge.tensors.kinship import Direction, Kin

        old, new = candidate, self.weights
        if kinship.direction is Direction.FORWARD:
            return Relative(candidate, kinship, old, new, Order.LOST)
        if kinship.direction is Direction.BACKWARD:
            return Relative(candidate, kinship, new, old, Order.LOST)
        if self.declares(candidate):
            return Relative(candidate, kinship, new, old, Order.DECLARED)
        same = kinship.kin in (Kin.IDENTICAL, Kin.RESHARD, Kin.RENAME, Kin.CAST)
        return Relative(candidate, kinship, old, new, Order.SAME if same else Order.INTAKE)

    def declares(self, candidate: Digest) -> bool:
        """Tell whether what was taken in earlier says that it came from the new one, by a name the new one has."""
        ours = {alias.node for alias in self.names} | {self.weights}
        above = lineage_index.edges_above(self.connection, [candidate, *self.carriers(candidate)])
        return any(edge.parent in ours and edge.grade is not Grade.OBSERVED for edge in above)

    def carriers(self, weights: Digest) -> list[Digest]:
        table = schema.model
        query = sa.select(table.c.digest).where(table.c.weights == str(weights)).distinct()
        return [Digest.parse(text) for text in self.connection.execute(query).scalars()]

    def tied(self, one: Digest, other: Digest) -> bool:
        """Tell whether one of two already descends from the other, so that one edge reaches both."""
        sure = lineage_index.SURE
        return lineage_index.affected(self.connection, one, other, grades=sure) or lineage_index.affected(
            self.connection, other, one, grades=sure
        )


def _distance(kinship: Kinship) -> tuple[float, ...]:
    """Return how far apart: equal elements first, then correlation, then the kind of kinship."""
    from weighbridge.tensors.kinship import Kin

    return (
        -round(kinship.exact_elements, 6),
        -(kinship.correlation if kinship.correlation is not None else 1.0),
        list(Kin).index(kinship.kin),
    )
