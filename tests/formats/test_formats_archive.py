"""The zip reader: honest archives are read whole, and each way to show two readers two things is named."""

import io
import struct
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.errors import OutOfBudget, Unreadable
from weighbridge.formats.archive import check_member, read_member, read_zip, stream_member
from weighbridge.formats.limits import Budget, Limits


def make(members=(("a/data.pkl", b"N."), ("a/version", b"3\n")), method=zipfile.ZIP_STORED, comment=b""):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
        archive.comment = comment
    return out.getvalue()


class Pipe(io.BytesIO):
    """Not seekable, so that zipfile writes data descriptors."""

    def seekable(self):
        return False

    def seek(self, *_):
        raise OSError

    def tell(self):
        raise OSError


def streamed(members, method=zipfile.ZIP_DEFLATED):
    out = Pipe()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def read(data, limits=None):
    return read_zip(io.BytesIO(data), len(data), limits or Limits())


def codes(data):
    return {anomaly.code for anomaly in read(data).anomalies}


def contents(data):
    archive = read(data)
    return {m.name: read_member(io.BytesIO(data), m, Budget()) for m in archive.members}


@pytest.mark.parametrize(
    "data",
    [
        make(),
        make(method=zipfile.ZIP_DEFLATED),
        make(()),
        make(comment=b"written by hand"),
        make([("folder/", b""), ("folder/ü.txt", b"x" * 100_000)], zipfile.ZIP_DEFLATED),
        streamed([("a", b"x" * 5000), ("b", b"")]),
        streamed([("a", b"x" * 5000), ("b", b"y")], zipfile.ZIP_STORED),
        make([("a", b"x" * 3_000_000), ("b", b""), ("c", bytes(range(256)) * 900)], zipfile.ZIP_BZIP2),
        make([("a", b"x" * 3_000_000), ("b", b""), ("c", bytes(range(256)) * 900)], zipfile.ZIP_LZMA),
    ],
)
def test_honest_archives_are_explained_to_the_last_byte(data):
    archive = read(data)
    assert archive.anomalies == ()
    assert archive.explained == len(data)
    with zipfile.ZipFile(io.BytesIO(data)) as reference:
        assert contents(data) == {info.filename: reference.read(info) for info in reference.infolist()}


def test_zip64_sizes_and_end_records_are_read():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open("big", "w", force_zip64=True) as member:
        member.write(b"x" * 100)
    assert read(out.getvalue()).anomalies == ()
    data = make()
    start = data.rindex(b"PK\x05\x06")
    row = struct.unpack("<4sHHHHIIH", data[start:])
    wide = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, row[3], row[4], row[5], row[6])
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, start, 1)
    narrow = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert read(data[:start] + wide + locator + narrow).anomalies == ()
    lying = narrow.replace(struct.pack("<H", 0xFFFF), struct.pack("<H", 1), 1)
    assert "end64" in codes(data[:start] + wide + locator + lying)
    assert "end64" in codes(data[:start] + wide + b"gap" + locator + narrow)
    assert "end64" in codes(data[:start] + b"\0" * 56 + locator + narrow)


def patched(data, marker, offset, replacement, *, last=False):
    place = (data.rindex(marker) if last else data.index(marker)) + offset
    return data[:place] + replacement + data[place + len(replacement) :]


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "no-end"),
        (b"PK\x03\x04 nothing more", "no-end"),
        (make()[:-30], "no-end"),
        (b"MZ" + make(), "prefix"),
        (make() + b"behind", "trailing"),
        (patched(make(), END, 10, b"\x03\x00"), "directory"),
        (patched(make(), END, 4, b"\x01\x00"), "disks"),
        (patched(make(), CENTRAL, 0, b"XX"), "directory"),
        (patched(make(), CENTRAL, 46, b"b"), "mismatch"),
        (patched(make(), LOCAL, 30, b"b"), "mismatch"),
        (patched(make(), LOCAL, 14, b"\0\0\0\0"), "mismatch"),
        (patched(make(), LOCAL, 8, b"\x08\x00"), "mismatch"),
        (patched(make(), LOCAL, 0, b"XX"), "local"),
        (patched(make(), CENTRAL, 8, b"\x01\x00"), "encrypted"),
        (patched(make(), CENTRAL, 8, b"\x20\x00"), "flags"),
        (patched(make(), CENTRAL, 10, b"\x09\x00"), "method"),
        (patched(make(), CENTRAL, 38, b"\x00\x00\x00\xa0"), "link"),
        (patched(make(), CENTRAL, 42, b"\x50\xff\xff\x00", last=True), "local"),
        (make([("../up", b"")]), "name"),
        (make([("/root", b"")]), "name"),
        (make([("C:/x", b"")]), "name"),
        (make([("a//b", b"")]), "name"),
        (make([("a\nb", b"")]), "name"),
        (make([("a", b"x"), ("A", b"y")]), "duplicate"),
    ],
)
def test_each_way_to_show_two_readers_two_things_is_named(data, code):
    assert code in codes(data)


def test_a_backslash_in_a_name_is_named():
    assert "name" in codes(make([("a/b", b"")]).replace(b"a/b", b"a\\b"))


