"""A lineage as a picture (SVG): columns from beginnings to ends, what stands where in words and colour, how sure each line is.

The file is complete in itself: no script, no font or style from elsewhere, nothing that a label could turn into
markup. It follows the reader's light or dark scheme. Weights and the one model that carries them are one box.
Beyond `LIMIT` boxes, what is alike stands together in one box with its number.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from xml.sax.saxutils import escape

from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Grade, Parentage, Relation
from weighbridge.gate.layers import Arrangement, Place, arrange
from weighbridge.gate.lineage import Lineage, Node

LIMIT = 150
"""Boxes in a picture."""
ALIKE = 4
"""How many of a kind it takes to stand together, where there are too many boxes."""
WIDTH, HEIGHT, ACROSS, DOWN, EDGE = 232, 62, 132, 16, 24
"""Of a box, and between boxes and around them, in pixels."""
LANE = 10
LINES = 300
"""Lines in a picture: beyond them the thinnest are left out, and the picture says how many."""
TOP, FOOT = 64, 168
MAX_LABELS = 120
"""Lines that carry their relation in words; in a fuller picture the words stand in each line's title only."""

STANDINGS = {
    "revoked": ("✗", "revoked"),
    "advised": ("✗", "under advisory"),
    "quarantined": ("!", "quarantined"),
    "trusted": ("✓", "trusted"),
    "intake": ("·", "in intake"),
    "dataset": ("▤", "dataset"),
    "name": ("?", "a name, no bytes"),
    "elsewhere": ("○", "not kept here"),
}
"""Each standing: a sign and a word; colour only repeats them."""
_WORST = list(STANDINGS)
EXPLAINED = (
    "Each line runs from what was there first to what came of it. The thick frame is what was asked about.",
    "Boxes behind a box: several that are alike; a line between such boxes looks like the surest in it.",
)
"""Lines short enough for the narrowest picture."""

PALETTES = {
    "light": {
        "paper": "#fbfaf7", "ink": "#1d1c1a", "faint": "#6d6a63", "rule": "#b9b3a5", "box": "#ffffff",
        "fail": "#a3211c", "failbg": "#fbeae8", "wait": "#855600", "waitbg": "#fdf3dc", "pass": "#1f6b3a", "passbg": "#e9f5ec",
    },
    "dark": {
        "paper": "#17181a", "ink": "#eceae4", "faint": "#a5a29a", "rule": "#6a6861", "box": "#202225",
        "fail": "#ff9a92", "failbg": "#3a1d1b", "wait": "#f2c46d", "waitbg": "#35290f", "pass": "#86d6a0", "passbg": "#16301f",
    },
}  # fmt: skip
"""Text on its ground has a contrast of 4.5 to 1 and more in both."""
SHAPES = (
    "text{font:13px system-ui,sans-serif}.t{font-size:17px;font-weight:600}.n{font-weight:600}"
    ".m{font:11px ui-monospace,monospace}.s{font-size:12px}"
    ".r{font-size:11px}.g{font-size:11px;stroke-width:4px;stroke-linejoin:round}"
    "rect.b{stroke-width:1.2}rect.root{stroke-width:2.6}.name rect.b,.elsewhere rect.b{stroke-dasharray:4 3}"
    "path.l{fill:none;stroke-width:1.5}path.attested{stroke-width:2}path.observed{stroke-dasharray:9 4}"
    "path.declared{stroke-dasharray:2 4}"
)
COLOURS = (
    ".paper{{fill:{paper}}}text{{fill:{ink}}}.m{{fill:{faint}}}.r{{fill:{faint}}}.g{{fill:{paper};stroke:{paper}}}"
    "rect.b{{fill:{box};stroke:{rule}}}rect.root{{stroke:{ink}}}path.l{{stroke:{ink}}}path.declared{{stroke:{faint}}}path.h{{fill:{ink}}}"
    ".revoked rect.b,.advised rect.b{{fill:{failbg};stroke:{fail}}}.revoked .s,.advised .s{{fill:{fail}}}"
    ".quarantined rect.b{{fill:{waitbg};stroke:{wait}}}.quarantined .s{{fill:{wait}}}"
    ".trusted rect.b{{fill:{passbg};stroke:{pass}}}.trusted .s{{fill:{pass}}}"
    ".name .s,.elsewhere .s,.intake .s,.dataset .s{{fill:{faint}}}"
)
STYLE = (
    f"{SHAPES}{COLOURS.format(**PALETTES['light'])}"
    f"@media (prefers-color-scheme:dark){{{COLOURS.format(**PALETTES['dark'])}}}"
)
DEFINITIONS = (
    f'<defs><clipPath id="c"><rect width="{WIDTH - 8}" height="{HEIGHT}" x="4"/></clipPath>'
    '<marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" '
    'markerUnits="userSpaceOnUse" orient="auto"><path class="h" d="M0 0 8 4 0 8Z"/></marker></defs>'
)


