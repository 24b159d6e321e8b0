"""Read a policy: a few files of Rego and one `policy.toml`, strictly, and give them one digest."""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from weighbridge.core.canonical import JSON, canonical
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
    if len(files) > MAX_FILES:
        raise BadSetting(f"a policy of more than {MAX_FILES} files", remedy=_REMEDY)
    texts = {name: _text(name, data) for name, data in sorted(files.items())}
    settings = read_settings(texts.pop(SETTINGS, ""))
    modules = {name: text for name, text in texts.items() if not name.endswith("_test.rego")}
    if not modules:
        raise BadSetting("this policy has no rules", cause="there is no .rego file in it", remedy=_REMEDY)
    for name, text in texts.items():
        lint(name, text)
    named: dict[str, JSON] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
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
    settings: dict[str, JSON] = {}
    for section, rules in _SECTIONS.items():
        rows = given.get(section, {})
        if not isinstance(rows, dict):
            raise BadSetting(f"{section} in policy.toml is not a section", remedy=f"write [{section}]")
        _known(rows, rules, f"{section}.")
        settings[section] = {
            key: _checked(f"{section}.{key}", rows.get(key, rule.default), rule)
            for key, rule in rules.items()
        }
    return settings


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


_DAYS, _FLAG, _NAMES = "a number of days", "true or false", "a list of names"
_SECTIONS: Mapping[str, Mapping[str, _Rule]] = {
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
