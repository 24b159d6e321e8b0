"""`scan`: look through models without a registry; with no argument, through the hub cache of this machine."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

import click

from weighbridge.cli.options import Shared, common, progress
from weighbridge.cli.render import emit, report_text, say
from weighbridge.core.errors import NotFound, UsageError
from weighbridge.core.finding import Report, Verdict
from weighbridge.core.manifest import FileEntry
from weighbridge.core.reference import Reference, parse_reference


@click.command()
@click.argument("model", nargs=-1)
@click.option("--fail-on", type=click.Choice(["notes"]), help="Also fail (exit 1) when there are notes.")
@common
def scan(shared: Shared, model: tuple[str, ...], fail_on: str | None) -> int:
    """Look through models (paths, hf:// references) for anything that could run or that cannot be told.

    Without an argument: every model in this machine's hub cache, read in place, worst first.
    """
    reports: list[Report] = []
    texts: list[str] = []
    for reference in model or _cached(shared):
        begun = time.monotonic()
        report = scan_reference(shared, reference)
        reports.append(report)
        texts.append(report_text(report, time.monotonic() - begun))
    if not model:
        texts = [
            text
            for _, text in sorted(zip(reports, texts, strict=True), key=lambda pair: -pair[0].verdict.rank)
        ]
        reports.sort(key=lambda report: -report.verdict.rank)
    emit(shared, "report", [report.to_json() for report in reports], "\n\n".join(texts))
    if not model and reports:
        say(
            shared,
            f"next: weighbridge pull ./{reports[0].model}, or weighbridge rule RULE to understand a finding",
        )
    codes = {report.verdict.exit_code for report in reports}
    if fail_on == "notes" and any(report.verdict is Verdict.NOTES for report in reports):
        codes.add(1)
    return 1 if 1 in codes else 3 if 3 in codes else 0


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


def _cached(shared: Shared) -> list[str]:
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
    return [str(model.path) for model in found]
