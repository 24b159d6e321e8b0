"""`bom`: what is in a model and where each value comes from; compare two documents, check one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from weighbridge.cli.options import Shared, common, opened, progress
from weighbridge.cli.render import count, emit, print_json, safe, say, table
from weighbridge.core.canonical import JSON
from weighbridge.core.errors import NotFound, Unreadable, UsageError

if TYPE_CHECKING:
    from weighbridge.bom.completeness import Completeness
    from weighbridge.core.manifest import FileEntry, Manifest
    from weighbridge.registry.models import Model
    from weighbridge.registry.wiring import Registry

MAX_DOCUMENT = 256 * 1024 * 1024
"""Bytes of a document that is read."""
SPECS = ("1.6", "1.7")
DEFAULT_SPEC = "1.6"


class Bom(click.Group):
    """A group whose first word may be a model: then its document is shown."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read `bom MODEL` as `bom show MODEL`."""
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.command(cls=Bom, name="bom")
def bom() -> None:
    """Print the bill of materials of a model, compare two, check one.

    `weighbridge bom MODEL` is `weighbridge bom show MODEL`.
    """


@dataclass(frozen=True, slots=True)
class Document:
    """A document and the bundle that signs it, empty for one that nobody signed."""

    content: Mapping[str, Any]
    signed: str = ""


@bom.command("show")
@click.argument("model")
@click.option(
    "--spec", type=click.Choice(SPECS), help="Write this version of CycloneDX anew; it is then not signed."
)
@click.option(
    "--profile", metavar="NAME", help="Show what a profile asks for and what the document has of it."
)
@common
def show(shared: Shared, *, model: str, spec: str | None, profile: str | None) -> int:
    """Print the CycloneDX ML-BOM of a model.

    Of a model that is kept here it is the one that intake made and signed; of any other folder or file it is
    made now. With --profile: each element as observed, attested, declared, absent or not applicable.
    """
    document = _document(shared, model, spec)
    if profile is not None:
        from weighbridge.bom.completeness import assess, read_profile

        found = assess(document.content, read_profile(profile), signed=document.signed)
        emit(shared, "assessment", [found.to_json()], _completeness_text(found))
    elif shared.output is not None:
        text = json.dumps(document.content, indent=2, ensure_ascii=False)
        shared.output.write_text(text + "\n", encoding="utf-8")
    else:
        print_json(dict(document.content))
    return 0


@bom.command("diff")
@click.argument("before")
@click.argument("after")
@common
def diff_(shared: Shared, *, before: str, after: str) -> int:
    """Compare two documents, or the documents of two models, by what they say and not by their lines."""
    from weighbridge.bom.diff import diff

    changes = diff(_valid(shared, before), _valid(shared, after))
    lines = []
    for change in changes:
        mark = "+" if not change.before else "-" if not change.after else "~"
        how = " -> ".join(_short(text) for text in (change.before, change.after) if text)
        lines.append(f"{mark} {change.kind.value} {safe(change.what)}: {safe(how)}")
    emit(shared, "change", [change.to_json() for change in changes], "\n".join(lines))
    say(shared, count(len(changes), "change") if changes else "they say the same")
    return 0


