"""Files that carry a hostile pickle to whoever loads them: bare, in a checkpoint, an array, an archive, a packed stream."""

import struct
import zlib

from attack_archives import Member, packed, seven_zip, tarred, zipped
from attack_opcodes import payload, word
from attack_streams import file, old, stream

from world_checkpoints import MAGIC, Call, G, New, Pid, Raw, emit, ordered, pickled, storage, tensor

NAMES = (
    "pytorch_model.bin", "model.pkl", "model.pt", "model.pth", "weights.ckpt", "vectorizer.joblib", "model.dat", "data.bin", "optimizer.pt", "training_args.bin", "model.pickle", "cache.p", "index.faiss",
    "model.onnx", "model.gguf", "model.weights", "image.jpg", "notes.txt", "README.md", "vocab.txt", "merges.txt", "LICENSE", "tokenizer.model", "config.json", "weights.h5", "model.keras", "table.parquet",
    "model.safetensors", "array.npy", "model", ".hidden", "a.b.c", "special_tokens_map.json", "spiece.model", "events.out.tfevents.1", "script.py", "x.zip", "x.tar", "x.gz", "x.7z", "chat_template.jinja",
)  # fmt: skip
ARRAYS = "joblib.numpy_pickle NumpyArrayWrapper"


def name(rng, *usual):
    """Return a file name: what is usual for the content, or any other."""
    return rng.choice(usual) if usual and rng.random() < 0.6 else rng.choice(NAMES)


def bare(rng):
    data, words = file(rng)
    return {name(rng, "model.pkl", "pytorch_model.bin"): data}, words


def bare_text(rng):
    data, words = old(rng)
    return {name(rng, "notes.txt", "vocab.txt", "README.md", "model.pkl"): data}, words


def _weights(rng):
    """Return honest tensors and the bytes of their storages."""
    count = rng.randint(1, 4)
    storages = {str(number): rng.randbytes(16) for number in range(count)}
    return ordered([(f"layer.{key}", tensor(storage(key, numel=4), (2, 2))) for key in storages]), storages


def _hostile_root(rng):
    tensors, storages = _weights(rng)
    act, form, gadget = payload(rng)
    root = rng.choice(
        (
            {"state_dict": tensors, word(rng): Raw(act)},
            {word(rng): Raw(act), "model": tensors},
            [Raw(act), tensors],
            Raw(act + b"0" + emit(tensors)),
        )
    )
    return root, storages, [form, f"{gadget.module}.{gadget.name}", gadget.why]


def torch_zip(rng):
    root, storages, words = _hostile_root(rng)
    folder = rng.choice(("archive", "model", "x"))
    end = rng.choice((b".", b".", b"", b"\xff"))
    members = [
        Member(f"{folder}/data.pkl", b"\x80\x04" + emit(root) + end, rng.choice((0, 0, 8))),
        Member(f"{folder}/byteorder", b"little"),
    ]
    members += [Member(f"{folder}/data/{key}", content) for key, content in storages.items()]
    members.append(Member(f"{folder}/version", b"3\n"))
    return {name(rng, "pytorch_model.bin", "model.pt", "model.ckpt"): zipped(members)}, words


def torch_extra(rng):
    """An honest checkpoint with one more member that holds a pickle; TorchScript, torch.package and pt2 load such members."""
    tensors, storages = _weights(rng)
    data, words = stream(rng)
    extra = rng.choice(
        (
            "archive/constants.pkl",
            "archive/code/__torch__/x.py.debug_pkl",
            "archive/extra/x.pkl",
            "archive/.data/extra.pkl",
            "archive/attributes.pkl",
            "archive/bytecode.pkl",
            "other/data.pkl",
            "archive/data/9",
            "archive/data/constants/custom_objs.pkl",
            "archive/extern/x",
            "x.txt",
            "archive/byteorder",
            "archive/version",
        )
    )
    members = [
        Member("archive/data.pkl", pickled(tensors)),
        *(Member(f"archive/data/{key}", content) for key, content in storages.items()),
    ]
    members += [Member("archive/version", b"3\n")] if not extra.endswith("version") else []
    members.insert(rng.randint(0, len(members)), Member(extra, data, rng.choice((0, 8))))
    return {name(rng, "model.pt", "traced.pt"): zipped(members)}, [*words, extra]


