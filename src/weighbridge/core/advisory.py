"""Advisories: something is wrong with certain weights, code, data, tokenizers or licences (`weighbridge.advisory/1`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from weighbridge.core.alias import Alias, Scheme
from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.clock import parse_rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference
from weighbridge.core.lineage import CARRIES, AdvisoryKind, Parentage, Relation

ADVISORY_SCHEMA = "weighbridge.advisory/1"
MAX_TARGETS = 1000
MAX_REASON = 4000
ID = re.compile(r"adv-[0-9a-f]{16}")

Target: TypeAlias = "Digest | Alias"
"""What an advisory names: a model (`wb1:`), weights (`wbw1:`), or anything by another name (`file-sha256:…`)."""

_HEX_VALUES = {Scheme.FILE_SHA256: 64, Scheme.OMS_ROOT: 64, Scheme.TENSOR_SET: 64}
"""Schemes whose values are hexadecimal and nothing else: a wrong one would never match, and nobody would notice."""


class AdvisorySeverity(StrEnum):
    """How bad it is, for people; the gate refuses what any advisory reaches."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


def parse_target(text: str) -> Target:
    """Read one target; raises BadReference with what would be one.

    `sha256:<hex>` is taken for `file-sha256:<hex>`, which is how such a digest is published.
    """
    scheme, colon, value = text.strip().partition(":")
    if not colon:
        raise BadReference(
            f"{text[:64]!r} is no target of an advisory",
            cause="a target is an identity (wb1:…, wbw1:…) or SCHEME:VALUE",
            remedy="give it as wb1:…, file-sha256:…, name:org/model, …",
        )
    if scheme in ("wb1", "wbw1"):
        return Digest(scheme, value)
    if scheme == "sha256":
        scheme = Scheme.FILE_SHA256.value
    alias = Alias.parse(f"{scheme}:{value}")
    length = _HEX_VALUES.get(alias.scheme)
    if length is None:
        return alias
    digest = value.lower()
    if len(digest) != length or not re.fullmatch(r"[0-9a-f]+", digest):
        raise BadReference(
            f"{text[:80]!r} can match nothing",
            cause=f"{scheme} takes {length} hexadecimal digits",
            remedy="copy the whole digest",
        )
    return Alias(alias.scheme, digest)


def node_of(target: Target) -> Digest:
    """Return the node of the lineage that a target is, or that stands for it until its bytes are known."""
    return target.node if isinstance(target, Alias) else target


def is_id(text: str) -> bool:
    """Tell whether `text` has the form of an advisory's id."""
    return ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Advisory:
    """One advisory as it stands: what it says, where it counts, the bundle that says so, and whether it was lifted.

    `since` and `lifted` are RFC 3339 times; `lifted` is empty while it stands. The id is a digest over what it
    says, so nobody can make another one of the same id, and a lift can mean only this one.
    """

    kind: AdvisoryKind
    targets: tuple[Target, ...]
    reason: str
    severity: AdvisorySeverity
    since: str
    project: str
    bundle: str = ""
    lifted: str = ""
    lift_reason: str = ""

    @property
    def id(self) -> str:
        """Return `adv-` and the beginning of the SHA-256 of what it says, in which project."""
        return f"adv-{Digest.of(canonical({**self.body(), 'project': self.project})).hex[:16]}"

    @property
    def stands(self) -> bool:
        """Tell whether nobody has lifted it."""
        return not self.lifted

    @property
    def relations(self) -> frozenset[Relation]:
        """Return along which relations it reaches what came from its targets."""
        return CARRIES[self.kind]

    @property
    def nodes(self) -> tuple[Digest, ...]:
        """Return the nodes of its targets."""
        return tuple(node_of(target) for target in self.targets)

    def body(self) -> dict[str, JSON]:
        """Return what it says, without its id."""
        return {
            "kind": self.kind.value,
            "targets": [str(target) for target in self.targets],
            "reason": self.reason,
            "severity": self.severity.value,
            "since": self.since,
        }

    def to_json(self) -> dict[str, JSON]:
        """Return one item of `weighbridge.advisory/1`, without what it reaches."""
        return {
            "id": self.id,
            **self.body(),
            "relations": sorted(relation.value for relation in self.relations),
            "project": self.project,
            "bundle": self.bundle,
            "lifted": self.lifted,
            "lift_reason": self.lift_reason,
        }


def read_advisory(body: Mapping[str, Any], project: str) -> Advisory:
    """Read what a record says; raises ValueError, TypeError, KeyError or BadReference.

    Targets must stand in their one spelling and order, and the id must be the one that this content has.
    """
    texts = body["targets"]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise TypeError("targets is a list of texts")
    targets = distinct(parse_target(text) for text in texts)
    if [str(target) for target in targets] != texts:
        raise ValueError("its targets are not in order, not in their one spelling, or not distinct")
    reason, since = body["reason"], body["since"]
    if not isinstance(reason, str) or not reason.strip() or len(reason) > MAX_REASON:
        raise ValueError(f"the reason has 1 to {MAX_REASON} characters")
    parse_rfc3339(since)
    made = Advisory(
        AdvisoryKind(body["kind"]), targets, reason, AdvisorySeverity(body["severity"]), since, project
    )
    if body["id"] != made.id:
        raise ValueError("its id is not the one that its content has")
    return made


def distinct(targets: Iterable[Target]) -> tuple[Target, ...]:
    """Return targets once each, in the order of their texts; raises BadReference for none or too many."""
    found = tuple(sorted(set(targets), key=str))
    if not 0 < len(found) <= MAX_TARGETS:
        raise BadReference(
            f"an advisory names 1 to {MAX_TARGETS} targets, not {len(found)}",
            remedy="name each with --target, and split a longer list over several advisories",
        )
    return found


@dataclass(frozen=True, slots=True)
class Advised:
    """An advisory that reaches one model: which, and the surest way from what it names down to the model."""

    advisory: Advisory
    origin: Digest
    way: tuple[Parentage, ...]

    def to_json(self) -> dict[str, JSON]:
        """Return the fact as it stands in `weighbridge.evidence/1`."""
        return {
            "id": self.advisory.id,
            "kind": self.advisory.kind.value,
            "severity": self.advisory.severity.value,
            "reason": self.advisory.reason,
            "since": self.advisory.since,
            "bundle": self.advisory.bundle,
            "from": str(self.origin),
            "edges": [edge.to_json() for edge in self.way],
        }

    def __str__(self) -> str:
        """Return the way as one line, parents first."""
        steps = [self.origin.short, *(f"—{edge.relation.value}→ {edge.child.short}" for edge in self.way)]
        return " ".join(steps)
