"""Files without a model library: standard-library data as pickles, dill, cloudpickle, texts and archives."""

import array
import collections
import datetime as dt
import decimal
import fractions
import gzip
import io
import ipaddress
import json
import logging
import pathlib
import pickle
import random
import re
import tarfile
import types
import uuid
import zipfile
import zoneinfo
from functools import partial
from http import HTTPStatus

import cloudpickle
import dill
import joblib
import yaml
from honest.catalogue import CARD, Shelf, bytes_writer
from PIL import Image

PROTOCOLS = (0, 1, 2, 3, 4, 5)


def values():
    """Return values of the standard library as people keep them: name → value."""
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    loop = [1, 2]
    loop.append(loop)
    return {
        "scalars": [None, True, False, 0, -1, 255, 65536, 2**70, -(2**63), 1.5, float("inf"), 3 - 4j],
        "texts": ["", "ascii", "Größe", "漢字", "😀", "line\nbreak", "x" * 300],
        "bytes": [b"", b"\x00\xff", bytearray(b"abc"), b"y" * 400],
        "nested": {"a": [1, (2, 3), {"b": {4, 5}}], ("k", 1): frozenset({6})},
        "long-list": list(range(3000)),
        "deep": [[[[[[[[[[1]]]]]]]]]],
        "loop": loop,
        "shared": [shared := {"x": 1}, shared],
        "vocabulary": {f"token{i}": i for i in range(3000)},
        "dates": [
            dt.datetime.fromisoformat("2026-11-22T23:30:05"),
            dt.date(2026, 1, 1),
            dt.time(12, 30),
            dt.timedelta(hours=3),
        ],
        "zones": [dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.timezone(dt.timedelta(hours=2))],
        "zoneinfo": dt.datetime(2026, 1, 1, tzinfo=berlin),
        "decimals": [decimal.Decimal("1.10"), fractions.Fraction(1, 3)],
        "uuids": uuid.UUID(int=5),
        "ordered": collections.OrderedDict(a=1, b=2),
        "counter": collections.Counter("abracadabra"),
        "defaultdict-list": collections.defaultdict(list, {"a": [1]}),
        "defaultdict-int": collections.defaultdict(int, {"a": 1}),
        "deque": collections.deque([1, 2, 3], maxlen=5),
        "chain-map": collections.ChainMap({"a": 1}, {"b": 2}),
        "paths": [pathlib.PurePosixPath("a/b"), pathlib.Path("models/one.pt")],
        "namespace": types.SimpleNamespace(lr=0.1, name="run"),
        "array": array.array("d", [1.0, 2.0]),
        "addresses": [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_network("10.0.0.0/8")],
        "pattern": re.compile(r"\w+", re.IGNORECASE),
        "random-state": random.Random(3).getstate(),
        "ranges": [range(3), slice(1, 2), Ellipsis],
        "types": [int, str, dict, list, float, bool, type(None)],
        "enum": HTTPStatus.OK,
        "exception": ValueError("a message"),
        "complex-keys": {1: "a", (1, 2): "b", None: "c", 2.5: "d"},
        "partial": partial(int, base=2),
        "level": logging.INFO,
        "proxy": dict(types.MappingProxyType({"a": 1})),
    }


def pickles(folder):
    """Write the values with every protocol in turn, and two in one file."""
    shelf = Shelf(folder, "python")
    for index, (name, value) in enumerate(values().items()):
        protocol = PROTOCOLS[index % 6]
        data = pickle.dumps(value, protocol=protocol)
        shelf.add(f"{name}.p{protocol}.pkl", f"{name}, pickle protocol {protocol}", bytes_writer(data))
    simple = {
        name: value for name, value in values().items() if name not in ("partial", "exception", "pattern")
    }
    for protocol in PROTOCOLS:
        data = pickle.dumps(simple, protocol=protocol)
        shelf.add(
            f"everything.p{protocol}.pickle",
            f"all values in one, pickle protocol {protocol}",
            bytes_writer(data),
        )
    shelf.add(
        "gzipped.pkl.gz",
        "a pickle in gzip",
        bytes_writer(gzip.compress(pickle.dumps(values()["vocabulary"]), mtime=0)),
    )
    streams = b"".join(pickle.dumps({"record": index}) for index in range(4))
    shelf.add("stream.pkl", "four pickles in one file, as a log of records is kept", bytes_writer(streams))
    return shelf


