"""One attack for each condition of the floor; docs/reference/floor.md names these tests."""

import re
from dataclasses import replace
from pathlib import Path

import good_evidence as g
import pytest
from good_evidence import DAY, NOW, own, third_party

from weighbridge.core.decision import EngineAnswer, Outcome
from weighbridge.core.finding import Verdict
from weighbridge.core.identity import DEVELOPMENT_ISSUER
from weighbridge.core.tier import Mode, Origin, Stage
from weighbridge.policy.floor import FLOOR, FLOOR_IDS, LEAST_STAGES, floor
from weighbridge.policy.judge import judge

DOC = Path(__file__).parents[2] / "docs/reference/floor.md"
YES = EngineAnswer(Outcome.PASS, policy="sha256:00", engine="double/1")


def verdict(evidence, now=NOW):
    """Judge with an engine that allows everything: only the floor can block."""
    return judge(floor(evidence, now), YES, now, mode=Mode.ENFORCE, digests={})


def refusals(evidence, now=NOW):
    decision = verdict(evidence, now)
    assert decision.allow is not bool(decision.refusals)
    return {check.id: check for check in decision.refusals}


def blocked_by(evidence, *names, now=NOW, outcome=Outcome.FAIL):
    """Assert that exactly these checks stand in the way; return the first."""
    found = refusals(evidence, now)
    assert set(found) == set(names)
    assert found[names[0]].outcome is outcome
    assert found[names[0]].found
    return found[names[0]]


def test_nothing_wrong_is_allowed():
    for evidence in (own(), third_party()):
        assert verdict(evidence).allow, refusals(evidence)


def test_from_attested_data_alone_is_allowed():
    train = g.fact(Stage.TRAIN, [g.WEIGHTS], parents=[(g.DATASET, "dataset")])
    evidence = g.with_claims(own(), g.DATA, train, g.EVALUATE, g.PACKAGE, g.BOM)
    assert evidence.ancestry.end == "data"
    assert verdict(evidence).allow, refusals(evidence)
    [check] = [c for c in verdict(evidence).checks if c.id == "origin.accepted"]
    assert check.found == "does not apply: it comes from attested data alone"


def test_a_model_without_weight_files_binds_to_its_manifest():
    train = g.fact(Stage.TRAIN, [g.MODEL], parents=[(g.DATASET, "dataset")])
    package, bom = replace(g.PACKAGE, about=(g.MODEL,)), replace(g.BOM, about=(g.MODEL,))
    evaluate = replace(g.EVALUATE, about=(g.MODEL,))
    evidence = g.evidence_of(g.MODEL, None, [g.DATA, train, evaluate, package, bom])
    assert verdict(evidence).allow, refusals(evidence)


# ------------------------------------------------------------ authority.current


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.CANNOT_TELL])
def test_authority_rolled_back(outcome):
    evidence = own()
    authority = replace(evidence.authority, outcome=outcome, found="version 2 is older than the pinned 3")
    check = blocked_by(replace(evidence, authority=authority), "authority.current", outcome=outcome)
    assert check.found == "version 2 is older than the pinned 3"
    assert check.proof == str(evidence.authority.digest)


def test_authority_expired():
    evidence = own()
    expired = replace(evidence, authority=replace(evidence.authority, expires=NOW))
    assert "2026-11-22T12:00:00Z" in blocked_by(expired, "authority.current").found
    last = replace(evidence, authority=replace(evidence.authority, expires=NOW + DAY / 86400))
    assert verdict(last).allow


# ------------------------------------------------------------ evidence.established


def test_evidence_that_could_not_be_read():
    evidence = replace(own(), problems=("the record 7 cannot be read", "the log did not answer"))
    check = blocked_by(evidence, "evidence.established", outcome=Outcome.CANNOT_TELL)
    assert check.found == "the record 7 cannot be read; the log did not answer"


# ------------------------------------------------------------ signers.vouched


def vouched_for_himself(evidence):
    """The same evidence, its training claimed by somebody whom only the development issuer vouches for."""

    def by_himself(fact):
        if fact.stage is not Stage.TRAIN:
            return fact
        who = replace(fact.signer, issuer=DEVELOPMENT_ISSUER, subject="me@example.com")
        return replace(fact, signer=who, proof=replace(fact.proof, signer=who))

    return replace(evidence, claims=tuple(by_himself(fact) for fact in evidence.claims))


