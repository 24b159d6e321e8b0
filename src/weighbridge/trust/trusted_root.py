"""Sigstore trusted roots (version 0.1): whose word is taken, as other clients read and write it.

Reading is strict where a mistake would widen trust: every key has an id of 32 bytes and an interval with a
start, every authority a chain of certificates. Unknown members are passed over, and so are keys of kinds that
are not known here: nothing can be verified under them. The source is sigstore_trustroot.proto.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.clock import parse_rfc3339
from weighbridge.core.errors import OutOfBudget, VerificationFailed
from weighbridge.keys.public import der_of_pem, details_of_pem, key_id_of_pem, pem_of_der
from weighbridge.ledger.checkpoint import log_id_of
from weighbridge.trust.bundle_form import bounded, object_of, rows_of
from weighbridge.trust.certificates import read_certificate, subject_names
from weighbridge.trust.dsse import decode64, describe, encode64, text
from weighbridge.trust.roots import CertificateAuthority, CtLog, LogKey, Roots, TimestampAuthority, Window

MEDIA_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
MAX_ROOT = 4 * 1024 * 1024
"""Bytes; the public one has seven thousand."""
MAX_PARTIES = 256
"""Logs or authorities of one kind."""
MAX_CHAIN = 16

_KINDS = (
    "PKIX_ECDSA_P256_SHA_256",
    "PKIX_ECDSA_P384_SHA_384",
    "PKIX_ECDSA_P521_SHA_512",
    "PKIX_ED25519",
    "PKIX_RSA_PKCS1V5",
    "PKIX_RSA_PKCS1V15_2048_SHA256",
    "PKIX_RSA_PKCS1V15_3072_SHA256",
    "PKIX_RSA_PKCS1V15_4096_SHA256",
)
_KIND = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_OPEN = datetime(1970, 1, 1, tzinfo=UTC)


def read_trusted_root(data: bytes) -> Roots:
    """Read a trusted root; raises VerificationFailed(root.form), OutOfBudget beyond 4 MiB.

    Who believes the outcome must know where `data` came from: the document is not signed.
    """
    if len(data) > MAX_ROOT:
        raise OutOfBudget(f"the trusted root is larger than {MAX_ROOT} bytes", check="root.form")
    try:
        return _roots(bounded(parse(data)))
    except (ValueError, TypeError, KeyError, AttributeError, VerificationFailed) as error:
        raise VerificationFailed(
            "this is not a trusted root we can read",
            cause=f"{error.problem}: {error.cause}"
            if isinstance(error, VerificationFailed)
            else describe(error),
            remedy=f"expected one JSON object of media type {MEDIA_TYPE}",
            check="root.form",
        ) from error


def write_trusted_root(roots: Roots) -> bytes:
    """Write roots as a trusted root, canonical; witnesses have no place in it and are left out.

    `baseUrl` is `https://` and the name under which the log signs its checkpoints: clients compare the two, and
    take nothing from the address.
    """
    tlogs: list[JSON] = []
    for log in roots.logs:
        url = f"https://{log.origin.partition(' - ')[0]}" if log.origin else log.base_url
        tlogs.append(_write_log(url, log.pem, log.log_id, log.window, log.operator))
    ctlogs: list[JSON] = [
        _write_log(log.base_url, log.pem, log.log_id, log.window, log.operator) for log in roots.ctlogs
    ]
    return canonical(
        {
            "mediaType": MEDIA_TYPE,
            "tlogs": tlogs,
            "certificateAuthorities": [_write_authority(row) for row in roots.authorities],
            "ctlogs": ctlogs,
            "timestampAuthorities": [_write_authority(row) for row in roots.timestamps],
        }
    )


def origin_host(base_url: str) -> str:
    """Return the host that a log's address names, which is its origin in Rekor v2; empty where there is none.

    What cannot be taken apart stands for itself, which is no log's origin.
    """
    try:
        return urlsplit(base_url).hostname or ""
    except ValueError:
        return base_url


def _roots(value: Any) -> Roots:
    if value["mediaType"] != MEDIA_TYPE:
        raise ValueError(f"mediaType is not {MEDIA_TYPE}")
    logs = [_log(row) for row in rows_of(value, "tlogs", MAX_PARTIES)]
    ctlogs = [_ctlog(row) for row in rows_of(value, "ctlogs", MAX_PARTIES)]
    return Roots(
        logs=tuple(log for log in logs if log),
        authorities=tuple(
            CertificateAuthority(*_authority(row))
            for row in rows_of(value, "certificateAuthorities", MAX_PARTIES)
        ),
        ctlogs=tuple(log for log in ctlogs if log),
        timestamps=tuple(
            TimestampAuthority(*_authority(row))
            for row in rows_of(value, "timestampAuthorities", MAX_PARTIES)
        ),
    )


def _log(row: Any) -> LogKey | None:
    found = _key(row)
    if found is None:
        return None
    log_id, pem, window = found
    url = _url(row)
    host = origin_host(url)
    # An id made of name and key tells that the log signs under that name, alone (C2SP signed-note, Rekor v2).
    named = host and log_id != _plain(pem) and log_id == bytes.fromhex(log_id_of(host, pem).hex)
    return LogKey(log_id, pem, window, host if named else "", url, _optional(row, "operator"))


def _ctlog(row: Any) -> CtLog | None:
    found = _key(row)
    if found is None:
        return None
    if found[0] != _plain(found[1]):
        raise ValueError("the id of a certificate log is not the SHA-256 of its key")  # RFC 6962 section 3.2
    return CtLog(*found, _url(row), _optional(row, "operator"))


def _key(row: Any) -> tuple[bytes, str, Window] | None:
    """Read id, key and interval of a log; None for a kind of key that is not known here."""
    if row["hashAlgorithm"] != "SHA2_256":
        raise ValueError("a log hashes with something else than SHA2_256")
    key = row["publicKey"]
    log_id, raw = decode64(row["logId"]["keyId"]), decode64(key["rawBytes"])
    if len(log_id) != 32:
        raise ValueError("the id of a log is not 32 bytes")
    window = _window(key["validFor"])
    if not _KIND.fullmatch(text(key["keyDetails"])):
        raise ValueError("the kind of a key is not a word")
    if key["keyDetails"] not in _KINDS:
        return None
    pem = pem_of_der(raw)
    details = details_of_pem(pem)
    unsized = key["keyDetails"] == "PKIX_RSA_PKCS1V5" and details.startswith("PKIX_RSA")
    if details != key["keyDetails"] and not unsized:
        raise ValueError(f"a key is said to be {key['keyDetails']}, and is {details}")
    return log_id, pem, window


def _authority(row: Any) -> tuple[tuple[bytes, ...], Window, str, str]:
    chain = tuple(
        decode64(one["rawBytes"]) for one in rows_of(object_of(row, "certChain"), "certificates", MAX_CHAIN)
    )
    if not chain:
        raise ValueError("an authority has no certificate")
    for der in chain:
        read_certificate(der)
    subject = object_of(row, "subject")  # said for people; the certificates hold the names that count
    _ = _optional(subject, "organization"), _optional(subject, "commonName")
    return chain, _window(row["validFor"]), _optional(row, "uri"), _optional(row, "operator")


def _window(value: Any) -> Window:
    start, end = value["start"], value.get("end")
    window = Window(parse_rfc3339(text(start)), None if end is None else parse_rfc3339(text(end)))
    if window.end is not None and window.start is not None and window.end < window.start:
        raise ValueError("an interval ends before it starts")
    return window


def _optional(row: Any, name: str) -> str:
    found = row.get(name)
    return "" if found is None else text(found)


def _url(row: Any) -> str:
    url = _optional(row, "baseUrl")
    urlsplit(url)  # raises ValueError for what no address is
    return url


def _plain(pem: str) -> bytes:
    return bytes.fromhex(key_id_of_pem(pem).hex)


def _write_log(url: str, pem: str, log_id: bytes, window: Window, operator: str) -> JSON:
    row: dict[str, JSON] = {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": encode64(der_of_pem(pem)),
            "keyDetails": details_of_pem(pem),
            "validFor": _write_window(window),
        },
        "logId": {"keyId": encode64(log_id)},
    }
    return row | {"operator": operator} if operator else row


def _write_authority(authority: CertificateAuthority | TimestampAuthority) -> JSON:
    organization, common_name = subject_names(authority.chain[-1])
    certificates: list[JSON] = [{"rawBytes": encode64(der)} for der in authority.chain]
    row: dict[str, JSON] = {
        "subject": {"organization": organization, "commonName": common_name},
        "uri": authority.uri,
        "certChain": {"certificates": certificates},
        "validFor": _write_window(authority.window),
    }
    return row | {"operator": authority.operator} if authority.operator else row


def _write_window(window: Window) -> JSON:
    """Write an interval; other readers want a start, so an open one starts with 1970."""
    written: dict[str, JSON] = {"start": _time(window.start or _OPEN)}
    return written | {"end": _time(window.end)} if window.end else written


def _time(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    fraction = f".{moment.microsecond // 1000:03d}" if moment.microsecond else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"
