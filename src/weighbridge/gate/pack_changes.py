"""Changes of policy and mode in an audit pack: which counted, who stood behind each, and which only waited.

Part of the verification script (`verify_pack`): standard library and `pack_formats`, nothing else may be imported here.
It follows the rules of docs/reference/approvals.md, from the signed records alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from weighbridge.gate.pack_formats import key_id, moment, names_in, written

SEVEN_DAYS = 7 * 86_400
FEWEST = {"break-glass": 2}
CHANGING = {"policy": "policy", "mode": "policy", "break-glass": "waive", "waiver": "waive", "lift": "revoke"}
"""Kinds that can wait for another identity, and the role that proposes and approves each."""
STRICTEST_LAST = ("off", "observe", "warn", "enforce")


def person_of(pem: str) -> str:
    """Return who somebody is, however they are called: issuer and subjects of a certificate, else the key."""
    if "CERTIFICATE" not in pem:
        return key_id(pem)
    from cryptography import x509

    issuer, subjects = names_in(x509.load_pem_x509_certificate(pem.encode()))
    return json.dumps([issuer, sorted(subjects)])


@dataclass
class Proposed:
    """A change that was logged: what it says, and the records of those who stand behind it, each person once."""

    entry: Any
    behind: list[Any]

    def row(self, *, counted: bool, when: int) -> dict[str, Any]:
        """Return it as a row of the list of changes."""
        entry, body = self.entry, self.entry.body
        more = {} if entry.kind == "policy" else {"namespace": body["namespace"], "reason": body["reason"]}
        return {
            "what": entry.kind, **entry.where, "project": entry.project, **more, "approved_by": entry.key,
            "asked_by": entry.actor, "from": body["previous"], "to": body["digest" if entry.kind == "policy" else "mode"],
            "counted": counted, "took_effect": written(when) if counted else None,
            "approvals": [{"signer": one.signer, "key": one.key, "time": written(one.time)} for one in self.behind[1:]],
        }  # fmt: skip


@dataclass
class Changes:
    """What is set, by the records so far, and what waits."""

    policies: dict[str, str] = field(default_factory=dict)
    modes: dict[tuple[str, str], str] = field(default_factory=dict)
    version: Any = None
    _since: dict[tuple[str, str, str], str] = field(default_factory=dict)
    _waiting: dict[str, Proposed] = field(default_factory=dict)

    def propose(self, entry: Any) -> dict[str, Any] | None:
        """Take a change of policy or mode; returns its row when that is known at once."""
        proposed = Proposed(entry, [entry])
        if self._overtaken(entry):
            return proposed.row(counted=False, when=0)
        if self._needed(entry) > 1:
            self._waiting[entry.bundle] = proposed
            return None
        self._set(entry)
        return proposed.row(counted=True, when=entry.time)

    def approve(self, entry: Any) -> dict[str, Any] | None:
        """Take an approval; returns the row of the change that it lets take effect."""
        proposed = self._waiting.get(entry.body["bundle"])
        if proposed is None:
            return None
        first = proposed.entry
        if (first.kind, first.project) != (entry.body["kind"], entry.project):
            return None
        if (
            entry.time > first.time + SEVEN_DAYS
            or self._overtaken(first)
            or not self._counts(first, first, entry.time)
        ):
            return self._waiting.pop(first.bundle).row(counted=False, when=0)
        proposed.behind.append(entry)
        people = {
            one.person: one for one in reversed(proposed.behind) if self._counts(one, first, entry.time)
        }
        if len(people) < self._needed(first):
            return None
        del self._waiting[first.bundle]
        proposed.behind = [first, *(one for who, one in people.items() if who != first.person)]
        self._set(first)
        return proposed.row(counted=True, when=entry.time)

    def left(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of what never took effect."""
        for proposed in self._waiting.values():
            yield proposed.row(counted=False, when=0)

    def explains(self, project: str, mode: str) -> bool:
        """Tell whether signed records say why a decision of a project is in this mode, in one namespace or another."""
        said = {value for (where, _), value in self.modes.items() if where in (project, "*")}
        return bool(said) and mode in (*said, STRICTEST_LAST[-1])

    def _overtaken(self, entry: Any) -> bool:
        here = _place(entry)
        value = (
            self.policies.get(entry.project, "") if entry.kind == "policy" else self.modes.get(here[1:], "")
        )
        since = self._since.get(here, "")
        return value != (entry.body["previous"] or "") or bool(since and entry.said and since >= entry.said)

    def _set(self, entry: Any) -> None:
        here = _place(entry)
        self._since[here] = entry.said
        if entry.kind == "policy":
            self.policies[entry.project] = entry.body["digest"]
        else:
            self.modes[here[1:]] = entry.body["mode"]

    def _needed(self, entry: Any) -> int:
        if entry.kind == "mode" and not self._loosens(entry):
            return 1
        asked = self.version.document.get("approvals", {}) if self.version else {}
        for project in (entry.project, "*"):
            if entry.kind in asked.get(project, {}):
                return int(asked[project][entry.kind])
        return FEWEST.get(entry.kind, 1)

    def _loosens(self, entry: Any) -> bool:
        spaces = dict.fromkeys((entry.body["namespace"], ""))
        places = [(project, space) for space in spaces for project in (entry.project, "*")]
        before = next((self.modes[place] for place in places if place in self.modes), STRICTEST_LAST[-1])
        return STRICTEST_LAST.index(entry.body["mode"]) < STRICTEST_LAST.index(before)

    def _counts(self, one: Any, first: Any, when: int) -> bool:
        """Tell whether somebody is in force at a moment and holds the role, under the authority of then."""
        if self.version is None:
            return False
        name = self.version.named(one.key, when) or one.signer
        row = self.version.document["identities"].get(name)
        if row is None or (row["valid_until"] is not None and when > moment(row["valid_until"])):
            return False
        if row.get("pem") and key_id(row["pem"]) != one.key:
            return False
        return bool(self.version.may(name, CHANGING[first.kind], first.project))


def _place(entry: Any) -> tuple[str, str, str]:
    return (entry.kind, entry.project, entry.body.get("namespace", ""))
