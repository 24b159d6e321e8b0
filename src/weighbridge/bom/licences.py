"""What a model's files say of its licence: for the bill of materials as declared, for composing as far as it is known."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from weighbridge.bom.harvest import Facts
from weighbridge.bom.licence_knowledge import knowledge, licence_of, read, unknown
from weighbridge.bom.licence_words import Alternative, Basis, Standing
from weighbridge.core.canonical import JSON

_UNNAMED = ("other", "unknown")
_NO_LICENCE = ("notice", "use_policy", "copying.lesser")
_OF_CODE = "code"


def text_files(facts: Facts) -> tuple[str, ...]:
    """Return the paths of the licence texts that lie at the top of the model; notices and policies are none.

    Where a text says in its name that it is for the code, and another one is there, only the other one is for the weights.
    """
    paths = [
        fact.path
        for fact in facts.every("license_text")
        if "/" not in fact.path and not fact.path.lower().startswith(_NO_LICENCE)
    ]
    weights = [path for path in paths if _OF_CODE not in path.lower()]
    return tuple(weights or paths)


def standing(facts: Facts, texts: Mapping[str, str], label: str) -> Standing:
    """Return under which licence a model stands by its own files; without alternatives when they say nothing.

    `texts` are the contents of `text_files`. The text decides over the tag: of one family it says which release
    holds; of another family, both hold until somebody concludes, so that neither can hide the other.
    """
    tags = list(dict.fromkeys(fact for fact in facts.texts("license")))
    tagged, place = _tagged(facts, tags)
    found = {path: ids for path, text in sorted(texts.items()) if (ids := knowledge().in_text(text))}
    named = list(dict.fromkeys(one for row in found.values() for one in row))
    if not named:
        basis = Basis.DECLARED if tags else Basis.NONE
        if not tags and texts:
            path = min(texts)
            return Standing(label, path, ((unknown(f"the text of {path}"),),), Basis.DECLARED, path)
        return Standing(label, _joined(tagged), tagged, basis, place)
    in_text = tuple(licence_of(one) for one in named)
    where = min(found)
    if not tagged or _same(tagged, in_text):
        return Standing(label, " AND ".join(named), (in_text,), Basis.TEXT, where)
    both = tuple(tuple(dict.fromkeys((*in_text, *one))) for one in tagged)
    against = f"{where} is {' AND '.join(named)}, {place} says {', '.join(tags)}"
    return Standing(label, f"{' AND '.join(named)} AND ({_joined(tagged)})", both, Basis.TEXT, where, against)


def _tagged(facts: Facts, tags: list[str]) -> tuple[tuple[Alternative, ...], str]:
    """Read the tags; `other` is told by license_name. Of several the hub does not say how they hold: all of them."""
    fact = facts.get("license")
    if fact is None or not tags:
        return (), ""
    if len(tags) == 1:
        if tags[0].casefold() in _UNNAMED and (names := facts.texts("license_name")):
            return read(names[0]), facts.every("license_name")[0].place
        return read(tags[0]), fact.place
    every: list[Alternative] = [()]
    for tag in tags[:8]:
        every = [(*one, *other) for one in every for other in read(tag)][:64]
    if len(tags) > 8:
        every = [(*one, unknown(f"{len(tags)} licences")) for one in every]
    return tuple(tuple(dict.fromkeys(one)) for one in every), fact.place


def _same(tagged: tuple[Alternative, ...], in_text: Alternative) -> bool:
    """Tell whether tag and text speak of one licence, or of releases of one family; a text may be one of several."""
    ids, families = {licence.id for licence in in_text}, {_family(licence.id) for licence in in_text}
    return any(
        {one.id for one in each} <= ids or {_family(one.id) for one in each} == families for each in tagged
    )


def _family(licence: str) -> str:
    row = knowledge().row(licence)
    return row.family if row else licence


def _joined(alternatives: tuple[Alternative, ...]) -> str:
    return " OR ".join(" AND ".join(licence.id for licence in one) for one in alternatives)


def licences_of(facts: Facts) -> list[JSON]:
    """Return the `licenses` of a component; empty when the model declares none.

    Every entry is acknowledged as declared: nobody has concluded anything yet. A tag the schema's SPDX
    list does not know becomes a name, so that the document stays valid and the tag is not lost.
    """
    tags = facts.texts("license")
    if len(tags) == 1 and tags[0].lower() not in _UNNAMED:
        expression = _expression(tags[0])
        if expression:
            return [{"expression": expression, "acknowledgement": "declared"}]
    return [{"license": _licence(tag, facts)} for tag in dict.fromkeys(tags)]


def _licence(tag: str, facts: Facts) -> dict[str, JSON]:
    from cyclonedx import spdx

    known = spdx.fixup_id(tag)
    if known is not None and tag.lower() not in _UNNAMED:
        return {"id": known, "acknowledgement": "declared"}
    names = facts.texts("license_name") if tag.lower() in _UNNAMED else ()
    result: dict[str, JSON] = {"name": names[0] if names else tag, "acknowledgement": "declared"}
    link = next(iter(facts.texts("license_link")), "")
    if link.startswith(("https://", "http://")) and link.isascii() and not set(link) & set(' <>"{}|\\^`'):
        result["url"] = link
    return result


def _expression(text: str) -> str:
    """Return a compound SPDX expression in normal form, or an empty string for anything else."""
    if not any(f" {word} " in text.upper() for word in ("AND", "OR", "WITH")):
        return ""
    answer = _spdx().validate(text)
    if answer.errors or answer.invalid_symbols or not answer.normalized_expression:
        return ""
    return str(answer.normalized_expression)


@cache
def _spdx() -> Any:
    # Reading the index of licences costs about 40 ms, so it happens on first use only.
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()
