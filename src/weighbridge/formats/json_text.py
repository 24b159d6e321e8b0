"""Read JSON files of a model strictly, and walk every value in them with its place.

Duplicate keys are refused, because two readers may take different ones. NaN and infinities are accepted:
Python's own writer produces them in training states. JSON lines are accepted as one value a line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from weighbridge.core.errors import OutOfBudget, Refused

MAX_VALUES = 20_000_000
"""Values of one file; the largest published tokenizers have below three million."""
_TOLD = (str, dict, list, bool)
_HOLDING = (dict, list)


class Place(NamedTuple):
    """One value of a JSON file: the place that holds it, the key or index there, and the value.

    A named tuple that shares its way down, because a tokenizer holds a million of them.
    """

    parent: Place | None
    step: str | int | None
    value: Any

    @property
    def steps(self) -> tuple[str | int, ...]:
        """The keys and indices that lead to the value, outermost first."""
        way: list[str | int] = []
        place: Place | None = self
        while place is not None:
            if place.step is not None:
                way.append(place.step)
            place = place.parent
        return tuple(reversed(way))

    @property
    def key(self) -> str:
        """The nearest object key on the way, or an empty string."""
        return next((step for step in reversed(self.steps) if isinstance(step, str)), "")

    @property
    def pointer(self) -> str:
        """The JSON pointer (RFC 6901)."""
        return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in self.steps)


def looks_like_json(text: str) -> bool:
    """Whether a text of any name begins as JSON does; it may still turn out to be something else."""
    return text.lstrip(" \t\r\n")[:1] in ("{", "[")


@lru_cache(maxsize=1)
def read_json(text: str) -> tuple[Any, ...]:
    """Return the one value of a JSON file, or the value of each line of a JSON lines file.

    Raises Refused (`json.syntax`, `json.duplicate`) and OutOfBudget (`json.budget`) for deep nesting. The last
    answer is kept, because several rules ask for the same file in a row; nobody may change what comes back.
    """
    try:
        return (_load(text),)
    except json.JSONDecodeError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if error.msg == "Extra data" and len(lines) > 1:
            return tuple(_line(line, number) for number, line in enumerate(lines, 1))
        raise _broken(str(error)) from error


def walk(values: tuple[Any, ...], *, list_texts: bool = True) -> Iterator[Place]:
    """Yield every object, list, text and truth value of the file, outermost first; numbers and nulls are passed over.

    Without `list_texts`, texts that stand in a list are passed over too: a tokenizer has a million of them.
    Raises OutOfBudget(json.budget) beyond MAX_VALUES.
    """
    work = [Place(None, None, value) for value in reversed(values)]
    listed = _TOLD if list_texts else _HOLDING
    count = 0
    while work:
        place = work.pop()
        count += 1
        if count > MAX_VALUES:
            raise _spent(f"the file holds more than {MAX_VALUES} values")
        yield place
        value = place.value
        if isinstance(value, dict):
            work.extend([Place(place, key, item) for key, item in value.items() if isinstance(item, _TOLD)])
        elif isinstance(value, list):
            work.extend(
                [Place(place, index, item) for index, item in enumerate(value) if isinstance(item, listed)]
            )


def objects(values: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    """Yield every object of the file, in no particular order, and nothing else."""
    work: list[Any] = list(values)
    while work:
        value = work.pop()
        if isinstance(value, dict):
            yield value
            work.extend([item for item in value.values() if isinstance(item, _HOLDING)])
        elif isinstance(value, list):
            work.extend([item for item in value if isinstance(item, _HOLDING)])


def _line(text: str, number: int) -> Any:
    try:
        return _load(text)
    except json.JSONDecodeError as error:
        raise _broken(f"line {number}: {error.msg}") from error


def _load(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise _spent("the file is nested too deeply to be read") from error
    except ValueError as error:  # a number of more digits than Python converts
        raise _broken(str(error)) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise Refused(
                f"the key {key[:80]!r} stands twice in one object",
                cause="one reader takes the first value, another the last",
                remedy="ask the publisher for a file in which each key stands once",
                check="json.duplicate",
            )
        result[key] = value
    return result


def _broken(cause: str) -> Refused:
    return Refused(
        "this is not JSON",
        cause=cause[:200],
        remedy="get the file again from its source",
        check="json.syntax",
    )


def _spent(problem: str) -> OutOfBudget:
    return OutOfBudget(
        problem,
        cause="it asks for more work than a scan spends on one file",
        remedy="split the file, or remove it from the model",
        check="json.budget",
    )
