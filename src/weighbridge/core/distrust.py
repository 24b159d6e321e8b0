"""Distrust: what a signer said from a moment on, or what a scan under a ruleset found, counts no longer (`weighbridge.distrust/1`).

It only ever takes away. A claim, an acceptance, a waiver or a lift by a distrusted signer is believed as little as
a stranger's; a revocation, an advisory or another distrust by the same signer keeps counting, or whoever may distrust
could bring back what others withdrew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.evidence import Proven

DISTRUST_SCHEMA = "weighbridge.distrust/1"
MAX_REASON = 4000
MAX_WORDS = 1024
SIGNER_CHECK = "signer.distrusted"
SCAN_CHECK = "scan.distrusted"

_ID = re.compile(r"dis-[0-9a-f]{16}")
_MEMBERS = {
    "signer": ("key", "name", "issuer", "subject", "from"),
    "ruleset": ("ruleset",),
    "scans": ("before",),
}


class Distrusted(StrEnum):
    """What is distrusted: a signer from a moment on, scans under one ruleset, or scans made before a moment."""

    SIGNER = "signer"
    RULESET = "ruleset"
    SCANS = "scans"


@dataclass(frozen=True, slots=True)
class Distrust:
    """One distrust as it stands. Times are RFC 3339; `lifted` is empty while it stands.

    A signer is a `key` (the id under which the authority names it, kept when it is renamed or rotated), or somebody a
    certificate named: `subject`, and where it matters `issuer`. The id is a digest over what it says, so a lift can
    mean only this one, and the same said again later is another.
    """

    what: Distrusted
    reason: str
    since: str
    project: str
    key: str = ""
    name: str = ""
    issuer: str = ""
    subject: str = ""
    start: str = ""
    ruleset: str = ""
    before: str = ""
    bundle: str = ""
    lifted: str = ""
    lift_reason: str = ""

    @property
    def digest(self) -> Digest:
        """Return the SHA-256 of what it says, in which project: what its statement is about."""
        return Digest.of(canonical({**self.body(), "project": self.project}))

    @property
    def id(self) -> str:
        """Return `dis-` and the beginning of the digest."""
        return f"dis-{self.digest.hex[:16]}"

    @property
    def stands(self) -> bool:
        """Tell whether nobody has lifted it."""
        return not self.lifted

    def __str__(self) -> str:
        if self.what is Distrusted.RULESET:
            return f"scans under ruleset {Digest.parse(self.ruleset).short}"
        if self.what is Distrusted.SCANS:
            return f"scans made before {self.before}"
        who = self.name or self.subject or Digest.parse(self.key).short
        return f"what {who} signed from {self.start} on"

    def body(self) -> dict[str, JSON]:
        """Return what it says, without its id."""
        values = {"from": self.start, "key": self.key, "name": self.name, "issuer": self.issuer,
                  "subject": self.subject, "ruleset": self.ruleset, "before": self.before}  # fmt: skip
        said: dict[str, JSON] = {name: values[name] for name in _MEMBERS[self.what.value]}
        return {"what": self.what.value, **said, "reason": self.reason, "since": self.since}

    def to_json(self) -> dict[str, JSON]:
        """Return the head of one item of `weighbridge.distrust/1`."""
        return {
            "id": self.id,
            **self.body(),
            "project": self.project,
            "bundle": self.bundle,
            "lifted": self.lifted or None,
            "lift_reason": self.lift_reason,
        }

    def covers(self, proven: Proven) -> bool:
        """Tell whether what is proven here counts no longer: by this signer, and not proven to be older than the moment.

        Without a time from a log nothing says that it is older.
        """
        if self.what is not Distrusted.SIGNER:
            return False
        signer = proven.signer
        if self.key:
            same = str(signer.key) == self.key
        else:
            same = signer.subject == self.subject and self.issuer in ("", signer.issuer)
        return same and (proven.logged_at is None or proven.logged_at >= parse_rfc3339(self.start))

    def covers_scan(self, ruleset: str, scanned_at: datetime | None) -> bool:
        """Tell whether a scan under this ruleset, at this time, counts no longer."""
        if self.what is Distrusted.RULESET:
            return ruleset == self.ruleset
        if self.what is Distrusted.SCANS:
            return scanned_at is None or scanned_at < parse_rfc3339(self.before)
        return False


def is_distrust_id(text: str) -> bool:
    """Tell whether `text` has the form of a distrust's id."""
    return _ID.fullmatch(text) is not None


