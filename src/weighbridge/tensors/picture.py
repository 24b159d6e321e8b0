"""The difference of two models as a picture (SVG): a heat strip, kinds of tensors down, layers across.

The file is complete in itself: no script, nothing from elsewhere, nothing that a name could turn into markup. It follows the
reader's light or dark scheme. Colour repeats what the words in the cells say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import log10
from xml.sax.saxutils import escape

from weighbridge.tensors.difference import Difference, Row, State, place

COLUMNS = 96
"""Layers side by side; of more, neighbours share a column."""
ROWS = 72
"""Kinds of tensors; of more, the least changed stand together in the last row."""
_LEAST, _MOST = 1e-4, 1.0
"""Relative changes between which the colour runs, by decimal powers."""
_NAME = 312
_CELL = (36, 18)
_EDGE, _TOP, _FOOT = 24, 116, 96
_STYLE = """
svg{--paper:#fbfaf7;--ink:#1d1c1a;--faint:#6d6a63;--rule:#c9c4b8;--same:#ffffff;--new:#e9f5ec;--gone:#ece9e2}
@media (prefers-color-scheme:dark){svg{--paper:#17181a;--ink:#eceae4;--faint:#a5a29a;--rule:#4b4a46;--same:#202225;--new:#16301f;--gone:#2b2a28}}
text{font:12px system-ui,sans-serif;fill:var(--ink)}.t{font-size:17px;font-weight:600}.f{fill:var(--faint)}
.m{font:11px ui-monospace,monospace}.c{font-size:9.5px;text-anchor:middle}.e{text-anchor:end}
rect{stroke:var(--rule);stroke-width:.6}.same{fill:var(--same)}.added{fill:var(--new)}.gone{fill:var(--gone)}.odd{fill:url(#h)}
""".replace("\n", "")
_HATCHED = (
    '<defs><pattern id="h" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="5" height="5" style="fill:var(--same);stroke:none"/>'
    '<rect width="1.6" height="5" style="fill:var(--rule);stroke:none"/></pattern></defs>'
)
_HEAT = ("#fdf0d9", "#fbd9a8", "#f6b26b", "#e8804d", "#cf4a35", "#a3211c", "#6d0f14")
"""From a change of one in ten thousand to one as large as the tensor itself; dark steps carry light letters."""
_SIGNS = {
    State.ADDED: "new",
    State.REMOVED: "gone",
    State.UNCOMPARED: "?",
    State.RESHAPED: "shape",
    State.CAST: "cast",
}
_CLASSES = {State.ADDED: "added", State.REMOVED: "gone", State.UNCOMPARED: "odd", State.RESHAPED: "odd"}


def picture(found: Difference) -> str:
    """Return the picture as one SVG document."""
    kinds, columns, cells = _arranged(found.rows)
    across, down = _CELL
    width = max(2 * _EDGE + _NAME + across * max(1, len(columns)), 800)
    height = _TOP + down * max(1, len(kinds)) + _FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
        f"<title>{_text(found.first)} and {_text(found.second)}: {found.kinship.kin.value}</title><style>{_STYLE}</style>",
        _HATCHED,
        f'<rect width="{width}" height="{height}" style="fill:var(--paper);stroke:none"/>',
        *_head(found),
    ]
    for at, column in enumerate(columns):
        x = _EDGE + _NAME + at * across + across / 2
        parts.append(f'<text class="c f" x="{x}" y="{_TOP - 8}">{_text(column)}</text>')
    for line, kind in enumerate(kinds):
        y = _TOP + line * down
        label = kind if len(kind) <= 44 else f"{kind[:16]}…{kind[-27:]}"
        parts.append(
            f'<text class="m e" x="{_EDGE + _NAME - 8}" y="{y + 13}">{_text(label)}<title>{_text(kind)}</title></text>'
        )
        parts += [
            _cell(cells[kind, at], _EDGE + _NAME + at * across, y)
            for at in range(len(columns))
            if (kind, at) in cells
        ]
    parts += [*_legend(height - _FOOT + 30), "</svg>"]
    return "\n".join(parts) + "\n"


def _head(found: Difference) -> list[str]:
    counts = ", ".join(f"{number} {state.value}" for state, number in sorted(found.counts.items()) if number)
    kinship = found.kinship
    lines = [
        (34, "t", f"{kinship.kin.value}, {kinship.strength.value}"),
        (54, "m", f"first   {found.first}"),
        (70, "m", f"second  {found.second}"),
        (88, "f", f"{len(found.rows)} tensors: {counts}" + ("" if found.complete else "; windows only")),
    ]
    return [f'<text class="{kind}" x="{_EDGE}" y="{y}">{_text(line[:150])}</text>' for y, kind, line in lines]


def _arranged(rows: Sequence[Row]) -> tuple[list[str], list[str], dict[tuple[str, int], list[Row]]]:
    """Return the kinds of tensors, the labels of the columns, and what lies in each cell."""
    placed = [(*place(row.name), row) for row in rows]
    numbers = sorted({number for _, number, _, _ in placed if number is not None})
    step = -(-len(numbers) // (COLUMNS - 1)) or 1
    column = {number: 1 + at // step for at, number in enumerate(numbers)}
    labels = ["other", *(_span(numbers[at : at + step]) for at in range(0, len(numbers), step))]
    heads = {head for head, number, _, _ in placed if number is not None}
    grouped: dict[str, list[tuple[int, Row]]] = defaultdict(list)
    for head, number, rest, row in placed:
        kind = rest if number is None or len(heads) == 1 else f"{head}.*.{rest}"
        grouped[kind or "*"].append((0 if number is None else column[number], row))
    kinds = sorted(grouped, key=lambda kind: (min(at for at, _ in grouped[kind]) > 0, kind))
    if len(kinds) > ROWS:
        least = sorted(kinds, key=lambda kind: max(row.relative for _, row in grouped[kind]))[
            : len(kinds) - ROWS + 1
        ]
        rest = f"{len(least)} other kinds"
        grouped[rest] = [item for kind in least for item in grouped.pop(kind)]
        kinds = [*(kind for kind in kinds if kind in grouped), rest]
    cells: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for kind in kinds:
        for at, row in grouped[kind]:
            cells[kind, at].append(row)
    return kinds, labels, dict(cells)


def _span(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"


def _cell(rows: Sequence[Row], x: float, y: float) -> str:
    across, down = _CELL
    worst = max(
        rows, key=lambda row: (row.state not in (State.SAME, State.RENAMED, State.CAST), row.relative)
    )
    about = [f"{row.name}: {row.state.value}{_told(row)}" for row in rows[:6]]
    about += [f"and {len(rows) - 6} more"] if len(rows) > 6 else []
    kind, style, ink, sign = _CLASSES.get(worst.state, "same"), "", "", _SIGNS.get(worst.state, "")
    if worst.state is State.CHANGED:
        step = heat(worst.relative)
        style = f' style="fill:{_HEAT[step]}"'
        ink = ' style="fill:#fff"' if step >= 4 else ' style="fill:#1d1c1a"'
        sign = short(worst.relative)
    mark = f'<text class="c" x="{x + across / 2}" y="{y + 12.5}"{ink}>{_text(sign)}</text>' if sign else ""
    return (
        f"<g><title>{_text(chr(10).join(about))}</title>"
        f'<rect class="{kind}" x="{x}" y="{y}" width="{across - 1}" height="{down - 1}"{style}/>{mark}</g>'
    )


def heat(relative: float) -> int:
    """Return the step of the colour scale for a relative change, 0 to 6."""
    share = (log10(max(relative, _LEAST)) - log10(_LEAST)) / (log10(_MOST) - log10(_LEAST))
    return min(len(_HEAT) - 1, int(share * (len(_HEAT) - 1) + 0.5))


def short(relative: float) -> str:
    """Return a relative change in at most five characters: 3.1%, 0.02%, 12x."""
    if relative >= 10:
        return f"{relative:.0f}x" if relative < 1000 else ">1kx"
    percent = 100 * relative
    return (
        f"{percent:.0f}%"
        if percent >= 10
        else f"{percent:.1f}%"
        if percent >= 0.1
        else f"{percent:.2f}%"
        if percent >= 0.005
        else "<.01%"
    )


def _told(row: Row) -> str:
    if row.measure is None:
        return f" ({row.why})" if row.why else ""
    told = f", relative change {row.measure.relative:.3g}, cosine {row.measure.cosine:.6f}"
    if row.spectrum is not None:
        rank = "more than 72" if row.spectrum.rank is None else str(row.spectrum.rank)
        told += f", 99 % of the change in {rank} directions"
    return told


def _legend(y: float) -> list[str]:
    x = float(_EDGE)
    parts = [
        f'<text class="f" x="{x}" y="{y}">relative change: norm of the difference over norm of the first</text>'
    ]
    y += 12
    for step, colour in enumerate(_HEAT):
        parts.append(f'<rect x="{x + step * 52}" y="{y}" width="52" height="14" style="fill:{colour}"/>')
    for place_, label in ((0, "0.01 %"), (2, "0.2 %"), (4, "5 %"), (6, "100 %")):
        parts.append(f'<text class="c f" x="{x + place_ * 52 + 26}" y="{y + 27}">{label}</text>')
    x += 7 * 52 + 20
    for kind, label in (("same", "same"), ("added", "new"), ("gone", "gone"), ("odd", "not compared")):
        parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="18" height="14"/>')
        parts.append(f'<text class="f" x="{x + 24}" y="{y + 11}">{label}</text>')
        x += 74
    return parts


def _text(value: str) -> str:
    """Return text as it may stand in XML: markup escaped, and what XML cannot hold replaced."""
    clean = "".join(
        char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in value
    )
    return escape(clean)
