"""Reading `weighbridge.authority/1` strictly: every member known and typed, every name in a closed set.

People edit this document, so a misspelled member is refused with the word that was probably meant: read
tolerantly, `valid_untill` would silently mean a key without an end.
"""

from __future__ import annotations

from typing import Any

from weighbridge.core.canonical import parse
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.tier import Origin, Role, Stage
from weighbridge.keys.ports import CLAIM_ALGORITHMS
from weighbridge.keys.public import algorithm_of_pem
from weighbridge.trust.authority import (
    AUTHORITY_SCHEMA,
    Authority,
    AuthorityIdentity,
    AuthorityLog,
    Project,
)
from weighbridge.trust.authority_approvals import read_approvals
from weighbridge.trust.authority_issuers import read_issuers
from weighbridge.trust.authority_keyless import read_keyless
from weighbridge.trust.authority_services import MEMBERS, WINDOW, read_services, read_window
from weighbridge.trust.authority_words import malformed, members, moment, text, typed, whole, word
from weighbridge.trust.demand import Demand
from weighbridge.trust.roots import Window

MAX_DOCUMENT = 4 * 1024 * 1024
"""Bytes: some thousand identities."""

_HEAD = ("schema", "registry", "version", "issued", "expires", "roots", "identities", "logs", "projects")
_OPTIONAL = (*MEMBERS, "checkpoint_age", "issuers", "approvals", "demonstration")
_DEMAND = ("logs", "timestamps", "scts", "times", "witnesses", "checkpoint_age")
_FIRST_DEMAND = ("log", "timestamps", "witnesses")
_IDENTITY = ("valid_from", "valid_until", "evidence")


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
    members(value, _HEAD, "the document", optional=_OPTIONAL)
    identities = typed(value["identities"], dict, "identities")
    projects = typed(value["projects"], dict, "projects")
    return Authority(
        registry=typed(value["registry"], str, "registry"),
        version=whole(value["version"], "version"),
        issued=moment(value["issued"], "issued"),
        expires=moment(value["expires"], "expires"),
        roots=tuple(_key(pem, "a root") for pem in typed(value["roots"], list, "roots")),
        identities=tuple(_identity(name, row) for name, row in identities.items()),
        logs=tuple(_log(row) for row in typed(value["logs"], list, "logs")),
        projects={name: _project(name, row) for name, row in projects.items()},
        trusted=read_services(value),
        demonstration=typed(value.get("demonstration", False), bool, "demonstration"),
        issuers=read_issuers(value["issuers"]) if "issuers" in value else (),
        approvals=read_approvals(value["approvals"]) if "approvals" in value else {},
        checkpoint_age=whole(value["checkpoint_age"], "checkpoint_age")
        if "checkpoint_age" in value
        else None,
    )


def _identity(name: str, row: Any) -> AuthorityIdentity:
    where = f"the identity {name!r}"
    keyless = isinstance(row, dict) and "keyless" in row
    members(row, (*_IDENTITY, *(("keyless",) if keyless else ("pem", "algorithm"))), where)
    pem = "" if keyless else _key(row["pem"], where)
    if not keyless and row["algorithm"] != algorithm_of_pem(pem):
        raise malformed(f"{where} says {row['algorithm']!r} and has a key of {algorithm_of_pem(pem)!r}")
    return AuthorityIdentity(
        name=name,
        pem=pem,
        valid_from=moment(row["valid_from"], f"valid_from of {name!r}"),
        valid_until=None
        if row["valid_until"] is None
        else moment(row["valid_until"], f"valid_until of {name!r}"),
        evidence=_demand(row["evidence"], name),
        keyless=read_keyless(row["keyless"], where) if keyless else None,
    )


def _demand(row: Any, name: str) -> Demand:
    """Read how much proof a signer owes: every member, or the three of the document's first form."""
    where = f"the evidence of {name!r}"
    first = isinstance(row, dict) and "log" in row
    members(row, _FIRST_DEMAND if first else _DEMAND, where)
    try:
        return Demand.from_json(row)
    except ValueError as error:
        raise malformed(f"{where}: {error}") from error


def _log(row: Any) -> AuthorityLog:
    ends = isinstance(row, dict) and any(name in row for name in WINDOW)
    members(row, ("origin", "pem", *(WINDOW if ends else ())), "a log")
    window = read_window(row, "a log") if ends else Window()
    return AuthorityLog(text(row["origin"], "origin"), _key(row["pem"], "a log"), window)


def _project(name: str, row: Any) -> Project:
    where = f"the project {name!r}"
    members(row, ("roles", "require"), where)
    roles = {
        word(Role, role, f"role in {where}"): tuple(
            typed(holder, str, f"{role} in {where}") for holder in typed(holders, list, f"{role} in {where}")
        )
        for role, holders in typed(row["roles"], dict, f"roles of {where}").items()
    }
    require = {
        word(Origin, origin, f"origin in {where}"): tuple(
            word(Stage, stage, f"stage in {where}") for stage in typed(stages, list, f"{origin} in {where}")
        )
        for origin, stages in typed(row["require"], dict, f"require of {where}").items()
    }
    return Project(roles, require)


def _key(value: Any, where: str) -> str:
    pem = text(value, f"the key of {where}")
    if algorithm_of_pem(pem) not in CLAIM_ALGORITHMS:
        raise malformed(f"the key of {where} is of a kind that signs no claims")
    return pem
