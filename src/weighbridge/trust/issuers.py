"""Whom we let vouch for people and machines: issuers, their pinned keys, and whom each of them may vouch for.

An issuer's keys (a JWKS, RFC 7517) are pinned: never fetched when a token arrives, never taken from a token.
Several may be in force at once, each with its window, so that an issuer's rotation breaks nothing. The
mapping says how a verified token becomes a subject, and `within` who that may be; both are as in Fulcio's
configuration, but that a rule left out admits nobody. The one way to admit everybody is the rule `*`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

from weighbridge.core.canonical import parse
from weighbridge.core.errors import BadSetting, VerificationFailed
from weighbridge.core.identity import DEVELOPMENT_ISSUER
from weighbridge.trust import fulcio
from weighbridge.trust.dsse import describe
from weighbridge.trust.proof import SubjectKind
from weighbridge.trust.roots import Window

AUDIENCE = "sigstore"
EVERYBODY = "*"
MAX_KEYS = 32

Naming: TypeAlias = Literal[
    "email", "uri", "spiffe", "kubernetes", "github", "gitlab", "username", "development"
]
MAPPINGS: tuple[Naming, ...] = get_args(Naming)

ALGORITHMS: Mapping[tuple[str, str], tuple[str, ...]] = MappingProxyType(
    {
        ("RSA", ""): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
        ("EC", "P-256"): ("ES256",),
        ("EC", "P-384"): ("ES384",),
        ("EC", "P-521"): ("ES512",),
        ("OKP", "Ed25519"): ("EdDSA",),
    }
)
"""What a key of each kind may sign with (RFC 7518, RFC 8037); `none` and HMAC are nobody's."""

_EMAIL = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]{1,64}@(?P<domain>[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+)"
)
_URI = re.compile(r"[a-z][a-z0-9+.-]{0,31}:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]{1,1024}")
_DOTS = re.compile(r"(?:^|/)(?:\.|%2[eE]){1,2}(?:/|$|[?#])|%2[fF]|%5[cC]")
_USER = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SPIFFE = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/[A-Za-z0-9._-]{1,255}){1,32}")
_ACCOUNT = re.compile(r"system:serviceaccount:(?P<space>[a-z0-9-]{1,63}):(?P<name>[a-z0-9.-]{1,253})")
_PLACE = re.compile(r"\{(\+?)([A-Za-z0-9_]+)\}")
_PLAIN = re.compile(r"[A-Za-z0-9._~-]+")
_SERVER = re.compile(r"https://[a-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~-]+)*")


@dataclass(frozen=True, slots=True)
class PinnedKey:
    """One key of an issuer: its JWK, the algorithms it may be used with, and when tokens by it count."""

    jwk: Mapping[str, Any]
    algorithms: tuple[str, ...]
    window: Window = field(default_factory=Window)

    @property
    def kid(self) -> str:
        """The key's name in token headers; empty when it has none."""
        return str(self.jwk.get("kid", ""))


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """An issuer and what it may vouch for; building one checks it, raises BadSetting.

    `within` holds, by mapping: domains of addresses (`email`), trust domains (`spiffe`), the one domain that
    user names get (`username`), URIs below which the source repository (`github`, `gitlab`) or the subject
    (all others) must lie.
    """

    url: str
    mapping: Naming
    keys: tuple[PinnedKey, ...]
    within: tuple[str, ...]
    audience: str = AUDIENCE
    template: str = "{+sub}"
    """For `uri`: the subject, with claims in braces as in RFC 6570: `{job}` takes a claim of letters, digits,
    `-`, `.`, `_` and `~` only, `{+path}` one that may hold slashes and whatever else a URI has."""
    server: str = ""
    """For `github` and `gitlab`: the host's URL, when it is not the public one."""
    max_age: timedelta = timedelta(hours=1)

    def __post_init__(self) -> None:
        if self.mapping not in MAPPINGS:
            raise _unfit(self.url, f"its mapping is not one of {', '.join(MAPPINGS)}")
        if (self.url == DEVELOPMENT_ISSUER) != (self.mapping == "development"):
            raise _unfit(self.url, f"the mapping 'development' and {DEVELOPMENT_ISSUER} belong together")
        if not self.url or not self.audience or not self.keys or not self.within or not all(self.within):
            raise _unfit(self.url, "it needs a URL, an audience, keys, and rules for whom it may vouch for")
        if self.mapping == "username" and (len(self.within) != 1 or EVERYBODY in self.within):
            raise _unfit(self.url, "user names need the one domain they belong to")
        if self.server and _SERVER.fullmatch(self.server) is None:
            raise _unfit(self.url, "its server is not an https URL without a slash at its end")
        if self.max_age <= timedelta(0):
            raise _unfit(self.url, "its tokens would be too old when they are made")

    def keys_for(self, kid: str | None, algorithm: str, now: datetime) -> tuple[PinnedKey, ...]:
        """Return the keys in force that a token with this header may be signed with."""
        return tuple(
            key
            for key in self.keys
            if algorithm in key.algorithms and key.window.holds(now) and (kid is None or key.kid == kid)
        )

    def subject_of(self, claims: Mapping[str, Any]) -> tuple[str, SubjectKind, Mapping[str, str]]:
        """Return subject, its kind and the claims for a certificate; raises VerificationFailed."""
        found = _MADE[self.mapping](self, claims)
        return found.subject, found.kind, found.claims


