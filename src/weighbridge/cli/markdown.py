"""Reports as Markdown, for a comment on a pull request: short, and harmless whatever a model is called.

Everything that comes out of a model stands in code spans: there a name can be no link, no mention and no markup.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from weighbridge.cli.outcome import Failed, Row
from weighbridge.cli.render import SENTENCES, count, counts, safe, size
from weighbridge.core.finding import Finding

MAX_LENGTH = 60_000
"""Characters; services refuse comments of more than 65,536."""
MAX_FINDINGS = 50
"""Findings shown of one model."""


def markdown(rows: Sequence[Row], failed: Sequence[Failed]) -> str:
    """Return one comment about everything that was scanned, worst first, cut where a comment must end."""
    parts = [_model(row) for row in sorted(rows, key=lambda row: -row.verdict.rank)]
    parts += [
        f"### {code(failure.name)}\n\n**not scanned**: {code(failure.error.problem)}" for failure in failed
    ]
    kept: list[str] = []
    length = 0
    for number, part in enumerate(parts):
        length += len(part) + 2
        if length > MAX_LENGTH:
            kept.append(f"{len(parts) - number} more models are not shown here.")
            break
        kept.append(part)
    return "\n\n".join(kept)


def _model(row: Row) -> str:
    report = row.report
    mark = "✅" if row.verdict.passes else "❔" if row.verdict.exit_code == 3 else "⛔"
    read = f"{size(report.coverage.bytes_read)} read of {size(report.coverage.bytes_present)}"
    if row.remote is not None:
        read = f"{size(row.remote.fetched)} fetched of {size(row.remote.present)}"
    lines = [
        f"### {mark} {code(report.model)}",
        "",
        f"**{SENTENCES[row.verdict]}**",
        "",
        f"{count(len(report.formats), 'file')}, {read}, {counts(row)} · {code(str(row.identified.manifest))}",
    ]
    lines += [line for finding in row.shown[:MAX_FINDINGS] for line in ("", *_finding(finding))]
    if len(row.shown) > MAX_FINDINGS:
        lines += ["", f"{len(row.shown) - MAX_FINDINGS} more findings are not shown here."]
    for finding in report.findings:
        if (entry := row.accepted.get(finding.fingerprint)) is not None:
            lines += [
                "",
                f"- accepted: {code(finding.rule)} {code(finding.message)}, because {code(entry.reason)}",
            ]
    return "\n".join(lines)


def _finding(finding: Finding) -> list[str]:
    place = " ! ".join((finding.location.path, *finding.location.members))
    if finding.location.offset is not None:
        place += f" : byte {finding.location.offset}"
    lines = [
        f"- **{finding.severity.value}** {code(finding.rule)} {code(finding.message)}",
        f"  - in {code(place)}",
    ]
    lines += [f"  - {code(line)}" for line in finding.evidence]
    lines += [
        f"  - {word}: {code(text)}" for word, text in (("why", finding.why), ("help", finding.help)) if text
    ]
    return lines


def code(text: str) -> str:
    """Return `text` as a code span that nothing in it can leave (CommonMark, section 6.1)."""
    shown = safe(text)[:1000] or " "
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"
