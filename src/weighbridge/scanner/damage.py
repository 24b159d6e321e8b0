"""Word what strict readers refuse: one finding for a file that is not what its libraries write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.finding import Finding, Verdict
from weighbridge.scanner.file import RuleInfo, ScannedFile, printable, severity_of


def finding(
    file: ScannedFile,
    rule: RuleInfo,
    message: str,
    *,
    why: str,
    help: str,  # noqa: A002  the field of the finding that it fills
    subject: str,
    verdict: Verdict | None = None,
    offset: int | None = None,
    evidence: tuple[str, ...] = (),
) -> Finding:
    """Return a finding of `rule`, with its verdict unless another, lesser one is given."""
    given = verdict or rule.verdict
    return Finding(
        rule=rule.id,
        verdict=given,
        severity=severity_of(given),
        location=file.at(offset),
        message=printable(message, 300),
        why=why,
        help=help,
        evidence=tuple(printable(line) for line in evidence),
        subject=printable(subject, 300),
    )


def lacking(file: ScannedFile, rule: RuleInfo, rows: Iterable[tuple[str, str, int]]) -> Iterator[Finding]:
    """Yield a finding for each (message, field, offset) of a message without a field that it needs."""
    for message, name, offset in rows:
        yield finding(
            file, rule, f"{message} has no {name}, so the file is not whole", offset=offset, subject=f"missing {message} {name}",
            why="what loads such files asks for it; a part of the file is gone, or it was never one of them",
            help="fetch the file again; if it is the same there, its publisher must write it anew",
        )  # fmt: skip


def refused(file: ScannedFile, rule: RuleInfo, error: WeighbridgeError) -> Finding:
    """Return the finding for what a strict reader refused."""
    return finding(
        file,
        rule,
        f"{error.problem}: {error.cause}" if error.cause else error.problem,
        why="readers that are less strict would make something of it, and not all the same",
        help=error.remedy or "fetch the file again",
        subject=error.check,
        offset=0,
    )
