"""Replay: past decisions computed again from their kept evidence, by their own policy or by another one.

By its own policy a decision must come out to the byte: same evidence, time, mode, circumstances, floor and engine, same
id. Where the floor or the engine is another version by now, that is said, and the answer must be the same. Nothing that
was changed is replayed: a row or evidence that is not what was signed is `tampered`, and named.
"""

from __future__ import annotations

import heapq
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.decision import Check, EngineAnswer, Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.errors import CannotTell, WeighbridgeError
from weighbridge.core.tier import Mode
from weighbridge.gate.decisions import Kept, kept
from weighbridge.gate.engines import PolicyEngine, make_engine
from weighbridge.gate.judging import PACKAGES, Case, Judgement, conclude, conclude_nothing
from weighbridge.gate.policies import kept_policy
from weighbridge.policy.floor import FLOOR_IDS
from weighbridge.policy.settings import PolicyBundle
from weighbridge.registry.wiring import Registry

MAX_LINE = 64 * 1024 * 1024


class Came(StrEnum):
    """What came of computing a decision again."""

    IDENTICAL = "identical"
    SAME = "same"
    CHANGED = "changed"
    TAMPERED = "tampered"
    CANNOT_TELL = "cannot-tell"


@dataclass(frozen=True, slots=True)
class Difference:
    """One check that came out otherwise: what was found then and now; empty where it was not asked."""

    check: str
    expected: str
    before: str
    now: str
    found: str
    """What stands in the way now, or stood in the way then."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One decision, then and now. `note` says why it is not identical, or what could not be told."""

    id: str
    sequence: int | None
    model: str
    action: str
    project: str
    time: str
    policy: str
    came: str
    before: str
    now: str
    outage: bool = False
    """No policy gave an answer then; replayed with that, and asked again under another policy only."""
    note: str = ""
    differences: tuple[Difference, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        """Return one row of `weighbridge.replay/1`."""
        return asdict(self)


@dataclass(slots=True)
class Summary:
    """How many decisions came out how; `ok` is what the exit code says."""

    policy: str
    counts: dict[str, int] = field(default_factory=lambda: {came.value: 0 for came in Came})
    outages: int = 0
    to_block: int = 0
    to_allow: int = 0

    def add(self, row: Replayed) -> None:
        """Count one."""
        self.counts[row.came] += 1
        self.outages += row.outage
        if row.came == Came.CHANGED:
            self.to_block += row.now == "block"
            self.to_allow += row.now == "allow"

    @property
    def exit_code(self) -> int:
        """1 when something changed or was tampered with, 3 when something could not be told, else 0."""
        if self.counts[Came.CHANGED] or self.counts[Came.TAMPERED]:
            return 1
        return 3 if self.counts[Came.CANNOT_TELL] else 0

    def to_json(self) -> dict[str, JSON]:
        """Return the counts as they stand in `weighbridge.replay/1`."""
        return {
            "policy": self.policy,
            "decisions": sum(self.counts.values()),
            **self.counts,
            "outages": self.outages,
            "to_block": self.to_block,
            "to_allow": self.to_allow,
        }


@dataclass(frozen=True, slots=True)
class Range:
    """Which decisions: of one project (empty: of all), from a time until before another."""

    project: str = ""
    since: datetime | None = None
    until: datetime | None = None


def replay(
    registry: Registry,
    engine: PolicyEngine,
    *,
    policy: PolicyBundle | None = None,
    within: Range = Range(),
    share: tuple[int, int] = (0, 1),
) -> Iterator[Replayed]:
    """Yield past decisions computed again, oldest first: each by its own kept policy, or all by `policy`."""
    again = _Again(registry, engine, policy)
    found = kept(registry, project=within.project, since=within.since, until=within.until, share=share)
    return (again(one) for one in found)


class _Again:
    """Computes decisions again; remembers the policies it has read."""

    def __init__(self, registry: Registry, engine: PolicyEngine, policy: PolicyBundle | None) -> None:
        self._registry = registry
        self._engine = engine
        self._policy = policy
        self._known: dict[str, PolicyBundle | str] = {}

    def __call__(self, one: Kept) -> Replayed:
        row = Replayed(
            id=str(one.id),
            sequence=one.sequence,
            model=one.manifest,
            action=str(one.body.get("action", "")),
            project=one.project,
            time=str(one.body.get("time", "")),
            policy=str(self._policy.digest) if self._policy else _digest(one, "policy"),
            came=Came.TAMPERED,
            before=str(one.body.get("decision", "")),
            now="",
            outage=bool(one.circumstances.get("problem")) and bool(one.evidence),
            note=one.problem,
        )
        if one.problem:
            return row
        try:
            return self._replayed(one, row)
        except (ValueError, KeyError, TypeError) as error:
            return replace(row, came=Came.CANNOT_TELL, note=f"it cannot be computed again: {error}")
        except WeighbridgeError as error:
            return replace(row, came=Came.CANNOT_TELL, note=error.problem)

    def _replayed(self, one: Kept, row: Replayed) -> Replayed:
        made = self._judged(one)
        body = {
            **made.body,
            **{name: one.body[name] for name in ("sequence", "previous") if name in one.body},
        }
        if Digest.of(canonical(body)) == one.id:
            return replace(row, came=Came.IDENTICAL, now=row.before)
        now = "allow" if made.decision.allow else "block"
        apart = _differences(one.body["checks"], made.decision.checks)
        came = Came.SAME if now == row.before else Came.CHANGED
        return replace(row, came=came, now=now, note=self._note(one, body), differences=apart)

    def _note(self, one: Kept, body: Mapping[str, Any]) -> str:
        """Say what is not as it was: another policy was asked for, or something was replaced since."""
        if self._policy is not None:
            return ""
        others = [
            f"the {word} is another version now" for word in ("floor", "engine")
            if body["digests"].get(word) != one.body["digests"].get(word)
        ]  # fmt: skip
        if set(body) != set(one.body):
            others.append("it was made by an earlier version, in another form")
        return "; ".join(others) or "the same evidence, policy and time gave other bytes"

    def _judged(self, one: Kept) -> Judgement:
        body, known = one.body, one.circumstances
        told: Any = known.get("checks")
        names = told if isinstance(told, list) else _before_floor(body["checks"])
        further = tuple(_check(row) for row in body["checks"] if row["id"] in names)
        case = Case(str(body["action"]), one.project, Mode(body["mode"]), further)
        if not one.evidence:
            return conclude_nothing(case, one.time, body["digests"])
        basis = one.basis()
        problem = str(known.get("problem", ""))
        if self._policy is None and problem:
            said = EngineAnswer(
                Outcome.CANNOT_TELL,
                problem=problem,
                policy=str(known.get("asked", "")),
                engine=_digest(one, "engine"),
            )
            policy = self._of_then(one, needed=False)
            return conclude(
                basis, case, one.time, lambda _: said, policy=policy, policy_digest=_digest(one, "policy")
            )
        policy = self._policy or self._of_then(one, needed=True)
        assert policy is not None
        bundle, package = policy, PACKAGES[basis.evidence.origin]
        return conclude(
            basis,
            case,
            one.time,
            lambda asked: self._engine.answer(bundle, package, asked),
            policy=bundle,
            policy_digest=str(bundle.digest),
        )

    def _of_then(self, one: Kept, *, needed: bool) -> PolicyBundle | None:
        """Return the policy that a decision was made by; raises CannotTell when it is `needed` and gone.

        Where it could not be read then (a folder that was changed), its settings did not count then either.
        """
        digest = _digest(one, "policy")
        if not needed and not one.circumstances.get("asked"):
            return None
        if digest not in self._known:
            try:
                self._known[digest] = kept_policy(self._registry, Digest.parse(digest))
            except WeighbridgeError as error:
                self._known[digest] = error.problem
        found = self._known[digest]
        if isinstance(found, str):
            raise CannotTell(f"the policy that it was made by cannot be read: {found}")
        return found


def _digest(one: Kept, name: str) -> str:
    return str(one.body.get("digests", {}).get(name, ""))


def _before_floor(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the checks that the caller added, where a decision does not name them: those before the floor's first."""
    first = next((place for place, row in enumerate(rows) if row["id"] in FLOOR_IDS), 0)
    return [row["id"] for row in rows[:first]]


def _check(row: Mapping[str, Any]) -> Check:
    return Check(
        row["id"], Outcome(row["outcome"]), row["expected"], row["found"], row["proof"], row["remedy"]
    )


def _differences(before: Sequence[Mapping[str, Any]], now: Sequence[Check]) -> tuple[Difference, ...]:
    """Return the checks that came out otherwise."""
    then = {(row["id"], row["outcome"], row["found"]): row for row in before}
    here = {(row.id, row.outcome.value, row.found): row for row in now}
    outcomes, others = ({key[0]: key[1] for key in rows} for rows in (then, here))
    rows = [
        Difference(row.id, row.expected, outcomes.get(row.id, ""), row.outcome.value, row.found)
        for key, row in here.items()
        if key not in then and outcomes.get(row.id) != row.outcome.value
    ]
    rows += [
        Difference(row["id"], row["expected"], row["outcome"], "", row["found"])
        for key, row in then.items()
        if row["id"] not in others
    ]
    return tuple(rows)


# ---------------------------------------------------------------- several processes


def replay_parallel(
    registry: Registry,
    *,
    jobs: int,
    policy: PolicyBundle | None = None,
    within: Range = Range(),
) -> Iterator[Replayed]:
    """Yield what `replay` yields, in the same order, from `jobs` processes, each with an engine of its own.

    Each worker is a fork that opens the records anew and takes every n-th decision. With one job, or with threads in
    this process, it all happens here. Raises CannotTell when a worker ended before its last decision.
    """
    if jobs <= 1 or threading.active_count() > 1:
        with closing(make_engine(registry.config)) as engine:
            yield from replay(registry, engine, policy=policy, within=within)
        return
    with ExitStack() as stack:
        parts = []
        for number in range(jobs):
            out, into = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(out)
                _serve(registry, into, policy=policy, within=within, share=(number, jobs))
            os.close(into)
            stack.callback(_reap, pid)
            parts.append(_rows(stack.enter_context(os.fdopen(out, "rb"))))
        yield from heapq.merge(*parts, key=_order)


def _order(row: Replayed) -> tuple[int, int]:
    return (1, row.sequence) if row.sequence is not None else (0, 0)


def _rows(stream: Any) -> Iterator[Replayed]:
    """Read what a worker answers, to its last line."""
    while line := stream.readline(MAX_LINE):
        value = json.loads(line) if line.endswith(b"\n") else None
        if value == {"end": True}:
            return
        if not isinstance(value, dict) or "error" in value:
            raise CannotTell(
                "past decisions could not be replayed",
                cause=str(value["error"]) if value else "a worker said too much",
                remedy="try again with --jobs 1",
            )
        rows = tuple(Difference(**row) for row in value.pop("differences"))
        yield Replayed(**value, differences=rows)
    raise CannotTell("a process that replayed decisions was ended", remedy="try again with --jobs 1")


def _serve(registry: Registry, into: int, **how: Any) -> None:
    """Be a worker: replay a share, write one line for each decision; never returns, runs no clean-up of the parent's."""
    code = 1
    try:
        registry.records = registry.records.after_fork()
        with os.fdopen(into, "wb", buffering=1 << 16) as stream:
            try:
                with closing(make_engine(registry.config)) as engine:
                    for row in replay(registry, engine, **how):
                        stream.write(json.dumps(row.to_json()).encode() + b"\n")
                stream.write(b'{"end": true}\n')
                code = 0
            except Exception as error:  # noqa: BLE001 (told to the parent, which ends there)
                stream.write(json.dumps({"error": str(error)}).encode() + b"\n")
    finally:
        os._exit(code)


def _reap(pid: int) -> None:
    """End a worker that is still there, because nobody listens any more."""
    with suppress(ProcessLookupError):
        os.kill(pid, 9)
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
