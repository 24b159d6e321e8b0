"""X.509: who a certificate says signed, and whether an authority vouched for that at a given moment.

The path is built and its signatures, names, lengths and intervals are checked by `cryptography` (RFC 5280
section 6.1); what is added here is what makes a certificate one that signs: usage, one name, one issuer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.public import key_id_of_pem, pem_of_der
from weighbridge.trust.proof import Signer, SubjectKind
from weighbridge.trust.roots import CertificateAuthority

if TYPE_CHECKING:  # cryptography costs 30 ms, and what only reads bundles needs none of it
    from cryptography import x509
    from cryptography.x509.verification import ExtensionPolicy, Store

MAX_CERTIFICATE = 64 * 1024
"""Bytes; one with every claim of a CI run has two thousand."""
FULCIO = "1.3.6.1.4.1.57264.1"
"""Below this OID stand the claims of a certificate (Fulcio, docs/oid-info.md)."""

_OTHER_NAME = f"{FULCIO}.7"
_RAW_CLAIMS = range(1, 7)
_TEXT_CLAIMS = range(8, 24)
_KNOWN_CRITICAL = frozenset(("2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.37"))
"""keyUsage, subjectAltName, basicConstraints, extKeyUsage: what is read here, so may be critical in a leaf."""


@lru_cache(maxsize=256)
def read_certificate(der: bytes) -> x509.Certificate:
    """Read a certificate in DER; raises VerificationFailed(certificate.form)."""
    from cryptography import x509

    try:
        if len(der) > MAX_CERTIFICATE:
            raise ValueError(f"it is larger than {MAX_CERTIFICATE} bytes")
        certificate = x509.load_der_x509_certificate(der)
        _ = certificate.extensions, certificate.subject, certificate.issuer  # read lazily otherwise
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except Exception as error:  # what the library raises for what it cannot read is no closed set
        raise _refused("form", "this is not a certificate we can read", str(error)) from error
    return certificate


def subject_names(der: bytes) -> tuple[str, str]:
    """Return organization and common name of a certificate's subject, each empty where it has none."""
    from cryptography.x509.oid import NameOID

    subject = read_certificate(der).subject
    found = [subject.get_attributes_for_oid(oid) for oid in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)]
    organization, common = (str(rows[0].value) if rows else "" for rows in found)
    return organization, common


def signer_of(der: bytes) -> Signer:
    """Return whom a leaf names, after its profile was checked; nothing says yet that anybody vouches for it.

    Raises VerificationFailed(certificate.form, .usage, .subject or .claims).
    """
    certificate = read_certificate(der)
    _check_usage(certificate)
    kind, subject = _subject(certificate)
    claims = _claims(certificate)
    issuer = claims.get("8", claims.get("1", ""))
    if claims.get("1", issuer) != issuer:
        raise _refused("claims", "the certificate names two issuers", f"{claims['1']!r} and {issuer!r}")
    pem = pem_of_der(_spki(certificate))
    return Signer(
        key=key_id_of_pem(pem),
        pem=pem,
        issuer=issuer,
        subject=subject,
        subject_kind=kind,
        claims=MappingProxyType(claims),
        certificate=der,
    )


def issuer_of(
    der: bytes,
    authorities: Sequence[CertificateAuthority],
    moments: Sequence[datetime],
    *,
    brought: Sequence[bytes] = (),
    named: bool = True,
) -> bytes:
    """Return the SubjectPublicKeyInfo (DER) of whoever issued a leaf, in a path valid at each of the moments.

    `brought` are intermediates out of the bundle, used under authorities that are a root alone. `named` False
    takes a leaf without subjectAltName. Raises VerificationFailed(certificate.time or certificate.chain).
    """
    certificate = read_certificate(der)
    for moment in moments:
        if not _valid(certificate, moment):
            first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
            raise _refused(
                "time",
                "the certificate was not valid when this was signed",
                f"signed at {rfc3339(moment)}; valid from {rfc3339(first)} to {rfc3339(last)}",
            )
    causes = []
    for authority in authorities:
        try:
            return _issuer(certificate, authority, moments, brought, named=named)
        except ValueError as error:
            causes.append(f"{_name(authority)}: {error}")
    raise _refused(
        "chain",
        "no certificate authority that is trusted here vouches for the signer",
        "; ".join(causes) or "none is trusted here",
    )


