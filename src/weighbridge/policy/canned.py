"""The canned set: questions that a policy is tried on before it may be used, good ones and bad ones.

`data/questions.json` is made from evidence of the gate's own shape (tools/policy_data.py). Each bad question lacks one thing;
most of them the floor would refuse whatever a policy says. A policy that allows all the bad ones of a class looks at
nothing, and one that allows no good one at all can be of no use: both are mistakes.

The good questions are fitted to the settings of the policy that is tried, so that a strict `policy.toml` is not taken for a mistake:
where it names publishers, licences or a level, they have them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from weighbridge.core.canonical import JSON

CLASSES = ("own", "third_party", "legacy")
LICENCES = ("Apache-2.0", "MIT", "BSD-3-Clause", "CC-BY-4.0", "CC0-1.0")
"""Of which the good models have the first that the settings do not deny, where these name none."""


@dataclass(frozen=True, slots=True)
class Canned:
    """One question of the set: what is good or bad about it, and the class of model that it is about."""

    name: str
    package: str
    question: Mapping[str, Any]


@cache
def canned() -> tuple[tuple[Canned, ...], tuple[Canned, ...]]:
    """Return the good and the bad questions."""
    text = (files("weighbridge.policy") / "data" / "questions.json").read_text(encoding="utf-8")
    content = json.loads(text)
    shared = content["shared"]

    def read(row: Any) -> Canned:
        asked = row["question"]
        asked["floor"] = [shared[place] for place in asked["floor"]]
        asked["evidence"]["claims"] = [shared[place] for place in asked["evidence"]["claims"]]
        return Canned(row["name"], row["class"], asked)

    return tuple(map(read, content["good"])), tuple(map(read, content["bad"]))


def good(package: str, settings: Mapping[str, JSON]) -> tuple[Canned, ...]:
    """Return the good questions about a class, fitted to settings."""
    rows = [row for row in canned()[0] if row.package == package]
    return tuple(Canned(row.name, package, fitted(row.question, package, settings)) for row in rows)


def bad(package: str) -> tuple[Canned, ...]:
    """Return the bad questions about a class."""
    return tuple(row for row in canned()[1] if row.package == package)


def allowed(rows: Sequence[Canned], ask: Callable[[Canned], bool]) -> tuple[Canned, ...]:
    """Return those of the questions that are allowed."""
    return tuple(row for row in rows if ask(row))


def fitted(question: Mapping[str, Any], package: str, settings: Mapping[str, JSON]) -> dict[str, Any]:
    """Return a good question that has what these settings name."""
    made: dict[str, Any] = copy.deepcopy(dict(question))
    wanted = _Wanted(package, settings)
    evidence, now = made["evidence"], made["evaluated_at"]
    evidence["scan"]["scanned_at"] = now
    evidence["scan"]["ruleset_version"] = str(max(2, wanted.number("ruleset")))
    if not wanted.of("scan", "notes_allowed", default=True) or wanted.required("scan_verdict") == "clean":
        evidence["scan"] |= {"verdict": "clean", "findings": []}
    formats = wanted.of("scan", "formats", default=["safetensors"])
    for path, kind in evidence["scan"]["formats"].items():
        if kind == "safetensors" and formats:
            evidence["scan"]["formats"][path] = formats[0]
    if evidence["bom"] is not None:
        evidence["bom"]["profiles"] |= {
            name: {"asked": 20, "present": 20, "attested": 20} for name in wanted.required("bom") or {}
        }
    for claim in evidence["claims"]:
        _fit_claim(claim, wanted, now)
    return made


def _fit_claim(claim: dict[str, Any], wanted: _Wanted, now: str) -> None:
    if claim["proof"] is not None:
        claim["proof"]["logged_at"] = now
        for level in (wanted.of("log", "assurance", default=""), wanted.required("assurance")):
            if level in ("witnessed", "public") and claim["proof"]["assurance"] != "public":
                claim["proof"]["assurance"] = level
    detail = claim["detail"]
    if "licence" in detail:
        detail["licence"] = wanted.licence(detail["licence"])
    if publishers := wanted.of("third_party", "publishers", default=[]):
        detail |= {"publisher": publishers[0]} if "publisher" in detail else {}
    if "expires" in detail:
        detail["expires"] = f"{now[:8]}28T00:00:00Z"
    if builders := wanted.of("own", "builders", default=[]):
        detail |= {"builder": builders[0]} if "builder" in detail else {}
    if "metrics" in detail:
        detail["metrics"] |= wanted.of("own", "minimum", default={})


class _Wanted:
    """What settings ask for, whatever else they hold."""

    def __init__(self, package: str, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._required = settings.get("require", {}).get(package, {})

    def of(self, section: str, key: str, *, default: Any) -> Any:
        return self._settings.get(section, {}).get(key, default)

    def required(self, switch: str) -> Any:
        return self._required.get(switch)

    def number(self, switch: str) -> int:
        value = self.required(switch)
        return value if isinstance(value, int) else 0

    def licence(self, has: str) -> str:
        denied = {name.lower() for name in self.of("licences", "deny", default=[])}
        named = self.of("licences", "allow", default=[]) or [has, *LICENCES]
        return next((name for name in named if name.lower() not in denied), has)
