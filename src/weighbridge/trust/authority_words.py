"""Reading the authority's members strictly: what is not known, not typed or not spelled as it must be is refused."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from weighbridge.core.canonical import MAX_SAFE_INTEGER
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.errors import VerificationFailed

_E = TypeVar("_E", bound=StrEnum)
_W = TypeVar("_W", bound=str)


def malformed(cause: str) -> VerificationFailed:
    """Make the error for a document that is not an authority."""
    return VerificationFailed(
        "this is not an authority we can read",
        cause=cause,
        remedy="correct the document and sign it again with a root key",
        check="authority.form",
    )


def is_label(label: str) -> bool:
    """Tell whether a name can be shown as it is: 1 to 128 printable characters, no space at an end."""
    return 0 < len(label) <= 128 and label.isprintable() and label == label.strip()


def members(value: Any, known: Sequence[str], where: str, *, optional: Sequence[str] = ()) -> None:
    """Refuse anything but an object with exactly the members known, and of the optional ones any."""
    if not isinstance(value, dict):
        raise malformed(f"{where} is not an object")
    for name in value:
        if name not in known and name not in optional:
            raise malformed(f"{where} has an unknown member {name!r}{meant(name, (*known, *optional))}")
    for name in known:
        if name not in value:
            raise malformed(f"{where} lacks the member {name!r}")


def word(words: type[_E], value: str, what: str) -> _E:
    """Read one word of a closed set."""
    try:
        return words(value)
    except ValueError:
        raise malformed(f"unknown {what}: {value!r}{meant(value, [one.value for one in words])}") from None


def word_of(words: Sequence[_W], value: str, what: str) -> _W:
    """Read one of some words."""
    for one in words:
        if one == value:
            return one
    raise malformed(f"unknown {what}: {value!r}{meant(value, words)}")


def meant(value: str, known: Iterable[str]) -> str:
    """Say which known word is near; empty when none is."""
    near = difflib.get_close_matches(value, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def typed(value: Any, kind: type[Any], what: str) -> Any:
    """Return a value of exactly this type."""
    if type(value) is not kind:
        raise malformed(f"{what} is not of type {kind.__name__}")
    return value


def text(value: Any, what: str) -> str:
    """Return a string."""
    found: str = typed(value, str, what)
    return found


def list_of(value: Any, what: str) -> list[Any]:
    """Return a list."""
    found: list[Any] = typed(value, list, what)
    return found


def whole(value: Any, what: str) -> int:
    """Return a whole number that JSON carries, zero or more."""
    number: int = typed(value, int, what)
    if not 0 <= number <= MAX_SAFE_INTEGER:
        raise malformed(f"{what} is out of range")
    return number


def moment(value: Any, what: str) -> datetime:
    """Return a time in its one spelling, so that one document has one digest."""
    said = text(value, what)
    try:
        found = parse_rfc3339(said)
    except (ValueError, OverflowError):
        found = None
    if found is None or rfc3339(found) != said:
        raise malformed(f"{what}: {said!r} is not a time like 2026-11-22T20:10:00Z")
    return found