def test_a_signer_who_vouches_for_himself():
    evidence = vouched_for_himself(own())
    check = blocked_by(evidence, "signers.vouched")
    assert "me@example.com" in check.found
    assert check.proof == str(evidence.about_model(Stage.TRAIN)[0].bundle)


def test_in_a_demonstration_the_development_issuer_counts():
    evidence = vouched_for_himself(own())
    shown = replace(evidence, authority=replace(evidence.authority, demonstration=True))
    assert verdict(shown).allow


def test_a_claim_that_is_not_believed_blocks_nothing_by_what_it_says_of_its_signer():
    stranger = vouched_for_himself(own())
    refused = tuple(
        replace(fact, outcome=Outcome.FAIL) for fact in stranger.claims if fact.stage is Stage.TRAIN
    )
    assert verdict(replace(own(), claims=(*own().claims, *refused))).allow


# ------------------------------------------------------------ origin.class


def test_legacy_is_never_promoted():
    check = blocked_by(own(origin=Origin.LEGACY), "origin.class", "stages.needed")
    assert "legacy" in check.found


# ------------------------------------------------------------ bytes.match


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.CANNOT_TELL])
def test_changed_bytes(outcome):
    evidence = own()
    spoiled = replace(evidence, bytes=replace(evidence.bytes, outcome=outcome, found="model.bin differs"))
    check = blocked_by(spoiled, "bytes.match", outcome=outcome)
    assert (check.found, check.proof) == ("model.bin differs", str(g.MODEL))
    assert check.remedy.startswith("take the model in again")


def test_what_passes_needs_no_remedy():
    for check in (*floor(own(), NOW), *floor(third_party(), NOW)):
        assert (check.outcome, check.remedy) == (Outcome.PASS, ""), check


# ------------------------------------------------------------ the scan


def test_no_scan():
    names = ("scan.present", "scan.own", "scan.bound", "scan.complete", "scan.verdict")
    blocked_by(replace(own(), scan=None), *names, outcome=Outcome.CANNOT_TELL)


def test_a_scan_under_distrusted_rules():
    evidence = own()
    missed = replace(evidence, scan=replace(evidence.scan, distrusted="they miss a payload"))
    check = blocked_by(missed, "scan.present", outcome=Outcome.CANNOT_TELL)
    assert check.found == "its scan does not count: they miss a payload"
    assert check.proof == str(evidence.scan.ruleset)


def test_the_scan_of_somebody_else():
    evidence = own()
    check = blocked_by(
        replace(evidence, scan=replace(evidence.scan, by_gate=False, scanner=g.STRANGER)), "scan.own"
    )
    assert "a stranger" in check.found


def test_the_scan_of_another_model():
    evidence = own()
    blocked_by(replace(evidence, scan=replace(evidence.scan, manifest=g.BASE)), "scan.bound")


def test_a_scan_that_stopped_early():
    evidence = own()
    incomplete = replace(evidence, scan=replace(evidence.scan, complete=False))
    blocked_by(incomplete, "scan.complete", outcome=Outcome.CANNOT_TELL)


@pytest.mark.parametrize("bad", [Verdict.DANGEROUS, Verdict.BROKEN, Verdict.UNLISTED])
def test_a_dangerous_model(bad):
    item = g.finding(bad)
    check = blocked_by(g.scanned(own(), item), "scan.verdict")
    assert check.found == f"{bad.value}: model.bin: uses vendor.rebuild [pickle-unlisted]"


def test_an_unread_file_cannot_be_told():
    evidence = g.scanned(own(), g.finding(Verdict.UNREAD))
    blocked_by(evidence, "scan.verdict", outcome=Outcome.CANNOT_TELL)


def test_notes_pass():
    assert verdict(g.scanned(own(), g.finding(Verdict.NOTES))).allow


def test_a_definite_refusal_is_told_before_an_unread_file():
    items = (g.finding(Verdict.UNREAD), g.finding(Verdict.DANGEROUS, rule="pickle-call"))
    check = blocked_by(g.scanned(own(), *items), "scan.verdict")
    assert check.found.startswith("dangerous: ")
    assert check.found.endswith("[pickle-call] (and 1 more)")


