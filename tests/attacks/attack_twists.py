"""Deeper twists of containers: what sits in headers, frames that decoders skip, parts within parts, second directories."""

import json
import struct
import tarfile
import zlib

import seeds_hdf5
from attack_archives import Member, lz4_frame, packed, tarred, zipped, zstd_frame
from attack_containers import name, npy_bytes
from attack_formats import field, keras_config
from attack_opcodes import word
from attack_streams import file, stream

TEXT = b"some harmless text\n" * 3


def packing(rng):
    """A payload in the parts of a packed stream that most decoders step over, or behind a fault they notice too late."""
    data, words = stream(rng, whole=True)
    honest = b"\x80\x04]."
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = raw.compress(honest) + raw.flush()
    trailer = struct.pack("<II", zlib.crc32(honest), len(honest))
    skip = struct.pack("<II", rng.choice((0x184D2A50, 0x184D2A5F)), len(data)) + data
    forms = {
        "gzip extra field": b"\x1f\x8b\x08\x04" + bytes(6) + struct.pack("<H", len(data) + 4) + b"AA" + struct.pack("<H", len(data)) + data + body + trailer,
        "gzip comment": b"\x1f\x8b\x08\x10" + bytes(6) + data.replace(b"\0", b"\1") + b"\0" + body + trailer,
        "gzip wrong checksum": packed("gzip", data)[:-8] + bytes(8),
        "gzip wrong length": packed("gzip", data)[:-4] + struct.pack("<I", 7),
        "gzip second member": packed("gzip", honest) + packed("gzip", data),
        "gzip behind": packed("gzip", honest) + data,
        "zlib behind": packed("zlib", honest) + data,
        "zlib wrong checksum": packed("zlib", data)[:-4] + b"\1\2\3\4",
        "bz2 second stream": packed("bz2", honest) + packed("bz2", data),
        "bz2 behind": packed("bz2", honest) + data,
        "xz second stream": packed("xz", honest) + bytes(4) + packed("xz", data),
        "lz4 skipped frame": lz4_frame(honest) + skip,
        "lz4 skipped frame first": skip + lz4_frame(honest),
        "lz4 second frame": lz4_frame(honest) + lz4_frame(data),
        "zstd skipped frame": zstd_frame(honest) + skip,
        "zstd second frame": zstd_frame(honest) + zstd_frame(data),
        "old joblib": b"ZF" + hex(len(data)).ljust(19).encode() + zlib.compress(data),
        "old joblib, wrong length": b"ZF" + hex(3).ljust(19).encode() + zlib.compress(data),
        "twice packed": packed(rng.choice(("gzip", "bz2", "xz", "zlib", "lz4")), packed(rng.choice(("gzip", "bz2", "xz", "zlib", "lz4", "zstd")), data)),
    }  # fmt: skip
    how = rng.choice(sorted(forms))
    return {name(rng, "model.joblib", "model.pkl.gz", "data.bin"): forms[how]}, [how, *words]


def tapes(rng):
    """Tar files that two readers take apart in two ways, or that carry something after their end."""
    data, words = stream(rng, whole=True)
    pax = tarfile.TarInfo("weights.txt")
    pax.size = len(data)
    pax.pax_headers = {
        rng.choice(("path", "GNU.sparse.name", "linkpath")): rng.choice(("../../x", "/etc/x", "a.pkl"))
    }
    honest = tarred([("a.txt", TEXT)])
    block = bytearray(tarred([("model.pkl", data)]))
    how = rng.choice(
        (
            "pax path",
            "after the end",
            "wrong checksum",
            "size beyond",
            "negative size",
            "old form",
            "two members of one name",
            "bytes in the padding",
            "plain member",
            "long name",
            "odd type",
        )
    )
    if how == "pax path":
        whole = pax.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512) + bytes(1024)
    elif how == "after the end":
        whole = honest + bytes(block)
    elif how == "wrong checksum":
        block[150] ^= 1
        whole = bytes(block)
    elif how == "size beyond":
        whole = _tar_size(block, b"%011o\0" % (len(data) + 100000))
    elif how == "negative size":
        whole = _tar_size(block, b"\xff" * 12)
    elif how == "old form":
        block[257:265] = bytes(8)
        whole = _tar_size(block, bytes(block[124:136]))
    elif how == "two members of one name":
        whole = tarred([("model.pkl", b"\x80\x04N."), ("model.pkl", data)])
    elif how == "bytes in the padding":
        tail = honest[:1024]
        whole = (
            tail[: 512 + len(TEXT)] + data[: 512 - len(TEXT)].ljust(512 - len(TEXT), b"\0") + honest[1024:]
        )
    elif how == "plain member":
        whole = bytes(block)
    elif how == "long name":
        whole = tarred([("../" * 60 + "x", data)])
    else:
        block[156:157] = rng.choice((b"S", b"V", b"M", b"Z", b"7"))
        whole = _tar_size(block, bytes(block[124:136]))
    return {name(rng, "model.tar", "weights.nemo", "model.pth"): whole}, [how, *words]


