"""Signing with a token: what comes out, that it verifies, and that keys rotate without breaking what was signed."""

from dataclasses import replace
from datetime import timedelta

import pytest
from trust_services import (
    DEVELOPER,
    NOW,
    Counting,
    authority_chain,
    bench,
    development,
    service_key,
    services,
    timestamp_chain,
)

from weighbridge.core.digest import Digest
from weighbridge.core.errors import UsageError, VerificationFailed
from weighbridge.core.statement import PAYLOAD_TYPE, Statement, subject_of
from weighbridge.ledger.sequencer import Log
from weighbridge.trust.artifact import Artifact
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.ca import CertificateService
from weighbridge.trust.ctlog import CertificateLog
from weighbridge.trust.demand import Demand
from weighbridge.trust.dsse import Envelope
from weighbridge.trust.issuers import DEVELOPMENT_ISSUER
from weighbridge.trust.keyless import retire, sign_keyless
from weighbridge.trust.prove import prove
from weighbridge.trust.roots import Roots
from weighbridge.trust.trusted_root import read_trusted_root, write_trusted_root
from weighbridge.trust.tsa import TimestampService

STATEMENT = Statement((subject_of(Digest("wb1", "ab" * 32)),), "https://weighbridge.dev/test/v1", {"a": 1})
ALL = Demand(logs=1, timestamps=1, scts=1, times=2)
FORMS = [
    ("weighbridge.test - 7", "ecdsa-p256"),
    ("weighbridge.test", "ed25519"),
    ("weighbridge.test", "ecdsa-p256"),
]
LATER = NOW + timedelta(hours=1)


def token(now=NOW, subject=DEVELOPER):
    return development().token(subject, now)


def proven(bundle, roots, now=NOW, **known):
    return prove(bundle, roots=roots, demand=known.pop("demand", ALL), now=now, **known)


@pytest.mark.parametrize(("origin", "algorithm"), FORMS)
def test_a_statement_comes_back_proven(origin, algorithm, tmp_path):
    made = services(tmp_path, origin=origin, algorithm=algorithm, log=f"log {algorithm}")
    bundle = sign_keyless(STATEMENT, token(), made, NOW)
    again = Bundle.from_json(bundle.to_json())
    assert again == bundle
    demand = ALL if " - " in origin else replace(ALL, times=1)
    found = proven(again, made.roots(), demand=demand)
    assert found.payload == STATEMENT.encode()
    assert found.payload_type == PAYLOAD_TYPE
    assert (found.signer.issuer, found.signer.subject) == (DEVELOPMENT_ISSUER, DEVELOPER)
    assert found.signer.subject_kind == "email"
    assert found.scts == (bytes.fromhex(made.ct.log_id.hex),)
    assert {time.moment for time in found.times} == {NOW}
    assert {time.source for time in found.times} == (
        {"log", "timestamp"} if " - " in origin else {"timestamp"}
    )


@pytest.mark.parametrize(("origin", "algorithm"), FORMS)
def test_a_file_is_signed_bare(origin, algorithm, tmp_path):
    made = services(tmp_path, origin=origin, algorithm=algorithm, log=f"log {algorithm}")
    file = Artifact.of(b"weights")
    bundle = Bundle.from_json(sign_keyless(file, token(), made, NOW).to_json())
    demand = replace(ALL, times=1)
    assert proven(bundle, made.roots(), artifact=file, demand=demand).digest == Digest.of(b"weights")
    with pytest.raises(VerificationFailed):
        proven(bundle, made.roots(), artifact=Artifact.of(b"other weights"), demand=demand)


def test_other_payloads_keep_their_type(tmp_path):
    made = services(tmp_path)
    bundle = sign_keyless(Envelope("application/x", b"anything", ()), token(), made, NOW)
    assert proven(bundle, made.roots(), payload_type="application/x").payload == b"anything"
    with pytest.raises(VerificationFailed):
        proven(bundle, made.roots())


def test_a_file_must_be_there(tmp_path):
    made = services(tmp_path)
    size = made.log.size
    with pytest.raises(UsageError):
        sign_keyless(Artifact((Digest.of(b"x"),)), token(), made, NOW)
    assert made.log.size == size


def test_each_signature_has_a_key_of_its_own(tmp_path):
    made = services(tmp_path)
    first, second = (sign_keyless(STATEMENT, token(), made, NOW) for _ in range(2))
    keys = {proven(bundle, made.roots()).signer.key for bundle in (first, second)}
    assert len(keys) == 2
    assert [entry.key in keys for entry in made.ct.entries()] == [False, False, True, True]


@pytest.mark.parametrize("wrong", ["", "x.y.z", "expired", "stranger"])
def test_without_a_good_token_nothing_is_issued(wrong, tmp_path):
    made = services(tmp_path)
    sizes = made.log.size, made.ct.log.size
    jwt = {"expired": token(NOW - timedelta(hours=2)), "stranger": token().replace(".", ".A", 1)}.get(
        wrong, wrong
    )
    with pytest.raises(VerificationFailed):
        sign_keyless(STATEMENT, jwt, made, NOW)
    assert (made.log.size, made.ct.log.size) == sizes


