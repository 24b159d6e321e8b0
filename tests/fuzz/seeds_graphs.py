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


def onnx(*nodes, tensors=(), functions=(), extra=()) -> bytes:
    graph = onnx_graph(*nodes, tensors=tensors)
    return pb((1, 10), (2, "test"), (7, graph), (8, pb((2, 21))), *((25, f) for f in functions), *extra)


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
