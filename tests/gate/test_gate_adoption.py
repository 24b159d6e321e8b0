"""What runs already is registered as it is, and what it would need is said of each, also of what cannot be told."""

import json

import pytest

from weighbridge.cli.demo_models import write_checkpoint, write_dangerous
from weighbridge.core.errors import UsageError
from weighbridge.core.tier import Origin, Tier
from weighbridge.gate.adoption import Standing, adopt, counts, found_in
from weighbridge.registry import deployments
from weighbridge.source.workloads import Running, running
from world_house import World


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def take(world, *rows, in_place=True):
    return adopt(world.registry, rows, environ={}, in_place=in_place)


def test_each_of_what_runs_is_told_what_it_needs(world):
    safe = world.model("safe")
    pickled = world.model("pickled", seed=5.0)
    (pickled / "model.safetensors").unlink()
    write_checkpoint(pickled / "pytorch_model.bin")
    dangerous = world.folder / "dangerous"
    write_dangerous(dangerous)
    claimed = world.ready("claimed", seed=7.0)
    rows = take(
        world,
        Running("prod/safe", str(safe), "team-a"),
        Running("prod/pickled", str(pickled), "team-b"),
        Running("prod/dangerous", str(dangerous), "team-c"),
        Running("prod/claimed", str(claimed), "team-d"),
        Running("prod/gone", str(world.folder / "gone"), "team-e"),
        Running("prod/secret", "", "team-f", problem="it is taken from a secret"),
    )
    assert [row.standing for row in rows] == [
        Standing.SIGN, Standing.CONVERT, Standing.BLOCKED, Standing.PASS, Standing.CANNOT_TELL, Standing.CANNOT_TELL,
    ]  # fmt: skip
    assert all(row.next and row.why for row in rows)
    assert "scan.verdict" in rows[2].why
    assert [row.running.owner for row in rows] == [f"team-{letter}" for letter in "abcdef"]
    assert counts(rows) == {"pass": 1, "convert": 1, "sign": 1, "blocked": 1, "cannot-tell": 2}
    assert [row.target for row in deployments.running(world.registry)] == [
        "prod/claimed", "prod/dangerous", "prod/pickled", "prod/safe",
    ]  # fmt: skip
    assert {world.kept(folder).tier for folder in (safe, pickled, dangerous, claimed)} == {Tier.INTAKE}


def test_what_runs_is_legacy_until_it_is_taken_in_anew(world):
    folder = world.model("safe")
    take(world, Running("prod/safe", str(folder)))
    assert world.kept(folder).origin is Origin.LEGACY
    assert not world.promote(folder).decision.allow
    world.take(folder)
    assert world.kept(folder).origin is Origin.OWN


def test_a_model_that_is_known_keeps_its_class_and_tier(world):
    folder = world.ready("known")
    assert world.promote(folder, name="known").decision.allow
    [row] = take(world, Running("prod/known", str(folder)))
    assert row.standing is Standing.PASS
    assert row.next == "weighbridge admit known --target prod/known"
    assert world.kept(folder).tier is Tier.TRUSTED
    [again] = take(world, Running("prod/again", "known"))
    assert again.manifest == row.manifest


def test_one_that_runs_twice_is_read_once(world):
    folder = world.model("safe")
    first, second = take(world, Running("prod/a", str(folder)), Running("prod/b", str(folder)))
    assert first.manifest == second.manifest
    assert len(deployments.running(world.registry)) == 2


@pytest.mark.parametrize("in_place", [True, False])
def test_bytes_stay_where_they_are_unless_a_copy_is_wanted(world, in_place):
    folder = world.model("safe")
    take(world, Running("prod/a", str(folder)), in_place=in_place)
    [entry] = [row for row in world.kept(folder).manifest.files if row.path == "model.safetensors"]
    kept = world.registry.layout.blobs / "sha256" / entry.sha256.hex[:2] / entry.sha256.hex
    assert kept.exists() is not in_place


def test_a_target_that_cannot_be_one_is_a_row(world):
    [row] = take(world, Running("x" * 300, str(world.model("safe"))))
    assert row.standing is Standing.CANNOT_TELL


