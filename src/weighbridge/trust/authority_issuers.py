"""Whom the registry's certificate authority believes about who somebody is, as the authority writes them.

They stand in the signed document and not in a setting, because whoever can add an issuer can be anybody. An
issuer that rotates its keys gets a version of the document in which the old key ends and the new one begins.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from weighbridge.core.canonical import JSON
from weighbridge.core.errors import BadSetting
from weighbridge.trust.authority_services import WINDOW, read_window, window_json
from weighbridge.trust.authority_words import list_of, malformed, members, text, typed, whole, word_of

if TYPE_CHECKING:  # what reads tokens is needed where certificates are issued, and nowhere else
    from weighbridge.trust.issuers import PinnedKey, TrustedIssuer

_MEMBERS = ("url", "mapping", "within", "audience", "template", "server", "max_age", "keys")


def issuer_json(issuer: TrustedIssuer) -> dict[str, JSON]:
    """Return an issuer; `max_age` is in seconds, each key a JWK (RFC 7517) with its interval."""
    return {
        "url": issuer.url,
        "mapping": issuer.mapping,
        "within": list(issuer.within),
        "audience": issuer.audience,
        "template": issuer.template,
        "server": issuer.server,
        "max_age": int(issuer.max_age.total_seconds()),
        "keys": [{"jwk": dict(key.jwk), **window_json(key.window)} for key in issuer.keys],
    }


def read_issuers(value: Any) -> tuple[TrustedIssuer, ...]:
    """Read the issuers of a document; raises VerificationFailed(authority.form)."""
    found = tuple(_issuer(row) for row in list_of(value, "issuers"))
    urls = [issuer.url for issuer in found]
    if len(set(urls)) != len(urls):
        raise malformed("two issuers have the same URL")
    return found


def _issuer(row: Any) -> TrustedIssuer:
    from weighbridge.trust.issuers import MAPPINGS, TrustedIssuer

    members(row, _MEMBERS, "an issuer")
    url = text(row["url"], "the URL of an issuer")
    where = f"the issuer {url!r}"
    try:
        return TrustedIssuer(
            url=url,
            mapping=word_of(MAPPINGS, text(row["mapping"], "mapping"), f"mapping of {where}"),
            keys=tuple(_key(one, where) for one in list_of(row["keys"], f"keys of {where}")),
            within=tuple(
                text(one, f"within of {where}") for one in list_of(row["within"], f"within of {where}")
            ),
            audience=text(row["audience"], f"audience of {where}"),
            template=text(row["template"], f"template of {where}"),
            server=text(row["server"], f"server of {where}"),
            max_age=timedelta(seconds=whole(row["max_age"], f"max_age of {where}")),
        )
    except BadSetting as error:
        raise malformed(f"{where}: {error.cause}") from error


def _key(row: Any, where: str) -> PinnedKey:
    from weighbridge.trust.issuers import pinned_key

    members(row, ("jwk", *WINDOW), f"a key of {where}")
    try:
        return pinned_key(typed(row["jwk"], dict, f"a key of {where}"), read_window(row, f"a key of {where}"))
    except (ValueError, TypeError, KeyError) as error:
        raise malformed(f"{where}: {error}") from error
