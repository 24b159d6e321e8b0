"""Advisories and lineage as a person types them: answers, exit codes, JSON of the documented shape, a picture."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from world import outcomes

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "schemas"


def checked(kind, text):
    """Return the items of a JSON answer that has the documented shape."""
    document = json.loads(text)
    schema = json.loads((SCHEMAS / f"{kind}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(document)
    return next(value for value in document.values() if isinstance(value, list))


@pytest.fixture
def line(world):
    """A base, a fine-tune of it and a stranger to both, all running."""
    base = world.ready("base", seed=1.0)
    tuned = world.ready("tuned", seed=5.0, base=[base])
    other = world.ready("other", seed=9.0)
    for folder in (base, tuned, other):
        assert world.promote(folder, name=folder.name).decision.allow
        result = world.admit(folder, target=f"prod/{folder.name}")
        assert result.decision.allow, outcomes(result.decision)
    return base, tuned, other


def test_from_the_news_to_the_answer_and_back(world, call, line):
    base, *_ = line
    digest = world.manifest(base).entry("model.safetensors").sha256
    before = call("lineage", "base", "--deployed")
    assert before[0] == 0
    assert "✗ affected: 2 deployed" in before[1]
    assert "✓ not affected: 1 deployed" in before[1]
    assert "3 of 3 deployed models" in before[1]
    code, output, error = call(
        "advisory", "publish", "--kind", "weights", "--target", digest, "--reason", "a backdoor"
    )
    assert code == 1, error
    assert "quarantined: 2 of the models kept here" in output
    assert "prod/tuned" in output
    identity = output.split()[0]
    assert call("lineage", "base", "--deployed")[0] == 1
    refused = call("admit", "tuned")
    assert refused[0] == 1
    assert identity in refused[1]
    assert f"weighbridge advisory show {identity}" in refused[1]
    code, output, _ = call("advisory", "lift", identity, "--reason", "not this file")
    assert code == 0
    assert "lifted" in output
    assert call("admit", "tuned")[0] == 0
    code, output, _ = call("advisory", "show", identity)
    assert (code, "not this file" in output) == (0, True)
    assert identity in call("advisory", "list")[1]
    assert call("advisory", "list", "--standing")[1] == "no advisories\n"


def test_json_has_the_documented_shape(world, call, line):
    base, *_ = line
    target = str(world.manifest(base).digest)
    code, output, _ = call(
        "advisory", "publish", "--kind", "weights", "--target", target, "--reason", "x", "--format", "json"
    )
    [item] = checked("advisory", output)
    assert code == 1
    assert item["affected"]["count"] == 2
    assert item["deployed"]["coverage"] == {"deployed": 3, "complete": 3, "share": 1}
    assert len(checked("advisory", call("advisory", "list", "--format", "json")[1])) == 1
    [family] = checked("lineage", call("lineage", "tuned", "--format", "json")[1])
    assert item["id"] in {name for node in family["nodes"] for name in node["advisories"]}
    [judged] = checked("lineage", call("lineage", target, "--deployed", "--format", "json")[1])
    assert {row["answer"] for row in judged["answers"]} == {"affected", "not-affected"}
    [told] = checked("explanation", call("lineage", "tuned", "--explain", "base", "--format", "json")[1])
    assert (told["relation"], told["grade"]) == ("descends", "attested")


def test_explain_names_each_step_who_signed_it_and_the_weakest(world, call, line):
    code, output, _ = call("lineage", "tuned", "--explain", "base")
    assert code == 0
    assert "descends from" in output.splitlines()[0]
    assert "weakest evidence: attested: fine-tune" in output
    assert "train-team" in output
    assert "log entry" in output
    assert "base" in call("lineage", "base", "--explain", "tuned")[1].splitlines()[0]
    assert "nothing that is known relates" in call("lineage", "tuned", "--explain", "other")[1]
    assert "one model" in call("lineage", "tuned", "--explain", "tuned")[1]


def test_up_and_down_show_one_direction(world, call, line):
    up, down = call("lineage", "base", "--up")[1], call("lineage", "base", "--down")[1]
    assert "came from:" in up
    assert "led to:" not in up
    assert "led to:" in down
    assert "came from:" not in down
    assert "fine-tune" in down


def test_a_picture_is_written_and_is_one_whole_svg(world, call, line):
    code, _, error = call("lineage", "tuned", "--picture", "family.svg")
    assert code == 0, error
    root = ET.parse(world.folder / "family.svg").getroot()
    text = " ".join(root.itertext())
    assert "fine-tune" in text
    assert "tuned" in text
    assert call("lineage", "tuned", "--picture", "family.png")[0] == 2
    assert call("lineage", "tuned", "--picture", "nowhere/family.svg")[0] == 3


@pytest.mark.parametrize(
    "words",
    [
        ["lineage"], ["lineage", "--up"], ["lineage", "base", "--up", "--deployed"], ["lineage", "base", "--kind", "code"],
        ["lineage", "base", "--explain", "tuned", "--deployed"], ["lineage", "--deployed", "--explain", "base"],
        ["lineage", "file-sha256:12"], ["lineage", "nobody"], ["advisory", "show", "adv-1"], ["advisory"],
        ["advisory", "publish", "--kind", "weights", "--reason", "x"],
        ["advisory", "publish", "--kind", "weather", "--target", "base", "--reason", "x"],
        ["advisory", "publish", "--kind", "weights", "--target", "wbw1:12", "--reason", "x"],
        ["advisory", "publish", "--kind", "weights", "--target", "base", "--reason", " "],
        ["advisory", "lift", "adv-1", "--reason", "x"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_cannot_be_asked_is_a_usage_error(world, call, line, words):
    code, _, error = call(*words)
    assert code == 2, error


def test_a_name_that_only_a_model_card_has_can_be_asked_about(world, call):
    folder = world.model("card", 4.0)
    (folder / "README.md").write_text("---\nbase_model: org/unseen\n---\n")
    world.take(folder)
    code, output, error = call("lineage", "name:org/unseen", "--down")
    assert code == 0, error
    assert "card" in output
    assert "declared" in output
