"""The engine: what is not read blocks, nothing raises, and the same bytes give the same report everywhere."""

import importlib
import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.core.digest import Digest
from weighbridge.core.finding import Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.scanner import EXAMINERS, RULES, engine, routing
from weighbridge.scanner import ruleset as rules
from weighbridge.scanner.engine import all_rules, scan_files

ROOT = Path(__file__).parents[2]


def scan(files):
    entries = [FileEntry(path, len(data), Digest.of(data)) for path, data in files.items()]
    return scan_files("m", Manifest.of(entries), lambda entry: files[entry.path])


@pytest.mark.parametrize(
    "data",
    [
        b"SQLite format 3\x00" + bytes(84), b"PAR1" + bytes(30), b"Rar!\x1a\x07" + bytes(30), b"%PDF-1.7\n\xff\xff",
        b"\x7fELF" + bytes(60), bytes(500), b"\xff" * 40,
    ],
)  # fmt: skip
def test_what_has_no_reader_is_unread_whatever_its_name(data):
    for path in ("model.bin", "README.md", "config.json", "model.safetensors"):
        report = scan({path: data})
        assert not report.verdict.passes
        assert "unread-format" in {finding.rule for finding in report.findings} or path == "model.safetensors"
        assert not report.coverage.complete


@pytest.mark.parametrize(
    "data",
    [
        b"\x1f\x8b" + bytes(30), b"GGUF" + bytes(30), b"\x89HDF\r\n\x1a\n", b"7z\xbc\xaf\x27\x1c", bytes(257) + b"ustar",
        b"\x89PNG\r\n\x1a\n", b"\x08\x07\x12\x07onnx\x00\xff", b"BZh9" + bytes(9), b"\xfd7zXZ\x00" + bytes(30),
    ],
)  # fmt: skip
def test_a_magic_number_with_nothing_behind_it_passes_under_no_name(data):
    for path in ("model.bin", "README.md", "config.json", "model.safetensors", "model.pt"):
        assert not scan({path: data}).verdict.passes


def test_ordinary_text_is_clean():
    report = scan(
        {"README.md": b"# Model\n", "vocab.txt": "wörter\n".encode(), "empty": b"", "data.json": b"{}"}
    )
    assert report.verdict is Verdict.CLEAN
    assert report.formats == {"README.md": "text", "vocab.txt": "text", "empty": "empty", "data.json": "json"}
    assert report.coverage.complete


def test_a_file_that_is_not_the_one_of_the_manifest_is_unread():
    manifest = Manifest.of([FileEntry("a.bin", 10, Digest.of(b""))])
    for data in (b"", b"short", b"N." * 50):
        report = scan_files("m", manifest, lambda _, data=data: data)
        assert [finding.rule for finding in report.findings] == ["unread-file"]
        assert report.verdict is Verdict.UNREAD


def test_a_file_that_cannot_be_opened_is_unread():
    def refuse(entry):
        raise PermissionError(entry.path)

    report = scan_files("m", Manifest.of([FileEntry("a.bin", 10, Digest.of(b""))]), refuse)
    assert report.verdict is Verdict.UNREAD
    assert report.coverage.bytes_read == 0


def test_an_error_of_our_own_blocks(monkeypatch):
    class Crash:
        EXPLAINS = frozenset({"text"})

        @staticmethod
        def examine(file):
            raise RecursionError

    monkeypatch.setattr(engine, "asked", lambda kind, *, texts: (Crash,))
    report = scan({"a.txt": b"text"})
    assert report.verdict is Verdict.UNREAD
    assert report.findings[0].subject == "RecursionError"


def test_a_pointer_in_the_place_of_weights_is_unread():
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 10\n"
    assert {f.rule for f in scan({"model.safetensors": pointer}).findings} == {"unread-pointer"}
    assert scan({"notes.txt": pointer}).verdict is Verdict.CLEAN


