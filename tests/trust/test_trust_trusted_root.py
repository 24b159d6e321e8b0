"""Trusted roots: what others write is read, what widens trust by a mistake is refused, and ours comes back the same."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sigstore_issuing import NOW, key
from sigstore_world import ORIGIN1, ORIGIN2, Forged, make, roots
from trust_proving import proof

from weighbridge.core.errors import OutOfBudget, VerificationFailed
from weighbridge.keys.public import key_id_of_pem
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.roots import LogKey, Roots, TimestampAuthority, Window
from weighbridge.trust.trusted_root import (
    MAX_ROOT,
    MEDIA_TYPE,
    origin_host,
    read_trusted_root,
    write_trusted_root,
)


def changed(path, value):
    """The trusted root with the member at `path` set, or removed when `value` is the ellipsis."""
    document = json.loads(write_trusted_root(roots()))
    where = document
    *road, last = path
    for step in road:
        where = where[step]
    if value is ...:
        del where[last]
    else:
        where[last] = value
    return json.dumps(document).encode()


def test_what_is_written_is_read():
    found = read_trusted_root(write_trusted_root(roots()))
    logs = tuple(replace(log, base_url=f"https://{log.origin.split(' ')[0]}") for log in roots().logs)
    first = replace(logs[0], origin="")  # the document has no place for a tree's number
    assert found == replace(roots(), logs=(first, logs[1]))
    assert read_trusted_root(write_trusted_root(found)) == found


def test_logs_are_written_under_the_name_they_sign_with():
    document = json.loads(write_trusted_root(roots()))
    assert document["mediaType"] == MEDIA_TYPE
    assert [row["baseUrl"] for row in document["tlogs"]] == ["https://rekor.test", f"https://{ORIGIN2}"]
    assert ORIGIN1.startswith("rekor.test - ")
    assert document["timestampAuthorities"][0]["subject"] == {"organization": "", "commonName": "tsa root"}


def test_nothing_is_a_root_that_trusts_nobody():
    assert read_trusted_root(json.dumps({"mediaType": MEDIA_TYPE}).encode()) == Roots()
    assert read_trusted_root(write_trusted_root(Roots())) == Roots()


def test_unknown_members_and_unknown_kinds_of_keys_are_passed_over():
    assert read_trusted_root(changed(("new",), {"deep": [1]}))
    later = changed(("tlogs", 1, "publicKey", "keyDetails"), "PKIX_ED448")
    assert len(read_trusted_root(later).logs) == 1
    assert not read_trusted_root(changed(("ctlogs", 0, "publicKey", "keyDetails"), "PKIX_ED448")).ctlogs


def test_an_open_interval_is_written_with_a_start():
    log = replace(roots().logs[0], window=Window(None, None))
    (found,) = read_trusted_root(write_trusted_root(Roots(logs=(log,)))).logs
    assert found.window == Window(datetime(1970, 1, 1, tzinfo=UTC), None)


def test_fractions_of_seconds_survive():
    window = Window(NOW, NOW + timedelta(milliseconds=999))
    log = replace(roots().logs[1], window=window)
    data = write_trusted_root(Roots(logs=(log,)))
    assert b".999Z" in data
    assert read_trusted_root(data).logs[0].window == window


@pytest.mark.parametrize("kind", ["ecdsa-p384", "ecdsa-p521", "ed25519", "rsa"])
def test_keys_of_every_kind(kind):
    pem = key("any", kind).public_pem
    log = LogKey(bytes.fromhex(key_id_of_pem(pem).hex), pem, Window(NOW), "", "https://any.test", "somebody")
    assert read_trusted_root(write_trusted_root(Roots(logs=(log,)))).logs == (log,)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("mediaType",), "application/vnd.dev.sigstore.trustedroot.v0.2+json"),
        (("mediaType",), ...),
        (("tlogs",), {}),
        (("tlogs",), [{}] * 257),
        (("tlogs", 0), 7),
        (("tlogs", 0, "baseUrl"), "https://[log.test"),
        (("ctlogs", 0, "baseUrl"), "https://[log.test"),
        (("tlogs", 0, "publicKey", "keyDetails"), ""),
        (("certificateAuthorities", 0, "subject"), []),
        (("certificateAuthorities", 0, "subject", "commonName"), 5),
        (("tlogs", 0, "logId"), ...),
        (("tlogs", 0, "logId", "keyId"), "AAAA"),
        (("tlogs", 0, "hashAlgorithm"), "SHA2_512"),
        (("tlogs", 0, "hashAlgorithm"), ...),
        (("tlogs", 0, "publicKey", "rawBytes"), "AAAA"),
        (("tlogs", 0, "publicKey", "keyDetails"), "PKIX_ED25519"),
        (("tlogs", 0, "publicKey", "keyDetails"), 5),
        (("tlogs", 0, "publicKey", "validFor"), ...),
        (("tlogs", 0, "publicKey", "validFor", "start"), ...),
        (("tlogs", 0, "publicKey", "validFor", "start"), None),
        (("tlogs", 0, "publicKey", "validFor", "start"), "yesterday"),
        (("tlogs", 0, "publicKey", "validFor", "start"), "2026-01-01T00:00:00"),
        (("tlogs", 0, "publicKey", "validFor", "end"), "2001-01-01T00:00:00Z"),
        (("tlogs", 0, "publicKey", "validFor", "end"), 0),
        (("ctlogs", 0, "logId", "keyId"), base64.b64encode(bytes(32)).decode()),
        (("ctlogs", 0, "publicKey", "validFor"), {}),
        (("certificateAuthorities", 0, "certChain"), ...),
        (("certificateAuthorities", 0, "certChain", "certificates"), []),
        (("certificateAuthorities", 0, "certChain", "certificates", 0, "rawBytes"), "AAAA"),
        (("certificateAuthorities", 0, "certChain", "certificates"), [{"rawBytes": "AAAA"}] * 17),
        (("certificateAuthorities", 0, "validFor"), ...),
        (("certificateAuthorities", 0, "uri"), 5),
        (("timestampAuthorities", 0, "certChain"), {"certificates": []}),
        (("timestampAuthorities", 0, "validFor", "start"), ...),
    ],
)
def test_mistakes_that_widen_trust_are_refused(path, value):
    with pytest.raises(VerificationFailed) as caught:
        read_trusted_root(changed(path, value))
    assert caught.value.check == "root.form"
    assert caught.value.cause
    assert caught.value.remedy


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"7", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_root(data):
    with pytest.raises(VerificationFailed, match=r"root\.form"):
        read_trusted_root(data)


def test_budgets_on_size_and_depth():
    with pytest.raises(OutOfBudget, match=r"root\.form"):
        read_trusted_root(b" " * (MAX_ROOT + 1))
    with pytest.raises(VerificationFailed, match="nested"):
        read_trusted_root(changed(("new",), json.loads("[" * 70 + "]" * 70)))


def test_a_timestamp_authority_without_root_vouches_for_nothing():
    alone = replace(roots(), timestamps=(TimestampAuthority(roots().timestamps[0].chain[:1], Window(NOW)),))
    found = read_trusted_root(write_trusted_root(alone))
    with pytest.raises(VerificationFailed, match=r"time\.timestamp"):
        proof(Forged("dsse2").build(), roots=found)


def test_hosts():
    assert origin_host("https://log.test/path") == "log.test"
    assert origin_host("log.test") == origin_host("") == ""
    assert origin_host("https://[log.test") == "https://[log.test"


def test_no_exchanged_member_lets_a_bundle_in_that_it_kept_out():
    """Whatever one removes from the root, nothing is believed that was not before."""
    made = make("dsse2", log=("other log", "ed25519"))
    document = json.loads(write_trusted_root(roots()))
    bundle = Bundle.from_json(made.bundle)

    def roads(value, road=()):
        yield road
        rows = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for step, inner in rows:
            yield from roads(inner, (*road, step))

    for road in list(roads(document))[1:]:
        for value in (..., None, "", [], {}, 0):
            with pytest.raises(VerificationFailed):
                proof(bundle, roots=read_trusted_root(changed(road, value)))
