"""The files that are there against the files that were signed: read, compared in full, and what no signature covers named."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weighbridge.claims.predicates import packaged, stage_of
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import OutOfBudget, VerificationFailed
from weighbridge.core.manifest import FileEntry, Manifest, is_excluded
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Stage
from weighbridge.source.hashing import Piece, Progress, hash_chunks, hash_pieces, shards, whole
from weighbridge.source.tree import MAX_BYTES, Tree, TreeFile
from weighbridge.trust.differences import differences, refuse_differences

if TYPE_CHECKING:
    from weighbridge.trust.oms import Serialization, SignedModel

MODEL_SIGNING = "https://model_signing/"
"""How the types of OpenSSF model signatures begin; their reader is imported where there is one."""
SIGNATURE = "the signature that is used"
EXCLUDED = "never part of a model: no digest covers it, and nothing here reads or loads it"
IGNORED = "left out by the signer"
ALLOWED = "allowed here without a signature"


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the caller lets pass without a signature; nothing unless told."""

    ignored: bool = False
    """The paths that a model signature lists as left out by its signer."""
    unsigned: tuple[str, ...] = ()
    """Paths in the model: files, or folders with all that is in them."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files that nobody signed and that did not make the check fail: where, how many, why."""

    path: str
    files: int
    why: str

    def to_json(self) -> dict[str, JSON]:
        """Return the row as JSON."""
        return {"path": self.path, "files": self.files, "why": self.why}


