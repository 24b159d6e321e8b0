"""Each step of the verifier has an attack that only this step stops: everything else in the bundle is in order."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from trust_forge import (
    NOW,
    ORIGIN,
    PROJECT,
    SECONDS,
    STATEMENT,
    authority,
    demanding,
    forged,
    key,
)

from weighbridge.core.canonical import canonical, parse
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.statement import PAYLOAD_TYPE
from weighbridge.core.tier import Assurance, Role
from weighbridge.ledger import merkle
from weighbridge.ledger.checkpoint import Checkpoint, sign_checkpoint
from weighbridge.trust.authority import Project
from weighbridge.trust.bundle import Bundle, log_body
from weighbridge.trust.dsse import Envelope, Signature, encode64, sign
from weighbridge.trust.verify import (
    verify_bundle,
    verify_envelope,
    verify_log_extension,
    verify_signed,
    who_signed,
)


def verify(bundle, *, who=None, project=PROJECT, role=Role.TRAIN, now=NOW):
    return verify_bundle(bundle, authority=who or authority(), project=project, role=role, now=now)


def refused(bundle, check, **world):
    with pytest.raises(VerificationFailed) as caught:
        verify(bundle, **world)
    assert caught.value.check == check, str(caught.value)
    assert check == "statement.form" or caught.value.remedy
    return caught.value


@pytest.mark.parametrize(("by", "role"), [("trainer", Role.TRAIN), ("reviewer", Role.ORIGIN)])
def test_a_bundle_in_order_says_what_was_proven(by, role):
    bundle = forged(by=by).build()
    verified = verify(Bundle.from_json(bundle.to_json()), role=role)
    assert verified.statement == STATEMENT
    assert verified.payload == STATEMENT.encode()
    proven = verified.proven
    assert (proven.signer.key, proven.signer.name) == (key(by).key_id, by)
    assert proven.bundle == bundle.digest
    assert proven.predicate_type == STATEMENT.predicate_type
    assert (proven.log_index, proven.logged_at) == (3, NOW)
    assert proven.assurance is Assurance.SINGLE_OPERATOR


@pytest.mark.parametrize("index", range(5))
def test_every_position_of_a_tree_verifies(index):
    assert verify(forged(index=index).build()).proven.log_index == index


# 1. bundle.one-signature


def test_a_second_valid_signature_is_one_too_many():
    good = forged()
    twice = replace(good.envelope, signatures=good.envelope.signatures * 2)
    body = log_body(good.envelope, good.signer.public_pem)
    refused(replace(good, envelope=twice, body=body).build(), "bundle.one-signature")


def test_an_envelope_without_signature_is_refused():
    good = forged()
    body = log_body(good.envelope, good.signer.public_pem)
    bare = replace(good.envelope, signatures=())
    refused(replace(good, envelope=bare, body=body).build(), "bundle.one-signature")


# 2. bundle.payload-type


def test_a_statement_signed_as_something_else_is_not_a_statement():
    refused(forged(payload_type="application/vnd.weighbridge.draft+json").build(), "bundle.payload-type")


# 3. identity.known


def test_a_stranger_is_refused_by_name_of_the_key():
    bundle = forged(by="stranger").build()
    error = refused(bundle, "identity.known")
    assert str(key("stranger").key_id) in error.cause
    assert who_signed(bundle, authority()).name == ""
    assert who_signed(bundle, authority()).key == key("stranger").key_id


def test_a_stranger_under_the_hint_of_a_named_key_fails_at_the_signature():
    bundle = forged(by="stranger", hint=key("trainer")).build()
    refused(bundle, "bundle.signature")
    assert who_signed(bundle, authority()).name == "trainer"  # a claim, not a finding


# 4. bundle.signature


def test_another_payload_under_the_same_signature():
    good = forged()
    other = replace(good.envelope, payload=replace(STATEMENT, predicate={"a": 2}).encode())
    refused(replace(good, envelope=other).build(), "bundle.signature")


def test_a_signature_over_the_payload_alone_is_not_enough():
    payload = STATEMENT.encode()
    bare = Envelope(PAYLOAD_TYPE, payload, (Signature("", key("trainer").sign(payload)),))
    refused(replace(forged(), envelope=bare).build(), "bundle.signature")


# 5. identity.role


def test_a_named_key_in_another_role():
    refused(forged(by="reviewer").build(), "identity.role")


def test_a_project_of_its_own_replaces_the_roles_of_all():
    own = replace(authority(), projects={**authority().projects, PROJECT: Project()})
    refused(forged().build(), "identity.role", who=own)
    assert verify(forged().build(), who=own, project="another")


# 3. evidence: as much as the authority demands, and no bundle chooses less


@pytest.mark.parametrize("kind", ["timestamps", "witnesses"])
def test_evidence_that_is_demanded_and_not_there(kind):
    refused(forged().build(), f"evidence.{kind}", who=demanding(**{kind: 1}))
    assert verify(forged().build(), who=demanding(**{kind: 0}))


def test_a_bundle_cannot_choose_to_stay_out_of_the_log():
    refused(replace(forged().build(), entries=()), "evidence.logs")


def test_without_a_demand_no_entry_is_needed_and_no_time_is_claimed():
    verified = verify(replace(forged().build(), entries=()), who=demanding(logs=0))
    assert (verified.proven.log_index, verified.proven.logged_at, verified.proven.assurance) == (
        None,
        None,
        None,
    )


def test_an_entry_nobody_asked_for_is_verified_all_the_same():
    refused(forged(promise_key=key("stranger")).build(), "log.timestamp", who=demanding(logs=0))


# 8. log.known


def test_a_log_that_the_authority_does_not_name():
    refused(forged(log_key=key("other log")).build(), "log.known")


def test_an_identity_is_not_a_log():
    refused(forged(log_key=key("trainer")).build(), "log.known")


# 9. log.body: each of its members, and its shape


def changed_body(**changes):
    good = forged()
    body = parse(log_body(good.envelope, good.signer.public_pem))
    for path, value in changes.items():
        at, *rest = path.split("__")
        where = body if not rest else body["spec"] if at == "spec" else body["spec"]["signatures"][0]
        where[rest[0] if rest else at] = value
    return replace(good, body=canonical(body)).build()


def other_envelope():
    return sign(PAYLOAD_TYPE, b"{}", key("trainer"))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "hashedrekord"},
        {"apiVersion": "0.0.2"},
        {"spec__payloadHash": {"algorithm": "sha256", "value": "00" * 32}},
        {"spec__payloadHash": {"algorithm": "sha512", "value": "00" * 64}},
        {"spec__payloadHash": {"algorithm": "md5", "value": "00" * 16}},
        {"signature__signature": encode64(b"another signature")},
        {"signature__verifier": encode64(b"not a key")},
        {"signature__verifier": encode64(b"\xff")},
        {"spec__signatures": []},
        {"spec__signatures": {}},
        {"spec": []},
    ],
)
def test_an_entry_of_something_else(changes):
    refused(changed_body(**changes), "log.body")


def test_an_entry_of_the_same_payload_signed_by_another_key():
    refused(changed_body(signature__verifier=encode64(key("reviewer").public_pem.encode())), "log.body")


def test_an_entry_of_another_signature_by_the_same_key_over_the_same_payload():
    again = forged(by="reviewer")  # ECDSA: two signatures over one payload differ
    other = sign(PAYLOAD_TYPE, STATEMENT.encode(), key("reviewer"))
    assert other.signatures != again.envelope.signatures
    body = log_body(other, key("reviewer").public_pem)
    refused(replace(again, body=body).build(), "log.body", role=Role.ORIGIN)


def test_an_entry_with_two_signatures_does_not_say_which():
    good = forged()
    twice = replace(good.envelope, signatures=good.envelope.signatures * 2)
    body = log_body(twice, good.signer.public_pem)
    refused(replace(good, body=body).build(), "log.body")


def test_an_entry_with_the_same_key_twice_has_no_one_reading():
    good = forged()
    body = log_body(good.envelope, good.signer.public_pem).replace(
        b'"kind":"dsse"', b'"kind":"x","kind":"dsse"'
    )
    refused(replace(good, body=body).build(), "log.body")


def test_envelope_hash_is_passed_over_as_everywhere():
    assert verify(changed_body(spec__envelopeHash={"algorithm": "sha256", "value": "00" * 32}))


# 10. log.timestamp


@pytest.mark.parametrize(
    "promised",
    [
        {"body": b"another body"},
        {"seconds": SECONDS - 1},
        {"index": 2},
        {"log_id": key("other log").key_id},
    ],
)
def test_a_promise_of_something_else(promised):
    refused(forged(promised=promised).build(), "log.timestamp")


def test_a_promise_by_another_key_or_by_nobody():
    refused(forged(promise_key=key("other log")).build(), "log.timestamp")
    refused(forged(claims={"promise": b""}).build(), "evidence.times")


# 11. log.checkpoint


def tree_of(bundle):
    return bundle.entry.size, bundle.entry.root


def test_a_checkpoint_by_another_key():
    good = forged().build()
    note = sign_checkpoint(Checkpoint(ORIGIN, *tree_of(good)), key("other log"))
    refused(replace(good, entries=(replace(good.entry, checkpoint=note),)), "log.checkpoint")


def test_a_checkpoint_of_another_log_under_the_same_key():
    refused(forged(origin="weighbridge.test - 8").build(), "log.checkpoint")


@pytest.mark.parametrize("note", ["", "no checkpoint", "\n\n"])
def test_a_checkpoint_that_is_none(note):
    refused(forged(claims={"checkpoint": note}).build(), "log.checkpoint")


# 12. log.inclusion


def test_an_entry_that_is_in_no_tree():
    good = forged().build()
    elsewhere = forged(body=b"something else").build().entry
    entry = replace(elsewhere, body=good.entry.body, promise=good.entry.promise)
    refused(replace(good, entries=(entry,)), "log.inclusion")


def test_an_entry_promised_for_an_index_it_does_not_have():
    wrong = forged(promised={"index": 1}, claims={"index": 1})
    refused(wrong.build(), "log.inclusion")


@pytest.mark.parametrize("claims", [{"size": 6}, {"root": bytes(32)}])
def test_size_and_root_are_the_checkpoints(claims):
    refused(forged(claims=claims).build(), "log.inclusion")


def test_a_proof_of_another_entry():
    good = forged().build()
    other = forged(index=0).build().entry.hashes
    refused(replace(good, entries=(replace(good.entry, hashes=other),)), "log.inclusion")


# 13. identity.time: a closed interval


@pytest.mark.parametrize("seconds", [-1, 0, 1])
def test_the_interval_begins_at_its_first_second(seconds):
    who = demanding(valid_from=NOW - timedelta(seconds=seconds))
    if seconds < 0:
        refused(forged().build(), "identity.time", who=who)
    else:
        assert verify(forged().build(), who=who)


@pytest.mark.parametrize("seconds", [-1, 0, 1])
def test_the_interval_ends_after_its_last_second(seconds):
    who = demanding(valid_until=NOW + timedelta(seconds=seconds))
    if seconds < 0:
        refused(forged().build(), "identity.time", who=who)
    else:
        assert verify(forged().build(), who=who, now=NOW + timedelta(days=3000))


@pytest.mark.parametrize(("ahead", "fine"), [(299, True), (300, True), (301, False)])
def test_a_time_ahead_of_ours_is_borne_for_five_minutes(ahead, fine):
    bundle = forged().build()
    now = NOW - timedelta(seconds=ahead)
    if fine:
        assert verify(bundle, now=now)
    else:
        refused(bundle, "time.future", now=now)


@pytest.mark.parametrize(
    "interval",
    [{"valid_from": NOW + timedelta(seconds=1)}, {"valid_until": NOW - timedelta(seconds=1)}],
)
def test_without_an_entry_only_a_key_in_force_now_is_believed(interval):
    refused(replace(forged().build(), entries=()), "identity.time", who=demanding(logs=0, **interval))


def test_what_a_key_signed_before_it_was_revoked_still_counts():
    revoked = authority().revoked("trainer", NOW)
    assert verify(forged().build(), who=revoked, now=NOW + timedelta(days=1))
    late = int((NOW + timedelta(seconds=1)).timestamp())
    refused(forged(seconds=late).build(), "identity.time", who=revoked, now=NOW + timedelta(days=1))


def test_the_logs_time_is_what_is_reported():
    early = NOW - timedelta(days=1)
    bundle = forged(seconds=int(early.timestamp())).build()
    assert verify(bundle).proven.logged_at == datetime(2026, 11, 21, 20, 10, tzinfo=UTC) == early


# 14. statement.form


@pytest.mark.parametrize(
    "payload", [b"", b"{}", b"null", b"\xff", b'{"_type":"https://in-toto.io/Statement/v0.1"}']
)
def test_a_payload_that_is_no_statement(payload):
    refused(forged(payload).build(), "statement.form")


def test_other_payload_types_are_verified_alike():
    kind = "application/vnd.weighbridge.draft+json"
    bundle = forged(b"anything", payload_type=kind).build()
    world = {"authority": authority(), "project": PROJECT, "now": NOW, "payload_type": kind}
    assert verify_signed(bundle, role=Role.TRAIN, **world).predicate_type == ""
    with pytest.raises(VerificationFailed) as caught:
        verify_signed(bundle, role=Role.ORIGIN, **world)
    assert caught.value.check == "identity.role"


# The signature alone


def test_an_envelope_alone():
    envelope = forged().envelope
    assert verify_envelope(envelope, key("trainer").public_pem, PAYLOAD_TYPE) == STATEMENT.encode()
    with pytest.raises(VerificationFailed, match=r"bundle\.signature"):
        verify_envelope(envelope, key("reviewer").public_pem, PAYLOAD_TYPE)
    with pytest.raises(VerificationFailed, match=r"bundle\.payload-type"):
        verify_envelope(envelope, key("trainer").public_pem, "text/plain")


# Pinned checkpoints


def grown(count, *, changed=None, size=None, origin=ORIGIN, by="log"):
    leaves = [merkle.leaf_hash(b"leaf %d" % n + (b"!" if n == changed else b"")) for n in range(count)]
    node = merkle.nodes_of(leaves)
    return sign_checkpoint(Checkpoint(origin, size or count, merkle.root(count, node)), key(by)), node


def extension(old, new, proof):
    verify_log_extension(old, new, proof, key("log").public_pem)


def test_a_log_that_only_grew():
    (old, _), (new, node) = grown(5), grown(9)
    extension(old, new, merkle.consistency_proof(5, 9, node))
    extension(new, new, ())


def test_a_log_that_was_rewritten_or_rolled_back():
    (old, _), (new, node) = grown(5), grown(9, changed=2)
    for first, second, proof in [
        (old, new, merkle.consistency_proof(5, 9, node)),
        (new, old, ()),
        (old, new, ()),
    ]:
        with pytest.raises(VerificationFailed) as caught:
            extension(first, second, proof)
        assert caught.value.check == "log.consistency"


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("change", [{"by": "other log"}, {"origin": "weighbridge.test - 8"}])
def test_both_checkpoints_are_of_one_log_under_its_key(which, change):
    notes = [grown(5)[0], grown(9)[0]]
    notes[which] = grown((5, 9)[which], **change)[0]
    proof = merkle.consistency_proof(5, 9, grown(9)[1])
    with pytest.raises(VerificationFailed) as caught:
        extension(*notes, proof)
    assert caught.value.check == "log.checkpoint"