def test_lines_of_a_file(world):
    folder = world.model("safe")
    lines = [
        json.dumps({"target": "prod/a", "reference": str(folder), "owner": "me"}),
        "",
        "no json",
        json.dumps({"target": "prod/b"}),
        json.dumps({"target": "prod/c", "reference": 3}),
        json.dumps({"target": "prod/d", "reference": "x", "colour": "red"}),
        json.dumps([]),
        json.dumps({"target": "prod/e", "reference": "org/name"}),
    ]
    place = world.folder / "running.jsonl"
    place.write_text("\n".join(lines))
    found, _ = found_in(world.registry, "file", str(place), {})
    assert [row.target for row in found] == [
        "prod/a",
        "line 3",
        "line 4",
        "line 5",
        "line 6",
        "line 7",
        "prod/e",
    ]
    rows = take(world, *found)
    assert [row.standing for row in rows] == [Standing.SIGN, *[Standing.CANNOT_TELL] * 6]
    with pytest.raises(UsageError):
        found_in(world.registry, "file", str(world.folder / "none"), {})


def test_one_that_cannot_be_read_does_not_stop_the_others(world):
    rows = take(world, Running("prod/long", "/" + "x" * 5000), Running("prod/a", str(world.model())))
    assert [row.standing for row in rows] == [Standing.CANNOT_TELL, Standing.SIGN]


def test_two_models_at_one_target_are_told_apart_by_somebody(world):
    one, two = world.model("one"), world.model("two", seed=2.0)
    rows = take(world, *(Running("prod/a", str(folder)) for folder in (one, two, one)))
    assert [row.standing for row in rows] == [Standing.SIGN, Standing.CANNOT_TELL, Standing.SIGN]
    [here] = deployments.running(world.registry)
    assert here.manifest == world.manifest(one).digest


def test_only_buckets_are_looked_through_for_models(world):
    for place in ("./folder", "hf://org/name", "https://host.example/x#sha256=" + "0" * 64):
        with pytest.raises(UsageError):
            found_in(world.registry, "s3", place, {})


# Clusters.


def item(kind, spec, name="chat", space="prod", **metadata):
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": space, **metadata},
        "spec": spec,
    }


def told(*items):
    rows, silent = running(json.dumps({"kind": "List", "items": items}).encode())
    return [(row.target, row.reference or row.problem.partition(":")[0]) for row in rows], silent


def pod(*arguments, image="vllm/vllm-openai:v0.9", **box):
    return {"containers": [{"name": "main", "image": image, "args": list(arguments), **box}]}


def test_the_kinds_of_a_cluster_that_name_models():
    service = {
        "predictor": {"model": {"modelFormat": {"name": "huggingface"}, "storageUri": "hf://org/name:v1"}}
    }
    legacy = {"predictor": {"sklearn": {"storageUri": "s3://bucket/model"}}}
    many = {"predictor": {"storageUris": [{"uri": "s3://bucket/a"}, {"uri": "s3://bucket/b"}]}}
    assert told(
        item("InferenceService", service, "a"),
        item("InferenceService", legacy, "b"),
        item("InferenceService", many, "c"),
        item("TrainedModel", {"model": {"storageUri": "gs://bucket/x"}}, "d"),
        item("LLMInferenceService", {"model": {"uri": "oci://host/x:v1"}}, "e"),
        item(
            "SeldonDeployment",
            {"predictors": [{"graph": {"children": [{"modelUri": "s3://bucket/y"}]}}]},
            "f",
        ),
        item("NIMCache", {"source": {"hf": {"namespace": "org", "modelName": "n", "revision": "v"}}}, "g"),
    ) == (
        [
            ("prod/a", "hf://org/name@v1"),
            ("prod/b", "s3://bucket/model"),
            ("prod/c", "s3://bucket/a"),
            ("prod/c/2", "s3://bucket/b"),
            ("prod/d", "gs://bucket/x"),
            ("prod/e", "oci://host/x:v1"),
            ("prod/f", "s3://bucket/y"),
            ("prod/g", "hf://org/n@v"),
        ],
        0,
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (pod("--model", "org/name", "--revision", "abc"), ["hf://org/name@abc"]),
        (pod("--model=org/name"), ["hf://org/name"]),
        (pod("serve", "org/name", "--revision=r"), ["hf://org/name@r"]),
        (pod("vllm serve org/name --revision r --port 1", command=["sh", "-c"]), ["hf://org/name@r"]),
        (pod("--model-id", "org/name", "--trust-remote-code"), ["hf://org/name"]),
        (pod("--model", "org/name", "--lora-modules", "a=org/lora"), ["hf://org/name", "hf://org/lora"]),
        (pod(env=[{"name": "MODEL_ID", "value": "org/name"}]), ["hf://org/name"]),
        (
            pod(image="x") | {"volumes": [{"name": "m", "image": {"reference": "host/m:v1"}}]},
            ["oci://host/m:v1"],
        ),
        (
            {"containers": [{"name": "modelcar", "image": "host/m@sha256:" + "0" * 64}]},
            ["oci://host/m@sha256:" + "0" * 64],
        ),
    ],
)
def test_arguments_variables_and_volumes_of_a_pod(spec, expected):
    rows, silent = told(item("Deployment", {"template": {"spec": spec}}))
    assert ([reference for _, reference in rows], silent) == (expected, 0)


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("InferenceService", {"predictor": {"model": {"storageUri": "pvc://claim/model"}}}),
        ("InferenceService", {"predictor": {"model": {"storageUri": "https://host/model.bin"}}}),
        ("InferenceService", {"predictor": {"model": {"storageUri": ["s3://x"]}}}),
        ("InferenceService", {"predictor": {"model": {}}}),
        ("LLMInferenceService", {"baseRefs": [{"name": "elsewhere"}]}),
        ("RayService", {"serveConfigV2": "applications: []"}),
        ("NIMService", {"image": {"repository": "x"}}),
        ("Workspace", {"inference": {"preset": {"name": "x"}}}),
        ("Pod", pod()),
        ("Pod", pod("--model", "/mnt/models")),
        ("Pod", pod("--model", "$(MODEL)")),
        ("Pod", pod(env=[{"name": "MODEL_ID", "valueFrom": {"secretKeyRef": {}}}])),
        ("Pod", pod(image="x") | {"volumes": [{"image": {"reference": "Host/M"}}]}),
    ],
)
def test_what_cannot_be_followed_is_a_row_with_its_reason(kind, spec):
    [row], silent = running(json.dumps(item(kind, spec)).encode())
    assert silent == 0
    assert row.target == "prod/chat"
    assert row.problem
    assert not row.reference


