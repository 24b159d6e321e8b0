"""Rules on TensorFlow models: operators by exact name, paths by where they come from, checkpoints to the last byte."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.core.errors import OutOfBudget, Refused, Unreadable
from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.json_text import read_json
from weighbridge.formats.tf_bundle import TAIL, read_bundle
from weighbridge.formats.tf_graph import Graph, Node, SavedModel, read_graphs
from weighbridge.scanner import keras_rules
from weighbridge.scanner.damage import finding, lacking, refused
from weighbridge.scanner.file import RuleInfo, ScannedFile
from weighbridge.scanner.outside import OutsideData, leads_out
from weighbridge.scanner.tensorflow_ops import CODE, COMPUTING, FILES, PATHS
from weighbridge.scanner.tensorflow_paths import strange_paths

BROKEN = RuleInfo(
    "tensorflow-broken", "A TensorFlow model that two readers may read differently", Verdict.BROKEN
)
RUNS = RuleInfo(
    "tensorflow-code", "A TensorFlow model with an operator that runs other code", Verdict.DANGEROUS
)
TOUCHES = RuleInfo("tensorflow-files", "A TensorFlow model that reads or writes files", Verdict.DANGEROUS)
UNLISTED = RuleInfo(
    "tensorflow-unlisted", "A TensorFlow model with an operator that nobody listed", Verdict.UNLISTED
)
UNREAD = RuleInfo("tensorflow-unread", "A part of a TensorFlow model that could not be read", Verdict.UNREAD)
RULES = (BROKEN, RUNS, TOUCHES, UNLISTED, UNREAD)
ROOTS = {
    "savedmodel": "SavedModel", "metagraph": "MetaGraphDef", "graphdef": "GraphDef", "keras-metadata": "SavedMetadata",
    "tf-fingerprint": "FingerprintDef",
}  # fmt: skip
EXPLAINS = frozenset({*ROOTS, "tf-index", "tf-data"})

_MAX_SHOWN = 40
_WHY_CODE = "running the model runs it"
_WHY_FILES = "running the model reads or writes whatever the graph names, with the rights of whoever runs it"
_WHY_UNLISTED = "TensorFlow finds such an operator in a native library that must be loaded first, or it does more than compute"
_HELP = (
    "export the model again without this operator, or use its weights with the architecture in your own code"
)
_OUTPUTS = (b"stderr", b"stdout", b"log(info)", b"log(warning)", b"log(error)")


def examine(file: ScannedFile) -> Iterator[Finding]:
    """Walk over the model, or over a part of its checkpoint."""
    root = ROOTS.get(file.kind)
    try:
        if root is not None:
            with file.open() as stream:
                model = read_graphs(stream, file.size, root)
            yield from lacking(file, BROKEN, model.missing)
            yield from _unknown(file, model)
            for graph in model.graphs:
                yield from _graph(file, graph)
            yield from _keras(file, model)
        elif file.kind == "tf-index":
            yield from _index(file)
        elif file.kind == "tf-data":
            yield from OUTSIDE.check(file, BROKEN)
    except Unreadable as error:
        yield refused(file, BROKEN, error)


def probe(file: ScannedFile) -> str | None:
    """Recognise a checkpoint's index by its last bytes, and its data by the index beside it."""
    if file.size >= len(TAIL):
        with file.open() as stream:
            stream.seek(file.size - len(TAIL))
            if stream.read() == TAIL:
                return "tf-index"
    return "tf-data" if OUTSIDE.claimed(file) else None


def _unknown(file: ScannedFile, model: SavedModel) -> Iterator[Finding]:
    for message, number, offset in model.unknown:
        yield finding(
            file, UNREAD, f"{message} holds the field {number}, which the schema does not know", offset=offset,
            why="what a field means that is not in the schema, nobody can say", subject=f"{message} {number}", help=_HELP,
        )  # fmt: skip


