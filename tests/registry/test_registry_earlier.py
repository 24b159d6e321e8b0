"""A registry made before rows had places of their own: what was signed over it stays valid, and a change still shows.

The fixture was made by the version before (schema 0004): two models with claims, promoted and admitted. It holds no
private key, so it can be read and not written to.
"""

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from weighbridge.config import read_config
from weighbridge.core.errors import VerificationFailed
from weighbridge.gate.decisions import kept
from weighbridge.registry import bundles, models, tally
from weighbridge.registry.wiring import open_registry
from world_house import Hand

MADE = Path(__file__).parent / "data" / "registry_0004.tar.xz"
ROWS = {"bundle": 20, "bundle_subject": 30, "decision": 4, "evidence": 4, "edge": 5, "alias": 10, "policy": 1}


@pytest.fixture
def folder(tmp_path):
    with tarfile.open(MADE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def open_at(folder):
    environ = {"WEIGHBRIDGE_CONFIG_HOME": str(folder / "config"), "HOME": str(folder), "USER": "tester"}
    config = read_config(environ, {"registry": str(folder / "registry")})
    return open_registry(config, clock=Hand(), entropy=Hand())


def change(folder, statement):
    with closing(sqlite3.connect(folder / "registry" / "registry.db")) as connection:
        connection.execute(statement)
        connection.commit()


def places(folder, table, column):
    with closing(sqlite3.connect(folder / "registry" / "registry.db")) as connection:
        return connection.execute(f"SELECT {column}, * FROM {table} ORDER BY {column}").fetchall()


def test_what_was_signed_over_it_stays_valid(folder):
    registry = open_at(folder)
    tally.check(registry)
    tally.check_subjects(registry)
    assert tally.broken(registry) == []
    assert [found.problem for found in kept(registry)] == [""] * 4
    for model in models.every_project(registry):
        assert len(bundles.about(registry, [model.digest])) > 4
    registry.close()


def test_every_row_keeps_the_number_it_had(folder):
    before = {table: places(folder, table, "rowid") for table in ROWS}
    assert {table: len(rows) for table, rows in before.items()} == ROWS
    open_at(folder).close()
    for table, rows in before.items():
        after = places(folder, table, "place")
        assert [row[1:] for row in after] == [tuple(row) for row in rows], table


@pytest.mark.parametrize("table", sorted(set(ROWS) - {"bundle_subject"}))
def test_a_row_exchanged_before_it_was_moved_up_shows_in_the_chains(folder, table):
    change(folder, f"UPDATE {table} SET actor = 'somebody' WHERE rowid = 1")
    registry = open_at(folder)
    assert [problem for problem in tally.broken(registry) if problem.startswith(f"{table}: ")]
    registry.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE bundle_subject SET identity = 'wb1:0' WHERE rowid = 1",
        "DELETE FROM bundle_subject WHERE rowid = 1",
        "UPDATE model SET tier = 'intake'",
    ],
)
def test_what_decides_shows_at_once(folder, statement):
    change(folder, statement)
    registry = open_at(folder)

    def look():
        tally.check(registry)
        tally.check_subjects(registry)

    with pytest.raises(VerificationFailed) as caught:
        look()
    assert caught.value.check == "records.tally"
    registry.close()
