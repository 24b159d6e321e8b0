"""The questions that every policy is tried on: good ones, and bad ones that each lack one thing, from real evidence."""

import json
from dataclasses import replace

import good_evidence as g
from good_evidence import DAY, NOW, own, third_party

from weighbridge.bom.completeness import profiles
from weighbridge.core.decision import Outcome
from weighbridge.core.evidence import BomFact, BuildFact
from weighbridge.core.finding import Verdict
from weighbridge.core.tier import Assurance, Origin, Stage
from weighbridge.policy.contract import question
from weighbridge.policy.floor import floor

PROFILES = {name: {"asked": 20, "present": 20, "attested": 20} for name in profiles()}
FORMATS = {"model.safetensors": "safetensors", "config.json": "json", "README.md": "markdown"}


def full(evidence):
    """Fill in what the gate knows beside the claims."""
    return replace(
        evidence,
        scan=replace(evidence.scan, formats=FORMATS, ruleset_version="2"),
        bom=BomFact(g.sha("bom"), "1.6", PROFILES, 4, 4),
        build=BuildFact(3, (), ("https://example.test/trainer",)),
    )


def licensed(evidence, word):
    """Put all datasets and origins under one licence."""
    told = {Stage.DATA, Stage.ORIGIN}
    claims = [
        replace(c, detail={**c.detail, "licence": word}) if c.stage in told else c for c in evidence.claims
    ]
    return g.with_claims(evidence, *claims)


def assured(evidence, level):
    claims = [replace(c, proof=replace(c.proof, assurance=level)) for c in evidence.claims]
    return g.with_claims(evidence, *claims)


def scan(evidence, **changes):
    return replace(evidence, scan=replace(evidence.scan, **changes))


SCRATCH = replace(
    g.TRAIN,
    parents=(g.DATASET,),
    detail={
        "relations": {str(g.DATASET): "dataset"},
        "method": "training",
        "builder": "https://example.test/trainer",
    },
)
OWN, THIRD = full(own()), full(third_party())
FROM_DATA = g.with_claims(OWN, g.DATA, SCRATCH, g.EVALUATE, g.PACKAGE, g.BOM)
RECEIVED_BOM = g.fact(
    Stage.BOM, [g.RECEIVED, g.RECEIVED_WEIGHTS], detail={"bound": True, "spec_version": "1.6"}
)
RECEIVED = full(
    g.evidence_of(g.RECEIVED, g.RECEIVED_WEIGHTS, [g.ORIGIN, RECEIVED_BOM], origin=Origin.THIRD_PARTY)
)
LEGACY = replace(OWN, origin=Origin.LEGACY, authority=replace(OWN.authority, required=()))
BARE_LEGACY = replace(g.with_claims(LEGACY), bom=None, build=None)
NOTE, UNLISTED = g.finding(Verdict.NOTES), g.finding(Verdict.UNLISTED)
WORSE, BROKEN = (
    g.finding(Verdict.DANGEROUS, "pickle-call", "os.system"),
    g.finding(Verdict.BROKEN, "zip-central"),
)

GOOD = {
    "our own fine-tune of an accepted base": OWN,
    "our own model trained from data alone": FROM_DATA,
    "our own model, every proof seen by witnesses": assured(OWN, Assurance.WITNESSED),
    "our own model, every proof in a public log": assured(OWN, Assurance.PUBLIC),
    "our own model with a note of the scanner": g.scanned(OWN, NOTE),
    "our own model scanned a minute ago": scan(OWN, scanned_at=NOW),
    "our own model under MIT": licensed(OWN, "MIT"),
    "a stranger's model, accepted and converted": THIRD,
    "a stranger's model as it was received": RECEIVED,
    "a stranger's model under MIT": licensed(RECEIVED, "MIT"),
    "a stranger's model, every proof in a public log": assured(RECEIVED, Assurance.PUBLIC),
    "a stranger's model scanned a minute ago": scan(THIRD, scanned_at=NOW),
    "a model that was running before, with all its claims": LEGACY,
    "a model that was running before, without claims": BARE_LEGACY,
}


def refused(evidence, *stages):
    claims = [g.refused(c) if c.stage in stages else c for c in evidence.claims]
    return g.with_claims(evidence, *claims)


def unproven(evidence):
    return g.with_claims(evidence, *(replace(c, proof=None) for c in evidence.claims))


def lacking(evidence, *stages):
    return g.with_claims(evidence, *(c for c in evidence.claims if c.stage not in stages))


def origin(evidence, **detail):
    return g.swap(evidence, g.ORIGIN, g.origin_fact(g.ORIGIN.about, **detail))


def ended(evidence):
    with_finding = g.scanned(evidence, UNLISTED)
    return replace(with_finding, waivers=(g.waiver(UNLISTED, with_finding, expires=NOW - DAY),))


def for_another(evidence):
    with_finding = g.scanned(evidence, UNLISTED)
    return replace(with_finding, waivers=(g.waiver(UNLISTED, with_finding, manifest=g.RECEIVED),))


