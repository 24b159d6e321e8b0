"""What exceptions do: a waiver for a rule, or break-glass, turns a policy's no into a check that passes and says why.

Nothing here sees a check of the floor, so nothing here can change one. An exception that has ended, or that
the policy's own settings do not allow, changes nothing and is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.decision import Check, EngineAnswer, Outcome
from weighbridge.core.evidence import Evidence, Waiver
from weighbridge.core.exceptions import POLICY, BreakGlass, Exception_, ExceptionState, Excuse
from weighbridge.core.finding import Verdict
from weighbridge.policy.contract import printable

EVERYTHING = f"{POLICY}*"
NEVER_WAIVED = frozenset({"policy.engine", "policy.waiver"})
"""No waiver answers for no answer at all, nor for the rule about waivers."""


def exceptions_of(
    evidence: Evidence, settings: Mapping[str, JSON] | None, now: datetime
) -> tuple[Exception_, ...]:
    """Return every exception in the evidence, weighed against the policy's settings (None: they could not be read).

    A waiver for a finding is floor's and policy's to weigh; it is returned with what came of it.
    """
    waivers = [
        _of_policy(waiver, settings, now)
        if waiver.rule.startswith(POLICY)
        else _of_finding(waiver, evidence, now)
        for waiver in evidence.waivers
        if waiver.manifest == evidence.manifest
    ]
    glass = [
        _of_glass(row, now)
        for row in evidence.break_glass
        if row.manifest == evidence.manifest and row.project == evidence.project
    ]
    return (*waivers, *glass)


def _of_policy(waiver: Waiver, settings: Mapping[str, JSON] | None, now: datetime) -> Exception_:
    found = _exception(waiver, _refusal(waiver, settings, now))
    return _ended(found, now)


def _refusal(waiver: Waiver, settings: Mapping[str, JSON] | None, now: datetime) -> str:
    """Say why the policy's settings do not let a waiver for one of its rules count; empty when they do."""
    if waiver.rule in NEVER_WAIVED or waiver.rule == EVERYTHING:
        return "no waiver answers for this"
    given = settings.get("waivers") if settings is not None else None
    rows: Mapping[str, JSON] = given if isinstance(given, Mapping) else {}
    if rows.get("allowed") is not True:
        return "the policy allows no waivers" if rows else "the settings of the policy could not be read"
    days = rows.get("max_valid_days")
    if not isinstance(days, int) or waiver.expires - now > timedelta(days=days):
        return f"it reaches further ahead than {days} days"
    return ""


def _of_finding(waiver: Waiver, evidence: Evidence, now: datetime) -> Exception_:
    found = _ended(_exception(waiver, ""), now)
    used = found.state is ExceptionState.STANDING and (waiver.rule, waiver.fingerprint) in _excusable(
        evidence
    )
    return replace(found, state=ExceptionState.USED) if used else found


def _excusable(evidence: Evidence) -> set[tuple[str, str]]:
    """Return rule and fingerprint of every finding that a waiver may answer for: unlisted names, licences that block."""
    scanned = evidence.scan.findings if evidence.scan is not None else ()
    licences = evidence.licence.findings if evidence.licence is not None else ()
    return {(row.rule, row.fingerprint) for row in scanned if row.verdict is Verdict.UNLISTED} | {
        (str(row.get("rule")), str(row.get("fingerprint")))
        for row in licences
        if row.get("effect") == "block"
    }


def _of_glass(glass: BreakGlass, now: datetime) -> Exception_:
    who = tuple(dict.fromkeys(signer.name or str(signer) for signer in glass.signers))
    problem = glass.problem or ("it has not begun" if now < glass.since else "")
    found = Exception_(
        Excuse.BREAK_GLASS,
        EVERYTHING,
        printable(glass.reason),
        who,
        glass.expires,
        glass.bundle,
        problem=problem,
    )
    return _ended(found, now)


def _exception(waiver: Waiver, problem: str) -> Exception_:
    who = (waiver.signer.name or str(waiver.signer),)
    return Exception_(
        Excuse.WAIVER,
        waiver.rule,
        printable(waiver.reason),
        who,
        waiver.expires,
        waiver.bundle,
        waiver.fingerprint,
        problem=problem,
    )


def _ended(exception: Exception_, now: datetime) -> Exception_:
    """Say what is left of an exception at `now`, whatever it is needed for."""
    if now >= exception.expires:
        return replace(exception, state=ExceptionState.EXPIRED)
    return replace(exception, state=ExceptionState.REFUSED if exception.problem else ExceptionState.STANDING)


