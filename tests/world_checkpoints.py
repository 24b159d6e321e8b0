"""Write torch checkpoints opcode by opcode, without torch and without pickle: honest ones and lying ones."""

import io
import struct
import zipfile
from dataclasses import dataclass, field

MAGIC = 0x1950A86A20F9469CFC6C
WIDTHS = {
    "FloatStorage": 4, "DoubleStorage": 8, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8,
    "IntStorage": 4, "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1,
    "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "UntypedStorage": 1, "QUInt8Storage": 1,
}  # fmt: skip


@dataclass(frozen=True)
class G:
    """A global by name."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """A REDUCE of a label with arguments, and state to BUILD where given."""

    label: G
    args: tuple
    state: object = None


@dataclass(frozen=True)
class New:
    """A NEWOBJ of a class label."""

    label: G
    args: tuple = ()
    state: object = None


@dataclass(frozen=True)
class Pid:
    """A binary persistent id."""

    value: object


@dataclass(frozen=True)
class Raw:
    """Opcodes as they are."""

    code: bytes


def emit(value):
    """Return the opcodes that push `value` (protocol 2, no memo)."""
    if value is None:
        return b"N"
    if value is True or value is False:
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        if 0 <= value < 256:
            return b"K" + bytes((value,))
        if -(2**31) <= value < 2**31:
            return b"J" + struct.pack("<i", value)
        body = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return (
            b"\x8a" + bytes((len(body),)) if len(body) < 256 else b"\x8b" + struct.pack("<i", len(body))
        ) + body
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        body = value.encode("utf-8", "surrogatepass")
        return b"X" + struct.pack("<I", len(body)) + body
    if isinstance(value, bytes):
        return b"B" + struct.pack("<I", len(value)) + value
    if isinstance(value, tuple):
        return b"(" + b"".join(map(emit, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(emit, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(emit(k) + emit(v) for k, v in value.items()) + b"u"
    return emit_object(value)


def emit_object(value):
    if isinstance(value, G):
        return f"c{value.module}\n{value.name}\n".encode()
    if isinstance(value, Pid):
        return emit(value.value) + b"Q"
    if isinstance(value, Raw):
        return value.code
    made = emit(value.label) + emit(value.args) + (b"R" if isinstance(value, Call) else b"\x81")
    return made if value.state is None else made + emit(value.state) + b"b"


def pickled(value):
    return b"\x80\x02" + emit(value) + b"."


ORDERED = G("collections", "OrderedDict")
NO_HOOKS = Call(ORDERED, ())


def storage(key, kind="FloatStorage", numel=0, *, location="cpu", module="torch", tail=()):
    return Pid(("storage", G(module, kind), key, location, numel, *tail))


def tensor(store, shape, stride=None, offset=0, *, metadata=()):
    if stride is None:
        stride, step = [], 1
        for side in reversed(shape):
            stride.insert(0, step)
            step *= side
    args = (store, offset, tuple(shape), tuple(stride), False, NO_HOOKS, *metadata)
    return Call(G("torch._utils", "_rebuild_tensor_v2"), args)


def parameter(inner):
    return Call(G("torch._utils", "_rebuild_parameter"), (inner, True, NO_HOOKS))


def ordered(pairs, metadata=None):
    state = None if metadata is None else {"_metadata": metadata}
    return Call(ORDERED, ([list(pair) for pair in pairs],), state)


@dataclass
class Checkpoint:
    """A root value and the bytes of its storages; `zip` and `legacy` write it out."""

    root: object
    storages: dict = field(default_factory=dict)
    widths: dict = field(default_factory=dict)

    def zip(self, *, root="archive", extra=(), byteorder=b"little", method=zipfile.ZIP_STORED, data=None):
        out = io.BytesIO()
        members = [(f"{root}/data.pkl", pickled(self.root) if data is None else data)]
        if byteorder is not None:
            members.append((f"{root}/byteorder", byteorder))
        members.extend((f"{root}/data/{key}", content) for key, content in self.storages.items())
        members.append((f"{root}/version", b"3\n"))
        with zipfile.ZipFile(out, "w") as archive:
            for name, content in [*members, *extra]:
                # No time of day: the same checkpoint is the same bytes.
                archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
        return out.getvalue()

    def legacy(self, *, little=True, keys=None, counts=None, tail=b""):
        system = {"protocol_version": 1001, "little_endian": little, "type_sizes": {"int": 4}}
        keys = list(self.storages) if keys is None else keys
        parts = [pickled(part) for part in (MAGIC, 1001, system, self.root, keys)]
        for key, content in self.storages.items():
            count = len(content) // self.widths.get(key, 4)
            parts += [struct.pack("<q", (counts or {}).get(key, count)), content]
        return b"".join(parts) + tail


def simple():
    """Return two tensors, one of them a Parameter, in two storages."""
    one, two = struct.pack("<6f", *range(6)), struct.pack("<3f", 7, 8, 9)
    root = ordered(
        [
            ("weight", parameter(tensor(storage("0", numel=6), (2, 3)))),
            ("bias", tensor(storage("1", numel=3), (3,))),
        ],
        metadata=ordered([("", {"version": 1})]),
    )
    return Checkpoint(root, {"0": one, "1": two})
