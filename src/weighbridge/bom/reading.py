"""Read small files of a model within budgets, and turn their values into facts; what cannot be read is listed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from weighbridge.bom.facts import MAX_ITEMS, Fact, is_text, step
from weighbridge.bom.front_matter import read_yaml_object
from weighbridge.core.errors import CannotTell, Refused
from weighbridge.core.lineage import Grade
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.formats.json_text import read_json

MAX_JSON = 16 * 1024 * 1024
"""Bytes of one configuration file; tokenizers are digested, not parsed."""
MAX_PARSED = 128 * 1024 * 1024
"""Bytes of all files of a model that are parsed for its description."""
MAX_FILES = 2000
"""Files of a model that are opened for its description."""
MAX_UNREAD = 1000
MAX_KEY = 100

OpenFile = Callable[[FileEntry], BinaryIO]


class Reading:
    """One pass over the files of one model: what it opened counts against a budget, what it could not read is kept."""

    def __init__(self, manifest: Manifest, open_file: OpenFile) -> None:
        self.manifest = manifest
        self.open_file = open_file
        self.unread: set[tuple[str, str]] = set()
        self._bytes = MAX_PARSED
        self._files = MAX_FILES

    def miss(self, path: str, reason: str) -> None:
        """Note that something in a file could not be read."""
        if len(self.unread) < MAX_UNREAD:
            self.unread.add((path, reason))

    def may_open(self, entry: FileEntry, size: int | None = None) -> bool:
        """Count one file to be opened, `size` bytes of it parsed; False, and noted, when the budget is spent."""
        wanted = entry.size if size is None else size
        if self._files <= 0 or self._bytes < wanted:
            self.miss(entry.path, "the description of this model reads no more files")
            return False
        self._files -= 1
        self._bytes -= wanted
        return True

    def content(self, path: str) -> bytes | None:
        """Return the bytes of a small file; None when it is not there or too large, which is noted."""
        entry = self.manifest.entry(path)
        if entry is None:
            return None
        if entry.size > MAX_JSON:
            self.miss(path, f"larger than {MAX_JSON} bytes")
            return None
        if not self.may_open(entry):
            return None
        with self.open_file(entry) as stream:
            return stream.read(entry.size)

    def text(self, path: str) -> str | None:
        """Return a small file as text."""
        data = self.content(path)
        if data is None:
            return None
        try:
            return data.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError:
            self.miss(path, "this is not UTF-8")
            return None

    def value(self, path: str) -> Any:
        """Return the JSON value of a small file, or None."""
        data = self.content(path)
        if data is None:
            return None
        try:
            return read_json(data.decode("utf-8"))[0]
        except (Refused, CannotTell) as error:
            self.miss(path, error.problem)
        except UnicodeDecodeError:
            self.miss(path, "this is not UTF-8")
        return None

    def object(self, path: str) -> Mapping[str, Any]:
        """Return the JSON object of a small file; an empty one, and noted, when it is something else."""
        value = self.value(path)
        if isinstance(value, dict):
            return value
        if value is not None or (self.manifest.entry(path) and not any(p == path for p, _ in self.unread)):
            self.miss(path, "this is not a JSON object")
        return {}

    def yaml_object(self, path: str) -> Mapping[str, Any]:
        """Return the YAML mapping of a small file; an empty one, and noted, when it is something else."""
        data = self.content(path)
        try:
            return read_yaml_object(data) if data is not None else {}
        except (Refused, CannotTell) as error:
            self.miss(path, error.problem)
            return {}

    def fact(self, name: str, value: Any, path: str, pointer: str, part: str = "") -> Iterator[Fact]:
        """Yield a declared fact when the value is a plain text, number or list of texts of sane size."""
        if value is None:
            return
        if isinstance(value, list) and len(value) <= MAX_ITEMS and all(is_text(item) for item in value):
            yield Fact(name, list(value), Grade.DECLARED, path, pointer, part)
        elif is_text(value) or (type(value) is int and abs(value) < 2**53):
            yield Fact(name, value, Grade.DECLARED, path, pointer, part)
        else:
            self.miss(path, f"{pointer} is not a short text, number or list of texts")

    def chosen(
        self, value: Mapping[str, Any], names: tuple[str, ...], path: str, *, prefix: str = "", part: str = ""
    ) -> Iterator[Fact]:
        """Yield a declared fact for each named member of an object."""
        for name in names:
            yield from self.fact(prefix + name, value.get(name), path, step(name), part)

    def members(self, name: str, value: Any, path: str, pointer: str, part: str = "") -> Iterator[Fact]:
        """Yield `name:key` for each member of an object that is a plain value; others are passed over."""
        if not isinstance(value, dict):
            return
        if len(value) > MAX_ITEMS:
            self.miss(path, f"{pointer} has more than {MAX_ITEMS} members")
        for key in sorted(value)[:MAX_ITEMS]:
            item = value[key]
            plain = (
                isinstance(item, (bool, float)) or is_text(item) or (type(item) is int and abs(item) < 2**53)
            )
            texts = (
                isinstance(item, list) and 0 < len(item) <= MAX_ITEMS and all(is_text(one) for one in item)
            )
            if not is_text(key, MAX_KEY) or not (plain or texts):
                continue
            if not isinstance(item, float) or item - item == 0:
                yield Fact(f"{name}:{key}", item, Grade.DECLARED, path, pointer + step(key), part)
