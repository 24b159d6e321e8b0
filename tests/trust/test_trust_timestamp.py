"""Timestamps: over this signature, granted, by an authority for stamping, in that very authority's interval."""

from dataclasses import replace
from datetime import timedelta

import pytest
from asn1crypto import tsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st
from sigstore_issuing import BEGIN, END, NOW, Tsa, authority
from sigstore_world import Forged, managed, roots
from trust_proving import proof, refused

from weighbridge.core.errors import VerificationFailed
from weighbridge.trust.demand import Demand
from weighbridge.trust.roots import TimestampAuthority, Window
from weighbridge.trust.timestamp import verify_timestamp

SECOND = timedelta(seconds=1)
SIGNATURE = b"some signature"


def by(*tsas, window=None):
    return tuple(
        TimestampAuthority(tsa.chain, window or Window(BEGIN, END), f"https://{tsa.holder[0]}.test")
        for tsa in tsas
    )


def verify(tsa, *known, window=None, signature=SIGNATURE):
    return verify_timestamp(tsa.stamp(signature), SIGNATURE, by(*(known or (tsa,)), window=window))


def fails(tsa, *known, **world):
    with pytest.raises(VerificationFailed) as caught:
        verify(tsa, *known, **world)
    assert caught.value.check == "time.timestamp"
    return caught.value.cause


@pytest.mark.parametrize(
    "tsa",
    [
        Tsa(),
        Tsa(holder=("tsa", "rsa")),
        Tsa(embed=False),
        Tsa(digest="sha384"),
        Tsa(digest="sha512"),
        Tsa(when=NOW - timedelta(days=3)),
    ],
)
def test_a_timestamp_in_order(tsa):
    found = verify(tsa)
    assert (found.time.moment, found.time.source, found.time.by) == (
        tsa.when,
        "timestamp",
        "https://tsa.test",
    )
    assert found.authority == tsa.chain[0]


@pytest.mark.parametrize(
    ("tsa", "cause"),
    [
        (Tsa(status="rejection"), "not granted"),
        (Tsa(status="granted_with_mods"), "not granted"),
        (Tsa(digest="sha1"), "digest"),
        (Tsa(digest="md5"), "digest"),
        (Tsa(purposes=()), "purpose"),
        (Tsa(purposes=(ExtendedKeyUsageOID.CODE_SIGNING,)), "purpose"),
        (
            Tsa(purposes=(ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING)),
            "purpose",
        ),
        (Tsa(critical=False), "purpose"),
        (Tsa(begin=NOW + SECOND), "not yet valid"),
        (Tsa(end=NOW - SECOND), "expired"),
    ],
)
def test_what_is_no_timestamp_of_this(tsa, cause):
    assert cause in fails(tsa)


def test_signed_twice():
    response = tsp.TimeStampResp.load(Tsa().stamp(SIGNATURE))
    content = response["time_stamp_token"]["content"]
    content["signer_infos"] = [row.copy() for row in content["signer_infos"]] * 2
    with pytest.raises(VerificationFailed, match="one authority"):
        verify_timestamp(response.dump(force=True), SIGNATURE, by(Tsa()))


def test_refusals_can_be_read_by_people():
    assert "ErrorStack" not in fails(Tsa(end=NOW - SECOND))
    with pytest.raises(VerificationFailed, match="larger"):
        verify_timestamp(bytes(70_000), SIGNATURE, by(Tsa()))
    unnamed = (TimestampAuthority(Tsa().chain, Window(BEGIN, END)),)
    assert verify_timestamp(Tsa().stamp(SIGNATURE), SIGNATURE, unnamed).time.by == "CN=tsa"


def test_over_another_signature():
    assert "another signature" in fails(Tsa(), signature=b"another")


