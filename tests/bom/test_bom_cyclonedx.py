"""The bill of materials is valid or refused, bound to one manifest, and equal for equal inputs."""

import copy
import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.bom.cyclonedx import build_bom, check_bom, subject_of_bom
from weighbridge.bom.harvest import Facts, harvest
from weighbridge.bom.lint import lint, validate_bom
from weighbridge.core.canonical import canonical
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused, VerificationFailed
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.formats.safetensors import lay_out, write_header

NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
SERIAL = "3e671687-395b-41f5-a30f-a58921a69b79"
COMMIT = "a" * 40
BASE = {"identity": f"wb1:{'b' * 64}", "name": "org/base", "relation": "fine-tune", "evidence": "attested"}
PLACED = lay_out([("x", "F32", (2, 3))])
FILES = {
    "config.json": b'{"model_type": "bert", "architectures": ["BertModel"]}',
    "README.md": b"---\nlicense: apache-2.0\nbase_model: org/base\ndatasets: [d2, d1]\npipeline_tag: fill-mask\n---\n",
    "model.safetensors": write_header(PLACED, {}) + bytes(24),
    "tokenizer_config.json": b'{"chat_template": "{{ x }}"}',
    "modeling_x.py": b"import torch\n",
}


def manifest_of(files):
    return Manifest.of(FileEntry(path, len(data), Digest.of(data)) for path, data in files.items())


MANIFEST = manifest_of(FILES)


def made(files=FILES, **changes):
    manifest = manifest_of(files)
    facts = harvest(manifest, lambda entry: io.BytesIO(files[entry.path]))
    given = {"name": "m", "version": "1", "now": NOW, "serial": SERIAL, **changes}
    return build_bom(manifest, facts, **given)


def card(licence):
    return {**FILES, "README.md": b"---\n" + licence.encode() + b"\n---\n"}


def properties(component):
    return {row["name"]: row["value"] for row in component["properties"]}


def test_the_document_is_bound_to_the_manifest_and_says_what_is_known():
    bom = made(source={"repository": "Org/Name", "commit": COMMIT}, parents=[BASE])
    check_bom(bom, MANIFEST)
    assert subject_of_bom(bom) == MANIFEST.digest
    model = bom["metadata"]["component"]
    assert model["bom-ref"] == str(MANIFEST.digest)
    assert properties(model)["weighbridge:weights"] == str(MANIFEST.weights)
    assert model["purl"] == f"pkg:huggingface/Org/Name@{COMMIT}"
    assert model["licenses"] == [{"license": {"id": "Apache-2.0", "acknowledgement": "declared"}}]
    assert model["modelCard"]["modelParameters"] == {
        "task": "fill-mask",
        "architectureFamily": "bert",
        "modelArchitecture": "BertModel",
        "datasets": [{"ref": "dataset:d1"}, {"ref": "dataset:d2"}],
    }
    facts = properties(model["modelCard"])
    assert facts["weighbridge:fact:parameters"] == "6"
    assert facts["weighbridge:source:parameters"] == "observed model.safetensors"
    assert facts["weighbridge:source:license"] == "declared README.md#/license"
    (ancestor,) = model["pedigree"]["ancestors"]
    assert ancestor["hashes"] == [{"alg": "SHA-256", "content": "b" * 64}]
    assert properties(ancestor)["weighbridge:relation"] == "fine-tune"
    assert properties(ancestor)["weighbridge:evidence"] == "attested"
    files = {row["name"]: row for row in model["components"] if row["type"] == "file"}
    assert set(files) == set(FILES)
    assert files["modeling_x.py"]["scope"] == "required"
    assert properties(files["model.safetensors"])["weighbridge:role"] == "weights"
    template = next(row for row in model["components"] if row["type"] == "data")
    assert template["hashes"] == [{"alg": "SHA-256", "content": Digest.of(b"{{ x }}").hex}]


def test_equal_inputs_give_equal_bytes_and_survive_canonical_json():
    first, second = made(parents=[BASE]), made(dict(reversed(FILES.items())), parents=[BASE])
    assert canonical(first) == canonical(second)
    check_bom(json.loads(canonical(first)), MANIFEST)


