"""Look-alikes: whether one registry name could be taken for another. Names are lower-case ASCII by their grammar.

| taken for each other | example |
|---|---|
| the same but for separators | `bert-base`, `bert_base`, `bertbase` |
| the same once digits are read as the letters they look like, or a letter is doubled | `m1ni`, `mini`; `minii` |
| one letter more, less or other, or two neighbours exchanged | `encodr`, `encoder` |
| one of the other's name and a word that only boasts | `encoder-official`, `the-encoder` |

Names that differ in a number only are versions of each other, not look-alikes (`encoder-2`, `encoder-3`); names of fewer
than four characters have neighbours by chance, and are held against separators and digits alone.
"""

from __future__ import annotations

import re

BOASTS = frozenset(
    {"authentic", "genuine", "official", "original", "real", "safe", "secure", "signed", "the", "true", "trusted", "verified"}
)  # fmt: skip
"""Words that say nothing of a model, and much of who put them there."""
LEAST = 4
_SEPARATORS = re.compile(r"[-_.]+")
_DOUBLED = re.compile(r"([a-z])\1+")
_NUMBER = re.compile(r"[0-9]+")
_DISGUISED = re.compile(r"[a-z][0-9]+(?![bkm](?![a-z]))[a-z]")
"""A digit between two letters is a letter in disguise (`m1ni`) and no number, unless it is a size (`llama7b`)."""
_LETTERS = str.maketrans({"0": "o", "1": "l", "i": "l", "3": "e", "5": "s"})


def alike(name: str, other: str) -> str:
    """Return how `name` could be taken for `other`, or nothing; the same name is not alike, and both ways it is the same."""
    if name == other or _versions(name, other):
        return ""
    bare, other_bare = _SEPARATORS.sub("", name), _SEPARATORS.sub("", other)
    if bare == other_bare:
        return "differs in separators only"
    if bare.translate(_LETTERS) == other_bare.translate(_LETTERS):
        return "differs only in characters that look the same"
    if min(len(bare), len(other_bare)) < LEAST:
        return ""
    if _skeleton(bare) == _skeleton(other_bare):
        return "differs in a doubled letter only"
    if _one_apart(bare, other_bare):
        return "differs in one letter"
    if _exchanged(bare, other_bare):
        return "differs in the order of two letters"
    if _modest(name) == _modest(other) != "":
        return "differs in words that only boast"
    return ""


def _versions(name: str, other: str) -> bool:
    """Tell whether both differ in numbers only, as versions and sizes do."""
    pattern = _NUMBER.sub("#", name)
    if pattern != _NUMBER.sub("#", other) or "#" not in pattern:
        return False
    return not any(_DISGUISED.search(one) for one in (name, other))


def _skeleton(bare: str) -> str:
    return _DOUBLED.sub(r"\1", bare.translate(_LETTERS))


def _one_apart(one: str, other: str) -> bool:
    """Tell whether one change, insertion or deletion of a character makes one text the other."""
    if abs(len(one) - len(other)) > 1:
        return False
    short, long = sorted((one, other), key=len)
    start = next((n for n, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    return short[start + (len(short) == len(long)) :] == long[start + 1 :]


def _exchanged(one: str, other: str) -> bool:
    if len(one) != len(other):
        return False
    places = [n for n, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    if len(places) != 2 or places[1] != places[0] + 1:
        return False
    first, second = places
    return one[first] == other[second] and one[second] == other[first]


def _modest(name: str) -> str:
    return "".join(part for part in _SEPARATORS.split(name) if part not in BOASTS)
