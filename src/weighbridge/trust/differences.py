"""How the files that are there differ from the files that were signed: what came, went, changed, moved or traded places."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from weighbridge.core.canonical import JSON
from weighbridge.core.errors import VerificationFailed

SHOWN = 8
"""Names that a message gives of each kind; the data has all."""


@dataclass(frozen=True, slots=True)
class Differences:
    """All differences between two lists of files, each file in exactly one of them. False when there is none."""

    added: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    """(name that was signed, name it has now): the same bytes."""
    swapped: tuple[tuple[str, str], ...] = ()
    """(name, name whose signed bytes it holds now)."""

    def __bool__(self) -> bool:
        return bool(self.added or self.missing or self.changed or self.renamed or self.swapped)

    def to_json(self) -> dict[str, JSON]:
        """Return the differences as JSON."""
        return {
            "added": list(self.added),
            "missing": list(self.missing),
            "changed": list(self.changed),
            "renamed": [{"signed": old, "found": new} for old, new in self.renamed],
            "swapped": [{"file": name, "holds": other} for name, other in self.swapped],
        }

    def sentences(self) -> tuple[str, ...]:
        """Say each kind of difference in words, with names."""
        moved = [f"{old!r} is now called {new!r}" for old, new in self.renamed]
        traded = [f"{name!r} holds what was signed as {other!r}" for name, other in self.swapped]
        rows = (
            ("not signed", [repr(name) for name in self.added]),
            ("missing", [repr(name) for name in self.missing]),
            ("other bytes than signed", [repr(name) for name in self.changed]),
            ("renamed", moved),
            ("swapped", traded),
        )
        return tuple(f"{kind}: {_some(names)}" for kind, names in rows if names)


def differences(signed: Mapping[str, Hashable], found: Mapping[str, Hashable]) -> Differences:
    """Compare two lists of files; values are the contents' digests, in the same terms on both sides."""
    added = set(found.keys() - signed.keys())
    missing = signed.keys() - found.keys()
    changed = [name for name in signed.keys() & found.keys() if signed[name] != found[name]]
    came = _by_content(found, added)
    renamed = []
    for name in sorted(missing):
        if same := came.get(signed[name]):
            renamed.append((name, same.pop()))
            added.discard(renamed[-1][1])
    gone = {name for name, _ in renamed}
    held = _by_content(signed, [*changed, *(missing - gone)])
    swapped = [(name, held[found[name]][-1]) for name in sorted(changed) if found[name] in held]
    traded = {name for name, _ in swapped}
    return Differences(
        added=tuple(sorted(added)),
        missing=tuple(sorted(missing - gone)),
        changed=tuple(sorted(name for name in changed if name not in traded)),
        renamed=tuple(renamed),
        swapped=tuple(swapped),
    )


def refuse_differences(found: Differences, what: str, *, hint: str = "") -> None:
    """Raise VerificationFailed(bytes.match) where there is any difference; `hint` is a remedy that fits better than the usual one."""
    if found:
        raise VerificationFailed(
            f"{what} is not what was signed",
            cause="; ".join(found.sentences()),
            remedy=hint or "do not use these files; get them again, or the signature that belongs to them",
            check="bytes.match",
        )


def _by_content(files: Mapping[str, Hashable], names: Iterable[str]) -> dict[Hashable, list[str]]:
    """Return the names by what the files hold, the first name last, so that it is taken first."""
    kept: dict[Hashable, list[str]] = {}
    for name in sorted(names, reverse=True):
        kept.setdefault(files[name], []).append(name)
    return kept


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
