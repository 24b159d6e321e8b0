"""`policy use`, `approve`, `mode`, `show` and `trust approvals`, as people type them."""

import json
import os
import subprocess

from weighbridge.cli.main import run
from weighbridge.config import read_config
from weighbridge.keys.files import generate
from weighbridge.policy.settings import starter
from weighbridge.registry.setup import init_registry
from weighbridge.registry.wiring import SystemClock, SystemEntropy
from weighbridge.trust.issuers import DEVELOPMENT_ISSUER


def lax(folder, days=31):
    folder.mkdir()
    for name, data in starter().items():
        (folder / name).write_text(data.decode().replace("max_age_days = 30", f"max_age_days = {days}"))
    return folder


def items(output):
    return next(value for value in json.loads(output).values() if isinstance(value, list))


def git(folder, *words):
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_GLOBAL": "/dev/null"}
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *words], cwd=folder, env=environ, check=True, capture_output=True)


def test_a_policy_takes_two_people_from_the_command_line(world, call, tmp_path):
    key = generate()
    key.save(tmp_path / "bob.pem")
    (tmp_path / "bob.pub.pem").write_text(key.public_pem)
    assert call("trust", "add", "bob", "--key", tmp_path / "bob.pub.pem", "--role", "policy")[0] == 0
    code, output, _ = call("trust", "approvals", "policy", 2)
    assert (code, "policy takes 2" in output) == (0, True)
    code, output, error = call("policy", "use", lax(tmp_path / "lax"))
    assert code == 0, error
    assert "waits for 1 more identity until" in output
    waiting = items(call("policy", "show", "--format", "json")[1])[0]["waiting"]
    assert [row["state"] for row in waiting] == ["waiting"]
    short = waiting[0]["id"].removeprefix("sha256:")[:12]
    assert short in call("policy", "show")[1]
    code, _, error = call("policy", "approve", short)
    assert (code, "adds nobody" in error) == (1, True)
    code, output, error = call("policy", "approve", short, "--key", tmp_path / "bob.pem")
    assert (code, "in effect" in output) == (0, True), error
    code, output, _ = call("policy", "show")
    assert code == 0
    assert "owner and bob" in output
    code, _, error = call("policy", "approve", short, "--key", tmp_path / "bob.pem")
    assert (code, "took effect already" in error) == (1, True)
    assert call("policy", "check")[0] == 0
    assert call("policy", "approve", "0" * 12)[0] == 2


def test_numbers_that_make_no_sense_are_refused(world, call):
    assert call("trust", "approvals", "break-glass", 1)[0] == 2
    assert call("trust", "approvals", "policy", 0)[0] == 2
    assert call("trust", "approvals", "policy", 33)[0] == 2
    assert call("trust", "approvals", "policy")[0] == 2
    assert call("trust", "approvals", "polcy", 2)[0] == 2
    code, output, _ = call("trust", "approvals", "mode", 3)
    assert code == 0
    assert "only 1 may sign as policy there" in output
    code, output, _ = call("trust", "approvals")
    assert code == 0
    assert [line.split() for line in output.splitlines()[1:]][:3] == [
        ["policy", "1"],
        ["mode", "3"],
        ["break-glass", "2"],
    ]


def test_modes_are_shown_and_set_and_what_is_not_enforced_is_said(world, call):
    folder = world.ready()
    code, output, error = call("policy", "mode", "observe", "--namespace", "lab", "--reason", "a trial")
    assert (code, "observe (before: enforce)" in output) == (0, True), error
    code, output, _ = call("policy", "mode")
    assert code == 0
    assert "lab" in output
    code, output, error = call("admit", folder, "--target", "lab/chat")
    assert code == 0
    assert "not enforced (mode observe)" in error
    code, output, error = call("admit", folder, "--namespace", "lab", "--format", "json")
    decision = json.loads(output)["decisions"][0]
    assert (code, decision["decision"], decision["mode"], decision["enforced"]) == (
        0,
        "block",
        "observe",
        False,
    )
    code, _, error = call("admit", folder, "--target", "prod/chat")
    assert (code, "not enforced" in error) == (1, False)
    code, _, error = call("admit", folder, "--target", "prod/chat", "--namespace", "lab")
    assert code == 2
    assert call("admit", folder)[0] == 1
    code, _, error = call("deploy", folder, "--target", "lab/chat")
    assert (code, "not enforced" in error) == (0, True)
    assert "lab/chat" in call("deploy")[1]