@dataclass(slots=True)
class Box:
    """What one box shows: one thing, or several that are alike."""

    key: str
    nodes: list[Node]
    standing: str
    runs: list[str] = field(default_factory=list)
    root: bool = False
    kept: bool = False
    """Whether it is to stand for itself, however many boxes there are."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line between two boxes; `number` edges of one relation and grade lie in it, or of several (`mixed`)."""

    start: str
    end: str
    relation: Relation
    grade: Grade
    number: int = 1
    mixed: bool = False

    @property
    def words(self) -> str:
        """Return the relation in words, and how many edges there are of it."""
        relation = f"{self.relation.value} and others" if self.mixed else self.relation.value
        return f"{relation} \u00d7{self.number:,}" if self.number > 1 else relation


def picture(lineage: Lineage, *, title: str) -> str:
    """Return the SVG of a lineage: its nodes, its edges, and what of it runs."""
    boxes, lines = _boxes(lineage)
    about = _about(boxes, lineage)
    across: list[Line] = []
    if len(boxes) > LIMIT:
        boxes, lines = _collapse(boxes, lines, _alike(boxes, lines))
    if len(boxes) > LIMIT:
        steps = _steps(boxes, lines)
        marks: dict[str, tuple[object, ...]] = {
            key: (steps.get(key, 0), box.standing, box.nodes[0].kind)
            for key, box in boxes.items()
            if not box.kept
        }
        boxes, lines = _collapse(boxes, lines, marks, 2)
        across = [line for line in lines if steps.get(line.end, 0) != steps.get(line.start, 0) + 1]
        lines = [line for line in lines if line not in set(across)]
    if len(lines) > LINES:
        lines = _merged(lines)
    thin = sorted(lines, key=lambda line: (boxes[line.start].kept and boxes[line.end].kept, line.number))
    left_out = [*across, *thin[: max(0, len(lines) - LINES)]]
    lines = [line for line in lines if line not in set(left_out)]
    if left_out:
        about += f"; {len(left_out):,} lines of {sum(line.number for line in left_out):,} edges are left out"
    placed = arrange(
        list(boxes),
        [(line.start, line.end) for line in lines],
        height=lambda key: HEIGHT + (12 if len(boxes[key].nodes) > 1 else 0),
        gap=DOWN,
        lane=LANE,
    )
    return _svg(boxes, lines, placed, title=title, about=about)


# ---------------------------------------------------------------- what is shown


