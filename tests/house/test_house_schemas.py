"""The JSON Schemas say exactly what the core values write, and their closed sets are the core's enumerations."""

import copy
import inspect
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import jsonschema
import pytest

from weighbridge.bom import licence_words
from weighbridge.bom.licence_words import (
    Basis,
    Composition,
    Duty,
    Effect,
    LicenceFinding,
    Obligation,
    Standing,
    Term,
)
from weighbridge.core import advisory, decision, distrust, errors, exceptions, finding, lineage, tier, walks
from weighbridge.core.advisory import Advised, Advisory, AdvisorySeverity
from weighbridge.core.alert import KINDS, SEVERITIES, SIGNALS, Alert
from weighbridge.core.canonical import canonical
from weighbridge.core.decision import Check, Decision, Outcome, Receipt
from weighbridge.core.digest import Digest
from weighbridge.core.envelope import envelope
from weighbridge.core.evidence import (
    Ancestry,
    AuthorityFact,
    BytesFact,
    ClaimFact,
    Evidence,
    Proven,
    Revocation,
    ScanFact,
    Waiver,
)
from weighbridge.core.exceptions import BreakGlass, Exception_, ExceptionState, Excuse
from weighbridge.core.finding import (
    Confidence,
    Coverage,
    Finding,
    Location,
    Report,
    Ruleset,
    Severity,
    Verdict,
)
from weighbridge.core.identity import Identity
from weighbridge.core.lineage import AdvisoryKind, Grade, Parentage, Relation
from weighbridge.core.manifest import ChunkTable, FileChunks, FileEntry, Manifest
from weighbridge.core.tier import Assurance, Mode, Origin, Role, Stage, Status, Tier
from weighbridge.drill import steps as drills
from weighbridge.gate import due, reevaluate
from weighbridge.gate.advisories import Reached
from weighbridge.gate.between import Explanation, Step
from weighbridge.gate.conclusions import Conclusion
from weighbridge.gate.licences import Licences
from weighbridge.gate.lineage import Coverage as Covered
from weighbridge.gate.lineage import Hit, Judged, Lineage, Node
from weighbridge.keys.files import generate
from weighbridge.registry import contradictions
from weighbridge.registry.deployments import Deployment
from weighbridge.trust.authority import Authority, Demand

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "schemas"
NAMES = sorted(path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.schema.json"))
UNNAMED = {"decision-log", "policy-input", "policy-answer"}
"""The contract with engines and the decision log are in shapes of OPA, which name no schema."""

SHA = Digest.of(b"something")
MODEL = Digest("wb1", "1" * 64)
PARENT = Digest("wb1", "2" * 64)
WEIGHTS = Digest("wbw1", "3" * 64)
NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
SIGNER = Identity(SHA, name="trainer")
STRANGER = Identity(Digest.of(b"stranger"))
RULESET = Ruleset("1", SHA)
ADVISORY = Advisory(
    AdvisoryKind.WEIGHTS,
    (PARENT,),
    "poisoned",
    AdvisorySeverity.HIGH,
    "2026-11-22T20:10:00Z",
    "default",
    str(SHA),
)
FINDING = Finding(
    "pickle-call",
    Verdict.DANGEROUS,
    Severity.ERROR,
    Location("model.bin", ("archive/data.pkl",), 14),
    "loading this file would run os.system",
    why="pickle runs this before any tensor is read",
    help="do not load it",
    confidence=Confidence.HIGH,
    evidence=("14: R  REDUCE",),
    subject="os.system",
)


def schema(name):
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))


def closed(value):
    """Return the schema with every object closed, so that what is written but not described fails."""
    if isinstance(value, dict):
        value = {key: closed(item) for key, item in value.items()}
        if "properties" in value and "required" in value:
            value.setdefault("additionalProperties", False)
    elif isinstance(value, list):
        value = [closed(item) for item in value]
    return value


def accepts(name, document):
    # Through canonical JSON and back: what is validated is what a reader receives.
    validator = jsonschema.Draft202012Validator(closed(schema(name)))
    validator.validate(json.loads(canonical(document)))


