"""Re-evaluation: trusted models are judged again with what is known today; what no longer passes is quarantined.

Each model is a piece of work of its own: judged without holding the registry, then settled under its lock if nothing
was written meanwhile (else judged again there). So a round can be killed anywhere and the next one goes on, and two
rounds at once do no harm. What a round may do at most, and what it does when a part of the gate does not answer, is
decided in docs/adr/0017.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from weighbridge.claims.records import event
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.decision import Check, Decision, Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.errors import CannotTell, NotFound, OutOfBudget, UsageError, WeighbridgeError
from weighbridge.core.tier import Mode, Status, Tier
from weighbridge.gate import due as looking
from weighbridge.gate import ends
from weighbridge.gate.alarms import PARTS, Alarm, alarm_of, raised
from weighbridge.gate.due import Looked, Reason
from weighbridge.gate.evidence import gather
from weighbridge.gate.judging import Judgement, judge_model, judge_nothing
from weighbridge.gate.modes import mode_of
from weighbridge.gate.settling import Wanted, settle
from weighbridge.registry import alerts, deployments, models, standings
from weighbridge.registry.deployments import Deployment
from weighbridge.registry.outbox import Draft, sign
from weighbridge.registry.wiring import Registry

ACTION = standings.ACTION
LEAST_BRAKE, SHARE = 10, 5
"""A round quarantines at most so many models, or a fifth of the trusted ones where that is more, unless it is told to."""
IN_A_ROW = 3
"""After so many models in a row that a part of the gate had no answer for, the round ends."""
COMMON = frozenset(PARTS)
"""Checks that are about the gate and not about one model; that one of them fails quarantines nobody."""
ELSEWHERE = frozenset({"advisory.clear", "model.unrevoked", "ancestry.unrevoked"})
"""Checks behind which another record stands that has quarantined the model already, and that is lifted by itself."""
UNREAD = frozenset({"scan.complete", "scan.verdict"})
"""Checks that cannot tell for the model's own sake: bytes that today's rules do not read stay unread."""


class Came(StrEnum):
    """What came of looking at one model again."""

    PASSES = "passes"
    QUARANTINED = "quarantined"
    RESTORED = "restored"
    HELD = "held"
    """It was not active before, and still does not pass, or something else holds it."""
    NOT_ENFORCED = "not-enforced"
    """It does not pass, and the mode lets it stay."""
    HELD_BACK = "held-back"
    """It does not pass, and the round had quarantined as many as it may."""
    CANNOT_TELL = "cannot-tell"
    """There was no answer; it keeps its status, and is not admitted meanwhile."""
    SKIPPED = "skipped"
    """Somebody else judged, moved or revoked it meanwhile."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One model that a round looked at."""

    digest: Digest
    reasons: tuple[Reason, ...]
    outcome: Came
    against: tuple[Check, ...] = ()
    decision: str = ""
    """The id of the logged decision; empty for a dry run."""
    deployed: tuple[Deployment, ...] = ()
    """Where it runs, when it does not pass."""

    def to_json(self) -> dict[str, JSON]:
        """Return the row as it stands in `weighbridge.reevaluation/1`."""
        return {
            "model": str(self.digest),
            "reasons": [reason.value for reason in self.reasons],
            "outcome": self.outcome.value,
            "against": [check.to_json() for check in self.against],
            "decision": self.decision or None,
            "deployed": [deployment.to_json() for deployment in self.deployed],
        }


@dataclass(frozen=True, slots=True)
class Round:
    """One round: of how many trusted models how many were looked at, what came of each, and why it ended early."""

    at: str
    mode: Mode
    dry_run: bool
    trusted: int
    due: int
    seen: tuple[Seen, ...]
    stopped: str = ""
    expiring: tuple[ends.End, ...] = ()
    most: int = 0

    def count(self, outcome: Came) -> int:
        """Return how many models came to this."""
        return sum(row.outcome is outcome for row in self.seen)

    @property
    def exit_code(self) -> int:
        """0 all pass, 1 something does not, 3 only could-not-tell stands in the way."""
        bad = {Came.QUARANTINED, Came.HELD, Came.NOT_ENFORCED, Came.HELD_BACK}
        if any(row.outcome in bad for row in self.seen):
            return 1
        return 3 if self.stopped or self.count(Came.CANNOT_TELL) else 0

    def to_json(self) -> dict[str, JSON]:
        """Return one item of `weighbridge.reevaluation/1`."""
        return {
            "at": self.at,
            "mode": self.mode.value,
            "dry_run": self.dry_run,
            "trusted": self.trusted,
            "due": self.due,
            "most": self.most,
            "counts": {outcome.value: self.count(outcome) for outcome in Came},
            "models": [row.to_json() for row in self.seen],
            "stopped": self.stopped or None,
            "expiring": [end.to_json() for end in self.expiring],
        }


