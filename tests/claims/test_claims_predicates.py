"""Claims: what is written can be read, and nothing else is."""

import base64
import copy
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.claims import predicates as p
from weighbridge.claims import words
from weighbridge.core.canonical import canonical
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadManifest, InternalError, VerificationFailed
from weighbridge.core.finding import Coverage, Report, Ruleset
from weighbridge.core.lineage import Relation
from weighbridge.core.manifest import ChunkTable, FileChunks, FileEntry, Manifest
from weighbridge.core.statement import Statement, Subject, subject_of
from weighbridge.core.tier import Role, Stage

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def wb(word, algorithm="wb1"):
    return Digest(algorithm, Digest.of(word.encode()).hex)


def manifest(word="model", *, weights=True):
    files = [FileEntry("config.json", 2, Digest.of(b"{}")), FileEntry("card.md", 4, Digest.of(word.encode()))]
    if weights:
        files.append(FileEntry("sub/model.safetensors", 9, Digest.of(b"weights " + word.encode())))
    return Manifest.of(files)


def table(of):
    return ChunkTable(tuple(FileChunks(entry.path, "a" * 64, ("b" * 64,)) for entry in of.files))


MODEL = manifest()
DATASET = wb("dataset")
PARENTS = (
    p.Parent(DATASET, Relation.DATASET, "a set"),
    p.Parent(wb("base", "wbw1"), Relation.FINE_TUNE),
)

