"""`key`: made, shown, put under a password, replaced; no password is ever an argument or printed."""

import json
import os
import pty
import stat
import subprocess
import sys

import pytest

from weighbridge.cli import secrets
from weighbridge.keys.files import load

PASSWORD = "planted-passw0rd"


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in (secrets.VARIABLE, secrets.NEW_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "algorithm", ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519", "rsa", "ml-dsa-44"]
)
def test_a_key_of_each_kind_is_made_and_shown(world, call, algorithm):
    code, output, _ = call("key", "new", "mine.pem", "--algorithm", algorithm, "--format", "json")
    (made,) = json.loads(output)["keys"]
    assert code == 0
    assert stat.S_IMODE((world.folder / "mine.pem").stat().st_mode) == 0o600
    for name in ("mine.pem", "mine.pub.pem"):
        code, output, _ = call("key", "show", name, "--format", "json")
        (shown,) = json.loads(output)["keys"]
        assert code == 0
        assert (shown["id"], shown["algorithm"]) == (made["id"], algorithm)
        assert shown["public"] == (world.folder / "mine.pub.pem").read_text()


def test_a_password_is_added_changed_and_taken_away(world, call, monkeypatch):
    call("key", "new", "mine.pem")
    path = world.folder / "mine.pem"
    first = load(path).key_id
    monkeypatch.setenv(secrets.NEW_VARIABLE, PASSWORD)
    assert call("key", "protect", "mine.pem")[0] == 0
    assert load(path, PASSWORD).key_id == first
    monkeypatch.setenv(secrets.VARIABLE, PASSWORD)
    monkeypatch.setenv(secrets.NEW_VARIABLE, "another")
    code, output, error = call("key", "protect", "mine.pem", "--format", "json")
    assert code == 0
    assert json.loads(output)["keys"][0]["protected"] is True
    assert PASSWORD not in output + error
    monkeypatch.setenv(secrets.VARIABLE, "another")
    assert call("key", "protect", "mine.pem", "--remove")[0] == 2, "both say something else"
    monkeypatch.delenv(secrets.NEW_VARIABLE)
    assert call("key", "protect", "mine.pem", "--remove")[0] == 0
    assert load(path).key_id == first


def test_a_wrong_password_changes_nothing(world, call, monkeypatch):
    monkeypatch.setenv(secrets.VARIABLE, PASSWORD)
    call("key", "new", "mine.pem")
    before = (world.folder / "mine.pem").read_bytes()
    monkeypatch.setenv(secrets.VARIABLE, "wrong-planted")
    code, output, error = call("key", "protect", "mine.pem", "--remove")
    assert code == 3
    assert "[key.form]" in error
    assert "wrong-planted" not in output + error
    assert (world.folder / "mine.pem").read_bytes() == before


def test_without_a_terminal_a_missing_password_is_said(call, monkeypatch):
    monkeypatch.setenv(secrets.VARIABLE, PASSWORD)
    call("key", "new", "mine.pem")
    monkeypatch.delenv(secrets.VARIABLE)
    for line in (("show", "mine.pem"), ("protect", "mine.pem"), ("new", "other.pem", "--ask-password")):
        code, _, error = call("key", *line)
        assert code == 2
        assert "WEIGHBRIDGE_KEY_PASSWORD" in error


def test_on_a_terminal_a_password_is_asked_for_and_not_shown(tmp_path):
    """A real terminal: what is typed comes back nowhere."""
    shown = typed(tmp_path, ["key", "new", "mine.pem", "--ask-password"], [PASSWORD, PASSWORD])
    assert "New password of mine.pem" in shown
    assert PASSWORD not in shown
    assert load(tmp_path / "mine.pem", PASSWORD)
    shown = typed(tmp_path, ["key", "protect", "mine.pem", "--remove"], [PASSWORD])
    assert "Password of mine.pem" in shown
    assert PASSWORD not in shown
    assert load(tmp_path / "mine.pem")


def typed(folder, words, answers):
    leader, follower = pty.openpty()
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "NO_COLOR": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "weighbridge", *words],
        cwd=folder, env=environ, stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    seen = b""
    try:
        for answer in answers:
            before = seen.count(b": ")
            while seen.count(b": ") == before:
                seen += os.read(leader, 4096)
            os.write(leader, answer.encode() + b"\n")
        while True:
            try:
                block = os.read(leader, 4096)
            except OSError:  # the other end is closed
                break
            if not block:
                break
            seen += block
    finally:
        os.close(leader)
    assert process.wait() == 0, seen.decode()
    return seen.decode()


def test_how_to_replace_a_key(world, call):
    call("key", "new", "packer.pem")
    call("trust", "add", "packer 1", "--key", "packer.pub.pem", "--role", "package", "--role", "train")
    code, output, _ = call("key", "rotate", "packer.pub.pem")
    assert code == 0
    assert output.splitlines()[:3] == [
        "weighbridge key new 'packer 1-2.pem' --ask-password",
        "weighbridge trust add 'packer 1-2' --key 'packer 1-2.pub.pem' --role package --role train",
        "weighbridge trust end 'packer 1'",
    ]


def test_the_way_to_replace_a_key_can_be_walked(world, call, monkeypatch):
    import shlex

    monkeypatch.setenv(secrets.VARIABLE, "")
    call("key", "new", "packer.pem")
    call("trust", "add", "packer", "--key", "packer.pub.pem", "--role", "package")
    _, output, _ = call("key", "rotate", "packer.pem", "--format", "json")
    for command in json.loads(output)["rotations"][0]["commands"]:
        words = [word for word in shlex.split(command)[1:] if word != "--ask-password"]
        code, _, error = call(*words)
        assert code == 0, error
    _, output, _ = call("trust", "show")
    assert "packer-2" in output


def test_a_key_that_nobody_has_is_not_replaced(call):
    call("key", "new", "mine.pem")
    code, _, error = call("key", "rotate", "mine.pem")
    assert code == 2
    assert "weighbridge trust show" in error


def test_references_that_name_no_key(call):
    for reference, word in [
        ("nowhere.pem", "no key at"),
        ("pkcs11:token=a", "does not name a key"),
        ("vault://a", "does not name a key"),
    ]:
        code, _, error = call("key", "show", reference)
        assert code == 2
        assert word in error
    code, _, error = call("key", "show", "hashivault://key", "--offline")
    assert code == 3
    assert "offline" in error


@pytest.mark.parametrize(
    "line",
    [("revoke", "x", "--reason", "y"), ("policy", "use", ".")],
    ids=["revoke", "policy use"],
)
def test_verbs_that_sign_take_references_to_keys(call, line):
    code, _, error = call(*line, "--key", "pkcs11:token=a")
    assert code == 2
    assert "[key.uri]" in error


def test_a_password_in_the_environment_does_not_stand_in_the_way_of_a_key_without_one(
    world, call, monkeypatch
):
    """The variable is for all keys of a session; some have a password and some have none."""
    call("key", "new", "mine.pem")
    monkeypatch.setenv(secrets.VARIABLE, PASSWORD)
    assert call("key", "show", "mine.pem")[0] == 0
    code, _, error = call("revoke", "wb1:" + "ab" * 32, "--reason", "x", "--key", "mine.pem")
    assert "key.password" not in error
    assert code != 0
