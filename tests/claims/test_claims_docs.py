"""The page on claims: its examples are read, its tables are those of the code."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from weighbridge.claims import slsa, words
from weighbridge.claims.chain import CHECKS
from weighbridge.claims.predicates import read_claim, stage_of
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.statement import Statement
from weighbridge.policy.settings import read_settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "claims.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### Build type ([\w-]+)\n(.*?)(?=^#{2,3} )", PAGE, re.MULTILINE | re.DOTALL))


def example(name):
    (block,) = re.findall(r"^```json\n(.*?)^```$", SECTIONS[name], re.MULTILINE | re.DOTALL)
    return json.loads(block)


def test_each_build_type_has_its_section():
    assert list(SECTIONS) == list(words.METHODS)
    for name, text in SECTIONS.items():
        assert f"`{words.build_type(name)}`" in text
        assert "- `externalParameters`: " in text
        assert "- `resolvedDependencies`: " in text


@pytest.mark.parametrize("name", words.METHODS)
def test_each_example_is_a_claim_of_its_type(name):
    statement = Statement.decode(json.dumps(example(name)).encode())
    method = words.METHODS[name]
    claim = read_claim(statement)
    assert claim is not None
    assert claim.stage is stage_of(statement) is method.stage
    named = {parent.relation for parent in claim.parents}
    assert (method.relation in named) if method.relation else not named
    assert named <= {method.relation, *method.beside}
    assert claim.detail["builder"]


@pytest.mark.parametrize("name", [name for name in words.METHODS if words.METHODS[name].relation])
def test_an_example_without_its_ancestors_is_refused(name):
    row = example(name)
    rows = row["predicate"]["buildDefinition"]["resolvedDependencies"]
    relation = words.METHODS[name].relation.value
    kept = [one for one in rows if one["annotations"].get(words.RELATION_NOTE) != relation]
    row["predicate"]["buildDefinition"]["resolvedDependencies"] = kept
    with pytest.raises(VerificationFailed):
        read_claim(Statement.decode(json.dumps(row).encode()))


def test_every_type_that_is_read_stands_on_the_page():
    for uri in (*words._STAGES, words.PROVENANCE, words.PROVENANCE_0_2, words.METRICS, words.ADMISSION):
        assert f"`{uri}`" in PAGE or f"`{uri.rpartition('/v0')[0]}" in PAGE, uri
    for word in (*words.MATERIALS, words.IDENTITY_NOTE, words.RELATION_NOTE, words.MATERIAL_NOTE):
        assert f"`{word}`" in PAGE


def test_every_check_of_the_walk_stands_on_the_page():
    rows = dict(re.findall(r"^\| `(chain\.[a-z-]+)` \| (.+) \|$", PAGE, re.MULTILINE))
    assert rows == CHECKS


def test_every_requirement_stands_on_the_page_with_its_level():
    rows = re.findall(r"^\| ([123]) \| \[([\w ]+)\]\(([^)]+)\) \|", PAGE, re.MULTILINE)
    assert {
        (int(level), title, link.removeprefix(f"{slsa.SPECIFICATION}#")) for level, title, link in rows
    } == {(level, title, name) for name, (level, title) in slsa._TITLES.items()}


def test_the_trusted_builders_of_the_page_are_settings():
    (block,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    trusted = slsa.read_trusted(read_settings(block)["builders"]["trusted"])
    assert [row.level for row in trusted] == [3, 2]
    assert tomllib.loads(block)["builders"]["trusted"][1]["hosted"] is True


def test_it_is_never_called_compliant():
    assert "complian" not in PAGE.lower()
