"""`attest`: make a claim about a model or dataset, sign it, and hand it in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import count, safe, size
from weighbridge.cli.signing import BUNDLE, chosen, hand_in, how_to_sign
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import UsageError, WeighbridgeError
from weighbridge.core.lineage import Relation
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.recorder.stages import BY_RELATION, STAGES, StageWord

if TYPE_CHECKING:
    from weighbridge.claims.words import Material, Parent
    from weighbridge.core.statement import Statement
    from weighbridge.registry.wiring import Registry
    from weighbridge.source.datasets import Dataset
    from weighbridge.tensors.fingerprint import Fingerprint

BUILDER = click.option(
    "--builder", default="https://weighbridge.dev/builders/by-hand", help="URI of what ran."
)
RUN = click.option("--run", default="by-hand", help="Id of the run (a job number, a commit).")


@dataclass(frozen=True, slots=True)
class Seen:
    """A claim to be signed, and what was seen of the thing on the way: as data and as lines for people."""

    statement: Statement
    facts: dict[str, JSON] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


@click.command()
@click.argument("model")
@click.option("--stage", required=True, type=click.Choice(list(STAGES)), help="What the claim is about.")
@how_to_sign
@BUILDER
@RUN
@click.option(
    "--data",
    multiple=True,
    metavar="PATH|wb1:…",
    help="A dataset it was trained on, or a dataset was made of.",
)
@click.option("--base", multiple=True, metavar="MODEL", help="A model it came from.")
@click.option(
    "--teacher", multiple=True, metavar="MODEL", help="A model it was distilled from (stage distil)."
)
@click.option(
    "--relation",
    type=click.Choice([r.value for r in BY_RELATION]),
    help="How it came from --base, where the stage does not say it (stage train; default: fine-tune).",
)
@click.option("--lock", multiple=True, metavar="FILE", help="A lock file of what it was made with.")
@click.option(
    "--parameter", multiple=True, metavar="NAME=VALUE", help="What the run was given by whoever started it."
)
@click.option("--metric", multiple=True, metavar="NAME=VALUE", help="A measured value (stage evaluate).")
@click.option(
    "--result", type=click.Choice(["PASSED", "WARNED", "FAILED"]), default="PASSED", help="Stage evaluate."
)
@click.option("--source", default="", help="Where a dataset comes from (stage data).")
@click.option("--licence", default="", help="A dataset's licence (stage data).")
@click.option("--description", default="", help="What a dataset holds, in a sentence (stage data).")
@click.option(
    "--method", default="rebuilt", metavar="WORD", help="How a model was converted (stage convert)."
)
@BUNDLE
@common
def attest(shared: Shared, model: str, **options: Any) -> int:
    """Add a signed claim: where data comes from, what a model was made from, how it did, who packed it."""
    how, bundle = chosen(options), options.pop("bundle")
    local = bundle is not None and (not how.keyless or how.elsewhere)
    with nullcontext() if local else opened(shared) as registry:
        stage = options["stage"]
        seen = _MAKERS.get(stage, _built)(registry, model, options)
        return hand_in(shared, registry, seen.statement, how, bundle, facts=seen.facts, lines=seen.lines)


def _data(registry: Registry | None, model: str, options: dict[str, Any]) -> Seen:
    from weighbridge.claims.predicates import data
    from weighbridge.recorder.statements import with_record

    for word in ("source", "licence"):
        if not options[word]:
            raise UsageError(f"a claim about data needs --{word}", remedy=f"add --{word} …")
    _nothing_of(options, "base", "teacher", "relation")
    found = _dataset(model)
    digest = found.manifest.digest if found is not None else _identity(registry, model)
    statement = data(
        digest,
        source=options["source"],
        licence=options["licence"],
        description=options["description"],
        invocation=options["run"],
        parents=_datasets(registry, options),
    )
    if found is None:
        return Seen(statement)
    statement = with_record(statement, {"observed": found.facts.to_json()})
    return Seen(statement, {"dataset": found.to_json()}, tuple(_told(found)))


def _built(registry: Registry | None, model: str, options: dict[str, Any]) -> Seen:
    """Make the claim of a stage that makes weights; how they came from --base follows from the stage."""
    from weighbridge.claims.predicates import train

    word = _stage(options)
    weights = _described(registry, model).weights
    if weights is None:
        raise UsageError(
            f"{model} holds no weight file", remedy="see docs/reference/manifest.md for what counts as one"
        )
    parents = _datasets(registry, options)
    parents += [_base(registry, item, word.relation) for item in options["base"] if word.relation is not None]
    parents += [_base(registry, item, Relation.DISTILLATION) for item in options["teacher"]]
    if not parents:
        raise UsageError(
            "training starts from something", remedy="name it with --data DATASET or --base MODEL"
        )
    _check_models(options["stage"], word, parents)
    statement = train(
        weights,
        word.method,
        parents,
        builder=options["builder"],
        invocation=options["run"],
        parameters=_parameters(options),
        materials=_locks(options),
    )
    return Seen(statement)


def _parameters(options: dict[str, Any]) -> dict[str, JSON]:
    """Return what a run was given, by name; a value is a text."""
    found: dict[str, JSON] = {}
    for item in options["parameter"]:
        name, equals, value = item.partition("=")
        if not name or not equals or name in found:
            raise UsageError(
                f"--parameter {item!r} is not NAME=VALUE, or is given twice",
                remedy="for example --parameter script=train.py",
            )
        found[name] = value
    return found


def _stage(options: dict[str, Any]) -> StageWord:
    """Return the stage that was meant: `train` with a base is one of those that start from a model."""
    stage, relation = options["stage"], Relation(options["relation"]) if options["relation"] else None
    if stage == "train":
        return STAGES[BY_RELATION[relation or Relation.FINE_TUNE]] if options["base"] else STAGES["train"]
    word = STAGES[stage]
    if relation is not None and relation is not word.relation:
        raise UsageError(
            f"--stage {stage} and --relation {relation.value} contradict each other",
            remedy="leave --relation out: it follows from the stage",
        )
    if options["teacher"]:
        if stage != "distil":
            raise UsageError("--teacher belongs to --stage distil", remedy="name it with --base")
        if options["base"]:  # what the student began as
            return StageWord(word.method, Relation.FINE_TUNE, (0, None))
    return word


def _check_models(stage: str, word: StageWord, parents: list[Parent]) -> None:
    least, most = word.models
    found = sum(parent.relation is word.relation for parent in parents)
    if word.relation is not None and (found < least or (most is not None and found > most)):
        wanted = f"exactly {least}" if least == most else f"at least {least}"
        raise UsageError(
            f"--stage {stage} wants {wanted} of --base, and {found} are given",
            remedy="name each model it came from with --base MODEL",
        )


def _convert(registry: Registry | None, model: str, options: dict[str, Any]) -> Seen:
    """Say that two models hold the same tensors, or that this is not proven: both are read and compared."""
    from weighbridge.claims.predicates import build_conversion

    _nothing_of(options, "data", "teacher", "relation")
    if len(options["base"]) != 1:
        raise UsageError("a conversion has one source", remedy="name it with --base MODEL")
    output, made = _tensors(registry, model)
    source, original = _tensors(registry, options["base"][0])
    proven = len(made.roots) == 1 and made.roots == original.roots and not made.unread + original.unread
    roots = [", ".join(map(str, one.roots)) or "unread" for one in (original, made)]
    statement = build_conversion(
        output,
        source.digest,
        equivalence="proven" if proven else "unproven",
        source_root=roots[0],
        output_root=roots[1],
        method=options["method"],
        builder=options["builder"],
        invocation=options["run"],
        materials=_locks(options),
    )
    said = "every tensor is equal" if proven else "that both hold the same tensors is not proven"
    return Seen(statement, {"equivalence": "proven" if proven else "unproven"}, (said,))


def _evaluate(registry: Registry | None, model: str, options: dict[str, Any]) -> Seen:
    from weighbridge.claims.predicates import evaluate

    _nothing_of(options, "base", "teacher", "relation")
    manifest = _described(registry, model)
    metrics: dict[str, float] = {}
    for item in options["metric"]:
        name, equals, value = item.partition("=")
        try:
            metrics[name] = float(value)
        except ValueError as error:
            raise _no_metric(item) from error
        if not equals or not name:
            raise _no_metric(item)
    tested: list[dict[str, JSON]] = [
        {
            "name": parent.name or str(parent.digest),
            "digest": {"sha256": parent.digest.hex},
            "annotations": {"weighbridge:identity": str(parent.digest)},
        }
        for parent in _datasets(registry, options)
    ]
    about = manifest.weights or manifest.digest
    run, result = options["run"], options["result"]
    return Seen(evaluate(about, result, metrics, invocation=run, configuration=tested))


def _no_metric(item: str) -> UsageError:
    return UsageError(f"--metric {item!r} is not NAME=NUMBER", remedy="for example --metric accuracy=0.93")


def _package(registry: Registry | None, model: str, options: dict[str, Any]) -> Seen:
    from weighbridge.claims.predicates import package
    from weighbridge.registry import models
    from weighbridge.source.local import open_folder
    from weighbridge.source.read import read_tree

    _nothing_of(options, "base", "teacher", "relation", "data")
    path = Path(model).expanduser()
    if path.exists():
        with open_folder(path) as tree:
            snapshot = read_tree(tree)
        manifest, chunks = snapshot.manifest, snapshot.chunks
    else:
        kept = models.get(_needed(registry, model), models.resolve(_needed(registry, model), model))
        manifest, chunks = kept.manifest, kept.chunks
    builder, run = options["builder"], options["run"]
    return Seen(package(manifest, chunks, builder=builder, invocation=run, materials=_locks(options)))


_MAKERS = {"data": _data, "evaluate": _evaluate, "package": _package, "convert": _convert}


def _nothing_of(options: dict[str, Any], *names: str) -> None:
    """Refuse options that this stage would pass over in silence."""
    for name in names:
        if options[name]:
            raise UsageError(f"--stage {options['stage']} takes no --{name}", remedy=f"leave --{name} out")


def _told(found: Dataset) -> Iterator[str]:
    """Yield what was seen of a dataset, for people."""
    facts = found.facts
    rows = "rows unknown" if facts.rows is None else count(facts.rows, "row")
    splits = ", ".join(
        f"{safe(name)} {split.rows if split.rows is not None else count(split.files, 'file')}"
        for name, split in sorted(facts.splits.items())
    )
    yield (
        f"{found.manifest.digest}: {facts.layout.value}, {count(facts.files, 'file')}, {size(facts.size)}, {rows}"
        + (f" ({splits})" if splits else "")
    )
    if facts.code:
        yield f"not run, and part of it: {', '.join(safe(path) for path in facts.code[:5])}"
    if facts.uncounted:
        yield f"rows not told by: {', '.join(safe(path) for path in facts.uncounted[:5])}"


def _datasets(registry: Registry | None, options: dict[str, Any]) -> list[Parent]:
    from weighbridge.claims.words import Parent

    return [Parent(_identity(registry, item), Relation.DATASET, item[:128]) for item in options["data"]]


def _locks(options: dict[str, Any]) -> list[Material]:
    """Name lock files by their digests; nothing of their content is said."""
    from weighbridge.claims.words import Material
    from weighbridge.source.small import content_of

    paths = [Path(name).expanduser() for name in options["lock"]]
    return [Material("lock", path.name, Digest.of(content_of(path))) for path in paths]


def _base(registry: Registry | None, text: str, relation: Relation) -> Parent:
    """Name a base by its weights, so that a changed README of the base voids nothing."""
    from weighbridge.claims.words import Parent

    if text.startswith("wbw1:"):
        return Parent(Digest.parse(text), relation)
    manifest = _described(registry, text)
    return Parent(manifest.weights or manifest.digest, relation, text[:128])


def _identity(registry: Registry | None, text: str) -> Digest:
    if text.startswith("wb1:") and registry is None:
        return Digest.parse(text)
    return _described(registry, text).digest if not text.startswith("wb1:") else _resolved(registry, text)


def _resolved(registry: Registry | None, text: str) -> Digest:
    from weighbridge.registry.models import resolve

    try:
        return Digest.parse(text)
    except WeighbridgeError:
        assert registry is not None
        return resolve(registry, text)


def _needed(registry: Registry | None, text: str) -> Registry:
    if registry is None:
        raise UsageError(f"{text!r} does not exist", remedy="without a registry, give a path")
    return registry


def _dataset(text: str) -> Dataset | None:
    """Read a dataset that lies here; None for one that is only named."""
    from weighbridge.source.datasets import read_dataset
    from weighbridge.source.local import open_folder

    path = Path(text).expanduser()
    if not path.exists():
        return None
    with open_folder(path) as tree:
        return read_dataset(tree)


def _described(registry: Registry | None, text: str) -> Manifest:
    """Return the manifest of a path, or of a model that the registry keeps."""
    from weighbridge.registry import models
    from weighbridge.source.datasets import identify
    from weighbridge.source.local import open_folder
    from weighbridge.source.tree import listed

    path = Path(text).expanduser()
    if path.exists():
        with open_folder(path) as tree:
            manifest = identify(listed(tree).files)
            tree.settle()
        return manifest
    kept = _needed(registry, text)
    return models.get(kept, models.resolve(kept, text)).manifest


def _tensors(registry: Registry | None, text: str) -> tuple[Manifest, Fingerprint]:
    """Return the manifest and the tensors' digests of a path, or of a model that the registry keeps."""
    from weighbridge.registry import models
    from weighbridge.source.datasets import identify
    from weighbridge.source.local import open_folder
    from weighbridge.source.tree import listed
    from weighbridge.tensors.fingerprint import fingerprint

    path = Path(text).expanduser()
    if path.exists():
        with open_folder(path) as tree:
            files = {file.path: file for file in listed(tree).files}
            manifest = identify(list(files.values()))
            found = fingerprint(manifest.files, lambda entry: files[entry.path].open())
            tree.settle()
    else:
        kept = _needed(registry, text)
        manifest = models.get(kept, models.resolve(kept, text)).manifest

        def blob(entry: FileEntry) -> Any:
            return kept.blobs.open_local(entry.sha256)

        found = fingerprint(manifest.files, blob)
    return manifest, found