def torch_package(rng):
    data, words = stream(rng)
    source = rng.choice((b"import os\nos.system('true')\n", b"def f(x):\n    return x\n"))
    members = [
        Member("pkg/model/model.pkl", data),
        Member("pkg/.data/extern_modules", b"torch\nos\n"),
        Member("pkg/.data/version", b"6\n"),
        Member("pkg/model/net.py", source),
        Member("pkg/.data/python_version", b"3.11\n"),
    ]
    return {name(rng, "package.pt"): zipped(members)}, [*words, "torch.package"]


def torch_pt2(rng):
    data, words = stream(rng)
    members = [
        Member("m/archive_format", b"pt2"),
        Member("m/models/model.json", b'{"graph_module":{}}'),
        Member(
            rng.choice(
                (
                    "m/data/weights/weight_0",
                    "m/data/sample_inputs/model.pt",
                    "m/data/constants/custom_obj_0",
                    "m/extra/x",
                )
            ),
            data,
        ),
        Member("m/byteorder", b"little"),
        Member("m/.data/serialization_id", b"1"),
    ]
    return {name(rng, "model.pt2"): zipped(members)}, [*words, "pt2"]


def torch_legacy(rng):
    root, storages, words = _hostile_root(rng)
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    parts = [
        pickled(MAGIC),
        pickled(1001),
        pickled(system),
        b"\x80\x04" + emit(root) + b".",
        pickled(list(storages)),
    ]
    where = rng.choice((3, 3, 3, 4, 2, 1))
    if where != 3:
        honest, storages = _weights(rng)
        parts[3] = pickled(honest)
        parts[4] = pickled(list(storages))
        parts[where], words = stream(rng, whole=True)
    body = b"".join(parts) + b"".join(struct.pack("<q", 4) + content for content in storages.values())
    return {name(rng, "model.pth", "pytorch_model.bin"): body}, [*words, f"stream {where}"]


def torch_tar(rng):
    """The oldest layout: a tar file of pickles, storages and tensors."""
    data, words = stream(rng, whole=True)
    entries = [
        ("sys_info", pickled({"little_endian": True})),
        ("storages", pickled(0)),
        ("tensors", pickled(0)),
        ("pickle", pickled(1)),
    ]
    where = rng.randrange(4)
    entries[where] = (entries[where][0], data)
    return {name(rng, "model.pth", "model.tar", "checkpoint.pth.tar"): tarred(entries)}, [
        *words,
        entries[where][0],
    ]


def _wrapper(rng, shape, *, dtype="f8", order="C", align=16):
    kind = Call(G("numpy", "dtype"), (dtype, False, True), (3, "<", None, None, None, -1, -1, 0))
    return emit(
        Raw(
            emit(G("joblib.numpy_pickle", "NumpyArrayWrapper"))
            + b")\x81"
            + emit(
                {
                    "subclass": G("numpy", "ndarray"),
                    "shape": shape,
                    "order": order,
                    "dtype": kind,
                    "allow_mmap": True,
                    "numpy_array_alignment_bytes": align,
                }
            )
            + b"b"
        )
    )


def joblib_file(dtype, shape, raw, *, align=16, then=b""):
    """Return a joblib file: a dict with one array described by `dtype`, its raw bytes, and what follows them."""
    state = {
        "subclass": G("numpy", "ndarray"),
        "shape": shape,
        "order": "C",
        "dtype": dtype,
        "allow_mmap": True,
    }
    if align is not None:
        state["numpy_array_alignment_bytes"] = align
    head = b"\x80\x04}" + emit("a") + emit(New(G("joblib.numpy_pickle", "NumpyArrayWrapper"), (), state))
    room = align - (len(head) + 1) % align if align else 0
    padding = bytes((room,)) + b"\xff" * room if align else b""
    return head + padding + raw + b"s" + then + b"."


