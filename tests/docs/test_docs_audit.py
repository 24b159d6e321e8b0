"""The pages on audits and crosswalks: every measure, list and field stands there, and the documents fit their schemas."""

import json
import re
import zipfile
from pathlib import Path

import jsonschema
import pytest

from weighbridge.core.envelope import envelope
from weighbridge.gate.audit import audit
from weighbridge.gate.framework import _task, evidence_for, frameworks, read
from weighbridge.gate.pack import Wanted, make_pack
from weighbridge.gate.pack_lists import LISTS
from weighbridge.registry import deployments
from weighbridge.registry.outbox import submit
from world import World

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "reference" / "audit.md").read_text(encoding="utf-8")
CROSSWALKS = (DOCS / "crosswalks.md").read_text(encoding="utf-8")


def closed(value):
    """Close every object, so that what is written and not described fails."""
    if isinstance(value, dict):
        value = {key: closed(item) for key, item in value.items()}
        if "properties" in value:
            value.setdefault("additionalProperties", False)
    return [closed(item) for item in value] if isinstance(value, list) else value


def accepts(name, document):
    path = DOCS / "reference" / "schemas" / f"{name}.schema.json"
    jsonschema.Draft202012Validator(closed(json.loads(path.read_text()))).validate(document)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    folder = world.ready()
    assert world.promote(folder).decision.allow
    assert world.admit(folder, target="prod/x").decision.allow
    other = world.ready("other", seed=2.0)
    with world.registry.writing():
        submit(world.registry, deployments.deploy(world.registry, world.manifest(other).digest, "prod/y"))
    found = audit(world.registry)
    documents = {"audit.json": found.to_json()}
    pack = make_pack(world.registry, world.folder / "pack.zip", Wanted(documents=documents))
    yield found, pack
    world.registry.close()


def test_every_measure_stands_on_the_page_with_its_risk(made):
    table = PAGE.split("| risk | measure | essential |")[1].split("\n\n")[0]
    rows, risk = [], ""
    for line in table.splitlines()[2:]:
        first, name, essential = (cell.strip() for cell in line.strip("|").split("|"))
        risk = first or risk
        rows.append((risk, name.strip("`"), essential == "yes"))
    assert rows == [(r.id, m.id, m.essential) for r in made[0].risks for m in r.measures]


def test_every_list_stands_on_the_page_with_its_fields(made):
    table = PAGE.split("| list | a row | further fields |")[1].split("\n\n")[0]
    rows = {}
    for line in table.splitlines()[2:]:
        name, _, fields = (cell.strip() for cell in line.strip("|").split("|"))
        rows[name.strip("`")] = set(re.findall(r"`([a-z_]+)`", fields))
    assert tuple(rows) == LISTS
    everywhere = {"log", "index", "time", "bundle", "signer"}
    with zipfile.ZipFile(made[1].path) as archive:
        for name in LISTS:
            for line in archive.read(f"lists/{name}.jsonl").splitlines():
                wanted = rows["running"] if name == "against-decisions" else rows[name]
                assert set(json.loads(line)) - everywhere <= wanted, name


def test_every_member_stands_on_the_page(made):
    table = PAGE.split("| member | holds | who stands behind it |")[1].split("\n\n")[0]
    named = re.findall(r"`([^`]+)`", " ".join(line.split("|")[1] for line in table.splitlines()[2:]))
    patterns = [
        re.escape(name).replace("N", r"\d+", 1) if name.startswith("log/N") else re.escape(name)
        for name in named
    ]
    patterns = [row.replace("NAME", "[a-z-]+") + (".*" if row.endswith("/") else "") for row in patterns]
    with zipfile.ZipFile(made[1].path) as archive:
        for name in archive.namelist():
            assert any(re.fullmatch(row, name) for row in patterns), name


def test_the_documents_fit_their_schemas(made):
    found, pack = made
    accepts("audit", json.loads(json.dumps(envelope("audit", [found.to_json()]))))
    accepts("pack", json.loads(json.dumps(envelope("pack", [pack.to_json()]))))
    for name in frameworks():
        accepts("crosswalk", read(name))
        accepts("framework", json.loads(json.dumps(envelope("framework", [evidence_for(name, found)]))))
    with zipfile.ZipFile(pack.path) as archive:
        accepts("audit-pack", json.loads(archive.read("index.json")))


def test_the_example_of_a_crosswalk_is_one(made):
    (block,) = re.findall(r"```json\n(.*?)```", CROSSWALKS, re.DOTALL)
    example = json.loads(block)
    accepts("crosswalk", example)
    assert [_task(row, made[0])["held"] for row in example["tasks"]] == [2]


def test_every_crosswalk_stands_on_its_page():
    for name in frameworks():
        (row,) = [line for line in CROSSWALKS.splitlines() if line.startswith(f"| `{name}` |")]
        assert f"| {len(read(name)['tasks'])} |" in row
        for word in read(name)["checked"]:
            assert f"- `{word}`: " in CROSSWALKS
