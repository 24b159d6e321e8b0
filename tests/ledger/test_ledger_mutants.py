"""Edges of trees, checkpoints and origins that only one condition each keeps out."""

import base64
import hashlib
from datetime import UTC, datetime

import pytest

from weighbridge.core.errors import UsageError, VerificationFailed
from weighbridge.keys.files import generate
from weighbridge.keys.public import der_of_pem, key_id_of_pem
from weighbridge.ledger import merkle
from weighbridge.ledger.checkpoint import (
    FROZEN,
    Checkpoint,
    form_of,
    is_origin,
    log_id_of,
    origin_of,
    parse_checkpoint,
    sign_checkpoint,
    verifier_key,
    verify_checkpoint,
)
from weighbridge.ledger.merkle import node_hash, verify_consistency, verify_inclusion
from weighbridge.ledger.shards import frozen_at

LEAF, STEP = merkle.leaf_hash(b"a"), bytes(range(32))
LEAVES = [merkle.leaf_hash(b"%d" % number) for number in range(8)]
NODE = merkle.nodes_of(LEAVES)
HEAD = Checkpoint("weighbridge.acme - 42", 7, STEP)
ED, EC, RSA, ML = (generate(kind) for kind in ("ed25519", "ecdsa-p256", "rsa", "ml-dsa-44"))


def test_a_place_behind_the_tree_or_before_it_is_none():
    assert verify_inclusion(LEAF, 0, 1, (), LEAF)
    for index, size in ((1, 1), (-1, 1), (0, 0), (2, 2)):
        assert not verify_inclusion(LEAF, index, size, (), LEAF)


@pytest.mark.parametrize("step", [b"", STEP[:31], STEP + b"\0"])
def test_a_step_that_is_no_hash_leads_nowhere_whatever_root_it_leads_to(step):
    assert verify_inclusion(LEAF, 0, 2, (STEP,), node_hash(LEAF, STEP))
    assert not verify_inclusion(LEAF, 0, 2, (step,), node_hash(LEAF, step))
    assert verify_consistency(1, 2, (STEP,), old_root=LEAF, new_root=node_hash(LEAF, STEP))
    assert not verify_consistency(1, 2, (step,), old_root=LEAF, new_root=node_hash(LEAF, step))


def test_steps_beyond_the_root_lead_to_no_root():
    assert not verify_inclusion(LEAF, 0, 1, (STEP,), node_hash(STEP, LEAF))
    assert not verify_inclusion(LEAF, 0, 1, (STEP,), node_hash(LEAF, STEP))
    proof = merkle.consistency_proof(3, 4, NODE)
    old, new = merkle.root(3, NODE), merkle.root(4, NODE)
    assert verify_consistency(3, 4, proof, old_root=old, new_root=new)
    above = {"old_root": node_hash(STEP, old), "new_root": node_hash(STEP, new)}
    assert not verify_consistency(3, 4, (*proof, STEP), **above)


def test_a_proof_that_ends_below_the_root_shows_nothing():
    assert not verify_consistency(1, 4, (STEP,), old_root=LEAF, new_root=node_hash(LEAF, STEP))
    assert not verify_consistency(3, 5, (), old_root=LEAF, new_root=LEAF)
    assert not verify_inclusion(LEAF, 0, 4, (STEP,), node_hash(LEAF, STEP))


def test_growth_is_from_something_to_more():
    roots = {"old_root": merkle.root(2, NODE), "new_root": merkle.root(2, NODE)}
    assert verify_consistency(2, 2, (), **roots)
    assert not verify_consistency(2, 2, (STEP,), **roots)
    assert not verify_consistency(2, 2, (), old_root=roots["old_root"], new_root=STEP)
    assert not verify_consistency(0, 0, (), **roots)
    assert not verify_consistency(0, 2, (), **roots)
    assert not verify_consistency(3, 2, merkle.consistency_proof(2, 3, NODE), **roots)


