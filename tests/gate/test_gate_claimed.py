"""From a bundle to a fact, each step on its own: what verifies a signature is played."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from weighbridge.core.decision import Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.evidence import Proven
from weighbridge.core.identity import Identity
from weighbridge.core.tier import Role, Stage
from weighbridge.gate import claimed

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MODEL, PARENT, SHA = Digest("wb1", "a" * 64), Digest("wb1", "b" * 64), Digest.of(b"x")
WHO, STRANGER = Identity(SHA, "trainer"), Identity(Digest.of(b"stranger"))
BUNDLE = SimpleNamespace(digest=SHA, envelope=SimpleNamespace(payload="payload"))


@pytest.fixture
def made(monkeypatch):
    """Make the fact of a bundle of a stage; `asked` holds what the steps were given."""
    asked = []
    statement = SimpleNamespace(identities=(MODEL,), predicate={"components": []})
    monkeypatch.setattr(claimed, "Statement", SimpleNamespace(decode=lambda payload: statement))
    monkeypatch.setattr(claimed, "who_signed", lambda bundle, authority: STRANGER)

    def verify(bundle, **named):
        asked.append(("verify", bundle, named["authority"], named["project"], named["role"], named["now"]))
        return SimpleNamespace(proven=Proven(WHO, SHA, "type", 1, NOW, None))

    monkeypatch.setattr(claimed, "verify_bundle", verify)
    for name in ("check_signer", "check_scan", "check_bom"):
        monkeypatch.setattr(claimed, name, lambda *words, name=name: asked.append((name, *words)))

    def make(stage, role=Role.TRAIN, detail=None, **options):
        parents = (SimpleNamespace(digest=PARENT),)
        claim = SimpleNamespace(stage=stage, about=(MODEL,), parents=parents, detail=detail or {"steps": 1})
        monkeypatch.setattr(claimed, "stage_of", lambda said: stage)
        monkeypatch.setattr(claimed, "role_of", lambda said: role)
        monkeypatch.setattr(claimed, "read_claim", lambda said: claim)
        return claimed.fact_of(BUNDLE, authority="the authority", project="default", now=NOW, **options)

    return make, asked


def test_a_verified_claim_passes_with_its_proof(made):
    make, asked = made
    fact = make(Stage.TRAIN, distrusts=["d"])
    assert (fact.outcome, fact.about, fact.signer, fact.parents) == (Outcome.PASS, (MODEL,), WHO, (PARENT,))
    assert (fact.verified, fact.detail, fact.bundle) == (True, {"steps": 1}, SHA)
    assert [words[0] for words in asked] == ["verify", "check_signer"]
    assert asked[0][1:] == (BUNDLE, "the authority", "default", Role.TRAIN, NOW)
    assert asked[1][1] == ["d"]


@pytest.mark.parametrize(("stage", "role"), [(None, Role.TRAIN), (Stage.TRAIN, None)])
def test_what_is_no_claim_of_ours_makes_no_fact(made, stage, role):
    make, asked = made
    assert make(stage, role) is None
    assert asked == []


def test_the_bundle_is_verified_as_it_is_shown(made):
    make, asked = made
    make(Stage.TRAIN, shown=lambda bundle: "cosigned")
    assert asked[0][1] == "cosigned"


@pytest.mark.parametrize("step", ["verify_bundle", "check_signer", "read_claim"])
@pytest.mark.parametrize(("cause", "reason"), [("", "no"), ("because", "no: because")])
def test_a_refused_claim_says_who_signed_it_and_why_it_is_not_believed(
    made, monkeypatch, step, cause, reason
):
    make, _ = made

    def refuse(*words, **named):
        raise VerificationFailed("no", cause=cause, check="some.check")

    if step == "read_claim":
        monkeypatch.setattr(claimed, "_detail", refuse)
    else:
        monkeypatch.setattr(claimed, step, refuse)
    fact = make(Stage.TRAIN)
    assert (fact.outcome, fact.reason, fact.check, fact.signer) == (
        Outcome.FAIL,
        reason,
        "some.check",
        STRANGER,
    )
    assert (fact.proof, fact.parents, fact.detail, fact.about) == (None, (), {}, (MODEL,))


def test_only_a_scan_is_held_against_distrusted_rules(made):
    make, asked = made
    make(Stage.SCAN, detail={"ruleset": "r"}, distrusts=["d"])
    assert asked[-1] == ("check_scan", ["d"], "r", NOW)
    asked.clear()
    make(Stage.TRAIN)
    assert "check_scan" not in [words[0] for words in asked]


def test_a_bill_of_materials_is_held_against_the_manifest(made):
    make, asked = made
    fact = make(Stage.BOM, manifest="the manifest")
    assert asked[-1] == ("check_bom", {"components": []}, "the manifest")
    assert fact.detail == {"steps": 1, "bound": True}
    assert "bound" not in make(Stage.BOM).detail
    assert "bound" not in make(Stage.TRAIN, manifest="the manifest").detail


def test_a_bill_of_materials_of_other_files_is_refused(made, monkeypatch):
    make, _ = made

    def refuse(*words):
        raise VerificationFailed("it lists other files")

    monkeypatch.setattr(claimed, "check_bom", refuse)
    assert make(Stage.BOM, manifest="the manifest").outcome is Outcome.FAIL
