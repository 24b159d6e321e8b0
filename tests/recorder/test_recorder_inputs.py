"""What is read must be signed, stand still, and be apart from what is written; what could only fail late fails early."""

import shutil

import pytest

import weighbridge
from weighbridge.claims import predicates
from weighbridge.claims.predicates import read_claim
from weighbridge.core.errors import (
    NotFound,
    Refused,
    RegistryUnusable,
    UsageError,
    VerificationFailed,
    WeighbridgeError,
)
from weighbridge.core.lineage import Relation
from weighbridge.core.statement import Statement
from weighbridge.keys.files import generate
from weighbridge.recorder.inputs import Input
from weighbridge.trust.authority_file import sign_authority
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.seal import sign_statement
from world_recorder import record_of, said, train


def data_bundle(world, folder):
    """Sign a dataset and return the bundle with its log entry, as the registry keeps it."""
    return world.say_data(folder, world.people["data-team"])


@pytest.fixture
def elsewhere(world, monkeypatch, tmp_path):
    """A machine without the registry's folder: only its authority in a file, and the user's pin."""
    authority = tmp_path / "authority.json"

    def leave():
        authority.write_bytes(sign_authority(world.registry.authority, world.secret("root")))
        monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path / "no-registry"))
        return authority

    return leave


# Where a claim about data may lie.


@pytest.mark.parametrize("place", ["beside", "inside", "named", "lines"])
def test_a_bundle_beside_the_data_counts_where_there_is_no_registry(world, start, elsewhere, place):
    folder = world.dataset()
    identity = world.manifest(folder).digest
    bundle = data_bundle(world, folder).to_json()
    target, more = {
        "beside": (folder.with_name(folder.name + ".sigstore.json"), {}),
        "inside": (folder / "data.sigstore.json", {}),
        "named": (world.folder / "x.json", {"bundle": world.folder / "x.json"}),
        "lines": (folder.with_name(folder.name + ".claims.jsonl"), {}),
    }[place]
    target.write_bytes(bundle + b"\n" + bundle + b"\n" if place == "lines" else bundle)
    out = world.folder / "out"
    given = Input(folder, **more)
    with start(inputs=[given], outputs=[out], authority=elsewhere(), bundle=world.folder / "c.json") as run:
        train(out)
    (row,) = record_of(run.claims[0])["inputs"]
    assert (row["signed_by"], row["identity"]) == ("data-team", str(identity))
    assert (world.folder / "c.json").exists()


def test_a_bundle_inside_that_is_about_other_data_excuses_no_file(world, start, elsewhere):
    folder, other = world.dataset(), world.dataset("other", "z\n")
    (folder / "x.sigstore.json").write_bytes(data_bundle(world, other).to_json())
    with (
        pytest.raises(VerificationFailed, match="nobody who may sign data"),
        start(
            inputs=[folder],
            outputs=[world.folder / "out"],
            authority=elsewhere(),
            bundle=world.folder / "c.json",
        ),
    ):
        pytest.fail("the block was entered")


def test_a_bundle_without_the_proof_that_the_authority_asks_for_does_not_count(world, start, elsewhere):
    folder = world.dataset()
    digest = world.manifest(folder).digest
    key = world.people["data-team"]
    statement = predicates.data(digest, source="us", licence="MIT", invocation="1")
    bare = Bundle(sign_statement(statement, key), key.key_id)
    folder.with_name(folder.name + ".sigstore.json").write_bytes(bare.to_json())
    with (
        pytest.raises(VerificationFailed, match="nobody who may sign data"),
        start(
            inputs=[folder],
            outputs=[world.folder / "out"],
            authority=elsewhere(),
            bundle=world.folder / "c.json",
        ),
    ):
        pytest.fail("the block was entered")