def with_extra(*fields, comment=b"", name="plain"):
    info = zipfile.ZipInfo(name)
    info.extra = b"".join(struct.pack("<HH", kind, len(body)) + body for kind, body in fields)
    info.comment = comment
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, b"x")
    return out.getvalue()


@pytest.mark.parametrize(
    "field",
    [
        (0x5455, b"\x03" + bytes(8)), (0x7875, b"\x01\x04" + bytes(4) + b"\x04" + bytes(4)), (0x4246, b"Z" * 40),
        (0x4246, bytes(40)), (0x000A, bytes(4) + b"\x01\0\x18\0" + bytes(24)), (0xCAFE, b""), (0x5855, bytes(8)),
        (0x7075, b"\x01" + zlib.crc32(b"plain").to_bytes(4, "little") + b"plain"),
    ],
)  # fmt: skip
def test_extra_fields_that_honest_writers_leave_are_known(field):
    assert codes(with_extra(field)) == set()


@pytest.mark.parametrize(
    ("field", "code"),
    [
        ((0x4141, b"\x80\x04N."), "hidden"), ((0x6375, b"cos\nsystem\n"), "hidden"), ((0xD935, bytes(9)), "hidden"),
        ((0x4246, b"ZZcos"), "hidden"), ((0x5455, bytes(200)), "hidden"), ((0x7875, b"\x01"), "hidden"),
        ((0x7875, b"\x01\xff"), "hidden"), ((0x000A, bytes(32)), "hidden"), ((0xCAFE, b"x"), "hidden"),
        ((0x7075, b"\x01" + bytes(4) + b"plain"), "second-name"),
    ],
)  # fmt: skip
def test_extra_fields_that_hold_anything_else_are_named(field, code):
    assert codes(with_extra(field)) == {code}


def test_extra_fields_that_stand_twice_or_are_cut_off_are_named():
    assert codes(with_extra((0x4246, b"Z"), (0x4246, b"Z"))) == {"extra"}
    info = zipfile.ZipInfo("plain")
    info.extra = b"FB\xff\x00ZZ"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, b"x")
    assert codes(out.getvalue()) == {"extra"}


def test_comments_are_text_or_named():
    assert codes(make(comment="größer\nals".encode())) == set()
    assert codes(make(comment=b"\x80\x04N.")) == {"hidden"}
    assert codes(with_extra(comment=b"a note")) == set()
    assert codes(with_extra(comment=b"cos\x00")) == {"hidden"}


def test_names_that_readers_read_differently_are_named():
    assert "duplicate" in codes(make([("\ufb01le", b"x"), ("file", b"y")]))
    assert "duplicate" in codes(make([("a", b"x"), ("a/b", b"y")]))
    assert "duplicate" in codes(make([("a/b", b"y"), ("a", b"x")]))
    assert codes(make([("a/", b""), ("a/b", b"y")])) == set()
    assert "name" in codes(make([("a\u202eb", b"x")]))
    assert "name" in codes(make([("x" * 2000, b"x")]))
    latin = make([("ab", b"x")]).replace(b"ab", b"\xe4b")
    assert "name" in codes(latin)


def test_devices_are_named():
    assert codes(patched(make(), CENTRAL, 38, b"\x00\x00\x00\x20")) == {"link"}
    assert codes(patched(make(), CENTRAL, 38, b"\x00\x00\xa4\x81")) == set()


def test_a_second_name_in_an_extra_field_is_named():
    info = zipfile.ZipInfo("plain")
    info.extra = struct.pack("<HH", 0x7075, 5) + b"\x01evil"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, b"x")
    assert "second-name" in codes(out.getvalue())


def test_a_ratio_no_packer_reaches_is_named():
    data = make([("zeros", bytes(100_000))], zipfile.ZIP_DEFLATED)
    lying = data.replace(struct.pack("<I", 100_000), struct.pack("<I", 2_000_000_000))
    assert "ratio" in codes(lying)


def test_bytes_and_members_between_the_listed_ones_are_found():
    hidden = make([("hidden.pkl", b"N.")])
    hidden = hidden[: hidden.index(CENTRAL)]
    data = make()
    shown = data.index(CENTRAL)
    body = data[:shown] + hidden + data[shown:]
    end = body.rindex(END)
    start = struct.unpack_from("<I", body, end + 16)[0]
    body = body[: end + 16] + struct.pack("<I", start + len(hidden)) + body[end + 20 :]
    assert codes(body) == {"gap", "hidden"}
    assert [m.name for m in read(body).members if m.hidden] == ["hidden.pkl"]
    assert contents(body)["hidden.pkl"] == b"N."
    assert codes(hidden + data) >= {"prefix", "hidden"}


def test_two_end_records_that_both_fit_are_named():
    inner = make([("other", b"x")])
    tail = inner[inner.rindex(END) : -2]
    data = make()
    end = data.rindex(END)
    first = data[end:-2] + struct.pack("<H", len(tail) + 2)
    assert "second-end" in codes(data[:end] + first + tail + b"\0\0")