@pytest.mark.parametrize("bad", [Verdict.DANGEROUS, Verdict.BROKEN, Verdict.UNLISTED, Verdict.UNREAD])
def test_a_verdict_that_no_finding_explains(bad):
    outcome = Outcome.CANNOT_TELL if bad is Verdict.UNREAD else Outcome.FAIL
    for items in ((), (g.finding(Verdict.NOTES),)):
        blocked_by(g.scanned(own(), *items, verdict=bad), "scan.verdict", outcome=outcome)


def test_a_verdict_better_than_its_findings():
    blocked_by(g.scanned(own(), g.finding(Verdict.DANGEROUS), verdict=Verdict.CLEAN), "scan.verdict")


# ------------------------------------------------------------ waivers


def waived(item=None, **changes):
    item = item or g.finding(Verdict.UNLISTED)
    evidence = g.scanned(own(), item)
    return replace(evidence, waivers=(g.waiver(item, evidence, **changes),))


def test_a_waiver_answers_for_an_unlisted_name():
    decision = verdict(waived())
    assert decision.allow
    assert [c.found for c in decision.checks if c.id == "scan.verdict"] == ["unlisted, 1 finding(s) waived"]


@pytest.mark.parametrize("bad", [Verdict.DANGEROUS, Verdict.BROKEN, Verdict.UNREAD])
def test_a_waiver_answers_for_nothing_else(bad):
    outcome = Outcome.CANNOT_TELL if bad is Verdict.UNREAD else Outcome.FAIL
    blocked_by(waived(g.finding(bad)), "scan.verdict", outcome=outcome)


