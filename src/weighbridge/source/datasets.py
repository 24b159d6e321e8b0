"""A dataset on disk: its manifest, made like a model's, and what can be seen of it without running anything.

Seen are the layout, the splits that names and folders tell, and rows where a footer or a line says so: Parquet and Arrow
by their own metadata, JSON lines by counting. A loading script is never run; that there is one is said. Rows that cannot
be counted are unknown, never estimated.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import BinaryIO

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import CannotTell, VerificationFailed
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.formats import arrow_stream, parquet
from weighbridge.source.hashing import MAX_THREADS, Progress, cores, hash_pieces, whole
from weighbridge.source.tree import MAX_BYTES, Tree, TreeFile, listed

BLOCK = 1024 * 1024
LISTED = 100
"""Names of files that facts carry at most; the number of files is always whole."""


class Layout(StrEnum):
    """How a dataset lies on disk.

    `arrow` and `arrow-dict` are what Hugging Face's `save_to_disk` writes, for one split and for several; `parquet`,
    `jsonl`, `csv`, `json` and `text` are shards of that kind as hubs keep them; `webdataset` are tar shards; `mixed` is
    more than one of these, and `files` none of them (pictures, sound, anything).
    """

    ARROW = "arrow"
    ARROW_DICT = "arrow-dict"
    PARQUET = "parquet"
    JSONL = "jsonl"
    CSV = "csv"
    JSON = "json"
    TEXT = "text"
    WEBDATASET = "webdataset"
    MIXED = "mixed"
    FILES = "files"


_KINDS: Mapping[str, Layout] = {
    ".arrow": Layout.ARROW, ".parquet": Layout.PARQUET, ".jsonl": Layout.JSONL, ".ndjson": Layout.JSONL,
    ".csv": Layout.CSV, ".tsv": Layout.CSV, ".json": Layout.JSON, ".txt": Layout.TEXT, ".tar": Layout.WEBDATASET,
}  # fmt: skip
_PACKED = (".gz", ".zst", ".bz2", ".xz", ".lz4")
_DESCRIBING = {
    "dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json", "readme.md", "license.txt",
    "requirements.txt", "metadata.json",
}  # fmt: skip
"""Files of these names describe a dataset and hold none of its rows."""
_CODE = (".py", ".ipynb", ".sh", ".pyc", ".so", ".pkl", ".pickle")
"""What somebody's loader might run: scripts, compiled code, pickles."""
_SPLITS = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
_SPLIT_WORD = re.compile(rf"(?<![a-zA-Z0-9])({'|'.join(_SPLITS)})(?![a-zA-Z])", re.IGNORECASE)
"""The words that Hugging Face's library takes for splits, between anything that is no letter."""
_BLANK = re.compile(rb"\n[ \t\r]*(?=\n)")
_SHARD = re.compile(r"(?:^|/)([A-Za-z_][\w.-]{0,63}?)-\d{5}-of-\d{5}\.\w+$")


@dataclass(frozen=True, slots=True)
class Split:
    """One split: how many files of rows, and how many rows where each of its files says so."""

    files: int
    rows: int | None

    def to_json(self) -> dict[str, JSON]:
        """Return the split as it stands in `weighbridge.recording/1`."""
        return {"files": self.files, "rows": self.rows}


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """What was seen of a dataset; `rows` is None where any file of rows does not tell.

    `code` are files that somebody's loader might run, `uncounted` those whose own metadata cannot be read. Both lists
    name the first hundred.
    """

    layout: Layout
    files: int
    size: int
    rows: int | None
    splits: Mapping[str, Split] = field(default_factory=dict)
    code: tuple[str, ...] = ()
    uncounted: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        """Return the facts as they stand in `weighbridge.recording/1`."""
        return {
            "layout": self.layout.value,
            "files": self.files,
            "size": self.size,
            "rows": self.rows,
            "splits": {name: split.to_json() for name, split in sorted(self.splits.items())},
            "code": list(self.code),
            "uncounted": list(self.uncounted),
        }


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that was read: its manifest, whose digest (`wb1:`) is its identity, and what was seen."""

    manifest: Manifest
    facts: DatasetFacts

    def to_json(self) -> dict[str, JSON]:
        """Return the facts with the identity beside them."""
        return {"manifest": str(self.manifest.digest), **self.facts.to_json()}


def read_dataset(tree: Tree, *, progress: Progress | None = None, max_bytes: int = MAX_BYTES) -> Dataset:
    """Read every file of a dataset, over all cores, and return its manifest and facts.

    Raises BadManifest for a tree that can have no identity, OutOfBudget when it is larger than `max_bytes`,
    VerificationFailed (`source.announced`) when a file of a hub's cache is not what its name says, and Unreadable when a
    file cannot be read or changed meanwhile. Rows that cannot be counted are a fact, not an error.
    """
    files = listed(tree, max_bytes=max_bytes).files
    manifest = identify(files, progress=progress)
    facts = look(files)
    tree.settle()
    return Dataset(manifest, facts)


def identify(files: Sequence[TreeFile], *, progress: Progress | None = None) -> Manifest:
    """Return the manifest of files, hashed over all cores; the caller looks whether files came or went."""
    found = hash_pieces(files, "sha256", progress=progress)
    entries = []
    for file in files:
        digest = Digest("sha256", found[whole(file)].hex())
        announced = next((row for row in file.announced if row.algorithm == "sha256"), digest)
        if digest != announced:
            raise VerificationFailed(
                f"{file.path!r} is not the file that was announced",
                cause=f"announced {announced}, found {digest}",
                remedy="fetch it again; if it happens twice, do not use this source and tell its owner",
                check="source.announced",
            )
        entries.append(FileEntry(file.path, file.size, digest))
    return Manifest.of(entries)


def look(files: Sequence[TreeFile]) -> DatasetFacts:
    """Return what can be seen of a dataset's files: names, footers, lines."""
    held = {file.path: kind for file in files if (kind := _kind(file.path)) is not None}
    layout = _layout(files, held)
    if layout not in (Layout.JSON, Layout.TEXT, Layout.MIXED) and layout in _KINDS.values():
        held = {path: kind for path, kind in held.items() if kind is layout}
    elif layout is Layout.ARROW_DICT:
        held = {path: kind for path, kind in held.items() if kind is Layout.ARROW}
    counted = [file for file in files if file.path in held]
    rows = dict(zip((file.path for file in counted), _count(counted, held), strict=True))
    splits = _splits(rows, dictionary=layout is Layout.ARROW_DICT)
    return DatasetFacts(
        layout=layout,
        files=len(files),
        size=sum(file.size for file in files),
        rows=_sum(rows.values()) if rows else None,
        splits=splits,
        code=_first(file.path for file in files if file.path.lower().endswith(_CODE)),
        uncounted=_first(path for path, count in rows.items() if count is None and _tells(path)),
    )


