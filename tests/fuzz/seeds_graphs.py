"""Small honest files of the graph and tensor formats, built byte by byte: seeds for the fuzzer, samples for tests."""

import struct
import zlib


def text(value: str | bytes, order: str = "<") -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(order + "Q", len(raw)) + raw


def gguf(pairs=(), tensors=((b"w", (4, 2), 0, bytes(32)),), *, order="<", alignment=32, version=3) -> bytes:
    """Write a GGUF file; `pairs` are (key, type, packed value), `tensors` (name, shape, type, bytes)."""
    infos, data = b"", b""
    for name, shape, kind, raw in tensors:
        infos += text(name, order) + struct.pack(order + "I", len(shape))
        infos += b"".join(struct.pack(order + "Q", side) for side in shape)
        infos += struct.pack(order + "IQ", kind, len(data))
        data += raw + bytes(-len(raw) % alignment)
    head = b"GGUF" + struct.pack(order + "IQQ", version, len(tensors), len(pairs))
    head += b"".join(text(key, order) + struct.pack(order + "I", kind) + value for key, kind, value in pairs)
    head += infos
    return head + bytes(-len(head) % alignment) + data


def gguf_seeds() -> list[bytes]:
    tokens = struct.pack("<IQ", 8, 3) + text("a") + text("b") + text("{{")
    nested = struct.pack("<IQ", 9, 2) + (struct.pack("<IQ", 4, 1) + b"\1\0\0\0") * 2
    pairs = (
        ("general.architecture", 8, text("llama")),
        ("general.alignment", 4, struct.pack("<I", 32)),
        ("tokenizer.ggml.tokens", 9, tokens),
        ("tokenizer.chat_template", 8, text("{% for m in messages %}{{ m.content }}{% endfor %}")),
        ("x.nested", 9, nested),
        ("x.flag", 7, b"\1"),
        ("x.float", 12, struct.pack("<d", 1.5)),
    )
    quantised = ((b"a", (32, 2), 2, bytes(36)), (b"b", (3,), 0, bytes(12)))
    return [gguf(pairs), gguf(pairs, quantised), gguf((), order=">"), gguf((), ())]


def varint(value: int) -> bytes:
    out = b""
    value &= (1 << 64) - 1
    while value > 0x7F:
        out += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return out + bytes((value,))


def pb(*fields) -> bytes:
    """Write a message; a field is (number, int | str | bytes | float)."""
    out = b""
    for number, value in fields:
        if isinstance(value, float):
            out += varint(number << 3 | 5) + struct.pack("<f", value)
        elif isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            raw = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(raw)) + raw
    return out


def onnx_node(op="Relu", domain="", *attributes) -> bytes:
    return pb(
        (1, "x"),
        (2, "y"),
        (3, "n"),
        (4, op),
        *((5, a) for a in attributes),
        *(((7, domain),) if domain else ()),
    )


def onnx_tensor(*entries, data=b"\0\0\0\0", external=False) -> bytes:
    rows = ((13, pb((1, key), (2, value))) for key, value in entries)
    return pb(
        (1, 1),
        (2, 1),
        (8, "w"),
        *(() if external else ((9, data),)),
        *rows,
        *(((14, 1),) if external else ()),
    )


def onnx_graph(*nodes, tensors=(), extra=()) -> bytes:
    return pb(
        *((1, node) for node in nodes),
        (2, "g"),
        *((5, tensor) for tensor in tensors),
        (11, pb((1, "x"))),
        *extra,
    )


def onnx(*nodes, tensors=(), functions=(), extra=(), domains=("com.microsoft", "local")) -> bytes:
    graph = onnx_graph(*nodes, tensors=tensors)
    sets = [(8, pb((2, 21))), *((8, pb((1, domain), (2, 1))) for domain in domains)]
    return pb((1, 10), (2, "test"), (7, graph), *sets, *((25, f) for f in functions), *extra)


def onnx_seeds() -> list[bytes]:
    inner = pb((1, "body"), (6, onnx_graph(onnx_node("Add"))), (20, 5))
    function = pb((1, "f"), (7, onnx_node("Mul")), (9, pb((2, 21))), (10, "local"))
    packed = pb((1, b"\2\3"), (2, 7), (7, varint(300) + varint(-1)), (8, "p"))
    return [
        onnx(onnx_node(), onnx_node("MatMulNBits", "com.microsoft"), tensors=(onnx_tensor(), packed)),
        onnx(onnx_node("Loop", "", inner), onnx_node("f", "local"), functions=(function,)),
    ]


