"""A signer from a reference: the path of a key file, or the URI of a key in a token or a service."""

from __future__ import annotations

import re
from pathlib import Path

from weighbridge.core.errors import UsageError
from weighbridge.keys.files import Password, load
from weighbridge.keys.ports import Signer
from weighbridge.keys.uri import EXTRAS, open_uri

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(//)?")


def open_signer(reference: str, *, password: Password = None, offline: bool = False) -> Signer:
    """Open the key that a reference names; nothing is signed yet.

    `password` is that of the file or the PIN of the token, or a function that asks for it and is called only
    where there is one to ask for. Raises UsageError(key.uri) for a scheme nobody knows, and what `keys.files.load` and
    `keys.uri.open_uri` raise.
    """
    found = _SCHEME.match(reference)
    if found and found[1] in EXTRAS:
        return open_uri(reference, password=password, offline=offline)
    if found and (found[2] or found[1].lower() in EXTRAS):
        raise UsageError(
            f"{reference!r} does not name a key",
            cause=f"known are paths, and URIs that begin with {', '.join(f'{name}:' for name in EXTRAS)}",
            remedy="give the path of a key file, or one of these URIs",
            check="key.uri",
        )
    if not reference:
        raise UsageError(
            "an empty reference names no key", remedy="give the path of a key file", check="key.uri"
        )
    return load(Path(reference), password)
