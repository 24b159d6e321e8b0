"""What is read of builds and reports holds by conditions; each is asked for by what a reader would be told without it."""

import base64
from datetime import UTC, datetime

import pytest
from claims_world import DATASET, MERGE, MODEL, about, chunks, dataset, package, train

from weighbridge.claims import predicates as p
from weighbridge.claims import reports, words
from weighbridge.claims.provenance import read_provenance
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.statement import Statement, subject_of, subjects_of
from weighbridge.core.tier import Stage

NOON = "2026-11-22T12:00:00Z"
ANCESTORS = [p.Parent(dataset("d"), DATASET)]
SCANNER = {"uri": "pkg:scanner", "db": {"lastUpdate": NOON}, "result": []}
TIMES = {"scanStartedOn": NOON, "scanFinishedOn": NOON}
VSA = {
    "verifier": {"id": "https://example.test/verifier"},
    "resourceUri": "pkg:huggingface/lab/model",
    "policy": {"uri": "https://example.test/policy"},
    "verificationResult": "PASSED",
    "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
}
ADMITTED = {
    "registry": "example", "project": "default", "tier": "trusted", "decision": "sha256:d", "expires": NOON,
}  # fmt: skip


def of(kind, predicate, subjects=None):
    return Statement(subjects or subjects_of(MODEL), kind, predicate)


def told(read, statement):
    """Return why a reader refuses a statement."""
    with pytest.raises(VerificationFailed) as caught:
        read(statement)
    assert caught.value.check == "claim.form"
    return caught.value.cause


# What a statement is, its type alone says.


@pytest.mark.parametrize(
    ("kind", "stage"),
    [("https://example.test/build", None), (words.PROVENANCE_0_2, None), (words.TEST_RESULT, Stage.EVALUATE)],
)
def test_a_build_type_of_ours_in_another_statement_makes_no_build(kind, stage):
    """Whoever may evaluate could otherwise say how weights were made, or the other way round."""
    row = train(about("model"), "train", *ANCESTORS).predicate
    assert words.stage_of(of(words.PROVENANCE, row)) is Stage.TRAIN
    assert words.method_of(of(kind, row)) is None
    assert words.stage_of(of(kind, row)) is stage


def test_a_decision_beside_a_claim_hides_no_claim():
    """A member nobody knows is tolerated; it must not turn an acceptance or an evaluation into nothing."""
    for kind, stage in (
        (words.VSA, Stage.ADMIT),
        (words.TEST_RESULT, Stage.EVALUATE),
        (words.DATASET, Stage.DATA),
    ):
        assert words.stage_of(of(kind, {words.DECIDED: {}})) is stage
    assert words.stage_of(of(words.SVR, {words.DECIDED: {}})) is None


# Provenance by anybody.


def v1(**changes):
    return of(
        words.PROVENANCE,
        {
            "buildDefinition": {"buildType": "t", "externalParameters": {}, **changes},
            "runDetails": {"builder": {"id": "b"}},
        },
    )


def old(**members):
    return read_provenance(of(words.PROVENANCE_0_2, {"builder": {"id": "b"}, "buildType": "t", **members}))


def test_only_what_was_said_can_be_lost():
    assert old(metadata={"buildInvocationId": "7"}).lost == ()
    assert old(metadata={"completeness": {}}).lost == ("metadata.completeness",)
    assert old(buildConfig={}).lost == ("buildConfig",)


@pytest.mark.parametrize("metadata", [3, "completeness", ["completeness"]])
def test_metadata_is_an_object_before_anything_is_looked_for_in_it(metadata):
    statement = of(words.PROVENANCE_0_2, {"builder": {"id": "b"}, "buildType": "t", "metadata": metadata})
    assert told(read_provenance, statement) == "metadata is not an object"


