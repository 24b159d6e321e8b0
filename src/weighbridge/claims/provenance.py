"""Read SLSA provenance: any of v1 and v0.2 as plain values, and our own build types as claims.

What is read of a stranger's provenance is what it says, no more: only our build types become claims
(`read_train`, `read_package`, `read_conversion`), and only these prove a link.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from weighbridge.claims.readers import (
    agrees,
    claim_of,
    equivalence_of,
    mapping,
    member,
    moment,
    parents_of,
    text,
)
from weighbridge.claims.words import (
    MATERIAL_NOTE,
    MATERIALS,
    METHODS,
    PROVENANCE,
    PROVENANCE_0_2,
    RELATION_NOTE,
    Claim,
    Parent,
    method_of,
)
from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, VerificationFailed
from weighbridge.core.lineage import Relation
from weighbridge.core.manifest import ChunkTable, Manifest
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Stage

CHUNKS = "weighbridge.chunks/1"
MANIFEST = "weighbridge.manifest/1"
EQUIVALENCE = "weighbridge.equivalence/1"

_LOST = ("buildConfig", "metadata.completeness", "metadata.reproducible")
"""What v0.2 says and v1 has no place for (SLSA v1.0, "Migrating from 0.2")."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """One thing a build resolved: where from, what it is called, its digests as written."""

    uri: str
    name: str
    digests: Mapping[str, str]
    notes: Mapping[str, JSON]


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a provenance says of one build, in the words of v1. `lost` names members of v0.2 that v1 has no place for."""

    version: str
    build_type: str
    builder: str
    invocation: str
    external: Mapping[str, JSON]
    internal: Mapping[str, JSON]
    dependencies: tuple[Dependency, ...]
    started: datetime | None
    finished: datetime | None
    lost: tuple[str, ...] = ()


def read_provenance(statement: Statement) -> Provenance | None:
    """Read SLSA provenance v1 or v0.2 of any build type; None when the statement is of another type.

    Raises VerificationFailed(claim.form) where what the specification requires is missing or ill-typed.
    """
    reader = {PROVENANCE: _v1, PROVENANCE_0_2: _v02}.get(statement.predicate_type)
    if reader is None:
        return None
    try:
        return reader(statement.predicate)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise VerificationFailed(
            "this is not SLSA provenance",
            cause=str(error),
            remedy="have its builder write it again, as https://slsa.dev/spec/v1.2/build-provenance asks",
            check="claim.form",
        ) from error


def _v1(row: Mapping[str, Any]) -> Provenance:
    definition, run = mapping(row, "buildDefinition"), mapping(row, "runDetails")
    metadata = _optional(run, "metadata")
    started, finished = _times(metadata, "startedOn", "finishedOn")
    return Provenance(
        version="v1",
        build_type=text(definition, "buildType"),
        builder=text(mapping(run, "builder"), "id"),
        invocation=text(metadata, "invocationId", empty=True) if "invocationId" in metadata else "",
        external=mapping(definition, "externalParameters"),
        internal=_optional(definition, "internalParameters"),
        dependencies=_dependencies(definition.get("resolvedDependencies")),
        started=started,
        finished=finished,
    )


def _v02(row: Mapping[str, Any]) -> Provenance:
    """Map v0.2 as SLSA v1.0 tells ("Migrating from 0.2"); what has no place there is named and left out."""
    invocation, metadata = _optional(row, "invocation"), _optional(row, "metadata")
    source = _optional(invocation, "configSource")
    external: dict[str, JSON] = dict(_optional(invocation, "parameters"))
    for name, value in (("entryPoint", source.get("entryPoint")), ("source", source.get("uri"))):
        if value is not None and name not in external:
            external[name] = value
    rows = list(row.get("materials") or [])
    rows += [{"uri": source.get("uri", ""), "digest": source["digest"]}] if source.get("digest") else []
    started, finished = _times(metadata, "buildStartedOn", "buildFinishedOn")
    lost = [name for name in _LOST if _has(row, name)]
    return Provenance(
        version="v0.2",
        build_type=text(row, "buildType"),
        builder=text(mapping(row, "builder"), "id"),
        invocation=text(metadata, "buildInvocationId", empty=True) if "buildInvocationId" in metadata else "",
        external=external,
        internal=_optional(invocation, "environment"),
        dependencies=_dependencies(rows),
        started=started,
        finished=finished,
        lost=tuple(lost),
    )


