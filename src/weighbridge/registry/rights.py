"""Rights: what somebody who asks over HTTP may do, in which project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from weighbridge.trust.authority import EVERY_PROJECT


class Right(StrEnum):
    """What may be done in a project; each but the first brings `read` with it, and none brings another."""

    READ = "read"
    SUBMIT = "submit"
    ATTEST = "attest"
    APPROVE = "approve"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a name, and rights by project (`*`: in every one). `registry.access` makes it."""

    name: str
    rights: Mapping[str, frozenset[Right]] = field(default_factory=dict)
    via: str = "anonymous"
    """`anonymous`, `token` and its id, or the issuer who vouched."""

    def may(self, right: Right, project: str) -> bool:
        """Tell whether this right is held in this project; one with rights of its own does not take those of `*`."""
        held = self.held(project)
        return right in held or (right is Right.READ and bool(held))

    def held(self, project: str) -> frozenset[Right]:
        """Return the rights that are held in this project."""
        return self.rights.get(project, self.rights.get(EVERY_PROJECT, frozenset()))