def test_a_build_may_say_when_it_began_or_ended_alone():
    found = old(metadata={"buildStartedOn": NOON})
    assert (found.started, found.finished) == (datetime(2026, 11, 22, 12, tzinfo=UTC), None)
    found = old(metadata={"buildFinishedOn": NOON})
    assert (found.started, found.finished) == (None, datetime(2026, 11, 22, 12, tzinfo=UTC))


def test_a_build_may_end_in_the_second_in_which_it_began():
    found = old(metadata={"buildStartedOn": NOON, "buildFinishedOn": NOON})
    assert found.started == found.finished is not None


@pytest.mark.parametrize("rows", [{}, "", 0])
def test_what_is_no_list_is_not_taken_for_an_empty_one(rows):
    """A build would otherwise seem to have resolved nothing."""
    assert told(read_provenance, v1(resolvedDependencies=rows)) == "dependencies are a list"


@pytest.mark.parametrize("row", ["text", [], None, 3])
def test_what_is_no_dependency_is_said(row):
    assert told(read_provenance, v1(resolvedDependencies=[row])) == "a dependency is an object"


# Builds of ours.


def as_dependency(digest, relation):
    return {
        "digest": {"sha256": digest.hex},
        "annotations": {words.IDENTITY_NOTE: str(digest), words.RELATION_NOTE: relation.value},
    }


def with_ancestor(statement, digest, relation):
    statement = Statement.decode(statement.encode())
    statement.predicate["buildDefinition"].setdefault("resolvedDependencies", []).append(
        as_dependency(digest, relation)
    )
    return statement


def test_a_merge_cannot_pass_for_a_training():
    """Two models' weights would come in under the name of a training from data alone."""
    statement = with_ancestor(train(about("model"), "train", *ANCESTORS), about("left"), MERGE)
    assert told(p.read_claim, statement) == "a build of type train has no ancestor by merge"


def test_packaging_has_no_ancestors():
    """It says which files and weights belong together; a base named beside them would be proven by nobody."""
    assert p.read_claim(package(MODEL)).parents == ()
    for relation in (DATASET, MERGE):
        statement = with_ancestor(package(MODEL), dataset("d"), relation)
        assert told(p.read_claim, statement) == f"a build of type package has no ancestor by {relation.value}"


def test_packaging_by_others_may_leave_out_what_it_has_none_of():
    statement = Statement.decode(package(MODEL).encode())
    statement.predicate["buildDefinition"].pop("resolvedDependencies", None)
    assert p.read_claim(statement) == p.read_claim(package(MODEL))


def test_only_packaging_says_which_files_a_model_has():
    """What it carries decides which files count; a claim of another kind, or of none, carries nothing of the sort."""
    assert p.packaged(package(MODEL)) == (MODEL, chunks(MODEL))
    trained = train(about("model"), "train", *ANCESTORS)
    trained.predicate["runDetails"]["byproducts"] = package(MODEL).predicate["runDetails"]["byproducts"]
    for statement in (trained, v1()):
        assert p.stage_of(statement) is not Stage.PACKAGE
        with pytest.raises(VerificationFailed) as caught:
            p.packaged(statement)
        assert (caught.value.problem, caught.value.check) == (
            "this claim carries no list of files",
            "claim.form",
        )


def test_code_is_named_by_its_commit_as_others_name_one():
    """In-toto calls a git commit `gitCommit`; SHA-1 of a file is something else."""
    code = p.Material("code", "trainer", Digest("sha1", "a" * 40))
    lock = p.Material("lock", "uv.lock", Digest.of(b"lock"))
    statement = p.train(
        about("model"), "train", ANCESTORS, builder="b", invocation="i", materials=[code, lock], internal={"gpus": 8}
    )  # fmt: skip
    definition = statement.predicate["buildDefinition"]
    assert [list(row["digest"]) for row in definition["resolvedDependencies"][1:]] == [
        ["gitCommit"],
        ["sha256"],
    ]
    assert definition["internalParameters"] == {"gpus": 8}
    assert read_provenance(statement).internal == {"gpus": 8}
    plain = train(about("model"), "train", *ANCESTORS).predicate["buildDefinition"]
    assert "internalParameters" not in plain


