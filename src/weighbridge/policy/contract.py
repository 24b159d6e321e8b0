"""The contract with a policy engine: what it is asked, and the one shape of answer that is accepted.

Asked is `data.weighbridge.<own|third_party|legacy>` over the input `{"evidence", "floor", "evaluated_at", "action"}`. Accepted is an
object of `allow` (boolean) and `deny`, and perhaps `warn` and `obligations`; each denial and warning is
`{"rule", "msg"}`, perhaps with `severity`. Anything else is no answer: undefined, more members, another
type, an answer that allows and denies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.decision import Check, EngineAnswer, Outcome
from weighbridge.core.evidence import Evidence
from weighbridge.core.tier import Origin

MAX_ROWS = 1000
MAX_MESSAGE = 2000
SEVERITIES = ("note", "warning", "error")

_RULE = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_MEMBERS = {"allow", "deny", "warn", "obligations"}


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer, and whether the engine itself was well: then the same question gets the same answer again."""

    answer: EngineAnswer
    well: bool


class Hearing(Protocol):
    """An engine that says whether it was well when it answered."""

    @property
    def digest(self) -> str:
        """Return name and version."""
        ...

    def hear(
        self, modules: Mapping[str, str], data: Mapping[str, JSON], question: Mapping[str, JSON], query: str
    ) -> Heard:
        """Return the answer of `query`, held against the contract."""
        ...


class Engine(Protocol):
    """Evaluates policy modules. Never raises on what a policy does; says CANNOT_TELL instead."""

    @property
    def digest(self) -> str:
        """Return name and version, for example `regorus/0.13.0`."""
        ...

    def evaluate(
        self, modules: Mapping[str, str], data: Mapping[str, JSON], question: Mapping[str, JSON], query: str
    ) -> EngineAnswer:
        """Return the answer of `query` over data and question, held against this contract."""
        ...


def query_for(origin: Origin) -> str:
    """Return the query for a model of this class."""
    return f"data.weighbridge.{origin.value.replace('-', '_')}"


def question(
    evidence: Evidence | Mapping[str, JSON], checks: Sequence[Check], now: datetime, action: str
) -> dict[str, JSON]:
    """Return the input document of a policy; `evidence` may be its JSON already. The time stands in it, so that an answer can be replayed."""
    return {
        "action": action,
        "evaluated_at": rfc3339(now),
        "evidence": evidence.to_json() if isinstance(evidence, Evidence) else evidence,
        "floor": [check.to_json() for check in checks],
    }


def read_answer(value: Any, *, engine: str = "", policy: str = "") -> EngineAnswer:
    """Read what an engine returned; CANNOT_TELL with the problem for anything but the one shape."""
    try:
        allow, denials, warnings = _read(value)
    except (ValueError, TypeError, KeyError) as error:
        return no_answer(f"the policy's answer has the wrong shape: {error}", engine=engine, policy=policy)
    outcome = Outcome.PASS if allow else Outcome.FAIL
    return EngineAnswer(outcome, denials, warnings, policy=policy, engine=engine)


def no_answer(problem: str, *, engine: str = "", policy: str = "") -> EngineAnswer:
    """Return the answer of an engine that has none."""
    return EngineAnswer(Outcome.CANNOT_TELL, problem=printable(problem), policy=policy, engine=engine)


def printable(text: str) -> str:
    """Escape what would move a terminal's cursor, and cut what is too long."""
    safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return safe if len(safe) <= MAX_MESSAGE else f"{safe[:MAX_MESSAGE]}…"


def _read(value: Any) -> tuple[bool, tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    if not isinstance(value, dict) or not value:
        raise TypeError("it is undefined or no object")
    extra = sorted(str(name) for name in set(value) - _MEMBERS)
    if extra:
        raise ValueError(
            f"it has the unknown member {printable(extra[0])}; helpers belong in another package"
        )
    if not isinstance(value.get("allow"), bool):
        raise TypeError("allow is undefined or not a boolean")
    if "deny" not in value:
        raise ValueError("deny is undefined")
    denials, warnings = _rows(value["deny"], "deny"), _rows(value.get("warn", []), "warn")
    if not isinstance(value.get("obligations", []), list):
        raise TypeError("obligations are a list")
    if value["allow"] and denials:
        raise ValueError("it allows and denies at once")
    return value["allow"], denials, warnings


def _rows(rows: Any, name: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(rows, list) or len(rows) > MAX_ROWS:
        raise TypeError(f"{name} is not a list of at most {MAX_ROWS}")
    return tuple(sorted(_row(row, name) for row in rows))


def _row(row: Any, name: str) -> tuple[str, str]:
    if not isinstance(row, dict) or not {"rule", "msg"} <= set(row) <= {"rule", "msg", "severity"}:
        raise ValueError(f"each {name} is {{rule, msg}}, perhaps with severity")
    rule, message = row["rule"], row["msg"]
    if not isinstance(rule, str) or not _RULE.fullmatch(rule):
        raise ValueError(f"a rule of {name} is not a name of lower-case letters, digits, '.', '_' and '-'")
    if not isinstance(message, str) or not message:
        raise ValueError(f"{rule} gives no message")
    if row.get("severity", "error") not in SEVERITIES:
        raise ValueError(f"the severity of {rule} is none of {', '.join(SEVERITIES)}")
    return rule, printable(message)
