"""Reports and summaries by strangers: read strictly, and never more than information."""

import copy
from datetime import UTC, datetime, timedelta

import pytest
from claims_world import MODEL, about, dataset, train

from weighbridge.claims import predicates as p
from weighbridge.claims import words
from weighbridge.claims.provenance import read_provenance
from weighbridge.core.digest import Digest
from weighbridge.core.errors import InternalError, VerificationFailed
from weighbridge.core.lineage import Relation
from weighbridge.core.statement import Statement, subjects_of
from weighbridge.core.tier import Role, Stage

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=3)
VULNS = p.vulns(
    MODEL,
    {"uri": "pkg:github/aquasecurity/trivy@1", "version": "1"},
    {"lastUpdate": "2026-11-21T00:00:00Z"},
    {"CVE-2026-1": {"nvd": "high", "cvss_score": "8.1"}},
    started=NOW,
    finished=LATER,
)
SVR = p.svr(MODEL, "https://example.test/verifier/v2", ["SLSA_BUILD_LEVEL_3"], created=NOW)
COSIGN = {
    "invocation": {"parameters": None, "uri": "", "event_id": "", "builder.id": ""},
    "scanner": {
        "uri": "pkg:x",
        "version": "1",
        "db": {"uri": "", "version": ""},
        "result": {"anything": [1]},
    },
    "metadata": {"scanStartedOn": "2026-11-22T12:00:00Z", "scanFinishedOn": "2026-11-22T12:00:01Z"},
}
VSA = {
    "verifier": {"id": "https://example.test/verifier"},
    "resourceUri": "pkg:huggingface/lab/model",
    "policy": {"uri": "https://example.test/policy"},
    "verificationResult": "PASSED",
    "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
    "timeVerified": "2026-11-22T12:00:00Z",
}


def of(kind, predicate, model=MODEL):
    return Statement(subjects_of(model), kind, predicate)


def refusal(kind, predicate):
    with pytest.raises(VerificationFailed) as caught:
        p.read_claim(of(kind, predicate))
    assert caught.value.check == "claim.form"
    return caught.value.cause


def test_vulnerabilities_come_back():
    claim = p.read_claim(Statement.decode(VULNS.encode()))
    assert (claim.stage, p.role_of(VULNS)) == (Stage.SCAN, Role.SCAN)
    assert VULNS.predicate_type == "https://in-toto.io/attestation/vulns/v0.2"
    assert claim.detail["kind"] == "vulns"
    assert claim.detail["found"] == {"CVE-2026-1": {"nvd": "high", "cvss_score": "8.1"}}
    assert claim.detail["database"] == "2026-11-21T00:00:00Z"
    assert "ruleset" not in claim.detail, "it is not the gate's scan"


def test_the_older_form_may_nest_a_vulnerability():
    row = copy.deepcopy(dict(VULNS.predicate))
    row["scanner"]["result"] = [
        {"vulnerability": {"id": "GHSA-1", "severity": {"method": "nvd", "score": "low"}}}
    ]
    claim = p.read_claim(of("https://in-toto.io/attestation/vulns/v0.1", row))
    assert claim.detail["found"] == {"GHSA-1": {"nvd": "low"}}


def test_cosigns_form_leaves_the_result_to_the_scanner():
    claim = p.read_claim(of("https://cosign.sigstore.dev/attestation/vuln/v1", COSIGN))
    assert (claim.detail["found"], claim.detail["database"]) == (None, "")
    bare = {**COSIGN, "scanner": {"uri": "pkg:x", "result": {}}}
    assert p.read_claim(of(words.VULNS_COSIGN, bare)).detail["version"] == ""


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.pop("scanner"),
        lambda row: row.pop("metadata"),
        lambda row: row["scanner"].pop("uri"),
        lambda row: row["scanner"].pop("db"),
        lambda row: row["scanner"]["db"].pop("lastUpdate"),
        lambda row: row["scanner"]["db"].update(lastUpdate="yesterday"),
        lambda row: row["scanner"].pop("result"),
        lambda row: row["scanner"].update(result={}),
        lambda row: row["scanner"].update(result=["CVE"]),
        lambda row: row["scanner"].update(result=[{"id": "CVE"}]),
        lambda row: row["scanner"].update(result=[{"id": "", "severity": []}]),
        lambda row: row["scanner"].update(result=[{"id": "CVE", "severity": "high"}]),
        lambda row: row["scanner"].update(result=[{"id": "CVE", "severity": [{"method": "nvd"}]}]),
        lambda row: row["scanner"].update(
            result=[{"id": "CVE", "severity": [{"method": "nvd", "score": 3}]}]
        ),
        lambda row: row["scanner"].update(version=3),
        lambda row: row["metadata"].pop("scanStartedOn"),
        lambda row: row["metadata"].update(scanFinishedOn="2026-11-22T11:59:59Z"),
    ],
)
def test_reports_of_another_form(change):
    row = copy.deepcopy(dict(VULNS.predicate))
    change(row)
    refusal(words.VULNS, row)


