"""`reevaluate` as a person types it: what falls and why, what comes back, dry runs, exit codes, and as documented data."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "schemas"


def rounds(text):
    """Return the rounds of a JSON answer that has the documented shape."""
    document = json.loads(text)
    schema = json.loads((SCHEMAS / "reevaluation.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(document)
    return document["reevaluations"]


@pytest.fixture
def two(world, call):
    """Two trusted models, chat and code, the first running at prod/chat; returns their digests."""
    folders = [world.ready(name, seed=float(n + 1)) for n, name in enumerate(("chat", "code"))]
    for folder in folders:
        assert call("promote", f"./{folder.name}", "--name", folder.name)[0] == 0
    assert call("deploy", "chat", "--target", "prod/chat")[0] == 0
    return [world.manifest(folder).digest for folder in folders]


def lose(world, name):
    """Take the bytes of a model away; returns how to put them back."""
    entry = world.manifest(world.folder / name).entry("model.safetensors")
    path = world.registry.blobs.local(entry.sha256)
    data = path.read_bytes()
    path.unlink()
    return lambda: path.write_bytes(data)


def status(world, name):
    return world.kept(world.folder / name).status.value


def test_where_there_is_nothing_to_do_it_says_so(world, call, two):
    assert call("reevaluate") == (
        0,
        "0 of 2 trusted models looked at, 0 were due: nothing to do\n",
        "",
    )
    [done] = rounds(call("reevaluate", "--due", "--format", "json")[1])
    assert (done["trusted"], done["due"], done["models"], done["stopped"]) == (2, 0, [], None)


def test_an_empty_registry_has_nothing_to_judge(world, call):
    code, output, _ = call("reevaluate", "--all")
    assert (code, output) == (0, "0 of 0 trusted models looked at, 0 were due: nothing to do\n")


def test_all_and_some_are_judged_when_asked(world, call, two):
    code, output, _ = call("reevaluate", "--all")
    assert (code, output) == (0, "2 of 2 trusted models looked at, 0 were due: 2 passes\n")
    [done] = rounds(call("reevaluate", "chat", str(two[0]), "--format", "json")[1])
    assert [(row["model"], row["outcome"], row["reasons"]) for row in done["models"]] == [
        (str(two[0]), "passes", [])
    ]
    assert done["models"][0]["decision"].startswith("sha256:")


def test_what_falls_is_named_with_why_and_where_it_runs_and_comes_back(world, call, two):
    back = lose(world, "chat")
    code, output, _ = call("reevaluate", "--all")
    lines = output.splitlines()
    assert code == 1
    assert lines[0] == f"quarantined: {two[0].short} (looked at because: asked for)"
    assert lines[1].startswith("  bytes.match: ")
    assert any(line.startswith("  runs at prod/chat since 20") for line in lines)
    assert lines[-1] == "2 of 2 trusted models looked at, 0 were due: 1 passes, 1 quarantined"
    assert (status(world, "chat"), status(world, "code")) == ("quarantined", "active")
    assert call("admit", "chat")[0] == 1
    back()
    code, output, _ = call("reevaluate", "chat")
    assert code == 0
    assert output.splitlines()[0] == f"restored: {two[0].short} (looked at because: asked for)"
    assert output.splitlines()[-1] == "restored is not admitted yet: weighbridge admit MODEL"
    assert call("admit", "chat")[0] == 0


def test_a_dry_run_says_what_would_happen_and_nothing_does(world, call, two):
    lose(world, "chat")
    size = len(json.loads(call("decisions", "--format", "json")[1])["decisions"])
    code, output, _ = call("reevaluate", "--all", "--dry-run")
    assert code == 1
    assert f"quarantined: {two[0].short}" in output
    assert output.splitlines()[-1] == "dry run: nothing was changed or logged"
    assert len(json.loads(call("decisions", "--format", "json")[1])["decisions"]) == size
    assert status(world, "chat") == "active"
    [done] = rounds(call("reevaluate", "--all", "--dry-run", "--format", "json")[1])
    assert (done["dry_run"], done["counts"]["quarantined"]) == (True, 1)
    assert {row["decision"] for row in done["models"]} == {None}


def test_after_a_distrust_what_rests_on_it_falls_and_a_lift_brings_it_back(world, call, two):
    code, output, _ = call("revoke", "--signer", "train-team", "--from", "2026-11-01", "--reason", "stolen")
    said = output.split(":")[0]
    code, output, _ = call("reevaluate")
    assert code == 1
    assert f"quarantined: {two[0].short} (looked at because: distrust)" in output
    assert said in output
    assert call("reevaluate")[1].endswith("0 were due: nothing to do\n")
    assert call("revoke", "--lift", said, "--reason", "it was in the safe")[0] == 0
    code, output, _ = call("reevaluate")
    assert code == 0
    assert "2 restored" in output


def test_a_round_that_may_not_let_so_many_fall_holds_the_rest_back(world, call, two):
    lose(world, "chat")
    lose(world, "code")
    code, output, _ = call("reevaluate", "--all", "--most", "1")
    assert code == 1
    assert "1 quarantined, 1 held-back" in output
    assert "let it go further: weighbridge reevaluate --most NUMBER" in output
    code, output, _ = call("reevaluate", "--all", "--most", "0")
    assert "a round quarantines at most 0" in output


def test_what_could_not_be_told_ends_with_three(world, call, two):
    store = world.registry.layout.blobs / "sha256"
    store.rename(store.with_name("elsewhere"))
    code, output, _ = call("reevaluate", "--all")
    assert code == 3
    assert "ended early, a part of the gate does not answer: evidence.gathered: the store of bytes" in output
    assert status(world, "chat") == "active"


def test_what_stands_against_a_model_cannot_write_on_the_terminal(world, call, two, monkeypatch):
    from weighbridge.core.decision import Check, Outcome
    from weighbridge.gate import judging

    real = judging.floor

    def odd(*arguments):
        return (*real(*arguments), Check("model.name", Outcome.FAIL, "a name", "\x1b]0;owned\x07"))

    monkeypatch.setattr(judging, "floor", odd)
    code, output, _ = call("reevaluate", "--all")
    assert code == 1
    assert "owned" in output
    assert "\x1b" not in output


WRONG = {
    "--due --all": "leave out the others",
    "chat --all": "leave out the others",
    "chat --due": "leave out the others",
    "--every 5 --dry-run": "leave MODEL and --dry-run out",
    "--every 5 chat": "leave MODEL and --dry-run out",
    "--every 0": "--every",
    "--most -1": "--most",
    "nothing": "for a folder of that name type ./nothing",
    "later": "ask for the first time: weighbridge promote MODEL",
}


def test_what_cannot_be_meant_is_refused_with_what_to_type(world, call):
    world.ready("later")
    later = str(world.manifest(world.folder / "later").digest)
    for typed, remedy in WRONG.items():
        words = [later if word == "later" else word for word in typed.split()]
        code, output, error = call("reevaluate", *words)
        assert (code, output) == (2, ""), (typed, error)
        assert remedy in error, typed


def test_again_and_again_until_it_is_stopped(world, call, two):
    lose(world, "chat")
    environ = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "USER", "WEIGHBRIDGE_CONFIG_HOME", "WEIGHBRIDGE_HOME")
    }
    call("revoke", "--before", "2026-11-20", "--reason", "so that something is due")
    words = [
        sys.executable,
        "-m",
        "weighbridge",
        "reevaluate",
        "--every",
        "3600",
        "--all",
        "--format",
        "jsonl",
    ]
    with subprocess.Popen(
        words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        done = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=60)
    assert (process.returncode, done["counts"]["quarantined"], done["counts"]["passes"]) == (0, 1, 1)
    assert "stopped; what was judged is in the log" in error
    assert status(world, "chat") == "quarantined"
