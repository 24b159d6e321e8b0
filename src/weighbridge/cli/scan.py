"""`scan`: look through models without a registry; with no argument, through the hub cache of this machine."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from weighbridge.cli.options import Shared, common, progress
from weighbridge.cli.render import emit, report_text, say
from weighbridge.core.errors import NotFound, UsageError, WeighbridgeError
from weighbridge.core.finding import Report, Verdict
from weighbridge.core.manifest import FileEntry
from weighbridge.core.reference import Reference, parse_reference

if TYPE_CHECKING:
    from weighbridge.source.cache import CachedModel


@click.command()
@click.argument("model", nargs=-1)
@click.option("--fail-on", type=click.Choice(["notes"]), help="Also fail (exit 1) when there are notes.")
@common
def scan(shared: Shared, model: tuple[str, ...], fail_on: str | None) -> int:
    """Look through models (paths, hf:// references) for anything that could run or that cannot be told.

    Without an argument: every model in this machine's hub cache, read in place, worst first.
    """
    if model:
        found = dict.fromkeys(model, "")
    else:
        found = {str(kept.path): f"hf://{kept.repository}@{kept.commit}" for kept in _cached(shared)}
    seen: list[_Seen] = []
    codes: set[int] = set()
    for reference, name in found.items():
        begun = time.monotonic()
        try:
            report = scan_reference(shared, reference)
        except WeighbridgeError as error:
            if len(found) == 1:
                raise
            codes.add(error.exit_code)  # one that cannot be scanned hides none of the others
            say(shared, f"{name or reference}: {error}")
        else:
            seen.append(_Seen(report, report_text(report, time.monotonic() - begun), name))
    if not model:
        seen.sort(key=lambda row: -row.report.verdict.rank)
    emit(shared, "report", [row.report.to_json() for row in seen], "\n\n".join(row.text for row in seen))
    if not model and seen:
        say(shared, _next(seen[0]))
    codes |= {row.report.verdict.exit_code for row in seen}
    if fail_on == "notes" and any(row.report.verdict is Verdict.NOTES for row in seen):
        codes.add(1)
    return next((code for code in (1, 3, 2, 4) if code in codes), 0)


@dataclass(frozen=True, slots=True)
class _Seen:
    """One report, how it looks, and for a model of the hub cache the reference it came from."""

    report: Report
    text: str
    name: str


def _next(worst: _Seen) -> str:
    """Return the one command that leads on."""
    if worst.report.verdict.passes:
        return f"next: weighbridge pull {worst.name}"
    finding = max(worst.report.findings, key=lambda row: row.verdict.rank, default=None)
    return f"next: weighbridge rule {finding.rule}" if finding else "next: weighbridge rule"


def scan_reference(shared: Shared, text: str) -> Report:
    """Hash and scan what a reference names; what comes over a network is kept first and scanned as kept."""
    path = Path(text).expanduser()
    reference = parse_reference(text) if not path.exists() else None
    if reference is None or reference.scheme == "path":
        return _scan_folder(shared, path)
    if reference.scheme != "hf":
        raise UsageError(
            f"scan reads paths and hf:// references, not {text!r}", remedy="give a path, for example ./model"
        )
    return _scan_hub(shared, reference)


def _scan_folder(shared: Shared, path: Path) -> Report:
    from weighbridge.scanner.engine import scan_files
    from weighbridge.source.local import open_folder
    from weighbridge.source.read import read_tree

    with open_folder(path) as tree:
        files = {file.path: file for file in tree.files()}
        with progress(shared, "hashing", sum(file.size for file in files.values())) as advance:
            manifest = read_tree(tree, None, progress=advance).manifest

        def open_file(entry: FileEntry) -> BinaryIO:
            return files[entry.path].open()

        report = scan_files(tree.model_hint, manifest, open_file)
        tree.settle()  # the bytes that were hashed are the bytes that were scanned
    return report


def _scan_hub(shared: Shared, reference: Reference) -> Report:
    from weighbridge.scanner.engine import scan_files
    from weighbridge.source.hub import fetch_hub
    from weighbridge.source.read import read_tree
    from weighbridge.store.files import FileBlobs

    with tempfile.TemporaryDirectory(prefix="weighbridge-") as folder:
        blobs = FileBlobs(Path(folder) / "blobs")
        tree = fetch_hub(
            reference,
            endpoint=str(shared.config["hub_endpoint"]) or None,
            token=os.environ.get("HF_TOKEN"),
            cache_dir=Path(folder) / "hub",
            offline=bool(shared.config["offline"]),
        )
        try:
            manifest = read_tree(tree, blobs).manifest
        finally:
            tree.close()

        def open_file(entry: FileEntry) -> BinaryIO:
            return blobs.open(entry.sha256)

        return scan_files(tree.model_hint, manifest, open_file)


def _cached(shared: Shared) -> list[CachedModel]:
    from weighbridge.source.cache import cached_models, default_cache

    root = default_cache(os.environ)
    found = cached_models(root) if root is not None and root.is_dir() else []
    if not found:
        raise NotFound(
            "there is no model in this machine's hub cache",
            cause=f"looked in {root}",
            remedy="give a path: weighbridge scan ./model",
        )
    say(shared, f"{len(found)} models in {root}")
    return found