def test_a_bare_file_gives_a_document_without_placeholders():
    bom = made({"w.bin": b"x"})
    model = bom["metadata"]["component"]
    assert {"licenses", "purl", "pedigree", "modelCard"}.isdisjoint(model)
    assert bom["components"] == []
    assert bom["compositions"][1]["aggregate"] == "unknown"


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("license: mit", [{"license": {"id": "MIT", "acknowledgement": "declared"}}]),
        ("license: llama3.1", [{"license": {"name": "llama3.1", "acknowledgement": "declared"}}]),
        ("license: other", [{"license": {"name": "other", "acknowledgement": "declared"}}]),
        ("license: openrail", [{"license": {"name": "openrail", "acknowledgement": "declared"}}]),
        ("license: mit OR apache-2.0", [{"expression": "MIT OR Apache-2.0", "acknowledgement": "declared"}]),
        (
            "license: mit OR nonsense",
            [{"license": {"name": "mit OR nonsense", "acknowledgement": "declared"}}],
        ),
        (
            "license: [mit, cc-by-4.0]",
            [
                {"license": {"id": "MIT", "acknowledgement": "declared"}},
                {"license": {"id": "CC-BY-4.0", "acknowledgement": "declared"}},
            ],
        ),
        (
            "license: other\nlicense_name: mine\nlicense_link: https://example.org/x",
            [{"license": {"name": "mine", "url": "https://example.org/x", "acknowledgement": "declared"}}],
        ),
        (
            "license: other\nlicense_name: mine\nlicense_link: not a link",
            [{"license": {"name": "mine", "acknowledgement": "declared"}}],
        ),
        ("tags: [x]", None),
    ],
)
def test_licences_are_ids_the_schema_knows_or_names(licence, expected):
    assert made(card(licence))["metadata"]["component"].get("licenses") == expected


@pytest.mark.parametrize("commit", ["main", "v1", "a" * 39, "A" * 40, "", None])
def test_only_a_full_commit_makes_a_purl(commit):
    assert "purl" not in made(source={"repository": "o/n", "commit": commit})["metadata"]["component"]


def test_another_hub_is_named_in_the_purl():
    purl = made(source={"repository": "n", "commit": COMMIT, "endpoint": "https://hub.example"})["metadata"]["component"]["purl"]  # fmt: skip
    assert purl == f"pkg:huggingface/n@{COMMIT}?repository_url=https://hub.example"


def test_a_declared_base_has_no_hash_and_says_so():
    bom = made(card("base_model: [org/b, org/a]\nbase_model_relation: quantized"))
    first, second = bom["metadata"]["component"]["pedigree"]["ancestors"]
    assert (first["name"], second["name"]) == ("org/a", "org/b")
    assert "hashes" not in first
    assert properties(first)["weighbridge:evidence"] == "declared"
    assert properties(first)["weighbridge:relation"] == "quantization"
    assert bom["compositions"][1]["aggregate"] == "incomplete"


def test_an_unknown_relation_is_left_out_and_an_adapter_names_its_base():
    first = made(card("base_model: org/a\nbase_model_relation: cousin"))["metadata"]["component"]["pedigree"]["ancestors"][0]  # fmt: skip
    assert "weighbridge:relation" not in properties(first)
    files = {"adapter_config.json": b'{"base_model_name_or_path": "org/z", "peft_type": "LORA"}'}
    (adapter,) = made(files)["metadata"]["component"]["pedigree"]["ancestors"]
    assert properties(adapter)["weighbridge:relation"] == "adapter"


def test_what_an_attested_parent_needs():
    with pytest.raises(Refused) as caught:
        made(parents=[{"name": "x", "evidence": "attested"}])
    assert caught.value.check == "bom.schema"
    for bad in ({"name": "x"}, {"name": "x", "evidence": "sure"}, {**BASE, "relation": "cousin"}):
        with pytest.raises(Refused) as caught:
            made(parents=[bad])
        assert caught.value.check == "bom.parent"


def test_a_conversion_is_described():
    bom = made(
        conversion={"method": "rebuilt", "equivalence": "proven"},
        parents=[{**BASE, "relation": "conversion"}],
    )
    assert properties(bom["metadata"]["component"])["weighbridge:conversion:equivalence"] == "proven"