def test_a_mode_needs_a_reason_and_a_known_word(world, call):
    assert call("policy", "mode", "observe")[0] == 2
    assert call("policy", "mode", "enforced", "--reason", "x")[0] == 2
    assert call("policy", "mode", "observe", "--namespace", "a/b", "--reason", "x")[0] == 2
    assert call("policy", "mode", "--reason", "x")[0] == 2
    assert call("promote", world.ready())[0] == 0


def test_a_policy_of_one_project_beats_the_policy_of_all(world, call, tmp_path):
    folder = world.ready()
    strict = lax(tmp_path / "strict")
    text = (strict / "policy.toml").read_text()
    (strict / "policy.toml").write_text(text.replace('formats = ["safetensors", ', "formats = ["))
    assert call("policy", "use", strict, "--project", "other")[0] == 0
    assert call("promote", folder)[0] == 0
    code, output, _ = call("policy", "show", "--project", "other")
    assert code == 0
    assert call("policy", "check", "--project", "other")[0] == 0
    assert call("policy", "check")[0] == 0
    world.hand.at = SystemClock().now()  # the commands', whose entries are in the log
    world.reopen(project="other")
    world.take(folder)
    result = world.promote(folder)
    assert "policy.scan.formats" in {check.id for check in result.decision.refusals}
    assert result.decision.digests["policy"] in output


def test_the_git_commit_is_recorded_only_when_it_holds_these_very_files(world, call, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    folder = lax(work / "policy")
    code, output, error = call("policy", "use", folder)
    assert (code, "no git commit holds exactly these files" in output) == (0, True), error
    git(work, "init", "-q")
    git(work, "add", ".")
    git(work, "commit", "-q", "-m", "x")
    (folder / "README.md").write_text("not part of it")
    other = (folder / "policy.toml").read_text().replace("max_age_days = 31", "max_age_days = 32")
    (folder / "policy.toml").write_text(other)
    assert "no git commit" in call("policy", "use", folder)[1]
    git(work, "commit", "-q", "-a", "-m", "y")
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=work, check=True, capture_output=True, text=True
    ).stdout.strip()
    (folder / "policy.toml").write_text(other.replace("max_age_days = 32", "max_age_days = 33"))
    git(work, "commit", "-q", "-a", "-m", "z")
    git(work, "reset", "-q", "--hard", head)
    from weighbridge.recorder.code import commit_holding
    from weighbridge.registry.policy_files import SUFFIXES, read_folder

    assert commit_holding(folder, read_folder(folder), SUFFIXES, os.environ) == head
    (work / ".gitignore").write_text("hidden\n")
    hidden = lax(work / "hidden")
    git(work, "add", ".gitignore")
    git(work, "commit", "-q", "-m", "clean, and it does not hold them")
    assert commit_holding(hidden, read_folder(hidden), SUFFIXES, os.environ) == ""
    (folder / "extra.rego").write_text("package weighbridge.extra\n")
    assert commit_holding(folder, read_folder(folder), SUFFIXES, os.environ) == ""


def test_who_somebody_is_by_certificate_counts_and_not_by_which_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEIGHBRIDGE_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path / "registry"))
    environ = {"WEIGHBRIDGE_CONFIG_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    config = read_config(environ, {"registry": str(tmp_path / "registry")})
    init_registry(config, clock=SystemClock(), entropy=SystemEntropy(), demonstration=True).close()

    def call(*words):
        capsys.readouterr()
        code = run([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    issuer = ("--issuer", DEVELOPMENT_ISSUER, "--role", "policy")
    assert call("trust", "add", "ann", *issuer, "--subject", "ann@example.org")[0] == 0
    assert call("trust", "add", "anybody", *issuer, "--subject-pattern", r"[a-z]+@example\.org")[0] == 0
    assert call("trust", "approvals", "policy", 3)[0] == 0
    code, output, error = call("policy", "use", lax(tmp_path / "lax"), "--format", "json")
    assert code == 0, error
    name = items(output)[0]["proposal"]["id"]
    assert call("policy", "approve", name, "--keyless", "--as", "ann@example.org")[0] == 0
    code, _, error = call("policy", "approve", name, "--keyless", "--as", "ann@example.org")
    assert (code, "adds nobody" in error) == (1, True)
    code, _, error = call("policy", "approve", name, "--keyless", "--as", "eve@example.com")
    assert code == 1
    code, output, error = call("policy", "approve", name, "--keyless", "--as", "bob@example.org")
    assert (code, "in effect" in output) == (0, True), error
