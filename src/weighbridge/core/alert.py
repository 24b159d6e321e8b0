"""Alerts: the words they use, one alert as its readers get it, and what a user writes about who is told.

The kinds are a closed set, so that who routes them can be complete. A message of another kind than these is a
signal (SIGNALS): it says that something lives, is sent to those who listen, and is kept nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, BadSetting

KINDS: Mapping[str, str] = {
    "decision-blocked": "the gate refused a model that somebody wanted to run",
    "break-glass": "the policy was set aside for one model, or a model ran that way",
    "waiver": "a finding or a rule was excused, or such an excuse ended",
    "policy-change": "another policy was proposed or took effect",
    "mode-change": "the gate was told to enforce more, or less",
    "revocation": "a model, a signer, a ruleset or a base was withdrawn",
    "advisory": "something was said to be wrong with weights, code or data, or that was taken back",
    "quarantine": "models of this registry may not be loaded any more",
    "outage": "a part that decisions rest on did not answer, so that nothing could be allowed",
    "log-alarm": "a witness or a monitor contradicts the transparency log",
    "heartbeat-missed": "the gate has not decided, or not shown itself, for longer than it should",
    "evidence-expiring": "what a trusted model's approval rests on is about to end",
    "drift": "a name that a model was taken in by leads to other bytes than it did",
    "tampering": "records, files or the log are not what this program wrote",
}
"""What alerts are about, each with what it means to its reader."""

SIGNALS: Mapping[str, str] = {
    "heartbeat": "the registry was opened and its records believed just now",
    "test": "somebody wants to know whether alerts arrive",
}

SEVERITIES = ("info", "warning", "critical")
"""From the least to the most."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to be told, as it is kept: `count` times between `first` and `last` (RFC 3339, UTC)."""

    id: str
    sequence: int
    """Its place in the queue; 0 for signals and for what is not in the records."""
    kind: str
    severity: str
    project: str
    actor: str
    summary: str
    about: tuple[str, ...]
    facts: Mapping[str, JSON]
    count: int
    first: str
    last: str

    @property
    def key(self) -> str:
        """Return what a receiver tells repeats by: another delivery of the same occurrence has the same key."""
        return Digest.of(canonical([self.id, self.count, self.last])).hex

    def to_json(self, registry: str) -> dict[str, JSON]:
        """Return one item of `weighbridge.alert/1`."""
        return {
            "id": self.id,
            "key": self.key,
            "registry": registry,
            "project": self.project,
            "actor": self.actor,
            "kind": self.kind,
            "severity": self.severity,
            "summary": self.summary,
            "about": list(self.about),
            "facts": dict(self.facts),
            "count": self.count,
            "first": self.first,
            "last": self.last,
        }


