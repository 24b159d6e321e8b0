"""DSSE: the bytes that are signed, and reading envelopes strictly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trust_forge import key

from weighbridge.core.canonical import canonical
from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.public import verify_signature
from weighbridge.trust.dsse import MAX_TYPE, Envelope, Signature, decode64, encode64, pae, sign

text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


def read_pae(data):
    """Read PAE back, as its definition says; an encoding that can be read back cannot collide."""
    rest = data.removeprefix(b"DSSEv1 ")
    parts = []
    for _ in range(2):
        length, _, rest = rest.partition(b" ")
        parts.append(rest[: int(length)])
        rest = rest[int(length) :].removeprefix(b" ")
    assert not rest
    return parts[0].decode(), parts[1]


def test_pae_is_the_example_of_the_specification():
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_lengths_are_counted_in_bytes():
    assert pae("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


@given(text, st.binary(max_size=100))
def test_pae_can_be_read_back(kind, payload):
    assert read_pae(pae(kind, payload)) == (kind, payload)


@given(text, st.binary(max_size=200), st.sampled_from(["trainer", "gate"]))
def test_an_envelope_survives_the_road(kind, payload, name):
    envelope = sign(kind, payload, key(name))
    again = Envelope.decode(canonical(envelope.to_json()))
    assert again == envelope
    (signature,) = again.signatures
    assert verify_signature(key(name).public_pem, pae(kind, payload), signature.sig)


def test_the_digest_passes_over_key_ids_and_nothing_else():
    envelope = Envelope("a", b"b", (Signature("hint", b"c"),))
    assert envelope.digest == Envelope("a", b"b", (Signature("", b"c"),)).digest
    others = [
        Envelope("x", b"b", envelope.signatures),
        Envelope("a", b"x", envelope.signatures),
        Envelope("a", b"b", (Signature("hint", b"x"),)),
        Envelope("a", b"b", ()),
        Envelope("a", b"b", envelope.signatures * 2),
    ]
    assert len({row.digest for row in [envelope, *others]}) == 6


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"1",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b"{}",
        b'{"payload":"","payloadType":"a"}',
        b'{"payload":"","payloadType":"","signatures":[]}',
        b'{"payload":"","payloadType":1,"signatures":[]}',
        b'{"payload":"","payloadType":"\\ud800","signatures":[]}',
        b'{"payload":"","payloadType":"a","signatures":{}}',
        b'{"payload":"","payloadType":"a","signatures":[1]}',
        b'{"payload":"","payloadType":"a","signatures":[{}]}',
        b'{"payload":"","payloadType":"a","signatures":[{"sig":""}]}',
        b'{"payload":"","payloadType":"a","signatures":[{"sig":"AA==","keyid":1}]}',
        b'{"payload":"","payloadType":"a","signatures":[{"sig":"AA==","keyid":"\\udfff"}]}',
        b'{"payload":"AA","payloadType":"a","signatures":[]}',
        b'{"payload":"AB==","payloadType":"a","signatures":[]}',
        b'{"payload":"A A==","payloadType":"a","signatures":[]}',
        b'{"payload":"_-8=","payloadType":"a","signatures":[]}',
        b'{"payload":"\xc3\xa9","payloadType":"a","signatures":[]}',
        b'{"payload":null,"payloadType":"a","signatures":[]}',
        b'{"payload":"","payload":"","payloadType":"a","signatures":[]}',
        b'{"payload":"","payloadType":"' + b"a" * 1025 + b'","signatures":[]}',
    ],
)
def test_what_is_no_envelope_is_refused_with_a_reason(data):
    with pytest.raises(VerificationFailed) as caught:
        Envelope.decode(data)
    assert caught.value.check == "envelope.form"
    assert caught.value.cause


def test_unknown_members_and_missing_key_ids_are_passed_over():
    data = b'{"payload":"","payloadType":"a","signatures":[{"sig":"AA==","x":1}],"y":2}'
    assert Envelope.decode(data) == Envelope("a", b"", (Signature("", b"\0"),))


@given(st.binary(max_size=64))
def test_base64_has_one_spelling(data):
    assert decode64(encode64(data)) == data


def test_a_payload_type_has_a_longest():
    rows = [{"keyid": "", "sig": encode64(b"s")}]
    longest = {"payloadType": "x" * MAX_TYPE, "payload": "", "signatures": rows}
    assert Envelope.from_json(longest).payload_type == "x" * MAX_TYPE
    with pytest.raises(ValueError, match="payloadType"):
        Envelope.from_json(longest | {"payloadType": "x" * (MAX_TYPE + 1)})


def test_a_text_is_a_string_and_a_missing_member_is_called_missing():
    with pytest.raises(ValueError, match="a string was expected"):
        decode64(5)
    with pytest.raises(VerificationFailed) as refused:
        Envelope.decode(b"{}")
    assert "is missing" in (refused.value.cause or "")