def joblib_body(rng):
    """Write what joblib writes for a dict of arrays, with a hostile value before, between, after or inside of them."""
    act, form, gadget = payload(rng)
    where = rng.choice(
        ("before", "after", "between", "inside the raw bytes", "no array", "in place of the padding")
    )
    if where == "no array":
        data, words = stream(rng)
        return data, [*words, where]
    raw = rng.randbytes(24)
    if where == "inside the raw bytes":
        # joblib skips these as an array; pickle.load on the same file runs them, if it knows what they refer to.
        while form.startswith(("extension", "persistent")) or "pid" in form:
            act, form, gadget = payload(rng)
        raw = act + b"." + b"\0" * 64
        raw = raw[: len(raw) // 8 * 8]
        array = _wrapper(rng, (len(raw) // 8,), align=None) + raw
        body = b"\x80\x04}(" + emit("a") + array + b"u."
        return body, [form, f"{gadget.module}.{gadget.name}", gadget.why, where]
    body = bytearray(b"\x80\x04}(")
    for number in range(3):
        if where == ("before", "between", "after")[number] or (number == 0 and where.startswith("in place")):
            body += emit(word(rng)) + (act if where != "in place of the padding" else b"N")
        body += emit(f"array{number}") + _wrapper(rng, (3,))
        room = 16 - (len(body) + 1) % 16
        padding = b"\xff" * room
        if where == "in place of the padding":
            padding = (b"cos\nsystem\n" + padding)[:room]
            act = b""
        body += bytes((room,)) + padding + raw
    body += b"u." if where != "in place of the padding" else emit("k") + payload(rng)[0] + b"u."
    return bytes(body), [form, f"{gadget.module}.{gadget.name}", gadget.why, where]


def joblib_raw(rng):
    data, words = joblib_body(rng)
    return {name(rng, "model.joblib", "vectorizer.joblib"): data}, words


def joblib_packed(rng):
    data, words = joblib_body(rng)
    kind = rng.choice(("zlib", "gzip", "bz2", "xz", "lzma", "lz4", "zstd", "zlib", "lz4"))
    whole = packed(kind, data)
    spoiled = rng.choice(("", "", "", "tail", "cut", "twice"))
    if spoiled == "tail":
        whole += rng.randbytes(9)
    elif spoiled == "cut" and kind in ("zlib", "gzip"):
        whole = whole[:-4]  # only the checksum goes: the pickle has acted before anybody misses it
    elif spoiled == "twice":
        whole = packed(kind, b"\x80\x04N.") + whole
    return {name(rng, "model.joblib", f"model.pkl.{kind}"): whole}, [*words, kind, spoiled]


def npy_bytes(rng, data, *, descr="'|O'"):
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}"
    version = rng.choice(((1, "<H"), (2, "<I"), (3, "<I")))
    room = 8 + struct.calcsize(version[1])
    header += " " * (-(room + len(header) + 1) % 64) + "\n"
    return (
        b"\x93NUMPY" + bytes((version[0], 0)) + struct.pack(version[1], len(header)) + header.encode() + data
    )


def npy(rng):
    data, words = stream(rng)
    descr = rng.choice(("'|O'", "'|O'", "'O'", "[('a', '<f4'), ('b', '|O')]", "'|O8'"))
    return {name(rng, "array.npy", "embeddings.npy"): npy_bytes(rng, data, descr=descr)}, [*words, descr]


def npy_renamed(rng):
    data, words = stream(rng)
    return {rng.choice(("array.npy", "emb.npz", "x.npy")): data}, [
        *words,
        "a pickle under the name of an array",
    ]


def npz(rng):
    data, words = stream(rng)
    inside = npy_bytes(rng, data) if rng.random() < 0.7 else data
    members = [
        Member("a.npy", npy_bytes(rng, bytes(8), descr="'<f8'")),
        Member(rng.choice(("b.npy", "arr_0.npy", "b")), inside, rng.choice((0, 8))),
    ]
    rng.shuffle(members)
    return {name(rng, "arrays.npz"): zipped(members)}, words


def nest(rng):
    """A pickle in one to three archives or packings of different kinds."""
    data, words = file(rng)
    inner, way = rng.choice(("data.pkl", "x", "weights/model.bin", "a.txt")), []
    for _ in range(rng.randint(1, 3)):
        kind = rng.choice(("zip", "zip", "tar", "tgz", "7z", "gzip", "bz2", "xz", "zlib", "lz4", "zstd"))
        way.append(kind)
        if kind == "zip":
            data = zipped([Member(word(rng), b"text\n"), Member(inner, data, rng.choice((0, 8)))])
        elif kind in ("tar", "tgz"):
            data = tarred([("readme", b"text\n"), (inner, data)])
            data = packed("gzip", data) if kind == "tgz" else data
        elif kind == "7z":
            data = seven_zip(inner, data)
        else:
            data = packed(kind, data)
        inner = f"{word(rng)}.{kind}"
    return {name(rng, "model.zip", "model.tar.gz", inner): data}, [*words, *way]


def mar(rng):
    """A torch model archive: the handler is Python, the weights are a pickle."""
    data, words = stream(rng)
    manifest = b'{"runtime":"python","model":{"modelName":"m","serializedFile":"model.pt","handler":"handler.py","modelVersion":"1"}}'
    members = [
        Member("MAR-INF/MANIFEST.json", manifest),
        Member("model.pt", data),
        Member("handler.py", b"class H:\n    pass\n"),
    ]
    return {
        name(rng, "model.mar"): rng.choice(
            (zipped, lambda m: packed("gzip", tarred([(x.name, x.data) for x in m])))
        )(members)
    }, words


def nemo(rng):
    target = rng.choice(
        (
            "os.system",
            "subprocess.run",
            "builtins.eval",
            "nemo.x.Y",
            "importlib.import_module",
            word(rng) + "." + word(rng),
        )
    )
    config = f"name: m\nencoder:\n  _target_: {target}\n  _args_: ['true']\n".encode()
    data, words = stream(rng)
    entries = [
        ("./model_config.yaml", config),
        ("./model_weights.ckpt", data if rng.random() < 0.5 else pickled({})),
    ]
    whole = tarred(entries)
    return {name(rng, "model.nemo"): packed("gzip", whole) if rng.random() < 0.3 else whole}, [
        f"_target_ {target}",
        *words[1:],
    ]


def safetensors_polyglot(rng):
    """A valid safetensors file whose header length is an opcode that jumps over the header's start into a pickle."""
    module, attribute = (
        "module_that_comes_with_the_attack_" + word(rng),
        "name_of_something_in_it_that_runs_" + word(rng),
    )
    act = (
        "U"
        + chr(len(module))
        + module
        + "U"
        + chr(len(attribute))
        + attribute
        + "q\u0082".replace("\u0082", "\u0093")
        + "(tR."
    )
    lead = rng.choice((b"X", b"T", b"B"))
    start = '{"__metadata__":{"k":"' + "x" * rng.randrange(40, 120)
    jump = 3 + len(start)
    length = lead[0] + 256 * jump
    header = start + act
    rest = length - len(header.encode()) - len('"}}')
    header += " " * rest + '"}}'
    body = header.encode()
    assert len(body) == length
    return {
        rng.choice(("model.safetensors", "model.bin", "pytorch_model.bin")): struct.pack("<Q", length) + body
    }, [f"safetensors and pickle, {lead.decode()}", f"{module}.{attribute}", "valid as both"]


def zip_polyglot(rng):
    """A pickle with an honest zip archive behind it: readers from the end see the archive, loaders from the start the pickle."""
    data, words = stream(rng, whole=True)
    shift = rng.choice((0, len(data)))
    tensors, storages = _weights(rng)
    members = [
        Member("archive/data.pkl", pickled(tensors)),
        *(Member(f"archive/data/{key}", content) for key, content in storages.items()),
        Member("archive/version", b"3\n"),
    ]
    return {name(rng, "model.pt", "model.pkl"): zipped(members, prefix=data, shift=shift)}, [
        *words,
        "pickle and zip",
    ]


def hidden_pickle(rng):
    """An archive with a pickle that the directory does not list: in a gap, in front, behind, in the comment, or as an unlisted member."""
    data, words = stream(rng)
    honest = [Member("a.txt", b"text\n"), Member("b.txt", b"more\n")]
    how = rng.choice(("gap", "prefix", "tail", "comment", "unlisted", "extra", "after the data"))
    if how == "gap":
        honest[1].gap = data
    elif how == "unlisted":
        honest.insert(1, Member("c.pkl", data, listed=False))
    elif how == "extra":
        honest[0].extra = struct.pack("<HH", rng.choice((0x6375, 0x4141, 0x7075, 0xD935)), len(data)) + data
    elif how == "after the data":
        honest[0].gap = b""
        honest[1].gap = b"PK\3\4" + data
    parts = {how: data} if how in ("prefix", "tail", "comment") else {}
    if how == "prefix":
        parts["shift"] = rng.choice((0, len(data)))
    return {name(rng, "model.zip", "model.pt"): zipped(honest, **parts)}, [*words, how]


def wrong_twin(rng):
    """Directory and local header disagree, or two members bear one name: one reader sees text, another the pickle."""
    data, words = stream(rng, whole=True)
    text = b"harmless text\n".ljust(len(data), b" ")
    how = rng.choice(
        (
            "local name",
            "duplicate",
            "same offset",
            "local flags",
            "encrypted flag",
            "crc",
            "sizes",
            "directory count",
            "method",
        )
    )
    one, two = Member("archive/data.pkl", data), Member("archive/version", b"3\n")
    members = [one, two]
    if how == "local name":
        one.name, one.local_name = "notes.txt", "archive/data.pkl"
    elif how == "duplicate":
        members = [Member(one.name, pickled({})), one, two]
        rng.shuffle(members)
    elif how == "same offset":
        members = [one, Member("other.txt", data, offset=0), two]
    elif how == "local flags":
        one.local_flags = 1
    elif how == "encrypted flag":
        one.flags = 1
    elif how == "crc":
        one.crc = 0x12345678
        one.local_crc = rng.choice((None, zlib.crc32(data)))
    elif how == "sizes":
        one.local_size = rng.choice((0, 1, len(data) + 3))
    elif how == "directory count":
        return {name(rng, "model.pt"): zipped(members, count=1)}, [*words, how]
    else:
        one.method = rng.choice((9, 12, 14, 93, 99))
    assert text
    return {name(rng, "model.pt", "pytorch_model.bin"): zipped(members)}, [*words, how]


def persistent(rng):
    """A checkpoint whose storages are not what a checkpoint refers to: foreign ids, code that the id names, sizes that lie."""
    tensors, storages = _weights(rng)
    how = rng.choice(
        (
            "foreign id",
            "callable type",
            "too large",
            "missing",
            "one too many",
            "twice",
        )
    )
    root = {"w": tensors}
    if how == "foreign id":
        root["x"] = Pid(
            rng.choice(
                (
                    ("module", "os", "x"),
                    "x",
                    ("storage", G("os", "system"), "0", "cpu", 4),
                    ("storage", G("torch", "FloatStorage"), "../../x", "cpu", 4),
                )
            )
        )
    elif how == "callable type":
        root["x"] = Pid(("storage", G("torch", "load"), "0", "cpu", 4))
    elif how == "too large":
        root["x"] = tensor(storage("0", numel=1 << 40), (4,))
    elif how == "missing":
        root["x"] = tensor(storage("77", numel=4), (4,))
    elif how == "one too many":
        storages["88"] = rng.randbytes(16)
    members = [
        Member("archive/data.pkl", pickled(root)),
        *(Member(f"archive/data/{key}", content) for key, content in storages.items()),
        Member("archive/version", b"3\n"),
    ]
    if how == "twice":
        members.append(Member("archive/data/0", rng.randbytes(16)))
    return {name(rng, "model.pt", "pytorch_model.bin"): zipped(members)}, [
        "torch storages",
        how,
        "a loader reads past a buffer, or what nobody vetted",
    ]
