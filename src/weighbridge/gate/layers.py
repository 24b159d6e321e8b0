"""Where the boxes of a layered picture stand: columns from beginnings to ends, few crossings, nothing on top of another.

Pure and deterministic (Sugiyama's steps: break cycles, layer by longest way, order by the middle of the
neighbours, straighten). A line over several columns is led through places of its own, so that it runs
between the boxes and not behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

SWEEPS = 12
"""How often columns are ordered by their neighbours, to and fro."""

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """A column, counted from the left, and the middle of the box in pixels from the top."""

    column: int
    y: float


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Where each box stands, and through which places each line is led (source and target included)."""

    boxes: Mapping[str, Place]
    lines: Mapping[Pair, tuple[Place, ...]]
    columns: int
    height: float


def arrange(
    boxes: Sequence[str], lines: Iterable[Pair], *, height: Callable[[str], float], gap: float, lane: float
) -> Arrangement:
    """Arrange `boxes` of the given heights, `gap` pixels apart; a passing line takes `lane` pixels."""
    pairs = sorted({(a, b) for a, b in lines if a != b})
    forward = _forward(boxes, pairs)
    columns = _columns(boxes, list(forward.values()))
    chains, column = _chains(forward, columns)
    steps = [step for chain in chains.values() for step in pairwise(chain)]
    order = _ordered(column, steps)

    def tall(key: str) -> float:
        return height(key) if key in columns else lane

    middles = _middles(order, steps, tall, gap)
    places = {key: Place(column[key], middles[key]) for key in column}
    routes = {}
    for pair, chain in chains.items():
        way = tuple(places[key] for key in chain)
        routes[pair] = way if forward[pair] == pair else way[::-1]
    bottom = max((middles[key] + tall(key) / 2 for key in column), default=0.0)
    return Arrangement({key: places[key] for key in boxes}, routes, len(order), bottom)


def _forward(boxes: Sequence[str], pairs: Sequence[Pair]) -> dict[Pair, Pair]:
    """Return each line as it counts for the columns: turned round where it leads back to an ancestor."""
    follow: dict[str, list[str]] = {key: [] for key in boxes}
    for before, after in pairs:
        follow[before].append(after)
    back: set[Pair] = set()
    state: dict[str, int] = {}
    heads = {after for _, after in pairs}
    for start in sorted(boxes, key=lambda key: key in heads):
        if start in state:
            continue
        stack = [(start, iter(follow[start]))]
        state[start] = 1
        while stack:
            key, rest = stack[-1]
            after = next(rest, "")
            if not after:
                state[key] = 2
                stack.pop()
            elif state.get(after) == 1:
                back.add((key, after))
            elif after not in state:
                state[after] = 1
                stack.append((after, iter(follow[after])))
    return {pair: (pair[1], pair[0]) if pair in back else pair for pair in pairs}


def _columns(boxes: Sequence[str], pairs: Sequence[Pair]) -> dict[str, int]:
    """Return the column of each box: behind all its parents, and parents as near to their children as they can be."""
    waiting, follow = dict.fromkeys(boxes, 0), {key: set[str]() for key in boxes}
    for before, after in set(pairs):
        waiting[after] += 1
        follow[before].add(after)
    column = dict.fromkeys(boxes, 0)
    free, done = [key for key in boxes if not waiting[key]], []
    while free:
        key = free.pop()
        done.append(key)
        for after in follow[key]:
            column[after] = max(column[after], column[key] + 1)
            waiting[after] -= 1
            if not waiting[after]:
                free.append(after)
    for key in reversed(done):
        if follow[key]:
            column[key] = max(column[key], min(column[after] for after in follow[key]) - 1)
    return column


def _chains(
    forward: Mapping[Pair, Pair], columns: Mapping[str, int]
) -> tuple[dict[Pair, list[str]], dict[str, int]]:
    """Put a place of its own into each column that a line passes; returns the chains and the column of everything."""
    column, chains = dict(columns), {}
    for number, (pair, (before, after)) in enumerate(forward.items()):
        passed = [f"\x00{number}.{at}" for at in range(columns[before] + 1, columns[after])]
        column |= {key: at for at, key in enumerate(passed, start=columns[before] + 1)}
        chains[pair] = [before, *passed, after]
    return chains, column


def _ordered(column: Mapping[str, int], steps: Sequence[Pair]) -> list[list[str]]:
    """Order each column so that lines cross little: by the mean place of the neighbours, to and fro."""
    order: list[list[str]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for key in column:
        order[column[key]].append(key)
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    for start, end in steps:
        before.setdefault(end, []).append(start)
        after.setdefault(start, []).append(end)
    for sweep in range(SWEEPS):
        neighbours = after if sweep % 2 else before
        places = {key: at for keys in order for at, key in enumerate(keys)}
        for keys in reversed(order) if sweep % 2 else order:
            means = {key: _mean([places[n] for n in neighbours.get(key, ())], places[key]) for key in keys}
            keys.sort(key=lambda key: (means[key], places[key]))
            places |= {key: at for at, key in enumerate(keys)}
    return order


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _middles(
    order: Sequence[Sequence[str]], steps: Sequence[Pair], tall: Callable[[str], float], gap: float
) -> dict[str, float]:
    """Return the middle of everything: near its neighbours, in order, and nothing over another."""
    neighbours: dict[str, list[str]] = {}
    for start, end in steps:
        neighbours.setdefault(end, []).append(start)
        neighbours.setdefault(start, []).append(end)
    middles: dict[str, float] = {}
    for keys in order:
        _stack(keys, dict.fromkeys(keys, 0.0), middles, tall, gap)
    for sweep in range(SWEEPS):
        for keys in order if sweep % 2 else reversed(order):
            wanted = {key: _mean([middles[n] for n in neighbours.get(key, ())], middles[key]) for key in keys}
            _stack(keys, wanted, middles, tall, gap)
    top = min((middles[key] - tall(key) / 2 for key in middles), default=0.0)
    return {key: middle - top for key, middle in middles.items()}


def _stack(
    keys: Sequence[str],
    wanted: Mapping[str, float],
    middles: dict[str, float],
    tall: Callable[[str], float],
    gap: float,
) -> None:
    """Put a column as near to where it wants to be as its order and the gaps allow: the mean of packing down and up."""
    down: list[float] = []
    for at, key in enumerate(keys):
        least = down[-1] + (tall(keys[at - 1]) + tall(key)) / 2 + gap if at else wanted[key]
        down.append(max(wanted[key], least))
    up: list[float] = []
    for at, key in enumerate(reversed(keys)):
        most = up[-1] - (tall(keys[len(keys) - at]) + tall(key)) / 2 - gap if at else wanted[key]
        up.append(min(wanted[key], most))
    for key, low, high in zip(keys, down, reversed(up), strict=True):
        middles[key] = (low + high) / 2
