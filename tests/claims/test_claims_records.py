"""Records and summaries: what the gate writes down, and what a loader reads."""

import copy
from datetime import UTC, datetime, timedelta

import pytest

from weighbridge.claims import words
from weighbridge.claims.predicates import kind_of, read_claim, role_of, stage_of
from weighbridge.claims.records import Record, event, read_event
from weighbridge.claims.summary import Summary, build_vsa, read_vsa
from weighbridge.core.advisory import Advisory, AdvisorySeverity
from weighbridge.core.digest import Digest
from weighbridge.core.distrust import Distrust, Distrusted
from weighbridge.core.errors import InternalError, VerificationFailed
from weighbridge.core.lineage import AdvisoryKind
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.core.statement import Statement, Subject, subject_of
from weighbridge.core.tier import Role, Stage, Tier

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MODEL = Manifest.of(
    [FileEntry("m.safetensors", 3, Digest.of(b"m")), FileEntry("c.json", 2, Digest.of(b"{}"))]
)
ADVISORY = Advisory(
    AdvisoryKind.WEIGHTS,
    (MODEL.digest,),
    "poisoned",
    AdvisorySeverity.HIGH,
    "2026-11-01T00:00:00Z",
    "default",
)
DISTRUST = Distrust(
    Distrusted.SCANS, "a blind scanner", "2026-11-01T00:00:00Z", "default", before="2026-10-01T00:00:00Z"
)
BODIES = {
    "decision": {"decision": "allow"},
    "name": {"name": "search", "sequence": 3},
    "deployment": {"target": "prod/search"},
    "revocation": {"reason": "poisoned", "since": "2026-11-01T00:00:00Z"},
    "waiver": {"rule": "r", "fingerprint": "f" * 32, "reason": "reviewed", "expires": "2027-01-01T00:00:00Z"},
    "break-glass": {"reason": "the search is down", "expires": "2026-11-23T00:00:00Z"},
    "licence": {"licence": "MIT", "reason": "read"},
    "advisory": {"id": ADVISORY.id, **ADVISORY.body()},
    "lift": {"id": ADVISORY.id, "reason": "a false alarm", "since": "2026-11-02T00:00:00Z"},
    "policy": {"digest": str(Digest.of(b"policy")), "previous": "", "blob": "", "commit": ""},
    "mode": {"namespace": "search", "mode": "warn", "previous": "enforce", "reason": "a first week"},
    "approval": {"bundle": str(Digest.of(b"proposal")), "kind": "policy"},
    "distrust": {"id": DISTRUST.id, **DISTRUST.body()},
    "standing": {"status": "quarantined", "reason": "an advisory", "decision": str(Digest.of(b"decision"))},
    "token": {"id": "0f" * 8, "state": "granted", "digest": str(Digest.of(b"secret")), "holder": "ci",
              "rights": ["read"], "expires": "2026-12-01T00:00:00Z", "reason": "the nightly build"},
    "setting": {"key": "quota.models", "value": "40", "previous": "", "reason": "a small disk"},
}  # fmt: skip
ABOUT = dict.fromkeys(BODIES, (MODEL.digest,)) | {
    "policy": (),
    "mode": (),
    "approval": (),
    "distrust": (),
    "token": (),
    "setting": (),
}
"""What a record of each kind is about; those of a setting and of a distrust are about no model."""
ROLES = {
    "decision": Role.DECIDE,
    "name": Role.RECORD,
    "deployment": Role.RECORD,
    "revocation": Role.REVOKE,
    "waiver": Role.WAIVE,
    "break-glass": Role.WAIVE,
    "licence": Role.WAIVE,
    "advisory": Role.REVOKE,
    "lift": Role.REVOKE,
    "policy": Role.POLICY,
    "mode": Role.POLICY,
    "approval": Role.POLICY,
    "distrust": Role.REVOKE,
    "standing": Role.DECIDE,
    "token": Role.POLICY,
    "setting": Role.POLICY,
}


def record(kind, digests=(), **changes):
    digests = digests or ((DISTRUST.digest,) if kind == "distrust" else (MODEL.digest,))
    return event(kind, digests, BODIES[kind] | changes, project="default", actor="gate", at=NOW)


@pytest.mark.parametrize("kind", BODIES)
def test_a_record_comes_back(kind):
    statement = Statement.decode(record(kind).encode())
    assert read_event(statement) == Record(kind, ABOUT[kind], "default", "gate", NOW, BODIES[kind])
    assert kind_of(statement) == kind
    assert role_of(statement) is ROLES[kind]
    assert stage_of(statement) is None
    assert read_claim(statement) is None
    assert statement.predicate["schema"] == f"weighbridge.{kind}/1"