@pytest.mark.parametrize("method", words.TRAINING)
@pytest.mark.parametrize("rows", [[], None, "gone"])
def test_no_training_comes_from_nothing(method, rows):
    """Each kind of training names what it needs, and a refusal says how many and by which relation."""
    relation, least = words.METHODS[method].relation, words.METHODS[method].least
    ancestor = dataset if relation is DATASET else about
    names = ("left", "right")[: max(1, least)]
    statement = train(about("model"), method, *(p.Parent(ancestor(name), relation) for name in names))
    assert p.read_claim(statement) is not None
    statement = Statement.decode(statement.encode())
    definition = statement.predicate["buildDefinition"]
    definition["resolvedDependencies"] = rows
    if rows == "gone":
        del definition["resolvedDependencies"]
    wanted = f"a build of type {method} names at least {least} by {relation.value}, and this one names 0"
    assert told(p.read_claim, statement) == ("dependencies are a list" if rows is None else wanted)


@pytest.mark.parametrize("content", [b"[]", b"3", b"null", b'"equivalence"', b"{}"])
def test_a_proof_of_equal_tensors_is_an_object(content):
    """A conversion would otherwise rest on nothing."""
    statement = p.build_conversion(
        MODEL, dataset("source"), equivalence="proven", source_root="a", output_root="a", method="rebuilt",
        builder="b", invocation="i",
    )  # fmt: skip
    statement = Statement.decode(statement.encode())
    (row,) = (r for r in statement.predicate["runDetails"]["byproducts"] if "equivalence" in r["name"])
    row.update(content=base64.b64encode(content).decode(), digest={"sha256": Digest.of(content).hex})
    assert told(p.read_claim, statement) == "equivalence is missing"


# Datasets made of datasets.


def made_of(**changes):
    parent = as_dependency(dataset("part"), DATASET) | changes
    predicate = {"source": "s", "licence": "MIT", "invocation": "i", "parents": [parent]}
    return of(words.DATASET, predicate, (subject_of(dataset("whole")),))


def test_a_dataset_names_what_it_is_made_of():
    assert p.read_claim(made_of()).parents == (p.Parent(dataset("part"), DATASET),)
    assert p.read_claim(made_of(name="a part")).parents[0].name == "a part"
    assert p.read_claim(made_of(name="")).parents[0].name == ""
    for name in (3, None, ["a part"]):
        assert told(p.read_claim, made_of(name=name)) == "name is no string, or an empty one"


@pytest.mark.parametrize("notes", [3, None, [], "weighbridge:identity", ["weighbridge:identity"]])
def test_what_marks_a_part_is_an_object(notes):
    assert told(p.read_claim, made_of(annotations=notes)) == "annotations is not an object"


def test_a_part_without_marks_has_no_identity():
    statement = made_of()
    del statement.predicate["parents"][0]["annotations"]
    assert told(p.read_claim, statement) == "a parent has no identity"


# Reports on a model.


def vulns(scanner=(), times=(), kind=words.VULNS):
    return of(kind, {"scanner": {**SCANNER, **dict(scanner)}, "metadata": {**TIMES, **dict(times)}})


def found(*rows):
    return p.read_claim(vulns({"result": list(rows)})).detail["found"]


def test_a_scan_may_end_in_the_second_in_which_it_began():
    assert p.read_claim(vulns()).detail["finished"] == NOON


def test_the_age_of_the_database_is_known_or_the_report_is_refused():
    """Policies ask how old a database was; cosign's form alone may leave it open."""
    bare = {"uri": "pkg:scanner", "result": []}
    assert told(p.read_claim, of(words.VULNS, {"scanner": bare, "metadata": TIMES})) == "db is missing"
    for kind in (words.VULNS, words.VULNS_0_1, words.VULNS_COSIGN):
        assert p.read_claim(vulns(kind=kind)).detail["database"] == NOON
    assert p.read_claim(vulns({"db": {}}, kind=words.VULNS_COSIGN)).detail["database"] == ""


