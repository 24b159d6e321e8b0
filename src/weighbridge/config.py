"""Settings: from the command line, the environment and the user's own weighbridge.toml; each knows its origin.

Order: command line, then environment, then `weighbridge.toml` in the configuration home
(`WEIGHBRIDGE_CONFIG_HOME`, else `$XDG_CONFIG_HOME/weighbridge`, else `~/.config/weighbridge`), then the
default. No file in the working directory, and none at or below a model, is ever read.

The same file may hold `[[accept]]` entries (rule, digest, reason, until): findings that `scan` shows as
accepted. They change what `scan` shows and its exit code, never a report, a claim or the gate. And it may hold
`[[alert]]` entries: who is told when the gate has something to say (`core.alert`, docs/reference/alerts.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, BadSetting

if TYPE_CHECKING:
    from weighbridge.core.alert import Sink

FILE = "weighbridge.toml"
LIMIT = 1024 * 1024
ACCEPT = "accept"
ALERT = "alert"

SETTINGS: Mapping[str, tuple[type, str, Any]] = {
    # key: (type, environment variable, default)
    "registry": (str, "WEIGHBRIDGE_HOME", ".weighbridge"),
    "blobs": (str, "WEIGHBRIDGE_BLOBS", ""),
    "records": (str, "WEIGHBRIDGE_RECORDS", ""),
    "lease_seconds": (int, "WEIGHBRIDGE_LEASE_SECONDS", 30),
    "project": (str, "WEIGHBRIDGE_PROJECT", "default"),
    "actor": (str, "WEIGHBRIDGE_ACTOR", ""),
    "offline": (bool, "WEIGHBRIDGE_OFFLINE", False),
    "hub_endpoint": (str, "HF_ENDPOINT", ""),
    "mlflow_uri": (str, "MLFLOW_TRACKING_URI", ""),
    "lock_seconds": (int, "WEIGHBRIDGE_LOCK_SECONDS", 30),
    "admission_hours": (int, "WEIGHBRIDGE_ADMISSION_HOURS", 24),
    "expiring_days": (int, "WEIGHBRIDGE_EXPIRING_DAYS", 14),
    "reevaluate_days": (int, "WEIGHBRIDGE_REEVALUATE_DAYS", 30),
    "witnesses": (str, "WEIGHBRIDGE_WITNESSES", ""),
    "signing_key": (str, "WEIGHBRIDGE_SIGNING_KEY", ""),
    "policy_engine": (str, "WEIGHBRIDGE_POLICY_ENGINE", "regorus"),
    "mirror_pull": (bool, "WEIGHBRIDGE_MIRROR_PULL", False),
    "mirror_mib": (int, "WEIGHBRIDGE_MIRROR_MIB", 512),
    "opa_url": (str, "WEIGHBRIDGE_OPA_URL", ""),
    "opa_ca": (str, "WEIGHBRIDGE_OPA_CA", ""),
    "opa_cert": (str, "WEIGHBRIDGE_OPA_CERT", ""),
    "opa_key": (str, "WEIGHBRIDGE_OPA_KEY", ""),
    "opa_seconds": (int, "WEIGHBRIDGE_OPA_SECONDS", 5),
}


@dataclass(frozen=True, slots=True)
class Value:
    """One setting and where it came from (`default`, `environment NAME`, `file PATH`, `command line`)."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Accept:
    """One finding the user accepts: by rule, in the bytes of one file (`sha256:`) or model (`wb1:`), until a time."""

    rule: str
    digest: str
    reason: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of one invocation."""

    home: Path
    values: Mapping[str, Value]
    accept: tuple[Accept, ...] = ()
    alerts: tuple[Sink, ...] = ()
    """Who is told of alerts."""
    passphrase: str = field(default="", repr=False)
    """Of the registry's service keys, where the environment gives it; never shown, never in a file of settings."""
    opa_token: str = field(default="", repr=False)
    """What is shown to OPA (`WEIGHBRIDGE_OPA_TOKEN`); never shown to anybody else, never in a file of settings."""

    def __getitem__(self, key: str) -> Any:
        return self.values[key].value


