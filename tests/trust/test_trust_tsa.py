"""Timestamps: granted ones that a client who is not ours verifies, and an answer to everything else."""

import base64
import json
from datetime import timedelta

import pytest
import rfc3161_client
from asn1crypto import cms, core, tsp
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from trust_services import NOW, Counting, authority_chain, service_key, timestamp_chain

from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused, Unreachable, UsageError
from weighbridge.trust.tsa import HASHES, POLICY, TimestampService

DATA = b"a signature"


class Response(core.Sequence):
    """A `TimeStampResp` whose token may be missing (RFC 3161 section 2.4.2), which the library does not know."""

    _fields = [  # noqa: RUF012 (the library reads it from the class)
        ("status", tsp.PKIStatusInfo),
        ("time_stamp_token", cms.ContentInfo, {"optional": True}),
    ]


def service(algorithm="ecdsa-p256", **changes):
    name = "tsa" if algorithm == "ecdsa-p256" else f"tsa-{algorithm}"
    values = {"entropy": Counting(), **changes}
    return TimestampService(
        service_key(name, algorithm), timestamp_chain(stamping=name, algorithm=algorithm), **values
    )


def query(data=DATA, digest="sha256", *, nonce=None, certificates=True, policy=None, **changes):
    from hashlib import new

    fields = {
        "version": 1,
        "message_imprint": {
            "hash_algorithm": {"algorithm": digest},
            "hashed_message": new(digest, data).digest(),
        },
        "cert_req": certificates,
    }
    if nonce is not None:
        fields["nonce"] = nonce
    if policy:
        fields["req_policy"] = policy
    return tsp.TimeStampReq(fields | changes).dump()


def status(response):
    """Return status, failure bits and text of a response."""
    found = Response.load(response, strict=True)["status"]
    failure = found["fail_info"].native
    return found["status"].native, failure, (found["status_string"].native or [""])[0]


def info(response):
    signed = tsp.TimeStampResp.load(response, strict=True)["time_stamp_token"]["content"]
    return signed, signed["encap_content_info"]["content"].parsed


def verified(response, chain, data=DATA, **known):
    builder = rfc3161_client.VerifierBuilder().add_root_certificate(x509.load_der_x509_certificate(chain[-1]))
    builder = builder.tsa_certificate(x509.load_der_x509_certificate(chain[0]))
    builder = builder.policy_id(x509.ObjectIdentifier(POLICY))
    if "nonce" in known:
        builder = builder.nonce(known["nonce"])
    answer = rfc3161_client.decode_timestamp_response(response)
    return builder.build().verify_message(answer, data)


