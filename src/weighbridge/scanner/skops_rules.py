"""Rules on skops files: a zip archive whose `schema.json` names, node by node, the classes to build again.

Each node has `__module__`, `__class__` and the `__loader__` that says how the object is built. A class must
be listed as it must be for a pickle (`names.find`); what calls a method or an operator is never listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from weighbridge.core.errors import OutOfBudget, Refused
from weighbridge.core.finding import Coverage, Finding, Verdict
from weighbridge.formats.archive import ZipArchive, ZipMember
from weighbridge.formats.json_text import looks_like_json, objects, read_json
from weighbridge.formats.sniff import sniff
from weighbridge.scanner.file import Part, RuleInfo, ScannedFile, printable, severity_of
from weighbridge.scanner.names import danger, find
from weighbridge.scanner.routing import acts_as_pickle

RULES = (
    RuleInfo("skops-code", "A skops file that names something dangerous", Verdict.DANGEROUS),
    RuleInfo("skops-class", "A skops file that names a class nobody listed", Verdict.UNLISTED),
    RuleInfo("skops-profile", "A skops file that holds objects of a known library", Verdict.NOTES),
)
EXPLAINS: frozenset[str] = frozenset()

_PLAIN = frozenset({
    "builtins.NoneType", "builtins.bool", "builtins.bytearray", "builtins.bytes", "builtins.complex", "builtins.dict", "builtins.float", "builtins.frozenset",
    "builtins.int", "builtins.list", "builtins.set", "builtins.slice", "builtins.str", "builtins.tuple", "builtins.type",
    "collections.OrderedDict", "collections.defaultdict", "functools.partial", "numpy.random._generator.Generator",
    "numpy.random.mtrand.RandomState", "numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray",
})  # fmt: skip
"""What skops' own nodes hold; making one of these runs nothing else."""
_NUMPY = re.compile(
    r"numpy\.(ndarray|matrix|dtype|bool_?|u?int(8|16|32|64|c|p)?|float(16|32|64|128)?|longdouble|complex(64|128)|str_|bytes_"
    r"|datetime64|timedelta64|object_|void|recarray|dtypes\.[A-Z][A-Za-z0-9]{1,20}DType)"
)
_SPARSE = re.compile(
    r"scipy\.sparse\.(_(bsr|coo|csc|csr|dia|dok|lil)\.)?(bsr|coo|csc|csr|dia|dok|lil)_(matrix|array)"
)
_VALUES = frozenset({
    "BytearrayNode", "BytesNode", "CachedNode", "DTypeNode", "DefaultDictNode", "DictNode", "JsonNode", "ListNode", "MaskedArrayNode",
    "NdArrayNode", "PartialNode", "RandomGeneratorNode", "RandomStateNode", "SetNode", "SliceNode", "SparseMatrixNode",
    "TupleNode", "TypeNode", "FunctionNode",
})  # fmt: skip
_REBUILT = frozenset(
    {"ConstructorFromReduceNode", "LossNode", "ObjectNode", "QuantileForestNode", "ReduceNode", "TreeNode"}
)
_FUNCTIONS = frozenset({
    "numpy." + name for name in (
        "abs", "absolute", "add", "arccos", "arcsin", "arctan", "arctanh", "cbrt", "ceil", "cos", "cosh", "deg2rad", "divide", "exp", "exp2",
        "expm1", "fabs", "floor", "isfinite", "isnan", "log", "log10", "log1p", "log2", "logical_not", "maximum", "minimum", "multiply", "negative",
        "positive", "power", "rad2deg", "reciprocal", "rint", "sign", "sin", "sinh", "sqrt", "square", "subtract", "tan", "tanh", "trunc",
    )
} | {"scipy.special." + name for name in ("erf", "exp10", "expit", "log1p", "logit", "xlogy")}
  | {"scipy.special._ufuncs." + name for name in ("erf", "exp10", "expit", "logit", "xlogy")})  # fmt: skip
"""Functions of numbers that a FunctionTransformer names."""
_COMPILED = re.compile(
    r"sklearn\.tree\._tree\.Tree|sklearn\._loss\._loss\.Cy[A-Z]\w{1,40}|sklearn\._loss\.(link|loss)\.[A-Z]\w{1,40}"
    r"|sklearn\.linear_model\._sgd_fast\.[A-Z]\w{1,40}|sklearn\.metrics\._dist_metrics\.[A-Z]\w{1,40}"
    r"|sklearn\.neighbors\._(kd|ball)_tree\.(KD|Ball)Tree(64|32)?"
)
"""Compiled classes of scikit-learn whose state is numbers; skops builds them without a pickle's detours."""
_MEMBERS = re.compile(r"schema\.json|[0-9a-f-]{1,40}\.(npy|npz|bin)")
_WHY = (
    "loading the file imports the module, builds the object without asking its class, and gives it this state"
)


