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
        ("oci://host/models/name", Reference("oci", "host/models/name")),
        ("oci://127.0.0.1:5000/name:v1", Reference("oci", "127.0.0.1:5000/name", "v1")),
        ("oci://host/a/b@sha256:" + HEX * 4, Reference("oci", "host/a/b", "sha256:" + HEX * 4)),
        ("s3://bucket", Reference("s3", "bucket")),
        ("s3://bucket/", Reference("s3", "bucket")),
        ("s3://bucket/models/name/", Reference("s3", "bucket/models/name")),
        ("gs://bucket/a b".replace(" ", "_"), Reference("gs", "bucket/a_b")),
        (
            "az://container/x?versionId=2026-01-01T00:00:00.1Z",
            Reference("az", "container/x", "2026-01-01T00:00:00.1Z"),
        ),
        ("s3://bucket/x#sha256=" + HEX * 4, Reference("s3", "bucket/x", "sha256=" + HEX * 4)),
        (
            "https://h.example/a/b.safetensors#sha256=" + HEX * 4,
            Reference("https", "https://h.example/a/b.safetensors", "sha256=" + HEX * 4),
        ),
        (
            "https://h.example/a?sig=1#sha256=" + HEX * 4,
            Reference("https", "https://h.example/a?sig=1", "sha256=" + HEX * 4),
        ),
        ("models:/name/3", Reference("models", "name", "3")),
        ("models:/my model@champion", Reference("models", "my model", "@champion")),
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
        "s3://",
        "s3://b",
        "s3://bucket/../key",
        "s3://bucket//key",
        "s3://bucket/key?versionId=",
        "s3://bucket/key?other=1",
        "s3://user:secret@bucket/key",
        "s3://bucket/key#sha256=" + HEX,
        "oci://registry",
        "oci://registry/Name",
        "oci://registry/name:",
        "oci://registry/name@sha256:" + HEX,
        "oci://registry/name@sha512:" + HEX * 8,
        "oci://user@registry/name",
        "oci://registry/../name",
        "https://example.com/file#sha256=" + HEX,
        "https://example.com/file#sha256=" + HEX.upper() * 4,
        "https://example.com/#sha256=" + HEX * 4,
        "https://user:secret@example.com/file#sha256=" + HEX * 4,
        "https://[::1/file#sha256=" + HEX * 4,
        "models:/name",
        "models:/name/Production",
        "models:/name@",
        "models:/name/3/4",
        "models:name/3",
        "models:/../3",
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


TYPED = st.text(max_size=40) | st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["oci://h/", "s3://bkt/", "az://bkt/", "https://h/", "models:/", "hf://"]),
        st.text("ab0/._-:@ ", max_size=12),
        st.sampled_from(["", ":t", "@a", "/3", "?versionId=v", "#sha256=" + HEX * 4, "@sha256:" + HEX * 4]),
    ),
)


@given(TYPED)
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
