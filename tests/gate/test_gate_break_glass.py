"""What is asked before glass is broken, each condition on its own; the registry is played."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, Refused, UsageError
from weighbridge.core.identity import Identity
from weighbridge.core.tier import Role
from weighbridge.gate import break_glass as glass
from weighbridge.gate.break_glass import Asked, break_glass

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MODEL, SHA = Digest("wb1", "a" * 64), Digest.of(b"x")
WHO = Identity(SHA, "owner")


def proposal(*identities, needed=2):
    return SimpleNamespace(bundle=SHA, identities=identities, needed=needed, state="waiting")


@pytest.fixture
def ask(monkeypatch):
    """Ask for break-glass; returns what came of it. `steps` are what was done, in order."""
    steps = []

    @contextmanager
    def writing():
        steps.append("writing")
        yield

    registry = SimpleNamespace(
        clock=SimpleNamespace(now=lambda: NOW),
        writing=writing,
        event_facts=lambda: {"project": "default", "actor": "x", "at": NOW},
    )
    draft = SimpleNamespace(envelope=SimpleNamespace(digest=SHA))

    def sign(statement, signer):
        steps.append(dict(statement.predicate["body"]))
        return draft

    monkeypatch.setattr(
        glass.authorities, "require", lambda registry, signer, role: steps.append((signer, role))
    )
    monkeypatch.setattr(glass.models, "get", lambda registry, digest: steps.append(digest))
    monkeypatch.setattr(glass, "sign", sign)
    monkeypatch.setattr(glass, "submit", lambda registry, made: steps.append(made))
    monkeypatch.setattr(glass.approvals, "find", lambda registry, text: proposal(WHO))

    def asked(**changes):
        words = {"reason": "an outage", "hours": 4, "signer": "a key"} | changes
        return break_glass(registry, MODEL, **words)

    return asked, steps, draft


def test_it_is_signed_logged_and_waits(ask):
    asked, steps, draft = ask
    found = asked()
    body = {"reason": "an outage", "expires": "2026-11-22T16:00:00Z"}
    assert steps == [("a key", Role.WAIVE), "writing", MODEL, body, draft]
    assert found == Asked(found.proposal, MODEL, "an outage", NOW + timedelta(hours=4))
    assert found.to_json() == {
        "id": str(SHA), "manifest": str(MODEL), "reason": "an outage", "expires": "2026-11-22T16:00:00Z",
        "state": "waiting", "signers": [WHO.to_json()], "needed": 2,
    }  # fmt: skip


@pytest.mark.parametrize("hours", [1, 72])
@pytest.mark.parametrize("reason", ["x", "x" * 1000])
def test_the_least_and_the_most(ask, hours, reason):
    assert ask[0](hours=hours, reason=reason).expires == NOW + timedelta(hours=hours)


@pytest.mark.parametrize("changes", [{"hours": 0}, {"hours": 73}, {"reason": " "}, {"reason": "x" * 1001}])
def test_what_is_asked_for_wrongly_does_nothing(ask, changes):
    asked, steps, _ = ask
    with pytest.raises(UsageError):
        asked(**changes)
    assert steps == []


def test_who_may_not_and_what_is_not_here(ask, monkeypatch):
    asked, steps, _ = ask

    def no(error):
        def refuse(*words):
            raise error

        return refuse

    monkeypatch.setattr(glass.models, "get", no(NotFound("not here")))
    with pytest.raises(NotFound):
        asked()
    monkeypatch.setattr(glass.authorities, "require", no(Refused("not you")))
    with pytest.raises(Refused):
        asked()
    assert [step for step in steps if isinstance(step, dict)] == []


@pytest.mark.parametrize(
    ("there", "needed", "missing"), [(1, 2, 1), (1, 3, 2), (2, 2, 0), (3, 2, 0), (0, 2, 2)]
)
def test_how_many_are_missing(there, needed, missing):
    assert Asked(proposal(*[WHO] * there, needed=needed), MODEL, "so", NOW).missing == missing
