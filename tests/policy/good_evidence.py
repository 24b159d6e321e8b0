"""Evidence in which nothing is wrong, for an own and for a third-party model, and small ways to spoil it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from weighbridge.claims.chain import walk
from weighbridge.core.advisory import Advised, Advisory, AdvisorySeverity
from weighbridge.core.decision import Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.evidence import (
    AuthorityFact,
    BytesFact,
    ClaimFact,
    Evidence,
    LicenceFact,
    Proven,
    Revocation,
    ScanFact,
    Waiver,
)
from weighbridge.core.exceptions import BreakGlass
from weighbridge.core.finding import Finding, Location, Severity, Verdict
from weighbridge.core.identity import Identity
from weighbridge.core.lineage import AdvisoryKind, Grade, Parentage, Relation
from weighbridge.core.tier import Assurance, Origin, Stage

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def digest(algorithm, word):
    return Digest(algorithm, Digest.of(word.encode()).hex)


def wb(word):
    return digest("wb1", word)


def wbw(word):
    return digest("wbw1", word)


def sha(word):
    return digest("sha256", word)


MODEL, WEIGHTS = wb("model"), wbw("model weights")
DATASET = wb("dataset")
BASE, BASE_WEIGHTS = wb("base"), wbw("base weights")
RECEIVED, RECEIVED_WEIGHTS = wb("received"), wbw("received weights")
GATE = Identity(sha("gate key"), "gate")
STRANGER = Identity(sha("a stranger's key"))


def signer(stage):
    return Identity(sha(f"{stage.value} key"), f"{stage.value}-team")


def fact(stage, about, *, parents=(), detail=None, name=""):
    """Make a verified claim; `parents` are (identity, relation) pairs."""
    who = signer(stage)
    bundle = sha(f"{stage.value} {name} {about} {parents}")
    proof = Proven(who, bundle, "https://example.test/predicate", 7, NOW - DAY, Assurance.SINGLE_OPERATOR)
    relations = {str(parent): relation for parent, relation in parents}
    return ClaimFact(
        stage,
        Outcome.PASS,
        tuple(about),
        who,
        bundle,
        proof=proof,
        parents=tuple(parent for parent, _ in parents),
        detail={"relations": relations, **(detail or {})},
    )


def refused(good, *, by=STRANGER, reason="the authority does not name this key", outcome=Outcome.FAIL):
    """Make the refused twin of a verified claim."""
    return replace(good, outcome=outcome, signer=by, proof=None, reason=reason, detail={})


def origin_fact(about, **detail):
    row = {
        "publisher": "Example Lab",
        "repository": "lab/base",
        "commit": "c" * 40,
        "matches_announced": True,
        "licence": "Apache-2.0",
        "reviewer": "reviewer@example.test",
        "reason": "needed for search",
        "expires": "2027-06-01T00:00:00Z",
    }
    return fact(Stage.ORIGIN, about, detail=row | detail)


DATA = fact(Stage.DATA, [DATASET], detail={"source": "https://example.test/data", "licence": "CC-BY-4.0"})
TRAIN = fact(
    Stage.TRAIN,
    [WEIGHTS],
    parents=[(DATASET, "dataset"), (BASE_WEIGHTS, "fine-tune")],
    detail={"method": "fine-tune", "builder": "https://example.test/trainer"},
)
EVALUATE = fact(Stage.EVALUATE, [WEIGHTS], detail={"result": "PASSED", "metrics": {"accuracy": 0.91}})
PACKAGE = fact(Stage.PACKAGE, [MODEL, WEIGHTS], detail={"builder": "https://example.test/packer"})
BOM = fact(Stage.BOM, [MODEL, WEIGHTS], detail={"bound": True, "spec_version": "1.6"})
ORIGIN = origin_fact([RECEIVED, RECEIVED_WEIGHTS])
CONVERT = fact(
    Stage.CONVERT,
    [BASE, BASE_WEIGHTS],
    parents=[(RECEIVED, "conversion")],
    detail={"equivalence": "proven", "method": "rebuilt"},
)
BASE_BOM = fact(Stage.BOM, [BASE, BASE_WEIGHTS], detail={"bound": True})

OWN_CLAIMS = (DATA, TRAIN, EVALUATE, PACKAGE, BOM, ORIGIN, CONVERT)
THIRD_CLAIMS = (ORIGIN, CONVERT, BASE_BOM)


def evidence_of(manifest, weights, claims, **changes):
    """Put evidence together around the ancestry that these claims give."""
    origin = changes.pop("origin", Origin.OWN)
    required = {
        Origin.OWN: (Stage.DATA, Stage.TRAIN, Stage.EVALUATE, Stage.PACKAGE),
        Origin.THIRD_PARTY: (Stage.ORIGIN,),
        Origin.LEGACY: (),
    }[origin]
    parts = {
        "manifest": manifest,
        "weights": weights,
        "project": "default",
        "origin": origin,
        "authority": AuthorityFact(3, sha("authority"), NOW + 90 * DAY, Outcome.PASS, "version 3", required),
        "bytes": BytesFact(Outcome.PASS, "3 files hashed", 3, 1000),
        "scan": ScanFact(
            GATE,
            True,
            manifest,
            Verdict.CLEAN,
            True,
            sha("rules"),
            NOW - DAY,
            (),
            {"a.safetensors": "safetensors"},
        ),
        "claims": tuple(claims),
        "ancestry": walk(manifest, weights, claims),
        "licence": licences(),
    }
    return Evidence(**(parts | changes))


def licences(*findings, obligations=()):
    """Licences that were composed, with what does not fit and what is owed."""
    duties = sorted({row["duty"] for row in obligations})
    return LicenceFact(
        "Apache-2.0", "", (), tuple(duties), tuple(obligations), tuple(findings), sha("knowledge")
    )


def licence_finding(effect="block", code="laundering"):
    return {
        "rule": f"licence.{code}",
        "effect": effect,
        "fingerprint": sha(code).hex[:32],
        "message": "MIT drops non-commercial of CC-BY-NC-4.0, under which base stands",
    }


def own(**changes):
    """Our own fine-tune of a third-party base that was converted after it was accepted."""
    return evidence_of(MODEL, WEIGHTS, OWN_CLAIMS, **changes)


def third_party(**changes):
    """A stranger's model, accepted as received and converted."""
    return evidence_of(BASE, BASE_WEIGHTS, THIRD_CLAIMS, origin=Origin.THIRD_PARTY, **changes)


