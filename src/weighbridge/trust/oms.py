"""OpenSSF Model Signing v1.0 (`model.sig`): the statement that lists a model's files, read strictly and written.

The root digest in the statement's subject is made of the files' digests alone: it is the same when two
files trade names. It is recomputed here because the format says what it must be, and nothing rests on it;
what is compared with a model is always the whole list, names included (`differences`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from weighbridge.core.canonical import JSON, MAX_SAFE_INTEGER
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadManifest, UsageError, VerificationFailed
from weighbridge.core.manifest import MAX_FILES, check_path
from weighbridge.core.statement import Statement, Subject

PREDICATE = "https://model_signing/signature/v1.0"
COMPATIBLE = "https://model_signing/Digests/v0.1"
"""What releases before v1.0 wrote: the files are the statement's subjects, the predicate says nothing."""
LENGTHS = {"sha256": 32, "blake2b": 64, "blake3": 32}
"""Bytes of a digest, by the format's names of its algorithms."""
SINGLE = "."
"""The name of the file where a model is one file."""
MAX_RESOURCES = 1_000_000

Method: TypeAlias = Literal["files", "shards"]
_HEX = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True, slots=True, order=True)
class Resource:
    """One digest of the list: of a whole file, or of its bytes `start` to `end` (not included)."""

    path: str
    digest: str
    """Lower-case hexadecimal digits."""
    start: int = 0
    end: int | None = None
    """None for a whole file, whose length the format does not say."""


@dataclass(frozen=True, slots=True)
class Serialization:
    """How the list was made; `ignore_paths` are the signer's exceptions, which a verifier need not share."""

    method: Method = "files"
    hash_type: str = "sha256"
    shard_size: int = 0
    allow_symlinks: bool = False
    ignore_paths: tuple[str, ...] = ()

    @property
    def algorithm(self) -> str:
        """The name of the algorithm beside each digest."""
        return self.hash_type if self.method == "files" else f"{self.hash_type}-sharded-{self.shard_size}"

    def to_json(self) -> dict[str, JSON]:
        """Return the description as the predicate carries it."""
        row: dict[str, JSON] = {"method": self.method, "hash_type": self.hash_type}
        if self.method == "shards":
            row["shard_size"] = self.shard_size
        row["allow_symlinks"] = self.allow_symlinks
        if self.ignore_paths:
            row["ignore_paths"] = list(self.ignore_paths)
        return row


@dataclass(frozen=True, slots=True)
class SignedModel:
    """What a model signature says: a name for people, the root digest, and every file with its digests."""

    name: str
    root: Digest | None
    """None in the compatible form, which has none."""
    serialization: Serialization
    files: Mapping[str, tuple[Resource, ...]]
    """The resources of each file by its path, in order; `SINGLE` alone where the model is one file."""

    def ignores(self, path: str) -> bool:
        """Tell whether the signer left this path out on purpose; never true of a file that is listed."""
        if path in self.files:
            return False
        return any(path == name or path.startswith(f"{name}/") for name in self.ignored)

    @property
    def ignored(self) -> tuple[str, ...]:
        """The signer's exceptions, written as paths in the model; one that would mean everything is none."""
        names = (_normal(name) for name in self.serialization.ignore_paths if not name.startswith("/"))
        return tuple(name for name in names if name and ".." not in name.split("/"))


def is_model_signature(statement: Statement) -> bool:
    """Tell whether a statement is of this format, by its type."""
    return statement.predicate_type in (PREDICATE, COMPATIBLE)


def read_model_signature(statement: Statement) -> SignedModel:
    """Read a statement of either type.

    Raises VerificationFailed with check oms.form, oms.names (a name that leaves the model, or occurs twice)
    or oms.root.
    """
    try:
        if statement.predicate_type == COMPATIBLE:
            return _compatible(statement)
        if statement.predicate_type != PREDICATE:
            raise ValueError(f"its type is {statement.predicate_type}")
        return _current(statement)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        cause = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise VerificationFailed(
            "this is not a model signature we can read",
            cause=cause,
            remedy=f"expected a statement of type {PREDICATE}",
            check="oms.form",
        ) from error


def model_signature(name: str, serialization: Serialization, resources: Iterable[Resource]) -> Statement:
    """Make the statement; `name` is the model's folder. Raises UsageError for lists the format cannot say."""
    if serialization.method == "shards" and serialization.hash_type == "blake3":
        raise UsageError(
            "shards are not made with blake3",
            cause="other readers of the format hash whole files with blake3, whatever the signature says",
            remedy="leave out the shard size, or use sha256",
        )
    rows = sorted(resources, key=_order)
    root = root_of(rows)
    predicate: dict[str, JSON] = {
        "serialization": serialization.to_json(),
        "resources": [
            {"name": _written(row), "algorithm": serialization.algorithm, "digest": row.digest}
            for row in rows
        ],
    }
    statement = Statement((Subject(name, (("sha256", root.hex),)),), PREDICATE, predicate)
    read_model_signature(statement)
    return statement


def root_of(resources: Iterable[Resource]) -> Digest:
    """Return the SHA-256 of the raw digests one after the other, in the order of the list."""
    hasher = hashlib.sha256()
    for row in resources:
        hasher.update(bytes.fromhex(row.digest))
    return Digest("sha256", hasher.hexdigest())


def _order(row: Resource) -> tuple[list[str], int]:
    """Order as the format's own library does: by the parts of the path, then by the start of the shard."""
    return row.path.split("/"), row.start


def _written(row: Resource) -> str:
    return row.path if row.end is None else f"{row.path}:{row.start}:{row.end}"