def reports():
    empty = Report("./a", MODEL, (), Coverage(), RULESET)
    full = Report(
        "hf://org/name@main", MODEL, (FINDING,), Coverage(9, 9, 1, 1), RULESET, {"model.bin": "torch-zip"}
    )
    bare = Finding("unread", Verdict.UNREAD, Severity.WARNING, Location("x"), "not read")
    return [empty, full, Report("./b", MODEL, (bare,), Coverage(9, 3, 1, 0), RULESET)]


def decisions():
    digests = {"floor": str(SHA), "policy": "", "engine": "regorus 0.13.0", "authority": str(SHA)}
    digests |= {"ruleset": str(SHA), "evidence": str(SHA), "manifest": str(MODEL)}
    checks = tuple(Check(f"floor.{o.value}", o, "this", "that", str(SHA), "do so") for o in Outcome)
    blocked = Decision(
        False, Mode.ENFORCE, True, checks, digests, NOW, warnings=("soon",), exceptions=exceptions_made()
    ).to_json()
    allowed = Decision(True, Mode.OBSERVE, False, (), {}, NOW, action="admit").to_json()
    proof = Receipt(7, {"rootHash": "x"}, Assurance.WITNESSED).to_json()
    return [blocked, allowed, allowed | {"receipt": proof}, allowed | {"receipt": None}]


def exceptions_made():
    return tuple(
        Exception_(kind, "policy.licence", "bought", ("owner",), NOW, SHA, "0" * 32, state, "too long")
        for kind in Excuse
        for state in ExceptionState
    )


def evidence():
    proven = Proven(SIGNER, SHA, "https://slsa.dev/provenance/v1", 3, NOW, Assurance.SINGLE_OPERATOR)
    unlogged = Proven(SIGNER, SHA, "x", None, None, None)
    claims = (
        ClaimFact(
            Stage.TRAIN,
            Outcome.PASS,
            (WEIGHTS,),
            SIGNER,
            SHA,
            proof=proven,
            parents=(PARENT,),
            detail={"steps": 1},
        ),
        ClaimFact(
            Stage.DATA, Outcome.FAIL, (PARENT,), STRANGER, SHA, "signed by a stranger", "bundle.identity"
        ),
        ClaimFact(Stage.BOM, Outcome.CANNOT_TELL, (MODEL,), None, SHA, proof=unlogged),
    )
    authority = AuthorityFact(2, SHA, NOW, Outcome.PASS, "version 2", tuple(Stage))
    scan = ScanFact(
        SIGNER, by_gate=True, manifest=MODEL, verdict=Verdict.DANGEROUS, complete=True, ruleset=SHA,
        scanned_at=NOW, findings=(FINDING,), formats={"model.bin": "pickle"},
    )  # fmt: skip
    walk = Ancestry(
        "broken",
        (MODEL, PARENT),
        ((PARENT, MODEL, Relation.FINE_TUNE.value),),
        PARENT,
        "no data claim",
        (PARENT,),
    )
    full = Evidence(
        MODEL, WEIGHTS, "default", Origin.OWN, authority, BytesFact(Outcome.PASS, "equal", 3, 9), scan, claims, walk,
        (Revocation(PARENT, "poisoned", NOW, SHA),),
        (Waiver("unlisted", FINDING.fingerprint, MODEL, "reviewed", SIGNER, NOW, SHA),),
        ("the record of yesterday cannot be read",),
        (Advised(ADVISORY, PARENT, (Parentage(PARENT, MODEL, Relation.FINE_TUNE, Grade.ATTESTED, str(SHA)),)),),
        licences()[0].fact,
        break_glass=(BreakGlass(MODEL, "default", "an outage", (SIGNER, STRANGER), NOW, NOW, SHA),),
    )  # fmt: skip
    nothing = BytesFact(Outcome.CANNOT_TELL, "not kept here")
    bare = Evidence(
        MODEL, None, "default", Origin.LEGACY, authority, nothing, None, (), Ancestry("data", (MODEL,))
    )
    return [full, bare]


