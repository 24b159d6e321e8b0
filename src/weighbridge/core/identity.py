"""Identity: who signed. Today a key; the issuer and subject of a certificate later."""

from __future__ import annotations

from dataclasses import dataclass

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest

DEVELOPMENT_ISSUER = "https://development.weighbridge.invalid"
"""Reserved (RFC 6761: `.invalid` never resolves): who vouches for whoever sits at a machine, in demonstrations."""


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """A signer. `key` is the SHA-256 of the public key's SubjectPublicKeyInfo (DER).

    `name` is what the authority calls this identity; empty for a stranger. It is for people and never
    takes part in a comparison that matters: `key` does.
    """

    key: Digest
    name: str = ""
    issuer: str = ""
    subject: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.key.short})" if self.name else f"a stranger ({self.key.short})"

    def to_json(self) -> dict[str, JSON]:
        """Return the identity as it stands in decisions and evidence."""
        return {"key": str(self.key), "name": self.name, "issuer": self.issuer, "subject": self.subject}
