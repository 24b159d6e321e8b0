"""What a signer says of a folder: the list of its files for an OpenSSF model signature, or manifest and chunks for our own claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weighbridge.core.errors import BadManifest, UsageError
from weighbridge.core.manifest import ChunkTable, Manifest, check_path, is_excluded
from weighbridge.core.statement import Statement
from weighbridge.gate.coverage import IGNORED, LeftOut
from weighbridge.gate.signatures import inside
from weighbridge.source.hashing import Piece, Progress, describe, hash_pieces, shards, whole
from weighbridge.source.local import open_folder
from weighbridge.source.tree import TreeFile
from weighbridge.trust.oms import LENGTHS, SINGLE, Resource, Serialization, model_signature

GIT = (".git", ".gitattributes", ".github", ".gitignore")
"""What the format's own library leaves out unless told otherwise, and then does not miss."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A model signature to be signed, and how many files it does not cover."""

    statement: Statement
    files: int
    left_out: tuple[LeftOut, ...]
    """Files that are there and not in the list; the signature itself is not told."""


def list_model(
    model: Path,
    signature: Path,
    *,
    hash_type: str = "sha256",
    shard_size: int = 0,
    ignore: Sequence[str] = (),
    git: bool = False,
    progress: Progress | None = None,
) -> Listed:
    """Read every file of a model and return the statement that lists them, for a signature at `signature`.

    Left out, and named in the statement as left out: the signature itself, `ignore`, what is never part of a
    model, and the files of git that other readers of the format leave out (`git` lists them). Raises
    UsageError, BadManifest, Unreadable.
    """
    if hash_type not in LENGTHS:
        raise UsageError(f"{hash_type!r} is not in the format", remedy=f"take one of {', '.join(LENGTHS)}")
    rules = [*_rules(ignore), *(() if git else GIT)]
    with open_folder(model, everything=True) as tree:
        single = not model.is_dir()
        own = inside(model, signature)
        if own:
            rules.insert(0, own)
        kept: list[TreeFile] = []
        left_out: dict[str, int] = {}
        for file in tree.files():
            rule = None if single else _rule(file.path, rules)
            if rule is None:
                kept.append(file)
            else:
                left_out[rule] = left_out.get(rule, 0) + 1
                rules += [rule] if rule not in rules else []
        if not kept:
            raise BadManifest(f"there is nothing to sign in {model}", check="manifest.empty")
        how = Serialization("shards" if shard_size else "files", hash_type, shard_size, False, tuple(rules))
        found = hash_pieces(
            kept,
            hash_type,
            lambda file: shards(file, shard_size) if shard_size else (whole(file),),
            progress=progress,
        )
        tree.settle()
    _check_empty(kept, shard_size)
    rows = [
        _resource(piece, digest, single=single, sharded=bool(shard_size)) for piece, digest in found.items()
    ]
    name = model.resolve().name
    told = tuple(LeftOut(rule, number, IGNORED) for rule, number in left_out.items() if rule != own)
    return Listed(model_signature(name, how, rows), len(kept), told)


def describe_model(
    model: Path, bundle: Path | None, *, progress: Progress | None = None
) -> tuple[Manifest, ChunkTable]:
    """Read every file of a model once and return its manifest and chunk table; the bundle to be written is no part of it."""
    with open_folder(model) as tree:
        own = inside(model, bundle) if bundle is not None else ""
        found = describe([file for file in tree.files() if file.path != own or not own], progress=progress)
        tree.settle()
    return found


def _rules(ignore: Sequence[str]) -> list[str]:
    rules = [name.removeprefix("./").rstrip("/") for name in ignore]
    for rule in rules:
        check_path(rule)
    return rules


def _rule(path: str, rules: Sequence[str]) -> str | None:
    """Return the rule by which a file is left out."""
    for rule in rules:
        if path == rule or path.startswith(f"{rule}/"):
            return rule
    if is_excluded(path):
        parts = path.split("/")
        return "/".join(parts[: parts.index(".git") + 1] if ".git" in parts else parts[:2])
    return None


def _resource(piece: Piece, digest: bytes, *, single: bool, sharded: bool) -> Resource:
    name = SINGLE if single else piece.path
    return Resource(name, digest.hex(), piece.start, piece.end if sharded else None)


def _check_empty(files: Sequence[TreeFile], shard_size: int) -> None:
    """Refuse shards of an empty file: the format has no way to name it, and it would look like a stranger's."""
    empty = [file.path for file in files if not file.size]
    if shard_size and empty:
        raise UsageError(
            f"a list of shards cannot name the empty file {empty[0]!r}",
            remedy="sign whole files: leave out the shard size",
        )