def test_an_authority_that_is_not_pinned_or_not_signed_is_nobody(world, start, elsewhere, tmp_path):
    folder = world.dataset()
    authority = elsewhere()
    common = {"inputs": [folder], "outputs": [world.folder / "out"], "bundle": world.folder / "c.json"}
    forged = tmp_path / "forged.json"
    forged.write_bytes(sign_authority(world.registry.authority, generate()))
    with pytest.raises(VerificationFailed) as refused, start(authority=forged, **common):
        pytest.fail("the block was entered")
    assert refused.value.check == "authority.signature"
    forged.write_text("{}")
    with pytest.raises(VerificationFailed), start(authority=forged, **common):
        pytest.fail("the block was entered")
    shutil.rmtree(world.home / "pins")
    with pytest.raises(RegistryUnusable, match="not pinned"), start(authority=authority, **common):
        pytest.fail("the block was entered")


def test_without_anybody_s_word_data_is_unsigned(world, start, elsewhere):
    elsewhere()
    folder = world.dataset()
    with (
        pytest.raises(VerificationFailed, match="nobody who may sign data"),
        start(inputs=[folder], outputs=[world.folder / "out"], bundle=world.folder / "c.json"),
    ):
        pytest.fail("the block was entered")
    with start(
        inputs=[folder], outputs=[world.folder / "out"], bundle=world.folder / "c.json", unsigned="allowed"
    ) as run:
        train(world.folder / "out")
    assert record_of(run.claims[0])["inputs"][0]["signed_by"] == ""


# Before the block: what could only fail at its end.


@pytest.mark.parametrize(
    ("stage", "options"),
    [
        ("trian", {}),
        ("convert", {"models": ["base"]}),
        ("train", {"inputs": []}),
        ("train", {"models": ["base"]}),
        ("fine-tune", {}),
        ("merge", {"models": ["base"]}),
        ("quantize", {"models": ["base", "base2"]}),
        ("package", {}),
        ("evaluate", {"models": ["base"]}),
        ("evaluate", {"models": ["base"], "outputs": ["out"]}),
        ("train", {"outputs": []}),
        ("train", {"outputs": "out"}),
        ("train", {"inputs": "data"}),
        ("train", {"inputs": 3}),
        ("train", {"outputs": ["out", "./out"]}),
        ("train", {"key": ""}),
        ("train", {"key": "nowhere.pem"}),
        ("train", {"keyless": True}),
        ("train", {"unsigned": "yes"}),
        ("train", {"unsined": "allowed"}),
        ("train", {"inputs": ["wb1:" + "0" * 64]}),
        ("train", {"inputs": ["hf://org/name"]}),
        ("train", {"inputs": ["data", "data/rows.csv"], "outputs": ["data"]}),
        ("train", {"outputs": ["data/out"]}),
        ("train", {"bundle": "data/claim.json"}),
        ("train", {"bundle": "out/claim.json"}),
        ("train", {"bundle": "no/such/folder.json"}),
        ("train", {"lock": "gone.lock"}),
        ("train", {"result": "GOOD"}),
        ("data", {}),
        ("fine-tune", {"models": ["data"]}),
        ("fine-tune", {"models": [Input("base", Relation.MERGE)]}),
        ("train", {"inputs": ["nowhere"]}),
    ],
    ids=str,
)
def test_it_is_found_out_before_anything_runs(world, start, stage, options, monkeypatch):
    monkeypatch.chdir(world.folder)
    world.say_data(world.dataset("data"), world.people["data-team"])
    world.model("base")
    world.model("base2", 3.0)
    given = {"inputs": ["data"], "outputs": ["out"]} | options
    if stage == "evaluate" and "outputs" not in options:
        given = {"inputs": ["data"], "outputs": ["out"], "models": ["base"]}
    with pytest.raises(WeighbridgeError) as refused, start(stage, **given):
        pytest.fail("the block was entered")
    assert refused.value.exit_code in (1, 2, 3)
    assert refused.value.problem


def test_a_registry_that_is_not_there_is_found_out_before(world, signed_data, start, monkeypatch):
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(world.folder / "gone"))
    with pytest.raises(RegistryUnusable), start(inputs=[signed_data], outputs=[world.folder / "out"]):
        pytest.fail("the block was entered")