@dataclass(frozen=True, slots=True)
class Covered:
    """What was compared and found the same."""

    identity: Digest
    """Of the model (`wb1:`), its weights (`wbw1:`), one file or a model signature's list (`sha256:`)."""
    extent: str
    compared: str
    """The digests that were made of the bytes, in words."""
    files: int
    size: int
    left_out: tuple[LeftOut, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        """Return the row as JSON."""
        return {
            "identity": str(self.identity),
            "extent": self.extent,
            "compared": self.compared,
            "files": self.files,
            "bytes": self.size,
            "left_out": [row.to_json() for row in self.left_out],
        }


@dataclass(frozen=True, slots=True)
class Present:
    """The files of a tree, the one signature file among them that is used, and what else may be left out."""

    tree: Tree
    single: bool
    signature: tuple[str, Digest] | None = None
    """Path and SHA-256 of the signature file that is used, where it lies in the model."""
    allowed: Allowed = field(default_factory=Allowed)
    progress: Progress | None = None
    thorough: bool = False
    """Compare SHA-256 even where the signed table of BLAKE3 digests would do."""


def compare(present: Present, statement: Statement) -> Covered:
    """Compare every file with what a believed statement says of it.

    Raises VerificationFailed with check bytes.match for any difference, statement.subject where the
    statement is about something else, and what the statement's reader raises; Unreadable and OutOfBudget for
    files that cannot be read.
    """
    files = present.tree.files()
    if sum(file.size for file in files) > MAX_BYTES:
        raise OutOfBudget(f"this model is larger than {MAX_BYTES} bytes", check="source.size")
    if statement.predicate_type.startswith(MODEL_SIGNING):
        from weighbridge.trust.oms import read_model_signature

        covered = _model_signature(present, files, read_model_signature(statement))
    elif stage_of(statement) is Stage.PACKAGE:
        covered = _package(present, files, statement)
    elif statement.identities:
        covered = _identity(present, files, statement)
    elif present.single:
        covered = _one_file(present, files[0], statement)
    else:
        raise _elsewhere("it names neither this model nor a list of its files", statement)
    present.tree.settle()
    return covered


def _model_signature(present: Present, files: Sequence[TreeFile], signed: SignedModel) -> Covered:
    """Compare the list of an OpenSSF model signature; files it excuses are excused when the caller says so too."""
    from weighbridge.trust.oms import SINGLE, root_of

    named = {SINGLE if present.single and SINGLE in signed.files else file.path: file for file in files}
    kept, left_out = _sorted_out(present, named, signed)
    how = signed.serialization
    lengths = {rows[-1].end for rows in signed.files.values()}
    cut = {file.path: _cut(file, how, lengths) for file in kept.values()}
    found = hash_pieces(
        list(kept.values()), how.hash_type, lambda file: cut[file.path], progress=present.progress
    )
    ours = {
        name: tuple((piece.start, found[piece].hex()) for piece in cut[file.path])
        for name, file in kept.items()
    }
    theirs = {name: tuple((row.start, row.digest) for row in rows) for name, rows in signed.files.items()}
    refuse_differences(differences(theirs, ours), "the model", hint=_hint(kept, signed))
    unit = "each file" if how.method == "files" else f"each {how.shard_size} bytes of each file"
    root = signed.root or root_of(row for _, rows in sorted(signed.files.items()) for row in rows)
    size = sum(file.size for file in kept.values())
    return Covered(root, "every file", f"{how.hash_type} of {unit}", len(kept), size, left_out)


def _cut(file: TreeFile, how: Serialization, lengths: Collection[int | None]) -> tuple[Piece, ...]:
    """Cut a file as the signer did where one of this length was signed: there are no more pieces than were listed.

    Of another length it is another file, and one digest of it is enough to say so.
    """
    if how.method == "shards" and file.size in lengths:
        return shards(file, how.shard_size)
    return (whole(file),)


def _hint(kept: Mapping[str, TreeFile], signed: SignedModel) -> str:
    """Say what would let pass what is there and was never meant to be signed."""
    strangers = [name for name in kept if name not in signed.files]
    if strangers and all(signed.ignores(name) for name in strangers):
        return f"the signer left out {', '.join(signed.ignored)}: let that pass with --allow-ignored"
    if signed.serialization.method == "shards" and any(not kept[name].size for name in strangers):
        return "a list of shards cannot name an empty file: let it pass with --allow-unsigned PATH"
    return ""


def _package(present: Present, files: Sequence[TreeFile], statement: Statement) -> Covered:
    """Compare with the manifest of a packaging claim, by default through the BLAKE3 table signed beside it."""
    manifest, table = packaged(statement)
    kept, left_out = _sorted_out(present, {file.path: file for file in files}, None)
    chunks = {row.path: row.chunks for row in table.files}
    # A file of a length that nobody signed is another file: nothing of it needs to be read.
    lengths = {entry.size for entry in manifest.files}
    same = [file for file in kept.values() if file.size in lengths]
    if present.thorough:
        digests = hash_pieces(same, "sha256", progress=present.progress)
        found: dict[str, object] = {piece.path: digest.hex() for piece, digest in digests.items()}
        signed: dict[str, object] = {entry.path: entry.sha256.hex for entry in manifest.files}
        compared = "sha256 of each file"
    else:
        found = dict(hash_chunks(same, progress=present.progress))
        signed = {entry.path: chunks[entry.path] for entry in manifest.files}
        compared = "blake3 of each 16 MiB, signed beside the manifest"
    ours = {name: (file.size, found.get(name)) for name, file in kept.items()}
    theirs = {entry.path: (entry.size, signed[entry.path]) for entry in manifest.files}
    refuse_differences(differences(theirs, ours), "the model")
    return Covered(manifest.digest, "every file", compared, len(kept), manifest.size, left_out)


def _identity(present: Present, files: Sequence[TreeFile], statement: Statement) -> Covered:
    """Compare a claim that names a model or weights without listing their files: by the manifest of what is there."""
    kept, left_out = _sorted_out(present, {file.path: file for file in files}, None)
    digests = hash_pieces(list(kept.values()), "sha256", progress=present.progress)
    manifest = Manifest.of(
        FileEntry(piece.path, piece.end, Digest("sha256", found.hex())) for piece, found in digests.items()
    )
    models = [digest for digest in statement.identities if digest.algorithm == "wb1"]
    covers = manifest.digest if models else manifest.weights  # one that names a model covers every file of it
    if covers is None or covers not in statement.identities:
        raise _elsewhere(f"this folder is {manifest.digest.short}", statement)
    extent = "every file" if models else "the weight files only"
    return Covered(covers, extent, "sha256 of each file", len(kept), manifest.size, left_out)


def _one_file(present: Present, file: TreeFile, statement: Statement) -> Covered:
    """Compare one file with the subjects of any statement: it must be one of them."""
    (found,) = hash_pieces([file], "sha256", progress=present.progress).values()
    digest = Digest("sha256", found.hex())
    names = [row.name for row in statement.subjects if dict(row.digests).get("sha256") == digest.hex]
    if not names:
        raise _elsewhere(f"this file is {digest}", statement)
    extent = f"one file, signed as {names[0]!r}" if names[0] else "one file"
    return Covered(digest, extent, "sha256 of the file", 1, file.size)


def _sorted_out(
    present: Present, files: Mapping[str, TreeFile], signed: SignedModel | None
) -> tuple[dict[str, TreeFile], tuple[LeftOut, ...]]:
    """Divide the files that are there into those to compare and those left out, with reasons.

    A file that was signed is always compared. For our own manifest what is excluded from every model is left
    out by definition; a model signature has no such rule, so there it counts like any other file.
    """
    kept: dict[str, TreeFile] = {}
    left_out: dict[tuple[str, str], int] = {}
    for name, file in files.items():
        place = None if signed is not None and name in signed.files else _excuse(present, name, file, signed)
        if place is None:
            kept[name] = file
        else:
            left_out[place] = left_out.get(place, 0) + 1
    return kept, tuple(LeftOut(path, count, why) for (path, why), count in sorted(left_out.items()))


def _excuse(
    present: Present, name: str, file: TreeFile, signed: SignedModel | None
) -> tuple[str, str] | None:
    if present.signature is not None and name == present.signature[0] and _same(file, present.signature[1]):
        return name, SIGNATURE
    if (rule := _under(name, present.allowed.unsigned)) is not None:
        return rule, ALLOWED
    if signed is None and is_excluded(name):
        parts = name.split("/")
        return "/".join(parts[: parts.index(".git") + 1] if ".git" in parts else parts[:2]), EXCLUDED
    if signed is not None and present.allowed.ignored and signed.ignores(name):
        return _under(name, signed.ignored) or name, IGNORED
    return None


def _same(file: TreeFile, digest: Digest) -> bool:
    """Tell whether a file is still the one that was read as the signature; another under its name is content."""
    return {found.hex() for found in hash_pieces([file], "sha256").values()} == {digest.hex}


def _under(name: str, rules: Iterable[str]) -> str | None:
    return next((rule for rule in rules if name == rule or name.startswith(f"{rule}/")), None)


def _elsewhere(cause: str, statement: Statement) -> VerificationFailed:
    named = [str(digest) for digest in statement.identities] or [row.name for row in statement.subjects]
    more = f" and {len(named) - 4} more" if len(named) > 4 else ""
    return VerificationFailed(
        "the claim is about something else",
        cause=f"{cause}; the claim names {', '.join(named[:4])}{more}",
        remedy="get the claim that belongs to these files, or the files that belong to it",
        check="statement.subject",
    )
