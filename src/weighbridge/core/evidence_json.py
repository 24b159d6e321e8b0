"""Read evidence back from its JSON, strictly: every member known, of its type, and written as this project writes it.

What a fact class holds stands in its annotations; the reader is made from them, so that no member can be
written and forgotten here. A member that an older version did not write takes its default where it has one.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from weighbridge.core.advisory import Advised, Advisory, AdvisorySeverity
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference
from weighbridge.core.finding import Finding
from weighbridge.core.lineage import AdvisoryKind, Parentage

Reader = Callable[[Any], Any]


class _Parsed:
    """Stands for any JSON value in annotations; it was parsed strictly before it came here."""


@dataclass(frozen=True, slots=True)
class NamedAdvisory(Advisory):
    """An advisory as evidence names it: by its id, without the targets from which the id was made."""

    name: str = ""

    @property
    def id(self) -> str:
        """Return the id that the evidence gives."""
        return self.name


def read(kind: type, value: Any) -> Any:
    """Read one fact of class `kind`; raises ValueError with what is wrong and where."""
    try:
        return _reader(kind)(value)
    except (TypeError, KeyError, AttributeError, BadReference) as error:
        raise ValueError(f"{kind.__name__}: {error}") from error


@cache
def _reader(hint: Any) -> Reader:
    if hint in _SPECIAL:
        return _SPECIAL[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _perhaps(inner)
    if origin is tuple:
        return _list(inner[0]) if inner[1:] == (Ellipsis,) else _fixed(inner)
    if origin is Mapping or (origin is not None and issubclass(origin, Mapping)):
        return _mapping(inner[1])
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return _fact(hint)
    if isinstance(hint, type):
        return _plain(hint)
    raise TypeError(f"{hint} is not read from JSON")


def _plain(kind: type) -> Reader:
    def reader(value: Any) -> Any:
        if type(value) is not kind:  # True is no number here
            raise ValueError(f"{value!r:.80} is no {kind.__name__}")
        return value

    return reader


def _enum(kind: type[Enum]) -> Reader:
    known = {member.value: member for member in kind}

    def reader(value: Any) -> Any:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"{value!r:.80} is no {kind.__name__}")
        return known[value]

    return reader


def _perhaps(inner: tuple[Any, ...]) -> Reader:
    kinds = [one for one in inner if one is not type(None)]
    if len(kinds) != 1:
        raise TypeError(f"{inner} is not read from JSON")
    reader = _reader(kinds[0])
    return lambda value: None if value is None else reader(value)


def _list(inner: Any) -> Reader:
    reader = _reader(inner)

    def read_all(value: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError(f"{value!r:.80} is no list")  # noqa: TRY004 (one error type for callers)
        return tuple([reader(item) for item in value])

    return read_all


def _fixed(inner: tuple[Any, ...]) -> Reader:
    readers = [_reader(one) for one in inner]

    def read_each(value: Any) -> Any:
        if not isinstance(value, list) or len(value) != len(readers):
            raise ValueError(f"{value!r:.80} is no list of {len(readers)}")
        return tuple([reader(item) for reader, item in zip(readers, value, strict=True)])

    return read_each


def _mapping(inner: Any) -> Reader:
    value_of = _reader(inner)

    def reader(value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"{value!r:.80} is no object")  # noqa: TRY004 (one error type for callers)
        return value if inner is _Parsed else {name: value_of(item) for name, item in value.items()}

    return reader


def _fact(kind: type) -> Reader:
    """Return the reader of a fact whose members are its fields."""
    hints = get_type_hints(kind, localns={"JSON": _Parsed})
    rows = {
        row.name: (_reader(hints[row.name]), row.default is MISSING and row.default_factory is MISSING)
        for row in fields(kind)
    }

    def reader(value: Any) -> Any:
        _known(kind, value, rows.keys())
        made = {}
        for name, (read_one, needed) in rows.items():
            if name in value:
                made[name] = read_one(value[name])
            elif needed:
                raise ValueError(f"{kind.__name__} has no {name}")
        return kind(**made)

    return reader


def _known(kind: type, value: Any, names: Any) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r:.80} is no {kind.__name__}")  # noqa: TRY004 (one error type for callers)
    if not value.keys() <= names:
        raise ValueError(f"{kind.__name__} has the unknown member {min(value.keys() - names)!r:.80}")


def _digest(value: Any) -> Digest:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.80} is no digest")  # noqa: TRY004 (one error type for callers)
    return Digest.parse(value)


def _time(value: Any) -> datetime:
    moment = parse_rfc3339(value) if isinstance(value, str) else None
    if moment is None or rfc3339(moment) != value:
        raise ValueError(f"{value!r:.80} is no time as it is written here")
    return moment


def _finding(value: Any) -> Finding:
    """Read a finding; its fingerprint is not believed but made again."""
    if not isinstance(value, dict) or "fingerprint" not in value:
        raise ValueError("a finding has no fingerprint")
    rest = {name: item for name, item in value.items() if name != "fingerprint"}
    finding: Finding = _fact(Finding)(rest)
    if finding.fingerprint != value["fingerprint"]:
        raise ValueError("the fingerprint of a finding is not that of its content")
    return finding


_ADVISED = frozenset({"id", "kind", "severity", "reason", "since", "bundle", "from", "edges"})


def _advised(value: Any) -> Advised:
    _known(Advised, value, _ADVISED)
    texts = {name: _plain(str)(value[name]) for name in ("id", "reason", "since", "bundle")}
    advisory = NamedAdvisory(
        _reader(AdvisoryKind)(value["kind"]),
        (),
        texts["reason"],
        _reader(AdvisorySeverity)(value["severity"]),
        texts["since"],
        "",
        texts["bundle"],
        name=texts["id"],
    )
    return Advised(advisory, _digest(value["from"]), _list(Parentage)(value["edges"]))


_SPECIAL: dict[Any, Reader] = {
    Digest: _digest,
    datetime: _time,
    Finding: _finding,
    Advised: _advised,
    _Parsed: lambda value: value,
}
