"""HDF5 files and Keras archives, written by hand: the seeds of the fuzzer and the samples of the tests."""

import io
import json
import struct
import zipfile

NOWHERE = b"\xff" * 8


def message(kind, body, flags=0):
    """One message of an object header of version 1."""
    body += bytes(-len(body) % 8)
    return struct.pack("<HHB3x", kind, len(body), flags) + body


def padded(data):
    return data + bytes(-len(data) % 8)


def text_type(size):
    return struct.pack("<B3sI", 0x13, b"\0\0\0", size)


def space(*dims):
    return struct.pack("<BBBB4x", 1, len(dims), 0, 0) + b"".join(struct.pack("<Q", dim) for dim in dims)


def attribute(name, data):
    """An attribute that is one text of fixed length."""
    name = name.encode() + b"\0"
    sizes = struct.pack("<BBHHH", 1, 0, len(name), 8, 8)
    return message(0xC, sizes + padded(name) + text_type(len(data)) + space() + data)


def external(name="passwd"):
    return message(7, struct.pack("<B3xHHQ", 1, 1, 1, 0) + struct.pack("<QQQ", 0, 0, 100))


class Forge:
    """Builds one file; every `…` method returns an address."""

    def __init__(self):
        self.data = bytearray(96)

    def put(self, data):
        self.data += bytes(-len(self.data) % 8)
        self.data += data
        return len(self.data) - len(data)

    def header(self, *messages):
        body = b"".join(messages)
        return self.put(struct.pack("<BxHII4x", 1, len(messages), 1, len(body)) + body)

    def heap(self, names):
        segment, places = bytearray(8), []
        for name in names:
            places.append(len(segment))
            segment += padded(name.encode() + b"\0")
        address = self.put(bytes(segment))
        return self.put(b"HEAP\0\0\0\0" + struct.pack("<QQQ", len(segment), 1, address)), places

    def group(self, children, *messages):
        """`children` maps names to addresses, or to a text, which makes a soft link."""
        soft = [target for target in children.values() if isinstance(target, str)]
        heap, places = self.heap([*children, *soft])
        entries = b""
        for place, target in zip(places, children.values(), strict=False):
            if isinstance(target, str):
                value = places[len(children) + soft.index(target)]
                entries += struct.pack("<Q8sI4xI12x", place, NOWHERE, 2, value)
            else:
                entries += struct.pack("<QQI20x", place, target, 0)
        node = self.put((b"SNOD\1\0" + struct.pack("<H", len(children)) + entries).ljust(8 + 320, b"\0"))
        tree = b"TREE\0\0" + struct.pack("<H", 1) + NOWHERE * 2 + struct.pack("<QQQ", 0, node, 0)
        tree = self.put(tree.ljust(24 + 520, b"\0"))
        return self.header(message(0x11, struct.pack("<QQ", tree, heap)), *messages)

    def dataset(self, data, *messages):
        address = self.put(data)
        layout = message(8, struct.pack("<BBQQ", 3, 1, address, len(data)))
        kind = message(3, struct.pack("<B3sI12s", 0x11, b"\x20\x1f\0", 4, bytes(12)))
        return self.header(message(1, space(len(data) // 4)), kind, layout, *messages)

    def chunked(self, data, *messages):
        chunk = self.put(data)
        keys = struct.pack("<IIQQ", len(data), 0, 0, 0)
        tree = b"TREE\1\0" + struct.pack("<H", 1) + NOWHERE * 2 + keys + struct.pack("<Q", chunk) + keys
        tree = self.put(tree.ljust(24 + 64 * 32 + 24, b"\0"))
        layout = message(8, struct.pack("<BBBQII", 3, 2, 2, tree, len(data) // 4, 4))
        return self.header(message(1, space(len(data) // 4)), layout, *messages)

    def long_text(self, name, *texts):
        """An attribute whose texts lie in a global heap, as h5py writes them."""
        body = b"".join(struct.pack("<HH4xQ", i, 0, len(t)) + padded(t) for i, t in enumerate(texts, 1))
        size = 16 + len(body) + 16
        heap = self.put(b"GCOL\1\0\0\0" + struct.pack("<Q", size) + body + struct.pack("<HH4xQ", 0, 0, 16))
        name = name.encode() + b"\0"
        kind = struct.pack("<B3sI", 0x19, b"\1\0\0", 16) + text_type(1)
        sizes = struct.pack("<BBHHH", 1, 0, len(name), len(kind), 16)
        data = b"".join(struct.pack("<IQI", len(t), heap, i) for i, t in enumerate(texts, 1))
        return message(0xC, sizes + padded(name) + kind + space(len(texts)) + data)

    def finish(self, root, end=None):
        head = b"\x89HDF\r\n\x1a\n" + struct.pack("<BBBBBBBBHHI", 0, 0, 0, 0, 0, 8, 8, 0, 4, 16, 0)
        end = len(self.data) if end is None else end
        head += struct.pack("<Q", 0) + NOWHERE + struct.pack("<Q", end) + NOWHERE
        self.data[:96] = head + struct.pack("<QQI20x", 0, root, 0)
        return bytes(self.data)


def weights(*extra, config=None, data=bytes(range(32))):
    """A file with one group, one dataset, and a configuration as Keras 2 writes it."""
    forge = Forge()
    inner = forge.group({"kernel": forge.dataset(data, *extra)}, attribute("weight_names", b"kernel"))
    messages = [attribute("keras_version", b"2.15.0")]
    if config is not None:
        messages.append(forge.long_text("model_config", json.dumps(config).encode()))
    return forge.finish(forge.group({"dense": inner}, *messages))


def newest():
    """A file with a superblock of version 3, headers of version 2 and compact links."""
    forge = Forge()
    forge.data = bytearray(48)
    link = struct.pack("<BBB", 1, 0, 1) + b"x"

    def header(*messages):
        body = b"".join(struct.pack("<BHB", kind, len(data), 0) + data for kind, data in messages)
        return forge.put(b"OHDR\2\0" + bytes([len(body)]) + body + bytes(4))

    data = forge.put(bytes(16))
    inner = header((8, struct.pack("<BBQQ", 3, 1, data, 16)))
    root = header((2, struct.pack("<BB", 0, 0) + NOWHERE * 2), (6, link + struct.pack("<Q", inner)))
    head = b"\x89HDF\r\n\x1a\n\3\x08\x08\0" + struct.pack("<Q", 0) + NOWHERE
    forge.data[:48] = head + struct.pack("<QQ4x", len(forge.data), root)
    return bytes(forge.data)


DENSE = {
    "module": "keras.layers", "class_name": "Dense", "registered_name": None, "config": {"units": 2, "activation": "relu"},
}  # fmt: skip


def model(*layers):
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"layers": list(layers)},
        "registered_name": None,
    }


def archive(config, members=(), h5=None):
    """A `.keras` archive as Keras 3 writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        file.writestr("config.json", json.dumps(config))
        file.writestr("model.weights.h5", weights() if h5 is None else h5)
        for name, data in members:
            file.writestr(name, data)
    return out.getvalue()


def seeds():
    """Return files that pass and files that do not."""
    forge = Forge()
    packed = message(0xB, struct.pack("<BB6xHHHH", 1, 1, 1, 0, 0, 0))
    mixed = forge.finish(forge.group({"a": forge.chunked(bytes(64), packed), "b": "/a"}))
    return [
        weights(),
        weights(config=model(DENSE)),
        weights(external()),
        newest(),
        mixed,
        archive(model(DENSE)),
    ]
