"""Signature files: where they lie beside a model, and the bundles in them. Nothing here is verified.

A file of evidence is exempt from being part of the model only while it is the very file whose signature is
used; whatever else lies in the folder counts as content, whatever it is called.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, OutOfBudget, Unreadable, VerificationFailed, WeighbridgeError
from weighbridge.trust.bundle import MAX_BUNDLE, Bundle

NAMES = ("model.sig", "claims.jsonl", ".kaggle/signing.json")
"""Where signatures are looked for in a model's folder; beside them every `*.sigstore.json` at its top."""
SUFFIXES = (".sigstore.json", ".sig", ".claims.jsonl")
"""What the name of a model (a folder or a file) is followed by when its signature lies beside it."""
MAX_BUNDLES = 1000
"""Lines of one file of claims."""


@dataclass(frozen=True, slots=True)
class SignatureFile:
    """One signature: the file it is in, its line there, and the path inside the model where it lies in it."""

    path: Path
    bundle: Bundle
    line: int = 0
    """From 1 on in a file of one bundle a line; 0 where the file is one bundle."""
    inside: str = ""
    """Path in the model, with '/'; empty where the file lies outside of it."""
    file: Digest | None = None
    """SHA-256 of the whole file as it was read: only that file is the one whose signature is used."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else str(self.path)


def signatures_of(
    model: Path, given: Path | None = None
) -> tuple[list[SignatureFile], list[WeighbridgeError]]:
    """Return the signatures in the file that was given, else in those found beside the model.

    The second list says what could not be read. Raises NotFound when there is no file to look into, and
    Unreadable when the one given cannot be read.
    """
    paths = [given] if given is not None else list(_beside(model))
    if not paths:
        raise NotFound(
            f"there is no signature beside {model}",
            cause=f"looked for {', '.join(NAMES)} and *.sigstore.json in the folder, and for "
            f"{', '.join(model.name + suffix for suffix in SUFFIXES)} beside it",
            remedy="say where it is: --bundle FILE",
        )
    found: list[SignatureFile] = []
    problems: list[WeighbridgeError] = []
    for path in paths:
        place, data = inside(model, path), _bytes(path)
        for line, part in _parts(path, data):
            try:
                found.append(SignatureFile(path, Bundle.from_json(part), line, place, Digest.of(data)))
            except (VerificationFailed, OutOfBudget) as error:
                problems.append(error)
    return found, problems


def _beside(model: Path) -> Iterator[Path]:
    if model.is_dir():
        yield from (model / name for name in NAMES if (model / name).is_file())
        yield from sorted(path for path in model.glob("*.sigstore.json") if path.is_file())
    model = Path(os.path.abspath(model))  # noqa: PTH100 (no link is followed: the name as typed is what counts)
    if not model.name:  # the root of a file system has nothing beside it
        return
    yield from (path for suffix in SUFFIXES if (path := model.with_name(model.name + suffix)).is_file())


def _parts(path: Path, data: bytes) -> list[tuple[int, bytes]]:
    """Return the bundles of a file as bytes: the whole of it, or its lines (from 1 on) where each is an object."""
    lines = [(number, line.strip()) for number, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    if len(lines) < 2 or not all(line.startswith(b"{") and line.endswith(b"}") for _, line in lines):
        return [(0, data)]
    if len(lines) > MAX_BUNDLES:
        raise OutOfBudget(f"{path} holds more than {MAX_BUNDLES} bundles", check="bundle.form")
    return lines


def inside(model: Path, path: Path) -> str:
    """Return where in the model a file lies; a link is where it stands, not what it leads to (a hub's cache)."""
    if not model.is_dir():
        return ""
    try:
        return (path.parent.resolve() / path.name).relative_to(model.resolve()).as_posix()
    except ValueError:
        return ""


def _bytes(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=_opener) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Unreadable(f"{path} is not a file", remedy="give the file that holds the signature")
            data = file.read(MAX_BUNDLE + 1)
    except FileNotFoundError as error:
        raise NotFound(f"there is no {path}", remedy="check where the signature is") from error
    except OSError as error:
        raise Unreadable(
            f"{path} cannot be read",
            cause=error.strerror or str(error),
            remedy="check the path and its permissions",
        ) from error
    if len(data) > MAX_BUNDLE:
        raise OutOfBudget(f"{path} is larger than {MAX_BUNDLE} bytes", check="bundle.form")
    return data


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a named pipe must not keep us waiting
