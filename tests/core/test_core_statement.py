"""Statements: which identities a claim is about, and nothing that could be taken for one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.core.statement import Statement, Subject, subject_of, subjects_of

HEX = "ab" * 32
MODEL, WEIGHTS = Digest("wb1", HEX), Digest("wbw1", HEX)


def statement(*subjects):
    return Statement(tuple(subjects), "https://example.test/v1", {"a": [1, {"b": None}]})


def test_a_statement_is_read_back_as_it_was_written():
    made = statement(subject_of(MODEL), subject_of(WEIGHTS), subject_of(Digest("sha256", HEX)))
    read = Statement.decode(made.encode())
    assert read == made
    assert read.encode() == made.encode()


def test_it_is_about_the_identities_it_names_and_no_other():
    made = statement(subject_of(MODEL), subject_of(Digest("sha256", "cd" * 32)))
    assert made.identities == (MODEL,)
    assert made.is_about(MODEL)
    assert not made.is_about(WEIGHTS)
    assert not made.is_about(Digest("wb1", "cd" * 32))
    assert not made.is_about(Digest("sha256", HEX))


@pytest.mark.parametrize(
    "subject",
    [
        Subject(f"wb1:{HEX}", (("sha256", "cd" * 32),)),
        Subject(f"wb1:{HEX}", (("sha512", HEX * 2),)),
        Subject(f"wb1:{HEX}", ()),
        Subject(f"./wb1:{HEX}", (("sha256", HEX),)),
        Subject(f" wb1:{HEX}", (("sha256", HEX),)),
        Subject(f"WB1:{HEX}", (("sha256", HEX),)),
        Subject(f"wb1:{HEX.upper()}", (("sha256", HEX.upper()),)),
        Subject("wb1:", (("sha256", ""),)),
        Subject(f"sha256:{HEX}", (("sha256", HEX),)),
        Subject("", (("sha256", HEX),)),
        Subject("wb1", (("sha256", HEX),)),
    ],
)
def test_what_only_looks_like_an_identity_is_none(subject):
    assert subject.identity is None


def test_subjects_of_a_manifest():
    manifest = Manifest.of([FileEntry("a.bin", 1, Digest.of(b"1")), FileEntry("wb1:x", 1, Digest.of(b"2"))])
    assert [s.identity for s in subjects_of(manifest)] == [manifest.digest, manifest.weights]
    named = subjects_of(manifest, files=True)
    assert [s.name for s in named[2:]] == ["./a.bin", "./wb1:x"]
    assert statement(*named).identities == (manifest.digest, manifest.weights)
    without = Manifest.of([FileEntry("a.json", 1, Digest.of(b"1"))])
    assert [s.identity for s in subjects_of(without)] == [without.digest]


GOOD = json.loads(statement(subject_of(MODEL)).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"_type": None},
        {"subject": []},
        {"subject": {}},
        {"subject": None},
        {"subject": [{}]},
        {"subject": ["x"]},
        {"subject": [{"name": 1, "digest": {"sha256": HEX}}]},
        {"subject": [{"name": "x"}]},
        {"subject": [{"name": "x", "digest": {}}]},
        {"subject": [{"name": "x", "digest": []}]},
        {"subject": [{"name": "x", "digest": {"sha256": 1}}]},
        {"subject": [{"name": "x", "digest": "sha256"}]},
        {"predicateType": None},
        {"predicateType": 1},
        {"predicate": None},
        {"predicate": []},
        {"predicate": "x"},
    ],
)
def test_what_is_no_statement_is_refused(change):
    with pytest.raises(VerificationFailed) as caught:
        Statement.decode(json.dumps(GOOD | change).encode())
    assert caught.value.check == "statement.form"


@pytest.mark.parametrize("name", ["_type", "subject", "predicateType", "predicate"])
def test_a_missing_member_is_refused(name):
    with pytest.raises(VerificationFailed):
        Statement.decode(json.dumps({key: value for key, value in GOOD.items() if key != name}).encode())


@given(st.binary(max_size=60))
def test_no_bytes_make_the_reader_stumble(data):
    with pytest.raises(VerificationFailed):
        Statement.decode(data)


def test_unknown_members_are_tolerated_and_duplicate_ones_are_not():
    assert Statement.decode(json.dumps(GOOD | {"later": 1}).encode()) == Statement.decode(
        json.dumps(GOOD).encode()
    )
    with pytest.raises(VerificationFailed):
        Statement.decode(json.dumps(GOOD).encode().replace(b'"predicate":', b'"predicate":{},"predicate":'))