def issuer_at(der: bytes, authorities: Sequence[CertificateAuthority], moment: datetime) -> bytes:
    """Return the key of whoever issued a leaf with a name, at one moment; raises as `issuer_of`."""
    return issuer_of(der, authorities, (moment,))


def spki_hash(spki: bytes) -> bytes:
    """Return SHA-256 of a SubjectPublicKeyInfo: how RFC 6962 section 3.2 names an issuer."""
    return hashlib.sha256(spki).digest()


def _issuer(
    certificate: x509.Certificate,
    authority: CertificateAuthority,
    moments: Sequence[datetime],
    brought: Sequence[bytes],
    *,
    named: bool,
) -> bytes:
    """Build the path under one authority and return the issuer's key; raises ValueError.

    Of all that makes a path (RFC 5280 section 6.1) only the intervals depend on the moment, so it is built once.
    """
    from cryptography import x509
    from cryptography.x509.verification import PolicyBuilder, VerificationError

    for moment in moments:
        if not authority.window.holds(moment):
            raise ValueError(f"it is not trusted for {rfc3339(moment)}")
    ca, named_leaf, bare_leaf = _policies()
    between = [read_certificate(der) for der in authority.chain[:-1]]
    if len(authority.chain) == 1:
        between += [read_certificate(der) for der in brought]
    verifier = (
        PolicyBuilder()
        .store(_store(authority.chain[-1]))
        .time(moments[0])
        .extension_policies(ca_policy=ca, ee_policy=named_leaf if named else bare_leaf)
        .build_client_verifier()
    )
    try:
        path = verifier.verify(certificate, between).chain
    except (VerificationError, x509.UnsupportedGeneralNameType) as error:
        raise ValueError(str(error)) from error
    for moment in moments:
        if not all(_valid(one, moment) for one in path):
            raise ValueError(f"its own certificates were not valid at {rfc3339(moment)}")
    if not all(_may_issue(one) for one in path[1:]):
        raise ValueError("it issues certificates for other purposes than signing")
    return _spki(path[1])


def _may_issue(certificate: x509.Certificate) -> bool:
    """Tell whether an authority's extended key usage, where it has one, lets it issue what signs."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return any(
        one in purposes
        for one in (ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    )


def _valid(certificate: x509.Certificate, moment: datetime) -> bool:
    return certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc


@lru_cache(maxsize=64)
def _store(root: bytes) -> Store:
    from cryptography.x509.verification import Store

    return Store([read_certificate(root)])


@lru_cache(maxsize=1)
def _policies() -> tuple[ExtensionPolicy, ExtensionPolicy, ExtensionPolicy]:
    """Return what authorities, leaves with a name and leaves without one may have as extensions.

    The extended key usage is left to `_check_usage`: the library would ask for that of TLS clients.
    """
    from cryptography import x509
    from cryptography.x509.verification import Criticality, ExtensionPolicy

    usage = (x509.ExtendedKeyUsage, Criticality.AGNOSTIC, None)
    return (
        ExtensionPolicy.webpki_defaults_ca().may_be_present(*usage),
        ExtensionPolicy.webpki_defaults_ee().may_be_present(*usage),
        ExtensionPolicy.permit_all(),
    )


def _check_usage(certificate: x509.Certificate) -> None:
    """Hold the leaf against the profile of code signing (RFC 5280 sections 4.2.1.3, 4.2.1.9 and 4.2.1.12)."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    problem = "the certificate is not one that signs"
    found = {extension.oid.dotted_string: extension for extension in certificate.extensions}
    if strangers := [oid for oid, row in found.items() if row.critical and oid not in _KNOWN_CRITICAL]:
        raise _refused("usage", problem, f"its critical extension {strangers[0]} is not known here")
    limits = found.get("2.5.29.19")
    if limits is not None and isinstance(limits.value, x509.BasicConstraints) and limits.value.ca:
        raise _refused("usage", problem, "it is that of a certificate authority")
    usage = found.get("2.5.29.15")
    may = usage.value if usage is not None and isinstance(usage.value, x509.KeyUsage) else None
    if may is None or not may.digital_signature or may.key_cert_sign:
        raise _refused("usage", problem, "its key usage is not digitalSignature")
    extended = found.get("2.5.29.37")
    purposes = extended.value if extended is not None else None
    if not isinstance(purposes, x509.ExtendedKeyUsage) or ExtendedKeyUsageOID.CODE_SIGNING not in purposes:
        raise _refused("usage", problem, "its extended key usage is not codeSigning")


