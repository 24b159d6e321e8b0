"""Streams to hold the machine against CPython's unpicklers: grown, mutated, framed and spelled oddly, from a seed."""

import collections
import datetime as dt
import decimal
import fractions
import io
import pickle
import pickletools
import struct
import uuid

CODES = [ord(op.code) for op in pickletools.opcodes]
MODULES = ["os", "builtins", "a", "copyreg", "collections", "m.n", "é", "__main__", "b"]
NAMES = ["system", "eval", "C", "_reconstructor", "OrderedDict", "a.b", "ü", "__newobj__", "D", "x y"]


def word(chance, words):
    return chance.choice(words)


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self):
        self.a, self.b = 1, [2]


class Plain:
    def __init__(self, value):
        self.value = value


class WithItems(dict):
    pass


class WithList(list):
    pass


class WithNew(tuple):
    __slots__ = ()

    def __getnewargs_ex__(self):
        return (tuple(self),), {"k": 1}

    def __new__(cls, *args, **_k):
        return super().__new__(cls, *args)


def samples():
    """Values whose pickles use every opcode that a pickler writes."""
    loop = [1]
    loop.append(loop)
    return [
        None, True, 1, -5, 300, 70000, 1 << 40, 1 << 300, 1.5, "text", "é\n'\"\\", "\ud800", b"bytes", b"\xff" * 300,
        bytearray(b"x"), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [1, [2]], {}, {"a": 1, "b": {"c": None}}, {1, 2},
        frozenset({3}), loop, "x" * 300, collections.OrderedDict(a=1), collections.deque([1]), decimal.Decimal("1.5"),
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC), uuid.UUID(int=5), fractions.Fraction(1, 3), range(5), Slotted(), Plain([1]),
        WithItems(a=1), WithList([1]), WithNew((1,)), Plain, len, {Plain(1): Plain(2)}, [Plain(1), Plain(2)] * 2,
        {"__class__": 1}, slice(1, 2), complex(1, 2), Plain((Plain(1), {"k": (Plain(2),)})), "x" * 70000,
    ]  # fmt: skip


class Persisting(pickle._Pickler):
    def persistent_id(self, obj):
        return ("storage", 1) if isinstance(obj, float) else None


def valid():
    """Valid pickles of all protocols, from both picklers."""
    found = []
    for protocol in range(6):
        for value in samples():
            written = io.BytesIO()
            try:
                found.append(pickle.dumps(value, protocol))
                Persisting(written, protocol).dump([value, 1.5, value])
            except (pickle.PicklingError, TypeError):
                continue
            found.append(written.getvalue())
    return [data for data in found if len(data) < 2000]


VALID = valid()


def text_number(chance):
    return chance.choice(
        [b"0", b"1", b"00", b"01", b"-1", b"+1", b" 1", b"1 ", b"0x1f", b"010", b"0o17", b"0b1", b"1_0", b"1L", b"1\0x",
         b"", b"\0", b"\0zz", b"9" * 30, b"9" * 5000, b"1.5", b"nan", b"inf", b"1e5", b"infinity", b"\t2", b"- 1", b"1__0", b"2",
         b"\xb2", b"1e999", b"0L", b"LL", b"0xL", b"0X1", b"08", b"-0x1", b"1\r", b"\x0b1", b"1\x1c"]
    )  # fmt: skip


def text_string(chance):
    body = chance.choice(
        [
            b"os",
            b"system",
            b"a\\x41",
            b"\\101",
            b"\\777",
            b"\\",
            b"\\\\",
            b"\\q",
            b"\\x4",
            b"\\\n",
            b"\xff",
            b"\\u0041",
            b"a'b",
        ]
    )
    return chance.choice(
        [
            b"'" + body + b"'",
            b'"' + body + b'"',
            body,
            b"'" + body + b'"',
            b" '" + body + b"'",
            b"'",
            b"''",
            b"'" + body + b"' ",
        ]
    )


