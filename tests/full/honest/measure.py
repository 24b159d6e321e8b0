"""Scan what was written, one model after the other, and say what each came to and what it cost."""

import time
from dataclasses import dataclass
from pathlib import Path

from weighbridge.core.finding import Finding, Verdict
from weighbridge.scanner.engine import scan_files
from weighbridge.source.local import open_folder
from weighbridge.source.read import read_tree


@dataclass(frozen=True)
class Weighed:
    """What one model came to: its verdict, the findings that block it, seconds, and bytes."""

    path: str
    library: str
    what: str
    verdict: Verdict
    blocking: tuple[Finding, ...]
    wall: float
    cpu: float
    size: int


def weigh(folder: Path, item) -> Weighed:
    """Scan one file or folder as a model of its own."""
    where = folder / item.path
    with open_folder(where) as tree:
        manifest = read_tree(tree).manifest
    root = where if where.is_dir() else where.parent
    wall, cpu = time.perf_counter(), time.process_time()
    report = scan_files(item.path, manifest, lambda entry: (root / entry.path).open("rb"))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    blocking = tuple(finding for finding in report.findings if not finding.verdict.passes)
    size = sum(entry.size for entry in manifest.files)
    return Weighed(item.path, item.library, item.what, report.verdict, blocking, wall, cpu, size)


def lines(rows: list[Weighed]) -> list[str]:
    """Return one line for each finding that blocks: rule, subject, file, message."""
    return [
        f"{finding.rule} {finding.subject or '-'} {row.path} {finding.message}"
        for row in rows
        for finding in row.blocking
    ]


def table(rows: list[Weighed]) -> str:
    """Return models and passes by library, and the slowest models."""
    out = [
        f"{'library':16} {'models':>7} {'pass':>6} {'%':>6}  {'clean':>6} {'notes':>6}  blocked by verdict"
    ]
    for library in [*dict.fromkeys(row.library for row in rows), "all"]:
        group = [row for row in rows if library in (row.library, "all")]
        count = {verdict: sum(row.verdict is verdict for row in group) for verdict in Verdict}
        passed = count[Verdict.CLEAN] + count[Verdict.NOTES]
        blocked = ", ".join(f"{v.value} {n}" for v, n in count.items() if n and not v.passes)
        out.append(
            f"{library:16} {len(group):7} {passed:6} {100 * passed / len(group):6.1f}"
            f"  {count[Verdict.CLEAN]:6} {count[Verdict.NOTES]:6}  {blocked}"
        )
    out.append("slowest: CPU s, wall s, MB, path")
    slowest = sorted(rows, key=lambda row: -row.cpu)[:12]
    out.extend(f"  {row.cpu:7.2f} {row.wall:7.2f} {row.size / 1e6:7.2f} {row.path}" for row in slowest)
    return "\n".join(out)
