"""Both forms of a log, cosigned checkpoints beside the log's own, freezing, and the log that comes after."""

import base64
import hashlib
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from weighbridge.core.canonical import canonical, parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import (
    BadReference,
    NotFound,
    Refused,
    RegistryUnusable,
    UsageError,
    VerificationFailed,
)
from weighbridge.keys.files import generate
from weighbridge.keys.public import der_of_pem
from weighbridge.ledger import merkle, shards
from weighbridge.ledger.checkpoint import (
    Checkpoint,
    form_of,
    is_origin,
    log_id_of,
    parse_checkpoint,
    sign_checkpoint,
    verifier_key,
    verify_checkpoint,
)
from weighbridge.ledger.entry import promise_message, proof_file
from weighbridge.ledger.sequencer import Log
from weighbridge.ledger.shards import Successor

NOW = datetime(2026, 11, 3, 20, 10, tzinfo=UTC)
V1, V2 = "weighbridge.test - 7", "log.example.com"
GENESIS = [b"genesis one", b"genesis two"]
KEY = generate("ed25519")


@pytest.fixture
def log(tmp_path):
    return Log.create(tmp_path / "log", V1, KEY, now=NOW, genesis=GENESIS)


@pytest.fixture
def plain(tmp_path):
    return Log.create(tmp_path / "plain", V2, KEY, now=NOW, genesis=GENESIS, form="v2")


def append(log, *bodies):
    return log.append(bodies, signer=KEY, now=NOW)


# Forms


def test_the_origin_alone_tells_the_form(tmp_path):
    for origin in (V1, "a - 0"):
        assert (is_origin(origin), form_of(origin)) == (True, "v1")
    for origin in (V2, "localhost", "a-b.c1"):
        assert (is_origin(origin), form_of(origin)) == (True, "v2")
    for origin in (
        "",
        "Log.example",
        "a b",
        "a_b",
        "-a",
        "a-",
        "a..b",
        "a/b",
        "a.",
        "a" * 64,
        ".".join("a" * 130),
    ):
        assert not is_origin(origin)
    for origin, form in [(V1, "v2"), (V2, "v1"), ("a b", "v2")]:
        with pytest.raises(UsageError) as caught:
            Log.create(tmp_path / "no", origin, KEY, now=NOW, genesis=GENESIS, form=form)
        assert caught.value.check == "log.origin"


def test_a_plain_log_promises_no_times_and_is_whole(plain, tmp_path):
    (entry,) = append(plain, b"a")
    assert (entry.integrated_time, entry.promise, plain.form) == (0, b"", "v2")
    assert not (tmp_path / "plain/promise").exists()
    again = Log.open(tmp_path / "plain", KEY.public_pem)
    assert (again.form, again.origin, again.log_id) == ("v2", V2, plain.log_id)
    assert [found.body for found in again.entries()] == [*GENESIS, b"a"]
    assert again.verify_all() == 3
    assert (again.entry(2), again.find(b"a")) == (entry, 2)


def raw(pem):
    return load_pem_public_key(pem.encode()).public_bytes_raw()


def test_key_ids_are_those_of_the_specifications():
    """C2SP signed-note for Ed25519; SHA-256 of the DER for Rekor v1, and for ECDSA everywhere."""
    c2sp = hashlib.sha256(V2.encode() + b"\n\x01" + raw(KEY.public_pem)).hexdigest()
    assert log_id_of(V2, KEY.public_pem).hex == c2sp
    assert log_id_of(V1, KEY.public_pem) == KEY.key_id
    curve = generate("ecdsa-p256")
    assert log_id_of(V2, curve.public_pem) == log_id_of(V1, curve.public_pem) == curve.key_id
    name, hint, key = verifier_key(V2, KEY.public_pem).split("+", 2)
    assert (name, hint, base64.b64decode(key)) == (V2, c2sp[:8], b"\x01" + raw(KEY.public_pem))
    rsa = generate("rsa")
    name = V2.encode() + b"\n\xffPKIX-RSA-PKCS#1v1.5" + der_of_pem(rsa.public_pem)
    assert log_id_of(V2, rsa.public_pem).hex == hashlib.sha256(name).hexdigest()
    assert log_id_of(V1, rsa.public_pem) == rsa.key_id
    with pytest.raises(VerificationFailed) as caught:
        log_id_of(V2, generate("ml-dsa-44").public_pem)
    assert caught.value.check == "log.key"
    with pytest.raises(ValueError, match="Ed25519"):
        verifier_key(V2, curve.public_pem)