def test_every_kind_has_its_body_here():
    assert set(words.RECORD_ROLES) == set(BODIES)


def test_a_record_may_name_files_beside_models():
    statement = record("decision", (MODEL.digest, Digest.of(b"a file")))
    assert read_event(statement).about == (MODEL.digest,)


def test_a_claim_is_no_record():
    statement = Statement((subject_of(MODEL.digest),), words.DATASET, {})
    assert read_event(statement) is None
    assert kind_of(statement) is None


def test_unknown_kinds_are_not_written():
    with pytest.raises(InternalError):
        event("rumour", [MODEL.digest], {}, project="default", actor="gate", at=NOW)


def test_a_revocation_may_hit_several_identities():
    statement = record("revocation", (MODEL.digest, MODEL.weights))
    assert read_event(statement).about == (MODEL.digest, MODEL.weights)


def spoil(kind, change, subjects=None):
    good = record(kind)
    predicate = copy.deepcopy(dict(good.predicate))
    change(predicate)
    with pytest.raises(VerificationFailed) as caught:
        read_event(Statement(subjects or good.subjects, good.predicate_type, predicate))
    assert caught.value.check == "record.form"
    assert caught.value.cause


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("name", ["schema", "project", "actor", "at", "body"])
def test_every_record_has_schema_project_actor_and_time(kind, name):
    spoil(kind, lambda row: row.pop(name))
    for wrong in (None, 3, "", [], True):
        spoil(kind, lambda row, value=wrong: row.update({name: value}))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("name", "name"),
        ("deployment", "target"),
        ("revocation", "reason"),
        ("revocation", "since"),
        ("waiver", "rule"),
        ("waiver", "fingerprint"),
        ("waiver", "reason"),
        ("waiver", "expires"),
    ],
)
def test_what_a_kind_needs(kind, name):
    spoil(kind, lambda row: row["body"].pop(name))
    for wrong in (None, 3, "", []):
        spoil(kind, lambda row, value=wrong: row["body"].update({name: value}))


def test_records_that_cannot_be():
    spoil("waiver", lambda row: row.update(schema="weighbridge.revocation/1"))
    spoil("waiver", lambda row: row["body"].update(expires="some day"))
    spoil("revocation", lambda row: row["body"].update(since="2026-11-22"))
    spoil("revocation", lambda row: row["body"].update(more="\ud800"))
    spoil("name", lambda row: row.update(at="2026-11-22T00:00:00"))
    forged = Subject(str(MODEL.digest), (("sha256", "0" * 64),))
    spoil("revocation", lambda _: None, (forged,))
    spoil("revocation", lambda _: None, (subject_of(MODEL.digest), forged))
    spoil(
        "revocation", lambda _: None, (subject_of(MODEL.digest), Subject("./file", (("sha256", "0" * 64),)))
    )
    spoil("decision", lambda _: None, (subject_of(Digest.of(b"x")),))


@pytest.mark.parametrize(
    "digests", [(MODEL.weights,), (MODEL.digest, MODEL.weights), (MODEL.digest, Digest("wb1", "0" * 64))]
)
def test_a_waiver_is_for_one_model(digests):
    with pytest.raises(VerificationFailed, match="waiver is not well-formed"):
        record("waiver", digests)


# Verification summaries.

SUMMARY = Summary(
    manifest=MODEL.digest,
    weights=MODEL.weights,
    registry="example",
    project="default",
    tier=Tier.TRUSTED,
    passed=True,
    policy=Digest.of(b"policy"),
    decision=Digest.of(b"decision"),
    verified_at=NOW,
    expires=NOW + timedelta(days=7),
)


def vsa(**changes):
    parts = {
        "project": "default",
        "policy_digest": Digest.of(b"policy"),
        "decision_digest": Digest.of(b"decision"),
        "now": NOW,
        "expires": NOW + timedelta(days=7),
    }
    return build_vsa("example", Tier.TRUSTED, MODEL, **(parts | changes))


def test_a_summary_comes_back():
    statement = Statement.decode(vsa().encode())
    assert read_vsa(statement) == SUMMARY
    assert stage_of(statement) is Stage.ADMIT
    assert role_of(statement) is Role.ADMIT
    claim = read_claim(statement)
    assert claim.detail["expires"] == "2026-11-29T12:00:00Z"
    assert claim.detail["result"] == "PASSED"
    assert (claim.detail["registry"], claim.detail["tier"]) == ("example", "trusted")


def test_a_summary_that_ends_before_it_begins_is_not_written():
    with pytest.raises(VerificationFailed):
        vsa(expires=NOW)


