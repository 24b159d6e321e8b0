"""Facts come from files only, say where from, and what cannot be read is listed and never guessed."""

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.bom.front_matter import read_front_matter
from weighbridge.bom.harvest import harvest
from weighbridge.core.digest import Digest
from weighbridge.core.errors import OutOfBudget, Refused
from weighbridge.core.lineage import Grade
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.formats.safetensors import lay_out, write_header

CARD = """---
license: other
license_name: my-licence
license_link: https://example.org/LICENSE
base_model:
- org/base
base_model_relation: finetune
datasets: [org/data, other]
language: no
tags: []
pipeline_tag: text-generation
---
# body with license: mit
"""


def weights(*rows):
    placed = lay_out(rows)
    return write_header(placed, {}) + bytes(max(t.end for t in placed))


FILES = {
    "config.json": json.dumps(
        {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 4}
    ).encode(),
    "README.md": CARD.encode(),
    "a.safetensors": weights(("x", "F32", (2, 3)), ("y", "I64", (1,))),
    "b.safetensors": weights(("z", "F32", (4,))),
    "tokenizer.json": b"{}",
    "tokenizer_config.json": json.dumps(
        {"chat_template": [{"name": "default", "template": "{{ x }}"}]}
    ).encode(),
    "chat_template.jinja": b"{{ y }}",
    "LICENSE": b"text",
}


def facts_of(files):
    manifest = Manifest.of(FileEntry(path, len(data), Digest.of(data)) for path, data in files.items())
    return harvest(manifest, lambda entry: io.BytesIO(files[entry.path]))


def with_file(path, data):
    return facts_of({**FILES, path: data})


def test_facts_carry_grade_and_place():
    facts = facts_of(FILES)
    assert facts.unread == ()
    rows = {(f.name, f.grade, f.place) for f in facts.facts}
    assert ("model_type", Grade.DECLARED, "config.json#/model_type") in rows
    assert ("license", Grade.DECLARED, "README.md#/license") in rows
    assert ("chat_template", Grade.OBSERVED, "tokenizer_config.json#/chat_template/0/template") in rows
    assert ("chat_template", Grade.OBSERVED, "chat_template.jinja") in rows
    assert ("tokenizer", Grade.OBSERVED, "tokenizer.json") in rows
    assert ("license_text", Grade.OBSERVED, "LICENSE") in rows
    assert facts.get("parameters").value == "11"
    assert facts.get("dtypes").value == {"F32": "10", "I64": "1"}
    assert facts.texts("language") == ("no",)
    assert facts.texts("base_model") == ("org/base",)
    assert facts_of(FILES).to_json() == facts.to_json()


def test_what_the_files_do_not_say_is_absent():
    facts = facts_of({"model.bin": b"x"})
    assert facts.facts == ()
    assert facts.get("license") is None
    assert facts.texts("license") == ()


def test_a_tensor_that_stands_twice_leaves_the_total_unsaid():
    facts = with_file("b.safetensors", weights(("x", "F32", (2, 3))))
    assert facts.get("parameters") is None
    assert len(facts.every("tensors")) == 2


@pytest.mark.parametrize(
    ("path", "data", "missing"),
    [
        ("config.json", b"{", "model_type"),
        ("config.json", b"[]", "model_type"),
        ("config.json", b"\xff\xfe", "model_type"),
        ("config.json", b'{"model_type": "a", "model_type": "b"}', "model_type"),
        ("config.json", b'{"model_type": {"a": 1}}', "model_type"),
        ("config.json", b'{"model_type": "\\ud800"}', "model_type"),
        ("config.json", b'{"model_type": "a\\u0000"}', "model_type"),
        ("config.json", b'{"model_type": "' + b"a" * 600 + b'"}', "model_type"),
        ("config.json", b'{"hidden_size": true}', "hidden_size"),
        ("config.json", b'{"hidden_size": 99999999999999999999}', "hidden_size"),
        ("README.md", b"---\na: [\n---\n", "license"),
        ("README.md", b"---\n- a\n---\n", "license"),
        ("README.md", b"\xff\xfe", "license"),
        ("README.md", b"---\nlicense: {a: b}\n---\n", "license"),
        ("a.safetensors", b"12345678", "parameters"),
    ],
)
def test_what_cannot_be_read_is_listed(path, data, missing):
    facts = with_file(path, data)
    assert facts.get(missing) is None
    assert [row[0] for row in facts.unread] == [path]


def test_tags_in_front_matter_build_nothing_and_nulls_are_absent():
    text = (
        b"---\nlicense: !!python/object/apply:os.getcwd []\nbase_model: null\ntags: ~\nx: !!bool true\n---\n"
    )
    assert read_front_matter(text) == {"license": [], "x": "true"}
    assert read_front_matter(b"no front matter") == {}
    assert read_front_matter(b"---\nnever closed") == {}
    assert read_front_matter("\ufeff---\r\nlicense: mit\r\n---\r\n".encode()) == {"license": "mit"}


def test_front_matter_has_a_size():
    with pytest.raises(OutOfBudget):
        read_front_matter(b"---\n" + b"a" * 300_000 + b"\n---\n")
    with pytest.raises(OutOfBudget):
        read_front_matter(b"---\n" + b"[" * 20_000 + b"\n---\n")
    with pytest.raises(Refused):
        read_front_matter(b"---\n- a list\n---\n")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.binary(max_size=80), st.booleans())
def test_any_bytes_in_any_file_end_in_facts(path, noise, as_front_matter):
    data = b"---\n" + noise + b"\n---\n" if as_front_matter else noise
    assert with_file(path, data).to_json()
