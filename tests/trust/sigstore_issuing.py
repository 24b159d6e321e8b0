"""The issuing half of a Sigstore in memory: keys, certificates with their SCTs, timestamps; each piece forgeable."""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache

from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from weighbridge.keys.files import FileKey

NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
BEGIN = NOW - timedelta(days=365)
END = NOW + timedelta(days=365)
SUBJECT = "https://ci.test/models/.build/train.yml@refs/heads/main"
ISSUER = "https://token.ci.test"
FULCIO = "1.3.6.1.4.1.57264.1."


@cache
def private(name: str, kind: str = "ecdsa-p256"):
    """One key per name and kind for the whole run."""
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curves = {"ecdsa-p256": ec.SECP256R1, "ecdsa-p384": ec.SECP384R1, "ecdsa-p521": ec.SECP521R1}
    return ec.generate_private_key(curves[kind]())


def key(name: str, kind: str = "ecdsa-p256") -> FileKey:
    return FileKey(private(name, kind))


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def spki(secret) -> bytes:
    return secret.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def pem_of(certificate: bytes) -> str:
    text = base64.b64encode(certificate).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def hash_of(secret):
    if isinstance(secret, ed25519.Ed25519PrivateKey):
        return None
    sizes = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
    return hashes.SHA256() if isinstance(secret, rsa.RSAPrivateKey) else sizes[secret.curve.key_size]


def name_of(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def usage(*, sign=False, certify=False) -> x509.KeyUsage:
    off = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"),
        False,
    )  # fmt: skip
    return x509.KeyUsage(digital_signature=sign, key_cert_sign=certify, crl_sign=certify, **off)


@cache
def authority(
    name="root", secret=("root", "ecdsa-p384"), signer=None, *, begin=BEGIN, end=END, path=1, extended=None
) -> bytes:
    """A certificate of an authority, signed by itself or by `signer`: (name, key)."""
    issuer, by = signer or (name, secret)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of(name))
        .issuer_name(name_of(issuer))
        .public_key(private(*secret).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(True, path), critical=True)
        .add_extension(usage(certify=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private(*secret).public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(private(*by).public_key()), False)
    )
    if extended:
        builder = builder.add_extension(x509.ExtendedKeyUsage([extended]), critical=False)
    return der(builder.sign(private(*by), hash_of(private(*by))))


INTERMEDIATE = ("intermediate", "ecdsa-p384")


@cache
def chain() -> tuple[bytes, ...]:
    """The authority's chain: an intermediate that issues leaves, and its root."""
    between = authority("intermediate", INTERMEDIATE, ("root", ("root", "ecdsa-p384")), path=0)
    return between, authority()


@dataclass(frozen=True)
class Leaf:
    """A leaf certificate, in order unless told otherwise."""

    kind: str = "ecdsa-p256"
    begin: datetime = NOW - timedelta(minutes=1)
    minutes: int = 10
    names: tuple = (x509.UniformResourceIdentifier(SUBJECT),)
    purposes: tuple = (ExtendedKeyUsageOID.CODE_SIGNING,)
    usage: x509.KeyUsage | None = field(default_factory=lambda: usage(sign=True))
    ca: bool | None = None
    claims: tuple = ((1, ISSUER), (8, ISSUER), (12, "https://ci.test/models"))
    extra: tuple = ()
    """Further extensions: (extension, critical)."""
    issuer: tuple = ("intermediate", INTERMEDIATE)
    ct: tuple = (("ct", "ecdsa-p256"),)
    """Keys of the certificate logs whose timestamps are embedded."""
    ct_time: datetime = NOW - timedelta(minutes=1)
    ct_issuer: bytes | None = None
    """The issuer's key that the timestamp is over, where it is not the issuer's."""
    ct_flip: bool = False
    ct_hash: bytes = b"\x04"
    """The hash that the timestamp says it is over (RFC 5246 section 7.4.1.4.1)."""
    holder: str = "leaf"
    serial: int | None = None

    @property
    def key(self) -> FileKey:
        return key(self.holder, self.kind)

    def build(self) -> bytes:
        return _build_leaf(self)


@cache
def _build_leaf(leaf: Leaf) -> bytes:
    secret, by = private(leaf.holder, leaf.kind), private(*leaf.issuer[1])
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(name_of(leaf.issuer[0]))
        .public_key(secret.public_key())
        .serial_number(leaf.serial or x509.random_serial_number())
        .not_valid_before(leaf.begin)
        .not_valid_after(leaf.begin + timedelta(minutes=leaf.minutes))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(secret.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), False)
    )
    if leaf.usage is not None:
        builder = builder.add_extension(leaf.usage, critical=True)
    if leaf.purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(leaf.purposes), critical=False)
    if leaf.ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(leaf.ca, None), critical=True)
    if leaf.names:
        builder = builder.add_extension(x509.SubjectAlternativeName(leaf.names), critical=True)
    for number, text in leaf.claims:
        value = text if isinstance(text, bytes) else text.encode()
        if number > 7 and not isinstance(text, bytes):
            value = core.UTF8String(text).dump()
        oid = ObjectIdentifier(f"{FULCIO}{number}")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
    for extension, critical in leaf.extra:
        builder = builder.add_extension(extension, critical=critical)
    if leaf.ct:
        tbs = builder.sign(by, hash_of(by)).tbs_certificate_bytes
        stamps = b"".join(_stamp(leaf, log, tbs, leaf.ct_issuer or spki(by)) for log in leaf.ct)
        listed = struct.pack("!H", len(stamps)) + stamps
        value = core.OctetString(listed).dump()
        oid = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
    return der(builder.sign(by, hash_of(by)))


