"""Addresses: what is told by its letters is what the parser behind the validator tells, and it is built only when needed."""

import importlib
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.bom.addresses import PARSER, is_address
from weighbridge.bom.schema import schema_problems


def theirs(text):
    return importlib.import_module(PARSER).is_valid_syntax("iri_reference", text)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("https://example.org/a/b?c=d&e=/?#f", True),
        ("http://example.org:8080", True),
        ("http://127.0.0.1:/x", True),
        ("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", True),
        ("pkg:huggingface/org/name@0123abc?repository_url=https%3A%2F%2Fhub.example", True),
        ("mailto:somebody@example.org", True),
        ("file:///tmp/a", True),
        ("../a", True),
        ("", True),
        ("https://例え.jp/é", True),
        ("http://a b", False),
        ("http://example.org/%zz", False),
        ("http://example.org:80a/", False),
        ("https://example.org/\n", False),
        ("a:b c", False),
        ("1a:b<", False),
        ("http://a/[", False),
        ("http://a#b#c", False),
    ],
)
def test_an_address_is_what_the_parser_says(text, right):
    assert is_address(text) is theirs(text) is right


LETTERS = st.sampled_from(
    list("aZ09") + list(":/?#[]@!$&'()*+,;=-._~%<>\"{}|\\^` \n") + ["%2f", "//", "é", "http://"]
)


@settings(max_examples=60)
@given(st.lists(LETTERS, max_size=8).map("".join))
def test_any_text_is_told_as_the_parser_tells_it(text):
    for whole in (text, f"x:{text}", f"http://h{text}"):
        assert is_address(whole) == theirs(whole), whole


def bom(address):
    component = {"type": "file", "name": "a", "externalReferences": [{"type": "website", "url": address}]}
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": [component]}


def test_a_document_with_a_wrong_address_is_refused():
    assert schema_problems(bom("https://example.org/a")) == []
    (problem,) = schema_problems(bom("http://example.org/%zz"))
    assert "externalReferences/0" in problem


CHECK = """
import sys
from test_bom_addresses import bom
from weighbridge.bom.schema import schema_problems
assert schema_problems(bom("https://example.org/a")) == []
assert "lark" not in sys.modules, "the parsers were built for a plain address"
assert schema_problems(bom("http://a b")) != []
import rfc3987_syntax, jsonschema
assert "lark" in sys.modules and hasattr(rfc3987_syntax, "parse")
checker = jsonschema.Draft7Validator.FORMAT_CHECKER
assert checker.conforms("http://a", "iri") and not checker.conforms("http://a b", "iri")
assert not checker.conforms("a", "iri")
"""


def test_the_parsers_are_built_when_they_are_first_needed(request):
    # In a process of its own: here everything is imported already.
    words = "import sys; sys.path.insert(0, sys.argv[1])\n" + CHECK.replace(
        "from test_bom_addresses import bom", "def bom(a):\n    return " + repr(bom("@")).replace("'@'", "a")
    )
    done = subprocess.run(
        [sys.executable, "-c", words, str(request.path.parent)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
