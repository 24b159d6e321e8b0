"""The numpy header: what numpy writes is read, everything else is refused with a reason."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.errors import Unreadable
from weighbridge.formats.npy import parse_header
from weighbridge.formats.sniff import as_text, sniff

ARRAYS = [
    np.zeros((2, 3), "<f4"), np.zeros(0, "i8"), np.array(1.5), np.zeros((2, 2), "c16", order="F"),
    np.array(["ab", "c"]), np.array([b"x"]), np.zeros(3, "datetime64[s]"), np.zeros(3, "?"),
    np.zeros(2, [("a", "<f4"), ("b", "i2", (3,))]), np.zeros(2, [("a", [("b", "u1")])]), np.zeros(2, "V7"),
]  # fmt: skip


def written(array):
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


@pytest.mark.parametrize("array", ARRAYS, ids=range(len(ARRAYS)))
def test_what_numpy_writes_is_read(array):
    data = written(array)
    header = parse_header(data)
    assert header.shape == array.shape
    assert not header.objects
    assert header.data_start + header.data_size == len(data)


def test_object_arrays_are_told():
    assert parse_header(written(np.array([None, "x"], dtype=object))).objects
    assert parse_header(written(np.zeros(1, [("a", object)]))).objects


def with_header(text):
    body = text.encode() if isinstance(text, str) else text
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00" + b"\0" * 20,
        with_header("{")[:-1],
        with_header("nonsense"),
        with_header("(" * 500),
        with_header("-" * 60000),
        with_header("{'descr': '<f4', 'fortran_order': False}"),
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}"),
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"),
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': [1]}"),
        with_header("{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}"),
        with_header("{'descr': '<q9', 'fortran_order': False, 'shape': (1,)}"),
        with_header("{'descr': 4, 'fortran_order': False, 'shape': (1,)}"),
        with_header("{'descr': [('a',)], 'fortran_order': False, 'shape': (1,)}"),
        with_header("{'descr': __import__('os'), 'fortran_order': False, 'shape': (1,)}"),
        with_header(b"\xff\xfe"),
    ],
)
def test_other_headers_are_refused(data):
    with pytest.raises(Unreadable):
        parse_header(data)


@given(st.binary(max_size=200))
def test_random_headers_raise_nothing_else(body):
    try:
        parse_header(with_header(body))
    except Unreadable:
        return


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "empty"),
        (b"PK\x03\x04", "zip"),
        (b"\x80\x04N.", "pickle"),
        (b"\x80\xff", "unknown"),
        (b"\x02\0\0\0\0\0\0\0{}", "safetensors"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", "unknown"),
        (b"\x7fELF", "elf"),
        (b"GGUF\x03", "gguf"),
        (bytes(257) + b"ustar", "tar"),
        (b"hello {there}", "unknown"),
    ],
)
def test_content_says_what_a_file_is(data, kind):
    assert sniff(data, len(data)) == kind


def test_text_is_utf8_without_control_characters():
    assert as_text("zwölf\n".encode()) == "zwölf\n"
    assert as_text(b"nul\0") is None
    assert as_text(b"\xff") is None
    assert as_text(b"\x1b[31m") is None


def test_text_is_utf16_behind_a_byte_order_mark():
    assert as_text("\ufeffgrüße, 你好 🙂\n".encode("utf-16-le")) == "grüße, 你好 🙂\n"
    assert as_text("\ufeffgrüße\n".encode("utf-16-be")) == "grüße\n"
    assert as_text("grüße".encode("utf-16-le")) is None


@pytest.mark.parametrize(
    "data",
    [
        b"a",
        b"\0\0",
        b"\x1b\0",
        b"\x00\xd8a\0",  # half of a pair
        b"\x00\xe0",  # private use
        b"\xfe\xff",
        b"\0\1\xff\xfe\0\1",  # numbers that repeat
        b"\x80\0",
        b"PK\x05\x06",
        b"aPK\x01\x02b",
        b"\x80\xdb\x00\xdc",  # private use beyond the first plane
    ],
)
def test_bytes_behind_a_byte_order_mark_are_not_always_text(data):
    assert as_text(b"\xff\xfe" + data) is None


def test_the_letter_that_python_2_wrote_is_dropped():
    header = parse_header(with_header("{'descr': '<f4', 'fortran_order': True, 'shape': (2L, 3L), }\n"))
    assert (header.shape, header.fortran) == ((2, 3), True)
