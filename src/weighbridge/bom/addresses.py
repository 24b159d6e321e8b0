"""Addresses in documents (RFC 3987), told by their letters where these are plain: the parser behind the schema's validator is slow.

`rfc3987_syntax`, which jsonschema asks, builds seven parsers when it is imported (more than a second) and takes tens of
milliseconds for an address. It is imported, and asked, only about an address that is not plain.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

PARSER = "rfc3987_syntax"
_CHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_MORE = rf"(?:/{_CHAR}*)*(?:\?(?:{_CHAR}|[/?])*)?(?:#(?:{_CHAR}|[/?])*)?"
_PLAIN = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*:(?://[A-Za-z0-9.-]+(?::[0-9]*)?|{_CHAR}+){_MORE}")
"""A part of what section 2.2 calls an IRI: ASCII letters, a scheme, and a host by name where there is one."""


def is_address(instance: object) -> bool:
    """Tell whether a text is an IRI or a relative reference; whatever is no text is none of this check's business."""
    return not isinstance(instance, str) or is_valid("iri_reference", instance)


def is_valid(term: str, value: str) -> bool:
    """Tell whether a text is what the parser calls `iri` or `iri_reference`."""
    if term in ("iri", "iri_reference") and _PLAIN.fullmatch(value):
        return True
    return bool(importlib.import_module(PARSER).is_valid_syntax(term, value))


@contextmanager
def imported_later() -> Iterator[None]:
    """Stand in for the parser while jsonschema is imported, so that it is built when it is first needed."""
    if PARSER in sys.modules or "jsonschema" in sys.modules or importlib.util.find_spec(PARSER) is None:
        yield
        return
    standing = ModuleType(PARSER)
    vars(standing)["is_valid_syntax"] = is_valid
    sys.modules[PARSER] = standing
    try:
        yield
    finally:
        if sys.modules.get(PARSER) is standing:
            del sys.modules[PARSER]
