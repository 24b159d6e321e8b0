"""Certificates and their SCTs: usage, one name, a path at every proven moment, a promise under the issuer's own key."""

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from sigstore_issuing import (
    BEGIN,
    END,
    INTERMEDIATE,
    ISSUER,
    NOW,
    SUBJECT,
    Leaf,
    Tsa,
    authority,
    chain,
    key,
    private,
    spki,
    usage,
)
from sigstore_world import Forged, roots
from trust_proving import BARE, proof, refused

from weighbridge.core.errors import VerificationFailed
from weighbridge.trust.certificates import read_certificate, signer_of, subject_names
from weighbridge.trust.demand import Demand
from weighbridge.trust.roots import CertificateAuthority, Window

SECOND = timedelta(seconds=1)
DECOY = ("decoy", "ecdsa-p384")


def with_leaf(**changes):
    return Forged(leaf=Leaf(**changes)).build()


def under(*authorities, window=None):
    window = window or Window(BEGIN, END)
    rows = tuple(CertificateAuthority(one, window, "https://fulcio.test") for one in authorities)
    return replace(roots(), authorities=rows)


# certificate.form


@pytest.mark.parametrize("der", [b"\x30", b"certificate", bytes(64)])
def test_what_is_no_certificate(der):
    refused(replace(Forged().build(), certificates=(der,)), "certificate.form")


def test_no_byte_follows_a_certificate():
    good = Forged().build()
    refused(replace(good, certificates=(good.certificates[0] + b"\0",)), "certificate.form")
    large = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x04\x83\x01\x11\x70" + bytes(70_000))
    assert "larger" in refused(with_leaf(extra=((large, False),)), "certificate.form").cause


# certificate.usage


@pytest.mark.parametrize(
    "changes",
    [
        {"purposes": ()},
        {"purposes": (ExtendedKeyUsageOID.SERVER_AUTH,)},
        {"purposes": (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)},
        {"purposes": (ExtendedKeyUsageOID.TIME_STAMPING,)},
        {"usage": None},
        {"usage": usage()},
        {"usage": usage(sign=True, certify=True)},
        {"ca": True},
        {"extra": ((x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),)},
    ],
)
def test_a_leaf_that_is_not_for_signing(changes):
    refused(with_leaf(**changes), "certificate.usage")
    bare = Forged(leaf=Leaf(ct=(), **changes), logged=False).build()
    refused(bare, "certificate.usage", demand=BARE)


def test_an_authority_does_not_sign_claims():
    for der in chain():
        good = Forged().build()
        refused(replace(good, certificates=(der,)), "certificate.usage")


def test_further_purposes_do_no_harm():
    assert proof(with_leaf(purposes=(ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.CODE_SIGNING)))
    assert proof(with_leaf(ca=False))


# certificate.subject and certificate.claims


def other_name(text, oid="1.3.6.1.4.1.57264.1.7"):
    data = text if isinstance(text, bytes) else b"\x0c" + bytes([len(text.encode())]) + text.encode()
    return x509.OtherName(ObjectIdentifier(oid), data)


@pytest.mark.parametrize(
    ("name", "kind", "subject"),
    [
        (x509.RFC822Name("trainer@ci.test"), "email", "trainer@ci.test"),
        (x509.UniformResourceIdentifier("spiffe://ci.test/trainer"), "uri", "spiffe://ci.test/trainer"),
        (x509.DNSName("trainer.ci.test"), "dns", "trainer.ci.test"),
    ],
)
def test_the_one_name_is_the_subject(name, kind, subject):
    signer = proof(with_leaf(names=(name,))).signer
    assert (signer.subject_kind, signer.subject) == (kind, subject)


def test_a_user_name_stands_in_an_other_name():
    signer = signer_of(Leaf(names=(other_name("trainer!ci.test"),)).build())
    assert (signer.subject_kind, signer.subject) == ("other-name", "trainer!ci.test")


@pytest.mark.parametrize(
    "names",
    [
        (x509.UniformResourceIdentifier(SUBJECT), x509.RFC822Name("trainer@ci.test")),
        (x509.UniformResourceIdentifier(SUBJECT), x509.UniformResourceIdentifier(SUBJECT)),
        (other_name("x", "1.2.3"),),
        (x509.RegisteredID(ObjectIdentifier("1.2.3")),),
    ],
)
def test_two_names_or_one_of_another_kind(names):
    refused(with_leaf(names=names), "certificate.subject")