@pytest.mark.parametrize(
    "changes",
    [
        {"manifest": g.BASE},
        {"rule": "another-rule"},
        {"fingerprint": "0" * 32},
        {"expires": NOW},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_waiver_for_something_else(changes):
    check = blocked_by(waived(**changes), "scan.verdict")
    said = "; the waiver by security ended 2026-11-22T12:00:00Z"
    assert check.found.endswith(said) is ("expires" in changes)


@pytest.mark.parametrize("bad", [Verdict.DANGEROUS, Verdict.BROKEN, Verdict.UNREAD])
def test_an_ended_waiver_is_named_only_where_one_could_have_counted(bad):
    [check] = refusals(waived(g.finding(bad), expires=NOW)).values()
    assert "ended" not in check.found


def test_a_waiver_lasts_until_its_end():
    assert verdict(waived(expires=NOW + DAY / 86400)).allow


def test_each_unlisted_name_needs_its_own_waiver():
    first, second = g.finding(Verdict.UNLISTED), g.finding(Verdict.UNLISTED, subject="vendor.other")
    evidence = g.scanned(own(), first, second)
    half = replace(evidence, waivers=(g.waiver(first, evidence),))
    assert "vendor.other" in blocked_by(half, "scan.verdict").found
    whole = replace(evidence, waivers=(g.waiver(first, evidence), g.waiver(second, evidence)))
    assert verdict(whole).allow


def test_a_waived_name_does_not_cover_an_unread_file():
    first = g.finding(Verdict.UNLISTED)
    evidence = g.scanned(own(), first, g.finding(Verdict.UNREAD, rule="unread"))
    evidence = replace(evidence, waivers=(g.waiver(first, evidence),))
    blocked_by(evidence, "scan.verdict", outcome=Outcome.CANNOT_TELL)


# ------------------------------------------------------------ the bill of materials


def test_no_bom():
    blocked_by(g.without(own(), g.BOM), "bom.signed", "bom.bound")


def test_a_bom_by_a_stranger():
    check = blocked_by(g.swap(own(), g.BOM, g.refused(g.BOM)), "bom.signed", "bom.bound")
    assert check.found.startswith("signed by a stranger (sha256:")
    assert check.found.endswith("and not believed: the authority does not name this key")


def test_a_bom_that_nobody_signed_readably():
    unsigned = replace(g.refused(g.BOM, by=None), reason="there is no signature")
    check = blocked_by(g.swap(own(), g.BOM, unsigned), "bom.signed", "bom.bound")
    assert check.found == "with a signature nobody can read, and not believed: there is no signature"


def test_a_bom_that_could_not_be_judged():
    unsure = g.refused(g.BOM, outcome=Outcome.CANNOT_TELL)
    blocked_by(g.swap(own(), g.BOM, unsure), "bom.signed", "bom.bound", outcome=Outcome.CANNOT_TELL)


def test_a_verified_bom_beside_a_strangers():
    evidence = g.with_claims(own(), g.refused(g.BOM), *g.OWN_CLAIMS)
    assert verdict(evidence).allow


@pytest.mark.parametrize("bound", [False, None, "yes", 1])
def test_a_bom_that_lists_other_files(bound):
    loose = replace(g.BOM, detail={"bound": bound})
    check = blocked_by(g.swap(own(), g.BOM, loose), "bom.bound")
    assert check.found == "it does not list the files of this manifest"


def test_the_bom_of_another_model_with_the_same_weights():
    twin = replace(g.BOM, about=(g.BASE, g.WEIGHTS))
    blocked_by(g.swap(own(), g.BOM, twin), "bom.bound")


def test_the_bound_bom_of_a_stranger_beside_our_loose_one():
    loose = replace(g.BOM, detail={"bound": False})
    forged = replace(g.refused(g.BOM), detail={"bound": True})
    blocked_by(
        g.with_claims(g.swap(own(), g.BOM, loose), *g.OWN_CLAIMS[:4], loose, forged, *g.OWN_CLAIMS[5:]),
        "bom.bound",
    )


# ------------------------------------------------------------ ancestry


def test_the_ancestry_of_another_model():
    blocked_by(
        replace(own(), ancestry=replace(own().ancestry, visited=third_party().ancestry.visited)),
        "ancestry.own",
    )


def test_an_ancestry_that_leaves_out_the_weights():
    ancestry = own().ancestry
    visited = tuple(digest for digest in ancestry.visited if digest != g.WEIGHTS)
    blocked_by(replace(own(), ancestry=replace(ancestry, visited=visited)), "ancestry.own")


def test_a_base_from_nowhere():
    evidence = g.without(own(), g.ORIGIN)
    check = blocked_by(evidence, "ancestry.ends")
    assert (
        check.found
        == f"nobody claims how {g.RECEIVED.short} came to be: no accepted origin, no training claim about its weights"
    )
    assert check.proof == str(g.RECEIVED)


def test_an_end_nobody_knows():
    evidence = replace(own(), ancestry=replace(own().ancestry, end="somewhere", reason=""))
    check = blocked_by(evidence, "ancestry.ends")
    assert (check.found, check.proof) == ("it ends nowhere", "")


def test_a_stranger_trained_it():
    evidence = g.swap(own(), g.TRAIN, g.refused(g.TRAIN))
    names = ("claims.train", "ancestry.ends", "claims.data")
    assert "a stranger" in blocked_by(evidence, *names).found


# ------------------------------------------------------------ origin.accepted


@pytest.mark.parametrize("make", [own, third_party])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"matches_announced": False}, "does not say that the bytes are what the hub announced"),
        ({"matches_announced": "yes"}, "does not say that the bytes are what the hub announced"),
        ({"expires": "2026-11-22T12:00:00Z"}, "ended 2026-11-22T12:00:00Z"),
        ({"expires": "some day"}, "has no readable end"),
        ({"expires": "9999-12-31T23:59:59-23:59"}, "has no readable end"),
        ({"expires": None}, "has no readable end"),
        ({"expires": "2027-01-01T00:00:00"}, "has no readable end"),
    ],
)
def test_an_acceptance_that_does_not_stand(make, changes, words):
    evidence = g.swap(make(), g.ORIGIN, g.origin_fact(g.ORIGIN.about, **changes))
    check = blocked_by(evidence, "origin.accepted")
    assert check.found == f"the acceptance of {g.RECEIVED.short} {words}"


def test_an_acceptance_lasts_until_its_end():
    evidence = g.swap(own(), g.ORIGIN, g.origin_fact(g.ORIGIN.about, expires="2026-11-22T12:00:01Z"))
    assert verdict(evidence).allow


def test_an_ended_acceptance_may_be_renewed():
    ended = g.origin_fact(g.ORIGIN.about, expires="2026-01-01T00:00:00Z")
    evidence = g.with_claims(own(), ended, *g.OWN_CLAIMS)
    assert verdict(evidence).allow


