"""Reports kept between scans, by content: same files, same rules, same limits, same report.

An entry is named by the digest of everything that the report is a function of: the manifest (every byte of
the model was hashed for it), the ruleset and the limits. Only reports without any
`unread` are kept: why something was not read may lie on this machine. An entry that is damaged, is not ours
alone, or does not say what its name says is passed over and written again. Nothing that decides reads here:
the gate and intake always scan.

Looking up takes the digest of every byte, so whoever does not have it asks first whether a report on files of
such names and sizes is `likely` to be kept. A mark says so; it is made only where the scan cost
clearly more than hashing does (`worth_keeping`). It holds no verdict: a wrong one costs a hashing, never a byte.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from weighbridge.core.canonical import canonical
from weighbridge.core.finding import Report, Ruleset, Seen, Verdict
from weighbridge.core.manifest import Listing, Manifest, N
from weighbridge.formats.limits import Limits
from weighbridge.scanner.record import report_from_json
from weighbridge.scanner.ruleset import ruleset

SCHEMA = "weighbridge.kept-report/1"
MAX_ENTRY = 16 * 1024 * 1024
MAX_BYTES = 64 * 1024 * 1024
"""Bytes of all entries; beyond, the ones that were used longest ago go."""
MARK = ".mark"
WORTH_SECONDS = 0.05
"""CPU seconds of a scan that are not worth an entry, whatever was scanned."""
WORTH_PER_BYTE = 4e-9
"""CPU seconds for each byte beyond; SHA-256 takes a sixth of that with instructions of its own, about half without."""


class KeptReports:
    """A folder of reports; every operation is allowed to fail and then does nothing."""

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def likely(self, listing: Listing[N], limits: Limits) -> bool:
        """Tell whether a report on files of these names and sizes by the present rules was worth keeping."""
        try:
            rules = _private(self._folder / _mark(listing, limits), 256)
        except (OSError, ValueError):
            return False
        return rules == str(ruleset().digest).encode()  # asked for last: it costs more than a small scan

    def find(self, model: str, manifest: Manifest, rules: Ruleset, limits: Limits) -> Report | None:
        """Return the report on these very bytes by these very rules, under the name `model`; None when none is kept."""
        path = self._folder / _name(manifest, rules, limits)
        try:
            report = report_from_json(_read(path))
        except (OSError, ValueError, RecursionError):
            return None
        fits = report.manifest == manifest.digest and report.ruleset == rules
        if (
            not fits
            or set(report.formats) != {entry.path for entry in manifest.files}
            or not _keepable(report)
        ):
            return None
        with suppress(OSError):
            os.utime(path)
        return replace(report, model=model)

    def keep(self, report: Report, manifest: Manifest, limits: Limits, *, mark: bool = False) -> None:
        """Write a report, when it is one that may be kept; `mark` that one on files of such names and sizes is."""
        if not _keepable(report):
            return
        body = json.dumps({"schema": SCHEMA, "report": report.to_json()}).encode()
        path = self._folder / _name(manifest, report.ruleset, limits)
        if len(body) > MAX_ENTRY:
            return
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(path, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            if mark:
                _write(self._folder / _mark(manifest, limits), str(report.ruleset.digest).encode())
            self._tidy()

    def worth_keeping(self, seen: Seen, cpu: float) -> bool:
        """Tell whether a scan that took `cpu` seconds is worth the hashing that keeping and finding it takes."""
        return _keepable(seen) and cpu > WORTH_SECONDS + WORTH_PER_BYTE * seen.coverage.bytes_present

    def _tidy(self) -> None:
        entries = [(path.stat(), path) for path in self._folder.iterdir()]
        left = sum(state.st_size for state, _ in entries)
        for state, path in sorted(entries, key=lambda entry: entry[0].st_mtime_ns):
            if left <= self._max_bytes:
                return
            path.unlink(missing_ok=True)
            left -= state.st_size


def _keepable(report: Report | Seen) -> bool:
    return report.coverage.complete and all(row.verdict is not Verdict.UNREAD for row in report.findings)


def _name(manifest: Manifest, rules: Ruleset, limits: Limits) -> str:
    content = canonical(
        {
            "schema": SCHEMA,
            "manifest": str(manifest.digest),
            "ruleset": rules.to_json(),
            "limits": asdict(limits),
        }
    )
    return f"{hashlib.sha256(content).hexdigest()}.json"


def _mark(listing: Listing[N], limits: Limits) -> str:
    content = canonical(
        {
            "schema": SCHEMA,
            "files": [[file.path, file.size] for file in listing.files],
            "limits": asdict(limits),
        }
    )
    return hashlib.sha256(content).hexdigest() + MARK


def _read(path: Path) -> object:
    """Return the report in an entry that is whole; raises OSError or ValueError."""
    digest, _, body = _private(path, MAX_ENTRY + 65).partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("this entry is damaged")
    entry = json.loads(body)
    if not isinstance(entry, dict) or entry.get("schema") != SCHEMA:
        raise ValueError("this entry is of another kind")
    return entry.get("report")


def _private(path: Path, most: int) -> bytes:
    """Return what a file of at most `most` bytes holds that is ours alone; raises OSError or ValueError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(fd, "rb") as stream:  # noqa: PTH123  a descriptor
        state = os.fstat(fd)
        private = state.st_uid == os.geteuid() and not state.st_mode & 0o077
        if not stat.S_ISREG(state.st_mode) or not private or state.st_size > most:
            raise ValueError("this entry is not ours")
        return stream.read(most)


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as stream:  # noqa: PTH123  a descriptor
            stream.write(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