def _subject(certificate: x509.Certificate) -> tuple[SubjectKind, str]:
    """Return the one subjectAltName of a leaf; empty when it has none (which `issuer_of` mostly refuses)."""
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "", ""
    if len(list(names)) != 1:
        raise _refused(
            "subject", "the certificate does not name one signer", f"it has {len(list(names))} names"
        )
    (name,) = names
    if isinstance(name, x509.RFC822Name):
        return "email", name.value
    if isinstance(name, x509.UniformResourceIdentifier):
        return "uri", name.value
    if isinstance(name, x509.DNSName):
        return "dns", name.value
    if isinstance(name, x509.OtherName) and name.type_id.dotted_string == _OTHER_NAME:
        return "other-name", _utf8(name.value, "its name")
    raise _refused(
        "subject",
        "the certificate does not name a signer we can read",
        f"its name is a {type(name).__name__}",
    )


def _claims(certificate: x509.Certificate) -> dict[str, str]:
    """Return the claims: numbers 1 to 6 as raw text, from 8 on as DER UTF8String (Fulcio, docs/oid-info.md)."""
    from cryptography import x509

    found = {}
    for extension in certificate.extensions:
        parent, _, number = extension.oid.dotted_string.rpartition(".")
        if parent != FULCIO or not isinstance(extension.value, x509.UnrecognizedExtension):
            continue
        data = extension.value.value
        if int(number) in _RAW_CLAIMS:
            found[number] = _text(data, f"claim {number}")
        elif int(number) in _TEXT_CLAIMS:
            found[number] = _utf8(data, f"claim {number}")
    return found


def _utf8(der: bytes, what: str) -> str:
    """Read a DER UTF8String (X.690 section 8.21) that fills `der`."""
    head, length = 2, der[1] if len(der) > 1 else 0
    if length & 0x80:
        head = 2 + (length & 0x7F)
        length = int.from_bytes(der[2:head], "big")
    minimal = head == 2 or (head == 3 and length > 0x7F) or (head == 4 and length > 0xFF)
    if der[:1] != b"\x0c" or not minimal or len(der) != head + length:
        raise _refused("claims", "the certificate cannot be read", f"{what} is not a UTF8String")
    return _text(der[head:], what)


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refused("claims", "the certificate cannot be read", f"{what} is not UTF-8") from error


def _spki(certificate: x509.Certificate) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _refused("form", "the certificate's key cannot be used", str(error)) from error


def _name(authority: CertificateAuthority) -> str:
    return authority.uri or Digest.of(authority.chain[-1]).short


def _refused(what: str, problem: str, cause: str) -> VerificationFailed:
    return VerificationFailed(
        problem,
        cause=cause,
        remedy="have it signed again, with a certificate of an authority that is trusted here",
        check=f"certificate.{what}",
    )
