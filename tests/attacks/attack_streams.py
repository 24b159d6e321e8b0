"""Whole pickles: a hostile value among harmless ones, with or without frames, cut short, doubled, or spoiled after it has acted."""

import struct

from attack_gadgets import plain
from attack_opcodes import payload, text, value, word


def head(rng):
    """Open a stream; a dotted name and a computed one need protocol 4 or 5, every opcode works under each."""
    return rng.choice((b"\x80\x04", b"\x80\x05", b"\x80\x04", b"\x80\x05\x80\x04"))


def among(rng, act):
    """Place a value that acts into a container of harmless ones."""
    before = [value(rng) for _ in range(rng.randrange(4))]
    after = [value(rng) for _ in range(rng.randrange(4))]
    shape = rng.randrange(7)
    if shape == 0:
        return act
    if shape == 1:
        return b"(" + b"".join((*before, act, *after)) + b"l"
    if shape == 2:
        return b"}(" + b"".join(text(rng, word(rng)) + one for one in (*before, act, *after)) + b"u"
    if shape == 3:
        return b"".join(one + b"0" for one in before) + act
    if shape == 4:
        return b"](" + b"".join((*before, act, *after)) + b"e"
    if shape == 5:
        return b"ccollections\nOrderedDict\n)R" + text(rng, word(rng)) + act + b"s"
    return value(rng) + act + b"\x86"


def framed(rng, body):
    """Put a body into frames as a pickler would, across its opcodes, or with lengths that lie."""
    how = rng.choice(("one frame", "long frame", "short frame", "empty frames"))
    if how == "one frame":
        return b"\x95" + struct.pack("<Q", len(body)) + body, how
    if how == "long frame":
        return b"\x95" + struct.pack("<Q", len(body) + rng.randint(1, 1 << 20)) + body, how
    if how == "short frame":
        return b"\x95" + struct.pack("<Q", rng.randrange(len(body))) + body, how
    return b"\x95" + bytes(8) + b"\x95" + bytes(8) + body, how


def stream(rng, *, whole=False):
    """Return (bytes, words): one hostile pickle; `whole` leaves it well formed to its STOP."""
    act, form, gadget = payload(rng)
    words = [form, f"{gadget.module}.{gadget.name}" if gadget.name else form, gadget.why]
    if whole:
        return b"\x80\x04" + among(rng, act) + b".", words
    if rng.random() < 0.25:
        body, frame = framed(rng, among(rng, act) + b".")
        return head(rng) + body, [*words, frame]
    end, spoiled = spoil(rng)
    shape = act if spoiled in ("cut after the call", "unknown opcode") else among(rng, act)
    return head(rng) + shape + end, [*words, spoiled]


def spoil(rng):
    """End a stream; whatever is wrong comes after it has acted."""
    ends = {
        "whole": b".", "cut after the call": b"", "unknown opcode": b"\xff.", "stack underflow": b"0000000.", "trailing zeros": b"." + bytes(rng.randint(1, 40)),
        "trailing text": b"." + b"x" * rng.randint(1, 40), "second PROTO": b"\x80\x02.", "memo of nothing": b"h\xfe.", "cut inside a length": b"X\xff\xff",
        "a harmless stream follows": b".\x80\x04N.", "truncated frame": b"\x95\xff", "after a mark": b"(.",
    }  # fmt: skip
    how = rng.choice(sorted(ends))
    return ends[how], how


def file(rng):
    """Return (bytes, words) of a plain pickle file: one stream, or a hostile one behind harmless ones."""
    data, words = stream(rng)
    if rng.random() < 0.2:
        lead = rng.choice((b"N.", b"\x80\x04}.", b"\x80\x02]q\x00.", b"I1\n.", b"(dp0\n."))
        return lead * rng.randint(1, 3) + data, [*words, "second stream"]
    return data, words


def old(rng):
    """Return a pickle of protocol 0, all text, so that it can pass for a text file."""
    gadget = plain(rng)
    while not f"{gadget.module}{gadget.name}".isascii():
        gadget = plain(rng)
    name = f"c{gadget.module}\n{gadget.name}\n"
    forms = {
        "REDUCE": name + "(S'true'\ntR.", "INST": f"(S'true'\ni{gadget.module}\n{gadget.name}\n.", "OBJ": f"({name}S'true'\no.",
        "REDUCE V": name + "(Vtrue\np1\ntp2\nRp3\n.", "in a dict": "(dp0\nS'a'\np1\n" + name + "(S'true'\ntRs.", "popped": name + "(S'true'\ntR0I1\n.", "in a list": "(lp0\n" + name + "(I1\ntRa.",
    }  # fmt: skip
    form = rng.choice(sorted(forms))
    return forms[form].encode(), [f"protocol 0 {form}", f"{gadget.module}.{gadget.name}", gadget.why]