def test_a_base_of_a_service_is_followed_where_it_is_there():
    base = item("LLMInferenceServiceConfig", {"model": {"uri": "hf://org/base"}}, "base")
    rows, _ = told(item("LLMInferenceService", {"baseRefs": [{"name": "base"}]}), base)
    assert ("prod/chat", "hf://org/base") in rows


def test_what_another_object_made_is_told_by_that_one():
    owner = [{"kind": "ReplicaSet", "name": "chat-1"}]
    made = item("Pod", pod("--model", "org/name"), "chat-1-x", ownerReferences=owner)
    maker = item(
        "ReplicaSet", {"template": {"spec": pod("--model", "org/name")}}, "chat-1",
        ownerReferences=[{"kind": "Deployment", "name": "chat"}],
    )  # fmt: skip
    assert told(made) == ([("prod/chat-1-x", "hf://org/name")], 0), (
        "whose maker is not there speaks for itself"
    )
    assert told(made, maker) == ([("prod/chat-1", "hf://org/name")], 0)


def test_objects_without_a_model_are_counted_and_targets_kept_apart():
    rows, silent = told(
        item("Deployment", {"template": {"spec": pod(image="nginx")}}, "web"),
        item("Deployment", {"template": {"spec": pod("--model", "org/a")}}),
        item("StatefulSet", {"template": {"spec": pod("--model", "org/b")}}),
    )
    assert silent == 1
    assert rows == [("prod/chat", "hf://org/a"), ("prod/chat#2", "hf://org/b")]


def test_whose_it_is():
    labelled = item("Pod", pod("--model", "org/a"), labels={"team": "search"}, annotations={"owner": "ann"})
    [row], _ = running(json.dumps(labelled).encode())
    assert row.owner == "ann"


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{", b"[" * 100_000, b'{"items": 3}', b'{"items": [3]}', b'{"items": [{}]}']
)
def test_what_no_cluster_printed_is_refused(document):
    with pytest.raises(UsageError):
        running(document)


@pytest.mark.parametrize(
    "spec", [None, 3, [], {"containers": 3}, {"containers": [3]}, {"containers": [{"args": 3, "env": {}}]}]
)
def test_odd_objects_do_not_stop_the_rest(spec):
    rows, _ = told(
        item("Pod", spec), item("Deployment", {"template": {"spec": pod("--model", "org/a")}}, "other")
    )
    assert rows[-1] == ("prod/other", "hf://org/a")
