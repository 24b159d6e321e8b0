"""What may stand beside a zip member's data: extra fields and comments that are known and hold what they should.

Source: PKWARE APPNOTE.TXT 6.3.10, sections 4.4.11, 4.5 and 4.6, and Info-ZIP's list of extra fields. Fields
that no reader needs are a place to keep bytes that nobody looks at; each is held to its exact form.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

ZIP64 = 0x0001
_TIMES = 0x5455
_UNIX_OLD, _UNIX_OLDER, _UNIX = 0x5855, 0x7855, 0x7875
_NTFS = 0x000A
_PADDING = 0x4246
_UNICODE_PATH, _UNICODE_COMMENT = 0x7075, 0x6375
_JAR = 0xCAFE


def fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield id and body of each field; a last field that is cut off comes with the id -1 and what is left."""
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, place)
        body = extra[place + 4 : place + 4 + length]
        if len(body) < length:
            break
        yield kind, body
        place += 4 + length
    if place < len(extra):
        yield -1, extra[place:]


def odd_fields(extra: bytes, raw_name: bytes, name: str) -> Iterator[tuple[str, str]]:
    """Yield (anomaly code, what is odd) for each field of one member that no honest writer leaves there."""
    seen: set[int] = set()
    for kind, body in fields(extra):
        if kind in seen:
            yield "extra", f"the extra field 0x{kind:04x} stands there twice"
        seen.add(kind)
        if kind == -1:
            yield "extra", "an extra field is cut off"
        elif kind == _UNICODE_PATH:
            if body != b"\1" + zlib.crc32(raw_name).to_bytes(4, "little") + name.encode("utf-8", "replace"):
                yield "second-name", "an extra field gives the member a second name"
        elif not _known(kind, body):
            yield "hidden", f"the extra field 0x{kind:04x} holds {len(body)} bytes that no reader explains"


def _known(kind: int, body: bytes) -> bool:
    """Tell whether a field is one that honest writers leave, in its exact form."""
    size = len(body)
    if kind == ZIP64:
        return size in (8, 16, 24, 28)
    if kind == _TIMES:
        return size in (1, 5, 9, 13) and body[0] < 8
    if kind == _UNIX:
        return (
            size in (3, 7, 11, 19)
            and body[:2] in (b"\1\0", b"\1\2", b"\1\4", b"\1\10")
            and 2 * body[1] + 3 == size
        )
    if kind in (_UNIX_OLD, _UNIX_OLDER):
        return size in (0, 4, 8, 12)
    if kind == _NTFS:
        return size == 32 and body[:8] == b"\0\0\0\0\1\0\x18\0"
    if kind == _PADDING:
        return not body.strip(b"Z") or not body.strip(b"\0")
    return kind == _JAR and not body


def odd_comment(comment: bytes) -> bool:
    """Tell whether a comment is anything but text: it is a place that no loader reads and no scanner looks at."""
    try:
        text = comment.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return any(not char.isprintable() and char not in "\t\n\r" for char in text)
