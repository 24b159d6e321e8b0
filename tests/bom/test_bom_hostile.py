"""Models made to cost time, to break the document or to lie in it: each ends in a bounded, valid document or a refusal."""

import io
import json

import pytest
from bom_models import SERIAL, facts_of, made, manifest_of, weights

from weighbridge.bom import schema
from weighbridge.bom.cyclonedx import check_bom
from weighbridge.bom.facts import MAX_ITEMS
from weighbridge.bom.harvest import MAX_PARTS
from weighbridge.bom.lint import broken_references, problems_of, validate_bom
from weighbridge.bom.reading import MAX_FILES, MAX_PARSED, Reading
from weighbridge.bom.schema import MAX_LIST, is_plain_file, schema_problems
from weighbridge.core.canonical import canonical
from weighbridge.core.errors import OutOfBudget, Refused
from weighbridge.core.manifest import FileEntry, Manifest

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12)
)
HOSTILE = {
    "ten megabytes of front matter": {"README.md": b"---\nx: " + b"a" * 10_000_000 + b"\n---\n"},
    "a bomb of aliases": {"README.md": f"---\n{BOMB}tags: *m\n---\n".encode()},
    "an alias into itself": {"README.md": b"---\nx: &x [*x]\nmodel-index: &m [{results: *m}]\n---\n"},
    "a recipe into itself": {"mergekit_config.yml": b"models: &a [{model: &b {path: *b}}, *a]\n"},
    "brackets": {"README.md": b"---\nx: " + b"[" * 100_000 + b"\n---\n"},
    "deep JSON": {"config.json": b'{"auto_map":' + b"[" * 100_000 + b"]" * 100_000 + b"}"},
    "deep TOML": {"uv.lock": b"a=" + b"[" * 5000},
    "control characters": {"config.json": b'{"model_type": "a\\u0000", "architectures": ["\\u001b[31m"]}'},
    "text that turns round": {"README.md": '---\nlicense: "\u202ea"\n---\n'.encode()},
    "a lone surrogate": {"config.json": b'{"model_type": "\\ud800"}'},
    "a very long name": {"config.json": json.dumps({"model_type": "x" * 600}).encode()},
    "two keys of one name": {"config.json": b'{"model_type": "a", "model_type": "b"}'},
    "no GGUF": {"a.gguf": b"GGUF" + b"\xff" * 60},
    "no safetensors": {"a.safetensors": b"\xff" * 60},
    "a million members": {
        "config.json": json.dumps({"auto_map": {f"k{i}": "v" for i in range(50_000)}}).encode()
    },
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_hostile_is_listed_as_unread_and_the_document_stays_small(name):
    bom = made(HOSTILE[name])
    assert len(canonical(bom)) < 400_000
    (path,) = HOSTILE[name]
    unread = [
        p["value"]
        for p in bom["metadata"]["component"]["modelCard"]["properties"]
        if p["name"].endswith("unread")
    ]
    assert unread
    assert all(text.startswith(f"{path}: ") for text in unread)


@pytest.mark.parametrize("key", ["\ud800", "a\x00b", "\u202e", "", "x" * 200])
def test_a_name_that_cannot_be_written_is_passed_over(key):
    bom = made({"config.json": json.dumps({"auto_map": {key: "a", "AutoModel": "b"}}).encode()})
    names = [row["name"] for row in bom["metadata"]["component"]["modelCard"]["properties"]]
    assert [name for name in names if "auto_map" in name] == ["weighbridge:fact:auto_map:AutoModel", "weighbridge:source:auto_map:AutoModel"]  # fmt: skip


def test_templates_under_names_with_lone_surrogates_are_digested():
    bom = made({"tokenizer_config.json": b'{"chat_template": {"\\ud800": "t\\ud800", "a/b~c": "u"}}'})
    refs = {row["bom-ref"] for row in bom["metadata"]["component"]["components"] if row["type"] == "data"}
    assert refs == {
        "chat-template:tokenizer_config.json#/chat_template/\\ud800",
        "chat-template:tokenizer_config.json#/chat_template/a~1b~0c",
    }


@pytest.mark.parametrize("spec", ["1.6", "1.7"])
def test_the_validator_compares_no_file_with_every_other(spec, monkeypatch):
    seen = []
    true = schema._check_lists
    monkeypatch.setattr(schema, "_check_lists", lambda slim: seen.append(slim) or true(slim))
    files = {f"d{i // 1000}/{i}.bin": b"x" for i in range(2000)} | {"z.py": b"x"}
    bom = made(files, spec=spec)
    check_bom(bom, manifest_of(files))
    assert len(bom["metadata"]["component"]["components"]) == 2001
    assert [len(slim["metadata"]["component"]["components"]) for slim in seen] == [1]


def test_parts_facts_and_packages_are_counted():
    bom = made({f"p{i}/config.json": b'{"model_type": "x"}' for i in range(MAX_PARTS + 20)})
    inside = bom["metadata"]["component"]["components"]
    assert sum(row["type"] == "machine-learning-model" for row in inside) == MAX_PARTS
    facts = facts_of({f"license-{i}": b"x" for i in range(MAX_ITEMS + 10)})
    assert len(facts.every("license_text")) == MAX_ITEMS
    assert facts.unread


def test_reading_has_a_budget():
    entries = [
        FileEntry(f"{i}.json", MAX_PARSED // 8, manifest_of({"a": b""}).files[0].sha256) for i in range(10)
    ]
    reading = Reading(Manifest.of(entries), lambda _: io.BytesIO(b"{}"))
    assert [reading.may_open(entry) for entry in entries].count(True) == 8
    assert len(reading.unread) == 2
    files = {f"d{i}/tokenizer_config.json": b"{}" for i in range(MAX_FILES + 50)}
    assert any("reads no more files" in reason for _, reason in facts_of(files).unread)


def test_a_file_that_looks_like_ours_and_is_against_the_schema_is_found():
    good = made({"a": b"1", "b": b"2", "c": b"3"})
    for change in (
        lambda row: row.update(name=""),
        lambda row: row.update(extra=1),
        lambda row: row.update(scope="never"),
        lambda row: row.update({"bom-ref": ""}),
        lambda row: row["hashes"].append(row["hashes"][0]),
        lambda row: row["hashes"][0].update(alg="SHA-1024"),
        lambda row: row["hashes"][0].update(content="zz"),
        lambda row: row["properties"].append({"name": 1, "value": "x"}),
        lambda row: row["properties"].append({"name": "x", "value": "y", "z": 1}),
        lambda row: row.update(properties={}),
        lambda row: row.update(hashes="SHA-256"),
        lambda row: row.pop("name"),
    ):
        bad = json.loads(json.dumps(good))
        row = bad["metadata"]["component"]["components"][2]
        assert is_plain_file(row)
        change(row)
        full = {
            **bad,
            "metadata": {
                **bad["metadata"],
                "component": {**bad["metadata"]["component"], "components": [row]},
            },
        }
        assert (not is_plain_file(row)) or schema_problems(full) == []
        if schema_problems(full):
            assert schema_problems(bad)


def test_a_file_that_stands_twice_is_against_the_schema():
    bad = json.loads(json.dumps(made({"a": b"1", "b": b"2"})))
    rows = bad["metadata"]["component"]["components"]
    rows.append(rows[0])
    assert schema_problems(bad)


def test_a_stranger_s_document_may_be_long_and_deep_only_so_far():
    bom = made({"a": b"x"})
    bom["components"] = [{"type": "library", "name": f"n{i}"} for i in range(MAX_LIST + 1)]
    with pytest.raises(OutOfBudget) as caught:
        problems_of(bom)
    assert caught.value.check == "bom.size"
    deep: dict = {"type": "library", "name": "x"}
    for _ in range(2000):
        deep = {"type": "library", "name": "x", "components": [deep]}
    with pytest.raises(OutOfBudget):
        problems_of({**made({"a": b"x"}), "components": [deep]})


@pytest.mark.parametrize("version", ["1.3", "2.0", 1.6, None, ["1.6"]])
def test_other_versions_are_not_read(version):
    with pytest.raises(Refused) as caught:
        problems_of({**made({"a": b"x"}), "specVersion": version})
    assert caught.value.check == "bom.version"


@pytest.mark.parametrize("version", ["1.4", "1.5"])
def test_older_versions_are_read_and_never_written(version):
    old = {
        "bomFormat": "CycloneDX",
        "specVersion": version,
        "version": 1,
        "components": [{"type": "library", "name": "a"}],
    }
    assert problems_of(old)[0] == []
    with pytest.raises(Refused) as caught:
        validate_bom(old)
    assert caught.value.check == "bom.schema"
    with pytest.raises(Refused):
        made({"a": b"x"}, spec=version)


@pytest.mark.parametrize("spec", ["1.6", "1.7"])
def test_every_reference_and_pointer_is_followed(spec):
    good = made(spec=spec)
    assert list(broken_references(good)) == []
    changes = [
        lambda b: b["formulation"][0]["workflows"][0]["inputs"][0]["resource"].update(ref="nowhere"),
        lambda b: b["formulation"][0]["workflows"][0]["outputs"][0]["resource"].update(ref="nowhere"),
        lambda b: b["formulation"][0]["workflows"][0].update({"bom-ref": "tool:weighbridge"}),
        lambda b: b["metadata"]["component"]["externalReferences"][0].update(url=f"urn:cdx:{SERIAL}/1#nowhere"),
        lambda b: b.update(annotations=[{"subjects": ["nowhere"], "annotator": {"organization": {"name": "x"}}, "timestamp": "2026-01-01T00:00:00Z", "text": "x"}]),
        lambda b: b.update(vulnerabilities=[{"id": "x", "affects": [{"ref": "nowhere"}]}]),
        lambda b: b["compositions"][1]["dependencies"].append("nowhere"),
        lambda b: b["properties"].append({"name": "weighbridge:source:/metadata/nowhere", "value": "declared x"})
        if spec == "1.6" else b["citations"][0]["pointers"].append("/metadata/nowhere"),
        lambda b: b["properties"].append({"name": "weighbridge:source:/components/99", "value": "declared x"})
        if spec == "1.6" else b["citations"][0].update(attributedTo="nowhere"),
    ]  # fmt: skip
    for change in changes:
        bad = json.loads(json.dumps(good))
        change(bad)
        assert list(broken_references(bad)), change
        with pytest.raises(Refused):
            validate_bom(bad)


def test_an_ancestor_without_anything_that_binds_it_must_say_so():
    bad = json.loads(json.dumps(made({"README.md": b"---\nbase_model: org/a\n---\n"})))
    entry = bad["metadata"]["component"]["pedigree"]["ancestors"][0]
    entry["type"] = "data"
    entry["properties"] = [row for row in entry["properties"] if row["name"] != "weighbridge:evidence"]
    with pytest.raises(Refused) as caught:
        validate_bom(bad)
    assert "neither hash nor purl" in caught.value.cause
    entry["purl"] = "pkg:generic/a@1"
    validate_bom(bad)


def test_a_link_of_another_document_is_not_ours_to_follow():
    bom = json.loads(json.dumps(made({"a": b"x"})))
    other = SERIAL.replace("3", "4")
    bom["metadata"]["component"]["externalReferences"] = [{"type": "bom", "url": f"urn:cdx:{other}/1#x"}]
    assert list(broken_references(bom)) == []


def test_parts_have_the_identity_they_would_have_alone():
    inner = {"config.json": b'{"model_type": "clip"}', "a.safetensors": weights(("x", "F32", (2,)))}
    outer = made(
        {**{f"text_encoder/{path}": data for path, data in inner.items()}, "model_index.json": b"{}"}
    )
    part = next(row for row in outer["metadata"]["component"]["components"] if row["name"] == "text_encoder")
    assert part["hashes"][0]["content"] == manifest_of(inner).digest.hex
    assert part["modelCard"]["modelParameters"] == {"architectureFamily": "clip"}