@pytest.mark.parametrize(
    ("data", "check"),
    [
        (make([("a", b"hello")]).replace(b"hello", b"hallo"), "archive.crc"),
        (make([("a", b"hello" * 9)], zipfile.ZIP_DEFLATED).replace(struct.pack("<I", 45), struct.pack("<I", 44)),
         "archive.size"),
        (make([("a", b"hello" * 9)], zipfile.ZIP_DEFLATED).replace(struct.pack("<I", 45), struct.pack("<I", 46)),
         "archive.size"),
        (patched(make([("a", b"hello" * 9)], zipfile.ZIP_DEFLATED), LOCAL, 31, b"\xff\xff\xff"), "archive.data"),
        (patched(make([("a", b"x")]), CENTRAL, 10, b"\x09\x00"), "archive.method"),
        (patched(make([("a", b"x" * 99)], zipfile.ZIP_BZIP2), b"BZh", 12, b"\xff\xff"), "archive.data"),
        (patched(make([("a", b"x" * 99)], zipfile.ZIP_LZMA), LOCAL, 35, b"\xff"), "archive.data"),
    ],
)  # fmt: skip
def test_members_that_do_not_unpack_to_what_is_declared_are_refused(data, check):
    with pytest.raises(Unreadable) as caught:
        contents(data)
    assert caught.value.check == check
    with pytest.raises(Unreadable) as caught:
        check_all(data)
    assert caught.value.check == check


@pytest.mark.parametrize("cut", [0, 1, 300_000])
@pytest.mark.parametrize("into", [True, False])
def test_a_stored_member_is_checked_piece_by_piece_to_its_last_byte(cut, into):
    content = bytes(range(256)) * 3000 + b"end"
    data = make([("a", content), ("b", b"")])
    members = read(data).members
    stream = io.BytesIO(data[: members[0].data_offset + len(content) - cut])
    if not into:
        stream = Plain(stream)
    if cut:
        with pytest.raises(Unreadable) as caught:
            check_member(stream, members[0], Budget())
        assert caught.value.check == "archive.data"
    else:
        check_member(stream, members[0], Budget())
        flipped = data.replace(b"end", b"enf")
        with pytest.raises(Unreadable) as caught:
            check_member(io.BytesIO(flipped), members[0], Budget())
        assert caught.value.check == "archive.crc"
        with pytest.raises(OutOfBudget):
            check_member(io.BytesIO(data), members[0], Budget(Limits(max_unpacked=500_000)))


class Plain:
    """A stream that can only read and seek."""

    def __init__(self, inner):
        self.read = inner.read
        self.seek = inner.seek


def check_all(data):
    for member in read(data).members:
        check_member(io.BytesIO(data), member, Budget())


def test_bytes_behind_the_packed_data_are_refused():
    content = b"hello" * 9
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = engine.compress(content) + engine.flush() + b"extra"
    data = make([("a", packed)])
    size = struct.pack("<II", len(packed), len(packed))
    data = data.replace(struct.pack("<I", zlib.crc32(packed)), struct.pack("<I", zlib.crc32(content)))
    data = data.replace(size, struct.pack("<II", len(packed), len(content)))
    data = patched(patched(data, LOCAL, 8, b"\x08\x00"), CENTRAL, 10, b"\x08\x00")
    with pytest.raises(Unreadable) as caught:
        contents(data)
    assert caught.value.check == "archive.data"


def test_a_bomb_meets_the_budget_and_little_memory():
    data = make([("zeros", bytes(30_000_000))], zipfile.ZIP_DEFLATED)
    (member,) = read(data).members
    with pytest.raises(OutOfBudget):
        read_member(io.BytesIO(data), member, Budget(Limits(max_unpacked=1_000_000)))
    with pytest.raises(OutOfBudget):
        read_member(io.BytesIO(data), member, Budget(Limits(max_memory=1_000_000)))
    chunks = stream_member(io.BytesIO(data), member, Budget())
    assert max(len(chunk) for chunk in chunks) <= 1 << 20


def test_more_members_than_allowed_meet_the_budget():
    with pytest.raises(OutOfBudget):
        read(make([(f"m{number}", b"") for number in range(20)]), Limits(max_members=10))


@given(
    st.sampled_from([make(), make(method=zipfile.ZIP_DEFLATED), streamed([("a", b"x" * 50), ("b", b"y")])]),
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=6),
    st.integers(0, 400),
)
def test_damage_is_described_and_never_raised(data, changes, cut):
    body = bytearray(data)
    for place, byte in changes:
        body[place % len(body)] = byte
    body = bytes(body[: max(0, len(body) - cut)]) if cut % 2 else bytes(body)
    archive = read(body)
    assert 0 <= archive.explained <= len(body)
    for member in archive.members:
        try:
            read_member(io.BytesIO(body), member, Budget(Limits(max_memory=1 << 20)))
        except (Unreadable, OutOfBudget):
            continue
    if not archive.anomalies and body != data:
        assert archive.explained == len(body)


@given(st.binary(max_size=300))
def test_random_bytes_are_described_and_never_raised(data):
    assert read(data).anomalies
    read(b"PK\x03\x04" + data + make()[-60:])