EXPIRED = replace(OWN.authority, expires=NOW - DAY)
BAD = {
    "not scanned": replace(OWN, scan=None),
    "scanned by somebody else": scan(OWN, by_gate=False, scanner=g.STRANGER),
    "the scan of another model": scan(OWN, manifest=g.RECEIVED),
    "scanned in part": scan(OWN, complete=False),
    "a scan that found it dangerous": g.scanned(OWN, WORSE),
    "a scan that found it broken": g.scanned(OWN, BROKEN),
    "names that nobody has listed": g.scanned(OWN, UNLISTED),
    "a waiver that has ended": ended(OWN),
    "a waiver for another model": for_another(OWN),
    "a scan of four hundred days ago": scan(OWN, scanned_at=NOW - 400 * DAY),
    "a scan from the future": scan(OWN, scanned_at=NOW + DAY),
    "weights in a pickle": scan(OWN, formats={"pytorch_model.bin": "torch-zip"}),
    "bytes that were changed": replace(OWN, bytes=replace(OWN.bytes, outcome=Outcome.FAIL, found="changed")),
    "bytes that could not be read": replace(OWN, bytes=replace(OWN.bytes, outcome=Outcome.CANNOT_TELL)),
    "an authority that has expired": replace(OWN, authority=EXPIRED),
    "an authority that was rolled back": replace(OWN, authority=replace(OWN.authority, outcome=Outcome.FAIL)),
    "a record that could not be read": replace(OWN, problems=("a record could not be read",)),
    "no claims at all": g.with_claims(OWN),
    "no claim that verifies": refused(OWN, *Stage),
    "claims without a proof": unproven(OWN),
    "training told by a stranger": refused(OWN, Stage.TRAIN),
    "packaging told by a stranger": refused(OWN, Stage.PACKAGE),
    "no training claim": lacking(OWN, Stage.TRAIN),
    "no packaging claim": lacking(OWN, Stage.PACKAGE),
    "a dataset that nobody tells of": lacking(FROM_DATA, Stage.DATA),
    "a base that nobody accepted": lacking(OWN, Stage.ORIGIN, Stage.CONVERT),
    "no evaluation": lacking(OWN, Stage.EVALUATE),
    "an evaluation that failed": g.swap(OWN, g.EVALUATE, replace(g.EVALUATE, detail={"result": "FAILED", "metrics": {}})),
    "the claims of another model": replace(OWN, manifest=g.wb("another"), weights=g.wbw("another")),
    "a base that was revoked": replace(OWN, revocations=(g.revocation(g.BASE),)),
    "a base that an advisory names": replace(OWN, advisories=(g.advised(g.BASE_WEIGHTS, g.WEIGHTS),)),
    "tensors of a base that nobody names": replace(OWN, contradictions=({
        "kind": "other-base", "weights": str(g.WEIGHTS), "seen": str(g.wbw("other")), "relation": "fine-tune",
        "declared": [str(g.BASE_WEIGHTS)], "message": "its tensors are those of another base than its claims name",
    },)),
    "a licence that asks for too much": licensed(OWN, "CC-BY-NC-4.0"),
    "licences that do not fit": replace(OWN, licence=g.licences(g.licence_finding())),
    "licences that nobody composed": replace(OWN, licence=None),
    "a stranger's model that is not scanned": replace(THIRD, scan=None),
    "a stranger's model that is dangerous": g.scanned(THIRD, WORSE),
    "a stranger's model without claims": g.with_claims(THIRD),
    "a stranger's model that nobody accepted": lacking(THIRD, Stage.ORIGIN),
    "an acceptance by nobody we know": refused(RECEIVED, Stage.ORIGIN),
    "an acceptance that has ended": origin(THIRD, expires="2026-11-01T00:00:00Z"),
    "an acceptance of other files": replace(RECEIVED, manifest=g.wb("other files"), weights=g.wbw("other files")),
    "a conversion that proves nothing": g.swap(THIRD, g.CONVERT, replace(g.CONVERT, detail={**g.CONVERT.detail, "equivalence": "unproven"})),
    "a stranger's model under an unknown licence": licensed(RECEIVED, "unknown"),
    "a stranger's model that was revoked": replace(RECEIVED, revocations=(g.revocation(g.RECEIVED),)),
    "a running model that is not scanned": replace(LEGACY, scan=None),
    "a running model that is dangerous": g.scanned(BARE_LEGACY, WORSE),
    "a running model that was revoked": replace(BARE_LEGACY, revocations=(g.revocation(g.MODEL),)),
    "a running model that is to be promoted": LEGACY,
}  # fmt: skip


def questions():
    """Return the canned set as it stands in the package; rows that several questions share stand there once."""
    shared = {}

    def row(name, evidence, action):
        asked = question(evidence, floor(evidence, NOW), NOW, action)
        asked["floor"] = [
            shared.setdefault(json.dumps(one, sort_keys=True), len(shared)) for one in asked["floor"]
        ]
        claims = asked["evidence"]["claims"]
        asked["evidence"]["claims"] = [
            shared.setdefault(json.dumps(one, sort_keys=True), len(shared)) for one in claims
        ]
        return {"name": name, "class": evidence.origin.value.replace("-", "_"), "question": asked}

    good = [row(name, evidence, _action(evidence)) for name, evidence in GOOD.items()]
    bad = [row(name, e, "promote" if "promoted" in name else _action(e)) for name, e in BAD.items()]
    return {"good": good, "bad": bad, "shared": [json.loads(text) for text in shared]}


def _action(evidence):
    return "admit" if evidence.origin is Origin.LEGACY else "promote"
