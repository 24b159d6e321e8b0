"""Signers whom certificates name, as the authority writes them: issuer, subject and claims, whole texts or patterns.

::

    {"issuer": "https://token.actions.githubusercontent.com",
     "subject": {"pattern": "https://github.com/our-team/models/.github/workflows/train.yml@refs/tags/*"},
     "claims": {"source-repository-uri": "https://github.com/our-team/models"}}

The issuer is always named and always exact: who may say who somebody is decides everything else.
"""

from __future__ import annotations

from typing import Any

from weighbridge.core.canonical import JSON
from weighbridge.core.errors import UsageError
from weighbridge.trust.authority_words import malformed, members, text, typed
from weighbridge.trust.expect import CLAIMS, ExpectedIdentity, Words
from weighbridge.trust.pattern import Pattern

_NAMES = {number: name for name, number in CLAIMS.items()}


def keyless_json(expected: ExpectedIdentity) -> dict[str, JSON]:
    """Return whom a certificate must name, claims by the names of `expect.CLAIMS` where they have one."""
    claims: dict[str, JSON] = {
        _NAMES.get(number, number): _words_json(words) for number, words in expected.claims.items()
    }
    subject = {} if expected.subject is None else {"subject": _words_json(expected.subject)}
    issuer = {} if expected.issuer is None else {"issuer": _words_json(expected.issuer)}
    return {**issuer, **subject, **({"claims": claims} if claims else {})}


def read_keyless(value: Any, where: str) -> ExpectedIdentity:
    """Read whom a certificate must name; raises VerificationFailed(authority.form)."""
    members(value, ("issuer", "subject"), where, optional=("claims",))
    claims = typed(value.get("claims", {}), dict, f"claims of {where}")
    try:
        return ExpectedIdentity(
            subject=_words(value["subject"], f"the subject of {where}"),
            issuer=text(value["issuer"], f"the issuer of {where}"),
            claims={name: _words(words, f"the claim {name!r} of {where}") for name, words in claims.items()},
        )
    except UsageError as error:
        raise malformed(f"{where}: {error.problem}") from error


def _words(value: Any, what: str) -> Words:
    if isinstance(value, dict):
        members(value, ("pattern",), what)
        return Pattern(text(value["pattern"], what))
    return text(value, what)


def _words_json(words: Words) -> JSON:
    return {"pattern": words.source} if isinstance(words, Pattern) else words