def _tar_size(block, size):
    """Write a size into the first header and its checksum anew."""
    block[124:136] = size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block)


def directories(rng):
    """Zip archives with a second directory, descriptors or names that say otherwise, sizes in two places."""
    data, words = stream(rng, whole=True)
    how = rng.choice(
        (
            "two directories",
            "descriptor",
            "unicode path",
            "zip64 sizes",
            "case",
            "nul in the name",
            "slash",
            "folder with bytes",
            "method lie",
            "stored sizes differ",
            "disk numbers",
            "zip64 end",
            "needs",
            "inner twin",
            "long comment length",
        )
    )
    evil, good = Member("archive/data.pkl", data), Member("archive/version", b"3\n")
    members, options, tail = [evil, good], {}, b""
    if how == "two directories":
        first = zipped([Member("notes.txt", TEXT)])
        options, tail = {"prefix": first, "shift": rng.choice((0, len(first)))}, b""
    elif how == "descriptor":
        evil.flags, evil.local_crc, evil.local_size = 8, 0, 0
        good.gap = b"PK\7\x08" + struct.pack("<III", zlib.crc32(data) ^ 1, len(data), len(data))
    elif how == "unicode path":
        evil.name = evil.local_name = "notes.txt"
        evil.extra = struct.pack("<HHBI", 0x7075, 5 + 16, 1, zlib.crc32(b"notes.txt")) + b"archive/data.pkl"
    elif how == "zip64 sizes":
        evil.packed = evil.size = 0xFFFFFFFF
        evil.extra = struct.pack("<HHQQ", 1, 16, 4, 4)
    elif how == "case":
        members = [Member("archive/data.pkl", b"\x80\x04N."), Member("archive/DATA.PKL", data), good]
    elif how == "nul in the name":
        evil.name = evil.local_name = "notes.txt\0.pkl"
    elif how == "slash":
        evil.name = evil.local_name = rng.choice(
            ("archive\\data.pkl", "archive//data.pkl", "./archive/data.pkl", "archive/./data.pkl")
        )
    elif how == "folder with bytes":
        evil.name = evil.local_name = "archive/data/"
    elif how == "method lie":
        evil.method = 8
        members = [Member("archive/data.pkl", data, 0), good]
        whole = bytearray(zipped(members))
        struct.pack_into("<H", whole, 8, 8)
        return {name(rng, "model.pt"): bytes(whole)}, [how, *words]
    elif how == "stored sizes differ":
        evil.size = len(data) + 9
    elif how == "needs":
        evil.needs = rng.choice((63, 99, 255))
        evil.method = 12
    elif how == "inner twin":
        members = [Member("a.zip", zipped([evil])), good]
    whole = zipped(members, tail=tail, **options)
    if how == "disk numbers":
        whole = whole[:-18] + struct.pack("<HH", 1, 1) + whole[-14:]
    elif how == "zip64 end":
        whole = (
            whole[:-22]
            + b"PK\6\6"
            + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, 46, 0)
            + b"PK\6\7"
            + struct.pack("<IQI", 0, len(whole) - 22, 1)
            + whole[-22:]
        )
    elif how == "long comment length":
        whole = whole[:-2] + struct.pack("<H", 500)
    return {name(rng, "model.pt", "model.zip"): whole}, [how, *words]


