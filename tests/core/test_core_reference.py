"""What people type for a model, and what they are told when it is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.errors import BadReference
from weighbridge.core.reference import Reference, is_name, parse_reference

HEX = "0123456789abcdef"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("hf://org/name", Reference("hf", "org/name")),
        ("hf://org/name@v1.0", Reference("hf", "org/name", "v1.0")),
        ("hf:org/name@refs/pr/1", Reference("hf", "org/name", "refs/pr/1")),
        ("hf:gpt2", Reference("hf", "gpt2")),
        ("https://huggingface.co/org/name", Reference("hf", "org/name")),
        ("https://huggingface.co/org/name/", Reference("hf", "org/name")),
        ("https://www.huggingface.co/org/name?library=x#files", Reference("hf", "org/name")),
        ("https://hf.co/org/name/tree/dev", Reference("hf", "org/name", "dev")),
        ("https://huggingface.co/org/name/blob/abc/config.json", Reference("hf", "org/name", "abc")),
        ("./dir", Reference("path", "./dir")),
        ("../dir", Reference("path", "../dir")),
        ("/abs/file.pt", Reference("path", "/abs/file.pt")),
        ("~/x", Reference("path", "~/x")),
        (".", Reference("path", ".")),
        ("dir/", Reference("path", "dir/")),
        ("file:///a/b", Reference("path", "/a/b")),
        ("wb1:" + HEX[:12], Reference("digest", "wb1:" + HEX[:12])),
        ("wb1:" + HEX * 4, Reference("digest", "wb1:" + HEX * 4)),
        ("sentiment", Reference("name", "sentiment")),
        ("a", Reference("name", "a")),
        ("bert-base_v1.2", Reference("name", "bert-base_v1.2")),
    ],
)
def test_what_is_understood(typed, expected):
    assert parse_reference(typed) == expected


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        "hf:",
        "hf://",
        "hf://org/name/more",
        "hf://org/name@",
        "hf://../name",
        "hf://org/..",
        "hf://org/a..b",
        "hf://-org/name",
        "hf://org/name@../main",
        "hf://org/name@-x",
        "hf://org/name@a b",
        "hf://org/na me",
        "hf://org/name\n",
        "hf://" + "o" * 97 + "/name",
        "https://huggingface.co/",
        "https://huggingface.co/org/name/tree/../..",
        "https://example.com/org/name",
        "https://example.com/org/name/",
        "wb1:",
        "wb1:" + HEX[:11],
        "wb1:" + HEX * 4 + "0",
        "wb1:" + HEX.upper()[:12],
        "wb1:xyz",
        "sha256:" + HEX * 4,
        "Name",
        "-name",
        "name-",
        "n" * 65,
        "org/name",
        "na me",
        "na\nme",
        "caf\u00e9",
        "s3://bucket/key",
        "oci://registry/name",
        "models:/name/3",
    ],
)
def test_what_is_not_understood_says_what_would_be(typed):
    with pytest.raises(BadReference) as caught:
        parse_reference(typed)
    assert caught.value.remedy
    assert caught.value.exit_code == 2


def test_a_bare_repository_gets_the_suggestion_to_type():
    with pytest.raises(BadReference) as caught:
        parse_reference("org/name")
    assert "hf://org/name" in caught.value.remedy


@given(st.text(max_size=40))
def test_any_text_is_a_reference_that_reads_back_or_a_refusal(text):
    try:
        reference = parse_reference(text)
    except BadReference:
        return
    if reference.scheme != "path" or reference.target == text:
        assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "answer"),
    [("a", True), ("a-b", True), ("", False), ("A", False), ("a/b", False), ("a\n", False), ("-a", False)],
)
def test_names(text, answer):
    assert is_name(text) is answer