def test_files_are_opened_as_streams_too(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02N.")
    entry = FileEntry("a.pkl", 4, Digest.of(b"\x80\x02N."))
    assert (
        scan_files("m", Manifest.of([entry]), lambda e: (tmp_path / e.path).open("rb")).verdict
        is Verdict.CLEAN
    )


def test_every_rule_is_in_the_table_with_its_page():
    table = all_rules()
    assert set(RULES) == set(table)
    for id_, module in RULES.items():
        __import__(module)
        assert id_ in {rule.id for rule in sys.modules[module].RULES}
        page = (ROOT / "docs" / "rules" / f"{id_}.md").read_text()
        assert page.startswith(f"# {id_}\n")
        assert f"Verdict: {table[id_].verdict}" in page.splitlines()[2]


def test_every_examiner_keeps_the_protocol():
    for name, kinds in EXAMINERS.items():
        module = importlib.import_module(name)
        assert all(kind in routing.KINDS for kind in module.EXPLAINS)
        assert all(kind in routing.KINDS for kind in set(kinds.split()) - {"any", "texts"})
        assert {"any", "texts"} & set(kinds.split()) or set(kinds.split()) >= module.EXPLAINS
        assert callable(module.examine)


def test_the_ruleset_digest_covers_names_sources_and_parsers(monkeypatch):
    before = rules.ruleset()
    assert before == rules.ruleset()
    original = rules._files

    def longer(folder, name):
        return (
            (path, data + b" " if path.endswith("inert.json") else data)
            for path, data in original(folder, name)
        )

    with monkeypatch.context() as changed:
        changed.setattr(rules, "_files", longer)
        assert rules.ruleset.__wrapped__().digest != before.digest
    monkeypatch.setattr(rules, "versions", lambda libraries, path: dict.fromkeys(libraries, "absent"))
    assert rules.ruleset.__wrapped__().digest != before.digest


def test_a_report_is_the_same_twice_and_is_json():
    files = {"a.pkl": b"cposix\nsystem\n(S'true'\ntR.", "b.txt": b"text"}
    one, two = scan(files), scan(files)
    assert one == two
    assert json.loads(json.dumps(one.to_json()))["verdict"] == "dangerous"


SEEDS = [
    b"cposix\nsystem\n(S'true'\ntR.",
    b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x05hello\x94\x85.",
    b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }",
    b"PK\x03\x04" + bytes(40) + b"PK\x01\x02" + bytes(50) + b"PK\x05\x06" + bytes(18),
    b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00.\x80\x02}.\x80\x02].",
    b"\x10\0\0\0\0\0\0\0{}              ",
    b'{"chat_template": "{{ x }}", "auto_map": {}}',
]
PATHS = st.sampled_from(["a", "a.py", "a.json", "a.jinja", "a.safetensors", "a.bin", "a.npy", "config.json"])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 999), st.integers(0, 255)), max_size=4),
       st.integers(0, 60), PATHS)  # fmt: skip
def test_damaged_files_never_raise_and_coverage_never_exceeds_them(seed, changes, cut, path):
    data = bytearray(seed)
    for place, byte in changes:
        data[place % len(data)] = byte
    data = bytes(data[cut:]) if cut % 2 else bytes(data)
    report = scan({path: data})
    assert 0 <= report.coverage.bytes_read <= report.coverage.bytes_present == len(data)
    assert all("ended in" not in finding.message for finding in report.findings)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), PATHS)
def test_random_files_never_raise(data, path):
    report = scan({path: data})
    assert all("ended in" not in finding.message for finding in report.findings)
    assert report.verdict.passes <= report.coverage.complete


def test_no_unpickler_is_reached_during_a_scan(monkeypatch):
    import pickle

    def reached(*_, **__):
        raise AssertionError("an unpickler was reached")

    for name in ("load", "loads", "Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, reached)
    for seed in SEEDS:
        scan({"a.bin": seed})
    assert isinstance(scan({"a": io.BytesIO(SEEDS[0]).getvalue()}).verdict, Verdict)
