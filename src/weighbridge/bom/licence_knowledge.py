"""What is known of licences: read from data/licences.json, found by id, tag, text or the name of a well-known base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Any

from weighbridge.bom.licence_texts import KnownText, recognise
from weighbridge.bom.licence_words import Alternative, Duty, Licence, Term
from weighbridge.core.canonical import parse
from weighbridge.core.digest import Digest

SCHEMA = "weighbridge.licence-knowledge/1"
MAX_EXPRESSION = 2000
"""Characters of an expression that is read."""
MAX_ALTERNATIVES = 64
"""Alternatives into which an expression may unfold."""
CATEGORIES: Mapping[str, tuple[tuple[Duty, ...], str]] = {
    "Permissive": ((Duty.ATTRIBUTION,), "open source licences like it ask for notices only"),
    "Public Domain": ((), "nothing is asked for"),
    "Copyleft": ((Duty.ATTRIBUTION, Duty.SHARE_ALIKE, Duty.NO_FURTHER), "licences like it are copyleft"),
    "Copyleft Limited": ((Duty.ATTRIBUTION, Duty.SHARE_ALIKE), "licences like it are copyleft within limits"),
}
"""What is taken of a licence that the public index knows and we have not read; any other category is for a person."""


@dataclass(frozen=True, slots=True)
class Row:
    """One licence of the knowledge base: the licence, and what people want to know of the row itself."""

    licence: Licence
    name: str
    family: str
    tags: tuple[str, ...]
    checked: str
    """`text`: quoted words stand in the text of that digest; `known`: from knowledge only; `n/a`: no licence."""
    quotes: Mapping[Duty, str]
    note: str


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The knowledge base, read."""

    rows: Mapping[str, Row]
    """By id in lower case."""
    tags: Mapping[str, str]
    texts: tuple[KnownText, ...]
    names: tuple[tuple[str, str], ...]
    digest: Digest

    def row(self, name: str) -> Row | None:
        """Return the licence of an id, a hub tag or a licence name, without regard to case, or None."""
        key = " ".join(name.casefold().split())
        for tried in (key, key.replace(" ", "-").replace("_", "-")):
            found = self.rows.get(self.tags.get(tried, tried))
            if found is not None:
                return found
        return None

    def in_text(self, text: str) -> tuple[str, ...]:
        """Return the ids of licences whose whole text stands in `text`."""
        return recognise(text, self.texts)

    def of_base(self, name: str) -> str:
        """Return the id of the licence under which the publisher of a well-known base offers it, or an empty text."""
        key = name.casefold()
        return next((licence for pattern, licence in self.names if fnmatchcase(key, pattern)), "")


@cache
def knowledge() -> Knowledge:
    """Return the knowledge base that comes with the program."""
    data = resources.files("weighbridge.bom").joinpath("data/licences.json").read_bytes()
    value: Any = parse(data)
    if value["schema"] != SCHEMA:
        raise ValueError(f"the knowledge base is not of {SCHEMA}")
    rows = {row["id"].casefold(): _row(row) for row in value["licences"]}
    tags = {tag: row["id"].casefold() for row in value["licences"] for tag in row["tags"]}
    texts = tuple(
        KnownText(row["id"], text["words"], text["head"], text["sha256"])
        for row in value["licences"]
        for text in row["texts"]
    )
    names = tuple((row["pattern"], row["licence"]) for row in value["names"])
    return Knowledge(rows, tags, texts, names, Digest.of(data))


def _row(row: Any) -> Row:
    terms = tuple(
        Term(
            Duty(term["duty"]), term.get("value", ""), term.get("section", ""), term.get("says", ""),
            outputs=term.get("outputs", False),
        )
        for term in row["terms"]
    )  # fmt: skip
    licence = Licence(
        row["id"], terms, bespoke=row["bespoke"], shares_into=tuple(row["shares_into"]),
        conflicts=tuple(row["conflicts"]), format_change=row["format_change"], results_free=row["results_free"],
        review=row["review"] == "lawyer",
    )  # fmt: skip
    quotes = {Duty(term["duty"]): term["quote"] for term in row["terms"] if term.get("quote")}
    return Row(licence, row["name"], row["family"], tuple(row["tags"]), row["checked"], quotes, row["note"])


def unknown(text: str) -> Licence:
    """Return the licence that stands for one nobody here knows, under the name it was given."""
    name = "".join(char if char.isprintable() else "?" for char in text.strip())[:128]
    return Licence(name or "NOASSERTION", (Term(Duty.REVIEW),), review=True)


def read(text: str) -> tuple[Alternative, ...]:
    """Read a tag, a licence name or an SPDX expression as alternatives (OR) of licences that hold together (AND).

    An exception (WITH) that the public index knows only adds permission: the licence's terms stand. Whatever
    cannot be read, or is not known, becomes one unknown licence, which somebody has to conclude.
    """
    known = knowledge().row(text)
    if known is not None:
        return ((known.licence,),)
    if len(text) > MAX_EXPRESSION:
        return ((unknown(text),),)
    try:
        tree = _spdx().parse(text, simple=False)
        found = _alternatives(tree) if tree is not None else [frozenset({unknown(text)})]
    except Exception:  # noqa: BLE001 (the parser raises errors of several kinds; each means that it is unknown)
        return ((unknown(text),),)
    return tuple(sorted({tuple(sorted(one, key=lambda licence: licence.id)) for one in found}))


def _alternatives(tree: Any) -> list[frozenset[Licence]]:
    """Unfold an expression; raises ValueError when it would become too many alternatives."""
    kind = type(tree).__name__
    if kind == "OR":
        found = [one for part in tree.args for one in _alternatives(part)]
    elif kind == "AND":
        found = [frozenset()]
        for part in tree.args:
            found = [one | other for one in found for other in _alternatives(part)]
            if len(found) > MAX_ALTERNATIVES:
                raise ValueError("too many alternatives")
    elif kind == "LicenseWithExceptionSymbol":
        exception = str(tree.exception_symbol.key)
        base = licence_of(str(tree.license_symbol.key))
        found = [frozenset({base if exception in _exceptions() else unknown(f"{base.id} WITH {exception}")})]
    else:
        found = [frozenset({licence_of(str(tree.key))})]
    if len(found) > MAX_ALTERNATIVES:
        raise ValueError("too many alternatives")
    return found


@cache
def licence_of(key: str) -> Licence:
    """Return one licence by id: ours, else what the public index's category says, else unknown."""
    known = knowledge().row(key)
    if known is not None:
        return known.licence
    category = _index().get(key.casefold())
    if category is None or category[1] not in CATEGORIES:
        return unknown(key)
    duties, says = CATEGORIES[category[1]]
    return Licence(
        category[0], tuple(Term(duty, section="by its category", says=says) for duty in duties), review=True
    )


@cache
def _index() -> Mapping[str, tuple[str, str]]:
    from license_expression import get_license_index

    rows = [row for row in get_license_index() if row["spdx_license_key"] and not row["is_exception"]]
    return {row["spdx_license_key"].casefold(): (row["spdx_license_key"], row["category"]) for row in rows}


@cache
def _exceptions() -> frozenset[str]:
    from license_expression import get_license_index

    rows = [row for row in get_license_index() if row["is_exception"] and row["spdx_license_key"]]
    return frozenset(
        row["spdx_license_key"] for row in rows if not row["spdx_license_key"].startswith("LicenseRef")
    )


@cache
def _spdx() -> Any:
    # Reading the index of licences costs about 40 ms, so it happens on first use only.
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()