def test_the_key_may_be_a_setting(world, signed_data, start, monkeypatch):
    monkeypatch.setenv("WEIGHBRIDGE_SIGNING_KEY", str(world.keys["train-team"]))
    out = world.folder / "out"
    with start(inputs=[signed_data], outputs=[out], key="") as run:
        train(out)
    assert len(run.claims) == 1


def test_a_file_that_is_no_claim_is_not_written_over(world, signed_data, start):
    target = world.folder / "important.json"
    target.write_text("{}")
    with pytest.raises(Refused), start(inputs=[signed_data], outputs=[world.folder / "out"], bundle=target):
        pytest.fail("the block was entered")
    assert target.read_text() == "{}"


# At the end of the block.


def test_weights_that_an_earlier_run_left_are_not_claimed_as_this_one_s(world, signed_data, start):
    out = world.folder / "out"
    train(out)
    (out / "model-00002.safetensors").write_bytes((out / "model.safetensors").read_bytes())
    with pytest.raises(VerificationFailed) as refused, start(inputs=[signed_data], outputs=[out]) as run:
        train(out, 9.0)
    assert refused.value.check == "recorder.output-old"
    assert "model-00002" in refused.value.problem
    assert run.claims == ()
    with start(inputs=[signed_data], outputs=[out], kept="allowed") as run:
        train(out, 10.0)
    parameters = said(run.claims[0])["buildDefinition"]["externalParameters"]
    assert parameters["weighbridge:kept"] is True


def test_a_run_that_leaves_nothing_or_no_weights_claims_nothing(world, signed_data, start):
    with pytest.raises(NotFound), start(inputs=[signed_data], outputs=[world.folder / "out"]):
        pass
    with pytest.raises(UsageError) as refused, start(inputs=[signed_data], outputs=[world.folder / "o"]):
        world.files("o", config__json="{}")
    assert refused.value.check == "recorder.output"


def test_an_output_that_is_its_base_claims_nothing(world, signed_data, start):
    base, out = world.model("base"), world.folder / "out"
    with (
        pytest.raises(VerificationFailed, match="changed nothing"),
        start("fine-tune", inputs=[signed_data], models=[base], outputs=[out]),
    ):
        shutil.copytree(base, out)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "x", None])
def test_a_metric_is_a_number(world, signed_data, start, value):
    with pytest.raises(UsageError), start(inputs=[signed_data], outputs=[world.folder / "out"]) as run:
        run.metric("loss", value)


def test_signing_that_failed_at_the_end_can_be_done_again(world, signed_data, start):
    out = world.folder / "out"
    key = world.keys["train-team"]
    with pytest.raises(WeighbridgeError), start(inputs=[signed_data], outputs=[out]) as run:
        train(out)
        key.rename(key.with_suffix(".away"))
    assert run.claims == ()
    assert len(run.statements) == 1
    key.with_suffix(".away").rename(key)
    run.sign()
    assert len(run.claims) == 1
    with pytest.raises(UsageError):
        run.sign()


def test_a_recording_is_used_once(world, signed_data, start):
    run = start(inputs=[signed_data], outputs=[world.folder / "out"])
    with run:
        train(world.folder / "out")
    with pytest.raises(UsageError), run:
        pytest.fail("the block was entered")


# Other stages.


def test_several_outputs_are_claimed_together(world, signed_data, start):
    a, b = world.folder / "a", world.folder / "b"
    with start(inputs=[signed_data], outputs=[a, b], bundle=world.folder / "c.jsonl") as run:
        train(a, 1.0)
        train(b, 2.0)
    lines = (world.folder / "c.jsonl").read_bytes().splitlines()
    about = {Statement.decode(Bundle.from_json(line).envelope.payload).identities for line in lines}
    assert about == {(world.manifest(a).weights,), (world.manifest(b).weights,)}
    assert len(run.claims) == 2


