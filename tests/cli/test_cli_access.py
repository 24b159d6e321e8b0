"""`access` and `job` on the command line: granting, ending, setting, noting, and doing what waits."""

import json

import pytest

from world_hub import Hub


@pytest.fixture
def granted(call):
    code, out, err = call("access", "grant", "ci", "--right", "submit", "--reason", "the build")
    assert code == 0, err
    return out.strip(), err.split()[1]


def test_a_token_is_granted_listed_and_ended(call, granted):
    secret, identity = granted
    assert secret.startswith(f"wb_{identity}_")
    code, out, _ = call("access", "list")
    assert (code, identity in out, "in force" in out, secret in out) == (0, True, True, False)
    assert call("access", "end", identity[:8], "--reason", "lost")[0] == 0
    assert "ended" in call("access", "list")[1]
    assert call("access", "end", identity, "--reason", "lost")[0] == 2


def test_as_data_the_secret_stands_in_the_grant_and_nowhere_else(call):
    code, out, _ = call("access", "grant", "ana", "--right", "read", "--reason", "x", "--format", "json")
    item = json.loads(out)["tokens"][0]
    assert (code, item["holder"], item["rights"]) == (0, "ana", ["read"])
    assert item["secret"] not in call("access", "list", "--format", "json")[1]


def test_a_setting_is_changed_shown_and_taken_away(call):
    assert call("access", "set", "quota.models", "4", "--reason", "small")[0] == 0
    code, out, _ = call("access", "set", "--format", "json")
    row = next(item for item in json.loads(out)["access-settings"] if item["key"] == "quota.models")
    assert (code, row["value"], row["used"], row["project"]) == (0, "4", 0, "default")
    assert call("access", "set", "quota.models", "--unset", "--reason", "room")[0] == 0
    assert call("access", "set", "quota.model", "4", "--reason", "x")[0] == 2
    assert call("access", "set", "quota.models")[0] == 2


def test_what_was_asked_for_is_noted_and_what_was_refused(call, granted, world):
    key = world.folder / "stranger.pem"
    assert call("key", "new", key)[0] == 0
    assert call("access", "grant", "me", "--right", "admin", "--reason", "x", "--key", key)[0] == 1
    code, out, _ = call("access", "log", "--format", "json")
    rows = [(item["kind"], item["subject"], item["outcome"]) for item in json.loads(out)["actions"]]
    assert code == 0
    assert rows[:2] == [("access grant", "me", "refused"), ("access grant", "ci", "done")]
    assert call("access", "log", "--forget", world.registry.actor)[0] == 0


def test_a_snapshot_of_names_is_issued_and_resolved(call, world):
    assert world.promote(world.ready("first"), name="encoder").decision.allow
    data = world.folder / "names.json"
    assert call("access", "names", "--output", data)[0] == 0
    code, out, _ = call("access", "resolve", "encoder", "--snapshot", data)
    assert (code, out.strip()) == (0, str(world.manifest(world.folder / "first").digest))
    assert call("access", "resolve", "search", "--snapshot", data)[0] == 2
    data.write_bytes(data.read_bytes().replace(b'"sig":"M', b'"sig":"N'))
    assert call("access", "resolve", "encoder", "--snapshot", data)[0] == 1


def test_a_name_that_looks_like_another_needs_a_word(call, world):
    first, second = world.ready("first"), world.ready("second", seed=2.0)
    assert world.promote(first, name="encoder").decision.allow
    digest = str(world.manifest(second).digest)
    code, _, err = call("promote", digest, "--name", "encodr")
    assert (code, "name.alike" in err) == (1, True)
    words = ("--yes-it-differs-from", "encoder", "--because", "the small one")
    assert call("promote", digest, "--name", "encodr", *words)[0] == 0


def test_work_is_asked_for_done_and_shown(call, world, monkeypatch):
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.add_repo("org/name", {"config.json": b"{}", "model.safetensors": b"\x02\0\0\0\0\0\0\0{}"})
        code, out, _ = call("job", "add", "intake", "hf://org/name")
        assert (code, "queued" in out) == (0, True)
        identity = out.split()[0]
        assert call("job", "list", "--state", "queued")[1].count("intake") == 1
        assert call("job", "run")[0] == 1  # done, and the gate said no
    code, out, _ = call("job", "show", identity)
    assert (code, "done" in out, "answer: block" in out) == (1, True, True)
    assert call("job", "run")[:2] == (0, "nothing waits\n")


def test_work_that_failed_is_tried_again_when_asked(call):
    identity = call("job", "add", "intake", "/etc")[1].split()[0]
    assert call("job", "run", identity)[0] == 1
    code, out, _ = call("job", "show", identity)
    assert (code, "remedy: take it in there by hand" in out) == (1, True)
    assert call("job", "run", identity, "--again")[0] == 1
    assert call("job", "run", "--again")[0] == 2
    assert call("job", "show", "0000")[0] == 2
    assert call("job", "add", "intake")[0] == 2
