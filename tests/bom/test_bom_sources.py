"""No value of a document is without a source, and what a source says stands there."""

import json
import re

import pytest
import yaml
from bom_models import CLAIMS, FILES, SOURCE, made, manifest_of, properties

from weighbridge.bom.cyclonedx import check_bom
from weighbridge.bom.facts import flat, scalar
from weighbridge.bom.front_matter import read_front_matter, read_yaml_object
from weighbridge.bom.lint import value_at
from weighbridge.bom.sourced import Source, said, source_at, sources_of, unfold
from weighbridge.core.canonical import canonical
from weighbridge.core.lineage import Grade

SPECS = ("1.6", "1.7")
# Members that say what kind of thing follows, names our own property, or join one part of the document to another.
FRAME = re.compile(r"/(type|bom-ref|name|scope|alg|ref|acknowledgement|uid|taskTypes/\d+)$")
DOCUMENTS = {
    (spec, kind): made(spec=spec, source=SOURCE, claims=CLAIMS if kind == "attested" else ())
    for spec in SPECS
    for kind in ("declared", "attested")
}


def leaves(node, pointer=""):
    """Yield the pointer of every text, number and truth value."""
    if isinstance(node, dict):
        for key, item in node.items():
            yield from leaves(item, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from leaves(item, f"{pointer}/{index}")
    else:
        yield pointer


def told(bom):
    """Yield the pointer of each value that is about the model, not about the document."""
    subject = bom["metadata"]["component"]
    yield from leaves(subject, "/metadata/component")
    yield from leaves(bom["components"], "/components")
    yield from leaves(bom.get("formulation", []), "/formulation")


def unsourced(bom):
    """Return every value that has no source of its own or of the thing it belongs to."""
    sources = sources_of(bom)
    missing = []
    for pointer in told(bom):
        if FRAME.search(pointer) and "/metadata/component/name" not in pointer:
            continue
        found = re.fullmatch(r"(.*/modelCard/properties)/(\d+)/value", pointer)
        if found:
            rows = value_at(bom, found[1])[1]
            name = rows[int(found[2])]["name"]
            if name.startswith(("weighbridge:source:", "weighbridge:unread")):
                continue
            fact = name.removeprefix("weighbridge:fact:")
            after = [row for row in rows[int(found[2]) :] if row["name"].startswith("weighbridge:source:")]
            beside = after[0]["name"].removeprefix("weighbridge:source:") if after else ""
            if (
                not after
                or not (fact == beside or fact.startswith(f"{beside}:"))
                or not Source.parse(after[0]["value"])
            ):
                missing.append(pointer)
            continue
        source = source_at(sources, pointer)
        # What covers the whole list of files, or a part in it, covers no card that somebody wrote.
        card = "/modelCard/" in pointer and "/modelCard/" not in next(
            (
                at
                for at in sorted(sources, key=len, reverse=True)
                if pointer.startswith(f"{at}/") or pointer == at
            ),
            "",
        )
        if source is None or card:
            missing.append(pointer)
    return missing


@pytest.mark.parametrize("key", DOCUMENTS, ids="-".join)
def test_every_value_names_its_source(key):
    bom = DOCUMENTS[key]
    assert len(list(told(bom))) > 400
    assert unsourced(bom) == []
    check_bom(bom, manifest_of(FILES))


@pytest.mark.parametrize("spec", SPECS)
def test_a_value_that_loses_its_source_is_noticed(spec):
    bom = json.loads(json.dumps(DOCUMENTS[spec, "attested"]))
    bom["properties" if spec == "1.6" else "citations"].pop(0)
    bom["metadata"]["component"]["copyright"] = "somebody"
    bom["metadata"]["component"]["modelCard"]["considerations"] = {"users": ["everybody"]}
    missing = unsourced(bom)
    assert "/metadata/component/copyright" in missing
    assert "/metadata/component/modelCard/considerations/users/0" in missing
    assert len(missing) > 2


def at(path, pointer):
    """Return the value at a pointer of a file of the model, read with other means than the harvest's where there are any."""
    data = FILES[path]
    if path == "README.md":
        value = yaml.safe_load(data.decode().split("---\n")[1])
        assert read_front_matter(data).keys() == value.keys()
    elif path.endswith((".yml", ".yaml")):
        value = read_yaml_object(data)
    elif path.endswith(".safetensors"):
        value = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    else:
        value = json.loads(data)
    found, result = value_at(value, pointer)
    assert found, f"{path}#{pointer} is nothing"
    return result


def alike(fact, value):
    texts = [value] if not isinstance(value, (list, dict)) else [item for _, item in flat("", value)]
    plain = {scalar(one) or str(one) for one in texts} | {"no" if one is False else "" for one in texts}
    return set(fact) <= plain


@pytest.mark.parametrize("spec", SPECS)
def test_what_is_declared_stands_in_the_file_where_it_is_said_to_stand(spec):
    rows = DOCUMENTS[spec, "declared"]["metadata"]["component"]["modelCard"]["properties"]
    held, values = 0, []
    for row in rows:
        if row["name"].startswith("weighbridge:fact:"):
            values.append(row["value"])
            continue
        source = Source.parse(row["value"])
        path, _, pointer = source.place.partition("#")
        if source.grade is Grade.DECLARED and pointer and not path.endswith(".gguf") and values:
            assert alike(values, at(path, pointer)), (row, values)
            held += 1
        values = []
    assert held > 25


def test_both_versions_say_the_same_of_the_model():
    old, new = (DOCUMENTS[spec, "attested"] for spec in SPECS)
    assert {**old, "properties": 0, "specVersion": 0, "$schema": 0} == {
        **{key: value for key, value in new.items() if key != "citations"}, "properties": 0, "specVersion": 0, "$schema": 0,
    }  # fmt: skip
    cited = {p: s for p, s in sources_of(new).items() if "/modelCard/properties/" not in p}
    assert cited == sources_of(old)
    assert len(cited) > 30


def test_grades_are_kept_apart():
    bom = DOCUMENTS["1.6", "attested"]
    sources = sources_of(bom)
    metrics = bom["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    graded = {
        row["type"]: sources[
            f"/metadata/component/modelCard/quantitativeAnalysis/performanceMetrics/{index}"
        ].grade
        for index, row in enumerate(metrics)
    }
    assert graded == {"acc": Grade.DECLARED, "acc_norm": Grade.DECLARED, "f1": Grade.ATTESTED}
    assert metrics[0] == {"type": "acc", "value": "81.5", "slice": "HellaSwag, test (text-generation)"}
    base = next(row for row in bom["components"] if row["name"] == "org/base")
    assert properties(base)["weighbridge:evidence"] == ["attested"]
    assert properties(base)["weighbridge:relation"] == ["fine-tune"]
    data = {
        row["name"]: properties(row)["weighbridge:evidence"] for row in bom["components"] if "data" in row
    }
    assert data == {"org/corpus": ["attested"], "org/data": ["declared"], "other": ["declared"]}


def test_a_citation_is_attributed_to_the_file_or_claim_it_names():
    bom = DOCUMENTS["1.7", "attested"]
    refs = {row["attributedTo"] for row in bom["citations"]}
    assert {"file:README.md", "file:config.json", f"claim:{CLAIMS[0].bundle}", "tool:weighbridge"} <= refs


@pytest.mark.parametrize("spec", SPECS)
def test_sections_are_quoted_with_their_lines_and_placeholders_are_not(spec):
    bom = DOCUMENTS[spec, "declared"]
    assert bom["metadata"]["component"]["modelCard"]["considerations"] == {
        "useCases": ["It writes sentences."],
        "technicalLimitations": ["It invents facts. ``` # Limitations ```"],
    }
    source = sources_of(bom)["/metadata/component/modelCard/considerations/useCases/0"]
    path, _, lines = source.place.partition("#line=")
    first, last = map(int, lines.split(","))
    quoted = FILES[path].decode().splitlines()[first:last]
    assert " ".join(quoted) == "It writes sentences."
    assert source.grade is Grade.DECLARED


def test_no_secret_of_the_training_arguments_is_taken():
    for bom in DOCUMENTS.values():
        assert b"hf_planted" not in canonical(bom)


def test_unfolding_gives_the_longest_pointer_the_word():
    tree = {
        "a": said([said("x", Grade.DECLARED, "f#/a"), "y"], Grade.OBSERVED, "f"),
        "b/~": said(1, Grade.ATTESTED, "c"),
    }
    plain, sources = unfold(tree)
    assert plain == {"a": ["x", "y"], "b/~": 1}
    assert str(source_at(sources, "/a/0")) == "declared f#/a"
    assert str(source_at(sources, "/a/1")) == "observed f"
    assert str(source_at(sources, "/b~1~0")) == "attested c"
    assert source_at(sources, "/c") is None
    assert Source.parse("sure f") is None
    assert Source.parse(7) is None


@pytest.mark.parametrize(
    "value", [None, 1.5, "x", {}, [None, 3], [{"pointers": 1e308, "note": "declared x"}]]
)
def test_sources_of_a_document_that_is_none_are_none(value):
    assert sources_of({"citations": value, "properties": value}) == {}