def test_both_forms_of_origin_and_no_third():
    assert is_origin("weighbridge.acme - 42")
    assert is_origin("log.example.com")
    for text in ("", "a b", "weighbridge.acme - x", "Log.example.com", "-a.example", "a..b", "a" * 64):
        assert not is_origin(text)
    assert (form_of(origin_of("acme", 42)), form_of("log.example.com")) == ("v1", "v2")
    with pytest.raises(ValueError, match="not an origin"):
        origin_of("a b", 1)


def test_the_id_of_a_log_is_that_of_its_form_and_kind_of_key():
    """C2SP signed-note, "Signature types", worked out by hand."""
    host = b"log.example.com\n"
    for key in (ED, EC, RSA):
        assert log_id_of("weighbridge.acme - 42", key.public_pem) == key_id_of_pem(key.public_pem)
    assert log_id_of("log.example.com", EC.public_pem) == key_id_of_pem(EC.public_pem)
    plain = b"\x01" + der_of_pem(ED.public_pem)[-32:]
    other = b"\xffPKIX-RSA-PKCS#1v1.5" + der_of_pem(RSA.public_pem)
    for key, kind in ((ED, plain), (RSA, other)):
        found = log_id_of("log.example.com", key.public_pem).hex
        assert found == hashlib.sha256(host + kind).hexdigest()
    with pytest.raises(VerificationFailed) as caught:
        log_id_of("log.example.com", ML.public_pem)
    assert caught.value.check == "log.key"


def test_only_an_ed25519_key_has_a_spelling():
    name, hint, value = verifier_key("log.example.com", ED.public_pem).split("+", 2)
    raw = base64.b64decode(value)
    assert raw == b"\x01" + der_of_pem(ED.public_pem)[-32:]
    assert hint == hashlib.sha256(name.encode() + b"\n" + raw).hexdigest()[:8]
    with pytest.raises(ValueError, match="only an Ed25519"):
        verifier_key("log.example.com", EC.public_pem)


def why(note):
    with pytest.raises(VerificationFailed) as caught:
        parse_checkpoint(note)
    assert caught.value.check == "log.checkpoint"
    return caught.value.cause


def test_what_terminals_would_act_on_is_refused_wherever_it_stands():
    note = sign_checkpoint(Checkpoint(HEAD.origin, 7, STEP, ("Timestamp: 1",)), EC)
    assert parse_checkpoint(note)[0].extensions == ("Timestamp: 1",)
    for letter in ("\x1b", "\t", "\x7f", "\r"):
        assert "control characters" in why(note.replace("Timestamp", letter))
    assert "origin" in why(note.replace(HEAD.origin, "", 1))


def test_a_log_may_sign_under_a_name_that_its_origin_does_not_say():
    text = HEAD.text
    value = base64.b64encode(
        bytes.fromhex(log_id_of("other.test", ED.public_pem).hex)[:4] + ED.sign(text.encode())
    )
    note = f"{text}\n— other.test {value.decode()}\n"
    found = verify_checkpoint(note, origin=HEAD.origin, public_pem=ED.public_pem, name="other.test")
    assert found == HEAD
    with pytest.raises(VerificationFailed):
        verify_checkpoint(note, origin=HEAD.origin, public_pem=ED.public_pem)


def test_a_frozen_log_says_so_in_its_own_line():
    lines = ("Timestamp: 1", "Log frozen — today", "Log continues — log.example.com 00")
    frozen = Checkpoint(HEAD.origin, 7, STEP, lines)
    assert (frozen.frozen, frozen.continues) == ("today", "log.example.com 00")
    running = Checkpoint(HEAD.origin, 7, STEP, lines[:1])
    assert (running.frozen, running.continues) == ("", "")


def test_the_date_of_freezing_is_in_utc_and_in_nothing_else():
    def said(date):
        return frozen_at(Checkpoint("weighbridge.acme - 42", 7, STEP, (f"{FROZEN}{date}",)))

    assert said("Mon Nov 23 02:34:02 UTC 2026") == datetime(2026, 11, 23, 2, 34, 2, tzinfo=UTC)
    for date in ("Mon Nov 23 02:34:02 CET 2026", "Mon Nov 23 02:34:02 2026", "Mon Nov 23 02:34 UTC 2026"):
        with pytest.raises(UsageError, match="does not say when"):
            said(date)
