"""What goes wrong ends in a sentence, a cause and a next step; the registry is as it was."""

import errno
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from world import safetensors


def intact(world):
    """The registry opens, its log is whole, and nothing waits to be finished."""
    world.reopen()
    with world.registry.writing():
        pass
    world.registry.log.verify_all()
    with world.registry.records.read() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    return True


def kept(world):
    with world.registry.records.read() as connection:
        return connection.exec_driver_sql("SELECT count(*) FROM model").scalar()


def explained(answer, code, *words):
    """The exit code is right, and standard error says what, why and what to do."""
    found, _, error = answer
    assert found == code, error
    assert error.startswith("error: "), error
    assert "help: " in error, error
    for word in words:
        assert word in error, error


def test_a_missing_path(world, call):
    explained(call("scan", "./nowhere"), 2, "nowhere")
    explained(call("intake", "./nowhere"), 2, "nowhere")
    assert intact(world)


def test_an_empty_folder(world, call, tmp_path):
    (tmp_path / "empty").mkdir()
    explained(call("scan", "./empty"), 1, "no file")
    explained(call("intake", "./empty"), 1, "no file")
    assert intact(world)
    assert kept(world) == 0


def test_a_reference_that_is_none(world, call):
    explained(call("intake", "org/name"), 2, "hf://org/name")
    explained(call("promote", "No Such Name"), 2)
    explained(call("promote", "unknown-name"), 2, "unknown-name")
    explained(call("promote", "wb1:xyz"), 2)
    explained(call("pull", "https://host.example/model"), 2, "says no digest")


def test_an_unreadable_file(world, call, monkeypatch):
    folder = world.model()
    real = os.open

    def refuse(path, flags, *arguments, **options):
        name = os.fsdecode(path) if isinstance(path, (str, bytes)) else ""
        if name.endswith("model.safetensors"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    explained(call("intake", folder), 3, "model.safetensors")
    monkeypatch.undo()
    assert intact(world)
    assert kept(world) == 0


def test_a_sparse_file_far_larger_than_memory_and_disk(world, call):
    folder = world.model()
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(900 * 1024**3)
    explained(call("intake", folder), 3, "no room")
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(3 * 1024**4)
    explained(call("scan", folder), 3, "larger than the limit")
    assert intact(world)
    assert kept(world) == 0


def test_names_that_are_not_utf8(world, call):
    folder = world.model()
    (Path(os.fsencode(folder).decode()) / os.fsdecode(b"bad-\xff.bin")).write_bytes(b"x")
    explained(call("intake", folder), 1)
    assert intact(world)
    assert kept(world) == 0


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 20, 60, -1])
def test_truncated_weights_are_blocked(world, call, cut):
    folder = world.model()
    data = safetensors({"weight": [1.0, 2.0]})
    (folder / "model.safetensors").write_bytes(data[:cut])
    code, output, _ = call("scan", folder, "--format", "json")
    assert code in (1, 3)
    assert json.loads(output)["reports"][0]["verdict"] in ("broken", "unread", "unlisted", "dangerous")