WRITTEN = {
    Stage.DATA: p.data(
        DATASET, source="https://example.test", licence="MIT", invocation="run 1", description="d"
    ),
    Stage.TRAIN: p.train(
        MODEL.weights,
        "fine-tune",
        PARENTS,
        builder="https://example.test/trainer",
        invocation="run 2",
        model=MODEL.digest,
        parameters={"epochs": 3},
        started=NOW,
        finished=NOW,
        materials=[{"name": "code", "uri": "git+https://example.test/code", "digest": {"sha1": "0" * 40}}],
    ),
    Stage.PACKAGE: p.package(MODEL, table(MODEL), builder="https://example.test/packer", invocation="run 3"),
    Stage.EVALUATE: p.evaluate(MODEL.weights, "PASSED", {"accuracy": 0.9, "loss": 1}, invocation="run 4"),
    Stage.CONVERT: p.convert(
        MODEL,
        wb("source"),
        equivalence="proven",
        source_root="aa",
        output_root="aa",
        tool="weighbridge 0.1.0",
        invocation="run 5",
    ),
    Stage.ORIGIN: p.origin(
        MODEL,
        publisher="Lab",
        repository="lab/model",
        commit="c" * 40,
        matches_announced=True,
        licence="MIT",
        reviewer="r",
        reason="needed",
        expires=NOW,
        invocation="run 6",
    ),
    Stage.BOM: p.bom(MODEL, {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": []}),
    Stage.SCAN: p.scan(MODEL, Report("m", MODEL.digest, (), Coverage(), Ruleset("1", Digest.of(b"rules")))),
}
BOTH = tuple(sorted([MODEL.digest, MODEL.weights]))


def ancestors(method):
    """Return as many ancestors as a build type asks for."""
    rule = words.METHODS[method]
    algorithm = "wb1" if rule.relation is Relation.DATASET else "wbw1"
    return [p.Parent(wb(f"base {n}", algorithm), rule.relation) for n in range(rule.least)]


def read(statement):
    """Read a statement as it comes back from a bundle."""
    return p.read_claim(Statement.decode(statement.encode()))


@pytest.mark.parametrize("stage", WRITTEN, ids=lambda stage: stage.value)
def test_what_is_written_can_be_read(stage):
    claim = read(WRITTEN[stage])
    assert claim.stage is stage
    assert p.stage_of(WRITTEN[stage]) is stage
    assert p.role_of(WRITTEN[stage]) is Role(stage.value)
    assert claim == p.read_claim(WRITTEN[stage])


def test_what_each_claim_is_about():
    about = {stage: read(statement).about for stage, statement in WRITTEN.items()}
    assert about == {
        Stage.DATA: (DATASET,),
        Stage.TRAIN: BOTH,
        Stage.PACKAGE: BOTH,
        Stage.EVALUATE: (MODEL.weights,),
        Stage.CONVERT: BOTH,
        Stage.ORIGIN: BOTH,
        Stage.BOM: BOTH,
        Stage.SCAN: BOTH,
    }


def test_parents_come_back_with_their_relation():
    claim = read(WRITTEN[Stage.TRAIN])
    assert claim.parents == PARENTS
    assert claim.detail["relations"] == {str(DATASET): "dataset", str(wb("base", "wbw1")): "fine-tune"}
    assert claim.detail["method"] == "fine-tune"
    assert read(WRITTEN[Stage.CONVERT]).parents == (p.Parent(wb("source"), Relation.CONVERSION),)
    assert {
        read(WRITTEN[stage]).parents for stage in (Stage.PACKAGE, Stage.EVALUATE, Stage.ORIGIN, Stage.DATA)
    } == {()}


def test_invocations_come_back():
    found = {read(statement).invocation for stage, statement in WRITTEN.items()} - {""}
    assert found == {f"run {n}" for n in range(1, 7)}


def test_what_policies_ask_for():
    assert read(WRITTEN[Stage.EVALUATE]).detail["metrics"] == {"accuracy": 0.9, "loss": 1}
    assert read(WRITTEN[Stage.EVALUATE]).detail["result"] == "PASSED"
    assert read(WRITTEN[Stage.DATA]).detail["licence"] == "MIT"
    origin = read(WRITTEN[Stage.ORIGIN]).detail
    assert (origin["publisher"], origin["expires"], origin["matches_announced"]) == (
        "Lab",
        "2026-11-22T00:00:00Z",
        True,
    )
    convert = read(WRITTEN[Stage.CONVERT]).detail
    assert (convert["equivalence"], convert["method"]) == ("proven", "rebuilt")
    assert read(WRITTEN[Stage.SCAN]).detail["verdict"] == "clean"


def test_training_names_every_method():
    for method in words.TRAINING:
        statement = p.train(MODEL.weights, method, ancestors(method), builder="b", invocation="i")
        assert read(statement).detail["method"] == method
        assert p.stage_of(statement) is Stage.TRAIN
        assert words.method_for(words.METHODS[method].relation) == method
    with pytest.raises(InternalError):
        p.train(MODEL.weights, "package", PARENTS, builder="b", invocation="i")


def test_packaging_carries_the_chunk_table():
    statement = WRITTEN[Stage.PACKAGE]
    assert p.chunk_table(statement) == table(MODEL)
    digest = Digest.of(canonical(table(MODEL).to_json()))
    assert read(statement).detail["chunks"] == str(digest)
    with pytest.raises(VerificationFailed):
        p.chunk_table(WRITTEN[Stage.TRAIN])
    with pytest.raises(VerificationFailed):
        p.chunk_table(WRITTEN[Stage.DATA])


def test_a_model_without_weights_can_be_packaged_and_accepted():
    bare = manifest(weights=False)
    assert bare.weights is None
    claim = read(p.package(bare, table(bare), builder="b", invocation="i"))
    assert claim.about == (bare.digest,)


def test_a_dataset_may_be_made_of_datasets():
    parts = [p.Parent(wb("part"), Relation.DATASET)]
    statement = p.data(DATASET, source="s", licence="l", invocation="i", parents=parts)
    assert read(statement).parents == tuple(parts)


def test_a_model_that_came_as_files_has_no_commit():
    claim = read(
        p.origin(
            MODEL, publisher="Lab", repository="", commit="", matches_announced=False, licence="MIT", reviewer="r",
            reason="n", expires=NOW,
        )
    )  # fmt: skip
    assert (claim.detail["commit"], claim.invocation) == ("", "")


# What is not ours.


@pytest.mark.parametrize(
    ("kind", "predicate"),
    [
        ("https://example.test/anything", {}),
        ("https://in-toto.io/attestation/release/v0.1", {"purl": "x"}),
        (words.PROVENANCE, {}),
        (words.PROVENANCE, {"buildDefinition": None}),
        (words.PROVENANCE, {"buildDefinition": []}),
        (words.PROVENANCE, {"buildDefinition": {"buildType": ["x"]}}),
        (words.PROVENANCE, {"buildDefinition": {"buildType": "https://slsa.dev/container-based-build/v0.1"}}),
        (words.PROVENANCE, {"buildDefinition": {"buildType": "https://weighbridge.dev/buildtypes/train/v2"}}),
        (words.BOM + "/v2.0", {}),
        (words.BOM + "/v1.5/x", {}),
        (words.PROVENANCE_0_2, {"buildType": "https://weighbridge.dev/buildtypes/train/v1"}),
        ("https://in-toto.io/attestation/vulns/v0.3", {}),
        ("https://in-toto.io/attestation/svr/v0.1", {}),
    ],
)
def test_a_statement_that_is_not_ours_is_carried(kind, predicate):
    statement = Statement((subject_of(MODEL.digest),), kind, predicate)
    assert p.read_claim(statement) is None
    assert p.stage_of(statement) is None
    assert p.role_of(statement) is None


# Attacks on the form.


def spoil(stage, change, subjects=None):
    """Change a copy of a good predicate; return the reader's refusal."""
    good = WRITTEN[stage]
    predicate = copy.deepcopy(dict(good.predicate))
    change(predicate)
    statement = Statement(subjects or good.subjects, good.predicate_type, predicate)
    with pytest.raises(VerificationFailed) as caught:
        p.read_claim(statement)
    assert caught.value.check == "claim.form"
    assert caught.value.cause
    return caught.value.cause


MISSING = {
    Stage.DATA: ["source", "licence", "invocation"],
    Stage.EVALUATE: ["result", "configuration", words.METRICS],
    Stage.CONVERT: [
        "method", "equivalence", "source", "source_root", "output_root", "tool", "invocation", "manifest",
    ],
    Stage.ORIGIN: [
        "publisher", "repository", "commit", "matches_announced", "licence", "reviewer", "reason", "expires",
        "manifest",
    ],
    Stage.BOM: ["bomFormat", "specVersion"],
    Stage.SCAN: ["report"],
    Stage.PACKAGE: ["runDetails"],
    Stage.TRAIN: ["runDetails"],
}  # fmt: skip
WRONG = [None, 1, True, [], {}, [1], {"a": 1}, ""]


@pytest.mark.parametrize(
    ("stage", "name"), [(stage, name) for stage, names in MISSING.items() for name in names]
)
def test_a_missing_member(stage, name):
    cause = spoil(stage, lambda row: row.pop(name))
    assert cause == f"{name} is missing"


@pytest.mark.parametrize(
    ("stage", "name"), [(stage, name) for stage, names in MISSING.items() for name in names]
)
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_a_member_of_the_wrong_type(stage, name, wrong):
    good = WRITTEN[stage].predicate[name]
    allowed = {
        "configuration": [[], [1]],
        "matches_announced": [True],
        "repository": [""],
        "commit": [""],
    }.get(name, [])
    if type(wrong) is type(good) and wrong in allowed:
        return
    spoil(stage, lambda row: row.update({name: wrong}))


def definition(row):
    return row["buildDefinition"]


DEPENDENCY = {
    "digest": {"sha256": DATASET.hex},
    "annotations": {words.IDENTITY_NOTE: str(DATASET), words.RELATION_NOTE: "dataset"},
}


def parent(**changes):
    row = copy.deepcopy(DEPENDENCY)
    for path, value in changes.items():
        target, _, name = path.partition("__")
        notes = {"identity": words.IDENTITY_NOTE, "relation": words.RELATION_NOTE}
        if name:
            row[target][notes.get(name, name)] = value
        else:
            row[target] = value
    return row


BAD_PARENTS = {
    "another sha256": parent(digest__sha256="0" * 64),
    "no sha256": parent(digest={}),
    "no digest": {"annotations": DEPENDENCY["annotations"]},
    "a file": parent(annotations__identity=f"sha256:{DATASET.hex}"),
    "no identity": parent(annotations__identity=""),
    "not a digest": parent(annotations__identity="wb1:xyz"),
    "no text": parent(annotations__identity=7),
    "an unknown relation": parent(annotations__relation="cousin"),
    "no relation": parent(annotations={words.IDENTITY_NOTE: str(DATASET)}),
    "only a relation": parent(annotations={words.RELATION_NOTE: "dataset"}),
    "annotations of another type": parent(annotations=[]),
    "a name of another type": parent(name=3),
    "a string": "wb1:…",
    "nothing": None,
}


@pytest.mark.parametrize("row", BAD_PARENTS.values(), ids=BAD_PARENTS)
def test_a_parent_that_contradicts_itself(row):
    spoil(Stage.TRAIN, lambda whole: definition(whole)["resolvedDependencies"].append(row))


@pytest.mark.parametrize(
    ("which", "told"),
    [
        ("annotations of another type", "annotations is not an object"),
        ("a file", f"sha256:{DATASET.hex} is not the identity of a model, weights or a dataset"),
        ("a name of another type", "name is no string, or an empty one"),
    ],
)
def test_what_is_wrong_with_a_parent_is_said(which, told):
    row = BAD_PARENTS[which]
    assert told in spoil(Stage.TRAIN, lambda whole: definition(whole)["resolvedDependencies"].append(row))


def test_a_parent_in_two_relations():
    row = parent(annotations__relation="tokenizer")
    cause = spoil(Stage.TRAIN, lambda whole: definition(whole)["resolvedDependencies"].append(row))
    assert cause == "one parent stands in two relations"


@pytest.mark.parametrize(
    "rows", [[], [{"uri": "git+https://example.test", "digest": {"sha1": "0" * 40}}], {}, None]
)
def test_training_from_nothing(rows):
    spoil(Stage.TRAIN, lambda whole: definition(whole).update(resolvedDependencies=rows))
    spoil(Stage.TRAIN, lambda whole: definition(whole).pop("resolvedDependencies"))


@pytest.mark.parametrize("own", BOTH, ids=str)
def test_nothing_is_its_own_parent(own):
    row = parent(digest__sha256=own.hex, annotations__identity=str(own), annotations__relation="fine-tune")
    cause = spoil(Stage.TRAIN, lambda whole: definition(whole).update(resolvedDependencies=[row]))
    assert cause == "something cannot be its own parent"


def test_training_needs_its_run():
    for change in (
        lambda row: row["runDetails"].pop("builder"),
        lambda row: row["runDetails"].update(builder={}),
        lambda row: row["runDetails"].update(builder="b"),
        lambda row: row["runDetails"]["builder"].update(id=""),
        lambda row: row["runDetails"].pop("metadata"),
        lambda row: row["runDetails"]["metadata"].pop("invocationId"),
        lambda row: row["runDetails"]["metadata"].update(invocationId=""),
        lambda row: row["runDetails"]["metadata"].update(invocationId=7),
        lambda row: definition(row).pop("externalParameters"),
        lambda row: definition(row).update(externalParameters=[]),
    ):
        spoil(Stage.TRAIN, change)
        spoil(Stage.PACKAGE, change)


@pytest.mark.parametrize("wrong", [3, None, "text", ["id"]])
def test_an_object_is_an_object(wrong):
    assert (
        spoil(Stage.TRAIN, lambda row: row["runDetails"].update(builder=wrong)) == "builder is not an object"
    )


def test_byproducts_are_objects():
    spoil(Stage.PACKAGE, lambda row: row["runDetails"]["byproducts"].append("text"))


def test_training_binds_to_weights():
    cause = spoil(Stage.TRAIN, lambda _: None, (subject_of(MODEL.digest),))
    assert cause == "training binds to weights, and no wbw1: subject is there"


@pytest.mark.parametrize("stage", WRITTEN, ids=lambda stage: stage.value)
def test_subjects_that_contradict_themselves(stage):
    good = WRITTEN[stage]
    forged = Subject(str(wb("another")), (("sha256", "0" * 64),))
    assert "does not carry its own SHA-256" in spoil(stage, lambda _: None, (*good.subjects, forged))


@pytest.mark.parametrize("algorithm", ["wb1", "wbw1"])
@pytest.mark.parametrize("stage", WRITTEN, ids=lambda stage: stage.value)
def test_a_claim_speaks_of_one_model(stage, algorithm):
    """Two models in one claim could lend each other their evidence."""
    more = (subject_of(wb("another", algorithm)), subject_of(wb("third", algorithm)))
    cause = spoil(stage, lambda _: None, (*WRITTEN[stage].subjects, *more))
    assert cause == f"it names more than one {algorithm}: identity" or stage not in (
        Stage.TRAIN,
        Stage.EVALUATE,
    )


@pytest.mark.parametrize("stage", WRITTEN, ids=lambda stage: stage.value)
def test_a_claim_about_files_alone_is_about_nothing(stage):
    spoil(stage, lambda _: None, (Subject("./model.safetensors", (("sha256", "0" * 64),)),))


CARRIERS = [Stage.PACKAGE, Stage.CONVERT, Stage.ORIGIN]


@pytest.mark.parametrize("stage", CARRIERS, ids=lambda stage: stage.value)
@pytest.mark.parametrize(
    "subjects",
    [
        (subject_of(MODEL.digest), subject_of(wb("the weights of a proven model", "wbw1"))),
        (subject_of(wb("another")), subject_of(MODEL.weights)),
        (subject_of(MODEL.digest),),
        (subject_of(MODEL.weights),),
    ],
    ids=["borrowed weights", "another model", "no weights", "no model"],
)
def test_a_model_cannot_borrow_weights(stage, subjects):
    """The identities a claim ties together are proven by the manifest it carries."""
    files = tuple(s for s in WRITTEN[stage].subjects if s.identity is None)
    cause = spoil(stage, lambda _: None, (*subjects, *files))
    assert cause == "its subjects are not the model and the weights of the manifest it carries"


def byproduct(row, name):
    return next(item for item in row["runDetails"]["byproducts"] if item["name"] == name)


def embed(row, name, data):
    byproduct(row, name).update(
        content=base64.b64encode(data).decode(), digest={"sha256": Digest.of(data).hex}
    )


OTHER = manifest("other")
MANIFEST_NAME, CHUNKS_NAME = "weighbridge.manifest/1", "weighbridge.chunks/1"


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row["runDetails"].pop("byproducts"),
        lambda row: row["runDetails"].update(byproducts={}),
        lambda row: row["runDetails"].update(byproducts=3),
        lambda row: row["runDetails"]["byproducts"].pop(0),
        lambda row: row["runDetails"]["byproducts"].pop(1),
        lambda row: row["runDetails"]["byproducts"].append(byproduct(row, MANIFEST_NAME)),
        lambda row: row["runDetails"]["byproducts"].append(byproduct(row, CHUNKS_NAME)),
        lambda row: byproduct(row, CHUNKS_NAME).update(content="not base64!"),
        lambda row: byproduct(row, CHUNKS_NAME).update(content=""),
        lambda row: byproduct(row, CHUNKS_NAME).update(digest={"sha256": "0" * 64}),
        lambda row: byproduct(row, CHUNKS_NAME).pop("digest"),
        lambda row: byproduct(row, MANIFEST_NAME).update(digest={"sha256": "0" * 64}),
        lambda row: embed(row, CHUNKS_NAME, b"{}"),
        lambda row: embed(row, CHUNKS_NAME, b"[]"),
        lambda row: embed(row, CHUNKS_NAME, b"\xff"),
        lambda row: embed(row, CHUNKS_NAME, canonical(table(MODEL).to_json()) + b" "),
        lambda row: embed(row, CHUNKS_NAME, canonical(ChunkTable(table(MODEL).files[:1]).to_json())),
        lambda row: embed(row, MANIFEST_NAME, OTHER.canonical_bytes),
        lambda row: embed(row, MANIFEST_NAME, MODEL.canonical_bytes + b"\n"),
    ],
)
def test_packaging_that_carries_something_else(change):
    spoil(Stage.PACKAGE, change)