def test_the_checkpoint_of_a_plain_log_is_a_plain_note(plain):
    text, signature = plain.checkpoint_text.split("\n\n")
    dash, name, value = signature.rstrip("\n").split(" ")
    assert (dash, name, text.split("\n")[:2]) == ("—", V2, [V2, "2"])
    assert base64.b64decode(value)[:4].hex() == plain.log_id.hex[:8]
    key = load_pem_public_key(KEY.public_pem.encode())
    key.verify(base64.b64decode(value)[4:], text.encode() + b"\n")  # raises when it is not


def test_notes_of_any_c2sp_log_are_read_and_held_against_the_signers_name():
    head = Checkpoint("go.sum database tree", 5, bytes(32))
    hint = hashlib.sha256(b"sum.example\n\x01" + raw(KEY.public_pem)).digest()[:4]
    value = base64.b64encode(hint + KEY.sign(head.text.encode())).decode()
    note = f"{head.text}\n— sum.example {value}\n"
    world = {"origin": head.origin, "public_pem": KEY.public_pem}
    assert verify_checkpoint(note, **world, name="sum.example") == head
    for name in ("", "another.example"):
        with pytest.raises(VerificationFailed):
            verify_checkpoint(note, **world, name=name)


@pytest.mark.parametrize("origin", ["", "a" * 256, "a\tb", "a\x00b", "a\ud800b", "a\x7f"])
def test_origins_that_no_note_may_have(origin):
    note = sign_checkpoint(Checkpoint("a", 1, bytes(32)), KEY)
    with pytest.raises(VerificationFailed) as caught:
        parse_checkpoint(note.replace("a\n", origin + "\n", 1))
    assert caught.value.check == "log.checkpoint"


def test_the_promise_is_canonical_json():
    log_id = Digest.of(b"x")
    for body, time, index in [(b"", 0, 0), (b"\xff" * 3, 2**53 - 1, 12345), (b"a>", 1, 2**53 - 1)]:
        fields = {"integratedTime": time, "logID": log_id.hex, "logIndex": index}
        text = base64.b64encode(body).decode()
        assert promise_message(body, time, log_id, index) == canonical({"body": text, **fields})


# Cosigned checkpoints


def line(name, value=b"12345678"):
    return f"— {name} {base64.b64encode(value).decode()}\n"


def test_proofs_carry_the_cosigned_checkpoint_of_their_size(log, tmp_path):
    assert (log.cosigned_text, log.proof(0).checkpoint) == ("", log.checkpoint_text)
    note = log.checkpoint_text + line("w1")
    log.cosigned(note)
    assert log.cosigned_text == log.proof(0).checkpoint == log.resource("checkpoint").decode() == note
    append(log, b"a")
    assert log.proof(0).checkpoint == log.resource("checkpoint").decode() == log.checkpoint_text
    older = log.proof(1, witnessed=True)
    assert (older.checkpoint, older.size) == (note, 2)
    assert merkle.verify_inclusion(merkle.leaf_hash(GENESIS[1]), 1, 2, older.hashes, older.root)
    with pytest.raises(NotFound, match="witnesses"):
        log.proof(2, witnessed=True)
    assert Log.open(tmp_path / "log", KEY.public_pem).cosigned_text == note


def test_signatures_over_one_text_are_gathered_and_replaced_by_their_signers(log):
    own = log.checkpoint_text
    log.cosigned(own + line("w1") + line("w2"))
    log.cosigned(own + line("w3", b"1234new") + line("w1", b"1234new"))
    assert log.cosigned_text == own + line("w1", b"1234new") + line("w2") + line("w3", b"1234new")
    verify_checkpoint(log.cosigned_text, origin=V1, public_pem=KEY.public_pem)
    assert log.verify_all() == 2