@dataclass(frozen=True, slots=True)
class _Named:
    subject: str
    kind: SubjectKind
    claims: Mapping[str, str] = field(default_factory=dict)


def pinned_keys(jwks: bytes, window: Window | None = None) -> tuple[PinnedKey, ...]:
    """Read a JWKS document; raises BadSetting for keys that cannot be used, symmetric ones foremost."""
    try:
        document: Any = parse(jwks)
        rows = document["keys"]
        if not 0 < len(rows) <= MAX_KEYS:
            raise ValueError(f"it holds 1 to {MAX_KEYS} keys")
        return tuple(pinned_key(row, window) for row in rows)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadSetting(
            "this is not a set of public keys (JWKS) that can be pinned",
            cause=describe(error),
            remedy="fetch it from the jwks_uri of the issuer, and compare it with what the issuer publishes",
            check="token.keys",
        ) from error


def pinned_key(jwk: Mapping[str, Any], window: Window | None = None) -> PinnedKey:
    """Read one JWK; raises ValueError, TypeError or KeyError when it is not a public signing key we know."""
    kind = (jwk["kty"], jwk.get("crv", ""))
    if kind not in ALGORITHMS:
        raise ValueError(f"a key of kind {' '.join(map(str, kind)).strip()} is not used")
    allowed = ALGORITHMS[kind]
    if jwk.get("alg") is not None:
        if jwk["alg"] not in allowed:
            raise ValueError(f"the algorithm {jwk['alg']!r} does not fit its key")
        allowed = (jwk["alg"],)
    if jwk.get("use", "sig") not in ("sig", "jwt-svid") or "verify" not in jwk.get("key_ops", ["verify"]):
        raise ValueError("a key is not meant for signatures")
    if "d" in jwk:
        raise ValueError("a private key has no place here")
    if not isinstance(jwk.get("kid", ""), str):
        raise ValueError("a key's name (kid) is not text")  # noqa: TRY004 (one error type for callers)
    _usable(jwk, allowed[0])
    return PinnedKey(MappingProxyType(dict(jwk)), allowed, window or Window())


def _usable(jwk: Mapping[str, Any], algorithm: str) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from jwt import PyJWK, PyJWTError

    try:
        key = PyJWK(dict(jwk), algorithm).key
    except PyJWTError as error:
        raise ValueError(f"a key cannot be read: {error}") from error
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048:
        raise ValueError("an RSA key has fewer than 2048 bits")


def _email(issuer: TrustedIssuer, claims: Mapping[str, Any]) -> _Named:
    address = _text(claims, "email")
    if claims.get("email_verified") is not True:
        raise _stranger(issuer, address, "the issuer does not say that the address was verified")
    match = _EMAIL.fullmatch(address)
    if match is None:
        raise _stranger(issuer, address, "this is not an address")
    domains = {domain.lower() for domain in issuer.within}
    if EVERYBODY not in domains and match["domain"].lower() not in domains:
        raise _stranger(issuer, address, f"it may vouch for {', '.join(sorted(domains))}")
    return _Named(address, "email")


