"""By what else a kept model is known: drawn from its manifest and from where it was fetched, for the lineage index.

Names that follow from the bytes are observed. A repository and its commit are observed only where every byte was
held against what that hub announced; a folder's word for where it came from is declared.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from weighbridge.core.alias import Alias, Scheme
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference
from weighbridge.core.lineage import Grade
from weighbridge.core.manifest import FileEntry, Manifest, is_weight_file
from weighbridge.trust.oms import Resource, root_of

SCHEMES = frozenset({Scheme.FILE_SHA256, Scheme.OMS_ROOT, Scheme.DIRHASH1, Scheme.HF_COMMIT, Scheme.NAME})
"""What is drawn here, under no bundle; other schemes are other rooms'."""
MAX_FILES = 1000
"""Files a model is known by; beyond them it is found by its weights and its code, then by no further file."""
GIT = (".gitattributes", ".gitignore", ".github")
"""What signers of the OpenSSF format leave out unless told otherwise, beside `.git`, which no manifest has."""

_COMMIT = re.compile(r"[0-9a-f]{40}")

Known = tuple[Digest, Alias, Grade]


def aliases_of(manifest: Manifest, source: Mapping[str, Any]) -> list[Known]:
    """Return (identity, other name, grade) for a model: its weights go by their files, the model by all else."""
    model = manifest.digest
    found = [
        (
            manifest.weights if is_weight_file(entry.path) and manifest.weights else model,
            _file(entry),
            Grade.OBSERVED,
        )
        for entry in _telling(manifest)
    ]
    found.append((model, Alias(Scheme.OMS_ROOT, oms_root(manifest).hex), Grade.OBSERVED))
    if not any("\n" in entry.path for entry in manifest.files):
        found.append((model, Alias(Scheme.DIRHASH1, dirhash1(manifest)), Grade.OBSERVED))
    return sorted({*found, *((model, alias, grade) for alias, grade in _fetched(source))})


def named(text: str) -> Alias | None:
    """Return the alias of a name that somebody wrote, or None where it cannot be one (too long, unprintable)."""
    try:
        return Alias(Scheme.NAME, text.strip())
    except BadReference:
        return None


def oms_root(manifest: Manifest) -> Digest:
    """Return the root digest under which OpenSSF Model Signing speaks of these files, with its default exceptions."""
    files = (entry for entry in manifest.files if entry.path.split("/")[0] not in GIT)
    rows = (Resource(entry.path, entry.sha256.hex) for entry in files)
    return root_of(sorted(rows, key=lambda row: row.path.split("/")))


def dirhash1(manifest: Manifest) -> str:
    """Return Go's `h1:` hash of the files (golang.org/x/mod/sumdb/dirhash, Hash1); in-toto calls it dirHash1.

    The SHA-256 of a line for each file, sorted by path: hex digest, two spaces, path, newline. Base64, with padding.
    """
    lines = (f"{entry.sha256.hex}  {entry.path}\n".encode() for entry in manifest.files)
    return "h1:" + base64.b64encode(hashlib.sha256(b"".join(lines)).digest()).decode()


def _file(entry: FileEntry) -> Alias:
    return Alias(Scheme.FILE_SHA256, entry.sha256.hex)


def _telling(manifest: Manifest) -> list[FileEntry]:
    """Return the files that a model may be known by: none that is empty, weights and code before others."""
    files = [entry for entry in manifest.files if entry.size]
    order = sorted(files, key=lambda entry: not (is_weight_file(entry.path) or entry.path.endswith(".py")))
    return order[:MAX_FILES]


def _fetched(source: Mapping[str, Any]) -> Iterator[tuple[Alias, Grade]]:
    repository, commit = source.get("repository"), source.get("commit")
    announced = source.get("scheme") == "hf" and source.get("matches_announced") is True
    grade = Grade.OBSERVED if announced else Grade.DECLARED
    alias = named(repository) if isinstance(repository, str) else None
    if alias is not None:
        yield alias, grade
    if isinstance(commit, str) and _COMMIT.fullmatch(commit):
        yield Alias(Scheme.HF_COMMIT, commit), grade
