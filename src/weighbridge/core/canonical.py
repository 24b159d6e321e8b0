"""Canonical JSON (RFC 8785, JCS): one byte string per value, so that digests and signatures mean something.

Keys are sorted by their UTF-16 code units (section 3.2.3), strings escape only what section 3.2.2.2
demands, numbers follow ECMAScript's Number::toString (section 3.2.2.3). Integers beyond 2**53 - 1
would be read back differently by other implementations and are refused rather than rounded.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

MAX_SAFE_INTEGER = 2**53 - 1
MAX_DEPTH = 128
MAX_LEVEL = 1_000_000

_QUICK = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False)
_LEAVES = frozenset({str, bool, type(None)})
_SAME = re.compile(r"-?[0-9]+\.[0-9]*[1-9]")
"""Doubles that Python writes as ECMAScript does: no exponent, and something after the point."""


def canonical(value: JSON) -> bytes:
    """Return `value` as RFC 8785 bytes (UTF-8).

    Raises ValueError for NaN, infinities, integers beyond 2**53 - 1, lone surrogates, keys that are
    not strings, types JSON does not know, and nesting deeper than 128.
    """
    if _plain(value):
        text = _QUICK.encode(value)
    else:
        parts: list[str] = []
        _write(value, parts, 0)
        text = "".join(parts)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("a string holds a lone surrogate, which UTF-8 cannot carry") from error


def parse(data: bytes | str) -> JSON:
    """Parse JSON strictly: duplicate keys, NaN, infinities and numbers beyond a double are ValueErrors."""
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        return json.loads(  # type: ignore[no-any-return]
            text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
        )
    except RecursionError as error:
        raise ValueError("JSON is nested too deeply") from error


def _plain(value: Any) -> bool:
    """Tell whether the standard library's encoder, which is compiled, writes the same bytes as `_write`.

    It does for what most documents are: lists and dicts not too deep, ASCII keys (whose UTF-16 order is their own),
    strings, integers that are exact, and plain fractions. Everything else, and every fault, is left to `_write`.
    """
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is dict:
                if not all(type(key) is str and key.isascii() for key in item):
                    return False
                inner.extend(item.values())
            elif kind is list or kind is tuple:
                inner.extend(item)
            elif kind is int:
                if not -MAX_SAFE_INTEGER <= item <= MAX_SAFE_INTEGER:
                    return False
            elif not (kind in _LEAVES or (kind is float and _SAME.fullmatch(repr(item)))):
                return False
        level = [item for item in inner if type(item) not in _LEAVES]
        if not level:
            return True
        if len(level) > MAX_LEVEL:  # a list in itself is wide before it is deep; `_write` goes down first
            return False
    return False


def _write(value: Any, parts: list[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if value is None or isinstance(value, bool):
        parts.append("null" if value is None else "true" if value else "false")
    elif isinstance(value, str):
        parts.append(_string(value))
    elif isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise ValueError(f"integer {value} is beyond 2**53 - 1; write it as a string")
        parts.append(str(value))
    elif isinstance(value, float):
        parts.append(_number(value))
    elif isinstance(value, Mapping):
        _object(value, parts, depth)
    elif isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        parts.append("[")
        for index, item in enumerate(value):
            if index:
                parts.append(",")
            _write(item, parts, depth + 1)
        parts.append("]")
    else:
        raise ValueError(f"{type(value).__name__} is not a JSON type")


def _object(value: Mapping[Any, JSON], parts: list[str], depth: int) -> None:
    for key in value:
        if not isinstance(key, str):
            raise ValueError(f"object key {key!r} is not a string")  # noqa: TRY004 (one error type for callers)
    parts.append("{")
    for index, key in enumerate(sorted(value, key=lambda k: k.encode("utf-16-be", "surrogatepass"))):
        if index:
            parts.append(",")
        parts.extend((_string(key), ":"))
        _write(value[key], parts, depth + 1)
    parts.append("}")


def _string(value: str) -> str:
    # json escapes exactly what section 3.2.2.2 asks for, except DEL, which both leave alone.
    return json.dumps(value, ensure_ascii=False)


def _number(value: float) -> str:
    """Format as ECMAScript Number::toString; `repr` already gives the shortest digits."""
    if not math.isfinite(value):
        raise ValueError("NaN and infinities are not JSON")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" and not exponent else fraction
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    power = point - 1
    tail = f".{digits[1:]}" if count > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'+' if power >= 0 else '-'}{abs(power)}"


def _unique(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    result: dict[str, JSON] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"duplicate key {key!r}")
        result[key] = value
    return result


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is beyond what a double can hold")
    return value


def _no_constant(name: str) -> JSON:
    raise ValueError(f"{name} is not JSON")