def name_line(chance):
    module, name = word(chance, MODULES).encode(), word(chance, NAMES).encode()
    dice = chance.random()
    if dice < 0.85:
        return module + b"\n" + name + b"\n"
    return chance.choice(
        [b"\n" + name + b"\n", module + b"\n\n", module + b"\r\n" + name + b"\n", module + b"\n" + name,
         module, b"\xff\n" + name + b"\n", module + b"\n\xc3\n", b"", b"\n", module + b"\0\n" + name + b"\n"]
    )  # fmt: skip


def argument(chance, code):
    """Bytes behind an opcode, nearly always of the right form."""
    if code in b"ci":
        return name_line(chance)
    if code in b"IFLgp":
        if code in b"gp" and chance.random() < 0.8:
            return b"%d\n" % chance.randrange(6)
        return text_number(chance) + b"\n"
    if code in b"S":
        return text_string(chance) + b"\n"
    if code in b"V":
        return (
            chance.choice(
                [b"os", b"\\u006fs", b"\\u00", b"\xe9", b"a\\", b"\\ud800", b"system", b"__class__"]
            )
            + b"\n"
        )
    if code in b"P":
        return chance.choice([b"pid", b"", b"\xff", b"1"]) + b"\n"
    if code in b"K\x80\x82qhU\x8cC\x8a":
        number = chance.randrange(6) if code in b"qh\x80" or chance.random() < 0.6 else chance.randrange(256)
        body = counted(chance, number) if code in b"U\x8cC\x8a" else b""
        if body and chance.random() < 0.9:
            number = len(body)
        return bytes((number & 255,)) + body
    if code in b"M\x83":
        return struct.pack("<H", chance.randrange(65536))
    if code in b"JrjXBT\x8b\x84":
        if code in b"rjJ\x84":
            return struct.pack("<i", chance.choice([0, 1, 2, 3, 5, 300, -1]))
        body = counted(chance, 5)
        return struct.pack("<i", len(body) + chance.choice([0] * 20 + [1, -1, 1000])) + body
    if code in b"\x8d\x8e\x96":
        body = counted(chance, 5)
        return struct.pack("<q", len(body) + chance.choice([0] * 20 + [1, 1000])) + body
    if code == 0x95:
        return struct.pack("<Q", chance.choice([0, 1, 2, 3, 5, 8, 13, 21, 40, 100, 1 << 62, (1 << 64) - 1]))
    return bytes(chance.randrange(256) for _ in range(8)) if code in b"G" else b""


def counted(chance, size):
    dice = chance.random()
    if dice < 0.7:
        return word(chance, MODULES + NAMES).encode()
    if dice < 0.8:
        return word(chance, ["__class__", "__dict__", "text", ""]).encode()
    return bytes(chance.randrange(256) for _ in range(min(size, 20)))


PUSH = b"NKJM\x88\x89IFLGSVU\x8cXC)]}\x8fc\x8c\x8cKN(((("
ONE = b"\x85aq\x94pr2b0Rb\x81oQ"
TWO = b"\x86R\x81\x93Rb\x93as\x90\x92"
ALL = b"tlduoe1\x91\x90i"


def grown(chance):
    """A stream whose opcodes mostly find on the stack what they need."""
    out = [b"\x80" + bytes((chance.choice([2, 3, 4, 5, 4, 0, 6]),))] if chance.random() < 0.5 else []
    depth, marks, kept = 0, [], 0
    for _ in range(chance.randrange(2, 60)):
        dice = chance.random()
        if dice < 0.04:
            code = chance.choice(CODES)
        elif dice < 0.14:
            out.append(called(chance))
            depth += 1
            continue
        elif dice < 0.24 and kept:
            code = chance.choice(b"hgj")
        elif marks and dice < 0.4:
            code = chance.choice(ALL)
        elif depth >= 3 and dice < 0.55:
            code = chance.choice(b"\x87" + TWO)
        elif depth >= 2 and dice < 0.65:
            code = chance.choice(TWO)
        elif depth >= 1 and dice < 0.75:
            code = chance.choice(ONE)
        else:
            code = chance.choice(PUSH)
        if code == 0x2E:
            continue
        out.append(bytes((code,)) + argument(chance, code))
        if code == 0x28:
            marks.append(depth)
        elif code in ALL and marks:
            depth = marks.pop() + (code in b"tld\x91io")
        elif code in b"qp\x94r":
            kept += 1
        elif code in TWO:
            depth = max(depth - 1, 0)
        elif code in PUSH or code in b"hgj":
            depth += 1
    return b"".join(out) + b"."


