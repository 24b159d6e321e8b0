"""X.509 certificates (RFC 5280) made through the `Signer` port, so that an issuing key may live anywhere.

`make_root` and `make_intermediate` are run once, with the offline root key; `make_timestamper` makes the
certificate of a timestamp authority below a root of its own. Nothing here decides who gets a certificate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from weighbridge.core.clock import Entropy
from weighbridge.core.errors import Refused, UsageError
from weighbridge.keys.ports import Signer
from weighbridge.keys.public import der_of_pem
from weighbridge.trust import der

if TYPE_CHECKING:  # costs 30 ms, and only a verb that issues should pay them
    from cryptography import x509

EARLY = timedelta(minutes=5)
"""How long before its making a certificate or a trust window begins, for clocks that are behind."""
ROOT_LIFE = timedelta(days=3650)
ISSUER_LIFE = timedelta(days=365)

CODE_SIGNING = "1.3.6.1.5.5.7.3.3"
TIME_STAMPING = "1.3.6.1.5.5.7.3.8"
SUBJECT_KEY, KEY_USAGE, SUBJECT_ALTERNATIVE_NAME = "2.5.29.14", "2.5.29.15", "2.5.29.17"
BASIC_CONSTRAINTS, AUTHORITY_KEY, EXTENDED_KEY_USAGE = "2.5.29.19", "2.5.29.35", "2.5.29.37"

SIGNATURES: Mapping[str, bytes] = MappingProxyType(
    {
        "ecdsa-p256": der.sequence(der.oid("1.2.840.10045.4.3.2")),
        "ecdsa-p384": der.sequence(der.oid("1.2.840.10045.4.3.3")),
        "ecdsa-p521": der.sequence(der.oid("1.2.840.10045.4.3.4")),
        "rsa": der.sequence(der.oid("1.2.840.113549.1.1.11"), der.NULL),
    }
)
"""AlgorithmIdentifier of what a signer of each algorithm makes (RFC 5758, RFC 4055).

Ed25519 is not among them: neither `openssl ts` nor the path validation that Sigstore clients use takes it.
"""


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension: its number, the DER of its value, and whether who does not know it must refuse."""

    oid: str
    value: bytes
    critical: bool = False

    def encode(self) -> bytes:
        """Return the extension in DER."""
        flag = der.true() if self.critical else b""
        return der.sequence(der.oid(self.oid), flag, der.octets(self.value))


def signature_algorithm(signer: Signer) -> bytes:
    """Return the AlgorithmIdentifier of what `signer` makes; raises UsageError for what X.509 verifiers do not know."""
    try:
        return SIGNATURES[signer.algorithm]
    except KeyError:
        raise UsageError(
            f"a key of kind {signer.algorithm} cannot sign certificates",
            remedy=f"use one of: {', '.join(SIGNATURES)}",
        ) from None


def serial_number(entropy: Entropy) -> int:
    """Draw a serial number: positive, 126 unpredictable bits (RFC 5280 section 4.1.2.2 allows up to 160)."""
    return int.from_bytes(entropy.token(16), "big") & (1 << 126) - 1 | 1 << 126


