"""`attest`: make a claim about a model or dataset, sign it, and hand it in."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.signing import BUNDLE, chosen, hand_in, how_to_sign
from weighbridge.core.digest import Digest
from weighbridge.core.errors import UsageError, WeighbridgeError
from weighbridge.core.lineage import Relation
from weighbridge.core.manifest import ChunkTable, Manifest

if TYPE_CHECKING:
    from weighbridge.claims.predicates import Parent
    from weighbridge.core.statement import Statement
    from weighbridge.registry.wiring import Registry

METHODS = {
    Relation.FINE_TUNE: "fine-tune",
    Relation.MERGE: "merge",
    Relation.ADAPTER: "adapter",
    Relation.QUANTIZATION: "quantize",
    Relation.DISTILLATION: "distil",
}
BUILDER = click.option(
    "--builder", default="https://weighbridge.dev/builders/by-hand", help="URI of what ran."
)
RUN = click.option("--run", default="by-hand", help="Id of the run (a job number, a commit).")


@click.command()
@click.argument("model")
@click.option(
    "--stage",
    required=True,
    type=click.Choice(["data", "train", "evaluate", "package"]),
    help="What the claim is about.",
)
@how_to_sign
@BUILDER
@RUN
@click.option("--data", multiple=True, metavar="PATH|wb1:…", help="A dataset it was trained on.")
@click.option("--base", multiple=True, metavar="MODEL", help="A model it came from.")
@click.option(
    "--relation",
    type=click.Choice([r.value for r in METHODS]),
    help="How it came from --base (default: fine-tune).",
)
@click.option("--metric", multiple=True, metavar="NAME=VALUE", help="A measured value (stage evaluate).")
@click.option(
    "--result", type=click.Choice(["PASSED", "WARNED", "FAILED"]), default="PASSED", help="Stage evaluate."
)
@click.option("--source", default="", help="Where a dataset comes from (stage data).")
@click.option("--licence", default="", help="A dataset's licence (stage data).")
@BUNDLE
@common
def attest(shared: Shared, model: str, **options: Any) -> int:
    """Add a signed claim: where data comes from, what a model was trained from, how it did, who packed it."""
    how, bundle = chosen(options), options.pop("bundle")
    local = bundle is not None and (not how.keyless or how.elsewhere)
    with nullcontext() if local else opened(shared) as registry:
        statement = _MAKERS[options["stage"]](registry, model, options)
        return hand_in(shared, registry, statement, how, bundle)


def _data(registry: Registry | None, model: str, options: dict[str, Any]) -> Statement:
    from weighbridge.claims.predicates import data

    for word in ("source", "licence"):
        if not options[word]:
            raise UsageError(f"a claim about data needs --{word}", remedy=f"add --{word} …")
    digest = _identity(registry, model)
    return data(digest, source=options["source"], licence=options["licence"], invocation=options["run"])


def _train(registry: Registry | None, model: str, options: dict[str, Any]) -> Statement:
    from weighbridge.claims.predicates import Parent, train

    manifest, _ = _described(registry, model)
    if manifest.weights is None:
        raise UsageError(
            f"{model} holds no weight file", remedy="see docs/reference/manifest.md for what counts as one"
        )
    relation = Relation(options["relation"] or "fine-tune")
    parents = [Parent(_identity(registry, item), Relation.DATASET, item) for item in options["data"]]
    parents += [_base(registry, item, relation) for item in options["base"]]
    if not parents:
        raise UsageError(
            "training starts from something", remedy="name it with --data DATASET or --base MODEL"
        )
    method = METHODS[relation] if options["base"] else "train"
    return train(manifest.weights, method, parents, builder=options["builder"], invocation=options["run"])


def _evaluate(registry: Registry | None, model: str, options: dict[str, Any]) -> Statement:
    from weighbridge.claims.predicates import evaluate

    manifest, _ = _described(registry, model)
    metrics: dict[str, float] = {}
    for item in options["metric"]:
        name, equals, value = item.partition("=")
        try:
            metrics[name] = float(value)
        except ValueError as error:
            raise UsageError(
                f"--metric {item!r} is not NAME=NUMBER", remedy="for example --metric accuracy=0.93"
            ) from error
        if not equals or not name:
            raise UsageError(
                f"--metric {item!r} is not NAME=NUMBER", remedy="for example --metric accuracy=0.93"
            )
    return evaluate(
        manifest.weights or manifest.digest, options["result"], metrics, invocation=options["run"]
    )


def _package(registry: Registry | None, model: str, options: dict[str, Any]) -> Statement:
    from weighbridge.claims.predicates import package

    manifest, chunks = _described(registry, model)
    return package(manifest, chunks, builder=options["builder"], invocation=options["run"])


_MAKERS = {"data": _data, "train": _train, "evaluate": _evaluate, "package": _package}


def _base(registry: Registry | None, text: str, relation: Relation) -> Parent:
    """Name a base by its weights, so that a changed README of the base voids nothing."""
    from weighbridge.claims.predicates import Parent

    if text.startswith("wbw1:"):
        return Parent(Digest.parse(text), relation)
    manifest, _ = _described(registry, text)
    return Parent(manifest.weights or manifest.digest, relation, text[:128])


def _identity(registry: Registry | None, text: str) -> Digest:
    if text.startswith("wb1:") and registry is None:
        return Digest.parse(text)
    return _described(registry, text)[0].digest if not text.startswith("wb1:") else _resolved(registry, text)


def _resolved(registry: Registry | None, text: str) -> Digest:
    from weighbridge.registry.models import resolve

    try:
        return Digest.parse(text)
    except WeighbridgeError:
        assert registry is not None
        return resolve(registry, text)


def _described(registry: Registry | None, text: str) -> tuple[Manifest, ChunkTable]:
    """Return manifest and chunks of a path, or of a model that the registry keeps."""
    from weighbridge.registry import models
    from weighbridge.source.local import open_folder
    from weighbridge.source.read import read_tree

    path = Path(text).expanduser()
    if path.exists():
        with open_folder(path) as tree:
            snapshot = read_tree(tree)
        return snapshot.manifest, snapshot.chunks
    if registry is None:
        raise UsageError(f"{text!r} does not exist", remedy="without a registry, give a path")
    model = models.get(registry, models.resolve(registry, text))
    return model.manifest, model.chunks
