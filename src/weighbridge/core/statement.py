"""in-toto Statements (in-toto Attestation Framework v1): a claim about digests, before anybody signed it.

The model's own subject is named by its identity (`wb1:…`) and carries `sha256` of the canonical
manifest, which is the same hex. Weights and files are further subjects: `wbw1:…` and `./path`.
A path can therefore never be taken for the model, whatever a file is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, VerificationFailed
from weighbridge.core.manifest import Manifest

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
IDENTITY_ALGORITHMS = ("wb1", "wbw1")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a statement is about: a name and digests by algorithm."""

    name: str
    digests: tuple[tuple[str, str], ...]

    @property
    def identity(self) -> Digest | None:
        """The model or weights identity, when name and sha256 agree on one; None for files."""
        algorithm, _, hexed = self.name.partition(":")
        if algorithm not in IDENTITY_ALGORITHMS:
            return None
        if dict(self.digests).get("sha256") != hexed:
            return None
        try:
            return Digest(algorithm, hexed)
        except BadReference:
            return None

    def to_json(self) -> dict[str, JSON]:
        """Return the subject as a ResourceDescriptor."""
        return {"name": self.name, "digest": dict(self.digests)}


def subject_of(digest: Digest) -> Subject:
    """Make the subject of a model (`wb1:`), of weights (`wbw1:`) or of one nameless file (`sha256:`)."""
    name = str(digest) if digest.algorithm in IDENTITY_ALGORITHMS else ""
    return Subject(name, (("sha256", digest.hex),))


def subjects_of(manifest: Manifest, *, files: bool = False) -> tuple[Subject, ...]:
    """Make the subjects of a manifest: the model, its weights, and with `files` each file as `./path`."""
    subjects = [subject_of(manifest.digest)]
    if manifest.weights is not None:
        subjects.append(subject_of(manifest.weights))
    if files:
        subjects += [Subject(f"./{entry.path}", (("sha256", entry.sha256.hex),)) for entry in manifest.files]
    return tuple(subjects)


@dataclass(frozen=True, slots=True)
class Statement:
    """An in-toto Statement v1: subjects, predicate type (a URI) and predicate."""

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, JSON]

    @property
    def identities(self) -> tuple[Digest, ...]:
        """The model and weights identities this statement is about."""
        return tuple(d for s in self.subjects if (d := s.identity) is not None)

    def is_about(self, digest: Digest) -> bool:
        """Tell whether `digest` (wb1 or wbw1) is one of the subjects."""
        return digest in self.identities

    def encode(self) -> bytes:
        """Return the canonical JSON of the statement: the DSSE payload."""
        return canonical(
            {
                "_type": STATEMENT_TYPE,
                "subject": [subject.to_json() for subject in self.subjects],
                "predicateType": self.predicate_type,
                "predicate": dict(self.predicate),
            }
        )

    @classmethod
    def decode(cls, payload: bytes) -> Statement:
        """Read a statement; raises VerificationFailed(statement.form) when it is not one.

        Unknown members are tolerated (in-toto parsing rules); missing or ill-typed ones are not.
        """
        try:
            value: Any = parse(payload)
            if value["_type"] != STATEMENT_TYPE:
                raise ValueError(f"_type is not {STATEMENT_TYPE}")
            subjects = tuple(_subject(row) for row in value["subject"])
            kind, predicate = value["predicateType"], value["predicate"]
            if not subjects or not isinstance(kind, str) or not isinstance(predicate, dict):
                raise ValueError("subject, predicateType or predicate is missing or of the wrong type")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise VerificationFailed(
                "this is not an in-toto statement", cause=str(error), check="statement.form"
            ) from error
        return cls(subjects, kind, predicate)


def _subject(row: Any) -> Subject:
    name, digests = row.get("name", ""), row["digest"]
    if not isinstance(name, str) or not digests:
        raise ValueError("a subject needs a digest, and its name must be a string")
    pairs = sorted(digests.items())
    if not all(isinstance(key, str) and isinstance(value, str) for key, value in pairs):
        raise ValueError("digests are strings")
    return Subject(name, tuple(pairs))
