"""Finding an entry in a long log: by index where there is a sound one, through the tiles where there is none."""

import shutil
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.core.errors import RegistryUnusable
from weighbridge.keys.files import generate
from weighbridge.ledger import lookup, merkle, tiles
from weighbridge.ledger.sequencer import Log

NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
KEY = generate("ed25519")
GENESIS = [b"genesis one", b"genesis two"]


def create(folder):
    return Log.create(folder, "log.example", KEY, now=NOW, genesis=GENESIS, form="v2")


def append(log, bodies):
    return log.append(bodies, signer=KEY, now=NOW)


def body(index):
    """Every third entry is one of five that come again and again."""
    return b"again %d" % (index % 5) if index % 3 == 0 else b"entry %d" % index


def scan(bodies, wanted, since):
    return next((at for at, found in enumerate(bodies) if at >= since and found == wanted), None)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    """Parts of 512 entries instead of 65,536."""
    monkeypatch.setattr(lookup, "PART", 512)
    monkeypatch.setattr(lookup, "PART_LEVEL", 9)


@pytest.fixture
def long(tmp_path):
    log = create(tmp_path / "log")
    for start, end in [(2, 500), (500, 1030), (1030, 1900)]:
        append(log, [body(index) for index in range(start, end)])
    return log


BODIES = [*GENESIS, *(body(index) for index in range(2, 1900))]


def holds(log):
    for index in [0, 1, 2, 4, 511, 512, 700, 1023, 1024, 1535, 1536, 1537, 1898, 1899]:
        assert log.find(BODIES[index]) == scan(BODIES, BODIES[index], 0)
        for since in (index - 1, index, index + 1, 600, 1899, 1900, 5000, -3):
            assert log.find(BODIES[index], since) == scan(BODIES, BODIES[index], since), (index, since)
    assert log.find(b"never") is None


def read_counted(monkeypatch):
    names, read = [], tiles.Tiles.read

    def counted(self, kind, number, width):
        names.append((kind, number))
        return read(self, kind, number, width)

    monkeypatch.setattr(tiles.Tiles, "read", counted)
    return names


def test_it_finds_what_a_walk_through_the_entries_finds(long, tmp_path):
    assert sorted(path.name for path in (tmp_path / "log/index").iterdir()) == ["000", "001", "002"]
    holds(long)
    holds(Log.open(tmp_path / "log", KEY.public_pem))


def test_it_reads_few_tiles(long, monkeypatch, tmp_path):
    log = Log.open(tmp_path / "log", KEY.public_pem)
    log.find(b"never")  # takes up the incomplete part
    names = read_counted(monkeypatch)
    assert log.find(b"never") is None
    assert log.find(b"entry 700") == 700
    assert set(names) <= {
        ("tile/0", 700 // 256),
        *(("tile/1", 0), ("tile/0", 0), ("tile/0", 4), ("tile/0", 2)),
    }
    assert len(names) <= 10


@pytest.mark.parametrize("how", ["missing", "empty", "short", "long", "record", "root", "folder", "other"])
def test_an_index_that_is_not_sound_is_passed_over(long, tmp_path, how):
    path = tmp_path / "log/index/001"
    data = bytearray(path.read_bytes())
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "other":
        shutil.copy(tmp_path / "log/index/000", path)
    elif how != "missing":
        data[{"root": 3}.get(how, 200)] ^= 1
        changed = {"empty": b"", "short": data[:-1], "long": data + b"\0"}.get(how, data)
        path.write_bytes(changed)
    holds(Log.open(tmp_path / "log", KEY.public_pem))
    holds(long)


def test_a_forged_index_finds_nothing_that_is_not_there_and_the_full_check_sees_it(long, tmp_path):
    """Whoever can write the folder can hide an entry from `find` (it is then logged twice), and invent none."""
    path = tmp_path / "log/index/001"
    data = path.read_bytes()
    wanted = merkle.leaf_hash(b"not there")[:8]
    records = sorted([wanted + b"\0\5", *(data[at : at + 10] for at in range(74, len(data), 10))])
    forged = b"".join(records)
    path.write_bytes(data[:32] + lookup.sha256(forged).digest() + forged)
    log = Log.open(tmp_path / "log", KEY.public_pem)
    assert log.find(b"not there") is None
    with pytest.raises(RegistryUnusable, match="damaged"):
        log.verify_all()


def test_indexes_are_made_again_by_later_appends(long, tmp_path):
    shutil.rmtree(tmp_path / "log/index")
    assert long.verify_all() == 1900
    append(long, [b"next"])
    assert sorted(path.name for path in (tmp_path / "log/index").iterdir()) == ["000", "001", "002"]
    assert long.verify_all() == 1901


def test_an_append_does_not_fail_because_an_index_cannot_be_written(tmp_path):
    log = create(tmp_path / "log")
    (tmp_path / "log/index").write_text("in the way")
    append(log, [b"%d" % number for number in range(600)])
    assert log.find(b"550") == 552
    assert Log.open(tmp_path / "log", KEY.public_pem).size == 602


def test_the_same_first_bytes_are_not_the_same_entry(long, tmp_path, monkeypatch):
    monkeypatch.setattr(lookup, "KEY", 1)  # now every search meets strangers
    log = Log.open(tmp_path / "log", KEY.public_pem)
    shutil.rmtree(tmp_path / "log/index")
    monkeypatch.setattr(lookup, "RECORD", 3)
    append(log, [b"next"])
    assert len(list((tmp_path / "log/index").iterdir())) == 3
    holds(log)
    assert (tmp_path / "log/index/000").stat().st_size == 64 + 3 * 512


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 900)), max_size=6))
def test_whatever_was_asked_before_the_answer_is_right(tmp_path_factory, steps):
    """The incomplete part is remembered between questions: it must grow, and move on, with the log."""
    log, bodies = create(tmp_path_factory.mktemp("steps") / "log"), list(GENESIS)
    for count, wanted in steps:
        added = [body(len(bodies) + at) for at in range(count)]
        append(log, added)
        bodies += added
        for text in (body(wanted), bodies[-1], b"never"):
            for since in (0, wanted, len(bodies) - 1):
                assert log.find(text, since) == scan(bodies, text, since)