@pytest.mark.parametrize("algorithm", ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa"])
@pytest.mark.parametrize("digest", sorted(HASHES))
@pytest.mark.parametrize("certificates", [True, False])
def test_another_client_verifies_what_we_grant(algorithm, digest, certificates):
    asked = service(algorithm)
    response = asked.respond(query(digest=digest, nonce=1 << 63, certificates=certificates), NOW)
    assert status(response)[0] == "granted"
    assert verified(response, asked.chain, nonce=1 << 63)
    with pytest.raises(rfc3161_client.VerificationError):
        verified(response, asked.chain, b"another signature")


def test_what_a_token_says():
    asked = service()
    signed, said = info(asked.stamp(Digest.of(DATA), NOW, nonce=42))
    assert said["version"].native == "v1"
    assert said["policy"].dotted == POLICY
    assert said["message_imprint"]["hashed_message"].native.hex() == Digest.of(DATA).hex
    assert said["gen_time"].native == NOW
    assert said["accuracy"]["seconds"].native == 1
    assert said["nonce"].native == 42
    (signer,) = signed["signer_infos"]
    assert signed["version"].native == "v3"
    kinds = [row["type"].native for row in signer["signed_attrs"]]
    assert sorted(kinds) == ["content_type", "message_digest", "signing_certificate_v2", "signing_time"]
    (row,) = [row for row in signer["signed_attrs"] if row["type"].native == "signing_certificate_v2"]
    (identifier,) = row["values"][0]["certs"]
    assert identifier["cert_hash"].native.hex() == Digest.of(asked.chain[0]).hex
    assert identifier["issuer_serial"]["serial_number"].native == signer["sid"].native["serial_number"]
    names = [row.chosen.dump() for row in signed["certificates"]]
    assert sorted(names) == sorted(asked.chain)


def test_the_nonce_comes_back_as_it_was_sent():
    for nonce in (None, 0, 1, 127, 128, 1 << 64, (1 << 512) - 1, -1, -128, -129):
        response = service().respond(query(nonce=nonce), NOW)
        assert info(response)[1]["nonce"].native == nonce


def test_certificates_come_when_asked_for_only():
    assert info(service().respond(query(certificates=False), NOW))[0]["certificates"].native is None
    assert len(info(service().respond(query(), NOW))[0]["certificates"]) == 2


def test_serial_numbers_are_never_given_twice():
    asked = service()
    serials = [info(asked.stamp(Digest.of(DATA), NOW))[1]["serial_number"].native for _ in range(50)]
    assert len(set(serials)) == 50
    assert all(64 < serial.bit_length() < 160 for serial in serials)


def test_the_chain_is_one_of_a_timestamp_authority():
    leaf, root = (x509.load_der_x509_certificate(row) for row in service().chain)
    use = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert use.critical
    assert [kind.dotted_string for kind in use.value] == ["1.3.6.1.5.5.7.3.8"]
    leaf.verify_directly_issued_by(root)
    with pytest.raises(Refused) as caught:
        TimestampService(service_key("tsa"), authority_chain(), entropy=Counting())
    assert caught.value.check == "tsa.chain"


@pytest.mark.parametrize(
    ("asked", "failure"),
    [
        (b"", "bad_data_format"),
        (b"\x30\x03\x02\x01\x01", "bad_data_format"),
        (query() + b"\x00", "bad_data_format"),
        (query()[:-1], "bad_data_format"),
        (b"\x30" * 60_000, "bad_data_format"),
        (b"\x30\x80" * 5_000, "bad_data_format"),
        (query(digest="sha1"), "bad_alg"),
        (query(digest="md5"), "bad_alg"),
        (query(policy="1.2.3.4"), "unaccepted_policy"),
        (query(nonce=1 << 600), "bad_request"),
        (query(extensions=[{"extn_id": "2.5.29.99", "extn_value": b"\x05\x00"}]), "unaccepted_extensions"),
        (
            query(message_imprint={"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": b"x" * 31}),
            "bad_data_format",
        ),
        (
            query(message_imprint={"hash_algorithm": {"algorithm": "sha512"}, "hashed_message": b""}),
            "bad_data_format",
        ),
    ],
)
def test_what_cannot_be_answered_is_rejected_with_its_reason(asked, failure):
    kind, bits, text = status(service().respond(asked, NOW))
    assert (kind, bits) == ("rejection", {failure})
    assert text


@given(data=st.binary(max_size=200))
def test_everything_gets_an_answer(data):
    asked = service()
    assert status(asked.respond(data, NOW))[0] == "rejection"
    assert status(asked.respond_json(data, NOW))[0] == "rejection"


@given(at=st.integers(0, 59), change=st.integers(1, 255))
def test_a_damaged_query_is_answered_as_it_stands_or_rejected(at, change):
    data = bytearray(query(nonce=7))
    data[at % len(data)] ^= change
    kind, _, _ = status(service().respond(bytes(data), NOW))
    assert kind in ("granted", "rejection")


def asked_in_json(**changes):
    said = {
        "artifactHash": base64.b64encode(bytes.fromhex(Digest.of(DATA).hex)).decode(),
        "hashAlgorithm": "sha256",
        "certificates": True,
    }
    return json.dumps(said | changes).encode()


@pytest.mark.parametrize("name", ["sha256", "SHA256", "SHA-256"])
def test_a_query_in_json(name):
    asked = service()
    response = asked.respond_json(asked_in_json(hashAlgorithm=name, nonce=99), NOW)
    assert verified(response, asked.chain, nonce=99)
    assert len(info(response)[0]["certificates"]) == 2


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({"artifactHash": "AAAA"}, "bad_data_format"),
        ({"artifactHash": "%"}, "bad_data_format"),
        ({"artifactHash": None}, "bad_data_format"),
        ({"hashAlgorithm": "md5"}, "bad_alg"),
        ({"nonce": "1"}, "bad_data_format"),
        ({"nonce": True}, "bad_data_format"),
        ({"certificates": 1}, "bad_data_format"),
        ({"tsaPolicyOID": "1.2.3"}, "unaccepted_policy"),
        ({"x": "y" * 20_000}, "bad_data_format"),
    ],
)
def test_queries_in_json_that_are_rejected(changes, failure):
    assert status(service().respond_json(asked_in_json(**changes), NOW))[:2] == ("rejection", {failure})


@pytest.mark.parametrize("moment", [NOW - timedelta(minutes=6), NOW + timedelta(days=365, seconds=1)])
def test_out_of_its_time_it_says_no(moment):
    asked = service()
    assert status(asked.respond(query(), moment))[:2] == ("rejection", {"time_not_available"})
    with pytest.raises(Refused) as caught:
        asked.stamp(Digest.of(DATA), moment)
    assert caught.value.check == "tsa.expired"


def test_a_key_that_cannot_be_used_is_a_rejection_too():
    class Gone:
        algorithm, public_pem = "ecdsa-p256", service_key("tsa").public_pem

        def sign(self, data):
            raise Unreachable("the key service of the secret department did not answer")

    asked = TimestampService(Gone(), timestamp_chain(), entropy=Counting())
    kind, bits, text = status(asked.respond(query(), NOW))
    assert (kind, bits) == ("rejection", {"system_failure"})
    assert "secret" not in text


def test_a_kind_of_key_that_openssl_does_not_verify_is_not_used():
    with pytest.raises(UsageError):
        service("ed25519")


def test_other_digests_are_a_mistake_of_the_caller():
    with pytest.raises(UsageError):
        service().stamp(Digest("sha1", "ab" * 20), NOW)
