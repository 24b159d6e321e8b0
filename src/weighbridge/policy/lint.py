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
IMPURE = {
    "http": "the network",
    "internal": "the engine",
    "io": "the clock and the network",
    "net": "the network",
    "opa": "the machine and its environment",
    "providers": "a service elsewhere",
    "rand": "chance",
    "rego": "the engine",
    "uuid": "chance",
}
"""Namespaces of built-in functions, and what they ask besides the question."""
IMPURE_FUNCTIONS = {
    "crypto.x509.parse_and_verify_certificates_with_options": "the clock",
    "crypto.x509.parse_and_verify_certificates": "the clock",
    "json.match_schema": "the network, for schemas elsewhere",
    "json.verify_schema": "the network, for schemas elsewhere",
    "time.now_ns": "the clock",
    "trace": "the engine",
}
"""Single functions that do."""

_TEMPLATE = re.compile(r'\$["`]')
LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"|`[^`]*`|#[^\n]*')
_IMPURE = re.compile(rf"(?<![\w.])(?P<root>{'|'.join(IMPURE)})\s*[.\[]")
_DOT = r"\s*\.\s*"
_FUNCTIONS = re.compile(rf"(?<![\w.])(?:{'|'.join(name.replace('.', _DOT) for name in IMPURE_FUNCTIONS)})\b")
_LOOKED_UP = re.compile(r"(?<![\w.])(?P<root>time|crypto|json|trace)\s*\[")
_IMPORT = re.compile(r"^[ \t]*import[ \t]+(?:rego\.v1|future\.keywords(?:\.\w+)?)[ \t\r]*$", re.MULTILINE)
_LOCAL = re.compile(r'["`]Local["`]')
_DATA = re.compile(r"(?<![\w.])data\b(?!\s*\.\s*(?:weighbridge|settings|weight_suffixes)\b)")
_PACKAGE = re.compile(r"^[ \t]*package[ \t]+(?P<name>\S+)", re.MULTILINE)
_OWN_PACKAGE = re.compile(r"weighbridge(?:\.[a-z][a-z0-9_]*)+")


def bare(text: str) -> str:
    """Return a module without its comments, and with every string empty: what is left are its names."""
    return LITERAL.sub(lambda match: '""' if match[0][0] != "#" else "", text)


def lint(name: str, text: str) -> None:
    """Refuse (BadSetting) a module that is impure or stands in a foreign package."""
    code = bare(text)
    packages = [match["name"] for match in _PACKAGE.finditer(code)]
    if len(packages) != 1 or not _OWN_PACKAGE.fullmatch(packages[0]):
        raise BadSetting(
            f"{name} is in the package {packages[0] if packages else 'of nobody'}",
            cause="rules for our own models are in package weighbridge.own, for strangers' in weighbridge.third_party",
            remedy="begin the file with `package weighbridge.…`",
        )
    if _TEMPLATE.search(code):
        raise BadSetting(f"{name} uses a template string", remedy="write it with sprintf")
    asked = _asks(code, text)
    if asked is not None:
        raise BadSetting(
            f"{name} uses {asked[0]}",
            cause=f"it asks {asked[1]}, and the same question must get the same answer when it is asked again",
            remedy="take the time from input.evaluated_at, and anything else from input or policy.toml",
        )
    if _DATA.search(code):
        raise BadSetting(
            f"{name} looks at all of data, or at a part of it that is no policy's",
            cause="a policy sees data.weighbridge, data.settings and data.weight_suffixes, whatever else an engine holds",
            remedy="name what you mean, and move values of your own into a rule or into policy.toml",
        )


def _asks(code: str, text: str) -> tuple[str, str] | None:
    """Return the first thing that asks more than the question, and whom it asks; None when there is none."""
    used = _IMPORT.sub("", code)
    if (found := _IMPURE.search(used)) is not None:
        return f"{found['root']}.…", IMPURE[found["root"]]
    if (found := _FUNCTIONS.search(used)) is not None:
        name = re.sub(r"\s", "", found[0])
        return name, IMPURE_FUNCTIONS[name]
    if (found := _LOOKED_UP.search(used)) is not None:
        name = "time.now_ns" if found["root"] == "time" else f"{found['root']}[…]"
        return name, "for a function whose name is not written as one"
    if _LOCAL.search(text) and re.search(r"(?<![\w.])time\s*\.", used):
        return 'the time zone "Local"', "the machine"
    return None


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