def _current(statement: Statement) -> SignedModel:
    if len(statement.subjects) != 1:
        raise ValueError(f"it has {len(statement.subjects)} subjects, and the format has one")
    subject = statement.subjects[0]
    how = _serialization(_object(statement.predicate, "serialization"))
    resources = [_resource(row, how) for row in _rows(statement.predicate["resources"])]
    root, told = root_of(resources), Digest("sha256", dict(subject.digests)["sha256"])
    if root != told:
        raise VerificationFailed(
            "the signature contradicts itself",
            cause=f"its subject is {told}, and the digests it lists make {root}",
            remedy="have the model signed again",
            check="oms.root",
        )
    return SignedModel(subject.name, root, how, _by_file(resources, how))


def _compatible(statement: Statement) -> SignedModel:
    if len(statement.subjects) > MAX_RESOURCES:
        raise ValueError(f"it lists more than {MAX_RESOURCES} files")
    how = Serialization()
    resources = [
        Resource(_path(subject.name), _digest(dict(subject.digests)["sha256"], "sha256"))
        for subject in statement.subjects
    ]
    return SignedModel("", None, how, _by_file(resources, how))


def _serialization(row: Mapping[str, Any]) -> Serialization:
    method, hash_type = row["method"], row["hash_type"]
    if method not in ("files", "shards"):
        raise ValueError(f"the method {method!r} is neither files nor shards")
    if hash_type not in LENGTHS:
        raise ValueError(f"the digest {hash_type!r} is none of {', '.join(LENGTHS)}")
    ignored = row.get("ignore_paths", [])
    if not isinstance(ignored, list) or not all(isinstance(name, str) for name in ignored):
        raise TypeError("ignore_paths is not a list of strings")
    links = row["allow_symlinks"]
    if not isinstance(links, bool):
        raise TypeError("allow_symlinks is neither true nor false")
    size = _whole(row["shard_size"]) if method == "shards" else 0
    if method == "shards" and size < 1:
        raise ValueError("shard_size is not a number of bytes")
    return Serialization(method, hash_type, size, links, tuple(ignored))


def _resource(row: Any, how: Serialization) -> Resource:
    name, algorithm = row["name"], row["algorithm"]
    if not isinstance(name, str):
        raise TypeError("a name is not a string")
    if algorithm != how.algorithm:
        raise ValueError(f"{name!r} has a digest of {algorithm!r} where the list is of {how.algorithm!r}")
    digest = _digest(row["digest"], how.hash_type)
    if how.method == "files":
        return Resource(_path(name), digest)
    path, start, end = [*name.rsplit(":", 2), "", ""][:3]
    if not re.fullmatch(r"0|[1-9][0-9]{0,15}", start) or not re.fullmatch(r"[1-9][0-9]{0,15}", end):
        raise ValueError(f"{name!r} is not NAME:START:END")
    return Resource(_path(path), digest, int(start), int(end))


def _by_file(resources: Sequence[Resource], how: Serialization) -> dict[str, tuple[Resource, ...]]:
    """Put each file's resources together; refuse files listed twice and shards that leave a gap."""
    if not resources:
        raise ValueError("it lists no file")
    files: dict[str, list[Resource]] = {}
    for row in resources:
        files.setdefault(row.path, []).append(row)
    if len(files) > MAX_FILES:
        raise ValueError(f"it lists more than {MAX_FILES} files")
    if SINGLE in files and len(files) > 1:
        raise _hostile(SINGLE, "it stands for a model that is one file, and there are others")
    for path, rows in files.items():
        rows.sort(key=lambda row: row.start)
        if how.method == "files" and len(rows) > 1:
            raise _hostile(path, "it is listed twice")
        if how.method == "shards":
            _check_shards(path, rows, how.shard_size)
    return {path: tuple(rows) for path, rows in files.items()}


def _check_shards(path: str, rows: Sequence[Resource], size: int) -> None:
    expected = 0
    for row in rows:
        if row.start != expected or row.end is None or not row.start < row.end <= row.start + size:
            raise ValueError(f"the shards of {path!r} do not follow each other")
        if row.end != row.start + size and row is not rows[-1]:
            raise ValueError(f"a shard of {path!r} is short and not the last")
        expected = row.end


def _path(name: str) -> str:
    """Normalise a name as its signer's library did, and refuse what cannot be a file of the model."""
    if name.startswith("/"):
        raise _hostile(name, "it is absolute")
    path = _normal(name)
    if not path and name.rstrip("/") == SINGLE:
        return SINGLE
    try:
        check_path(path)
    except BadManifest as error:
        raise _hostile(name, error.cause) from error
    return path


def _normal(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _hostile(name: str, cause: str) -> VerificationFailed:
    return VerificationFailed(
        f"the signature lists {name!r}, which cannot be a file of a model",
        cause=cause,
        remedy="do not use this signature; have the model signed again",
        check="oms.names",
    )


def _digest(value: Any, algorithm: str) -> str:
    if not isinstance(value, str) or len(value) != 2 * LENGTHS[algorithm] or not _HEX.fullmatch(value):
        raise ValueError(f"a digest is not {2 * LENGTHS[algorithm]} lower-case hexadecimal digits")
    return value


def _whole(value: Any) -> int:
    """Read a number that protobuf's Struct may have written as 1000000000.0."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_SAFE_INTEGER:
        raise ValueError("a size is not a whole number")
    return value


def _object(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = row[name]
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is not an object")
    return value


def _rows(value: Any) -> list[Any]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_RESOURCES:
        raise ValueError(f"resources is not a list of 1 to {MAX_RESOURCES}")
    return value