def test_more_signatures_than_a_note_may_hold_do_not_make_one_that_nobody_reads(log):
    own = log.checkpoint_text
    for at in range(30):
        log.cosigned(own + line(f"w{at}", b"%04d" % at + bytes(2420)))
    kept = log.cosigned_text
    assert len(kept) <= 64 * 1024
    assert "— w29 " in kept
    assert log.proof(0).checkpoint == kept


def test_a_kept_checkpoint_survives_a_power_cut(log, tmp_path, monkeypatch):
    flushed, fsync = set(), os.fsync

    def flush(descriptor):
        fsync(descriptor)
        flushed.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", flush)
    log.cosigned(log.checkpoint_text + line("w1"))
    assert {(tmp_path / "log").stat().st_ino, (tmp_path / "log/cosigned").stat().st_ino} <= flushed


def test_an_older_cosigned_checkpoint_does_not_replace_a_newer_one(log):
    old = log.checkpoint_text + line("w1")
    append(log, b"a")
    new = log.checkpoint_text + line("w1")
    log.cosigned(new)
    log.cosigned(old)
    assert log.cosigned_text == new


def test_a_checkpoint_that_is_not_of_this_tree_is_refused(log, tmp_path):
    fork = Log.create(tmp_path / "fork", V1, KEY, now=NOW, genesis=[b"x", b"y"])
    longer = Log.create(tmp_path / "longer", V1, KEY, now=NOW, genesis=[*GENESIS, b"z"])
    for other in (fork, longer):
        with pytest.raises(Refused) as caught:
            log.cosigned(other.checkpoint_text + line("w"))
        assert caught.value.check == "log.cosigned"
    with pytest.raises(VerificationFailed):
        log.cosigned(log.checkpoint_text.replace("\n2\n", "\n1\n") + line("w"))
    assert log.cosigned_text == ""


@pytest.mark.parametrize("data", [b"", b"\xff", b"nonsense", b"other"])
def test_a_damaged_cosigned_file_helps_nobody_and_harms_nothing(log, tmp_path, data):
    log.cosigned(log.checkpoint_text + line("w"))
    if data == b"other":
        fork = Log.create(tmp_path / "fork", V1, KEY, now=NOW, genesis=[b"x", b"y"])
        data = fork.checkpoint_text.encode()
    (tmp_path / "log/cosigned").write_bytes(data)
    again = Log.open(tmp_path / "log", KEY.public_pem)
    assert again.proof(0).checkpoint == log.checkpoint_text
    with pytest.raises(RegistryUnusable, match="damaged"):
        again.verify_all()


def test_a_proof_file_is_as_c2sp_has_it(log):
    append(log, b"a")
    proof = log.proof(1)
    lines = proof_file(1, proof).split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 1"]
    at = lines.index("")
    assert tuple(base64.b64decode(text) for text in lines[2:at]) == proof.hashes
    assert "\n".join(lines[at + 1 :]) == log.checkpoint_text


# Freezing


def test_a_frozen_log_says_so_under_its_key_and_takes_nothing_in(log, tmp_path):
    root = log.root
    note = log.freeze(signer=KEY, now=NOW.astimezone(timezone(timedelta(hours=9))))
    head = verify_checkpoint(note, origin=V1, public_pem=KEY.public_pem)
    assert head == Checkpoint(V1, 2, root, ("Log frozen — Tue Nov  3 20:10:00 UTC 2026",))
    for one in (log, Log.open(tmp_path / "log", KEY.public_pem)):
        assert (one.checkpoint_text, one.head.frozen) == (note, "Tue Nov  3 20:10:00 UTC 2026")
        with pytest.raises(Refused) as caught:
            append(one, b"late")
        assert caught.value.check == "log.frozen"
        assert caught.value.remedy
        assert one.freeze(signer=KEY, now=NOW + timedelta(days=1)) == note  # the first word is the last
        assert one.proof(1).checkpoint == note
        assert one.verify_all() == 2


