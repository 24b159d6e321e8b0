"""A git checkout: pointers stand for their files, what they point at is compared, and nothing of git is run."""

import hashlib
import os
import subprocess

import pytest

from weighbridge.core.errors import BadManifest, Refused, VerificationFailed
from weighbridge.source.gitlfs import open_place
from weighbridge.source.read import read_tree

WEIGHTS = b"weights" * 1000


def pointer(data, size=None):
    digest = hashlib.sha256(data).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(data) if size is None else size}\n"


def place(folder, data):
    digest = hashlib.sha256(data).hexdigest()
    return folder / ".git" / "lfs" / "objects" / digest[:2] / digest[2:4] / digest


def git(folder, *arguments):
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
    }  # fmt: skip
    return subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )


@pytest.fixture
def checkout(tmp_path):
    """A real checkout as it stands without git-lfs having been run: the weights are a pointer."""
    folder = tmp_path / "model"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "config.json").write_text("{}")
    (folder / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    (folder / "model.bin").write_text(pointer(WEIGHTS))
    git(folder, "-c", "filter.lfs.clean=cat", "-c", "filter.lfs.required=false", "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def kept(folder, data=WEIGHTS):
    target = place(folder, data)
    target.parent.mkdir(parents=True)
    target.write_bytes(data)
    return target


def manifest(folder):
    tree = open_place(folder)
    try:
        return read_tree(tree).manifest
    finally:
        tree.close()


def test_a_pointer_stands_for_its_file(checkout):
    kept(checkout)
    entry = manifest(checkout).entry("model.bin")
    assert (entry.size, entry.sha256.hex) == (len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest())


def test_the_identity_is_that_of_the_files_checked_out_whole(checkout, tmp_path):
    kept(checkout)
    pointed = manifest(checkout).digest
    (checkout / "model.bin").write_bytes(WEIGHTS)
    assert manifest(checkout).digest == pointed


def test_a_pointer_without_its_file_is_refused(checkout):
    with pytest.raises(Refused) as caught:
        open_place(checkout)
    assert caught.value.check == "source.pointer"
    assert "git lfs pull" in caught.value.remedy


def test_an_object_with_other_bytes_of_the_same_size_is_refused(checkout):
    target = kept(checkout)
    target.write_bytes(b"W" + WEIGHTS[1:])
    with pytest.raises(VerificationFailed) as caught:
        manifest(checkout)
    assert caught.value.check == "source.announced"


def test_an_object_of_another_size_is_not_the_one(checkout):
    kept(checkout).write_bytes(WEIGHTS + b"!")
    with pytest.raises(Refused):
        open_place(checkout)


@pytest.mark.parametrize("step", ["object", "folder", "git"])
def test_no_link_is_followed_to_an_object(checkout, tmp_path, step):
    target = kept(checkout)
    moved = {"object": target, "folder": target.parent, "git": checkout / ".git"}[step]
    elsewhere = tmp_path / "elsewhere"
    moved.rename(elsewhere)
    moved.symlink_to(elsewhere)
    with pytest.raises((Refused, BadManifest)):
        manifest(checkout)


@pytest.mark.parametrize(
    "text",
    [
        "version https://git-lfs.github.com/spec/v2\noid sha256:" + "0" * 64 + "\nsize 1\n",
        "version https://git-lfs.github.com/spec/v1\noid sha256:../../../../etc\nsize 1\n",
        "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize -1\n",
        "version https://git-lfs.github.com/spec/v1\next-0-foo sha256:" + "0" * 64 + "\noid sha256:" + "0" * 64 + "\nsize 1\n",
    ],
)  # fmt: skip
def test_a_pointer_that_cannot_be_followed_is_refused(checkout, text):
    (checkout / "model.bin").write_text(text)
    with pytest.raises(Refused) as caught:
        open_place(checkout)
    assert caught.value.check == "source.pointer"


def test_the_commit_is_told_on_the_checkouts_word(checkout):
    kept(checkout)
    head = git(checkout, "rev-parse", "HEAD").stdout.strip()
    tree = open_place(checkout)
    assert dict(tree.origin) == {"scheme": "git", "version": head}
    tree.close()
    git(checkout, "pack-refs", "--all")
    tree = open_place(checkout)
    assert tree.origin["version"] == head
    tree.close()


def test_programs_that_a_repository_names_are_not_run(checkout):
    kept(checkout)
    trap = checkout.parent / "trap"
    git(checkout, "config", "core.fsmonitor", f"touch {trap}")
    git(checkout, "config", "filter.lfs.smudge", f"touch {trap}")
    manifest(checkout)
    assert not trap.exists()


def test_a_folder_without_git_is_taken_as_it_is(tmp_path):
    (tmp_path / "model.bin").write_text(pointer(WEIGHTS))
    assert manifest(tmp_path).entry("model.bin").size < 200
