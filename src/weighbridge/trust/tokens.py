"""What an identity token said once it was verified: who, as a certificate will name them, and what else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from weighbridge.trust.proof import SubjectKind

SKEW = timedelta(seconds=60)
"""How far an issuer's clock may be from ours, either way."""


@dataclass(frozen=True, slots=True)
class Token:
    """A verified identity. `oidc.TokenVerifier.verify` makes it; building one by hand claims the same."""

    issuer: str
    subject: str
    """As it stands in the certificate: an address, a URI, or `name!domain`."""
    kind: SubjectKind
    expires: datetime
    challenges: tuple[str, ...]
    """What a client may sign to prove that it holds its key (Fulcio: the token's `sub` or its `email`)."""
    claims: Mapping[str, str] = field(default_factory=dict)
    """What the token says of a build, by the last number of Fulcio's OIDs, `2` to `6` and `9` to `23`."""
