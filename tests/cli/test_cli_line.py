"""The line as a user walks it, over the command line: a hub, a folder, keys, the gate, a load."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from world import Hub, World, safetensors
from world_checkpoints import Checkpoint, ordered, storage, tensor

ROOT = Path(__file__).resolve().parents[2]


def checkpoint():
    """Return a torch zip checkpoint of one 2x3 tensor, written without torch."""
    root = ordered([("layer.weight", tensor(storage("0", numel=6), (2, 3)))])
    return Checkpoint(root, {"0": bytes(range(24))}).zip()


@pytest.fixture
def hub():
    with Hub() as made:
        yield made


def from_hub(call, hub, monkeypatch, *more):
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    return call("pull", "hf://org/speech@main", *more)


def test_pull_from_a_hub_pins_converts_accepts_and_admits(world, call, hub, monkeypatch):
    files = {
        "pytorch_model.bin": checkpoint(),
        "config.json": b'{"model_type": "bert"}',
        "README.md": b"---\nlicense: mit\n---\n",
    }
    commit = hub.add_repo("org/speech", files, lfs={"pytorch_model.bin"})
    code, output, error = from_hub(
        call,
        hub,
        monkeypatch,
        "--accept",
        "needed for search",
        "--licence",
        "MIT",
        "--name",
        "speech",
        "--format",
        "json",
    )
    assert code == 0, output + error
    item = json.loads(output)["decisions"][0]
    assert item["decision"] == "allow"
    folder = Path(item["path"])
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    listed = json.loads(call("list", "--format", "json")[1])["models"]
    assert {row["source"].get("commit") for row in listed} >= {commit}
    loaded = call("verify", folder)
    assert loaded[0] == 0, loaded
    assert "every tensor compared" in error


def test_pull_without_an_accepted_origin_is_blocked_and_says_so(world, call, hub, monkeypatch):
    hub.add_repo(
        "org/speech", {"model.safetensors": safetensors({"w": [1.0]}), "config.json": b"{}"}, lfs=set()
    )
    code, output, _ = from_hub(call, hub, monkeypatch)
    assert code == 1
    assert "claims.origin" in output
    assert "help:" in output


def test_a_hub_that_serves_other_bytes_than_it_announced_gets_nothing_in(world, call, hub, monkeypatch):
    files = {"model.safetensors": safetensors({"w": [1.0, 2.0]}), "config.json": b"{}"}
    hub.add_repo("org/speech", files, lfs={"model.safetensors"})
    hub.flip("org/speech", "model.safetensors")
    code, _, error = from_hub(call, hub, monkeypatch, "--accept", "x", "--licence", "MIT")
    assert code == 1
    assert "source.announced" in error
    assert json.loads(call("list", "--format", "json")[1])["models"] == []


def test_scan_of_a_hub_reference(world, call, hub, monkeypatch):
    hub.add_repo(
        "org/speech", {"model.safetensors": safetensors({"w": [1.0]}), "config.json": b"{}"}, lfs=set()
    )
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    code, output, error = call("scan", "hf://org/speech", "--format", "json")
    assert code == 0, error
    assert json.loads(output)["reports"][0]["verdict"] == "clean"


def test_offline_opens_no_connection(world, call, hub, monkeypatch):
    hub.add_repo("org/speech", {"config.json": b"{}"}, lfs=set())
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    code, _, error = call("pull", "hf://org/speech", "--offline")
    assert code == 3
    assert "offline" in error
    assert hub.requests == []


def test_a_folder_with_announced_digests(world, call):
    import hashlib

    folder = world.files("crepe", full__pth=checkpoint())
    digest = hashlib.sha256(checkpoint()).hexdigest()
    accept = ("--publisher", "them", "--licence", "MIT", "--accept", "because")
    wrong = call("pull", folder, "--expect", f"full.pth=sha256:{'0' * 64}", *accept)
    assert wrong[0] == 1
    assert "source.announced" in wrong[2]
    code, output, error = call("pull", folder, "--expect", f"full.pth=sha256:{digest}", *accept)
    assert code == 0, output + error


def test_a_folder_that_nobody_announced_is_no_accepted_origin(world, call):
    folder = world.files("crepe", full__pth=checkpoint())
    code, output, _ = call("pull", folder, "--publisher", "them", "--licence", "MIT", "--accept", "because")
    assert code == 1
    assert "origin.accepted" in output


def test_convert_alone_needs_no_registry(world, call, monkeypatch):
    monkeypatch.delenv("WEIGHBRIDGE_HOME")
    world.files("loose", full__pth=checkpoint())
    code, output, _ = call("convert", "loose/full.pth", "--format", "json")
    assert code == 0
    item = json.loads(output)["conversions"][0]
    assert item["method"] == "rebuilt"
    assert item["equivalence"] == "proven"
    assert item["source_root"] == item["output_root"]
    again = call("convert", "loose/full.pth")
    assert again[0] == 2


def test_sign_and_verify_alone_need_no_registry(world, call, monkeypatch):
    monkeypatch.delenv("WEIGHBRIDGE_HOME")
    folder = world.model()
    assert call("key", "new", "me.pem", "--algorithm", "ed25519")[0] == 0
    assert call("sign", folder, "--key", "me.pem", "--bundle", "model.sigstore.json")[0] == 0
    code, output, _ = call("verify", folder, "--bundle", "model.sigstore.json", "--key", "me.pub.pem")
    assert code == 0
    assert "verified: wb1:" in output
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(safetensors({"w": [9.0]}))
    code, _, error = call("verify", folder, "--bundle", "model.sigstore.json", "--key", "me.pub.pem")
    assert code == 1
    assert "bytes.match" in error
    assert "config.json" in error


def test_verify_refuses_a_changed_file_that_the_weights_do_not_cover(world, call, monkeypatch):
    folder = world.model()
    assert call("key", "new", "me.pem")[0] == 0
    assert call("sign", folder, "--key", "me.pem", "--bundle", "model.sigstore.json")[0] == 0
    (folder / "config.json").write_text('{"auto_map": "evil"}')
    code, _, error = call("verify", folder, "--bundle", "model.sigstore.json", "--key", "me.pub.pem")
    assert code == 1
    assert "bytes.match" in error
    assert "config.json" in error


def test_a_password_is_needed_where_one_was_given(world, call, monkeypatch):
    monkeypatch.setenv("WEIGHBRIDGE_KEY_PASSWORD", "correct horse battery")
    assert call("key", "new", "me.pem")[0] == 0
    assert b"ENCRYPTED" in Path("me.pem").read_bytes()
    monkeypatch.delenv("WEIGHBRIDGE_KEY_PASSWORD")
    code, _, error = call("sign", world.model(), "--key", "me.pem", "--bundle", "b.json")
    assert code != 0
    assert "WEIGHBRIDGE_KEY_PASSWORD" in error


def test_bom_of_a_kept_model(world, call):
    folder = world.model()
    assert call("intake", folder)[0] == 0
    code, output, _ = call("bom", folder)
    assert code == 0
    document = json.loads(output)
    assert document["specVersion"] == "1.6"
    assert document["metadata"]["component"]["bom-ref"] == str(world.manifest(folder).digest)


def test_policy_use_pins_the_new_files(world, call, tmp_path):
    import shutil

    folder = world.ready()
    shutil.copytree(world.registry.layout.policy, tmp_path / "policy")
    text = (tmp_path / "policy" / "policy.toml").read_text()
    (tmp_path / "policy" / "policy.toml").write_text(
        text.replace('formats = ["safetensors", ', "formats = [")
    )
    assert call("policy", "check", tmp_path / "policy")[0] == 0
    assert call("promote", folder, "--dry-run", "--policy", tmp_path / "policy")[0] == 1
    assert call("promote", folder, "--dry-run")[0] == 0
    assert call("policy", "use", tmp_path / "policy")[0] == 0
    assert call("policy", "check")[0] == 0
    code, output, _ = call("promote", folder)
    assert code == 1
    assert "policy.scan.formats" in output


def test_an_open_policy_cannot_be_used(world, call, tmp_path):
    (tmp_path / "open").mkdir()
    text = "package weighbridge.own\n\nallow := true\n\ndeny := []\n\nwarn := []\n\nobligations := []\n"
    (tmp_path / "open" / "own.rego").write_text(text)
    code, _, error = call("policy", "use", tmp_path / "open")
    assert code == 2
    assert "allow is true of everything" in error
    assert call("policy", "check")[0] == 0


def test_explain_shows_every_check(world, call):
    folder = world.ready()
    code, output, _ = call("promote", folder, "--explain")
    assert code == 0
    for check in ("bytes.match", "scan.own", "bom.bound", "ancestry.ends", "claims.train", "policy.engine"):
        assert f" {check}\n" in output


def test_deploy_lists_and_ends(world, call):
    folder = world.ready()
    assert call("promote", folder, "--name", "encoder")[0] == 0
    assert call("deploy", "encoder", "--target", "prod/search")[0] == 0
    assert "prod/search" in call("deploy")[1]
    assert call("deploy", "--target", "prod/search", "--end")[0] == 0
    assert "prod/search" not in call("deploy")[1]


def test_log_proves_growth_and_entries(world, call):
    assert call("log", "show", "--output", "kept")[0] == 0
    world.ready()
    code, output, _ = call("log", "prove", "--since", "kept", "--entry", "3", "--all")
    assert code == 0
    assert "nothing in it was changed" in output
    assert "entry 3 is in the log" in output
    assert call("log", "prove")[0] == 2


def test_another_logs_checkpoint_is_not_extended(world, call, tmp_path):
    second = World(tmp_path / "second", anew=True)
    second.ready()
    (tmp_path / "kept").write_text(second.registry.log.checkpoint_text)
    second.registry.close()
    world.ready()
    assert call("log", "prove", "--since", tmp_path / "kept")[0] == 1


@pytest.mark.timeout(400)
def test_the_demo_plays_without_a_network(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "weighbridge", "demo", "--made", "--folder", str(tmp_path / "demo")],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout[done.stdout.index("What was refused") :]
    for attack in (
        "runs a command",
        "signed by a stranger",
        "one byte flipped",
        "descendant of a revoked base",
    ):
        assert attack in table
    assert "is not the file that was admitted" in table
    assert "posix.system" in table


def test_digests_that_are_announced_later_still_count(world, call):
    import hashlib

    folder = world.files("crepe", full__pth=checkpoint())
    digest = hashlib.sha256(checkpoint()).hexdigest()
    accept = ("--publisher", "them", "--licence", "MIT", "--accept", "because")
    assert call("intake", folder)[0] == 0
    assert call("pull", folder, *accept)[0] == 1
    code, output, error = call("pull", folder, "--expect", f"full.pth=sha256:{digest}", *accept)
    assert code == 0, output + error


def test_what_a_hub_announced_counts_for_bytes_that_were_here_before(world, call, hub, monkeypatch):
    files = {"model.safetensors": safetensors({"w": [1.0]}), "config.json": b"{}"}
    commit = hub.add_repo("org/speech", files, lfs={"model.safetensors"})
    folder = world.folder / "copy"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    assert call("intake", folder)[0] == 0
    code, output, error = from_hub(call, hub, monkeypatch, "--accept", "because", "--licence", "MIT")
    assert code == 0, output + error
    listed = json.loads(call("list", "--format", "json")[1])["models"]
    assert [row["source"].get("commit") for row in listed] == [commit]


def test_scan_without_an_argument_looks_through_the_hub_cache_worst_first(
    world, call, hub, monkeypatch, tmp_path
):
    from huggingface_hub import snapshot_download

    dangerous = b"cposix\nsystem\n(S'true'\ntR."
    good = {"model.safetensors": safetensors({"w": [1.0]}), "config.json": b"{}"}
    hub.add_repo("org/good", good, lfs={"model.safetensors"})
    hub.add_repo("org/bad", {"pytorch_model.bin": dangerous}, lfs={"pytorch_model.bin"})
    hub.add_repo("org/broken", {"config.json": b"{}", "other.json": b"{}"}, lfs=set())
    cache = tmp_path / "hf" / "hub"
    for repository in ("org/good", "org/bad", "org/broken"):
        snapshot_download(repository, cache_dir=cache, endpoint=hub.endpoint)
    link = next((cache / "models--org--broken" / "snapshots").glob("*/other.json"))
    link.unlink()
    link.symlink_to("/etc/hostname")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("WEIGHBRIDGE_HOME")
    code, output, error = call("scan", "--format", "json")
    assert code == 1
    assert [report["verdict"] for report in json.loads(output)["reports"]] == ["dangerous", "clean"]
    assert "next: weighbridge rule pickle-call" in error
    assert "org/broken" in error
    assert "other.json" in error


def test_scan_of_an_empty_machine_says_what_to_do(world, call, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "none"))
    code, _, error = call("scan")
    assert code == 2
    assert "weighbridge scan ./model" in error
