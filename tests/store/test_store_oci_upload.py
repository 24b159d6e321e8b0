"""What an upload needs here: bytes hashed once as they are read, whatever the order, and one writer for each note."""

import io

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.store.oci_upload import Reading, noting

DATA = bytes(range(200))


def reading(data=DATA, said=DATA, progress=lambda _: None):
    return Reading(Digest.of(said), io.BytesIO(data), 16, progress)


def test_parts_that_are_left_out_or_read_again_are_hashed_once():
    seen = []
    one = reading(progress=seen.append)
    assert one.part(50, 20) == DATA[50:70]
    assert one.part(30, 60) == DATA[30:90]
    assert one.part(100, 100) == DATA[100:]
    one.check(200)
    assert sum(seen) == 200
    reading().check(200)
    reading(b"", b"").check(0)


@pytest.mark.parametrize("data", [DATA[:-1] + b"!", b"!" + DATA[1:], DATA[:-1], b""])
def test_bytes_that_are_others_are_noticed_at_the_end(data):
    with pytest.raises(VerificationFailed) as caught:
        reading(data).check(200)
    assert caught.value.check == "blob.digest"


def test_a_note_has_one_writer_and_stays_when_he_is_killed(tmp_path):
    path = tmp_path / "notes" / "one"
    with pytest.raises(KeyboardInterrupt), noting(path) as mine:
        mine.write("https://here/1")
        with noting(path) as other:
            assert other.read() == ""
            other.write("https://here/2")
            assert other.read() == "https://here/2"
            other.forget()
        assert mine.read() == "https://here/1"
        raise KeyboardInterrupt
    with noting(path) as later:
        assert later.read() == "https://here/1"
        later.forget()
    assert not path.exists()
