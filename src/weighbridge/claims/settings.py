"""Records of what a registry is set to, of who agreed, and of who may come in: they are about no model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from weighbridge.claims import readers
from weighbridge.claims.words import RECORD_ROLES
from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.clock import parse_rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.statement import Statement, Subject
from weighbridge.core.tier import Mode

KINDS = ("policy", "mode", "approval", "token", "setting")
GRANTED, ENDED = "granted", "ended"
"""What a record of a token says of it."""
RIGHTS = ("read", "submit", "attest", "approve", "admin")
"""What somebody who comes over HTTP may do in a project (`registry.access`)."""
_NAMESPACE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_KEY = re.compile(r"[a-z][a-z.-]{0,62}[a-z]")
_TOKEN = re.compile(r"[0-9a-f]{16}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def is_namespace(text: str) -> bool:
    """Tell whether a mode can be set for a namespace of this name: at most 63 letters, digits, `.`, `_` and `-`."""
    return _NAMESPACE.fullmatch(text) is not None


def subject_of(kind: str, body: Mapping[str, JSON]) -> Subject:
    """Return what such a record is about: the policy, the proposal, or the setting itself, by digest."""
    if kind in ("mode", "token", "setting"):
        return Subject(kind, (("sha256", Digest.of(canonical(dict(body))).hex),))
    name = "digest" if kind == "policy" else "bundle"
    return Subject(kind, (("sha256", Digest.parse(str(body[name])).hex),))


def check(kind: str, statement: Statement, body: Mapping[str, Any]) -> None:
    """Refuse (ValueError, TypeError, KeyError, BadReference) a body that is not of this kind.

    `policy`: digest, previous, and since policies are kept blob (or empty) and commit (or empty). `mode`: namespace (or
    empty), mode, previous (or empty), reason. `approval`: the proposal's bundle and kind. `token`: id, state, reason, and
    when it is granted holder, digest of the secret, rights and expiry. `setting`: key, value, previous, reason.
    """
    if statement.subjects != (subject_of(kind, body),):
        raise ValueError("its subject is not what its body speaks of")
    if kind == "policy":
        _sha256(body, "digest")
        for name in ("blob", "previous"):
            if body.get(name):
                _sha256(body, name)
        if body.get("commit") and not _COMMIT.fullmatch(readers.text(body, "commit")):
            raise ValueError("commit is not a git commit")
    elif kind == "token":
        _token(body)
    elif kind == "setting":
        if not _KEY.fullmatch(readers.text(body, "key")):
            raise ValueError("key is no name of a setting")
        for name in ("value", "previous"):
            readers.text(body, name, empty=True)
    elif kind == "mode":
        Mode(readers.text(body, "mode"))
        readers.text(body, "previous", empty=True)
        namespace = readers.text(body, "namespace", empty=True)
        if namespace and not is_namespace(namespace):
            raise ValueError("namespace is no name of a namespace")
    else:
        _sha256(body, "bundle")
        if readers.text(body, "kind") not in set(RECORD_ROLES) - {"approval"}:
            raise ValueError("it approves nothing that could be proposed")


def _token(body: Mapping[str, Any]) -> None:
    if not _TOKEN.fullmatch(readers.text(body, "id")):
        raise ValueError("id is not that of a token")
    state = readers.text(body, "state")
    if state not in (GRANTED, ENDED):
        raise ValueError(f"a token is {GRANTED} or {ENDED}")
    if state == ENDED:
        return
    _sha256(body, "digest")
    readers.text(body, "holder")
    parse_rfc3339(readers.text(body, "expires"))
    rights = body.get("rights")
    if not isinstance(rights, list) or not rights or not set(rights) <= set(RIGHTS):
        raise ValueError(f"rights are one or more of {', '.join(RIGHTS)}")


def _sha256(body: Mapping[str, Any], name: str) -> None:
    if Digest.parse(readers.text(body, name)).algorithm != "sha256":
        raise ValueError(f"{name} is not a SHA-256")