def png_chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*, packed: bytes | None = None, extra: bytes = b"", interlace: int = 0) -> bytes:
    """Write a picture of 3 by 2 grey pixels."""
    header = struct.pack(">IIBBBBB", 3, 2, 8, 0, 0, 0, interlace)
    rows = zlib.compress(b"\0abc" * 2) if packed is None else packed
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + extra
        + png_chunk(b"IDAT", rows)
        + png_chunk(b"IEND")
    )


JPEG = b"\xff\xd8\xff\xe0\0\x04JF\xff\xda\0\x04\1\1\x12\xff\0\x34\xff\xd0\x56\xff\xd9"
GIF = b"GIF89a\3\0\2\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\4\0\0\0\0\0,\0\0\0\0\3\0\2\0\0\2\3\x84\x8f\5\0;"


def riff(form: bytes, *chunks) -> bytes:
    body = form + b"".join(
        kind + struct.pack("<I", len(raw)) + raw + b"\0" * (len(raw) % 2) for kind, raw in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


WAV = riff(b"WAVE", (b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8)), (b"data", b"abc"))


def media_seeds() -> list[bytes]:
    return [
        png(),
        png(extra=png_chunk(b"tEXt", b"a\0b")),
        JPEG,
        JPEG + JPEG,
        GIF,
        WAV,
        riff(b"WEBP", (b"VP8L", b"abcd")),
    ]


def sentencepiece(*extra) -> bytes:
    pieces = [
        (1, pb((1, piece), (2, -1.5), (3, kind))) for piece, kind in (("<unk>", 2), ("\n", 4), ("▁a", 1))
    ]
    trainer = pb((1, "corpus.txt"), (2, "m"), (3, 1), (4, 3), (10, 0.5), (45, "<unk>"))
    return pb(*pieces, (2, trainer), (3, pb((1, "nmt_nfkc"), (2, b"\0\1\2"), (3, 1))), *extra)


class Fb:
    """Write a flatbuffer front to back: each table's children follow it."""

    def __init__(self, ident: bytes) -> None:
        self.out = bytearray(b"\0\0\0\0" + ident)

    def here(self, align: int = 4) -> int:
        self.out += bytes(-len(self.out) % align)
        return len(self.out)

    def point(self, at: int, to: int) -> None:
        self.out[at : at + 4] = struct.pack("<I", to - at)

    def table(self, fields: dict) -> int:
        """Fields by slot: (width, number), text, bytes (a vector of bytes), a dict (a table), a list of tables or ints."""
        slots = max(fields, default=-1) + 1
        vtable = self.here(2)
        inline, places = 4, {}
        for slot, value in fields.items():
            width = value[0] if isinstance(value, tuple) else 4
            inline += -inline % width
            places[slot] = inline
            inline += width
        self.out += struct.pack(
            f"<HH{slots}H", 4 + 2 * slots, inline, *(places.get(slot, 0) for slot in range(slots))
        )
        table = self.here(8)
        self.out += struct.pack("<i", table - vtable) + bytes(inline - 4)
        for slot, value in fields.items():
            at = table + places[slot]
            if isinstance(value, tuple):
                self.out[at : at + value[0]] = value[1].to_bytes(value[0], "little")
            else:
                self.point(at, self.child(value))
        return table

    def child(self, value) -> int:
        if isinstance(value, dict):
            return self.table(value)
        place = self.here()
        if isinstance(value, (str, bytes)):
            raw = value.encode() + b"\0" if isinstance(value, str) else value
            self.out += struct.pack("<I", len(value)) + raw
        elif value and isinstance(value[0], (dict, str)):
            self.out += struct.pack("<I", len(value)) + bytes(4 * len(value))
            for index, row in enumerate(value):
                self.point(place + 4 + 4 * index, self.child(row))
        else:
            self.out += struct.pack(f"<I{len(value)}I", len(value), *value)
        return place


