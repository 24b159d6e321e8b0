"""A place for blobs that is a folder, and does wrong when it is told to."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

from weighbridge.core.errors import NotFound
from weighbridge.store.files import FileBlobs
from weighbridge.store.remote import Kept


class FolderPlace:
    """`store.remote.Place` in a folder; `wrong` maps a call to a function that spoils what it gives."""

    where = "folder://place"
    removal = None

    def __init__(self, root: Path) -> None:
        self.files = FileBlobs(root)
        self.calls: Counter[str] = Counter()
        self.fetched = 0
        self.wrong: dict[str, object] = {}

    def _spoiled(self, call, value):
        self.calls[call] += 1
        spoil = self.wrong.get(call)
        return spoil(value) if spoil else value

    def find(self, digest):
        stamp = self.files.stamp(digest)
        if stamp is None:
            return self._spoiled("find", None)
        with self.files.open(digest) as stream:
            seal = hashlib.file_digest(stream, "sha256").hexdigest()
        return self._spoiled("find", Kept(self.files.size(digest), stamp, seal))

    def fetch(self, digest, start, length):
        if not self.files.has(digest):
            raise NotFound("nothing of that name", remedy="put it first")
        data = self.files.read(digest, start, length)
        self.fetched += len(data)
        return self._spoiled("fetch", data)

    def send(self, digest, path, size, *, replace=False):
        spoil = self.wrong.get("send")
        self.calls["send"] += 1
        data = path.read_bytes()
        assert len(data) == size
        if spoil is not None:
            data = spoil(data)
        if data is None:
            return True
        if self.files.has(digest) and not replace:
            return False
        target = self.files.root / "sha256" / digest.hex[:2] / digest.hex
        target.parent.mkdir(exist_ok=True)
        aside = target.with_name(f".{id(data)}.{digest.hex}")
        aside.write_bytes(data)
        aside.replace(target)
        return True

    def proves(self, kept, path):
        self.calls["proves"] += 1
        return kept.seal == hashlib.sha256(path.read_bytes()).hexdigest()

    def names(self):
        return self.files.digests()

    def remove(self, digest):
        self.calls["remove"] += 1
        self.files.delete(digest)
