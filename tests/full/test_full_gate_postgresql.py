"""The gate's own tables on a real PostgreSQL: made from those of before with their rows, and what is kept in them found again.

A registry itself keeps its records in SQLite; what is asked of these tables here is what the gate asks of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from weighbridge.claims.records import Record
from weighbridge.core.canonical import canonical
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.distrust import Distrust, Distrusted
from weighbridge.core.errors import NotFound
from weighbridge.registry import alerts, approvals, changes, decisions, distrusts, standings
from weighbridge.store import schema
from weighbridge.store.sql import HEAD, Records
from world_postgresql import empty, server

pytestmark = pytest.mark.full

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
RECORD = {"schema_version": 1, "project": "default", "actor": "me", "created_at": rfc3339(NOW)}
MODEL, WEIGHTS = Digest("wb1", "1" * 64), Digest("wbw1", "2" * 64)
KEY = f"sha256:{'3' * 64}"


@pytest.fixture(scope="module")
def url():
    with server() as found:
        yield found


@pytest.fixture(scope="module")
def opened(url):
    made = Records.open_url(url)
    yield made
    made.close()


@pytest.fixture
def records(opened):
    yield opened
    empty(opened)


# ---------------------------------------------------------------- moving up


def before(url, revision):
    """Make a database as the version of a revision left it; returns an engine for it."""
    from alembic import command
    from alembic.config import Config

    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE older_{revision}")
    engine.dispose()
    engine = sa.create_engine(sa.make_url(url).set(database=f"older_{revision}"))
    with engine.connect() as connection:
        config = Config()
        config.set_main_option("script_location", "weighbridge:store/migrations")
        config.attributes.update(connection=connection, busy_ms=1000)
        command.upgrade(config, revision)
        connection.commit()
    return engine


def value(column, number):
    if isinstance(column.type, sa.Integer):
        return number
    if isinstance(column.type, sa.Float):
        return float(number)
    length = getattr(column.type, "length", None) or 8
    return f"{number}{'x' * min(length, 8)}"[:length]


def filled(connection):
    """Put two rows into every table that there is, and return all rows by the names of the tables."""
    found = sa.MetaData()
    found.reflect(connection)
    tables = [table for table in found.sorted_tables if table.name != "alembic_version"]
    for table in tables:
        for number in (1, 2):
            connection.execute(
                sa.insert(table).values({column.name: value(column, number) for column in table.c})
            )
    return {table.name: rows(connection, table) for table in tables}


def rows(connection, table, names=None):
    columns = [column for column in table.c if names is None or column.name in names]
    query = sa.select(*columns).order_by(*columns)
    return [dict(row) for row in connection.execute(query).mappings()]


def test_a_registry_of_before_is_moved_up_with_every_row(url):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = before(url, "0002")
    with engine.connect() as connection:
        kept = filled(connection)
        connection.commit()
    assert {"model", "bundle", "decision", "setting", "edge", "taint", "advisory"} <= set(kept)
    moved = Records.open_url(engine.url.render_as_string(hide_password=False))
    with moved.read() as connection:
        for name, expected in kept.items():
            table = schema.metadata.tables[name]
            assert rows(connection, table, set(expected[0])) == expected, name
        new = sa.select(schema.decision.c.sequence, schema.decision.c.bundle)
        assert set(connection.execute(new).all()) == {(None, None)}
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == HEAD
        for name in set(schema.metadata.tables) - set(kept):
            assert (
                connection.execute(
                    sa.select(sa.func.count()).select_from(schema.metadata.tables[name])
                ).scalar()
                == 0
            )
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
    with moved.write() as connection:  # the mode of the longest namespace is a setting now
        key = changes.mode_key("n" * 63)
        connection.execute(sa.insert(schema.setting).values(**RECORD, key=key, value="observe"))
    moved.close()
    engine.dispose()


# ---------------------------------------------------------------- what is asked of the tables


@dataclass
class Registry:
    """As much of an open registry as alerts and effects ask for."""

    records: Records
    project: str = "default"
    actor: str = "me"

    def record(self):
        return dict(RECORD)

    @property
    def clock(self):
        return SimpleNamespace(now=lambda: NOW)


def cause(text, logged_at=NOW):
    """What brings an effect about, as far as these effects look at it."""
    return SimpleNamespace(
        bundle=SimpleNamespace(digest=Digest.of(text.encode())), logged_at=logged_at, record=dict(RECORD)
    )


def decided(connection, sequence, action, answer):
    body = {"sequence": sequence, "action": action, "decision": answer}
    identity = decisions.id_of(body)
    text = canonical({"about": str(MODEL), "number": sequence}).decode()
    row = {
        **RECORD, "id": identity, "manifest": str(MODEL), "action": action, "answer": answer, "receipt": "{}",
        "content": canonical(body).decode(), "evidence": decisions.keep_evidence(connection, text, RECORD),
        "sequence": sequence, "bundle": str(Digest.of(identity.encode())),
    }  # fmt: skip
    table = schema.decision
    connection.execute(sa.insert(table).values({name: row[name] for name in row if name in table.c}))
    return identity


def status(connection):
    query = sa.select(schema.model.c.status).where(schema.model.c.digest == str(MODEL))
    return connection.execute(query).scalar()


def stand(connection, said, decision, at):
    body = {"status": said, "reason": "it does not pass", "decision": decision}
    record = Record("standing", (MODEL,), "default", "gate", at, body)
    standings.take_effect(connection, record, cause(f"{said}{decision}", at))


def test_from_a_decision_to_a_distrust_a_quarantine_and_an_alert(records):
    registry = Registry(records)
    with records.write() as connection:
        model = {
            **RECORD, "digest": str(MODEL), "weights": str(WEIGHTS), "tier": "trusted", "status": "active", "origin": "own",
            "label": "chat", "source": "{}",
        }  # fmt: skip
        table = schema.model
        connection.execute(
            sa.insert(table).values(
                {
                    column.name: model.get(column.name, value(column, 1))
                    for column in table.c
                    if not column.nullable or column.name in model
                }
            )
        )
        promoted = decided(connection, 1, "promote", "allow")
        decided(connection, 2, "admit", "allow")
    said = Distrust(
        Distrusted.SIGNER, "stolen", rfc3339(NOW), "*", key=KEY, name="train-team", start=rfc3339(NOW)
    )
    with records.write() as connection:
        record = Record("distrust", (said.digest,), "*", "me", NOW, {"id": said.id, **said.body()})
        for _ in range(2):  # the same again changes nothing
            distrusts.take_effect(connection, record, cause("distrust"))
    with records.read() as connection:
        [found] = distrusts.every(connection, "default", standing=True)
        assert (found.id, found.key, found.stands) == (said.id, KEY, True)
        assert distrusts.get(connection, "default", said.id[:9]).id == said.id
        with pytest.raises(NotFound):
            distrusts.get(connection, "default", "dis-0000")
    later = NOW + timedelta(hours=1)
    with records.write() as connection:
        stand(
            connection, "quarantined", promoted, later
        )  # rests on another decision than the newest: nothing
        assert status(connection) == "active"
        refused = decided(connection, 3, "reevaluate", "block")
        stand(connection, "quarantined", refused, later)
        assert status(connection) == "quarantined"
        assert list(standings.held(connection, "default")) == [MODEL]
        for _ in range(2):
            alerts.alert(
                connection,
                registry,
                "quarantine",
                "critical",
                "one model fell",
                about=[MODEL],
                facts={"decision": refused},
            )
    [row] = alerts.kept(registry, kinds=["quarantine"])
    assert (row.count, row.about, row.facts["decision"]) == (2, (str(MODEL),), refused)
    with records.write() as connection:
        lift = Record(
            "lift", (said.digest,), "*", "me", later, {"id": said.id, "reason": "it was in the safe"}
        )
        distrusts.lift(connection, lift, cause("lift", later))
        passed = decided(connection, 4, "reevaluate", "allow")
        stand(connection, "active", passed, later)
        assert (status(connection), standings.held(connection, "default")) == ("active", {})
    with records.read() as connection:
        assert distrusts.every(connection, "default", standing=True) == []
        [found] = distrusts.every(connection, "default")
        assert (found.stands, found.lift_reason) == (False, "it was in the safe")
        evidence = sa.select(sa.func.count()).select_from(schema.evidence)
        assert connection.execute(evidence).scalar() == 4


def test_policies_and_proposals_are_kept_and_found(records):
    body = {"digest": KEY, "previous": "", "blob": KEY, "commit": ""}
    with records.write() as connection:
        for project in ("*", "*", "default"):
            changes.keep(connection, {**RECORD, "project": project}, body, bundle="")
        query = sa.select(schema.policy.c.project, schema.policy.c.sequence).order_by(schema.policy.c.project)
        assert sorted(connection.execute(query).all()) == [("*", 1), ("*", 2), ("default", 1)]
        mode = Record(
            "mode", (), "*", "me", NOW, {"namespace": "lab", "mode": "observe", "previous": "", "reason": "x"}
        )
        assert (changes.stale(connection, mode), changes.loosens(connection, mode)) == ("", True)
        row = approvals._propose(connection, mode, cause("proposed"))
        assert approvals._row(connection, row["bundle"])["state"] == approvals.WAITING
        grown = approvals._with(row["approvals"], KEY, NOW)
        approvals._change(connection, row, approvals=grown)
        approvals._end(connection, row, approvals.DONE, "", NOW)
    with records.read() as connection:
        kept = approvals._row(connection, row["bundle"])
    assert (kept["state"], kept["kind"], approvals._signed(kept)[1]) == ("done", "mode", (KEY, rfc3339(NOW)))