@pytest.mark.parametrize(
    "changes", [{"serial": "not-a-uuid"}, {"source": {"repository": "x"}, "name": "\ud800"}]
)
def test_an_invalid_document_is_never_emitted(changes):
    with pytest.raises(Refused) as caught:
        made(**changes)
    assert caught.value.check == "bom.schema"


def test_references_that_lead_nowhere_are_found():
    good = made(parents=[BASE])
    for change in (
        lambda b: b["dependencies"][0]["dependsOn"].append("nowhere"),
        lambda b: b["compositions"][0]["assemblies"].append("nowhere"),
        lambda b: b["metadata"]["component"]["modelCard"]["modelParameters"]["datasets"].append(
            {"ref": "nowhere"}
        ),
        lambda b: b["components"].append(copy.deepcopy(b["components"][0])),
        lambda b: b["components"][-1].pop("hashes"),
        lambda b: b["metadata"]["component"]["components"][0].pop("hashes"),
        lambda b: b["metadata"]["component"].update(purl="pkg:huggingface/o/n@main"),
        lambda b: b.update(serialNumber="urn:uuid:X"),
        lambda b: b["metadata"]["component"]["pedigree"]["ancestors"][0]["properties"][-1].update(
            value="nowhere"
        ),
    ):
        bad = json.loads(json.dumps(good))
        change(bad)
        assert list(lint(bad))
        with pytest.raises(Refused):
            validate_bom(bad)
    assert list(lint(good)) == []


def refused(bom, manifest=MANIFEST):
    with pytest.raises(VerificationFailed) as caught:
        check_bom(bom, manifest)
    return caught.value.check == "bom.bound"


def test_every_single_binding_matters():
    good = made(parents=[BASE])
    other = manifest_of({**FILES, "config.json": b"{}"})
    assert refused(good, other)
    changes = [
        lambda m: m.update({"type": "data"}),
        lambda m: m.update({"bom-ref": f"wb1:{'0' * 64}"}),
        lambda m: m["hashes"][0].update(content="0" * 64),
        lambda m: m["hashes"].append({"alg": "SHA-256", "content": MANIFEST.digest.hex}),
        lambda m: m["properties"].append({"name": "weighbridge:identity", "value": str(MANIFEST.digest)}),
        lambda m: m["properties"].pop(0),
        lambda m: m["properties"].pop(1),
        lambda m: m["properties"][1].update(value=f"wbw1:{'0' * 64}"),
        lambda m: m["components"].pop(0),
        lambda m: m["components"].append(copy.deepcopy(m["components"][0])),
        lambda m: m["components"][0].update(name="other"),
        lambda m: m["components"][0].update(type="library"),
        lambda m: m["components"][0]["hashes"][0].update(content="0" * 64),
        lambda m: m["components"][0]["hashes"][0].update(alg="SHA-512"),
        lambda m: m["components"][0]["properties"][0].update(value="1"),
        lambda m: m["components"].append({"type": "file", "name": "extra", "hashes": [], "properties": []}),
        lambda m: m.pop("components"),
        lambda m: m.update(components=None),
    ]
    for change in changes:
        bad = json.loads(json.dumps(good))
        change(bad["metadata"]["component"])
        assert refused(bad)
    check_bom(good, MANIFEST)


def test_an_identity_of_weights_is_no_subject():
    bad = json.loads(json.dumps(made()).replace(str(MANIFEST.digest), f"wbw1:{MANIFEST.digest.hex}"))
    assert refused(bad)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
GOOD = made(parents=[BASE])


def places(value, path=()):
    yield path
    for key, item in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(item, (*path, key))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([p for p in places(GOOD) if p]), json_values)
def test_whatever_the_document_looks_like_the_answer_is_bound_or_refused(path, value):
    bad = json.loads(json.dumps(GOOD))
    target = bad
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    try:
        check_bom(bad, MANIFEST)
    except VerificationFailed:
        return
    assert subject_of_bom(bad) == MANIFEST.digest


def test_facts_that_could_not_be_read_are_said():
    facts = Facts((), (("config.json", "this is not JSON"),))
    bom = build_bom(MANIFEST, facts, name="m", version="1", now=NOW, serial=SERIAL)
    assert properties(bom["metadata"]["component"]["modelCard"]) == {
        "weighbridge:unread": "config.json: this is not JSON"
    }
