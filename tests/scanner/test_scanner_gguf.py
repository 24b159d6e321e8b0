"""The rules on GGUF: honest models pass in both byte orders, each lie of the tables is broken, templates are judged."""

import struct
import sys
from pathlib import Path

import pytest

from weighbridge.core.finding import Verdict
from weighbridge.scanner import gguf_rules
from weighbridge.scanner.engine import scan_one
from weighbridge.scanner.file import from_bytes

sys.path.insert(0, str(Path(__file__).parent.parent / "fuzz"))
from seeds_graphs import gguf, gguf_seeds, text

GOOD = gguf()


def found(data, name="m.gguf"):
    part = scan_one(from_bytes(name, data, "unknown"))
    return {(finding.rule, finding.verdict) for finding in part.findings}


def subjects(data):
    return [finding.subject for finding in gguf_rules.examine(from_bytes("m.gguf", data, "gguf"))]


@pytest.mark.parametrize("data", gguf_seeds())
def test_honest_models_pass(data):
    assert found(data) == set()


def test_the_last_tensor_may_end_without_padding():
    assert found(gguf((), ((b"w", (3,), 0, bytes(12)),))[:-20]) == set()


def test_version_one_has_short_counts():
    name = struct.pack("<I", 1) + b"w"
    head = b"GGUF" + struct.pack("<III", 1, 1, 0) + name + struct.pack("<IIIQ", 1, 8, 0, 0)
    assert found(head + bytes(-len(head) % 32) + bytes(32)) == set()


def broken(check, data):
    return pytest.param(check, data, id=check + str(len(data)))


def two(offset, first=bytes(32), second=bytes(32), name=b"b"):
    """Two tensors, the second at `offset`."""
    good = gguf((), ((b"a", (8,), 0, first), (name, (8,), 0, second)))
    place = good.rindex(text(name) + struct.pack("<I", 1)) + 8 + 1 + 4 + 8 + 4
    return good[:place] + struct.pack("<Q", offset) + good[place + 8 :]


CASES = [
    broken("gguf.trailing", GOOD + b"x"),
    broken("gguf.trailing", GOOD + bytes(32)),
    broken("gguf.truncated", GOOD[:-1]),
    broken("gguf.truncated", GOOD[:20]),
    broken("gguf.version", GOOD[:4] + b"\x09" + GOOD[5:]),
    broken("gguf.counts", GOOD[:8] + b"\xff" * 8 + GOOD[16:]),
    broken("gguf.counts", GOOD[:16] + b"\xff" * 8 + GOOD[24:]),
    broken("gguf.overlap", two(0)),
    broken("gguf.hole", two(64)),
    broken("gguf.alignment", two(33)),
    broken("gguf.duplicate", two(32, name=b"a")),
    broken("gguf.duplicate", gguf((("k", 7, b"\1"), ("k", 7, b"\1")))),
    broken("gguf.bool", gguf((("k", 7, b"\2"),))),
    broken("gguf.bool", gguf((("k", 9, struct.pack("<IQ", 7, 2) + b"\1\2"),))),
    broken("gguf.type", gguf((("k", 77, b"\2"),))),
    broken("gguf.type", gguf((("k", 9, struct.pack("<IQ", 77, 0)),))),
    broken("gguf.truncated", gguf((("k", 9, struct.pack("<IQ", 10, 1 << 62)),))),
    broken("gguf.truncated", gguf((("k", 9, struct.pack("<IQ", 8, 1 << 62)),))),
    broken("gguf.nesting", gguf((("k", 9, struct.pack("<IQ", 9, 1) * 40),))),
    broken("gguf.alignment", gguf((("general.alignment", 4, struct.pack("<I", 24)),))),
    broken("gguf.alignment", gguf((("general.alignment", 4, struct.pack("<I", 0)),))),
    broken("gguf.shape", gguf((), ((b"w", (33, 1), 2, bytes(18)),))),
    broken("gguf.shape", gguf((), ((b"w", (1 << 62, 4), 0, bytes(32)),))),
    broken("gguf.shape", gguf((), ((b"w", (1,) * 5, 0, bytes(4)),))),
    broken("gguf.padding", GOOD[:-33] + b"\1" + GOOD[-32:]),
    broken("gguf.name", gguf(((b"\xff", 7, b"\1"),))),
    broken("gguf.trailing", gguf((), ()) + b"x" * 64),
]


@pytest.mark.parametrize(("check", "data"), CASES)
def test_a_lie_is_broken(check, data):
    assert subjects(data) == [check]
    assert ("gguf-broken", Verdict.BROKEN) in found(data)


def test_zero_bytes_between_tensors_only():
    data = gguf((), ((b"a", (3,), 0, bytes(12)), (b"b", (8,), 0, bytes(32))))
    assert subjects(data) == []
    assert subjects(data[:-33] + b"\1" + data[-32:]) == ["gguf.padding"]


def test_an_unknown_type_is_unread():
    assert found(gguf((), ((b"w", (8,), 99, bytes(32)),))) == {("gguf-unread", Verdict.UNREAD)}


EVIL = "{{ ''.__class__.__mro__[1].__subclasses__() }}"


@pytest.mark.parametrize(
    "key", ["tokenizer.chat_template", "tokenizer.chat_template.tool_use", "general.description"]
)
def test_templates_are_judged(key):
    assert ("template-code", Verdict.DANGEROUS) in found(gguf(((key, 8, text(EVIL)),)))


def test_a_list_of_templates_is_judged():
    value = struct.pack("<IQ", 8, 1) + text(EVIL)
    assert ("template-code", Verdict.DANGEROUS) in found(gguf((("tokenizer.chat_template.all", 9, value),)))


def test_a_template_must_be_text():
    assert subjects(gguf((("tokenizer.chat_template", 8, text(b"{{ \xff }}")),))) == [
        "gguf.text tokenizer.chat_template"
    ]


def test_a_list_of_template_names_is_no_template():
    value = struct.pack("<IQ", 8, 1) + text("tool_use")
    assert found(gguf((("tokenizer.chat_templates", 9, value),))) == set()


def split(number, count, tensors=1):
    pairs = (("split.no", 2, struct.pack("<H", number)), ("split.count", 2, struct.pack("<H", count)),
             ("split.tensors.count", 5, struct.pack("<i", tensors)))  # fmt: skip
    return gguf(pairs)


def test_parts_must_count_sanely():
    assert found(split(0, 2)) == set()
    assert subjects(split(2, 2)) == ["gguf.split"]
    assert subjects(split(0, 2, 0)) == ["gguf.split"]


def test_missing_parts_are_noted():
    from dataclasses import replace

    one = replace(
        from_bytes("m-00001-of-00002.gguf", split(0, 2), "gguf"),
        siblings=frozenset({"m-00001-of-00002.gguf"}),
    )
    assert [finding.rule for finding in gguf_rules.examine(one)] == ["gguf-shards"]
    both = replace(one, siblings=one.siblings | {"m-00002-of-00002.gguf"})
    assert list(gguf_rules.examine(both)) == []
