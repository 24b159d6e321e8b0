"""The tamper matrix: every kind of record and of file changed by one bit, deleted, or put back to what it was before.

The user's pin (a checkpoint, the version of the authority) lies outside of what is changed. Whatever is changed is noticed by the
next command that uses it, and at the latest by `doctor --deep`, which uses everything.
"""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest
from faulty_house import House, template
from gate_faults import database, flip

from weighbridge.core.errors import WeighbridgeError
from weighbridge.loader.load import load
from weighbridge.registry.chains import ADDED
from weighbridge.store import schema
from world_house import World, safetensors

pytestmark = pytest.mark.full

USES = (
    ("list",),
    ("promote", "ready", "--dry-run"),
    ("decisions",),
    ("doctor", "--deep"),
    ("admit", "approved"),
    ("intake", "newcomer"),
)
"""Commands in the order in which they are tried; each of them ends with 0 in a house that nobody touched."""

FREE = {
    "created_at": "when a row was written: a note, and what counts is dated by the log",
    "actor": "who acted is a note beside what was signed",
    "schema_version": "the form of a row, for readers to come",
}
"""Columns of which a change is not looked for; in tables that are chained it is found all the same."""
UNSEEN = {
    "outbox": "a row that is done is never read again; what it held is in the log and among the kept claims",
    "action": "who asked for what: kept for a time, for people to read",
    "job": "work to be done: whoever can write here can have work done or left undone, and what work does passes the gate",
    "location": "where a blob may be read: its bytes are held against its digest wherever they come from",
    "removal": "what a bucket was asked to delete: whoever can write here can delay an intake, or lose bytes that the next reader misses",
    "sighting": "what a name elsewhere led to: for people to read",
    "log_commit": "the journal of the log, where records are shared: a folder holds it against what it has verified itself",
    "alert_sink": "how far each receiver has been told: whoever can write here can keep an alert from being told, and not from being kept",
}
"""Tables of which a change is not noticed, and what that means."""
UNSEEN_COLUMNS = {
    (
        "bundle_subject",
        "place",
    ): "as long as the rows stay in their order, which is chained; the number itself means nothing",
    (
        "decision",
        "place",
    ): "decisions are in the order of `sequence`; this one orders those that are not logged yet",
    ("alert", "facts"): "details for people; what happened is in the log",
    ("alert", "last_at"): "when it last happened; the log has it",
    ("fingerprint", "project"): "a note: weights belong to no project",
    ("taint", "project"): "a note: where the advisory counts stands in the advisory",
}
FURTHER = (
    ("promote", "ready", "--name", "ready-model"),
    ("promote", "unproven"),
    ("admit", "approved", "--target", "prod/second"),
    ("advisory", "publish", "--target", "spare", "--kind", "weights", "--reason", "a trigger was found"),
    ("deploy", "approved", "--target", "prod/third"),
    ("revoke", "denied", "--reason", "its data was stolen"),
    ("revoke", "--signer", "guest", "--from", "2026-11-01", "--reason", "the key was stolen"),
    ("reevaluate",),
    ("trust", "approvals", "mode", "2"),
    ("policy", "mode", "observe", "--namespace", "lab", "--reason", "trying out"),
    ("alert", "send"),
    ("access", "grant", "ci", "--right", "read", "--reason", "the nightly build"),
)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A house with something in every table: how it was before, and how it is."""
    folder = tmp_path_factory.mktemp("tampered")
    before = template(folder / "house", guest=True)
    World.files(before, "newcomer", model__safetensors=safetensors({"weight": [0.5, 0.25]}))
    sink = f'[[alert]]\nname = "here"\ntype = "file"\npath = "{before.folder}/alerts.jsonl"\n'
    (before.home / "weighbridge.toml").write_text(sink)
    older = folder / "older"
    shutil.copytree(before.folder, older, symlinks=True)
    for words in FURTHER:
        before.hand.pass_(seconds=1)
        said = before.call(*words)
        assert said.code in (0, 1), (words, said.text)
    assert before.call("admit", "approved").code == 0  # the authority has changed
    LOADS.update(loads(before))
    assert "" in LOADS.values()
    assert not noticed(before.copy(folder / "copy")), "nobody touched it"
    for table in tables():
        assert before.rows(f"SELECT count(*) FROM {table}") != [(0,)], f"nothing in {table} to change"
    return older, before


@pytest.fixture
def house(made, tmp_path):
    return made[1].copy(tmp_path / "house")


def noticed(house: House) -> str:
    """Return which command notices, and what it says; empty when none does."""
    if loads(house) != LOADS:
        return "load"
    for words in USES:
        said = house.call(*words)
        if said.code:
            assert said.code in (1, 3), said.text
            return f"{words[0]}: {said.text}"
    return ""


LOADS: dict[str, str] = {}
"""How loading each model that is laid out ends in a house that nobody touched."""


def loads(house: House) -> dict[str, str]:
    """Load each model that is laid out; returns the check that refuses it, empty for none."""
    found = {}
    for folder in sorted(house.root.glob("models/*/model")):
        try:
            load(folder, environ=house.environ(), clock=house.hand)
            found[folder.parent.name] = ""
        except WeighbridgeError as error:
            found[folder.parent.name] = f"{error.check}: {type(error).__name__}"
    return found


def tables() -> list[str]:
    return [table.name for table in schema.metadata.sorted_tables if table.name not in UNSEEN]


def columns() -> list[tuple[str, str]]:
    every = (
        (table, column.name)
        for table in tables()
        for column in schema.metadata.tables[table].columns
        if column.name not in FREE or table in ADDED
    )
    return [row for row in every if row not in UNSEEN_COLUMNS]


def edit(house: House, statement: str, *values: object) -> int:
    path = database(house)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        return connection.execute(statement, values).rowcount


def bit(value: object) -> object:
    """Change one bit of a value; of nothing, make a date."""
    if value is None:
        return "2026-11-22T12:00:00Z"
    if isinstance(value, int):
        return value ^ 1 << 20
    text = str(value)
    at = len(text) // 2
    return text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :] if text else "\x01"


def last(house: House, table: str) -> str:
    """Return a condition for the last row of a table."""
    keys = ("kind", "mark", "artifact") if table == "mark" else ("rowid",)
    [row] = house.rows(f"SELECT {', '.join(keys)} FROM {table} ORDER BY {keys[0]} DESC LIMIT 1")
    return " AND ".join(f"{key} = {value!r}" for key, value in zip(keys, row, strict=True))


@pytest.mark.parametrize(("table", "column"), columns())
def test_one_bit_of_a_record(house, table, column):
    here = last(house, table)
    [(value,)] = house.rows(f"SELECT {column} FROM {table} WHERE {here}")
    assert edit(house, f"UPDATE {table} SET {column} = ? WHERE {here}", bit(value)) == 1
    assert noticed(house)


@pytest.mark.parametrize("table", tables())
@pytest.mark.parametrize("which", ["first", "last", "all"])
def test_deleted_records(house, table, which):
    where = {
        "all": "",
        "first": f"WHERE rowid = (SELECT min(rowid) FROM {table})",
        "last": f"WHERE {last(house, table)}",
    }
    if table == "mark":
        where["first"] = where["last"]
    assert edit(house, f"DELETE FROM {table} {where[which]}")
    assert noticed(house)


@pytest.mark.parametrize("table", tables())
def test_a_table_put_back_to_what_it_was(made, house, table):
    older = made[0] / "registry" / "registry.db"
    path = database(house)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ATTACH ? AS older", (str(older),))
        changed = connection.execute(
            f"SELECT count(*) FROM (SELECT * FROM main.{table} EXCEPT SELECT * FROM older.{table})"
        ).fetchone()[0]
        connection.execute(f"DELETE FROM main.{table}")
        connection.execute(f"INSERT INTO main.{table} SELECT * FROM older.{table}")
    assert bool(noticed(house)) == bool(changed)


# ---------------------------------------------------------------- files

KINDS = {
    "blob": "blobs/sha256/[0-9a-f][0-9a-f]/*",
    "policy": "policy/*",
    "log entries": "log/tile/entries/**/*",
    "log hashes": "log/tile/0/**/*",
    "log promises": "log/promise/**/*",
    "log checkpoint": "log/checkpoint",
    "card": "registry.json",
    "gate key": "keys/gate.pem",
    "log key": "keys/log.pem",
    "intake key": "keys/intake.pem",
    "model laid out": "models/*/model/*",
    "evidence laid out": "models/*/evidence/*",
}


def files(folder: Path, pattern: str) -> list[Path]:
    """Return the files of one kind; of what is laid out, only where something can be loaded."""
    found = (path for path in (folder / "registry").glob(pattern) if path.is_file())
    return sorted(path for path in found if "models" not in pattern or admitted(path))


def admitted(path: Path) -> bool:
    return any((folder / "evidence" / "admission.sigstore.json").exists() for folder in path.parents)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["one bit", "deleted", "older"])
def test_files(made, tmp_path, kind, how):
    older, now = made
    every = files(now.folder, KINDS[kind])
    assert every
    for at, path in enumerate(every):
        place = path.relative_to(now.folder)
        before = older / place
        if how == "older" and path.name == "claims.jsonl":
            continue  # what was known when it was laid out, for people: the admission beside it is what counts
        if how == "older" and (not before.is_file() or before.read_bytes() == path.read_bytes()):
            continue
        house = now.copy(tmp_path / str(at))
        target = house.folder / place
        if how == "one bit":
            flip(target)
        elif how == "deleted":
            target.unlink()
        else:
            mode = target.stat().st_mode
            target.chmod(0o600)
            target.write_bytes(before.read_bytes())
            target.chmod(mode)
        assert noticed(house), place
        shutil.rmtree(house.folder)


@pytest.mark.parametrize(
    "part", ["log", "registry.db", "policy", ""], ids=["log", "database", "policy", "the whole registry"]
)
def test_a_part_put_back_as_a_whole(made, house, part):
    """Sound in itself, and older than what this user has seen."""
    older = made[0] / "registry" / part
    target = house.root / part
    if part == "policy":
        (house.root / "policy" / "own.rego").write_text(
            "package weighbridge.own\n\ndefault allow := false\n\ndeny := []\n"
        )
    elif target.is_dir():
        shutil.rmtree(target)
        shutil.copytree(older, target, symlinks=True)
    else:
        database(house)
        shutil.copy2(older, target)
        for side in ("-wal", "-shm"):
            if Path(f"{older}{side}").exists():
                shutil.copy2(f"{older}{side}", f"{target}{side}")
    assert noticed(house)
