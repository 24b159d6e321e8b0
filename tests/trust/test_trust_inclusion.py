"""Log entries: each step has an attack that only this step stops, and witnesses count on the very checkpoint proven."""

import base64
import hashlib
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from sigstore_issuing import NOW, Leaf, Tsa, pem_of
from sigstore_world import (
    ARTIFACT,
    FILES,
    KINDS,
    ORIGIN2,
    STATEMENT,
    Forged,
    managed,
    roots,
)
from trust_proving import proof, refused

from weighbridge.core.digest import Digest
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.dsse import encode64
from weighbridge.trust.trusted_root import read_trusted_root, write_trusted_root


def changed_entry(bundle, **changes):
    return replace(bundle, entries=(replace(bundle.entry, **changes),))


# log.known


def test_an_entry_in_a_log_that_nobody_trusts():
    refused(Forged(log=("other log", "ecdsa-p256")).build(), "log.known")
    refused(Forged(log_id=bytes(32)).build(), "log.known")


# log.body


@pytest.mark.parametrize("kind", KINDS)
def test_an_entry_of_another_content_signature_or_signer(kind):
    """A replayed entry: in order in its log, and about something else (CVE-2022-36056)."""
    good = Forged(kind).build()
    content = b"other weights" if kind in FILES else STATEMENT.replace(b"0.97", b"0.99")
    for other in (
        Forged(kind, content=content),
        Forged(kind, leaf=Leaf(serial=7)),
        Forged(kind, leaf=Leaf(holder="other")),
        Forged(kind, with_key=managed()),
    ):
        entry = other.build().entry
        refused(replace(good, entries=(entry,)), "log.body")
    if kind != "intoto-first":  # which does not hold the signature
        refused(replace(good, entries=(Forged(kind).build().entry,)), "log.body")


BODY_CHANGES = {
    "dsse": {
        "kind": "intoto",
        "apiVersion": "0.0.2",
        "spec": [],
        "spec.payloadHash.algorithm": "sha1",
        "spec.payloadHash.value": "00" * 32,
        "spec.signatures": [],
        "spec.signatures.0.signature": "AAAA",
        "spec.signatures.0.verifier": "AAAA",
    },
    "hashedrekord": {
        "kind": "rekord",
        "spec.data.hash.algorithm": "md5",
        "spec.data.hash.value": "00" * 32,
        "spec.data": {"hash": {"algorithm": "sha1", "value": hashlib.sha1(ARTIFACT).hexdigest()}},
        "spec.data.hash": None,
        "spec.signature.content": "AAA",
        "spec.signature.publicKey.content": "",
    },
    "intoto": {
        "spec.content.envelope.payloadType": "text/plain",
        "spec.content.envelope.signatures": [],
        "spec.content.envelope.signatures.0.sig": "AAAA",
        "spec.content.envelope.signatures.0.publicKey": "AAAA",
        "spec.content.payloadHash.value": "00" * 32,
    },
    "intoto-first": {"spec.publicKey": "AAAA", "spec.content.payloadHash": 7},
    "hashedrekord2": {
        "spec.hashedRekordV002.data.algorithm": "SHA2_512",
        "spec.hashedRekordV002.data.digest": encode64(bytes(32)),
        "spec.hashedRekordV002.data": {"algorithm": "SHA2_256", "digest": "AAAA"},
        "spec.hashedRekordV002.signature.content": "AAAA",
        "spec.hashedRekordV002.signature.verifier.keyDetails": "PKIX_ED25519",
        "spec.hashedRekordV002.signature.verifier.x509Certificate": None,
        "spec.hashedRekordV002.signature.verifier.publicKey": {"rawBytes": "AAAA"},
        "spec": {"dsseV002": {}},
    },
    "dsse2-old": {
        "spec.dsseV002.payloadHash.digest": "AAAA",
        "spec.dsseV002.signatures": [],
        "spec.dsseV002.signatures.0.verifier": 0,
    },
}


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [(kind, path, value) for kind, rows in BODY_CHANGES.items() for path, value in rows.items()],
)
def test_a_body_that_says_something_else(kind, path, value):
    refused(Forged(kind, body_changes={path: value}).build(), "log.body")


@pytest.mark.parametrize("body", [b"x", b"null", b"[]", b"{}", b"\xff", b'{"kind":"dsse"}'])
def test_a_body_that_is_none(body):
    refused(Forged(body=body).build(), "log.body")


