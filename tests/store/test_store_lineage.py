"""The lineage index on SQLite; `tests/full/test_full_lineage_postgresql.py` asks the same of PostgreSQL."""

import pytest
import sqlalchemy as sa

pytest.register_assert_rewrite("lineage_conformance")

import lineage_conformance as suite  # noqa: E402 (after the line above)
from lineage_conformance import *  # noqa: E402, F403 (the suite is shared between databases)
from weighbridge.store import lineage_index as index  # noqa: E402 (after the line above)
from weighbridge.store.sql import Records  # noqa: E402 (after the line above)


@pytest.fixture
def records(tmp_path):
    made = Records.open(tmp_path / "registry.db", create=True)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("ask", "wanted"),
    [
        (lambda c: index.affected(c, suite.model(1), suite.model(2)), "ix_edge_child"),
        (lambda c: index.affected(c, suite.model(1), suite.model(2), grades=index.SURE), "ix_edge_child"),
        (lambda c: index.affected_among(c, [suite.model(1)], suite.model(2)), "ix_edge_child"),
        (lambda c: index.ancestors(c, [suite.model(1)], relations=frozenset({suite.TUNE})), "ix_edge_child"),
        (lambda c: index.descendants(c, [suite.model(1)]), "ix_edge_parent"),
        (lambda c: index.descendants(c, [suite.model(1)], relations=frozenset({suite.TUNE}), grades=index.SURE), "ix_edge_parent"),
    ],
)  # fmt: skip
def test_walks_read_an_index_and_no_row_of_an_edge(connection, ask, wanted):
    plans = []

    def explain(_connection, _cursor, statement, parameters, *_):
        if statement.startswith("WITH"):
            rows = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row[-1] for row in rows.fetchall())

    index.add_edges(connection, [suite.edge(2, 1)], suite.RECORD)
    sa.event.listen(connection, "before_cursor_execute", explain)
    ask(connection)
    steps = [step for step in plans if step.split()[1:2] == ["e"]]
    assert steps
    assert all(f"SEARCH e USING COVERING INDEX {wanted}" in step for step in steps)
