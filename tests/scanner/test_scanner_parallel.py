"""Several processes give the report of one; a worker that dies, lies or is starved costs the file it was at."""

import faulthandler
import gc
import io
import json
import os
import signal
import struct
import threading
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.core.digest import Digest
from weighbridge.core.finding import Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.formats.limits import Limits
from weighbridge.scanner import parallel
from weighbridge.scanner.engine import judged, scan_files
from weighbridge.scanner.file import Part
from weighbridge.scanner.parallel import scan_parallel
from weighbridge.scanner.record import part_from_json, part_to_json, report_from_json

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """What runs the tests may have threads of its own; they take no part in what is forked here."""
    monkeypatch.setattr(parallel.threading, "active_count", lambda: 1)


BAD = b"cposix\nsystem\n(S'id'\ntR."
HEADER = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()


def zipped(**members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in members.items():
            made.writestr(name, content)
    return out.getvalue()


FILES = {
    "a/model.safetensors": struct.pack("<Q", len(HEADER)) + HEADER + bytes(4),
    "a/config.json": b'{"auto_map": {"AutoModel": "modeling.Model"}}',
    "b/bad.pkl": BAD,
    "b/deep.zip": zipped(x=zipped(y=BAD), z=b"text"),
    "c/odd \u202a".replace("\u202a", "ü"): bytes(range(256)) * 3,
    "c/empty": b"",
    "d/many.pkl": b"".join(b"cmod%d\nname\n0" % number for number in range(400)) + b"N.",
    "modeling.py": b"import os\nos.system('id')\n",
}


def model(files):
    entries = [FileEntry(path, len(data), Digest.of(data)) for path, data in files.items()]
    return Manifest.of(entries), lambda entry: files[entry.path]


def children():
    """Return the processes that this one has started and not taken leave of, among them those of other tests."""
    lists = Path("/proc/self/task").glob("*/children")
    return {int(pid) for path in lists for pid in path.read_text().split()}


@pytest.fixture(autouse=True)
def nobody_left_behind():
    before = children()
    yield
    gc.collect()
    assert children() <= before, "nobody is left behind"


@pytest.mark.parametrize("jobs", [1, 2, 3, 20])
def test_the_report_is_the_same_byte_for_byte(jobs):
    manifest, opened = model(FILES)
    alone = json.dumps(scan_files("m", manifest, opened).to_json())
    seen = []
    together = scan_parallel("m", manifest, opened, jobs=jobs, progress=seen.append)
    assert json.dumps(together.to_json()) == alone
    assert sum(seen) == manifest.size
    assert len(seen) <= len(FILES)


def test_progress_within_one_file_in_one_process():
    data = zipped(**{f"{number}.txt": b"text " * 40_000 for number in range(30)})
    manifest, _ = model({"a.zip": data})
    seen = []
    report = scan_parallel("m", manifest, lambda _entry: io.BytesIO(data), jobs=1, progress=seen.append)
    assert report == scan_files("m", manifest, lambda _entry: data)
    assert len(seen) > 3
    assert min(seen) > 0
    assert sum(seen) == len(data)


def test_the_report_is_the_same_under_small_limits():
    manifest, opened = model(FILES)
    limits = Limits(max_findings=3, max_members=1, max_opcodes=50)
    alone = scan_files("m", manifest, opened, limits=limits)
    assert scan_parallel("m", manifest, opened, jobs=2, limits=limits) == alone


def crash():
    faulthandler.disable()
    os.kill(os.getpid(), signal.SIGSEGV)


def broken_at(path, act):
    manifest, opened = model(FILES)
    before = os.getpid()

    def opening(entry):
        if entry.path == path and os.getpid() != before:
            act()
        return opened(entry)

    return manifest, opened, opening


@pytest.mark.parametrize(
    "act",
    [
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        crash,
        lambda: os._exit(0),
        lambda: os._exit(3),
    ],
    ids=["killed", "crashed", "gone", "gone badly"],
)
@pytest.mark.parametrize("path", ["b/bad.pkl", "d/many.pkl", "c/empty"])
def test_a_worker_that_dies_costs_its_file(path, act):
    manifest, opened, opening = broken_at(path, act)
    alone = scan_files("m", manifest, opened)
    report = scan_parallel("m", manifest, opening, jobs=2)
    lost = [row for row in report.findings if row.location.path == path]
    if path == "c/empty":  # it is read before anything could be lost of it
        assert [row.rule for row in lost] in ([], ["unread-file"])
    else:
        assert [(row.rule, row.verdict) for row in lost] == [("unread-file", Verdict.UNREAD)]
        assert not report.coverage.complete
    assert [row for row in report.findings if row.location.path != path] == [
        row for row in alone.findings if row.location.path != path
    ]


def test_when_every_worker_dies_every_file_is_unread():
    manifest, opened = model(FILES)
    before = os.getpid()

    def opening(entry):
        if os.getpid() != before:
            os.kill(os.getpid(), signal.SIGKILL)
        return opened(entry)

    report = scan_parallel("m", manifest, opening, jobs=3)
    assert report.verdict is Verdict.UNREAD
    assert report.coverage.bytes_read == 0
    assert {row.location.path for row in report.findings} == set(FILES)


def test_a_starved_worker_says_unread():
    files = {"a.json": b"{}", "big.json": b'{"a": 1}'}
    manifest, opened = model(files)
    before = os.getpid()

    def opening(entry):
        if entry.path == "big.json" and os.getpid() != before:
            held = bytearray(64 * 1024 * 1024 * 1024)
            return bytes(held)
        return opened(entry)

    report = scan_parallel("m", manifest, opening, jobs=2)
    assert [row.rule for row in report.findings] == ["unread-file"]
    assert report.findings[0].location.path == "big.json"


@pytest.mark.parametrize(
    "answer",
    [
        b"\n",
        b"{}\n",
        b"[" * 100_000 + b"\n",
        b"null\n",
        b"not json\n",
        b'{"findings": [], "coverage": 3}\n',
        b"\xff\n",
    ],
)
def test_an_answer_that_is_none_is_not_believed(answer, monkeypatch):
    monkeypatch.setattr(parallel._Crew, "_answer", lambda _self, _number: answer)
    manifest, opened = model(FILES)
    report = scan_parallel("m", manifest, opened, jobs=2)
    assert report.verdict is Verdict.UNREAD
    assert len(report.findings) == len(FILES)


def test_an_answer_without_end_is_cut_off(monkeypatch):
    monkeypatch.setattr(parallel, "MAX_ANSWER", 1000)
    monkeypatch.setattr(parallel._Crew, "_answer", lambda _self, _number: b"x" * 1_000_000)
    manifest, opened = model(FILES)
    assert scan_parallel("m", manifest, opened, jobs=2).verdict is Verdict.UNREAD


def pipes():
    """Count the pipes this process holds, its standard streams left out."""
    links = [path for path in Path("/proc/self/fd").iterdir() if int(path.name) > 2 and path.is_symlink()]
    return sum(str(path.readlink()).startswith("pipe:") for path in links)


def test_workers_hold_no_environment_no_streams_and_no_ends_of_others(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "planted")
    before = os.getpid()
    manifest, opened = model(FILES)
    real = parallel.judged

    def telling(file):
        part = real(file)
        if os.getpid() == before:
            return part
        null = Path(os.devnull).stat().st_rdev
        streams = all(os.fstat(fd).st_rdev == null for fd in (0, 1, 2))
        return Part(part.findings, part.coverage, f"{dict(os.environ)} {streams} {pipes()}")

    monkeypatch.setattr(parallel, "judged", telling)
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    held = pipes()
    report = scan_parallel("m", manifest, opened, jobs=4)
    assert set(report.formats.values()) == {f"{{}} True {held + 2}"}


def test_with_threads_nobody_is_forked(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("forked beside a thread"))
    manifest, opened = model(FILES)
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert scan_parallel("m", manifest, opened, jobs=2) == scan_files("m", manifest, opened)
    finally:
        done.set()
        thread.join()


def test_an_interrupt_leaves_nobody_behind():
    manifest, opened = model(FILES)

    def stop(_count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan_parallel("m", manifest, opened, jobs=3, progress=stop)


def test_parts_and_reports_survive_the_way_through_json():
    manifest, opened = model(FILES)
    report = scan_files("m\udce4", manifest, opened)
    assert report_from_json(json.loads(json.dumps(report.to_json()))) == report
    made = parallel.files_of(manifest, opened, parallel.DEFAULT_LIMITS)
    for entry in manifest.files:
        part = judged(made(entry))
        assert part_from_json(json.loads(json.dumps(part_to_json(part)))) == part


def paths(value, path=()):
    if isinstance(value, dict):
        for key in value:
            yield from paths(value[key], (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from paths(item, (*path, index))
    else:
        yield path


@settings(max_examples=60)
@given(data=st.data())
def test_a_report_with_one_thing_changed_is_refused_or_another_report(data):
    manifest, opened = model({"b.pkl": BAD, "x": b"\x80\x81"})
    good = json.loads(json.dumps(scan_files("m", manifest, opened).to_json()))
    bad = json.loads(json.dumps(good))
    path = data.draw(st.sampled_from(sorted(paths(good), key=str)))
    place = bad
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = data.draw(st.sampled_from([None, -1, True, "x", [], {}, 1.5, "dangerous"]))
    try:
        report = report_from_json(bad)
    except ValueError:
        return
    assert report.to_json() == bad
