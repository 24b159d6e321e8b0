"""Who is expected to have signed: exact names, patterns over whole names, claims, and combinations of these.

Everything here is applied to a signer that was proven (`prove`), never to what a bundle says of itself. An
expectation gives the reason of its refusal, or None where the signer is one that it expects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, TypeAlias

from weighbridge.core.digest import Digest
from weighbridge.core.errors import UsageError, VerificationFailed
from weighbridge.trust.pattern import Pattern
from weighbridge.trust.proof import Signer

Words: TypeAlias = str | Pattern
"""A text that must be exactly this, character by character, or match this pattern as a whole."""

CLAIMS: Mapping[str, str] = MappingProxyType(
    {
        "workflow-trigger": "2",
        "workflow-sha": "3",
        "workflow-name": "4",
        "workflow-repository": "5",
        "workflow-ref": "6",
        "build-signer-uri": "9",
        "build-signer-digest": "10",
        "runner-environment": "11",
        "source-repository-uri": "12",
        "source-repository-digest": "13",
        "source-repository-ref": "14",
        "source-repository-identifier": "15",
        "source-repository-owner-uri": "16",
        "source-repository-owner-identifier": "17",
        "build-config-uri": "18",
        "build-config-digest": "19",
        "build-trigger": "20",
        "run-invocation-uri": "21",
        "source-repository-visibility": "22",
    }
)
"""Names of claims and their numbers below 1.3.6.1.4.1.57264.1 (Fulcio, docs/oid-info.md)."""

_SOURCE, _BUILDER = CLAIMS["source-repository-uri"], CLAIMS["build-signer-uri"]


_NAMES = {number: name for name, number in CLAIMS.items()}


def named(number: str) -> str:
    """Return the name of a claim by its number, or the number where it has none (1 and 8 are the issuer)."""
    return _NAMES.get(number, number)


class Expected(Protocol):
    """Says whether a proven signer is one that is expected."""

    def refusal(self, signer: Signer) -> str | None:
        """Return why this signer is not expected, or None."""
        ...


@dataclass(frozen=True, slots=True)
class ExpectedKey:
    """A managed key, by its id."""

    key: Digest

    def refusal(self, signer: Signer) -> str | None:
        """Return why this signer is not that key, or None."""
        if signer.certificate:
            return f"a certificate of {signer.subject!r} signed, not the key {self.key.short}"
        return None if signer.key == self.key else f"the key {signer.key.short} signed, not {self.key.short}"


@dataclass(frozen=True, slots=True)
class ExpectedIdentity:
    """What a certificate must say: subject, issuer and claims, each a whole text. Building one checks it."""

    subject: Words | None = None
    issuer: Words | None = None
    claims: Mapping[str, Words] = field(default_factory=dict)
    """By number, or by name as in CLAIMS."""

    def __post_init__(self) -> None:
        if self.subject is None and self.issuer is None and not self.claims:
            raise UsageError(
                "an expected signer without a name would be anybody",
                remedy="name the subject and the issuer",
                check="expect.identity",
            )
        if "" in (self.subject, self.issuer, *self.claims.values()):
            raise UsageError(
                "an expected name is empty", remedy="leave out what may be anything", check="expect.identity"
            )
        numbered = {CLAIMS.get(name, name): words for name, words in self.claims.items()}
        if strangers := [name for name in numbered if not (name.isascii() and name.isdigit())]:
            raise UsageError(
                f"there is no claim {strangers[0]!r}",
                cause=f"known are {', '.join(CLAIMS)}",
                remedy="name one of these, or give its number",
                check="expect.identity",
            )
        object.__setattr__(self, "claims", MappingProxyType(numbered))

    def refusal(self, signer: Signer) -> str | None:
        """Return the first thing in which the signer differs, or None."""
        if not signer.certificate:
            return f"the key {signer.key.short} signed, and a certificate was expected"
        wanted = [("issuer", self.issuer, signer.issuer), ("subject", self.subject, signer.subject)]
        wanted += [
            (f"claim {name}", words, signer.claims.get(name, "")) for name, words in self.claims.items()
        ]
        for what, words, found in wanted:
            if words is not None and not matches(words, found):
                return f"its {what} is {found!r}, expected was {_shown(words)}"
        return None


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every one of some expectations, of which there is at least one."""

    rows: tuple[Expected, ...]

    def __post_init__(self) -> None:
        _check_rows(self.rows)

    def refusal(self, signer: Signer) -> str | None:
        """Return the first refusal, or None where there is none."""
        return next((why for row in self.rows if (why := row.refusal(signer)) is not None), None)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of some expectations."""

    rows: tuple[Expected, ...]

    def __post_init__(self) -> None:
        _check_rows(self.rows)

    def refusal(self, signer: Signer) -> str | None:
        """Return every refusal, or None where one of them takes the signer."""
        causes = [row.refusal(signer) for row in self.rows]
        return None if None in causes else "; ".join(cause for cause in causes if cause)


@dataclass(frozen=True, slots=True)
class BuiltBy:
    """Pairs of source and builder: what comes from this repository must be built by that workflow.

    Where many repositories share a builder, the certificate's subject is the builder; without the pair anybody's
    repository, built there, would do. The builder is claim 9 (else the subject), the source claim 12.
    """

    pairs: tuple[tuple[Words, Words], ...]

    def __post_init__(self) -> None:
        _check_rows(self.pairs)

    def refusal(self, signer: Signer) -> str | None:
        """Return why source and builder are no pair, or None."""
        source, builder = signer.claims.get(_SOURCE, ""), signer.claims.get(_BUILDER, signer.subject)
        if any(matches(first, source) and matches(second, builder) for first, second in self.pairs):
            return None
        return f"{source or 'no source repository'!r} built by {builder!r} is no pair that is expected"


def matches(words: Words, text: str) -> bool:
    """Tell whether a text is exactly these words, or matches this pattern as a whole; an empty text is nothing."""
    if not text:
        return False
    return words.matches(text) if isinstance(words, Pattern) else words == text


def check_expected(expected: Expected, signer: Signer) -> None:
    """Raise VerificationFailed(identity.expected) unless the signer is expected."""
    cause = expected.refusal(signer)
    if cause is not None:
        raise VerificationFailed(
            "somebody else signed",
            cause=cause,
            remedy="ask whoever published it who signs; take no other name because a bundle says so",
            check="identity.expected",
        )


def _check_rows(rows: tuple[object, ...]) -> None:
    if not rows:
        raise UsageError(
            "an empty list of expected signers would say nothing", remedy="name one", check="expect.identity"
        )


def _shown(words: Words) -> str:
    return f"a match of {words.source!r}" if isinstance(words, Pattern) else repr(words)
