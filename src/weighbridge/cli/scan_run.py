"""Scan what one reference names: a folder in place, a hub repository fetched first, or read in parts.

What lies on this machine is hashed only where a digest is asked for, or where a kept report is likely to save
more than that costs; docs/adr/0011-identity-when-asked.md says why. What comes from a hub is always hashed.
"""

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
from weighbridge.core.finding import Report, Seen
from weighbridge.core.manifest import FileEntry, Listing, Manifest, N
from weighbridge.core.reference import Reference, parse_reference

if TYPE_CHECKING:
    from weighbridge.scanner.cache import KeptReports
    from weighbridge.source.hub import HubTree
    from weighbridge.source.local import LocalTree
    from weighbridge.source.tree import TreeFile

SMALL = 16 * 1024 * 1024
"""Bytes of a model below which starting more processes costs more than it saves."""
WHOLE = 1024 * 1024
"""Bytes up to which a remote file is fetched whole: parts would cost more than they save."""


@dataclass(frozen=True, slots=True)
class How:
    """How to scan: in how many processes (None: as many as pay), with kept reports, remote files in parts.

    `identity` asks for the digests of what lies on this machine; what comes from a hub has them anyway.
    """

    jobs: int | None = None
    cache: bool = True
    remote: bool = False
    identity: bool = True


def run(shared: Shared, text: str, name: str, how: How) -> Row:
    """Scan what a reference names; raises UsageError, and what its source raises."""
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
    from weighbridge.source.tree import listed

    begun = time.monotonic()
    report: Report | Seen
    manifest: Manifest | None = None
    with open_folder(path) as tree:
        listing = listed(tree)
        # What a cache's names announce can be compared only by hashing it.
        if how.identity or any(file.announced for file in listing.files):
            manifest = _identify(shared, tree)
            report, cached = _judge(shared, tree.model_hint, manifest, _opener(listing), how)
        else:
            report, cached = _look(shared, tree, listing, how)
        tree.settle()  # the bytes that were hashed, before or after, are the bytes that were scanned
    folder = path if path.is_dir() else path.parent
    here = os.path.normpath(folder.absolute())  # as it was typed: links are not followed, dots are gone
    return _row(name, report, manifest, begun, folder=here, cached=cached)


def _look(shared: Shared, tree: LocalTree, listing: Listing[TreeFile], how: How) -> tuple[Seen, bool]:
    """Scan without an identity; hash only where the report on such files is kept, or has become worth keeping."""
    from weighbridge.formats.limits import DEFAULT_LIMITS

    kept = _kept(how)
    if kept is not None and kept.likely(listing, DEFAULT_LIMITS):
        report, cached = _judge(shared, tree.model_hint, _identify(shared, tree), _opener(listing), how)
        return report.seen, cached
    begun = _spent()
    seen = _scan(shared, tree.model_hint, listing, lambda file: file.open(), how)
    if kept is not None and kept.worth_keeping(seen, _spent() - begun):
        from weighbridge.scanner.ruleset import ruleset

        manifest = _identify(shared, tree)
        kept.keep(seen.identified(manifest.digest, ruleset()), manifest, DEFAULT_LIMITS, mark=True)
    return seen, False


def _identify(shared: Shared, tree: LocalTree) -> Manifest:
    """Hash every file; raises Unreadable when one is not the file that was listed any more."""
    from weighbridge.source.read import identify_tree

    with progress(shared, "hashing", sum(file.size for file in tree.files())) as advance:
        return identify_tree(tree, progress=advance)


def _opener(listing: Listing[TreeFile]) -> Callable[[FileEntry], BinaryIO]:
    files = {file.path: file for file in listing.files}
    return lambda entry: files[entry.path].open()


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

    kept = _kept(how)
    if kept is not None:
        report = kept.find(model, manifest, ruleset(), DEFAULT_LIMITS)
        if report is not None:
            return report, True
    begun = _spent()
    seen = _scan(shared, model, manifest, open_file, how)
    report = seen.identified(manifest.digest, ruleset())
    if kept is not None:
        kept.keep(report, manifest, DEFAULT_LIMITS, mark=kept.worth_keeping(seen, _spent() - begun))
    return report, False


def _scan(
    shared: Shared, model: str, listing: Listing[N], open_file: Callable[[N], BinaryIO], how: How
) -> Seen:
    with progress(shared, "scanning", listing.size) as advance:
        jobs = how.jobs or default_jobs(listing)
        if jobs == 1 and not shows_progress(shared, listing.size):
            from weighbridge.scanner.engine import see_files

            return see_files(model, listing, open_file)
        from weighbridge.scanner.parallel import see_parallel

        return see_parallel(model, listing, open_file, jobs=jobs, progress=advance)


def _kept(how: How) -> KeptReports | None:
    if not how.cache:
        return None
    from weighbridge.scanner.cache import KeptReports

    return KeptReports(cache_folder(os.environ))


def _spent() -> float:
    """Return the CPU seconds of this process and of the workers that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def default_jobs(listing: Listing[N]) -> int:
    """Return how many processes pay: one for a small model, else as many as there are processors or files."""
    if listing.size < SMALL:
        return 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable, len(listing.files)))


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return where reports are kept: `$XDG_CACHE_HOME/weighbridge/scan`, else below ~/.cache."""
    base = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".cache")
    return Path(base).absolute() / "weighbridge" / "scan"


def _row(
    name: str,
    report: Report | Seen,
    manifest: Manifest | None,
    begun: float,
    *,
    folder: str | None = None,
    remote: Fetched | None = None,
    cached: bool = False,
) -> Row:
    files = {} if manifest is None else {entry.path: entry for entry in manifest.files}
    seconds = time.monotonic() - begun
    return Row(name, report, files, seconds, folder, remote, cached)