def test_a_list_is_no_object_that_has_its_words():
    row = copy.deepcopy(dict(VULNS.predicate))
    row["scanner"]["result"] = [{"id": "CVE", "severity": [["method", "score"]]}]
    assert refusal(words.VULNS, row) == "method is missing"


def test_too_many_vulnerabilities():
    row = copy.deepcopy(dict(VULNS.predicate))
    row["scanner"]["result"] *= 10_001
    refusal(words.VULNS, row)
    row["scanner"]["result"] = row["scanner"]["result"][:10_000]
    assert p.read_claim(of(words.VULNS, row))


def test_a_strangers_summary_admits_nothing():
    for statement, kind in ((of(words.VSA, VSA), "summary"), (SVR, "result")):
        claim = p.read_claim(Statement.decode(statement.encode()))
        assert (claim.stage, claim.detail["kind"]) == (Stage.ADMIT, kind)
        assert not {"tier", "registry", "project", "decision"} & set(claim.detail)
    assert p.read_claim(SVR).detail["properties"] == ["SLSA_BUILD_LEVEL_3"]
    assert p.read_claim(of(words.VSA, VSA)).detail["levels"] == ["SLSA_BUILD_LEVEL_3"]


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.pop("verifier"),
        lambda row: row["verifier"].pop("id"),
        lambda row: row["verifier"].pop("policies"),
        lambda row: row["verifier"].update(policies=["x"]),
        lambda row: row["verifier"].update(policies={}),
        lambda row: row.pop("timeCreated"),
        lambda row: row.update(timeCreated="now"),
        lambda row: row.pop("properties"),
        lambda row: row.update(properties="SLSA_BUILD_LEVEL_3"),
        lambda row: row.update(properties=[""]),
        lambda row: row.update(properties=[3]),
    ],
)
def test_results_of_another_form(change):
    row = copy.deepcopy(dict(SVR.predicate))
    change(row)
    refusal(words.SVR, row)


@pytest.mark.parametrize("version", ["1.4", "1.5", "1.6", "1.7"])
def test_a_bill_of_materials_may_name_its_version_in_its_type(version):
    row = {"bomFormat": "CycloneDX", "specVersion": version}
    statement = of(f"https://cyclonedx.org/bom/v{version}", row)
    assert p.read_claim(statement).stage is Stage.BOM
    assert p.role_of(statement) is Role.BOM
    assert "another one" in refusal(f"https://cyclonedx.org/bom/v{version}", {**row, "specVersion": "1.3"})


def test_tests_that_ran_are_named():
    row = dict(p.evaluate(about("model"), "FAILED", {"a": 1}, invocation="i").predicate)
    row["failedTests"] = ["toxicity"]
    assert p.read_claim(of(words.TEST_RESULT, row)).detail["failedTests"] == ["toxicity"]
    refusal(words.TEST_RESULT, {**row, "passedTests": "all"})
    refusal(words.TEST_RESULT, {**row, "warnedTests": [""]})


# Builds.

LOCK = p.Material("lock", "uv.lock", Digest.of(b"lock"))
CODE = p.Material("code", "trainer", Digest("sha1", "a" * 40), "git+https://example.test/trainer")


def built(**options):
    parents = [p.Parent(dataset("d"), Relation.DATASET)]
    options = {"builder": "b", "invocation": "i", **options}
    return p.train(about("model"), "train", parents, **options)


