"""Refuse a policy before it is used: one that asks the world, or one that lets nothing at all pass as evidence.

A policy must give the same answer whenever it is asked again, so it may not ask for the time, for chance,
for the network or for the machine; the time of the question stands in `input.evaluated_at`. The scan below
works on the text with strings and comments taken out, so it also sees `time["now_ns"]()`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from weighbridge.core.canonical import JSON
from weighbridge.core.decision import Outcome
from weighbridge.core.errors import BadSetting
from weighbridge.policy.contract import Engine

PACKAGES = ("own", "third_party", "legacy")
IMPURE = ("http", "io", "net", "opa", "rand", "uuid")
"""Built-in functions of these names ask the world or chance."""

_TEMPLATE = re.compile(r'\$["`]')
_LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"|`[^`]*`|#[^\n]*')
_IMPURE = re.compile(rf"(?<![\w.])(?P<root>{'|'.join(IMPURE)})\s*[.\[]")
_TIME = re.compile(r"(?<![\w.])time\s*(?:\.\s*now_ns\b|\[)")
_PACKAGE = re.compile(r"^[ \t]*package[ \t]+(?P<name>\S+)", re.MULTILINE)
_OWN_PACKAGE = re.compile(r"weighbridge(?:\.[a-z][a-z0-9_]*)+")


def lint(name: str, text: str) -> None:
    """Refuse (BadSetting) a module that is impure or stands in a foreign package."""
    bare = _LITERAL.sub(lambda match: '""' if match[0][0] != "#" else "", text)
    packages = [match["name"] for match in _PACKAGE.finditer(bare)]
    if len(packages) != 1 or not _OWN_PACKAGE.fullmatch(packages[0]):
        raise BadSetting(
            f"{name} is in the package {packages[0] if packages else 'of nobody'}",
            cause="rules for our own models are in package weighbridge.own, for strangers' in weighbridge.third_party",
            remedy="begin the file with `package weighbridge.…`",
        )
    if _TEMPLATE.search(bare):
        raise BadSetting(f"{name} uses a template string", remedy="write it with sprintf")
    found = _IMPURE.search(bare)
    if found or _TIME.search(bare):
        what = f"{found['root']}.…" if found else "time.now_ns"
        raise BadSetting(
            f"{name} uses {what}",
            cause="the same question must get the same answer when it is asked again",
            remedy="take the time from input.evaluated_at, and anything else from input or policy.toml",
        )


def refuse_open(modules: Mapping[str, str], data: Mapping[str, JSON], engine: Engine) -> None:
    """Refuse (BadSetting) a policy that allows where there is no evidence at all."""
    problem = opened(modules, data, engine)
    if problem:
        raise BadSetting(
            "this policy would let anything pass",
            cause=problem,
            remedy="write each rule as what must be true, and deny when it is not",
        )


def opened(
    modules: Mapping[str, str],
    data: Mapping[str, JSON],
    engine: Engine,
    *,
    packages: Sequence[str] = PACKAGES,
) -> str:
    """Say which class of model the policy allows without evidence; empty when it allows none."""
    for package in packages:
        for words, question in NOTHING.items():
            answer = engine.evaluate(modules, data, question, f"data.weighbridge.{package}")
            if answer.outcome is Outcome.PASS:
                return f"data.weighbridge.{package} allows {words}"
    return ""


_TIMES: dict[str, JSON] = {"action": "promote", "evaluated_at": "2026-01-01T00:00:00Z"}
_BLANK: dict[str, JSON] = {
    "schema": "weighbridge.evidence/1",
    "manifest": f"wb1:{'0' * 64}",
    "weights": None,
    "project": "default",
    "scan": None,
    "claims": [],
    "ancestry": {
        "end": "broken",
        "visited": [],
        "links": [],
        "origins": [],
        "broken_at": None,
        "reason": "none",
    },
    "revocations": [],
    "waivers": [],
    "problems": [],
}


def _blank(origin: str) -> Mapping[str, JSON]:
    evidence: JSON = {**_BLANK, "origin": origin}
    return {**_TIMES, "evidence": evidence, "floor": []}


NOTHING: Mapping[str, Mapping[str, JSON]] = {
    "an empty question": {},
    "a question without evidence": {**_TIMES, "evidence": {}, "floor": []},
    "an own model without scan or claims": _blank("own"),
    "a third-party model without scan or claims": _blank("third-party"),
    "a legacy model without scan or claims": _blank("legacy"),
}
"""Questions that no policy may answer with allow."""
