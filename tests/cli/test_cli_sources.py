"""The command line brings models in from elsewhere, says beforehand what that costs, and registers what runs already."""

import io
import json
import sys

import pytest

from weighbridge.cli.main import run
from world_house import World
from world_web import Web


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


@pytest.fixture
def web():
    with Web() as server:
        yield server


@pytest.fixture
def call(world, capsys, monkeypatch):
    for name, value in world.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(world.folder / "registry"))
    monkeypatch.chdir(world.folder)

    def invoke(*arguments):
        code = run([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return invoke


def test_a_dry_run_says_what_would_be_fetched_and_fetches_nothing(call, web):
    web.files["/model.safetensors"] = b"x" * 5_000_000
    text = web.reference("/model.safetensors")
    code, out, _ = call("pull", text, "--dry-run", "--format", "json")
    [plan] = json.loads(out)["plans"]
    assert code == 0
    assert (plan["bytes"], plan["missing"], plan["seconds"]) == (5_000_000, 5_000_000, 0)
    assert [file["kept"] for file in plan["files"]] == [False]
    assert web.sent == {}
    code, out, _ = call("intake", text, "--dry-run")
    assert "1 files, 5.0 MB; 5.0 MB to fetch" in out
    assert web.sent == {}
    assert call("intake", text)[0] == 0
    assert json.loads(call("intake", text, "--dry-run", "--format", "json")[1])["plans"][0]["missing"] == 0


def test_bytes_that_are_not_the_announced_ones_are_exit_code_1(call, web):
    web.files["/model.safetensors"] = b"weights"
    text = web.reference("/model.safetensors")
    web.files["/model.safetensors"] = b"w3ights"
    code, _, err = call("intake", text)
    assert (code, "[source.announced]" in err) == (1, True)


def test_a_registrys_own_words_are_no_source(call):
    for text in ("some-name", "wb1:" + "0" * 64):
        code, _, err = call("intake", text)
        assert (code, "registry's word" in err) == (2, True)


def test_what_runs_is_registered_from_a_clusters_own_words_on_standard_input(call, world, monkeypatch):
    pod = {"containers": [{"image": "vllm/vllm-openai", "args": ["--model", "/models/x"]}]}
    document = {"items": [{"kind": "Pod", "metadata": {"name": "chat", "namespace": "prod"}, "spec": pod}]}
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(document).encode())))
    code, out, _ = call("deploy", "--from", "k8s", "-", "--format", "json")
    [row] = json.loads(out)["adoptions"]
    assert (code, row["target"], row["standing"]) == (3, "prod/chat", "cannot-tell")


def test_what_runs_is_registered_from_a_file(call, world):
    lines = [{"target": "prod/a", "reference": str(world.model()), "owner": "team-a"}]
    (world.folder / "running.jsonl").write_text("\n".join(map(json.dumps, lines)))
    code, out, _ = call("deploy", "--from", "running.jsonl")
    assert code == 0
    assert "1 models: 0 pass, 0 after conversion, 1 need a signer, 0 are blocked, 0 cannot be told" in out
    assert "team-a" in out
    assert "the policy says no end" in out
    assert "prod/a" in call("deploy")[1]


@pytest.mark.parametrize(
    "arguments", [("--from", "k8s"), ("--from", "s3"), ("--from", "none.jsonl"), ("--from", "x", "--end")]
)
def test_what_cannot_be_asked_for(call, arguments):
    code, _, err = call("deploy", *arguments)
    assert code == 2
    assert "help" in err


def test_drift_is_listed(call, world, web):
    assert call("list", "--drift")[1] == "nothing drifted\n"