def test_every_origin_must_be_accepted():
    """A merge of two bases, the acceptance of one of which has ended."""
    other, ended = g.wbw("second base"), "2026-01-01T00:00:00Z"
    parents = [(g.DATASET, "dataset"), (g.BASE_WEIGHTS, "merge"), (other, "merge")]
    train = g.fact(Stage.TRAIN, [g.WEIGHTS], parents=parents)
    good = g.with_claims(
        g.swap(own(), g.TRAIN, train),
        *g.swap(own(), g.TRAIN, train).claims,
        g.origin_fact([g.wb("b"), other]),
    )
    assert verdict(good).allow, refusals(good)
    late = g.with_claims(good, *good.claims[:-1], g.origin_fact([g.wb("b"), other], expires=ended))
    assert blocked_by(late, "origin.accepted").found == f"the acceptance of {other.short} ended {ended}"


def test_an_origin_that_nobody_accepted():
    evidence = g.without(third_party(), g.ORIGIN)
    blocked_by(evidence, "origin.accepted", "ancestry.ends", "claims.origin")


def test_an_acceptance_by_a_stranger():
    forged = replace(g.refused(g.ORIGIN), detail=g.ORIGIN.detail)
    evidence = replace(own(), claims=g.swap(own(), g.ORIGIN, forged).claims)
    assert blocked_by(evidence, "origin.accepted").found == f"no verified acceptance of {g.RECEIVED.short}"


def test_the_acceptance_of_something_else():
    other = g.origin_fact([g.wb("another")])
    evidence = replace(own(), claims=g.swap(own(), g.ORIGIN, other).claims)
    blocked_by(evidence, "origin.accepted")


def test_another_claim_is_no_acceptance():
    other = replace(g.ORIGIN, stage=Stage.PACKAGE)
    evidence = replace(own(), claims=g.swap(own(), g.ORIGIN, other).claims)
    blocked_by(evidence, "origin.accepted")


def test_an_accepted_end_without_an_origin():
    evidence = replace(own(), ancestry=replace(own().ancestry, origins=()))
    assert blocked_by(evidence, "origin.accepted").found == "nobody has accepted its origin"


def test_a_strangers_model_called_data():
    """A third-party model needs an accepted origin even where its ancestry ends at data."""
    ancestry = replace(third_party().ancestry, origins=(), end="data")
    blocked_by(replace(third_party(), ancestry=ancestry), "origin.accepted", "claims.origin")


# ------------------------------------------------------------ conversion.proven


def test_a_conversion_that_proves_nothing():
    loose = replace(g.CONVERT, detail={**g.CONVERT.detail, "equivalence": "unproven"})
    evidence = g.swap(own(), g.CONVERT, loose)
    blocked_by(evidence, "conversion.proven", "ancestry.ends")
    blocked_by(replace(own(), claims=evidence.claims), "conversion.proven")


def test_a_conversion_that_proves_nothing_beside_one_that_does():
    loose = replace(g.CONVERT, detail={**g.CONVERT.detail, "equivalence": "unproven"}, bundle=g.sha("other"))
    loose = replace(loose, proof=replace(loose.proof, bundle=loose.bundle))
    blocked_by(g.with_claims(own(), *g.OWN_CLAIMS, loose), "conversion.proven")


def test_a_conversion_nobody_claims():
    evidence = own()
    claims = tuple(claim for claim in evidence.claims if claim is not g.CONVERT)
    blocked_by(replace(evidence, claims=claims), "conversion.proven")


def test_a_proven_conversion_is_told_from_none():
    for evidence in (own(), third_party()):
        [check] = [check for check in floor(evidence, NOW) if check.id == "conversion.proven"]
        assert (check.outcome, check.found) == (Outcome.PASS, "proven")


def test_an_unproven_conversion_elsewhere_does_not_matter():
    loose = g.fact(Stage.CONVERT, [g.wb("elsewhere")], parents=[(g.RECEIVED, "conversion")])
    assert verdict(g.with_claims(own(), *g.OWN_CLAIMS, loose)).allow


def test_a_strangers_conversion_does_not_matter():
    forged = g.refused(replace(g.CONVERT, bundle=g.sha("forged")))
    assert verdict(g.with_claims(own(), *g.OWN_CLAIMS, forged)).allow


def test_without_a_conversion_there_is_nothing_to_prove():
    accepted = g.origin_fact([g.BASE, g.BASE_WEIGHTS])
    evidence = g.with_claims(third_party(), accepted, g.BASE_BOM)
    decision = verdict(evidence)
    assert decision.allow
    assert [c.found for c in decision.checks if c.id == "conversion.proven"] == [
        "does not apply: nothing was converted"
    ]


# ------------------------------------------------------------ revocation


