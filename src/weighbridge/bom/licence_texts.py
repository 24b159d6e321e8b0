"""Recognise a licence text by the digest of its words, whatever stands before and after it.

The words of a text are its runs of letters and digits, in lower case and Unicode form NFKD: spaces, line
breaks, punctuation, quotation marks and typographic variants do not count. A known text is kept as three
facts: how many words it has, the SHA-256 of the first sixteen and of all of them, joined by single spaces.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HEAD = 16
"""Words that are looked for first."""
MAX_TEXT = 512 * 1024
"""Bytes of a licence text that is read; the longest known one has below 60 KiB."""

_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class KnownText:
    """A text that is recognised: whose it is, its number of words, the digests of its head and of all of it."""

    licence: str
    words: int
    head: str
    sha256: str


def words_of(text: str) -> list[str]:
    """Return the words of a text."""
    return _WORD.findall(unicodedata.normalize("NFKD", text).casefold())


def digest_of(words: Sequence[str]) -> str:
    """Return the SHA-256 of words joined by single spaces, in hexadecimal."""
    return hashlib.sha256(" ".join(words).encode("ascii")).hexdigest()


def known_text(licence: str, text: str) -> KnownText:
    """Return what is kept of a licence's text."""
    words = words_of(text)
    return KnownText(licence, len(words), digest_of(words[:HEAD]), digest_of(words))


def recognise(text: str, known: Iterable[KnownText]) -> tuple[str, ...]:
    """Return the licences whose whole text stands in `text`, in the order of their place there.

    A text that holds another one whole (the AGPL's is not the GPL's; a notice may hold two) counts alone: what lies
    within a longer match is left out.
    """
    words = words_of(text)
    heads: dict[str, list[KnownText]] = {}
    for row in known:
        heads.setdefault(row.head, []).append(row)
    found: list[tuple[int, int, str]] = []
    for start in range(max(len(words) - HEAD + 1, 0)):
        found += [
            (start, start + row.words, row.licence)
            for row in heads.get(digest_of(words[start : start + HEAD]), ())
            if digest_of(words[start : start + row.words]) == row.sha256
        ]
    whole = [
        (start, licence)
        for start, end, licence in found
        if not any(a <= start and end <= b and (a, b) != (start, end) for a, b, _ in found)
    ]
    return tuple(dict.fromkeys(licence for _, licence in sorted(whole)))
