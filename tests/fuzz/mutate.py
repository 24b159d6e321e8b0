"""Ways of changing a seed: some know nothing of what they change, others keep a container or a stream in form."""

import bz2
import gzip
import io
import json
import lzma
import struct
import zipfile
import zlib

from attack_archives import Member, zipped

from weighbridge.formats.pickle_ops import PickleBroken, decode

LARGEST = 512 * 1024
"""Bytes of one input at most: what a small hostile file may do is what is asked here."""

_TOKENS = (
    b"\x80\x04", b"\x95", b"cos\nsystem\n", b"(i", b"R", b".", b"\x93", b"\x8c\x05posix", b"X\xff\xff\xff\x7f", b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff", b"2", b"r\xff\xff\xff\xff", b"(((((((((", b"tttttttt", b"q\x00", b"h\x00",
    b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x07\x08", b"\x01\x00\x18\x00", b"GGUF", b"\x93NUMPY", b"|O", b"(-1,)", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\x00", b"\x04\x22\x4d\x18", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c",
    b"ustar\x00", b"TFL3", b"\x89HDF\r\n\x1a\n", b"OHDR", b"TREE", b"SNOD", b"HEAP", b"BTHD", b'{"', b'"}', b"[[[[[[[[", b"]]]]", b"{{ ", b" }}", b"{% ", b" %}", b"\\u0000", b"\xff\xfe", b"\xe2\x80\xae", b"../", b"__class__", b"!!python/", b"&a [*a]", b"<<: *a",
    b"\x7fELF", b"MZ", b"#!", b"9" * 30, b"-1", b"1e999", b"NaN", b"\x00" * 16, b"\xff" * 16, b"\n" * 8,
)  # fmt: skip
_NUMBERS = (
    0,
    1,
    2,
    7,
    8,
    16,
    127,
    128,
    255,
    256,
    1 << 15,
    (1 << 16) - 1,
    1 << 16,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)


def flip(rng, data, _others):
    """Change a few bytes."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(out))
        out[at] = rng.choice(
            (out[at] ^ 1 << rng.randrange(8), rng.randrange(256), out[at] + 1 & 255, out[at] - 1 & 255)
        )
    return bytes(out)


def number(rng, data, _others):
    """Write a number that lies at some edge over some place."""
    width = rng.choice((1, 2, 4, 8))
    value = (rng.choice(_NUMBERS) + rng.choice((0, 0, -1, 1, len(data)))) % (1 << 8 * width)
    at = rng.randrange(len(data))
    return data[:at] + value.to_bytes(width, rng.choice(("little", "big"))) + data[at + width :]


def token(rng, data, _others):
    """Put a word that means something to some reader somewhere, over what is there or between it."""
    piece, at = rng.choice(_TOKENS), rng.randrange(len(data) + 1)
    return data[:at] + piece + data[at + (len(piece) if rng.random() < 0.5 else 0) :]


def cut(rng, data, _others):
    """Leave the end, the beginning or the middle out."""
    one, two = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    return rng.choice((data[:two], data[one:], data[:one] + data[two:]))


def double(rng, data, _others):
    """Write a piece again, once or many times."""
    at, size = rng.randrange(len(data)), rng.choice((1, 2, 8, 40, 400, len(data)))
    return data[:at] + data[at : at + size] * rng.choice((2, 2, 3, 50, 1000)) + data[at + size :]


def swap(rng, data, _others):
    """Exchange two pieces."""
    a, b, c, d = sorted(rng.randrange(len(data) + 1) for _ in range(4))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def splice(rng, data, others):
    """Join the beginning of one input and the end of another."""
    other = rng.choice(others)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


PLAIN = (flip, flip, flip, number, number, token, token, cut, double, swap, splice)


def _pieces(data):
    """Return the opcodes of the streams in `data`, each with its argument, and what is left."""
    starts, at = [], 0
    while at < len(data):
        try:
            starts += [op.pos for op in decode(data, at)]
        except PickleBroken:
            break
        at = starts[-1] + 1
    starts = sorted({*starts, at})
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True) if b > a]


def opcodes(rng, data, _others):
    """Leave out, repeat, exchange or change whole opcodes."""
    pieces = _pieces(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        if not pieces:
            return data
        at, to = rng.randrange(len(pieces)), rng.randrange(len(pieces))
        kind = rng.randrange(5)
        if kind == 0:
            del pieces[at]
        elif kind == 1:
            pieces.insert(to, pieces[at])
        elif kind == 2:
            pieces[at], pieces[to] = pieces[to], pieces[at]
        elif kind == 3:
            pieces[at] = rng.choice(
                (
                    b"0",
                    b"1",
                    b"2",
                    b"(",
                    b")",
                    b"]",
                    b"}",
                    b"N",
                    b"R",
                    b"b",
                    b"o",
                    b"s",
                    b"a",
                    b"e",
                    b"u",
                    b"t",
                    b"\x81",
                    b"\x92",
                    b"\x93",
                    b"\x94",
                    b"\x8f",
                    b"\x90",
                    b"\x91",
                    b"Q",
                    b"\x85",
                    b"\x97",
                    b"\x98",
                    b"l",
                    b"d",
                )
            )
        else:
            pieces[at] = pieces[at][:1] + flip(rng, pieces[at][1:], ()) if len(pieces[at]) > 1 else pieces[at]
    return b"".join(pieces)


def splice_opcodes(rng, data, others):
    """Put the opcodes of another stream between those of this one."""
    mine, theirs = _pieces(data), _pieces(rng.choice(others))
    at = rng.randrange(len(mine) + 1)
    one, two = sorted((rng.randrange(len(theirs) + 1), rng.randrange(len(theirs) + 1)))
    return b"".join(mine[:at] + theirs[one:two] + mine[at:])


def _rewritten(rng, data, change):
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [
                (info, archive.read(info)) for info in archive.infolist()[:40] if info.file_size <= LARGEST
            ]
    except Exception:  # noqa: BLE001  what is no archive is changed in another way
        return flip(rng, data, ())
    if not members:
        return data
    chosen, written = rng.randrange(len(members)), []
    for index, (info, content) in enumerate(members):
        method = (
            rng.choice((0, 8))
            if rng.random() < 0.1
            else info.compress_type
            if info.compress_type in (0, 8)
            else 0
        )
        written.append(Member(info.filename, change(content) if index == chosen else content, method))
    return zipped(written)


def member(rng, data, others):
    """Change one member of a zip archive and write the archive anew, so that its checksums hold."""
    return _rewritten(
        rng,
        data,
        lambda content: (
            rng.choice((*PLAIN, opcodes, json_value))(rng, content, others)
            if content
            else rng.choice(_TOKENS)
        ),
    )


def member_json(rng, data, others):
    """Change one value of one JSON member."""
    return _rewritten(rng, data, lambda content: json_value(rng, content, others))


def zip_fields(rng, data, _others):
    """Change one number of a header of a zip archive."""
    marks = [
        at
        for mark in (b"PK\3\4", b"PK\1\2", b"PK\5\6")
        for at in range(len(data))
        if data.startswith(mark, at)
    ][:200]
    if not marks:
        return flip(rng, data, ())
    at = rng.choice(marks) + rng.randrange(4, 46)
    return (
        data[:at] + rng.choice(_NUMBERS).to_bytes(8, "little")[: rng.choice((1, 2, 4))] + data[at + 1 :]
        if rng.random() < 0.3
        else flip_at(rng, data, at)
    )


def flip_at(rng, data, at):
    """Change the byte at `at`, when there is one."""
    return data[:at] + bytes((rng.randrange(256),)) + data[at + 1 :] if at < len(data) else data


def header(rng, data, _others):
    """Change the JSON header of a safetensors file and write its length anew."""
    (length,) = struct.unpack("<Q", data[:8].ljust(8, b"\0"))
    if not 2 <= length <= len(data) - 8:
        return flip(rng, data, ())
    changed = json_value(rng, data[8 : 8 + length], ())
    return struct.pack("<Q", len(changed)) + changed + data[8 + length :]


def json_value(rng, data, _others):
    """Change one value or key of a JSON text."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return flip(rng, data, ()) if data else data
    odd = rng.choice(
        (
            None,
            True,
            -1,
            0,
            1 << 63,
            1 << 70,
            0.5,
            "",
            "x" * 300,
            "../../x",
            "{{ ''.__class__ }}",
            "os.system",
            [],
            {},
            [[[[]]]],
            {"auto_map": {"a": "b.C"}},
            "\ud800",
            "\x00",
        )
    )
    places = []

    def visit(node, depth=0):
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            places.append((node, key))
            if depth < 50:
                visit(node[key], depth + 1)

    visit(value)
    if not places:
        return json.dumps(odd).encode()
    node, key = rng.choice(places)
    kind = rng.randrange(4)
    if kind == 0:
        node[key] = odd
    elif kind == 1:
        del node[key]
    elif kind == 2 and isinstance(node, dict):
        node[rng.choice(("", "auto_map", "chat_template", "__metadata__", "weight_map", "x"))] = node[key]
    else:
        node[key] = rng.choice((node[key], [node[key]] * rng.choice((2, 50)), {"x": node[key]}))
    return json.dumps(value).encode()


def words(rng, data, others):
    """Exchange, repeat or leave out words of a text, or nest brackets deeply."""
    parts = data.split(b" ")
    at, to = rng.randrange(len(parts)), rng.randrange(len(parts))
    kind = rng.randrange(5)
    if kind == 0:
        parts[at], parts[to] = parts[to], parts[at]
    elif kind == 1:
        parts[at:at] = [parts[to]] * rng.choice((1, 3, 200))
    elif kind == 2:
        parts[at] = rng.choice(_TOKENS)
    elif kind == 3:
        parts[at] = rng.choice(
            (b"(", b"[", b"{", b"- ", b"{{", b"not ", b"-", b"a.", b"a|b", b"lambda:", b"1+", b"if 1:\n ")
        ) * rng.choice((3, 100, 2000))
    else:
        parts = parts[:at] + rng.choice(others).split(b" ")[:40] + parts[at:]
    return b" ".join(parts)


def unpacked(rng, data, others):
    """Unpack, change what is inside, and pack it again."""
    packers = (
        (b"\x1f\x8b", gzip.decompress, lambda d: gzip.compress(d, 1, mtime=0)), (b"x", zlib.decompress, lambda d: zlib.compress(d, 1)),
        (b"BZh", bz2.decompress, bz2.compress), (b"\xfd7zXZ", lzma.decompress, lambda d: lzma.compress(d, preset=0)),
        (b"]\0\0", lzma.decompress, lambda d: lzma.compress(d, format=lzma.FORMAT_ALONE, preset=0)),
    )  # fmt: skip
    for magic, unpack, pack in packers:
        if data.startswith(magic):
            try:
                inner = unpack(data)[:LARGEST]
            except Exception:  # noqa: BLE001  already damaged
                break
            return pack(rng.choice((*PLAIN, opcodes))(rng, inner, others)) if inner else data
    return flip(rng, data, ())


def changed(rng, changes, corpus):
    """Return one new input out of a corpus: one to six changes of one member."""
    data = rng.choice(corpus)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        if not data:
            data = rng.choice(_TOKENS)
        data = rng.choice(changes)(rng, data, corpus)[:LARGEST]
    return data
