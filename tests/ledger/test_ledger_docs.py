"""The reference page of the log against the code, and against a small reader that uses none of it."""

import base64
import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from weighbridge.keys.files import FileKey
from weighbridge.ledger import shards
from weighbridge.ledger.checkpoint import log_id_of, verifier_key
from weighbridge.ledger.entry import proof_file
from weighbridge.ledger.sequencer import Log

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "log.md"
NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
BODIES = [b"genesis one", b"genesis two", b"entry 2", b"entry 3", b"entry 4"]


def key(value):
    return FileKey(ed25519.Ed25519PrivateKey.from_private_bytes(bytes([value]) * 32))


def block(name):
    """Return the fenced block that follows `<!-- vector: name -->`."""
    text = PAGE.read_text(encoding="utf-8")
    (found,) = re.findall(rf"<!-- vector: {name} -->\n+```[a-z]*\n(.*?)```\n", text, re.DOTALL)
    return found


def test_the_page_shows_what_the_code_makes(tmp_path):
    log = Log.create(tmp_path / "log", "log.example", key(2), now=NOW, genesis=BODIES[:2], form="v2")
    log.append(BODIES[2:], signer=key(2), now=NOW)
    pem = key(2).public_pem
    assert block("v2-id") == f"{log.log_id.hex}\n{verifier_key('log.example', pem)}\n"
    assert block("v2-proof") == proof_file(3, log.proof(3))
    origin = "weighbridge.example - 2"
    after = shards.Successor(origin, log_id_of(origin, key(4).public_pem))
    frozen = log.freeze(signer=key(2), now=NOW, successor=after)
    assert block("frozen") == frozen
    assert (
        block("follows").rstrip("\n") == shards.follows(frozen, origin="log.example", public_pem=pem).decode()
    )


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


@pytest.mark.parametrize("name", ["v2-proof", "frozen"])
def test_a_stranger_checks_the_note(name):
    note = block(name)[block(name).index("log.example") :]
    text, _, tail = note.partition("\n\n")
    signature = base64.b64decode(re.fullmatch("— log\\.example (\\S+)\n", tail)[1])
    public = load_pem_public_key(block("log-key").encode())
    assert signature[:4] == sha(b"log.example\n\x01", public.public_bytes_raw())[:4]
    assert block("v2-id").startswith(signature[:4].hex())
    public.verify(signature[4:], text.encode() + b"\n")


def test_a_stranger_checks_the_proof():
    """Entry 3 of 5: its left sibling, the pair before it, and the single entry after."""
    head, _, note = block("v2-proof").partition("\n\n")
    mark, index, *hashes = head.split("\n")
    assert (mark, index) == ("c2sp.org/tlog-proof@v1", "index 3")
    second, first_pair, fifth = (base64.b64decode(text) for text in hashes)
    leaf = [sha(b"\0", body) for body in BODIES]
    assert (second, first_pair, fifth) == (leaf[2], sha(b"\1", leaf[0], leaf[1]), leaf[4])
    root = sha(b"\1", sha(b"\1", first_pair, sha(b"\1", second, leaf[3])), fifth)
    assert base64.b64decode(note.split("\n")[2]) == root
