"""What the name of an archive member must not be: one that leads out of the archive, or that readers read differently."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

MAX_NAME, MAX_PARTS = 1024, 64


def problem(name: str) -> str:
    """Say what is wrong with a member's name, or return an empty text."""
    parts = name.rstrip("/").split("/")
    if len(name) > MAX_NAME or len(parts) > MAX_PARTS:
        return f"a member's name has {len(name)} characters"
    if "\\" in name or ":" in parts[0] or any(part in ("", ".", "..") for part in parts):
        return f"the member name {name!r} leads out of the archive, or is ambiguous"
    if any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in name):
        return f"the member name {name!r} holds control characters"
    return ""


def twins(names: Iterable[str]) -> Iterator[bool]:
    """Tell of each name whether an earlier one is the same to some file system, or is a file where this one needs a folder."""
    keys = [unicodedata.normalize("NFKC", name).casefold() for name in names]
    files = {key for key in keys if not key.endswith("/")}
    seen: set[str] = set()
    for key in keys:
        parts = key.split("/", MAX_PARTS)
        parents = ("/".join(parts[:count]) for count in range(1, len(parts)))
        yield key.rstrip("/") in seen or any(parent in files for parent in parents)
        seen.add(key.rstrip("/"))