def key_identifier(public_der: bytes) -> bytes:
    """Return the identifier of a public key, as RFC 5280 section 4.2.1.2 makes it (method 1)."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    return x509.SubjectKeyIdentifier.from_public_key(load_der_public_key(public_der)).digest  # type: ignore[arg-type]


def distinguished_name(organization: str, common: str) -> bytes:
    """Write a Name of organization and common name; raises UsageError beyond 64 characters (RFC 5280, appendix A)."""
    if not 0 < len(organization) <= 64 or not 0 < len(common) <= 64:
        raise UsageError(
            f"{common!r} is too long for the name of an authority", remedy="use at most 40 characters"
        )
    rows = (("2.5.4.10", organization), ("2.5.4.3", common))
    return der.sequence(*(der.set_of(der.sequence(der.oid(kind), der.utf8(text))) for kind, text in rows))


def to_be_signed(
    *,
    serial: int,
    issuer: bytes,
    subject: bytes,
    public_der: bytes,
    begins: datetime,
    ends: datetime,
    extensions: Sequence[Extension],
    algorithm: bytes,
) -> bytes:
    """Write a TBSCertificate (RFC 5280 section 4.1); `issuer` and `subject` are Names in DER."""
    return der.sequence(
        der.explicit(0, der.integer(2)),
        der.integer(serial),
        algorithm,
        issuer,
        der.sequence(der.time(begins), der.time(ends)),
        subject,
        public_der,
        der.explicit(3, der.sequence(*(extension.encode() for extension in extensions))),
    )


def certificate(tbs: bytes, signer: Signer) -> bytes:
    """Sign a TBSCertificate and return the certificate in DER."""
    return der.sequence(tbs, signature_algorithm(signer), der.bits(signer.sign(tbs)))


def make_root(signer: Signer, *, name: str, now: datetime, entropy: Entropy, title: str = "root") -> bytes:
    """Make a self-signed root for ten years; it may issue intermediates and nothing else useful.

    `name` is the organization, for example `weighbridge.<registry>`.
    """
    public = der_of_pem(signer.public_pem)
    own = distinguished_name(name, f"{name} {title}")
    tbs = to_be_signed(
        serial=serial_number(entropy),
        issuer=own,
        subject=own,
        public_der=public,
        begins=now - EARLY,
        ends=now + ROOT_LIFE,
        extensions=(*_authority(1), Extension(SUBJECT_KEY, der.octets(key_identifier(public)))),
        algorithm=signature_algorithm(signer),
    )
    return certificate(tbs, signer)


def make_intermediate(
    root_signer: Signer, root: bytes, public_pem: str, *, name: str, now: datetime, entropy: Entropy
) -> bytes:
    """Make the certificate of an online issuing key, for a year: code signing leaves only (path length 0)."""
    extensions = (*_authority(0), Extension(EXTENDED_KEY_USAGE, der.sequence(der.oid(CODE_SIGNING))))
    names = (name, f"{name} intermediate")
    return _below(root_signer, root, public_pem, names=names, extensions=extensions, now=now, entropy=entropy)


def make_timestamper(
    root_signer: Signer, root: bytes, public_pem: str, *, name: str, now: datetime, entropy: Entropy
) -> bytes:
    """Make the certificate of a timestamp key, for a year: timeStamping alone and critical (RFC 3161 section 2.3)."""
    extensions = (
        Extension(KEY_USAGE, _usage(0x80, 7), critical=True),
        Extension(EXTENDED_KEY_USAGE, der.sequence(der.oid(TIME_STAMPING)), critical=True),
    )
    names = (name, f"{name} timestamps")
    return _below(root_signer, root, public_pem, names=names, extensions=extensions, now=now, entropy=entropy)


def check_chain(chain: Sequence[bytes], signer: Signer, *, what: str) -> tuple[x509.Certificate, ...]:
    """Read a chain, own certificate first and root last, and hold it together: key, issuers, signatures.

    Raises Refused with check `<what>.chain`, and UsageError for a kind of key that issues nothing.
    """
    from cryptography import x509

    signature_algorithm(signer)
    try:
        certificates = tuple(x509.load_der_x509_certificate(row) for row in chain)
        if len(certificates) < 2:
            raise ValueError("it has no root above it")
        if key_of(certificates[0]) != der_of_pem(signer.public_pem):
            raise ValueError("its first certificate is of another key")
        for number, child in enumerate(certificates):
            child.verify_directly_issued_by(certificates[min(number + 1, len(certificates) - 1)])
    except Exception as error:
        raise Refused(
            "the chain of certificates does not fit the key",
            cause=str(error) or type(error).__name__,
            remedy="order it from the own certificate to the root, and give the key of the first",
            check=f"{what}.chain",
        ) from error
    return certificates


def key_of(certificate: x509.Certificate) -> bytes:
    """Return the SubjectPublicKeyInfo of a certificate in DER."""
    from cryptography.hazmat.primitives import serialization

    return certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def authority_key(issuer: x509.Certificate) -> Extension:
    """Return the extension that names the issuer's key as the issuer itself names it."""
    from cryptography import x509

    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    return Extension(AUTHORITY_KEY, der.sequence(der.implicit(0, identifier)))


def _below(
    root_signer: Signer,
    root: bytes,
    public_pem: str,
    *,
    names: tuple[str, str],
    extensions: Sequence[Extension],
    now: datetime,
    entropy: Entropy,
) -> bytes:
    """Issue a certificate under a root; raises Refused(root.key) when the key is not that root's."""
    from cryptography import x509

    parent = x509.load_der_x509_certificate(root)
    if key_of(parent) != der_of_pem(root_signer.public_pem):
        raise Refused(
            "this key is not the root's", remedy="give the key that made the root", check="root.key"
        )
    public = der_of_pem(public_pem)
    tbs = to_be_signed(
        serial=serial_number(entropy),
        issuer=parent.subject.public_bytes(),
        subject=distinguished_name(*names),
        public_der=public,
        begins=max(now - EARLY, parent.not_valid_before_utc),
        ends=min(now + ISSUER_LIFE, parent.not_valid_after_utc),
        extensions=(
            *extensions,
            Extension(SUBJECT_KEY, der.octets(key_identifier(public))),
            authority_key(parent),
        ),
        algorithm=signature_algorithm(root_signer),
    )
    return certificate(tbs, root_signer)


def _authority(depth: int) -> tuple[Extension, Extension]:
    """Say that the key signs certificates and lists of revoked ones, `depth` authorities below it at most."""
    constraints = der.sequence(der.true(), der.integer(depth))
    return (
        Extension(BASIC_CONSTRAINTS, constraints, critical=True),
        Extension(KEY_USAGE, _usage(0x06, 1), critical=True),
    )


def _usage(octet: int, unused: int) -> bytes:
    return der.bits(bytes((octet,)), unused)
