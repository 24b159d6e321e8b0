"""Cosignatures byte by byte, and everything that is nearly the key or the line of a witness."""

import base64
import hashlib
import struct
from datetime import UTC, datetime

import pytest

from weighbridge.core.errors import UsageError, VerificationFailed
from weighbridge.keys.files import generate
from weighbridge.ledger.checkpoint import Checkpoint, sign_checkpoint
from weighbridge.ledger.cosignature import (
    MAX_NAME,
    MAX_TIME,
    Cosigner,
    cosigned_message,
    cosigner_id,
    is_witness_name,
    read_witness_key,
    verify_cosignatures,
)

ED, ML, LOG = (generate(kind) for kind in ("ed25519", "ml-dsa-44", "ecdsa-p256"))
HEAD = Checkpoint("weighbridge.acme - 42", 7, bytes(range(32)))
NOTE = sign_checkpoint(HEAD, LOG)
BOTH = (Cosigner("w.test", ED), Cosigner("m.test", ML))
TIME = 1_795_378_200


def test_what_is_signed_is_what_c2sp_says():
    plain = cosigned_message("w.test", "ed25519", HEAD, TIME)
    assert plain == b"cosignature/v1\ntime 1795378200\n" + HEAD.text.encode()
    parts = (b"subtree/v1\n\0", b"\x06m.test", struct.pack("!Q", TIME), b"\x15weighbridge.acme - 42")
    other = cosigned_message("m.test", "ml-dsa-44", HEAD, TIME)
    assert other == b"".join(parts) + struct.pack("!QQ", 0, 7) + HEAD.root


@pytest.mark.parametrize("cosigner", BOTH)
def test_a_line_is_read_under_its_key_and_no_other(cosigner):
    known = read_witness_key(cosigner.verifier_key)
    assert (known.name, known.key, known.algorithm) == (cosigner.name, cosigner.key, cosigner.algorithm)
    assert len(known.key) == {"ed25519": 32, "ml-dsa-44": 1312}[known.algorithm]
    kind = {"ed25519": b"\x04", "ml-dsa-44": b"\x06"}[known.algorithm]
    by_hand = hashlib.sha256(cosigner.name.encode() + b"\n" + kind + known.key).digest()[:4]
    assert cosigner_id(known.name, known.key, known.algorithm) == by_hand
    note = NOTE + cosigner.line(HEAD, TIME) + cosigner.line(HEAD, TIME + 9) + cosigner.line(HEAD, TIME + 3)
    assert verify_cosignatures(note, [known]) == ((cosigner.name, datetime.fromtimestamp(TIME + 9, UTC)),)
    assert verify_cosignatures(note, [one for one in BOTH if one != cosigner]) == ()


def test_lines_of_several_come_sorted():
    note = NOTE + "".join(one.line(HEAD, TIME) for one in BOTH)
    assert [name for name, _ in verify_cosignatures(note, BOTH)] == ["m.test", "w.test"]


def line_of(cosigner, time, signature, length=None):
    value = cosigner_id(cosigner.name, cosigner.key, cosigner.algorithm) + struct.pack("!Q", time) + signature
    return f"— {cosigner.name} {base64.b64encode(value[:length]).decode()}\n"


@pytest.mark.parametrize("cosigner", BOTH)
def test_a_line_that_names_the_key_and_does_not_hold_refuses(cosigner):
    def signed(time):
        return cosigner.signer.sign(cosigned_message(cosigner.name, cosigner.algorithm, HEAD, time))

    def refused(line):
        with pytest.raises(VerificationFailed) as caught:
            verify_cosignatures(NOTE + line, [cosigner])
        assert caught.value.check == "log.witness"

    last = line_of(cosigner, MAX_TIME, signed(MAX_TIME))
    assert verify_cosignatures(NOTE + last, [cosigner])[0][1].year == 9999
    refused(line_of(cosigner, MAX_TIME + 1, signed(MAX_TIME + 1)))
    refused(line_of(cosigner, TIME, signed(TIME + 1)))
    refused(line_of(cosigner, TIME, signed(TIME)[:-1]))
    for length in (4, 5, 12, 13):
        refused(line_of(cosigner, TIME, signed(TIME), length))


def test_names_of_witnesses():
    for name in ("w", "witness.example/w1", "w" * MAX_NAME, "é" * (MAX_NAME // 2)):
        assert is_witness_name(name)
    for name in ("", "a b", "a+b", "a\n", "a\u200b", "w" * (MAX_NAME + 1), "é" * (MAX_NAME // 2 + 1)):
        assert not is_witness_name(name)
        with pytest.raises(UsageError) as caught:
            Cosigner(name, ED)
        assert caught.value.check == "log.witness-name"


def test_keys_of_witnesses():
    assert [one.algorithm for one in BOTH] == ["ed25519", "ml-dsa-44"]
    for kind in ("ecdsa-p256", "rsa"):
        with pytest.raises(UsageError) as caught:
            Cosigner("w.test", generate(kind))
        assert caught.value.check == "log.witness-key"


def spelled(name, kind, key):
    said = hashlib.sha256(name.encode() + b"\n" + kind + key).hexdigest()[:8]
    return f"{name}+{said}+{base64.b64encode(kind + key).decode()}"


def test_what_is_nearly_a_verifier_key():
    ed, ml = BOTH[0].key, BOTH[1].key
    right = spelled("w.test", b"\x04", ed)
    assert read_witness_key(right + "\n") == read_witness_key(BOTH[0].verifier_key)
    assert read_witness_key(spelled("m.test", b"\x06", ml)).algorithm == "ml-dsa-44"
    name, said, value = right.split("+", 2)
    wrong = [
        spelled("w.test", b"\x01", ed),
        spelled("w.test", b"\x06", ed),
        spelled("w.test", b"\x04", ml),
        spelled("w.test", b"\x04", ed[:-1]),
        spelled("w.test", b"\x04", ed + b"\0"),
        spelled("w test", b"\x04", ed),
        spelled("", b"\x04", ed),
        f"{name}+{'0' * 8}+{value}",
        f"{name}+{said}+{base64.b64encode(bytes([1]) + ed).decode()}",
        f"{name}+{said.upper()}0+{value}",
        f"{name}+{said}+{value}!",
        f"{name}+{said}",
        "",
    ]
    for text in wrong:
        with pytest.raises(UsageError) as caught:
            read_witness_key(text)
        assert caught.value.check == "log.witness-key", text
