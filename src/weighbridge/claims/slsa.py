"""Which SLSA build level the evidence about a model shows, what it rests on, and what is missing for the next one.

Levels are those of the Build track of SLSA v1.2 (https://slsa.dev/spec/v1.2/build-requirements). What a claim
says of its own builder raises nothing: a level above 1 needs a builder that the settings trust for it by name of its
signer, and a signer that the build script could not have used. That is read from the certificate: the workflow that
signed is another one than the workflow that was started, and lives in another repository than what was built. For a
managed key (Tekton Chains) nothing can be read, so its place outside of the build is the settings' word, and said to be.

A recorder runs inside the build it records, as whoever runs the build: it never shows more than level 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weighbridge.claims.words import HOUSE
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadSetting, UsageError
from weighbridge.core.evidence import ClaimFact, Proven
from weighbridge.core.tier import Stage
from weighbridge.trust.expect import Words, matches
from weighbridge.trust.pattern import Pattern

SPECIFICATION = "https://slsa.dev/spec/v1.2/build-requirements"
RECORDERS = f"{HOUSE}/builders/"
"""Builder ids below this URI are our own recorder and command line: they run where the build runs."""
HIGHEST = 3

_BUILDING = (Stage.TRAIN, Stage.CONVERT, Stage.PACKAGE)
_TITLES = {
    "provenance-exists": (1, "Provenance exists"),
    "provenance-authentic": (2, "Provenance is authentic"),
    "hosted": (2, "Hosted"),
    "provenance-unforgeable": (3, "Provenance is unforgeable"),
    "isolated": (3, "Isolated"),
}


@dataclass(frozen=True, slots=True)
class TrustedBuilder:
    """Up to which level one signer is trusted when it signs for one builder; from the settings, never from a claim.

    `signer` is a name in the authority, `builder` the builder id or a pattern over the whole of it. `hosted` is the settings' word that its runners are no workstation, for what no certificate says.
    """

    signer: str
    builder: Words
    level: int
    hosted: bool = False

    def __post_init__(self) -> None:
        if not self.signer or not self.builder or not 1 <= self.level <= HIGHEST:
            raise BadSetting(
                f"a builder cannot be trusted like this: {self.builder!r}",
                cause=f"it needs a signer, a builder id and a level from 1 to {HIGHEST}",
                remedy="see docs/reference/claims.md, trusted builders",
            )


@dataclass(frozen=True, slots=True)
class Build:
    """One build that a provenance tells of: what it made, how, by which builder, and who was proven to have signed."""

    about: tuple[Digest, ...]
    makes: bool
    """Whether it made the weights; packaging does not."""
    kind: str
    """The build type, in our word where it is ours."""
    builder: str
    bundle: Digest
    proof: Proven | None
    reason: str = ""
    """Why the signature is not believed; empty when it is."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement of the Build track: where it stands, of which level, whether the evidence shows it, by what."""

    id: str
    shown: bool
    found: str

    @property
    def level(self) -> int:
        """The lowest level that asks for it."""
        return _TITLES[self.id][0]

    @property
    def title(self) -> str:
        """What the specification calls it."""
        return _TITLES[self.id][1]

    @property
    def section(self) -> str:
        """Where it stands in SLSA v1.2."""
        return f"{SPECIFICATION}#{self.id}"

    def to_json(self) -> dict[str, JSON]:
        """Return the requirement as JSON."""
        return {
            "id": self.id, "level": self.level, "title": self.title, "section": self.section, "shown": self.shown,
            "found": self.found,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class BuildLevel:
    """What the evidence shows of one build."""

    build: Build
    requirements: tuple[Requirement, ...]

    @property
    def level(self) -> int:
        """The highest level all of whose requirements, and those of the levels below, are shown."""
        return min((row.level - 1 for row in self.requirements if not row.shown), default=HIGHEST)

    def to_json(self) -> dict[str, JSON]:
        """Return the build as JSON."""
        signer = str(self.build.proof.signer) if self.build.proof else ""
        return {
            "about": [str(digest) for digest in self.build.about],
            "kind": self.build.kind,
            "builder": self.build.builder,
            "bundle": str(self.build.bundle),
            "signer": signer,
            "level": self.level,
            "requirements": [row.to_json() for row in self.requirements],
        }


@dataclass(frozen=True, slots=True)
class ModelLevel:
    """What the evidence shows of a model: of how its weights were made, and of how all its files were put together."""

    made: BuildLevel | None
    packed: BuildLevel | None
    builds: tuple[BuildLevel, ...]

    @property
    def level(self) -> int:
        """The lower of the two: a model is no better shown than its worst part."""
        return min(part.level if part else 0 for part in (self.made, self.packed))

    @property
    def missing(self) -> tuple[str, ...]:
        """What is not shown and the next level asks for."""
        lacks = []
        for part, words in ((self.made, "the weights"), (self.packed, "the files as a whole")):
            if part is None:
                lacks.append(f"no provenance says how {words} came to be ({SPECIFICATION}#provenance-exists)")
            elif part.level == self.level:
                rows = [row for row in part.requirements if not row.shown and row.level == self.level + 1]
                lacks += [f"{words}: {row.title.lower()}: {row.found} ({row.section})" for row in rows]
        return tuple(dict.fromkeys(lacks))

    def to_json(self) -> dict[str, JSON]:
        """Return the answer as JSON."""
        return {
            "specification": SPECIFICATION,
            "level": self.level,
            "missing": list(self.missing),
            "builds": [build.to_json() for build in self.builds],
        }


def model_level(
    manifest: Digest, weights: Digest | None, builds: Iterable[Build], trusted: Sequence[TrustedBuilder]
) -> ModelLevel:
    """Return what builds show of a model; of several about the same thing the best counts (SLSA, "Verifying artifacts").

    A model without weight files needs only what covers its files.
    """
    every = tuple(build_level(build, trusted) for build in builds)
    packed = [row for row in every if manifest in row.build.about]
    made = [row for row in every if row.build.makes and weights in row.build.about] if weights else packed
    best_made, best_packed = (max(rows, key=lambda row: row.level, default=None) for rows in (made, packed))
    return ModelLevel(best_made, best_packed, every)


def build_of(fact: ClaimFact) -> Build | None:
    """Return the build that a claim of ours tells of; None when it tells of none."""
    if fact.stage not in _BUILDING:
        return None
    return Build(
        about=fact.about,
        makes=fact.stage is not Stage.PACKAGE,
        kind=str(fact.detail.get("method", fact.stage.value)),
        builder=str(fact.detail.get("builder", "")),
        bundle=fact.bundle,
        proof=fact.proof if fact.verified else None,
        reason="" if fact.verified else fact.reason or "it carries no proof of who signed it",
    )


def build_level(build: Build, trusted: Sequence[TrustedBuilder]) -> BuildLevel:
    """Hold one build against the requirements of the Build track."""
    if build.proof is None or not build.builder:
        why = build.reason or "it names no builder"
        return BuildLevel(build, tuple(Requirement(name, shown=False, found=why) for name in _TITLES))
    name, seen = build.proof.signer.name, build.proof.certificate
    entry = max(
        (row for row in trusted if row.signer == name and matches(row.builder, build.builder)),
        key=lambda row: row.level,
        default=None,
    )
    return BuildLevel(
        build,
        (
            Requirement("provenance-exists", shown=True, found=f"{build.kind}, by {build.builder}"),
            _authentic(build, entry),
            _hosted(entry, seen),
            _unforgeable(build, entry, seen),
            _isolated(entry, seen),
        ),
    )


def _authentic(build: Build, entry: TrustedBuilder | None) -> Requirement:
    """Ask whether the provenance is the build platform's word, not its tenant's (section "Provenance is Authentic")."""
    assert build.proof is not None  # asked of builds with a proof only
    problem = _inside(build) or _untrusted(build, entry, 2) or _same_workflow(build)
    found = problem or f"signed by {build.proof.signer}, trusted for {build.builder}{_word(build)}"
    return Requirement("provenance-authentic", shown=not problem, found=found)


def _hosted(entry: TrustedBuilder | None, seen: Mapping[str, str]) -> Requirement:
    """Ask whether all steps ran on hosted infrastructure (section "Hosted")."""
    runner = seen.get("runner-environment", "")
    if _is_hosted(runner):
        return Requirement("hosted", shown=True, found=f"the certificate says that the runner was {runner}")
    if entry is not None and entry.hosted:
        return Requirement("hosted", shown=True, found="by the word of the settings")
    found = f"the certificate says {runner!r}" if runner else "nothing says on what it ran"
    return Requirement("hosted", shown=False, found=found)


def _unforgeable(build: Build, entry: TrustedBuilder | None, seen: Mapping[str, str]) -> Requirement:
    """Ask whether what signs lies out of the reach of the build's own steps (section "Provenance is Unforgeable")."""
    problem = _inside(build) or _untrusted(build, entry, 3) or _same_workflow(build)
    source, signer = seen.get("source-repository-uri", ""), seen.get("build-signer-uri", "")
    if not problem and signer and (not source or _within(signer, source)):
        problem = (
            f"the workflow that signs lies in the repository that it builds, {source or 'which is not named'}"
        )
    found = problem or f"{signer or 'the key'} is out of the build's reach{_word(build)}"
    return Requirement("provenance-unforgeable", shown=not problem, found=found)


def _isolated(entry: TrustedBuilder | None, seen: Mapping[str, str]) -> Requirement:
    """Ask whether nothing but what the build asked for could influence it (section "Isolated")."""
    runner = seen.get("runner-environment", "")
    if entry is None or entry.level < HIGHEST:
        return Requirement(
            "isolated", shown=False, found="no setting trusts the builder to keep builds apart"
        )
    if runner and not _is_hosted(runner):
        return Requirement(
            "isolated", shown=False, found=f"the runner was {runner}, which may serve build after build"
        )
    found = f"the builder is trusted for it; {f'the runner was {runner}' if runner else 'no certificate says more'}"
    return Requirement("isolated", shown=True, found=found)


def _inside(build: Build) -> str:
    """Say why a recorder is no build platform; empty for any other builder."""
    if not build.builder.startswith(RECORDERS):
        return ""
    return "it was recorded inside the build, by whoever ran it"


def _untrusted(build: Build, entry: TrustedBuilder | None, level: int) -> str:
    assert build.proof is not None  # asked of builds with a proof only
    if entry is None:
        return f"no setting trusts {build.proof.signer.name} for the builder {build.builder}"
    return "" if entry.level >= level else f"the settings trust this builder for level {entry.level}"


def _same_workflow(build: Build) -> str:
    """Say why a certificate names an identity that the build could use itself; empty when it does not.

    In GitHub's tokens, which Fulcio copies, the job's workflow (claim 9) differs from the one that was started (claim 18)
    when the job belongs to a reusable workflow. Other issuers name one configuration twice; there it must be kept in
    another repository than the source (claim 12).
    """
    assert build.proof is not None  # asked of builds with a proof only
    seen = build.proof.certificate
    signer, started = seen.get("build-signer-uri", ""), seen.get("build-config-uri", "")
    if not build.proof.signer.subject and not seen:
        return ""  # a managed key: where it lies, only the settings can say
    if not signer or not started:
        return "its certificate does not say which workflow signed and which was started"
    if signer != build.builder:
        return f"the certificate is that of {signer}, not of the builder that the claim names"
    source = seen.get("source-repository-uri", "")
    apart = _path(signer) != _path(started) or (source and not _within(signer, source))
    return "" if apart else "the workflow that was built signs for itself, so its steps can use that identity"


def _word(build: Build) -> str:
    assert build.proof is not None  # asked of builds with a proof only
    return (
        "" if build.proof.certificate else "; that its key is out of the build's reach is the settings' word"
    )


def _is_hosted(runner: str) -> bool:
    return runner.endswith("-hosted") and runner != "self-hosted"


def _path(uri: str) -> str:
    return uri.partition("@")[0].casefold()


def _within(uri: str, repository: str) -> bool:
    """Tell whether a workflow's URI lies in a repository; forges compare names without regard to case."""
    inner, outer = uri.casefold(), repository.casefold().rstrip("/")
    return inner == outer or inner.startswith(f"{outer}/")


def read_trusted(rows: Any) -> tuple[TrustedBuilder, ...]:
    """Read the list `builders.trusted` of the policy's settings; raises BadSetting."""
    try:
        return tuple(_trusted(row) for row in rows)
    except (TypeError, KeyError, UsageError) as error:
        raise BadSetting(
            "the trusted builders of the policy cannot be read",
            cause=error.problem if isinstance(error, UsageError) else str(error),
            remedy="each is a table of signer, builder, level and perhaps hosted",
        ) from error


def _trusted(row: Any) -> TrustedBuilder:
    if not {"signer", "builder", "level"} <= set(row) <= {"signer", "builder", "level", "hosted"}:
        raise TypeError("a member is missing, or nobody knows it")
    signer, level, hosted = row["signer"], row["level"], row.get("hosted", False)
    if not isinstance(signer, str) or type(level) is not int or not isinstance(hosted, bool):
        raise TypeError("signer is a text, level a number, hosted true or false")
    return TrustedBuilder(signer, _words(row["builder"]), level, hosted)


def _words(value: Any) -> Words:
    """Read a builder id, or `{pattern = "…"}` over the whole of one."""
    match value:
        case str():
            return value
        case {"pattern": pattern, **others} if not others:
            return Pattern(pattern)
    raise TypeError("a builder is a text, or a table with a pattern")
