"""What a bundle proves: every kind in order is believed, and less proof than is demanded is refused by its name."""

import base64
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sigstore_issuing import BEGIN, END, ISSUER, NOW, SUBJECT, Leaf, Tsa, key
from sigstore_world import (
    ARTIFACT,
    FILES,
    KINDS,
    ORIGIN1,
    ORIGIN2,
    PAYLOAD_TYPE,
    SECOND,
    STATEMENT,
    Forged,
    make,
    managed,
    roots,
)
from trust_proving import BARE, STAMPED, proof, refused, two_logs

from weighbridge.core.digest import Digest
from weighbridge.core.errors import OutOfBudget, VerificationFailed
from weighbridge.core.tier import Assurance
from weighbridge.trust.bundle import MAX_BUNDLE, Bundle, MessageSignature
from weighbridge.trust.demand import Demand
from weighbridge.trust.dsse import Signature, pae
from weighbridge.trust.proof import SignedTime
from weighbridge.trust.prove import SKEW, Artifact
from weighbridge.trust.roots import Roots, Window
from weighbridge.trust.trusted_root import read_trusted_root

# In order


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("leaf", ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519", "rsa"])
def test_every_kind_of_entry_and_key_is_believed(kind, leaf):
    made = make(kind, leaf=Leaf(leaf))
    bundle = Bundle.from_json(made.bundle)
    found = proof(bundle, roots=read_trusted_root(made.trusted_root))
    assert (found.signer.issuer, found.signer.subject, found.signer.subject_kind) == (ISSUER, SUBJECT, "uri")
    assert found.signer.key == key("leaf", leaf).key_id
    assert found.signer.claims["12"] == "https://ci.test/models"
    (logged,) = found.logs
    assert (logged.origin, logged.index, logged.size) == (ORIGIN2 if kind in SECOND else ORIGIN1, 3, 5)
    assert found.times == (
        SignedTime(NOW, "timestamp", "https://tsa.test")
        if kind in SECOND
        else SignedTime(NOW, "log", ORIGIN1),
    )
    assert len(found.scts) == 1
    assert found.assurance is Assurance.SINGLE_OPERATOR
    if kind in FILES:
        assert (found.payload, found.digest) == (b"", Digest.of(ARTIFACT))
    else:
        assert (found.payload_type, found.payload, found.digest) == (PAYLOAD_TYPE, STATEMENT, None)
    assert Bundle.from_json(bundle.to_json()) == bundle


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519", "rsa"])
def test_every_kind_is_believed_under_a_managed_key(kind, algorithm):
    signer = key("managed", algorithm)
    bundle = Bundle.from_json(Forged(kind, with_key=signer, tsas=()).build().to_json())
    found = proof(bundle, key_pem=signer.public_pem)
    assert (found.signer.key, found.signer.subject, found.signer.certificate) == (signer.key_id, "", b"")
    assert found.scts == ()
    assert len(found.times) == (kind not in SECOND)


@pytest.mark.parametrize("second", [("log2", "ed25519"), ("log2", "ecdsa-p256"), ("log2", "ecdsa-p384")])
def test_second_version_logs_may_have_keys_of_several_kinds(second):
    made = make("dsse2", second=second)
    assert proof(Bundle.from_json(made.bundle), roots=read_trusted_root(made.trusted_root)).logs


def test_a_number_in_the_log_may_differ_from_the_place_in_its_tree():
    bundle = Bundle.from_json(Forged(outer_index=1_000_000).build().to_json())
    assert bundle.entry.index == 1_000_000
    assert proof(bundle).logs[0].index == bundle.entry.position == 3


def test_the_older_media_types_are_read():
    value = json.loads(make().bundle)
    material = value["verificationMaterial"]
    material["x509CertificateChain"] = {"certificates": [material.pop("certificate")]}
    for version in ("0.1", "0.2", "0.3"):
        value["mediaType"] = f"application/vnd.dev.sigstore.bundle+json;version={version}"
        assert proof(Bundle.from_json(json.dumps(value).encode())).logs
    del material["tlogEntries"][0]["inclusionPromise"]
    value["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1"
    with pytest.raises(VerificationFailed, match=r"bundle\.form"):
        Bundle.from_json(json.dumps(value).encode())


# 1. bundle.material


def test_a_bundle_cannot_choose_how_its_signer_is_known():
    error = refused(Forged().build(), "bundle.material", key_pem=key("leaf").public_pem)
    assert "with a certificate" in error.problem
    assert "identity" in error.remedy
    error = refused(Forged(with_key=managed()).build(), "bundle.material")
    assert "with a key" in error.problem
    assert "name the key" in error.remedy
    hidden = replace(Forged().build(), key=key("leaf").key_id)
    refused(hidden, "bundle.material", key_pem=key("leaf").public_pem)


@pytest.mark.parametrize("hint", ["", "anything", "ab" * 32])
def test_a_hint_only_selects(hint):
    bundle = replace(Forged(with_key=managed()).build(), key=None, hint=hint)
    assert proof(Bundle.from_json(bundle.to_json()), key_pem=managed().public_pem)
    refused(bundle, "bundle.signature", key_pem=key("other").public_pem)


def test_a_hint_names_the_key_in_cosigns_spelling_too():
    value = json.loads(Forged(with_key=managed()).build().to_json())
    raw = bytes.fromhex(managed().key_id.hex)
    value["verificationMaterial"]["publicKey"]["hint"] = base64.b64encode(raw).decode()
    bundle = Bundle.from_json(json.dumps(value).encode())
    assert bundle.key == managed().key_id
    assert json.loads(bundle.to_json()) == value
    assert Bundle.from_json(bundle.to_json()) == bundle


# 3 and 4. The content and its signature


def test_exactly_one_signature():
    good = Forged().build()
    for rows in ((), good.envelope.signatures * 2):
        refused(replace(good, content=replace(good.envelope, signatures=rows)), "bundle.one-signature")


def test_the_payload_type_is_compared_before_anything_is_read():
    other = Forged(payload_type="application/json").build()
    refused(other, "bundle.payload-type")
    assert proof(other, payload_type="application/json").payload == STATEMENT
    assert proof(other, payload_type=None).payload_type == "application/json"


def test_another_payload_or_type_under_the_same_signature():
    good = Forged().build()
    refused(replace(good, content=replace(good.envelope, payload=b"{}")), "bundle.signature")
    moved = replace(good, content=replace(good.envelope, payload_type="a"))
    refused(moved, "bundle.signature", payload_type="a")
    bare = Forged(signature=key("leaf").sign(STATEMENT)).build()
    refused(bare, "bundle.signature")


@pytest.mark.parametrize("signature", [b"\0", b"\0" * 64, bytes.fromhex("3006020100020100")])
def test_a_signature_that_is_none(signature):
    refused(Forged(signature=signature).build(), "bundle.signature")


def test_an_empty_signature_is_not_even_read():
    for kind in ("dsse", "hashedrekord"):
        value = json.loads(Forged(kind).build().to_json())
        where = value["dsseEnvelope"]["signatures"][0] if kind == "dsse" else value["messageSignature"]
        where["sig" if kind == "dsse" else "signature"] = ""
        with pytest.raises(VerificationFailed, match=r"bundle\.form"):
            Bundle.from_json(json.dumps(value).encode())
    empty = replace(Forged("hashedrekord").build(), content=MessageSignature(b""))
    refused(empty, "bundle.signature")


def test_a_key_of_one_kind_takes_no_signature_of_another():
    """Algorithm confusion: what verifies is the key's one way to sign, whatever the bundle says or holds."""
    signed = pae(PAYLOAD_TYPE, STATEMENT)
    for own in ("ecdsa-p256", "ecdsa-p384", "ed25519", "rsa"):
        for other in ("ecdsa-p256", "ecdsa-p384", "ed25519", "rsa"):
            if own != other:
                forged = Forged(leaf=Leaf(own), signature=key("leaf", other).sign(signed))
                refused(forged.build(), "bundle.signature")


def test_a_digest_signed_as_if_it_were_the_file():
    digest = hashlib.sha256(ARTIFACT).digest()
    refused(Forged("hashedrekord", signature=key("leaf").sign(digest)).build(), "bundle.signature")


@pytest.mark.parametrize("kind", FILES)
def test_the_file_is_needed_and_no_other_will_do(kind):
    bundle = Forged(kind).build()
    refused(bundle, "bundle.artifact", artifact=None)
    refused(bundle, "bundle.artifact", artifact=Artifact(()))
    refused(bundle, "bundle.artifact", artifact=Artifact.of(ARTIFACT + b"!"))
    silent = replace(bundle, content=MessageSignature(bundle.message.signature))
    assert proof(silent).digest == Digest.of(ARTIFACT)
    refused(silent, "bundle.signature", artifact=Artifact.of(ARTIFACT + b"!"))
    lying = replace(bundle, content=replace(bundle.message, digest=Digest.of(b"another")))
    refused(lying, "bundle.artifact")


def test_a_file_without_any_digest_is_no_file():
    bundle = Forged("hashedrekord", leaf=Leaf("ed25519")).build()
    refused(bundle, "bundle.artifact", artifact=Artifact((), ARTIFACT))


def test_a_digest_that_the_file_was_not_hashed_with_says_nothing():
    bundle = Forged("hashedrekord").build()
    long = Digest("sha512", hashlib.sha512(ARTIFACT).hexdigest())
    for said in (long, Digest("sha512", "00" * 64)):
        other = replace(bundle, content=replace(bundle.message, digest=said))
        assert proof(other, artifact=Artifact((Digest.of(ARTIFACT),)))
    refused(other, "bundle.artifact")


def test_a_digest_is_enough_where_the_key_signs_digests():
    by_digest = Artifact((Digest.of(ARTIFACT),))
    assert proof(Forged("hashedrekord").build(), artifact=by_digest).digest == Digest.of(ARTIFACT)
    error = refused(
        Forged("hashedrekord", leaf=Leaf("ed25519")).build(), "bundle.artifact", artifact=by_digest
    )
    assert "itself" in error.cause
    only512 = Artifact((Digest("sha512", hashlib.sha512(ARTIFACT).hexdigest()),))
    refused(Forged("hashedrekord").build(), "bundle.artifact", artifact=only512)


def test_a_signature_over_a_file_is_no_claim():
    with pytest.raises(VerificationFailed) as caught:
        _ = Forged("hashedrekord").build().envelope
    assert caught.value.check == "bundle.content"


def test_key_ids_are_relied_on_by_nobody():
    good = Forged().build()
    named = replace(good.envelope, signatures=(Signature("root", good.envelope.signatures[0].sig),))
    assert proof(replace(good, content=named)).signer.subject == SUBJECT


# 5. bundle.duplicate


def test_a_proof_shown_twice_is_refused():
    good = Forged(tsas=(Tsa(),)).build()
    refused(replace(good, entries=good.entries * 2), "bundle.duplicate")
    refused(replace(good, timestamps=good.timestamps * 2), "bundle.duplicate")
    again = replace(good.entry, promise=b"", integrated_time=0)
    refused(replace(good, entries=(good.entry, again)), "bundle.duplicate")


def test_two_entries_in_one_log_are_one_log():
    first, later = (Forged(index=index).build() for index in (3, 2))
    later = Forged(index=2, signature=first.envelope.signatures[0].sig).build()
    both = replace(first, entries=(*first.entries, *later.entries))
    assert len(proof(both).logs) == 2
    refused(both, "evidence.logs", demand=Demand(logs=2))
    refused(both, "evidence.times", demand=Demand(times=2))


def test_two_logs_are_two_logs():
    both = Bundle.from_json(two_logs().to_json())
    found = proof(both, demand=Demand(logs=2))
    assert {log.origin for log in found.logs} == {ORIGIN1, ORIGIN2}
    refused(both, "evidence.logs", demand=Demand(logs=3))


def test_one_bad_entry_beside_a_good_one_refuses():
    both = two_logs()
    bad = replace(both.entries[1], size=both.entries[1].size + 1)
    refused(replace(both, entries=(both.entries[0], bad)), "log.inclusion")


# 8. time.future


@pytest.mark.parametrize("ahead", [timedelta(seconds=1), timedelta(days=1)])
def test_no_moment_lies_ahead_of_us(ahead):
    early = NOW - SKEW
    for bundle in (Forged().build(), Forged("dsse2").build()):
        assert proof(bundle, now=early)
        refused(bundle, "time.future", now=early - ahead)


# 9. log.window


@pytest.mark.parametrize("kind", ["dsse", "dsse2"])
def test_a_logs_interval_is_closed(kind):
    def within(start, end):
        known = roots()
        return replace(known, logs=tuple(replace(log, window=Window(start, end)) for log in known.logs))

    bundle = Forged(kind).build()
    for start, end in [(NOW, NOW), (BEGIN, NOW), (NOW, END), (None, None)]:
        assert proof(bundle, roots=within(start, end))
    second = timedelta(seconds=1)
    for start, end in [(NOW + second, END), (BEGIN, NOW - second)]:
        refused(bundle, "log.window", roots=within(start, end))


def test_a_logs_own_time_is_what_its_interval_is_held_against():
    """A timestamp a minute later says nothing of when the log took the entry in."""
    known = roots()
    ended = tuple(replace(log, window=Window(BEGIN, NOW)) for log in known.logs)
    later = (Tsa(when=NOW + timedelta(minutes=1)),)
    assert proof(Forged(tsas=later).build(), roots=replace(known, logs=ended))
    refused(Forged("dsse2", tsas=later).build(), "log.window", roots=replace(known, logs=ended))


def test_without_a_proven_time_the_log_must_be_trusted_now():
    bundle = Forged("dsse2", with_key=managed(), tsas=()).build()
    world = {"key_pem": managed().public_pem}
    assert proof(bundle, now=END, **world).times == ()
    refused(bundle, "log.window", now=END + timedelta(seconds=1), **world)


# 12. evidence.*


@pytest.mark.parametrize(
    ("changes", "demand", "check"),
    [
        ({"logged": False, "tsas": (Tsa(),)}, Demand(), "evidence.logs"),
        ({"logged": False}, Demand(), "evidence.times"),
        ({}, Demand(logs=2), "evidence.logs"),
        ({}, Demand(timestamps=1), "evidence.timestamps"),
        ({}, Demand(times=2), "evidence.times"),
        ({"tsas": (Tsa(),)}, Demand(timestamps=2), "evidence.timestamps"),
        ({"tsas": (Tsa(),)}, Demand(times=3), "evidence.times"),
        ({"leaf": Leaf(ct=())}, Demand(), "evidence.scts"),
        ({}, Demand(scts=2), "evidence.scts"),
        ({}, Demand(witnesses=1), "evidence.witnesses"),
        ({"kind": "dsse2", "tsas": ()}, Demand(), "evidence.times"),
        ({"kind": "dsse2"}, Demand(times=2), "evidence.times"),
        ({"promise": False}, Demand(), "evidence.times"),
        ({"logged": False}, STAMPED, "evidence.times"),
        ({"logged": False}, Demand(logs=0, times=1), "evidence.times"),
    ],
)
def test_less_than_is_demanded_is_refused(changes, demand, check):
    refused(Forged(**changes).build(), check, demand=demand)


def test_as_much_as_is_demanded_is_taken():
    stamped = Forged(tsas=(Tsa(),)).build()
    for demand in (Demand(times=2), Demand(timestamps=1), Demand(timestamps=1, times=2), Demand(logs=0)):
        assert len(proof(stamped, demand=demand).times) == 2


def test_scts_are_asked_of_certificates_only():
    bundle = Forged(with_key=managed()).build()
    assert proof(bundle, demand=Demand(scts=3), key_pem=managed().public_pem).scts == ()


def test_evidence_that_nobody_asked_for_is_verified_all_the_same():
    good = Forged().build()
    bad = replace(good.entry, checkpoint="nothing")
    refused(replace(good, entries=(bad,)), "log.checkpoint", demand=Demand(logs=0))
    refused(replace(Forged().build(), timestamps=(b"nothing",)), "time.timestamp")
    stranger = Forged(tsas=(Tsa(holder=("other tsa", "ecdsa-p256")),)).build()
    refused(stranger, "time.timestamp")


# Modes


def test_a_timestamp_alone_as_in_github_attestations():
    bundle = Forged(leaf=Leaf(ct=()), logged=False, tsas=(Tsa(),)).build()
    found = proof(bundle, demand=STAMPED, now=NOW + timedelta(days=100))
    assert (found.logs, found.assurance) == ((), None)
    assert found.times == (SignedTime(NOW, "timestamp", "https://tsa.test"),)
    refused(bundle, "evidence.logs", demand=Demand(scts=0))
    refused(bundle, "evidence.scts", demand=Demand(logs=0))


def test_a_certificate_alone_must_be_valid_now_as_with_ngc():
    bundle = Forged(leaf=Leaf(ct=()), logged=False).build()
    assert proof(bundle, demand=BARE).times == ()
    refused(bundle, "evidence.times", demand=Demand(scts=0))
    for now in (NOW - timedelta(minutes=2), NOW + timedelta(minutes=10)):
        refused(bundle, "certificate.time", demand=BARE, now=now)


def test_a_bundle_that_brings_its_own_time_is_held_to_it_even_when_none_is_needed():
    bundle = Forged(leaf=Leaf(ct=()), seconds=int((NOW - timedelta(days=1)).timestamp())).build()
    refused(bundle, "certificate.time", demand=BARE)


@pytest.mark.parametrize(
    "members",
    [
        {"logs": -1},
        {"logs": True},
        {"timestamps": 33},
        {"scts": "1"},
        {"times": None},
        {"witnesses": 1, "logs": 0},
        {"checkpoint_age": 5, "logs": 0},
        {"checkpoint_age": -1},
        {"checkpoint_age": True},
        {"log": 1},
        {"log": True, "logs": 1},
        {"witness": 1},
        [],
    ],
)
def test_a_demand_that_makes_no_sense_is_refused(members):
    with pytest.raises(ValueError, match=r"demand|logs is 0"):
        Demand.from_json(members)


def test_only_a_demand_of_no_moment_at_all_is_bare():
    assert BARE.bare
    assert Demand(logs=0).bare
    assert not any(one.bare for one in (Demand(), STAMPED, Demand(logs=0, times=1)))


def test_demands_are_read_as_they_are_written():
    most = Demand(32, 32, 32, 32, 32, 2**53 - 1)
    assert Demand.from_json(most.to_json()) == most
    assert Demand.from_json(Demand(checkpoint_age=0).to_json()).checkpoint_age == 0
    for demand in (Demand(), BARE, STAMPED, Demand(2, 1, 2, 3, 2, 3600)):
        assert Demand.from_json(demand.to_json()) == demand
    assert Demand.from_json({"log": False, "timestamps": 1, "witnesses": 0}) == Demand(0, 1)
    assert Demand.from_json({"log": True, "timestamps": 0, "witnesses": 2}) == Demand(witnesses=2)


# Nothing known


def test_without_roots_nothing_is_believed():
    refused(Forged().build(), "log.known", roots=Roots())
    refused(Forged("dsse2", logged=False).build(), "time.timestamp", roots=Roots(), demand=STAMPED)
    bare = Forged(leaf=Leaf(ct=()), logged=False).build()
    refused(bare, "certificate.chain", roots=Roots(), demand=BARE)


def test_a_managed_key_needs_no_roots_where_nothing_is_demanded():
    bundle = Forged("hashedrekord", with_key=managed(), logged=False).build()
    found = proof(bundle, roots=Roots(), demand=Demand(logs=0), key_pem=managed().public_pem)
    assert (found.times, found.logs, found.digest) == ((), (), Digest.of(ARTIFACT))


def test_budgets_on_size_and_depth():
    with pytest.raises(OutOfBudget, match=r"bundle\.form"):
        Bundle.from_json(b"[" * (MAX_BUNDLE + 1))
    for depth in (70, 1000, 100_000):
        value = make().bundle[:-1] + b',"deep":' + b"[" * depth + b"]" * depth + b"}"
        with pytest.raises(VerificationFailed, match=r"bundle\.form"):
            Bundle.from_json(value)
    deep = b'{"kind":"dsse","apiVersion":"0.0.1","spec":' + b"[" * 500 + b"]" * 500 + b"}"
    refused(Forged(body=deep).build(), "log.body")


def test_the_time_of_a_proof_is_aware():
    assert proof(Forged("dsse2").build()).times[0].moment.tzinfo is not None
    assert proof(Forged().build()).times[0].moment == datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
