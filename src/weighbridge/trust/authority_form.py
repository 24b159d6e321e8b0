"""Reading `weighbridge.authority/1` strictly: every member known and typed, every name in a closed set.

People edit this document, so a misspelled member is refused with the word that was probably meant: read
tolerantly, `valid_untill` would silently mean a key without an end.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from weighbridge.core.canonical import MAX_SAFE_INTEGER, parse
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.tier import Origin, Role, Stage
from weighbridge.keys.public import algorithm_of_pem
from weighbridge.trust.authority import (
    AUTHORITY_SCHEMA,
    Authority,
    AuthorityIdentity,
    AuthorityLog,
    Demand,
    Project,
    malformed,
)

MAX_DOCUMENT = 4 * 1024 * 1024
"""Bytes: some thousand identities."""

_HEAD = ("schema", "registry", "version", "issued", "expires", "roots", "identities", "logs", "projects")
_IDENTITY = ("pem", "algorithm", "valid_from", "valid_until", "evidence")

_E = TypeVar("_E", bound=StrEnum)


def read_authority(payload: bytes) -> Authority:
    """Read a document, believing nothing; raises VerificationFailed(authority.form)."""
    if len(payload) > MAX_DOCUMENT:
        raise malformed(f"it is larger than {MAX_DOCUMENT} bytes")
    try:
        return _document(parse(payload))
    except (ValueError, TypeError) as error:
        raise malformed(str(error)) from error
    except VerificationFailed as error:
        if error.check == "authority.form":
            raise
        raise malformed(f"{error.problem}: {error.cause}") from error


def _document(value: Any) -> Authority:
    if isinstance(value, dict) and value.get("schema") != AUTHORITY_SCHEMA:
        raise malformed(f"its schema is {value.get('schema')!r}, and {AUTHORITY_SCHEMA!r} is read here")
    _members(value, _HEAD, "the document")
    identities = _typed(value["identities"], dict, "identities")
    projects = _typed(value["projects"], dict, "projects")
    return Authority(
        registry=_typed(value["registry"], str, "registry"),
        version=_whole(value["version"], "version"),
        issued=_time(value["issued"], "issued"),
        expires=_time(value["expires"], "expires"),
        roots=tuple(_key(pem, "a root") for pem in _typed(value["roots"], list, "roots")),
        identities=tuple(_identity(name, row) for name, row in identities.items()),
        logs=tuple(_log(row) for row in _typed(value["logs"], list, "logs")),
        projects={name: _project(name, row) for name, row in projects.items()},
    )


def _identity(name: str, row: Any) -> AuthorityIdentity:
    where = f"the identity {name!r}"
    _members(row, _IDENTITY, where)
    pem = _key(row["pem"], where)
    if row["algorithm"] != algorithm_of_pem(pem):
        raise malformed(f"{where} says {row['algorithm']!r} and has a key of {algorithm_of_pem(pem)!r}")
    evidence = row["evidence"]
    _members(evidence, ("log", "timestamps", "witnesses"), f"the evidence of {name!r}")
    return AuthorityIdentity(
        name=name,
        pem=pem,
        valid_from=_time(row["valid_from"], f"valid_from of {name!r}"),
        valid_until=None
        if row["valid_until"] is None
        else _time(row["valid_until"], f"valid_until of {name!r}"),
        evidence=Demand(
            log=_typed(evidence["log"], bool, f"log of {name!r}"),
            timestamps=_whole(evidence["timestamps"], f"timestamps of {name!r}"),
            witnesses=_whole(evidence["witnesses"], f"witnesses of {name!r}"),
        ),
    )


def _log(row: Any) -> AuthorityLog:
    _members(row, ("origin", "pem"), "a log")
    return AuthorityLog(_typed(row["origin"], str, "origin"), _key(row["pem"], "a log"))


def _project(name: str, row: Any) -> Project:
    where = f"the project {name!r}"
    _members(row, ("roles", "require"), where)
    roles = {
        _word(Role, role, f"role in {where}"): tuple(
            _typed(holder, str, f"{role} in {where}")
            for holder in _typed(holders, list, f"{role} in {where}")
        )
        for role, holders in _typed(row["roles"], dict, f"roles of {where}").items()
    }
    require = {
        _word(Origin, origin, f"origin in {where}"): tuple(
            _word(Stage, stage, f"stage in {where}") for stage in _typed(stages, list, f"{origin} in {where}")
        )
        for origin, stages in _typed(row["require"], dict, f"require of {where}").items()
    }
    return Project(roles, require)


def _members(value: Any, known: tuple[str, ...], where: str) -> None:
    """Refuse anything but an object with exactly the members known."""
    if not isinstance(value, dict):
        raise malformed(f"{where} is not an object")
    for name in value:
        if name not in known:
            raise malformed(f"{where} has an unknown member {name!r}{_meant(name, known)}")
    for name in known:
        if name not in value:
            raise malformed(f"{where} lacks the member {name!r}")


def _word(words: type[_E], text: str, what: str) -> _E:
    try:
        return words(text)
    except ValueError:
        raise malformed(f"unknown {what}: {text!r}{_meant(text, [word.value for word in words])}") from None


def _meant(text: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(text, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _typed(value: Any, kind: type[Any], what: str) -> Any:
    if type(value) is not kind:
        raise malformed(f"{what} is not of type {kind.__name__}")
    return value


def _whole(value: Any, what: str) -> int:
    number: int = _typed(value, int, what)
    if not 0 <= number <= MAX_SAFE_INTEGER:
        raise malformed(f"{what} is out of range")
    return number


def _time(value: Any, what: str) -> datetime:
    text: str = _typed(value, str, what)
    try:
        moment = parse_rfc3339(text)
    except (ValueError, OverflowError):
        moment = None
    if moment is None or rfc3339(moment) != text:  # one spelling, so that one document has one digest
        raise malformed(f"{what}: {text!r} is not a time like 2026-11-22T20:10:00Z")
    return moment


def _key(value: Any, where: str) -> str:
    pem: str = _typed(value, str, f"the key of {where}")
    algorithm_of_pem(pem)
    return pem
