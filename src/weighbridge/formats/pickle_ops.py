"""Decode pickle opcodes, protocols 0 to 5, without running them.

Sources: the opcode comments of CPython's Lib/pickletools.py and the behaviour of its Modules/_pickle.c.
The decoder is at least as strict: what CPython refuses is refused here, and so is what only one of
its two unpicklers accepts (octal or hexadecimal INT, frames that cut an opcode in two).

`decode` yields every opcode with its argument; `span` and `argument` are its two halves, which
the symbolic machine uses as well, so that there is one reading of the bytes. The file keeps to plain
annotations, so that it can be compiled as it stands (see `pickle_build`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from weighbridge.formats.pickle_events import Op, PickleBroken

if TYPE_CHECKING:
    from mypy_extensions import i64

__all__ = [
    "CODES", "COUNTED", "HIGHEST_PROTOCOL", "KINDS", "LINES", "MAX_OPCODES", "NAMES", "WIDTH", "PickleBroken", "argument",
    "decode", "loose_number", "span", "wide",
]  # fmt: skip

MAX_OPCODES: Final = 60_000_000
HIGHEST_PROTOCOL: Final = 5


# Argument kinds: none, little-endian unsigned of 1, 2, 4, 8 bytes, signed of 4, big-endian double,
# bytes counted by 1, 4 (unsigned), 4 (signed), 8, and lines of text.
_NO, _U1, _U2, _U4, _U8, _I4, _F8, _C1, _C4, _S4, _C8, _LINE, _TWO = range(13)
COUNTED: Final = _C1
"""Argument kinds from here on, but for lines, begin with a count of the bytes that follow."""
LINES: Final = _LINE
"""Argument kinds from here on are lines of text."""
WIDTH: Final = (0, 1, 2, 4, 8, 4, 8, 1, 4, 4, 8, 0, 0)

_ROWS: Final = (
    ("MARK", "(", _NO), ("STOP", ".", _NO), ("POP", "0", _NO), ("POP_MARK", "1", _NO), ("DUP", "2", _NO),
    ("FLOAT", "F", _LINE), ("INT", "I", _LINE), ("BININT", "J", _I4), ("BININT1", "K", _U1),
    ("LONG", "L", _LINE), ("BININT2", "M", _U2), ("NONE", "N", _NO), ("PERSID", "P", _LINE),
    ("BINPERSID", "Q", _NO), ("REDUCE", "R", _NO), ("STRING", "S", _LINE), ("BINSTRING", "T", _S4),
    ("SHORT_BINSTRING", "U", _C1), ("UNICODE", "V", _LINE), ("BINUNICODE", "X", _C4), ("APPEND", "a", _NO),
    ("BUILD", "b", _NO), ("GLOBAL", "c", _TWO), ("DICT", "d", _NO), ("EMPTY_DICT", "}", _NO),
    ("APPENDS", "e", _NO), ("GET", "g", _LINE), ("BINGET", "h", _U1), ("INST", "i", _TWO),
    ("LONG_BINGET", "j", _U4), ("LIST", "l", _NO), ("EMPTY_LIST", "]", _NO), ("OBJ", "o", _NO),
    ("PUT", "p", _LINE), ("BINPUT", "q", _U1), ("LONG_BINPUT", "r", _U4), ("SETITEM", "s", _NO),
    ("TUPLE", "t", _NO), ("EMPTY_TUPLE", ")", _NO), ("SETITEMS", "u", _NO), ("BINFLOAT", "G", _F8),
    ("BINBYTES", "B", _C4), ("SHORT_BINBYTES", "C", _C1), ("PROTO", "\x80", _U1), ("NEWOBJ", "\x81", _NO),
    ("EXT1", "\x82", _U1), ("EXT2", "\x83", _U2), ("EXT4", "\x84", _I4), ("TUPLE1", "\x85", _NO),
    ("TUPLE2", "\x86", _NO), ("TUPLE3", "\x87", _NO), ("NEWTRUE", "\x88", _NO), ("NEWFALSE", "\x89", _NO),
    ("LONG1", "\x8a", _C1), ("LONG4", "\x8b", _S4), ("SHORT_BINUNICODE", "\x8c", _C1),
    ("BINUNICODE8", "\x8d", _C8), ("BINBYTES8", "\x8e", _C8), ("EMPTY_SET", "\x8f", _NO),
    ("ADDITEMS", "\x90", _NO), ("FROZENSET", "\x91", _NO), ("NEWOBJ_EX", "\x92", _NO),
    ("STACK_GLOBAL", "\x93", _NO), ("MEMOIZE", "\x94", _NO), ("FRAME", "\x95", _U8),
    ("BYTEARRAY8", "\x96", _C8), ("NEXT_BUFFER", "\x97", _NO), ("READONLY_BUFFER", "\x98", _NO),
)  # fmt: skip

NAMES: Final[dict[int, str]] = {ord(code): name for name, code, _ in _ROWS}
CODES: Final[dict[str, int]] = {name: ord(code) for name, code, _ in _ROWS}
KINDS: Final[dict[int, int]] = {ord(code): kind for _, code, kind in _ROWS}

_DECIMAL: Final = re.compile(rb"[+-]?(0|[1-9][0-9]*)")
_INDEX: Final = re.compile(rb"[0-9]{1,18}")
_DOUBLE: Final = re.compile(
    rb"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|nan)", re.IGNORECASE
)
_ESCAPE: Final = re.compile(rb"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|[\\'\"bfnrtva]|x|)", re.DOTALL)
_PLAIN_ESCAPES: Final = {
    b"\\": b"\\", b"'": b"'", b'"': b'"', b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r",
    b"t": b"\t", b"v": b"\v", b"a": b"\a",
}  # fmt: skip


def span(data: bytes, pos: int) -> int:
    """Return where the opcode at `pos` ends; raises PickleBroken when it is unknown or not all there."""
    size = len(data)
    if pos >= size:
        raise PickleBroken(pos, "the data ends without STOP")
    kind = KINDS.get(data[pos])
    if kind is None:
        raise PickleBroken(pos, f"0x{data[pos]:02x} is not an opcode")
    if kind == _NO:
        return pos + 1
    if kind in (_LINE, _TWO):
        end = _line_end(data, pos + 1)
        return end if kind == _LINE else _line_end(data, end)
    end = pos + 1 + WIDTH[kind]
    if end > size:
        raise PickleBroken(pos, "the data ends inside an opcode")
    if kind >= _C1:
        count = int.from_bytes(data[pos + 1 : end], "little", signed=kind == _S4)
        if count < 0:
            raise PickleBroken(pos, "a length is negative")
        if count > size - end:
            raise PickleBroken(pos, "a declared length is longer than the data")
        end += count
    return end


def _line_end(data: bytes, start: int) -> int:
    newline = data.find(b"\n", start)
    if newline < 0:
        raise PickleBroken(start, "a line of text does not end")
    return newline + 1


def argument(data: bytes, pos: int, end: int) -> object:
    """Return the argument of the opcode at [pos, end) as CPython decodes it; raises PickleBroken."""
    code = data[pos]
    kind = KINDS[code]
    if kind == _NO:
        return None
    if kind in (_LINE, _TWO):
        return _text(NAMES[code], data, pos, end)
    body = data[pos + 1 : end]
    if kind == _F8:
        return float(struct.unpack(">d", body)[0])
    if kind < _C1:
        return int.from_bytes(body, "little", signed=kind == _I4)
    body = body[WIDTH[kind] :]
    name = NAMES[code]
    if name.endswith("UNICODE") or name == "BINUNICODE8":
        return _decoded(body, "utf-8", "surrogatepass", pos)
    if name in ("LONG1", "LONG4"):
        return int.from_bytes(body, "little", signed=True)
    if name.endswith("BINSTRING"):
        return body.decode("ascii") if body.isascii() else body
    return bytearray(body) if name == "BYTEARRAY8" else body


def _text(name: str, data: bytes, pos: int, end: int) -> object:
    line = data[pos + 1 : end - 1]
    if name in ("GLOBAL", "INST"):
        module, _, attribute = line.partition(b"\n")
        codec = "utf-8" if name == "GLOBAL" else "ascii"
        return (_decoded(module, codec, "strict", pos), _decoded(attribute, codec, "strict", pos))
    if name == "STRING":
        if len(line) < 2 or line[0] != line[-1] or line[0] not in b"'\"":
            raise PickleBroken(pos, "a STRING is not quoted")
        body = _unescaped(line[1:-1], pos)
        return body.decode("ascii") if body.isascii() else body
    if name == "UNICODE":
        return _decoded(line, "raw-unicode-escape", "strict", pos)
    if name == "PERSID":
        return _decoded(line, "ascii", "strict", pos)
    if name == "FLOAT":
        if not _DOUBLE.fullmatch(line):
            raise PickleBroken(pos, "a FLOAT is not a number")
        return float(line)
    return _integer(name, line, pos)


def _integer(name: str, line: bytes, pos: int) -> object:
    if name in ("GET", "PUT"):
        if not _INDEX.fullmatch(line):
            raise PickleBroken(pos, "a memo index is not a plain decimal number")
        return int(line)
    if name == "INT" and line in (b"00", b"01"):
        return line == b"01"
    if name == "LONG":
        line = line.removesuffix(b"L")
    if not _DECIMAL.fullmatch(line):
        raise PickleBroken(pos, "an integer is not a plain decimal number")
    try:
        return int(line)
    except ValueError as error:
        raise PickleBroken(pos, "an integer has too many digits") from error


def loose_number(name: str, line: bytes) -> int | None:
    """Return the number a line means to one of CPython's two unpicklers, where no pickler writes it so.

    Whitespace, underscores, other bases and what follows a zero byte are taken by one of them or by both;
    for FLOAT, and for INT and LONG too long to be worth reading, 0 stands for any number. None: neither takes it.
    """
    for text in (line, line.partition(b"\0")[0]):
        if name == "LONG":
            text = text.removesuffix(b"L")  # noqa: PLW2901  the unpicklers take it off as well
        if name in ("INT", "LONG") and _DECIMAL.fullmatch(text):
            return 0
        for read in _LOOSE.get(name) or (_any_base, _octal):
            try:
                return read(text)
            except ValueError:
                continue
    return 0 if name == "INT" and line[:1] == b"\0" else None


def _any_base(text: bytes) -> int:
    return int(text, 0)


def _octal(text: bytes) -> int:
    return int(text, 8)


def _decimal(text: bytes) -> int:
    return int(text)


def _float(text: bytes) -> int:
    float(text)
    return 0


_LOOSE: Final = {"FLOAT": (_float,), "GET": (_decimal,), "PUT": (_decimal,)}


def _decoded(body: bytes, codec: str, errors: str, pos: int) -> str:
    try:
        return body.decode(codec, errors)
    except UnicodeDecodeError as error:
        raise PickleBroken(pos, f"a text is not valid {codec}") from error


def _unescaped(body: bytes, pos: int) -> bytes:
    """Undo the escapes of a bytes literal; an escape that Python does not know keeps its backslash."""
    if b"\\" not in body:
        return body
    parts: list[bytes] = []
    done = 0
    for match in _ESCAPE.finditer(body):
        parts.append(body[done : match.start()])
        done = match.end()
        escape = match.group(1)
        if escape in _PLAIN_ESCAPES:
            parts.append(_PLAIN_ESCAPES[escape])
        elif escape == b"x":
            raise PickleBroken(pos, "a STRING has a damaged \\x escape")
        elif escape == b"":
            if done == len(body):
                raise PickleBroken(pos, "a STRING ends in a backslash")
            parts.append(b"\\")
        else:
            number = int(escape[1:], 16) if escape[:1] == b"x" else int(escape, 8)
            parts.append(bytes((number & 0xFF,)))
    parts.append(body[done:])
    return b"".join(parts)


def decode(data: bytes, start: int = 0, *, max_opcodes: int = MAX_OPCODES) -> Iterator[Op]:
    """Yield each opcode from `start` up to and with STOP; raises PickleBroken, also when `max_opcodes` is spent.

    Frames are checked as CPython's pure Python unpickler does and its C unpickler does not: no opcode
    crosses the end of a frame, frames do not nest, and STOP is the last byte of its frame.
    """
    pos = start
    frame_end = -1
    for _ in range(max_opcodes):
        end = span(data, pos)
        code = data[pos]
        if pos < frame_end < end:
            raise PickleBroken(pos, "an opcode crosses the end of its frame")
        value = argument(data, pos, end)
        if isinstance(value, tuple) and "" in value:
            raise PickleBroken(pos, "a global has an empty name")
        if code == 0x95:
            frame_end = _framed(data, pos, end, frame_end)
        elif code == 0x80 and data[pos + 1] > HIGHEST_PROTOCOL:
            raise PickleBroken(pos, f"protocol {data[pos + 1]} does not exist")
        elif code == 0x2E and frame_end > end:
            raise PickleBroken(pos, "the frame goes on after STOP")
        yield Op(code, NAMES[code], value, pos, end)
        if code == 0x2E:
            return
        pos = end
    raise PickleBroken(pos, f"more than {max_opcodes} opcodes")


def _framed(data: bytes, pos: int, end: int, frame_end: int) -> int:
    """Return where the frame that begins at `end` ends."""
    length = int.from_bytes(data[pos + 1 : end], "little")
    if end < frame_end:
        raise PickleBroken(pos, "a frame begins inside a frame")
    if length > len(data) - end:
        raise PickleBroken(pos, "a frame is longer than the data")
    return end + length


def wide(data: bytes, pos: i64) -> i64:
    """Return the four-byte number behind the opcode at `pos`."""
    low: i64 = data[pos + 1]
    second: i64 = data[pos + 2]
    third: i64 = data[pos + 3]
    high: i64 = data[pos + 4]
    return low | second << 8 | third << 16 | high << 24
