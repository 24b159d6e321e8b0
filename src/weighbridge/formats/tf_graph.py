"""Read TensorFlow graphs on the wire: nodes with what they compute, call and hold, function by function.

Source: the .proto files named in `tf_tables`. Nothing is imported, built or run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from weighbridge.core.errors import OutOfBudget
from weighbridge.formats.protobuf import Record, Span, Walked, walk
from weighbridge.formats.tf_tables import TABLE

MAX_NODES = 1_000_000
"""Nodes of one graph with its functions."""
MAX_METADATA = 64 * 1024 * 1024
_STRING_TYPE = 7
_MAX_STRINGS = 64
_MAX_STRING = 4096


@dataclass(frozen=True, slots=True)
class Node:
    """One node: `calls` are the functions its attributes name, `texts` the text in a constant or an attribute."""

    name: str
    op: str
    inputs: tuple[str, ...]
    calls: tuple[str, ...]
    texts: tuple[tuple[str, bytes], ...]
    offset: int


@dataclass(slots=True)
class Graph:
    """A graph: its own nodes below "", those of its functions below their names."""

    bodies: dict[str, list[Node]] = field(default_factory=dict)
    arguments: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The names of each function's arguments, in their order."""
    assets: list[tuple[str, str]] = field(default_factory=list)
    """(tensor, file name) of each asset."""


@dataclass(slots=True)
class SavedModel:
    """All graphs of a file, what Keras noted, and fields that the tables do not know."""

    graphs: list[Graph] = field(default_factory=list)
    metadata: list[tuple[str, str]] = field(default_factory=list)
    """(where, JSON) of each object of Keras."""
    unknown: tuple[tuple[str, int, int], ...] = ()
    missing: tuple[tuple[str, str, int], ...] = ()


def read_graphs(stream: BinaryIO, size: int, root: str) -> SavedModel:
    """Read a `SavedModel`, `MetaGraphDef`, `GraphDef` or `SavedMetadata`; raises Unreadable (`tensorflow.*`)."""
    collector = _Collector(stream)
    walked: Walked = walk(
        stream, size, TABLE, root, check="tensorflow", what="a TensorFlow model", on=collector.on
    )
    if root == "GraphDef":
        collector.end_graph()
    collector.model.unknown, collector.model.missing = walked.unknown, walked.missing
    return collector.model


class _Collector:
    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.model = SavedModel()
        self.graph = Graph()
        self.inner: list[Node] = []
        self.count = 0
        self.held = 0
        self.kinds: dict[str, Callable[[Record], None]] = {
            "NodeDef": self.node, "FunctionDef": self.function, "AssetFileDef": self.asset,
            "MetaGraphDef": lambda _: self.end_graph(), "SavedUserObject": self.keras, "KerasObject": self.keras,
        }  # fmt: skip

    def on(self, record: Record) -> None:
        """Take what is wanted of one message."""
        take = self.kinds.get(record.kind)
        if take is not None:
            take(record)

    def spend(self, count: int) -> None:
        self.count += count
        if self.count > MAX_NODES:
            raise _spent(f"more than {MAX_NODES} nodes")

    def node(self, record: Record) -> None:
        self.spend(1)
        calls: list[str] = []
        texts: list[tuple[str, bytes]] = []
        for attr in record.records("attr"):
            for value in attr.records("value"):
                self.value(attr.text("key"), value, calls, texts)
        node = Node(
            record.text("name"), record.text("op"), record.texts("input"), tuple(calls), tuple(texts), record.offset
        )  # fmt: skip
        if "FunctionDef" in record.path:
            self.inner.append(node)
        else:
            self.graph.bodies.setdefault("", []).append(node)

    def value(self, key: str, value: Record, calls: list[str], texts: list[tuple[str, bytes]]) -> None:
        """Take the functions that an attribute names, and short text."""
        calls += [function.text("name") for function in value.records("func")]
        for row in value.records("list"):
            calls += [function.text("name") for function in row.records("func")]
        spans = list(value.values.get("s", ()))
        for tensor in value.records("tensor"):
            if tensor.number("dtype") == _STRING_TYPE:
                spans += tensor.values.get("string_val", ())
                if len(spans) > _MAX_STRINGS:
                    texts.append((key, b"\0more"))
        texts += [(key, self.read(span)) for span in spans[:_MAX_STRINGS] if isinstance(span, Span)]

    def read(self, span: Span) -> bytes:
        if span.length > _MAX_STRING:
            return b"\0long"
        self.stream.seek(span.offset)
        return self.stream.read(span.length)

    def function(self, record: Record) -> None:
        self.spend(5)
        for signature in record.records("signature"):
            name = signature.text("name") or "?"
            self.graph.bodies.setdefault(name, []).extend(self.inner)
            self.graph.arguments[name] = tuple(
                argument.text("name") for argument in signature.records("input_arg")
            )
        if not record.records("signature"):
            self.graph.bodies.setdefault("?", []).extend(self.inner)
        self.inner = []

    def asset(self, record: Record) -> None:
        tensor = "".join(info.text("name") for info in record.records("tensor_info"))
        self.graph.assets.append((tensor, record.text("filename")))

    def keras(self, record: Record) -> None:
        text = record.text("metadata")
        self.held += len(text)
        if self.held > MAX_METADATA:
            raise _spent("more metadata of Keras than is held at once")
        if text:
            self.model.metadata.append((record.text("node_path") or record.text("identifier"), text))

    def end_graph(self) -> None:
        self.model.graphs.append(self.graph)
        self.graph = Graph()


def _spent(cause: str) -> OutOfBudget:
    return OutOfBudget(
        "the model asks for more work than a scan may spend on it", cause=cause,
        remedy="split the model, or use one of an ordinary size", check="budget.tensorflow",
    )  # fmt: skip