def test_locks_and_code_are_named_by_digest_and_are_no_ancestors():
    claim = p.read_claim(built(materials=[LOCK, CODE], parameters={"epochs": 3}, started=NOW, finished=LATER))
    assert [row["role"] for row in claim.detail["materials"]] == ["lock", "code"]
    assert claim.detail["materials"][1] == {
        "role": "code", "name": "trainer", "uri": "git+https://example.test/trainer", "digest": f"sha1:{'a' * 40}",
    }  # fmt: skip
    assert [parent.digest for parent in claim.parents] == [dataset("d")]
    assert claim.detail["parameters"] == {"epochs": 3}
    assert (claim.detail["started"], claim.detail["finished"]) == (
        "2026-11-22T12:00:00Z",
        "2026-11-22T12:03:00Z",
    )


@pytest.mark.parametrize(
    "row",
    [
        {"digest": {"sha256": "0" * 64}, "annotations": {words.MATERIAL_NOTE: "secret"}},
        {"digest": {"sha256": "0" * 63}, "annotations": {words.MATERIAL_NOTE: "lock"}},
        {"digest": {"md5": "0" * 32}, "annotations": {words.MATERIAL_NOTE: "lock"}},
        {"annotations": {words.MATERIAL_NOTE: "lock"}},
        {"digest": {"sha256": 3}},
        {"digest": []},
        {"uri": 3},
        {"name": None},
        {"annotations": 3},
        "text",
        {
            "digest": {"sha256": dataset("e").hex},
            "annotations": {
                words.MATERIAL_NOTE: "lock",
                words.IDENTITY_NOTE: str(dataset("e")),
                words.RELATION_NOTE: "dataset",
            },
        },
    ],
)
def test_materials_of_another_form(row):
    statement = Statement.decode(built().encode())
    statement.predicate["buildDefinition"]["resolvedDependencies"].append(row)
    with pytest.raises(VerificationFailed):
        p.read_claim(statement)


def test_what_is_no_material_is_not_written():
    with pytest.raises(InternalError):
        built(materials=[p.Material("secret", "x", Digest.of(b"x"))])
    with pytest.raises(VerificationFailed):
        built(started=LATER, finished=NOW)


def test_a_dataset_is_named_by_its_files():
    with pytest.raises(VerificationFailed) as caught:
        train(about("model"), "train", p.Parent(about("base"), Relation.DATASET))
    assert "named by its files" in caught.value.cause


@pytest.mark.parametrize("method", ["quantize", "prune"])
def test_some_builds_start_from_one_model(method):
    relation = words.METHODS[method].relation
    with pytest.raises(VerificationFailed) as caught:
        train(about("model"), method, p.Parent(about("base"), relation), p.Parent(about("left"), relation))
    assert "names at most 1" in caught.value.cause


def converted(**changes):
    options = {
        "equivalence": "proven", "source_root": "aa", "output_root": "aa", "method": "rebuilt", "builder": "b",
        "invocation": "i",
    }  # fmt: skip
    return p.build_conversion(MODEL, Digest("wb1", "3" * 64), **(options | changes))


def test_a_conversion_may_be_said_as_a_build():
    statement = converted(materials=[LOCK], finished=NOW)
    claim = p.read_claim(Statement.decode(statement.encode()))
    assert (claim.stage, p.role_of(statement)) == (Stage.CONVERT, Role.CONVERT)
    assert claim.parents == (p.Parent(Digest("wb1", "3" * 64), Relation.CONVERSION),)
    assert {claim.detail[name] for name in ("equivalence", "source_root", "method", "tool")} == {
        "proven", "aa", "rebuilt", "b",
    }  # fmt: skip
    assert set(claim.about) == {MODEL.digest, MODEL.weights}


@pytest.mark.parametrize(
    "changes",
    [{"output_root": "bb"}, {"equivalence": "likely"}, {"method": ""}, {"builder": ""}, {"invocation": ""}],
)
def test_conversions_that_cannot_be_built(changes):
    with pytest.raises(VerificationFailed):
        converted(**changes)


@pytest.mark.parametrize("name", ["weighbridge.manifest/1", "weighbridge.equivalence/1"])
def test_a_conversion_carries_what_it_rests_on(name):
    statement = Statement.decode(converted().encode())
    rows = statement.predicate["runDetails"]["byproducts"]
    statement.predicate["runDetails"]["byproducts"] = [row for row in rows if row["name"] != name]
    with pytest.raises(VerificationFailed):
        p.read_claim(statement)