def test_packaging_of_other_files():
    good = WRITTEN[Stage.PACKAGE].subjects
    assert "file subjects" in spoil(Stage.PACKAGE, lambda _: None, good[:-1])
    renamed = Subject("./config2.json", good[-1].digests)
    assert "file subjects" in spoil(Stage.PACKAGE, lambda _: None, (*good[:-1], renamed))
    changed = Subject(good[-1].name, (("sha256", "0" * 64),))
    assert "file subjects" in spoil(Stage.PACKAGE, lambda _: None, (*good[:-1], changed))
    assert "file subjects" in spoil(Stage.PACKAGE, lambda _: None, (*good, changed))


def test_a_manifest_that_is_none():
    for stage in (Stage.CONVERT, Stage.ORIGIN):
        spoil(stage, lambda row: row["manifest"]["files"].reverse())
        spoil(stage, lambda row: row["manifest"]["files"].clear())
        spoil(stage, lambda row: row["manifest"].update(schema="weighbridge.manifest/2"))
        spoil(stage, lambda row: row["manifest"]["files"][0].update(path="../x"))
        spoil(stage, lambda row: row["manifest"]["files"][0].update(size=1.5))


@pytest.mark.parametrize(
    "changes",
    [
        {"equivalence": "likely"},
        {"equivalence": "proven", "output_root": "bb"},
        {"source": str(wb("weights", "wbw1"))},
        {"source": f"sha256:{'0' * 64}"},
        {"source": "somewhere"},
        {"source": str(MODEL.digest)},
    ],
)
def test_conversions_that_cannot_be(changes):
    spoil(Stage.CONVERT, lambda row: row.update(changes))