def test_by_somebody_else():
    fails(Tsa(holder=("other", "ecdsa-p256")), Tsa())
    fails(Tsa(root=("other root", "ecdsa-p384")), Tsa())
    with pytest.raises(VerificationFailed, match="no timestamp authority"):
        verify_timestamp(Tsa().stamp(SIGNATURE), SIGNATURE, ())


def test_the_authoritys_interval_is_closed():
    for window in (Window(NOW, NOW), Window(None, None), Window(BEGIN, NOW), Window(NOW, None)):
        assert verify(Tsa(), window=window)
    for window in (Window(NOW + SECOND, END), Window(BEGIN, NOW - SECOND)):
        assert "not trusted" in fails(Tsa(), window=window)


def test_an_interval_is_not_borrowed_from_another_authority():
    over = by(Tsa(), window=Window(BEGIN, NOW - SECOND))
    other = by(Tsa(holder=("other", "ecdsa-p256")))
    with pytest.raises(VerificationFailed, match=r"time\.timestamp"):
        verify_timestamp(Tsa().stamp(SIGNATURE), SIGNATURE, over + other)
    renewed = by(Tsa(), window=Window(NOW, END))
    assert verify_timestamp(Tsa().stamp(SIGNATURE), SIGNATURE, over + renewed)


def test_a_chain_without_root_proves_nothing():
    alone = (TimestampAuthority(Tsa().chain[:1]),)
    with pytest.raises(VerificationFailed, match="no root"):
        verify_timestamp(Tsa().stamp(SIGNATURE), SIGNATURE, alone)
    exchanged = (TimestampAuthority((Tsa().chain[0], authority("decoy", ("decoy", "ecdsa-p384")))),)
    with pytest.raises(VerificationFailed, match=r"time\.timestamp"):
        verify_timestamp(Tsa().stamp(SIGNATURE), SIGNATURE, exchanged)


@pytest.mark.parametrize("der", [b"", b"\x30\x00", b"timestamp", bytes(70_000)])
def test_what_is_no_response(der):
    with pytest.raises(VerificationFailed, match=r"time\.timestamp"):
        verify_timestamp(der, SIGNATURE, by(Tsa()))


def test_two_authorities_are_two_moments_and_one_is_one():
    two = (Tsa(), Tsa(holder=("other", "ecdsa-p256"), when=NOW + SECOND))
    known = replace(roots(), timestamps=by(*two))
    bundle = Forged("dsse2", tsas=two).build()
    found = proof(bundle, roots=known, demand=Demand(timestamps=2, times=2))
    assert [time.by for time in found.times] == ["https://tsa.test", "https://other.test"]
    again = Forged("dsse2", tsas=(Tsa(), Tsa(when=NOW + SECOND))).build()
    assert len(proof(again).times) == 2
    refused(again, "evidence.timestamps", demand=Demand(timestamps=2))
    refused(again, "evidence.times", demand=Demand(times=2))


def test_a_timestamp_of_another_bundle():
    other = Forged("dsse2").build()
    refused(replace(Forged("dsse2").build(), timestamps=other.timestamps), "time.timestamp")


def test_a_timestamp_gives_a_managed_key_its_time():
    bundle = Forged(with_key=managed(), logged=False, tsas=(Tsa(),)).build()
    found = proof(bundle, key_pem=managed().public_pem, demand=Demand(logs=0, timestamps=1))
    assert found.times[0].moment == NOW


GOOD = Tsa().stamp(SIGNATURE)
KNOWN = by(Tsa())
"""One authority for all mutations, so that the verifier's caches are as warm as they get."""


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255), st.booleans())
def test_no_changed_byte_makes_another_time_or_a_traceback(at, change, cut):
    der = GOOD[:at] if cut else GOOD[:at] + bytes([GOOD[at] ^ change]) + GOOD[at + 1 :]
    try:
        found = verify_timestamp(der, SIGNATURE, KNOWN)
    except VerificationFailed as error:
        assert error.check == "time.timestamp"  # noqa: PT017 (either outcome is in order)
    else:
        assert found.time.moment == NOW
