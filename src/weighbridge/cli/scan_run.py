"""Scan what one reference names: a folder in place, a hub repository fetched first, or read in parts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from weighbridge.cli.options import Shared, progress, shows_progress
from weighbridge.cli.outcome import Fetched, Row
from weighbridge.core.errors import UsageError
from weighbridge.core.finding import Report
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.core.reference import Reference, parse_reference

if TYPE_CHECKING:
    from weighbridge.source.hub import HubTree

SMALL = 16 * 1024 * 1024
"""Bytes of a model below which starting more processes costs more than it saves."""
WHOLE = 1024 * 1024
"""Bytes up to which a remote file is fetched whole: parts would cost more than they save."""


@dataclass(frozen=True, slots=True)
class How:
    """How to scan: in how many processes (None: as many as pay), with kept reports, remote files in parts."""

    jobs: int | None = None
    cache: bool = True
    remote: bool = False


def run(shared: Shared, text: str, name: str, how: How) -> Row:
    """Hash and scan what a reference names; raises UsageError, and what its source raises."""
    path = Path(text).expanduser()
    reference = parse_reference(text) if not path.exists() else None
    if reference is None or reference.scheme == "path":
        if how.remote:
            raise UsageError(
                f"--remote reads from a hub, and {text!r} is on this machine",
                remedy="leave out --remote, or give hf://org/name",
            )
        return _folder(shared, path, name, how)
    if reference.scheme != "hf":
        raise UsageError(
            f"scan reads paths and hf:// references, not {text!r}", remedy="give a path, for example ./model"
        )
    return _parts(shared, reference) if how.remote else _hub(shared, reference, how)


def _folder(shared: Shared, path: Path, name: str, how: How) -> Row:
    from weighbridge.source.local import open_folder
    from weighbridge.source.read import identify_tree

    begun = time.monotonic()
    with open_folder(path) as tree:
        files = {file.path: file for file in tree.files()}
        with progress(shared, "hashing", sum(file.size for file in files.values())) as advance:
            manifest = identify_tree(tree, progress=advance)

        def open_file(entry: FileEntry) -> BinaryIO:
            return files[entry.path].open()

        report, cached = _judge(shared, tree.model_hint, manifest, open_file, how)
        tree.settle()  # the bytes that were hashed are the bytes that were scanned
    folder = path if path.is_dir() else path.parent
    here = os.path.normpath(folder.absolute())  # as it was typed: links are not followed, dots are gone
    return _row(name, report, manifest, begun, folder=here, cached=cached)


def _hub(shared: Shared, reference: Reference, how: How) -> Row:
    import tempfile

    from weighbridge.scanner.lookalike_rules import asked_for
    from weighbridge.source.read import read_tree
    from weighbridge.store.files import FileBlobs

    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="weighbridge-") as folder:
        blobs = FileBlobs(Path(folder) / "blobs")
        with _fetch(shared, reference, Path(folder)) as tree:
            total = sum(file.size for file in tree.files())
            with progress(shared, "fetching", total) as advance:
                manifest = read_tree(tree, blobs, progress=advance).manifest

        def open_file(entry: FileEntry) -> BinaryIO:
            return blobs.open(entry.sha256)

        report, cached = _judge(shared, tree.model_hint, manifest, open_file, how)
    return _row(_pinned(tree), asked_for(report, tree.repository), manifest, begun, cached=cached)


def _parts(shared: Shared, reference: Reference) -> Row:
    """Fetch small files whole and compare them; of large ones only what their readers ask for."""
    import tempfile

    from weighbridge.scanner.lookalike_rules import asked_for
    from weighbridge.scanner.remote import scan_in_parts, worth_it
    from weighbridge.source.read import read_file
    from weighbridge.source.remote import RangedFile
    from weighbridge.store.files import FileBlobs

    begun = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weighbridge-")))
        blobs = FileBlobs(folder / "blobs")
        tree = stack.enter_context(_fetch(shared, reference, folder))
        parts: dict[str, RangedFile] = {}
        entries: list[FileEntry] = []
        tried = 0
        for file in tree.files():
            announced = next((digest for digest in file.announced if digest.algorithm == "sha256"), None)
            if announced is not None and file.size > WHOLE:
                source = tree.parts(file)
                stack.callback(source.close)
                ranged = RangedFile(source.read, file.size)
                stack.callback(ranged.close)
                if worth_it(ranged):
                    parts[file.path] = ranged
                    entries.append(FileEntry(file.path, file.size, announced))
                    continue
                tried += ranged.fetched
            entries.append(read_file(file, blobs).entry)
        manifest = Manifest.of(entries)
        report = scan_in_parts(tree.model_hint, manifest, lambda entry: blobs.open(entry.sha256), parts)
        whole = sum(entry.size for entry in entries if entry.path not in parts)
        fetched = whole + tried + sum(part.fetched for part in parts.values())
    remote = Fetched(fetched, manifest.size, tuple(sorted(parts)))
    return _row(_pinned(tree), asked_for(report, tree.repository), manifest, begun, remote=remote)


def _fetch(shared: Shared, reference: Reference, folder: Path) -> HubTree:
    from weighbridge.source.hub import fetch_hub

    return fetch_hub(
        reference,
        endpoint=str(shared.config["hub_endpoint"]) or None,
        token=os.environ.get("HF_TOKEN"),
        cache_dir=folder / "hub",
        offline=bool(shared.config["offline"]),
    )


def _pinned(tree: HubTree) -> str:
    return f"hf://{tree.repository}@{tree.commit}"


def _judge(
    shared: Shared, model: str, manifest: Manifest, open_file: Callable[[FileEntry], BinaryIO], how: How
) -> tuple[Report, bool]:
    """Return the report, and whether it was kept from an earlier scan of the same bytes by the same rules."""
    from weighbridge.formats.limits import DEFAULT_LIMITS
    from weighbridge.scanner.ruleset import ruleset

    kept = None
    if how.cache:
        from weighbridge.scanner.cache import KeptReports

        kept = KeptReports(cache_folder(os.environ))
        report = kept.find(model, manifest, ruleset(), DEFAULT_LIMITS)
        if report is not None:
            return report, True
    with progress(shared, "scanning", manifest.size) as advance:
        jobs = how.jobs or default_jobs(manifest)
        if jobs == 1 and not shows_progress(shared, manifest.size):
            from weighbridge.scanner.engine import scan_files

            report = scan_files(model, manifest, open_file)
        else:
            from weighbridge.scanner.parallel import scan_parallel

            report = scan_parallel(model, manifest, open_file, jobs=jobs, progress=advance)
    if kept is not None:
        kept.keep(report, manifest, DEFAULT_LIMITS)
    return report, False


def default_jobs(manifest: Manifest) -> int:
    """Return how many processes pay: one for a small model, else as many as there are processors or files."""
    if manifest.size < SMALL:
        return 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable, len(manifest.files)))


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return where reports are kept: `$XDG_CACHE_HOME/weighbridge/scan`, else below ~/.cache."""
    base = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".cache")
    return Path(base).absolute() / "weighbridge" / "scan"


def _row(
    name: str,
    report: Report,
    manifest: Manifest,
    begun: float,
    *,
    folder: str | None = None,
    remote: Fetched | None = None,
    cached: bool = False,
) -> Row:
    files = {entry.path: entry for entry in manifest.files}
    seconds = time.monotonic() - begun
    return Row(name, report, files, seconds, folder, remote, cached)