@pytest.mark.parametrize(
    ("stage", "relation", "bases"),
    [
        ("fine-tune", "fine-tune", 1),
        ("continued-pretrain", "continued-pretraining", 1),
        ("adapter", "adapter", 1),
        ("merge", "merge", 2),
        ("quantize", "quantization", 1),
        ("prune", "pruning", 1),
        ("distil", "distillation", 1),
    ],
)
def test_each_stage_has_its_relation(world, signed_data, start, stage, relation, bases):
    models = [world.model(f"base{n}", 5.0 + n) for n in range(bases)]
    out = world.folder / "out"
    with start(stage, inputs=[signed_data], models=models, outputs=[out]) as run:
        train(out)
    claim = read_claim(Statement.decode(run.claims[0].bundle.envelope.payload))
    relations = [parent.relation.value for parent in claim.parents]
    assert sorted(relations) == sorted(["dataset"] + [relation] * bases)
    assert {p.digest for p in claim.parents} >= {world.manifest(m).weights for m in models}


def test_a_student_s_beginning_is_named_beside_its_teacher(world, signed_data, start):
    teacher, student = world.model("teacher", 5.0), world.model("student", 6.0)
    out = world.folder / "out"
    models = [teacher, Input(student, Relation.FINE_TUNE)]
    with start("distil", inputs=[signed_data], models=models, outputs=[out]) as run:
        train(out)
    claim = read_claim(run.statements[0])
    assert {p.relation.value for p in claim.parents} == {"dataset", "distillation", "fine-tune"}


def test_an_evaluation_says_how_a_model_did_and_with_which_data(world, signed_data, start):
    model = train(world.folder / "model")
    key = world.keys["evaluate-team"]
    with start("evaluate", inputs=[signed_data], models=[model], key=key) as run:
        run.metrics({"accuracy": 0.93, "f1": 0.9})
        run.result("WARNED")
    claim = read_claim(Statement.decode(run.claims[0].bundle.envelope.payload))
    assert claim.about == (world.manifest(model).weights,)
    assert claim.detail["metrics"] == {"accuracy": 0.93, "f1": 0.9}
    assert claim.detail["result"] == "WARNED"
    tested = said(run.claims[0])["configuration"]
    assert tested[0]["annotations"]["weighbridge:identity"] == str(world.manifest(signed_data).digest)


def test_an_evaluation_without_a_metric_says_nothing(world, signed_data, start):
    model = train(world.folder / "model")
    with (
        pytest.raises(UsageError, match="without a metric"),
        start("evaluate", inputs=[signed_data], models=[model], key=world.keys["evaluate-team"]),
    ):
        pass


def test_an_evaluation_of_a_model_that_changed_meanwhile_says_nothing(world, signed_data, start):
    model = train(world.folder / "model")
    with (
        pytest.raises(VerificationFailed, match="not what this run began with"),
        start("evaluate", inputs=[signed_data], models=[model], key=world.keys["evaluate-team"]) as run,
    ):
        run.metric("accuracy", 1.0)
        train(model, 2.0)


def test_a_dataset_that_a_script_makes_names_what_it_was_made_of(world, signed_data, start):
    made = world.folder / "made"
    options = {"source": "cleaned", "licence": "CC0-1.0", "key": world.keys["data-team"]}
    with start("data", inputs=[signed_data], outputs=[made], **options):
        made.mkdir()
        (made / "train.jsonl").write_text('{"n": 1}\n{"n": 2}\n')
    out = world.folder / "out"
    world.reopen()
    with start(inputs=[made], outputs=[out]) as run:  # what was recorded is signed data for the next run
        train(out)
    assert record_of(run.claims[0])["inputs"][0]["signed_by"] == "data-team"


def test_packaging(world, start):
    model = train(world.folder / "model")
    with start("package", outputs=[model], key=world.keys["package-team"]) as run:
        (model / "README.md").write_text("packed")
    manifest, _ = predicates.packaged(run.statements[0])
    assert manifest.digest == world.manifest(model).digest


def test_record_is_part_of_the_interface():
    assert "record" in weighbridge.__all__
