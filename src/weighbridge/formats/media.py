"""Walk over pictures and sounds to their last byte: PNG, JPEG, GIF, WebP and WAV, as they lie beside model cards.

Sources: PNG (third edition), ITU T.81, GIF89a, the RIFF container of WebP and WAVE. Nothing is decoded to a picture;
PNG's packed data is unpacked to see that it ends where it must. Each function returns the parts it does not know.
"""

from __future__ import annotations

import re
import zlib
from typing import BinaryIO

from weighbridge.core.errors import OutOfBudget
from weighbridge.formats.cursor import Cursor

MAX_PIXEL_BYTES = 1 << 30
MAX_JPEG = 128 * 1024 * 1024

PNG_CHUNKS = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI mDCv cLLi tEXt zTXt iTXt bKGD hIST pHYs sPLT eXIf "
    b"tIME acTL fcTL fdAT oFFs pCAL sCAL sTER gIFg gIFx iDOT vpAg orNT caNv".split()
)
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
RIFF_CHUNKS = {
    b"WEBP": frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP ")),
    b"WAVE": frozenset((b"fmt ", b"data", b"fact", b"LIST", b"cue ", b"smpl", b"inst", b"bext", b"PEAK", b"JUNK", b"id3 ",
                        b"ID3 ", b"PAD ", b"FLLR", b"minf", b"elm1", b"regn", b"umid", b"DGDA", b"iXML", b"_PMX", b"afsp")),
}  # fmt: skip


def read_png(stream: BinaryIO, size: int) -> tuple[str, ...]:
    """Walk over the chunks of a PNG; raises Unreadable (checks `png.*`) and OutOfBudget."""
    cursor = Cursor(stream, size, check="png", what="a PNG picture")
    if cursor.take(8) != b"\x89PNG\r\n\x1a\n":
        raise cursor.damaged("magic", "it does not begin like one")
    unknown: dict[str, None] = {}
    pixels: _Pixels | None = None
    kind = b""
    while kind != b"IEND":
        length = cursor.number(">I")
        kind = cursor.take(4)
        if length > cursor.left() or not kind.isalpha():
            raise cursor.damaged("chunk", f"a chunk of {length} bytes called {kind!r}")
        body = cursor.take(length)
        if cursor.number(">I") != zlib.crc32(body, zlib.crc32(kind)):
            raise cursor.damaged("crc", f"the checksum of a chunk {kind!r} is wrong")
        if (kind == b"IHDR") != (pixels is None):
            raise cursor.damaged("order", "it does not begin with one header")
        if pixels is None:
            pixels = _Pixels(cursor, body)
        elif kind == b"IDAT":
            pixels.feed(body)
        elif kind not in PNG_CHUNKS:
            unknown[kind.decode("ascii")] = None
    if pixels is not None:
        pixels.finish()
    if length or cursor.left():
        raise cursor.damaged("trailing", f"{length + cursor.left()} bytes follow the end of the picture")
    return tuple(unknown)