def read_distrust(body: Mapping[str, Any], project: str) -> Distrust:
    """Read the body of a distrust; raises ValueError, TypeError, KeyError or BadReference for anything but one."""
    what = Distrusted(body["what"])
    wanted = {"id", "what", "reason", "since", *_MEMBERS[what.value]}
    if set(body) != wanted:
        raise ValueError(f"a distrust of a {what.value} says exactly {', '.join(sorted(wanted))}")
    words: dict[str, str] = {}
    for name, value in body.items():
        if not isinstance(value, str) or len(value) > (MAX_REASON if name == "reason" else MAX_WORDS):
            raise TypeError(f"{name} is no text, or too long")
        words[name] = value
    if not words["reason"].strip():
        raise ValueError("it gives no reason")
    for name in {"since", "from", "before"} & set(words):
        if rfc3339(parse_rfc3339(words[name])) != words[name]:
            raise ValueError(f"{name} is not written as times are here")
    if what is Distrusted.SIGNER:
        _check_signer(words)
    if what is Distrusted.RULESET and str(Digest.parse(words["ruleset"])) != words["ruleset"]:
        raise ValueError("the ruleset is not written as digests are here")
    said = Distrust(
        what, words["reason"], words["since"], project,
        key=words.get("key", ""), name=words.get("name", ""), issuer=words.get("issuer", ""),
        subject=words.get("subject", ""), start=words.get("from", ""),
        ruleset=words.get("ruleset", ""), before=words.get("before", ""),
    )  # fmt: skip
    if words["id"] != said.id:
        raise ValueError("its id is not the digest of what it says")
    return said


def _check_signer(words: Mapping[str, str]) -> None:
    """Refuse a signer that would be nobody, or everybody."""
    if bool(words["key"]) == bool(words["subject"]):
        raise ValueError("a signer is a key, or the subject of certificates: one of the two")
    if words["key"] and str(Digest.parse(words["key"])) != words["key"]:
        raise ValueError("the key is not written as digests are here")
    if words["issuer"] and not words["subject"]:
        raise ValueError("an issuer alone is nobody")
    if parse_rfc3339(words["from"]) > parse_rfc3339(words["since"]):
        raise ValueError("it begins after it was said")


def check_signer(distrusts: Iterable[Distrust], proven: Proven) -> None:
    """Refuse (VerificationFailed, `signer.distrusted`) what a distrusted signer said."""
    for said in distrusts:
        if said.covers(proven):
            when = rfc3339(proven.logged_at) if proven.logged_at else "no log says when"
            raise VerificationFailed(
                f"{proven.signer.name or proven.signer} is distrusted from {said.start} on",
                cause=f"{said.id}: {said.reason}; this was logged: {when}",
                remedy="have it said again by somebody who is trusted",
                check=SIGNER_CHECK,
            )


def check_scan(distrusts: Iterable[Distrust], ruleset: str, scanned_at: datetime | None) -> None:
    """Refuse (VerificationFailed, `scan.distrusted`) a scan that counts no longer."""
    for said in distrusts:
        if said.covers_scan(ruleset, scanned_at):
            raise VerificationFailed(
                f"{said} count no longer",
                cause=f"{said.id}: {said.reason}",
                remedy="have it scanned again, with another version: weighbridge promote",
                check=SCAN_CHECK,
            )