@pytest.mark.parametrize("name", [("hashedrekord", "0.0.3"), ("rekord", "0.0.1"), ("dsse", "0.0.3")])
def test_a_kind_that_is_not_read(name):
    bundle = changed_entry(Forged().build(), kind=name[0], version=name[1])
    assert "not read here" in refused(bundle, "log.body").problem


@pytest.mark.parametrize(
    ("kind", "path", "value", "cause"),
    [
        ("dsse", "spec.payloadHash.algorithm", "sha1", "digest is none of"),
        ("hashedrekord2", "spec.hashedRekordV002.data.algorithm", "SHA1", "digest is none of"),
        ("dsse", "spec.signatures.0.verifier", encode64(b"no PEM"), "in PEM"),
        ("dsse", "spec.payloadHash.value", "00" * 32, "its payload differs"),
        ("hashedrekord", "spec.data.hash.value", "00" * 32, "its content differs"),
    ],
)
def test_what_is_wrong_with_a_body_is_said(kind, path, value, cause):
    assert cause in refused(Forged(kind, body_changes={path: value}).build(), "log.body").cause


def test_an_entry_of_an_envelope_is_not_one_of_a_file():
    file = Forged("hashedrekord").build()
    for kind in ("dsse", "intoto", "intoto-first"):
        entry = Forged(kind, signature=file.message.signature).build().entry
        assert "its payload differs" in refused(replace(file, entries=(entry,)), "log.body").cause


def test_an_entry_of_one_kind_is_not_read_as_another():
    for kind in KINDS:
        bundle = Forged(kind).build()
        for other in ("dsse", "hashedrekord", "intoto"):
            for version in ("0.0.1", "0.0.2"):
                if (other, version) != (bundle.entry.kind, bundle.entry.version):
                    refused(changed_entry(bundle, kind=other, version=version), "log.body")


def test_a_second_signature_in_the_entry_is_one_too_many():
    rows = json.loads(Forged().build().entry.body)["spec"]["signatures"]
    refused(
        Forged(
            signature=base64.b64decode(rows[0]["signature"]), body_changes={"spec.signatures": rows * 2}
        ).build(),
        "log.body",
    )


def test_a_verifier_is_one_pem_block_of_the_very_kind():
    good = pem_of(Leaf().build())
    for text in (good + good, good.replace("CERTIFICATE", "PUBLIC KEY"), good.strip("-"), "é" + good):
        changes = {"spec.signatures.0.verifier": encode64(text.encode())}
        refused(Forged(body_changes=changes).build(), "log.body")
    crlf = {"spec.signatures.0.verifier": encode64(good.replace("\n", "\r\n").encode())}
    assert proof(Forged(body_changes=crlf).build())


def test_a_certificate_entry_does_not_stand_for_its_key():
    """The leaf's key as a managed key: the entry must name the key then, not some certificate of it."""
    by_key = Forged(with_key=Leaf().key).build()
    by_leaf = Forged(signature=by_key.envelope.signatures[0].sig).build()
    world = {"key_pem": Leaf().key.public_pem}
    assert proof(by_key, **world)
    refused(replace(by_key, entries=by_leaf.entries), "log.body", **world)


# log.timestamp


@pytest.mark.parametrize(
    "promised", [{"seconds": 1}, {"index": 4}, {"body": b"other"}, {"log_id": Digest.of(b"other")}]
)
def test_a_promise_of_something_else(promised):
    refused(Forged(promised=promised).build(), "log.timestamp")


def test_a_promise_cannot_be_replayed():
    older = Forged(seconds=int((NOW - timedelta(seconds=30)).timestamp())).build()
    good = Forged(signature=older.envelope.signatures[0].sig).build()
    assert proof(older)
    refused(changed_entry(good, promise=older.entry.promise), "log.timestamp")
    refused(changed_entry(good, integrated_time=older.entry.integrated_time), "log.timestamp")
    refused(changed_entry(good, promise=Forged().build().entry.promise), "log.timestamp")


def test_an_index_that_the_promise_does_not_cover():
    refused(changed_entry(Forged().build(), index=9, leaf_index=3), "log.timestamp")


@pytest.mark.parametrize("kind", ["dsse2", "hashedrekord2", "dsse2-old"])
def test_the_second_version_signs_no_times(kind):
    refused(Forged(kind, promise=True).build(), "log.timestamp")


def test_a_time_without_promise_is_nobodys():
    early = int((NOW - timedelta(days=100)).timestamp())
    bundle = Forged(promise=False, tsas=(Tsa(),), seconds=early).build()
    found = proof(bundle)
    assert found.logs[0].integrated_time is None
    assert [time.source for time in found.times] == ["timestamp"]


