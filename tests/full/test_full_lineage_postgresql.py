"""The lineage index on a real PostgreSQL: the same suite as on SQLite, and what is this database's own."""

import threading

import pytest
import sqlalchemy as sa

pytest.register_assert_rewrite("lineage_conformance")

import lineage_conformance as suite  # noqa: E402 (after the line above)
from lineage_conformance import *  # noqa: E402, F403 (the suite is shared between databases)
from weighbridge.core.errors import Locked, RegistryUnusable, UsageError  # noqa: E402 (as above)
from weighbridge.store import lineage_index as index  # noqa: E402 (as above)
from weighbridge.store import schema, sql  # noqa: E402 (as above)
from weighbridge.store.sql import Records  # noqa: E402 (as above)
from world_postgresql import empty, server  # noqa: E402 (as above)

pytestmark = pytest.mark.full


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


def test_the_migrations_build_exactly_the_tables(records):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with records.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def test_opening_again_finds_what_was_kept(records, url):
    with records.write() as connection:
        index.add_edges(connection, [suite.edge(1, 2)], suite.RECORD)
    again = Records.open_url(url)
    with again.read() as connection:
        assert index.affected(connection, suite.model(2), suite.model(1))
    again.close()


def test_an_exception_undoes_everything(records):
    with pytest.raises(KeyError), records.write() as connection:
        index.add_edges(connection, [suite.edge(1, 2)], suite.RECORD)
        raise KeyError("no")
    with records.read() as connection:
        assert not index.affected(connection, suite.model(2), suite.model(1))


def test_a_read_sees_one_moment_and_writes_nothing(records):
    def add():
        with records.write() as connection:
            index.add_edges(connection, [suite.edge(1, 2)], suite.RECORD)

    with records.read() as connection:
        assert index.descendants(connection, [suite.model(1)]) == []
        thread = threading.Thread(target=add)
        thread.start()
        thread.join()
        assert index.descendants(connection, [suite.model(1)]) == []
        with pytest.raises(sa.exc.DBAPIError, match="read-only"):
            index.add_edges(connection, [suite.edge(1, 3)], suite.RECORD)


def test_a_second_writer_waits_and_is_told(records, monkeypatch):
    monkeypatch.setattr(sql, "BUSY_MS", 100)
    with records.write(), pytest.raises(Locked) as caught, records.write():
        pass
    assert "nothing was changed" in caught.value.remedy


def test_two_writers_one_after_the_other_lose_nothing(records):
    def add(number):
        with records.write() as connection:
            index.add_edges(connection, [suite.edge(0, number)], suite.RECORD)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with records.read() as connection:
        assert len(index.descendants(connection, [suite.model(0)])) == 9


def test_a_newer_registry_is_refused_untouched(records, url):
    with records.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    try:
        with pytest.raises(RegistryUnusable, match="newer version"):
            Records.open_url(url)
    finally:
        with records.write() as connection:
            connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{sql.HEAD}'")


def test_an_older_registry_is_moved_up_with_its_edges(url):
    from alembic import command
    from alembic.config import Config

    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE older")
    engine.dispose()
    engine = sa.create_engine(sa.make_url(url).set(database="older"))
    with engine.connect() as connection:
        config = Config()
        config.set_main_option("script_location", "weighbridge:store/migrations")
        config.attributes.update(connection=connection, busy_ms=1000)
        command.upgrade(config, "0001")
        connection.exec_driver_sql(suite.OLD_NODES)
        connection.exec_driver_sql(suite.OLD_EDGE)
        connection.commit()
    moved = Records.open_url(engine.url.render_as_string(hide_password=False))
    with moved.read() as connection:
        assert index.affected(connection, suite.model(2), suite.model(1), grades=index.SURE)
        assert suite.state(connection, suite.model(1)) == ("known", "model", "")
    moved.close()
    engine.dispose()


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "sqlite:///x.db",
        "postgresql://h/n",
        "mysql://h/n",
        "postgresql+psycopg2://h/n",
        "nonsense",
        "://",
        "postgresql+psycopg://h:x/n",
    ],
)
def test_another_kind_of_url_is_refused(wrong):
    with pytest.raises(UsageError) as caught:
        Records.open_url(wrong)
    assert "postgresql+psycopg://" in caught.value.remedy


def test_a_server_that_does_not_answer_is_an_error_with_a_remedy(tmp_path):
    with pytest.raises(RegistryUnusable) as caught:
        Records.open_url(f"postgresql+psycopg://me:secret@/n?host={tmp_path}")
    assert "answers" in caught.value.remedy
    assert "secret" not in str(caught.value) + caught.value.cause