def _graph(file: ScannedFile, graph: Graph) -> Iterator[Finding]:
    """Judge the operators of one graph and its functions, each name once."""
    known = set(graph.bodies)
    seen: dict[str, tuple[Node, str]] = {}
    for body, nodes in graph.bodies.items():
        for node in nodes:
            if node.op == "PrintV2":
                yield from _print(file, node)
            elif node.op not in COMPUTING and node.op not in PATHS and node.op not in known:
                seen.setdefault(node.op, (node, body))
    for op, (node, body) in list(seen.items())[:_MAX_SHOWN]:
        where = f" in the function {body}" if body else ""
        rule = RUNS if op in CODE else TOUCHES if op in FILES else UNLISTED
        what = CODE.get(op, "reads or writes files" if op in FILES else "is not listed")
        yield finding(
            file, rule, f"the operator {op}{where} {what}", subject=op, help=_HELP, offset=node.offset,
            why=_WHY_CODE if op in CODE else _WHY_FILES if op in FILES else _WHY_UNLISTED,
        )  # fmt: skip
    for count, (body, node, reason) in enumerate(strange_paths(graph)):
        where = f" of the function {body}" if body else ""
        yield finding(
            file, TOUCHES, f"the operator {node.op} ({node.name}{where}) uses a path of the model's choice: {reason}",
            subject=f"{node.op} {reason}", help=_HELP, why=_WHY_FILES, offset=node.offset,
        )  # fmt: skip
        if count >= _MAX_SHOWN:
            return
    for _, name in graph.assets:
        yield from _asset(file, name)


def _print(file: ScannedFile, node: Node) -> Iterator[Finding]:
    """PrintV2 appends to a file when its attribute says so."""
    for key, text in node.texts:
        if key == "output_stream" and text not in _OUTPUTS:
            shown = text[:80].decode("latin-1")
            yield finding(
                file, TOUCHES, f"the operator PrintV2 writes to {shown!r}", subject=f"PrintV2 {shown}", help=_HELP,
                why=_WHY_FILES, offset=node.offset,
            )  # fmt: skip


def _asset(file: ScannedFile, name: str) -> Iterator[Finding]:
    if leads_out(name):
        yield finding(
            file, TOUCHES, f"the model names the asset {name!r}", subject=f"asset {name}", why=_WHY_FILES, help=_HELP,
        )  # fmt: skip
    elif not file.members and file.siblings and OUTSIDE.sibling(file, f"assets/{name}") is None:
        yield finding(
            file, UNREAD, f"the asset {name!r} is not part of what is scanned", subject=f"asset {name}",
            why="what is not here was not read", help="fetch the whole model, and scan its folder",
        )  # fmt: skip


def _keras(file: ScannedFile, model: SavedModel) -> Iterator[Finding]:
    """Judge what Keras would build its objects from."""
    for where, text in model.metadata:
        try:
            values = read_json(text)
        except (Refused, OutOfBudget) as error:
            yield finding(
                file, UNREAD, f"what Keras noted for {where!r} is not JSON", subject=f"metadata {where}", help=error.remedy,
                why="what was not read cannot be called harmless",
            )  # fmt: skip
            continue
        # A class that is not Keras' own is never imported here: the graph stands in for it. Carried code is run.
        for remark in (remark for remark in keras_rules.judge(values) if remark.verdict is Verdict.DANGEROUS):
            yield keras_rules.finding(file, remark, where)


def _index(file: ScannedFile) -> Iterator[Finding]:
    """Check the index, and that each part of the data it names is there."""
    with file.open() as stream:
        bundle = read_bundle(stream, file.size)
    if bundle.packed:
        yield finding(
            file, UNREAD, "blocks of the index are packed", subject="packed", why="what was not read cannot be called harmless",
            help="save the checkpoint again with a current TensorFlow",
        )  # fmt: skip
    if file.members or not file.siblings:
        return
    for location in sorted({location for location, _, _ in _named(file.path, bundle.rows, bundle.shards)}):
        other = OUTSIDE.sibling(file, location)
        ends = [
            offset + size
            for name, offset, size in _named(file.path, bundle.rows, bundle.shards)
            if name == location
        ]
        if other is None or max(ends) > other.size:
            yield finding(
                file, UNREAD if other is None else BROKEN,
                f"the data {location!r} is " + ("not part of what is scanned" if other is None else "shorter than the index says"),
                subject=location, why="what is not here was not read", help="fetch the whole model, and scan its folder",
            )  # fmt: skip


def _named(path: str, rows: list[tuple[int, int, int]], shards: int) -> list[tuple[str, int, int]]:
    stem = path.rpartition("/")[2].removesuffix(".index")
    return [(f"{stem}.data-{shard:05d}-of-{shards:05d}", offset, size) for shard, offset, size in rows]


def _claims(file: ScannedFile) -> list[tuple[str, int, int]]:
    """Return (location, offset, length) of each tensor of a checkpoint."""
    with file.open() as stream:
        bundle = read_bundle(stream, file.size)
    return _named(file.path, bundle.rows, bundle.shards)


OUTSIDE = OutsideData((".index",), b"", _claims, largest_gap=1 << 16)
