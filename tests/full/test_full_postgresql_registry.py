"""The tests of the gate and of the registry, with every world's records in a real PostgreSQL instead of SQLite."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from weighbridge.core.errors import RegistryUnusable, VerificationFailed
from weighbridge.registry import chains, tally
from weighbridge.store import schema
from weighbridge.store.sql import Records
from world_house import RECORDS, World
from world_postgresql import fresh, server

pytestmark = pytest.mark.full

TESTS = Path(__file__).parents[1]
SUITES = {
    "gate/test_gate_line.py": 20,
    "gate/test_gate_advisories.py": 5,
    "gate/test_gate_approvals.py": 10,
    "gate/test_gate_decisions.py": 10,
    "registry/test_registry_outbox.py": 10,
    "registry/test_registry_rotation.py": 30,
    "server/test_server_mirror.py": 20,
    "server/test_server_mirror_attacks.py": 4,
}
"""Files, and how many of their tests must have run."""
EVERY = os.environ.get("POSTGRESQL_SUITES") == "all"
CHOSEN = ("gate/test_gate_line.py", "gate/test_gate_decisions.py", "registry/test_registry_outbox.py")
"""Those that always run; `POSTGRESQL_SUITES=all` runs the others as well, which take minutes and go through the same doors."""
OTHERWISE = {
    "test_changed_policy_files_block_until_they_are_pinned",
    "test_files_that_somebody_put_there_are_not_put_back_silently",
}
"""On shared records a folder of policy files is a copy, and what is judged by are the kept files."""


@pytest.fixture(scope="module")
def url():
    with server(fsync="off") as found:  # what a power cut leaves is not asked here
        yield found


@pytest.fixture
def world(url, tmp_path):
    made = World(tmp_path, settings={"records": fresh(url)})
    yield made
    made.registry.close()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SUITES if EVERY else CHOSEN)
def test_what_holds_on_sqlite_holds_on_postgresql(url, tmp_path, name):
    words = [
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-n",
        "0",
        "-q",
        "--tb=short",
        f"--basetemp={tmp_path / 'worlds'}",
    ]
    words += [f"--deselect=tests/{name}::{other}" for other in OTHERWISE]
    done = subprocess.run(
        [sys.executable, *words, str(TESTS / name)],
        env={**os.environ, RECORDS: url},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    passed = sum(line.count(".") for line in re.findall(r"^[.]+ ", done.stdout, re.MULTILINE))
    assert passed >= SUITES[name], done.stdout[-500:]


def copied(source, path):
    """Copy every row, places and all, from one database into SQLite."""
    target = Records.open(path, create=True)
    with source.read() as here, target.write() as there:
        for table in schema.metadata.sorted_tables:
            rows = [dict(row) for row in here.execute(sa.select(table)).mappings()]
            if rows:
                there.execute(sa.insert(table), rows)
    return target


def test_what_is_signed_over_the_records_is_the_same_in_both_databases(world, tmp_path):
    world.team()
    world.person('o\'neil, "é" \\ 日本', "evaluate")
    folder = world.ready()
    assert world.promote(folder, name="encoder").decision.allow
    with world.registry.records.write() as connection:
        row = {**world.registry.record(), "key": "it's", "value": "a\\b 'c'\n\"d\" é 日本"}
        for project in ("a", "B", "_", "ä"):  # in which order these come depends on a database's language
            connection.execute(sa.insert(schema.setting).values({**row, "project": project}))
    other = copied(world.registry.records, tmp_path / "copy.db")
    with world.registry.records.read() as here, other.read() as there:
        assert tally.count(here) == tally.count(there)
        assert chains.extend(here, {}) == chains.extend(there, {})
        assert tally._chain(here, {"number": 0, "chain": ""}) == tally._chain(
            there, {"number": 0, "chain": ""}
        )
    other.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE model SET tier = 'intake'",
        "DELETE FROM decision",
        "UPDATE bundle_subject SET identity = 'wb1:0' WHERE place = (SELECT min(place) FROM bundle_subject)",
        "UPDATE setting SET value = 'observe' WHERE key = 'policy'",
    ],
)
def test_a_change_by_whoever_can_write_to_the_database_shows(world, statement):
    folder = world.ready()
    assert world.promote(folder).decision.allow
    with world.registry.records.write() as connection:
        connection.exec_driver_sql(statement)

    def look():
        tally.check(world.registry)
        tally.check_subjects(world.registry)

    with pytest.raises(VerificationFailed) as caught:
        look()
    assert caught.value.check == "records.tally"


def test_a_database_without_records_is_said_and_left_empty(url, world):
    empty = fresh(url)
    with pytest.raises(RegistryUnusable, match="no records of a registry"):
        world.reopen(records=empty)
    engine = sa.create_engine(empty)
    with engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() == []
    engine.dispose()
