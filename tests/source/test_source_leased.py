"""A file that is mapped cannot be cut short under us: whoever tries waits, and then finds that we let go."""

import fcntl
import hashlib
import itertools
import subprocess
import sys
import time

import pytest
from blake3 import blake3

from weighbridge.core.errors import Unreadable, WeighbridgeError
from weighbridge.source.hashing import Piece, hash_pieces
from weighbridge.source.leased import WINDOW, leased
from weighbridge.source.local import open_folder

pytestmark = pytest.mark.skipif(not hasattr(fcntl, "F_SETLEASE"), reason="leases are Linux's")
SIZE = 3 * WINDOW + 12_345


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(bytes(range(256)) * (SIZE // 256) + bytes(SIZE % 256))
    return folder


def whole(file):
    return [Piece(file.path, 0, file.size)]


def digest(folder, progress=None, cut=whole):
    with open_folder(folder) as tree:
        return hash_pieces(list(tree.files()), "blake3", cut, progress=progress)


@pytest.mark.parametrize("size", [WINDOW - 1, WINDOW, WINDOW + 1, SIZE])
def test_the_digest_is_that_of_the_bytes(tmp_path, size):
    data = bytes(range(251)) * (size // 251) + b"\x07" * (size % 251)
    (tmp_path / "weights.bin").write_bytes(data)
    seen = []
    ((_, found),) = digest(tmp_path, seen.append).items()
    assert found == blake3(data).digest()
    assert sum(seen) == size


def test_shards_that_fit_no_window_are_read(model):
    data = (model / "weights.bin").read_bytes()
    edges = [0, 1000, WINDOW + 1000, 2 * WINDOW, SIZE]

    def cut(file):
        return [Piece(file.path, a, b) for a, b in itertools.pairwise(edges)]

    found = digest(model, cut=cut)
    assert {(p.start, p.end): d for p, d in found.items()} == {
        (a, b): blake3(data[a:b]).digest() for a, b in itertools.pairwise(edges)
    }


def meanwhile(code, path):
    return subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)


CUT = "import os, sys; os.truncate(sys.argv[1], 100); print('cut')"
OPEN = "import sys; open(sys.argv[1], 'r+b').close(); print('opened')"


def test_who_cuts_a_file_short_waits_and_we_say_that_it_changed(model):
    started = []

    def progress(count):
        if not started:
            started.append(meanwhile(CUT, model / "weights.bin"))
            time.sleep(1)  # it is waiting for us by now

    with pytest.raises(WeighbridgeError) as caught:
        digest(model, progress)
    assert isinstance(caught.value, Unreadable) or "changed" in str(caught.value)
    assert started[0].communicate(timeout=20)[0].strip() == "cut"


def test_who_only_opens_it_does_not_wait_for_the_end(model):
    data = (model / "weights.bin").read_bytes()
    started = []

    def progress(count):
        if not started:
            started.append(meanwhile(OPEN, model / "weights.bin"))
            time.sleep(1)

    ((_, found),) = digest(model, progress).items()
    assert found == blake3(data).digest()
    assert started[0].communicate(timeout=20)[0].strip() == "opened"


def test_without_a_lease_the_bytes_are_read(model):
    path = model / "weights.bin"
    with path.open("r+b"), path.open("rb", buffering=0) as stream, leased(stream) as lease:
        assert lease is None  # somebody has it open for writing
        ((_, found),) = digest(model).items()
    assert found == blake3(path.read_bytes()).digest()


def test_a_lease_is_given_back(model):
    path = model / "weights.bin"
    with path.open("rb", buffering=0) as stream, leased(stream) as lease:
        assert lease is not None
        assert lease.holds()
        with lease.window(0, WINDOW) as view:
            assert hashlib.sha256(view).digest() == hashlib.sha256(path.read_bytes()[:WINDOW]).digest()
    assert meanwhile(OPEN, path).communicate(timeout=20)[0].strip() == "opened"
