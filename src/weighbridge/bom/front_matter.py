"""Read YAML of a model as plain strings, lists and mappings: the front matter of its card, recipes, environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weighbridge.core.errors import OutOfBudget, Refused

MAX_FRONT_MATTER = 256 * 1024
"""Characters of front matter; published cards have below 32 KiB, those with many evaluation results below 200."""
MAX_VALUES = 100_000
"""Values of one text, what an alias leads to counted each time."""
_ABSENT = ("", "~", "null", "Null", "NULL")


def read_front_matter(data: bytes) -> Mapping[str, Any]:
    """Return the front matter of a README; empty when there is none.

    Every scalar stays the text it was written as, so that the language `no` is not read as false; nulls
    are left out. Raises Refused(card.form) when it is no mapping, OutOfBudget(card.size) when too large.
    """
    text = _decoded(data)
    if not text.startswith("---\n"):
        return {}
    block, end, _ = text[4:].partition("\n---")
    if not end:
        return {}
    if len(block) > MAX_FRONT_MATTER:
        raise OutOfBudget(
            f"the front matter is longer than {MAX_FRONT_MATTER} characters",
            remedy="shorten the head of README.md",
            check="card.size",
        )
    value = read_yaml(block)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _broken("the front matter of the model card is not a mapping", "")
    return {key: item for key, item in value.items() if item is not None}


def read_yaml_object(data: bytes) -> Mapping[str, Any]:
    """Return the mapping that a YAML file holds, scalars as text; Refused(card.form), OutOfBudget."""
    value = read_yaml(_decoded(data))
    if not isinstance(value, dict):
        raise _broken("this is not a YAML mapping", "")
    return value


def read_yaml(text: str) -> Any:
    """Return the one document of a YAML text: strings, lists, mappings with text keys, and None for nulls.

    Tags build nothing. A mapping keeps the keys that are texts; of a key that stands twice, none. Raises
    Refused(card.form) and OutOfBudget (`yaml.budget`, `card.size`), also for aliases that lead into themselves.
    """
    from weighbridge.formats.yaml_text import documents

    try:
        roots = list(documents(text))
    except Refused as error:
        raise _broken("this is not YAML", error.cause) from error
    if len(roots) > 1:
        raise _broken("this is not one YAML document", f"there are {len(roots)}")
    return _Values().of(roots[0], 0) if roots else None


class _Values:
    """Turns nodes into values, each counted."""

    def __init__(self) -> None:
        self.left = MAX_VALUES

    def of(self, node: Any, depth: int) -> Any:
        self.left -= 1
        if self.left < 0 or depth > 100:
            raise OutOfBudget(
                f"the YAML comes to more than {MAX_VALUES} values, or leads into itself",
                remedy="write it without so many aliases",
                check="card.size",
            )
        if isinstance(node.value, str):
            quoted = node.style in ('"', "'", "|", ">")
            return None if node.value in _ABSENT and not (quoted and node.value) else node.value
        if node.id == "mapping":
            return self.mapping(node, depth)
        return [self.of(item, depth + 1) for item in node.value]

    def mapping(self, node: Any, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        twice: set[str] = set()
        for key, item in node.value:
            if isinstance(key.value, str):
                if key.value in result:
                    twice.add(key.value)
                result[key.value] = self.of(item, depth + 1)
        for key in twice:
            del result[key]
        return result


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise _broken("the text is not UTF-8", str(error)) from error


def _broken(problem: str, cause: str) -> Refused:
    return Refused(problem, cause=cause[:200], remedy="correct the file", check="card.form")