@bom.command("check")
@click.argument("document", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--against", metavar="MODEL", help="A folder or kept model that the document must describe.")
@common
def check(shared: Shared, *, document: Path, against: str | None) -> int:
    """Hold a CycloneDX document against its schema, its references, our rules, and a model.

    Exit code 1 when it is not valid, a reference in it leads nowhere, or it does not describe the model. Rules
    that only our own documents keep are listed for those of others, and count for ours.
    """
    from weighbridge.bom.cyclonedx import check_bom, subject_of_bom
    from weighbridge.bom.lint import problems_of
    from weighbridge.bom.schema import version_of
    from weighbridge.core.errors import VerificationFailed

    content = _read(document)
    wrong, rules = problems_of(content)
    try:
        subject = str(subject_of_bom(content))
    except VerificationFailed:
        subject = ""
    if against is not None:
        try:
            check_bom(content, _manifest(shared, against))
        except VerificationFailed as error:
            wrong.append(f"{error.problem}: {error.cause}")
    bad = [*wrong, *(rules if subject else ())]
    lines = [f"✗ {safe(problem)}" for problem in bad]
    lines += [f"  note: {safe(problem)}" for problem in (() if subject else rules)]
    about = f"about {subject}" if subject else "about a model that it does not name by identity"
    lines.append(f"CycloneDX {version_of(content)}, {about}: {'refused' if bad else 'sound'}")
    item: dict[str, JSON] = {
        "version": version_of(content),
        "subject": subject,
        "sound": not bad,
        "bound": against is not None and not bad,
        "problems": [*bad],
        "notes": [] if subject else [*rules],
    }
    emit(shared, "document", [item], "\n".join(lines))
    return 1 if bad else 0


def _document(shared: Shared, model: str, spec: str | None) -> Document:
    """Return the document of a kept model, or make that of a folder."""
    path = Path(model)
    if not path.exists():
        with opened(shared) as registry:
            return _kept_document(registry, model, spec)
    from weighbridge.source.local import open_folder
    from weighbridge.source.read import identify_tree

    with open_folder(path) as tree:
        files = {file.path: file for file in tree.files()}
        with progress(shared, "hashing", sum(file.size for file in files.values())) as advance:
            manifest = identify_tree(tree, progress=advance)
        kept = _kept_of(shared, manifest, spec)
        if kept is None:
            kept = Document(
                _made(manifest, lambda entry: files[entry.path].open(), tree.model_hint, spec or DEFAULT_SPEC)
            )
        tree.settle()
    return kept


def _kept_of(shared: Shared, manifest: Manifest, spec: str | None) -> Document | None:
    """Return the signed document of a folder whose bytes are kept here; None without a registry or such a model."""
    from weighbridge.registry.layout import Layout

    if spec is not None or not Layout(Path(str(shared.config["registry"]))).card.exists():
        return None
    try:
        with opened(shared) as registry:
            return _kept_document(registry, str(manifest.digest), None)
    except NotFound:
        return None


def _kept_document(registry: Registry, text: str, spec: str | None) -> Document:
    from weighbridge.registry import models

    kept = models.get(registry, models.resolve(registry, text))
    if spec is not None:
        return Document(_rewritten(registry, kept, spec))
    if kept.bom is None:
        raise NotFound(
            f"{kept.digest.short} has no bill of materials",
            remedy="take it in again: weighbridge intake PATH",
        )
    return Document(json.loads(kept.bom), signed=_signature(registry, kept))


def _signature(registry: Registry, kept: Model) -> str:
    """Return the digest of a verified claim that carries this very document, or an empty string."""
    from weighbridge.core.statement import Statement
    from weighbridge.core.tier import Stage
    from weighbridge.gate.evidence import told
    from weighbridge.registry import bundles

    facts = told(registry, kept.manifest)
    proven = {fact.bundle for fact in facts if fact.stage is Stage.BOM and fact.verified}
    document = json.loads(kept.bom or "null")
    for bundle in bundles.about(registry, [kept.digest]):
        if bundle.digest in proven and Statement.decode(bundle.envelope.payload).predicate == document:
            return str(bundle.digest)
    return ""


def _rewritten(registry: Registry, kept: Model, spec: str) -> dict[str, Any]:
    """Make the document of a kept model anew from its bytes, with what verified claims say of it."""
    from weighbridge.bom.attested import verified_claims
    from weighbridge.gate.evidence import told
    from weighbridge.registry import models

    def open_file(entry: FileEntry) -> BinaryIO:
        return models.open_blob(registry, entry)

    own = [kept.digest, *([kept.manifest.weights] if kept.manifest.weights else [])]
    claims = verified_claims(told(registry, kept.manifest), own)
    name = kept.label or kept.digest.short
    return _made(kept.manifest, open_file, name, spec, source=kept.source, claims=claims)


def _made(manifest: Manifest, open_file: Any, name: str, spec: str, **more: Any) -> dict[str, Any]:
    import uuid

    from weighbridge.bom.cyclonedx import build_bom
    from weighbridge.bom.harvest import harvest
    from weighbridge.registry.wiring import SystemClock, SystemEntropy

    version = str(more.get("source", {}).get("commit") or manifest.digest.hex[:12])
    return build_bom(
        manifest,
        harvest(manifest, open_file),
        name=name,
        version=version,
        now=SystemClock().now(),
        serial=str(uuid.UUID(bytes=SystemEntropy().token(16), version=4)),
        spec=spec,
        **more,
    )


def _manifest(shared: Shared, text: str) -> Manifest:
    path = Path(text)
    if path.exists():
        from weighbridge.source.local import open_folder
        from weighbridge.source.read import identify_tree

        with open_folder(path) as tree:
            return identify_tree(tree)
    from weighbridge.registry import models

    with opened(shared) as registry:
        return models.get(registry, models.resolve(registry, text)).manifest


def _valid(shared: Shared, text: str) -> Mapping[str, Any]:
    """Return a document that was given as a file, after its schema was checked, or that of a model."""
    path = Path(text)
    if not path.is_file() or path.suffix.lower() != ".json":
        return _document(shared, text, None).content
    from weighbridge.bom.schema import schema_problems

    content = _read(path)
    problems = schema_problems(content)
    if problems:
        raise UsageError(
            f"{path} is not valid CycloneDX",
            cause="; ".join(problems[:3]),
            remedy=f"see weighbridge bom check {path}",
        )
    return content


def _read(path: Path) -> Mapping[str, Any]:
    from weighbridge.core.canonical import parse

    try:
        with path.open("rb") as file:
            data = file.read(MAX_DOCUMENT + 1)
        if len(data) > MAX_DOCUMENT:
            raise UsageError(
                f"{path} is larger than {MAX_DOCUMENT} bytes", remedy="give the document that was meant"
            )
        value = parse(data)
    except FileNotFoundError as error:
        raise NotFound(f"there is no {path}", remedy="check the path") from error
    except OSError as error:
        raise Unreadable(f"{path} cannot be read", cause=error.strerror or str(error)) from error
    except ValueError as error:
        raise Unreadable(f"{path} is not JSON", cause=str(error)[:200], remedy="give a CycloneDX JSON document") from error  # fmt: skip
    if not isinstance(value, dict):
        raise Unreadable(f"{path} is not a JSON object", remedy="give a CycloneDX JSON document")
    return value


def _completeness_text(found: Completeness) -> str:
    from weighbridge.bom.completeness import Status

    rows = []
    for element in found.elements:
        where = element.place or (
            f"missing for {element.missing}, first {element.first}" if element.missing else ""
        )
        rows.append((element.id, element.title, element.status.value, where))
    counts = ", ".join(f"{found.count(status)} {status.value}" for status in Status)
    return f"{table(rows, ('element', 'is', 'status', 'from'))}\n{found.title}: {counts}"


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:117]}..."