def test_an_unproven_conversion_may_be_said():
    statement = p.convert(
        MODEL, wb("s"), equivalence="unproven", source_root="a", output_root="b", tool="t", invocation="i"
    )
    assert read(statement).detail["equivalence"] == "unproven"


@pytest.mark.parametrize(
    "changes",
    [
        {"expires": "tomorrow"},
        {"expires": "2026-11-22"},
        {"expires": "2026-11-22T00:00:00"},
        {"matches_announced": "true"},
        {"matches_announced": 1},
        {"invocation": 3},
    ],
)
def test_acceptances_that_cannot_be(changes):
    spoil(Stage.ORIGIN, lambda row: row.update(changes))


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_an_end_beyond_the_calendar(moment):
    """Such a time parses and then cannot be told in UTC."""
    spoil(Stage.ORIGIN, lambda row: row.update(expires=moment))


def test_an_end_is_read_in_utc():
    statement = copy.deepcopy(WRITTEN[Stage.ORIGIN])
    statement.predicate["expires"] = "2026-11-22T02:00:00+02:00"
    assert p.read_claim(statement).detail["expires"] == "2026-11-22T00:00:00Z"


@pytest.mark.parametrize(
    "metrics",
    [
        [],
        None,
        {"a": "1"},
        {"a": True},
        {"a": None},
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": 2**60},
        {"a": 10**400},
    ],
)
def test_metrics_are_numbers(metrics):
    spoil(Stage.EVALUATE, lambda row: row[words.METRICS].update(metrics=metrics))


