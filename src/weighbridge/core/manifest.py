"""The manifest `weighbridge.manifest/1`: which files a model is, and the digest that is its identity.

docs/reference/manifest.md specifies the format with test vectors. In short: the files sorted by the
bytes of their paths, each with path, size and SHA-256, as canonical JSON; `wb1:` is the SHA-256 of
those bytes. The weights digest `wbw1:` is the same over the weight files only, under its own schema
name, so that neither can be mistaken for the other.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

from weighbridge.core.canonical import JSON, MAX_SAFE_INTEGER, canonical, parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadManifest, BadReference

SCHEMA = "weighbridge.manifest/1"
WEIGHTS_SCHEMA = "weighbridge.weights/1"
CHUNKS_SCHEMA = "weighbridge.chunks/1"
CHUNK_SIZE = 16 * 1024 * 1024
MAX_FILES = 100_000
MAX_PATH_BYTES = 1024

WEIGHT_SUFFIXES = (
    ".bin", ".ckpt", ".gguf", ".h5", ".hdf5", ".joblib", ".keras", ".mlmodel", ".model", ".msgpack", ".nemo",
    ".npy", ".npz", ".onnx", ".onnx_data", ".pb", ".pickle", ".pkl", ".pt", ".pt2", ".pth", ".safetensors",
    ".tflite",
)  # fmt: skip


def is_weight_file(path: str) -> bool:
    """Tell whether `path` counts into the weights digest: decided by its suffix alone, lower-cased."""
    return path.lower().endswith(WEIGHT_SUFFIXES)


def is_excluded(path: str) -> bool:
    """Tell whether `path` is never part of a model: version control and the hub client's own metadata.

    What is excluded here is never stored, scanned, mirrored or loaded either.
    """
    parts = path.split("/")
    return ".git" in parts or parts[:2] == [".cache", "huggingface"]


def check_path(path: str) -> None:
    """Refuse (BadManifest) a path that cannot be part of a manifest; docs/reference/manifest.md lists the rules."""
    reason = _path_problem(path)
    if reason:
        raise BadManifest(
            f"the file name {path!r} cannot be part of a model",
            cause=reason,
            remedy="rename the file, or leave it out of the folder",
            check="manifest.path",
        )


def _path_problem(path: str) -> str:
    try:
        encoded = path.encode("utf-8")
    except UnicodeEncodeError:
        return "it is not valid UTF-8"
    if not path or path.startswith("/") or "\\" in path:
        return "it must be relative, not empty, and use '/' between its parts"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "it has an empty, '.' or '..' part"
    if len(encoded) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes"
    if unicodedata.normalize("NFC", path) != path:
        return "it is not in Unicode normalisation form NFC, so other systems may store another name"
    if any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in path):
        return "it holds control, formatting or line-separating characters"
    return ""


class Named(Protocol):
    """A file of a model as it is listed: its relative path with '/', and its size in bytes."""

    @property
    def path(self) -> str:
        """The path."""
        ...

    @property
    def size(self) -> int:
        """The size."""
        ...


N = TypeVar("N", bound=Named)


@dataclass(frozen=True)
class Listing(Generic[N]):
    """The files of one model, sorted as in a manifest; what is in them may not be known yet."""

    files: tuple[N, ...]

    @classmethod
    def of(cls, files: Iterable[N]) -> Listing[N]:
        """Sort and check `files`; raises BadManifest for names, collisions, sizes or an empty set."""
        return cls(_sorted(files))

    @property
    def size(self) -> int:
        """The bytes of all files together."""
        return sum(entry.size for entry in self.files)

    def entry(self, path: str) -> N | None:
        """Return the file of `path`, or None."""
        return self._by_path.get(path)

    @cached_property
    def _by_path(self) -> Mapping[str, N]:
        return {entry.path: entry for entry in self.files}


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a model: relative path with '/', size in bytes, SHA-256 of its content."""

    path: str
    size: int
    sha256: Digest

    def to_json(self) -> dict[str, JSON]:
        """Return the entry as it stands in the manifest."""
        return {"path": self.path, "sha256": self.sha256.hex, "size": self.size}