def _boxes(lineage: Lineage) -> tuple[dict[str, Box], list[Line]]:
    """Return one box for each thing, a model and the weights that only it carries being one thing."""
    nodes = {node.digest: node for node in lineage.nodes}
    carried = _carried(lineage.edges)
    hits = [edge for hit in lineage.paths for edge in hit.path]
    kept = {lineage.root, *(edge.parent for edge in hits), *(edge.child for edge in hits)}
    runs: dict[Digest, list[str]] = {}
    for hit in lineage.paths[: LIMIT // 2]:
        runs.setdefault(hit.deployment.manifest, []).append(hit.deployment.target)
    boxes: dict[str, Box] = {}
    for digest in sorted(nodes, key=lambda digest: (carried.get(digest, digest), digest in carried, digest)):
        key = str(carried.get(digest, digest))
        box = boxes.setdefault(key, Box(key, [nodes[digest]], standing_of(nodes[digest])))
        box.standing = min(box.standing, standing_of(nodes[digest]), key=_WORST.index)
        box.runs += [target for target in runs.get(digest, ()) if target not in box.runs]
        box.root = box.root or digest == lineage.root
        box.kept = box.kept or box.root or (digest in kept and len(kept) < LIMIT // 2) or digest in runs
    edges = (
        (str(carried.get(edge.parent, edge.parent)), str(carried.get(edge.child, edge.child)), edge)
        for edge in lineage.edges
    )
    return boxes, _summed((a, b, edge.relation, edge.grade, 1) for a, b, edge in edges if a != b)


def standing_of(node: Node) -> str:
    """Return the one word for where a thing stands, the worst that holds; a key of STANDINGS."""
    if node.revoked or node.status == "revoked":
        return "revoked"
    if node.advisories:
        return "advised"
    if node.status == "quarantined":
        return "quarantined"
    if node.tier:
        return node.tier
    return {"alias": "name", "dataset": "dataset"}.get(node.kind, "elsewhere")


def _carried(edges: Iterable[Parentage]) -> dict[Digest, Digest]:
    """Return weights → model where these weights are in this model alone, and it has no other."""
    models: dict[Digest, set[Digest]] = {}
    weights: dict[Digest, set[Digest]] = {}
    for edge in edges:
        if edge.relation is Relation.PACKAGING:
            models.setdefault(edge.parent, set()).add(edge.child)
            weights.setdefault(edge.child, set()).add(edge.parent)
    return {
        w: next(iter(found))
        for w, found in models.items()
        if len(found) == 1 == len(weights[next(iter(found))])
    }


def _summed(rows: Iterable[tuple[str, str, Relation, Grade, int]]) -> list[Line]:
    found: dict[tuple[str, str, Relation, Grade], int] = {}
    for start, end, relation, grade, number in rows:
        key = (start, end, relation, grade)
        found[key] = found.get(key, 0) + number
    return [Line(*key, number) for key, number in sorted(found.items())]


def _merged(lines: Sequence[Line]) -> list[Line]:
    """Draw one line between two boxes, as sure as the surest edge in it, named after what most of them are."""
    pairs: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        pairs.setdefault((line.start, line.end), []).append(line)
    return [
        Line(
            start,
            end,
            max(there, key=lambda line: line.number).relation,
            min(there, key=lambda line: line.grade.rank).grade,
            sum(line.number for line in there),
            mixed=len({line.relation for line in there}) > 1,
        )
        for (start, end), there in pairs.items()
    ]


def _alike(boxes: Mapping[str, Box], lines: Sequence[Line]) -> dict[str, tuple[object, ...]]:
    """Give what ends here and has the same parents, by the same relations, and the same standing, one mark."""
    parents: dict[str, list[tuple[str, str, str]]] = {}
    for line in lines:
        parents.setdefault(line.end, []).append((line.start, line.relation.value, line.grade.value))
    busy = {line.start for line in lines}
    return {
        key: (tuple(sorted(parents.get(key, ()))), box.standing)
        for key, box in boxes.items()
        if not box.kept and key not in busy
    }


def _steps(boxes: Mapping[str, Box], lines: Sequence[Line]) -> dict[str, int]:
    """Return how many steps each box is from the root: below 0 for what the root came from."""
    root = next((key for key, box in boxes.items() if box.root), "")
    steps: dict[str, int] = {root: 0}
    for up in (True, False):
        follow: dict[str, list[str]] = {}
        for line in lines:
            here, there = (line.end, line.start) if up else (line.start, line.end)
            follow.setdefault(here, []).append(there)
        work, distance = [root], 0
        while work:
            distance += 1
            work = list(dict.fromkeys(n for key in work for n in follow.get(key, ()) if n not in steps))
            steps |= dict.fromkeys(work, -distance if up else distance)
    return steps


def _collapse(
    boxes: Mapping[str, Box],
    lines: Sequence[Line],
    marks: Mapping[str, tuple[object, ...]],
    alike: int = ALIKE,
) -> tuple[dict[str, Box], list[Line]]:
    """Put boxes with the same mark together."""
    members: dict[tuple[object, ...], list[str]] = {}
    for key, mark in marks.items():
        members.setdefault(mark, []).append(key)
    into = {key: keys[0] for keys in members.values() if len(keys) >= alike for key in keys}
    found: dict[str, Box] = {}
    for key, box in boxes.items():
        target = into.get(key, key)
        if target not in found:
            found[target] = Box(target, list(box.nodes), box.standing, list(box.runs), box.root, box.kept)
        else:
            found[target].nodes += box.nodes
            found[target].runs += box.runs
    rows = ((into.get(line.start, line.start), into.get(line.end, line.end), line) for line in lines)
    return found, _summed((a, b, line.relation, line.grade, line.number) for a, b, line in rows if a != b)


def _about(boxes: Mapping[str, Box], lineage: Lineage) -> str:
    standings = [box.standing for box in boxes.values()]
    counted = [f"{standings.count(word):,} {STANDINGS[word][1]}" for word in STANDINGS if word in standings]
    return f"{len(boxes):,} things, {len(lineage.edges):,} edges: {', '.join(counted)}"


# ---------------------------------------------------------------- how it is drawn


def _svg(
    boxes: Mapping[str, Box], lines: Sequence[Line], placed: Arrangement, *, title: str, about: str
) -> str:
    width = max(2 * EDGE + placed.columns * (WIDTH + ACROSS) - ACROSS, 860)
    height = TOP + placed.height + FOOT
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    ports = _ports(lines, placed)
    drawn = [_line(line, boxes, placed, ports, words=len(lines) <= MAX_LABELS) for line in lines]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title desc">',
        f'<title id="title">{_text(title, 200)}</title><desc id="desc">{_text(about, 400)}</desc>',
        f"<style>{STYLE}</style>",
        DEFINITIONS,
        f'<rect width="{width:.0f}" height="{height:.0f}" class="paper"/>',
        f'<text class="t" x="{EDGE}" y="30">{_text(title, 90)}</text><text class="s" x="{EDGE}" y="49">{_text(about, 150)}</text>',
        *(path for path, _ in drawn),
        *(_box(box, placed.boxes[key]) for key, box in boxes.items()),
        *(words for _, words in drawn),
        _legend(height - FOOT + 30, boxes),
        "</svg>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _at(place: Place) -> tuple[float, float]:
    return EDGE + place.column * (WIDTH + ACROSS), TOP + place.y


def _ports(lines: Sequence[Line], placed: Arrangement) -> dict[tuple[Line, bool], float]:
    """Return how far from a box's middle each line leaves or arrives, in the order of where it comes from or goes to."""
    ends: dict[tuple[str, bool], list[Line]] = {}
    for line in lines:
        ends.setdefault((line.start, False), []).append(line)
        ends.setdefault((line.end, True), []).append(line)
    found = {}
    for (_, arrives), there in ends.items():
        there.sort(key=lambda line: placed.boxes[line.start if arrives else line.end].y)
        room = min(14.0, (HEIGHT - 16) / len(there))
        for at, line in enumerate(there):
            found[line, arrives] = (at - (len(there) - 1) / 2) * room
    return found


def _line(
    line: Line,
    boxes: Mapping[str, Box],
    placed: Arrangement,
    ports: Mapping[tuple[Line, bool], float],
    *,
    words: bool,
) -> tuple[str, str]:
    """Return the path of a line, and its words where there is room for them."""
    way = placed.lines[line.start, line.end]
    points = [_at(place) for place in way]
    back = way[-1].column <= way[0].column
    start = (points[0][0] + WIDTH, points[0][1] + ports[line, False])
    end = (points[-1][0] + (WIDTH if back else 0), points[-1][1] + ports[line, True])
    through = [(x + dx, y) for x, y in points[1:-1] for dx in ((WIDTH, 0) if back else (0, WIDTH))]
    stops = [start, *through, end]
    path = f"M{start[0]:.1f} {start[1]:.1f}" + "".join(_curve(a, b, back=back) for a, b in pairwise(stops))
    told = f"{_called(boxes[line.start])} → {_called(boxes[line.end])}: {line.words}, {line.grade.value}"
    drawn = f'<path class="l {line.grade.value}" d="{path}" marker-end="url(#a)"><title>{_text(told, 200)}</title></path>'
    if not words or back:
        return drawn, ""
    place = f'x="{end[0] - 12:.1f}" y="{end[1] - 4:.1f}" text-anchor="end"'
    return drawn, f'<text class="g" {place}>{line.words}</text><text class="r" {place}>{line.words}</text>'


def _curve(a: tuple[float, float], b: tuple[float, float], *, back: bool) -> str:
    if back and b[0] >= a[0] - WIDTH:
        bend = ACROSS * 0.6
        return f"C{a[0] + bend:.1f} {a[1]:.1f} {b[0] + bend:.1f} {b[1]:.1f} {b[0]:.1f} {b[1]:.1f}"
    bend = (b[0] - a[0]) / 2
    return f"C{a[0] + bend:.1f} {a[1]:.1f} {b[0] - bend:.1f} {b[1]:.1f} {b[0]:.1f} {b[1]:.1f}"


def _box(box: Box, place: Place) -> str:
    x, y = _at(place)
    several = len(_things(box)) > 1
    tall = HEIGHT + (12 if several else 0)
    sign, word = STANDINGS[box.standing]
    ends = f" · runs at {', '.join(box.runs[:2])}{' …' if len(box.runs) > 2 else ''}" if box.runs else ""
    second = _second(box)
    shadow = "".join(
        f'<rect class="b" x="{shift}" y="{shift}" width="{WIDTH}" height="{HEIGHT}" rx="3"/>'
        for shift in ((8, 4) if several else ())
    )
    ring = " root" if box.root else ""
    return (
        f'<g class="{box.standing}" transform="translate({x:.1f} {y - tall / 2:.1f})"><title>{_text(_full(box), 2000)}</title>'
        f'{shadow}<rect class="b{ring}" width="{WIDTH}" height="{HEIGHT}" rx="3"/><g clip-path="url(#c)">'
        f'<text class="n" x="10" y="20">{_text(_called(box), 27)}</text><text class="m" x="10" y="37">{_text(second, 34)}</text>'
        f'<text class="s" x="10" y="54">{sign} {_text(word + ends, 34)}</text></g></g>'
    )


def _things(box: Box) -> list[Node]:
    """Return the things in a box, a model and its weights being one."""
    return [node for node in box.nodes if node.digest.algorithm != "wbw1"] or box.nodes


def _called(box: Box) -> str:
    things = _things(box)
    if len(things) > 1:
        kinds = {node.kind for node in things}
        word = {"alias": "names"}.get(
            next(iter(kinds)), f"{next(iter(kinds))}s".replace("weightss", "sets of weights")
        )
        return f"{len(things):,} {word if len(kinds) == 1 else 'things'}"
    node = things[0]
    return ", ".join(node.names) or node.label or node.digest.short


def _second(box: Box) -> str:
    things = _things(box)
    if len(things) == 1:
        if things[0].kind == "alias":
            return "known by this name only"
        return things[0].digest.short if things[0].names or things[0].label else things[0].kind
    return ", ".join(", ".join(node.names) or node.label or node.digest.short for node in things[:2]) + ", …"


def _full(box: Box) -> str:
    shown = [f"{', '.join(node.names) or node.label} {node.digest}".strip() for node in box.nodes[:8]]
    more = [f"and {len(box.nodes) - 8:,} more"] if len(box.nodes) > 8 else []
    why = [f"revoked: {node.revoked}" for node in box.nodes if node.revoked][:1]
    advised = sorted({name for node in box.nodes for name in node.advisories})[:5]
    runs = [f"runs at {', '.join(box.runs[:20])}"] if box.runs else []
    return "\n".join([STANDINGS[box.standing][1], *shown, *more, *why, *advised, *runs])


def _legend(y: float, boxes: Mapping[str, Box]) -> str:
    """Explain the lines and those standings that occur."""
    parts = [
        f'<g transform="translate({EDGE} {y:.0f})"><text class="n" x="0" y="0">How sure a line is</text>'
    ]
    words = {
        Grade.ATTESTED: "attested: signed by whom the authority names",
        Grade.OBSERVED: "observed: seen in the bytes",
        Grade.DECLARED: "declared: somebody says so",
    }
    for at, (grade, word) in enumerate(words.items()):
        parts.append(
            f'<path class="l {grade.value}" d="M0 {20 + at * 20}h56" marker-end="url(#a)"/>'
            f'<text class="s" x="66" y="{24 + at * 20}">{word}</text>'
        )
    parts.append('<text class="n" x="400" y="0">Where a thing stands</text>')
    used = [word for word in STANDINGS if any(box.standing == word for box in boxes.values())]
    for at, word in enumerate(used):
        sign, told = STANDINGS[word]
        x, down = 400 + (at // 4) * 200, 10 + (at % 4) * 20
        parts.append(
            f'<g class="{word}" transform="translate({x} {down})"><rect class="b" width="22" height="14" rx="2"/>'
            f'<text class="s" x="30" y="11">{sign} {told}</text></g>'
        )
    parts += [f'<text class="s" x="0" y="{100 + 18 * at}">{line}</text>' for at, line in enumerate(EXPLAINED)]
    return "".join((*parts, "</g>"))


def _text(text: str, width: int) -> str:
    """Return text as XML: nothing that could be markup or move other text, cut to `width` columns."""
    kept: list[str] = []
    used = marks = 0
    for char in text:
        if char == "\n" and width > 200:
            kept.append(char)
            continue
        if unicodedata.combining(char):
            marks += 1
            if marks > 2:
                continue
        else:
            marks = 0
            used += 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if used > width:
            kept[-1:] = ["…"]
            break
        kept.append(char if char.isprintable() else "\ufffd")
    return escape("".join(kept), {'"': "&quot;", "'": "&#39;"})