def test_a_leaf_without_name_is_taken_only_where_the_authority_alone_vouches():
    refused(with_leaf(names=()), "certificate.chain")
    bare = Forged(leaf=Leaf(names=(), ct=()), logged=False).build()
    signer = proof(bare, demand=BARE).signer
    assert (signer.subject, signer.subject_kind, signer.issuer) == ("", "", ISSUER)


@pytest.mark.parametrize(
    ("claims", "issuer"),
    [
        (((1, ISSUER),), ISSUER),
        (((8, ISSUER),), ISSUER),
        (((1, ISSUER), (8, ISSUER)), ISSUER),
        ((), ""),
        (((8, "é" * 100),), "é" * 100),
        (((8, "x" * 300),), "x" * 300),
        (((24, b"anything"), (8, ISSUER)), ISSUER),
        (((8, b"\x0c\x7f" + b"x" * 127),), "x" * 127),
        (((8, b"\x0c\x81\x80" + b"x" * 128),), "x" * 128),
        (((8, b"\x0c\x81\xff" + b"x" * 255),), "x" * 255),
        (((8, b"\x0c\x82\x01\x00" + b"x" * 256),), "x" * 256),
    ],
)
def test_both_forms_of_the_issuer_are_read(claims, issuer):
    assert signer_of(Leaf(claims=claims).build()).issuer == issuer


@pytest.mark.parametrize(
    "claims",
    [
        ((1, ISSUER), (8, "https://other.test")),
        ((8, b"raw text"),),
        ((8, b"\x0c\x03ab"),),
        ((8, b"\x0c\x02abc"),),
        ((8, b"\x0c\x81\x02ab"),),
        ((8, b"\x0c\x80ab\0\0"),),
        ((8, b"\x0c\x81\x7f" + b"x" * 127),),
        ((8, b"\x0c\x82\x00\xff" + b"x" * 255),),
        ((8, b"\x0c\x83\x00\x01\x00" + b"x" * 256),),
        ((8, b""),),
        ((8, b"\x0c"),),
        ((8, b"\x0c\x01\xff"),),
        ((1, b"\xff"),),
        ((12, b"\x13\x02ab"),),
    ],
)
def test_claims_that_say_two_things_or_cannot_be_read(claims):
    refused(with_leaf(claims=claims), "certificate.claims")


def test_a_claim_stands_below_fulcios_number_and_no_other():
    for oid in ("1.2.3.8", "1.3.6.1.4.1.57264.2.8"):
        other = x509.UnrecognizedExtension(ObjectIdentifier(oid), b"\x0c\x05other")
        signer = signer_of(Leaf(extra=((other, False),)).build())
        assert signer.issuer == signer.claims["8"] == ISSUER


def test_other_names_that_cannot_be_read():
    for data in (b"\x13\x02ab", b"\x0c\x01\xff"):
        with pytest.raises(VerificationFailed) as caught:
            signer_of(Leaf(names=(other_name(data),)).build())
        assert caught.value.check == "certificate.claims"


# certificate.time and certificate.chain


def test_a_leaf_is_valid_to_the_second():
    last = timedelta(minutes=10)
    for begin in (NOW, NOW - last):
        assert proof(with_leaf(begin=begin))
    for begin in (NOW + SECOND, NOW - last - SECOND):
        refused(with_leaf(begin=begin), "certificate.time")


def test_every_proven_moment_lies_in_the_leafs_life():
    """The earliest, the latest: none is picked by whoever wrote the bundle."""
    for when in (NOW - timedelta(minutes=2), NOW + timedelta(minutes=4)):
        leaf = Leaf(begin=NOW - SECOND, minutes=2)
        bundle = Forged(leaf=leaf, tsas=(Tsa(when=when),)).build()
        refused(bundle, "certificate.time")
        two = (Tsa(), Tsa(when=when, holder=("tsa", "ecdsa-p256")))
        refused(Forged("dsse2", leaf=leaf, tsas=two).build(), "certificate.time")


def test_an_authority_that_nobody_trusts():
    stranger = Leaf(issuer=("intermediate", DECOY))
    refused(Forged(leaf=stranger).build(), "certificate.chain")
    refused(Forged().build(), "certificate.chain", roots=under())
    cause = refused(Forged().build(), "certificate.chain", roots=under((authority("decoy", DECOY),))).cause
    assert cause.startswith("https://fulcio.test: ")
    unnamed = replace(roots(), authorities=(CertificateAuthority((authority("decoy", DECOY),)),))
    assert refused(Forged().build(), "certificate.chain", roots=unnamed).cause.startswith("sha256:")


