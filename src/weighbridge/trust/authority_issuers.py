"""Whom the registry's certificate authority believes about who somebody is, as members of the authority.

They stand in the signed document and not in a setting, because whoever can add an issuer can be anybody. An
issuer that rotates its keys gets a version of the document in which the old key ends and the new one begins.
The rows are those of `weighbridge.issuers/1` (see `issuers_form`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weighbridge.core.errors import BadSetting
from weighbridge.trust.authority_words import list_of, malformed
from weighbridge.trust.dsse import describe

if TYPE_CHECKING:  # what reads tokens is needed where certificates are issued, and nowhere else
    from weighbridge.core.canonical import JSON
    from weighbridge.trust.issuers import TrustedIssuer


def issuers_json(issuers: tuple[TrustedIssuer, ...]) -> dict[str, JSON]:
    """Return the member that these issuers need; none for none."""
    if not issuers:
        return {}
    from weighbridge.trust.issuers_form import issuer_json

    return {"issuers": [issuer_json(issuer) for issuer in issuers]}


def read_issuers(value: Any) -> tuple[TrustedIssuer, ...]:
    """Read the member; raises VerificationFailed(authority.form)."""
    rows = list_of(value, "issuers")
    if not rows:
        return ()
    from weighbridge.trust.issuers_form import issuer_of

    try:
        found = tuple(issuer_of(row) for row in rows)
    except BadSetting as error:
        raise malformed(f"an issuer: {error.problem}; {error.cause}") from error
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise malformed(f"an issuer: {describe(error)}") from error
    urls = [issuer.url for issuer in found]
    if len(set(urls)) != len(urls):
        raise malformed("two issuers have the same URL")
    return found
