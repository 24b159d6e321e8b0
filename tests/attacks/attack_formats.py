"""Model formats other than pickles that make a loader run code, read files, or disagree with another reader."""

import json
import struct

from attack_archives import Member, link, packed, tarred, zipped
from attack_containers import name
from attack_opcodes import word
from attack_streams import stream
from attack_texts import template

MODULES = (
    "os",
    "subprocess",
    "posix",
    "builtins",
    "shutil",
    "runpy",
    "importlib",
    "torch.hub",
    "keras.src.utils.file_utils",
)


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def field(number, content):
    """Write one protobuf field: an int as varint, anything else length-delimited."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    data = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(data)) + data


def safetensors(rng):
    """Safetensors with one fault of structure that two readers may take in two ways."""

    def entry(dtype="F32", shape=(4,), begin=0, end=16):
        return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}

    rows, data = {"a": entry(), "b": entry(begin=16, end=32)}, rng.randbytes(32)
    faults = {
        "overlap": ({"a": entry(), "b": entry(begin=8, end=24)}, data[:24]), "hole": ({"a": entry(), "b": entry(begin=24, end=40)}, data + bytes(8)),
        "trailing": (rows, data + rng.randbytes(rng.randint(1, 99))), "huge": ({"a": entry(shape=(1 << 62,), end=1 << 63)}, data), "overflow": ({"a": entry(shape=(1 << 32, 1 << 32, 4))}, data[:16]),
        "negative shape": ({"a": entry(shape=(-4,))}, data[:16]), "negative offset": ({"a": entry(begin=-16, end=0)}, data[:16]), "dtype": ({"a": entry(dtype=rng.choice(("F33", "O", "", "object")))}, data[:16]),
        "metadata": (rows | {"__metadata__": {"k": rng.choice((1, None, [], {"a": "b"}))}}, data), "short": (rows, data[: rng.randrange(32)]), "backwards": ({"a": entry(begin=16, end=0)}, data[:16]),
        "size": ({"a": entry(shape=(5,))}, data[:16]), "float shape": ({"a": entry(shape=(4.0,))}, data[:16]), "no shape": ({"a": {"dtype": "F32", "data_offsets": [0, 16]}}, data[:16]),
        "list": ([1, 2], b""), "string": ("x", b""),
    }  # fmt: skip
    raw = {
        "duplicate": b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],"data_offsets":[16,32]}}',
        "nan": b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,16]}}', "not utf-8": b'{"\xff":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', "junk": b'{"a":1} x',
        "deep": b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", "cut": b'{"a":{"dtype":"F32"',
    }  # fmt: skip
    fault = rng.choice(sorted((*faults, *raw, "header length")))
    if fault == "header length":
        whole = struct.pack("<Q", rng.choice((1 << 63, 1 << 40, 500))) + b"{}" + data
    elif fault in raw:
        whole = struct.pack("<Q", len(raw[fault])) + raw[fault] + data
    else:
        header = json.dumps(faults[fault][0]).encode()
        whole = struct.pack("<Q", len(header)) + header + faults[fault][1]
    return {rng.choice(("model.safetensors", "adapter_model.safetensors", "x.safetensors")): whole}, [
        f"safetensors {fault}",
        "",
        "readers disagree on what the bytes are",
    ]


def _kv(key, kind, value):
    coded = key.encode()
    return struct.pack("<Q", len(coded)) + coded + struct.pack("<I", kind) + value


def _text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def gguf(rng):
    """GGUF with a hostile chat template, plain or named, or with counts and offsets that lie."""
    how = rng.choice(
        (
            "template",
            "template",
            "named template",
            "huge count",
            "huge string",
            "bad type",
            "tensor outside",
            "cut",
            "array of arrays",
            "duplicate key",
            "overlap",
            "trailing",
        )
    )
    hostile, why = template(rng)
    rows = [_kv("general.architecture", 8, _text("llama")), _kv("general.name", 8, _text(word(rng)))]
    count, tensors, data = None, 0, b""
    if how == "template":
        rows.append(_kv("tokenizer.chat_template", 8, _text(hostile)))
    elif how == "named template":
        rows += [
            _kv("tokenizer.chat_templates", 9, struct.pack("<IQ", 8, 1) + _text("x")),
            _kv("tokenizer.chat_template.x", 8, _text(hostile)),
        ]
    elif how == "huge count":
        count = rng.choice((1 << 62, 1 << 32, 1000))
    elif how == "huge string":
        rows.append(struct.pack("<Q", 1 << 60) + b"x")
    elif how == "bad type":
        rows.append(_kv("x", rng.choice((13, 99, 1 << 31)), bytes(8)))
    elif how in ("tensor outside", "overlap"):
        tensors = 2
        offsets = (1 << 50, 1 << 63) if how == "tensor outside" else (0, 0)
        data = b"".join(
            _text(n) + struct.pack("<IQIQ", 1, 4, 0, at) for n, at in zip("ab", offsets, strict=True)
        )
        data += bytes(-(24 + sum(map(len, rows)) + len(data)) % 32) + bytes(32)
    elif how == "array of arrays":
        rows.append(_kv("x", 9, struct.pack("<IQ", 9, 1 << 40)))
    elif how == "duplicate key":
        rows.append(_kv("general.name", 8, _text("other")))
    elif how == "trailing":
        tensors, data = 0, stream(rng)[0]
    whole = (
        b"GGUF"
        + struct.pack("<IQQ", 3, tensors, len(rows) if count is None else count)
        + b"".join(rows)
        + data
    )
    if how == "cut":
        whole = whole[: rng.randrange(5, len(whole))]
    return {name(rng, "model.gguf", "model-Q4_K_M.gguf"): whole}, [
        f"gguf {how}",
        "",
        why if "template" in how else "a reader allocates or reads what is not there",
    ]


def keras_config(rng):
    """Return a Keras model configuration with one layer that runs or reads something, and what it is."""
    module = rng.choice(MODULES)
    layers = {
        "Lambda": {"class_name": "Lambda", "config": {"name": "l", "function": {"class_name": "__lambda__", "config": {"code": "4wEAAAAAAAAAAAAAAAEAAAACAAAA", "defaults": None, "closure": None}}}},
        "old Lambda": {"class_name": "Lambda", "config": {"name": "l", "function": ["4wEAAAAA", None, None], "function_type": "lambda", "module": "__main__"}},
        "foreign module": {"module": module, "class_name": rng.choice(("system", "Popen", "Thing")), "config": {}, "registered_name": None},
        "custom object": {"class_name": word(rng).title() + "Layer", "config": {}, "registered_name": "pkg>" + word(rng), "module": None},
        "function by name": {"module": "keras.layers", "class_name": "Activation", "config": {"activation": {"module": module, "class_name": "function", "config": "system", "registered_name": "system"}}},
        "TextVectorization": {"module": "keras.layers", "class_name": "TextVectorization", "config": {"name": "t", "vocabulary": "/etc/passwd", "max_tokens": None}},
        "StringLookup": {"module": "keras.layers", "class_name": "StringLookup", "config": {"name": "s", "vocabulary": "file:///etc/hostname"}},
        "TFSMLayer": {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/tmp/x", "call_endpoint": "serve"}},
        "TorchModuleWrapper": {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {"module": "gASVIAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAR0cnVllIWUUpQu"}},
        "get_file": {"module": "keras.utils", "class_name": "get_file", "config": {"fname": "x", "origin": "http://example.invalid/x", "extract": True}},
        "lambda in a dict": {"class_name": "Dense", "config": {"name": "d", "activation": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}}},
    }  # fmt: skip
    kind = rng.choice(sorted(layers))
    plain = {
        "module": "keras.layers",
        "class_name": "Dense",
        "config": {"name": "d0", "units": 2},
        "registered_name": None,
    }
    row = [plain, layers[kind]] if rng.random() < 0.5 else [layers[kind], plain]
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "sequential", "layers": row},
        "registered_name": "Sequential",
    }, kind


def keras(rng):
    """The zip layout of Keras 3."""
    config, kind = keras_config(rng)
    members = [
        Member("metadata.json", b'{"keras_version": "3.8.0", "date_saved": "2025-01-01@00:00:00"}'),
        Member("config.json", json.dumps(config).encode(), rng.choice((0, 8))),
        Member("model.weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(88)),
    ]
    if rng.random() < 0.3:
        members.append(
            Member(rng.choice(("assets/x.pkl", "extra.bin", "assets/layer/vocabulary.txt")), stream(rng)[0])
        )
    return {name(rng, "model.keras"): zipped(members)}, [
        f"keras {kind}",
        "",
        "the layer runs code, imports by name or reads a file",
    ]


def onnx(rng):
    """ONNX with data outside of the model, operators of another domain, or a graph that is cut short."""
    how = rng.choice(
        ("traversal", "absolute", "custom domain", "PyOp", "truncated", "dots", "backslash", "nul")
    )
    path = {
        "traversal": "../../../../etc/passwd",
        "absolute": "/etc/passwd",
        "dots": "data/../../x.bin",
        "backslash": "..\\..\\x.bin",
        "nul": "x\0/../../y",
    }.get(how)
    tensor = field(1, 4) + field(2, 1) + field(8, "w")
    if path:
        tensor += (
            field(13, field(1, "location") + field(2, path))
            + field(13, field(1, "offset") + field(2, "0"))
            + field(14, 1)
        )
    else:
        tensor += field(9, bytes(16))
    domain = {
        "custom domain": rng.choice(("com.evil.ops", "ai.onnx.contrib", word(rng))),
        "PyOp": "ai.onnx.contrib",
    }.get(how, "")
    node = (
        field(1, "x")
        + field(1, "w")
        + field(2, "y")
        + field(
            4, "PyOp" if how == "PyOp" else rng.choice(("Add", "Mul")) if not domain else word(rng).title()
        )
    )
    node += field(7, domain) if domain else b""
    info = field(2, field(1, field(1, 1) + field(2, field(1, field(1, 4)))))
    graph = (
        field(1, node)
        + field(2, "g")
        + field(5, tensor)
        + field(11, field(1, "x") + info)
        + field(12, field(1, "y") + info)
    )
    opsets = field(8, field(1, "") + field(2, 17)) + (
        field(8, field(1, domain) + field(2, 1)) if domain else b""
    )
    whole = field(1, 8) + field(2, "pytorch") + field(7, graph) + opsets
    if how == "truncated":
        whole = whole[: len(whole) - rng.randint(1, len(graph))]
    return {name(rng, "model.onnx"): whole}, [
        f"onnx {how}",
        "",
        "reads a file outside the model, or runs an operator nobody vetted",
    ]


_OPS = (
    "PyFunc",
    "PyFuncStateless",
    "EagerPyFunc",
    "ReadFile",
    "WriteFile",
    "MatchingFiles",
    "PrintV2",
    "LoadAndRemapMatrix",
    "ImmutableConst",
    "DebugIdentityV2",
    "MergeV2Checkpoints",
    "SaveV2",
    "TextLineDataset",
    "TFRecordDatasetV2",
    "LoadDataset",
    "Save",
    "RpcCall",
    "XlaCallModuleCustom",
    "InitializeTableFromTextFileV2",
    "LMDBDataset",
    "WholeFileReaderV2",
    "CollectiveGather",
    "Outfeed" + "Enqueue",
)


def saved_model(rng):
    """A SavedModel whose graph, or one function of its library, holds an operation that leaves the graph."""
    op = rng.choice(_OPS[:18]) if rng.random() < 0.8 else "Custom" + word(rng).title()
    path = rng.choice(("/etc/passwd", "../../x", "file:///tmp/x"))

    def attribute(key, content):
        return field(5, field(1, key) + field(2, content))

    # The file is named in the graph itself: by a constant that the operation takes, or by an attribute of it.
    constant = attribute("dtype", field(6, 7)) + attribute(
        "value", field(8, field(1, 7) + field(2, b"") + field(8, path))
    )
    node = (
        field(1, word(rng))
        + field(2, op)
        + field(3, "p")
        + attribute("output_stream", field(2, "file:///tmp/x"))
    )
    node += attribute("memory_region_name", field(2, path))
    honest = field(1, "p") + field(2, "Const") + constant
    if rng.random() < 0.5:
        graph = field(1, honest) + field(1, node)
    else:
        signature = field(1, "f_" + word(rng))
        graph = field(1, honest) + field(2, field(1, field(1, signature) + field(3, honest) + field(3, node)))
    meta = field(1, field(4, "serve") + field(5, "2.15.0")) + field(2, graph)
    whole = field(1, 1) + field(2, meta)
    where = rng.choice(("saved_model.pb", "m/saved_model.pb", "frozen_graph.pb"))
    files = {where: whole if where != "frozen_graph.pb" else graph}
    return files, [f"SavedModel {op}", "", "the operation reads or writes files, calls Python, or is unknown"]


def tflite(rng):
    """A TFLite model with a custom operator: Flex operators run any TensorFlow operation, others need a library."""
    code = rng.choice(
        (
            "FlexReadFile",
            "FlexPyFunc",
            "FlexWriteFile",
            "FlexEagerPyFunc",
            "Evil" + word(rng).title(),
            "TFLite_" + word(rng),
        )
    )
    data = code.encode()
    # Offsets lead forward only: root table, vector of operator codes, one code (CUSTOM, 32), its name.
    body = struct.pack("<I4s", 16, b"TFL3") + struct.pack("<4H", 8, 12, 4, 8)
    body += struct.pack("<iII", 8, 3, 4)  # at 16: version 3, codes at 28
    body += struct.pack("<II", 1, 16)  # at 28: one code, at 48
    body += struct.pack("<6H", 12, 16, 4, 8, 0, 12)  # at 36
    body += struct.pack("<ibxxxIi", 12, 32, 8, 32)  # at 48: its name at 64
    body += struct.pack("<I", len(data)) + data + b"\0"
    body += bytes(-len(body) % 4)
    return {name(rng, "model.tflite"): body}, [
        f"tflite {code}",
        "",
        "an operator that is no part of TFLite",
    ]


def skops(rng):
    """A skops archive whose schema names a type nobody vetted."""
    module, cls = rng.choice(
        (
            ("os", "system"),
            ("builtins", "eval"),
            ("subprocess", "Popen"),
            ("operator", "methodcaller"),
            (word(rng), word(rng).title()),
        )
    )
    kind = rng.choice(
        ("ObjectNode", "TypeNode", "FunctionNode", "OperatorFuncNode", "MethodNode", "PartialNode")
    )
    schema = {
        "__class__": cls,
        "__module__": module,
        "__loader__": kind,
        "content": {
            "__class__": "dict",
            "__module__": "builtins",
            "__loader__": "DictNode",
            "content": {},
            "key_types": {
                "__class__": "list",
                "__module__": "builtins",
                "__loader__": "ListNode",
                "content": [],
            },
        },
        "__id__": 1,
        "protocol": 2,
        "_skops_version": "0.11",
    }
    return {name(rng, "model.skops"): zipped([Member("schema.json", json.dumps(schema).encode())])}, [
        f"skops {kind}",
        f"{module}.{cls}",
        "the type is imported and built",
    ]


def no_reader(rng):
    """Formats that run something and for which nothing here vouches."""
    samples = {
        "r": ("model.rds", packed("gzip", b"X\n\0\0\0\3\0\4\2\1\0\3\5\0\0\0\0\5UTF-8\0\0\0\5" + rng.randbytes(40))),
        "r plain": ("model.rda", b"RDX3\nX\n\0\0\0\3\0\4\2\1" + rng.randbytes(20)),
        "pmml": ("model.pmml", b'<?xml version="1.0"?>\n<!DOCTYPE p [<!ENTITY x SYSTEM "file:///etc/passwd">]>\n<PMML version="4.4"><Header copyright="&x;"/></PMML>\n'),
        "pmml laughs": ("model.xml", b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><PMML>&b;</PMML>'),
        "openvino": ("openvino_model.xml", b'<?xml version="1.0"?><net name="m" version="11"><layers><layer id="0" name="x" type="%s" version="extension"><data library="/tmp/%s.so"/></layer></layers></net>' % (word(rng).title().encode(), word(rng).encode())),
        "msgpack": ("flax_model.msgpack", b"\x82\xa1a\xc7\x08\x01" + rng.randbytes(8) + b"\xa1b\xd4\x7f\x00"),
        "paddle": ("inference.pdmodel", field(1, field(1, 0) + field(2, 0) + field(4, field(3, "py_func") + field(4, field(1, "callable") + field(2, 0))))),
        "marshal": ("x.pyc", b"\xa7\r\r\n" + bytes(12) + b"\xe3" + rng.randbytes(40)),
        "catboost": ("model.cbm", b"CBM1" + rng.randbytes(60)), "tensorrt": ("model.engine", b"ftrt" + rng.randbytes(60)), "coreml": ("model.mlmodel", field(1, 5) + field(555, field(1, "Custom" + word(rng)))),
        "llamafile": ("model.llamafile", b"MZqFpD='\n\n" + b"exec sh -c true\n" + rng.randbytes(50)), "bytes": ("weights.bin", rng.randbytes(rng.randint(20, 400))),
    }  # fmt: skip
    kind = rng.choice(sorted(samples))
    usual, data = samples[kind]
    return {usual if rng.random() < 0.7 or kind.startswith(("pmml", "openvino")) else name(rng): data}, [
        f"no reader: {kind}",
        "",
        "nothing here vouches for what its loader does",
    ]


def slip(rng):
    """An archive that writes outside of its folder, or that becomes far larger than it is."""
    path = rng.choice(
        (
            "../x",
            "../../etc/cron.d/x",
            "/etc/x",
            "a/../../b",
            "C:\\x",
            "..\\x",
            "\\\\host\\x",
            "a/./../../x",
            "x\0y",
        )
    )
    how = rng.choice(
        (
            "zip name",
            "zip link",
            "tar name",
            "tar link",
            "tar hard link",
            "tar device",
            "bomb",
            "deep",
            "many",
            "overlap",
            "tar fifo",
        )
    )
    if how == "zip name":
        whole = zipped([Member(path, b"x\n"), Member("a.txt", b"y\n")])
    elif how == "zip link":
        whole = zipped(
            [
                Member("link", rng.choice((b"/etc/passwd", b"../../x")), attributes=0xA1FF0000),
                Member("link/x", b"y\n"),
            ]
        )
    elif how == "bomb":
        whole = (
            packed(rng.choice(("gzip", "zlib", "bz2", "xz")), b"\0" * (48 << 20))
            if rng.random() < 0.5
            else zipped([Member("a", b"\0" * (32 << 20), 8, size=7, local_size=7)])
        )
    elif how == "deep":
        whole = b"N."
        for _ in range(9):
            whole = zipped([Member("a.zip", whole, 8)])
    elif how == "many":
        whole = zipped([Member("a", b"x")], count=65535)
    elif how == "overlap":
        whole = zipped(
            [
                Member("a", b"\0" * 4096, 8),
                *(Member(f"b{number}", b"\0" * 4096, 8, offset=0) for number in range(20)),
            ]
        )
    else:
        kinds = {"tar link": b"2", "tar hard link": b"1", "tar device": b"3", "tar fifo": b"6"}
        entry = (
            ("x", link(kinds[how], rng.choice(("/etc/passwd", "../../x"))))
            if how in kinds
            else (path.replace("\0", ""), b"x\n")
        )
        whole = tarred([entry, ("x/y", b"z\n")])
        if "\\" in path or path.startswith(("~", "x\0", "C:")):
            whole = tarred([("../x", b"x\n")]) if how == "tar name" else whole
    return {name(rng, "model.zip", "model.tar"): whole}, [
        f"archive {how}",
        path if "name" in how else "",
        "writes outside, or asks for more than a scan may spend",
    ]