@pytest.mark.parametrize("target", [g.MODEL, g.WEIGHTS])
def test_a_revoked_model(target):
    evidence = replace(own(), revocations=(g.revocation(target),))
    assert blocked_by(evidence, "model.unrevoked").found == "revoked: poisoned"


@pytest.mark.parametrize("target", [g.BASE, g.BASE_WEIGHTS, g.RECEIVED, g.DATASET])
def test_a_revoked_ancestor(target):
    assert target in own().ancestry.visited
    evidence = replace(own(), revocations=(g.revocation(target),))
    check = blocked_by(evidence, "ancestry.unrevoked")
    assert check.found == f"it descends from {target.short}, revoked: poisoned"


def test_both_revoked():
    evidence = replace(own(), revocations=(g.revocation(g.BASE), g.revocation(g.MODEL)))
    blocked_by(evidence, "model.unrevoked", "ancestry.unrevoked")


def test_a_revocation_counts_at_once():
    evidence = replace(own(), revocations=(g.revocation(g.BASE, since=NOW + DAY),))
    blocked_by(evidence, "ancestry.unrevoked")


@pytest.mark.parametrize("steps", [(g.BASE_WEIGHTS, g.WEIGHTS), (g.MODEL,)])
def test_an_advisory_that_reaches_it(steps):
    advised = g.advised(*steps)
    evidence = replace(own(), advisories=(advised,))
    check = blocked_by(evidence, "advisory.clear")
    assert advised.advisory.id in check.found
    assert all(step.short in check.found for step in steps)
    assert check.proof == advised.advisory.bundle
    assert check.remedy == f"weighbridge advisory show {advised.advisory.id}"


def test_every_advisory_that_reaches_it_is_named():
    first, second = g.advised(g.BASE_WEIGHTS, g.WEIGHTS), g.advised(g.DATASET, g.WEIGHTS)
    one = blocked_by(replace(own(), advisories=(first,)), "advisory.clear")
    assert "(and" not in one.found
    both = blocked_by(replace(own(), advisories=(first, second)), "advisory.clear")
    assert both.found.endswith(f" (and {second.advisory.id})")


# ------------------------------------------------------------ the stages

OWN_STAGES = {Stage.DATA: g.DATA, Stage.TRAIN: g.TRAIN, Stage.EVALUATE: g.EVALUATE, Stage.PACKAGE: g.PACKAGE}


@pytest.mark.parametrize("stage", OWN_STAGES, ids=lambda stage: stage.value)
def test_a_missing_stage(stage):
    evidence = g.without(own(), OWN_STAGES[stage])
    found = refusals(evidence)
    assert found[f"claims.{stage.value}"].found == f"nobody has made a {stage.value} claim"
    command = "weighbridge sign" if stage is Stage.PACKAGE else f"--stage {stage.value}"
    assert command in found[f"claims.{stage.value}"].remedy


@pytest.mark.parametrize("stage", OWN_STAGES, ids=lambda stage: stage.value)
def test_a_stage_signed_by_a_stranger(stage):
    good = OWN_STAGES[stage]
    found = refusals(g.swap(own(), good, g.refused(good)))
    check = found[f"claims.{stage.value}"]
    assert check.outcome is Outcome.FAIL
    assert "a stranger" in check.found


@pytest.mark.parametrize("stage", OWN_STAGES, ids=lambda stage: stage.value)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: replace(good, proof=None),
        lambda good: replace(good, proof=replace(good.proof, bundle=g.sha("another bundle"))),
        lambda good: replace(good, signer=g.STRANGER),
        lambda good: replace(good, signer=g.STRANGER, proof=replace(good.proof, signer=g.STRANGER)),
        lambda good: replace(good, outcome=Outcome.CANNOT_TELL),
    ],
    ids=[
        "no proof",
        "the proof of another bundle",
        "the proof of another signer",
        "a nameless signer",
        "unsure",
    ],
)
def test_a_passing_claim_without_its_proof(stage, spoil):
    good = OWN_STAGES[stage]
    evidence = g.swap(own(), good, spoil(good))
    assert f"claims.{stage.value}" in refusals(evidence)
    check = refusals(replace(own(), claims=evidence.claims))[f"claims.{stage.value}"]
    assert check.found.endswith(", and not believed: it carries no proof of who signed it")