@dataclass(frozen=True)
class Manifest(Listing[FileEntry]):
    """The files of one model, sorted, each with its digest; equal manifests are the same model."""

    @classmethod
    def of(cls, files: Iterable[FileEntry]) -> Manifest:
        """Sort and check `files`; raises BadManifest for names, collisions, sizes or an empty set."""
        entries = _sorted(files)
        for entry in entries:
            if entry.sha256.algorithm != "sha256":
                raise BadManifest(f"{entry.path!r} has no SHA-256 but {entry.sha256}", check="manifest.form")
        return cls(entries)

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read a manifest; only its canonical bytes are accepted, so that a digest has one preimage."""
        try:
            value: Any = parse(data)
            if set(value) != {"schema", "files"} or value["schema"] != SCHEMA:
                raise ValueError(f"schema is not {SCHEMA}")
            entries = [_entry(row) for row in value["files"]]
        except (ValueError, TypeError, KeyError, AttributeError, BadReference) as error:
            cause = error.problem if isinstance(error, BadReference) else str(error)
            raise BadManifest("this is not a manifest", cause=cause, check="manifest.form") from error
        manifest = cls.of(entries)
        if manifest.canonical_bytes != data:
            raise BadManifest(
                "this manifest is not in canonical form",
                cause="files out of order, or JSON not written as RFC 8785",
                remedy="write it again with `weighbridge.manifest(…).canonical_bytes`",
                check="manifest.form",
            )
        return manifest

    @cached_property
    def canonical_bytes(self) -> bytes:
        """The bytes whose SHA-256 is the identity."""
        return canonical({"files": [entry.to_json() for entry in self.files], "schema": SCHEMA})

    @cached_property
    def digest(self) -> Digest:
        """The identity of the model, `wb1:…`."""
        return Digest("wb1", hashlib.sha256(self.canonical_bytes).hexdigest())

    @cached_property
    def weights(self) -> Digest | None:
        """The weights digest, `wbw1:…`; None when no file is a weight file."""
        rows: list[JSON] = [entry.to_json() for entry in self.files if is_weight_file(entry.path)]
        if not rows:
            return None
        data = canonical({"files": rows, "schema": WEIGHTS_SCHEMA})
        return Digest("wbw1", hashlib.sha256(data).hexdigest())


def _entry(row: Any) -> FileEntry:
    if set(row) != {"path", "sha256", "size"}:
        raise ValueError("a file needs exactly path, sha256 and size")
    path, hexed, size = row["path"], row["sha256"], row["size"]
    if not isinstance(path, str) or not isinstance(hexed, str) or type(size) is not int:
        raise TypeError("path and sha256 are strings, size is an integer")
    return FileEntry(path, size, Digest("sha256", hexed))


def _sorted(files: Iterable[N]) -> tuple[N, ...]:
    entries = tuple(sorted(files, key=lambda entry: entry.path.encode("utf-8", "surrogatepass")))
    _check(entries)
    return entries


def _check(entries: Sequence[Named]) -> None:
    if not entries:
        raise BadManifest(
            "there is no file in this model",
            cause="an empty folder has no identity",
            remedy="point at the folder that holds the model's files",
            check="manifest.empty",
        )
    if len(entries) > MAX_FILES:
        raise BadManifest(f"more than {MAX_FILES} files", check="manifest.size")
    folded: dict[str, str] = {}
    for entry in entries:
        check_path(entry.path)
        if not 0 <= entry.size <= MAX_SAFE_INTEGER:
            raise BadManifest(f"{entry.path!r} has an impossible size", check="manifest.size")
        _check_collisions(entry.path, folded)


def _check_collisions(path: str, folded: dict[str, str]) -> None:
    """Refuse a name that equals another under case folding, or that is both file and folder."""
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        prefix = "/".join(parts[:depth])
        is_file = depth == len(parts)
        spelled = prefix if is_file else prefix + "/"
        # Canonical caseless matching, the Unicode Standard section 3.13, D145.
        key = unicodedata.normalize("NFD", unicodedata.normalize("NFD", prefix).casefold())
        known = folded.get(key)
        if known is not None and (is_file or known != spelled):
            raise BadManifest(
                f"{known!r} and {spelled!r} are one name on some file systems",
                cause="the names are equal when upper and lower case are folded, or one is both file and folder",
                remedy="rename one of them",
                check="manifest.collision",
            )
        folded[key] = spelled


@dataclass(frozen=True, slots=True)
class FileChunks:
    """Fast digests of one file: BLAKE3 of the whole and of each 16 MiB chunk (the last may be shorter).

    `blake3` may be empty where the chunks alone were made: they bind the file just as well.
    """

    path: str
    blake3: str
    chunks: tuple[str, ...]

    def to_json(self) -> dict[str, JSON]:
        """Return the row as it stands in the table; `blake3` is left out where it was not made."""
        whole: dict[str, JSON] = {"blake3": self.blake3} if self.blake3 else {}
        return {**whole, "chunks": list(self.chunks), "path": self.path}


@dataclass(frozen=True, slots=True)
class ChunkTable:
    """`weighbridge.chunks/1`: BLAKE3 digests beside a manifest; signed with it, never part of the identity."""

    files: tuple[FileChunks, ...]

    def to_json(self) -> dict[str, JSON]:
        """Return the table as JSON, files sorted like the manifest's."""
        ordered = sorted(self.files, key=lambda row: row.path.encode())
        rows: list[JSON] = [row.to_json() for row in ordered]
        return {"schema": CHUNKS_SCHEMA, "chunk_size": CHUNK_SIZE, "files": rows}

    @classmethod
    def from_json(cls, value: Any) -> ChunkTable:
        """Read a table; raises ValueError or KeyError when its shape is wrong."""
        if value["schema"] != CHUNKS_SCHEMA or value["chunk_size"] != CHUNK_SIZE:
            raise ValueError("unknown chunk table")
        rows = [
            FileChunks(row["path"], row.get("blake3", ""), tuple(row["chunks"])) for row in value["files"]
        ]
        return cls(tuple(rows))
