"""Rules on Keras configurations: which classes and functions loading the model would look up, and with what.

A saved Keras model is a tree of objects, each with `class_name` and `config`, and newer ones with `module`
and `registered_name`; loading imports the module and calls `from_config`. Only names that Keras has itself
are listed. The same tree stands in `config.json` of a `.keras` archive, in the attributes of an HDF5 file
and in the output of `to_json`, so that it is judged wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from weighbridge.core.errors import OutOfBudget, Refused
from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.json_text import looks_like_json, objects, read_json
from weighbridge.scanner.file import RuleInfo, ScannedFile, printable, severity_of
from weighbridge.scanner.keras_names import TENSORFLOW_OPS, TYPE_SPECS, names
from weighbridge.scanner.names import danger

RULES = (
    RuleInfo("keras-code", "A Keras model that carries code, or has code imported", Verdict.DANGEROUS),
    RuleInfo("keras-class", "A Keras model that names a class nobody listed", Verdict.UNLISTED),
    RuleInfo("keras-path", "A Keras model that reads a file of its own choice", Verdict.DANGEROUS),
)
EXPLAINS: frozenset[str] = frozenset()

_VALUES = frozenset({"__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"})
_FILES = ("filepath", "idf_weights", "merges", "proto", "vocabulary")
"""Settings of layers and tokenizers that name a file when they are a text instead of a list."""
_OPERATORS = frozenset({"SlicingOpLambda", "TFOpLambda"})
_DISPATCHED = frozenset(
    {"ClassMethod", "InstanceMethod", "InstanceProperty", "TensorFlowOpLayer", "AddLoss", "AddMetric"}
)
"""Layers of Keras 2 that stand for a method or a graph operation that the configuration chooses."""
_ELSEWHERE = re.compile(r"[/\\~]|[A-Za-z]:|.*(://|\.\.[/\\])")
_MARKS = ("class_name", "\\u00")

_WHY_IMPORT = (
    "loading the model imports the module and calls what is named there, with arguments from this file"
)
_WHY_CODE = "loading the model runs this code; some versions of Keras do so even in safe mode"
_WHY_PATH = (
    "loading the model reads that file, wherever it is, and its content can be read back from the model"
)


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that loading a Keras configuration would do beyond building Keras' own objects."""

    rule: str
    verdict: Verdict
    subject: str
    message: str
    why: str


def examine(file: ScannedFile) -> Iterable[Finding]:
    """Judge Keras objects in JSON of any name."""
    text = file.text
    if (
        text is None
        or not (file.kind == "json" or looks_like_json(text))
        or not any(m in text for m in _MARKS)
    ):
        return
    try:
        values = read_json(text)
        for remark in judge(values):
            yield finding(file, remark)
    except (Refused, OutOfBudget):
        return  # the configuration rules say so


def judge(values: tuple[Any, ...]) -> Iterator[Remark]:
    """Yield a remark for each Keras object in `values` that is not plainly one of Keras' own, each once."""
    seen: set[tuple[str, str]] = set()
    for value in objects(values):
        if _is_object(value):
            for remark in _object(value):
                if (remark.rule, remark.subject) not in seen:
                    seen.add((remark.rule, remark.subject))
                    yield remark


def _is_object(value: dict[str, Any]) -> bool:
    return "class_name" in value and ("config" in value or "module" in value or "registered_name" in value)


def _object(value: dict[str, Any]) -> Iterator[Remark]:
    """Judge one object by what Keras would look up for it."""
    name, module, config = value["class_name"], value.get("module"), value.get("config")
    if not isinstance(name, str) or not (module is None or isinstance(module, str)):
        yield Remark("keras-class", Verdict.UNLISTED, "no text", "a class whose name is no text", _WHY_IMPORT)
    elif name == "__lambda__":
        yield Remark("keras-code", Verdict.DANGEROUS, "__lambda__", "the model carries the bytecode of a function", _WHY_CODE)  # fmt: skip
    elif name in _VALUES:
        return
    elif name == "__typespec__":
        if value.get("module") not in TYPE_SPECS.get(str(value.get("spec_name")), ()):
            yield _unlisted(module, str(value.get("spec_name")))
    elif name == "function":
        yield from _function(module, config)
    else:
        yield from _class(value, module, name, config if isinstance(config, dict) else {})


def _function(module: str | None, config: Any) -> Iterator[Remark]:
    if not isinstance(config, str):
        yield _unlisted(module, "a function whose name is no text")
    elif not names().has_function(module, config):
        yield _refused(module, config, what="function")


