"""Seeds for the reader of TensorBoard's event files, written by hand: numbers, a text, a picture, a histogram, a graph."""

import struct
import zlib

from weighbridge.formats.tfevents import masked_crc


def chunk(name, data):
    """Write one chunk of a PNG picture."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


PNG = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 6, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(bytes(5)))
    + chunk(b"IEND", b"")
)
TIME = b"\x09" + struct.pack("<d", 1.7e9)


def row(number, data):
    """Write a field that has a length."""
    size, head = len(data), b""
    while size > 0x7F:
        head += bytes((size & 0x7F | 0x80,))
        size >>= 7
    return bytes((number << 3 | 2,)) + head + bytes((size,)) + data


def record(data):
    """Write one record with its checksums."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


FIRST = record(TIME + row(3, b"brain.Event:2"))


def value(tag, content):
    """Write an event with one value of a summary."""
    return record(TIME + b"\x10\x05" + row(5, row(1, row(1, tag) + content)))


def picture(data=PNG):
    """Write an event with a picture."""
    return value(b"seen", row(4, b"\x08\x01\x10\x01\x18\x04" + row(4, data)))


def seeds():
    """Return event files as libraries write them."""
    text = row(8, b"\x08\x07" + row(2, row(2, b"\x08\x01")) + row(8, b"said")) + row(
        9, row(1, row(1, b"text"))
    )
    histogram = row(
        5, b"\x09" + bytes(8) + row(6, struct.pack("<2d", 1, 2)) + row(7, struct.pack("<2d", 3, 4))
    )
    graph = record(TIME + row(4, row(1, row(1, b"x") + row(2, b"aten::relu"))))
    return [
        FIRST,
        FIRST + value(b"loss", b"\x15" + struct.pack("<f", 0.5)) + value(b"note", text),
        FIRST + picture() + value(b"weights", histogram) + graph,
        record(TIME + row(3, b"brain.Event:2") + row(10, row(1, b"writer")))
        + record(TIME + row(7, b"\x08\x01")),
    ]