def test_a_package_of_another_model_with_the_same_weights():
    twin = replace(g.PACKAGE, about=(g.BASE, g.WEIGHTS))
    blocked_by(g.swap(own(), g.PACKAGE, twin), "claims.package")


def test_training_of_other_weights_that_names_this_model():
    """A claim about this model and the weights of another is not about the weights that would run."""
    other = replace(g.TRAIN, about=(g.MODEL, g.BASE_WEIGHTS))
    blocked_by(replace(own(), claims=g.swap(own(), g.TRAIN, other).claims), "claims.train")


def test_an_evaluation_of_another_model():
    other = replace(g.EVALUATE, about=(g.BASE_WEIGHTS,))
    blocked_by(g.swap(own(), g.EVALUATE, other), "claims.evaluate")


def test_an_evaluation_may_be_of_the_whole_model():
    assert verdict(g.swap(own(), g.EVALUATE, replace(g.EVALUATE, about=(g.MODEL,)))).allow


def test_data_that_it_was_not_trained_on():
    other = g.fact(Stage.DATA, [g.wb("another dataset")])
    evidence = replace(own(), claims=g.swap(own(), g.DATA, other).claims)
    blocked_by(evidence, "claims.data")


@pytest.mark.parametrize("base", [g.BASE, g.BASE_WEIGHTS, g.RECEIVED])
def test_a_data_claim_about_a_base_is_no_data(base):
    other = g.fact(Stage.DATA, [base])
    evidence = replace(own(), claims=g.swap(own(), g.DATA, other).claims)
    blocked_by(evidence, "claims.data")


def test_the_acceptance_of_another_model_is_not_a_claim_about_this_one():
    other = g.origin_fact([g.wb("another")])
    evidence = replace(third_party(), claims=g.swap(third_party(), g.ORIGIN, other).claims)
    blocked_by(evidence, "claims.origin", "origin.accepted")


def test_an_authority_may_ask_for_more():
    authority = replace(third_party().authority, required=(Stage.ORIGIN, Stage.EVALUATE))
    blocked_by(replace(third_party(), authority=authority), "claims.evaluate")


@pytest.mark.parametrize(("make", "origin"), [(own, Origin.OWN), (third_party, Origin.THIRD_PARTY)])
def test_an_authority_cannot_ask_for_less_than_the_floor(make, origin):
    evidence = make()
    evidence = replace(evidence, authority=replace(evidence.authority, required=()))
    names = [check.id for check in floor(evidence, NOW)]
    assert {f"claims.{stage.value}" for stage in LEAST_STAGES[origin]} <= set(names)
    assert len(names) == len(set(names))


def test_a_floor_that_asks_for_nothing():
    check = refusals(own(origin=Origin.LEGACY))["stages.needed"]
    assert (check.outcome, check.found) == (Outcome.FAIL, "no claim at all is asked for")


@pytest.mark.parametrize("make", [own, third_party])
def test_the_stages_are_named(make):
    checks = {check.id: check for check in floor(make(), NOW)}
    named = {f"claims.{stage}" for stage in checks["stages.needed"].found.split(", ")}
    assert named == {name for name in checks if name.startswith("claims.")}
    assert checks["stages.needed"].proof == str(make().authority.digest)


# ------------------------------------------------------------ the table


def rows():
    return re.findall(r"^\| `([a-z.*<>]+)` \| (.+?) \| (.+?) \| (.+?) \|$", DOC.read_text(), re.MULTILINE)


def test_every_condition_is_checked_once_and_in_order():
    for evidence in (own(), third_party(), own(origin=Origin.LEGACY), replace(own(), scan=None)):
        names = [check.id for check in floor(evidence, NOW)]
        assert names[: len(FLOOR)] == [row.id for row in FLOOR]
        assert len(set(names)) == len(names)
    assert len(FLOOR_IDS) == len(FLOOR)


def test_the_proof_table_says_what_the_code_says():
    documented = {name: (invariant, attack) for name, invariant, attack, _ in rows()}
    assert documented.pop("claims.<stage>")
    assert documented == {row.id: (row.invariant, row.attack) for row in FLOOR}


def test_the_proof_table_names_tests_that_exist():
    for name, _, _, tests in rows():
        named = re.findall(r"`(test_[a-z_]+)`", tests)
        assert named, name
        assert [test for test in named if not callable(globals().get(test))] == []


def test_the_same_evidence_gives_the_same_checks():
    assert floor(own(), NOW) == floor(own(), NOW)