def test_a_leaf_that_the_root_issued_itself():
    straight = Forged(leaf=Leaf(issuer=("root", ("root", "ecdsa-p384")))).build()
    assert proof(straight)
    assert proof(straight, roots=under((authority(),)))


def test_another_leaf_with_the_authoritys_name_is_no_authority():
    """A leaf that signs a leaf: the path must go through certificates of authorities."""
    holder = ("leaf", "ecdsa-p256")
    name = read_certificate(Leaf().build()).subject
    assert not list(name)
    bundle = Forged(leaf=Leaf(issuer=("intermediate", holder), holder="child")).build()
    refused(replace(bundle, certificates=(*bundle.certificates, Leaf().build())), "certificate.chain")


@pytest.mark.parametrize("expired", ["intermediate", "root"])
def test_authorities_expire_too(expired):
    root = ("root", ("root", "ecdsa-p384"))
    over = NOW - SECOND
    first = authority(
        "intermediate", INTERMEDIATE, root, path=0, end=over if expired == "intermediate" else END
    )
    last = authority("root", root[1], end=over) if expired == "root" else authority()
    refused(Forged().build(), "certificate.chain", roots=under((first, last)))


def test_authorities_are_valid_at_every_moment():
    root = ("root", ("root", "ecdsa-p384"))
    short = authority("intermediate", INTERMEDIATE, root, path=0, end=NOW + timedelta(seconds=30))
    for when, check in [
        (NOW + timedelta(seconds=30), ""),
        (NOW + timedelta(seconds=31), "certificate.chain"),
    ]:
        bundle = Forged(tsas=(Tsa(when=when),)).build()
        if check:
            assert "own certificates" in refused(bundle, check, roots=under((short, authority()))).cause
        else:
            assert len(proof(bundle, roots=under((short, authority()))).times) == 2


def test_a_path_no_longer_than_its_root_allows():
    root = authority(path=0)
    between = authority("intermediate", INTERMEDIATE, ("root", ("root", "ecdsa-p384")), path=0)
    refused(Forged().build(), "certificate.chain", roots=under((between, root)))


def test_an_authority_for_other_purposes_vouches_for_no_signer():
    def limited(purpose, which):
        root = ("root", ("root", "ecdsa-p384"))
        own = purpose if which == "root" else None
        first = authority("intermediate", INTERMEDIATE, root, path=0, extended=None if own else purpose)
        return under((first, authority(extended=own)))

    for which in ("intermediate", "root"):
        for purpose in (ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE):
            assert proof(Forged().build(), roots=limited(purpose, which))
        for purpose in (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.TIME_STAMPING):
            refused(Forged().build(), "certificate.chain", roots=limited(purpose, which))


def test_the_authoritys_interval_is_closed():
    for window in (Window(NOW, NOW), Window(None, None), Window(None, NOW), Window(NOW, None)):
        assert proof(Forged().build(), roots=under(chain(), window=window))
    for window in (Window(NOW + SECOND, END), Window(BEGIN, NOW - SECOND)):
        refused(Forged().build(), "certificate.chain", roots=under(chain(), window=window))


def test_an_interval_is_not_borrowed_from_another_authority():
    rows = (
        CertificateAuthority(chain(), Window(BEGIN, NOW - SECOND)),
        CertificateAuthority((authority("decoy", DECOY),), Window(BEGIN, END)),
    )
    refused(Forged().build(), "certificate.chain", roots=replace(roots(), authorities=rows))


def test_intermediates_out_of_a_bundle_are_used_with_bare_roots_alone():
    leaf, between = Leaf(ct=()), chain()[0]
    brought = Forged(leaf=leaf, logged=False, brought=(between,)).build()
    assert proof(brought, demand=BARE, roots=under((authority(),)))
    missing = Forged(leaf=leaf, logged=False).build()
    refused(missing, "certificate.chain", demand=BARE, roots=under((authority(),)))
    logged = Forged(leaf=Leaf(), brought=(between,)).build()
    refused(logged, "certificate.chain", roots=under((authority(),)))
    other = authority("other", DECOY, ("root", ("root", "ecdsa-p384")), path=0)
    pinned = Forged(leaf=Leaf(issuer=("other", DECOY), ct=()), logged=False, brought=(other,)).build()
    refused(pinned, "certificate.chain", demand=BARE, roots=under(chain()))  # a chain pins its intermediate
    assert proof(pinned, demand=BARE, roots=under((authority(),)))