def _has(row: Mapping[str, Any], path: str) -> bool:
    """Tell whether a member is there, or one of `metadata`, which has been read as an object by now."""
    first, _, rest = path.partition(".")
    inner = row.get(first)
    return inner is not None and (not rest or rest in inner)


def _optional(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return mapping(row, name) if row.get(name) is not None else {}


def _times(row: Mapping[str, Any], first: str, last: str) -> tuple[datetime | None, datetime | None]:
    started, finished = (moment(row, name) if row.get(name) is not None else None for name in (first, last))
    if started is not None and finished is not None and finished < started:
        raise ValueError("it ended before it began")
    return started, finished


def _dependencies(rows: Any) -> tuple[Dependency, ...]:
    if rows is None:
        return ()
    if not isinstance(rows, list):
        raise TypeError("dependencies are a list")
    return tuple(_dependency(row) for row in rows)


def _dependency(row: Any) -> Dependency:
    if not isinstance(row, Mapping):
        raise TypeError("a dependency is an object")
    uri, name = (text(row, key, empty=True) if key in row else "" for key in ("uri", "name"))
    digests = _optional(row, "digest")
    if not all(isinstance(value, str) for value in digests.values()):
        raise TypeError("digests are strings")
    return Dependency(uri, name, digests, _optional(row, "annotations"))


# Our own build types.


def read_train(statement: Statement) -> Claim:
    """Read how weights were made: about weights, with the ancestors that the build type asks for."""
    if not any(digest.algorithm == "wbw1" for digest in statement.identities):
        raise ValueError("training binds to weights, and no wbw1: subject is there")
    said, method, parents = _build(statement)
    _check_method(method, parents)
    return claim_of(Stage.TRAIN, statement, parents, said.invocation, _detail(said, method))


def read_package(statement: Statement) -> Claim:
    """Read a packaging claim; the manifest it carries must be the model it is about, file by file."""
    said, method, parents = _build(statement)
    _check_method(method, parents)
    manifest = embedded_manifest(statement)
    agrees(statement, manifest)
    files = {(s.name, dict(s.digests).get("sha256")) for s in statement.subjects if s.name.startswith("./")}
    if files != {(f"./{entry.path}", entry.sha256.hex) for entry in manifest.files}:
        raise ValueError("its file subjects are not the files of the manifest it carries")
    table = embedded_chunks(statement)
    if {row.path for row in table.files} != {entry.path for entry in manifest.files}:
        raise ValueError("its chunk table is not about the files of the manifest it carries")
    detail = {**_detail(said, method), "chunks": str(Digest.of(canonical(table.to_json())))}
    return claim_of(Stage.PACKAGE, statement, (), said.invocation, detail)


def read_conversion(statement: Statement) -> Claim:
    """Read a conversion that a build made: manifest and equivalence stand among the byproducts."""
    said, method, parents = _build(statement)
    _check_method(method, parents)
    if parents[0].digest.algorithm != "wb1":
        raise ValueError("the source of a conversion is a whole model (wb1:)")
    agrees(statement, embedded_manifest(statement))
    roots: Any = parse(_content(statement, EQUIVALENCE))
    detail = {**_detail(said, method), **equivalence_of(roots), "method": text(said.external, "method")}
    return claim_of(Stage.CONVERT, statement, parents, said.invocation, {**detail, "tool": said.builder})


def _build(statement: Statement) -> tuple[Provenance, str, tuple[Parent, ...]]:
    said, method = _v1(statement.predicate), method_of(statement)
    assert method is not None  # the reader was chosen by it
    if not said.invocation:
        raise ValueError("invocationId is no string, or an empty one")
    rows = mapping(statement.predicate, "buildDefinition").get("resolvedDependencies", [])
    return said, method, parents_of(rows, everything=False)


def _check_method(method: str, parents: Iterable[Parent]) -> None:
    """Hold the ancestors against what the build type may say, so that a merge cannot pass for a training."""
    rule = METHODS[method]
    found = {parent.digest for parent in parents if parent.relation is rule.relation}
    for parent in parents:
        if parent.relation is not rule.relation and parent.relation not in rule.beside:
            raise ValueError(f"a build of type {method} has no ancestor by {parent.relation.value}")
        if parent.relation is Relation.DATASET and parent.digest.algorithm != "wb1":
            raise ValueError("a dataset is named by its files (wb1:)")
    if len(found) < rule.least:
        wanted = f"at least {rule.least} by {rule.relation}"
        raise ValueError(f"a build of type {method} names {wanted}, and this one names {len(found)}")
    if rule.most is not None and len(found) > rule.most:
        raise ValueError(
            f"a build of type {method} names at most {rule.most}, and this one names {len(found)}"
        )


def _detail(said: Provenance, method: str) -> dict[str, JSON]:
    """Return what policies may ask of a build; locks and code are named by digest."""
    times = {"started": said.started, "finished": said.finished}
    materials: list[JSON] = [_material(one) for one in said.dependencies if MATERIAL_NOTE in one.notes]
    return {
        "method": method,
        "builder": said.builder,
        "parameters": dict(said.external),
        "materials": materials,
        **{name: rfc3339(at) for name, at in times.items() if at is not None},
    }


def _material(one: Dependency) -> JSON:
    role = text(one.notes, MATERIAL_NOTE)
    if role not in MATERIALS:
        raise ValueError(f"{role!r} is none of {', '.join(MATERIALS)}")
    if RELATION_NOTE in one.notes:
        raise ValueError("what is an ancestor is no other material")
    return {"role": role, "name": one.name, "uri": one.uri, "digest": str(_best(one.digests))}


def _best(digests: Mapping[str, str]) -> Digest:
    """Return the strongest digest we know; a git commit is SHA-1 under either of its names."""
    names = {"sha512": "sha512", "sha256": "sha256", "sha384": "sha384", "sha1": "sha1", "gitCommit": "sha1"}
    for name, algorithm in names.items():
        if name in digests:
            try:
                return Digest(algorithm, digests[name])
            except BadReference as error:
                raise ValueError(error.problem) from error
    raise ValueError("what went into a build is named by a digest we know")


def embedded_manifest(statement: Statement) -> Manifest:
    """Return the manifest among the byproducts."""
    return Manifest.from_json(_content(statement, MANIFEST))


def embedded_chunks(statement: Statement) -> ChunkTable:
    """Return the chunk table among the byproducts."""
    content = _content(statement, CHUNKS)
    table = ChunkTable.from_json(parse(content))
    if canonical(table.to_json()) != content:
        raise ValueError("the chunk table is not canonical JSON")
    return table


def _content(statement: Statement, name: str) -> bytes:
    """Return the one byproduct called `name`, after comparing it with its digest."""
    rows: Iterable[Any] = member(mapping(statement.predicate, "runDetails"), "byproducts")
    found = [row for row in rows if row.get("name") == name]
    if len(found) != 1:
        raise ValueError(f"there must be exactly one byproduct {name}")
    content = base64.b64decode(text(found[0], "content"), validate=True)
    if Digest.of(content).hex != mapping(found[0], "digest").get("sha256"):
        raise ValueError(f"the byproduct {name} is not what its digest says")
    return content
