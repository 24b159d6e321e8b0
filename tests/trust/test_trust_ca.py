"""Certificates: what is in them, who gets one, and that none exists that is not in the log."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from trust_services import ISSUER, NOW, authority_chain, bench, service_key, token

from weighbridge.core.errors import Refused, Unreadable, UsageError, VerificationFailed
from weighbridge.keys.files import generate
from weighbridge.keys.public import der_of_pem
from weighbridge.trust import der, minting
from weighbridge.trust.ca import LEAF_LIFE, MAX_REQUEST, CertificateService, read_key, read_request
from weighbridge.trust.fulcio import ARC, read_utf8, read_vouched
from weighbridge.trust.minting import (
    Extension,
    make_root,
    signature_algorithm,
    to_be_signed,
)

EPHEMERAL = generate()


@pytest.fixture
def services(tmp_path):
    return bench(tmp_path)


def issue(services, who=None, key=EPHEMERAL, now=NOW):
    who = who or token()
    return services.ca.issue(who, key.public_pem.encode(), key.sign(who.challenges[0].encode()), now)


def read(issued):
    return x509.load_der_x509_certificate(issued.leaf)


def extension(certificate, number):
    return certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(number))


def pem(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def request(key, digest=None, subject=(), encoding=serialization.Encoding.PEM):
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(list(subject)))
    return builder.sign(key, digest).public_bytes(encoding)


def test_a_leaf_says_who_and_nothing_more(services):
    found = read(issue(services))
    assert list(found.subject) == []
    assert read_vouched(found) == ("trainer@example.org", "email", ISSUER)
    assert found.not_valid_before_utc == NOW
    assert found.not_valid_after_utc == NOW + LEAF_LIFE == NOW + timedelta(minutes=10)
    assert extension(found, "2.5.29.17").critical
    assert extension(found, "2.5.29.15").critical
    usage = extension(found, "2.5.29.15").value
    assert usage.digital_signature
    others = (usage.key_cert_sign, usage.crl_sign, usage.content_commitment, usage.key_encipherment)
    assert not any(others)
    assert list(extension(found, "2.5.29.37").value) == [ExtendedKeyUsageOID.CODE_SIGNING]
    with pytest.raises(x509.ExtensionNotFound):
        extension(found, "2.5.29.19")


def test_both_numbers_name_the_issuer(services):
    found = read(issue(services))
    assert extension(found, f"{ARC}.1").value.value == ISSUER.encode()
    assert extension(found, f"{ARC}.8").value.value == b"\x0c" + bytes((len(ISSUER),)) + ISSUER.encode()


def test_what_the_token_said_of_the_build_is_written_each_in_its_form(services):
    who = token(
        "https://ci.example/build",
        "uri",
        claims={"2": "push", "9": "https://ci.example/build", "22": "private"},
    )
    found = read(issue(services, who))
    assert read_vouched(found) == ("https://ci.example/build", "uri", ISSUER)
    assert extension(found, f"{ARC}.2").value.value == b"push"
    assert extension(found, f"{ARC}.9").value.value == b"\x0c\x18https://ci.example/build"
    assert extension(found, f"{ARC}.22").value.value == b"\x0c\x07private"


def test_a_user_name_is_an_other_name(services):
    who = token("maria!example.org", "other-name")
    found = read(issue(services, who))
    (name,) = extension(found, "2.5.29.17").value
    assert name.type_id.dotted_string == "1.3.6.1.4.1.57264.1.7"
    assert name.value == b"\x0c\x11maria!example.org"
    assert read_vouched(found) == ("maria!example.org", "other-name", ISSUER)


def test_the_chain_holds_from_leaf_to_root(services):
    issued = issue(services)
    leaf, own, root = (x509.load_pem_x509_certificate(row.encode()) for row in issued.pem())
    leaf.verify_directly_issued_by(own)
    own.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    assert isinstance(root.public_key().curve, ec.SECP384R1)
    for certificate, depth in ((own, 0), (root, 1)):
        constraints = extension(certificate, "2.5.29.19")
        assert constraints.critical
        assert (constraints.value.ca, constraints.value.path_length) == (True, depth)
        assert extension(certificate, "2.5.29.15").value.key_cert_sign
    identifier = extension(own, "2.5.29.14").value.digest
    assert extension(leaf, "2.5.29.35").value.key_identifier == identifier


def test_the_sct_is_the_logs_word_on_this_certificate(services):
    found = read(issue(services))
    (sct,) = extension(found, "1.3.6.1.4.1.11129.2.4.2").value
    assert sct.log_id.hex() == services.ct.log_id.hex
    assert sct.timestamp.replace(tzinfo=NOW.tzinfo) == NOW
    # RFC 6962 section 3.2, put together from what a verifier has: the certificate and its issuer.
    tbs = found.tbs_precertificate_bytes
    issuer = x509.load_der_x509_certificate(services.ca.chain[0]).public_key()
    spki = issuer.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    key_hash = hashes.Hash(hashes.SHA256())
    key_hash.update(spki)
    signed = (
        b"\x00\x00" + int(NOW.timestamp() * 1000).to_bytes(8, "big") + b"\x00\x01" + key_hash.finalize()
        + len(tbs).to_bytes(3, "big") + tbs + b"\x00\x00"
    )  # fmt: skip
    log_key = serialization.load_pem_public_key(services.ct.public_pem.encode())
    log_key.verify(sct.signature, signed, ec.ECDSA(hashes.SHA256()))
    assert extension(found, "1.3.6.1.4.1.11129.2.4.2") == list(found.extensions)[-1]
    assert services.ct.log.find(signed) == services.ct.log.size - 1


def test_without_the_log_there_is_no_certificate(services, monkeypatch):
    def full(*_, **__):
        raise Unreadable("the disk is full")

    size = services.ct.log.size
    monkeypatch.setattr(services.ct.log, "append", full)
    with pytest.raises(Unreadable):
        issue(services)
    assert services.ct.log.size == size


@pytest.mark.parametrize(
    "make",
    [
        lambda: (ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()),
        lambda: (ec.generate_private_key(ec.SECP384R1()), hashes.SHA384()),
        lambda: (ec.generate_private_key(ec.SECP521R1()), hashes.SHA512()),
        lambda: (ed25519.Ed25519PrivateKey.generate(), None),
        lambda: (rsa.generate_private_key(65537, 2048), hashes.SHA256()),
    ],
    ids=["p256", "p384", "p521", "ed25519", "rsa"],
)
def test_each_kind_of_key_is_certified_by_request(make, services):
    key, digest = make()
    for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER):
        found = read(services.ca.issue_for_request(token(), request(key, digest, encoding=encoding), NOW))
        assert found.public_key() == key.public_key()


@pytest.mark.parametrize(
    "digest", [hashes.SHA256(), hashes.SHA384()], ids=["as clients do", "the curve's own"]
)
def test_a_proof_by_a_larger_curve(digest, services):
    key = ec.generate_private_key(ec.SECP384R1())
    proof = key.sign(b"trainer@example.org", ec.ECDSA(digest))
    assert read(services.ca.issue(token(), pem(key), proof, NOW)).public_key() == key.public_key()


@pytest.mark.parametrize(
    ("make", "sign"),
    [
        (
            lambda: ec.generate_private_key(ec.SECP521R1()),
            lambda key, data: key.sign(data, ec.ECDSA(hashes.SHA512())),
        ),
        (ed25519.Ed25519PrivateKey.generate, lambda key, data: key.sign(data)),
        (
            lambda: rsa.generate_private_key(65537, 2048),
            lambda key, data: key.sign(data, padding.PKCS1v15(), hashes.SHA256()),
        ),
    ],
    ids=["p521", "ed25519", "rsa"],
)
def test_each_kind_of_key_is_proven_by_a_signature(make, sign, services):
    key, size = make(), services.ct.log.size
    found = read(services.ca.issue(token(), pem(key), sign(key, b"trainer@example.org"), NOW))
    assert found.public_key() == key.public_key()
    assert extension(found, "2.5.29.14").value == x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    for proof in (sign(key, b"other@example.org"), sign(make(), b"trainer@example.org"), b""):
        with pytest.raises(VerificationFailed) as caught:
            services.ca.issue(token(), pem(key), proof, NOW)
        assert caught.value.check == "ca.possession"
    assert services.ct.log.size == size + 1


@pytest.mark.parametrize(("bits", "good"), [(2047, False), (2048, True), (8192, True), (8193, False)])
def test_rsa_keys_have_a_size(bits, good):
    key = rsa.RSAPublicNumbers(65537, (1 << bits) - 1).public_key()
    data = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if good:
        assert read_key(data) == key
    else:
        with pytest.raises(VerificationFailed) as caught:
            read_key(data)
        assert caught.value.check == "ca.key"


def test_keys_and_requests_have_a_length():
    key = ec.generate_private_key(ec.SECP256R1())
    for reader, data in ((read_key, pem(key)), (read_request, request(key, hashes.SHA256()))):
        assert reader(b"\n" * (MAX_REQUEST - len(data)) + data) == key.public_key()
        with pytest.raises(VerificationFailed):
            reader(b"\n" * (MAX_REQUEST - len(data) + 1) + data)


def test_the_authority_issues_from_its_first_second_on(services):
    now = NOW - timedelta(minutes=5)
    assert read(issue(services, now=now)).not_valid_before_utc == now


def test_a_request_names_nobody(services):
    wanted = [
        x509.NameAttribute(x509.NameOID.EMAIL_ADDRESS, "ceo@example.org"),
        x509.NameAttribute(x509.NameOID.COMMON_NAME, "ceo"),
    ]
    key = ec.generate_private_key(ec.SECP256R1())
    found = read(services.ca.issue_for_request(token(), request(key, hashes.SHA256(), wanted), NOW))
    assert read_vouched(found)[0] == "trainer@example.org"
    assert list(found.subject) == []


@pytest.mark.parametrize(
    ("what", "key"),
    [
        ("short rsa", lambda: pem(rsa.generate_private_key(65537, 1024))),
        ("small exponent", lambda: pem(rsa.generate_private_key(3, 2048))),
        ("other curve", lambda: pem(ec.generate_private_key(ec.SECP256K1()))),
        ("ed448", lambda: pem(ed448.Ed448PrivateKey.generate())),
        ("the authority's own", service_key("ca").public_pem.encode),
        ("the root's", service_key("ca-root", "ecdsa-p384").public_pem.encode),
        ("nothing", lambda: b""),
        ("text", lambda: b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
        ("too long", lambda: b"0" * 100_000),
    ],
)
def test_keys_that_are_not_certified(what, key, services, monkeypatch):
    monkeypatch.setattr("weighbridge.trust.ca._possesses", lambda *_: True)
    size = services.ct.log.size
    with pytest.raises(VerificationFailed) as caught:
        services.ca.issue(token(), key(), b"x", NOW)
    assert caught.value.check == "ca.key", what
    assert services.ct.log.size == size


@pytest.mark.parametrize(
    ("what", "proof"),
    [
        ("over something else", lambda: EPHEMERAL.sign(b"trainer@example.or")),
        ("by another key", lambda: generate().sign(b"trainer@example.org")),
        ("empty", lambda: b""),
        ("cut", lambda: EPHEMERAL.sign(b"trainer@example.org")[:-1]),
    ],
)
def test_without_the_key_no_certificate(what, proof, services):
    size = services.ct.log.size
    with pytest.raises(VerificationFailed) as caught:
        services.ca.issue(token(), EPHEMERAL.public_pem.encode(), proof(), NOW)
    assert caught.value.check == "ca.possession", what
    assert services.ct.log.size == size


def test_any_challenge_of_the_token_may_be_signed(services):
    who = token(challenges=("0815", "trainer@example.org"))
    for text in who.challenges:
        services.ca.issue(who, EPHEMERAL.public_pem.encode(), EPHEMERAL.sign(text.encode()), NOW)
    with pytest.raises(VerificationFailed):
        services.ca.issue(token(challenges=()), EPHEMERAL.public_pem.encode(), EPHEMERAL.sign(b""), NOW)


def broken_request():
    key = ec.generate_private_key(ec.SECP256R1())
    data = bytearray(request(key, hashes.SHA256(), encoding=serialization.Encoding.DER))
    data[-1] ^= 1
    return bytes(data)


def request_of_version_two():
    key = ec.generate_private_key(ec.SECP256R1())
    return request(key, hashes.SHA256(), encoding=serialization.Encoding.DER).replace(
        b"\x02\x01\x00", b"\x02\x01\x01", 1
    )


@pytest.mark.parametrize(
    ("data", "check"),
    [
        (lambda: b"", "ca.request"),
        (request_of_version_two, "ca.request"),
        (
            lambda: b"-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n",
            "ca.request",
        ),
        (lambda: b"0" * 100_000, "ca.request"),
        (broken_request, "ca.possession"),
        (lambda: request(ec.generate_private_key(ec.SECP256R1()), hashes.SHA224()), "ca.possession"),
        (lambda: request(rsa.generate_private_key(65537, 1024), hashes.SHA256()), "ca.key"),
        (lambda: request(ed448.Ed448PrivateKey.generate()), "ca.key"),
    ],
)
def test_requests_that_are_refused(data, check, services):
    with pytest.raises(VerificationFailed) as caught:
        services.ca.issue_for_request(token(), data(), NOW)
    assert caught.value.check == check


@pytest.mark.parametrize(
    "now",
    [
        NOW + timedelta(days=365),
        NOW + timedelta(days=365) - LEAF_LIFE + timedelta(seconds=1),
        NOW - timedelta(minutes=6),
    ],
)
def test_no_leaf_outlives_its_authority(now, services):
    with pytest.raises(Refused) as caught:
        issue(services, token(expires=now + timedelta(minutes=1)), now=now)
    assert caught.value.check == "ca.expired"


def test_the_last_ten_minutes_are_still_served(services):
    now = NOW + timedelta(days=365) - LEAF_LIFE
    issue(services, token(expires=now), now=now)


def test_a_chain_that_does_not_fit_is_refused(services, tmp_path):
    own, root = authority_chain()
    strange = authority_chain(root="another-root")
    for chain in ((own,), (root, own), (own, strange[1]), (strange[0], root), (), (own, b"no")):
        with pytest.raises(Refused) as caught:
            CertificateService(service_key("ca"), chain, ct=services.ct, entropy=services.entropy)
        assert caught.value.check == "ca.chain"
    with pytest.raises(Refused):
        CertificateService(service_key("other"), (own, root), ct=services.ct, entropy=services.entropy)


@pytest.mark.parametrize(
    ("subject", "kind"),
    [
        ("trainer@ex\u00e4mple.org", "email"),
        ("https://ci.example/\u00fc", "uri"),
        ("ci.example", "dns"),
        ("maria!example.org", ""),
        ("", "email"),
        ("", "other-name"),
        ("trainer@example.org\x00.evil", "email"),
        ("maria\n!example.org", "other-name"),
    ],
)
def test_subjects_that_no_certificate_names(subject, kind, services):
    size = services.ct.log.size
    with pytest.raises(VerificationFailed) as caught:
        issue(services, token(subject, kind, challenges=("x",)))
    assert caught.value.check == "ca.subject"
    assert services.ct.log.size == size


def test_no_claim_speaks_for_the_issuer(services):
    found = read(issue(services, token(claims={"1": "https://evil.example", "8": "https://evil.example"})))
    assert read_vouched(found)[2] == ISSUER
    assert extension(found, f"{ARC}.1").value.value == ISSUER.encode()


def test_a_token_that_has_ended_since_is_not_used(services):
    issue(services, now=NOW + timedelta(minutes=5, seconds=59))
    with pytest.raises(VerificationFailed) as caught:
        issue(services, now=NOW + timedelta(minutes=6))
    assert caught.value.check == "token.time"


def test_names_of_authorities_have_a_length(services):
    with pytest.raises(UsageError):
        make_root(service_key("ca"), name="x" * 60, now=NOW, entropy=services.entropy)


def test_a_kind_of_key_that_verifiers_do_not_take_issues_nothing(services):
    key = service_key("ca ed", "ed25519")
    with pytest.raises(UsageError):
        make_root(key, name="weighbridge.test", now=NOW, entropy=services.entropy)
    with pytest.raises(UsageError):
        CertificateService(key, services.ca.chain, ct=services.ct, entropy=services.entropy)


def test_serials_never_repeat(services):
    serials = {read(issue(services)).serial_number for _ in range(20)}
    assert len(serials) == 20
    assert all(126 < serial.bit_length() < 160 for serial in serials)


OTHER_NAME = der.explicit(0, der.oid("1.3.6.1.4.1.311.20.2.3"), der.explicit(0, der.utf8("maria")))
EMAIL = der.implicit(1, b"a@b.c")


@pytest.mark.parametrize(
    ("names", "vouched", "said"),
    [
        ((EMAIL, EMAIL), True, "more than one"),
        ((EMAIL, OTHER_NAME), True, "more than one"),
        ((OTHER_NAME,), True, "another kind"),
        ((der.implicit(2, b"ci.example"),), True, "another kind"),
        ((), True, "who signed"),
        ((EMAIL,), False, "who vouched"),
    ],
)
def test_certificates_that_name_nobody_we_could_name(names, vouched, said):
    rows = [Extension("2.5.29.17", der.sequence(*names))] if names else []
    rows += [Extension(f"{ARC}.8", der.utf8(ISSUER))] if vouched else []
    key = service_key("ca")
    tbs = to_be_signed(
        serial=1,
        issuer=der.sequence(),
        subject=der.sequence(),
        public_der=der_of_pem(key.public_pem),
        begins=NOW,
        ends=NOW,
        extensions=rows,
        algorithm=signature_algorithm(key),
    )
    with pytest.raises(ValueError, match=said):
        read_vouched(x509.load_der_x509_certificate(minting.certificate(tbs, key)))


@pytest.mark.parametrize("size", [0, 1, 24, 127, 128, 200, 255, 256, 1000])
def test_a_utf8_string_comes_back_and_no_other_spelling_does(size):
    encoded = der.utf8("ü" * (size // 2))
    assert read_utf8(encoded) == "ü" * (size // 2)
    for other in (b"\x13" + encoded[1:], encoded + b"x", encoded[:-1], b"\x0c\x81" + encoded[1:]):
        with pytest.raises(ValueError, match="UTF8String"):
            read_utf8(other)
