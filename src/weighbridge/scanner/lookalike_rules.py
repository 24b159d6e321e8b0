"""Rules on names: a model or file that is called almost like something well known, or whose name shows other letters.

`judge_name` judges the reference a model was asked for by; `examine` judges the names of its files. What is
well known stands in `data/popular_names.json`. A likeness is a note, because forks and mirrors are honest; a
name that looks the same and is another one is not.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from weighbridge.core.errors import OutOfBudget, Refused
from weighbridge.core.finding import Confidence, Finding, Location, Report, Verdict
from weighbridge.formats.json_text import read_json
from weighbridge.scanner.file import RuleInfo, ScannedFile, printable, severity_of

RULES = (
    RuleInfo("name-lookalike", "The model is called almost like a well-known one", Verdict.BROKEN),
    RuleInfo("name-hidden", "A name that shows other letters than it has", Verdict.BROKEN),
)
EXPLAINS: frozenset[str] = frozenset()
MIN_LENGTH = 6
"""Names shorter than this have neighbours by chance."""

_DIGITS = str.maketrans({"0": "o", "1": "l", "i": "l", "|": "l", "5": "s", "3": "e"})
_PARTS = re.compile(r"[-_. ]+")
_REFERENCE = re.compile(
    r"(?:hf://|https?://huggingface\.co/|huggingface\.co/)?(?:models/)?([^/@\s]+)/([^/@\s]+)(?:[/@].*)?"
)


@dataclass(frozen=True, slots=True)
class _Popular:
    organisations: dict[str, str]
    models: dict[str, str]


_DATA = Path(__file__).parent / "data"


@cache
def _looks_like() -> dict[str, str]:
    """Letters of other scripts, and the Latin ones they look like."""
    letters: dict[str, str] = json.loads((_DATA / "confusables.json").read_bytes())["letters"]
    return {strange: latin for latin, all_strange in letters.items() for strange in all_strange}


@cache
def _popular() -> _Popular:
    document: Any = json.loads((_DATA / "popular_names.json").read_bytes())
    models = {row.split("/")[1].lower(): row for row in document["models"]}
    return _Popular({row.lower(): row for row in document["organisations"]}, models)


def examine(file: ScannedFile) -> Iterable[Finding]:
    """Judge the name of a file or member."""
    name = file.members[-1] if file.members else file.path
    reason = _shows_other_letters(name)
    if reason:
        yield _finding(file.at(), "name-hidden", Verdict.BROKEN, f"the name {name!a} {reason}", "name")
    if file.text is not None and file.name in ("adapter_config.json", "config.json"):
        yield from _named_in(file, file.text)


def _named_in(file: ScannedFile, text: str) -> Iterator[Finding]:
    """Judge the models a configuration says it was made from; a mere likeness is left to the model's own name."""
    try:
        value = read_json(text)[0]
    except (Refused, OutOfBudget, IndexError):
        return  # the configuration rules say so
    for key in ("_name_or_path", "base_model_name_or_path"):
        name = value.get(key) if isinstance(value, dict) else None
        for finding in judge_name(name) if isinstance(name, str) else ():
            if finding.verdict is not Verdict.NOTES:
                yield replace(finding, location=file.at())


def judge_name(reference: str) -> tuple[Finding, ...]:
    """Return what is to be said of the name a model was asked for by: `org/name`, with or without hub and revision.

    A path of this machine is judged for hidden letters only.
    """
    reason = _shows_other_letters(reference)
    location = Location(".")
    if reason:
        message = f"the name {reference!a} {reason}"
        return (_finding(location, "name-hidden", Verdict.BROKEN, message, "reference"),)
    match = _REFERENCE.fullmatch(reference)
    if match is None or reference.startswith((".", "/", "~")):
        return ()
    return tuple(_likeness(match[1], match[2]))


def asked_for(report: Report, reference: str) -> Report:
    """Return the report with what is to be said of the name on a hub that the model was asked for by."""
    return replace(report, findings=(*report.findings, *judge_name(reference)))


def _likeness(organisation: str, name: str) -> Iterator[Finding]:
    known = _popular()
    if organisation.lower() in known.organisations:
        return
    like = _nearest(organisation, known.organisations)
    if like:
        yield _alike(organisation, *like, "organisation")
        return
    original = known.models.get(name.lower())
    if original:
        message = f"{organisation}/{name} bears the name of {original}"
        yield _finding(Location("."), "name-lookalike", Verdict.NOTES, message, original)
        return
    like = _nearest(name, known.models)
    if like:
        yield _alike(name, *like, "model")


def _nearest(name: str, known: dict[str, str]) -> tuple[str, str] | None:
    """Return the well-known name that `name` could be taken for, and why; exact names were asked before."""
    low = name.lower()
    plain = skeleton(name)
    for row, full in known.items():
        if plain == skeleton(row) and low != row:
            return full, "looks the same"
    bare = _PARTS.sub("", low)
    for row, full in known.items():
        if len(row) < MIN_LENGTH or low == row:
            continue
        if bare == _PARTS.sub("", row):
            return full, "differs in hyphens or dots only"
        if abs(len(low) - len(row)) <= 1 and _one_apart(low, row):
            return full, "differs in one letter"
    return None


def skeleton(name: str) -> str:
    """Return a form that is equal for names that look equal: other scripts' letters and digits become Latin ones."""
    wide = unicodedata.normalize("NFKC", name)
    latin = "".join(_looks_like().get(char, char) for char in wide).lower()
    return latin.translate(_DIGITS).replace("rn", "m").replace("vv", "w")


def _one_apart(one: str, two: str) -> bool:
    """Whether one letter was inserted, left out, exchanged, or swapped with its neighbour; never only a digit."""
    if len(one) > len(two):
        one, two = two, one
    start = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), len(one))
    if len(one) < len(two):
        return one[start:] == two[start + 1 :] and two[start].isalpha()
    rest_one, rest_two = one[start:], two[start:]
    swapped = len(rest_one) > 1 and rest_one[:2] == rest_two[1::-1] and rest_one[2:] == rest_two[2:]
    changed = (
        rest_one[1:] == rest_two[1:] and bool(rest_one) and rest_one[0].isalpha() and rest_two[0].isalpha()
    )
    return changed or swapped


def _shows_other_letters(name: str) -> str:
    """Say how a name deceives the eye, or return an empty text."""
    for char in name:
        if unicodedata.category(char) == "Cf":
            return "holds a character that is not shown or turns the direction of writing"
    for word in re.split(r"[\W_]+", name):
        strange = [char for char in word if char.isalpha() and not char.isascii()]
        latin = any(char.isalpha() and char.isascii() for char in word)
        if strange and latin and all(char in _looks_like() for char in strange):
            return "mixes letters of two scripts that look alike"
    return ""


def _alike(name: str, original: str, how: str, what: str) -> Finding:
    same = how == "looks the same"
    verdict = Verdict.BROKEN if same and not name.isascii() else Verdict.UNLISTED if same else Verdict.NOTES
    message = f"the {what} {ascii(name)[1:-1]!r} is not {original!r}, and {how}"
    return _finding(Location("."), "name-lookalike", verdict, message, original)


def _finding(location: Location, rule: str, verdict: Verdict, message: str, subject: str) -> Finding:
    return Finding(
        rule=rule,
        verdict=verdict,
        severity=severity_of(verdict),
        location=location,
        message=printable(message, 300),
        why="names that are easily taken for others are how a false model comes to be used",
        help="compare the name with the publisher's own page, letter by letter",
        confidence=Confidence.MEDIUM if verdict is Verdict.NOTES else Confidence.HIGH,
        subject=printable(subject),
    )
