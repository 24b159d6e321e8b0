"""`decisions`, `policy replay` and `promote --explain`: what they print, when they refuse, and that their pages say so."""

import json
import re
import shlex
from pathlib import Path

import jsonschema
import pytest

from weighbridge.core.digest import Digest

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


def accepts(name, document):
    schema = json.loads((REFERENCE / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(document)


@pytest.fixture
def model(world):
    folder = world.ready()
    assert world.promote(folder).decision.allow
    world.hand.pass_(days=2)
    assert not world.admit(world.ready("other", seed=4.0)).decision.allow
    return str(world.manifest(folder).digest)


def stricter(world):
    folder = world.folder / "stricter"
    folder.mkdir()
    for path in world.registry.layout.policy.iterdir():
        data = path.read_bytes()
        if path.name == "own.rego":
            data += b'\ndeny contains {"rule": "never", "msg": "never again"} if input.action == "promote"\n'
        (folder / path.name).write_bytes(data)
    return folder


def test_decisions_in_every_format(world, call, model):
    code, out, _ = call("decisions")
    assert code == 0
    assert "allow" in out
    assert "2 decisions, each as it was signed" in out
    code, out, _ = call("decisions", model, "--format", "json")
    document = json.loads(out)
    accepts("decision", document)
    assert [row["sequence"] for row in document["decisions"]] == [1]
    assert code == 0
    _, out, _ = call("decisions", "--format", "jsonl")
    assert [json.loads(line)["decision"] for line in out.splitlines()] == ["allow", "block"]
    for more in ((), ("--input",)):
        _, out, _ = call("decisions", "--format", "opa", *more)
        for line in out.splitlines():
            accepts("decision-log", json.loads(line))
    target = world.folder / "log.jsonl"
    assert call("decisions", "--format", "opa", "--output", target)[:2] == (0, "")
    assert len(target.read_text().splitlines()) == 2


def test_only_from_a_day_on(call, model):
    assert "1 decisions" in call("decisions", "--since", "2026-11-23")[1]
    assert "nothing was decided" in call("decisions", "--since", "2027-01-01T00:00:00Z")[1]


@pytest.mark.parametrize(
    "words",
    [
        ("decisions", "--on", "2026-11-22"),
        ("decisions", "--input"),
        ("decisions", "--since", "yesterday"),
        ("decisions", "{model}", "--on", "22.11."),
        ("decisions", "nobody"),
        ("policy", "replay", "--jobs", "0"),
        ("policy", "replay", "--policy", "nowhere"),
    ],
)
def test_what_cannot_be_asked(call, model, words):
    assert call(*(word.format(model=model) for word in words))[0] == 2


def test_a_changed_decision_is_shown_and_fails(world, call, model):
    with world.registry.records.write() as connection:
        connection.exec_driver_sql("UPDATE evidence SET content = replace(content, 'accuracy', 'accurate')")
    code, out, _ = call("decisions")
    assert code == 1
    assert "tampered" in out
    assert call("decisions", model, "--on", "2026-11-30")[0] == 1
    assert call("policy", "replay", "--jobs", "1")[0] == 1
    assert "exchanged" not in call("doctor")[1]
    assert "the evidence of decision" in call("doctor", "--deep")[1]


def test_what_was_enforced(call, model):
    code, out, _ = call("decisions", model, "--on", "2026-11-22", "--format", "json")
    assert code == 0
    document = json.loads(out)
    accepts("enforcement", document)
    [answer] = document["enforcements"]
    assert answer["decision"]["decision"] == "allow"
    code, out, _ = call("decisions", model, "--on", "2026-11-21")
    assert (code, "nothing was decided about it by then" in out) == (0, True)
    assert "unknown:" in call("decisions", model, "--on", "2026-11-22")[1]


def test_replay(world, call, model):
    code, out, _ = call("policy", "replay")
    assert code == 0
    assert "2 decisions by each decision's own: 2 identical" in out
    code, out, _ = call("policy", "replay", "--policy", stricter(world))
    assert code == 1
    assert "allow → block" in out
    assert "policy.never: not asked → fail" in out
    assert "found:    never again" in out
    code, out, _ = call("policy", "replay", "--policy", world.folder / "stricter", "--format", "json")
    document = json.loads(out)
    accepts("replay", document)
    assert document["replays"][0]["changed"] == 1
    _, out, _ = call("policy", "replay", "--policy", world.folder / "stricter", "--format", "jsonl")
    assert json.loads(out.splitlines()[-1])["decisions"] == 2


def test_explain_shows_floor_and_policy_apart_and_what_would_change(world, call, model):
    code, out, _ = call("promote", model, "--dry-run", "--explain", "--policy", stricter(world))
    assert code == 1
    floor, policy = out.index("the floor, which nothing switches off"), out.index("the policy sha256:")
    assert floor < out.index("bytes.match") < policy < out.index("policy.never") < out.index("exceptions")
    assert "mode enforce" in out
    assert "now allowed, then blocked" in out
    assert "policy.never: no objection → fail: never again" in out
    code, out, _ = call("promote", model, "--dry-run", "--explain")
    assert code == 0
    assert "against the active policy" not in out
    assert out.count("expected:") == out.count("found:") > 20


def test_the_pages_name_every_way_to_come_out_and_their_examples_run(world, call, model):
    stricter(world)
    for page in ("decisions", "replay"):
        text = (REFERENCE / f"{page}.md").read_text(encoding="utf-8")
        lines = re.findall(r"^    weighbridge (.*)$", text, re.MULTILINE)
        assert lines
        for line in lines:
            words = [model if word == "MODEL" else word for word in shlex.split(line)]
            assert call(*words)[0] in (0, 1), line
    for came in ("identical", "same", "changed", "tampered", "cannot-tell"):
        assert f"| `{came}` |" in text


def test_the_vectors_of_the_chain():
    text = (REFERENCE / "decision.md").read_text(encoding="utf-8").split("## Vectors")[1]
    cells = re.findall(r"\| `(.*?)`", text)
    first, first_id, second, second_id = cells[:4]
    assert str(Digest.of(first.encode())) == first_id
    assert json.loads(second)["previous"] == first_id
    assert str(Digest.of(second.encode())) == second_id