class _Pixels:
    """Counts what the packed data of a PNG unpacks to."""

    def __init__(self, cursor: Cursor, header: bytes) -> None:
        self.cursor = cursor
        if len(header) != 13:
            raise cursor.damaged("header", "the header is not 13 bytes long")
        width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
        depth, colour, interlace = header[8], header[9], header[12]
        if (
            colour not in _PNG_CHANNELS
            or depth not in (1, 2, 4, 8, 16)
            or interlace > 1
            or header[10]
            or header[11]
        ):
            raise cursor.damaged("header", "the header names no form of picture that there is")
        bits = depth * _PNG_CHANNELS[colour]
        passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
        self.wanted = 0
        for left, top, across, down in passes:
            columns, rows = max(0, -(-(width - left) // across)), max(0, -(-(height - top) // down))
            self.wanted += rows * (1 + (columns * bits + 7) // 8) if columns else 0
        if self.wanted > MAX_PIXEL_BYTES:
            raise OutOfBudget(
                f"a picture of {width} by {height}", cause="unpacking it would cost more than a scan may spend",
                remedy="leave the picture out", check="budget.png",
            )  # fmt: skip
        self.stream = zlib.decompressobj()
        self.got = 0

    def feed(self, body: bytes) -> None:
        data = body
        try:
            while data and not self.stream.eof:
                self.got += len(self.stream.decompress(data, 1 << 20))
                data = self.stream.unconsumed_tail
                if self.got > self.wanted:
                    break
        except zlib.error as error:
            raise self.cursor.damaged("data", "the packed data is damaged") from error
        if self.stream.unused_data or (self.stream.eof and data):
            raise self.cursor.damaged("trailing", "bytes follow the packed data")

    def finish(self) -> None:
        if not self.stream.eof or self.got != self.wanted:
            raise self.cursor.damaged(
                "data", f"{self.got} bytes of pixels are there, {self.wanted} are announced"
            )


def read_jpeg(stream: BinaryIO, size: int) -> tuple[str, ...]:
    """Walk over the segments of a JPEG, and of further ones that follow it, as cameras write them."""
    cursor = Cursor(stream, size, check="jpeg", what="a JPEG picture")
    if size > MAX_JPEG:
        raise OutOfBudget(
            f"a picture of {size} bytes", cause="that is more than is looked through", remedy="leave the picture out",
            check="budget.jpeg",
        )  # fmt: skip
    data = cursor.take(size)
    place = _jpeg(cursor, data, 0)
    while place < size and data[place : place + 3] == b"\xff\xd8\xff":
        place = _jpeg(cursor, data, place)
    if data[place:].strip(b"\0") or size - place > 65536:
        raise cursor.damaged("trailing", f"{size - place} bytes follow the end of the picture")
    return ()


def _jpeg(cursor: Cursor, data: bytes, begin: int) -> int:
    """Walk over one picture; return where it ends."""
    if data[begin : begin + 3] != b"\xff\xd8\xff":
        raise cursor.damaged("magic", "it does not begin like one")
    place, scans = begin + 2, 0
    while True:
        match = _JPEG_MARKER.match(data, place)
        if match is None:
            raise cursor.damaged("marker", f"there is no marker at byte {place}")
        marker, place = match[1][0], match.end()
        if marker == 0xD9:
            if not scans:
                raise cursor.damaged("scan", "the picture ends before it begins")
            return place
        if marker in _JPEG_ALONE:
            continue
        length = int.from_bytes(data[place : place + 2], "big")
        if length < 2 or place + length > len(data) or marker == 0xD8:
            raise cursor.damaged("truncated", f"a segment of {length} bytes at byte {place}")
        place += length
        if marker == 0xDA:
            scans += 1
            following = _JPEG_MARKER.search(data, place)
            if following is None:
                raise cursor.damaged("truncated", "the picture does not end")
            place = following.start()


def read_gif(stream: BinaryIO, size: int) -> tuple[str, ...]:
    """Walk over the blocks of a GIF."""
    cursor = Cursor(stream, size, check="gif", what="a GIF picture")
    if cursor.take(6) not in (b"GIF87a", b"GIF89a"):
        raise cursor.damaged("magic", "it does not begin like one")
    flags = cursor.take(7)[4]
    cursor.skip(3 * (2 << (flags & 7)) if flags & 0x80 else 0)
    while True:
        kind = cursor.take(1)
        if kind == b";":
            break
        if kind == b"!":
            cursor.skip(1)
        elif kind == b",":
            flags = cursor.take(9)[8]
            cursor.skip((3 * (2 << (flags & 7)) if flags & 0x80 else 0) + 1)
        else:
            raise cursor.damaged("block", f"a block that begins with {kind!r}")
        while length := cursor.take(1)[0]:
            cursor.skip(length)
    if cursor.left():
        raise cursor.damaged("trailing", f"{cursor.left()} bytes follow the end of the picture")
    return ()


def read_riff(stream: BinaryIO, size: int) -> tuple[str, ...]:
    """Walk over the chunks of a WebP or WAV file."""
    cursor = Cursor(stream, size, check="riff", what="a WebP picture or a WAV sound")
    magic, length, form = cursor.take(4), cursor.number("<I"), cursor.take(4)
    known = RIFF_CHUNKS.get(form)
    if magic != b"RIFF" or known is None:
        raise cursor.damaged("magic", "it does not begin like one")
    if length + 8 not in (size, size - 1) or (length + 8 == size - 1 and length % 2 == 0):
        raise cursor.damaged("trailing", f"{length + 8} bytes are announced, {size} are there")
    unknown: dict[str, None] = {}
    while cursor.left():
        kind, length = cursor.take(4), cursor.number("<I")
        cursor.skip(length)
        if length % 2 and cursor.left():
            cursor.zeros(1, "the padding of a chunk")
        if kind not in known:
            unknown[kind.decode("latin-1")] = None
    return tuple(unknown)
