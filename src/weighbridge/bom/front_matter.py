"""Read the YAML front matter of a model card as plain strings, lists and mappings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weighbridge.core.errors import OutOfBudget, Refused

MAX_FRONT_MATTER = 256 * 1024
"""Bytes of front matter; published cards have below 32 KiB, those with many evaluation results below 200."""
_ABSENT = ("", "~", "null", "Null", "NULL")


def read_front_matter(data: bytes) -> Mapping[str, Any]:
    """Return the front matter of a README; empty when there is none.

    Every scalar stays the text it was written as, so that the language `no` is not read as false; nulls
    are left out. Raises Refused(card.form) when it is no mapping, OutOfBudget(card.size) when too large.
    """
    import yaml

    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise _broken("the model card is not UTF-8", str(error)) from error
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
    try:
        # BaseLoader builds only strings, lists and dicts, whatever the tags say.
        value = yaml.load(block, Loader=yaml.BaseLoader)  # noqa: S506 (safer than SafeLoader: no types at all)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _broken("the front matter of the model card is not YAML", str(error)) from error
    if value in _ABSENT or value is None:
        return {}
    if not isinstance(value, dict):
        raise _broken("the front matter of the model card is not a mapping", "")
    return {key: item for key, item in value.items() if isinstance(key, str) and item not in _ABSENT}


def _broken(problem: str, cause: str) -> Refused:
    return Refused(problem, cause=cause[:200], remedy="correct the head of README.md", check="card.form")
