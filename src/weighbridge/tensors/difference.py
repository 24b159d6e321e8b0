"""Hold every tensor of one model against its partner in another: what is new, gone, equal, renamed, cast or changed, and by how much."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import isfinite, sqrt

from weighbridge.core.canonical import JSON
from weighbridge.core.errors import CannotTell
from weighbridge.tensors.compare import Model, compare
from weighbridge.tensors.fingerprint import Print
from weighbridge.tensors.kinship import Kinship
from weighbridge.tensors.measure import Measure, comparable, glance, whole
from weighbridge.tensors.pairing import Pair, pair
from weighbridge.tensors.reading import Tensor, Unread
from weighbridge.tensors.spectrum import Spectrum, spectrum

SPECTRA = 16
"""Matrices, the most changed ones, whose spectrum is taken unless more are asked for."""
_NUMBER = re.compile(r"(?:^|[._/])(\d{1,5})(?=[._/]|$)")


class State(StrEnum):
    """What became of a tensor."""

    SAME = "same"
    RENAMED = "renamed"
    CAST = "cast"
    CHANGED = "changed"
    RESHAPED = "reshaped"
    ADDED = "added"
    REMOVED = "removed"
    UNCOMPARED = "not-compared"


_ORDER = {
    State.CHANGED: 0, State.UNCOMPARED: 1, State.RESHAPED: 2, State.REMOVED: 3, State.ADDED: 4, State.CAST: 5,
    State.RENAMED: 6, State.SAME: 7,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One tensor, or two that stand for each other; `why` says why values were not compared."""

    state: State
    first: Print | None
    second: Print | None
    by: str = ""
    measure: Measure | None = None
    spectrum: Spectrum | None = None
    why: str = ""

    @property
    def name(self) -> str:
        """The name on the first side, else on the second."""
        one = self.first or self.second
        assert one is not None
        return one.name

    @property
    def relative(self) -> float:
        """The relative change: 0 where nothing changed, 1 for what is new or gone."""
        if self.measure is not None:
            return self.measure.relative
        return 0.0 if self.state in (State.SAME, State.RENAMED, State.CAST) else 1.0

    def to_json(self) -> dict[str, JSON]:
        """Return it as it stands in `weighbridge.diff/1`."""
        return {
            "state": self.state.value,
            "name": self.name,
            "first": _print_json(self.first),
            "second": _print_json(self.second),
            "paired_by": self.by,
            "values": _measure_json(self.measure),
            "spectrum": _spectrum_json(self.spectrum),
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class Layer:
    """The tensors of one layer together: how many changed, and the change of all their values."""

    name: str
    tensors: int
    changed: int
    relative: float
    cosine: float | None

    def to_json(self) -> dict[str, JSON]:
        """Return it as it stands in `weighbridge.diff/1`."""
        cosine = None if self.cosine is None else _figure(self.cosine)
        return {
            "name": self.name, "tensors": self.tensors, "changed": self.changed, "relative": _figure(self.relative),
            "cosine": cosine,
        }  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """Two models held against each other: the kinship, every tensor sorted by change, and the layers in order."""

    first: str
    second: str
    kinship: Kinship
    rows: tuple[Row, ...]
    layers: tuple[Layer, ...]
    unread: tuple[tuple[str, Unread], ...]
    complete: bool
    """Whether every value of every changed tensor was compared, and not only windows of it."""
    counts: Mapping[State, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, JSON]:
        """Return it as it stands in `weighbridge.diff/1`."""
        return {
            "first": self.first,
            "second": self.second,
            "kinship": self.kinship.to_json(),
            "complete": self.complete,
            "counts": {state.value: self.counts.get(state, 0) for state in State},
            "layers": [layer.to_json() for layer in self.layers],
            "tensors": [row.to_json() for row in self.rows],
            "unread": [{"side": side, **item.to_json()} for side, item in self.unread],
        }


def differ(
    first: Model,
    second: Model,
    *,
    names: tuple[str, str],
    spectra: int = SPECTRA,
    complete: bool = True,
    advance: Callable[[int], None] = lambda _count: None,
) -> Difference:
    """Compare two opened models tensor by tensor; `complete` reads every value, else windows of each tensor.

    `advance` is told the bytes compared. A tensor that cannot be read any more is `not-compared`, with the reason.
    """
    found = pair(first.printed.prints, second.printed.prints)
    rows = [_row(one, first, second, complete=complete, advance=advance) for one in found.pairs]
    rows += [Row(State.REMOVED, tensor, None) for tensor in found.first_alone]
    rows += [Row(State.ADDED, None, tensor) for tensor in found.second_alone]
    rows.sort(key=lambda row: (_ORDER[row.state], -row.relative, row.name))
    rows = _with_spectra(rows, first, second, spectra)
    sides = (
        (label, item)
        for label, side in (("first", first), ("second", second))
        for item in side.printed.unread
    )
    counts: dict[State, int] = defaultdict(int)
    for row in rows:
        counts[row.state] += 1
    return Difference(
        *names, compare(first, second), tuple(rows), layers(rows), tuple(sides), complete, dict(counts)
    )


def _row(found: Pair, first: Model, second: Model, *, complete: bool, advance: Callable[[int], None]) -> Row:
    if found.equal:
        return Row(State.RENAMED if found.renamed else State.SAME, found.first, found.second, found.by)
    state = State.CAST if found.cast else State.CHANGED
    one, other = first.tensors.get(found.first.name), second.tensors.get(found.second.name)
    if one is None or other is None:
        return Row(State.UNCOMPARED, found.first, found.second, found.by, why="its bytes are not at hand")
    if not comparable(one, other):
        reshaped = one.shape != other.shape
        why = (
            "the shapes differ" if reshaped else f"{one.dtype} and {other.dtype} are not both read as numbers"
        )
        return Row(
            State.RESHAPED if reshaped else State.UNCOMPARED, found.first, found.second, found.by, why=why
        )
    try:
        measured = whole(one, other) if complete else glance(one, other)
    except CannotTell as error:
        return Row(State.UNCOMPARED, found.first, found.second, found.by, why=error.problem)
    advance(one.size + other.size)
    return Row(state, found.first, found.second, found.by, measured)


def _with_spectra(rows: Sequence[Row], first: Model, second: Model, most: int) -> list[Row]:
    left = most
    made = []
    for row in rows:
        moved = None
        if left > 0 and row.state is State.CHANGED and row.first is not None and row.second is not None:
            moved = _spectrum(first.tensors[row.first.name], second.tensors[row.second.name])
            left -= moved is not None
        made.append(replace(row, spectrum=moved) if moved is not None else row)
    return made


def _spectrum(one: Tensor, other: Tensor) -> Spectrum | None:
    try:
        return spectrum(one, other)
    except CannotTell:
        return None


def place(name: str) -> tuple[str, int | None, str]:
    """Return (what comes before the number of the layer, that number, the rest with further numbers as `*`)."""
    match = _NUMBER.search(name)
    if match is None:
        return "", None, name
    rest = _NUMBER.sub(lambda found: found[0].replace(found[1], "*"), name[match.end() :])
    return name[: match.start(1)].rstrip("._/"), int(match[1]), rest.lstrip("._/")


def layers(rows: Iterable[Row]) -> tuple[Layer, ...]:
    """Sum the rows up by layer: what stands outside the layers first, then the layers by number."""
    parts: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in rows:
        head, number, _ = place(row.name)
        parts["" if number is None else head, -1 if number is None else number].append(row)
    return tuple(
        _layer(f"{head}.{number}" if number >= 0 else "outside layers", parts[head, number])
        for head, number in sorted(parts)
    )


def _layer(name: str, rows: Sequence[Row]) -> Layer:
    seen = [row.measure for row in rows if row.measure is not None and row.measure.finite]
    norm = sum(m.first_norm**2 for m in seen)
    both = sum(m.cosine * m.first_norm * m.second_norm for m in seen)
    other = sum(m.second_norm**2 for m in seen)
    moved = sum(m.difference**2 for m in seen)
    changed = sum(row.state not in (State.SAME, State.RENAMED) for row in rows)
    cosine = both / sqrt(norm * other) if norm and other else None
    return Layer(name, len(rows), changed, sqrt(moved / norm) if norm else float(bool(moved)), cosine)


def _print_json(tensor: Print | None) -> JSON:
    if tensor is None:
        return None
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "digest": f"sha256:{tensor.digest}",
    }


def _measure_json(measured: Measure | None) -> JSON:
    if measured is None:
        return None
    return {
        "elements": measured.elements,
        "first_norm": _figure(measured.first_norm),
        "second_norm": _figure(measured.second_norm),
        "relative": _figure(measured.relative),
        "cosine": _figure(measured.cosine),
        "correlation": _figure(measured.correlation),
        "equal": _figure(measured.equal),
        "zeroed": _figure(measured.zeroed),
        "finite": measured.finite,
    }


def _spectrum_json(moved: Spectrum | None) -> JSON:
    if moved is None:
        return None
    return {
        "largest": _figure(moved.largest),
        "stable_rank": _figure(moved.stable),
        "rank_99": moved.rank,
        "captured": _figure(moved.captured),
        "least_side": moved.least,
    }


def _figure(value: float) -> float:
    """Return a figure with nine digits; what is not finite is the largest float, so that it stays a number in JSON."""
    return float(f"{value:.9g}") if isfinite(value) else 1.7976931348623157e308
