"""Which kept records are exceptions for a model, each condition on its own: what verifies them is played."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from weighbridge.claims.records import Record
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, VerificationFailed
from weighbridge.core.evidence import Proven
from weighbridge.core.identity import Identity
from weighbridge.core.tier import Role
from weighbridge.gate import excuses

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MODEL, SHA = Digest("wb1", "a" * 64), Digest.of(b"x")
WHO = Identity(SHA, "owner")
BODY = {
    "rule": "policy.licence",
    "fingerprint": "0" * 32,
    "reason": "bought",
    "expires": "2026-12-01T00:00:00Z",
}


@contextmanager
def read():
    yield "a connection"


REGISTRY = SimpleNamespace(
    project="default",
    records=SimpleNamespace(read=read),
    authority=SimpleNamespace(
        needed=lambda kind, project: 3 if (kind, project) == ("break-glass", "default") else 1
    ),
)
BUNDLE = SimpleNamespace(digest=SHA)
STATEMENT = SimpleNamespace(kind="waiver")


def verify(registry, bundle, role):
    assert (registry, bundle, role) == (REGISTRY, BUNDLE, Role.WAIVE)
    return Proven(WHO, SHA, "type", 1, NOW, None)


def record(kind, **changes):
    return Record(
        **(
            {"kind": kind, "about": (MODEL,), "project": "default", "actor": "x", "at": NOW, "body": BODY}
            | changes
        )
    )


@pytest.fixture
def noted(monkeypatch):
    """Note one record; returns the waivers and the break-glass."""
    proposal = SimpleNamespace(state="done", identities=(WHO, WHO), logged_at=NOW)
    monkeypatch.setattr(excuses.approvals, "stands", lambda connection, authority, row, bundle: True)
    monkeypatch.setattr(excuses.approvals, "find", lambda registry, text: proposal)

    def note(row, *, kind=None, by=verify):
        monkeypatch.setattr(excuses, "kind_of", lambda statement: kind or (row.kind if row else "waiver"))
        monkeypatch.setattr(excuses, "read_event", lambda statement: row)
        found = excuses.Excuses(REGISTRY, MODEL, by)
        found.note(BUNDLE, STATEMENT)
        return found.waivers, found.break_glass

    return note


def test_a_verified_waiver_is_one(noted):
    [waiver], glass = noted(record("waiver"))
    assert (waiver.rule, waiver.manifest, waiver.signer, waiver.reason) == (
        "policy.licence",
        MODEL,
        WHO,
        "bought",
    )
    assert (waiver.fingerprint, waiver.bundle, waiver.expires.day, glass) == ("0" * 32, SHA, 1, [])


def test_approved_break_glass_is_one(noted):
    waivers, [glass] = noted(record("break-glass"))
    assert (glass.manifest, glass.project, glass.reason, glass.bundle) == (MODEL, "default", "bought", SHA)
    assert (glass.signers, glass.since, glass.needed, waivers) == ((WHO, WHO), NOW, 3, [])


@pytest.mark.parametrize("kind", ["waiver", "break-glass"])
@pytest.mark.parametrize(
    "changes", [{"about": (Digest("wb1", "b" * 64),)}, {"project": "another"}, {"project": "*"}]
)
def test_what_is_bound_to_something_else_is_none(noted, kind, changes):
    assert noted(record(kind, **changes)) == ([], [])


def test_no_record_is_no_exception(noted):
    assert noted(None) == ([], [])


def test_another_kind_of_record_is_not_even_verified(noted):
    assert noted(record("deployment"), by=lambda *words: pytest.fail("it was asked")) == ([], [])


def test_who_may_not_waive_makes_no_exception(noted):
    def refuse(registry, bundle, role):
        raise VerificationFailed("a stranger")

    for kind in ("waiver", "break-glass"):
        assert noted(record(kind), by=refuse) == ([], [])


def test_a_waiver_that_waits_for_approval_is_none_yet(noted, monkeypatch):
    asked = []

    def stands(connection, authority, row, bundle):
        asked.append((connection, authority, bundle))
        return False

    monkeypatch.setattr(excuses.approvals, "stands", stands)
    assert noted(record("waiver")) == ([], [])
    assert asked == [("a connection", REGISTRY.authority, BUNDLE)]


@pytest.mark.parametrize("state", ["waiting", "dead"])
def test_break_glass_that_did_not_take_effect_is_none(noted, monkeypatch, state):
    proposal = SimpleNamespace(state=state, identities=(WHO, WHO), logged_at=NOW - timedelta(hours=1))
    monkeypatch.setattr(excuses.approvals, "find", lambda registry, text: proposal)
    assert noted(record("break-glass")) == ([], [])


def test_break_glass_that_nobody_proposed_is_none(noted, monkeypatch):
    def none(registry, text):
        assert text == str(SHA)
        raise NotFound("there is none")

    monkeypatch.setattr(excuses.approvals, "find", none)
    assert noted(record("break-glass")) == ([], [])