@pytest.mark.parametrize("result", ["passed", "OK", "", None])
def test_a_result_is_one_of_three(result):
    spoil(Stage.EVALUATE, lambda row: row.update(result=result))


def test_an_evaluation_names_its_run():
    spoil(Stage.EVALUATE, lambda row: row[words.METRICS].pop("invocation"))
    spoil(Stage.EVALUATE, lambda row: row[words.METRICS].update(invocation=""))


def test_a_dataset_is_made_of_datasets_only():
    row = parent(
        digest__sha256=wb("x").hex, annotations__identity=str(wb("x")), annotations__relation="merge"
    )
    assert "datasets only" in spoil(Stage.DATA, lambda whole: whole.update(parents=[row]))
    assert "no identity" in spoil(Stage.DATA, lambda whole: whole.update(parents=[{"uri": "u"}]))
    spoil(Stage.DATA, lambda whole: whole.update(parents={}))
    spoil(Stage.DATA, lambda whole: whole.update(description=3))
    spoil(Stage.DATA, lambda _: None, (subject_of(MODEL.weights),))
    spoil(Stage.DATA, lambda _: None, (subject_of(DATASET), subject_of(MODEL.weights)))


def test_a_report_about_another_model():
    spoil(Stage.SCAN, lambda row: row["report"].update(manifest=str(OTHER.digest)))
    spoil(Stage.SCAN, lambda row: row["report"].pop("ruleset"))
    spoil(Stage.SCAN, lambda row: row["report"].pop("verdict"))


