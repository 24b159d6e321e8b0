"""Turn declared licence tags into what CycloneDX can carry: an SPDX id, an SPDX expression, or a name."""

from __future__ import annotations

from functools import cache
from typing import Any

from weighbridge.bom.harvest import Facts
from weighbridge.core.canonical import JSON

_UNNAMED = ("other", "unknown")


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