def test_a_root_out_of_a_bundle_is_never_believed():
    own = authority("decoy", DECOY)
    leaf = Leaf(issuer=("decoy", DECOY), ct=())
    bundle = Forged(leaf=leaf, logged=False, brought=(own,)).build()
    refused(bundle, "certificate.chain", demand=BARE)
    refused(bundle, "certificate.chain", demand=BARE, roots=under((authority(),)))


def test_a_signature_by_a_key_that_the_certificate_does_not_hold():
    bundle = Forged(leaf=Leaf(serial=7), signature=key("other").sign(Forged().signed)).build()
    refused(bundle, "bundle.signature")


def test_names_of_a_certificate():
    assert subject_names(authority()) == ("", "root")
    assert subject_names(Leaf().build()) == ("", "")


# certificate.sct


def test_two_logs_may_have_promised():
    ct = (("ct", "ecdsa-p256"), ("ct2", "rsa"))
    known = roots()
    second = roots(ct=("ct2", "rsa")).ctlogs[0]
    bundle = Forged(leaf=Leaf(ct=ct)).build()
    both = replace(known, ctlogs=(*known.ctlogs, second))
    assert len(proof(bundle, roots=both, demand=Demand(scts=2)).scts) == 2
    refused(bundle, "evidence.scts", demand=Demand(scts=2))


def test_the_same_log_twice_is_one_log():
    bundle = Forged(leaf=Leaf(ct=(("ct", "ecdsa-p256"),) * 2)).build()
    assert len(proof(bundle).scts) == 1
    refused(bundle, "evidence.scts", demand=Demand(scts=2))


@pytest.mark.parametrize(
    "changes",
    [
        {"ct_flip": True},
        {"ct_hash": b"\x05"},
        {"ct_issuer": b"another issuer"},
        {"ct_issuer": spki(private("root", "ecdsa-p384"))},
        {"ct_time": BEGIN - SECOND},
        {"ct_time": END + SECOND},
    ],
)
def test_a_promise_that_does_not_hold(changes):
    refused(with_leaf(**changes), "certificate.sct")


def test_a_promise_by_a_log_that_nobody_trusts_is_none():
    refused(with_leaf(ct=(("other ct", "ecdsa-p256"),)), "evidence.scts")
    refused(Forged().build(), "evidence.scts", roots=replace(roots(), ctlogs=()))


def test_more_promises_than_anybody_collects():
    refused(with_leaf(ct=(("ct", "ecdsa-p256"),) * 17), "certificate.sct")


def test_the_issuer_is_that_of_the_path_and_not_one_of_its_name():
    """Two intermediates of one name and two keys: the promise is held against the one that issued."""
    decoy = authority("intermediate", DECOY, ("root", ("root", "ecdsa-p384")), path=0)
    both = under((decoy, chain()[1]), chain())
    assert proof(Forged().build(), roots=both).scts
    assert proof(Forged().build(), roots=under((decoy, *chain()))).scts


def test_a_promise_for_another_certificate_is_none():
    """An SCT list moved into another leaf: what it was signed over is not that leaf."""
    donor = read_certificate(Leaf(serial=11).build())
    oid = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
    raw = donor.extensions.get_extension_for_oid(oid).value.public_bytes()
    moved = Leaf(serial=12, ct=(), extra=((x509.UnrecognizedExtension(oid, raw), False),))
    refused(Forged(leaf=moved).build(), "certificate.sct")


@pytest.mark.parametrize(
    "raw", [b"", b"\x04\x00", b"\x04\x02\x00\x05", b"\x04\x04\x00\x02\x00\x00", b"garbage"]
)
def test_a_list_of_promises_that_cannot_be_read(raw):
    oid = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
    leaf = Leaf(ct=(), extra=((x509.UnrecognizedExtension(oid, raw), False),))
    with pytest.raises(VerificationFailed) as caught:
        proof(Forged(leaf=leaf).build())
    assert caught.value.check in ("certificate.form", "certificate.sct", "evidence.scts")
