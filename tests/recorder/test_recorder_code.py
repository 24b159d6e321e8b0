"""The commit is read without letting the repository run anything, and the remote says nobody's name."""

import subprocess
from pathlib import Path

import pytest

from weighbridge.recorder import code

ENVIRON = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "train.py").write_text("x = 1\n")

    def git(*arguments):
        command = ["git", "-c", "user.email=a@b", "-c", "user.name=n", *arguments]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("add", "train.py")
    git("commit", "-qm", "first")
    return folder, git


def test_a_clean_commit(repository):
    folder, git = repository
    found = code.look(folder / "train.py", ENVIRON)
    assert (found.commit, found.dirty, found.script) == (git("rev-parse", "HEAD"), False, "train.py")
    assert [m.role for m in found.materials()] == ["code", "code"]


@pytest.mark.parametrize(
    "change",
    [
        lambda f, git: (f / "train.py").write_text("x = 2\n"),
        lambda f, git: (f / "new.py").write_text("x = 2\n"),
        lambda f, git: (f / "train.py").unlink(),
        lambda f, git: ((f / "train.py").write_text("y\n"), git("add", "train.py")),
    ],
    ids=["changed", "new", "gone", "staged"],
)
def test_whatever_differs_from_it_makes_it_dirty(repository, change):
    folder, git = repository
    change(folder, git)
    if (folder / "train.py").exists():
        assert code.look(folder / "train.py", ENVIRON).dirty is True
    assert code._repository(folder, ENVIRON)[1] is True


def test_no_program_that_the_repository_names_is_run(repository, tmp_path):
    """Hooks, file monitors, filters, pagers, transports, diff drivers: each would leave a file behind."""
    folder, git = repository
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\ncat\n")
    trap.chmod(0o755)
    for name in (
        "post-index-change",
        "pre-commit",
        "post-checkout",
        "reference-transaction",
        "fsmonitor-watchman",
    ):
        (folder / ".git" / "hooks" / name).write_text(trap.read_text())
        (folder / ".git" / "hooks" / name).chmod(0o755)
    (folder / ".gitattributes").write_text("*.py filter=bad diff=bad\n")
    for name, value in (
        ("core.fsmonitor", str(trap)), ("filter.bad.clean", str(trap)), ("filter.bad.process", str(trap)),
        ("filter.bad.required", "true"), ("core.pager", str(trap)), ("diff.external", str(trap)),
        ("diff.bad.textconv", str(trap)), ("core.sshCommand", str(trap)), ("credential.helper", str(trap)),
        ("core.hooksPath", str(folder / ".git" / "hooks")), ("alias.status", f"!{trap}"), ("core.editor", str(trap)),
        ("extensions.partialClone", "origin"), ("remote.origin.url", f"ext::{trap}"),
        ("remote.origin.promisor", "true"), ("remote.origin.uploadpack", str(trap)),
    ):  # fmt: skip
        git("config", name, value)
    (folder / "train.py").write_text("x = 3\n")  # so that its content has to be looked at
    (tmp_path / "sprung").unlink(missing_ok=True)  # settings themselves may have sprung it
    for path in (folder / ".git" / "objects").glob(
        "??/*"
    ):  # so that something is missing and might be fetched
        path.chmod(0o644)
        path.unlink()
        break
    found = code.look(folder / "train.py", ENVIRON)
    assert not (tmp_path / "sprung").exists()
    assert found.remote == ""


def test_the_traps_would_spring(repository, tmp_path):
    """What the test above shows is worth something only while git does run such programs when it is asked plainly."""
    folder, git = repository
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\ncat\n")
    trap.chmod(0o755)
    (folder / ".gitattributes").write_text("*.py filter=bad\n")
    git("config", "filter.bad.clean", str(trap))
    (folder / "train.py").write_text("x = 3\n")
    git("status")
    assert (tmp_path / "sprung").exists()


def test_variables_of_git_do_not_lead_elsewhere(repository, tmp_path, monkeypatch):
    folder, git = repository
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    found = code.look(folder / "train.py", dict(ENVIRON, GIT_DIR=str(tmp_path / "nowhere")))
    monkeypatch.delenv("GIT_DIR")
    assert found.commit == git("rev-parse", "HEAD")


@pytest.mark.parametrize("packed", [False, True])
def test_without_git_the_commit_is_read_from_files_and_cleanliness_is_unknown(repository, tmp_path, packed):
    folder, git = repository
    if packed:
        git("pack-refs", "--all")
    found = code.look(folder / "train.py", {"PATH": str(tmp_path)})
    assert (found.commit, found.dirty) == (git("rev-parse", "HEAD"), None)


@pytest.mark.parametrize("head", ["", "ref: ../../../etc/passwd", "ref: refs/heads/gone", "x" * 40, "\0\xff"])
def test_damaged_heads_say_nothing(repository, tmp_path, head):
    folder, _ = repository
    (folder / ".git" / "HEAD").write_bytes(head.encode("latin-1"))
    for environ in ({"PATH": str(tmp_path)}, ENVIRON):
        assert code.look(folder / "train.py", environ).commit == ""


def test_no_repository_at_all(tmp_path):
    (tmp_path / "t.py").write_text("x")
    found = code.look(tmp_path / "t.py", ENVIRON)
    assert (found.commit, found.dirty, found.remote) == ("", None, "")
    assert code.look(Path("not/there.py"), ENVIRON).script == ""


@pytest.mark.parametrize(
    ("remote", "public"),
    [
        ("https://user:password@git.example/a/b.git", "https://git.example/a/b.git"),
        ("https://token@git.example:8443/a/b.git?private=1#x", "https://git.example:8443/a/b.git"),
        ("git@git.example:a/b.git", "ssh://git.example/a/b.git"),
        ("ssh://user@git.example/a", "ssh://git.example/a"),
        ("/srv/a.git", ""),
        ("../a.git", ""),
        ("file:///srv/secret", ""),
        ("ext::sh -c evil", ""),
        ("https://[bad", ""),
        ("https://git.example:99999/a", ""),
        ("a\nb", ""),
        ("user:password@host:path", ""),
    ],
)
def test_addresses_lose_whoever_asks(remote, public):
    assert code.public_address(remote) == public
