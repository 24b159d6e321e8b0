"""The page on bills of materials names the places, profiles, checks and files that there are."""

import re
from pathlib import Path

from bom_models import FILES, made

from weighbridge.bom.completeness import profiles
from weighbridge.bom.sourced import sources_of
from weighbridge.core.lineage import Grade

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "bom.md").read_text()
SOURCES = "".join(path.read_text() for path in (ROOT / "src" / "weighbridge" / "bom").glob("*.py"))


def test_checks_on_the_page_are_those_of_the_code():
    named = set(re.findall(r"^\| `(bom\.[a-z]+)` \|", PAGE, re.MULTILINE))
    assert named == set(re.findall(r'check="(bom\.[a-z]+)"', SOURCES))


def test_profiles_and_grades_on_the_page_are_those_there_are():
    assert set(re.findall(r"^\| `([a-z0-9]+-[0-9]+)` \|", PAGE, re.MULTILINE)) == set(profiles())
    assert set(re.findall(r"^\| `(attested|observed|declared)` \|", PAGE, re.MULTILINE)) == {
        g.value for g in Grade
    }


def test_the_example_is_what_a_document_says():
    assert (
        '{"name": "weighbridge:source:/metadata/component/licenses", "value": "declared README.md#/license"}'
        in PAGE
    )
    assert str(sources_of(made())["/metadata/component/licenses"]) == "declared README.md#/license"


def test_files_that_the_page_says_are_read_are_read():
    told = PAGE.split("Read are")[1].split("Budgets")[0]
    named = set(re.findall(r"`([\w*.]+\.(?:json|md|yml|txt|lock|toml|bin))`", told)) - {"pdm.lock", "poetry.lock", "Pipfile.lock"}  # fmt: skip
    concrete = {name.replace("*", "") for name in named} - {"pylock..toml"}
    assert concrete <= set(FILES), "the model of these tests holds each of them"
    places = {
        place
        for source in sources_of(made(spec="1.7")).values()
        for place in [source.place.partition("#")[0]]
    }
    assert concrete - {"tokenizer.json"} <= places | {"training_args.bin"}
