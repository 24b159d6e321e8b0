"""Digests: algorithm and hex, parsed once, compared only as Digests.

`sha256:` always means one file's bytes. `wb1:` is the identity of a whole model (SHA-256 of its
canonical manifest) and `wbw1:` the same over its weight files only; see docs/reference/manifest.md.
`alias:` stands in a lineage for something that is known by another name only (`core.alias`).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from weighbridge.core.errors import BadReference

HEX_LENGTH = {
    "sha256": 64, "sha384": 96, "sha512": 128, "sha1": 40, "blake3": 64, "wb1": 64, "wbw1": 64, "alias": 64,
}  # fmt: skip

_HEX = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """One digest; build it with `parse` or `of`, so that its length and alphabet are known good."""

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        length = HEX_LENGTH.get(self.algorithm)
        if length is None:
            raise BadReference(
                f"unknown digest algorithm {self.algorithm!r}",
                cause=f"known are {', '.join(sorted(HEX_LENGTH))}",
                remedy="give the digest as ALGORITHM:HEX, for example sha256:… or wb1:…",
            )
        if len(self.hex) != length or not _HEX.fullmatch(self.hex):
            raise BadReference(
                f"{self.hex!r} is not a {self.algorithm} digest",
                cause=f"{length} lower-case hexadecimal digits are needed",
                remedy="copy the whole digest, in lower case",
            )

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Parse `algorithm:hex`; raises BadReference."""
        algorithm, colon, value = text.partition(":")
        if not colon:
            raise BadReference(
                f"{text!r} is not a digest",
                cause="there is no ':' between algorithm and value",
                remedy="give the digest as ALGORITHM:HEX, for example sha256:… or wb1:…",
            )
        return cls(algorithm, value)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """Return the SHA-256 digest of `data`."""
        return cls("sha256", hashlib.sha256(data).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @property
    def short(self) -> str:
        """Return the first twelve hex digits with the algorithm, for people's eyes only."""
        return f"{self.algorithm}:{self.hex[:12]}"
