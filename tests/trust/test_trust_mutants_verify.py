"""Bundles under certificates against an authority: who is expected, whose demand counts, and what is said of strangers."""

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from sigstore_issuing import ISSUER, NOW, SUBJECT, Leaf, key
from sigstore_world import ORIGIN1, STATEMENT, Forged, roots
from trust_forge import forged
from trust_forge import key as managed

from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.tier import Role
from weighbridge.trust.authority import Authority
from weighbridge.trust.demand import Demand
from weighbridge.trust.expect import ExpectedIdentity
from weighbridge.trust.verify import verify_bundle, who_signed

CI = ExpectedIdentity(SUBJECT, ISSUER)


def known(*evidence, expected=CI):
    """An authority that expects the leaf's names, once for each demand; and a managed key beside them."""
    made = (
        Authority("test", 1, NOW - timedelta(days=9), NOW + timedelta(days=9), (managed("root").public_pem,))
        .with_log(ORIGIN1, key("log").public_pem)
        .with_trusted(replace(roots(), logs=()))
        .with_identity("trainer", managed("trainer").public_pem, [Role.TRAIN])
    )
    for number, demand in enumerate(evidence or (Demand(),)):
        claims = {"source-repository-uri": "https://ci.test/models"} if number else {}
        one = replace(expected, claims=claims)
        made = made.with_identity(f"ci{number}", "", [Role.TRAIN], keyless=one, evidence=demand)
    return made


def verify(bundle, authority=None, now=NOW):
    return verify_bundle(bundle, authority=authority or known(), project="speech", role=Role.TRAIN, now=now)


def refused(bundle, check, authority=None, now=NOW):
    with pytest.raises(VerificationFailed) as caught:
        verify(bundle, authority, now)
    assert caught.value.check == check, str(caught.value)
    return caught.value.cause


def test_a_certificate_of_somebody_expected():
    bundle = Forged().build()
    verified = verify(bundle)
    assert verified.payload == STATEMENT
    signer = verified.proven.signer
    assert (signer.name, signer.issuer, signer.subject) == ("ci0", ISSUER, SUBJECT)
    assert signer.key == known().keyless[0].key
    assert who_signed(bundle, known()) == signer


def test_a_certificate_of_somebody_else_is_a_strangers():
    other = x509.UniformResourceIdentifier(SUBJECT + "x")
    bundle = Forged(leaf=Leaf(names=(other,))).build()
    cause = refused(bundle, "identity.known")
    assert repr(SUBJECT + "x") in cause
    assert repr(ISSUER) in cause
    said = who_signed(bundle, known())
    assert (said.name, said.subject) == ("", SUBJECT + "x")
    assert said.key == Digest.of(bundle.certificates[0])


def test_a_certificate_that_names_nobody_is_refused_for_that():
    good = Forged().build()
    unread = replace(good, certificates=(b"no certificate",))
    refused(unread, "certificate.form")
    assert who_signed(unread, known()) == replace(
        who_signed(unread, known()), key=Digest.of(b"no certificate"), name="", issuer="", subject=""
    )
    refused(Forged(leaf=Leaf(purposes=())).build(), "certificate.usage")


def test_a_free_hint_is_nobodys_key():
    bundle = replace(forged().build(), key=None, hint="trainer's key")
    refused(bundle, "identity.known")
    assert who_signed(bundle, known()).key == Digest.of(b"trainer's key")


def test_a_managed_key_is_a_strangers_unless_it_is_named():
    cause = refused(forged(by="stranger").build(), "identity.known")
    assert str(managed("stranger").key_id) in cause


def test_where_several_expect_one_certificate_all_of_their_demands_count():
    bundle, later = Forged().build(), NOW + timedelta(seconds=3601)
    assert verify(bundle, known(Demand(), Demand()), later)
    for demands in ((Demand(), Demand(checkpoint_age=3600)), (Demand(checkpoint_age=3600), Demand())):
        refused(bundle, "evidence.checkpoint-age", known(*demands), later)
    ages = (Demand(checkpoint_age=7200), Demand(checkpoint_age=3600))
    refused(bundle, "evidence.checkpoint-age", known(*ages), later)
    refused(bundle, "evidence.timestamps", known(Demand(), Demand(timestamps=1)))
    refused(bundle, "evidence.scts", known(Demand(), Demand(scts=2)))
    refused(bundle, "evidence.logs", known(Demand(), Demand(logs=2)))
    refused(bundle, "evidence.witnesses", known(Demand(), Demand(witnesses=1)))
    refused(bundle, "evidence.times", known(Demand(), Demand(times=2)))
