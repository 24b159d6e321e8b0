"""The tar reader: what honest programs write is read whole, and each thing that tar programs forgive is named."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.errors import OutOfBudget
from weighbridge.formats.limits import Limits
from weighbridge.formats.tar import is_header, read_tar

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def make(members=(("a.txt", b"text\n"),), form=tarfile.PAX_FORMAT, **changes):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in changes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def read(data, limits=None):
    return read_tar(io.BytesIO(data), len(data), limits or Limits())


def codes(data):
    return {anomaly.code for anomaly in read(data).anomalies}


def patched(data, offset, replacement, *, block=0):
    start = block * 512
    head = bytearray(data[start : start + 512])
    head[offset : offset + len(replacement)] = replacement
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return data[:start] + bytes(head) + data[start + 512 :]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "members",
    [
        [],
        [("a.txt", b"text\n")],
        [("./model_config.yaml", b"a: 1\n"), ("./model_weights.ckpt", bytes(5000))],
        [("a/" * 20 + "b" * 90, b"x"), ("c", b"")],
        [("ü.txt", b"x" * 512), ("z", b"y" * 1025)],
    ],
)
def test_honest_archives_are_explained_to_the_last_byte(form, members):
    data = make(members, form)
    archive = read(data)
    assert archive.anomalies == ()
    assert archive.explained == len(data)
    found = {m.name: data[m.data_offset : m.data_offset + m.size] for m in archive.members}
    assert found == dict(members)


def test_names_longer_than_a_header_are_read():
    long = "d/" * 30 + "n" * 300
    for form in FORMATS[1:]:
        archive = read(make([(long, b"x")], form))
        assert archive.anomalies == ()
        assert [member.name for member in archive.members] == [long]


def test_what_tar_programs_add_is_known():
    folder = make([("a/", b"")], type=tarfile.DIRTYPE) + b""
    assert codes(folder) == set()
    assert codes(make(mtime=1.5, uname="somebody", gname="group", uid=2**40)) == set()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (make([("../up", b"")]), "name"),
        (make([("/root", b"")]), "name"),
        (make([("a/../b", b"")]), "name"),
        (make([("a\u202eb", b"")]), "name"),
        (make([("a", b"x"), ("A", b"y")]), "duplicate"),
        (make([("a", b"x"), ("./a", b"y")]), "duplicate"),
        (make([("a", b"x"), ("a/b", b"y")]), "duplicate"),
        (make([("a", b"")], type=tarfile.SYMTYPE, linkname="/etc/passwd"), "link"),
        (make([("a", b"")], type=tarfile.LNKTYPE, linkname="b"), "link"),
        (make([("a", b"")], type=tarfile.CHRTYPE), "link"),
        (make([("a", b"")], type=tarfile.FIFOTYPE), "link"),
        (make([("a", b"")], type=b"S"), "method"),
        (make([("a", b"")], type=b"Z"), "method"),
        (make([("a", b"x")], linkname="b"), "hidden"),
        (make() + b"behind", "trailing"),
        (make()[:1024], "end"),
        (make()[:1536], "end"),
        (make()[:700], "header"),
        (make()[:100], "end"),
        (make()[:512].replace(b"a.txt", b"b.txt") + make()[512:], "header"),
        (make()[:600] + b"x" + make()[601:], "hidden"),
        (patched(make(), 50, b"cos\nsystem\n"), "hidden"),
        (patched(make(), 280, b"x"), "hidden"),
        (patched(make(), 505, b"x"), "hidden"),
        (patched(make(), 124, b"99999999999\0"), "header"),
        (patched(make(), 124, b"\xff" * 12), "header"),
        (patched(make(), 124, b"77777777777\0"), "header"),
        (make(pax_headers={"SCHILY.xattr.user.x": "payload"}), "hidden"),
        (make(pax_headers={"GNU.sparse.major": "1"}), "method"),
        (make(pax_headers={"mtime": "soon"}), "header"),
        (make(pax_headers={"size": "3"}), "mismatch"),
        (make([("a" * 150, b"x"), ("b", b"")])[:512] + make(), "header"),
    ],
)
def test_each_thing_that_is_forgiven_is_named(data, code):
    assert code in codes(data)


def test_a_header_for_all_members_may_only_comment():
    def with_global(headers):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers=headers) as archive:
            archive.addfile(tarfile.TarInfo("a"))
        return out.getvalue()

    assert codes(with_global({"comment": "f" * 40})) == set()
    assert "mismatch" in codes(with_global({"path": "b"}))


def test_archives_without_a_magic_number_are_read():
    old = patched(make(form=tarfile.USTAR_FORMAT), 257, bytes(255))
    assert codes(old) == set()
    assert is_header(old[:512])
    assert codes(patched(old, 300, b"x")) == {"hidden"}


def test_more_members_than_allowed_meet_the_budget():
    with pytest.raises(OutOfBudget):
        read(make([(f"m{n}", b"") for n in range(20)]), Limits(max_members=10))


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=6), st.integers(0, 3000))
def test_damage_is_described_and_never_raised(changes, cut):
    data = bytearray(make([("a" * 150, b"x" * 600), ("b", b"y")]))
    for place, byte in changes:
        data[place % len(data)] = byte
    data = bytes(data[: len(data) - cut])
    archive = read(data)
    assert 0 <= archive.explained <= len(data)
    assert archive.anomalies or archive.explained == len(data)
    for member in archive.members:
        assert member.data_offset + member.size <= len(data)


@given(st.binary(max_size=2000))
def test_random_bytes_are_described_and_never_raised(data):
    read(data)