def test_nothing_that_does_not_verify_leaves(tmp_path, monkeypatch):
    """A timestamp of something else: the bundle is not handed out."""
    made = services(tmp_path)
    stamp = made.tsa.stamp
    monkeypatch.setattr(made.tsa, "stamp", lambda digest, now: stamp(Digest.of(b"else"), now))
    with pytest.raises(VerificationFailed) as caught:
        sign_keyless(STATEMENT, token(), made, NOW)
    assert caught.value.check == "time.timestamp"


def test_windows_begin_five_minutes_early(tmp_path):
    roots = services(tmp_path).roots()
    rows = (*roots.logs, *roots.authorities, *roots.ctlogs, *roots.timestamps)
    assert len(rows) == 4
    assert {row.window.start for row in rows} == {NOW - timedelta(minutes=5)}
    assert {row.window.end for row in rows} == {None}


def rotated(made, folder, part, at):
    """The services after one of their keys was exchanged at `at`."""
    retired = retire(made.roots(), part, at)
    if part == "logs":
        key = service_key("log 2")
        log = Log.create(folder / "log2", "weighbridge.test - 9", key, now=at, genesis=[b"one", b"two"])
        return replace(made, log=log, log_signer=key, retired=retired)
    if part == "timestamps":
        chain = timestamp_chain(at, stamping="tsa 2", entropy=Counting(30))
        return replace(
            made, tsa=TimestampService(service_key("tsa 2"), chain, entropy=Counting(31)), retired=retired
        )
    chain = authority_chain(at, issuing="ca 2", root="ca-root 2", entropy=Counting(32))
    if part == "authorities":
        for row in chain:
            made.ct.add_authority(row, at)
        ca = CertificateService(service_key("ca 2"), chain, ct=made.ct, entropy=Counting(33))
        return replace(made, ca=ca, retired=retired)
    ct = CertificateLog.create(
        folder / "ct2", "weighbridge.test.ct - 10", service_key("ct 2"), now=at, authorities=made.ca.chain
    )
    ca = CertificateService(service_key("ca"), made.ca.chain, ct=ct, entropy=Counting(34))
    return replace(made, ca=ca, retired=retired)


@pytest.mark.parametrize("part", ["logs", "authorities", "ctlogs", "timestamps"])
def test_a_key_is_exchanged_and_old_bundles_stay_good(part, tmp_path):
    made = services(tmp_path)
    old = sign_keyless(STATEMENT, token(), made, NOW)
    at_last = sign_keyless(STATEMENT, token(LATER), made, LATER)
    after = rotated(made, tmp_path, part, LATER)
    late = LATER + timedelta(days=1)
    new = sign_keyless(STATEMENT, token(late), after, late)
    roots = read_trusted_root(write_trusted_root(after.roots()))
    assert len(getattr(roots, part)) == 2
    for bundle in (old, at_last, new):
        assert proven(bundle, roots, late).payload == STATEMENT.encode()
    with pytest.raises(VerificationFailed):  # who has not heard of the new key does not believe it
        proven(new, made.roots(), late)
    forged = sign_keyless(STATEMENT, token(late), made, late)  # by whoever kept the old key
    with pytest.raises(VerificationFailed):
        proven(forged, roots, late)


def test_two_exchanges_in_a_row(tmp_path):
    made = services(tmp_path)
    old = sign_keyless(STATEMENT, token(), made, NOW)
    after = rotated(made, tmp_path, "timestamps", LATER)
    after = rotated(after, tmp_path, "logs", LATER + timedelta(hours=1))
    roots = after.roots()
    assert [len(row) for row in (roots.logs, roots.authorities, roots.ctlogs, roots.timestamps)] == [
        2,
        1,
        1,
        2,
    ]
    assert proven(old, roots, LATER + timedelta(days=1))


def test_leaves_of_the_last_moment_end_in_peace_unless_the_key_was_stolen(tmp_path):
    roots = services(tmp_path).roots()
    end = [
        retire(roots, "authorities", LATER, compromised=stolen).authorities[0].window.end
        for stolen in (False, True)
    ]
    assert end == [LATER + timedelta(minutes=10), LATER]
    assert retire(roots, "authorities", LATER).logs == ()


def test_what_was_retired_keeps_its_end(tmp_path):
    roots = services(tmp_path).roots()
    once = retire(roots, "logs", LATER)
    again = retire(Roots(logs=(*once.logs, *roots.logs)), "logs", LATER + timedelta(hours=1))
    assert [row.window.end for row in again.logs] == [LATER, LATER + timedelta(hours=1)]


def test_nothing_ends_before_it_began(tmp_path):
    with pytest.raises(UsageError):
        retire(services(tmp_path).roots(), "logs", NOW - timedelta(hours=1))


def test_a_bench_is_one_of_these_services(tmp_path):
    assert services(tmp_path / "a").ct.log.size == bench(tmp_path / "b").ct.log.size == 2