def test_a_vulnerability_with_an_id_is_that_one_whatever_stands_beside_it():
    row = {"id": "CVE-1", "severity": [], "vulnerability": {"id": "CVE-2", "severity": []}}
    assert found(row) == {"CVE-1": {}}
    assert found({"id": "CVE-1", "severity": [], "vulnerability": "a sentence"}) == {"CVE-1": {}}


def test_a_vulnerability_without_a_name_is_refused_for_that():
    assert told(p.read_claim, vulns({"result": [{"severity": []}]})) == "id is missing"


@pytest.mark.parametrize("severity", ["", "high", 0, None])
def test_a_severity_that_is_no_list_is_not_taken_for_none(severity):
    """A vulnerability whose severity could not be read would otherwise stand there without any."""
    row = {"id": "CVE-1", "severity": severity}
    assert told(p.read_claim, vulns({"result": [row]})) == "severity is a list"


# Summaries.


@pytest.mark.parametrize("result", ["passed", "MAYBE", "WARNED"])
def test_a_summary_says_passed_or_failed(result):
    statement = of(words.VSA, {**VSA, "verificationResult": result})
    assert told(p.read_claim, statement) == "verificationResult is neither PASSED nor FAILED"
    for known in ("PASSED", "FAILED"):
        claim = p.read_claim(of(words.VSA, {**VSA, "verificationResult": known}))
        assert claim.detail["result"] == known


@pytest.mark.parametrize(
    ("kind", "predicate"),
    [(words.VSA, VSA), (words.SVR, reports.svr_predicate("v", [], datetime(2026, 11, 22, tzinfo=UTC)))],
)
def test_a_verifier_speaks_of_a_whole_model(kind, predicate):
    """Weights alone come with any configuration and any code."""
    assert p.read_claim(of(kind, predicate)) is not None
    statement = of(kind, predicate, (subject_of(MODEL.weights),))
    assert told(p.read_claim, statement) == "it must be about a whole model (wb1:)"


@pytest.mark.parametrize("policy", [{}, {"uri": ""}, {"digest": {"sha256": "0" * 64}}])
def test_a_summary_names_the_policy(policy):
    told(p.read_claim, of(words.VSA, {**VSA, "policy": policy}))


def test_a_summary_says_when_it_was_found_if_it_does():
    assert "verified_at" not in p.read_claim(of(words.VSA, VSA)).detail
    claim = p.read_claim(of(words.VSA, {**VSA, "timeVerified": "2026-11-22T14:00:00+02:00"}))
    assert claim.detail["verified_at"] == NOON


def test_an_admission_is_told_with_its_registry_and_its_tier():
    claim = p.read_claim(of(words.VSA, {**VSA, words.ADMISSION: ADMITTED}))
    assert {name: claim.detail[name] for name in ADMITTED} == ADMITTED
    for name in ADMITTED:
        row = {key: value for key, value in ADMITTED.items() if key != name}
        assert told(p.read_claim, of(words.VSA, {**VSA, words.ADMISSION: row})) == f"{name} is missing"


@pytest.mark.parametrize("policies", [[[]], [""], [["ab"]], [{}, "x"], [None]])
def test_policies_are_objects_and_nothing_that_could_be_made_into_one(policies):
    row = reports.svr_predicate("v", [], datetime(2026, 11, 22, tzinfo=UTC))
    row["verifier"]["policies"] = policies
    assert told(p.read_claim, of(words.SVR, row)) == "policies are a list of objects"
    row["verifier"]["policies"] = [{"uri": "x"}]
    assert p.read_claim(of(words.SVR, row)).detail["policies"] == [{"uri": "x"}]
