"""The page on witnesses says what the code does: its vectors are made anew from their seeds."""

import re
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa

from weighbridge.keys.files import FileKey
from weighbridge.ledger.checkpoint import parse_checkpoint, verify_checkpoint
from weighbridge.ledger.cosignature import (
    Cosigner,
    cosigned_message,
    cosigner_id,
    read_witness_key,
    verify_cosignatures,
)
from weighbridge.ledger.witness import MAX_REQUEST

DOCS = Path(__file__).parents[2] / "docs" / "reference"
PAGE = (DOCS / "witness.md").read_text(encoding="utf-8")
TIME = 1795000000
NAME = "witness.example/w1"
ED25519 = Cosigner(NAME, FileKey(ed25519.Ed25519PrivateKey.from_private_bytes(bytes([4]) * 32)))
ML_DSA = Cosigner(NAME, FileKey(mldsa.MLDSA44PrivateKey.from_seed_bytes(bytes([5]) * 32)))


def vector(name, page=PAGE):
    (found,) = re.findall(rf"<!-- vector: {name} -->\n```text\n(.*?)```\n", page, re.DOTALL)
    return found


LOG = (DOCS / "log.md").read_text(encoding="utf-8")
NOTE = vector("checkpoint", LOG)
HEAD = parse_checkpoint(NOTE)[0]


def test_keys():
    assert vector("witness-key").strip() == ED25519.verifier_key
    assert f"`{cosigner_id(NAME, ML_DSA.key, 'ml-dsa-44').hex()}`" in PAGE
    listed = (DOCS / "vectors" / "witness-keys.txt").read_text().split()
    assert listed == [ED25519.verifier_key, ML_DSA.verifier_key]


def test_signatures():
    assert vector("cosignature") == ED25519.line(HEAD, TIME)
    assert bytes.fromhex(vector("subtree-message")) == cosigned_message(NAME, "ml-dsa-44", HEAD, TIME)


def test_the_cosigned_checkpoint_is_believed():
    note = (DOCS / "vectors" / "cosigned.txt").read_text(encoding="utf-8")
    assert verify_checkpoint(note, origin=HEAD.origin, public_pem=vector("log-key", LOG)) == HEAD
    for text in (DOCS / "vectors" / "witness-keys.txt").read_text().split():
        ((name, moment),) = verify_cosignatures(note, [read_witness_key(text)])
        assert (name, moment.timestamp()) == (NAME, TIME)


def test_limits():
    assert f"more than {MAX_REQUEST:,} bytes" in PAGE
