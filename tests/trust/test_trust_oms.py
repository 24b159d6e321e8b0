"""OpenSSF Model Signing: what is written can be read, what is hostile or contradicts itself cannot."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.errors import UsageError, VerificationFailed
from weighbridge.core.statement import Statement, Subject
from weighbridge.trust.differences import Differences, differences, refuse_differences
from weighbridge.trust.oms import (
    COMPATIBLE,
    LENGTHS,
    PREDICATE,
    SINGLE,
    Resource,
    Serialization,
    model_signature,
    read_model_signature,
    root_of,
)


def digest(text, algorithm="sha256"):
    return hashlib.blake2b(text.encode(), digest_size=LENGTHS[algorithm]).hexdigest()


def rows(*names, algorithm="sha256"):
    return [Resource(name, digest(name, algorithm), 0, None) for name in names]


def statement(names=("a", "b/c"), how=None, **predicate):
    """Return a statement as its signer would have written it, whatever the names are."""
    how = how or Serialization()
    listed = [
        {"name": name, "algorithm": how.algorithm, "digest": digest(name, how.hash_type)} for name in names
    ]
    root = hashlib.sha256(b"".join(bytes.fromhex(row["digest"]) for row in listed)).hexdigest()
    body = {"serialization": how.to_json(), "resources": listed} | predicate
    return Statement((Subject("model", (("sha256", root),)),), PREDICATE, body)


def refused(one):
    with pytest.raises(VerificationFailed) as caught:
        read_model_signature(one)
    return caught.value.check


# What the format looks like.


def test_a_statement_as_the_specification_shows_it():
    made = model_signature(
        "sample_model", Serialization(ignore_paths=("model.sig", ".git")), rows("f3", "d0/f00")
    )
    value = json.loads(made.encode())
    assert value["_type"] == "https://in-toto.io/Statement/v1"
    assert value["predicateType"] == "https://model_signing/signature/v1.0"
    assert value["predicate"] == {
        "serialization": {
            "method": "files",
            "hash_type": "sha256",
            "allow_symlinks": False,
            "ignore_paths": ["model.sig", ".git"],
        },
        "resources": [
            {"name": "d0/f00", "algorithm": "sha256", "digest": digest("d0/f00")},
            {"name": "f3", "algorithm": "sha256", "digest": digest("f3")},
        ],
    }
    both = bytes.fromhex(digest("d0/f00")) + bytes.fromhex(digest("f3"))
    assert value["subject"] == [
        {"name": "sample_model", "digest": {"sha256": hashlib.sha256(both).hexdigest()}}
    ]


def test_shards_are_named_and_ordered_by_number():
    how = Serialization("shards", "sha256", 10)
    parts = [
        Resource("w", digest("2"), 10, 20),
        Resource("w", digest("3"), 20, 21),
        Resource("w", digest("1"), 0, 10),
    ]
    made = model_signature("m", how, parts)
    assert [row["name"] for row in made.predicate["resources"]] == ["w:0:10", "w:10:20", "w:20:21"]
    assert {row["algorithm"] for row in made.predicate["resources"]} == {"sha256-sharded-10"}
    assert made.predicate["serialization"]["shard_size"] == 10
    read = read_model_signature(made)
    assert read.serialization == how
    assert read.files == {"w": tuple(sorted(parts, key=lambda part: part.start))}


def test_paths_are_ordered_by_their_parts():
    made = model_signature("m", Serialization(), rows("a-b", "a/b", "a"))
    assert [row["name"] for row in made.predicate["resources"]] == ["a", "a/b", "a-b"]


@pytest.mark.parametrize("algorithm", LENGTHS)
def test_each_algorithm(algorithm):
    how = Serialization(hash_type=algorithm)
    made = model_signature("m", how, rows("a", algorithm=algorithm))
    assert read_model_signature(made).files["a"][0].digest == digest("a", algorithm)


def test_shards_of_blake3_are_not_written():
    with pytest.raises(UsageError, match="blake3"):
        model_signature("m", Serialization("shards", "blake3", 10), [Resource("a", digest("a"), 0, 3)])


def test_a_model_that_is_one_file():
    read = read_model_signature(model_signature("weights.bin", Serialization(), rows(SINGLE)))
    assert set(read.files) == {SINGLE}
    assert refused(statement([SINGLE, "b"])) == "oms.names"


def test_the_compatible_form():
    subjects = tuple(Subject(name, (("sha256", digest(name)),)) for name in ("b", "a/x"))
    read = read_model_signature(Statement(subjects, COMPATIBLE, {"unused": "because"}))
    assert read.files == {row.path: (row,) for row in rows("b", "a/x")}
    assert read.root is None
    twice = Statement((*subjects, subjects[0]), COMPATIBLE, {})
    assert refused(twice) == "oms.names"


def test_numbers_as_protobuf_writes_them():
    how = Serialization("shards", "sha256", 10)
    row = {**how.to_json(), "shard_size": 10.0}
    assert read_model_signature(statement(["w:0:4"], how, serialization=row)).serialization == how


def test_the_signers_exceptions_are_paths_in_the_model_and_never_all_of_it():
    names = (".git", "./model.sig", "sub//x", ".", "", "/etc", "../out", "a/../..", "deep/")
    read = read_model_signature(statement(["a"], Serialization(ignore_paths=names)))
    assert read.serialization.ignore_paths == names
    assert read.ignored == (".git", "model.sig", "sub/x", "deep")
    assert read.ignores(".git/hooks/x.py")
    assert read.ignores("model.sig")
    assert read.ignores("deep/er/file")
    assert not read.ignores("model.sigx")
    assert not read.ignores(".gitignore")
    assert not read.ignores("other")


def test_a_listed_file_is_not_excused_by_an_exception():
    read = read_model_signature(statement(["sub/a"], Serialization(ignore_paths=("sub",))))
    assert not read.ignores("sub/a")
    assert read.ignores("sub/b")


# What is refused.


@pytest.mark.parametrize(
    "name",
    [
        "../a",
        "a/../../b",
        "a/..",
        "..",
        "/a",
        "/",
        "//a",
        "",
        "a\\b",
        "a\0b",
        "a\nb",
        "a\u202eb",
        "e\u0301",
        "x" * 1025,
        "\ud800",
    ],
)
def test_hostile_names(name):
    assert refused(statement_of("a", name)) == "oms.names"


def statement_of(*names):
    listed = [{"name": name, "algorithm": "sha256", "digest": "00" * 32} for name in names]
    root = hashlib.sha256(bytes(32 * len(names))).hexdigest()
    body = {"serialization": Serialization().to_json(), "resources": listed}
    return Statement((Subject("m", (("sha256", root),)),), PREDICATE, body)


@pytest.mark.parametrize("again", ["a/b", "a//b", "./a/b", "a/./b", "a/b/"])
def test_a_name_that_is_another_after_normalising(again):
    assert refused(statement_of("a/b", again)) == "oms.names"


def test_names_that_only_look_alike_are_two_names():
    read = read_model_signature(statement_of("model.bin", "m\u043edel.bin"))
    assert len(read.files) == 2


@pytest.mark.parametrize(
    "names",
    [
        ["w:10:20"],
        ["w:0:10", "w:20:30"],
        ["w:0:5", "w:5:10"],
        ["w:0:10", "w:0:10"],
        ["w:0:11"],
        ["w:0:0"],
        ["w:0:10", "w:10:10"],
        ["w"],
        ["w:1"],
        ["w:-1:5"],
        ["w:0:+5"],
        ["w: 0:5"],
        ["w:00:5"],
        ["w:0:99999999999999999999"],
    ],
)
def test_shards_that_do_not_cover_a_file(names):
    assert refused(statement(names, Serialization("shards", "sha256", 10))) == "oms.form"


def test_shards_of_a_hostile_name():
    assert refused(statement(["../w:0:5"], Serialization("shards", "sha256", 10))) == "oms.names"


def test_a_root_that_is_not_that_of_the_list():
    good = statement()
    for other in (
        statement(["a", "b/d"]).subjects,
        (Subject("model", (("sha256", "00" * 32),)),),
    ):
        assert refused(Statement(other, PREDICATE, good.predicate)) == "oms.root"


def test_the_root_is_over_the_list_as_it_stands():
    good = statement(["a", "b"])
    turned = {**good.predicate, "resources": good.predicate["resources"][::-1]}
    assert refused(Statement(good.subjects, PREDICATE, turned)) == "oms.root"


GOOD = Serialization().to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"serialization": None},
        {"serialization": []},
        {"serialization": {}},
        {"serialization": {**GOOD, "method": "tensors"}},
        {"serialization": {**GOOD, "method": ["files"]}},
        {"serialization": {**GOOD, "hash_type": "md5"}},
        {"serialization": {**GOOD, "hash_type": "blake3"}},
        {"serialization": {**GOOD, "allow_symlinks": "false"}},
        {"serialization": {**GOOD, "ignore_paths": "x"}},
        {"serialization": {**GOOD, "ignore_paths": [1]}},
        {"serialization": {**GOOD, "method": "shards"}},
        {"serialization": {**GOOD, "method": "shards", "shard_size": 0}},
        {"serialization": {**GOOD, "method": "shards", "shard_size": -1}},
        {"serialization": {**GOOD, "method": "shards", "shard_size": 0.5}},
        {"serialization": {**GOOD, "method": "shards", "shard_size": True}},
        {"serialization": {**GOOD, "method": "shards", "shard_size": "10"}},
        {"resources": None},
        {"resources": {}},
        {"resources": []},
        {"resources": [None]},
        {"resources": [{}]},
        {"resources": [{"name": 1, "algorithm": "sha256", "digest": "00" * 32}]},
        {"resources": [{"name": "a", "algorithm": "sha1", "digest": "00" * 20}]},
        {"resources": [{"name": "a", "algorithm": "sha256", "digest": "00" * 20}]},
        {"resources": [{"name": "a", "algorithm": "sha256", "digest": "0A" * 32}]},
        {"resources": [{"name": "a", "algorithm": "sha256", "digest": None}]},
        {"resources": [{"name": "a", "digest": "00" * 32}]},
    ],
)
def test_other_shapes(change):
    good = statement()
    assert refused(Statement(good.subjects, PREDICATE, {**good.predicate, **change})) == "oms.form"


def test_other_subjects():
    good = statement()
    assert refused(Statement((*good.subjects, *good.subjects), PREDICATE, good.predicate)) == "oms.form"
    other = (Subject("model", (("sha512", "00" * 64),)),)
    assert refused(Statement(other, PREDICATE, good.predicate)) == "oms.form"
    assert (
        refused(Statement(good.subjects, "https://model_signing/signature/v2.0", good.predicate))
        == "oms.form"
    )


NAMES = st.lists(
    st.lists(st.text("abc-.é", min_size=1, max_size=3), min_size=1, max_size=3)
    .map("/".join)
    .filter(lambda path: not {".", ".."} & set(path.split("/"))),
    min_size=1,
    unique=True,
)


@given(NAMES, st.sampled_from(sorted(LENGTHS)))
def test_what_is_written_is_read(names, algorithm):
    import unicodedata

    names = sorted({unicodedata.normalize("NFC", name) for name in names})
    how = Serialization(hash_type=algorithm)
    made = model_signature("m", how, rows(*names, algorithm=algorithm))
    read = read_model_signature(Statement.decode(made.encode()))
    assert {path: row[0].digest for path, row in read.files.items()} == {
        name: digest(name, algorithm) for name in names
    }
    assert read.root == root_of(read.files[row["name"]][0] for row in made.predicate["resources"])


# How lists differ.

SIGNED = {"a": "1", "b": "2", "sub/c": "3", "empty": "0", "void": "0"}


def test_no_difference():
    assert not differences(SIGNED, dict(reversed(SIGNED.items())))
    refuse_differences(differences(SIGNED, SIGNED), "it")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({**SIGNED, "new": "9"}, Differences(added=("new",))),
        ({k: v for k, v in SIGNED.items() if k != "b"}, Differences(missing=("b",))),
        ({**SIGNED, "b": "9"}, Differences(changed=("b",))),
        ({**SIGNED, "a": "2", "b": "1"}, Differences(swapped=(("a", "b"), ("b", "a")))),
        ({**SIGNED, "a": "2", "b": "9"}, Differences(changed=("b",), swapped=(("a", "b"),))),
        ({k: v for k, v in SIGNED.items() if k != "a"} | {"z": "1"}, Differences(renamed=(("a", "z"),))),
        ({**SIGNED, "copy": "1"}, Differences(added=("copy",))),
        (
            {"A": "1", "b": "2", "sub/c": "3", "e": "0", "v": "0"},
            Differences(renamed=(("a", "A"), ("empty", "e"), ("void", "v"))),
        ),
        ({}, Differences(missing=tuple(sorted(SIGNED)))),
    ],
)
def test_each_kind_of_difference_is_named(found, expected):
    assert differences(SIGNED, found) == expected
    with pytest.raises(VerificationFailed) as caught:
        refuse_differences(expected, "it")
    assert caught.value.check == "bytes.match"
    told = json.dumps(expected.to_json())
    for name in SIGNED.keys() ^ found.keys():
        assert name in told
        assert name in caught.value.cause


CONTENT = st.dictionaries(st.sampled_from("abcdefg"), st.sampled_from("123"), max_size=6)


@given(CONTENT, CONTENT)
def test_every_difference_is_found_and_told_once(signed, found):
    told = differences(signed, found)
    assert bool(told) == (signed != found)
    old = [*told.missing, *told.changed, *(a for a, _ in told.renamed), *(a for a, _ in told.swapped)]
    new = [*told.added, *told.changed, *(b for _, b in told.renamed), *(a for a, _ in told.swapped)]
    assert sorted(old) == sorted(name for name in signed if signed[name] != found.get(name))
    assert sorted(new) == sorted(name for name in found if found[name] != signed.get(name))
    assert all(signed[a] == found[b] for a, b in told.renamed)
    assert all(found[a] == signed[b] for a, b in told.swapped)


def test_many_differences_are_counted():
    told = differences({}, {f"{number:03}": "x" for number in range(100)})
    assert "and 92 more" in told.sentences()[0]