def called(chance):
    """A call in one of its forms."""
    module, name = word(chance, MODULES).encode(), word(chance, NAMES).encode()
    named = chance.choice(
        [b"c%s\n%s\n" % (module, name), b"\x8c%c%s\x8c%c%s\x93" % (len(module), module, len(name), name),
         b"U%c%sV%s\n\x93" % (len(module), module, name)]
    )  # fmt: skip
    return chance.choice(
        [named + b")R", named + b"N\x85R", named + b")\x81", b"(" + named + b"No", b"(i%s\n%s\n" % (module, name),
         named + b")}\x92", named + b")R}b", named + b")\x81}U\x01aNsb", named + b")\x81(NNe", named, named + b"(Nt\x81(NNu"]
    )  # fmt: skip


def loose(chance):
    """Opcodes at random, with the arguments they need."""
    out = []
    for _ in range(chance.randrange(1, 30)):
        code = chance.choice(CODES)
        out.append(bytes((code,)) + argument(chance, code))
    return b"".join(out) + b"."


def mutated(chance):
    """A valid pickle with a few bytes flipped, inserted, taken out, repeated, cut off, or put in from another one."""
    data = bytearray(chance.choice(VALID))
    for _ in range(chance.choice([1, 1, 1, 2, 3, 6])):
        if not data:
            break
        at = chance.randrange(len(data))
        dice = chance.randrange(8)
        if dice == 0:
            data[at] = chance.randrange(256)
        elif dice == 1:
            data[at] ^= 1 << chance.randrange(8)
        elif dice == 2:
            code = chance.choice(CODES)
            data[at:at] = bytes((code,)) + argument(chance, code)
        elif dice == 3:
            del data[at : at + chance.randrange(1, 9)]
        elif dice == 4:
            data[at:at] = data[at : at + chance.randrange(1, 20)]
        elif dice == 5:
            del data[at:]
        elif dice == 6:
            other = chance.choice(VALID)
            start = chance.randrange(len(other))
            data[at : at + chance.choice([0, 0, 5])] = other[start : start + chance.randrange(1, 40)]
        else:
            data[at:at] = called(chance)
    return bytes(data)


def framed(chance):
    """Pieces in frames whose lengths are right, nearly right, or wrong; inside of each other, or cut."""
    out = [b"\x80\x04"]
    for _ in range(chance.randrange(1, 5)):
        body = b"".join(
            chance.choice([called(chance) + b"0", b"K\x01" + b"0", b"]0", b"\x8c\x02os0", b"X\x02\0\0\0os0", b"N0",
                           b"cos\nsystem\n0", b"I1\n0", b"B\x01\0\0\0x0", b"\x96\x01" + b"\0" * 7 + b"y0"])
            for _ in range(chance.randrange(0, 6))
        )  # fmt: skip
        length = max(0, len(body) + chance.choice([0, 0, 0, 1, -1, -2, -5, 9, 1000]))
        out.append(chance.choice([b"\x95" + struct.pack("<Q", length), b""]) + body)
    return b"".join(out) + chance.choice([b"N.", called(chance) + b".", b"N", b""])


def spelled(chance):
    """Lines of text in every spelling, between calls."""
    out = []
    for _ in range(chance.randrange(1, 8)):
        code = chance.choice(b"IFLgpSVPci")
        piece = bytes((code,)) + argument(chance, code)
        out.append(
            chance.choice([piece + b"0", piece + called(chance) + b"0", b"Np0\n" + piece, b"(" + piece])
        )
    data = b"".join(out) + b"N."
    return data[: chance.randrange(len(data) + 1)] if chance.random() < 0.2 else data


GENERATORS = {"grown": grown, "loose": loose, "mutated": mutated, "framed": framed, "spelled": spelled}