def _class(value: dict[str, Any], module: str | None, name: str, config: dict[str, Any]) -> Iterator[Remark]:
    """Judge a class: the few that do more than compute first, then by the list."""
    registered = value.get("registered_name")
    if name == "Lambda" and _own(module):
        yield from _lambda(config)
    elif name == "TorchModuleWrapper" and _own(module):
        yield Remark("keras-code", Verdict.DANGEROUS, name, "the layer TorchModuleWrapper unpickles a torch module", _WHY_CODE)  # fmt: skip
    elif name == "TFSMLayer" and _own(module):
        where = printable(str(config.get("filepath")))
        yield Remark("keras-path", Verdict.DANGEROUS, f"TFSMLayer {where}", f"the layer TFSMLayer loads and runs the TensorFlow program at {where!r}", _WHY_PATH)  # fmt: skip
    elif registered not in (None, name, f"{_hub(module)}>{name}") or ">" in name:
        yield _refused(module, str(registered or name), what="registered class")
    elif name in _DISPATCHED and _own(module):
        yield _unlisted(module, name)
    elif not names().has_class(module, name):
        yield _refused(module, name, what="class")
    elif name in _OPERATORS:
        yield from _operator(config)
    else:
        yield from _lookup(name, config)


def _own(module: str | None) -> bool:
    return not module or module.split(".")[0] in ("keras", "tf_keras")


def _hub(module: str | None) -> str:
    """Return the package whose registered classes are listed, where the module is one of it."""
    package = (module or "").partition(".")[0]
    return package if package in ("keras_hub", "keras_nlp") else ""


def _lambda(config: dict[str, Any]) -> Iterator[Remark]:
    """Tell bytecode (dangerous) from the bare name of a function that the program must bring (unlisted)."""
    parts = [config.get(key) for key in ("function", "output_shape", "mask")]
    typed = "lambda" in [config.get(key) for key in ("function_type", "output_shape_type", "mask_type")]
    named = isinstance(parts[0], str) or (
        isinstance(parts[0], dict) and parts[0].get("class_name") == "function"
    )
    if (
        typed
        or not named
        or any(isinstance(part, list) and part and isinstance(part[0], str) for part in parts)
    ):
        yield Remark("keras-code", Verdict.DANGEROUS, "Lambda", "a Lambda layer carries the bytecode of a function", _WHY_CODE)  # fmt: skip
    else:
        yield _unlisted(None, f"Lambda over {parts[0] if isinstance(parts[0], str) else 'a function'}")


def _operator(config: dict[str, Any]) -> Iterator[Remark]:
    function = config.get("function")
    if not isinstance(function, str) or function not in TENSORFLOW_OPS:
        yield _unlisted("tf", str(function))


def _lookup(name: str, config: dict[str, Any]) -> Iterator[Remark]:
    """Judge a vocabulary that is a text: then it is the name of a file (CVE-2025-12058)."""
    for key in _FILES:
        where = config.get(key)
        if isinstance(where, str):
            shown = printable(where)
            verdict = Verdict.DANGEROUS if _ELSEWHERE.match(where) else Verdict.UNLISTED
            yield Remark("keras-path", verdict, f"{name} {key} {shown}", f"the layer {name} reads its {key} from {shown!r}", _WHY_PATH)  # fmt: skip


def _refused(module: str | None, name: str, *, what: str) -> Remark:
    """Word a name that is not listed: dangerous where we know what it does, or where Keras acts at its call."""
    full = f"{module}.{name}" if module else name
    known = danger(module or "builtins", name) if module else ""
    acts = what == "function" and module is not None and _own(module)
    if known or acts:
        does = f"it {known}" if known else "it is a function of Keras that is no part of a model"
        return Remark(
            "keras-code", Verdict.DANGEROUS, full, f"the model has Keras fetch {full!r}: {does}", _WHY_IMPORT
        )
    return _unlisted(module, name, what=what)


def _unlisted(module: str | None, name: str, *, what: str = "class") -> Remark:
    full = f"{module}.{name}" if module else name
    return Remark(
        "keras-class", Verdict.UNLISTED, full, f"the model names the {what} {full!r}, which is not one of Keras' own", _WHY_IMPORT
    )  # fmt: skip


def finding(file: ScannedFile, remark: Remark, where: str = "") -> Finding:
    """Turn a remark into a finding on `file`; `where` names the attribute that held the configuration."""
    place = f"{where}: " if where else ""
    return Finding(
        rule=remark.rule,
        verdict=remark.verdict,
        severity=severity_of(remark.verdict),
        location=file.at(),
        message=printable(f"{place}{remark.message}", 300),
        why=remark.why,
        help="use a model made of Keras' own layers, or its weights alone with the architecture in your own code",
        subject=printable(f"{where} {remark.subject}".strip(), 300),
    )