def licences():
    path = (Parentage(PARENT, MODEL, Relation.FINE_TUNE, Grade.ATTESTED, str(SHA)),)
    duties = tuple(Obligation(Term(duty, "1", "§1", "so"), "MIT", PARENT, "base", path) for duty in Duty)
    findings = tuple(
        LicenceFinding(
            "NAMING_CONFLICT", effect, "this", "that", MODEL, PARENT, "base", ("MIT",), ("MIT §1",), path
        )
        for effect in Effect
    )
    said = Conclusion((MODEL,), "MIT", "bought", "owner", SHA)
    full = Composition(duties, findings, ((PARENT, "MIT"),), ("MIT",))
    return [
        Licences(MODEL, "chat", Standing("chat", "MIT", (), basis, "README.md#/license"), said, full)
        for basis in Basis
    ] + [Licences(MODEL, "", Standing("", "", (), Basis.NONE), None, Composition((), ()))]


def lineages():
    edges = tuple(
        Parentage(PARENT, child, relation, grade, str(SHA))
        for relation in Relation
        for grade in Grade
        for child in (MODEL, WEIGHTS)
    )
    nodes = [Node(MODEL, "chat", ("chat", "chat-eu"), t.value, s.value, "") for t in Tier for s in Status]
    nodes.append(Node(PARENT, "", (), "", "", "poisoned"))
    there = Deployment("prod/chat", MODEL, "2026-11-22T20:10:00Z", "2026-11-22T20:10:00Z")
    hits = (Hit(there, PARENT, edges[:2]), Hit(there, MODEL, ()))
    nodes.append(Node(MODEL, "", (), "", "", "", "dataset", (ADVISORY.id,)))
    return [lineage_of(nodes, edges, hits).to_json(), Lineage(WEIGHTS, (), (), ()).to_json()]


def lineage_of(nodes=(), edges=(), hits=()):
    there = Deployment("prod/chat", MODEL, "2026-11-22T20:10:00Z", "2026-11-22T20:10:00Z")
    judged = [Judged(there, word, None) for word in walks.Answer]
    judged += [
        Judged(there, walks.Answer.CANNOT_TELL, walks.Gap(PARENT, why, edges[:1])) for why in walks.GapReason
    ]
    return Lineage(MODEL, tuple(nodes), edges, hits, tuple(judged), Covered(3, 2))


def authorities():
    keys = [
        generate(algorithm).public_pem for algorithm in ("ecdsa-p256", "ed25519", "ecdsa-p256", "ed25519")
    ]
    later = NOW + timedelta(days=90)
    small = Authority("wb-1", 1, NOW, later, (keys[0],))
    demand = Demand(timestamps=1, witnesses=2, checkpoint_age=3600)
    full = small.with_log("log.example - 7", keys[1])
    full = full.with_identity(
        "trainer", keys[2], tuple(Role), project="vision", valid_until=later, evidence=demand
    )
    full = full.with_identity("packager", keys[3], (Role.PACKAGE,))
    for origin in Origin:
        full = full.with_required(origin, tuple(Stage))
    return [small, full]


def error_classes():
    found = [
        c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.WeighbridgeError)
    ]
    assert len(found) > 10
    return found


def test_reports():
    accepts("report", envelope("report", [report.to_json() for report in reports()]))


def test_decisions():
    accepts("decision", envelope("decision", decisions()))


@pytest.mark.parametrize("facts", evidence(), ids=["everything", "almost nothing"])
def test_evidence(facts):
    accepts("evidence", facts.to_json())


def test_lineage():
    accepts("lineage", envelope("lineage", lineages()))


def test_licence():
    accepts("licence", envelope("licence", [found.to_json() for found in licences()]))


def test_advisory():
    reached = [
        Reached(replace(ADVISORY, severity=s), (MODEL,), (), lineage_of()).to_json() for s in AdvisorySeverity
    ]
    said = [replace(ADVISORY, kind=kind, lifted="2026-11-23T00:00:00Z").to_json() for kind in AdvisoryKind]
    accepts("advisory", envelope("advisory", [*reached, *said]))


