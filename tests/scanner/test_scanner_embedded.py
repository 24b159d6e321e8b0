"""Pickles that hide in texts as base64 are judged wherever they stand and however they are spelled."""

import base64
import json
import pickle
import textwrap

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.finding import Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.scanner.engine import scan_files

ATTACK = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R."
OLD = b"cposix\nsystem\n(S'true and more'\ntR."
HONEST = pickle.dumps({"learning_rate": [0.1, 0.2], "gamma": 0.99})


def scan(name, text):
    data = text.encode()
    manifest = Manifest.of([FileEntry(name, len(data), Digest.of(data))])
    return scan_files("m", manifest, lambda _: data)


def spelled(payload):
    plain = base64.b64encode(payload).decode()
    yield "data", json.dumps({"policy": {":serialized:": plain}})
    yield "x.json", json.dumps([plain.rstrip("=")])
    yield "x.json", json.dumps({"a": base64.urlsafe_b64encode(payload).decode()})
    yield "x.json", '{"a": "' + "".join(f"\\u{ord(char):04x}" for char in plain) + '"}'
    yield "x.json", json.dumps({"a": "\n".join(textwrap.wrap(plain, 76))})
    yield "x.json", json.dumps({"a": plain}).replace("/", "\\/")
    yield "notes.txt", f"policy = {plain}\n"
    yield "conf.yaml", "policy: !!binary |\n" + textwrap.indent("\n".join(textwrap.wrap(plain, 76)), "  ")
    yield "README.md", f"```\n{plain}\n```\n"


@pytest.mark.parametrize(
    ("name", "text"), [*spelled(ATTACK), *spelled(OLD), *spelled(ATTACK[:-1] + b"0" * 90 + b"N.")]
)
def test_a_payload_in_a_text_is_dangerous(name, text):
    report = scan(name, text)
    assert report.verdict is Verdict.DANGEROUS
    assert any(finding.subject == "posix.system" for finding in report.findings)


@pytest.mark.parametrize(("name", "text"), [row for row in spelled(HONEST) if not row[0].endswith(".yaml")])
def test_an_honest_pickle_in_a_text_is_a_note(name, text):
    report = scan(name, text)
    assert report.verdict is Verdict.NOTES
    assert {finding.rule for finding in report.findings} == {"pickle-embedded"}


def test_other_base64_is_nothing():
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20).decode()
    words = "\n".join(
        base64.b64encode(f"token number {number}".encode()).decode() + f" {number}" for number in range(5000)
    )
    assert scan("a.json", json.dumps({"icon": picture})).verdict is Verdict.CLEAN
    assert scan("vocab.tiktoken", words).verdict is Verdict.CLEAN


def test_too_many_runs_are_unread(monkeypatch):
    monkeypatch.setattr("weighbridge.scanner.embedded_rules.MAX_CANDIDATES", 10)
    report = scan("a.txt", "\n".join(["QUFBQUFBQUFBQUFBQUFBQUFBQUFB x"] * 20))
    assert report.verdict is Verdict.UNREAD