# log.checkpoint


def test_a_checkpoint_of_another_log():
    good = Forged().build()
    for other in (Forged("dsse2"), Forged(log=("other log", "ecdsa-p256"))):
        refused(changed_entry(good, checkpoint=other.build().entry.checkpoint), "log.checkpoint")
    other_tree = Forged(origin="rekor.test - 2").build()
    refused(other_tree, "log.checkpoint")


def test_a_root_document_without_tree_ids_takes_any_tree_of_a_first_version_log():
    known = read_trusted_root(write_trusted_root(roots()))
    assert [log.origin for log in known.logs] == ["", ORIGIN2]
    assert proof(Forged(origin="rekor.test - 2").build(), roots=known).logs[0].origin == "rekor.test - 2"
    refused(Forged(origin="other.test", log_id=known.logs[0].log_id).build(), "log.checkpoint", roots=known)


def test_a_log_without_name_and_address_is_known_by_its_key():
    known = roots()
    bare = replace(known.logs[1], origin="", base_url="")
    world = {"roots": replace(known, logs=(bare,))}
    assert proof(Forged("dsse2").build(), **world).logs[0].origin == ORIGIN2
    refused(
        Forged("dsse2", log=("other log", "ed25519"), log_id=bare.log_id).build(), "log.checkpoint", **world
    )


@pytest.mark.parametrize("second", [("log2", "ed25519"), ("log2", "ecdsa-p256")])
def test_a_second_version_log_has_one_name(second):
    known = read_trusted_root(write_trusted_root(roots(second=second)))
    assert proof(Forged("dsse2", log=second).build(), roots=known).logs[0].origin == ORIGIN2
    log_id = known.logs[1].log_id
    refused(
        Forged("dsse2", log=second, origin="other.test", log_id=log_id).build(), "log.checkpoint", roots=known
    )


def test_a_checkpoint_that_was_changed():
    good = Forged().build()
    note = good.entry.checkpoint
    text, line = note.split("\n\n")
    for changed in (
        "",
        text,
        note.replace("\n5\n", "\n6\n"),
        note.replace("rekor.test -", "rekor2.test -"),
        text + "\n\n",
        text + "\n\n" + line * 2,
        text + "\nmore\n\n" + line,
        text + "\n\n" + line.replace("rekor.test", "other.test"),
        note.replace("\u2014", "-"),
    ):
        refused(changed_entry(good, checkpoint=changed), "log.checkpoint")


def test_lines_after_the_root_are_signed_and_passed_over():
    assert proof(Forged(extensions=("Timestamp: 1679349379012118479",)).build())


# log.inclusion


@pytest.mark.parametrize("index", range(5))
def test_every_place_in_a_tree_is_proven(index):
    assert proof(Forged(index=index).build()).logs[0].index == index


def test_a_proof_for_another_leaf():
    good = Forged().build()
    other = Forged(index=1, signature=good.envelope.signatures[0].sig).build().entry
    for changes in (
        {"hashes": other.hashes},
        {"hashes": good.entry.hashes[:-1]},
        {"hashes": (*good.entry.hashes, bytes(32))},
        {"hashes": good.entry.hashes[::-1]},
        {"size": 6},
        {"root": bytes(32)},
        {"leaf_index": 2},
        {"leaf_index": 5},
    ):
        refused(changed_entry(good, **changes), "log.inclusion")


def test_a_split_view():
    """Two trees of one size under one log's key: neither proves an entry of the other."""
    mine = Forged().build()
    theirs = Forged(others=(b"genesis one", b"genesis two", b"before", b"else"), body=b"their entry").build()
    taken = {name: getattr(theirs.entry, name) for name in ("root", "size", "checkpoint")}
    refused(changed_entry(mine, **taken), "log.inclusion")
    refused(changed_entry(mine, **taken, hashes=theirs.entry.hashes), "log.inclusion")


def test_a_checkpoint_older_than_the_entry():
    good = Forged().build()
    older = Forged(others=(b"genesis one", b"genesis two"), index=2, body=b"before").build().entry
    refused(changed_entry(good, checkpoint=older.checkpoint), "log.inclusion")
    refused(
        changed_entry(good, checkpoint=older.checkpoint, size=older.size, root=older.root), "log.inclusion"
    )


def test_no_proof_at_all():
    value = json.loads(Forged().build().to_json())
    entry = value["verificationMaterial"]["tlogEntries"][0]
    entry["inclusionProof"]["hashes"] = []
    refused(Bundle.from_json(json.dumps(value).encode()), "log.inclusion")
