"""Read a policy: a few files of Rego and one `policy.toml`, strictly, and give them one digest."""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadSetting
from weighbridge.core.manifest import WEIGHT_SUFFIXES
from weighbridge.core.tier import Assurance
from weighbridge.policy.lint import lint

SCHEMA = "weighbridge.policy/1"
SETTINGS = "policy.toml"
MAX_FILES = 100
MAX_BYTES = 1024 * 1024

DUTIES = (
    "attribution", "non-commercial", "use-restrictions", "share-alike", "no-derivatives", "no-further-restrictions",
    "name-prefix", "display", "monthly-users", "revenue", "outputs", "output-derivatives", "territory", "hosting", "review",
)  # fmt: skip
"""What a licence can ask for (docs/reference/licences.md)."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\.rego")
_REMEDY = "see docs/reference/policy.md, or look at the commented policy.toml that `weighbridge init` writes"


@dataclass(frozen=True, slots=True)
class PolicyBundle:
    """A policy that was read: modules by file name, their tests, the settings with defaults filled in."""

    modules: Mapping[str, str]
    tests: Mapping[str, str]
    settings: Mapping[str, JSON]
    digest: Digest
    """SHA-256 of the canonical JSON `{file name: its SHA-256}` over all files, tests included."""

    @property
    def data(self) -> dict[str, JSON]:
        """The `data` document that modules see beside each other."""
        return {"settings": dict(self.settings), "weight_suffixes": list(WEIGHT_SUFFIXES)}


def load_bundle(files: Mapping[str, bytes]) -> PolicyBundle:
    """Read the files of a policy; raises BadSetting for anything that is not exactly as it should be.

    Whether the policy admits what it must not, `lint.refuse_open` asks, with an engine.
    """
    return _load(tuple(sorted(files.items())))


@lru_cache(maxsize=4)
def _load(files: tuple[tuple[str, bytes], ...]) -> PolicyBundle:
    """Read the files; those of a decision are those of the one before, byte for byte, and are read once."""
    if len(files) > MAX_FILES:
        raise BadSetting(f"a policy of more than {MAX_FILES} files", remedy=_REMEDY)
    texts = {name: _text(name, data) for name, data in files}
    settings = read_settings(texts.pop(SETTINGS, ""))
    modules = {name: text for name, text in texts.items() if not name.endswith("_test.rego")}
    if not modules:
        raise BadSetting("this policy has no rules", cause="there is no .rego file in it", remedy=_REMEDY)
    for name, text in texts.items():
        lint(name, text)
    named: dict[str, JSON] = {name: hashlib.sha256(data).hexdigest() for name, data in files}
    tests = {name: text for name, text in texts.items() if name not in modules}
    return PolicyBundle(modules, tests, settings, Digest.of(canonical(named)))


def starter() -> dict[str, bytes]:
    """Return the files of the policy that `weighbridge init` writes."""
    folder = resources.files("weighbridge.policy").joinpath("starter")
    return {
        entry.name: entry.read_bytes() for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
    }


def read_settings(text: str) -> dict[str, JSON]:
    """Parse `policy.toml`; unknown and ill-typed keys are BadSettings, missing ones get their default."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadSetting("policy.toml cannot be read", cause=str(error), remedy=_REMEDY) from error
    schema = given.pop("schema", SCHEMA)
    if schema != SCHEMA:
        raise BadSetting(f"policy.toml is of schema {schema!r}, not {SCHEMA}", remedy=_REMEDY)
    _known(given, _SECTIONS, "")
    return {section: _section(section, given.get(section, {}), rules) for section, rules in _SECTIONS.items()}


def _section(name: str, rows: Any, rules: Mapping[str, _Rule | Mapping[str, _Rule]]) -> dict[str, JSON]:
    if not isinstance(rows, dict):
        raise BadSetting(f"{name} in policy.toml is not a section", remedy=f"write [{name}]")
    _known(rows, rules, f"{name}.")
    return {
        key: _checked(f"{name}.{key}", rows.get(key, rule.default), rule)
        if isinstance(rule, _Rule)
        else _section(f"{name}.{key}", rows.get(key, {}), rule)
        for key, rule in rules.items()
    }


@dataclass(frozen=True, slots=True)
class _Rule:
    """What one setting may be."""

    default: JSON
    allows: Callable[[Any], bool]
    words: str


def _days(value: Any) -> bool:
    return type(value) is int and 0 < value <= 36_500


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)


def _minimum(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(least, (int, float)) and not isinstance(least, bool) and abs(least) < 2**53
        for least in value.values()
    )


def _duties(value: Any) -> bool:
    return _names(value) and set(value) <= set(DUTIES)


def _assurance(value: Any) -> bool:
    return value in [item.value for item in Assurance]


def _builders(value: Any) -> bool:
    members = {"signer", "builder", "level", "hosted"}
    return isinstance(value, list) and all(
        isinstance(row, dict)
        and members - {"hosted"} <= set(row) <= members
        and isinstance(row["signer"], str)
        and (
            isinstance(row["builder"], str)
            or (isinstance(row["builder"], dict) and set(row["builder"]) == {"pattern"})
        )
        and type(row["level"]) is int
        and row["level"] in (1, 2, 3)
        and isinstance(row.get("hosted", False), bool)
        for row in value
    )


