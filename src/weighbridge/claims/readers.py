"""Strict readers, one for each stage: a predicate becomes a Claim or a plain error that says what is wrong.

They raise ValueError, TypeError, KeyError, AttributeError, BadReference or BadManifest; `predicates.read_claim` words these
as a refusal. Members nobody knows are tolerated (in-toto parsing rules), known ones of the wrong type
are not.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from weighbridge.claims.words import ADMISSION, IDENTITY_NOTE, METRICS, RELATION_NOTE, Claim, Parent
from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Relation
from weighbridge.core.manifest import ChunkTable, Manifest
from weighbridge.core.statement import IDENTITY_ALGORITHMS, Statement
from weighbridge.core.tier import Stage, Tier

RESULTS = ("PASSED", "WARNED", "FAILED")
EQUIVALENCES = ("proven", "unproven")


def check_subjects(statement: Statement) -> None:
    """Refuse subjects that contradict themselves or speak of two models at once.

    A subject called `wb1:…` whose SHA-256 is another one would be about nothing while looking like a
    claim; two models in one claim could lend each other their evidence.
    """
    for subject in statement.subjects:
        if subject.name.partition(":")[0] in IDENTITY_ALGORITHMS and subject.identity is None:
            raise ValueError(f"the subject {subject.name!r} does not carry its own SHA-256")
    for algorithm in IDENTITY_ALGORITHMS:
        if len({digest for digest in statement.identities if digest.algorithm == algorithm}) > 1:
            raise ValueError(f"it names more than one {algorithm}: identity")
    if not statement.identities:
        raise ValueError("it names neither a model (wb1:) nor weights (wbw1:)")


def read_data(statement: Statement) -> Claim:
    """Read a dataset claim: about one dataset, perhaps made of others."""
    row = statement.predicate
    _only(statement, "wb1")
    parents = _parents(row.get("parents", []), everything=True)
    if any(parent.relation is not Relation.DATASET for parent in parents):
        raise ValueError("a dataset is made of datasets only")
    detail = {name: text(row, name) for name in ("source", "licence")}
    detail["description"] = text(row, "description", empty=True) if "description" in row else ""
    return _claim(Stage.DATA, statement, parents, text(row, "invocation"), detail)


def read_train(statement: Statement) -> Claim:
    """Read a training claim: about weights, with at least one parent."""
    if not any(digest.algorithm == "wbw1" for digest in statement.identities):
        raise ValueError("training binds to weights, and no wbw1: subject is there")
    row = statement.predicate
    definition, run = mapping(row, "buildDefinition"), mapping(row, "runDetails")
    parents = _parents(member(definition, "resolvedDependencies"), everything=False)
    if not parents:
        raise ValueError("it names neither a dataset nor a base it came from")
    method = text(definition, "buildType").rsplit("/", 2)[1]
    detail: dict[str, JSON] = {"method": method, "builder": text(member(run, "builder"), "id")}
    mapping(definition, "externalParameters")
    return _claim(Stage.TRAIN, statement, parents, _invocation(run), detail)


def read_package(statement: Statement) -> Claim:
    """Read a packaging claim; the manifest it carries must be the model it is about, file by file."""
    row = statement.predicate
    definition, run = mapping(row, "buildDefinition"), mapping(row, "runDetails")
    mapping(definition, "externalParameters")
    manifest = embedded_manifest(statement)
    _agrees(statement, manifest)
    files = {(s.name, dict(s.digests).get("sha256")) for s in statement.subjects if s.name.startswith("./")}
    if files != {(f"./{entry.path}", entry.sha256.hex) for entry in manifest.files}:
        raise ValueError("its file subjects are not the files of the manifest it carries")
    table = embedded_chunks(statement)
    if {row.path for row in table.files} != {entry.path for entry in manifest.files}:
        raise ValueError("its chunk table is not about the files of the manifest it carries")
    detail: dict[str, JSON] = {
        "builder": text(member(run, "builder"), "id"),
        "chunks": str(Digest.of(canonical(table.to_json()))),
    }
    return _claim(Stage.PACKAGE, statement, (), _invocation(run), detail)


def read_evaluate(statement: Statement) -> Claim:
    """Read a test result; metrics and invocation stand in our extension member."""
    row = statement.predicate
    result = text(row, "result")
    if result not in RESULTS:
        raise ValueError(f"result is none of {', '.join(RESULTS)}")
    if not isinstance(member(row, "configuration"), list):
        raise TypeError("configuration is a list")
    extension = mapping(row, METRICS)
    metrics = mapping(extension, "metrics")
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"the metric {name!r} is not a number")
    detail: dict[str, JSON] = {"result": result, "metrics": dict(metrics)}
    return _claim(Stage.EVALUATE, statement, (), text(extension, "invocation"), detail)


def read_convert(statement: Statement) -> Claim:
    """Read a conversion; proven equivalence means equal roots over the tensors of both sides."""
    row = statement.predicate
    _agrees(statement, _manifest(row))
    source = Digest.parse(text(row, "source"))
    if source.algorithm != "wb1":
        raise ValueError("the source of a conversion is a whole model (wb1:)")
    names = ("method", "equivalence", "source_root", "output_root", "tool")
    detail: dict[str, JSON] = {name: text(row, name) for name in names}
    if detail["equivalence"] not in EQUIVALENCES:
        raise ValueError(f"equivalence is none of {', '.join(EQUIVALENCES)}")
    if detail["equivalence"] == "proven" and detail["source_root"] != detail["output_root"]:
        raise ValueError("equivalence is called proven, but the tensors of source and output differ")
    parents = (Parent(source, Relation.CONVERSION),)
    return _claim(Stage.CONVERT, statement, parents, text(row, "invocation"), detail)


def read_origin(statement: Statement) -> Claim:
    """Read an accepted origin: about the files as received."""
    row = statement.predicate
    _agrees(statement, _manifest(row))
    detail: dict[str, JSON] = {
        name: text(row, name) for name in ("publisher", "licence", "reviewer", "reason")
    }
    # A model that came as files has neither repository nor commit; policies may ask for them.
    detail |= {name: text(row, name, empty=True) for name in ("repository", "commit")}
    matches = member(row, "matches_announced")
    if not isinstance(matches, bool):
        raise TypeError("matches_announced is true or false")
    detail["matches_announced"] = matches
    detail["expires"] = rfc3339(parse_rfc3339(text(row, "expires")))
    invocation = text(row, "invocation", empty=True) if "invocation" in row else ""
    return _claim(Stage.ORIGIN, statement, (), invocation, detail)


def read_bom(statement: Statement) -> Claim:
    """Read a bill of materials as far as binding goes; whether it is about the bytes, the gate finds out."""
    row = statement.predicate
    if text(row, "bomFormat") != "CycloneDX":
        raise ValueError("bomFormat is not CycloneDX")
    _only_model(statement)
    return _claim(Stage.BOM, statement, (), "", {"spec_version": text(row, "specVersion")})


def read_scan(statement: Statement) -> Claim:
    """Read somebody's scan report: information, never the gate's own scan."""
    report = mapping(statement.predicate, "report")
    if text(report, "manifest") not in {str(digest) for digest in statement.identities}:
        raise ValueError("the report is about another model than the claim")
    detail: dict[str, JSON] = {"verdict": text(report, "verdict")}
    detail["ruleset"] = text(mapping(report, "ruleset"), "digest")
    return _claim(Stage.SCAN, statement, (), "", detail)


def read_admit(statement: Statement) -> Claim:
    """Read a verification summary; `summary.read_vsa` gives all of it."""
    row = statement.predicate
    extension = mapping(row, ADMISSION)
    if text(row, "verificationResult") not in ("PASSED", "FAILED"):
        raise ValueError("verificationResult is neither PASSED nor FAILED")
    _only_model(statement)
    detail: dict[str, JSON] = {name: text(extension, name) for name in ("registry", "project", "decision")}
    detail["result"] = text(row, "verificationResult")
    detail["tier"] = Tier(text(extension, "tier")).value
    detail["expires"] = rfc3339(parse_rfc3339(text(extension, "expires")))
    return _claim(Stage.ADMIT, statement, (), "", detail)


def embedded_manifest(statement: Statement) -> Manifest:
    """Return the manifest among the byproducts."""
    return Manifest.from_json(_content(statement, "weighbridge.manifest/1"))


def embedded_chunks(statement: Statement) -> ChunkTable:
    """Return the chunk table among the byproducts."""
    content = _content(statement, "weighbridge.chunks/1")
    table = ChunkTable.from_json(parse(content))
    if canonical(table.to_json()) != content:
        raise ValueError("the chunk table is not canonical JSON")
    return table


def text(row: object, name: str, *, empty: bool = False) -> str:
    """Return the string member `name`; not empty unless `empty` allows it."""
    value = member(row, name)
    if not isinstance(value, str) or not (value or empty):
        raise ValueError(f"{name} is no string, or an empty one")
    return value


def member(row: Any, name: str) -> Any:
    """Return the member `name` of something that must be an object."""
    if not isinstance(row, Mapping) or name not in row:
        raise ValueError(f"{name} is missing")
    return row[name]


def mapping(row: Any, name: str) -> Mapping[str, Any]:
    """Return the member `name`, which must be an object."""
    value = member(row, name)
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is not an object")
    return value


def _claim(
    stage: Stage,
    statement: Statement,
    parents: tuple[Parent, ...],
    invocation: str,
    detail: Mapping[str, JSON],
) -> Claim:
    relations: JSON = {str(parent.digest): parent.relation.value for parent in parents}
    about = tuple(sorted(set(statement.identities)))
    return Claim(
        stage, about, parents, invocation, {**detail, "relations": relations, "invocation": invocation}
    )


def _only(statement: Statement, algorithm: str) -> None:
    if {digest.algorithm for digest in statement.identities} != {algorithm}:
        raise ValueError(f"it must be about exactly one {algorithm}: identity")


def _only_model(statement: Statement) -> None:
    if not any(digest.algorithm == "wb1" for digest in statement.identities):
        raise ValueError("it must be about a whole model (wb1:)")


def _invocation(run: Any) -> str:
    return text(member(run, "metadata"), "invocationId")


def _manifest(row: Mapping[str, Any]) -> Manifest:
    return Manifest.from_json(canonical(mapping(row, "manifest")))


def _agrees(statement: Statement, manifest: Manifest) -> None:
    """Refuse a claim that is about anything but the manifest it carries and that manifest's weights."""
    expected = {manifest.digest} if manifest.weights is None else {manifest.digest, manifest.weights}
    if set(statement.identities) != expected:
        raise ValueError("its subjects are not the model and the weights of the manifest it carries")


