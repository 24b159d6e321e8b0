"""Honest files of the formats that are read here, written by hand: a fuzzer gets furthest from what is nearly right."""

import json
import struct
import zlib

from attack_archives import Member, lz4_frame, packed, seven_zip, tarred, zipped, zstd_frame

from world_checkpoints import Call, G, New, emit, ordered, pickled, simple


def pickles():
    values = (
        None, 1, -1, 1 << 70, 1.5, "text", b"bytes", (1, 2), [1, "a"], {"a": {"b": [1.0]}}, ordered([("a", 1)]),
        Call(G("numpy", "dtype"), ("f8", False, True), (3, "<", None, None, None, -1, -1, 0)), New(G("argparse", "Namespace"), (), {"a": 1}), Call(G("collections", "deque"), ([1, 2],)),
        New(G("sklearn.linear_model._base", "LinearRegression"), (), {"coef_": 1.0}), Call(G("copyreg", "_reconstructor"), (G("argparse", "Namespace"), G("builtins", "object"), None), {"a": 1}),
    )  # fmt: skip
    framed = b"\x80\x04\x95" + struct.pack("<Q", 9) + b"}\x94\x8c\x01a\x94K\x01s."
    old = (
        b"(dp0\nS'a'\np1\nI1\nsS'b'\np2\nF1.5\ns.",
        b"(lp0\nVtext\np1\naL5L\na.",
        b"ccopy_reg\n_reconstructor\np0\n(cargparse\nNamespace\np1\nc__builtin__\nobject\np2\nNtp3\nRp4\n(dp5\nS'a'\nI1\nsb.",
    )
    five = b"\x80\x05\x96" + struct.pack("<Q", 4) + b"abcd\x94."
    return [*map(pickled, values), framed, *old, five, pickled(1) + pickled(2)]


def checkpoints():
    return [
        simple().zip(),
        simple().legacy(),
        simple().zip(method=8),
        simple().zip(extra=(("archive/.data/serialization_id", b"123"), ("archive/.format_version", b"1"))),
    ]


def zips():
    members = [
        Member("a/", b""),
        Member("a/b.txt", b"text\n" * 20, 8),
        Member("c.json", b'{"a": 1}'),
        Member("d.pkl", pickled({"a": 1})),
    ]
    return [zipped(members), zipped([Member("inner.zip", zipped(members), 8)]), zipped([]), *checkpoints()]


def tensors():
    rows = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "b": {"dtype": "BF16", "shape": [4], "data_offsets": [16, 24]},
        "s": {"dtype": "I64", "shape": [], "data_offsets": [24, 32]},
    }
    header = json.dumps(rows).encode().ljust(256)
    return [struct.pack("<Q", len(header)) + header + bytes(32), struct.pack("<Q", 2) + b"{}"]


def ggufs():
    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    rows = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("general.alignment") + struct.pack("<II", 4, 32),
        text("x") + struct.pack("<IIQ", 9, 4, 3) + bytes(12),
    ]
    rows += [
        text("tokenizer.chat_template")
        + struct.pack("<I", 8)
        + text("{% for m in messages %}{{ m['content'] }}{% endfor %}"),
        text("t") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
    ]
    info = text("w") + struct.pack("<IQQIQ", 2, 4, 2, 0, 0)
    body = b"GGUF" + struct.pack("<IQQ", 3, 1, len(rows)) + b"".join(rows) + info
    return [body + bytes(-len(body) % 32) + bytes(32)]


def arrays():
    found = []
    for version, form in ((1, "<H"), (2, "<I")):
        text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }".ljust(117) + "\n"
        found.append(
            b"\x93NUMPY" + bytes((version, 0)) + struct.pack(form, len(text)) + text.encode() + bytes(16)
        )
    return [*found, zipped([Member("a.npy", found[0]), Member("b.npy", found[0], 8)])]


def joblibs():
    dtype = Call(G("numpy", "dtype"), ("f8", False, True), (3, "<", None, None, None, -1, -1, 0))
    state = {
        "subclass": G("numpy", "ndarray"),
        "shape": (3,),
        "order": "C",
        "dtype": dtype,
        "allow_mmap": True,
        "numpy_array_alignment_bytes": 16,
    }
    head = b"\x80\x04}" + emit("a") + emit(New(G("joblib.numpy_pickle", "NumpyArrayWrapper"), (), state))
    room = 16 - (len(head) + 1) % 16
    body = head + bytes((room,)) + b"\xff" * room + struct.pack("<3d", 1, 2, 3) + b"s."
    return [
        body,
        *(packed(kind, body) for kind in ("zlib", "gzip", "bz2", "xz", "lzma", "lz4", "zstd")),
        pickled({"a": 1}),
    ]


def packed_texts():
    text = b'{"a": "some text that repeats, some text that repeats"}\n' * 5
    return [
        *(packed(kind, text) for kind in ("zlib", "gzip", "bz2", "xz", "lzma")),
        lz4_frame(text),
        zstd_frame(text),
        packed("gzip", packed("bz2", text)),
        zlib.compress(text, 9),
    ]


def tars():
    entries = [
        ("a.txt", b"text\n"),
        ("folder/b.json", b"{}"),
        ("model_weights.ckpt", pickled({"a": 1})),
        ("x" * 120, b"long name\n"),
    ]
    return [tarred(entries), packed("gzip", tarred(entries)), tarred([])]


def seven_zips():
    return [seven_zip("a.txt", b"text\n"), seven_zip("data.pkl", pickled({"a": 1}))]


def configs():
    rows = (
        {"model_type": "bert", "hidden_size": 2, "a": [1, 2.5, None, True]},
        {"chat_template": "{{ messages[0]['content'] }}"},
        {"metadata": {"total_size": 1}, "weight_map": {"a": "model-00001-of-00002.safetensors"}},
        [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}],
    )
    return [json.dumps(row).encode() for row in rows]


def jinjas():
    return [
        b"{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] | trim }}{% endfor %}{% if add_generation_prompt %}{{ bos_token }}{% endif %}",
        b"{%- set ns = namespace(x=false) -%}{%- for m in messages if m.role == 'user' -%}{%- set ns.x = true -%}{{ m.content|tojson }}{%- endfor -%}",
    ]


def yamls():
    return [
        b"a: 1\nb: [1, 2]\nc: {d: e}\n---\nx: &y text\nz: *y\n",
        b"---\nlicense: mit\ntags:\n- a\n- b\n---\n# Title\n",
    ]


def sources():
    return [
        b'"""A model."""\nimport torch\nfrom torch import nn\n\nclass M(nn.Module):\n    def forward(self, x):\n        return [i for i in x if i] + [lambda y: y]\n'
    ]


def requirements():
    return [
        b"numpy==1.26.4 --hash=sha256:"
        + b"a" * 64
        + b"\ntorch>=2 ; python_version > '3.8'\n# comment\n-r other.txt\n"
    ]