def other_picklers(folder):
    """Write plain data and simple functions through dill and cloudpickle."""
    shelf = Shelf(folder, "dill-cloudpickle")
    data = {"weights": [1.0, 2.0], "name": "run", "when": dt.date(2026, 1, 1)}
    for name, module in (("dill", dill), ("cloudpickle", cloudpickle)):
        shelf.add(f"data.{name}.pkl", f"plain data through {name}", bytes_writer(module.dumps(data)))
        shelf.add(
            f"types.{name}.pkl",
            f"types and collections through {name}",
            bytes_writer(module.dumps({int: collections.Counter("ab")})),
        )
        shelf.add(f"arrays.{name}.pkl", f"arrays through {name}", bytes_writer(module.dumps(_array())))
        shelf.add(
            f"estimator.{name}.pkl", f"an estimator through {name}", bytes_writer(module.dumps(_estimator()))
        )
    # With dill imported, joblib's pickler takes dill's way of writing types.
    shelf.add(
        "estimator.joblib", "an estimator through joblib beside dill", lambda p: joblib.dump(_on_frame(), p)
    )
    return shelf


def _on_frame():
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.preprocessing import StandardScaler

    table = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [3.0, 4.0, 1.0]})
    return make_column_transformer((StandardScaler(), ["a", "b"])).fit(table)


class Settings:
    """A class of somebody's own, which no scanner can know."""

    def __init__(self, rate):
        self.rate = rate


def own(folder):
    """Write objects of somebody's own classes: honest, and nothing but their source could say so."""
    shelf = Shelf(folder, "own-classes")
    shelf.add("settings.pkl", "an object of a class of one's own", bytes_writer(pickle.dumps(Settings(0.1))))
    kept = {"model": _estimator(), "settings": Settings(0.2)}
    shelf.add("beside.pkl", "an estimator beside such an object", bytes_writer(pickle.dumps(kept)))
    return shelf


def _array():
    import numpy as np

    return {"a": np.arange(6.0).reshape(2, 3)}


def _estimator():
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])


def texts(folder):
    """Write the texts that lie beside models."""
    shelf = Shelf(folder, "texts")
    settings = {
        "name": "run",
        "layers": [1, 2],
        "rate": 1e-4,
        "nested": {"a": None, "b": True},
        "when": dt.date(2026, 1, 1),
    }
    plain = {
        "README.md": CARD,
        "LICENSE": "Permission is hereby granted, free of charge, to any person obtaining a copy.\n" * 3,
        "notes.txt": "Größe und Gewicht\nsecond line\n",
        "labels.txt": "cat\ndog\nbird\n",
        "vocab.txt": "\n".join(["[PAD]", "[UNK]", "[CLS]", "##ing", *map(chr, range(97, 123))]) + "\n",
        "merges.txt": "#version: 0.2\nt h\nth e\n",
        "data.csv": "id,text,label\n1,good,1\n2,bad,0\n",
        "data.tsv": "id\ttext\n1\tgood\n",
        "records.jsonl": "".join(json.dumps({"prompt": f"p{i}", "answer": "a"}) + "\n" for i in range(20)),
        "settings.json": json.dumps({**settings, "when": "2026"}, indent=2),
        "settings.yaml": yaml.safe_dump(settings),
        "conda.yaml": "name: env\nchannels:\n- conda-forge\ndependencies:\n- python=3.11\n",
        "settings.toml": '[tool.run]\nname = "x"\nrate = 0.1\n',
        "settings.ini": "[run]\nname = x\n",
        ".gitattributes": "*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.bin filter=lfs diff=lfs merge=lfs -text\n",
        ".gitignore": "*.pyc\n__pycache__/\n",
        "picture.svg": '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><rect width="4" height="4"/></svg>\n',
        "index.html": "<!doctype html><html><body><p>Model card</p></body></html>\n",
        "utf16.txt": None,
        "empty.txt": "",
    }
    for name, text in plain.items():
        data = "Größe\n".encode("utf-16") if text is None else text.encode()
        shelf.add(f"{name}", f"the text {name}", bytes_writer(data))
    shelf.add("results.ipynb", "a notebook without commands", bytes_writer(json.dumps(_notebook()).encode()))
    pixels = Image.frombytes("RGB", (8, 8), bytes(range(192)))
    for suffix in ("png", "jpg", "gif", "webp"):
        shelf.add(f"picture.{suffix}", f"a picture, {suffix}", pixels.save)
    return shelf


