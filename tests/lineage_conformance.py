"""What any database of the lineage index must do. A module of tests brings the fixture `records` and takes these in."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lineage_model import Naive
from weighbridge.core.alias import Alias, Scheme
from weighbridge.core.digest import Digest
from weighbridge.core.errors import InternalError
from weighbridge.core.lineage import CARRIES, AdvisoryKind, Grade, Parentage, Relation
from weighbridge.store import lineage_index as index
from weighbridge.store import schema

RECORD = {"schema_version": 1, "project": "p", "actor": "a", "created_at": "2026-01-01T00:00:00Z"}
ATTESTED, OBSERVED, DECLARED = Grade.ATTESTED, Grade.OBSERVED, Grade.DECLARED
TUNE, MERGE, DATASET, PACKAGING = Relation.FINE_TUNE, Relation.MERGE, Relation.DATASET, Relation.PACKAGING


OLD = "1, 'p', 'a', '2026-01-01T00:00:00Z'"
OLD_NODES = (
    "INSERT INTO artifact (id, schema_version, project, actor, created_at, digest, kind, label) VALUES "
    f"(1, {OLD}, 'wb1:{1:064x}', 'model', ''), (2, {OLD}, 'wb1:{2:064x}', 'model', '')"
)
OLD_EDGE = (
    "INSERT INTO edge (parent, child, relation, bundle, schema_version, project, actor, created_at, grade) VALUES "
    f"(1, 2, 'fine-tune', 'sha256:b', {OLD}, 'attested')"
)
"""Rows as the first version of the tables had them."""


def model(number):
    return Digest("wb1", f"{number:064x}")


def name(text):
    return Alias(Scheme.NAME, text)


def file(number):
    return Alias(Scheme.FILE_SHA256, f"{number:064x}")


def edge(parent, child, relation=TUNE, grade=ATTESTED, source="sha256:b"):
    at = [model(end) if isinstance(end, int) else end for end in (parent, child)]
    return Parentage(*at, relation, grade, source)


def advise(connection, roots, kind=AdvisoryKind.WEIGHTS, identity="ADV-1"):
    row = {
        **RECORD, "id": identity, "kind": kind.value, "targets": "[]", "reason": "r", "severity": "high",
        "published": RECORD["created_at"], "bundle": "sha256:b",
    }  # fmt: skip
    key = index.file_advisory(connection, row)
    index.taint(connection, key, roots, RECORD)
    return key


def reach(connection, *identities):
    """Return digest → (distance, grade) by the one advisory there is."""
    found = index.tainted(connection, identities)
    return {digest: (rows[0].distance, rows[0].grade) for digest, rows in found.items()}


@pytest.fixture
def connection(records):
    with records.write() as opened:
        yield opened


def test_a_walk_follows_edges_up_and_down(connection):
    index.add_edges(connection, [edge(1, 2), edge(2, 3), edge(4, 3)], RECORD)
    assert index.ancestors(connection, [model(3)]) == [model(n) for n in (1, 2, 3, 4)]
    assert index.descendants(connection, [model(1)]) == [model(n) for n in (1, 2, 3)]
    assert index.affected(connection, model(3), model(1))
    assert not index.affected(connection, model(2), model(4))
    assert index.affected(connection, model(3), [model(9), model(4)])
    assert index.affected(connection, model(3), model(3))


def test_what_nobody_knows_is_not_affected_and_affects_nobody(connection):
    index.add_edges(connection, [edge(1, 2)], RECORD)
    assert not index.affected(connection, model(8), model(1))
    assert not index.affected(connection, model(8), model(8))
    assert not index.affected(connection, model(2), model(8))
    assert index.descendants(connection, [model(8)]) == []
    assert index.descendants(connection, []) == []
    assert index.affected_among(connection, [model(8)], model(8)) == []
    assert index.affected_among(connection, [], model(1)) == []
    assert index.tainted(connection, []) == {}


def test_relations_and_grades_can_be_chosen(connection):
    index.add_edges(connection, [edge(1, 2, DATASET), edge(2, 3, TUNE, DECLARED)], RECORD)
    assert index.affected(connection, model(3), model(1))
    assert not index.affected(connection, model(3), model(1), grades=index.SURE)
    assert not index.affected(connection, model(3), model(1), relations=frozenset({TUNE}))
    assert not index.affected(connection, model(3), model(1), relations=frozenset())
    assert index.descendants(connection, [model(1)], grades=index.SURE) == [model(1), model(2)]
    assert index.ancestors(connection, [model(3)], relations=frozenset({TUNE})) == [model(2), model(3)]
    assert index.affected_among(connection, [model(3), model(2)], model(1), grades=index.SURE) == [model(2)]


def test_publishing_again_changes_nothing(connection):
    batch = index.Batch(
        nodes=[index.Node(model(1), "model", "one")],
        aliases=[(model(1), name("org/one"), DECLARED)],
        edges=[edge(1, 2), edge(1, 2), edge(name("org/base").node, 1, source="x")],
        names=[name("org/base"), name("org/one")],
    )
    first = index.publish(connection, batch, RECORD)
    assert (first.edges, first.bound) == (3, (name("org/one"),))
    tables = [schema.artifact, schema.edge, schema.alias]
    before = [connection.execute(sa.select(table)).all() for table in tables]
    assert index.publish(connection, batch, RECORD).edges == 0
    assert [connection.execute(sa.select(table)).all() for table in tables] == before


def test_a_node_for_a_name_needs_the_name(connection):
    with pytest.raises(InternalError):
        index.add_edges(connection, [edge(name("org/base").node, 1)], RECORD)


def test_a_thing_is_never_its_own_parent(connection):
    assert index.add_edges(connection, [edge(1, 1)], RECORD).edges == 0


def state(connection, digest):
    query = sa.select(schema.artifact.c.state, schema.artifact.c.kind, schema.artifact.c.label)
    return tuple(connection.execute(query.where(schema.artifact.c.digest == str(digest))).one())


@pytest.mark.parametrize("alias", [name("org/base"), file(7)])
@pytest.mark.parametrize("known_first", [True, False])
def test_a_parent_known_by_name_is_bound_when_its_bytes_arrive(connection, alias, known_first):
    child = edge(alias.node, 2, TUNE, DECLARED)
    if not known_first:
        assert index.add_edges(connection, [child], RECORD, names=[alias]).bound == ()
        assert state(connection, alias.node) == ("placeholder", "alias", str(alias))
    drawn = index.add_aliases(
        connection, model(1), [(alias, OBSERVED), (name("org/other"), DECLARED)], RECORD
    )
    if known_first:
        assert drawn.bound == ()
        drawn = index.add_edges(connection, [child], RECORD, names=[alias])
    assert drawn.bound == (alias,)
    assert state(connection, alias.node)[0] == "known"
    (way,) = index.shortest_paths(connection, [model(1)], [model(2)]).values()
    assert [(step.relation, step.grade) for step in way] == [
        (Relation.SAME_AS, OBSERVED if alias.scheme.exact else DECLARED),
        (TUNE, DECLARED),
    ]
    assert index.find(connection, alias) == [(model(1), OBSERVED)]
    assert index.known_as(connection, model(1)) == sorted([alias, name("org/other")])
    assert index.find(connection, name("org/nobody")) == []


def test_two_things_may_go_by_one_name(connection):
    for number in (1, 2):
        index.add_aliases(connection, model(number), [(name("org/base"), DECLARED)], RECORD)
    index.add_edges(connection, [edge(name("org/base").node, 3)], RECORD, names=[name("org/base")])
    assert index.affected(connection, model(3), model(1))
    assert index.affected(connection, model(3), model(2))
    index.add_aliases(connection, model(2), [(name("org/base"), OBSERVED)], RECORD, bundle="sha256:c")
    assert index.find(connection, name("org/base")) == [(model(2), OBSERVED), (model(1), DECLARED)]


def test_an_edge_that_closes_a_cycle_is_kept_as_declared_and_reported(connection):
    index.add_edges(connection, [edge(1, 2), edge(2, 3)], RECORD)
    drawn = index.add_edges(connection, [edge(3, 1)], RECORD)
    assert drawn.disputed == (edge(3, 1, grade=DECLARED),)
    assert index.descendants(connection, [model(3)], grades=index.SURE) == [model(3)]
    assert index.descendants(connection, [model(3)]) == [model(n) for n in (1, 2, 3)]
    assert index.add_edges(connection, [edge(3, 4)], RECORD).disputed == ()


def test_a_cycle_within_one_batch_is_seen(connection):
    drawn = index.add_edges(connection, [edge(1, 2), edge(2, 3), edge(3, 1)], RECORD)
    assert drawn.disputed == (edge(3, 1, grade=DECLARED),)


def test_a_strangers_declaration_takes_no_edge_its_grade(connection):
    index.add_edges(connection, [edge(2, 1, grade=DECLARED)], RECORD)
    assert index.add_edges(connection, [edge(1, 2)], RECORD).disputed == (edge(1, 2),)
    assert index.affected(connection, model(2), model(1), grades=index.SURE)


def test_a_cycle_through_a_name_is_seen(connection):
    index.add_aliases(connection, model(1), [(file(1), OBSERVED)], RECORD)
    index.add_edges(connection, [edge(1, 2)], RECORD)
    index.add_aliases(connection, model(2), [(file(2), OBSERVED)], RECORD)
    drawn = index.add_edges(connection, [edge(file(2).node, 1)], RECORD, names=[file(2)])
    assert len(drawn.disputed) == 1
    assert index.descendants(connection, [model(2)], grades=index.SURE) != index.descendants(
        connection, [model(2)]
    )
    assert not index.affected(connection, model(1), model(2), grades=index.SURE)


def test_shared_tensors_say_nothing_of_who_came_first(connection):
    shared = Relation.SHARED_TENSORS
    drawn = index.add_edges(connection, [edge(1, 2, shared, OBSERVED), edge(2, 1, shared, OBSERVED)], RECORD)
    assert (drawn.edges, drawn.disputed) == (2, ())
    assert index.add_edges(connection, [edge(2, 1)], RECORD).disputed == ()


def test_a_taint_knows_fewest_steps_and_surest_way(connection):
    index.add_edges(
        connection, [edge(1, 4, TUNE, DECLARED), edge(1, 2), edge(2, 3), edge(3, 4, TUNE, OBSERVED)], RECORD
    )
    index.add_edges(connection, [edge(4, 5, PACKAGING, OBSERVED)], RECORD)
    advise(connection, [model(1)])
    assert reach(connection, *map(model, range(1, 6))) == {
        model(1): (0, ATTESTED),
        model(2): (1, ATTESTED),
        model(3): (2, ATTESTED),
        model(4): (1, OBSERVED),
        model(5): (2, OBSERVED),
    }


def test_packaging_weakens_nothing(connection):
    index.add_edges(connection, [edge(1, 2, PACKAGING, OBSERVED)], RECORD)
    advise(connection, [model(1)])
    assert reach(connection, model(2)) == {model(2): (1, ATTESTED)}


@pytest.mark.parametrize("kind", AdvisoryKind)
@pytest.mark.parametrize("relation", Relation)
def test_a_taint_travels_along_what_its_kind_carries(connection, kind, relation):
    index.add_edges(connection, [edge(1, 2, relation)], RECORD)
    advise(connection, [model(1)], kind)
    assert (model(2) in reach(connection, model(2))) == (relation in CARRIES[kind])


def test_a_child_of_something_tainted_is_tainted_when_it_comes(connection):
    advise(connection, [name("org/base")])
    index.add_edges(connection, [edge(2, 3), edge(3, 4)], RECORD)
    drawn = index.add_edges(connection, [edge(name("org/base").node, 2)], RECORD, names=[name("org/base")])
    assert drawn.tainted == (model(2), model(3), model(4))
    assert reach(connection, model(4)) == {model(4): (3, ATTESTED)}


def test_a_surer_way_makes_the_taints_below_surer(connection):
    index.add_edges(connection, [edge(1, 2, TUNE, DECLARED), edge(2, 3)], RECORD)
    advise(connection, [model(1)])
    assert reach(connection, model(3)) == {model(3): (2, DECLARED)}
    drawn = index.add_edges(connection, [edge(1, 2, MERGE)], RECORD)
    assert drawn.tainted == (model(2), model(3))
    assert reach(connection, model(3)) == {model(3): (2, ATTESTED)}


@pytest.mark.parametrize("advised_first", [True, False])
def test_an_advisory_about_a_file_reaches_who_holds_it_now_or_later(connection, advised_first):
    if advised_first:
        advise(connection, [file(1)], AdvisoryKind.CODE)
    drawn = index.add_aliases(connection, model(1), [(file(1), OBSERVED)], RECORD)
    if not advised_first:
        advise(connection, [file(1)], AdvisoryKind.CODE)
    assert drawn.tainted == ((model(1),) if advised_first else ())
    assert reach(connection, model(1)) == {model(1): (1, OBSERVED)}


def test_lifted_advisories_and_taken_away_taints_are_gone(connection):
    index.add_edges(connection, [edge(1, 2)], RECORD)
    key = advise(connection, [model(1)])
    other = advise(connection, [model(2)], identity="ADV-2")
    assert [taint.advisory for taint in index.tainted(connection, [model(2)])[model(2)]] == ["ADV-1", "ADV-2"]
    assert index.untaint(connection, key) == 2
    assert [taint.advisory for taint in index.tainted(connection, [model(2)])[model(2)]] == ["ADV-2"]
    table = schema.advisory
    connection.execute(sa.update(table).where(table.c.key == other).values(lifted_at="2026-01-02T00:00:00Z"))
    assert index.tainted(connection, [model(2)]) == {}
    assert index.add_edges(connection, [edge(2, 3)], RECORD).tainted == ()


def test_an_advisory_is_filed_once_for_a_project(connection):
    key = advise(connection, [model(1)])
    assert index.advisory_key(connection, "p", "ADV-1") == key
    assert index.advisory_key(connection, "q", "ADV-1") is None
    row = connection.execute(sa.select(schema.advisory)).mappings().one()
    again = {column: value for column, value in row.items() if column != "key"}
    assert index.file_advisory(connection, again) is None
    assert index.file_advisory(connection, {**again, "project": "q"}) not in (None, key)


def test_taints_need_an_advisory(connection):
    with pytest.raises(InternalError):
        index.taint(connection, 999, [model(1)], RECORD)
    assert connection.execute(sa.select(schema.taint)).all() == []
    assert (index.quarantine(connection, 999, "p"), index.untaint(connection, 999)) == (0, 0)


def kept(connection, number, *, project="p", status="active", weights=None):
    row = {
        **RECORD, "project": project, "digest": str(model(number)), "weights": weights, "tier": "trusted", "status": status,
        "origin": "own", "label": "", "source": "{}",
    }  # fmt: skip
    connection.execute(sa.insert(schema.model).values(row))


def test_quarantine_takes_active_models_that_are_surely_reached(connection):
    weights = Digest("wbw1", "7" * 64)
    index.add_edges(
        connection, [edge(1, 2), edge(1, 3, TUNE, DECLARED), edge(1, 4), edge(1, weights)], RECORD
    )
    for number, status in ((2, "active"), (3, "active"), (4, "revoked"), (5, "active")):
        kept(connection, number, status=status)
    kept(connection, 2, project="q")
    kept(connection, 6, weights=str(weights))
    key = advise(connection, [model(1)])
    assert index.quarantine(connection, key, "p") == 2
    table = schema.model
    query = sa.select(table.c.digest, table.c.status).where(table.c.project == "p").order_by(table.c.digest)
    assert [row.status for row in connection.execute(query)] == [
        "quarantined", "active", "revoked", "active", "quarantined",
    ]  # fmt: skip
    assert connection.execute(sa.select(table.c.status).where(table.c.project == "q")).scalar() == "active"


def test_ways_and_edges_are_told_with_their_grades(connection):
    edges = [
        edge(1, 2),
        edge(2, 3, TUNE, DECLARED),
        edge(2, 3, MERGE, OBSERVED, source="sha256:c"),
        edge(5, 3),
    ]
    index.add_edges(connection, edges, RECORD)
    assert index.edges_above(connection, [model(3)]) == sorted(edges)
    assert index.edges_below(connection, [model(1)]) == sorted(edges[:3])
    assert index.edges_above(connection, [model(3)], limit=2) == sorted(edges)[:2]
    ways = index.shortest_paths(connection, [model(1)], [model(3), model(1), model(5), model(9)])
    assert ways == {model(3): (edges[0], edges[2])}
    only = index.shortest_paths(connection, [model(1)], [model(3)], relations=frozenset({TUNE}))
    assert only == {model(3): (edges[0], edges[1])}


def test_hostile_text_is_only_text(connection):
    alias = name("'); DROP TABLE edge; -- \" \\ :roots {0} %s 模型 %(x)s")
    index.add_edges(connection, [edge(alias.node, 1)], RECORD, names=[alias])
    index.add_aliases(connection, model(2), [(alias, DECLARED)], RECORD)
    assert index.find(connection, alias) == [(model(2), DECLARED)]
    assert index.affected(connection, model(1), model(2))
    long = name("x" * 256)
    index.stand_for(connection, [long], RECORD)
    assert state(connection, long.node)[2] == str(long)[:256]


def test_thousands_are_asked_for_at_once(connection):
    edges = [edge(number // 3, number) for number in range(1, 6000)]
    assert index.add_edges(connection, edges, RECORD).edges == 5999
    every = [model(number) for number in range(6000)]
    assert len(index.descendants(connection, [model(0)])) == 6000
    assert index.affected_among(connection, every, model(1)) == index.descendants(connection, [model(1)])
    advise(connection, [model(0)])
    assert len(index.tainted(connection, every)) == 6000


# Against a model of the index that is nothing but loops over a list of edges.

ENDS = st.one_of(
    st.integers(0, 7), st.integers(0, 2).map(lambda n: name(f"org/{n}")), st.integers(0, 2).map(file)
)
STEPS = st.one_of(
    st.tuples(
        st.just("edge"), ENDS, st.integers(0, 7), st.sampled_from([TUNE, MERGE, DATASET, PACKAGING, Relation.SHARED_TENSORS]),
        st.sampled_from(Grade),
    ),
    st.tuples(st.just("alias"), st.integers(0, 7), ENDS.filter(lambda end: isinstance(end, Alias)), st.sampled_from(Grade)),
    st.tuples(st.just("advise"), ENDS, st.sampled_from([AdvisoryKind.WEIGHTS, AdvisoryKind.DATASET, AdvisoryKind.CODE])),
)  # fmt: skip


def play(connection, naive, step, number):
    match step:
        case ("edge", parent, child, relation, grade):
            names = [parent] if isinstance(parent, Alias) else []
            at = parent.node if names else model(parent)
            made = Parentage(at, model(child), relation, grade, f"b{number}")
            drawn = index.add_edges(connection, [made], RECORD, names=names)
            naive.stand_for(names)
            naive.add(made)
        case ("alias", owner, alias, grade):
            drawn = index.add_aliases(connection, model(owner), [(alias, grade)], RECORD, bundle=f"b{number}")
            naive.alias(model(owner), alias, grade, f"b{number}")
        case (_, root, kind):
            advise(connection, [root if isinstance(root, Alias) else model(root)], kind, f"ADV-{number}")
            naive.advise(f"ADV-{number}", root if isinstance(root, Alias) else model(root), kind)
            return
    assert all(edge in naive.edges for edge in drawn.disputed)


def taints_of(connection, nodes):
    found = index.tainted(connection, nodes)
    return {
        (taint.advisory, node): (taint.distance, taint.grade)
        for node, rows in found.items()
        for taint in rows
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=14))
def test_the_index_answers_as_a_naive_model_does(records, steps):
    with records.write() as connection:
        transaction = connection.begin_nested()
        naive = Naive()
        for number, step in enumerate(steps):
            play(connection, naive, step, number)
        nodes = sorted(naive.nodes)
        assert set(index.edges_above(connection, nodes)) == naive.edges
        for grades in (None, index.SURE):
            for node in nodes:
                below = naive.below(node, grades)
                assert index.descendants(connection, [node], grades=grades) == sorted(below)
                assert index.affected_among(connection, nodes, node, grades=grades) == sorted(below)
                assert all(index.affected(connection, n, node, grades=grades) == (n in below) for n in nodes)
        assert taints_of(connection, nodes) == naive.taints()
        transaction.rollback()