def test_who_saw_a_log_frozen_is_not_fooled_into_a_thaw(log, tmp_path):
    before = log.checkpoint_text
    log.freeze(signer=KEY, now=NOW)
    (tmp_path / "log/checkpoint").write_text(before)
    with pytest.raises(RegistryUnusable, match="damaged"):
        log.refresh()
    other = Log.open(tmp_path / "log", KEY.public_pem)
    append(other, b"a")
    with pytest.raises(RegistryUnusable, match="damaged"):
        log.refresh()


def test_only_the_logs_key_freezes_it(log):
    with pytest.raises(Refused) as caught:
        log.freeze(signer=generate(), now=NOW)
    assert caught.value.check == "log.key"
    with pytest.raises(UsageError):
        log.freeze(signer=KEY, now=NOW.replace(tzinfo=None))
    assert not log.head.frozen


@pytest.mark.parametrize("origin", [V1, "", "a b", "x - 1\nLog frozen — never", "x\n"])
def test_a_successor_has_an_origin_of_its_own(log, origin):
    with pytest.raises(UsageError) as caught:
        log.freeze(signer=KEY, now=NOW, successor=Successor(origin, KEY.key_id))
    assert caught.value.check == "log.origin"
    assert not log.head.frozen


def test_the_frozen_checkpoint_can_be_cosigned_too_and_wins(log):
    open_note = log.checkpoint_text + line("w")
    log.cosigned(open_note)
    note = log.freeze(signer=KEY, now=NOW)
    assert log.resource("checkpoint").decode() == note
    log.cosigned(note + line("w"))
    log.cosigned(open_note)
    assert log.cosigned_text == log.resource("checkpoint").decode() == note + line("w")


def test_a_log_and_its_successor_name_each_other(log, tmp_path):
    key = generate("ed25519")
    origin = "weighbridge.test - 8"
    note = log.freeze(signer=KEY, now=NOW, successor=Successor(origin, log_id_of(origin, key.public_pem)))
    body = shards.follows(note, origin=V1, public_pem=KEY.public_pem)
    after = Log.create(tmp_path / "after", origin, key, now=NOW, genesis=[b"genesis", body])
    assert shards.successor_of(log.head) == Successor(after.origin, after.log_id)
    before = shards.read_follows(after.entry(1).body)
    assert (before.origin, before.log_id, before.size, before.root) == (V1, log.log_id, log.size, log.root)
    with pytest.raises(Refused, match=origin):
        append(log, b"late")
    assert log.prove(1)  # what the old log proved it proves still


def test_only_a_frozen_log_is_followed(log):
    with pytest.raises(UsageError, match="not frozen"):
        shards.follows(log.checkpoint_text, origin=V1, public_pem=KEY.public_pem)
    with pytest.raises(VerificationFailed):
        shards.follows(log.checkpoint_text, origin=V1, public_pem=generate().public_pem)


def test_other_entries_follow_nothing(log):
    log.freeze(signer=KEY, now=NOW)
    body = shards.follows(log.checkpoint_text, origin=V1, public_pem=KEY.public_pem)
    assert shards.read_follows(body)
    for other in [
        b"",
        b"{}",
        b"[]",
        b"1",
        body + b" ",
        body.replace(b'"size":2', b'"size":"2"'),
        body.replace(b'"size":2', b'"size":true'),
        body.replace(b'"root":"', b'"root":"A'),
        body.replace(log.log_id.hex.encode(), b"abc"),
        body.replace(b'"size":2', b'"size":2,"then":1'),
        body.replace(b"log-follows/1", b"log-follows/2"),
        canonical({**parse(body), "origin": 1}),
    ]:
        assert shards.read_follows(other) is None
    assert shards.successor_of(log.head) is None
    with pytest.raises(BadReference):
        shards.successor_of(replace(log.head, extensions=("Log continues — somewhere",)))