def layout(file: ScannedFile, archive: ZipArchive) -> SkopsLayout | None:
    """Return the layout of a skops file, or None when the archive is none."""
    names = {member.name for member in archive.members}
    return SkopsLayout(file) if "schema.json" in names and all(map(_MEMBERS.fullmatch, names)) else None


class SkopsLayout:
    """Every member is judged by its content: the schema below, the arrays by the rules on numpy files."""

    kind = "skops"

    def __init__(self, file: ScannedFile) -> None:
        self.file = file

    def raw(self, member: ZipMember) -> bool:  # noqa: ARG002  the port's signature
        """Tell whether the member's bytes mean nothing by themselves: none do."""
        return False

    def judge(self, inside: ScannedFile, member: ZipMember) -> Part | None:
        """Leave a member to its content, but for bytes objects that are nothing else."""
        if not member.name.endswith(".bin") or acts_as_pickle(inside.read(), is_text=False):
            return None
        known = sniff(inside.head, inside.size)
        return (
            Part((), Coverage(inside.size, inside.size), "bytes") if known in ("unknown", "empty") else None
        )

    def finish(self) -> Iterator[Finding]:
        """Have nothing to add."""
        return iter(())


def examine(file: ScannedFile) -> Iterable[Finding]:
    """Judge the nodes of a skops schema, in JSON of any name."""
    text = file.text
    if text is None or not (file.kind == "json" or looks_like_json(text)):
        return
    if "__loader__" not in text and "__class__" not in text and "\\u00" not in text:
        return
    try:
        yield from _judge(file, read_json(text))
    except (Refused, OutOfBudget):
        return  # the configuration rules say so


def _judge(file: ScannedFile, values: tuple[Any, ...]) -> Iterator[Finding]:
    seen: set[tuple[str, str]] = set()
    libraries: dict[str, set[str]] = {}
    for node in objects(values):
        if not ("__loader__" in node or {"__class__", "__module__"} <= node.keys()):
            continue
        loader, full = str(node.get("__loader__")), f"{node.get('__module__')}.{node.get('__class__')}"
        if (loader, full) in seen:
            continue
        seen.add((loader, full))
        verdict, library = _verdict(loader, str(node.get("__module__")), str(node.get("__class__")))
        if library:
            libraries.setdefault(library, set()).add(full)
        elif verdict is not None:
            rule = "skops-code" if verdict is Verdict.DANGEROUS else "skops-class"
            what = printable(full)
            message = f"loading this file would use {what} ({printable(loader, 40)})"
            yield _finding(file, rule, verdict, message, subject=f"{loader} {what}")
    for library, used in sorted(libraries.items()):
        message = f"the file holds objects of {len(used)} classes of {library}"
        yield _finding(file, "skops-profile", Verdict.NOTES, message, subject=library)


def _verdict(loader: str, module: str, name: str) -> tuple[Verdict | None, str]:
    """Return the verdict on one node and, where a profile admits it, the profile's library."""
    full = f"{module}.{name}"
    if full in _PLAIN or _NUMPY.fullmatch(full) or _SPARSE.fullmatch(full):
        return (None, "") if loader in _VALUES or loader == "ObjectNode" else (Verdict.UNLISTED, "")
    if danger(module, name):
        return Verdict.DANGEROUS, ""
    if loader in _REBUILT and _COMPILED.fullmatch(full):
        return None, "scikit-learn"
    if loader == "FunctionNode" and full in _FUNCTIONS:
        return None, ""
    listed = find(module, name)
    if listed is None or loader not in _VALUES | _REBUILT:
        return Verdict.UNLISTED, ""
    made = listed.new and "dict" in listed.build
    if loader == "ObjectNode" and not made:
        return Verdict.UNLISTED, ""
    if loader in _REBUILT and not listed.library:
        return (
            Verdict.UNLISTED,
            "",
        )  # an inert name is listed with the shapes of its calls, which skops does not keep
    return None, listed.library


def _finding(file: ScannedFile, rule: str, verdict: Verdict, message: str, *, subject: str) -> Finding:
    return Finding(
        rule=rule,
        verdict=verdict,
        severity=severity_of(verdict),
        location=file.at(),
        message=message,
        why=_WHY,
        help="look up what the name stands for and accept it with a reason, or have the model exported to ONNX",
        subject=printable(subject, 300),
    )
