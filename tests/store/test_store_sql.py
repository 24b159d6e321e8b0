import sqlite3
import threading

import pytest
import sqlalchemy as sa

from lineage_conformance import OLD_EDGE, OLD_NODES, model
from weighbridge.core.errors import Locked, RegistryUnusable
from weighbridge.store import lineage_index, schema, sql
from weighbridge.store.sql import Records

OLD_MODEL = (
    "INSERT INTO model (digest, schema_version, project, actor, created_at, weights, tier, status, origin, label, source, "
    f"manifest, chunks, bom) VALUES ('{model(1)}', 1, 'default', 'us', '2026-11-01T00:00:00Z', NULL, 'trusted', "
    "'quarantined', 'own', 'm', '{}', 'the files', 'the chunks', 'the bill')"
)


LINKS = {"bundle_subject", "mark"}
"""Tables that only index another record."""


@pytest.fixture
def records(tmp_path):
    made = Records.open(tmp_path / "registry.db", create=True)
    yield made
    made.close()


def test_the_migrations_build_exactly_the_tables(records):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with records.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def test_the_newest_migration_is_the_head():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "weighbridge:store/migrations")
    script = ScriptDirectory.from_config(config)
    assert script.get_current_head() == sql.HEAD
    assert {revision.revision for revision in script.walk_revisions()} == set(sql.KNOWN)


def test_every_record_says_its_version_project_actor_and_time():
    for table in schema.metadata.sorted_tables:
        if table.name not in LINKS:
            assert {"schema_version", "project", "actor", "created_at"} <= set(table.c.keys()), table.name
            assert not any(
                table.c[name].nullable for name in ("schema_version", "project", "actor", "created_at")
            )


def row(key, value="v"):
    return {
        "schema_version": 1, "project": "p", "actor": "a", "created_at": "2026-01-01T00:00:00Z", "key": key, "value": value,
    }  # fmt: skip


def keys(records):
    with records.read() as connection:
        return (
            connection.execute(sa.select(schema.setting.c.key).order_by(schema.setting.c.key)).scalars().all()
        )


def test_what_was_committed_is_there_after_reopening(records, tmp_path):
    with records.write() as connection:
        connection.execute(sa.insert(schema.setting).values(row("kept")))
    records.close()
    again = Records.open(tmp_path / "registry.db")
    assert keys(again) == ["kept"]
    again.close()


def test_an_exception_undoes_everything(records):
    def write():
        with records.write() as connection:
            connection.execute(sa.insert(schema.setting).values(row("lost")))
            raise KeyError("no")

    with pytest.raises(KeyError):
        write()
    assert keys(records) == []


def test_a_read_sees_one_moment(records):
    with records.read() as connection:
        assert connection.execute(sa.select(schema.setting)).all() == []
        thread = threading.Thread(target=lambda: _insert(records, "later"))
        thread.start()
        thread.join()
        assert connection.execute(sa.select(schema.setting)).all() == []
    assert keys(records) == ["later"]


def _insert(records, key):
    with records.write() as connection:
        connection.execute(sa.insert(schema.setting).values(row(key)))


def test_durability_is_asked_for(records):
    with records.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_busy_database_is_locked_and_not_broken(tmp_path, monkeypatch):
    monkeypatch.setattr(sql, "BUSY_MS", 100)
    records = Records.open(tmp_path / "registry.db", create=True)
    other = sqlite3.connect(tmp_path / "registry.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Locked) as caught, records.write():
        pass
    assert "nothing was changed" in caught.value.remedy
    other.execute("ROLLBACK")
    other.close()
    _insert(records, "after")
    assert keys(records) == ["after"]
    records.close()


def test_a_newer_registry_is_refused_untouched(records, tmp_path):
    with records.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(RegistryUnusable, match="newer version"):
        Records.open(tmp_path / "registry.db")
    with records.read() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "9999"


def test_a_stranger_database_is_refused_untouched(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE holiday (day TEXT)")
    connection.close()
    with pytest.raises(RegistryUnusable, match="not a Weighbridge registry"):
        Records.open(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("holiday",)]
    connection.close()


@pytest.mark.parametrize("data", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_garbage_is_refused(tmp_path, data):
    (tmp_path / "registry.db").write_bytes(data)
    with pytest.raises(RegistryUnusable):
        Records.open(tmp_path / "registry.db")


def test_a_missing_database_is_not_made_by_looking(tmp_path):
    with pytest.raises(RegistryUnusable, match="no registry"):
        Records.open(tmp_path / "registry.db")
    assert list(tmp_path.iterdir()) == []


def test_an_older_registry_is_moved_up_with_its_edges(tmp_path):
    from alembic import command
    from alembic.config import Config

    engine = sql._engine(tmp_path / "registry.db")
    with engine.connect() as connection:
        config = Config()
        config.set_main_option("script_location", "weighbridge:store/migrations")
        config.attributes.update(connection=connection, busy_ms=1000)
        command.upgrade(config, "0001")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        connection.exec_driver_sql(OLD_NODES)
        connection.exec_driver_sql(OLD_EDGE)
        connection.exec_driver_sql(OLD_MODEL)
        connection.commit()
    engine.dispose()
    moved = Records.open(tmp_path / "registry.db")
    with moved.read() as connection:
        assert lineage_index.affected(connection, model(2), model(1), grades=lineage_index.SURE)
        assert connection.exec_driver_sql("SELECT DISTINCT state FROM artifact").scalars().all() == ["known"]
        texts = connection.execute(sa.select(schema.description)).mappings().one()
        assert [texts[name] for name in ("project", "digest", "manifest", "chunks", "bom")] == [
            "default", str(model(1)), "the files", "the chunks", "the bill",
        ]  # fmt: skip
        assert connection.execute(sa.select(schema.model.c.status)).scalar() == "quarantined"
    moved.close()