def _stamp(leaf: Leaf, log: tuple, tbs: bytes, issuer: bytes) -> bytes:
    """One SCT (RFC 6962 section 3.2), its length before it."""
    time = int(leaf.ct_time.timestamp() * 1000)
    body = struct.pack("!BBQH", 0, 0, time, 1) + hashlib.sha256(issuer).digest()
    body += struct.pack("!I", len(tbs))[1:] + tbs + b"\0\0"
    secret = private(*log)
    if isinstance(secret, rsa.RSAPrivateKey):
        signature, algorithm = secret.sign(body, padding.PKCS1v15(), hashes.SHA256()), leaf.ct_hash + b"\x01"
    else:
        signature, algorithm = secret.sign(body, ec.ECDSA(hashes.SHA256())), leaf.ct_hash + b"\x03"
    if leaf.ct_flip:
        signature = signature[:-1] + bytes([signature[-1] ^ 1])
    sct = b"\0" + hashlib.sha256(spki(secret)).digest() + struct.pack("!QH", time, 0)
    sct += algorithm + struct.pack("!H", len(signature)) + signature
    return struct.pack("!H", len(sct)) + sct


@dataclass(frozen=True)
class Tsa:
    """A timestamp authority and what it says, in order unless told otherwise."""

    when: datetime = NOW
    root: tuple = ("tsa root", "ecdsa-p384")
    holder: tuple = ("tsa", "ecdsa-p256")
    begin: datetime = BEGIN
    end: datetime = END
    purposes: tuple = (ExtendedKeyUsageOID.TIME_STAMPING,)
    critical: bool = True
    status: str = "granted"
    digest: str = "sha256"
    embed: bool = True

    @property
    def chain(self) -> tuple[bytes, ...]:
        return _tsa_leaf(replace(self, when=NOW, status="granted", embed=True, digest="sha256")), authority(
            self.root[0], self.root
        )

    def stamp(self, signature: bytes) -> bytes:
        leaf, _ = self.chain
        return _token(self, signature, asn1_x509.Certificate.load(leaf))


@cache
def _tsa_leaf(tsa: Tsa) -> bytes:
    secret, by = private(*tsa.holder), private(*tsa.root)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of(tsa.holder[0]))
        .issuer_name(name_of(tsa.root[0]))
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(tsa.begin)
        .not_valid_after(tsa.end)
        .add_extension(usage(sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(secret.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), False)
    )
    if tsa.purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(tsa.purposes), critical=tsa.critical)
    return der(builder.sign(by, hash_of(by)))


def _token(tsa: Tsa, signature: bytes, leaf: asn1_x509.Certificate) -> bytes:
    """A TimeStampResp (RFC 3161 section 2.4.2) around a CMS SignedData (RFC 5652)."""
    info = tsp.TSTInfo(
        {
            "version": "v1",
            "policy": "1.3.6.1.4.1.57264.2",
            "message_imprint": {
                "hash_algorithm": {"algorithm": tsa.digest},
                "hashed_message": hashlib.new(tsa.digest, signature).digest(),
            },
            "serial_number": 7,
            "gen_time": tsa.when,
            "ordering": False,
        }
    ).dump()
    attributes = cms.CMSAttributes(
        [
            {"type": "content_type", "values": ["tst_info"]},
            {"type": "message_digest", "values": [hashlib.sha256(info).digest()]},
            {
                "type": "signing_certificate_v2",
                "values": [
                    tsp.SigningCertificateV2(
                        {"certs": [tsp.ESSCertIDv2({"cert_hash": hashlib.sha256(leaf.dump()).digest()})]}
                    )
                ],
            },
        ]
    )
    secret = private(*tsa.holder)
    signed = FileKey(secret).sign(attributes.dump())
    algorithm = {"ecdsa-p256": "sha256_ecdsa", "rsa": "sha256_rsa"}[tsa.holder[1]]
    signer = cms.SignerInfo(
        {
            "version": "v1",
            "sid": cms.SignerIdentifier(
                "issuer_and_serial_number",
                {"issuer": leaf.issuer, "serial_number": leaf.serial_number},
            ),
            "digest_algorithm": {"algorithm": "sha256"},
            "signed_attrs": attributes,
            "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": algorithm}),
            "signature": signed,
        }
    )
    content = cms.SignedData(
        {
            "version": "v3",
            "digest_algorithms": [{"algorithm": "sha256"}],
            "encap_content_info": {"content_type": "tst_info", "content": core.ParsableOctetString(info)},
            "certificates": [leaf] if tsa.embed else None,
            "signer_infos": [signer],
        }
    )
    token = cms.ContentInfo({"content_type": "signed_data", "content": content})
    return tsp.TimeStampResp({"status": {"status": tsa.status}, "time_stamp_token": token}).dump()
