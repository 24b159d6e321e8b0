"""A kept report is used for the very same bytes, rules and limits, and for nothing else; damage is passed over."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.finding import Coverage, Ruleset
from weighbridge.core.manifest import FileEntry, Listing, Manifest
from weighbridge.formats.limits import DEFAULT_LIMITS, Limits
from weighbridge.scanner import cache
from weighbridge.scanner.cache import KeptReports
from weighbridge.scanner.engine import scan_files
from weighbridge.scanner.ruleset import ruleset

BAD = b"cposix\nsystem\n(S'id'\ntR."


def manifest_of(files):
    return Manifest.of(FileEntry(path, len(data), Digest.of(data)) for path, data in files.items())


def report_of(files):
    manifest = manifest_of(files)
    return manifest, scan_files("m", manifest, lambda entry: files[entry.path])


@pytest.fixture
def kept(tmp_path):
    return KeptReports(tmp_path / "deep" / "scan")


def only_entry(tmp_path):
    (path,) = (tmp_path / "deep" / "scan").iterdir()
    return path


def find(kept, manifest, *, rules=None, limits=DEFAULT_LIMITS, model="m"):
    return kept.find(model, manifest, rules or ruleset(), limits)


def test_what_was_kept_is_found_under_any_name(kept, tmp_path):
    manifest, report = report_of({"a.pkl": BAD})
    assert find(kept, manifest) is None
    kept.keep(report, manifest, DEFAULT_LIMITS)
    assert find(kept, manifest) == report
    assert find(kept, manifest, model="other").model == "other"
    assert only_entry(tmp_path).stat().st_mode & 0o777 == 0o600
    assert only_entry(tmp_path).parent.stat().st_mode & 0o777 == 0o700


def test_other_bytes_rules_or_limits_find_nothing(kept):
    manifest, report = report_of({"a.pkl": BAD})
    kept.keep(report, manifest, DEFAULT_LIMITS)
    assert find(kept, manifest_of({"a.pkl": BAD + b" "})) is None
    assert find(kept, manifest_of({"b.pkl": BAD})) is None
    assert find(kept, manifest, rules=Ruleset("other", ruleset().digest)) is None
    assert find(kept, manifest, rules=Ruleset(ruleset().version, Digest.of(b"others"))) is None
    assert find(kept, manifest, limits=Limits(max_depth=1)) is None


def test_what_was_not_read_is_not_kept(kept, tmp_path):
    manifest, report = report_of({"x": bytes(range(128, 256)) * 9})
    assert report.verdict.value == "unread"
    kept.keep(report, manifest, DEFAULT_LIMITS)
    assert not (tmp_path / "deep").exists()


def damaged(path, how):
    data = path.read_bytes()
    if how == "flipped":
        path.write_bytes(data[:-9] + bytes((data[-9] ^ 1,)) + data[-8:])
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "readable by others":
        path.chmod(0o644)
    elif how == "a link":
        path.rename(path.with_name("elsewhere"))
        path.symlink_to(path.with_name("elsewhere"))
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    elif how == "a pipe":
        path.unlink()
        os.mkfifo(path, 0o600)
    elif how == "another report":
        body = json.loads(data.partition(b"\n")[2])
        body["report"]["findings"] = []
        body["report"]["verdict"] = "clean"
        body["report"]["manifest"] = "wb1:" + "0" * 64
        text = json.dumps(body).encode()
        path.write_bytes(Digest.of(text).hex.encode() + b"\n" + text)
    elif how == "another schema":
        text = json.dumps({"schema": "x/1", "report": {}}).encode()
        path.write_bytes(Digest.of(text).hex.encode() + b"\n" + text)


@pytest.mark.parametrize(
    "how",
    ["flipped", "cut", "empty", "readable by others", "a link", "a pipe", "another report", "another schema"],
)
def test_a_damaged_entry_is_passed_over_and_written_again(kept, tmp_path, how):
    manifest, report = report_of({"a.pkl": BAD})
    kept.keep(report, manifest, DEFAULT_LIMITS)
    damaged(only_entry(tmp_path), how)
    assert find(kept, manifest) is None
    kept.keep(report, manifest, DEFAULT_LIMITS)
    assert find(kept, manifest) == report


def test_a_folder_in_its_place_hurts_nobody(kept, tmp_path):
    manifest, report = report_of({"a.pkl": BAD})
    kept.keep(report, manifest, DEFAULT_LIMITS)
    damaged(only_entry(tmp_path), "a folder")
    assert find(kept, manifest) is None
    kept.keep(report, manifest, DEFAULT_LIMITS)
    assert find(kept, manifest) is None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    kept = KeptReports(tmp_path / "file" / "scan")
    manifest, report = report_of({"a.pkl": BAD})
    kept.keep(report, manifest, DEFAULT_LIMITS)
    assert find(kept, manifest) is None


def test_the_ones_used_longest_ago_go_first(tmp_path):
    models = [report_of({f"{number}.pkl": BAD}) for number in range(6)]
    probe = KeptReports(tmp_path / "probe")
    probe.keep(models[0][1], models[0][0], DEFAULT_LIMITS)
    (entry,) = (tmp_path / "probe").iterdir()
    kept = KeptReports(tmp_path / "scan", max_bytes=3 * entry.stat().st_size + 50)
    for number, (manifest, report) in enumerate(models):
        kept.keep(report, manifest, DEFAULT_LIMITS)
        for path in (tmp_path / "scan").iterdir():
            if path.stat().st_mtime > 1_000_000_000:  # written just now: give the entries an order
                os.utime(path, (1000 + number, 1000 + number))
        if number == 2:
            assert find(kept, models[0][0]) is not None  # used again: now the newest
    found = [number for number, (manifest, _) in enumerate(models) if find(kept, manifest)]
    assert len(found) == 3
    assert found[-2:] == [4, 5]


def likely(kept, manifest, limits=DEFAULT_LIMITS):
    return kept.likely(Listing(manifest.files), limits)


def test_a_mark_is_for_paths_sizes_rules_and_limits(kept, tmp_path, monkeypatch):
    manifest, report = report_of({"a.pkl": BAD})
    kept.keep(report, manifest, DEFAULT_LIMITS)
    assert not likely(kept, manifest), "nobody said that it was worth keeping"
    kept.keep(report, manifest, DEFAULT_LIMITS, mark=True)
    assert likely(kept, manifest)
    (mark,) = (tmp_path / "deep" / "scan").glob("*.mark")
    assert mark.stat().st_mode & 0o777 == 0o600
    assert likely(kept, manifest_of({"a.pkl": BAD[::-1]})), "of the same shape"
    assert not likely(kept, manifest_of({"b.pkl": BAD}))
    assert not likely(kept, manifest_of({"a.pkl": BAD + b" "}))
    assert not likely(kept, manifest_of({"a.pkl": BAD, "b": b""}))
    assert not likely(kept, manifest, Limits(max_depth=1))
    monkeypatch.setattr(cache, "ruleset", lambda: Ruleset("2", Digest.of(b"others")))
    assert not likely(kept, manifest)


@pytest.mark.parametrize(
    "how", ["flipped", "cut", "empty", "readable by others", "a link", "a folder", "a pipe"]
)
def test_a_damaged_mark_is_none(kept, tmp_path, how):
    manifest, report = report_of({"a.pkl": BAD})
    kept.keep(report, manifest, DEFAULT_LIMITS, mark=True)
    (mark,) = (tmp_path / "deep" / "scan").glob("*.mark")
    damaged(mark, how)
    assert not likely(kept, manifest)
    assert find(kept, manifest) == report


def test_only_a_scan_that_takes_longer_than_hashing_is_worth_keeping(kept):
    seen = report_of({"a.pkl": BAD})[1].seen
    large = replace(seen, coverage=Coverage(10**9, 10**9))
    assert not kept.worth_keeping(seen, 0.04)
    assert kept.worth_keeping(seen, 0.06)
    assert not kept.worth_keeping(large, 4.0)
    assert kept.worth_keeping(large, 4.1)
    assert not kept.worth_keeping(replace(seen, coverage=Coverage(9, 8)), 60.0), "some of it was not read"


def test_nothing_that_decides_reads_kept_reports():
    """Only the command line's scan may: the gate, the registry and the loader scan for themselves."""
    source = Path(cache.__file__).parents[1]
    users = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if "scanner.cache" in path.read_text(encoding="utf-8")
    }
    assert users == {"cli/scan_run.py"}