def test_a_summary_has_what_the_specification_asks_for():
    row = vsa().predicate
    assert row["verifier"]["id"]
    assert row["timeVerified"] == "2026-11-22T12:00:00Z"
    assert row["resourceUri"] == f"weighbridge:example/trusted/{MODEL.digest}"
    assert row["policy"]["digest"] == {"sha256": Digest.of(b"policy").hex}
    assert row["verificationResult"] == "PASSED"
    assert row["verifiedLevels"]


def test_a_summary_of_a_model_without_weights():
    bare = Manifest.of([FileEntry("c.json", 2, Digest.of(b"{}"))])
    statement = build_vsa(
        "r", Tier.INTAKE, bare, project="p", policy_digest=Digest.of(b"p"), decision_digest=Digest.of(b"d"), now=NOW,
        expires=NOW + timedelta(hours=1),
    )  # fmt: skip
    assert read_vsa(statement).weights is None


def test_a_failed_summary_is_not_passed():
    statement = copy.deepcopy(vsa())
    statement.predicate["verificationResult"] = "FAILED"
    assert read_vsa(statement).passed is False


def spoil_summary(change=lambda _: None, subjects=None, kind=words.VSA):
    predicate = copy.deepcopy(dict(vsa().predicate))
    change(predicate)
    with pytest.raises(VerificationFailed) as caught:
        read_vsa(Statement(subjects or vsa().subjects, kind, predicate))
    assert caught.value.check == "summary.form"


@pytest.mark.parametrize(
    "name",
    ["timeVerified", "resourceUri", "policy", "inputAttestations", "verificationResult", words.ADMISSION],
)
def test_a_summary_without_a_member(name):
    spoil_summary(lambda row: row.pop(name))
    for wrong in (None, 3, "", {}, [3]):
        spoil_summary(lambda row, value=wrong: row.update({name: value}))


@pytest.mark.parametrize("name", ["registry", "project", "tier", "decision", "expires"])
def test_a_summary_without_a_member_of_ours(name):
    spoil_summary(lambda row: row[words.ADMISSION].pop(name))
    for wrong in (None, 3, "", {}):
        spoil_summary(lambda row, value=wrong: row[words.ADMISSION].update({name: value}))


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row[words.ADMISSION].update(registry="another"),
        lambda row: row[words.ADMISSION].update(tier="intake"),
        lambda row: row[words.ADMISSION].update(tier="golden"),
        lambda row: row[words.ADMISSION].update(decision=str(Digest.of(b"another"))),
        lambda row: row[words.ADMISSION].update(expires="2026-11-22T12:00:00Z"),
        lambda row: row[words.ADMISSION].update(expires="2020-01-01T00:00:00Z"),
        lambda row: row.update(resourceUri=f"weighbridge:example/trusted/wb1:{'0' * 64}"),
        lambda row: row.update(verificationResult="passed"),
        lambda row: row["policy"].update(digest={}),
        lambda row: row["policy"].update(digest={"sha256": "xyz"}),
        lambda row: row["inputAttestations"].append(row["inputAttestations"][0]),
    ],
)
def test_a_summary_that_contradicts_itself(change):
    spoil_summary(change)


def test_a_summary_about_something_else():
    other = Digest("wb1", "1" * 64)
    spoil_summary(subjects=(subject_of(other), subject_of(MODEL.weights)))
    spoil_summary(subjects=(subject_of(MODEL.weights),))
    spoil_summary(subjects=(subject_of(MODEL.digest), subject_of(other)))
    spoil_summary(subjects=(subject_of(other), subject_of(MODEL.digest)))
    forged = Subject(str(MODEL.digest), (("sha256", "0" * 64),))
    spoil_summary(subjects=(forged,))
    spoil_summary(subjects=(subject_of(MODEL.digest), forged))
    spoil_summary(kind=words.PROVENANCE)


def test_an_admission_read_as_a_claim_is_strict_as_well():
    for change in (
        lambda row: row.update(verificationResult="yes"),
        lambda row: row[words.ADMISSION].update(tier="golden"),
        lambda row: row[words.ADMISSION].update(expires="soon"),
        lambda row: row.update({words.ADMISSION: None}),
        lambda row: row.pop("verifier"),
        lambda row: row.pop("resourceUri"),
        lambda row: row.update(policy={}),
        lambda row: row.update(verifiedLevels="SLSA_BUILD_LEVEL_3"),
        lambda row: row.update(timeVerified="yesterday"),
    ):
        predicate = copy.deepcopy(dict(vsa().predicate))
        change(predicate)
        with pytest.raises(VerificationFailed):
            read_claim(Statement(vsa().subjects, words.VSA, predicate))
    with pytest.raises(VerificationFailed):
        read_claim(Statement((subject_of(MODEL.weights),), words.VSA, vsa().predicate))