def with_claims(evidence, *claims):
    """Replace all claims and walk again."""
    ancestry = walk(evidence.manifest, evidence.weights, claims)
    return replace(evidence, claims=tuple(claims), ancestry=ancestry)


def without(evidence, *gone):
    """Leave some claims out and walk again."""
    return with_claims(evidence, *(claim for claim in evidence.claims if claim not in gone))


def swap(evidence, old, new):
    """Put one claim in the place of another and walk again."""
    assert old in evidence.claims
    return with_claims(evidence, *(new if claim is old else claim for claim in evidence.claims))


def finding(verdict, rule="pickle-unlisted", subject="vendor.rebuild"):
    place = Location("model.bin", ("archive/data.pkl",), 11)
    return Finding(rule, verdict, Severity.ERROR, place, f"uses {subject}", subject=subject)


def scanned(evidence, *findings, verdict=None, **changes):
    """Give the scan these findings, and the verdict that follows from them unless another is given."""
    worst = max((item.verdict for item in findings), key=lambda item: item.rank, default=Verdict.CLEAN)
    scan = replace(evidence.scan, findings=tuple(findings), verdict=verdict or worst, **changes)
    return replace(evidence, scan=scan)


def waiver(item, evidence, **changes):
    parts = {
        "rule": item.rule,
        "fingerprint": item.fingerprint,
        "manifest": evidence.manifest,
        "reason": "reviewed",
        "signer": Identity(sha("security"), "security"),
        "expires": NOW + 30 * DAY,
        "bundle": sha("waiver"),
    }
    return Waiver(**(parts | changes))


def revocation(target, since=None):
    return Revocation(target, "poisoned", since or NOW - DAY, sha("revocation"))


def advised(*steps):
    """An advisory about the first of `steps` that reaches the last."""
    said = Advisory(
        AdvisoryKind.WEIGHTS,
        (steps[0],),
        "poisoned",
        AdvisorySeverity.HIGH,
        "2026-11-22T00:00:00Z",
        "default",
    )
    pairs = pairwise(steps)
    way = tuple(Parentage(a, b, Relation.FINE_TUNE, Grade.ATTESTED, str(sha("claim"))) for a, b in pairs)
    return Advised(replace(said, bundle=str(sha("advisory"))), steps[0], way)


def policy_waiver(rule, evidence, **changes):
    """A waiver for a rule of the policy, `policy.licence` for example."""
    parts = {"rule": rule, "fingerprint": sha(rule).hex[:32], "bundle": sha(f"waiver {rule}")}
    parts |= {
        "manifest": evidence.manifest,
        "reason": "reviewed",
        "signer": Identity(sha("security"), "security"),
        "expires": NOW + 30 * DAY,
    }
    return Waiver(**(parts | changes))


def break_glass(evidence, **changes):
    """Break-glass by two people, an hour ago, for four hours."""
    parts = {
        "manifest": evidence.manifest,
        "project": evidence.project,
        "reason": "the search is down",
        "signers": (Identity(sha("security"), "security"), Identity(sha("operations"), "operations")),
        "since": NOW - DAY / 24,
        "expires": NOW + DAY / 8,
        "bundle": sha("break-glass"),
    }
    return BreakGlass(**(parts | changes))