def _notebook():
    code = {
        "cell_type": "code",
        "execution_count": 1,
        "metadata": {},
        "outputs": [],
        "source": ["x = 1 + 1\n", "print(x)"],
    }
    words = {"cell_type": "markdown", "metadata": {}, "source": ["# Results"]}
    return {
        "cells": [words, code],
        "metadata": {"language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def archives(folder):
    """Write models in zip and tar, as exports carry them."""
    shelf = Shelf(folder, "archives")
    members = {
        "model/weights.pkl": pickle.dumps({"w": [1.0, 2.0]}),
        "model/config.json": b'{"model_type": "bert"}\n',
        "model/README.md": CARD.encode(),
        "model/vocab.txt": b"a\nb\n",
    }

    def zipped(path, method=zipfile.ZIP_DEFLATED, *, folders=False):
        with zipfile.ZipFile(path, "w", method) as archive:
            if folders:
                archive.mkdir("model")
            for name, data in members.items():
                archive.writestr(name, data)

    def tarred(path, mode, kind=tarfile.PAX_FORMAT):
        with tarfile.open(path, mode, format=kind) as archive:
            for name, data in members.items():
                member = tarfile.TarInfo(name)
                member.size, member.mtime = len(data), 1_700_000_000
                archive.addfile(member, io.BytesIO(data))

    def streamed(path):
        with path.open("wb") as file, zipfile.ZipFile(_NoSeek(file), "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)

    shelf.add("stored.zip", "zip, stored", lambda p: zipped(p, zipfile.ZIP_STORED))
    shelf.add("deflated.zip", "zip, deflated", zipped)
    shelf.add("bzip2.zip", "zip, bzip2", lambda p: zipped(p, zipfile.ZIP_BZIP2))
    shelf.add("lzma.zip", "zip, lzma", lambda p: zipped(p, zipfile.ZIP_LZMA))
    shelf.add("folders.zip", "zip with folder entries", lambda p: zipped(p, folders=True))
    shelf.add("streamed.zip", "zip written to a pipe, with data descriptors", streamed)
    for name, mode in (("tar", "w"), ("tar.gz", "w:gz"), ("tar.bz2", "w:bz2"), ("tar.xz", "w:xz")):
        shelf.add(f"model.{name}", name, lambda p, m=mode: tarred(p, m))
    shelf.add("gnu.tar", "tar, GNU format", lambda p: tarred(p, "w", tarfile.GNU_FORMAT))
    shelf.add("ustar.tar", "tar, ustar format", lambda p: tarred(p, "w", tarfile.USTAR_FORMAT))
    return shelf


class _NoSeek(io.RawIOBase):
    """A file that can only be appended to, like a pipe."""

    def __init__(self, file):
        super().__init__()
        self._file = file

    def writable(self):
        """It can be written."""
        return True

    def seekable(self):
        """It cannot go back."""
        return False

    def write(self, data):
        """Write on."""
        return self._file.write(data)


def make(folder):
    """Write the family and return its shelves."""
    return [pickles(folder), other_picklers(folder), own(folder), texts(folder), archives(folder)]