TYPES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "webhook": (("url", "secret_env"), ("seconds",)),
    "alertmanager": (("url",), ("token_env", "link", "hold_seconds", "seconds")),
    "stderr": ((), ()),
    "file": (("path",), ()),
    "plugin": (("plugin", "digest"), ("options", "env", "seconds")),
}
"""What a receiver must say, and what it may say beside that and SHARED."""
SHARED = ("name", "type", "severity", "kinds", "heartbeat")
DEFAULT_SECONDS = 5
MAX_SECONDS = 60
HOLD_SECONDS = 3600
"""How long an Alertmanager shows something as firing after it was last told."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_PLUGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Sink:
    """Somebody who is told: one `[[alert]]` entry. Secrets are named by the variable that holds them, never written."""

    name: str
    type: str
    severity: str = "info"
    """The least severe that is told."""
    kinds: tuple[str, ...] = tuple(KINDS)
    heartbeat: bool = False
    url: str = ""
    secret_env: str = ""
    token_env: str = ""
    link: str = ""
    """Where a reader of an Alertmanager is led (`generatorURL`)."""
    hold_seconds: int = HOLD_SECONDS
    path: Path = Path()
    plugin: str = ""
    digest: str = ""
    options: Mapping[str, JSON] | None = None
    env: tuple[str, ...] = ()
    seconds: int = DEFAULT_SECONDS
    """How long one try may take."""

    @property
    def address(self) -> str:
        """Return a digest over where this leads: another place is another receiver, whatever its name."""
        return str(Digest.of(canonical([self.type, self.url, str(self.path), self.plugin])))

    @property
    def network(self) -> bool:
        """Tell whether telling opens a connection, as far as this program knows."""
        return self.type in ("webhook", "alertmanager")

    def wants(self, alert: Alert) -> bool:
        """Tell whether this receiver asked for such an alert."""
        if alert.kind in SIGNALS:
            return alert.kind == "test" or self.heartbeat
        return alert.kind in self.kinds and SEVERITIES.index(alert.severity) >= SEVERITIES.index(
            self.severity
        )


def read_sinks(rows: Any, file: Path) -> tuple[Sink, ...]:
    """Read the `[[alert]]` entries of a configuration file; raises BadSetting, which names entry and word."""
    found: list[Sink] = []
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        try:
            sink = _sink(row, file.parent)
            if any(other.name == sink.name for other in found):
                raise _Wrong(f"the name {sink.name!r} stands twice", "give each receiver a name of its own")
        except _Wrong as error:
            raise BadSetting(
                f"entry {number} of [[alert]] in {file} cannot be used",
                cause=error.cause,
                remedy=error.remedy,
            ) from error
        found.append(sink)
    return tuple(found)


class _Wrong(Exception):
    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy


def _sink(row: Any, home: Path) -> Sink:
    if not isinstance(row, dict):
        raise _Wrong("it is no table", "begin each receiver with a line [[alert]]")
    kind = row.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        raise _Wrong(f"its type is {kind!r}", _meant(kind, TYPES))
    needed, further = TYPES[kind]
    allowed = (*SHARED, *needed, *further)
    for key in row:
        if key not in allowed:
            raise _Wrong(f"a {kind} knows no {key!r}", _meant(key, allowed))
    missing = [key for key in ("name", *needed) if key not in row]
    if missing:
        raise _Wrong(
            f"it does not say {', '.join(missing)}", f"a {kind} needs {', '.join(('name', *needed))}"
        )
    values = {key: _READ[key](key, value) for key, value in row.items()}
    if "kinds" not in values:
        values["kinds"] = tuple(KINDS)
    if "path" in values:
        values["path"] = home / values["path"].expanduser()
    values.setdefault("heartbeat", kind in ("webhook", "alertmanager"))
    return Sink(**values)


def _meant(word: Any, known: Any) -> str:
    import difflib

    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise _Wrong(f"{key} is {value!r}", f"{key} is a text of printable characters, and not empty")
    return value


def _like(pattern: re.Pattern[str], says: str) -> Any:
    def read(key: str, value: Any) -> str:
        if not pattern.fullmatch(_text(key, value)):
            raise _Wrong(f"{key} is {value!r}", says)
        return str(value)

    return read


def _url(key: str, value: Any) -> str:
    try:
        parts = urlsplit(_text(key, value))
        fine = parts.scheme in ("http", "https") and parts.hostname and not parts.fragment and parts.port != 0
        named = parts.username is not None or parts.password is not None
    except ValueError as error:
        raise _Wrong(f"{key} is no address", "write it as https://host/path") from error
    if named or not fine:
        raise _Wrong(
            f"{key} is no address that can be used",
            "write it as https://host/path, without a user name or password in it",
        )
    return str(value)


def _whole(least: int, most: int) -> Any:
    def read(key: str, value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise _Wrong(f"{key} is {value!r}", f"{key} is a whole number from {least} to {most}")
        return value

    return read


def _severity(key: str, value: Any) -> str:
    if value not in SEVERITIES:
        raise _Wrong(f"{key} is {value!r}", _meant(value, SEVERITIES))
    return str(value)


def _kinds(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise _Wrong(f"{key} is {value!r}", f"{key} is a list; leave it out for all kinds")
    for word in value:
        if word not in KINDS:
            raise _Wrong(f"there is no kind {word!r}", _meant(word, KINDS))
    return tuple(dict.fromkeys(value))


def _truth(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong(f"{key} is {value!r}", f"{key} is true or false")
    return value


def _digest(key: str, value: Any) -> str:
    try:
        found = Digest.parse(_text(key, value))
        if found.algorithm != "sha256":
            raise _Wrong(f"{key} is {value!r}", "it is a sha256: digest of the plug-in's files")
    except BadReference as error:
        raise _Wrong(f"{key} is {value!r}", "it is a sha256: digest of the plug-in's files") from error
    return str(found)


def _options(key: str, value: Any) -> Mapping[str, JSON]:
    try:
        if not isinstance(value, dict):
            raise _Wrong(f"{key} is {value!r}", f"{key} is a table")
        canonical(value)
    except ValueError as error:
        raise _Wrong(f"{key} holds what JSON cannot say: {error}", "use texts, numbers and lists") from error
    return value


def _variables(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _Wrong(f"{key} is {value!r}", f"{key} is a list of names of environment variables")
    return tuple(_variable(key, word) for word in value)


def _variable(key: str, value: Any) -> str:
    """Read the name of a variable; what is none may be the secret itself, and is not repeated."""
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise _Wrong(
            f"{key} names no environment variable", "write the variable's name, never the secret itself"
        )
    return value


_READ: Mapping[str, Any] = {
    "name": _like(_NAME, "a name is small letters, digits, - and _"),
    "type": _text,
    "severity": _severity,
    "kinds": _kinds,
    "heartbeat": _truth,
    "url": _url,
    "secret_env": _variable,
    "token_env": _variable,
    "link": _url,
    "hold_seconds": _whole(60, 7 * 86400),
    "path": lambda key, value: Path(_text(key, value)),
    "plugin": _like(_PLUGIN, "it is the name of an entry point"),
    "digest": _digest,
    "options": _options,
    "env": _variables,
    "seconds": _whole(1, MAX_SECONDS),
}