def npy_header(rng):
    """An array whose header is an expression, lies about the shape, or names objects in a roundabout way."""
    text = rng.choice((
        "{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': (1,), }", "{'descr': '<f8', 'fortran_order': False, 'shape': (1 << 40,), }", "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (9**9**9,), }", "{'descr': [('a', [('b', '|O')])], 'fortran_order': False, 'shape': (1,), }", "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), 'x': 1}", "{'descr': ('|O', (2,)), 'fortran_order': False, 'shape': (1,), }",
        "[" * 3000, "{'descr': '<f8', 'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "{'descr': 'object', 'fortran_order': False, 'shape': (1,), }", "{'descr': '<f8', 'fortran_order': 0, 'shape': [1], }",
    ))  # fmt: skip
    data, words = stream(rng, whole=True)
    header = text + " " * (-(10 + len(text) + 1) % 64) + "\n"
    whole = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + data
    return {name(rng, "array.npy", "x.bin"): whole}, [text[:60], *words[1:]]


def keras_deep(rng):
    """A hostile Keras layer inside of other layers, of the part that compiles the model, or of a file of the older kind."""
    config, kind = keras_config(rng)
    evil = next(layer for layer in config["config"]["layers"] if layer["config"].get("name") != "d0")
    wrapped = {
        "module": "keras.layers",
        "class_name": rng.choice(("TimeDistributed", "Bidirectional")),
        "config": {"layer": evil},
        "registered_name": None,
    }
    dense = {
        "module": "keras.layers",
        "class_name": "Dense",
        "config": {"name": "d0", "units": 2},
        "registered_name": None,
    }
    where = rng.choice(("wrapped", "nested model", "compile_config", "older file", "older file", "beside"))
    if where in ("wrapped", "nested model"):
        inner = {
            "module": "keras",
            "class_name": "Sequential",
            "config": {"name": "s", "layers": [evil]},
            "registered_name": "Sequential",
        }
        config["config"]["layers"] = [dense, wrapped if where == "wrapped" else inner]
    elif where == "compile_config":
        config["config"]["layers"] = [dense]
        config["compile_config"] = {"loss": evil, "optimizer": "adam", "metrics": [evil]}
    if where == "older file":
        return {name(rng, "model.h5", "weights.hdf5"): seeds_hdf5.weights(config=config)}, [
            f"keras h5 {kind}",
            "",
            "the layer runs code, imports by name or reads a file",
        ]
    text = json.dumps(config).encode()
    if where == "beside":
        text = json.dumps(seeds_hdf5.model(dense)).encode()
        return {"m/config.json": text, "m/model.json": json.dumps(config).encode()}, [
            f"keras json {kind}",
            "",
            "model_from_json builds the layer",
        ]
    members = [
        Member("metadata.json", b'{"keras_version": "3.8.0"}'),
        Member("config.json", text),
        Member("model.weights.h5", seeds_hdf5.weights()),
    ]
    return {name(rng, "model.keras"): zipped(members)}, [
        f"keras {where} {kind}",
        "",
        "the layer runs code, imports by name or reads a file",
    ]


def hdf5(rng):
    """An HDF5 file that takes its data from other files, holds a pickle, or a model that runs code."""
    config, kind = keras_config(rng)
    how = rng.choice(("model", "external storage", "external link", "cut", "behind", "prefix"))
    if how == "model":
        whole = seeds_hdf5.weights(config=config)
    elif how == "external storage":
        whole = seeds_hdf5.weights(seeds_hdf5.external(rng.choice(("passwd", "../x", "/etc/passwd"))))
    elif how == "external link":
        whole = _external_link(rng.choice(("../../x.h5", "/etc/x.h5")))
    elif how == "cut":
        whole = seeds_hdf5.weights()
        whole = whole[: rng.randrange(20, len(whole) - 1)]
    elif how == "behind":
        whole = seeds_hdf5.weights() + stream(rng)[0]
    else:
        whole = stream(rng, whole=True)[0].ljust(512, b"\0") + seeds_hdf5.weights()
    return {name(rng, "model.h5", "weights.hdf5", "tf_model.h5"): whole}, [
        f"hdf5 {how} {kind if how == 'model' else ''}",
        "",
        "what is loaded is another file, another model, or runs code",
    ]


