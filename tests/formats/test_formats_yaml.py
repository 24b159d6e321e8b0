"""YAML is read as nodes within budgets; nothing it says is ever built."""

import pytest

from weighbridge.core.errors import OutOfBudget, Refused
from weighbridge.formats.yaml_text import MAX_DEPTH, MAX_EVENTS, MAX_TEXT, documents, nodes


def pairs(text):
    return [
        (key, node.value)
        for document in documents(text)
        for key, node, _ in nodes(document)
        if isinstance(node.value, str) and key
    ]


def test_values_come_with_their_keys_from_every_document():
    assert sorted(pairs("a: 1\nb: {c: [2, {e: x}]}\n---\nd: !!python/name:os.system ''\n")) == [
        ("a", "1"), ("d", ""), ("e", "x"),
    ]  # fmt: skip


def test_an_alias_is_one_node_under_each_of_its_keys():
    assert sorted(pairs("a: &x v\nb: *x\nc: *x\n")) == [("a", "v"), ("b", "v"), ("c", "v")]


def test_keys_that_stand_beside_a_value_are_told():
    (document,) = documents("target: a.b\nparams: {}\n")
    assert {key: siblings for key, _, siblings in nodes(document) if key}["target"] == {"target", "params"}


def test_a_bomb_of_aliases_costs_what_its_text_costs():
    rows = [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 200)]
    (document,) = documents("a0: &a0 [x, x]\n" + "\n".join(rows))
    count = sum(1 for _ in nodes(document))
    assert count < 2000


@pytest.mark.parametrize(
    "text", ["a: [", "a: b: c", "\ta: 1", "a: &x 1\nb: *y", "'", "%YAML 9.9\n---\na", "a: \x00"]
)
def test_what_is_no_yaml_is_refused(text):
    with pytest.raises(Refused) as caught:
        list(documents(text))
    assert caught.value.check == "yaml.syntax"


@pytest.mark.parametrize(
    "text",
    [
        "[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2),
        "[" * 100_000,
        "\n".join(" " * i + "a:" for i in range(MAX_DEPTH + 2)),
        "- " * 5_000,
        "[" + "a," * MAX_EVENTS + "]",
        "x" * (MAX_TEXT + 1),
    ],
)
def test_too_much_ends(text):
    with pytest.raises(OutOfBudget) as caught:
        list(documents(text))
    assert caught.value.check == "yaml.budget"
