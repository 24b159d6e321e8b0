"""The reference pages against the code, and against a second, small implementation that uses none of it."""

import base64
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from weighbridge.core.digest import Digest
from weighbridge.core.statement import Statement, subject_of
from weighbridge.core.tier import Origin, Role, Stage
from weighbridge.keys.files import FileKey
from weighbridge.ledger.checkpoint import origin_of
from weighbridge.ledger.sequencer import Log
from weighbridge.trust.authority import Authority, Demand
from weighbridge.trust.authority_file import sign_authority, verify_authority
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.seal import log_and_seal, sign_statement
from weighbridge.trust.verify import verify_bundle

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
GENESIS = [b"genesis one", b"genesis two"]
SEEDS = {"root": 1, "log": 2, "trainer": 3}


def key(name):
    return FileKey(ed25519.Ed25519PrivateKey.from_private_bytes(bytes([SEEDS[name]]) * 32))


def block(page, name):
    """Return the fenced block that follows `<!-- vector: name -->`."""
    text = (REFERENCE / f"{page}.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"<!-- vector: {name} -->\n+```[a-z]*\n(.*?)```\n", text, re.DOTALL)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The vectors, made anew from the seeds."""
    log = Log.create(
        tmp_path_factory.mktemp("docs") / "log", origin_of("example", 1), key("log"), now=NOW, genesis=GENESIS
    )
    statement = Statement(
        (subject_of(Digest("wb1", "ab" * 32)),), "https://example.com/claim/v1", {"accuracy": "0.97"}
    )
    envelope = sign_statement(statement, key("trainer"))
    bundle = log_and_seal(envelope, key("trainer").public_pem, log, log_signer=key("log"), now=NOW)
    authority = (
        Authority("example", 1, NOW, NOW + timedelta(days=90), (key("root").public_pem,))
        .with_log(log.origin, key("log").public_pem)
        .with_identity("trainer", key("trainer").public_pem, [Role.TRAIN], evidence=Demand())
        .with_required(Origin.OWN, [Stage.DATA, Stage.TRAIN, Stage.EVALUATE, Stage.PACKAGE])
    )
    return log, bundle, authority


def pretty(data):
    return json.dumps(json.loads(data), indent=2, ensure_ascii=False) + "\n"


def test_the_pages_show_what_the_code_makes(made):
    log, bundle, authority = made
    signed = sign_authority(authority, key("root"))
    for page, name, text in [
        ("authority", "document", pretty(authority.encode())),
        ("authority", "signed", pretty(signed)),
        ("authority", "digest", f"{authority.digest}\n"),
        ("bundle", "bundle", pretty(bundle.to_json())),
        ("bundle", "body", bundle.entry.body.decode() + "\n"),
        ("bundle", "digest", f"{bundle.digest}\n"),
        ("bundle", "trainer", key("trainer").public_pem),
        ("bundle", "key-id", f"{key('trainer').key_id.hex}\n"),
        ("log", "checkpoint", log.checkpoint_text),
        ("log", "log-key", key("log").public_pem),
    ]:
        assert block(page, name) == text, (page, name, text)


def test_the_vectors_are_believed(made):
    log, bundle, authority = made
    data = block("authority", "signed").encode()
    found = verify_authority(data, root_keys=[key("root").public_pem], now=NOW, registry="example")
    assert found == authority
    read = Bundle.from_json(block("bundle", "bundle").encode())
    proven = verify_bundle(read, authority=found, project="any", role=Role.TRAIN, now=NOW).proven
    assert proven.bundle == bundle.digest
    assert proven.log_index == log.size - 1


# A second implementation: hashes, base64 and Ed25519, straight from the pages.


def b64(text):
    return base64.b64decode(text, validate=True)


def compact(value):
    """JCS for values without floats, in ASCII and with keys that sort alike in every encoding."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_a_stranger_verifies_the_bundle_from_the_pages_alone():
    bundle = json.loads(block("bundle", "bundle"))
    trainer, log_key = (
        load_pem_public_key(block(*where).encode()) for where in [("bundle", "trainer"), ("log", "log-key")]
    )
    envelope, material = bundle["dsseEnvelope"], bundle["verificationMaterial"]
    (signature,), (entry,) = envelope["signatures"], material["tlogEntries"]
    payload, kind = b64(envelope["payload"]), envelope["payloadType"].encode()

    der = b64("".join(block("bundle", "trainer").split("\n")[1:-2]))
    assert (
        hashlib.sha256(der).hexdigest() == material["publicKey"]["hint"] == block("bundle", "key-id").strip()
    )
    trainer.verify(b64(signature["sig"]), b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload))
    bare = {
        "payload": envelope["payload"],
        "payloadType": envelope["payloadType"],
        "signatures": [{"keyid": "", "sig": signature["sig"]}],
    }
    assert f"sha256:{hashlib.sha256(compact(bare)).hexdigest()}\n" == block("bundle", "digest")

    body = b64(entry["canonicalizedBody"])
    assert body.decode() + "\n" == block("bundle", "body")
    spec = json.loads(body)["spec"]
    assert spec["payloadHash"]["value"] == hashlib.sha256(payload).hexdigest()
    assert spec["signatures"] == [
        {
            "signature": signature["sig"],
            "verifier": base64.b64encode(block("bundle", "trainer").encode()).decode(),
        }
    ]
    log_der = b64("".join(block("log", "log-key").split("\n")[1:-2]))
    log_id = hashlib.sha256(log_der).digest()
    assert b64(entry["logId"]["keyId"]) == log_id
    promise = {
        "body": entry["canonicalizedBody"],
        "integratedTime": int(entry["integratedTime"]),
        "logID": log_id.hex(),
        "logIndex": int(entry["logIndex"]),
    }
    log_key.verify(b64(entry["inclusionPromise"]["signedEntryTimestamp"]), compact(promise))

    proof = entry["inclusionProof"]
    note = proof["checkpoint"]["envelope"]
    assert note == block("log", "checkpoint")
    text, signatures = note.split("\n\n")
    line = re.fullmatch("— (\\S+) (\\S+)\n", signatures)
    assert line[1] == "weighbridge.example"
    assert b64(line[2])[:4] == log_id[:4]
    log_key.verify(b64(line[2])[4:], text.encode() + b"\n")
    origin, size, root = text.split("\n")
    assert (origin, int(size)) == ("weighbridge.example - 1", int(proof["treeSize"]))

    leaves = [hashlib.sha256(b"\0" + leaf).digest() for leaf in [*GENESIS, body]]
    left = hashlib.sha256(b"\1" + leaves[0] + leaves[1]).digest()
    assert proof["hashes"] == [base64.b64encode(left).decode()]
    assert b64(root) == b64(proof["rootHash"]) == hashlib.sha256(b"\1" + left + leaves[2]).digest()


def test_a_stranger_verifies_the_authority_from_the_page_alone():
    envelope = json.loads(block("authority", "signed"))
    document = json.loads(block("authority", "document"))
    payload, kind = b64(envelope["payload"]), envelope["payloadType"].encode()
    assert payload == compact(document)
    root = load_pem_public_key(document["roots"][0].encode())
    root.verify(
        b64(envelope["signatures"][0]["sig"]),
        b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload),
    )
    assert f"sha256:{hashlib.sha256(payload).hexdigest()}\n" == block("authority", "digest")


def test_the_pages_list_every_role_origin_and_check():
    page = (REFERENCE / "authority.md").read_text(encoding="utf-8")
    for word in [*Role, *Origin]:
        assert f"`{word.value}`" in page
    pages = "".join(path.read_text(encoding="utf-8") for path in sorted(REFERENCE.glob("*.md")))
    source = Path(__file__).resolve().parents[2] / "src/weighbridge"
    checks = {"evidence.timestamps", "evidence.witnesses", "log.checkpoint", "statement.form"}
    for room in ("trust", "ledger", "keys", "server", "registry", "gate", "store", "source"):
        for path in [source / "net.py", *sorted((source / room).rglob("*.py"))]:
            checks |= set(re.findall(r'check="([a-z.-]+)"', path.read_text(encoding="utf-8")))
    assert len(checks) > 100
    assert [check for check in sorted(checks) if f"`{check}`" not in pages] == []