def tflite(*codes, operator=None, extra=None) -> bytes:
    """Write a model with the given operator codes, one tensor and one operator."""
    tensor = {0: [1, 4], 1: (1, 0), 2: (4, 1), 3: "x", 4: {2: [1], 4: (1, 0)}}
    node = {0: (4, 0), 1: [0], 2: [0], 3: (1, 17), 4: {0: [4]}} if operator is None else operator
    graph = {0: [tensor], 1: [0], 2: [0], 3: [node], 4: "main"}
    rows = list(codes) or [{0: (1, 22), 3: (4, 22)}]
    model = {
        0: (4, 3),
        1: rows,
        2: [graph],
        3: "test",
        4: [{}, {0: bytes(16)}],
        6: [{0: "min", 1: (4, 1)}],
        **(extra or {}),
    }
    writer = Fb(b"TFL3")
    writer.point(0, writer.table(model))
    return bytes(writer.out + bytes(-len(writer.out) % 16))


def tflite_seeds() -> list[bytes]:
    detection = {0: (1, 32), 1: "TFLite_Detection_PostProcess"}
    return [tflite(), tflite(detection), tflite({0: (1, 127), 3: (4, 150)})]


def tf_attr(key: str, value: bytes) -> bytes:
    return pb((1, key), (2, value))


def tf_const(name: str, *texts: bytes) -> bytes:
    return tf_node(
        name, "Const", attrs=(tf_attr("value", pb((8, pb((1, 7), *((8, text) for text in texts))))),)
    )


def tf_node(name: str, op: str, *inputs: str, attrs=()) -> bytes:
    return pb((1, name), (2, op), *((3, i) for i in inputs), *((5, a) for a in attrs))


def tf_call(name: str, function: str, *inputs: str, op: str = "StatefulPartitionedCall") -> bytes:
    return tf_node(name, op, *inputs, attrs=(tf_attr("f", pb((10, pb((1, function))))),))


def tf_function(name: str, arguments, *nodes) -> bytes:
    signature = pb((1, name), *((2, pb((1, a), (3, 7))) for a in arguments))
    return pb((1, signature), *((3, node) for node in nodes))


def tf_graph(*nodes, functions=()) -> bytes:
    library = pb(*((1, f) for f in functions))
    return pb(*((1, node) for node in nodes), (2, library), (4, pb((1, 1882))))


def saved_model(*nodes, functions=(), assets=(), extra=()) -> bytes:
    info = pb((2, pb((1, pb((1, "MatMul"))))), (4, "serve"), (5, "2.21.0"), (6, "v2.21.0"))
    files = ((6, pb((1, pb((1, tensor))), (2, file))) for tensor, file in assets)
    graph = pb((1, info), (2, tf_graph(*nodes, functions=functions)), *files, *extra)
    return pb((1, 1), (2, graph))


TRACED_SAVE = tf_function(
    "__inference__traced_save", ("file_prefix", "read"),
    tf_const("Const", b"_temp/part"), tf_node("match", "StaticRegexFullMatch", "file_prefix"),
    tf_const("part", b"/part"), tf_node("select", "Select", "match:output:0", "Const:output:0", "part:output:0"),
    tf_node("join", "StringJoin", "file_prefix", "select:output:0"), tf_const("shards"),
    tf_node("name", "ShardedFilename", "join:output:0", "shards:output:0"), tf_const("names", b"w"),
    tf_node("SaveV2", "SaveV2", "name:filename:0", "names:output:0", "names:output:0", "read"),
    tf_node("merge/pack", "Pack", "name:filename:0", "^SaveV2"),
    tf_node("merge", "MergeV2Checkpoints", "merge/pack:output:0", "file_prefix"),
)  # fmt: skip


def saved_model_seeds() -> list[bytes]:
    main = (
        tf_node("x", "Placeholder"), tf_node("w", "VarHandleOp"), tf_const("long", b"\x0a" * 5000),
        tf_call("save", "__inference__traced_save", "x", "long"), tf_node("y", "MatMul", "x", "w"),
        tf_const("asset", b"/srv/me/vocab.txt"), tf_node("t", "HashTableV2"),
        tf_node("init", "InitializeTableFromTextFileV2", "t", "asset"),
    )  # fmt: skip
    model = saved_model(*main, functions=(TRACED_SAVE,), assets=(("asset:0", "vocab.txt"),))
    fingerprint = pb((1, 12345), (2, 1 << 63), (3, 7), (4, 8), (5, 9), (6, pb((1, 3))), (7, "1234"))
    return [model, tf_graph(tf_node("x", "Placeholder"), tf_node("y", "Relu", "x")), fingerprint]


def crc_block(body: bytes) -> bytes:
    """Close a block of a checkpoint's index; its checksum is not looked at."""
    return body + struct.pack("<II", 0, 1) + b"\0" + b"\0\0\0\0"


