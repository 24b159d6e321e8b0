"""How a verified signature is told: who, what, when, and by whose word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from weighbridge.cli.render import count, safe, size
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.tier import Assurance

if TYPE_CHECKING:
    from weighbridge.gate.signed import Checked
    from weighbridge.trust.proof import Proof

WORDS = {
    Assurance.SINGLE_OPERATOR: "one operator's log: whoever runs it could show others another log",
    Assurance.WITNESSED: "a log whose growth witnesses countersigned",
    Assurance.PUBLIC: "a public log",
}
NOBODY = "the signer's alone: no log and no timestamp was asked for"


def as_json(checked: Checked) -> dict[str, JSON]:
    """Return the outcome as data."""
    proof, statement = checked.proof, checked.statement
    return {
        "signature": str(checked.signature),
        "signer": {
            "key": str(proof.signer.key),
            "subject": proof.signer.subject,
            "issuer": proof.signer.issuer,
            "claims": dict(proof.signer.claims),
        },
        "claim": statement.predicate_type if statement is not None else None,
        "covers": str(checked.covered.identity),
        "bytes": checked.covered.to_json(),
        "times": [{"time": rfc3339(row.moment), "source": row.source, "by": row.by} for row in proof.times],
        "logs": [
            {
                "origin": row.origin,
                "index": row.index,
                "size": row.size,
                "witnesses": [{"name": name, "time": rfc3339(seen)} for name, seen in row.witnesses],
            }
            for row in proof.logs
        ],
        "assurance": proof.assurance.value if proof.assurance is not None else None,
        "evidence_not_looked_at": checked.unseen,
    }


def as_text(checked: Checked) -> str:
    """Return the outcome as lines for people; everything in it was verified."""
    covered, statement = checked.covered, checked.statement
    mark = click.style("✓", fg="green")
    what = statement.predicate_type if statement is not None else "a signature over the file, no claim"
    bytes_read = f"{count(covered.files, 'file')}, {size(covered.size)}, {covered.compared}"
    lines = [
        f"{click.style('verified', fg='green', bold=True)}: {covered.identity} ({covered.extent})",
        f"  {mark} signature  {safe(str(checked.signature))}",
        f"  {mark} identity   {safe(_who(checked.proof))}",
        f"  {mark} claim      {safe(what)}",
        f"  {mark} bytes      {bytes_read}",
        f"when: {safe(_when(checked.proof))}",
        f"by whose word: {safe(_word(checked.proof))}",
    ]
    if checked.unseen:
        lines.append(
            f"not looked at: {count(checked.unseen, 'proof')} of log or time in the bundle "
            "(give --trusted-root to have them verified)"
        )
    lines += [
        f"not covered: {safe(row.path)} ({count(row.files, 'file')}; {row.why})" for row in covered.left_out
    ]
    return "\n".join(lines)


def _who(proof: Proof) -> str:
    signer = proof.signer
    if not signer.certificate:
        return f"key {signer.key}"
    from weighbridge.trust.certificates import subject_names

    organisation, common = subject_names(signer.certificate)
    name = signer.subject or common
    said = f", says {signer.issuer}" if signer.issuer else ""
    return f"{name}{said}" + (f" (certificate of {organisation})" if organisation else "")


def _when(proof: Proof) -> str:
    if not proof.times:
        return "not proven"
    return "; ".join(f"{rfc3339(row.moment)} ({row.source} of {row.by})" for row in proof.times)


def _word(proof: Proof) -> str:
    if proof.assurance is None:
        stamps = [row.by for row in proof.times]
        return f"the signer's, at a time that {', '.join(stamps)} vouches for; no log" if stamps else NOBODY
    parts = [WORDS[proof.assurance]]
    for row in proof.logs:
        seen = f", seen by {', '.join(name for name, _ in row.witnesses)}" if row.witnesses else ""
        parts.append(f"entry {row.index} of {row.origin}{seen}")
    return "; ".join(parts)
