"""Where clients sign (Sigstore SigningConfig v0.2), and the one file that a private instance is used with.

Addresses stand here and nowhere else: a trusted root names keys, and its `baseUrl` is a name, not an address.
`client_trust_config` puts both into a ClientTrustConfig v0.1, which `sigstore --trust-config` and
`model_signing --trust_config` take. Source: sigstore_trustroot.proto of the protobuf specifications.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import BadSetting
from weighbridge.trust.roots import Roots
from weighbridge.trust.trusted_root import write_trusted_root

MEDIA_TYPE = "application/vnd.dev.sigstore.signingconfig.v0.2+json"
CLIENT_MEDIA_TYPE = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
TIMESTAMP_PATH = "/api/v1/timestamp"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses of one instance, in use from `since` on; building one checks them, raises BadSetting."""

    ca: str
    """Fulcio v2: clients append `/api/v2/signingCert`."""
    log: str
    """Rekor: clients append `/api/v1/log/entries` or `/api/v2/log/entries`."""
    tsa: str
    """The whole address of the timestamp authority: clients append nothing."""
    oidc: str
    """The issuer: clients append `/.well-known/openid-configuration`."""
    since: datetime
    log_version: Literal[1, 2] = 1
    operator: str = ""

    def __post_init__(self) -> None:
        for url in (self.ca, self.log, self.tsa, self.oidc):
            parts = urlsplit(url)
            plain = not (parts.query or parts.fragment or parts.username or url.endswith("/"))
            if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
                raise BadSetting(
                    f"{url!r} is not an address that clients can append to",
                    cause="it needs http or https and a host, and no query, user or slash at its end",
                    remedy="write it as http://127.0.0.1:8091",
                )

    @classmethod
    def at(
        cls,
        url: str,
        since: datetime,
        *,
        log_version: Literal[1, 2] = 1,
        operator: str = "",
        oidc: str = "",
    ) -> Endpoints:
        """Return the addresses of an instance that serves everything on one port; `oidc` when others issue tokens."""
        base = url.rstrip("/")
        stamps = base + TIMESTAMP_PATH
        return cls(base, base, stamps, oidc or base, since, log_version, operator)


def write_signing_config(endpoints: Endpoints) -> bytes:
    """Return a SigningConfig v0.2, canonical: one service of each kind, any of which will do."""
    return canonical(_signing_config(endpoints))


def client_trust_config(roots: Roots, endpoints: Endpoints) -> bytes:
    """Return a ClientTrustConfig v0.1, canonical: whose word is taken, and where to sign."""
    trusted: Any = parse(write_trusted_root(roots))
    config = _signing_config(endpoints)
    return canonical({"mediaType": CLIENT_MEDIA_TYPE, "trustedRoot": trusted, "signingConfig": config})


def _signing_config(endpoints: Endpoints) -> dict[str, JSON]:
    def service(url: str, version: int = 1) -> list[JSON]:
        row: dict[str, JSON] = {
            "url": url,
            "majorApiVersion": version,
            "validFor": {"start": rfc3339(endpoints.since)},
            "operator": endpoints.operator,
        }
        return [row]

    return {
        "mediaType": MEDIA_TYPE,
        "caUrls": service(endpoints.ca),
        "oidcUrls": service(endpoints.oidc),
        "rekorTlogUrls": service(endpoints.log, endpoints.log_version),
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaUrls": service(endpoints.tsa),
        "tsaConfig": {"selector": "ANY"},
    }