def test_a_conversion_starts_from_one_whole_model():
    for parents in (
        [(Digest("wbw1", "3" * 64), "conversion")],
        [(Digest("wb1", "3" * 64), "conversion"), (Digest("wb1", "4" * 64), "conversion")],
        [(Digest("wb1", "3" * 64), "merge")],
        [],
    ):
        statement = Statement.decode(converted().encode())
        statement.predicate["buildDefinition"]["resolvedDependencies"] = [
            {
                "digest": {"sha256": digest.hex},
                "annotations": {words.IDENTITY_NOTE: str(digest), words.RELATION_NOTE: relation},
            }
            for digest, relation in parents
        ]
        with pytest.raises(VerificationFailed):
            p.read_claim(statement)


# Provenance of any kind.

OLD = {
    "builder": {"id": "https://gitlab.example/-/runners/1"},
    "buildType": "https://gitlab.example/buildtype",
    "invocation": {
        "configSource": {"uri": "git+https://x", "digest": {"sha1": "a" * 40}, "entryPoint": "train"},
        "parameters": {"EPOCHS": "3"},
        "environment": {"arch": "amd64"},
    },
    "buildConfig": {"steps": []},
    "metadata": {
        "buildInvocationId": "7", "buildStartedOn": "2026-11-22T12:00:00Z", "buildFinishedOn": "2026-11-22T13:00:00Z",
        "completeness": {"parameters": True}, "reproducible": False,
    },
    "materials": [{"uri": "pkg:docker/x", "digest": {"sha256": "b" * 64}}],
}  # fmt: skip


def test_the_older_provenance_is_mapped_where_that_is_exact():
    found = read_provenance(of(words.PROVENANCE_0_2, OLD))
    assert (found.version, found.builder, found.invocation) == (
        "v0.2",
        "https://gitlab.example/-/runners/1",
        "7",
    )
    assert found.external == {"EPOCHS": "3", "entryPoint": "train", "source": "git+https://x"}
    assert found.internal == {"arch": "amd64"}
    assert [row.uri for row in found.dependencies] == ["pkg:docker/x", "git+https://x"]
    assert found.started is not None
    assert found.finished is not None
    assert found.lost == ("buildConfig", "metadata.completeness", "metadata.reproducible")
    assert p.read_claim(of(words.PROVENANCE_0_2, OLD)) is None, "it is carried and proves no link"


def test_little_is_required_of_a_strangers_provenance():
    bare = {"builder": {"id": "b"}, "buildType": "t"}
    found = read_provenance(of(words.PROVENANCE_0_2, bare))
    assert (found.external, found.dependencies, found.lost, found.invocation) == ({}, (), (), "")
    v1 = {
        "buildDefinition": {"buildType": "t", "externalParameters": {}},
        "runDetails": {"builder": {"id": "b"}},
    }
    found = read_provenance(of(words.PROVENANCE, v1))
    assert (found.version, found.build_type, found.invocation, found.lost) == ("v1", "t", "", ())
    assert read_provenance(of(words.TEST_RESULT, {})) is None


def test_a_parameter_is_not_overwritten_by_what_is_mapped_beside_it():
    row = copy.deepcopy(OLD)
    row["invocation"]["parameters"]["entryPoint"] = "mine"
    assert read_provenance(of(words.PROVENANCE_0_2, row)).external["entryPoint"] == "mine"


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        (words.PROVENANCE_0_2, {**OLD, "builder": {}}),
        (words.PROVENANCE_0_2, {**OLD, "buildType": ""}),
        (words.PROVENANCE_0_2, {**OLD, "materials": {"uri": "x"}}),
        (words.PROVENANCE_0_2, {**OLD, "materials": 3}),
        (words.PROVENANCE_0_2, {**OLD, "invocation": []}),
        (words.PROVENANCE_0_2, {**OLD, "metadata": {"buildStartedOn": "soon"}}),
        (words.PROVENANCE, {}),
        (words.PROVENANCE, {"buildDefinition": {"buildType": "t"}, "runDetails": {"builder": {"id": "b"}}}),
        (
            words.PROVENANCE,
            {"buildDefinition": {"buildType": "t", "externalParameters": {}}, "runDetails": {}},
        ),
    ],
)
def test_provenance_of_another_form(kind, row):
    with pytest.raises(VerificationFailed) as caught:
        read_provenance(of(kind, row))
    assert caught.value.check == "claim.form"
