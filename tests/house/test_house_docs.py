"""What is documented exists, and what exists is documented: words, rules, verbs, errors, dependencies."""

import importlib
import inspect
import re
import subprocess
import sys
import tomllib

import pytest
from house_tree import ROOT
from packaging.requirements import Requirement

from weighbridge.cli.main import COMMANDS
from weighbridge.core import errors
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.finding import Verdict
from weighbridge.scanner import RULES

DOCS = ROOT / "docs"
WORDS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (DOCS / "glossary.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| word ")
]


def text(name):
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(("word", "place"), [(row[0], row[-1].strip("`")) for row in WORDS])
def test_a_word_lives_where_the_glossary_says(word, place):
    module, *names = place.rsplit(".", 2 if place.count(".") == 3 else 1)
    thing = importlib.import_module(f"weighbridge.{module}")
    for name in names:
        thing = getattr(thing, name)
    assert thing is not None, word


def test_the_glossary_is_a_table_of_four_columns_in_which_no_word_stands_twice():
    assert len(WORDS) > 30
    assert {len(row) for row in WORDS} == {4}
    words = [row[0] for row in WORDS]
    assert len(set(words)) == len(words)


def test_each_rule_has_its_page_and_each_page_its_rule():
    pages = {path.stem for path in (DOCS / "rules").glob("*.md")} - {"README"}
    assert pages == set(RULES)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_rules_page_explains(rule):
    page = text(f"rules/{rule}.md")
    assert page.startswith(f"# {rule}\n"), "the title is the rule's id"
    assert len(page.split()) >= 60, "too short to explain anything"


def test_each_verb_is_in_the_reference():
    page = text("reference/cli.md")
    assert re.findall(r"^## `weighbridge ([a-z-]+)`$", page, re.MULTILINE) == sorted({*COMMANDS, "help"})


def test_the_reference_says_what_the_help_says():
    """In a process of its own: commands remember how the first context they met spells its help option."""
    command = [sys.executable, str(ROOT / "tools" / "cli_reference.py"), "--check"]
    assert subprocess.run(command, check=False).returncode == 0, "write it again: make fmt"


def kinds():
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, WeighbridgeError)]
    return {c.kind: c.exit_code for c in classes}


def test_exit_codes_of_errors_are_as_documented():
    rows = re.findall(r"^\| (`[^|]+`) \| ([0-4]) \|$", text("reference/exit-codes.md"), re.MULTILINE)
    said = {kind: int(code) for cell, code in rows for kind in re.findall(r"`([^`]+)`", cell)}
    assert said == kinds()


def test_exit_codes_of_verdicts_are_as_documented():
    table = text("reference/exit-codes.md").split("When several", maxsplit=1)[0]
    rows = {int(code): line for code, line in re.findall(r"^\| ([0-4]) \|(.*)$", table, re.MULTILINE)}
    assert set(rows) == {0, 1, 2, 3, 4}
    for verdict in Verdict:
        assert verdict.value in rows[verdict.exit_code], verdict
        assert [code for code, line in rows.items() if re.search(rf"\b{verdict.value}\b", line)] == [
            verdict.exit_code
        ]


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def declared():
    extras = project()["optional-dependencies"].values()
    lines = [*project()["dependencies"], *(line for extra in extras for line in extra)]
    for path in sorted((ROOT / "requirements").glob("*.in")):
        lines += [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return {Requirement(line).name.lower().replace("_", "-") for line in lines if line}


def test_each_dependency_has_its_reason():
    record = text("adr/0002-dependencies.md")
    reasons = {name.lower().replace("_", "-") for name in re.findall(r"\*\*([\w.-]+)\*\*", record)}
    assert reasons == declared() | {"torch"}


@pytest.mark.parametrize("path", sorted((DOCS / "adr").glob("0*.md")), ids=lambda path: path.stem)
def test_a_record_says_what_it_costs(path):
    record = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", record, re.MULTILINE)
    assert headings[0].startswith(f"{path.stem[:4]} · ")
    assert "Context" in headings
    assert any(heading.startswith("Decision") for heading in headings)
    cost = record.split("### Negative consequences")[-1]
    assert cost != record, "what does it cost?"
    assert len(cost.split()) >= 15
    assert f"]({path.name})" in text("adr/README.md")


def test_fragments_are_named_as_they_are_collected():
    types = {
        row["directory"]
        for row in tomllib.loads((ROOT / "towncrier.toml").read_text())["tool"]["towncrier"]["type"]
    }
    names = [path.name for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md"]
    wrong = [
        name for name in names if not re.fullmatch(rf"[a-z0-9-]+\.({'|'.join(sorted(types))})\.md", name)
    ]
    assert wrong == []
