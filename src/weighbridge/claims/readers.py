"""Strict readers of our own predicates: each becomes a Claim or a plain error that says what is wrong.

Builds are read by `provenance`, reports and summaries by `reports`, with the helpers at the end of this file.

They raise ValueError, TypeError, KeyError, AttributeError, BadReference or BadManifest; `predicates.read_claim` words these
as a refusal. Members nobody knows are tolerated (in-toto parsing rules), known ones of the wrong type
are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from weighbridge.claims.words import IDENTITY_NOTE, METRICS, RELATION_NOTE, Claim, Parent, bom_version
from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Relation
from weighbridge.core.manifest import Manifest
from weighbridge.core.statement import IDENTITY_ALGORITHMS, Statement
from weighbridge.core.tier import Stage

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
    parents = parents_of(row.get("parents", []), everything=True)
    if any(parent.relation is not Relation.DATASET for parent in parents):
        raise ValueError("a dataset is made of datasets only")
    detail = {name: text(row, name) for name in ("source", "licence")}
    detail["description"] = text(row, "description", empty=True) if "description" in row else ""
    return claim_of(Stage.DATA, statement, parents, text(row, "invocation"), detail)


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
    for name in ("passedTests", "warnedTests", "failedTests"):
        if name in row:
            detail[name] = texts(row[name], name)
    return claim_of(Stage.EVALUATE, statement, (), text(extension, "invocation"), detail)


def read_convert(statement: Statement) -> Claim:
    """Read a conversion; proven equivalence means equal roots over the tensors of both sides."""
    row = statement.predicate
    agrees(statement, _manifest(row))
    source = Digest.parse(text(row, "source"))
    if source.algorithm != "wb1":
        raise ValueError("the source of a conversion is a whole model (wb1:)")
    detail = {name: text(row, name) for name in ("method", "tool")} | equivalence_of(row)
    parents = (Parent(source, Relation.CONVERSION),)
    return claim_of(Stage.CONVERT, statement, parents, text(row, "invocation"), detail)


def read_origin(statement: Statement) -> Claim:
    """Read an accepted origin: about the files as received."""
    row = statement.predicate
    agrees(statement, _manifest(row))
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
    return claim_of(Stage.ORIGIN, statement, (), invocation, detail)


def read_bom(statement: Statement) -> Claim:
    """Read a bill of materials as far as binding goes; whether it is about the bytes, the gate finds out."""
    row = statement.predicate
    if text(row, "bomFormat") != "CycloneDX":
        raise ValueError("bomFormat is not CycloneDX")
    version = bom_version(statement.predicate_type)
    if version and text(row, "specVersion") != version:
        raise ValueError(f"its type says {version}, and its specVersion another one")
    only_model(statement)
    return claim_of(Stage.BOM, statement, (), "", {"spec_version": text(row, "specVersion")})


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


def texts(rows: Any, name: str) -> list[JSON]:
    """Return a list of texts, none of them empty."""
    if not isinstance(rows, list) or not all(isinstance(item, str) and item for item in rows):
        raise TypeError(f"{name} are a list of texts")
    return list(rows)


def moment(row: Any, name: str) -> datetime:
    """Return the member `name` as a time (RFC 3339)."""
    return parse_rfc3339(text(row, name))


def equivalence_of(row: Mapping[str, Any]) -> dict[str, JSON]:
    """Read how sure it is that two sides hold the same tensors; proven means equal digests over all of them."""
    detail: dict[str, JSON] = {
        name: text(row, name) for name in ("equivalence", "source_root", "output_root")
    }
    if detail["equivalence"] not in EQUIVALENCES:
        raise ValueError(f"equivalence is none of {', '.join(EQUIVALENCES)}")
    if detail["equivalence"] == "proven" and detail["source_root"] != detail["output_root"]:
        raise ValueError("equivalence is called proven, but the tensors of source and output differ")
    return detail


def claim_of(
    stage: Stage,
    statement: Statement,
    parents: tuple[Parent, ...],
    invocation: str,
    detail: Mapping[str, JSON],
) -> Claim:
    """Make the claim of a statement; relations and invocation stand in its detail, where policies see them."""
    relations: JSON = {str(parent.digest): parent.relation.value for parent in parents}
    about = tuple(sorted(set(statement.identities)))
    return Claim(
        stage, about, parents, invocation, {**detail, "relations": relations, "invocation": invocation}
    )


def _only(statement: Statement, algorithm: str) -> None:
    if {digest.algorithm for digest in statement.identities} != {algorithm}:
        raise ValueError(f"it must be about exactly one {algorithm}: identity")


def only_model(statement: Statement) -> None:
    """Refuse a description that is not about a whole model."""
    if not any(digest.algorithm == "wb1" for digest in statement.identities):
        raise ValueError("it must be about a whole model (wb1:)")


def _manifest(row: Mapping[str, Any]) -> Manifest:
    return Manifest.from_json(canonical(mapping(row, "manifest")))


def agrees(statement: Statement, manifest: Manifest) -> None:
    """Refuse a claim that is about anything but the manifest it carries and that manifest's weights."""
    expected = {manifest.digest} if manifest.weights is None else {manifest.digest, manifest.weights}
    if set(statement.identities) != expected:
        raise ValueError("its subjects are not the model and the weights of the manifest it carries")


def parents_of(rows: Any, *, everything: bool) -> tuple[Parent, ...]:
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
    notes = mapping(row, "annotations") if "annotations" in row else {}
    if IDENTITY_NOTE not in notes and RELATION_NOTE not in notes:
        return None
    identity = Digest.parse(text(notes, IDENTITY_NOTE))
    if identity.algorithm not in IDENTITY_ALGORITHMS:
        raise ValueError(f"{identity} is not the identity of a model, weights or a dataset")
    if mapping(row, "digest").get("sha256") != identity.hex:
        raise ValueError(f"the parent {identity} carries another SHA-256")
    name = text(row, "name", empty=True) if "name" in row else ""
    return Parent(identity, Relation(text(notes, RELATION_NOTE)), name)
