"""Whose word the authority takes beside its logs: certificate authorities, certificate logs, timestamps, witnesses.

The members stand in the document only when there is something in them, so that a registry without services
of its own has the same document, and digest, as before there were any. Certificates are PEM, witness keys
base64 of the raw public key, as C2SP writes them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, TypeVar, get_args

from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.public import key_id_of_pem
from weighbridge.trust.authority_words import list_of, malformed, members, moment, text, word_of
from weighbridge.trust.roots import (
    CertificateAuthority,
    CtLog,
    Roots,
    TimestampAuthority,
    Window,
    Witness,
    WitnessAlgorithm,
)

MEMBERS = ("authorities", "ctlogs", "timestamp_authorities", "witnesses")
WINDOW = ("valid_from", "valid_until")
MAX_CHAIN = 8

_BEGIN, _END = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"
_T = TypeVar("_T")


def services_json(roots: Roots) -> dict[str, JSON]:
    """Return the members of a document that these parties need; none for none. Logs have a member of their own."""
    made: dict[str, list[JSON]] = {
        "authorities": [{"chain": _pems(row.chain), "uri": row.uri, **window_json(row.window)} for row in roots.authorities],
        "ctlogs": [{"pem": row.pem, "uri": row.base_url, **window_json(row.window)} for row in roots.ctlogs],
        "timestamp_authorities": [
            {"chain": _pems(row.chain), "uri": row.uri, **window_json(row.window)} for row in roots.timestamps
        ],
        "witnesses": [
            {
                "name": row.name,
                "algorithm": row.algorithm,
                "key": base64.b64encode(row.key).decode("ascii"),
                **window_json(row.window),
            }
            for row in roots.witnesses
        ],
    }  # fmt: skip
    return {name: list(rows) for name, rows in made.items() if rows}


def read_services(value: dict[str, Any]) -> Roots:
    """Read the members of a document; raises VerificationFailed(authority.form)."""
    return Roots(
        authorities=_rows(value, "authorities", _authority),
        ctlogs=_rows(value, "ctlogs", _ctlog),
        timestamps=_rows(value, "timestamp_authorities", _timestamps),
        witnesses=_rows(value, "witnesses", _witness),
    )


def window_json(window: Window) -> dict[str, JSON]:
    """Return the two members of a closed interval; null leaves a side open."""
    return {
        "valid_from": rfc3339(window.start) if window.start else None,
        "valid_until": rfc3339(window.end) if window.end else None,
    }


def read_window(row: dict[str, Any], where: str) -> Window:
    """Read the two members of a closed interval; raises VerificationFailed(authority.form)."""
    start, end = (None if row[name] is None else moment(row[name], f"{name} of {where}") for name in WINDOW)
    if start is not None and end is not None and end < start:
        raise malformed(f"{where} ends before it begins")
    return Window(start, end)


def _rows(value: dict[str, Any], name: str, read: Callable[[Any], _T]) -> tuple[_T, ...]:
    return tuple(read(row) for row in list_of(value.get(name, []), name))


def _authority(row: Any) -> CertificateAuthority:
    members(row, ("chain", "uri", *WINDOW), "a certificate authority")
    return CertificateAuthority(
        _chain(row["chain"]),
        read_window(row, "a certificate authority"),
        text(row["uri"], "uri"),
    )


def _timestamps(row: Any) -> TimestampAuthority:
    members(row, ("chain", "uri", *WINDOW), "a timestamp authority")
    return TimestampAuthority(
        _chain(row["chain"]),
        read_window(row, "a timestamp authority"),
        text(row["uri"], "uri"),
    )


def _ctlog(row: Any) -> CtLog:
    members(row, ("pem", "uri", *WINDOW), "a certificate log")
    pem = text(row["pem"], "the key of a certificate log")
    log_id = bytes.fromhex(key_id_of_pem(pem).hex)
    return CtLog(log_id, pem, read_window(row, "a certificate log"), text(row["uri"], "uri"))


def _witness(row: Any) -> Witness:
    members(row, ("name", "algorithm", "key", *WINDOW), "a witness")
    name, algorithm = text(row["name"], "the name of a witness"), text(row["algorithm"], "algorithm")
    kind: WitnessAlgorithm = word_of(get_args(WitnessAlgorithm), algorithm, "algorithm of a witness")
    if not name or " " in name or "+" in name or not name.isprintable():
        raise malformed(f"{name!r} is not the name of a witness: no spaces and no plus signs")
    return Witness(name, _raw(row["key"], kind, name), kind, read_window(row, f"the witness {name!r}"))


def _raw(value: Any, kind: WitnessAlgorithm, name: str) -> bytes:
    try:
        data = base64.b64decode(text(value, "the key of a witness"), validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != {"ed25519": 32, "ml-dsa-44": 1312}[kind] or base64.b64encode(data).decode() != value:
        raise malformed(f"the key of the witness {name!r} is not a raw {kind} public key in base64")
    return data


def _pems(chain: tuple[bytes, ...]) -> list[JSON]:
    return [pem_of_certificate(der) for der in chain]


def pem_of_certificate(der: bytes) -> str:
    """Write a certificate as PEM: 64 characters a line, one newline at the end."""
    body = base64.b64encode(der).decode("ascii")
    return _BEGIN + "".join(body[at : at + 64] + "\n" for at in range(0, len(body), 64)) + _END


def der_of_certificate(pem: str) -> bytes:
    """Read a certificate in PEM, in its one spelling; raises VerificationFailed(authority.form)."""
    body = pem.removeprefix(_BEGIN).removesuffix(_END).replace("\n", "")
    try:
        der = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        der = b""
    if not der or pem_of_certificate(der) != pem:
        raise malformed("a certificate is not PEM with lines of 64 characters")
    return der


def _chain(value: Any) -> tuple[bytes, ...]:
    """Read a chain: every certificate readable, the last one a root."""
    from cryptography import x509

    rows = list_of(value, "chain")
    if not 1 <= len(rows) <= MAX_CHAIN:
        raise malformed(f"a chain has 1 to {MAX_CHAIN} certificates")
    chain = tuple(der_of_certificate(text(row, "a certificate")) for row in rows)
    try:
        last = [x509.load_der_x509_certificate(der) for der in chain][-1]
        last.verify_directly_issued_by(last)
    except Exception as error:  # (the library has no one class for what is no certificate)
        raise malformed("a chain does not end in a certificate that signed itself") from error
    return chain


def check_services(roots: Roots) -> None:
    """Refuse what could be taken for two: one key, one purpose is held elsewhere, one name here."""
    names = [row.name for row in roots.witnesses]
    if len(set(names)) != len(names):
        raise malformed("two witnesses have the same name")
    if len({row.key for row in roots.witnesses}) != len(names):
        raise malformed("two witnesses have the same key, and would count twice")


def key_uses(roots: Roots) -> list[tuple[str, str]]:
    """Return (use, PEM) of every key in these parties, for the rule that no key has two uses."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    from weighbridge.keys.public import pem_of_der

    uses = [
        (f"the certificate log {row.base_url or number}", row.pem)
        for number, row in enumerate(roots.ctlogs, 1)
    ]
    chains: list[tuple[str, tuple[bytes, ...]]] = [
        ("certificate authority", row.chain) for row in roots.authorities
    ]
    chains += [("timestamp authority", row.chain) for row in roots.timestamps]
    seen: set[bytes] = set()
    for kind, chain in chains:
        for der in chain:
            if der in seen:  # one root may stand above several that issue
                continue
            seen.add(der)
            spki = (
                x509.load_der_x509_certificate(der)
                .public_key()
                .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            )
            try:
                pem = pem_of_der(spki)
                key_id_of_pem(pem)
            except VerificationFailed as error:
                raise malformed(f"a {kind} has a key of a kind that is not used here") from error
            uses.append((f"a {kind}", pem))
    return uses
