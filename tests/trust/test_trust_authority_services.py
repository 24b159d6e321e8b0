"""What the authority says of certificates, witnesses and time: every member read strictly, nothing counted twice."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from trust_forge import NOW, authority, key

from weighbridge.core.errors import VerificationFailed
from weighbridge.core.tier import Role
from weighbridge.keys.public import key_id_of_pem, pem_of_der
from weighbridge.trust.authority_form import read_authority
from weighbridge.trust.demand import Demand
from weighbridge.trust.expect import ExpectedIdentity
from weighbridge.trust.pattern import Pattern
from weighbridge.trust.roots import CertificateAuthority, CtLog, Roots, TimestampAuthority, Window, Witness

SOON = datetime(2027, 1, 1, tzinfo=UTC)
ISSUER = "https://ci.example.com"


def certificate(name, *, by=None):
    """Return (private key, DER) of a certificate that signed itself, or that another signed."""
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    signer, issuer = (private, subject) if by is None else (by[0], by[2])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(private.public_key())
        .serial_number(7)
        .not_valid_before(NOW)
        .not_valid_after(SOON)
        .sign(signer, hashes.SHA256())
    )
    return private, made.public_bytes(Encoding.DER), subject


ROOT = certificate("root")
CHAIN = (certificate("issuing", by=ROOT)[1], ROOT[1])
STAMPS = (certificate("stamps", by=ROOT)[1], ROOT[1])
CT = key("certificate log").public_pem


def trusted(**changes):
    known = Roots(
        authorities=(CertificateAuthority(CHAIN, Window(NOW, SOON), uri="https://ca.example.com"),),
        ctlogs=(CtLog(bytes.fromhex(key_id_of_pem(CT).hex), CT, Window(NOW)),),
        timestamps=(TimestampAuthority(STAMPS, Window(NOW)),),
        witnesses=(
            Witness("one.example.com", bytes(range(32)), "ed25519"),
            Witness("two.example.com", bytes(1312), "ml-dsa-44", Window(None, SOON)),
        ),
    )
    return replace(known, **changes)


def full():
    expected = ExpectedIdentity(
        subject=Pattern("https://example.com/team/.+@refs/tags/v[0-9]+"),
        issuer=ISSUER,
        claims={"source-repository-uri": "https://example.com/team"},
    )
    return (
        authority()
        .with_trusted(trusted())
        .with_checkpoint_age(3600)
        .with_identity("ci", "", [Role.TRAIN], keyless=expected, evidence=Demand(timestamps=1, witnesses=2))
    )


def test_what_is_written_is_read_again():
    made = full()
    assert read_authority(made.encode()) == made
    assert made.material.authorities == trusted().authorities
    assert [log.origin for log in made.material.logs] == [log.origin for log in made.logs]
    assert made.keyless[0].key != made.identities[1].key


def test_without_services_the_document_is_as_it_was():
    assert not {"authorities", "ctlogs", "timestamp_authorities", "witnesses", "checkpoint_age"} & set(
        json.loads(authority().encode())
    )


def test_a_log_that_ends_says_so_and_one_that_does_not_says_nothing():
    ended = authority().with_log_ended(authority().logs[0].origin, NOW)
    assert read_authority(ended.encode()).material.logs[0].window == Window(None, NOW)
    with pytest.raises(VerificationFailed, match="no log here"):
        authority().with_log_ended("weighbridge.another - 1", NOW)


def changed(path, value):
    document = json.loads(full().encode())
    at = document
    for step in path[:-1]:
        at = at[step]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return json.dumps(document).encode()


CI = ("identities", "ci")
OTHER = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("authorities", 0, "chain"), [], "1 to 8"),
        (("authorities", 0, "chain", 0), "x", "certificate"),
        (("authorities", 0, "chain", 1), OTHER, "signed itself"),
        (
            ("authorities", 0, "chain"),
            [json.loads(full().encode())["authorities"][0]["chain"][0]],
            "signed itself",
        ),
        (("authorities", 0, "issuers"), [], "unknown member"),
        (("authorities", 0, "valid_until"), "2020-01-01T00:00:00Z", "ends before"),
        (("authorities", 0, "valid_until"), ..., "valid_until"),
        (("ctlogs", 0, "pem"), "x", "public key"),
        (("ctlogs", 0, "pem"), key("trainer").public_pem, "the same key"),
        (("timestamp_authorities", 0, "chain", 1), OTHER, "signed itself"),
        (("witnesses", 0, "key"), "AAAA", "raw ed25519"),
        (("witnesses", 0, "algorithm"), "ml-dsa-44", "raw ml-dsa-44"),
        (("witnesses", 0, "algorithm"), "rsa", "unknown algorithm"),
        (("witnesses", 0, "name"), "two.example.com", "same name"),
        (("witnesses", 0, "name"), "a b", "no spaces"),
        (("checkpoint_age",), -1, "out of range"),
        (("checkpoint_age",), None, "checkpoint_age"),
        ((*CI, "pem"), key("trainer").public_pem, "unknown member"),
        ((*CI, "keyless", "issuer"), {"pattern": ".*"}, "issuer"),
        ((*CI, "keyless", "issuer"), "", "empty"),
        ((*CI, "keyless", "issuer"), ..., "lacks the member 'issuer'"),
        ((*CI, "keyless", "subject"), {"pattern": "("}, "ci"),
        ((*CI, "keyless", "subject"), {"regex": "a"}, "unknown member"),
        ((*CI, "keyless", "claims"), {"source-repo": "x"}, "no claim"),
        (("identities", "again"), json.loads(full().encode())["identities"]["ci"], "the same certificate"),
    ],
)
def test_a_mistake_is_refused_and_named(path, value, said):
    with pytest.raises(VerificationFailed) as caught:
        read_authority(changed(path, value))
    assert caught.value.check == "authority.form"
    assert said in caught.value.cause


def test_a_witness_does_not_count_twice_under_two_names():
    twice = (Witness("a", bytes(32), "ed25519"), Witness("b", bytes(32), "ed25519"))
    with pytest.raises(VerificationFailed, match="count twice"):
        authority().with_trusted(trusted(witnesses=twice))


def test_no_certificate_shares_its_key_with_another_use():
    issuing = x509.load_der_x509_certificate(CHAIN[0]).public_key()
    pem = pem_of_der(issuing.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(VerificationFailed, match="the same key"):
        full().with_identity("second", pem)
    same = (TimestampAuthority(CHAIN, Window(NOW)),)
    assert authority().with_trusted(trusted(timestamps=same))  # one certificate twice is one use of one key


def test_a_signer_is_a_key_or_a_certificate():
    expected = ExpectedIdentity(subject="a@example.com", issuer=ISSUER)
    for pem, keyless in (("", None), (key("fresh").public_pem, expected)):
        with pytest.raises(VerificationFailed, match="either a key or"):
            authority().with_identity("second", pem, keyless=keyless)


def test_the_first_form_of_evidence_is_still_read():
    document = json.loads(authority().encode())
    document["identities"]["trainer"]["evidence"] = {"log": False, "timestamps": 0, "witnesses": 0}
    read = read_authority(json.dumps(document).encode())
    assert read.identity_for(key("trainer").key_id).evidence == Demand(logs=0)
    later = read.renewed(NOW, NOW + timedelta(days=9))
    assert json.loads(later.encode())["identities"]["trainer"]["evidence"]["logs"] == 0