def test_truncated_evidence_of_a_registry(world, call):
    folder = world.ready()
    assert call("promote", folder)[0] == 0
    for path in (world.registry.layout.card, world.registry.layout.log / "checkpoint"):
        before = path.read_bytes()
        path.write_bytes(before[: len(before) // 2])
        explained(call("list"), 3)
        path.write_bytes(before)
    assert call("list")[0] == 0


def test_a_registry_made_by_a_newer_version(world, call):
    world.registry.close()
    with sqlite3.connect(world.registry.layout.database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = world.registry.layout.database.read_bytes()
    explained(call("list"), 3, "newer version")
    assert world.registry.layout.database.read_bytes() == before


def test_a_card_of_another_format(world, call):
    world.registry.layout.card.write_text('{"format":"weighbridge.registry/2","id":"x"}')
    explained(call("list"), 3, "another version")


def test_a_database_that_is_none(world, call):
    world.registry.close()
    world.registry.layout.database.write_bytes(b"this is no database" * 100)
    explained(call("list"), 3)


def test_a_locked_database(world, call, monkeypatch):
    from weighbridge.store import sql

    monkeypatch.setattr(sql, "BUSY_MS", 200)
    folder = world.ready()
    connection = sqlite3.connect(world.registry.layout.database, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        explained(call("promote", folder), 3, "locked")
    finally:
        connection.execute("ROLLBACK")
        connection.close()
    assert intact(world)
    assert call("promote", folder)[0] == 0


def test_a_held_writer_lock_names_its_holder(world, call, monkeypatch):
    monkeypatch.setenv("WEIGHBRIDGE_LOCK_SECONDS", "1")
    folder = world.ready()
    script = (
        "import fcntl, os, sys\n"
        f"fd = os.open({str(world.registry.layout.lock)!r}, os.O_RDWR | os.O_CREAT)\n"
        "fcntl.flock(fd, fcntl.LOCK_EX)\n"
        "os.ftruncate(fd, 0); os.pwrite(fd, str(os.getpid()).encode(), 0)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        explained(call("promote", folder), 3, str(holder.pid), "nothing was changed")
    finally:
        holder.communicate(timeout=20)
    assert call("promote", folder)[0] == 0


def test_a_hostile_configuration_inside_a_model_is_ignored(world, call, monkeypatch):
    folder = world.model()
    (folder / "weighbridge.toml").write_text('registry = "/tmp/elsewhere"\nadmission_hours = 999999\n')
    (folder / ".weighbridge").mkdir()
    (folder / ".weighbridge" / "registry.json").write_text('{"format":"weighbridge.registry/1","id":"evil"}')
    monkeypatch.chdir(folder)
    code, output, _ = call("config", "--format", "json")
    assert code == 0
    rows = {row["key"]: row for row in json.loads(output)["settings"]}
    assert rows["admission_hours"]["value"] == "24"
    assert rows["registry"]["origin"] == "environment WEIGHBRIDGE_HOME"
    monkeypatch.delenv("WEIGHBRIDGE_HOME")
    explained(call("list"), 3, "not pinned")


def test_a_registry_without_a_pin_is_not_opened(world, call, monkeypatch, tmp_path):
    monkeypatch.setenv("WEIGHBRIDGE_CONFIG_HOME", str(tmp_path / "somebody-else"))
    explained(call("list"), 3, "not pinned", "trust pin")
    root = world.home / "roots" / world.registry.id / "root.pub.pem"
    assert call("trust", "pin", "--root", root)[0] == 0
    assert call("list")[0] == 0


def test_a_registry_pinned_to_another_root_is_not_believed(world, call, monkeypatch, tmp_path):
    monkeypatch.setenv("WEIGHBRIDGE_CONFIG_HOME", str(tmp_path / "somebody-else"))
    assert call("key", "new", "mine.pem")[0] == 0
    assert call("trust", "pin", "--root", "mine.pub.pem")[0] == 0
    explained(call("list"), 1, "authority.signature")


def test_a_log_that_was_rolled_back_is_noticed(world, call, tmp_path):
    import shutil

    shutil.copytree(world.registry.layout.root, tmp_path / "backup")
    folder = world.ready()
    assert call("promote", folder)[0] == 0
    world.registry.close()
    shutil.rmtree(world.registry.layout.root)
    shutil.copytree(tmp_path / "backup", world.registry.layout.root)
    code, _, error = call("list")
    assert code == 1
    assert "rollback" in error or "consistency" in error


def test_a_mistyped_setting(world, call):
    world.home.joinpath("weighbridge.toml").write_text('projcet = "x"\n')
    explained(call("config"), 2, "did you mean 'project'")
    world.home.joinpath("weighbridge.toml").write_text("= broken")
    explained(call("config"), 2)
    world.home.joinpath("weighbridge.toml").write_text('lock_seconds = "soon"\n')
    assert call("config")[0] in (0, 2)


def test_init_over_something(world, call, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    explained(call("init", "--registry", tmp_path / "full"), 2, "already something")
    assert (tmp_path / "full" / "file").read_text() == "x"


def test_init_that_dies_leaves_no_half_registry(world, call, monkeypatch, tmp_path):
    from weighbridge.registry import setup

    monkeypatch.setattr(
        setup, "_first_records", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    code, _, error = call("init", "--registry", tmp_path / "new")
    assert code == 3
    assert "No space left" in error
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob("new.*"))


def test_a_private_key_where_a_public_one_belongs(world, call):
    assert call("key", "new", "a.pem")[0] == 0
    explained(call("trust", "add", "x", "--key", "a.pem", "--role", "train"), 2, "private key")


def test_a_key_that_others_can_read(world, call):
    assert call("key", "new", "a.pem")[0] == 0
    Path("a.pem").chmod(0o644)
    folder = world.model()
    code, _, error = call("sign", folder, "--key", "a.pem")
    assert code in (1, 2, 3)
    assert "a.pem" in error


def test_policy_for_real_only_from_the_registry(world, call, tmp_path):
    folder = world.ready()
    (tmp_path / "mine").mkdir()
    explained(call("promote", folder, "--policy", tmp_path / "mine"), 2, "--dry-run")


def test_json_errors_are_data(world, call):
    code, output, _ = call("promote", "unknown-name", "--format", "json")
    assert code == 2
    value = json.loads(output)
    assert value["schema"] == "weighbridge.error/1"
    assert value["errors"][0]["kind"] == "not-found"


def test_an_unexpected_mistake_is_no_traceback(world, call, monkeypatch):
    from weighbridge.registry import models

    monkeypatch.setattr(models, "every", lambda _registry: 1 / 0)
    explained(call("list"), 4, "ZeroDivisionError")


def test_escapes_in_names_do_not_reach_the_terminal(world, call, tmp_path):
    folder = world.files("plain", config__json="{}")
    (folder / "evil\u001b[31m.json").write_bytes(b"{}")
    _, output, error = call("scan", folder)
    assert "\u001b[31m" not in output + error
