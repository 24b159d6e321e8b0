"""Pictures: readable, complete in themselves, and nothing that a label could turn into anything else."""

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Grade, Parentage, Relation
from weighbridge.gate.layers import arrange
from weighbridge.gate.lineage import Hit, Lineage, Node
from weighbridge.gate.pictures import LIMIT, LINES, STANDINGS, picture
from weighbridge.registry.deployments import Deployment

SVG = "{http://www.w3.org/2000/svg}"
TIME = "2026-11-22T20:10:00Z"


def model(word):
    return Digest("wb1", Digest.of(word.encode()).hex)


def weights(word):
    return Digest("wbw1", Digest.of(word.encode()).hex)


def node(digest, label="", **changes):
    row = {"tier": "trusted", "status": "active", "revoked": ""} | changes
    return Node(digest, label, (), row.pop("tier"), row.pop("status"), row.pop("revoked"), **row)


def bare(digest, kind):
    return node(digest, tier="", status="", kind=kind)


def family(number, *, label="model {}", wide=False):
    """A base and what was tuned from it in generations of growing size; every third is under an advisory."""
    nodes = [node(model("0"), label.format(0), revoked="poisoned"), bare(weights("0"), "weights")]
    edges = [Parentage(weights("0"), model("0"), Relation.PACKAGING, Grade.OBSERVED)]
    for at in range(1, number):
        parent = 0 if wide else (at - 1) // 3
        advised = ("adv-0123456789abcdef",) if at % 3 == 0 else ()
        nodes += [
            node(model(str(at)), label.format(at), advisories=advised),
            bare(weights(str(at)), "weights"),
        ]
        edges.append(Parentage(weights(str(at)), model(str(at)), Relation.PACKAGING, Grade.OBSERVED))
        grade = list(Grade)[at % 3]
        edges.append(Parentage(weights(str(parent)), weights(str(at)), Relation.FINE_TUNE, grade, "sha256:x"))
    return Lineage(model("0"), tuple(nodes), tuple(sorted(edges)), ())


def drawn(lineage, title="A family"):
    text = picture(lineage, title=title)
    return text, ET.fromstring(text)


def boxes(root):
    return [
        group
        for group in root.iter(f"{SVG}g")
        if group.get("class") in STANDINGS and group.find(f"{SVG}title") is not None
    ]


def test_a_small_family_shows_each_by_name_digest_word_and_sign():
    text, root = drawn(family(8))
    assert len(boxes(root)) == 8
    told = " ".join(root.itertext())
    for at in range(8):
        assert f"model {at}" in told
        assert model(str(at)).short in told
    for word in (
        "✗ revoked",
        "✗ under advisory",
        "✓ trusted",
        "attested: signed",
        "observed: seen",
        "declared: somebody",
    ):
        assert word in told
    assert told.count("fine-tune") >= 7
    assert "prefers-color-scheme:dark" in text


def test_each_grade_is_a_line_of_its_own_style():
    _, root = drawn(family(8))
    styles = {path.get("class") for path in root.iter(f"{SVG}path") if path.get("class", "").startswith("l ")}
    assert styles == {"l attested", "l observed", "l declared"}
    style = root.find(f"{SVG}style").text
    dashes = {
        grade: re.search(rf"path\.{grade}\{{(stroke-dasharray:[0-9 ]+)", style)
        for grade in ("observed", "declared")
    }
    assert dashes["observed"][1] != dashes["declared"][1]


def test_what_runs_is_said():
    made = family(3)
    hit = Hit(Deployment("prod/chat", model("1"), TIME, TIME), model("0"), ())
    _, root = drawn(Lineage(made.root, made.nodes, made.edges, (hit,)))
    assert "runs at prod/chat" in " ".join(root.itertext())


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("number", [LIMIT + 1, 1000, 4000])
def test_a_large_family_is_collapsed_and_nobody_is_lost(number, wide):
    text, root = drawn(family(number, wide=wide))
    assert len(boxes(root)) <= LIMIT
    assert len(text) < 400_000
    lines = [
        path
        for path in root.iter(f"{SVG}path")
        if path.get("marker-end") and path.find(f"{SVG}title") is not None
    ]
    assert len(lines) <= LINES
    shown = 0
    for box in boxes(root):
        name = box.find(f".//{SVG}text[@class='n']").text
        found = re.fullmatch(r"([\d,]+) models", name)
        shown += int(found[1].replace(",", "")) if found else 1
    assert shown == number
    assert f"{number:,} things" in " ".join(root.itertext())


HOSTILE = [
    "<script>alert(1)</script>", "]]><svg onload=x>", "'\"><img src=x onerror=y>", "&lt;b&gt;", "\x00\x1b[31m\ufffe",
    "\u202egnp.exe", "a" * 5000, "模" * 500, "z" + "\u0301" * 400, "{ink}{0}%s", "url(http://example.test/x)", "\ud7ff\ue000",
]  # fmt: skip


@pytest.mark.parametrize("label", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_label_stays_a_label(label):
    text, root = drawn(family(4, label=label.replace("{", "{{").replace("}", "}}")), title=label)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        "svg", "title", "desc", "style", "defs", "clipPath", "rect", "marker", "path", "text", "g",
    }  # fmt: skip
    assert not [
        name for element in root.iter() for name in element.attrib if name.startswith("on") or "href" in name
    ]
    assert "\u202e" not in text
    assert len(text) < 60_000
    assert max(len(element.text or "") for element in root.iter(f"{SVG}text")) < 300


@given(st.text())
@settings(max_examples=50)
def test_any_label_gives_well_formed_xml(label):
    drawn(Lineage(model("0"), (node(model("0"), label),), (), ()), title=label)


def test_an_empty_lineage_and_a_cycle_are_drawn():
    drawn(Lineage(model("0"), (), (), ()))
    circle = [
        Parentage(model(a), model(b), Relation.MERGE, Grade.DECLARED, "x") for a, b in ("01", "12", "20")
    ]
    _, root = drawn(Lineage(model("0"), tuple(node(model(at), at) for at in "012"), tuple(circle), ()))
    assert len(boxes(root)) == 3


pairs = st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=40)


@given(pairs)
def test_nothing_stands_on_top_of_another_and_lines_run_forward(found):
    keys = [str(at) for at in range(15)]
    lines = [(str(a), str(b)) for a, b in found]
    placed = arrange(keys, lines, height=lambda _: 50.0, gap=10.0, lane=5.0)
    columns = {}
    for place in placed.boxes.values():
        columns.setdefault(place.column, []).append(place.y)
        assert place.y + 1e-6 >= 25
        assert place.y + 25 <= placed.height + 1e-6
    for middles in columns.values():
        middles.sort()
        assert all(b - a >= 60 - 1e-6 for a, b in pairwise(middles))
    assert set(placed.lines) == {(a, b) for a, b in lines if a != b}
    for (start, end), way in placed.lines.items():
        assert (way[0], way[-1]) == (placed.boxes[start], placed.boxes[end])
        assert len({place.column for place in way}) == len(way)
    assert arrange(keys, lines, height=lambda _: 50.0, gap=10.0, lane=5.0) == placed