def test_alert():
    times = "2026-11-22T12:00:00Z"
    items = [
        Alert(
            str(SHA), 1, kind, severity, "p", "me", "so", (str(MODEL),), {"a": [1]}, 2, times, times
        ).to_json("r")
        for kind in (*KINDS, *SIGNALS)
        for severity in SEVERITIES
    ]
    accepts("alert", envelope("alert", items))


def test_explanation():
    steps = tuple(
        Step(Parentage(PARENT, MODEL, Relation.MERGE, grade, str(SHA)), "trainer", place, "refused")
        for grade in Grade
        for place in (3, None)
    )
    items = [
        Explanation(MODEL, PARENT, word, steps, steps, steps, (Node(MODEL, "", (), "", "", ""),)).to_json()
        for word in ("descends", "ancestor", "siblings", "same", "none")
    ]
    accepts("explanation", envelope("explanation", items))


def test_authority():
    for authority in authorities():
        accepts("authority", authority.to_json())


def test_errors():
    items = [c("a problem", cause="so", remedy="do", check="a.b").to_json() for c in error_classes()]
    accepts("error", envelope("error", items))


def test_manifest():
    manifest = Manifest.of([FileEntry("config.json", 2, SHA), FileEntry("sub/model.safetensors", 0, SHA)])
    accepts("manifest", json.loads(manifest.canonical_bytes))


def test_chunks():
    accepts(
        "chunks",
        ChunkTable(
            (
                FileChunks("a", "0" * 64, ("1" * 64, "2" * 64)),
                FileChunks("b", "0" * 64, ()),
                FileChunks("c", "", ("1" * 64, "2" * 64)),
            )
        ).to_json(),
    )


def core_enums():
    modules = (
        advisory,
        contradictions,
        decision,
        distrust,
        drills,
        due,
        exceptions,
        finding,
        licence_words,
        lineage,
        reevaluate,
        tier,
        walks,
    )
    members = [pair for module in modules for pair in inspect.getmembers(module, inspect.isclass)]
    found = {name: [e.value for e in c] for name, c in members if issubclass(c, StrEnum) and c is not StrEnum}
    closed = {"AlertKind": [*KINDS, *SIGNALS], "AlertSeverity": list(SEVERITIES)}
    return found | closed | {"Kind": list(dict.fromkeys(c.kind for c in error_classes()))}


def schema_enums():
    return [
        (name, title, part["enum"])
        for name in NAMES
        for title, part in schema(name).get("$defs", {}).items()
        if "enum" in part
    ]


@pytest.mark.parametrize(("name", "title", "values"), schema_enums())
def test_closed_sets_equal_the_core(name, title, values):
    assert sorted(values) == sorted(core_enums()[title]), f"{name}.schema.json differs from {title}"


@pytest.mark.parametrize("name", NAMES)
def test_schema_is_well_formed(name):
    document = schema(name)
    jsonschema.Draft202012Validator.check_schema(document)
    assert document["title"] == f"weighbridge.{name}/1"
    if name in UNNAMED:
        assert document["additionalProperties"] is False
    else:
        assert document["properties"]["schema"] == {"const": f"weighbridge.{name}/1"}


def leaves(value, path=()):
    """Yield the path of every scalar in a document."""
    if isinstance(value, dict):
        for key in value:
            yield from leaves(value[key], (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path


def test_schemas_refuse_what_is_wrong():
    """Removing any member of a decision, or giving it a wrong type, is noticed: the schema is not empty."""
    good = json.loads(canonical(envelope("decision", decisions()[:1])))
    validator = jsonschema.Draft202012Validator(schema("decision"))
    assert validator.is_valid(good)
    for path in leaves(good):
        bad = copy.deepcopy(good)
        place = bad
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = {"not": "a scalar"}
        assert not validator.is_valid(bad), path
