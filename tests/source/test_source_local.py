"""A folder as a tree: what is read, what is refused by name, and what a person is told."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadManifest, NotFound, OutOfBudget, Unreadable
from weighbridge.source import local
from weighbridge.source.local import open_folder
from weighbridge.source.read import read_tree


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def manifest(path: Path):
    with open_folder(path) as tree:
        return read_tree(tree).manifest


def paths(path: Path) -> list[str]:
    with open_folder(path) as tree:
        return [file.path for file in tree.files()]


@pytest.fixture
def model(tmp_path):
    return write(tmp_path / "model", {"config.json": b"{}", "sub/weights.bin": b"w" * 1000, "empty": b""})


def refused(path: Path, error=BadManifest):
    with pytest.raises(error) as caught, open_folder(path) as tree:
        read_tree(tree)
    assert caught.value.remedy, "an error without a remedy"
    return caught.value


def test_every_file_is_listed_in_manifest_order_with_its_digest(model):
    found = manifest(model)
    assert [(e.path, e.size, e.sha256) for e in found.files] == [
        ("config.json", 2, Digest.of(b"{}")),
        ("empty", 0, Digest.of(b"")),
        ("sub/weights.bin", 1000, Digest.of(b"w" * 1000)),
    ]


def test_a_copy_elsewhere_is_the_same_model(model, tmp_path):
    write(tmp_path / "copy", {"sub/weights.bin": b"w" * 1000, "empty": b"", "config.json": b"{}"})
    assert manifest(model).digest == manifest(tmp_path / "copy").digest


def test_version_control_and_the_hub_clients_notes_are_no_part_of_a_model(model):
    before = manifest(model)
    write(
        model, {".git/HEAD": b"x", "sub/.git": b"x", ".cache/huggingface/download/config.json.metadata": b"x"}
    )
    (model / ".git" / "link").symlink_to("/etc/passwd")
    assert manifest(model) == before
    write(model, {".cache/other": b"x", ".github/x": b"y"})
    assert paths(model) == [".cache/other", ".github/x", "config.json", "empty", "sub/weights.bin"]


def test_empty_folders_change_nothing(model):
    before = manifest(model)
    (model / "nothing" / "here").mkdir(parents=True)
    assert manifest(model) == before


def test_one_file_is_a_tree_of_one(model):
    assert [(e.path, e.size) for e in manifest(model / "sub" / "weights.bin").files] == [
        ("weights.bin", 1000)
    ]


def test_the_links_in_what_was_typed_are_the_typists_own(model, tmp_path):
    (tmp_path / "latest").symlink_to(model)
    (tmp_path / "current.json").symlink_to(model / "config.json")
    assert manifest(tmp_path / "latest") == manifest(model)
    assert paths(tmp_path / "current.json") == ["current.json"]


@pytest.mark.parametrize("name", ["nowhere", "model/config.json/below", "model/no\0where", "x" * 300])
def test_a_missing_path_is_not_found(model, tmp_path, name):
    error = refused(tmp_path / name, (NotFound, Unreadable))
    assert error.exit_code in (2, 3)


def test_a_missing_path_suggests_the_hub(tmp_path):
    assert "hf://" in refused(tmp_path / "nowhere", NotFound).remedy


@pytest.mark.parametrize("extra", [{}, {".git/config": b"x"}])
def test_a_folder_without_a_file_has_no_identity(tmp_path, extra):
    (tmp_path / "void" / "deeper").mkdir(parents=True)
    write(tmp_path / "void", extra)
    assert refused(tmp_path / "void").check == "manifest.empty"


def test_a_link_to_a_file_is_refused_and_named(model):
    (model / "sneaky.bin").symlink_to("/etc/hostname")
    error = refused(model)
    assert "sneaky.bin" in error.problem
    assert "/etc/hostname" in error.cause


@pytest.mark.parametrize("target", [".", "..", "sub", "loop", "nowhere", "config.json", "/"])
def test_links_of_every_kind_are_refused(model, target):
    (model / "loop").symlink_to(target)
    assert "loop" in refused(model).problem


def test_a_loop_in_what_was_typed_is_an_answer_and_no_hang(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    refused(tmp_path / "a", Unreadable)


def test_a_link_to_a_folder_is_not_entered(model, tmp_path):
    write(tmp_path / "elsewhere", {"secret": b"s"})
    (model / "sub" / "way").symlink_to(tmp_path / "elsewhere")
    assert "sub/way" in refused(model).problem


def test_a_pipe_is_refused_without_waiting_for_a_writer(model):
    os.mkfifo(model / "pipe")
    assert "named pipe" in refused(model).cause
    assert "named pipe" in refused(model / "pipe").cause


def test_a_socket_is_refused(model, monkeypatch):
    monkeypatch.chdir(model)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("talk")
        assert "socket" in refused(model).cause


def test_a_device_is_refused(model):
    try:
        os.mknod(model / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        assert (
            "device" in refused(Path("/dev/zero")).cause
        )  # without the right to make one, take one that is there
    else:
        assert "device" in refused(model).cause


@pytest.mark.parametrize("name", [b"caf\xe9.bin", b"\xff\xfe", b"sub/\x80"])
def test_a_name_that_is_not_utf8_is_refused_and_shown(model, name):
    fd = os.open(os.fsencode(model) + b"/" + name, os.O_CREAT | os.O_WRONLY)
    os.close(fd)
    error = refused(model)
    assert error.check == "manifest.path"
    assert "UTF-8" in error.cause
    assert "\\x" in error.problem


def test_a_single_file_whose_name_is_not_utf8_is_refused(tmp_path):
    raw = os.fsencode(tmp_path) + b"/\xff.bin"
    os.close(os.open(raw, os.O_CREAT | os.O_WRONLY))
    assert "UTF-8" in refused(Path(os.fsdecode(raw))).cause


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("cafe\u0301.bin", "NFC"),
        ("a\nb", "control"),
        ("a\u202eb", "control"),
        ("a\\b", "'/'"),
    ],
)
def test_names_that_mean_something_else_elsewhere_are_refused(model, name, why):
    (model / name).write_bytes(b"x")
    error = refused(model)
    assert error.check == "manifest.path"
    assert why in error.cause


@pytest.mark.parametrize(
    "names",
    [("a.bin", "A.bin"), ("stra\u00dfe", "STRASSE"), ("sub/x", "Sub/y"), ("SUB", "sub/z")],
)
def test_names_that_fold_to_one_are_refused(tmp_path, names):
    write(tmp_path / "m", dict.fromkeys(names, b"x"))
    assert refused(tmp_path / "m").check == "manifest.collision"


def test_a_tree_too_deep_or_too_wide_is_out_of_budget(tmp_path, monkeypatch):
    write(tmp_path / "deep", {"/".join(["d"] * 70) + "/f": b"x"})
    assert "deeper" in refused(tmp_path / "deep", OutOfBudget).cause
    write(tmp_path / "wide", {str(n): b"" for n in range(12)})
    monkeypatch.setattr(local, "MAX_ENTRIES", 10)
    assert "more than 10" in refused(tmp_path / "wide", OutOfBudget).cause


def change_size(path: Path):
    with path.open("ab") as stream:
        stream.write(b"more")


def replace(path: Path):
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.rename(path)


def rewrite(path: Path):
    info = path.stat()
    path.write_bytes(b"W" * info.st_size)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def to_pipe(path: Path):
    path.unlink()
    os.mkfifo(path)


def to_link(path: Path):
    path.unlink()
    path.symlink_to("/etc/hostname")


CHANGES = [change_size, replace, rewrite, Path.unlink, to_pipe, to_link]


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_between_listing_and_opening_is_not_read(model, change):
    with open_folder(model) as tree:
        change(model / "sub" / "weights.bin")
        with pytest.raises(Unreadable) as caught:
            read_tree(tree)
    assert caught.value.check == "source.changed"
    assert "sub/weights.bin" in caught.value.problem


@pytest.mark.parametrize("change", [change_size, replace, rewrite, Path.unlink])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, change):
    write(tmp_path / "m", {"a.bin": b"a" * 3_000_000, "b.bin": b"b"})
    with open_folder(tmp_path / "m") as tree:
        done = []

        def progress(count):
            if not done:
                change(tmp_path / "m" / "a.bin")
            done.append(count)

        with pytest.raises(Unreadable) as caught:
            read_tree(tree, progress=progress)
    assert caught.value.check == "source.changed"


@pytest.mark.parametrize("change", [change_size, replace, rewrite, Path.unlink, to_link])
def test_a_file_that_changes_after_its_own_reading_spoils_the_snapshot(tmp_path, change):
    write(tmp_path / "m", {"a.bin": b"a", "b.bin": b"b" * 2_000_000})
    with open_folder(tmp_path / "m") as tree:
        done = []

        def progress(count):
            done.append(count)
            if len(done) == 2:
                change(tmp_path / "m" / "a.bin")

        with pytest.raises((Unreadable, BadManifest)) as caught:
            read_tree(tree, progress=progress)
    assert "a.bin" in caught.value.problem


def test_a_file_added_while_reading_spoils_the_snapshot(model):
    with open_folder(model) as tree, pytest.raises(Unreadable) as caught:
        read_tree(tree, progress=lambda _: write(model, {"late.py": b"print()"}))
    assert "late.py" in caught.value.problem


def test_a_folder_swapped_for_a_link_is_not_followed(model, tmp_path):
    write(tmp_path / "evil", {"weights.bin": b"w" * 1000})
    with open_folder(model) as tree:
        (model / "sub").rename(model / "aside")
        (model / "sub").symlink_to(tmp_path / "evil")
        with pytest.raises((Unreadable, BadManifest)):
            read_tree(tree)


def test_a_closed_tree_may_be_closed_again_and_leaks_no_handle(model):
    handles = Path("/proc/self/fd" if Path("/proc/self/fd").exists() else "/dev/fd")
    before = len(list(handles.iterdir()))
    for _ in range(20):
        tree = open_folder(model)
        read_tree(tree)
        tree.close()
        tree.close()
    (model / "bad").symlink_to("x")
    for _ in range(20):
        refused(model)
    assert len(list(handles.iterdir())) == before


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from weighbridge.core.errors import Unreadable
from weighbridge.source.local import open_folder
from weighbridge.source.read import read_tree
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    with open_folder(Path(sys.argv[1])) as tree:
        read_tree(tree)
except Unreadable as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("what", ["sub/weights.bin", "sub", "."])
def test_what_this_user_may_not_read_is_unreadable_and_never_skipped(model, tmp_path, what):
    """Root reads everything, so a process that is nobody does the reading."""
    for folder in (tmp_path, *tmp_path.parents):  # pytest makes its folders for their owner alone
        if (
            folder.stat().st_uid == os.geteuid()
            and folder != Path(folder.anchor)
            and folder.name.startswith(("pytest", "test", "popen"))
        ):
            folder.chmod(0o755)
    for path in (model, model / "sub"):
        path.chmod(0o755)
    (model / what).chmod(0)
    try:
        done = subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, str(model)], capture_output=True, text=True, check=False
        )
    finally:
        (model / what).chmod(0o755)
    assert done.returncode == 3, done.stderr
    assert "Permission denied" in done.stdout
    assert "chmod" in done.stdout
    assert what == "." or Path(what).name in done.stdout


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=("Cs",)),
    min_size=1,
    max_size=12,
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)


@given(st.dictionaries(NAMES, st.binary(max_size=50), max_size=5))
def test_any_names_give_a_manifest_of_exactly_these_files_or_a_refusal(tmp_path_factory, files):
    root = write(tmp_path_factory.mktemp("any"), files)
    found, refusal = None, ""
    try:
        found = manifest(root)
    except BadManifest as error:
        refusal = error.check
    if found is None:
        assert refusal.startswith("manifest.")
    else:
        kept = {name: Digest.of(data) for name, data in files.items() if name != ".git"}
        assert {entry.path: entry.sha256 for entry in found.files} == kept
