"""What the floor stops, one attack or more for each condition, as the evidence that the gate would then gather."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import good_evidence as g
from good_evidence import DAY, NOW, own, third_party

from weighbridge.core.decision import Outcome
from weighbridge.core.finding import Verdict
from weighbridge.core.identity import DEVELOPMENT_ISSUER
from weighbridge.core.tier import Origin, Stage


@dataclass(frozen=True)
class Attack:
    """What is tried, the conditions that stop it (the first is the one it is told for), and the evidence it leaves."""

    stops: tuple[str, ...]
    words: str
    evidence: Callable

    @property
    def id(self):
        return f"{self.stops[0]}: {self.words}"


def asking(evidence, *stages):
    """The same evidence under an authority that asks for these stages."""
    return replace(evidence, authority=replace(evidence.authority, required=stages))


def rolled_back():
    evidence = own()
    old = replace(evidence.authority, version=2, outcome=Outcome.FAIL, found="version 2 is older than 3")
    return replace(evidence, authority=old)


def expired():
    evidence = own()
    return replace(evidence, authority=replace(evidence.authority, expires=NOW - DAY))


def self_vouched():
    def by_himself(fact):
        who = replace(fact.signer, issuer=DEVELOPMENT_ISSUER, subject="me@example.com")
        return replace(fact, signer=who, proof=replace(fact.proof, signer=who))

    return g.swap(own(), g.TRAIN, by_himself(g.TRAIN))


def unnamed_legacy():
    """Called legacy, and the authority asks such a model for nothing."""
    return g.evidence_of(
        g.MODEL, g.WEIGHTS, [g.BOM, g.ORIGIN, g.CONVERT, g.TRAIN, g.DATA], origin=Origin.LEGACY
    )


def changed_byte():
    evidence = own()
    return replace(evidence, bytes=replace(evidence.bytes, outcome=Outcome.FAIL, found="model.bin differs"))


def scan_of(**changes):
    evidence = own()
    return replace(evidence, scan=replace(evidence.scan, **changes))


def ended_waiver():
    item = g.finding(Verdict.UNLISTED)
    evidence = g.scanned(own(), item)
    return replace(evidence, waivers=(g.waiver(item, evidence, expires=NOW),))


def waived_danger():
    item = g.finding(Verdict.DANGEROUS)
    evidence = g.scanned(own(), item)
    return replace(evidence, waivers=(g.waiver(item, evidence),))


def borrowed_ancestry():
    """An unknown model that shows the ancestry of one whose origin we accepted."""
    unknown, weights = g.wb("unknown"), g.wbw("unknown weights")
    bom = g.fact(Stage.BOM, [unknown, weights], detail={"bound": True})
    evidence = g.evidence_of(unknown, weights, [g.ORIGIN, g.CONVERT, bom], origin=Origin.THIRD_PARTY)
    return replace(evidence, ancestry=third_party().ancestry)


def another_origin():
    """A merge of an accepted base with one whose acceptance has ended."""
    other = g.wbw("second base")
    parents = [(g.DATASET, "dataset"), (g.BASE_WEIGHTS, "merge"), (other, "merge")]
    merged = g.fact(Stage.TRAIN, [g.WEIGHTS], parents=parents)
    ended = g.origin_fact([g.wb("second base"), other], expires="2026-01-01T00:00:00Z")
    return g.with_claims(own(), *(merged if fact is g.TRAIN else fact for fact in own().claims), ended)


def unproven_conversion():
    loose = replace(g.CONVERT, detail={**g.CONVERT.detail, "equivalence": "unproven"}, bundle=g.sha("loose"))
    loose = replace(loose, proof=replace(loose.proof, bundle=loose.bundle))
    return g.with_claims(own(), *g.OWN_CLAIMS, loose)


def bought(*stages):
    """A model whose files are themselves an accepted origin and that we call our own, without these claims."""
    accepted = g.origin_fact([g.MODEL, g.WEIGHTS])
    claims = [accepted, g.PACKAGE, g.BOM, g.EVALUATE]
    return asking(g.with_claims(own(), *claims), *stages)


def untold_data():
    """Fine-tuned on data that nobody signed for, and that the claim does not name."""
    train = g.fact(Stage.TRAIN, [g.WEIGHTS], parents=[(g.BASE_WEIGHTS, "fine-tune")])
    return g.with_claims(
        own(), *(train if fact is g.TRAIN else fact for fact in own().claims if fact is not g.DATA)
    )


def of_another(fact, *about):
    return g.swap(own(), fact, replace(fact, about=about))


def by_a_stranger(stage):
    """The authority asks for a stage that only a stranger has signed for."""
    forged = g.refused(g.fact(stage, [g.MODEL, g.WEIGHTS]))
    evidence = own()
    claims = (*evidence.claims, forged)
    return asking(replace(evidence, claims=claims), *evidence.authority.required, stage)


NO_SCAN = ("scan.present", "scan.own", "scan.bound", "scan.complete", "scan.verdict")
ATTACKS = (
    Attack(("authority.current",), "an authority that was rolled back", rolled_back),
    Attack(("authority.current",), "an authority that has expired", expired),
    Attack(
        ("evidence.established",),
        "a revocation that was made unreadable",
        lambda: replace(own(), problems=("the record of a revocation cannot be read",)),
    ),
    Attack(("signers.vouched",), "training signed under one's own issuer", self_vouched),
    Attack(
        ("origin.class",),
        "an unproven model called legacy",
        lambda: asking(unnamed_legacy(), Stage.BOM),
    ),
    Attack(
        ("origin.class", "stages.needed"),
        "an unproven model called legacy, where legacy needs no claim",
        unnamed_legacy,
    ),
    Attack(("bytes.match",), "a byte changed in the store", changed_byte),
    Attack(NO_SCAN, "a model that was never scanned", lambda: replace(own(), scan=None)),
    Attack(
        ("scan.present",),
        "a clean scan under rules that are distrusted since",
        lambda: scan_of(distrusted="they miss a payload"),
    ),
    Attack(("scan.own",), "a clean report by a stranger", lambda: scan_of(by_gate=False, scanner=g.STRANGER)),
    Attack(("scan.bound",), "the clean scan of another model", lambda: scan_of(manifest=g.BASE)),
    Attack(("scan.complete",), "a scan that stopped before the payload", lambda: scan_of(complete=False)),
    Attack(
        ("scan.verdict",),
        "a file that runs code when it is loaded",
        lambda: g.scanned(own(), g.finding(Verdict.DANGEROUS)),
    ),
    Attack(("scan.verdict",), "a dangerous finding with a waiver", waived_danger),
    Attack(("scan.verdict",), "an unlisted name whose waiver has ended", ended_waiver),
    Attack(
        ("bom.signed", "bom.bound"),
        "a bill of materials by a stranger",
        lambda: g.swap(own(), g.BOM, g.refused(g.BOM)),
    ),
    Attack(
        ("bom.bound",),
        "the bill of materials of a twin with the same weights",
        lambda: of_another(g.BOM, g.BASE, g.WEIGHTS),
    ),
    Attack(("ancestry.own",), "the ancestry of an accepted model", borrowed_ancestry),
    Attack(("ancestry.ends",), "a fine-tune of a base from nowhere", lambda: g.without(own(), g.ORIGIN)),
    Attack(("origin.accepted",), "a merge with a base whose acceptance has ended", another_origin),
    Attack(
        ("conversion.proven",), "a conversion that proves nothing, beside one that does", unproven_conversion
    ),
    Attack(
        ("model.unrevoked",),
        "a model that was withdrawn",
        lambda: replace(own(), revocations=(g.revocation(g.WEIGHTS),)),
    ),
    Attack(
        ("ancestry.unrevoked",),
        "a fine-tune of a base that was withdrawn",
        lambda: replace(own(), revocations=(g.revocation(g.BASE),)),
    ),
    Attack(
        ("advisory.clear",),
        "a fine-tune of poisoned weights",
        lambda: replace(own(), advisories=(g.advised(g.BASE_WEIGHTS, g.WEIGHTS),)),
    ),
    Attack(("claims.train",), "weights bought and called our own", bought),
    Attack(
        ("claims.package",),
        "the package of a twin with the same weights",
        lambda: of_another(g.PACKAGE, g.BASE, g.WEIGHTS),
    ),
    Attack(("claims.data",), "training on data that nobody signed for", untold_data),
    Attack(
        ("claims.evaluate",),
        "the evaluation of another model",
        lambda: of_another(g.EVALUATE, g.BASE_WEIGHTS),
    ),
    Attack(
        ("claims.origin",),
        "our own model, where an accepted origin is asked for",
        lambda: asking(from_data(), Stage.ORIGIN),
    ),
    *(
        Attack(
            (f"claims.{stage.value}",),
            f"the {stage.value} claim of a stranger",
            lambda stage=stage: by_a_stranger(stage),
        )
        for stage in (Stage.CONVERT, Stage.SCAN, Stage.ADMIT)
    ),
    Attack(
        ("claims.bom", "bom.signed", "bom.bound"),
        "no bill of materials, where the authority asks for one",
        lambda: asking(g.without(own(), g.BOM), Stage.BOM),
    ),
)


def from_data():
    """Our own model from attested data alone."""
    train = g.fact(Stage.TRAIN, [g.WEIGHTS], parents=[(g.DATASET, "dataset")])
    return g.with_claims(own(), g.DATA, train, g.EVALUATE, g.PACKAGE, g.BOM)