def _parents(rows: Any, *, everything: bool) -> tuple[Parent, ...]:
    """Read the dependencies that carry an identity; with `everything`, each must."""
    if not isinstance(rows, list):
        raise TypeError("dependencies are a list")
    found = [_parent(row) for row in rows]
    if everything and None in found:
        raise ValueError("a parent has no identity")
    parents = tuple(parent for parent in found if parent is not None)
    by_identity = {parent.digest: parent.relation for parent in parents}
    if any(by_identity[parent.digest] is not parent.relation for parent in parents):
        raise ValueError("one parent stands in two relations")
    return parents


def _parent(row: Any) -> Parent | None:
    notes: Any = row.get("annotations", {})
    if not isinstance(notes, Mapping):
        raise TypeError("annotations are an object")
    if IDENTITY_NOTE not in notes and RELATION_NOTE not in notes:
        return None
    identity = Digest.parse(text(notes, IDENTITY_NOTE))
    if identity.algorithm not in IDENTITY_ALGORITHMS:
        raise ValueError(f"{identity} is not the identity of a model, weights or a dataset")
    if mapping(row, "digest").get("sha256") != identity.hex:
        raise ValueError(f"the parent {identity} carries another SHA-256")
    name = row.get("name", "")
    if not isinstance(name, str):
        raise TypeError("the name of a parent is a string")
    return Parent(identity, Relation(text(notes, RELATION_NOTE)), name)


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
