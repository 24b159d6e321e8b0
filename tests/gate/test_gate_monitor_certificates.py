"""A monitor on logs of certificates and of keyless signatures: what a stolen authority key mints is seen."""

from datetime import UTC, datetime, timedelta

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.statement import Statement, subject_of
from weighbridge.gate.monitor import Monitor
from weighbridge.gate.monitor_entries import Announced, Watch, announced_by
from weighbridge.keys.files import generate
from weighbridge.ledger.following import FolderSource, LogReader
from weighbridge.ledger.sequencer import Log
from weighbridge.trust.bundle import Bundle, log_body
from weighbridge.trust.ca import CertificateService
from weighbridge.trust.ctlog import CertificateLog
from weighbridge.trust.expect import ExpectedIdentity, ExpectedKey
from weighbridge.trust.minting import make_intermediate, make_root
from weighbridge.trust.pattern import Pattern
from weighbridge.trust.seal import sign_statement
from weighbridge.trust.tokens import Token

NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
ORIGIN = "weighbridge.test.ct - 8"
ISSUER = "https://issuer.example"


class Counting:
    def __init__(self):
        self.drawn = 1 << 64

    def token(self, size):
        self.drawn += 1
        return self.drawn.to_bytes(size, "big")


class Town:
    """A certificate authority with its log, and a monitor that watches one trainer."""

    def __init__(self, folder):
        self.folder, self.entropy = folder, Counting()
        self.root, self.ca_key, self.ct_key = generate("ecdsa-p384"), generate(), generate()
        top = make_root(self.root, name="test", now=NOW, entropy=self.entropy)
        below = make_intermediate(
            self.root, top, self.ca_key.public_pem, name="test", now=NOW, entropy=self.entropy
        )
        self.ct = CertificateLog.create(folder / "ct", ORIGIN, self.ct_key, now=NOW, authorities=(below, top))
        self.ca = CertificateService(self.ca_key, (below, top), ct=self.ct, entropy=self.entropy)
        self.top = top
        keys = (self.root.key_id, self.ca_key.key_id)
        self.watch = Watch(
            (ExpectedIdentity("trainer@example.org", ISSUER),), certificates=True, issuers=frozenset(keys)
        )
        self.announced = Announced()

    def issue(self, subject="trainer@example.org", issuer=ISSUER):
        key = generate()
        token = Token(
            issuer=issuer,
            subject=subject,
            kind="email",
            expires=NOW + timedelta(minutes=5),
            challenges=(subject,),
            claims={},
        )
        issued = self.ca.issue(token, key.public_pem.encode(), key.sign(subject.encode()), NOW)
        return key, issued

    def look(self):
        reader = LogReader(FolderSource(self.folder / "ct"), origin=ORIGIN, public_pem=self.ct.public_pem)
        monitor = Monitor(self.folder / "home", reader, self.ct.public_pem, self.watch)
        with monitor.holding():
            step = monitor.step(lambda: self.announced, NOW)
            monitor.keep()
        return [(alert.kind, alert.index) for alert in step.alerts]


@pytest.fixture
def town(tmp_path):
    return Town(tmp_path)


def signed(key, issued):
    statement = Statement((subject_of(Digest("wb1", "ab" * 32)),), "https://weighbridge.dev/test/v1", {})
    return Bundle(sign_statement(statement, key), certificates=(issued.leaf,))


def test_a_certificate_for_a_watched_name_that_nobody_announced_is_told(town):
    """Whoever stole the authority's key, or a token, gets a certificate; the log has it before it can be used."""
    assert town.look() == []
    key, issued = town.issue()
    town.announced = announced_by(signed(key, issued))
    assert town.look() == []
    town.issue()
    town.issue("somebody@example.org")
    town.issue(issuer="https://other.example")
    assert town.look() == [("certificate.unannounced", 3)]


def test_patterns_watch_many(town):
    town.watch = Watch((ExpectedIdentity(Pattern(".*@example[.]org")),), certificates=True)
    for subject in ("a@example.org", "b@example.org.evil", "c@example.org"):
        town.issue(subject)
    assert town.look() == [("certificate.unannounced", 2), ("certificate.unannounced", 4)]


def test_an_authority_that_nobody_announced_is_told(town):
    """Whoever stole the offline root makes an intermediate of their own, and certifies with it."""
    rogue = generate()
    chain = make_intermediate(
        town.root, town.top, rogue.public_pem, name="test", now=NOW, entropy=town.entropy
    )
    town.ct.add_authority(chain, NOW)
    town.ca = CertificateService(rogue, (chain, town.top), ct=town.ct, entropy=town.entropy)
    town.issue("somebody@example.org")
    assert town.look() == [("certificate.authority", 2), ("certificate.authority", 3)]


def test_entries_that_are_no_certificates_are_told(town):
    town.ct.log.append([b"junk"], signer=town.ct_key, now=NOW)
    assert town.look() == [("entry.unreadable", 2)]


def test_what_a_certificate_signed_in_a_log_of_signatures(town):
    """The same name in the other log: by the certificate in the entry."""
    from weighbridge.trust.authority_services import pem_of_certificate

    signer = generate()
    log = Log.create(
        town.folder / "signing",
        "weighbridge.test - 9",
        signer,
        now=NOW,
        genesis=[b'{"kind":"weighbridge.genesis/1","n":%d}' % number for number in (1, 2)],
    )
    key, issued = town.issue()
    made = signed(key, issued)
    for bundle in (made, signed(*town.issue("x@example.org"))):
        body = log_body(bundle.envelope, pem_of_certificate(bundle.certificates[0]))
        log.append([body], signer=signer, now=NOW)
    town.watch = Watch((ExpectedIdentity("trainer@example.org"),))
    reader = LogReader(
        FolderSource(town.folder / "signing"), origin="weighbridge.test - 9", public_pem=log.public_pem
    )
    monitor = Monitor(town.folder / "home", reader, log.public_pem, town.watch)
    with monitor.holding():
        (alert,) = monitor.step(Announced, NOW).alerts
        assert (alert.kind, alert.index) == ("entry.unannounced", 2)
        assert alert.details["signer"] == "trainer@example.org (https://issuer.example)"
        assert monitor.step(lambda: announced_by(made), NOW).alerts == ()


def test_a_watched_key_is_seen_inside_any_certificate(town):
    from weighbridge.gate.monitor_entries import suspicions
    from weighbridge.trust.authority_services import pem_of_certificate

    key, issued = town.issue("mallory@example.org")
    bundle = signed(key, issued)
    watch = Watch((ExpectedKey(key.key_id),))
    body = log_body(bundle.envelope, pem_of_certificate(issued.leaf))
    assert [row.alert.kind for row in suspicions(5, body, watch, Announced())] == ["entry.unannounced"]
