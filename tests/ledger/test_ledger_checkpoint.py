"""Signed checkpoints: the form of C2SP, and everything that is not one."""

import base64
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.files import generate
from weighbridge.ledger.checkpoint import (
    Checkpoint,
    origin_of,
    parse_checkpoint,
    sign_checkpoint,
    verify_checkpoint,
)

ORIGIN = "weighbridge.acme - 42"
KEYS = [generate("ecdsa-p256"), generate("ed25519")]
HEAD = Checkpoint(ORIGIN, 7, bytes(range(32)))


def refused(note, **world):
    with pytest.raises(VerificationFailed) as caught:
        verify_checkpoint(note, **({"origin": ORIGIN, "public_pem": KEYS[0].public_pem} | world))
    assert caught.value.check == "log.checkpoint"
    assert caught.value.cause


@pytest.mark.parametrize("signer", KEYS)
def test_a_checkpoint_survives_the_road(signer):
    note = sign_checkpoint(HEAD, signer)
    assert verify_checkpoint(note, origin=ORIGIN, public_pem=signer.public_pem) == HEAD


def test_the_form_is_that_of_a_signed_note():
    note = sign_checkpoint(HEAD, KEYS[0])
    text, signature = note.split("\n\n")
    assert text == f"{ORIGIN}\n7\n{base64.b64encode(HEAD.root).decode()}"
    match = re.fullmatch("— weighbridge\\.acme (\\S+)\n", signature)
    assert base64.b64decode(match[1])[:4].hex() == KEYS[0].key_id.hex[:8]


@given(st.integers(0, 2**53 - 1), st.binary(min_size=32, max_size=32))
def test_any_size_and_root(size, root):
    head = Checkpoint(ORIGIN, size, root)
    assert (
        verify_checkpoint(sign_checkpoint(head, KEYS[1]), origin=ORIGIN, public_pem=KEYS[1].public_pem)
        == head
    )


def test_another_key_or_another_log_is_refused():
    note = sign_checkpoint(HEAD, KEYS[0])
    refused(note, public_pem=KEYS[1].public_pem)
    refused(note, origin="weighbridge.acme - 43")


def test_the_right_hint_over_a_wrong_signature_is_refused():
    text, _ = sign_checkpoint(HEAD, KEYS[0]).split("\n\n")
    wrong = KEYS[0].sign(b"another text")
    value = base64.b64encode(bytes.fromhex(KEYS[0].key_id.hex)[:4] + wrong).decode()
    refused(f"{text}\n\n— weighbridge.acme {value}\n")


def test_signatures_of_others_are_passed_over_but_do_not_count():
    note = sign_checkpoint(HEAD, KEYS[0])
    theirs = sign_checkpoint(HEAD, KEYS[1]).split("\n\n")[1].replace("weighbridge.acme", "witness.example")
    assert verify_checkpoint(note + theirs, origin=ORIGIN, public_pem=KEYS[0].public_pem) == HEAD
    refused(note.split("\n\n")[0] + "\n\n" + theirs)
    refused(note.replace("— weighbridge.acme", "— witness.example"))


def test_two_signatures_of_the_log_are_one_too_many():
    note = sign_checkpoint(HEAD, KEYS[0])
    refused(note + note.split("\n\n")[1])


def test_lines_after_the_root_are_signed_and_not_read():
    text = f"{HEAD.text}an extension\n"
    value = base64.b64encode(bytes.fromhex(KEYS[0].key_id.hex)[:4] + KEYS[0].sign(text.encode())).decode()
    note = f"{text}\n— weighbridge.acme {value}\n"
    read = verify_checkpoint(note, origin=ORIGIN, public_pem=KEYS[0].public_pem)
    assert read == replace(HEAD, extensions=("an extension",))
    assert read.text == text
    refused(note.replace("an extension", "another extension"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n7\n", "\n07\n"),
        ("\n7\n", "\n-7\n"),
        ("\n7\n", "\n8\n"),
        ("\n7\n", "\n\n"),
        ("\n7\n", "\n7 \n"),
        ("\n7\n", "\n99999999999999999999\n"),
        ("\n7\n", "\n\u0667\n"),
        (ORIGIN, "weighbridge.acme"),
        (ORIGIN, "weighbridge.acme - 042"),
        (ORIGIN, " - 42"),
        ("AAEC", "AAED"),
        ("AAEC", "AAE="),
        ("AAEC", "AA!C"),
        ("AAEC", ""),
        ("— ", "- "),
        ("— ", ""),
        ("\n\n", "\n"),
        ("\n\n", "\n\n\n"),
        ("\n\n", "\r\n\r\n"),
    ],
)
def test_what_is_no_checkpoint_is_refused(old, new):
    note = sign_checkpoint(HEAD, KEYS[0])
    assert old in note
    refused(note.replace(old, new, 1))


def test_pieces_are_refused():
    note = sign_checkpoint(HEAD, KEYS[0])
    for piece in ("", "\n", "\n\n", note[:-1], note.split("\n\n")[0], note + "x", note + "\n", note * 2000):
        refused(piece)


@given(st.text(max_size=80))
def test_any_text_is_refused_with_a_reason(text):
    with pytest.raises(VerificationFailed) as caught:
        parse_checkpoint(text)
    assert caught.value.check == "log.checkpoint"


def test_the_log_is_named_like_a_rekor_v1_log():
    assert origin_of("acme", 42) == ORIGIN
    for registry, tree in [("", -1), ("a b", 1), ("a\nb", 1), ("a", -1), ("a" * 200, 1), ("é", 1)]:
        with pytest.raises(ValueError, match="not an origin"):
            origin_of(registry, tree)


# Reading alone, without a signature that would fail anyway


def why(note):
    with pytest.raises(VerificationFailed) as caught:
        parse_checkpoint(note)
    return caught.value.cause


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("\n7\n", "\n07\n", "size"),
        ("\n7\n", "\n-7\n", "size"),
        ("\n7\n", "\n99999999999999999999\n", "size"),
        ("\n7\n", "\n\u0667\n", "size"),
        (base64.b64encode(bytes(range(32))).decode(), base64.b64encode(bytes(31)).decode(), "32 bytes"),
        (base64.b64encode(bytes(range(32))).decode(), base64.b64encode(bytes(33)).decode(), "32 bytes"),
        ("h8=", "h9=", "canonical"),
        ("\n\n", "\n", "blank line"),
    ],
)
def test_reading_says_what_is_wrong(old, new, cause):
    note = sign_checkpoint(HEAD, KEYS[0])
    assert old in note
    assert cause in why(note.replace(old, new, 1))


def test_the_bounds_of_a_note():
    note = sign_checkpoint(HEAD, KEYS[0])
    rest = 64 * 1024 - len(note)
    lines = "— w AAAA\n" * (rest // 9 - 4)
    full = note + lines + "— " + "w" * (rest - len(lines) - 8) + " AAAA\n"
    assert len(full) == 64 * 1024
    assert parse_checkpoint(full)[0] == HEAD
    assert "signatures" in why(full.replace("— w ", "— ww ", 1))
    assert parse_checkpoint(note.replace(ORIGIN, "o" * 255))[0].origin == "o" * 255
    assert "origin" in why(note.replace(ORIGIN, "o" * 256))
    assert "origin" in why(note.replace(ORIGIN, "é" * 128))


def test_a_signature_under_another_hint_is_another_keys():
    text, _ = sign_checkpoint(HEAD, KEYS[0]).split("\n\n")
    value = base64.b64encode(b"else" + KEYS[0].sign(f"{text}\n".encode())).decode()
    refused(f"{text}\n\n— weighbridge.acme {value}\n")
