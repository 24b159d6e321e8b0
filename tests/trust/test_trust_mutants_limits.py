"""Bounds to the byte and to the row: the last that is taken, and the first that is not."""

import struct
from dataclasses import replace

import pytest
from asn1crypto import core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from sigstore_issuing import BEGIN, END, NOW, Leaf, Tsa, private, spki
from sigstore_world import Forged, roots
from trust_proving import proof, refused

from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.trust.certificates import MAX_CERTIFICATE, read_certificate, signer_of
from weighbridge.trust.demand import MAX_COUNT, Demand
from weighbridge.trust.entries import Signed
from weighbridge.trust.roots import TimestampAuthority, Window
from weighbridge.trust.sct import MAX_SCTS, verify_scts
from weighbridge.trust.timestamp import MAX_TIMESTAMP, verify_timestamp

SIGNATURE = b"a signature"
CT = ("ct", "ecdsa-p256")


def certificate_of(size):
    """A certificate of exactly so many bytes; its signature is RSA, which is always of one length."""

    def made(pad):
        value = core.OctetString(bytes(pad)).dump()
        extra = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), value)
        leaf = Leaf("rsa", issuer=("x", ("x", "rsa")), serial=1, ct=(), extra=((extra, False),))
        return leaf.build()

    pad = size - 4096
    found = made(pad + size - len(made(pad)))
    assert len(found) == size
    return found


def test_the_largest_certificate():
    assert read_certificate(certificate_of(MAX_CERTIFICATE))
    with pytest.raises(VerificationFailed, match="larger"):
        read_certificate(certificate_of(MAX_CERTIFICATE + 1))


def token_of(size):
    """A timestamp of exactly so many bytes, in order but for a further certificate that fills it."""
    tsa = Tsa(root=("tsa root", "rsa"), holder=("tsa", "rsa"))
    response = tsp.TimeStampResp.load(tsa.stamp(SIGNATURE))
    content = response["time_stamp_token"]["content"]

    def made(length):
        filling = asn1_x509.Certificate.load(certificate_of(length))
        content["certificates"] = [asn1_x509.Certificate.load(tsa.chain[0]), filling]
        return response.dump(force=True)

    found = made(40_000 + size - len(made(40_000)))
    assert len(found) == size
    return found, (TimestampAuthority(tsa.chain, Window(BEGIN, END)),)


def test_the_largest_timestamp():
    token, known = token_of(MAX_TIMESTAMP)
    assert verify_timestamp(token, SIGNATURE, known).time.moment == NOW
    token, known = token_of(MAX_TIMESTAMP + 1)
    with pytest.raises(VerificationFailed, match="larger"):
        verify_timestamp(token, SIGNATURE, known)


def test_the_most_certificate_timestamps():
    assert len(proof(Forged(leaf=Leaf(ct=(CT,) * MAX_SCTS)).build()).scts) == 1
    refused(Forged(leaf=Leaf(ct=(CT,) * (MAX_SCTS + 1))).build(), "certificate.sct")


def test_a_certificate_timestamp_beyond_the_calendar():
    """Milliseconds of the year 10000 and later are a number in the struct and no moment."""
    der = Leaf(ct=(("nobody's", "ecdsa-p256"),)).build()
    assert verify_scts(der, spki(private(*CT)), roots().ctlogs) == ()
    inside = 253_402_300_799_999
    for milliseconds in (inside, inside + 1, (1 << 64) - 1):
        changed = late(milliseconds)
        with pytest.raises(VerificationFailed) as caught:
            verify_scts(changed, spki(private("intermediate", "ecdsa-p384")), roots().ctlogs)
        assert caught.value.check == "certificate.sct"
        assert ("9999" in caught.value.cause) == (milliseconds != inside)


def late(milliseconds):
    """A leaf in which the time of the SCT was overwritten."""
    der, time = Leaf().build(), struct.pack("!Q", int(Leaf().ct_time.timestamp() * 1000))
    assert der.count(time) == 1
    return der.replace(time, struct.pack("!Q", milliseconds))


@pytest.mark.parametrize("name", ["logs", "timestamps", "scts", "times", "witnesses"])
def test_the_most_that_can_be_demanded(name):
    assert getattr(replace(Demand(), **{name: MAX_COUNT}), name) == MAX_COUNT
    assert getattr(Demand(**{name: 0}), name) == 0
    for count in (MAX_COUNT + 1, -1, True, 1.0, "1"):
        with pytest.raises(ValueError, match=name):
            Demand(**{name: count})


def test_what_signs_nothing_is_about_no_digest():
    nothing = Signed(signer_of(Leaf().build()), SIGNATURE)
    assert not nothing.content_is(Digest.of(b""))
    assert not nothing.payload_is(Digest.of(b""))
