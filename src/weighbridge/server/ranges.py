"""Which bytes of a file a request wants: Range, If-Range and If-None-Match (RFC 9110 sections 13 and 14), of strangers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

MAX_HEADER = 1024
"""Characters of a header that are looked at; a longer one is not what a client sends."""
_ONE = re.compile(r"bytes=[ \t]*(?P<first>[0-9]*)-(?P<last>[0-9]*)[ \t]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be answered: a status, and the bytes from `start` to before `end`."""

    status: int
    """200 (whole), 206 (part), 304 (the client has it) or 416 (nothing of it)."""
    start: int = 0
    end: int = 0


def wanted(headers: Mapping[str, str], *, size: int, etag: str) -> Wanted:
    """Read the headers (lower-case names) of a request for a file; `etag` comes in its quotes.

    Several ranges at once are answered with 416, not with the whole file: nobody who asks for parts wants all of a large one.
    A range of another unit, or one that cannot be read, is passed over as the RFC has it.
    """
    if _matches(headers.get("if-none-match", ""), etag):
        return Wanted(304)
    text = headers.get("range", "").strip()
    whole = Wanted(200, 0, size)
    if not text or text[:6].lower() != "bytes=":
        return whole
    condition = headers.get("if-range", "").strip()
    if condition and condition != etag:  # strong comparison only: a date, or a weak tag, is another file
        return whole
    if len(text) > MAX_HEADER or "," in text:
        return Wanted(416)
    match = _ONE.fullmatch(text)
    if match is None or not (match["first"] or match["last"]):
        return whole
    return _part(match["first"], match["last"], size, whole)


def _part(first: str, last: str, size: int, whole: Wanted) -> Wanted:
    if not first:
        length = min(_number(last), size)
        return Wanted(206, size - length, size) if length else Wanted(416)
    start = _number(first)
    if last and _number(last) < start:
        return whole
    if start >= size:
        return Wanted(416)
    end = min(_number(last) + 1, size) if last else size
    return Wanted(206, start, end)


def _number(digits: str) -> int:
    """Return a number; one of a thousand digits is merely beyond every file."""
    stripped = digits.lstrip("0")
    return int(stripped or "0") if len(stripped) <= 18 else 10**18


def _matches(header: str, etag: str) -> bool:
    if not header or len(header) > 8 * MAX_HEADER:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag in tags
