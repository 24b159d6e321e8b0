"""The lists of an audit pack, made from signed records in the order of the log; docs/reference/audit.md defines each.

Part of the verification script (`verify_pack`): standard library and `pack_formats`, nothing else may be imported here.
The registry makes the lists with this very code, and the auditor makes them again from the records: rows that
somebody changed, added or left out then differ. Times are those that the log signed for the entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from weighbridge.gate.pack_changes import Changes
from weighbridge.gate.pack_formats import Version, canonical, moment, sha256, written

LISTS = ("decisions", "running", "against-decisions", "waivers", "changes", "same-person", "outages", "responses",
         "roles", "not-believed")  # fmt: skip
PASSED = ("train", "package")
MODE = "enforce"
"""What a project is in until a decision says otherwise."""


@dataclass(frozen=True)
class Entry:
    """One record that was read: its place, its time, who signed it, and what it says."""

    kind: str
    place: tuple[int, int]
    time: int
    signer: str
    key: str
    project: str
    actor: str
    about: tuple[str, ...]
    body: Any
    bundle: str
    evidence: Any = None
    said: str = ""
    """When its signer says that it was."""
    person: str = ""
    """Who signed, however they are called."""

    @property
    def where(self) -> dict[str, Any]:
        """The beginning of a row: where the record stands, since when, whose it is."""
        return {
            "log": self.place[0],
            "index": self.place[1],
            "time": written(self.time),
            "bundle": self.bundle,
            "signer": self.signer,
        }


@dataclass
class Run:
    """One model at one target, from its deployment on."""

    row: dict[str, Any]
    manifest: str
    start: int
    admitted: int | None
    over: int = 0
    """Seconds of the period that it ran past the end of an admission."""

    def ran_to(self, when: int, since: int) -> None:
        """Count what it ran past its admission until then, from the beginning of the period."""
        if self.admitted is not None and when > self.admitted:
            self.over += max(0, when - max(self.admitted, since))
            self.admitted = when


@dataclass
class Lists:
    """Takes records in the order of the log and hands out rows; `finish` hands out what could only be told at the end."""

    emit: Callable[[str, dict[str, Any]], None]
    since: int
    until: int
    set_to: Changes = field(default_factory=Changes)
    """Policies and modes in force, by the genesis entry and the signed changes since."""
    ran: set[str] = field(default_factory=set)
    """Every manifest that ran in the period."""
    _modes: dict[str, str] = field(default_factory=dict)
    _allowed: dict[tuple[str, str], str] = field(default_factory=dict)
    _admitted: dict[tuple[str, str], int] = field(default_factory=dict)
    _family: dict[tuple[str, str], tuple[frozenset[str], str]] = field(default_factory=dict)
    """What a model descends from, and its weights, by the evidence of the latest decision on it."""
    _open: dict[tuple[str, str], Run] = field(default_factory=dict)
    _targets: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """Where each manifest runs, by project."""
    _affected: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _latest: dict[tuple[str, str], int] = field(default_factory=dict)
    _waivers: dict[str, dict[str, Any]] = field(default_factory=dict)
    _same: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    _troubles: list[dict[str, Any]] = field(default_factory=list)
    _before: Any = None

    def take(self, entry: Entry) -> None:
        """Take the next record; one of a kind that no list is made of is passed over."""
        if entry.kind in KINDS:
            getattr(self, f"_{entry.kind.replace('-', '_')}")(entry)

    def begin(self, policy: str) -> None:
        """Take the policy with which the registry began."""
        self.set_to.policies["*"] = policy

    @property
    def policy(self) -> str:
        """Return the digest of the policy in force in every project without its own."""
        return self.set_to.policies.get("*", "")

    def refuse(self, entry: Entry, why: str) -> None:
        """Note a record that counts for nothing, because its signer may not say such a thing."""
        if entry.time >= self.since:
            self.emit("not-believed", {**entry.where, "kind": entry.kind, "key": entry.key, "why": why})

    def version(self, version: Version, place: tuple[int, int]) -> None:
        """Take the next version of the authority, where the log has it."""
        assert version.at is not None
        if version.at >= self.since:
            self.emit("changes", {
                "what": "authority", "log": place[0], "index": place[1], "time": written(version.at),
                "version": version.number, "digest": version.digest, "approved_by": version.root,
                "changes": differences(self._before, version.document),
            })  # fmt: skip
        self._before = version.document
        self.set_to.version = version

    # What each kind of record does.

    def _decision(self, entry: Entry) -> None:
        body, evidence = entry.body, entry.evidence
        (manifest,) = entry.about
        allowed = body["decision"] == "allow" and body["enforced"] is True
        name = sha256(canonical(body))
        here = (entry.project, manifest)
        now = entry.time >= self.since
        if now:
            self.emit("decisions", {
                **entry.where, "id": name, "project": entry.project, "manifest": manifest, "action": body["action"],
                "answer": body["decision"], "mode": body["mode"], "enforced": body["enforced"], "asked_by": entry.actor,
            })  # fmt: skip
            self._outage(entry, name)
        before = self._modes.get(entry.project, MODE)
        if body["mode"] != before and now and not self.set_to.explains(entry.project, body["mode"]):
            self.emit("changes", {
                "what": "mode", **entry.where, "project": entry.project, "from": before, "to": body["mode"],
                "seen_in": name,
            })  # fmt: skip
        self._modes[entry.project] = body["mode"]
        if evidence is not None:
            self._family[here] = frozenset(evidence["ancestry"]["visited"]), evidence["weights"]
            for run in self._running(here):
                self._advised(run, evidence)
            if now:
                self._use(body, evidence)
        if allowed:
            self._allowed[here] = name
            for run in self._running(here) if not now else ():
                run.row["blocked"] = None  # what stood against it before the period does no longer
            if evidence is not None and now:
                self._same_person(entry, name)
        elif body["decision"] == "block":
            for run in self._running(here):
                run.row["blocked"] = run.row["blocked"] or {"decision": name, "time": written(entry.time)}

    def _outage(self, entry: Entry, name: str) -> None:
        checks = [row["id"] for row in entry.body["checks"] if row["outcome"] == "cannot-tell"]
        problems = list(entry.evidence["problems"]) if entry.evidence is not None else []
        if checks or problems:
            self.emit("outages", {
                "what": "cannot-tell", **entry.where, "project": entry.project, "manifest": entry.about[0],
                "decision": name, "checks": checks, "problems": problems,
            })  # fmt: skip

    def _same_person(self, entry: Entry, name: str) -> None:
        """Find who, for the same model, both submitted and approved: by key, or by the name that somebody gave."""
        own = {entry.about[0], entry.evidence["weights"]}
        claims = [
            row for row in entry.evidence["claims"] if row["outcome"] == "pass" and own & set(row["about"])
        ]
        built = {row["signer"]["key"]: row for row in claims if row["stage"] in PASSED}
        pairs = [
            ("evaluated what they built", row["signer"], row["bundle"])
            for row in claims
            if row["stage"] == "evaluate"
        ]
        pairs += [
            ("waived a finding in what they built", row["signer"], row["bundle"])
            for row in entry.evidence["waivers"]
        ]
        pairs += [
            ("broke the glass for what they built", who, row["bundle"])
            for row in entry.evidence.get("break_glass", ())
            for who in row["signers"]
        ]
        cases = [
            (case, who["name"] or who["subject"], who["key"], [built[who["key"]]["bundle"], bundle])
            for case, who, bundle in pairs
            if who["key"] in built
        ]
        cases += [
            ("accepted the origin of what they asked for", entry.actor, "", [row["bundle"]])
            for row in claims
            if row["stage"] == "origin" and row["detail"].get("reviewer") == entry.actor
        ]
        for case, who, key, bundles in cases:
            row = {"project": entry.project, "manifest": entry.about[0], "case": case, "who": who, "key": key}
            kept = self._same.setdefault(
                canonical(row), {**row, "first": name, "decisions": 0, "bundles": bundles}
            )
            kept["decisions"] += 1

    def _admission(self, entry: Entry) -> None:
        manifest = next(name for name in entry.about if name.startswith("wb1:"))
        here, ends = (entry.project, manifest), moment(entry.body["expires"])
        for run in self._running(here):
            run.ran_to(entry.time, self.since)
            run.admitted = max(ends, run.admitted or ends)
        self._admitted[here] = max(ends, self._admitted.get(here, ends))

    def _deployment(self, entry: Entry) -> None:
        target, manifest = entry.body["target"], entry.about[0]
        there = (entry.project, target)
        if entry.time < self._latest.get(there, entry.time):
            return
        self._latest[there] = entry.time
        before, ended = self._open.get(there), bool(entry.body.get("ended"))
        if before is not None and before.manifest == manifest and not ended:
            return
        if before is not None:
            self._targets[entry.project, before.manifest].discard(target)
            self._end(self._open.pop(there), entry.time)
        if ended:
            return
        here = (entry.project, manifest)
        decision = self._allowed.get(here)
        row = {
            **entry.where, "project": entry.project, "target": target, "manifest": manifest, "deployed_by": entry.actor,
            "decision": decision, "blocked": None, "revoked": None,
        }  # fmt: skip
        self._open[there] = Run(row, manifest, entry.time, self._admitted.get(here) if decision else None)
        self._targets.setdefault(here, set()).add(target)
        for trouble in self._troubles:
            self._hit(trouble, there)

    def _waiver(self, entry: Entry) -> None:
        body = entry.body
        if moment(body["expires"]) >= self.since:
            self._waivers[entry.bundle] = {
                **entry.where, "kind": entry.kind, "project": entry.project, "manifest": entry.about[0],
                "rule": body.get("rule", "policy.*"), "fingerprint": body.get("fingerprint", ""), "reason": body["reason"],
                "until": body["expires"], "given_by": entry.actor, "approved_by": [], "used": 0,
            }  # fmt: skip

    _break_glass = _waiver

    def _use(self, body: Any, evidence: Any) -> None:
        """Count on which exceptions a decision rests; where it does not say, every waiver of its evidence."""
        rows = body.get("exceptions")
        if rows is None:
            rows = [{"bundle": row["bundle"], "state": "used", "signers": []} for row in evidence["waivers"]]
        for row in rows:
            kept = self._waivers.get(row["bundle"])
            if kept is not None and row["state"] == "used":
                kept["used"] += 1
                kept["approved_by"] = row["signers"]

    def _policy(self, entry: Entry) -> None:
        self._changed(self.set_to.propose(entry), entry.time)

    _mode = _policy

    def _approval(self, entry: Entry) -> None:
        self._changed(self.set_to.approve(entry), entry.time)

    def _changed(self, row: dict[str, Any] | None, when: int) -> None:
        if row is not None and when >= self.since:
            self.emit("changes", row)

    def _revocation(self, entry: Entry) -> None:
        self._trouble(entry, list(entry.about), entry.bundle)

    def _advisory(self, entry: Entry) -> None:
        targets = entry.body.get("targets") or list(entry.about)
        self._trouble(entry, [str(target) for target in targets], str(entry.body.get("id") or entry.bundle))

    def _lift(self, entry: Entry) -> None:
        lifted = {str(entry.body.get(name)) for name in ("id", "advisory", "lifts")}
        for trouble in self._troubles:
            if trouble["id"] in lifted and trouble["lifted"] is None:
                trouble["lifted"] = written(entry.time)

    def _trouble(self, entry: Entry, targets: list[str], name: str) -> None:
        """Take an advisory or a revocation: it takes effect when it is logged, and the clock runs from when it was known."""
        said = entry.body.get("since") or entry.body.get("published")
        known = moment(said) if said else entry.time
        trouble = {
            **entry.where, "kind": entry.kind, "about": entry.body.get("kind", ""), "project": entry.project, "id": name, "targets": targets,
            "reason": entry.body.get("reason", ""), "known": written(known), "quarantined": written(entry.time),
            "seconds_to_quarantine": max(0, entry.time - known), "lifted": None, "affected": [],
        }  # fmt: skip
        self._troubles.append(trouble)
        for there in sorted(self._open):
            self._hit(trouble, there)

    def _hit(self, trouble: dict[str, Any], there: tuple[str, str]) -> None:
        """Note that what runs somewhere is what an advisory names, or descends from it by its latest evidence.

        What is wrong with code in a model's files is not wrong with what was trained from its weights.
        """
        run = self._open[there]
        if trouble["lifted"] is not None or trouble["project"] not in (there[0], "*"):
            return
        family, weights = self._family.get((there[0], run.manifest), (frozenset(), ""))
        reached = {run.manifest, weights} if trouble["about"] == "code" else {run.manifest, weights, *family}
        if not reached.isdisjoint(trouble["targets"]):
            self._affect(run, there[1], trouble)

    def _advised(self, run: Run, evidence: Any) -> None:
        """Note what the gate found to reach a model, on whatever way, when it judged it again."""
        names = {row["id"] for row in evidence.get("advisories") or []}
        for trouble in self._troubles:
            if trouble["id"] in names and trouble["lifted"] is None:
                self._affect(run, run.row["target"], trouble)

    def _affect(self, run: Run, target: str, trouble: dict[str, Any]) -> None:
        if any(row["deployment"] == run.row["bundle"] for row in trouble["affected"]):
            return
        run.row["revoked"] = run.row["revoked"] or {"by": trouble["bundle"], "time": trouble["quarantined"]}
        row = {
            "target": target, "manifest": run.manifest, "began": written(run.start), "ended": None,
            "deployment": run.row["bundle"],
        }  # fmt: skip
        trouble["affected"].append(row)
        self._affected.setdefault(run.row["bundle"], []).append(row)

    def _running(self, here: tuple[str, str]) -> list[Run]:
        return [self._open[here[0], target] for target in self._targets.get(here, ())]

    def _end(self, run: Run, when: int | None) -> None:
        """Hand out a row of what ran, with what stands against it."""
        run.ran_to(self.until if when is None else when, self.since)
        for affected in self._affected.pop(run.row["bundle"], ()):
            affected["ended"] = written(when)
        if when is not None and when < self.since:
            return
        self.ran.add(run.manifest)
        row = {**run.row, "ended": written(when), "seconds_past_admission": run.over, "state": state_of(run)}
        self.emit("running", row)
        if row["state"] != "decided":
            self.emit("against-decisions", row)

    def finish(self, versions: Iterable[Version], as_of: int, logs: Iterable[dict[str, Any]]) -> None:
        """Hand out the rest: what still runs, waivers, answers to advisories, roles on a day, logs that are frozen."""
        for there in sorted(self._open):
            self._end(self._open[there], None)
        for row in self.set_to.left():
            if moment(row["time"]) >= self.since:
                self.emit("changes", row)
        for row in self._waivers.values():
            self.emit("waivers", row)
        for row in self._same.values():
            self.emit("same-person", row)
        for row in self._troubles:
            ends = [one["ended"] for one in row["affected"]]
            if moment(row["time"]) < self.since and not any(
                end is None or moment(end) >= self.since for end in ends
            ):
                continue
            last = None if None in ends or not ends else max(0, moment(max(ends)) - moment(row["time"]))
            self.emit("responses", {**row, "still_running": ends.count(None), "seconds_until_none_ran": last})
        for log in logs:
            self.emit("outages", log)
        past = [version for version in versions if version.at is not None and version.at <= as_of]
        for holder in past[-1].rows() if past else ():
            self.emit("roles", {"as_of": written(as_of), "version": past[-1].number, **holder})


KINDS = (
    "decision",
    "admission",
    "deployment",
    "waiver",
    "break-glass",
    "policy",
    "mode",
    "approval",
    "revocation",
    "advisory",
    "lift",
)
"""What the lists are made of."""


def state_of(run: Run) -> str:
    """Tell what stands against something that runs, the gravest first."""
    if run.row["decision"] is None:
        return "no-decision"
    if run.row["revoked"] is not None:
        return "revoked"
    if run.row["blocked"] is not None:
        return "blocked"
    return "expired" if run.over or run.admitted is None else "decided"


def differences(before: Any, after: Any) -> list[str]:
    """Say in words what another version of the authority changes; nothing that it holds goes unmentioned."""
    if before is None:
        return ["the first version that is known here"]
    said = []
    for what in sorted(set(before) | set(after)):
        old, new = before.get(what), after.get(what)
        if old == new or what == "version":
            continue
        if what == "projects":
            said += _roles(old, new)
        elif isinstance(old, dict) and isinstance(new, dict):
            said += [f"{what}: {name} added" for name in sorted(set(new) - set(old))]
            said += [f"{what}: {name} removed" for name in sorted(set(old) - set(new))]
            said += [
                f"{what}: {name} changed" for name in sorted(set(old) & set(new)) if old[name] != new[name]
            ]
        elif isinstance(old, list) or isinstance(new, list):
            said.append(f"{what}: {len(old or [])} before, {len(new or [])} now")
        else:
            said.append(f"{what}: {old} before, {new} now")
    return said


def _roles(old: Any, new: Any) -> list[str]:
    said = []
    for project in sorted(set(old) | set(new)):
        was, now = (
            old.get(project, {"roles": {}, "require": {}}),
            new.get(project, {"roles": {}, "require": {}}),
        )
        for role in sorted(set(was["roles"]) | set(now["roles"])):
            had, has = set(was["roles"].get(role, [])), set(now["roles"].get(role, []))
            said += [f"project {project}: {name} may {role}" for name in sorted(has - had)]
            said += [f"project {project}: {name} may {role} no longer" for name in sorted(had - has)]
        if was["require"] != now["require"]:
            said.append(f"project {project}: other stages are required")
        if project not in old:
            said.append(f"project {project} has rules of its own")
        if project not in new:
            said.append(f"project {project} has no rules of its own any more")
    return said