def _external_link(target):
    """Write an HDF5 file of the newest form whose one link leads into another file."""
    data = bytearray(48)

    def header(*messages):
        body = b"".join(struct.pack("<BHB", kind, len(part), 0) + part for kind, part in messages)
        data.extend(b"OHDR\2\0" + bytes((len(body),)) + body + bytes(4))
        return len(data) - len(body) - 11

    where = b"\0" + target.encode() + b"\0/x\0"
    link = struct.pack("<BBBB", 1, 8, 64, 1) + b"x" + struct.pack("<H", len(where)) + where
    root = header((2, struct.pack("<BB", 0, 0) + b"\xff" * 16), (6, link))
    data[:48] = (
        b"\x89HDF\r\n\x1a\n\3\x08\x08\0"
        + struct.pack("<Q", 0)
        + b"\xff" * 8
        + struct.pack("<QQ4x", len(data), root)
    )
    return bytes(data)


def onnx_deep(rng):
    """ONNX with the hostile part in a branch, a function, an attribute or a tensor of another list."""
    domain = rng.choice(("com.evil", word(rng)))
    evil = field(1, "x") + field(2, "y") + field(4, word(rng).title()) + field(7, domain)
    outside = (
        field(1, 4)
        + field(2, 1)
        + field(8, "w")
        + field(13, field(1, "location") + field(2, rng.choice(("../../x", "/etc/passwd", "a/../../b"))))
        + field(14, 1)
    )
    info = field(2, field(1, field(1, 1) + field(2, field(1, field(1, 4)))))
    ends = field(11, field(1, "x") + info) + field(12, field(1, "y") + info)
    plain = field(1, "x") + field(2, "y") + field(4, "Relu")
    how = rng.choice(("branch", "attribute tensor", "function", "sparse", "branch tensor", "list of graphs"))
    extra = b""
    if how in ("branch", "list of graphs"):
        inner = field(1, evil) + field(2, "b")
        attribute = field(1, "then_branch") + (
            field(6, inner) + field(20, 5) if how == "branch" else field(11, inner) + field(20, 10)
        )
        node = field(1, "x") + field(2, "y") + field(4, "If") + field(5, attribute)
    elif how in ("attribute tensor", "branch tensor"):
        constant = (
            field(2, "y")
            + field(4, "Constant")
            + field(5, field(1, "value") + field(5, outside) + field(20, 4))
        )
        inner = field(1, constant) + field(2, "b")
        node = (
            constant
            if how == "attribute tensor"
            else field(1, "x")
            + field(2, "y")
            + field(4, "If")
            + field(5, field(1, "then_branch") + field(6, inner) + field(20, 5))
        )
    else:
        node = plain
    graph = field(1, node) + field(2, "g") + ends
    if how == "sparse":
        graph += field(15, field(1, outside) + field(2, outside) + field(3, 4))
    elif how == "function":
        extra = field(
            25,
            field(1, "f")
            + field(4, "x")
            + field(5, "y")
            + field(7, evil)
            + field(9, field(1, domain) + field(2, 1))
            + field(10, "local"),
        )
    whole = (
        field(1, 8)
        + field(2, "x")
        + field(7, graph)
        + field(8, field(1, "") + field(2, 17))
        + field(8, field(1, domain) + field(2, 1))
        + extra
    )
    return {name(rng, "model.onnx"): whole}, [
        f"onnx {how}",
        "",
        "reads a file outside the model, or runs an operator nobody vetted",
    ]


def disguised(rng):
    """A pickle behind bytes that belong to something else: a byte order mark, a picture, a text, the head of another format."""
    data, words = file(rng)
    fronts = {
        "png": b"\x89PNG\r\n\x1a\n" + bytes(25), "jpeg": b"\xff\xd8\xff\xe0" + bytes(16), "gif": b"GIF89a" + bytes(7), "pdf": b"%PDF-1.4\n", "sqlite": b"SQLite format 3\0" + bytes(84), "gguf": b"GGUF" + struct.pack("<IQQ", 3, 0, 0),
        "riff": b"RIFF\x24\0\0\0WAVEfmt " + bytes(20), "npy": npy_bytes(rng, bytes(8), descr="'<f8'"), "safetensors": struct.pack("<Q", 2) + b"{}", "parquet": b"PAR1" + bytes(20),
    }  # fmt: skip
    kind = rng.choice(sorted(fronts))
    return {name(rng, "logo.png", "model.bin"): fronts[kind] + data}, [f"behind the head of {kind}", *words]
