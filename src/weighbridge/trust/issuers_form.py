"""`weighbridge.issuers/1`: the issuers that a registry's certificate authority listens to, as a document.

::

    {"schema": "weighbridge.issuers/1", "issuers": [
        {"url": "https://token.actions.githubusercontent.com", "mapping": "github",
         "within": ["https://github.com/our-team"],
         "keys": [{"jwk": {"kty": "RSA", …}, "valid_from": "2026-11-22T20:05:00Z"}]}]}

`audience`, `template`, `server` and `max_age` (seconds) may be left out, as may `valid_from` and `valid_until` of a
key. An unknown member is refused: a rule that is misspelled would be a rule that is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.errors import BadSetting
from weighbridge.trust.dsse import describe, text
from weighbridge.trust.issuers import PinnedKey, TrustedIssuer, pinned_key, pinned_keys
from weighbridge.trust.minting import EARLY
from weighbridge.trust.roots import Window

SCHEMA = "weighbridge.issuers/1"
MAX_DOCUMENT = 1024 * 1024

_TEXTS = ("audience", "template", "server")
_MEMBERS = {"url", "mapping", "within", "keys", "max_age", *_TEXTS}
_KEY_MEMBERS = {"jwk", "valid_from", "valid_until"}


def read_issuers(data: bytes) -> tuple[TrustedIssuer, ...]:
    """Read the document; raises BadSetting(token.issuer) for anything that is not wholly understood."""
    try:
        if len(data) > MAX_DOCUMENT:
            raise ValueError(f"it is larger than {MAX_DOCUMENT} bytes")
        document: Any = parse(data)
        _check_members(document, {"schema", "issuers"})
        if document["schema"] != SCHEMA or not isinstance(document["issuers"], list):
            raise ValueError(f"it is not a document of schema {SCHEMA}")
        return tuple(issuer_of(row) for row in document["issuers"])
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise BadSetting(
            "this is not a list of issuers",
            cause=describe(error),
            remedy=f"write it as schema {SCHEMA} says, with public keys (JWK) of each issuer",
            check="token.issuer",
        ) from error


def write_issuers(issuers: Sequence[TrustedIssuer]) -> bytes:
    """Return the document, canonical; every member is written."""
    rows: list[JSON] = [issuer_json(issuer) for issuer in issuers]
    return canonical({"schema": SCHEMA, "issuers": rows})


def issuer_json(issuer: TrustedIssuer) -> dict[str, JSON]:
    """Return one row of the document, every member written."""
    return {
        "url": issuer.url,
        "mapping": issuer.mapping,
        "within": list(issuer.within),
        "audience": issuer.audience,
        "template": issuer.template,
        "server": issuer.server,
        "max_age": int(issuer.max_age.total_seconds()),
        "keys": [_key_json(key) for key in issuer.keys],
    }


def repinned(issuer: TrustedIssuer, jwks: bytes, at: datetime) -> TrustedIssuer:
    """Return the issuer after it rotated its keys: what `jwks` no longer holds ends at `at`, what is new begins.

    Raises BadSetting(token.keys). Keys that had ended before stay ended, whatever `jwks` holds.
    """
    fresh = {canonical(dict(key.jwk)): key for key in pinned_keys(jwks, Window(at - EARLY, None))}
    known = {canonical(dict(key.jwk)) for key in issuer.keys}
    kept = tuple(
        key
        if canonical(dict(key.jwk)) in fresh or (key.window.end is not None and key.window.end <= at)
        else replace(key, window=Window(key.window.start, at))
        for key in issuer.keys
    )
    new = tuple(key for encoded, key in fresh.items() if encoded not in known)
    return replace(issuer, keys=(*kept, *new))


def issuer_of(row: Any) -> TrustedIssuer:
    """Read one row; raises BadSetting, ValueError, TypeError, KeyError or OverflowError."""
    _check_members(row, _MEMBERS)
    within, keys = row["within"], row["keys"]
    if not isinstance(within, list) or not isinstance(keys, list):
        raise ValueError("within and keys are lists")  # noqa: TRY004 (one error type for callers)
    given: dict[str, Any] = {name: text(row[name]) for name in _TEXTS if name in row}
    if "max_age" in row:
        if type(row["max_age"]) is not int:
            raise ValueError("max_age is a number of seconds")
        given["max_age"] = timedelta(seconds=row["max_age"])
    return TrustedIssuer(
        url=text(row["url"]),
        mapping=row["mapping"],
        keys=tuple(_key(key) for key in keys),
        within=tuple(text(rule) for rule in within),
        **given,
    )


def _key(row: Any) -> PinnedKey:
    _check_members(row, _KEY_MEMBERS)
    start, end = (
        None if row.get(name) is None else parse_rfc3339(text(row[name]))
        for name in ("valid_from", "valid_until")
    )
    if start is not None and end is not None and end < start:
        raise ValueError("a key ends before it begins")
    return pinned_key(row["jwk"], Window(start, end))


def _key_json(key: PinnedKey) -> JSON:
    start, end = key.window.start, key.window.end
    return {
        "jwk": dict(key.jwk),
        "valid_from": rfc3339(start) if start else None,
        "valid_until": rfc3339(end) if end else None,
    }


def _check_members(row: Any, known: set[str]) -> None:
    if not isinstance(row, dict):
        raise ValueError("an object was expected")  # noqa: TRY004 (one error type for callers)
    if strangers := sorted(set(row) - known):
        raise ValueError(f"there is an unknown member {strangers[0]!r}")