def _kind(path: str) -> Layout | None:
    """Return what kind of rows a file holds, by its name; None for one that holds none."""
    name = path.rpartition("/")[2].lower()
    if name in _DESCRIBING or name.startswith("."):
        return None
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return _KINDS.get(f".{name.rpartition('.')[2]}")


def _layout(files: Sequence[TreeFile], held: Mapping[str, Layout]) -> Layout:
    names = {file.path for file in files}
    if "dataset_dict.json" in names:
        return Layout.ARROW_DICT
    kinds = Counter(held.values())
    if not kinds:
        return Layout.FILES
    strong: set[Layout] = {kind for kind in kinds if kind not in (Layout.JSON, Layout.TEXT)}
    found: set[Layout] = strong or set(kinds)
    # Shards of one kind beside a stray JSON or text file are still a dataset of that kind.
    return next(iter(found)) if len(found) == 1 else Layout.MIXED


def _tells(path: str) -> bool:
    """Tell whether files of this kind say how many rows they hold."""
    return path.lower().endswith((".parquet", ".arrow", ".jsonl", ".ndjson"))


def _count(files: Sequence[TreeFile], kinds: Mapping[str, Layout]) -> list[int | None]:
    """Count the rows of each file, over all cores; None where it does not tell."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(cores(), MAX_THREADS)) as pool:
        return list(pool.map(lambda file: _rows(file, kinds[file.path]), files))


def _rows(file: TreeFile, kind: Layout) -> int | None:
    if not _tells(file.path):
        return None
    try:
        with file.open() as stream:
            if kind is Layout.PARQUET:
                return parquet.read_footer(stream, file.size).rows
            if kind is Layout.ARROW:
                return arrow_stream.count_rows(stream, file.size)
            return _lines(stream)
    except (CannotTell, OSError):
        return None


def _lines(stream: BinaryIO) -> int:
    """Count the lines that are not blank, as JSON lines are read (jsonlines.org); the last one needs no end."""
    count, content = 0, False
    while block := stream.read(BLOCK):
        ends = block.count(b"\n")
        if not ends:
            content = content or bool(block.strip())
            continue
        first, last = block.find(b"\n"), block.rfind(b"\n")
        count += content or bool(block[:first].strip())
        count += ends - 1 - len(_BLANK.findall(block, first, last + 1))
        content = bool(block[last + 1 :].strip())
    return count + content


def _splits(rows: Mapping[str, int | None], *, dictionary: bool) -> dict[str, Split]:
    """Put files into the splits that folders and names tell; empty when none of them tells."""
    found: dict[str, list[int | None]] = {}
    for path, count in rows.items():
        name = path.partition("/")[0] if dictionary and "/" in path else _split_of(path)
        if name:
            found.setdefault(name, []).append(count)
    return {name: Split(len(counts), _sum(counts)) for name, counts in found.items()}


def _split_of(path: str) -> str:
    """Return the split that a path tells: a shard's name, else the word nearest to the file."""
    shard = _SHARD.search(path)
    if shard is not None and shard[1].lower() not in ("data", "part", "shard"):
        return _SPLITS.get(shard[1].lower(), shard[1])
    words = _SPLIT_WORD.findall(path.rpartition(".")[0] or path)
    return _SPLITS[words[-1].lower()] if words else ""


def _sum(counts: Iterable[int | None]) -> int | None:
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def _first(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(paths)[:LISTED])