def _count(highest: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and 0 <= value <= highest


def _time(value: Any) -> bool:
    """Tell whether this is empty or a time as evidence writes one."""
    if value == "":
        return True
    try:
        return isinstance(value, str) and rfc3339(parse_rfc3339(value)) == value
    except ValueError:
        return False


def _percents(value: Any) -> bool:
    return isinstance(value, dict) and all(
        type(least) is int and 0 < least <= 100 and _PROFILE.fullmatch(name) for name, least in value.items()
    )


_PROFILE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_DAYS, _FLAG, _NAMES = "a number of days", "true or false", "a list of names"
_VERDICTS, _LEVELS = ("", "clean", "notes", "unlisted"), ("", *(item.value for item in Assurance))
_REQUIRE: Mapping[str, _Rule] = {
    "scan_verdict": _Rule("", _VERDICTS.__contains__, "clean, notes or unlisted; empty asks for nothing"),
    "ruleset": _Rule(0, _count(10**9), "the number of a ruleset; 0 asks for nothing"),
    "bom": _Rule({}, _percents, "percentages by the name of a profile"),
    "dependencies_hashed": _Rule(False, _flag, _FLAG),
    "slsa_level": _Rule(0, _count(3), "a level from 0 to 3"),
    "datasets_signed": _Rule(False, _flag, _FLAG),
    "revision_pinned": _Rule(False, _flag, _FLAG),
    "as_announced": _Rule(False, _flag, _FLAG),
    "evaluated": _Rule(False, _flag, _FLAG),
    "probed": _Rule(False, _flag, _FLAG),
    "assurance": _Rule(
        "", _LEVELS.__contains__, "single-operator, witnessed or public; empty asks for nothing"
    ),
    "max_claim_days": _Rule(0, _count(36_500), "a number of days; 0 asks for nothing"),
    "max_depth": _Rule(0, _count(10_000), "a number of steps; 0 asks for nothing"),
    "no_waivers": _Rule(False, _flag, _FLAG),
}
"""What `require.rego` asks for; one table for each class of model."""
_SECTIONS: Mapping[str, Mapping[str, _Rule | Mapping[str, _Rule]]] = {
    "scan": {
        "max_age_days": _Rule(30, _days, _DAYS),
        "notes_allowed": _Rule(True, _flag, _FLAG),
        "formats": _Rule(["safetensors"], _names, _NAMES),
    },
    "licences": {
        "allow": _Rule([], _names, _NAMES),
        "deny": _Rule(["unknown"], _names, _NAMES),
        "refuse": _Rule([], _duties, f"a list of {', '.join(DUTIES)}"),
    },
    "own": {
        "evaluation_required": _Rule(True, _flag, _FLAG),
        "builders": _Rule([], _names, _NAMES),
        "minimum": _Rule({}, _minimum, "numbers by the name of a metric"),
        "contradictions_allowed": _Rule(False, _flag, _FLAG),
    },
    "builders": {
        "trusted": _Rule([], _builders, "a list of tables {signer, builder, level, perhaps hosted}")
    },
    "third_party": {
        "publishers": _Rule([], _names, _NAMES),
        "commit_required": _Rule(False, _flag, _FLAG),
        "max_valid_days": _Rule(400, _days, _DAYS),
    },
    "legacy": {
        "until": _Rule("", _time, 'a time like "2027-01-31T00:00:00Z"; empty lets none go on'),
    },
    "require": {"own": _REQUIRE, "third_party": _REQUIRE, "legacy": _REQUIRE},
    "waivers": {"allowed": _Rule(True, _flag, _FLAG), "max_valid_days": _Rule(90, _days, _DAYS)},
    "log": {
        "assurance": _Rule("single-operator", _assurance, "single-operator, witnessed or public"),
    },
}


def _checked(name: str, value: Any, rule: _Rule) -> JSON:
    if not rule.allows(value):
        raise BadSetting(
            f"{name} in policy.toml is {value!r}", cause=f"it takes {rule.words}", remedy=_REMEDY
        )
    checked: JSON = value
    return checked


def _known(given: Mapping[str, Any], allowed: Mapping[str, Any], prefix: str) -> None:
    for name in given:
        if name not in allowed:
            close = difflib.get_close_matches(name, allowed, n=1)
            raise BadSetting(
                f"there is no setting {prefix}{name} in policy.toml",
                cause=f"known are {', '.join(prefix + other for other in allowed)}",
                remedy=f"did you mean {prefix}{close[0]}?" if close else _REMEDY,
            )


def _text(name: str, data: bytes) -> str:
    if name != SETTINGS and not _NAME.fullmatch(name):
        raise BadSetting(
            f"{name!r} is not a file of a policy",
            cause="a policy is policy.toml and files named like own.rego or own_test.rego",
            remedy="rename it, or keep it elsewhere",
        )
    if len(data) > MAX_BYTES:
        raise BadSetting(f"{name} is larger than {MAX_BYTES} bytes", remedy=_REMEDY)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadSetting(f"{name} is not UTF-8", cause=str(error), remedy=_REMEDY) from error
