"""The log of certificates: what stands in it, and that everybody can check it."""

import struct
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trust_services import CT_ORIGIN, ISSUER, NOW, authority_chain, bench, service_key, token

from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused, RegistryUnusable, UsageError
from weighbridge.keys.files import generate
from weighbridge.keys.public import der_of_pem
from weighbridge.ledger.checkpoint import verify_checkpoint
from weighbridge.ledger.merkle import leaf_hash, verify_consistency, verify_inclusion
from weighbridge.ledger.sequencer import Log
from weighbridge.trust import der
from weighbridge.trust.ctlog import CertificateLog, certificate_entries, read_entry, sct_list


@pytest.fixture
def made(tmp_path):
    return bench(tmp_path)


def issue(made, subject="trainer@example.org", kind="email", now=NOW):
    key = generate()
    who = token(subject, kind, expires=now)
    issued = made.ca.issue(who, key.public_pem.encode(), key.sign(subject.encode()), now)
    return key, issued


def test_it_begins_with_the_authorities(made):
    first, second = made.ct.entries()
    own, root = authority_chain()
    assert [row.kind for row in (first, second)] == ["authority", "authority"]
    assert {row.issuer_key for row in (first, second)} == {None}
    assert first.key == service_key("ca").key_id
    assert second.key == service_key("ca-root", "ecdsa-p384").key_id
    assert first.subject == "CN=weighbridge.test intermediate,O=weighbridge.test"
    assert first.issuer == second.subject == second.issuer
    assert len(second.certificate) == pytest.approx(len(root), abs=8)
    assert first.logged_at == NOW
    assert own


@pytest.mark.parametrize(
    ("subject", "kind"),
    [
        ("trainer@example.org", "email"),
        ("https://ci.example/job", "uri"),
        ("maria!example.org", "other-name"),
    ],
)
def test_a_monitor_reads_who_was_certified(subject, kind, made):
    later = NOW + timedelta(days=1)
    key, _ = issue(made, subject, kind, later)
    row = list(made.ct.entries(2))[0]  # noqa: RUF015 (a list, so that there is one)
    assert (row.index, row.kind) == (2, "leaf")
    assert (row.subject, row.subject_kind, row.issuer) == (subject, kind, ISSUER)
    assert row.key == key.key_id
    assert row.issuer_key == service_key("ca").key_id
    assert (row.logged_at, row.begins, row.ends) == (later, later, later + timedelta(minutes=10))


def test_reading_needs_no_key(made, tmp_path):
    issue(made)
    log = Log.open(tmp_path / "ct", made.ct.public_pem)
    assert [row.kind for row in certificate_entries(log)] == ["authority", "authority", "leaf"]


def test_its_proofs_are_those_of_any_log(made):
    for _ in range(5):
        issue(made)
    old = made.ct.log.size
    old_root = made.ct.log.root
    for _ in range(3):
        issue(made)
    log = made.ct.log
    head = verify_checkpoint(log.checkpoint_text, origin=CT_ORIGIN, public_pem=made.ct.public_pem)
    for entry in log.entries():
        assert verify_inclusion(
            leaf_hash(entry.body), entry.index, head.size, log.prove(entry.index), head.root
        )
    assert verify_consistency(old, head.size, log.consistency(old), old_root=old_root, new_root=head.root)
    assert log.verify_all() == old + 3


def test_a_certificate_that_was_never_logged_is_missed(made):
    """Whoever steals the authority's key must still ask the log, or make certificates that have no timestamp."""
    issue(made)
    thief = CertificateLog(made.ct.log, service_key("ct"))
    seen = {row.serial for row in made.ct.entries()}
    key_hash = bytes.fromhex(service_key("ca").key_id.hex)
    stolen = made.ct.log.entry(2).body
    assert stolen[12:44] == key_hash
    tbs = stolen[47:-2]
    thief.add(tbs, service_key("ca").public_pem, NOW)
    rows = list(made.ct.entries())
    assert len(rows) == 4
    assert rows[3].serial in seen  # the same certificate twice: a monitor sees both
    assert rows[3].certificate == rows[2].certificate == tbs


def test_a_new_intermediate_is_logged(made):
    chain = authority_chain(NOW + timedelta(days=30), issuing="ca next")
    index = made.ct.add_authority(chain[0], NOW + timedelta(days=30))
    row = list(made.ct.entries())[index]
    assert (row.kind, row.key) == ("authority", service_key("ca next").key_id)


def test_opened_again_it_goes_on(made, tmp_path):
    issue(made)
    again = CertificateLog.open(tmp_path / "ct", service_key("ct"))
    assert again.log_id == made.ct.log_id == Digest.of(der_of_pem(service_key("ct").public_pem))
    again.add(made.ct.log.entry(2).body[47:-2], service_key("ca").public_pem, NOW)
    assert len(list(made.ct.entries())) == 4


@pytest.mark.parametrize("tbs", [b"", b"0\x00", b"junk", authority_chain()[0]])
def test_what_a_monitor_could_not_read_is_not_logged(tbs, made):
    with pytest.raises(Refused) as caught:
        made.ct.add(tbs, service_key("ca").public_pem, NOW)
    assert caught.value.check == "ct.entry"
    assert made.ct.log.size == 2


def test_it_signs_with_p256_only(made):
    with pytest.raises(UsageError):
        CertificateLog(made.ct.log, service_key("ct ed", "ed25519"))


def test_what_is_too_long_is_not_logged(made):
    with pytest.raises(UsageError) as caught:
        made.ct.add(b"x" * 65_500, service_key("ca").public_pem, NOW)
    assert caught.value.check == "ct.entry"
    assert made.ct.log.size == 2


@given(data=st.binary(max_size=120))
def test_other_entries_are_refused(data):
    with pytest.raises(RegistryUnusable) as caught:
        read_entry(0, data)
    assert caught.value.check == "ct.entry"


OWN = authority_chain()[0]
AUTHORITY = struct.pack("!BBQH", 0, 0, 1_790_000_000_000, 0) + len(OWN).to_bytes(3, "big") + OWN + b"\0\0"


@given(at=st.integers(0, 2000), change=st.integers(1, 255))
def test_a_damaged_entry_is_refused_or_reads_otherwise(at, change):
    body = bytearray(AUTHORITY)
    body[at % len(body)] ^= change
    try:
        found = read_entry(0, bytes(body))
    except RegistryUnusable as refused:
        found = refused
    assert found != read_entry(0, AUTHORITY)


def test_a_list_of_timestamps_has_its_lengths():
    assert sct_list(b"abc") == der.octets(b"\x00\x05\x00\x03abc")
    assert sct_list(b"a", b"bc") == der.octets(b"\x00\x07\x00\x01a\x00\x02bc")