def _uri(issuer: TrustedIssuer, claims: Mapping[str, Any]) -> _Named:
    def said(match: re.Match[str]) -> str:
        value = _text(claims, match[2])
        if not match[1] and _PLAIN.fullmatch(value) is None:
            raise _stranger(issuer, value, f"the claim {match[2]!r} would be more than one part of the URI")
        return value

    subject = _PLACE.sub(said, issuer.template)
    return _Named(_within(issuer, subject, subject), "uri")


def _spiffe(issuer: TrustedIssuer, claims: Mapping[str, Any]) -> _Named:
    subject = _text(claims, "sub")
    if _SPIFFE.fullmatch(subject) is None or _DOTS.search(subject):
        raise _stranger(issuer, subject, "this is not a SPIFFE ID with a path")
    if EVERYBODY not in issuer.within and subject.split("/")[2] not in issuer.within:
        raise _stranger(issuer, subject, f"its trust domains are {', '.join(issuer.within)}")
    return _Named(subject, "uri")


def _kubernetes(issuer: TrustedIssuer, claims: Mapping[str, Any]) -> _Named:
    account, said = _text(claims, "sub"), claims.get("kubernetes.io")
    match = _ACCOUNT.fullmatch(account)
    if match is None:
        raise _stranger(issuer, account, "this is not a service account")
    inner = said.get("serviceaccount") if isinstance(said, dict) else None
    name = inner.get("name") if isinstance(inner, dict) else None
    if not isinstance(said, dict) or (said.get("namespace"), name) != (match["space"], match["name"]):
        raise _stranger(issuer, account, "the claim 'kubernetes.io' names another service account")
    subject = f"https://kubernetes.io/namespaces/{match['space']}/serviceaccounts/{match['name']}"
    return _Named(_within(issuer, subject, subject), "uri")


def _username(issuer: TrustedIssuer, claims: Mapping[str, Any]) -> _Named:
    user = _text(claims, "sub")
    if _USER.fullmatch(user) is None:
        raise _stranger(issuer, user, "a user name has letters, digits, '.', '_' and '-' only")
    return _Named(f"{user}!{issuer.within[0]}", "other-name")


def _github(issuer: TrustedIssuer, claims: Mapping[str, Any]) -> _Named:
    subject, repository, said = fulcio.github(claims, issuer.server or "https://github.com")
    _within(issuer, repository, subject)
    return _Named(subject, "uri", said)


def _gitlab(issuer: TrustedIssuer, claims: Mapping[str, Any]) -> _Named:
    subject, repository, said = fulcio.gitlab(claims, issuer.server or "https://gitlab.com")
    _within(issuer, repository, subject)
    return _Named(subject, "uri", said)


def _development(issuer: TrustedIssuer, claims: Mapping[str, Any]) -> _Named:
    return _email(issuer, claims) if "email" in claims else _uri(issuer, claims)


_MADE = {
    "email": _email,
    "uri": _uri,
    "spiffe": _spiffe,
    "kubernetes": _kubernetes,
    "github": _github,
    "gitlab": _gitlab,
    "username": _username,
    "development": _development,
}


def _within(issuer: TrustedIssuer, place: str, subject: str) -> str:
    """Return `place` when it is a plain URI at or below one of the issuer's; segments are compared whole."""
    for text in (place, subject):
        if _URI.fullmatch(text) is None or _DOTS.search(text):
            raise _stranger(issuer, text, "this is not a URI, or it walks upwards")
    for rule in issuer.within:
        stem = rule if rule.endswith(("/", ":")) else f"{rule}/"
        if rule in (EVERYBODY, place) or place.startswith(stem):
            return place
    raise _stranger(issuer, place, f"it may vouch for what lies below {', '.join(issuer.within)}")


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise VerificationFailed(
            f"the token has no {name!r}",
            cause="without it nobody is named",
            remedy="check which kind of issuer this is, and which claims it puts into its tokens",
            check="token.claims",
        )
    return value


def _stranger(issuer: TrustedIssuer, subject: str, cause: str) -> VerificationFailed:
    return VerificationFailed(
        f"{issuer.url} may not vouch for {subject[:200]!r}",
        cause=cause,
        remedy="use a token of the issuer that knows this subject, or change the issuer's rules",
        check="token.subject",
    )


def _unfit(url: str, cause: str) -> BadSetting:
    return BadSetting(
        f"the issuer {url!r} cannot be trusted as it is written",
        cause=cause,
        remedy="correct its entry",
        check="token.issuer",
    )
