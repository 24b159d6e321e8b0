"""The Python interface: the same stations as the command line, as a dozen functions and types."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from weighbridge.claims.predicates import package
from weighbridge.config import read_config
from weighbridge.conversion.convert import Conversion, convert_checkpoint
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.finding import Report
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.core.reference import parse_reference
from weighbridge.core.statement import PAYLOAD_TYPE, Statement
from weighbridge.gate import lineage as lineage_room
from weighbridge.gate import promote as promote_room
from weighbridge.gate.promote import Result
from weighbridge.keys.files import load as load_key
from weighbridge.loader.load import LoadedModel, load
from weighbridge.recorder.record import record
from weighbridge.registry import intake, models, rebuilding
from weighbridge.registry.intake import Acceptance
from weighbridge.registry.setup import init_registry
from weighbridge.registry.wiring import SystemClock, SystemEntropy, open_registry
from weighbridge.scanner.engine import scan_files
from weighbridge.source.local import open_folder
from weighbridge.source.read import read_tree
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.seal import sign_statement
from weighbridge.trust.verify import verify_envelope

__all__ = [
    "Acceptance", "LoadedModel", "Registry", "Result", "convert", "load", "manifest", "pull", "record", "scan", "sign", "verify",
]  # fmt: skip


def manifest(path: str | Path) -> Manifest:
    """Read every file of a folder (or one file) once and return its manifest; `.digest` is the identity.

    Raises BadManifest for trees that can have no identity, NotFound, Unreadable or OutOfBudget.
    """
    with open_folder(Path(path)) as tree:
        return read_tree(tree).manifest


def scan(path: str | Path) -> Report:
    """Look through a folder or file without running anything in it; raises like `manifest`."""
    with open_folder(Path(path)) as tree:
        files = {file.path: file for file in tree.files()}
        described = read_tree(tree).manifest

        def open_file(entry: FileEntry) -> BinaryIO:
            return files[entry.path].open()

        report = scan_files(tree.model_hint, described, open_file)
        tree.settle()
    return report


def convert(checkpoint: str | Path, target: str | Path) -> Conversion:
    """Rebuild a torch checkpoint as safetensors at `target`, executing nothing; raises ConversionRefused."""
    with open_folder(Path(checkpoint)) as tree:
        file = tree.files()[0]
        with file.open() as source:
            return convert_checkpoint(source, file.size, Path(target))


def sign(path: str | Path, key: str | Path, *, password: str | None = None, run: str = "by-hand") -> bytes:
    """Sign the files of a folder as one model; returns a Sigstore bundle (JSON), not yet logged."""
    with open_folder(Path(path)) as tree:
        snapshot = read_tree(tree)
    signer = load_key(Path(key), password)
    builder = "https://weighbridge.dev/builders/by-hand"
    statement = package(snapshot.manifest, snapshot.chunks, builder=builder, invocation=run)
    return Bundle(sign_statement(statement, signer), signer.key_id).to_json()


def verify(path: str | Path, bundle: bytes, public_key: str) -> Statement:
    """Return the claim in `bundle` if `public_key` (PEM) signed it and it is about exactly these files.

    Raises VerificationFailed with a check id. For admitted models use `load`, which needs no key by hand.
    """
    envelope = Bundle.from_json(bundle).envelope
    statement = Statement.decode(verify_envelope(envelope, public_key, PAYLOAD_TYPE))
    described = manifest(path)
    if not statement.is_about(described.digest):
        raise VerificationFailed(
            "the claim is about another model",
            cause=f"these files are {described.digest.short}",
            remedy="get the claim that belongs to these files",
            check="statement.subject",
        )
    return statement


class Registry:
    """A registry, opened; a context manager. `path` and other settings default as on the command line."""

    def __init__(
        self, path: str | Path | None = None, *, project: str | None = None, create: bool = False
    ) -> None:
        config = read_config(os.environ, {"registry": str(path) if path else None, "project": project})
        make = init_registry if create else open_registry
        self._registry = make(config, clock=SystemClock(), entropy=SystemEntropy())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the registry."""
        self._registry.close()

    def resolve(self, reference: str) -> Digest:
        """Return the identity that a reference means here."""
        return models.resolve(self._registry, reference)

    def intake(self, path: str | Path) -> Digest:
        """Take in a folder or file; nothing is admitted by this."""
        return intake.take_folder(self._registry, Path(path)).digest

    def pull(
        self, reference: str, *, acceptance: Acceptance | None = None, name: str | None = None
    ) -> Result:
        """Take in, convert if needed, and ask the gate; see `weighbridge.pull`."""
        path = Path(reference).expanduser()
        if path.exists():
            received = intake.take_folder(self._registry, path)
        else:
            received = intake.take(self._registry, parse_reference(reference), environ=os.environ)
        if acceptance is not None:
            received = intake.accept(self._registry, received, acceptance)
        report = rebuilding.scan_kept(self._registry, received)
        if report.verdict.passes and rebuilding.needs_conversion(report, received):
            received = rebuilding.convert_kept(self._registry, received, report)
        return promote_room.promote(self._registry, received.digest, name=name)

    def promote(self, reference: str, *, name: str | None = None, dry_run: bool = False) -> Result:
        """Ask the gate to move a model to the trusted tier."""
        return promote_room.promote(self._registry, self.resolve(reference), name=name, dry_run=dry_run)

    def admit(self, reference: str, *, target: str | None = None) -> Result:
        """Ask whether a trusted model may run here, now."""
        return promote_room.admit(self._registry, self.resolve(reference), target=target)

    def lineage(self, reference: str) -> lineage_room.Lineage:
        """Return what a model came from, what came from it, and where that runs."""
        return lineage_room.family(self._registry, self.resolve(reference))


def pull(
    reference: str, *, reason: str, licence: str, publisher: str, reviewer: str, days: int = 180
) -> Result:
    """Fetch a stranger's model into the configured registry, accept its origin and ask the gate.

    `Result.path` is where the admitted model lies; `Result.decision` says why not. Raises for what
    cannot be fetched, read or converted.
    """
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    acceptance = Acceptance(publisher, licence, reviewer, reason, expires)
    with Registry() as registry:
        return registry.pull(reference, acceptance=acceptance)