# ---------------------------------------------------------------- the answer of an engine, with exceptions


def weigh(
    answer: EngineAnswer, exceptions: Sequence[Exception_], now: datetime
) -> tuple[list[Check], tuple[Exception_, ...]]:
    """Write the engine's answer as checks, one for it as a whole and one for each denial; and what came of each exception.

    A waiver answers for the denials of its rule, and for the whole when each denial is answered for. Where no rule
    says why, or where there is no answer at all, only break-glass does.
    """
    glass = [row for row in exceptions if row.kind is Excuse.BREAK_GLASS and row.rule == EVERYTHING]
    used: list[Exception_] = []
    denials = []
    for rule, message in answer.denials:
        name = f"{POLICY}{rule}"
        waivers = [row for row in exceptions if row.kind is Excuse.WAIVER and row.rule == name]
        by = (None if name in NEVER_WAIVED else _longest(waivers, now)) or _longest(glass, now)
        used += [by] if by else []
        denials.append(_denied(name, message, answer, by=by, over=_counts_not((*waivers, *glass), now)))
    by = None
    if answer.outcome is not Outcome.PASS and not _answered_for(answer, denials):
        by = _longest(glass, now)
        used += [by] if by else []
    whole = _whole(answer, denials, by=by, over=_counts_not(glass, now))
    return [whole, *denials], tuple(_came(row, used, now) for row in exceptions)


def _answered_for(answer: EngineAnswer, denials: Sequence[Check]) -> bool:
    """Tell whether an exception answers for every reason that was given for a no."""
    given = answer.outcome is Outcome.FAIL and bool(denials)
    return given and all(check.outcome is Outcome.PASS for check in denials)


def _longest(rows: Iterable[Exception_], now: datetime) -> Exception_ | None:
    """Return the exception that stands, and of several the one that lasts longest."""
    return max((row for row in rows if row.stands(now)), key=lambda row: row.expires, default=None)


def _denied(name: str, message: str, answer: EngineAnswer, *, by: Exception_ | None, over: str) -> Check:
    expected = "the policy has no objection"
    if by is not None:
        return Check(
            name, Outcome.PASS, expected, f"{_excused(by)}; the policy says: {message}", str(by.bundle)
        )
    remedy = "" if name in NEVER_WAIVED else _REMEDY.format(name)
    return Check(name, Outcome.FAIL, expected, f"{message}{over}", answer.policy, remedy)


def _whole(answer: EngineAnswer, denials: Sequence[Check], *, by: Exception_ | None, over: str) -> Check:
    name, expected = "policy.engine", "the policy allows it and denies nothing"
    found = _said(answer)
    if by is not None:
        return Check(
            name, Outcome.PASS, expected, f"{_excused(by)}; the policy says: {found}", str(by.bundle)
        )
    if _answered_for(answer, denials):
        return Check(name, Outcome.PASS, expected, f"{found}, each excused", answer.policy)
    remedy = _NO_ANSWER if answer.outcome is Outcome.CANNOT_TELL else ""
    return Check(
        name, answer.outcome, expected, found if answer.outcome is Outcome.PASS else f"{found}{over}",
        answer.policy, remedy,
    )  # fmt: skip


_REMEDY = "put it right; or have it excused: weighbridge waive MODEL {} --reason WHY --until DAY"
_NO_ANSWER = "weighbridge doctor; if it cannot wait: weighbridge break-glass MODEL --reason WHY --hours N"


def _said(answer: EngineAnswer) -> str:
    if answer.problem:
        return answer.problem
    if answer.denials:
        return f"denied by {len(answer.denials)} rule(s)"
    return "allowed" if answer.outcome is Outcome.PASS else "not allowed, and no rule says why"


def _excused(by: Exception_) -> str:
    word = "waived" if by.kind is Excuse.WAIVER else "break-glass"
    return f"{word} until {rfc3339(by.expires)} by {by.who}: {by.reason}"


def _counts_not(rows: Iterable[Exception_], now: datetime) -> str:
    """Name what would answer for it and does not: it has ended, or something speaks against it."""
    said = [
        f"; the {row.kind.value} by {row.who} {f'ended {rfc3339(row.expires)}' if row.expires <= now else f'does not count: {row.problem}'}"
        for row in rows
        if not row.stands(now)
    ]
    return "".join(said)


def _came(row: Exception_, used: Sequence[Exception_], now: datetime) -> Exception_:
    """Say what came of an exception from the policy; one for a finding was weighed before."""
    if not row.rule.startswith(POLICY):
        return row
    return replace(row, state=ExceptionState.USED) if row in used else _ended(row, now)