@dataclass(frozen=True, slots=True)
class Wish:
    """What a round is asked for."""

    only: tuple[Digest, ...] = ()
    """These models, whether due or not; none: what `every` says."""
    every: bool = False
    """All trusted models, whether due or not."""
    dry_run: bool = False
    most: int | None = None
    """How many it may quarantine; None for the brake of `LEAST_BRAKE` and `SHARE`."""


def due(registry: Registry) -> list[Looked]:
    """Return the trusted models that have to be judged again, and why; see `gate.due`."""
    return looking.due(registry)


def reevaluate(
    registry: Registry,
    wish: Wish | None = None,
    *,
    told: Callable[[Seen], None] = lambda _seen: None,
    over: Callable[[], bool] = lambda: False,
) -> Round:
    """Judge trusted models again and let follow what follows; `told` hears of each as it is done.

    Once `over` says so, no further model is looked at: what is left stays due.
    Raises NotFound or UsageError for models that are not here or not trusted, and whatever keeps a registry from being
    read; that one model could not be judged is an outcome.
    """
    asked = wish or Wish()
    work, trusted, number = _work(registry, asked)
    most = max(LEAST_BRAKE, trusted // SHARE) if asked.most is None else asked.most
    going = _Going(registry, asked, most, mode_of(registry))
    going.run(work, told, over)
    found = ends.expiring(registry)
    if not asked.dry_run:
        ends.warn(registry, found)
        going.alarm()
    return Round(
        rfc3339(registry.clock.now()), going.mode, asked.dry_run, trusted, number, tuple(going.seen),
        going.stopped, tuple(found), most,
    )  # fmt: skip


def _work(registry: Registry, wish: Wish) -> tuple[list[Looked], int, int]:
    """Return what to look at, how many models are trusted, and how many of them are due."""
    every = looking.trusted(registry)
    rows = {row.digest: row for row in every}
    number = sum(bool(row.reasons) for row in every)
    if wish.only:
        for digest in wish.only:
            if digest not in rows:
                model = models.get(registry, digest)
                raise UsageError(
                    f"{digest.short} is {model.tier.value} and {model.status.value}",
                    cause="only trusted models that are not revoked are judged again",
                    remedy="leave it out: a revocation stands for good"
                    if model.status is Status.REVOKED
                    else "ask for the first time: weighbridge promote MODEL",
                )
        return [rows[digest] for digest in dict.fromkeys(wish.only)], len(every), number
    wanted = every if wish.every else [row for row in every if row.reasons]
    return sorted(wanted, key=lambda row: (row.untold, row.decided, row.digest)), len(every), number


@dataclass
class _Going:
    """A round under way."""

    registry: Registry
    wish: Wish
    most: int
    mode: Mode
    seen: list[Seen] = field(default_factory=list)
    stopped: str = ""
    _fallen: int = 0
    _row: int = 0
    _common: dict[str, tuple[str, Digest]] = field(default_factory=dict)

    def run(self, work: Iterable[Looked], told: Callable[[Seen], None], over: Callable[[], bool]) -> None:
        """Look at one model after another, until the work or the round is at its end."""
        for looked in work:
            if self.stopped or over():
                break
            if problem := self._store_gone():
                self._stop("evidence.gathered", problem, looked.digest)
                break
            seen = self._one(looked)
            self.seen.append(seen)
            told(seen)

    def alarm(self) -> None:
        """Tell somebody of a round that could not do what it was for."""
        held = [row for row in self.seen if row.outcome is Came.HELD_BACK]
        if not (held or self.stopped):
            return
        summary = (
            "re-evaluation holds models back that do not pass: more than one round may quarantine"
            if held
            else "re-evaluation ended early: a part of the gate does not answer"
        )
        facts: dict[str, JSON] = {
            "stopped": self.stopped,
            "held_back": len(held),
            "most": self.most,
            "checks": {check: found for check, (found, _) in self._common.items()},
        }
        with self.registry.writing(), self.registry.records.write() as connection:
            alerts.alert(
                connection, self.registry, "outage", "critical", summary,
                about=[row.digest for row in held], facts=facts,
            )  # fmt: skip

    def _one(self, looked: Looked) -> Seen:
        registry, digest = self.registry, looked.digest
        before = _place(registry)
        now = models.standings(registry, [digest]).get(
            digest
        )  # the list of work may be older than another round
        if now is None or now.tier is not Tier.TRUSTED or now.status is Status.REVOKED:
            return Seen(digest, looked.reasons, Came.SKIPPED)
        looked = replace(looked, status=now.status)
        judgement = _judge(registry, digest)
        if self.wish.dry_run:
            return self._told(looked, judgement, self._outcome(looked.status, judgement, held=None))
        with registry.writing():
            if (
                _place(registry) != before
            ):  # somebody wrote meanwhile: what was judged may be another thing now
                fresh = self._again(looked)
                if fresh is None:
                    return Seen(digest, looked.reasons, Came.SKIPPED)
                looked, judgement = fresh, _judge(registry, digest)
            return self._settle(looked, judgement)

    def _again(self, looked: Looked) -> Looked | None:
        """Return the model as it stands now; None when nothing is left to do about it."""
        rows = looking.trusted(self.registry, only=[looked.digest])
        asked = self.wish.every or bool(self.wish.only)
        return next((row for row in rows if row.reasons or asked), None)

    def _settle(self, looked: Looked, judgement: Judgement) -> Seen:
        registry, digest = self.registry, looked.digest
        with registry.records.read() as connection:
            held = digest in standings.held(connection, registry.project)
        outcome = self._outcome(looked.status, judgement, held=held)
        said = _says(outcome, judgement, looked.status, held=held)

        def follow(decision: Digest) -> Sequence[Draft]:
            if said is None:
                return ()
            body: dict[str, JSON] = {
                "status": said.value,
                "reason": _reason(judgement.decision),
                "decision": str(decision),
            }
            statement = event("standing", (digest,), body, **registry.event_facts())
            return (sign(statement, registry.gate_key),)

        try:
            [settled] = settle(registry, [Wanted(digest, judgement, follow)])
        except CannotTell as error:
            self._stop("evidence.gathered", f"{error.problem}: {error.cause}", digest)
            return Seen(digest, looked.reasons, Came.CANNOT_TELL)
        if outcome is Came.NOT_ENFORCED:
            self._say_so(judgement, str(settled.id))
        if outcome is Came.RESTORED and models.get(registry, digest).status is not Status.ACTIVE:
            outcome = Came.HELD  # something else that is recorded holds it
        return replace(self._told(looked, judgement, outcome), decision=str(settled.id))

    def _say_so(self, judgement: Judgement, decision: str) -> None:
        """Tell of a model that does not pass and stays, because of the mode."""
        registry, said = self.registry, judgement.decision
        digest = Digest.parse(said.digests["manifest"])
        with registry.records.write() as connection:
            rows = deployments.listed(connection, registry.project)
            where: list[JSON] = [row.to_json() for row in rows if row.manifest == digest]
            alerts.alert(
                connection, registry, "quarantine", "warning",
                f"a trusted model does not pass any more, and mode {said.mode.value} lets it stay: {_reason(said)}",
                about=[digest], facts={"decision": decision, "mode": said.mode.value, "deployments": where},
            )  # fmt: skip

    def _outcome(self, status: Status, judgement: Judgement, *, held: bool | None) -> Came:
        """Say what an answer comes to; counts what falls, and what could not be told."""
        decision = judgement.decision
        self.mode = decision.mode
        broken = [check for check in decision.refusals if _is_common(check)]
        self._row = self._row + 1 if broken and not _own(decision) else 0
        for check in broken:
            self._common[check.id] = (check.found, Digest.parse(decision.digests["manifest"]))
        if self._row >= IN_A_ROW:
            self._stop(broken[0].id, broken[0].found, None)
        if decision.allow:
            return self._allowed(status, decision, held=held)
        if not _own(decision):
            other = any(
                check.id in ELSEWHERE and check.outcome is Outcome.FAIL for check in decision.refusals
            )
            return Came.HELD if other else Came.CANNOT_TELL
        if not decision.enforced:
            return Came.NOT_ENFORCED
        if status is not Status.ACTIVE:
            return Came.HELD
        if self._fallen >= self.most:
            return Came.HELD_BACK
        self._fallen += 1
        return Came.QUARANTINED

    def _allowed(self, status: Status, decision: Decision, *, held: bool | None) -> Came:
        if status is Status.ACTIVE:
            return Came.PASSES
        return Came.RESTORED if decision.enforced and held is not False else Came.HELD

    def _told(self, looked: Looked, judgement: Judgement, outcome: Came) -> Seen:
        against = judgement.decision.refusals
        running: tuple[Deployment, ...] = ()
        if against:
            with self.registry.records.read() as connection:
                rows = deployments.listed(connection, self.registry.project)
            running = tuple(row for row in rows if row.manifest == looked.digest)
        return Seen(looked.digest, looked.reasons, outcome, against, deployed=running)

    def _store_gone(self) -> str:
        """Say that the whole store of bytes is gone (a disk that is not mounted), which says nothing of any model."""
        try:
            empty = next(self.registry.blobs.digests(), None) is None
        except WeighbridgeError as error:
            return f"the store of bytes cannot be read: {error.cause or error.problem}"
        return "the store of bytes is empty" if empty else ""

    def _stop(self, check: str, found: str, digest: Digest | None) -> None:
        self.stopped = self.stopped or f"{check}: {found}"
        if digest is not None:
            self._common.setdefault(check, (found, digest))


def _place(registry: Registry) -> tuple[str, int, int]:
    """Return where the registry's history stands: nothing changes without a longer log."""
    registry.take_up()
    return registry.log.origin, registry.log.size, registry.authority.version


def _judge(registry: Registry, digest: Digest) -> Judgement:
    """Judge as `promote` would, but for the status: whether today it would be let into the trusted tier."""
    try:
        model = models.get(registry, digest)
        if model.tier is not Tier.TRUSTED:
            raise NotFound(f"{digest.short} is no trusted model any more")
        evidence = gather(registry, model, keep_scan=False)
        return judge_model(registry, evidence, action=ACTION)
    except (WeighbridgeError, OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        return judge_nothing(registry, digest, error, action=ACTION)


def _is_common(check: Check) -> bool:
    """Tell whether a check stands against the gate and not against the model."""
    if check.id == "policy.engine":
        return check.outcome is Outcome.CANNOT_TELL
    if check.id == "scan.present":
        return check.outcome is Outcome.CANNOT_TELL and bool(
            check.proof
        )  # a scan under rules that count no longer
    return check.id in COMMON


def _own(decision: Decision) -> list[Check]:
    """Return what stands against this model itself.

    While a part of the gate fails, what a policy says may be about that part: then only the floor's word counts. And a
    policy may only repeat what the floor says of a revocation or an advisory.
    """
    bad = decision.refusals
    scanned = any(check.id == "scan.present" and check.outcome is Outcome.PASS for check in decision.checks)
    mine = [
        check
        for check in bad
        if (check.outcome is Outcome.FAIL or (scanned and check.id in UNREAD))
        and check.id not in ELSEWHERE
        and not _is_common(check)
    ]
    floor = [check for check in mine if not check.id.startswith("policy.")]
    doubtful = any(_is_common(check) or check.id in ELSEWHERE for check in bad)
    return floor if doubtful else mine


def _says(outcome: Came, judgement: Judgement, status: Status, *, held: bool) -> Status | None:
    """Return what the gate is to sign about where the model stands; None where it says nothing new."""
    if outcome is Came.QUARANTINED:
        return Status.QUARANTINED
    if outcome is Came.RESTORED or (judgement.decision.allow and judgement.decision.enforced and held):
        return Status.ACTIVE
    fails = outcome is Came.HELD and not judgement.decision.allow and bool(_own(judgement.decision))
    return Status.QUARANTINED if fails and status is Status.QUARANTINED and not held else None


def _reason(decision: Decision) -> str:
    """Return in one line why a model does not pass, or that it does again."""
    if decision.allow:
        return "it passes again"
    found = _own(decision)
    named = [check for check in found if check.id != "policy.engine"] or found  # it only counts the others
    rows = [f"{check.id}: {check.found}" for check in named]
    more = f" (and {len(rows) - 3} more)" if len(rows) > 3 else ""
    return ("; ".join(rows[:3]) + more)[:1000]


def round_of(
    registry: Registry, wish: Wish, *, over: Callable[[], bool] = lambda: False
) -> Round | WeighbridgeError:
    """Go one round; what goes wrong in it is alerted and returned, never raised."""
    try:
        return reevaluate(registry, wish, over=over)
    except WeighbridgeError as error:
        problem = error
    except Exception as error:  # noqa: BLE001 (a round that fails for whatever reason must not end what goes on after it)
        problem = OutOfBudget("a round of re-evaluation failed", cause=f"{type(error).__name__}: {error}")
    _failed(registry, problem)
    return problem


def keep_on(
    registry: Registry,
    wish: Wish,
    *,
    wait: Callable[[], bool],
    told: Callable[[Round | WeighbridgeError], None],
    over: Callable[[], bool] = lambda: False,
) -> None:
    """Go round after round until `wait` says that it is enough; what goes wrong in one does not end the next.

    `over` is asked between two models of a round.
    """
    while True:
        told(round_of(registry, wish, over=over))
        if wait():
            return


def _failed(registry: Registry, error: WeighbridgeError) -> None:
    """Tell of a round that failed: by a row, by the spool where the registry takes none; nothing of it ends the next."""
    facts: dict[str, JSON] = {"problem": error.problem, "cause": error.cause, "check": error.check}
    plain = Alarm("outage", "critical", "a round of re-evaluation failed", facts)
    try:
        alarm = alarm_of(error, registry.config, opening=False) or plain
        raised(alarm, registry.config, registry.clock, registry)
    except Exception as problem:  # noqa: BLE001 (who cannot be told now is told of the next one)
        cause = f"{type(problem).__name__}: {problem}"
        logging.getLogger("weighbridge.gate").warning("nobody was told", extra={"fields": {"cause": cause}})