def bundle(*rows, shards=1) -> bytes:
    """Write the index of a checkpoint; rows are (name, offset, size)."""
    entries = [(b"", pb((1, shards), (3, pb((1, 1)))))]
    entries += [(name, pb((1, 1), (2, b""), (4, offset), (5, size))) for name, offset, size in rows]
    body = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in entries)
    data, meta = crc_block(body), crc_block(b"")
    handle = varint(0) + varint(len(data) - 5)
    index = crc_block(varint(0) + varint(1) + varint(len(handle)) + b"z" + handle)
    footer = (
        varint(len(data)) + varint(len(meta) - 5) + varint(len(data) + len(meta)) + varint(len(index) - 5)
    )
    return data + meta + index + footer + bytes(40 - len(footer)) + bytes.fromhex("57fb808b247547db")


def ubj_text(value: str) -> bytes:
    return b"L" + struct.pack(">q", len(value)) + value.encode()


def ubjson(*, inner: bytes = b"", after: bytes = b"") -> bytes:
    """Write what XGBoost writes, much shortened."""
    weights = ubj_text("weights") + b"[$d#L" + struct.pack(">q2f", 2, 0.5, 1.5)
    names = ubj_text("names") + b"[#L" + struct.pack(">q", 2) + b"S" + ubj_text("a") + b"S" + ubj_text("b")
    learner = (
        ubj_text("learner")
        + b"{"
        + weights
        + names
        + ubj_text("n")
        + b"i\1"
        + ubj_text("e")
        + b"{}"
        + inner
        + b"}"
    )
    return b"{" + learner + ubj_text("version") + b"[i\3U\2I\0\1l\0\0\0\1TFZ]" + b"}" + after


def _core(fields: dict) -> bytes:
    writer = Fb(b"")
    writer.point(0, writer.table(fields))
    return bytes(writer.out + bytes(-len(writer.out) % 4))


def catboost(
    *, tables: int = 0, after: bytes = b"", version: str = "FlabuffersModel_v1", extra=None
) -> bytes:
    """Write a CatBoost model with one feature and one tree."""
    trees = {0: (4, 1), 1: [0], 2: [1], 3: [0], 5: [{2: (4, 0), 3: [7], 4: "a"}], 9: [], 11: [0]}
    part = {0: {0: {0: [0]}, 1: (1, 4), 2: (4, 0)}, 1: b"abcd", 2: b"ef", 3: (4, 7)}
    model = {0: version, 1: trees, 2: [{0: "params", 1: "{}"}], **(extra or {})}
    core = _core(model)
    behind = b""
    if tables:
        core = _core({**model, 3: ["static_provider_v1"]})
        body = _core(part)
        behind = struct.pack("<I", tables) + (struct.pack("<I", len(body)) + body) * tables
    return b"CBM1" + struct.pack("<I", len(core)) + core + behind + after


def catboost_seeds() -> list[bytes]:
    return [catboost(), catboost(tables=2)]


def ubjson_seeds() -> list[bytes]:
    return [ubjson(), ubjson(inner=ubj_text("x") + b"[[]{}]")]


def mp_text(value: str) -> bytes:
    return bytes((0xA0 + len(value),)) + value.encode()


def mp_array(name: str = "float32", raw: bytes = bytes(8), code: int = 1) -> bytes:
    body = b"\x93\x91\x02" + mp_text(name) + b"\xc4" + bytes((len(raw),)) + raw
    return b"\xc7" + bytes((len(body), code)) + body


def flax(*rows: bytes) -> bytes:
    inner = b"\x82" + mp_text("kernel") + mp_array() + mp_text("bias") + mp_array("bfloat16")
    return bytes((0x82 + len(rows),)) + mp_text("params") + inner + mp_text("step") + b"\x03" + b"".join(rows)


def flax_seeds() -> list[bytes]:
    return [flax(), flax(mp_text("l") + b"\x93\xc0\xc3\xcb" + bytes(8))]


def sentencepiece_seeds() -> list[bytes]:
    return [sentencepiece(), sentencepiece((5, pb((1, "identity"))))]


def savedmodel_seeds() -> list[bytes]:
    return saved_model_seeds()


def checkpoint_seeds() -> list[bytes]:
    return [bundle((b"a", 0, 4)), bundle((b"a", 0, 4), (b"b", 4, 8), shards=2)]
