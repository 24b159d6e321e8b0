"""Identity tokens (OpenID Connect, RFC 7519) verified against pinned keys: numbered steps, no network, time passed in.

| step | check | by |
|---|---|---|
| 1 | `token.form` | RFC 7515 compact form, each part in its one spelling, JSON without duplicate members |
| 2 | `token.algorithm` | RFC 8725 section 3.1: an algorithm that our keys have; no `none`, no HMAC, no extensions |
| 3 | `token.issuer` | RFC 7519 section 4.1.1: exactly the URL of an issuer we were given |
| 4 | `token.key` | a pinned key of that issuer, in force now, of that name and for that algorithm |
| 5 | `token.signature` | RFC 7515 section 5.2 |
| 6 | `token.audience` | RFC 7519 section 4.1.3: made for us and for nobody else |
| 7 | `token.time` | `exp`, `nbf`, `iat`, and an age of at most the issuer's |
| 8 | `token.claims`, `token.subject` | the issuer's mapping: who that is, and whether it may vouch for them |
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from weighbridge.core.canonical import parse
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import BadSetting, VerificationFailed
from weighbridge.trust.dsse import describe
from weighbridge.trust.issuers import ALGORITHMS, PinnedKey, TrustedIssuer
from weighbridge.trust.tokens import SKEW, Token

MAX_TOKEN = 16 * 1024
MAX_TIME = 253_370_764_800
"""Seconds: the beginning of the year 9999, so that a minute of skew stays in the calendar."""

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_TYPES = (None, "jwt", "jose")
_KNOWN = frozenset(name for names in ALGORITHMS.values() for name in names)


class TokenVerifier:
    """Holds the issuers, each URL once; raises BadSetting(token.issuer) for two of the same."""

    def __init__(self, issuers: Sequence[TrustedIssuer]) -> None:
        self.issuers: Mapping[str, TrustedIssuer] = {issuer.url: issuer for issuer in issuers}
        if len(self.issuers) != len(issuers):
            raise BadSetting(
                "an issuer stands here twice",
                cause="which of its rules counts could not be told",
                remedy="put all its keys into one entry",
                check="token.issuer",
            )

    def verify(self, jwt: str, now: datetime) -> Token:
        """Return who a token is about, after all eight steps; raises VerificationFailed naming the step."""
        header, claims = _read(jwt)
        algorithm = _algorithm(header)
        issuer = self._issuer(claims)
        _check_signature(jwt, issuer, header.get("kid"), algorithm, now)
        _check_audience(claims, issuer)
        expires = _check_times(claims, issuer, now)
        subject, kind, said = issuer.subject_of(claims)
        return Token(issuer.url, subject, kind, expires, _challenges(claims), said)

    def _issuer(self, claims: Mapping[str, Any]) -> TrustedIssuer:
        # 3. Exactly: no trailing slash is forgiven, for two spellings would be two issuers elsewhere.
        url = claims.get("iss")
        issuer = self.issuers.get(url) if isinstance(url, str) else None
        if issuer is None:
            raise VerificationFailed(
                f"nobody here trusts the issuer {str(url)[:200]!r}",
                cause=f"trusted are {', '.join(sorted(self.issuers)) or 'none'}",
                remedy="get a token from one of them, or trust this issuer and pin its keys",
                check="token.issuer",
            )
        return issuer


def _read(jwt: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    # 1. Both parts are read strictly, as whoever made the token and whoever reads it must see the same.
    try:
        if len(jwt) > MAX_TOKEN:
            raise ValueError(f"it is longer than {MAX_TOKEN} characters")
        match = _COMPACT.fullmatch(jwt)
        if match is None:
            raise ValueError("it is not three parts of base64url with a dot between each")
        header, claims = (parse(_base64url(match[number])) for number in (1, 2))
        _base64url(match[3])
        if not isinstance(header, dict) or not isinstance(claims, dict):
            raise ValueError("header and claims are not objects")  # noqa: TRY004 (one error type)
    except (ValueError, binascii.Error) as error:
        raise VerificationFailed(
            "this is not an identity token",
            cause=describe(error),
            remedy="hand in the token as the issuer gave it (a JWT in compact form)",
            check="token.form",
        ) from error
    return header, claims


def _algorithm(header: Mapping[str, Any]) -> str:
    # 2. The list is ours; the token only chooses among what the issuer's keys have (step 4).
    algorithm, kind, kid = header.get("alg"), header.get("typ"), header.get("kid")
    cause = ""
    if not isinstance(algorithm, str) or algorithm not in _KNOWN:
        cause = f"{str(algorithm)[:40]!r} is not one of {', '.join(sorted(_KNOWN))}"
    elif "crit" in header or "b64" in header:
        cause = "it demands extensions that are not known here"
    elif kind is not None and (not isinstance(kind, str) or kind.lower() not in _TYPES):
        cause = f"its type {str(kind)[:40]!r} is not that of an identity token"
    elif kid is not None and not isinstance(kid, str):
        cause = "the name of its key is not text"
    if cause:
        raise VerificationFailed(
            "the token is signed in a way that is not accepted",
            cause=cause,
            remedy="get an identity token signed with the issuer's public-key algorithm",
            check="token.algorithm",
        )
    return str(algorithm)


def _check_signature(jwt: str, issuer: TrustedIssuer, kid: str | None, algorithm: str, now: datetime) -> None:
    # 4. A key that was pinned. What the header brings (jwk, jku, x5c) is not looked at.
    keys = issuer.keys_for(kid, algorithm, now)
    if not keys:
        raise VerificationFailed(
            f"no pinned key of {issuer.url} fits the token",
            cause=f"it names the key {str(kid)[:100]!r} for {algorithm}; pinned are "
            + ", ".join(f"{key.kid!r} for {' '.join(key.algorithms)}" for key in issuer.keys),
            remedy="when the issuer has rotated its keys, pin its new ones beside the old",
            check="token.key",
        )
    # 5. The signature covers header and claims as they were sent.
    if not any(_signed_by(jwt, key, algorithm) for key in keys):
        raise VerificationFailed(
            f"the token is not signed by {issuer.url}",
            cause="it was changed, or somebody else made it",
            remedy="get a new token from the issuer",
            check="token.signature",
        )


def _signed_by(jwt: str, key: PinnedKey, algorithm: str) -> bool:
    from jwt import PyJWK, PyJWS, PyJWTError

    try:
        PyJWS(algorithms=[algorithm]).decode(jwt, PyJWK(dict(key.jwk), algorithm), algorithms=[algorithm])
    except PyJWTError:
        return False
    return True


def _check_audience(claims: Mapping[str, Any], issuer: TrustedIssuer) -> None:
    # 6. A token for two could be shown to us by the other.
    audience = claims.get("aud")
    if audience not in (issuer.audience, [issuer.audience]):
        raise VerificationFailed(
            "the token was made for somebody else",
            cause=f"its audience is {str(audience)[:200]!r}, expected exactly {issuer.audience!r}",
            remedy=f"ask the issuer for a token with the audience {issuer.audience}",
            check="token.audience",
        )


def _check_times(claims: Mapping[str, Any], issuer: TrustedIssuer, now: datetime) -> datetime:
    # 7. Issued, begun, not ended, not older than we accept; `exp` and `iat` must be there.
    expires, issued = _moment(claims, "exp"), _moment(claims, "iat")
    begins = _moment(claims, "nbf") if claims.get("nbf") is not None else issued
    cause = ""
    if expires <= issued:
        cause = "it ends before it begins"
    elif now >= expires + SKEW:
        cause = f"it ended {rfc3339(expires)}"
    elif max(issued, begins) > now + SKEW:
        cause = f"it begins {rfc3339(max(issued, begins))}"
    elif now - issued > issuer.max_age + SKEW:
        cause = f"it was issued {rfc3339(issued)}, longer ago than {issuer.max_age}"
    if cause:
        raise VerificationFailed(
            "the token does not count now",
            cause=f"{cause}; now is {rfc3339(now)}",
            remedy="get a new token, or set this machine's clock",
            check="token.time",
        )
    return expires


def _moment(claims: Mapping[str, Any], name: str) -> datetime:
    """Read a NumericDate (RFC 7519 section 2): seconds since 1970, which may have a fraction."""
    value: Any = claims.get(name)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= MAX_TIME:
        raise VerificationFailed(
            f"the token does not say {name!r} as a time",
            cause=f"found {str(value)[:40]!r}",
            remedy="get a token from an issuer that dates its tokens",
            check="token.time",
        )
    return datetime.fromtimestamp(value, UTC)


def _challenges(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a client may sign to prove its key: `sub`, and an address that the issuer verified."""
    rows = [claims.get("sub")]
    if claims.get("email_verified") is True:
        rows.append(claims.get("email"))
    return tuple(row for row in rows if isinstance(row, str) and row)


def _base64url(text: str) -> bytes:
    """Read base64url without padding (RFC 7515 section 2) in its one canonical spelling."""
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(data).decode("ascii").rstrip("=") != text:
        raise ValueError("base64url is not in its one canonical spelling")
    return data
