"""The words that the authority's readers are made of, each at its edges."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.serialization import Encoding
from trust_forge import NOW, key

from weighbridge.core.canonical import MAX_SAFE_INTEGER
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.tier import Role
from weighbridge.keys.public import key_id_of_pem
from weighbridge.trust.authority_keyless import keyless_json
from weighbridge.trust.authority_services import (
    MAX_CHAIN,
    check_services,
    der_of_certificate,
    key_uses,
    pem_of_certificate,
    read_services,
    services_json,
)
from weighbridge.trust.authority_words import (
    is_label,
    list_of,
    meant,
    members,
    moment,
    text,
    typed,
    whole,
    word,
    word_of,
)
from weighbridge.trust.expect import ExpectedIdentity
from weighbridge.trust.pattern import Pattern
from weighbridge.trust.roots import (
    CertificateAuthority,
    CtLog,
    Roots,
    TimestampAuthority,
    Window,
    Witness,
)

DAY = timedelta(days=1)


def refused(call, *arguments, **named):
    with pytest.raises(VerificationFailed) as caught:
        call(*arguments, **named)
    assert caught.value.check == "authority.form"
    return caught.value.cause


def test_labels():
    for label in ("a", "Trainer (night)", "é" * 128, "a b"):
        assert is_label(label)
    for label in ("", "a" * 129, " a", "a ", "a\n", "a\u200bb"):
        assert not is_label(label)


def test_members_are_those_known():
    members({"a": 1}, ("a",), "it")
    members({"a": 1, "b": 2}, ("a",), "it", optional=("b", "c"))
    assert refused(members, [], ("a",), "it") == "it is not an object"
    assert refused(members, {}, ("a",), "it") == "it lacks the member 'a'"
    assert refused(members, {"a": 1, "z": 2}, ("a",), "it") == "it has an unknown member 'z'"
    named = refused(members, {"valid_untill": 1}, ("x",), "it", optional=("valid_until",))
    assert named.endswith("did you mean 'valid_until'?")


def test_words_of_a_closed_set():
    assert word(Role, "train", "role") is Role.TRAIN
    assert refused(word, Role, "trane", "role") == "unknown role: 'trane'; did you mean 'train'?"
    assert word_of(("one", "two"), "two", "number") == "two"
    assert refused(word_of, ("one", "two"), "tow", "number") == "unknown number: 'tow'; did you mean 'two'?"
    assert meant("zzzzzz", ("one", "two")) == ""


def test_types_are_exact():
    assert (typed({}, dict, "it"), text("a", "it"), list_of([], "it")) == ({}, "a", [])
    assert refused(typed, True, int, "it") == "it is not of type int"
    assert refused(text, b"a", "it") == "it is not of type str"
    assert refused(list_of, (), "it") == "it is not of type list"


def test_whole_numbers():
    assert (whole(0, "it"), whole(MAX_SAFE_INTEGER, "it")) == (0, MAX_SAFE_INTEGER)
    for number in (-1, MAX_SAFE_INTEGER + 1):
        assert refused(whole, number, "it") == "it is out of range"


def test_times_have_one_spelling():
    assert moment("2026-11-22T20:10:00Z", "it") == NOW
    wrong = (
        "2026-11-22T20:10:00+00:00",
        "2026-11-22T21:10:00+01:00",
        "2026-11-22",
        "x",
        "2026-13-01T00:00:00Z",
    )
    for said in (*wrong, "2026-11-22T20:10:00.000Z", "0001-01-01T00:00:00+23:59"):
        assert "is not a time like" in refused(moment, said, "it")


def row(name, private, by=None, *, days=9):
    """A certificate of this key: its own issuer, or issued by (name, key)."""
    issuer, signer = by or (name, private)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(private.public_key())
        .serial_number(7)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=days))
    )
    algorithm = hashes.SHA256() if isinstance(signer, ec.EllipticCurvePrivateKey) else None
    return made.sign(signer, algorithm).public_bytes(Encoding.DER)


PRIVATE, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
ROOT, ISSUING = row("root", PRIVATE), row("issuing", OTHER, ("root", PRIVATE))
CT = key("a certificate log").public_pem


def known(**changes):
    values = {
        "authorities": (
            CertificateAuthority((ISSUING, ROOT), Window(NOW, NOW + DAY), uri="https://ca.test"),
        ),
        "ctlogs": (
            CtLog(bytes.fromhex(key_id_of_pem(CT).hex), CT, Window(None, NOW), base_url="https://ct.test"),
        ),
        "timestamps": (TimestampAuthority((ROOT,), Window(), uri="https://tsa.test"),),
        "witnesses": (Witness("w.test", bytes(range(32)), "ed25519", Window(NOW, NOW)),),
    }
    return Roots(**(values | changes))


def test_services_are_read_as_they_were_written():
    assert read_services(services_json(known())) == known()
    assert services_json(Roots()) == {}
    assert read_services({}) == Roots()
    for name in ("authorities", "ctlogs", "timestamp_authorities", "witnesses"):
        document = services_json(known())
        del document[name][0]["valid_until"]
        assert "valid_until" in refused(read_services, document)
        assert "not of type list" in refused(read_services, services_json(known()) | {name: {}})


def test_an_interval_may_be_a_moment_and_not_less():
    document = services_json(known())
    document["witnesses"][0]["valid_until"] = "2026-11-22T20:09:59Z"
    assert "ends before it begins" in refused(read_services, document)
    document["witnesses"][0] |= {"valid_from": None}
    assert read_services(document).witnesses[0].window == Window(None, NOW - timedelta(seconds=1))


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n"])
def test_a_witness_has_a_name_for_a_signature_line(name):
    document = services_json(known())
    document["witnesses"][0]["name"] = name
    assert "no spaces and no plus signs" in refused(read_services, document)


@pytest.mark.parametrize("value", ["", "AAAA", "A" * 43, "A" * 42 + "B=", "A" * 43 + "!", "A" * 44 + "\n"])
def test_a_witness_has_a_raw_key(value):
    document = services_json(known())
    document["witnesses"][0]["key"] = value
    assert "raw ed25519" in refused(read_services, document)


def test_chains_are_of_one_to_eight_and_end_in_a_root():
    def with_chain(rows):
        document = services_json(known())
        document["authorities"][0]["chain"] = [pem_of_certificate(der) for der in rows]
        return document

    assert (
        len(read_services(with_chain([ISSUING] * (MAX_CHAIN - 1) + [ROOT])).authorities[0].chain) == MAX_CHAIN
    )
    for rows in ([], [ISSUING] * MAX_CHAIN + [ROOT]):
        assert "1 to 8" in refused(read_services, with_chain(rows))
    for rows in ([ROOT, ISSUING], [b"x", ROOT], [row("root", OTHER, ("root", PRIVATE))]):
        assert "signed itself" in refused(read_services, with_chain(rows))


def test_certificates_have_one_spelling():
    pem = pem_of_certificate(ROOT)
    assert der_of_certificate(pem) == ROOT
    begin, *lines, end = pem.splitlines()
    assert "64 characters" in refused(der_of_certificate, "\n".join((begin, "".join(lines), end, "")))
    empty = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"
    for wrong in (
        pem + "\n",
        pem.replace("\n", "\r\n"),
        pem.replace("\n", "", 1),
        "x",
        empty,
        pem.replace("M", "!", 1),
    ):
        assert "PEM" in refused(der_of_certificate, wrong)


def test_witnesses_are_told_apart():
    one = Witness("a", bytes(32), "ed25519")
    check_services(Roots(witnesses=(one, Witness("b", bytes(range(32)), "ed25519"))))
    assert "same name" in refused(
        check_services, Roots(witnesses=(one, Witness("a", bytes(range(32)), "ed25519")))
    )
    assert "same key" in refused(check_services, Roots(witnesses=(one, Witness("b", bytes(32), "ed25519"))))


def test_every_key_has_a_use():
    twice = (CertificateAuthority((ISSUING, ROOT)), CertificateAuthority((ROOT,)))
    nameless = CtLog(bytes(32), CT)
    uses = key_uses(known(authorities=twice, ctlogs=(*known().ctlogs, nameless)))
    assert [use for use, _ in uses] == [
        "the certificate log https://ct.test",
        "the certificate log 2",
        "a certificate authority",
        "a certificate authority",
    ]
    assert len({pem for _, pem in uses}) == 3
    alone = key_uses(Roots(timestamps=known().timestamps))
    assert [use for use, _ in alone] == ["a timestamp authority"]
    strange = row("strange", ed448.Ed448PrivateKey.generate())
    for part, kind in (("authorities", CertificateAuthority), ("timestamps", TimestampAuthority)):
        assert "of a kind that is not used" in refused(key_uses, Roots(**{part: (kind((strange,)),)}))


def test_what_is_not_expected_is_not_written():
    assert keyless_json(ExpectedIdentity(issuer="https://i.test")) == {"issuer": "https://i.test"}
    assert keyless_json(ExpectedIdentity(subject=Pattern("a+"))) == {"subject": {"pattern": "a+"}}
    claims = {"source-repository-uri": "https://s.test", "99": "x"}
    assert keyless_json(ExpectedIdentity(claims=claims)) == {"claims": claims}
