"""`attest`: each stage becomes its claim, what was seen of a dataset is said, and what fits no stage is refused."""

import json

import pytest

from weighbridge.claims.predicates import read_claim
from weighbridge.core.statement import Statement
from weighbridge.trust.bundle import Bundle
from world import safetensors


@pytest.fixture
def key(world):
    world.team()
    for name, key in world.people.items():
        key.save(world.folder / f"{name}.pem")
    return world.folder / "train-team.pem"


def claim_in(path):
    statement = Statement.decode(Bundle.from_json(path.read_bytes().strip()).envelope.payload)
    return statement, read_claim(statement)


@pytest.mark.parametrize(
    ("stage", "method", "relation"),
    [
        ("fine-tune", "fine-tune", "fine-tune"),
        ("continued-pretrain", "continued-pretraining", "continued-pretraining"),
        ("adapter", "adapter", "adapter"),
        ("quantize", "quantize", "quantization"),
        ("prune", "prune", "pruning"),
        ("distil", "distil", "distillation"),
    ],
)
def test_the_relation_follows_from_the_stage(world, call, key, stage, method, relation):
    model, base = world.model("child", 2.0), world.model("base")
    data = world.dataset()
    code, output, error = call(
        "attest", model, "--stage", stage, "--base", base, "--data", data, "--key", key, "--bundle", "c.json"
    )
    assert code == 0, output + error
    statement, claim = claim_in(world.folder / "c.json")
    kind = statement.predicate["buildDefinition"]["buildType"]
    assert kind == f"https://weighbridge.dev/buildtypes/{method}/v1"
    assert {p.digest: p.relation.value for p in claim.parents} == {
        world.manifest(base).weights: relation,
        world.manifest(data).digest: "dataset",
    }


def test_a_merge_names_two(world, call, key):
    model, one, two = world.model("child", 2.0), world.model("one", 3.0), world.model("two", 4.0)
    arguments = ("attest", model, "--stage", "merge", "--key", key, "--bundle", "c.json", "--base", one)
    code, _, error = call(*arguments)
    assert code == 2
    assert "at least 2" in error
    assert call(*arguments, "--base", two)[0] == 0
    assert {p.relation.value for p in claim_in(world.folder / "c.json")[1].parents} == {"merge"}


def test_a_student_may_begin_as_another_model(world, call, key):
    model, base, teacher = world.model("child", 2.0), world.model("one", 3.0), world.model("two", 4.0)
    arguments = ("--stage", "distil", "--base", base, "--teacher", teacher, "--key", key)
    code, output, error = call("attest", model, *arguments, "--bundle", "c.json")
    assert code == 0, output + error
    assert {p.digest: p.relation.value for p in claim_in(world.folder / "c.json")[1].parents} == {
        world.manifest(base).weights: "fine-tune",
        world.manifest(teacher).weights: "distillation",
    }


def test_the_old_way_still_says_what_it_said(world, call, key):
    model, base = world.model("child", 2.0), world.model("base")
    for more, method in (((), "fine-tune"), (("--relation", "quantization"), "quantize")):
        arguments = ("--stage", "train", "--base", base, *more, "--key", key, "--bundle", "c.json")
        assert call("attest", model, *arguments)[0] == 0
        assert claim_in(world.folder / "c.json")[1].detail["method"] == method


@pytest.mark.parametrize(
    "wrong",
    [
        ("--stage", "fine-tune", "--base", "base", "--relation", "merge"),
        ("--stage", "fine-tune", "--base", "base", "--teacher", "base"),
        ("--stage", "fine-tune"),
        ("--stage", "quantize", "--base", "base", "--base", "other"),
        ("--stage", "package", "--base", "base"),
        ("--stage", "evaluate", "--metric", "accuracy"),
        ("--stage", "data", "--source", "here"),
        ("--stage", "convert", "--base", "base", "--base", "other"),
        ("--stage", "fine-tune", "--base", "base", "--lock", "nowhere.lock"),
        ("--stage", "nothing"),
    ],
)
def test_what_fits_no_stage_is_refused_and_nothing_is_written(world, call, key, wrong):
    model = world.model("child", 2.0)
    world.model("base")
    world.model("other", 5.0)
    code, _, error = call("attest", model, *wrong, "--key", key, "--bundle", "c.json")
    assert code == 2, error
    assert not (world.folder / "c.json").exists()


def test_what_was_seen_of_a_dataset_is_said_and_claimed(world, call, key):
    shards = {f"data/{s}-00000-of-00001__jsonl": '{"a": 1}\n' * n for s, n in (("train", 3), ("test", 2))}
    folder = world.files("rows", **shards, load__py="raise SystemExit('it ran')\n")
    arguments = (
        "--stage",
        "data",
        "--source",
        "us",
        "--licence",
        "MIT",
        "--key",
        world.folder / "data-team.pem",
    )
    code, output, error = call("attest", folder, *arguments)
    assert code == 0, output + error
    assert "jsonl, 3 files" in output
    assert "5 rows (test 2, train 3)" in output
    assert "not run, and part of it: load.py" in output
    code, output, _ = call("attest", folder, *arguments, "--bundle", "d.json", "--format", "json")
    (item,) = json.loads(output)["claims"]
    assert item["dataset"]["splits"] == {
        "test": {"files": 1, "rows": 2},
        "train": {"files": 1, "rows": 3},
    }
    statement, _ = claim_in(world.folder / "d.json")
    (record,) = [value for name, value in statement.predicate.items() if name.endswith("/recording/v0.1")]
    assert record["observed"]["rows"] == 5


def test_a_dataset_made_of_another_names_it(world, call, key):
    first, second = world.dataset("first", "a\n"), world.dataset("second", "b\n")
    arguments = ("--stage", "data", "--source", "us", "--licence", "MIT", "--data", first)
    assert call("attest", second, *arguments, "--key", key, "--bundle", "c.json")[0] == 0
    assert [p.digest for p in claim_in(world.folder / "c.json")[1].parents] == [world.manifest(first).digest]


def test_a_conversion_is_proven_by_its_tensors_or_called_unproven(world, call, key):
    tensors = {"a": [1.0, 2.0], "b": [3.0, 4.0, 5.0]}
    source = world.files("source", model__safetensors=safetensors(tensors))
    same = world.files(
        "same", one__safetensors=safetensors({"b": tensors["b"], "a": tensors["a"]}), README__md="same"
    )
    other = world.files("other", model__safetensors=safetensors({**tensors, "b": [3.0, 4.0, 6.0]}))
    for model, word in ((same, "proven"), (other, "unproven")):
        arguments = ("--stage", "convert", "--base", source, "--method", "resharded", "--key", key)
        code, output, error = call("attest", model, *arguments, "--bundle", "c.json")
        assert code == 0, output + error
        assert claim_in(world.folder / "c.json")[1].detail["equivalence"] == word


def test_a_lock_is_named_by_its_digest_and_by_nothing_else(world, call, key):
    lock = world.folder / "uv.lock"
    lock.write_text(
        '[[package]]\nname = "x"\nsource = { registry = "https://user:planted@index.example/" }\n'
    )
    model, base = world.model("child", 2.0), world.model("base")
    arguments = ("--stage", "fine-tune", "--base", base, "--lock", lock, "--key", key, "--bundle", "c.json")
    assert call("attest", model, *arguments)[0] == 0
    statement, claim = claim_in(world.folder / "c.json")
    assert [row["name"] for row in claim.detail["materials"]] == ["uv.lock"]
    assert b"planted" not in statement.encode()
