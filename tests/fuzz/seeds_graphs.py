"""Small honest files of the graph and tensor formats, built byte by byte: seeds for the fuzzer, samples for tests."""

import struct


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
