"""Options of scan: kept reports, processes, exceptions of the user's own, progress on a terminal, being stricter."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from weighbridge.cli.bar import Bar
from weighbridge.cli.main import run
from weighbridge.cli.scan_run import default_jobs
from weighbridge.core.digest import Digest
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.scanner import cache, engine
from weighbridge.source import read
from world import safetensors

BAD = b"cposix\nsystem\n(S'id'\ntR."
CUSTOM = "x = 1\n"


def timeless(text):
    return re.sub(r"\d+\.\d s\b", "N s", text)


def item(output):
    return json.loads(output)["reports"][0]


@pytest.fixture
def slow(monkeypatch):
    """Make every scan look as if it had taken long enough to be worth keeping."""
    monkeypatch.setattr(cache, "WORTH_SECONDS", -1.0)


@pytest.fixture
def hashed(monkeypatch):
    """Count how often a model is hashed."""
    count = []
    inner = read.identify_tree

    def counted(tree, **how):
        count.append(tree.model_hint)
        return inner(tree, **how)

    monkeypatch.setattr(read, "identify_tree", counted)
    return count


@pytest.mark.parametrize("more", [(), ("--identity",)])
def test_a_second_scan_is_from_the_cache_and_says_so(call, tmp_path, slow, more):
    (tmp_path / "bad.pkl").write_bytes(BAD)
    first = call("scan", tmp_path / "bad.pkl", *more)
    second = call("scan", tmp_path / "bad.pkl", *more)
    assert (first[0], second[0]) == (1, 1)
    assert "from cache" not in first[1]
    assert second[1].splitlines()[-3 if more else -2].endswith("s, from cache")
    third = call("scan", tmp_path / "bad.pkl", "--no-cache")
    assert "from cache" not in third[1]
    for name in ("json", "sarif"):
        assert (
            call("scan", tmp_path / "bad.pkl", "--format", name)[1]
            == call("scan", tmp_path / "bad.pkl", "--no-cache", "--format", name)[1]
        )


def test_text_has_an_identity_when_one_is_asked_for(call, world, custom, hashed):
    folder, settings = custom
    digest = str(world.manifest(folder).digest)
    _, text, _ = call("scan", folder)
    assert hashed == []
    assert "wb1:" not in text
    assert "sha256:" not in text
    for how in ("--identity", "--format=json", "--format=jsonl", "--format=sarif", "--format=markdown"):
        hashed.clear()
        assert digest in call("scan", folder, how)[1], how
        assert len(hashed) == 1
    _, asked, _ = call("scan", folder, "--identity", "--no-cache")
    assert asked.splitlines()[-1] == digest
    assert timeless(asked).splitlines()[:-1] == timeless(text).splitlines()
    settings.write_text(accept("repository-code", "sha256:" + "0" * 64))
    assert call("scan", folder)[1].splitlines()[-1] == digest, "an exception names bytes"


def test_a_short_scan_is_neither_hashed_nor_kept(call, tmp_path, hashed):
    (tmp_path / "bad.pkl").write_bytes(BAD)
    outputs = [call("scan", tmp_path / "bad.pkl")[1] for _ in range(2)]
    assert hashed == []
    assert "from cache" not in "".join(outputs)
    assert not Path(os.environ["HOME"], ".cache").exists()


def test_only_a_model_of_a_kept_shape_is_hashed(call, tmp_path, slow, hashed):
    (tmp_path / "bad.pkl").write_bytes(BAD)
    call("scan", tmp_path / "bad.pkl")
    assert len(hashed) == 1, "to keep it"
    assert "from cache" in call("scan", tmp_path / "bad.pkl")[1]
    assert len(hashed) == 2, "to find it"
    (tmp_path / "bad.pkl").write_bytes(BAD.replace(b"id", b"ls"))
    output = call("scan", tmp_path / "bad.pkl")[1]
    assert "from cache" not in output
    assert "posix.system('ls')" in output.replace('"', "'")
    assert len(hashed) == 3, "of the same shape"


def test_what_json_kept_needs_no_hashing_as_text(call, tmp_path, hashed):
    (tmp_path / "bad.pkl").write_bytes(BAD)
    call("scan", tmp_path / "bad.pkl", "--format", "json")
    hashed.clear()
    assert "from cache" not in call("scan", tmp_path / "bad.pkl")[1]
    assert hashed == []


def test_what_a_cache_announces_is_always_compared(call, tmp_path, hashed):
    blob = tmp_path / "models--a--b" / "blobs" / Digest.of(b"other bytes").hex
    place = tmp_path / "models--a--b" / "snapshots" / ("0" * 40)
    blob.parent.mkdir(parents=True)
    place.mkdir(parents=True)
    blob.write_bytes(b"N.")
    (place / "a.pkl").symlink_to(Path("../../blobs") / blob.name)
    code, _, error = call("scan", place)
    assert len(hashed) == 1
    assert code != 0
    assert "not the file that was announced" in error


@pytest.mark.parametrize("moment", ["before hashing", "after hashing"])
def test_a_file_that_changes_after_it_was_scanned_is_neither_kept_nor_called_anything(
    call, tmp_path, slow, monkeypatch, moment
):
    file = tmp_path / "a.pkl"
    file.write_bytes(b"N." + b" " * (len(BAD) - 2))
    inner = read.identify_tree

    def swapped(tree, **how):
        if moment == "before hashing":
            file.write_bytes(BAD)
            return inner(tree, **how)
        manifest = inner(tree, **how)
        file.write_bytes(BAD)
        return manifest

    monkeypatch.setattr(read, "identify_tree", swapped)
    code, output, error = call("scan", file)
    assert code == 3
    assert output == ""
    assert "changed while it was read" in error
    monkeypatch.setattr(read, "identify_tree", inner)
    code, output, _ = call("scan", file)
    assert code == 1
    assert "from cache" not in output


def test_a_file_that_changes_during_a_scan_without_identity_is_refused(call, tmp_path, monkeypatch):
    file = tmp_path / "a.pkl"
    file.write_bytes(b"N.")
    inner = engine.see_files

    def swapped(*arguments, **how):
        seen = inner(*arguments, **how)
        file.write_bytes(BAD)
        return seen

    monkeypatch.setattr(engine, "see_files", swapped)
    code, output, error = call("scan", file)
    assert (code, output) == (3, "")
    assert "changed while it was read" in error


def test_one_changed_byte_is_scanned_again(call, tmp_path, slow):
    file = tmp_path / "a.pkl"
    file.write_bytes(b"N.")
    assert call("scan", file)[0] == 0
    file.write_bytes(BAD)
    assert call("scan", file)[0] == 1


def test_no_cache_writes_nothing(call, world, tmp_path, slow):
    (tmp_path / "bad.pkl").write_bytes(BAD)
    call("scan", tmp_path / "bad.pkl", "--no-cache")
    assert not list(Path(os.environ["HOME"]).glob(".cache/weighbridge/**/*.json"))
    call("scan", tmp_path / "bad.pkl")
    assert list(Path(os.environ["HOME"]).glob(".cache/weighbridge/scan/*.json"))


def test_jobs_change_nothing_but_time(call, world):
    folder = world.model()
    for number in range(5):
        (folder / f"{number}.pkl").write_bytes(BAD + bytes(number))
    outputs = {
        call("scan", folder, "--no-cache", "--jobs", jobs, "--format", "json")[1] for jobs in ("1", "2", "4")
    }
    assert len(outputs) == 1
    assert call("scan", folder, "--jobs", "0")[0] == 2


def test_more_processes_are_started_only_where_they_pay(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3}, raising=False)

    def jobs(*sizes):
        digest = Digest.of(b"")
        return default_jobs(Manifest.of(FileEntry(f"{n}.bin", size, digest) for n, size in enumerate(sizes)))

    assert jobs(*[1000] * 200) == 1
    assert jobs(10**9) == 1
    assert jobs(10**9, 5, 5) == 3
    assert jobs(*[10**8] * 9) == 4


def test_fail_on_is_stricter_and_never_looser(call, tmp_path):
    (tmp_path / "good.json").write_text("{}")
    (tmp_path / "bad.pkl").write_bytes(BAD)
    assert call("scan", tmp_path / "good.json", "--fail-on", "notes")[0] == 0
    assert call("scan", tmp_path / "bad.pkl", "--fail-on", "notes")[0] == 1
    assert call("scan", tmp_path / "bad.pkl", "--fail-on", "dangerous")[0] == 2
    assert call("scan", tmp_path / "bad.pkl", "--fail-on", "never")[0] == 2


@pytest.fixture
def custom(world):
    """A model with code of its own, and the place of the user's configuration."""
    folder = world.model()
    (folder / "modeling_custom.py").write_text(CUSTOM)
    home = Path(world.environ["WEIGHBRIDGE_CONFIG_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    return folder, home / "weighbridge.toml"


def accept(rule, digest, *, until="2099-01-01", reason="read it line by line"):
    return f'[[accept]]\nrule = "{rule}"\ndigest = "{digest}"\nreason = "{reason}"\nuntil = {until}\n'


def test_an_accepted_finding_changes_what_is_shown_and_the_exit_code_alone(call, world, custom):
    folder, settings = custom
    code, before, _ = call("scan", folder, "--format", "json")
    assert code == 1
    report = item(before)
    blocking = {f["rule"] for f in report["findings"] if f["verdict"] not in ("clean", "notes")}
    digest = world.manifest(folder).entry("modeling_custom.py").sha256
    settings.write_text("".join(accept(rule, digest) for rule in blocking))
    code, text, _ = call("scan", folder)
    assert code == 0
    assert "accepted[" in text
    assert "2099-01-01: read it line by line" in text
    assert " accepted, " in text
    code, after, _ = call("scan", folder, "--format", "json")
    assert code == 0
    assert after == before, "the report says what it said"
    run_ = json.loads(call("scan", folder, "--format", "sarif")[1])["runs"][0]
    assert [r for r in run_["results"] if r.get("suppressions")]
    assert "accepted" in call("scan", folder, "--format", "markdown")[1]


def test_config_lists_what_is_accepted(call, custom):
    _, settings = custom
    settings.write_text(accept("repository-code", "sha256:" + "0" * 64))
    _, output, _ = call("config", "--format", "json")
    (row,) = [row for row in json.loads(output)["settings"] if row["key"] == "accept"]
    assert row["value"].startswith("repository-code in sha256:000")
    assert row["value"].endswith(": read it line by line")
    assert str(settings) in row["origin"]


@pytest.mark.parametrize("how", ["another rule", "other bytes", "over", "one of two"])
def test_what_does_not_fit_accepts_nothing(call, world, custom, how):
    folder, settings = custom
    report = item(call("scan", folder, "--format", "json")[1])
    blocking = {f["rule"] for f in report["findings"] if f["verdict"] not in ("clean", "notes")}
    digest = world.manifest(folder).entry("modeling_custom.py").sha256
    if how == "another rule":
        text = accept("pickle-call", digest)
    elif how == "other bytes":
        text = "".join(accept(rule, world.manifest(folder).entry("config.json").sha256) for rule in blocking)
    elif how == "over":
        text = "".join(accept(rule, digest, until="2020-01-01") for rule in blocking)
    else:
        (folder / "other.pkl").write_bytes(BAD)
        text = "".join(accept(rule, digest) for rule in blocking)
    settings.write_text(text)
    assert call("scan", folder)[0] == 1


def test_a_models_own_entries_count_for_nothing(call, world, custom):
    folder, _ = custom
    digest = world.manifest(folder).digest
    text = "".join(accept(rule, digest) for rule in ("repository-code", "config-code", "repository-import"))
    (folder / "weighbridge.toml").write_text(text)
    (world.folder / "weighbridge.toml").write_text(text)
    assert call("scan", folder)[0] == 1


@pytest.mark.parametrize(
    "entry",
    [
        'accept = "all"\n',
        '[[accept]]\nrule = "x"\n',
        accept("x", "sha256:12"),
        accept("x", "sha1:" + "0" * 40),
        accept("x", "sha256:" + "0" * 64, until='"someday"'),
        accept("x", "sha256:" + "0" * 64, reason=" "),
        accept("x", "sha256:" + "0" * 64) + "more = 1\n",
        accept("x", "sha256:" + "0" * 64, until="9999-12-31"),
    ],
)
def test_an_entry_that_cannot_be_used_is_refused(call, custom, entry):
    folder, settings = custom
    settings.write_text(entry)
    code, _, error = call("scan", folder)
    assert code == 2
    assert "accept" in error


def in_terminal(command, environment):
    """Run a command with a terminal as its standard error; returns what it drew there."""
    parent, child = pty.openpty()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=child, env=environment) as process:
        os.close(child)
        drawn = b""
        while True:
            try:
                block = os.read(parent, 65536)
            except OSError:
                break
            if not block:
                break
            drawn += block
        out = process.stdout.read()
    os.close(parent)
    return process.returncode, out.decode(), drawn.decode()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_progress_on_a_terminal_and_nothing_in_a_pipe(tmp_path, jobs):
    folder = tmp_path / "big"
    folder.mkdir()
    for name in ("a", "b"):
        with (folder / f"{name}.safetensors").open("wb") as out:
            head = safetensors({"w": [1.0]})[:8]
            length = 100_000_000
            body = json.dumps({"w": {"dtype": "U8", "shape": [length], "data_offsets": [0, length]}}).encode()
            out.write(len(body).to_bytes(len(head), "little") + body)
            out.truncate(8 + len(body) + length)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "NO_COLOR": "1", "COLUMNS": "120"}
    command = [sys.executable, "-m", "weighbridge", "scan", str(folder), "--identity", "--jobs", jobs]
    code, out, drawn = in_terminal(command, environment)
    assert code == 0
    assert "hashing  [" in drawn
    assert "scanning  [" in drawn
    assert " of 200 MB (" in drawn
    assert "MB/s" in drawn
    assert "hashing" not in out
    assert drawn.rsplit("\r", 2)[-2].strip() == "", "the line is wiped at the end"
    piped = subprocess.run([*command, "--no-cache"], capture_output=True, env=environment, check=False)
    assert piped.stderr == b""


def test_the_bar_says_bytes_rate_and_time_left():
    bar = Bar("hashing", 1000 * 1000 * 1000, None)
    bar._done = 250 * 1000 * 1000
    assert bar.line(5.0) == "hashing  [#####               ]  250 MB of 1.0 GB (25 %)  50 MB/s  15 s left"
    bar._done = bar._total
    assert bar.line(10.0).endswith("1.0 GB of 1.0 GB (100 %)  100 MB/s")
    assert "left" not in Bar("x", 0, None).line(0.0)


def test_scan_imports_neither_the_hub_nor_a_database(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    command = [sys.executable, "-X", "importtime", "-m", "weighbridge", "scan", str(tmp_path / "a.json")]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    heavy = {"huggingface_hub", "httpx2", "sqlalchemy", "sqlite3", "cryptography", "numpy", "asyncio", "ssl"}
    heavy |= {"multiprocessing", "pickle", "selectors", "jinja2", "yaml", "weighbridge.scanner.parallel"}
    heavy |= {"logging", "tempfile", "importlib.resources", "blake3", "weighbridge.source.read"}
    assert heavy & loaded == set()


def test_run_is_what_tests_call():
    assert run(["scan", "--help"]) == 0