def test_descriptions_are_of_whole_models():
    spoil(Stage.BOM, lambda _: None, (subject_of(MODEL.weights),))
    spoil(Stage.BOM, lambda row: row.update(bomFormat="SPDX"))


@pytest.mark.parametrize("poison", ["\ud800", "x\udfff"])
def test_text_that_no_digest_could_be_made_of(poison):
    """A lone surrogate parses from JSON and cannot be written again: evidence with it would have no digest."""
    spoil(Stage.DATA, lambda row: row.update(licence=poison))
    spoil(Stage.DATA, lambda row: row.update(invocation=poison))
    row = parent(name=poison)
    spoil(Stage.TRAIN, lambda whole: definition(whole)["resolvedDependencies"].append(row))


def test_unknown_members_are_tolerated():
    statement = copy.deepcopy(WRITTEN[Stage.TRAIN])
    statement.predicate["buildDefinition"]["more"] = {"x": 1}
    statement.predicate["runDetails"]["byproducts"] = []
    assert p.read_claim(statement) == p.read_claim(WRITTEN[Stage.TRAIN])


def test_builders_do_not_write_what_readers_refuse():
    with pytest.raises(VerificationFailed):
        p.data(DATASET, source="", licence="MIT", invocation="i")
    with pytest.raises(VerificationFailed):
        p.train(MODEL.weights, "train", [], builder="b", invocation="i")
    with pytest.raises(VerificationFailed):
        p.evaluate(MODEL.weights, "GREAT", {}, invocation="i")
    with pytest.raises(VerificationFailed):
        p.package(MODEL, table(OTHER.of(OTHER.files[:1])), builder="b", invocation="i")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def paths(value, here=()):
    yield here
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in rows:
        yield from paths(inner, (*here, name))


@given(st.data(), st.sampled_from(sorted(WRITTEN)), JSON_VALUES)
def test_whatever_is_changed_the_reader_answers_or_refuses(data, stage, value):
    """Never another error: a hostile statement must not stop the gate."""
    predicate = copy.deepcopy(dict(WRITTEN[stage].predicate))
    *folders, last = data.draw(st.sampled_from(sorted(filter(None, paths(predicate)), key=repr)))
    target = predicate
    for name in folders:
        target = target[name]
    target[last] = value
    try:
        claim = p.read_claim(Statement(WRITTEN[stage].subjects, WRITTEN[stage].predicate_type, predicate))
    except VerificationFailed as error:
        claim = None
        check = error.check
    else:
        check = "claim.form"
    assert check == "claim.form"
    assert claim is None or canonical(dict(claim.detail))


def test_bad_manifests_are_refusals_of_form():
    with pytest.raises(BadManifest):
        Manifest.from_json(b"{}")
    spoil(Stage.ORIGIN, lambda row: row.update(manifest={}))