def config_home(environ: Mapping[str, str]) -> Path:
    """Return the folder of the user's own configuration, root keys and pins."""
    if chosen := environ.get("WEIGHBRIDGE_CONFIG_HOME"):
        return Path(chosen).expanduser().absolute()
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".config")
    return Path(base).absolute() / "weighbridge"


def read_config(environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Config:
    """Read all settings; `overrides` are from the command line (None means not given). Raises BadSetting."""
    home = config_home(environ)
    from_file = _read_file(home / FILE)
    accept = _accepted(from_file.pop(ACCEPT, []), home / FILE)
    alerts = _alerts(from_file.pop(ALERT, []), home / FILE)
    values: dict[str, Value] = {}
    for key, (kind, variable, default) in SETTINGS.items():
        given = (overrides or {}).get(key)
        if given is not None:
            values[key] = Value(given, "command line")
        elif environ.get(variable):
            values[key] = Value(_from_text(key, kind, environ[variable], variable), f"environment {variable}")
        elif key in from_file:
            values[key] = Value(_checked(key, kind, from_file[key]), f"file {home / FILE}")
        else:
            values[key] = Value(default, "default")
    return Config(
        home,
        values,
        accept,
        alerts,
        environ.get("WEIGHBRIDGE_REGISTRY_PASSWORD", ""),
        environ.get("WEIGHBRIDGE_OPA_TOKEN", ""),
    )


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(LIMIT).decode("utf-8")
        import tomllib  # most people have no such file

        table = tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadSetting(
            f"{path} cannot be read", cause=str(error), remedy="mend or remove the file"
        ) from error
    for key in table:
        if key not in SETTINGS and key not in (ACCEPT, ALERT):
            import difflib

            close = difflib.get_close_matches(key, [*SETTINGS, ACCEPT, ALERT], n=1)
            raise BadSetting(
                f"{path} has an unknown setting {key!r}",
                remedy=f"did you mean {close[0]!r}?" if close else f"known are {', '.join(SETTINGS)}",
            )
    return table


def _alerts(rows: Any, path: Path) -> tuple[Sink, ...]:
    if not rows:
        return ()
    from weighbridge.core.alert import read_sinks  # most people tell nobody

    return read_sinks(rows, path)


def _accepted(rows: Any, path: Path) -> tuple[Accept, ...]:
    """Read `[[accept]]`; an entry that says less than all four things is refused, not passed over."""
    found: list[Accept] = []
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        try:
            if not isinstance(row, dict) or set(row) != {"rule", "digest", "reason", "until"}:
                raise ValueError("it needs exactly rule, digest, reason and until")
            rule, digest, reason = row["rule"], row["digest"], row["reason"]
            if not all(isinstance(text, str) and text.strip() for text in (rule, digest, reason)):
                raise ValueError("rule, digest and reason are texts, and not empty")
            if Digest.parse(digest).algorithm not in ("sha256", "wb1"):
                raise ValueError("the digest is a file's (sha256:…) or a model's (wb1:…)")
            found.append(Accept(rule, digest, reason, _end(row["until"])))
        except (ValueError, OverflowError, BadReference) as error:
            raise BadSetting(
                f"entry {number} of [[accept]] in {path} cannot be used",
                cause=error.cause or error.problem if isinstance(error, BadReference) else str(error),
                remedy="write rule, digest, reason and until = YYYY-MM-DD",
            ) from error
    return tuple(found)


def _end(until: Any) -> datetime:
    """Return when an exception ends: a day lasts until its end (UTC)."""
    if isinstance(until, datetime):
        return until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    day = until if isinstance(until, date) else date.fromisoformat(str(until))
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


def _checked(key: str, kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise BadSetting(f"the setting {key!r} must be of type {kind.__name__}", cause=f"found {value!r}")
    return value


def _from_text(key: str, kind: type, text: str, variable: str) -> Any:
    if kind is bool:
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off"):
            return False
        raise BadSetting(f"{variable} must be 1 or 0", cause=f"it is {text!r}")
    if kind is int:
        try:
            return int(text)
        except ValueError as error:
            raise BadSetting(f"{variable} must be a whole number", cause=f"it is {text!r}") from error
    return _checked(key, kind, text)
